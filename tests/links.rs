//! Links to recordings, and the ranges that are asked of them: what must work, what an attacker tries, and random input.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use res_planfix::core::audio_path::AudioPath;
use res_planfix::core::link::{self, Base, Keys, Verdict, signed, verify};
use res_planfix::core::range::{Answer, Asked, File, Part, answer};
use res_planfix::core::settings::Recordings;
use res_planfix::delivery::link_keys::{Before, LinkKeys};
use res_planfix::delivery::links::{self, Links};
use res_planfix::delivery::served_file::ServedFile;
use ring::hmac;

const BASE: &str = "https://pbx.example.com/planfix/records";
const NOW: u64 = 1_763_742_600;
const SECRET: [u8; 32] = [7; 32];
const ROUNDS: usize = 20_000;

fn random() -> fastrand::Rng {
    let seed = std::env::var("RES_PLANFIX_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    println!("RES_PLANFIX_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

fn path(text: &str) -> AudioPath {
    AudioPath::from_bytes(text.as_bytes()).unwrap()
}

/// What of a link comes to the module.
fn tail(link: &str) -> &[u8] {
    link.strip_prefix(BASE)
        .unwrap()
        .strip_prefix('/')
        .unwrap()
        .as_bytes()
}

/// A link with any content, signed as the module signs.
fn forged(secret: &[u8], payload: &[u8], extension: &str) -> Vec<u8> {
    let signed = BASE64.encode(payload);
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = BASE64.encode(hmac::sign(&key, signed.as_bytes()));
    format!("{signed}.{signature}.{extension}").into_bytes()
}

fn payload(version: u8, key: u16, end: u64, path: &[u8]) -> Vec<u8> {
    [&[version][..], &key.to_be_bytes(), &end.to_be_bytes(), path].concat()
}

#[test]
fn a_link_leads_to_its_recording_and_needs_no_escaping() {
    let keys = Keys::first(SECRET);
    for text in [
        "2026/11/21/out-79101234567-101-1763742600.1.mp3",
        "a.wav",
        "с пробелом & + % # ? \" .mp3",
        "q/\\..\\x.gsm",
    ] {
        let path = path(text);
        for end in [None, Some(NOW + 1)] {
            let link = signed(BASE, &keys, &path, end);
            assert_eq!(link, signed(BASE, &keys, &path, end), "the same every time");
            let tail = tail(&link);
            assert!(
                tail.iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte)),
                "{link}"
            );
            assert!(link.ends_with(&format!(".{}", path.extension())), "{link}");
            assert_eq!(verify(&keys, tail, NOW), Verdict::Good(path.clone()));
        }
    }
}

#[test]
fn the_longest_path_fits_into_asterisks_request_line() {
    let long = ("x".repeat(204) + "/").repeat(4) + &"y".repeat(200) + ".mp3";
    let link = signed(BASE, &Keys::first(SECRET), &path(&long), None);
    assert!(link.len() < 1_600, "{}", link.len());
    assert_eq!(long.len(), 1_024);
    assert!(AudioPath::from_bytes(("x".to_owned() + &long).as_bytes()).is_err());
}

#[test]
fn an_expired_link_is_told_from_a_wrong_one() {
    let keys = Keys::first(SECRET);
    let link = signed(BASE, &keys, &path("a.mp3"), Some(NOW));
    assert_eq!(verify(&keys, tail(&link), NOW - 1), Verdict::Good(path("a.mp3")));
    assert_eq!(verify(&keys, tail(&link), NOW), Verdict::Expired);
    assert_eq!(verify(&keys, tail(&link), u64::MAX), Verdict::Expired);
    // Nobody learns from an answer that a time has passed unless he has the link.
    let text = String::from_utf8(tail(&link).to_vec()).unwrap();
    let wrong = text.replacen('.', ".A", 1);
    assert_eq!(verify(&keys, wrong.as_bytes(), NOW), Verdict::Bad);
    let for_ever = signed(BASE, &keys, &path("a.mp3"), None);
    assert_eq!(
        verify(&keys, tail(&for_ever), u64::MAX),
        Verdict::Good(path("a.mp3"))
    );
}

