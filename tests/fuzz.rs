//! A short run of what `make fuzz` does for long: every target of `fuzz/` with its seeds, with what was found before, and with
//! mutations of both. Nothing of a fuzzer's is needed, so it runs wherever the other tests do; there is no feedback from
//! coverage, so it finds less: it is there to notice what a change breaks.
//!
//! `FUZZ_RUNS=100000` throws more. `FUZZ_SEEDS=FOLDER` writes the seeds there, a folder for each target, for libFuzzer.
//! `FUZZ_DAY=FILE` writes the calls that the tracker's target makes of that input beside it, as a trace.
//! An input at which a target panics is printed and kept in cargo's folder for tests; put into `fuzz/finds/TARGET/` it stays a test.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is also the library of fuzz/")]
mod fuzz;

use fuzz::{TARGETS, Target};

/// Mutated inputs for each target.
const RUNS: u64 = 10_000;
/// Longer ones are cut.
const LONGEST: usize = 16 << 10;
/// What readers look for, and numbers at the edge of what they can hold.
const WORDS: [&[u8]; 24] = [
    b"\0",
    b"\n",
    b"\r\n",
    b"\xff\xff\xff\xff",
    b"&",
    b"=",
    b"%00",
    b"%ff",
    b"+",
    b",",
    b";",
    b"..",
    b"/",
    b"\"",
    b"\\",
    b"{",
    b"]",
    b"-1",
    b"0",
    b"18446744073709551615",
    b"18446744073709551616",
    b"4294967296",
    "Ё".as_bytes(),
    "\u{202e}".as_bytes(),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a target once panicked at.
fn finds(target: &Target) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(root().join("fuzz/finds").join(target.name)) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Changes a few bytes of it, as a fuzzer does.
fn mutate(input: &mut Vec<u8>, others: &[Vec<u8>], draw: &mut fastrand::Rng) {
    for _ in 0..draw.usize(1..=4) {
        let at = draw.usize(0..=input.len());
        let rest = input.len() - at;
        match draw.u32(0..9) {
            0 if rest > 0 => input[at] ^= 1 << draw.u32(0..8),
            1 if rest > 0 => input[at] = draw.u8(..),
            2 => input.insert(at, draw.u8(..)),
            3 => drop(input.splice(at..at, draw.choice(WORDS).unwrap().iter().copied())),
            4 => drop(input.drain(at..at + draw.usize(0..=rest.min(32)))),
            5 => {
                let piece = input[at..at + draw.usize(0..=rest.min(64))].to_vec();
                let to = draw.usize(0..=input.len());
                input.splice(to..to, piece);
            }
            6 => {
                let other = draw.choice(others).unwrap();
                let from = draw.usize(0..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            // A digit or a letter in place of one: numbers and words stay such.
            7 if rest > 0 && input[at].is_ascii_digit() => input[at] = draw.digit(10) as u8,
            8 if rest > 0 && input[at].is_ascii_alphabetic() => input[at] = draw.alphabetic() as u8,
            _ => {}
        }
    }
    input.truncate(LONGEST);
}

/// The first input at which it panics.
fn falls(run: fn(&[u8]), seeds: &[Vec<u8>], runs: u64) -> Option<Vec<u8>> {
    let panics = |input: &[u8]| catch_unwind(AssertUnwindSafe(|| run(input))).is_err();
    if let Some(seed) = seeds.iter().find(|seed| panics(seed)) {
        return Some(seed.clone());
    }
    let mut draw = fastrand::Rng::with_seed(1);
    (0..runs).find_map(|_| {
        let mut input = draw.choice(seeds)?.clone();
        mutate(&mut input, seeds, &mut draw);
        panics(&input).then_some(input)
    })
}

fn holds(name: &str, runs: u64) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    let mut seeds = (target.seeds)(root());
    seeds.extend(finds(target));
    seeds.push(Vec::new());
    let runs = std::env::var("FUZZ_RUNS").map_or(runs, |runs| runs.parse().unwrap());
    if let Some(input) = falls(target.run, &seeds, runs) {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("find-{name}"));
        fs::write(&kept, &input).unwrap();
        if name == "tracker" {
            fs::write(kept.with_extension("jsonl"), fuzz::calls::written_down(&input)).unwrap();
        }
        panic!(
            "{name} falls over \"{}\", kept as {}",
            input.escape_ascii(),
            kept.display()
        );
    }
}

macro_rules! targets {
    ($($name:ident $runs:expr,)*) => {
        $(
            #[test]
            fn $name() {
                holds(stringify!($name), $runs);
            }
        )*

        #[test]
        fn no_target_is_left_out() {
            assert!(TARGETS.iter().map(|target| target.name).eq([$(stringify!($name)),*]));
        }
    };
}

// Those that do much with one input get fewer: it is a matter of seconds in all.
targets! {
    form RUNS,
    request RUNS,
    reply RUNS,
    setup RUNS,
    settings RUNS / 5,
    words RUNS,
    number RUNS,
    event RUNS,
    greeting RUNS,
    link RUNS / 2,
    range RUNS,
    place RUNS,
    wave RUNS,
    mp3 RUNS,
    trace RUNS / 20,
    tracker RUNS / 10,
}

/// Each is a file of its own, by which libFuzzer and cargo-fuzz know it.
#[test]
fn each_target_can_be_built() {
    let manifest = fs::read_to_string(root().join("fuzz/Cargo.toml")).unwrap();
    let mut files: Vec<String> = fs::read_dir(root().join("fuzz/fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut expected: Vec<String> = TARGETS
        .iter()
        .map(|target| format!("{}.rs", target.name))
        .collect();
    expected.sort();
    assert_eq!(files, expected);
    for target in TARGETS {
        let file = fs::read_to_string(root().join(format!("fuzz/fuzz_targets/{}.rs", target.name))).unwrap();
        assert!(
            file.contains(&format!("run(\"{}\", input)", target.name)),
            "{file}"
        );
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{}.rs\"", target.name)));
        fuzz::run(target.name, b"");
    }
}

