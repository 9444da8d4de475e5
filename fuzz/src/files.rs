//! Recordings: links to them, parts of them, their names, what is in them.

use std::hint::black_box;
use std::path::{Component, Path};
use std::time::Duration;

use res_planfix::core::audio_path::AudioPath;
use res_planfix::core::greeting::sound::Sound;
use res_planfix::core::link::{Base, KEY_BYTES, Keys, Verdict, plain, signed, verify};
use res_planfix::core::range::{Answer, Asked, File, answer};
use res_planfix::core::recording::pcm::{Coding, HEAD, wave as read_wave};
use res_planfix::core::recording::{mp3 as read_mp3, place as read_place};

use super::readers::is_line;

const BASE: &str = "https://pbx.example.com/planfix/records";
const END: u64 = 1_800_000_000;

fn keys() -> Keys {
    Keys::first([7; KEY_BYTES]).rotated([9; KEY_BYTES]).unwrap()
}

fn tails(path: &AudioPath) -> [String; 2] {
    [None, Some(END)].map(|end| signed(BASE, &keys(), path, end)[BASE.len() + 1..].to_owned())
}

/// What stands behind the base in a link, a recording's path, or the file of keys.
pub fn link(input: &[u8]) {
    let keys = keys();
    match verify(&keys, input, END - 1) {
        // Nobody without the key makes one: it is a seed, and no other form of it.
        Verdict::Good(path) => assert!(tails(&path).iter().any(|tail| tail.as_bytes() == input)),
        Verdict::Expired => panic!("no seed ends before that"),
        Verdict::Bad => {}
    }
    let text = String::from_utf8_lossy(input);
    if let Ok(kept) = Keys::from_text(&text) {
        assert_eq!(kept.to_text().lines().last().map(str::len), Some(4 + 64));
        assert!(Keys::from_text(&kept.to_text()).is_ok_and(|again| again.count() == kept.count()));
    }
    if let Base::Own(base) | Base::Outside(base) = Base::read(&text) {
        assert!(!base.is_empty() && !base.ends_with('/'));
    }
    let Ok(path) = AudioPath::from_bytes(input) else {
        return;
    };
    assert!(
        path.as_path()
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
    );
    assert!(!read_place::is_hidden(path.as_path()));
    assert!(is_line(&path.harmless_name()) && path.harmless_name().is_ascii());
    let outside = plain("x:", &path);
    assert!(
        outside
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b":/-._~%".contains(&byte))
    );
    for tail in tails(&path) {
        assert_eq!(
            verify(&keys, tail.as_bytes(), END - 1),
            Verdict::Good(path.clone())
        );
        assert_eq!(
            verify(&Keys::first([7; KEY_BYTES]), tail.as_bytes(), END - 1),
            Verdict::Bad
        );
    }
}

/// Links that work, whose neighbours must not.
pub fn links(_: &Path) -> Vec<Vec<u8>> {
    let paths = [
        "a.wav",
        "2026/11/21/out-79101234567-101-1.2.mp3",
        "разговор с клиентом.mp3",
    ];
    let signed = paths
        .iter()
        .flat_map(|path| tails(&AudioPath::from_bytes(path.as_bytes()).unwrap()));
    let mut seeds: Vec<Vec<u8>> = signed.map(String::into_bytes).collect();
    seeds.extend(paths.map(|path| path.as_bytes().to_vec()));
    seeds.push(keys().to_text().into_bytes());
    seeds.push(BASE.as_bytes().to_vec());
    seeds
}

