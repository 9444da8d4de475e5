//! Operators' greetings in files: real threads, real files and nothing of Asterisk.
//!
//! The files lie in memory where the system has a place for that: what is shown here does not depend on how long a disk takes
//! to say that it has something, and thousands of files are written.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use res_planfix::core::greeting::attribute::{Attribute, Change};
use res_planfix::core::greeting::choice::Source;
use res_planfix::core::greeting::greeting::Sheet;
use res_planfix::core::greeting::kind::{Kind, Presence};
use res_planfix::core::greeting::operator::Operator;
use res_planfix::core::greeting::selection::Selection;
use res_planfix::core::greeting::sound::Sound;
use res_planfix::core::pattern::Patterns;
use res_planfix::core::settings;
use res_planfix::delivery::clock::ShiftedClock;
use res_planfix::delivery::greetings::{Around, Chosen, Greetings, News, PinAnswer, Setup};
use res_planfix::delivery::threads::StdThreads;

/// For whatever takes milliseconds on a machine with nothing else to do.
const BOUND: Duration = Duration::from_secs(30);

/// A PBX whose database is a map, and which reads one format: files that hold the word "sound" play three seconds.
#[derive(Default)]
struct Pbx {
    told: Mutex<Vec<News>>,
    flags: Mutex<BTreeMap<String, String>>,
}

impl Around for Pbx {
    fn told(&self, news: &News) {
        self.told.lock().unwrap().push(news.clone());
    }

    fn legacy_flags(&self) -> Vec<(String, String)> {
        self.flags.lock().unwrap().clone().into_iter().collect()
    }

    fn set_legacy_flag(&self, ext: &str, on: bool) {
        self.flags.lock().unwrap().insert(ext.to_owned(), on.to_string());
    }

    fn decode(&self, file: &Path) -> Result<Sound, String> {
        if fs::read_to_string(file).is_ok_and(|text| text == "sound") {
            Ok(tone(8_000, 3_000))
        } else {
            Err("it is of no format that is known".to_owned())
        }
    }
}

struct Bench {
    scratch: tempfile::TempDir,
    clock: Arc<ShiftedClock>,
    pbx: Arc<Pbx>,
    greetings: Option<Greetings>,
}

impl Bench {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let mut bench = Self {
            scratch: scratch(),
            clock: Arc::default(),
            pbx: Arc::default(),
            greetings: None,
        };
        bench.start(change);
        bench
    }

    fn setup(&self) -> Setup {
        setup(self.scratch.path())
    }

    fn start(&mut self, change: impl FnOnce(&mut Setup)) {
        let mut setup = self.setup();
        change(&mut setup);
        self.greetings = None;
        self.greetings = Some(start(setup, &self.pbx, &self.clock).unwrap());
    }

    /// As after a restart of Asterisk.
    fn restart(&mut self) {
        self.start(|_| {});
    }

    fn folder(&self) -> PathBuf {
        self.scratch.path().join("greetings")
    }

    fn of(&self, ext: &str) -> PathBuf {
        self.folder().join("operators/-").join(ext)
    }

    fn record(&self, ext: &str, kind: Kind, language: &str, sound: &Sound) -> Result<(), String> {
        let operator = operator(ext);
        let recording = self.record_for(&operator).expect("nobody else records");
        recording.save(kind, language, sound, "phone")
    }

    /// The changes that were told since.
    fn told(&self) -> Vec<(String, Option<Kind>, &'static str)> {
        self.pbx
            .told
            .lock()
            .unwrap()
            .drain(..)
            .map(|news| {
                let whose = news
                    .operator
                    .map_or("template".to_owned(), |operator| operator.to_string());
                (whose, news.kind, news.change)
            })
            .collect()
    }

    fn record_for(&self, operator: &Operator) -> Option<res_planfix::delivery::greetings::Recording<'_>> {
        self.greetings.as_ref().unwrap().record(operator)
    }
}

impl std::ops::Deref for Bench {
    type Target = Greetings;

    fn deref(&self) -> &Greetings {
        self.greetings.as_ref().unwrap()
    }
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn setup(scratch: &Path) -> Setup {
    Setup {
        folder: scratch.join("greetings"),
        settings: settings::Greetings {
            min: Duration::ZERO,
            ..settings::Greetings::default()
        },
        operators: Patterns::parse("_XXX,_*XX").unwrap(),
        default_language: "en".to_owned(),
        adopt: None,
        import_folders: vec![scratch.join("sounds")],
    }
}

fn start(setup: Setup, pbx: &Arc<Pbx>, clock: &Arc<ShiftedClock>) -> Result<Greetings, String> {
    let pbx: Arc<Pbx> = Arc::clone(pbx);
    let clock: Arc<ShiftedClock> = Arc::clone(clock);
    Greetings::start(setup, pbx, &StdThreads, clock)
}

fn operator(text: &str) -> Operator {
    Operator::parse(text.as_bytes(), &Patterns::parse("_XXX,_*XX").unwrap()).unwrap()
}

/// A tone whose pitch depends on its length.
fn tone(rate: u32, milliseconds: u32) -> Sound {
    let step = f64::from(300 + milliseconds % 1_000) * std::f64::consts::TAU / f64::from(rate);
    Sound {
        rate,
        samples: (0..rate * milliseconds / 1_000)
            .map(|index| ((step * f64::from(index)).sin() * 9_000.0) as i16)
            .collect(),
    }
}

/// Everything in a folder: path, and contents of what is a file.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let below = path.strip_prefix(folder).unwrap().to_owned();
            let about = fs::symlink_metadata(&path).unwrap();
            if about.is_dir() {
                found.insert(below, Vec::new());
                folders.push(path);
            } else if about.is_file() {
                found.insert(below, fs::read(&path).unwrap());
            } else {
                found.insert(below, b"something else".to_vec());
            }
        }
    }
    found
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < BOUND, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn played(bench: &Bench, ext: &str, why: Kind, language: &str) -> Option<PathBuf> {
    match bench.choose(&operator(ext), why, false, language) {
        Chosen::Play { path, .. } => Some(path),
        Chosen::Disabled | Chosen::Nothing => None,
    }
}

// ---- recording and playing ----------------------------------------------------------------------------------------------

#[test]
fn what_was_recorded_is_played_and_survives_a_restart() {
    let mut bench = Bench::new();
    let sound = tone(16_000, 2_000);
    bench.record("101", Kind::NoAnswer, "ru", &sound).unwrap();
    bench
        .record("*60", Kind::Default, "", &tone(8_000, 1_000))
        .unwrap();
    let tenant = operator("101@office");
    let recording = bench.record_for(&tenant).unwrap();
    recording
        .save(Kind::Default, "ru", &tone(8_000, 500), "phone")
        .unwrap();
    for _ in 0..2 {
        let path = played(&bench, "101", Kind::NoAnswer, "ru_RU").unwrap();
        assert_eq!(path, bench.of("101").join("noanswer-ru"));
        let wide = Sound::from_wav(&fs::read(path.with_extension("wav16")).unwrap()).unwrap();
        assert_eq!(wide, sound);
        let narrow = Sound::from_wav(&fs::read(path.with_extension("wav")).unwrap()).unwrap();
        assert_eq!((narrow.rate, narrow.length()), (8_000, sound.length()));
        assert_eq!(played(&bench, "101", Kind::Busy, "ru"), None);
        assert_eq!(
            played(&bench, "*60", Kind::Busy, "ru").unwrap(),
            bench.of("*60").join("default-en"),
            "without a language it is the PBX's"
        );
        let Chosen::Play { path, .. } = bench.choose(&tenant, Kind::Busy, false, "ru") else {
            panic!("nothing for the tenant's 101");
        };
        assert_eq!(path, bench.folder().join("operators/office/101/default-ru"));
        let known: Vec<String> = bench
            .known()
            .iter()
            .map(|(operator, _)| operator.to_string())
            .collect();
        assert_eq!(known, ["*60", "101", "101@office"]);
        bench.restart();
    }
}

#[test]
fn looking_one_up_needs_no_disk() {
    let bench = Bench::new();
    bench
        .record("101", Kind::Default, "ru", &tone(8_000, 1_000))
        .unwrap();
    fs::remove_dir_all(bench.folder()).unwrap();
    assert!(played(&bench, "101", Kind::Busy, "ru").is_some());
    let read = |attribute| bench.read(&operator("101"), attribute, None, "ru");
    assert_eq!(read(Attribute::Duration), "1000");
    assert_eq!(read(Attribute::Size), "16044");
    assert_eq!(
        read(Attribute::File),
        bench.of("101").join("default-ru").to_str().unwrap()
    );
}