#[test]
fn no_link_can_be_changed_into_another_that_works() {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=/%+ \0\xff";
    let keys = Keys::first(SECRET);
    let link = signed(BASE, &keys, &path("2026/11/21/a.mp3"), Some(NOW + 9));
    let good = tail(&link).to_vec();
    let bad = |tail: &[u8]| assert_eq!(verify(&keys, tail, NOW), Verdict::Bad, "{}", tail.escape_ascii());
    for at in 0..good.len() {
        for letter in LETTERS {
            let mut changed = good.clone();
            changed[at] = *letter;
            if changed != good {
                bad(&changed);
            }
            let mut longer = good.clone();
            longer.insert(at, *letter);
            bad(&longer);
        }
        let mut shorter = good.clone();
        shorter.remove(at);
        bad(&shorter);
        bad(&good[..at]);
        bad(&good[at + 1..]);
    }
    for letter in LETTERS {
        bad(&[&good[..], &[*letter]].concat());
    }
}

#[test]
fn the_signature_of_one_recording_serves_no_other() {
    let keys = Keys::first(SECRET);
    let of = |name: &str| {
        let link = signed(BASE, &keys, &path(name), None);
        let text = String::from_utf8(tail(&link).to_vec()).unwrap();
        let (signed, rest) = text.split_once('.').unwrap();
        let (signature, _) = rest.split_once('.').unwrap();
        (signed.to_owned(), signature.to_owned())
    };
    let ((mine, my_signature), (other, other_signature)) = (of("mine.mp3"), of("other.mp3"));
    for (signed, signature) in [
        (&other, my_signature.as_str()),
        (&mine, &other_signature),
        (&other, ""),
        (&other, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        // A part of the right one, and more than it.
        (&other, &other_signature[..22]),
        (&other, &other_signature[..42]),
        (&other, &(other_signature.clone() + &other_signature)),
        (&other, &(other_signature.clone() + "=")),
    ] {
        let tail = format!("{signed}.{signature}.mp3");
        assert_eq!(verify(&keys, tail.as_bytes(), NOW), Verdict::Bad, "{tail}");
    }
    let right = format!("{other}.{other_signature}.mp3");
    assert_eq!(
        verify(&keys, right.as_bytes(), NOW),
        Verdict::Good(path("other.mp3"))
    );
    for extension in ["", "wav", "MP3", "mp3.mp3", "mp3/..", "mp3?", "mp3\0"] {
        let tail = format!("{other}.{other_signature}.{extension}");
        assert_eq!(verify(&keys, tail.as_bytes(), NOW), Verdict::Bad, "{tail}");
    }
}

#[test]
fn even_a_right_signature_leads_nowhere_else() {
    let keys = Keys::first(SECRET);
    // The forger of this test is as good as the module.
    let good = forged(&SECRET, &payload(1, 1, 0, b"a/b.mp3"), "mp3");
    assert_eq!(verify(&keys, &good, NOW), Verdict::Good(path("a/b.mp3")));
    for (name, extension) in [
        (&b"../../etc/asterisk/planfix.conf"[..], "conf"),
        (b"../a.mp3", "mp3"),
        (b"a/../../a.mp3", "mp3"),
        (b"/etc/a.mp3", "mp3"),
        (b"//a.mp3", "mp3"),
        (b"a//b.mp3", "mp3"),
        (b"./a.mp3", "mp3"),
        (b".hidden.mp3", "mp3"),
        (b"a\0.mp3", "mp3"),
        (b"a.mp3\0", "mp3"),
        (b"a.conf\0.mp3", "mp3"),
        (b"a\n.mp3", "mp3"),
        (b"", "mp3"),
        (b"mp3", "mp3"),
        (b"planfix.conf", "conf"),
        (b"a.wav", "mp3"),
    ] {
        let tail = forged(&SECRET, &payload(1, 1, 0, name), extension);
        assert_eq!(verify(&keys, &tail, NOW), Verdict::Bad, "{}", name.escape_ascii());
    }
    for wrong in [
        forged(&[8; 32], &payload(1, 1, 0, b"a.mp3"), "mp3"),
        forged(b"", &payload(1, 1, 0, b"a.mp3"), "mp3"),
        forged(&SECRET, &payload(2, 1, 0, b"a.mp3"), "mp3"),
        forged(&SECRET, &payload(1, 2, 0, b"a.mp3"), "mp3"),
        forged(&SECRET, &payload(1, 0, 0, b"a.mp3"), "mp3"),
        forged(&SECRET, &[1, 0, 1], "mp3"),
        forged(&SECRET, &[1, 0, 1, 0, 0, 0, 0, 0, 0, 0], "mp3"),
        forged(&SECRET, b"", "mp3"),
    ] {
        assert_eq!(
            verify(&keys, &wrong, NOW),
            Verdict::Bad,
            "{}",
            wrong.escape_ascii()
        );
    }
    // Percent-encoding is nothing that a link has: Asterisk hands the path over as it was written.
    for tail in [
        "..%2f..%2fetc%2fpasswd.mp3",
        "%2e%2e/%2e%2e/etc/passwd",
        "%252e%252e%252fa.mp3",
        "..\\..\\a.mp3",
        "/etc/passwd",
        "2026/11/21/a.mp3",
        "",
        "/",
        ".",
        "..",
        "...",
        ".mp3",
        "..mp3",
    ] {
        assert_eq!(verify(&keys, tail.as_bytes(), NOW), Verdict::Bad, "{tail}");
    }
    let long = vec![b'A'; 100_000];
    assert_eq!(verify(&keys, &long, NOW), Verdict::Bad);
    assert_eq!(
        verify(&keys, &[&long[..], b".", &long, b".mp3"].concat(), NOW),
        Verdict::Bad
    );
}

#[test]
fn random_tails_are_bad_and_random_paths_come_back() {
    let mut random = random();
    let keys = Keys::first(SECRET);
    for _ in 0..ROUNDS {
        let noise: Vec<u8> = (0..random.usize(..120)).map(|_| random.u8(..)).collect();
        assert_eq!(
            verify(&keys, &noise, NOW),
            Verdict::Bad,
            "{}",
            noise.escape_ascii()
        );
        // Whatever the file system can hold comes back, and whatever is taken stays below.
        let mut name: Vec<u8> = (0..random.usize(..40))
            .map(|_| *random.choice(b"ab./\\ %\xd1\x8f\0\n-".as_slice()).unwrap())
            .collect();
        name.extend_from_slice(b".mp3");
        let Ok(taken) = AudioPath::from_bytes(&name) else {
            continue;
        };
        assert!(taken.as_path().is_relative());
        assert!(
            taken
                .as_path()
                .components()
                .all(|part| matches!(part, std::path::Component::Normal(_))),
            "{}",
            name.escape_ascii()
        );
        let link = signed(BASE, &keys, &taken, None);
        assert_eq!(verify(&keys, tail(&link), NOW), Verdict::Good(taken));
    }
}

#[test]
fn links_outlive_a_rotation_and_die_by_a_revocation() {
    let first = Keys::first(SECRET);
    let second = first.rotated([9; 32]).unwrap();
    let (old, new) = (
        signed(BASE, &first, &path("a.mp3"), None),
        signed(BASE, &second, &path("a.mp3"), None),
    );
    assert_ne!(old, new);
    let good = Verdict::Good(path("a.mp3"));
    assert_eq!(verify(&second, tail(&old), NOW), good);
    assert_eq!(verify(&second, tail(&new), NOW), good);
    assert_eq!(verify(&first, tail(&new), NOW), Verdict::Bad);
    let only = second.latest_only();
    assert_eq!(verify(&only, tail(&old), NOW), Verdict::Bad);
    assert_eq!(verify(&only, tail(&new), NOW), good);
    // A key's number is never given to another key.
    let third = only.rotated(SECRET).unwrap();
    assert_eq!(verify(&third, tail(&old), NOW), Verdict::Bad);
}

#[test]
fn the_text_of_the_keys_is_theirs_to_the_letter() {
    let keys = Keys::first(SECRET).rotated([9; 32]).unwrap();
    let text = keys.to_text();
    let read = Keys::from_text(&text).unwrap();
    let link = signed(BASE, &keys, &path("a.mp3"), None);
    assert_eq!(link, signed(BASE, &read, &path("a.mp3"), None));
    assert!(!format!("{keys:?}").contains("07"), "{keys:?}");
    for at in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[at] ^= 1;
        let changed = String::from_utf8(changed).unwrap();
        assert!(Keys::from_text(&changed).is_err(), "{changed}");
        assert!(Keys::from_text(&text[..at]).is_err(), "{at}");
    }
    for wrong in ["", "\n", "sum ", "1 00\n"] {
        assert!(Keys::from_text(wrong).is_err());
    }
    assert!(Keys::from_text(&(text.clone() + "\n")).is_err());
    // A line that is missing is missed too.
    let without: String = text
        .lines()
        .filter(|line| !line.starts_with("2 "))
        .map(|line| line.to_owned() + "\n")
        .collect();
    assert!(Keys::from_text(&without).is_err());
}

