//! Where a recording lies, by what the dialplan says of it.
//!
//! Invariants:
//! - what is said is only ever looked for below the recordings' folder, or is a whole path that the floor below compares
//!   with that folder once every link in it is resolved;
//! - no part of a name is `..` or holds a control character, and below the folder none is hidden.

use std::path::{Path, PathBuf};

/// Longest name that is looked for: PATH_MAX.
const LONGEST: usize = 4_096;

/// Formats that MixMonitor writes, by the extensions of Asterisk's own format modules (`formats/format_*.c`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// RIFF with 16-bit samples: `wav`, `wav16`.
    Wav,
    /// Headerless 16-bit samples at that rate: `sln`, `sln16`, `raw`.
    Sln(u32),
    /// G.711 µ-law.
    Ulaw,
    /// G.711 A-law.
    Alaw,
    /// Ready.
    Mp3,
    /// What Asterisk reads itself: `gsm`, `WAV` (wav49), `g722` and the rest.
    Asterisk,
}

impl Format {
    /// By the file's extension. `WAV` in capitals is another format than `wav` (`main/file.c`, build_filename).
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        Some(match extension {
            "wav" | "wav16" => Self::Wav,
            "sln" | "raw" => Self::Sln(8_000),
            "sln12" => Self::Sln(12_000),
            "sln16" => Self::Sln(16_000),
            "sln24" => Self::Sln(24_000),
            "sln32" => Self::Sln(32_000),
            "sln44" => Self::Sln(44_100),
            "sln48" => Self::Sln(48_000),
            "sln96" => Self::Sln(96_000),
            "sln192" => Self::Sln(192_000),
            "ulaw" | "ul" | "mu" | "ulw" | "pcm" => Self::Ulaw,
            "alaw" | "al" | "alw" => Self::Alaw,
            "mp3" => Self::Mp3,
            "WAV" | "wav49" | "gsm" | "g722" | "g729" | "g726-40" | "g726-32" | "g726-24" | "g726-16"
            | "ilbc" | "siren7" | "siren14" | "vox" | "au" | "ogg" => Self::Asterisk,
            _ => return None,
        })
    }
}

/// Extensions that a name without one may have, what FreePBX writes first; `raw` is what MixMonitor adds itself.
const USUAL: [&str; 14] = [
    "wav", "WAV", "wav16", "gsm", "ulaw", "ul", "alaw", "al", "sln", "sln16", "g722", "raw", "pcm", "mp3",
];

/// The files to look for, in this order. `day` is that of the call, such as `2026/11/21`.
///
/// # Errors
/// Why it is no name of a recording.
pub fn candidates(root: &Path, said: &str, day: &str) -> Result<Vec<PathBuf>, &'static str> {
    let said = said.trim();
    if said.is_empty() {
        return Err("the variable is empty");
    }
    if said.len() > LONGEST {
        return Err("the name is too long");
    }
    if said.contains(char::is_control) {
        return Err("the name holds a control character");
    }
    // Of `..wav` Path::with_extension makes `..`: such names, which are hidden ones besides, are none.
    if said.split('/').any(|part| part.starts_with("..")) || said.ends_with('/') {
        return Err("the name leads elsewhere, or is a folder's");
    }
    let mut places = Vec::new();
    if said.starts_with('/') {
        places.push(PathBuf::from(said));
    } else {
        // FreePBX keeps its recordings by day, and its CALLFILENAME is the name alone.
        if !said.contains('/') {
            let own = own_day(said);
            places.extend(own.iter().map(|own| root.join(own).join(said)));
            if !day.is_empty() && own.as_deref() != Some(day) {
                places.push(root.join(day).join(said));
            }
        }
        // What is relative lies below the folder (`apps/app_mixmonitor.c`, filename_parse).
        places.push(root.join(said));
    }
    if Format::of(Path::new(said)).is_some() {
        return Ok(places.into_iter().map(as_written).collect());
    }
    let with = |place: &PathBuf, extension: &str| {
        let mut name = place.as_os_str().to_owned();
        name.push(".");
        name.push(extension);
        PathBuf::from(name)
    };
    Ok(places
        .iter()
        .flat_map(|place| USUAL.iter().map(|extension| with(place, extension)))
        .collect())
}