/// B-4.
#[test]
fn lengths_are_what_was_recorded_within_the_limits() {
    let mut bench = Bench::with(|setup| {
        setup.settings.min = Duration::from_secs(1);
        setup.settings.max = Duration::from_secs(4);
        setup.settings.max_total = Duration::from_secs(9);
    });
    for (rate, milliseconds, expected) in [
        (8_000, 1_000, 1_000),
        (16_000, 2_345, 2_345),
        (8_000, 3_999, 3_999),
        (48_000, 1_777, 1_777),
        (16_000, 4_020, 4_000),
        (8_000, 30_000, 4_000),
    ] {
        bench
            .record("101", Kind::Busy, "ru", &tone(rate, milliseconds))
            .unwrap();
        let length = bench.sheet(&operator("101")).greetings[0].length;
        assert!(
            length.abs_diff(Duration::from_millis(expected)) <= Duration::from_millis(1),
            "{rate} {milliseconds}: {length:?}"
        );
    }
    let short = bench
        .record("101", Kind::Busy, "ru", &tone(8_000, 990))
        .unwrap_err();
    assert_eq!(short, "it lasts 1.0 s, and min in [greetings] is 1 s");
    let fault = bench
        .record("101", Kind::Busy, "ru", &tone(8_000, 0))
        .unwrap_err();
    assert_eq!(fault, "there is no sound in it");
    bench
        .record("101", Kind::Default, "ru", &tone(8_000, 4_000))
        .unwrap();
    let fault = bench
        .record("101", Kind::Temp, "ru", &tone(8_000, 1_500))
        .unwrap_err();
    assert_eq!(
        fault,
        "all greetings together would last 9.5 s, and max_total in [greetings] is 9 s"
    );
    // What is replaced does not count.
    bench
        .record("101", Kind::Busy, "ru", &tone(8_000, 4_000))
        .unwrap();
    // Whoever imports is told instead of cut off.
    let long = bench.scratch.path().join("long.wav");
    fs::write(&long, tone(8_000, 5_000).to_wav(8_000)).unwrap();
    let fault = bench
        .import(Some(&operator("102")), Kind::Busy, "ru", &long, "CLI")
        .unwrap_err();
    assert!(
        fault.ends_with("long.wav: it lasts 5.0 s, and max in [greetings] is 4 s"),
        "{fault}"
    );
    assert_eq!(bench.known().len(), 1);
    bench.restart();
    assert_eq!(bench.sheet(&operator("101")).total(), Duration::from_secs(8));
}

/// B-1: whatever goes wrong while somebody records, what was there is there, byte for byte, and nothing else.
#[test]
fn a_recording_that_is_not_saved_changes_nothing() {
    let mut bench = Bench::with(|setup| setup.settings.max_total = Duration::from_secs(5));
    bench
        .record("101", Kind::Default, "ru", &tone(16_000, 2_000))
        .unwrap();
    let off = Change::Enabled(false);
    bench.change(&operator("101"), &off, "CLI").unwrap();
    let before = tree(&bench.folder());
    bench.told();
    let sheet = bench.sheet(&operator("101"));
    let of = operator("101");
    {
        let recording = bench.record_for(&of).unwrap();
        let draft = recording.draft(&tone(16_000, 1_000)).unwrap();
        for extension in ["wav", "wav16"] {
            let file = draft.path().with_extension(extension);
            assert!(file.starts_with(bench.folder().join("tmp")) && file.is_file());
        }
        let narrow = recording.draft(&tone(8_000, 1_000)).unwrap();
        assert!(!narrow.path().with_extension("wav16").exists());
        // He hangs up.
    }
    assert_eq!(tree(&bench.folder()), before);
    for (sound, language) in [
        (tone(8_000, 0), "ru"),
        (tone(8_000, 5_500), "ru"),
        (tone(8_000, 1_000), "../ru"),
    ] {
        bench.record("101", Kind::Default, language, &sound).unwrap_err();
        assert_eq!(tree(&bench.folder()), before);
    }
    // Something lies where a file has to go: before, between and after the others.
    let own = bench.of("101");
    for (blocked, kind) in [
        (own.join("busy-ru.wav"), Kind::Busy),
        (own.join("busy-ru.wav16"), Kind::Busy),
    ] {
        fs::create_dir(&blocked).unwrap();
        let fault = bench.record("101", kind, "ru", &tone(16_000, 1_000)).unwrap_err();
        assert!(fault.contains(blocked.to_str().unwrap()), "{fault}");
        fs::remove_dir(&blocked).unwrap();
        assert_eq!(tree(&bench.folder()), before);
    }
    // Saving switches greetings on, so sheet.json has to be written, which is the last step.
    let notes = own.join("sheet.json");
    let text = fs::read(&notes).unwrap();
    fs::remove_file(&notes).unwrap();
    fs::create_dir(&notes).unwrap();
    let fault = bench
        .record("101", Kind::Default, "ru", &tone(8_000, 1_000))
        .unwrap_err();
    assert!(fault.contains("sheet.json"), "{fault}");
    let fault = bench.change(&operator("101"), &Change::Delete(None), "CLI").err();
    assert_eq!(fault, None, "nothing of sheet.json changes with that");
    fs::remove_dir(&notes).unwrap();
    fs::write(&notes, text).unwrap();
    bench.restart();
    let gone = bench.sheet(&operator("101"));
    assert!(gone.greetings.is_empty() && !gone.enabled && !sheet.locked);
}

#[test]
fn what_cannot_be_written_is_named_and_changes_nothing() {
    let bench = Bench::new();
    bench
        .record("101", Kind::Default, "ru", &tone(16_000, 1_000))
        .unwrap();
    let before = tree(&bench.folder());
    let sheet = bench.sheet(&operator("101"));
    bench.probe().unwrap();
    // As with a folder that was unmounted or made read-only; this holds for root, too.
    let tmp = bench.folder().join("tmp");
    fs::remove_dir(&tmp).unwrap();
    fs::write(&tmp, "").unwrap();
    let record = bench.record("101", Kind::Default, "ru", &tone(8_000, 500));
    for fault in [record.unwrap_err(), bench.probe().unwrap_err()] {
        assert!(fault.contains(tmp.to_str().unwrap()), "{fault}");
    }
    let recording = bench.record_for(&operator("102")).unwrap();
    recording.draft(&tone(8_000, 500)).unwrap_err();
    drop(recording);
    fs::remove_file(&tmp).unwrap();
    fs::create_dir(&tmp).unwrap();
    assert_eq!(tree(&bench.folder()), before);
    assert_eq!(bench.sheet(&operator("101")), sheet);
    assert_eq!(bench.known().len(), 1);
    // A new operator's folder that cannot be made.
    fs::write(bench.of("103"), "").unwrap();
    let fault = bench
        .record("103", Kind::Default, "ru", &tone(8_000, 500))
        .unwrap_err();
    assert!(fault.contains(bench.of("103").to_str().unwrap()), "{fault}");
    assert_eq!(bench.known().len(), 1);
    let taken = Setup {
        folder: bench.of("103"),
        ..bench.setup()
    };
    let fault = start(taken.clone(), &bench.pbx, &bench.clock).unwrap_err();
    assert!(fault.contains("103"), "{fault}");
    bench.reconfigure(taken).unwrap_err();
    assert_eq!(bench.folder(), bench.greetings.as_ref().unwrap().folder());
    assert_eq!(bench.sheet(&operator("101")), sheet, "the old settings hold");
}

/// Where the child that is this program again finds its folder.
const CHILD: &str = "RES_PLANFIX_GREETINGS_CHILD";

/// This test, by itself and in a process of its own.
fn child(test: &str, folder: &Path, shell: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    let program = std::env::current_exe().unwrap();
    command
        .args(["-c", &format!("{shell} exec \"$0\" \"$@\"")])
        .arg(program)
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(CHILD, folder);
    command
}

fn in_child() -> PathBuf {
    std::env::var_os(CHILD)
        .map(PathBuf::from)
        .expect("started by another test")
}