#[test]
fn whose_the_links_are_is_told_by_the_end_of_their_path() {
    let own = |link: &str| assert_eq!(Base::read(link), Base::Own(link.trim_end_matches('/').to_owned()));
    own("https://pbx.example.com/planfix/records");
    own("https://pbx.example.com/planfix/records/");
    own("http://10.0.0.1:8088/asterisk/planfix/records");
    assert_eq!(Base::read(""), Base::None);
    for outside in [
        "https://pbx.example.com/records",
        "https://pbx.example.com/planfix/records/2026",
        "https://pbx.example.com/myplanfix/records2",
        // The first part is the host.
        "https://planfix/records",
        "https://planfix",
    ] {
        assert_eq!(Base::read(outside), Base::Outside(outside.to_owned()));
    }
    assert_eq!(
        link::plain("https://files.example.com/r", &path("2026/11/с+о 1&2.mp3")),
        "https://files.example.com/r/2026/11/%D1%81%2B%D0%BE%201%262.mp3"
    );
}

const SIZE: u64 = 1_000;

fn file(size: u64) -> File {
    File {
        size,
        etag: "\"5f-1\"".to_owned(),
        modified: NOW,
    }
}

fn range(range: &str, size: u64) -> Answer {
    answer(
        &file(size),
        &Asked {
            range: Some(range),
            ..Asked::default()
        },
    )
}