/// A line with the file's size and age, then headers, as `Name: value` lines.
pub fn range(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.lines();
    let (size, modified) = lines
        .next()
        .unwrap_or_default()
        .split_once(' ')
        .unwrap_or_default();
    let file = File {
        size: size.parse().unwrap_or(0),
        etag: "\"5f-1a\"".to_owned(),
        modified: modified.parse().unwrap_or(0),
    };
    let mut asked = Asked::default();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap_or((line, ""));
        match name {
            "Range" => asked.range = Some(value),
            "If-Range" => asked.if_range = Some(value),
            "If-None-Match" => asked.if_none_match = Some(value),
            "If-Modified-Since" => asked.if_modified_since = Some(value),
            "If-Match" => asked.if_match = Some(value),
            "If-Unmodified-Since" => asked.if_unmodified_since = Some(value),
            "Head" => asked.head = true,
            _ => {}
        }
    }
    let given = answer(&file, &asked);
    if let Some(part) = given.body(&file) {
        assert!(part.first <= part.last && part.last < file.size);
        assert!((1..=file.size).contains(&part.length()));
    } else {
        assert!(!matches!(given, Answer::Part(_)) && (file.size == 0 || given != Answer::Whole));
    }
    assert!(!asked.head || !matches!(given, Answer::Part(_) | Answer::Unsatisfiable));
    assert!([200, 206, 304, 412, 416].contains(&given.status()));
    let path = AudioPath::from_bytes(b"a/b.mp3").unwrap();
    assert!(
        given
            .headers(&file, &path)
            .iter()
            .all(|(_, value)| is_line(value))
    );
}

/// What the dialplan says of a recording's place.
pub fn place(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (said, now) = text.split_once('\n').unwrap_or((&text, ""));
    let root = Path::new("/var/spool/asterisk/monitor");
    if let Ok(places) = read_place::candidates(root, said, "2026/11/21") {
        assert!(!places.is_empty() && places.len() <= 64);
        for place in places {
            assert!(place.is_absolute() && !place.components().any(|part| part == Component::ParentDir));
            assert!(
                said.trim().starts_with('/') || place.starts_with(root),
                "{place:?}"
            );
            black_box(read_place::is_hidden(&place));
            assert_eq!(read_place::target(&place).parent(), place.parent());
            assert_eq!(read_place::unfinished(&place).parent(), place.parent());
            assert!(read_place::is_hidden(Path::new(
                read_place::unfinished(&place).file_name().unwrap()
            )));
        }
    }
    if let Some(name) = read_place::recordingfile(said, now) {
        assert!(name.ends_with(".mp3") && !name.contains('/') && name != now);
        assert_eq!(read_place::recordingfile(said, &name), None, "once is enough");
    }
    let chosen = read_place::choose(Some(said.to_owned()), Some(now.to_owned()));
    assert!(chosen.is_none_or(|chosen| chosen == said || chosen == now));
}

/// The beginning of a wav file.
pub fn wave(input: &[u8]) {
    let head = &input[..input.len().min(HEAD)];
    for length in [input.len() as u64, 44, u64::MAX] {
        if let Ok(wave) = read_wave(head, length) {
            assert!((4_000..=192_000).contains(&wave.rate) && (1..=2).contains(&wave.channels));
            assert!(wave.start <= head.len() as u64);
            assert!(wave.length <= length.saturating_sub(wave.start));
            let mut samples = Vec::new();
            let sound = &input[usize::try_from(wave.start).unwrap()..];
            wave.coding.decode(sound, &mut samples);
            assert_eq!(samples.len(), sound.len() / wave.coding.width() * 2);
        }
    }
    if let Ok(sound) = Sound::from_wav(input) {
        assert!(sound.samples.len() <= input.len());
        assert_eq!(Sound::from_wav(&sound.to_wav(sound.rate)).as_ref(), Ok(&sound));
        let trimmed = sound.trimmed(256);
        assert!(sound.samples.starts_with(&trimmed.samples) && trimmed.length() <= sound.length());
    }
    for coding in [Coding::Linear, Coding::Ulaw, Coding::Alaw] {
        let mut samples = Vec::new();
        coding.decode(head, &mut samples);
        assert_eq!(samples.len(), head.len() / coding.width() * 2);
    }
}

/// An mp3.
pub fn mp3(input: &[u8]) {
    if let Ok(found) = read_mp3::examine(input) {
        // The shortest frame has 24 bytes, and plays for at most 144 ms.
        assert!(found.frames > 0 && found.frames <= input.len() as u64 / 24);
        assert!(found.length <= Duration::from_millis(144) * u32::try_from(found.frames).unwrap());
    }
}