/// B-1: the disk takes some of a file and refuses the rest. The kernel does the same at a process's limit, for which nobody has
/// to be root.
#[test]
fn a_full_disk_leaves_the_old_greeting() {
    let mut bench = Bench::new();
    bench
        .record("101", Kind::Default, "ru", &tone(16_000, 1_000))
        .unwrap();
    let before = tree(&bench.folder());
    bench.greetings = None;
    // Blocks of 512 bytes or of 1024, as the shell sees it: less than half a second in any case.
    let output = child("full_disk", bench.scratch.path(), "trap '' XFSZ; ulimit -f 6;")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}");
    assert_eq!(tree(&bench.folder()), before);
}

#[test]
#[ignore = "a part of a_full_disk_leaves_the_old_greeting"]
fn full_disk() {
    let scratch = in_child();
    let setup = setup(&scratch);
    let folder = setup.folder.clone();
    let greetings = start(setup, &Arc::default(), &Arc::default()).unwrap();
    let before = tree(&folder);
    let of = operator("101");
    for sound in [tone(8_000, 3_000), tone(16_000, 900)] {
        let recording = greetings.record(&of).unwrap();
        let fault = recording.draft(&sound).unwrap_err();
        assert!(fault.contains(folder.join("tmp").to_str().unwrap()), "{fault}");
        let fault = recording.save(Kind::Default, "ru", &sound, "phone").unwrap_err();
        assert!(fault.contains("File too large"), "{fault}");
        assert_eq!(tree(&folder), before);
    }
    assert_eq!(greetings.sheet(&of).total(), Duration::from_secs(1));
    let recording = greetings.record(&operator("102")).unwrap();
    recording
        .save(Kind::Default, "ru", &tone(8_000, 3_000), "phone")
        .unwrap_err();
    assert_eq!(tree(&folder), before);
}

/// B-2.
#[test]
fn a_listener_hears_one_whole_version() {
    const REPLACEMENTS: usize = 1_000;
    let bench = Bench::new();
    let versions: Vec<Sound> = (0..7)
        .map(|index| tone(if index % 3 == 2 { 8_000 } else { 16_000 }, 60 + 10 * index))
        .collect();
    let mut whole: HashSet<Vec<u8>> = HashSet::new();
    for version in &versions {
        bench.record("101", Kind::Default, "ru", version).unwrap();
        for file in ["default-ru.wav", "default-ru.wav16"] {
            whole.extend(fs::read(bench.of("101").join(file)));
        }
    }
    assert_eq!(whole.len(), 7 + 5);
    let over = AtomicBool::new(false);
    let (reads, wide_reads) = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(|| {
                    let (mut reads, mut wide_reads) = (0_u64, 0_u64);
                    while !over.load(Ordering::SeqCst) {
                        let path = played(&bench, "101", Kind::NoAnswer, "ru").unwrap();
                        let read = fs::read(path.with_extension("wav")).expect("it is never away");
                        assert!(whole.contains(&read), "{} bytes are no version", read.len());
                        reads += 1;
                        if let Ok(read) = fs::read(path.with_extension("wav16")) {
                            assert!(whole.contains(&read), "{} bytes are no version", read.len());
                            wide_reads += 1;
                        }
                        // One of two cores is left to whoever records.
                        std::thread::yield_now();
                    }
                    (reads, wide_reads)
                })
            })
            .collect();
        for index in 0..REPLACEMENTS {
            let version = &versions[index * 5 % versions.len()];
            bench.record("101", Kind::Default, "ru", version).unwrap();
        }
        over.store(true, Ordering::SeqCst);
        let counts = readers.into_iter().map(|reader| reader.join().unwrap());
        counts.fold((0, 0), |(a, b), (c, d)| (a + c, b + d))
    });
    assert!(reads > 20 && wide_reads > 0, "{reads} {wide_reads}");
    assert_eq!(fs::read_dir(bench.folder().join("tmp")).unwrap().count(), 0);
}

#[test]
fn other_formats_of_that_name_go() {
    let bench = Bench::new();
    bench.record("101", Kind::Busy, "ru", &tone(16_000, 500)).unwrap();
    let own = bench.of("101");
    for stale in [
        "busy-ru.gsm",
        "busy-ru.WAV",
        "busy-ru.sln16",
        "busy-ru_RU.gsm",
        "default-ru.gsm",
    ] {
        fs::write(own.join(stale), "old").unwrap();
    }
    bench.record("101", Kind::Busy, "ru", &tone(8_000, 700)).unwrap();
    let names: Vec<_> = tree(&own).into_keys().collect();
    assert_eq!(
        names,
        ["busy-ru.wav", "busy-ru_RU.gsm", "default-ru.gsm"].map(PathBuf::from)
    );
    bench
        .change(&operator("101"), &Change::Delete(Some(Kind::Busy)), "CLI")
        .unwrap();
    assert_eq!(
        tree(&own).into_keys().collect::<Vec<_>>(),
        [PathBuf::from("default-ru.gsm")]
    );
}

/// B-11.
#[test]
fn two_do_not_record_for_one_operator_at_once() {
    let bench = Bench::new();
    let of = operator("101");
    let first = bench.record_for(&of).unwrap();
    assert!(bench.record_for(&of).is_none());
    assert_eq!(bench.read(&of, Attribute::Locked, None, "ru"), "1");
    assert!(bench.record_for(&operator("102")).is_some());
    // An administrator's import in between is not kept from it, and the one who saves last is heard.
    let file = bench.scratch.path().join("a.wav");
    fs::write(&file, tone(8_000, 300).to_wav(8_000)).unwrap();
    bench
        .import(Some(&of), Kind::Default, "ru", &file, "CLI")
        .unwrap();
    assert!(bench.record_for(&of).is_none());
    let sound = tone(16_000, 800);
    first.save(Kind::Default, "ru", &sound, "phone").unwrap();
    let sheet = bench.sheet(&of);
    assert!(!sheet.locked && sheet.greetings.len() == 1);
    assert_eq!(sheet.greetings[0].length, sound.length());
    // Sixteen phones save what they recorded one after the other; each file is one of theirs.
    std::thread::scope(|scope| {
        for index in 0..16 {
            let (bench, of) = (&bench, &of);
            scope.spawn(move || {
                let begun = Instant::now();
                let recording = loop {
                    assert!(begun.elapsed() < BOUND);
                    if let Some(recording) = bench.record_for(of) {
                        break recording;
                    }
                    std::thread::yield_now();
                };
                recording
                    .save(Kind::Default, "ru", &tone(16_000, 100 + 50 * index), "phone")
                    .unwrap();
            });
        }
    });
    let path = bench.of("101").join("default-ru");
    let wide = Sound::from_wav(&fs::read(path.with_extension("wav16")).unwrap()).unwrap();
    let narrow = Sound::from_wav(&fs::read(path.with_extension("wav")).unwrap()).unwrap();
    assert_eq!(wide.resampled(8_000), narrow);
    assert_eq!(bench.sheet(&of).greetings[0].length, narrow.length());
}