#[test]
fn ranges_are_those_of_the_standard() {
    let part = |first, last| Answer::Part(Part { first, last });
    for (asked, expected) in [
        ("bytes=0-0", part(0, 0)),
        ("bytes=0-499", part(0, 499)),
        ("bytes=500-", part(500, 999)),
        ("bytes=999-", part(999, 999)),
        ("bytes=0-", part(0, 999)),
        ("bytes=0-999", part(0, 999)),
        ("bytes=0-1000", part(0, 999)),
        ("bytes=-1", part(999, 999)),
        ("bytes=-1000", part(0, 999)),
        ("bytes=-1001", part(0, 999)),
        ("Bytes=1-2", part(1, 2)),
        ("bytes= 1-2 ", part(1, 2)),
        ("bytes=0-18446744073709551615", part(0, 999)),
        ("bytes=0-18446744073709551616", part(0, 999)),
        ("bytes=-99999999999999999999999999", part(0, 999)),
        ("bytes=007-8", part(7, 8)),
        // The file is too short.
        ("bytes=1000-", Answer::Unsatisfiable),
        ("bytes=1000-2000", Answer::Unsatisfiable),
        ("bytes=-0", Answer::Unsatisfiable),
        (
            "bytes=18446744073709551615-18446744073709551615",
            Answer::Unsatisfiable,
        ),
        ("bytes=18446744073709551616-", Answer::Unsatisfiable),
        (
            "bytes=99999999999999999999-99999999999999999999",
            Answer::Unsatisfiable,
        ),
        // Not ranges, or several.
        ("bytes=2-1", Answer::Whole),
        ("bytes=0-1,3-4", Answer::Whole),
        ("bytes=0-,0-,0-,0-", Answer::Whole),
        ("bytes=-", Answer::Whole),
        ("bytes=", Answer::Whole),
        ("bytes", Answer::Whole),
        ("", Answer::Whole),
        ("seconds=1-2", Answer::Whole),
        ("bytes=a-b", Answer::Whole),
        ("bytes=0x1-2", Answer::Whole),
        ("bytes=+1-2", Answer::Whole),
        ("bytes=--1", Answer::Whole),
        ("bytes=1--2", Answer::Whole),
        ("bytes=1-2-3", Answer::Whole),
        ("bytes=1 - 2", Answer::Whole),
        ("bytes=½-", Answer::Whole),
    ] {
        assert_eq!(range(asked, SIZE), expected, "{asked}");
    }
    for asked in ["bytes=0-", "bytes=0-0", "bytes=-1", "bytes=-0"] {
        assert_eq!(range(asked, 0), Answer::Unsatisfiable, "{asked} of nothing");
    }
    let last = u64::MAX - 1;
    assert_eq!(range("bytes=-1", u64::MAX), part(last, last));
    assert_eq!(range("bytes=0-", u64::MAX), part(0, last));
}

