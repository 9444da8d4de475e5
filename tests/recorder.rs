//! Recording a trace onto a real disk, and playing it from there.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use res_planfix::core::mask::Mask;
use res_planfix::core::pattern::Patterns;
use res_planfix::core::record::{Channel, Record, Stage, What};
use res_planfix::core::settings::Calls;
use res_planfix::core::trace::{Header, Trace};
use res_planfix::delivery::player::play;
use res_planfix::delivery::recorder::{Limits, Recorder, create};
use res_planfix::delivery::threads::StdThreads;

const BOUND: Duration = Duration::from_secs(60);

fn header() -> Header {
    let calls = Calls {
        internal: Patterns::parse("_1XX").unwrap(),
        ..Calls::default()
    };
    Header::new("0.1.0", "22.1.0", &calls)
}

fn record(number: u64) -> Record {
    Record {
        time: 1_700_000_000_000_000 + number * 1_000,
        what: What::Created {
            channel: Channel {
                uniqueid: format!("1700000000.{number}").into(),
                linkedid: format!("1700000000.{number}").into(),
                name: format!("PJSIP/trunk-{number:08x}").into(),
                stage: Stage::Ring,
                caller: "79101234567".into(),
                ..Channel::default()
            },
        },
    }
}

fn start(path: &Path, file: File, masked: bool, limits: Limits) -> Recorder {
    let mask = masked.then(|| Mask::new(RandomState::new(), Patterns::parse("_1XX").unwrap()));
    Recorder::start(path, file, &header(), mask, limits, &StdThreads).unwrap()
}

/// Waits until the recording has ended by itself, and returns why.
fn ended(recorder: &Recorder) -> String {
    let begin = Instant::now();
    loop {
        if let Some(why) = recorder.progress().ended {
            assert!(recorder.stop(BOUND) && recorder.is_over());
            return why;
        }
        assert!(begin.elapsed() < BOUND, "the recording goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn read(path: &Path) -> Trace {
    Trace::read(fs::read_to_string(path).unwrap().lines()).unwrap()
}

#[test]
fn what_is_offered_is_in_the_file_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.trace");
    let recorder = start(&path, create(&path).unwrap(), false, Limits::default());
    let records: Vec<Record> = (0..500).map(record).collect();
    for record in &records {
        recorder.offer(Box::new(record.clone()));
    }
    assert!(recorder.stop(BOUND));
    let progress = recorder.progress();
    assert_eq!((progress.records, progress.ended), (500, None));
    let facts = fs::metadata(&path).unwrap();
    assert_eq!(facts.len(), progress.bytes);
    assert_eq!(facts.permissions().mode() & 0o777, 0o600);
    let trace = read(&path);
    assert_eq!(trace.records, records);
    assert_eq!(trace.header, header());
    // After its end it takes nothing, and a second end is none.
    recorder.offer(Box::new(record(1)));
    assert!(recorder.stop(BOUND));
    assert_eq!(fs::metadata(&path).unwrap().len(), progress.bytes);
}

#[test]
fn a_masked_recording_holds_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.trace");
    let recorder = start(&path, create(&path).unwrap(), true, Limits::default());
    (0..50).for_each(|number| recorder.offer(Box::new(record(number))));
    assert!(recorder.stop(BOUND));
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains("1234567"), "{text}");
    let trace = read(&path);
    assert!(trace.header.masked);
    assert_eq!(trace.records.len(), 50);
}

#[test]
fn a_file_that_exists_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    fs::write(&path, "precious").unwrap();
    let fault = create(&path).unwrap_err();
    assert!(fault.contains("exists already and is not overwritten"), "{fault}");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
    assert!(create(&link).unwrap_err().contains("exists already"));
    assert!(!folder.path().join("nowhere").exists());
    let fault = create(&folder.path().join("no/such/folder")).unwrap_err();
    assert!(fault.contains("cannot be made"), "{fault}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn it_ends_by_itself_at_its_size_with_whole_lines() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.trace");
    let limits = Limits {
        bytes: 10_000,
        ..Limits::default()
    };
    let recorder = start(&path, create(&path).unwrap(), false, limits);
    for number in 0..10_000 {
        recorder.offer(Box::new(record(number)));
    }
    assert_eq!(ended(&recorder), "the file would be larger than 9.8 KiB");
    let trace = read(&path);
    assert_eq!(trace.records.len() as u64, recorder.progress().records);
    let size = fs::metadata(&path).unwrap().len();
    assert!((9_000..=10_000).contains(&size), "{size}");
}

#[test]
fn it_ends_by_itself_after_its_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.trace");
    let limits = Limits {
        duration: Duration::from_millis(50),
        ..Limits::default()
    };
    let recorder = start(&path, create(&path).unwrap(), false, limits);
    assert_eq!(ended(&recorder), "it has lasted for 0s");
    assert_eq!(read(&path).records, []);
}

#[test]
fn a_full_disk_ends_it() {
    let full = Path::new("/dev/full");
    let file = File::options().write(true).open(full).unwrap();
    let recorder = start(full, file, false, Limits::default());
    recorder.offer(Box::new(record(1)));
    let why = ended(&recorder);
    assert!(
        why.starts_with("the file cannot be written: No space left"),
        "{why}"
    );
    assert_eq!(recorder.progress().records, 0);
}

#[test]
fn a_trace_is_played_from_its_file_and_a_fault_names_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("calls.trace");
    let recorder = start(&path, create(&path).unwrap(), false, Limits::default());
    recorder.offer(Box::new(Record {
        time: 1_700_000_000_000_000,
        what: What::CaughtUp,
    }));
    recorder.offer(Box::new(record(1)));
    assert!(recorder.stop(BOUND));
    let mut lines = Vec::new();
    let count = play(&path, Some("1700000000.1"), |line| lines.push(line.to_owned())).unwrap();
    assert_eq!((count.records, count.requests, count.channels), (2, 0, 1));
    assert_eq!(lines[0], "res_planfix 0.1.0 on Asterisk 22.1.0");
    assert!(
        lines
            .iter()
            .any(|line| line.contains("inbound call from 79101234567")),
        "{lines:?}"
    );
    let mut lines = Vec::new();
    play(&path, Some("nobody's"), |line| lines.push(line.to_owned())).unwrap();
    assert_eq!(lines[1..], ["The trace has no call nobody's."]);

    let text = fs::read_to_string(&path).unwrap();
    for (written, expected) in [
        (
            format!("{text}{{\"t\":1}}\n").into_bytes(),
            "line 4: missing field `event`",
        ),
        ([text.as_bytes(), b"\xff\n"].concat(), "line 4: it is not UTF-8"),
        (b"{}".to_vec(), "line 1: this is no trace of 'planfix record'"),
        (Vec::new(), "line 1: this is no trace of 'planfix record'"),
    ] {
        fs::write(&path, written).unwrap();
        let fault = play(&path, None, |_| {}).unwrap_err();
        assert!(fault.contains(&format!("calls.trace: {expected}")), "{fault}");
    }
    for (odd, expected) in [("/dev/zero", "this is no file"), ("/no/such", "No such file")] {
        let fault = play(Path::new(odd), None, |_| {}).unwrap_err();
        assert!(fault.contains(expected), "{fault}");
    }
}