#[test]
fn files_are_for_asterisks_group_and_secrets_for_their_owner() {
    let bench = Bench::new();
    bench
        .record("101", Kind::Default, "ru", &tone(16_000, 500))
        .unwrap();
    bench.set_pin(&operator("101"), Some("4711")).unwrap();
    let mode = |path: &str| {
        let path = bench.folder().join(path);
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    let deep = Setup {
        folder: bench.folder().join("tmp/spool/greetings"),
        ..bench.setup()
    };
    bench.reconfigure(deep).unwrap();
    for (path, expected) in [
        ("", 0o750),
        ("tmp/spool", 0o700),
        ("tmp/spool/greetings", 0o750),
        ("operators", 0o750),
        ("operators/-", 0o750),
        ("operators/-/101", 0o750),
        ("template", 0o750),
        ("tmp", 0o700),
        ("operators/-/101/default-ru.wav", 0o640),
        ("operators/-/101/default-ru.wav16", 0o640),
        ("operators/-/101/sheet.json", 0o600),
    ] {
        assert_eq!(mode(path), expected, "{path}");
    }
}

// ---- crashes and strange files ------------------------------------------------------------------------------------------

#[test]
fn what_a_crash_leaves_apart_is_put_right() {
    let mut bench = Bench::new();
    bench
        .record("101", Kind::Default, "ru", &tone(16_000, 500))
        .unwrap();
    bench
        .record("102", Kind::Default, "ru", &tone(16_000, 500))
        .unwrap();
    let (new, old) = (tone(8_000, 500), bench.of("101").join("default-ru.wav"));
    // The crash came between the two names: the same length, another sound.
    let mut other = new.clone();
    other.samples.reverse();
    fs::write(&old, other.to_wav(8_000)).unwrap();
    // These were copied without their times, and are the same all the same.
    let copied = bench.of("102").join("default-ru.wav16");
    let bytes = fs::read(&copied).unwrap();
    fs::remove_file(&copied).unwrap();
    fs::write(&copied, bytes).unwrap();
    // And this is what else a crash leaves.
    fs::write(bench.folder().join("tmp/0123456789abcdef"), "half").unwrap();
    fs::write(bench.of("102").join("sheet.json.0123456789abcdef"), "{").unwrap();
    bench.restart();
    assert!(!bench.sheet(&operator("101")).greetings[0].wide);
    assert!(!bench.of("101").join("default-ru.wav16").exists());
    assert_eq!(fs::read(&old).unwrap(), other.to_wav(8_000));
    assert!(bench.sheet(&operator("102")).greetings[0].wide);
    let names: Vec<_> = tree(&bench.of("102")).into_keys().collect();
    assert_eq!(names, ["default-ru.wav", "default-ru.wav16"].map(PathBuf::from));
    assert_eq!(fs::read_dir(bench.folder().join("tmp")).unwrap().count(), 0);
    // What is gone is gone.
    fs::remove_file(&old).unwrap();
    bench.restart();
    assert_eq!(*bench.sheet(&operator("101")), Sheet::default());
}

/// Two recordings of one second, and a crash between the two names of the second one.
#[test]
fn files_of_two_recordings_are_told_apart_within_one_second() {
    for length in [500, 400] {
        let mut bench = Bench::new();
        let wide = bench.of("101").join("default-ru.wav16");
        let aside = bench.scratch.path().join("aside");
        bench
            .record("101", Kind::Default, "ru", &tone(16_000, 500))
            .unwrap();
        fs::rename(&wide, &aside).unwrap();
        let mut other = tone(16_000, length);
        other.samples.reverse();
        bench.record("101", Kind::Default, "ru", &other).unwrap();
        assert!(bench.sheet(&operator("101")).greetings[0].wide);
        fs::rename(&aside, &wide).unwrap();
        bench.restart();
        assert!(!bench.sheet(&operator("101")).greetings[0].wide, "{length} ms");
        assert!(!wide.exists());
    }
}

/// Killed in the middle of saving, over and over: what is found afterwards is one whole version.
#[test]
fn a_killed_process_leaves_whole_greetings() {
    let bench = Bench::new();
    let whole: HashSet<Vec<u8>> = versions()
        .iter()
        .flat_map(|version| {
            let wide = (version.rate == 16_000).then(|| version.to_wav(16_000));
            wide.into_iter()
                .chain([version.to_wav(8_000)])
                .collect::<Vec<_>>()
        })
        .collect();
    let mut left = 0;
    for round in 0..12_u64 {
        let mut child = child("killed", bench.scratch.path(), "")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        lines
            .find(|line| line.as_ref().is_ok_and(|line| line.contains("saving")))
            .expect("it has begun")
            .unwrap();
        // Some point of what takes a few milliseconds each time.
        std::thread::sleep(Duration::from_micros(1_700 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        left += fs::read_dir(bench.folder().join("tmp")).unwrap().count();
        let pbx = Arc::default();
        let greetings = start(bench.setup(), &pbx, &Arc::default()).unwrap();
        assert_eq!(fs::read_dir(bench.folder().join("tmp")).unwrap().count(), 0);
        let sheet = greetings.sheet(&operator("101"));
        assert_eq!(sheet.greetings.len(), 1, "round {round}");
        let path = greetings.path(Some(&operator("101")), &sheet.greetings[0]);
        let narrow = fs::read(path.with_extension("wav")).unwrap();
        assert!(whole.contains(&narrow), "round {round}");
        assert_eq!(sheet.greetings[0].wide, path.with_extension("wav16").exists());
        if sheet.greetings[0].wide {
            let wide = Sound::from_wav(&fs::read(path.with_extension("wav16")).unwrap()).unwrap();
            assert_eq!(wide.resampled(8_000).to_wav(8_000), narrow, "round {round}");
        }
    }
    println!("{left} files were under way");
}

fn versions() -> [Sound; 4] {
    [
        tone(16_000, 400),
        tone(8_000, 300),
        tone(16_000, 350),
        tone(8_000, 200),
    ]
}

#[test]
#[ignore = "a part of a_killed_process_leaves_whole_greetings"]
fn killed() {
    let greetings = start(setup(&in_child()), &Arc::default(), &Arc::default()).unwrap();
    let begun = Instant::now();
    for (index, version) in versions().iter().cycle().enumerate() {
        let recording = greetings.record(&operator("101")).unwrap();
        recording.save(Kind::Default, "ru", version, "phone").unwrap();
        if index == 0 {
            println!("saving");
        }
        if begun.elapsed() > BOUND {
            return;
        }
    }
}

#[test]
fn nothing_leads_out_of_the_folder() {
    let mut bench = Bench::new();
    bench
        .record("101", Kind::Default, "ru", &tone(8_000, 500))
        .unwrap();
    bench.greetings = None;
    let outside = bench.scratch.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("default-ru.wav"), tone(8_000, 100).to_wav(8_000)).unwrap();
    let outside_before = tree(&outside);
    // A folder, a file, a pipe, a folder where a file should be, and names that are none of ours.
    symlink(&outside, bench.of("102")).unwrap();
    symlink(&outside, bench.folder().join("operators/tenant")).unwrap();
    symlink(
        outside.join("default-ru.wav"),
        bench.of("101").join("busy-ru.wav"),
    )
    .unwrap();
    let made = Command::new("mkfifo")
        .arg(bench.of("101").join("vacation-ru.wav"))
        .status();
    assert!(made.unwrap().success());
    fs::create_dir(bench.of("101").join("temp-ru.wav")).unwrap();
    for strange in [
        "default-.wav",
        "default-..wav",
        "lunch-ru.wav",
        "noanswer-ru.wav",
        ".wav",
    ] {
        fs::write(bench.of("101").join(strange), "no sound").unwrap();
    }
    fs::create_dir(bench.folder().join("operators/-/1.1")).unwrap();
    bench.restart();
    let kinds: Vec<Kind> = bench.sheet(&operator("101")).kinds().collect();
    assert_eq!(kinds, [Kind::Default]);
    assert_eq!(bench.known().len(), 1);
    // To record where the link is replaces the link, and where a folder is a link it is refused.
    bench.record("101", Kind::Busy, "ru", &tone(8_000, 300)).unwrap();
    let about = fs::symlink_metadata(bench.of("101").join("busy-ru.wav")).unwrap();
    assert!(about.is_file());
    let fault = bench
        .record("102", Kind::Default, "ru", &tone(8_000, 300))
        .unwrap_err();
    assert!(
        fault.contains("/102") && fault.contains("a link is not followed"),
        "{fault}"
    );
    let recording = bench.record_for(&operator("101@tenant")).unwrap();
    recording
        .save(Kind::Default, "ru", &tone(8_000, 300), "phone")
        .unwrap_err();
    bench
        .change(&operator("102"), &Change::Delete(None), "CLI")
        .unwrap_err();
    assert_eq!(tree(&outside), outside_before);
    // Whoever makes tmp a link would have a folder of his choice emptied.
    bench.greetings = None;
    fs::remove_dir(bench.folder().join("tmp")).unwrap();
    symlink(&outside, bench.folder().join("tmp")).unwrap();
    let fault = start(bench.setup(), &bench.pbx, &bench.clock).unwrap_err();
    assert!(fault.contains("tmp"), "{fault}");
    assert_eq!(tree(&outside), outside_before);
}

#[test]
fn a_damaged_sheet_lets_nobody_in() {
    let mut bench = Bench::new();
    let of = operator("101");
    bench
        .record("101", Kind::Default, "ru", &tone(8_000, 500))
        .unwrap();
    bench.set_pin(&of, Some("4711")).unwrap();
    for damaged in [
        "",
        "{",
        "[]",
        "{\"pin\":{\"rounds\":1,\"salt\":\"\",\"hash\":\"\"}}",
        "\u{0}",
    ] {
        fs::write(bench.of("101").join("sheet.json"), damaged).unwrap();
        bench.restart();
        assert_eq!(bench.sheet(&of).greetings.len(), 1);
        for pin in ["4711", "", "0000"] {
            assert_ne!(bench.try_pin(&of, pin), PinAnswer::Right, "{damaged}");
        }
    }
}

// ---- what an operator changes -------------------------------------------------------------------------------------------

#[test]
fn changes_are_told_kept_and_told_once() {
    let mut bench = Bench::new();
    let of = operator("101");
    bench
        .record("101", Kind::Default, "ru", &tone(8_000, 500))
        .unwrap();
    bench
        .record("101", Kind::Vacation, "ru", &tone(8_000, 600))
        .unwrap();
    let now = bench.now();
    assert_eq!(bench.told().len(), 2);
    for (change, told) in [
        (Change::Enabled(false), "disabled"),
        (Change::Enabled(true), "enabled"),
        (Change::Presence(Presence::Vacation), "state"),
        (Change::Expires(Kind::Vacation, Some(now + 5_000)), "expires"),
        (Change::Language(Kind::Default, "en".to_owned()), "language"),
    ] {
        bench.change(&of, &change, "CLI").unwrap();
        let news = bench.told();
        assert_eq!(news.len(), 1, "{change:?}");
        assert_eq!((news[0].0.as_str(), news[0].2), ("101", told));
        bench.change(&of, &change, "CLI").unwrap();
        assert_eq!(bench.told(), [], "{change:?} is no change any more");
    }
    for _ in 0..2 {
        let sheet = bench.sheet(&of);
        assert!(sheet.enabled && sheet.presence == Presence::Vacation);
        assert_eq!(sheet.expires.get(&Kind::Vacation), Some(&(now + 5_000)));
        assert_eq!(
            played(&bench, "101", Kind::Busy, "ru").unwrap(),
            bench.of("101").join("vacation-ru")
        );
        assert!(sheet.find(Kind::Default, "en").is_some() && sheet.greetings.len() == 2);
        assert!(!bench.of("101").join("default-ru.wav").exists());
        bench.restart();
    }
    let other = Change::Language(Kind::Default, "de".to_owned());
    // Which of two is the last one is a matter of seconds.
    bench.clock.advance(Duration::from_secs(2));
    bench
        .record("101", Kind::Default, "de", &tone(8_000, 100))
        .unwrap();
    bench.change(&of, &other, "CLI").unwrap();
    let fault = bench
        .change(&of, &Change::Language(Kind::Default, "en".to_owned()), "CLI")
        .unwrap_err();
    assert_eq!(fault, "101 has a default greeting in en already");
    let fault = bench
        .change(&of, &Change::Language(Kind::Busy, "en".to_owned()), "CLI")
        .unwrap_err();
    assert_eq!(fault, "101 has no busy greeting");
    // Back again, which ends the vacation's end, too.
    bench
        .change(&of, &Change::Presence(Presence::Available), "CLI")
        .unwrap();
    assert!(bench.sheet(&of).expires.is_empty());
    bench.told();
    bench.change(&of, &Change::Delete(None), "CLI").unwrap();
    assert_eq!(bench.told(), [("101".to_owned(), None, "deleted")]);
    assert!(bench.known().is_empty());
    assert!(!bench.of("101").exists(), "nothing is left of him");
    bench.change(&of, &Change::Delete(None), "CLI").unwrap();
    assert_eq!(bench.told(), []);
}

#[test]
fn saving_switches_on_and_ends_the_end() {
    let bench = Bench::new();
    let of = operator("101");
    let later = Some(bench.now() + 5_000);
    for change in [
        Change::Enabled(false),
        Change::Expires(Kind::Temp, later),
        Change::Expires(Kind::Vacation, later),
    ] {
        bench.change(&of, &change, "CLI").unwrap();
    }
    for kind in [Kind::Temp, Kind::Vacation] {
        bench.record("101", kind, "ru", &tone(8_000, 500)).unwrap();
    }
    let sheet = bench.sheet(&of);
    assert!(sheet.enabled);
    assert_eq!(sheet.expires.keys().collect::<Vec<_>>(), [&Kind::Vacation]);
}

#[test]
fn what_expires_goes_and_is_told() {
    let mut bench = Bench::new();
    let of = operator("101");
    for kind in [Kind::Default, Kind::Busy, Kind::Temp, Kind::Vacation] {
        bench.record("101", kind, "ru", &tone(16_000, 300)).unwrap();
    }
    let end = bench.now() + 3_600;
    bench
        .change(&of, &Change::Presence(Presence::Vacation), "CLI")
        .unwrap();
    for kind in [Kind::Busy, Kind::Temp, Kind::Vacation] {
        bench
            .change(&of, &Change::Expires(kind, Some(end)), "CLI")
            .unwrap();
    }
    bench.told();
    let file = |kind: Kind| bench.of("101").join(format!("{}-ru", kind.word()));
    assert_eq!(played(&bench, "101", Kind::Busy, "ru").unwrap(), file(Kind::Temp));
    bench.clock.advance(Duration::from_secs(3_600));
    // Nobody has to wait for the thread.
    assert_eq!(
        played(&bench, "101", Kind::Busy, "ru").unwrap(),
        file(Kind::Default)
    );
    // Time jumps in a test; the thread would see it within a minute, or when something changes.
    bench
        .change(
            &operator("102"),
            &Change::Expires(Kind::Busy, Some(end + 9_000)),
            "CLI",
        )
        .unwrap();
    until("the temporary greeting is removed", || {
        let sheet = bench.sheet(&of);
        sheet.find(Kind::Temp, "ru").is_none() && sheet.presence == Presence::Available
    });
    until("all is told", || bench.pbx.told.lock().unwrap().len() == 4);
    let mut told = bench.told();
    told.retain(|(whose, _, _)| whose == "101");
    told.sort();
    let expected =
        [Kind::Busy, Kind::Vacation, Kind::Temp].map(|kind| ("101".to_owned(), Some(kind), "expired"));
    assert_eq!(told, expected);
    for extension in ["wav", "wav16"] {
        assert!(!file(Kind::Temp).with_extension(extension).exists());
        assert!(file(Kind::Vacation).with_extension(extension).exists());
        assert!(file(Kind::Busy).with_extension(extension).exists());
    }
    bench.restart();
    let sheet = bench.sheet(&of);
    assert_eq!(sheet.expires.keys().collect::<Vec<_>>(), [&Kind::Busy]);
    assert_eq!(sheet.kinds().count(), 3);
}

/// In real time, to the second.
#[test]
fn the_thread_wakes_at_the_second() {
    let bench = Bench::new();
    let of = operator("101");
    bench.record("101", Kind::Temp, "ru", &tone(8_000, 300)).unwrap();
    let end = bench.now() + 1;
    bench
        .change(&of, &Change::Expires(Kind::Temp, Some(end)), "CLI")
        .unwrap();
    until("the temporary greeting is removed", || {
        bench.sheet(&of).greetings.is_empty()
    });
    assert!(bench.now() >= end);
    assert_eq!(bench.pbx.told.lock().unwrap().last().unwrap().change, "expired");
}

#[test]
fn what_expired_while_asterisk_was_down_is_ended_at_its_start() {
    let mut bench = Bench::new();
    let of = operator("101");
    bench.record("101", Kind::Temp, "ru", &tone(8_000, 300)).unwrap();
    bench
        .change(&of, &Change::Presence(Presence::Vacation), "CLI")
        .unwrap();
    let end = bench.now() + 60;
    for kind in [Kind::Temp, Kind::Vacation] {
        bench
            .change(&of, &Change::Expires(kind, Some(end)), "CLI")
            .unwrap();
    }
    bench.greetings = None;
    bench.clock.advance(Duration::from_secs(60));
    bench.restart();
    assert_eq!(played(&bench, "101", Kind::Busy, "ru"), None);
    until("it is ended", || bench.known().is_empty());
    assert!(!bench.of("101").exists());
}

// ---- PIN ----------------------------------------------------------------------------------------------------------------

/// B-7.
#[test]
fn a_wrong_pin_locks_and_a_restart_frees_nobody() {
    let mut bench = Bench::new();
    let of = operator("101");
    assert_eq!(bench.try_pin(&of, "4711"), PinAnswer::NotSet);
    assert_eq!(
        bench.set_pin(&of, Some("12")).unwrap_err(),
        "a PIN has 4 to 12 digits"
    );
    bench.set_pin(&of, Some("4711")).unwrap();
    assert!(bench.sheet(&of).has_pin);
    assert_eq!(bench.try_pin(&of, "4711"), PinAnswer::Right);
    assert_eq!(bench.try_pin(&of, "4712"), PinAnswer::Wrong { left: 2 });
    bench.restart();
    assert_eq!(bench.try_pin(&of, ""), PinAnswer::Wrong { left: 1 });
    assert_eq!(bench.try_pin(&of, "47110"), PinAnswer::Wrong { left: 0 });
    for _ in 0..2 {
        let PinAnswer::Locked { seconds } = bench.try_pin(&of, "4711") else {
            panic!("it is locked");
        };
        assert!((800..=900).contains(&seconds), "{seconds}");
        bench.restart();
    }
    bench.clock.advance(Duration::from_secs(900));
    assert_eq!(bench.try_pin(&of, "4711"), PinAnswer::Right);
    // The administrator's new one frees at once.
    for _ in 0..3 {
        let _ = bench.try_pin(&of, "0000");
    }
    bench.set_pin(&of, Some("999999")).unwrap();
    assert_eq!(bench.try_pin(&of, "4711"), PinAnswer::Wrong { left: 2 });
    assert_eq!(bench.try_pin(&of, "999999"), PinAnswer::Right);
    // It is nowhere.
    let everything = tree(bench.scratch.path());
    for pin in ["4711", "999999"] {
        assert!(
            everything
                .values()
                .all(|bytes| !String::from_utf8_lossy(bytes).contains(pin))
        );
    }
    bench.set_pin(&of, None).unwrap();
    assert_eq!(bench.try_pin(&of, "999999"), PinAnswer::NotSet);
    assert!(bench.known().is_empty() && !bench.of("101").exists());
}

#[test]
fn many_phones_at_once_have_no_more_tries() {
    let bench = Bench::new();
    let of = operator("101");
    bench.set_pin(&of, Some("4711")).unwrap();
    let answers: Vec<PinAnswer> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..12)
            .map(|_| scope.spawn(|| bench.try_pin(&of, "0000")))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let compared = |answer: &&PinAnswer| matches!(answer, PinAnswer::Wrong { .. });
    assert_eq!(answers.iter().filter(compared).count(), 3, "{answers:?}");
}

// ---- languages and templates --------------------------------------------------------------------------------------------

/// B-13.
#[test]
fn a_caller_hears_his_language() {
    let bench = Bench::new();
    for language in ["ru", "en", "kk"] {
        bench
            .record("101", Kind::Default, language, &tone(8_000, 300))
            .unwrap();
    }
    for (language, expected) in [
        ("ru", "ru"),
        ("ru_RU", "ru"),
        ("en_GB", "en"),
        ("fr", "en"),
        ("", "en"),
    ] {
        let path = played(&bench, "101", Kind::Busy, language).unwrap();
        assert_eq!(path, bench.of("101").join(format!("default-{expected}")));
    }
}

#[test]
fn a_template_is_for_those_who_have_none() {
    let mut bench = Bench::new();
    let sounds = bench.scratch.path().join("sounds");
    fs::create_dir(&sounds).unwrap();
    let file = sounds.join("closed.wav");
    fs::write(&file, tone(8_000, 400).to_wav(8_000)).unwrap();
    bench.import(None, Kind::Default, "ru", &file, "CLI").unwrap();
    assert_eq!(
        bench.told(),
        [("template".to_owned(), Some(Kind::Default), "imported")]
    );
    bench.record("101", Kind::Busy, "ru", &tone(8_000, 300)).unwrap();
    bench
        .change(&operator("102"), &Change::Enabled(false), "CLI")
        .unwrap();
    for _ in 0..2 {
        let chosen = bench.choose(&operator("101"), Kind::NoAnswer, false, "ru");
        let Chosen::Play {
            source,
            greeting,
            path,
        } = chosen
        else {
            panic!("{chosen:?}");
        };
        assert_eq!(source, Source::Template);
        assert_eq!(path, bench.folder().join("template/default-ru"));
        assert_eq!(path, bench.path(None, &greeting));
        assert_eq!(
            bench.choose(&operator("102"), Kind::NoAnswer, false, "ru"),
            Chosen::Disabled
        );
        assert_eq!(
            bench.read(&operator("103"), Attribute::Source, None, "ru"),
            "template"
        );
        bench.restart();
    }
    bench.delete_template(Some(Kind::Busy), "CLI").unwrap();
    assert_eq!(bench.template().greetings.len(), 1);
    bench.delete_template(None, "CLI").unwrap();
    assert!(bench.template().greetings.is_empty());
    assert_eq!(
        bench.choose(&operator("103"), Kind::NoAnswer, false, "ru"),
        Chosen::Nothing
    );
    bench.restart();
    assert!(bench.template().greetings.is_empty());
}

#[test]
fn plays_are_counted_in_memory_and_written_down_at_the_end() {
    let mut bench = Bench::new();
    let of = operator("101");
    bench
        .record("101", Kind::Default, "ru", &tone(8_000, 300))
        .unwrap();
    bench.record("101", Kind::Busy, "ru", &tone(8_000, 300)).unwrap();
    let before = tree(&bench.folder());
    let greeting = bench.sheet(&of).greetings[0].clone();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..100).for_each(|_| bench.played(Some(&of), &greeting)));
        }
    });
    bench.played(Some(&operator("102")), &greeting);
    assert_eq!(tree(&bench.folder()), before);
    for _ in 0..2 {
        assert_eq!(
            bench.read(&of, Attribute::Plays, Some(Kind::Default), "ru"),
            "800"
        );
        assert_eq!(bench.read(&of, Attribute::Plays, Some(Kind::Busy), "ru"), "0");
        bench.restart();
    }
    // A reload does not lose those that are not written down.
    bench.played(Some(&of), &greeting);
    bench.reconfigure(bench.setup()).unwrap();
    assert_eq!(
        bench.read(&of, Attribute::Plays, Some(Kind::Default), "ru"),
        "801"
    );
    // A new recording was not played yet.
    bench
        .record("101", Kind::Default, "ru", &tone(8_000, 300))
        .unwrap();
    assert_eq!(bench.read(&of, Attribute::Plays, Some(Kind::Default), "ru"), "0");
    assert!(bench.stop(BOUND) && bench.stop(BOUND));
    assert!(played(&bench, "101", Kind::Busy, "ru").is_some());
}