/// What was found belongs to a target, or it would not be looked at.
#[test]
fn what_was_found_is_looked_at() {
    let Ok(folders) = fs::read_dir(root().join("fuzz/finds")) else {
        return;
    };
    for folder in folders {
        let name = folder.unwrap().file_name();
        assert!(
            TARGETS.iter().any(|target| target.name == name),
            "{name:?} is no target"
        );
    }
}

/// A test that cannot fail proves nothing: here is what one looks like that does.
#[test]
fn a_target_that_falls_is_noticed() {
    fn target(input: &[u8]) {
        assert!(!input.windows(2).any(|two| two == b"\r\n"), "a line ends here");
    }
    let seeds = [b"cmd=makeCall&from=101".to_vec()];
    assert_eq!(falls(target, &seeds, 0), None);
    let find = falls(target, &seeds, RUNS).unwrap();
    assert!(find.windows(2).any(|two| two == b"\r\n"));
}

#[test]
fn seeds_are_written_where_somebody_wants_them() {
    let Some(folder) = std::env::var_os("FUZZ_SEEDS").map(PathBuf::from) else {
        return;
    };
    for target in TARGETS {
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder).unwrap();
        let seeds = (target.seeds)(root()).into_iter().chain(finds(&target));
        for (number, seed) in seeds.enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed).unwrap();
        }
    }
}

#[test]
fn a_day_is_a_trace_that_can_be_played() {
    let day = TARGETS.iter().find(|target| target.name == "tracker").unwrap();
    let input = std::env::var_os("FUZZ_DAY").map(PathBuf::from);
    let bytes = match &input {
        Some(file) => fs::read(file).unwrap(),
        None => (day.seeds)(root()).pop().unwrap(),
    };
    let text = fuzz::calls::written_down(&bytes);
    if let Some(file) = input {
        fs::write(file.with_extension("jsonl"), &text).unwrap();
    }
    assert!(text.lines().count() > 10, "{text}");
    fuzz::run("trace", text.as_bytes());
}