#[test]
fn random_ranges_stay_within_the_file() {
    let mut random = random();
    for _ in 0..ROUNDS {
        let size = *random.choice(&[0, 1, 2, 7, 1_000, u64::MAX]).unwrap();
        let mut number = || match random.u8(..5) {
            0 => String::new(),
            1 => random.u64(..10).to_string(),
            2 => random.u64(..2_000).to_string(),
            3 => random.u64(..).to_string(),
            _ => format!("{}0", random.u64(..)),
        };
        let asked = format!("bytes={}-{}", number(), number());
        let answer = range(&asked, size);
        if let Some(part) = answer.body(&file(size)) {
            assert!(
                part.first <= part.last && part.last < size,
                "{asked} of {size}: {part:?}"
            );
            assert!(
                part.length() > 0 && part.length() <= size,
                "{asked} of {size}: {part:?}"
            );
        }
        let headers = answer.headers(&file(size), &path("a.mp3"));
        let range = headers.iter().find(|(name, _)| *name == "Content-Range");
        assert_eq!(range.is_some(), matches!(answer.status(), 206 | 416), "{asked}");
    }
}

#[test]
fn conditions_are_judged_in_the_order_of_the_standard() {
    const SAME: &str = "Fri, 21 Nov 2025 16:30:00 GMT";
    const BEFORE: &str = "Fri, 21 Nov 2025 16:29:59 GMT";
    const AFTER: &str = "Sat, 22 Nov 2025 00:00:00 GMT";
    assert_eq!(
        httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(NOW)),
        SAME,
        "the dates of this test"
    );
    let judge = |asked: Asked<'_>| answer(&file(SIZE), &asked).status();
    let none = Asked::default();
    let ranged = Asked {
        range: Some("bytes=1-2"),
        ..none
    };
    assert_eq!(judge(none), 200);
    assert_eq!(judge(ranged), 206);
    assert_eq!(judge(Asked { head: true, ..ranged }), 200, "ranges are for GET");
    for (tags, expected) in [
        ("\"5f-1\"", 304),
        ("W/\"5f-1\"", 304),
        ("\"x\", \"5f-1\"", 304),
        ("\"x\",W/\"5f-1\"", 304),
        ("*", 304),
        ("\"x\"", 206),
        ("5f-1", 206),
        ("", 206),
    ] {
        let asked = Asked {
            if_none_match: Some(tags),
            ..ranged
        };
        assert_eq!(judge(asked), expected, "{tags}");
        // A date beside it is not looked at.
        let asked = Asked {
            if_modified_since: Some(AFTER),
            ..asked
        };
        assert_eq!(judge(asked), expected, "{tags} and a date");
    }
    for (date, expected) in [
        (SAME, 304),
        (AFTER, 304),
        (BEFORE, 200),
        ("yesterday", 200),
        ("", 200),
    ] {
        let asked = Asked {
            if_modified_since: Some(date),
            ..none
        };
        assert_eq!(judge(asked), expected, "{date}");
    }
    for (value, expected) in [
        ("\"5f-1\"", 206),
        (SAME, 206),
        ("W/\"5f-1\"", 200),
        ("\"x\"", 200),
        (BEFORE, 200),
        (AFTER, 200),
        ("nonsense", 200),
        ("*", 200),
    ] {
        let asked = Asked {
            if_range: Some(value),
            ..ranged
        };
        assert_eq!(judge(asked), expected, "{value}");
    }
    for (tags, expected) in [
        ("\"5f-1\"", 200),
        ("*", 200),
        ("W/\"5f-1\"", 412),
        ("\"x\"", 412),
        ("", 412),
    ] {
        let asked = Asked {
            if_match: Some(tags),
            ..none
        };
        assert_eq!(judge(asked), expected, "{tags}");
    }
    for (date, expected) in [(SAME, 200), (AFTER, 200), (BEFORE, 412), ("nonsense", 200)] {
        let asked = Asked {
            if_unmodified_since: Some(date),
            ..none
        };
        assert_eq!(judge(asked), expected, "{date}");
    }
}