// ---- files and folders --------------------------------------------------------------------------------------------------

#[test]
fn sound_of_any_kind_is_imported() {
    let bench = Bench::new();
    let of = operator("101");
    let sounds = bench.scratch.path().join("sounds");
    fs::create_dir_all(sounds.join("sub")).unwrap();
    // Stereo at 44.1 kHz, as an editor saves it.
    let mono = tone(44_100, 1_000);
    let stereo = Sound {
        rate: 44_100,
        samples: mono
            .samples
            .iter()
            .flat_map(|sample| [*sample, *sample])
            .collect(),
    };
    let mut wav = stereo.to_wav(44_100);
    wav[22] = 2;
    fs::write(sounds.join("stereo.wav"), &wav).unwrap();
    fs::write(sounds.join("narrow.wav"), tone(8_000, 700).to_wav(8_000)).unwrap();
    fs::write(sounds.join("other.gsm"), "sound").unwrap();
    fs::write(sounds.join("gsm-in.WAV"), "sound").unwrap();
    fs::write(sounds.join("sub/none.mp3"), "no sound").unwrap();
    for (name, milliseconds, wide) in [
        ("stereo.wav", 1_000, true),
        ("narrow.wav", 700, false),
        ("other.gsm", 3_000, false),
        ("gsm-in.WAV", 3_000, false),
    ] {
        bench
            .import(Some(&of), Kind::Default, "ru", &sounds.join(name), "CLI")
            .unwrap();
        let greeting = bench.sheet(&of).greetings[0].clone();
        let length = greeting.length.abs_diff(Duration::from_millis(milliseconds));
        assert!(length < Duration::from_millis(1), "{name}: {:?}", greeting.length);
        assert_eq!(greeting.wide, wide, "{name}");
    }
    let before = tree(&bench.folder());
    let huge = sounds.join("huge.wav");
    File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    for (name, fault) in [
        ("sub/none.mp3", "is of no format that is known"),
        ("huge.wav", "huge.wav: it is too large"),
        ("sub", "it is not a file"),
        ("missing.wav", "No such file"),
    ] {
        let told = bench
            .import(Some(&of), Kind::Default, "ru", &sounds.join(name), "CLI")
            .unwrap_err();
        assert!(told.contains(fault) && told.contains(name), "{told}");
    }
    assert_eq!(tree(&bench.folder()), before);
}