/// `wav49` is written as `WAV` (`main/file.c`, build_filename).
fn as_written(place: PathBuf) -> PathBuf {
    if place.extension().is_some_and(|extension| extension == "wav49") {
        place.with_extension("WAV")
    } else {
        place
    }
}

/// The day in a name such as FreePBX gives: `in-74951234567-79101234567-20261121-163000-1795278600.12`.
fn own_day(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('-').collect();
    parts.windows(2).find_map(|pair| {
        let digits =
            |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
        let [date, time] = pair else { return None };
        if !digits(date, 8) || !digits(time, 6) {
            return None;
        }
        let (year, month, day) = (&date[..4], &date[4..6], &date[6..]);
        (("01"..="12").contains(&month) && ("01"..="31").contains(&day))
            .then(|| format!("{year}/{month}/{day}"))
    })
}

/// Whether a path below the folder has a part that begins with a dot: half-made files do, and no link names one.
#[must_use]
pub fn is_hidden(below: &Path) -> bool {
    below
        .components()
        .any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"."))
}

/// The name of the mp3 that stands for a recording: in its folder.
#[must_use]
pub fn target(source: &Path) -> PathBuf {
    source.with_extension("mp3")
}

/// Where the mp3 is made: hidden, so that no link names it, and always the same, so that what a crash has left is overwritten.
#[must_use]
pub fn unfinished(source: &Path) -> PathBuf {
    let name = source.file_stem().unwrap_or_default().to_string_lossy();
    source.with_file_name(format!(".{name}.planfix.part"))
}

/// Which of two variables of a channel names the recording. `said` is the configured one, `mixmonitor` MixMonitor's own, which
/// always has the whole path (`apps/app_mixmonitor.c`, filename_parse); a bare name gives way to it.
#[must_use]
pub fn choose(said: Option<String>, mixmonitor: Option<String>) -> Option<String> {
    let set = |value: Option<String>| value.filter(|value| !value.trim().is_empty());
    let (said, mixmonitor) = (set(said), set(mixmonitor));
    match said {
        Some(said) if said.contains('/') || Format::of(Path::new(&said)).is_some() => Some(said),
        said => mixmonitor.or(said),
    }
}