#[test]
fn an_answer_says_what_it_is() {
    let headers = |answer: Answer| answer.headers(&file(SIZE), &path("2026/он \"101\".mp3"));
    let names = |answer| -> BTreeSet<_> { headers(answer).into_iter().map(|(name, _)| name).collect() };
    let whole = headers(Answer::Whole);
    for header in [
        ("Accept-Ranges", "bytes"),
        ("Content-Disposition", "inline; filename=\"______101_.mp3\""),
        ("X-Content-Type-Options", "nosniff"),
        ("ETag", "\"5f-1\""),
        ("Last-Modified", "Fri, 21 Nov 2025 16:30:00 GMT"),
        ("Cache-Control", "private"),
        ("X-Robots-Tag", "noindex"),
    ] {
        assert!(
            whole
                .iter()
                .any(|(name, value)| (*name, value.as_str()) == header),
            "{whole:?}"
        );
    }
    let part = headers(Answer::Part(Part { first: 1, last: 2 }));
    assert!(
        part.contains(&("Content-Range", "bytes 1-2/1000".to_owned())),
        "{part:?}"
    );
    let unsatisfiable = headers(Answer::Unsatisfiable);
    assert!(
        unsatisfiable.contains(&("Content-Range", "bytes */1000".to_owned())),
        "{unsatisfiable:?}"
    );
    assert!(names(Answer::NotModified).is_superset(&BTreeSet::from(["ETag", "Cache-Control"])));
}

fn served(folder: &Path, name: &str) -> Result<Vec<u8>, String> {
    let file = ServedFile::open(folder, &path(name)).map_err(|error| error.to_string())?;
    let size = file.about().size;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut file.into_file(), &mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, size);
    Ok(bytes)
}

#[test]
fn only_what_lies_in_the_folder_is_opened() {
    let outside = tempfile::tempdir().unwrap();
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("monitor");
    fs::create_dir_all(folder.join("2026/11")).unwrap();
    fs::write(folder.join("2026/11/a.mp3"), "audio").unwrap();
    fs::write(outside.path().join("secret.mp3"), "secret").unwrap();
    fs::write(root.path().join("beside.mp3"), "secret").unwrap();
    assert_eq!(served(&folder, "2026/11/a.mp3").unwrap(), b"audio");

    symlink(outside.path().join("secret.mp3"), folder.join("file.mp3")).unwrap();
    symlink(outside.path(), folder.join("folder")).unwrap();
    symlink("../../beside.mp3", folder.join("2026/up.mp3")).unwrap();
    symlink("..", folder.join("2026/back")).unwrap();
    symlink("nowhere.mp3", folder.join("dangling.mp3")).unwrap();
    symlink("loop.mp3", folder.join("loop.mp3")).unwrap();
    fs::create_dir(folder.join("folder.mp3")).unwrap();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        folder.join("pipe.mp3"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from(0o600),
        0,
    )
    .unwrap();
    let socket = std::os::unix::net::UnixListener::bind(folder.join("socket.mp3")).unwrap();
    for name in [
        "file.mp3",
        "folder/secret.mp3",
        "2026/up.mp3",
        "2026/back/2026/11/a.mp3",
        "dangling.mp3",
        "loop.mp3",
        "folder.mp3",
        "pipe.mp3",
        "socket.mp3",
        "missing.mp3",
        "missing/a.mp3",
        "2026/11/a.mp3/b.mp3",
    ] {
        assert!(served(&folder, name).is_err(), "{name}");
    }
    drop(socket);
    // The folder itself may be a link: recordings often lie on a disk of their own.
    symlink(&folder, root.path().join("linked")).unwrap();
    assert_eq!(
        served(&root.path().join("linked"), "2026/11/a.mp3").unwrap(),
        b"audio"
    );
}