/// What the dialplan and AMI name lies in the folders for it, whatever leads there.
#[test]
fn the_dialplan_imports_from_its_folders_alone() {
    let bench = Bench::new();
    let of = operator("101");
    let sounds = bench.scratch.path().join("sounds");
    fs::create_dir_all(sounds.join("ru")).unwrap();
    let secret = bench.scratch.path().join("secret.wav");
    for file in [&secret, &sounds.join("ru/a.wav")] {
        fs::write(file, tone(8_000, 400).to_wav(8_000)).unwrap();
    }
    symlink(&secret, sounds.join("way-out.wav")).unwrap();
    symlink(bench.scratch.path(), sounds.join("folder")).unwrap();
    symlink(sounds.join("ru/a.wav"), sounds.join("within.wav")).unwrap();
    let whole = sounds.join("ru/a.wav");
    let file = |path: &str| Change::File(Kind::Busy, PathBuf::from(path));
    for good in [
        "ru/a.wav",
        "ru/a",
        "within",
        whole.to_str().unwrap(),
        "folder/sounds/ru/a",
    ] {
        bench.change(&of, &file(good), "AMI").unwrap();
        bench.change(&of, &Change::Delete(None), "AMI").unwrap();
    }
    for (wrong, fault) in [
        (secret.to_str().unwrap(), "lies in none of the folders"),
        ("../secret.wav", "lies in none of the folders"),
        ("ru/../../secret", "lies in none of the folders"),
        ("way-out.wav", "lies in none of the folders"),
        ("folder/secret.wav", "lies in none of the folders"),
        ("/etc/passwd", "lies in none of the folders"),
        ("/dev/zero", "lies in none of the folders"),
        ("/not/there.wav", "lies in none of the folders"),
        ("ru", "ru is not there"),
        ("ru/b.wav", "ru/b.wav is not there"),
    ] {
        let told = bench.change(&of, &file(wrong), "AMI").unwrap_err();
        assert!(told.contains(fault), "{wrong}: {told}");
    }
    assert!(bench.known().is_empty());
}

