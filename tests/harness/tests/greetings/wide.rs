//! The narrow and the wide band.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::{Heard, Sound, Tone, Version};

use crate::desk::{LONG, Menu, play};

const LOW: Tone = Tone(1_000);
/// Beyond what a narrow stream carries. Without a filter it would sound there as one of 3 kHz.
const HIGH: Tone = Tone(5_000);
const FOLDED: Tone = Tone(3_000);

/// What one phone says in the wide band is heard so by another, and by a narrow one without what has no place there. The
/// lengths are right in both.
pub(crate) fn the_wide_band_is_kept_and_played(version: Version) -> Result<()> {
    play(
        version,
        "",
        |builder| builder,
        |desk| {
            let mut menu = Menu::dial(desk, "104", "*600")?;
            menu.begins()?;
            menu.records(LOW, LONG * 2)?;
            menu.phone_says(Some(HIGH));
            menu.talks(LONG * 2)?;
            menu.has_recorded()?;
            let place = menu.line.hears_from_here()?;
            menu.press("2")?;
            menu.line.wait_hears(HIGH, LONG, place)?;
            menu.saves()?;
            menu.hangs_up()?;

            let [narrow, wide] = ["default-en.wav", "default-en.wav16"].map(|name| desk.file("104", name));
            let [narrow, wide] = [Sound::wav(&fs::read(narrow)?)?, Sound::wav(&fs::read(wide)?)?];
            let said = Duration::from_millis(desk.greeting("104,duration")?.parse()?);
            for sound in [&narrow, &wide] {
                ensure!(
                    sound.duration().abs_diff(said) <= Duration::from_millis(2),
                    "{:?} and {said:?}",
                    sound.duration()
                );
            }
            ensure!(
                desk.greeting("104,format")? == "wav16",
                "{}",
                desk.greeting("104,format")?
            );

            let listener = desk.phone("104")?.call("*7104")?;
            listener.wait_hears(LOW, LONG, Heard::ALL)?;
            listener.wait_hears(HIGH, LONG, Heard::ALL)?;
            listener.wait_ended()?;
            let listener = desk.phone("101")?.call("*7104")?;
            listener.wait_hears(LOW, LONG, Heard::ALL)?;
            listener.wait_ended()?;
            let heard = listener.heard()?;
            ensure!(
                heard.presence(FOLDED) <= Duration::from_millis(100),
                "what has no place in the narrow band is heard as {:?}",
                heard.melody(&[LOW, FOLDED])
            );

            // A narrow recording takes the wide one of before away.
            let mut menu = Menu::dial(desk, "102", "*600")?;
            menu.begins()?;
            menu.records_listens_and_saves(LOW)?;
            menu.hangs_up()?;
            ensure!(
                desk.greeting("102,format")? == "wav",
                "{}",
                desk.greeting("102,format")?
            );
            let listener = desk.phone("104")?.call("*7102")?;
            listener.wait_hears(LOW, LONG, Heard::ALL)?;
            listener.hangup()?;
            desk.give("104", "default", LOW)?;
            ensure!(
                !desk.file("104", "default-en.wav16").exists(),
                "the old format is still there"
            );
            ensure!(
                desk.greeting("104,format")? == "wav",
                "{}",
                desk.greeting("104,format")?
            );
            desk.is_tidy()
        },
    )
}