#[test]
fn an_open_file_stays_what_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let name = folder.path().join("a.mp3");
    fs::write(&name, "before").unwrap();
    let open = ServedFile::open(folder.path(), &path("a.mp3")).unwrap();
    let etag = open.about().etag.clone();
    fs::write(folder.path().join("new"), "afterwards").unwrap();
    fs::rename(folder.path().join("new"), &name).unwrap();
    assert_eq!(open.about().size, 6);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut open.into_file(), &mut text).unwrap();
    assert_eq!(text, "before");
    let again = ServedFile::open(folder.path(), &path("a.mp3")).unwrap();
    assert_ne!(again.about().etag, etag, "another file has another tag");
}

fn recordings(link: &str, expires: u64) -> Recordings {
    Recordings {
        link: link.to_owned(),
        link_expires: Duration::from_secs(expires),
        ..Recordings::default()
    }
}

#[test]
fn what_is_given_out_is_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let records = folder.path().join("monitor");
    fs::create_dir(&records).unwrap();
    fs::write(records.join("a.mp3"), "audio").unwrap();
    let keys = Arc::new(LinkKeys::new(&folder.path().join("keys")));
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    let links =
        |link: &str, expires| Links::new(&recordings(link, expires), records.clone(), Arc::clone(&keys));
    let own = links(BASE, 0);
    assert!(own.link(Path::new("a.mp3"), now).is_err(), "there is no key yet");
    assert!(matches!(own.find(b"a.b.mp3", now), links::Asked::Unable));
    keys.open();
    let link = own.link(Path::new("a.mp3"), now).unwrap().unwrap();
    let found = |links: &Links, link: &str, now| match links.find(tail(link), now) {
        links::Asked::Found(path, _) => path.as_path().display().to_string(),
        other => format!("{other:?}"),
    };
    assert_eq!(found(&own, &link, now), "a.mp3");
    assert_eq!(found(&own, &link, now + Duration::from_secs(1 << 33)), "a.mp3");
    // What is gone, and what was never there, is nothing.
    let gone = own.link(Path::new("gone.mp3"), now).unwrap().unwrap();
    assert_eq!(found(&own, &gone, now), "Nothing");
    assert!(own.link(Path::new("../a.mp3"), now).is_err());
    assert!(own.link(Path::new("/a.mp3"), now).is_err());

    let brief = links(BASE, 60);
    let brief = brief.link(Path::new("a.mp3"), now).unwrap().unwrap();
    assert_eq!(found(&own, &brief, now + Duration::from_secs(59)), "a.mp3");
    assert_eq!(found(&own, &brief, now + Duration::from_secs(60)), "Expired");
    // Links that were given out for ever stay so when planfix.conf changes its mind.
    assert_eq!(
        found(&links(BASE, 60), &link, now + Duration::from_secs(1 << 33)),
        "a.mp3"
    );

    let outside = links("https://files.example.com/x", 60);
    assert_eq!(
        outside.link(Path::new("a.mp3"), now).unwrap().unwrap(),
        "https://files.example.com/x/a.mp3"
    );
    for none in [outside, links("", 0)] {
        assert_eq!(found(&none, &link, now), "Nothing", "the module serves nothing");
    }
    assert_eq!(links("", 0).link(Path::new("a.mp3"), now), Ok(None));
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn the_key_is_made_once_and_is_asterisks_alone() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("db/planfix");
    let keys = LinkKeys::new(&place);
    assert!(keys.get().is_err() && !place.exists(), "nobody has asked for it");
    keys.open();
    let text = fs::read_to_string(keys.path()).unwrap();
    assert_eq!((mode(&place), mode(keys.path())), (0o700, 0o600));
    assert_eq!(
        fs::read_dir(&place).unwrap().count(),
        1,
        "nothing is left beside it"
    );
    let link = |keys: &LinkKeys| signed(BASE, &keys.get().unwrap(), &path("a.mp3"), None);

    fs::set_permissions(keys.path(), fs::Permissions::from_mode(0o644)).unwrap();
    let again = LinkKeys::new(&place);
    again.open();
    assert_eq!(link(&keys), link(&again));
    assert_eq!(mode(keys.path()), 0o600, "a careless hand is corrected");
    assert_eq!(fs::read_to_string(keys.path()).unwrap(), text);
    let other = LinkKeys::new(&folder.path().join("other"));
    other.open();
    assert_ne!(link(&keys), link(&other), "two machines have two keys");
    assert!(!text.contains("0000000000"), "it is random: {text}");
}