/// B-10.
#[test]
fn hundreds_are_imported_exported_and_the_same() {
    let bench = Bench::new();
    let scratch = bench.scratch.path();
    let flat = scratch.join("flat");
    fs::create_dir(&flat).unwrap();
    let short = tone(16_000, 120).to_wav(16_000);
    for ext in 100..600 {
        fs::write(flat.join(format!("{ext}.wav")), &short).unwrap();
    }
    let imported = bench.import_folder(&flat, "CLI").unwrap();
    assert_eq!((imported.operators, imported.greetings), (500, 500));
    assert!(imported.refused.is_empty(), "{:?}", imported.refused);
    bench.told();
    for (operator, _) in bench.known() {
        bench.change(&operator, &Change::Enabled(false), "CLI").unwrap();
    }
    assert_eq!(bench.told().len(), 500);
    bench
        .change(&operator("101"), &Change::Presence(Presence::Away), "CLI")
        .unwrap();
    let later = bench.now() + 5_000;
    bench
        .change(&operator("101"), &Change::Expires(Kind::Busy, Some(later)), "CLI")
        .unwrap();
    bench
        .record("102", Kind::Busy, "en_GB", &tone(8_000, 200))
        .unwrap();
    let tenant = operator("102@office");
    let recording = bench.record_for(&tenant).unwrap();
    recording
        .save(Kind::Vacation, "ru", &tone(16_000, 250), "phone")
        .unwrap();
    bench.played(Some(&tenant), &bench.sheet(&tenant).greetings[0]);
    bench.set_pin(&operator("103"), Some("4711")).unwrap();
    bench
        .import(None, Kind::Busy, "ru", &flat.join("100.wav"), "CLI")
        .unwrap();

    let out = scratch.join("out");
    let all = Selection::all();
    assert_eq!(bench.export(&out, &all).unwrap(), 501);
    let fault = bench.export(&out, &all).unwrap_err();
    assert!(fault.contains("is there already"), "{fault}");
    let other = Bench::new();
    let imported = other.import_folder(&out, "CLI").unwrap();
    assert_eq!((imported.operators, imported.greetings), (501, 503));
    assert!(imported.refused.is_empty(), "{:?}", imported.refused);
    let again = other.scratch.path().join("again");
    assert_eq!(other.export(&again, &all).unwrap(), 501);
    assert!(tree(&again) == tree(&out), "the round trip changes something");
    for ((operator, before), (other, after)) in bench.known().into_iter().zip(other.known()) {
        assert_eq!(operator, other);
        let expected = Sheet {
            has_pin: false,
            ..(*before).clone()
        };
        assert_eq!(*after, expected, "{operator}");
    }
    let sounds = |folder: &Path| -> BTreeMap<PathBuf, Vec<u8>> {
        let mut tree = tree(folder);
        tree.retain(|path, _| path.file_name() != Some(OsStr::new("sheet.json")));
        tree
    };
    assert_eq!(sounds(&bench.folder()), sounds(&other.folder()));
    // Some of them.
    let few = scratch.join("few");
    let some = Selection::parse("_10X", &bench.setup().operators).unwrap();
    assert_eq!(bench.export(&few, &some).unwrap(), 10);
    assert!(few.join("operators/-/109").is_dir() && !few.join("operators/-/110").exists());
    let secret = tree(&out);
    assert!(
        secret
            .values()
            .all(|bytes| !String::from_utf8_lossy(bytes).contains("salt"))
    );
}

#[test]
fn what_cannot_be_imported_keeps_no_other_from_it() {
    let bench = Bench::new();
    let flat = bench.scratch.path().join("flat");
    fs::create_dir(&flat).unwrap();
    let good = tone(8_000, 300).to_wav(8_000);
    for name in [
        "101.wav",
        "101-busy.wav",
        "102-vacation-ru_RU.wav",
        "rec_103.wav",
        "104@office-temp-en.wav",
        "9999.wav",
        "lunch.wav",
        "101-lunch.wav",
        "..wav",
        "1;1.wav",
    ] {
        fs::write(flat.join(name), &good).unwrap();
    }
    fs::write(flat.join("105.wav"), "no sound").unwrap();
    fs::write(flat.join("106.gsm"), "sound").unwrap();
    fs::write(flat.join("readme"), "for people").unwrap();
    symlink("/etc/passwd", flat.join("107.wav")).unwrap();
    fs::create_dir(flat.join("108.wav")).unwrap();
    let imported = bench.import_folder(&flat, "CLI").unwrap();
    assert_eq!((imported.operators, imported.greetings), (5, 6));
    let refused = imported.refused.join("\n");
    for name in ["9999", "lunch", "101-lunch", "1;1", "105.wav", "107.wav"] {
        assert!(refused.contains(name), "{name} is not named: {refused}");
    }
    assert_eq!(imported.refused.len(), 6, "{refused}");
    let kinds: Vec<String> = bench
        .known()
        .iter()
        .flat_map(|(operator, sheet)| {
            let names = sheet
                .greetings
                .iter()
                .map(move |greeting| format!("{operator} {} {}", greeting.kind.word(), greeting.language));
            names.collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "101 default en",
            "101 busy en",
            "102 vacation ru_RU",
            "103 default en",
            "104@office temp en",
            "106 default en"
        ]
    );
    let empty = bench.scratch.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let fault = bench.import_folder(&empty, "CLI").unwrap_err();
    assert!(fault.contains("holds neither an export nor"), "{fault}");
    assert!(bench.import_folder(&empty.join("none"), "CLI").is_err());
    for index in 0..30 {
        fs::write(empty.join(format!("{index}.wav")), "").unwrap();
    }
    let imported = bench.import_folder(&empty, "CLI").unwrap();
    assert_eq!(imported.refused.len(), 21);
    assert_eq!(imported.refused[20], "10 more were refused as well");
}