/// The name that `CDR(recordingfile)` is to have, if it is not what `now` says already: the article sets it to the mp3's, and
/// so does FreePBX to its own recording's. What names another recording stays.
#[must_use]
pub fn recordingfile(said: &str, now: &str) -> Option<String> {
    let stem = |name: &str| -> String {
        let name = Path::new(name.trim()).file_name().unwrap_or_default();
        let known = Format::of(Path::new(name)).is_some();
        let stem = if known {
            Path::new(name).file_stem().unwrap_or_default()
        } else {
            name
        };
        stem.to_string_lossy().into_owned()
    };
    let own = stem(said);
    if own.is_empty() || (!now.is_empty() && stem(now) != own) {
        return None;
    }
    let name = format!("{own}.mp3");
    (name != now).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::{Format, candidates, choose, own_day, recordingfile, target, unfinished};
    use std::path::{Path, PathBuf};

    fn places(said: &str) -> Vec<String> {
        let found = candidates(Path::new("/monitor"), said, "2026/11/21").unwrap();
        found
            .into_iter()
            .map(|place| place.display().to_string())
            .collect()
    }

    #[test]
    fn what_mixmonitor_says_is_a_whole_path() {
        assert_eq!(places("/monitor/2026/11/21/a.wav"), ["/monitor/2026/11/21/a.wav"]);
        assert_eq!(places(" /monitor/a.gsm "), ["/monitor/a.gsm"]);
    }

    #[test]
    fn a_relative_name_lies_below_the_folder() {
        assert_eq!(places("sub/a.wav"), ["/monitor/sub/a.wav"]);
        assert_eq!(places("a.wav49"), ["/monitor/2026/11/21/a.WAV", "/monitor/a.WAV"]);
    }

    #[test]
    fn freepbx_names_have_no_extension_and_lie_by_day() {
        let found = places("in-74951234567-79101234567-20260131-163000-1795278600.12");
        let name = "in-74951234567-79101234567-20260131-163000-1795278600.12";
        assert_eq!(
            found[0],
            format!("/monitor/2026/01/31/{name}.wav"),
            "its own day first"
        );
        assert!(
            found.contains(&format!("/monitor/2026/11/21/{name}.gsm")),
            "then the call's"
        );
        assert!(found.contains(&format!("/monitor/{name}.mp3")));
    }

    #[test]
    fn nothing_leads_out_by_its_name() {
        for bad in [
            "",
            "  ",
            "../a.wav",
            "/monitor/../etc/passwd",
            "..wav49",
            "/monitor/",
            "a\nb.wav",
            &"a/".repeat(3_000),
        ] {
            assert!(candidates(Path::new("/monitor"), bad, "").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_hidden_below_the_folder_is_told() {
        for (path, hidden) in [
            ("a.wav", false),
            (".a.planfix.part", true),
            ("2026/.x/a.wav", true),
            ("a/b.c/d.wav", false),
        ] {
            assert_eq!(super::is_hidden(Path::new(path)), hidden, "{path}");
        }
    }

    #[test]
    fn the_day_in_a_name_is_a_date_followed_by_a_time() {
        assert_eq!(
            own_day("out-79101234567-101-20261121-163000-1.2").unwrap(),
            "2026/11/21"
        );
        for name in [
            "20261121",
            "a-20261321-163000-1",
            "a-20261121-1630-1",
            "79101234-123456",
            "",
        ] {
            assert_eq!(own_day(name), None, "{name}");
        }
    }

    #[test]
    fn capitals_are_another_format() {
        assert_eq!(Format::of(Path::new("a.wav")), Some(Format::Wav));
        assert_eq!(Format::of(Path::new("a.WAV")), Some(Format::Asterisk));
        assert_eq!(Format::of(Path::new("a.sln16")), Some(Format::Sln(16_000)));
        assert_eq!(Format::of(Path::new("1795278600.12")), None);
        assert_eq!(Format::of(Path::new("a")), None);
    }

    #[test]
    fn the_mp3_lies_beside_and_is_made_under_a_hidden_name() {
        let source = Path::new("/monitor/a.b.wav");
        assert_eq!(target(source), PathBuf::from("/monitor/a.b.mp3"));
        assert_eq!(unfinished(source), PathBuf::from("/monitor/.a.b.planfix.part"));
    }

    #[test]
    fn mixmonitors_own_word_wins_over_a_bare_name() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            choose(some("in-1"), some("/monitor/in-1.wav")),
            some("/monitor/in-1.wav")
        );
        assert_eq!(choose(some("in-1"), None), some("in-1"));
        assert_eq!(choose(some("a.wav"), some("/monitor/b.wav")), some("a.wav"));
        assert_eq!(choose(some(" "), some("")), None);
    }

    #[test]
    fn recordingfile_is_the_mp3s_name_unless_another_recording_stands_there() {
        assert_eq!(recordingfile("/monitor/a.wav", ""), Some("a.mp3".to_owned()));
        assert_eq!(recordingfile("/monitor/a.wav", "a.wav"), Some("a.mp3".to_owned()));
        assert_eq!(
            recordingfile("in-1.2", "in-1.2.wav"),
            Some("in-1.2.mp3".to_owned())
        );
        assert_eq!(recordingfile("/monitor/a.wav", "a.mp3"), None);
        assert_eq!(recordingfile("/monitor/a.wav", "b.wav"), None);
        assert_eq!(recordingfile("", ""), None);
    }
}