#[test]
fn several_that_start_at_once_get_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let links: BTreeSet<String> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let keys = LinkKeys::new(folder.path());
                    keys.open();
                    signed(BASE, &keys.get().unwrap(), &path("a.mp3"), None)
                })
            })
            .collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(links.len(), 1, "{links:?}");
}

#[test]
fn a_damaged_key_is_an_error_and_stays_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let keys = LinkKeys::new(folder.path());
    keys.open();
    let right = fs::read(keys.path()).unwrap();
    let link = signed(BASE, &keys.get().unwrap(), &path("a.mp3"), None);
    let mut flipped = right.clone();
    flipped[300] ^= 2;
    for damage in [
        &b""[..],
        b"nonsense",
        b"\xff\xfe",
        &right[..right.len() / 2],
        &flipped,
    ] {
        fs::write(keys.path(), damage).unwrap();
        let keys = LinkKeys::new(folder.path());
        keys.open();
        let said = keys.get().unwrap_err();
        assert!(said.contains("links.key") && said.contains("backup"), "{said}");
        for before in [Before::Kept, Before::Revoked] {
            assert!(keys.rotate(before).is_err());
        }
        assert_eq!(fs::read(keys.path()).unwrap(), damage, "it is not replaced");
        // The backup is put back, and a reload is all that is needed.
        fs::write(keys.path(), &right).unwrap();
        keys.open();
        assert_eq!(signed(BASE, &keys.get().unwrap(), &path("a.mp3"), None), link);
    }
    // What is no file is not read, and not waited for.
    let other = folder.path().join("other");
    fs::create_dir_all(other.join("links.key")).unwrap();
    let keys = LinkKeys::new(&other);
    keys.open();
    assert!(keys.get().is_err());
}

#[test]
fn a_rotation_is_written_before_it_counts() {
    let folder = tempfile::tempdir().unwrap();
    let keys = LinkKeys::new(folder.path());
    keys.open();
    let judge = |keys: &LinkKeys, link: &str| verify(&keys.get().unwrap(), tail(link), NOW) != Verdict::Bad;
    let link = |keys: &LinkKeys| signed(BASE, &keys.get().unwrap(), &path("a.mp3"), None);
    let first = link(&keys);
    assert_eq!(keys.rotate(Before::Kept).unwrap().count(), 2);
    let second = link(&keys);
    assert!(first != second && judge(&keys, &first) && judge(&keys, &second));
    let restarted = LinkKeys::new(folder.path());
    restarted.open();
    assert_eq!(link(&restarted), second);
    assert!(judge(&restarted, &first));
    assert_eq!(keys.rotate(Before::Revoked).unwrap().count(), 1);
    assert!(!judge(&keys, &first) && !judge(&keys, &second) && judge(&keys, &link(&keys)));
    assert_eq!(mode(keys.path()), 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

    // A file that was removed under a running module comes back with all its keys.
    let last = link(&keys);
    fs::remove_file(keys.path()).unwrap();
    keys.open();
    assert!(judge(&keys, &last), "the keys are at hand still");
    assert_eq!(keys.rotate(Before::Kept).unwrap().count(), 2);
    let restarted = LinkKeys::new(folder.path());
    restarted.open();
    assert!(judge(&restarted, &last));
    // One that was not there at the start is a new beginning.
    fs::remove_file(keys.path()).unwrap();
    let begun = LinkKeys::new(folder.path());
    assert!(begun.rotate(Before::Kept).is_err(), "there is nothing to rotate");
    begun.open();
    assert!(!judge(&begun, &last));
}

#[test]
fn links_are_made_with_the_clock_of_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let keys = Arc::new(LinkKeys::new(folder.path()));
    keys.open();
    let links = Links::new(&recordings(BASE, 3_600), folder.path().to_owned(), keys);
    fs::write(folder.path().join("a.mp3"), "audio").unwrap();
    let now = SystemTime::now();
    let link = links.link(Path::new("a.mp3"), now).unwrap().unwrap();
    assert!(matches!(links.find(tail(&link), now), links::Asked::Found(..)));
    let later = now + Duration::from_secs(3_601);
    assert!(matches!(links.find(tail(&link), later), links::Asked::Expired));
}