#[test]
fn a_reload_sees_what_was_done_to_the_files_and_to_the_settings() {
    let bench = Bench::new();
    bench
        .record("101", Kind::Default, "ru", &tone(8_000, 300))
        .unwrap();
    let recording = bench.record_for(&operator("101")).unwrap();
    // An administrator puts a file there, and one where nobody looks.
    fs::create_dir_all(bench.of("102")).unwrap();
    fs::copy(
        bench.of("101").join("default-ru.wav"),
        bench.of("102").join("busy-ru.wav"),
    )
    .unwrap();
    bench.reconfigure(bench.setup()).unwrap();
    assert!(bench.sheet(&operator("102")).find(Kind::Busy, "ru").is_some());
    assert!(bench.record_for(&operator("101")).is_none(), "he still records");
    recording
        .save(Kind::Default, "ru", &tone(8_000, 400), "phone")
        .unwrap();
    let narrow = Setup {
        operators: Patterns::parse("101").unwrap(),
        ..bench.setup()
    };
    bench.reconfigure(narrow).unwrap();
    assert_eq!(bench.known().len(), 1);
    assert!(bench.operator(b"102").is_err() && bench.operator(b"101").is_ok());
    bench.reconfigure(bench.setup()).unwrap();
    assert_eq!(bench.known().len(), 2, "his files were left alone");
    let elsewhere = Setup {
        folder: bench.scratch.path().join("elsewhere"),
        ..bench.setup()
    };
    bench.reconfigure(elsewhere).unwrap();
    assert!(bench.known().is_empty());
    bench
        .record("103", Kind::Default, "ru", &tone(8_000, 400))
        .unwrap();
    bench.reconfigure(bench.setup()).unwrap();
    let known: Vec<String> = bench
        .known()
        .iter()
        .map(|(operator, _)| operator.to_string())
        .collect();
    assert_eq!(known, ["101", "102"]);
}

// ---- what the article's dialplan has ------------------------------------------------------------------------------------

/// B-12.
#[test]
fn the_articles_greetings_are_taken_over_once_and_kept_in_step() {
    let mut bench = Bench::new();
    bench.greetings = None;
    let custom = bench.scratch.path().join("custom");
    fs::create_dir(&custom).unwrap();
    let rec = |ext: &str| custom.join(format!("rec_{ext}.wav"));
    // It has no limits, and an hour of silence is a greeting for nobody.
    let long = tone(8_000, 70_000).to_wav(8_000);
    let recorded = UNIX_EPOCH + Duration::from_secs(1_571_270_400);
    for (ext, flag, sound) in [
        ("101", Some("true"), Some(&long)),
        ("102", Some("false"), Some(&long)),
        ("103", None, Some(&long)),
        ("104", Some("true"), None),
        ("105", Some("true"), Some(&Vec::new())),
        ("9999", Some("true"), Some(&long)),
        ("../1", Some("true"), None),
    ] {
        if let Some(flag) = flag {
            let mut flags = bench.pbx.flags.lock().unwrap();
            flags.insert(ext.to_owned(), flag.to_owned());
        }
        if let Some(sound) = sound {
            fs::write(rec(ext), sound).unwrap();
            let file = File::options().write(true).open(rec(ext)).unwrap();
            file.set_modified(recorded).unwrap();
        }
    }
    let flag = |bench: &Bench, ext: &str| bench.pbx.flags.lock().unwrap().get(ext).cloned();
    let adopt = |setup: &mut Setup| setup.adopt = Some(custom.clone());
    let files_before = tree(&custom);
    for _ in 0..2 {
        bench.start(adopt);
        let known: Vec<String> = bench
            .known()
            .iter()
            .map(|(operator, _)| operator.to_string())
            .collect();
        assert_eq!(known, ["101", "102", "103"]);
        for (ext, enabled) in [("101", true), ("102", false), ("103", false)] {
            let sheet = bench.sheet(&operator(ext));
            assert_eq!(
                (sheet.enabled, sheet.adopted, sheet.greetings.len()),
                (enabled, true, 1),
                "{ext}"
            );
            assert_eq!(sheet.greetings[0].length, Duration::from_secs(70));
            assert_eq!(sheet.greetings[0].modified, 1_571_270_400);
            assert_eq!(
                (sheet.greetings[0].kind, sheet.greetings[0].language.as_str()),
                (Kind::Default, "ru")
            );
        }
        assert_eq!(tree(&custom), files_before, "they are left as they are");
        assert_eq!(flag(&bench, "101").unwrap(), "true");
        assert_eq!(flag(&bench, "102").unwrap(), "false");
        assert_eq!(flag(&bench, "103"), None);
    }
    let told = bench.told();
    assert_eq!(told.len(), 3);
    assert!(
        told.iter()
            .all(|(_, kind, told)| *told == "adopted" && *kind == Some(Kind::Default))
    );

    // From now on ours counts.
    let sound = tone(16_000, 900);
    bench.record("101", Kind::Default, "ru", &sound).unwrap();
    let ours = fs::read(bench.of("101").join("default-ru.wav")).unwrap();
    assert_eq!(fs::read(rec("101")).unwrap(), ours);
    assert_eq!(fs::metadata(rec("101")).unwrap().mode() & 0o777, 0o640);
    bench
        .change(&operator("101"), &Change::Enabled(false), "CLI")
        .unwrap();
    assert_eq!(flag(&bench, "101").unwrap(), "false");
    assert!(rec("101").exists());
    bench
        .change(&operator("102"), &Change::Enabled(true), "CLI")
        .unwrap();
    assert_eq!(flag(&bench, "102").unwrap(), "true");
    bench
        .change(&operator("102"), &Change::Delete(Some(Kind::Default)), "CLI")
        .unwrap();
    assert!(flag(&bench, "102").unwrap() == "false" && !rec("102").exists());
    // Another kind is nothing that the article knows.
    bench.record("102", Kind::Busy, "ru", &sound).unwrap();
    assert!(flag(&bench, "102").unwrap() == "false" && !rec("102").exists());
    // 104 is one of its operators and gets a greeting here.
    bench.record("104", Kind::Default, "ru", &sound).unwrap();
    assert_eq!(flag(&bench, "104").unwrap(), "true");
    assert_eq!(fs::read(rec("104")).unwrap(), ours);
    // Who has begun with ours is given what the article's dialplan played, and nothing else of his changes.
    for (ext, old) in [("106", "true"), ("107", "false"), ("108", "true")] {
        bench.record(ext, Kind::Busy, "ru", &sound).unwrap();
        bench
            .pbx
            .flags
            .lock()
            .unwrap()
            .insert(ext.to_owned(), old.to_owned());
        fs::write(rec(ext), &long).unwrap();
    }
    bench
        .change(&operator("108"), &Change::Enabled(false), "CLI")
        .unwrap();
    let mut again = bench.setup();
    adopt(&mut again);
    bench.reconfigure(again).unwrap();
    for (ext, enabled, greetings) in [("106", true, 2), ("107", true, 1), ("108", false, 2)] {
        let sheet = bench.sheet(&operator(ext));
        assert_eq!(
            (sheet.enabled, sheet.greetings.len()),
            (enabled, greetings),
            "{ext}"
        );
    }
    // 103 is none of its operators: it has no flag.
    bench
        .change(&operator("103"), &Change::Delete(None), "CLI")
        .unwrap();
    assert!(rec("103").exists() && flag(&bench, "103").is_none());

    // What was deleted here does not come back from there, and what is changed there does not count.
    fs::write(rec("102"), &long).unwrap();
    bench.pbx.set_legacy_flag("102", true);
    fs::write(rec("101"), &long).unwrap();
    bench.start(adopt);
    assert!(bench.sheet(&operator("102")).find(Kind::Default, "ru").is_none());
    assert!(bench.sheet(&operator("103")).greetings.is_empty());
    assert!(flag(&bench, "102").unwrap() == "false" && !rec("102").exists());
    assert_eq!(fs::read(rec("101")).unwrap(), ours);
    assert_eq!(
        tree(&custom)
            .keys()
            .filter(|name| !name.starts_with("rec_"))
            .count(),
        tree(&custom).len(),
        "nothing half-written is left"
    );

    // Without adoption nothing of theirs is touched.
    bench.restart();
    let before = tree(&custom);
    bench
        .change(&operator("101"), &Change::Delete(None), "CLI")
        .unwrap();
    assert_eq!(tree(&custom), before);
    assert_eq!(flag(&bench, "101").unwrap(), "false");
}

#[test]
fn a_folder_of_the_articles_that_cannot_be_written_hinders_nobody() {
    let mut bench = Bench::new();
    bench.pbx.set_legacy_flag("101", true);
    let gone = bench.scratch.path().join("gone");
    bench.start(|setup| setup.adopt = Some(gone.clone()));
    bench
        .record("101", Kind::Default, "ru", &tone(8_000, 300))
        .unwrap();
    assert!(played(&bench, "101", Kind::Busy, "ru").is_some());
    assert!(!gone.exists());
    let before = SystemTime::now();
    bench
        .change(&operator("101"), &Change::Delete(None), "CLI")
        .unwrap();
    assert!(before.elapsed().is_ok_and(|elapsed| elapsed < BOUND));
}
