//! Recordings become mp3: the real encoder, encoders that misbehave, files that are damaged, and what the CRM is told. Real
//! processes, a real disk, a real HTTP server. No Asterisk.

use std::f64::consts::TAU;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime};

use planfix_sandbox::{Options, Request, Sandbox};
use res_planfix::core::direction::Direction;
use res_planfix::core::draft::{self, Draft, Kind};
use res_planfix::core::recording::{News, mp3};
use res_planfix::core::secret::Secret;
use res_planfix::core::settings::{self, Crm};
use res_planfix::delivery::clock::SystemClock;
use res_planfix::delivery::recordings::{Outcome, Setup, StdHost, program, treat};
use res_planfix::delivery::status::{Recordings, Status};
use res_planfix::delivery::threads::StdThreads;
use res_planfix::delivery::{Delivery, Surroundings};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// For whatever takes milliseconds on a machine with nothing else to do.
const BOUND: Duration = Duration::from_secs(60);
/// The length of what is recorded here.
const LENGTH: Duration = Duration::from_secs(2);

/// A folder with recordings.
struct Place {
    folder: tempfile::TempDir,
    setup: Setup,
    stopping: AtomicBool,
}

impl Place {
    fn new() -> Self {
        assert!(
            program("lame").is_some(),
            "lame is missing: run `tools/prepare test`, or `apt install lame`"
        );
        Self::in_folder(tempfile::tempdir().unwrap())
    }

    fn in_folder(folder: tempfile::TempDir) -> Self {
        let monitor = folder.path().join("monitor");
        fs::create_dir(&monitor).unwrap();
        let setup = Setup {
            directory: monitor,
            convert: true,
            encoder: "lame".to_owned(),
            keep_original: false,
            wait: Duration::ZERO,
            patience: BOUND,
            link: Arc::new(|path| Ok(format!("https://pbx.example.com/{}", path.display()))),
            host: Arc::new(StdHost),
        };
        Self {
            folder,
            setup,
            stopping: AtomicBool::new(false),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.setup.directory.join(name)
    }

    /// A file that nobody has touched for a while.
    fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        rest(&path);
        path
    }

    /// A script in the encoder's place. It is given lame's words: the file to be made is `$target`.
    fn encode_by(&mut self, script: &str) {
        let path = self.folder.path().join("encoder");
        fs::write(&path, format!("#!/bin/sh\nfor target; do :; done\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self.setup.encoder = path.display().to_string();
    }

    fn treat(&self, said: &str) -> Outcome {
        self.treat_known_at(said, 0)
    }

    fn treat_known_at(&self, said: &str, at: u64) -> Outcome {
        treat(said, "2026/11/21", at, &self.setup, &StdThreads, &self.stopping)
    }

    fn fails(&self, said: &str, why: &str) {
        match self.treat(said) {
            Outcome::Failed(reason) | Outcome::Missing(reason) => {
                assert!(reason.contains(why), "{reason}");
            }
            other => panic!("{other:?} instead of '{why}'"),
        }
    }

    /// Everything in the folder, hidden files too.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.setup.directory).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn rest(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60))
        .unwrap();
}

/// A tone, as 16 bits.
fn samples(rate: u32, length: Duration) -> Vec<u8> {
    let count = (f64::from(rate) * length.as_secs_f64()) as u32;
    (0..count)
        .flat_map(|number| {
            let angle = TAU * 440.0 * f64::from(number) / f64::from(rate);
            ((8_000.0 * angle.sin()) as i16).to_le_bytes()
        })
        .collect()
}

fn wav(rate: u32, samples: &[u8], lengths: Option<u32>) -> Vec<u8> {
    let length = samples.len() as u32;
    let mut file = b"RIFF".to_vec();
    file.extend(lengths.unwrap_or(36 + length).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(rate.to_le_bytes());
    file.extend((rate * 2).to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(lengths.unwrap_or(length).to_le_bytes());
    file.extend(samples);
    file
}

fn recorded() -> Vec<u8> {
    wav(8_000, &samples(8_000, LENGTH), None)
}

fn played(path: &Path) -> Duration {
    mp3::examine(&fs::read(path).unwrap()).unwrap().length
}

fn is_near(one: Duration, other: Duration) -> bool {
    one.abs_diff(other) <= Duration::from_millis(20)
}

// ---- what is converted --------------------------------------------------------------------------------------------------

#[test]
fn every_format_becomes_an_mp3_of_the_same_length() {
    let place = Place::new();
    let tone = samples(8_000, LENGTH);
    let loud = |byte: u8| vec![byte; 16_000];
    for (name, bytes) in [
        ("a.wav", recorded()),
        ("b.wav16", wav(16_000, &samples(16_000, LENGTH), None)),
        ("c.sln", tone.clone()),
        ("d.sln16", samples(16_000, LENGTH)),
        ("e.sln48", samples(48_000, LENGTH)),
        ("f.ulaw", loud(0x12)),
        ("g.alaw", loud(0x34)),
        ("h.raw", tone.clone()),
        ("2026/11/21/i.wav", recorded()),
    ] {
        let source = place.put(name, &bytes);
        let outcome = place.treat(source.to_str().unwrap());
        let Outcome::Done { path, length } = outcome else {
            panic!("{name}: {outcome:?}")
        };
        assert_eq!(length, LENGTH, "{name}");
        let target = place.path(&path);
        assert!(
            is_near(played(&target), LENGTH),
            "{name} plays {:?}",
            played(&target)
        );
        assert!(!source.exists(), "{name} is removed");
        assert_eq!(Path::new(&path), Path::new(name).with_extension("mp3"), "{name}");
    }
}

#[test]
fn the_header_that_a_killed_asterisk_leaves_costs_no_sound() {
    let place = Place::new();
    for (name, lengths) in [("zero.wav", 0), ("wrong.wav", 4_000), ("open.wav", u32::MAX)] {
        place.put(name, &wav(8_000, &samples(8_000, LENGTH), Some(lengths)));
        let outcome = place.treat(name);
        assert!(
            matches!(outcome, Outcome::Done { length, .. } if length == LENGTH),
            "{name}: {outcome:?}"
        );
    }
}

#[test]
fn the_original_stays_if_that_is_wanted_and_its_permissions_go_over() {
    let mut place = Place::new();
    place.setup.keep_original = true;
    let source = place.put("a.wav", &recorded());
    fs::set_permissions(&source, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(place.treat("a.wav"), Outcome::Done { .. }));
    assert_eq!(place.names(), ["a.mp3", "a.wav"]);
    let mode = fs::metadata(place.path("a.mp3")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
}

#[test]
fn without_conversion_the_recording_is_left_as_it_is() {
    let mut place = Place::new();
    place.setup.convert = false;
    place.put("a.wav", &recorded());
    assert!(matches!(place.treat("a.wav"), Outcome::Done { path, .. } if path == "a.wav"));
    assert_eq!(place.names(), ["a.wav"]);
}

#[test]
fn what_an_earlier_run_has_converted_is_taken_over() {
    let place = Place::new();
    place.put("a.wav", &recorded());
    let first = place.treat("a.wav");
    assert_eq!(
        place.treat("a.wav"),
        first,
        "the original is gone, the mp3 is there"
    );
    // Left over by a run that was killed.
    place.put("b.wav", &recorded());
    place.put(".b.planfix.part", b"half of an mp3");
    assert!(matches!(place.treat("b.wav"), Outcome::Done { .. }));
    assert_eq!(place.names(), ["a.mp3", "b.mp3"]);
}

#[test]
fn freepbx_names_are_found_by_their_day() {
    let place = Place::new();
    let name = "in-74951234567-79101234567-20260131-163000-1795278600.12";
    place.put(&format!("2026/01/31/{name}.wav"), &recorded());
    let expected = format!("2026/01/31/{name}.mp3");
    assert!(matches!(place.treat(name), Outcome::Done { path, .. } if path == expected));
    place.put("2026/11/21/plain.wav", &recorded());
    assert!(matches!(place.treat("plain"), Outcome::Done { path, .. } if path == "2026/11/21/plain.mp3"));
}

// ---- what is not touched ------------------------------------------------------------------------------------------------

#[test]
fn nothing_outside_of_the_folder_is_touched() {
    let place = Place::new();
    let outside = place.folder.path().join("outside.wav");
    fs::write(&outside, recorded()).unwrap();
    rest(&outside);
    symlink(&outside, place.path("link.wav")).unwrap();
    symlink(place.folder.path(), place.path("way")).unwrap();
    fs::create_dir(place.path("folder.wav")).unwrap();
    place.put(".hidden.wav", &recorded());
    for said in [
        outside.to_str().unwrap(),
        "link.wav",
        "way/outside.wav",
        "../outside.wav",
        ".hidden.wav",
        "folder.wav",
        "/etc/passwd",
        "",
    ] {
        let outcome = place.treat(said);
        assert!(
            matches!(
                outcome,
                Outcome::Refused(_) | Outcome::Silent(_) | Outcome::Failed(_) | Outcome::Missing(_)
            ),
            "{said}: {outcome:?}"
        );
    }
    assert_eq!(fs::read(&outside).unwrap(), recorded());
    assert_eq!(place.names(), [".hidden.wav", "folder.wav", "link.wav", "way"]);
    // The folder itself may be a link, and so may be what stays inside.
    let place = Place::new();
    place.put("a.wav", &recorded());
    symlink(place.path("a.wav"), place.path("b.wav")).unwrap();
    assert!(matches!(place.treat("b.wav"), Outcome::Done { path, .. } if path == "a.mp3"));
}

#[test]
fn a_file_that_is_still_written_to_is_left_alone() {
    let place = Place::new();
    let path = place.put("a.wav", &recorded());
    let mut open = File::options().append(true).open(&path).unwrap();
    assert_eq!(place.treat("a.wav"), Outcome::NotYet, "it is open");
    open.write_all(&[0; 320]).unwrap();
    drop(open);
    assert_eq!(
        place.treat("a.wav"),
        Outcome::NotYet,
        "it was changed a moment ago"
    );
    rest(&path);
    let reader = File::open(&path).unwrap();
    assert!(
        matches!(place.treat("a.wav"), Outcome::Done { .. }),
        "who reads does not matter"
    );
    drop(reader);
}

#[test]
fn a_file_that_is_not_there_yet_is_waited_for_and_then_missed() {
    let place = Place::new();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(
        place.treat_known_at("a.wav", now.as_millis() as u64),
        Outcome::NotYet
    );
    place.fails("a.wav", "there is no such file");
}

#[test]
fn a_recording_without_sound_is_none() {
    let place = Place::new();
    place.put("a.wav", &wav(8_000, &[], None));
    assert!(matches!(place.treat("a.wav"), Outcome::Silent(why) if why.contains("no sound")));
    assert_eq!(place.names(), ["a.wav"]);
}

#[test]
fn a_damaged_file_stays_and_says_why() {
    let place = Place::new();
    place.put(
        "a.wav",
        b"this is no wav file, and long enough to have a header of one",
    );
    place.fails("a.wav", "does not begin like a wav file");
    place.put("b.gsm", &[0; 330]);
    place.fails("b.gsm", "needs Asterisk");
    place.put("c.mp3", b"no mp3");
    place.fails("c.mp3", "holds no mp3 frame");
    assert_eq!(place.names(), ["a.wav", "b.gsm", "c.mp3"]);
}

// ---- encoders that misbehave --------------------------------------------------------------------------------------------

#[test]
fn an_encoder_that_fails_costs_no_recording() {
    let mut place = Place::new();
    place.put("a.wav", &recorded());
    for (script, why) in [
        ("cat >/dev/null; exit 3", "exit status: 3"),
        ("kill -SEGV $$", "signal: 11"),
        ("exit 1", "exit status: 1"),
        ("cat >/dev/null; : >\"$target\"", "no mp3"),
        ("cat >\"$target\"", "no mp3"),
        ("cat >/dev/null", "No such file"),
        (
            "exec lame --quiet -r -s 16 --bitwidth 16 --signed --little-endian -m m - \"$target\"",
            "instead of 2.0 s",
        ),
        ("head -c 100 >/dev/null; exit 0", ""),
    ] {
        place.encode_by(script);
        place.fails("a.wav", why);
        assert_eq!(place.names(), ["a.wav"], "after {script}");
    }
    place.setup.encoder = "lame".to_owned();
    assert!(
        matches!(place.treat("a.wav"), Outcome::Done { .. }),
        "and it goes on when it is mended"
    );
}

#[test]
fn a_missing_encoder_hinders_all_and_says_how_to_get_it() {
    let mut place = Place::new();
    place.put("a.wav", &recorded());
    for encoder in ["there-is-no-such-encoder", "/nowhere/lame", "/etc/passwd"] {
        place.setup.encoder = encoder.to_owned();
        let outcome = place.treat("a.wav");
        assert!(
            matches!(&outcome, Outcome::Hindered(why) if why.contains("apt install lame")),
            "{encoder}: {outcome:?}"
        );
    }
    assert_eq!(place.names(), ["a.wav"]);
}

/// Whether a process is there and is more than a dead body.
fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit(") ")
        .next()
        .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + BOUND;
    while !holds() {
        assert!(Instant::now() < until, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn an_encoder_that_hangs_is_killed_with_its_children() {
    let mut place = Place::new();
    place.put("a.wav", &recorded());
    let pids = place.folder.path().join("pids");
    place.encode_by(&format!(
        "sleep 1000 & echo $! >'{0}.new'; echo $$ >>'{0}.new'; mv '{0}.new' '{0}'; wait",
        pids.display()
    ));
    place.setup.patience = Duration::from_millis(300);
    place.fails("a.wav", "did not come to an end");
    let pids = fs::read_to_string(&pids).unwrap();
    for pid in pids.lines() {
        until("the encoder's end", || !lives(pid));
    }
    assert_eq!(pids.lines().count(), 2);
    assert_eq!(place.names(), ["a.wav"]);
}

#[test]
fn an_unload_does_not_wait_for_the_encoder() {
    let mut place = Place::new();
    place.put("a.wav", &recorded());
    place.encode_by("cat >/dev/null; sleep 1000");
    *place.stopping.get_mut() = true;
    assert_eq!(place.treat("a.wav"), Outcome::BrokenOff);
    assert_eq!(place.names(), ["a.wav"]);
}

#[test]
fn the_encoder_gets_no_environment_and_no_descriptor_of_ours() {
    let mut place = Place::new();
    place.put("a.wav", &recorded());
    let seen = place.folder.path().join("seen");
    let held = File::create(place.folder.path().join("held")).unwrap();
    place.encode_by(&format!(
        "cat >/dev/null; {{ env; ls -l /proc/$$/fd; }} >'{}'; exit 1",
        seen.display()
    ));
    place.fails("a.wav", "exit status: 1");
    drop(held);
    let seen = fs::read_to_string(seen).unwrap();
    assert!(
        !seen.contains("CARGO") && !seen.contains("HOME") && seen.contains("PATH="),
        "{seen}"
    );
    assert!(!seen.contains("held"), "{seen}");
}

#[test]
fn a_full_disk_hinders_all_and_costs_no_recording() {
    let folder = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(folder.path())
        .output()
        .is_ok_and(|output| output.status.success());
    if !mounted {
        eprintln!("skipped: no file system can be mounted here (not root?)");
        return;
    }
    let path = folder.path().to_owned();
    let place = Place::in_folder(folder);
    let unmount = || Command::new("umount").arg("-l").arg(&path).status();
    place.put(
        "a.wav",
        &wav(8_000, &samples(8_000, Duration::from_secs(50)), None),
    );
    let filler = place.folder.path().join("filler");
    let mut file = File::create(&filler).unwrap();
    while file.write_all(&[0; 4_096]).is_ok() {}
    drop(file);
    let outcome = place.treat("a.wav");
    let names = place.names();
    fs::remove_file(&filler).unwrap();
    let mended = place.treat("a.wav");
    let after = place.names();
    unmount().unwrap();
    assert!(
        matches!(&outcome, Outcome::Hindered(why) if why.contains("no room")),
        "{outcome:?}"
    );
    assert_eq!(names, ["a.wav"]);
    assert!(matches!(mended, Outcome::Done { .. }), "{mended:?}");
    assert_eq!(after, ["a.mp3"]);
}

// ---- what the CRM is told -----------------------------------------------------------------------------------------------

struct Bench {
    place: Place,
    crm: Sandbox,
    delivery: Option<Delivery>,
}

impl Bench {
    fn new() -> Self {
        let crm = Sandbox::start(Options {
            token: TOKEN.to_owned(),
            ..Options::default()
        })
        .unwrap();
        Self {
            place: Place::new(),
            crm,
            delivery: None,
        }
    }

    fn start(&mut self) {
        let crm = Crm {
            url: self.crm.url().to_owned(),
            token: Secret::new(TOKEN),
            pbx_token: Secret::new("pbx"),
            pbx_url: String::new(),
            tls_ca_file: String::new(),
        };
        let config = settings::Delivery {
            connect_timeout: BOUND,
            response_timeout: BOUND,
            retry_max: Duration::from_secs(1),
            ..settings::Delivery::default()
        };
        let around = Surroundings {
            folder: self.place.folder.path().join("spool"),
            threads: Arc::new(StdThreads),
            clock: Arc::new(SystemClock::new()),
        };
        let delivery = Delivery::start(&crm, &config, around).unwrap();
        delivery.treat_recordings(Some(self.place.setup.clone()));
        self.delivery = Some(delivery);
    }

    fn stop(&mut self) {
        assert!(self.delivery.take().unwrap().stop(BOUND));
    }

    fn delivery(&self) -> &Delivery {
        self.delivery.as_ref().unwrap()
    }

    fn is_recorded(&self, callid: &str, name: &str) {
        self.was_recorded(callid, name, Duration::ZERO);
    }

    fn was_recorded(&self, callid: &str, name: &str, ago: Duration) {
        let said = self.place.path(name).display().to_string();
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let news = News::Recorded {
            callid: callid.to_owned(),
            said,
            at: (now - ago).as_millis() as u64,
        };
        self.delivery().submit_recording(news).unwrap();
    }

    fn is_over(&self, callid: &str) {
        let callid = callid.to_owned();
        self.delivery().submit_recording(News::Over { callid }).unwrap();
    }

    fn ends(&self, callid: &str, ext: &str, recorded: bool) {
        self.delivery().submit(vec![end(callid, ext, recorded)]).unwrap();
    }

    fn until(
        &self,
        what: &str,
        mut holds: impl FnMut(&Status, &[Arc<Request>]) -> bool,
    ) -> Vec<Arc<Request>> {
        let until = Instant::now() + BOUND;
        loop {
            let (status, requests) = (self.delivery().status(), self.crm.requests());
            if holds(&status, &requests) {
                return requests;
            }
            assert!(
                Instant::now() < until,
                "{what} did not happen: {status:#?} {requests:#?}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What was told of a call, in order: the command or event, and the link.
    fn told(requests: &[Arc<Request>], callid: &str) -> Vec<(String, String)> {
        let field = |request: &Request, name: &str| {
            let found = request.fields.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let of_call = requests
            .iter()
            .filter(|request| field(request, "callid") == callid);
        of_call
            .map(|request| {
                let event = field(request, "event");
                let what = if event.is_empty() {
                    field(request, "cmd")
                } else {
                    event
                };
                (what, field(request, "record_link"))
            })
            .collect()
    }
}

/// What the dispatcher says of recordings; at the very beginning it says nothing.
fn is_so(status: &Status, holds: impl FnOnce(&Recordings) -> bool) -> bool {
    status.recordings.as_ref().is_some_and(holds)
}

fn end(callid: &str, ext: &str, recorded: bool) -> Draft {
    let event = event(callid, ext);
    let form = event
        .form(Kind::Completed)
        .field(b"duration", b"2")
        .field(b"is_recorded", if recorded { b"1" } else { b"0" })
        .field(b"status", b"Success");
    event.draft(Kind::Completed, form)
}

fn shows(callid: &str, ext: &str, kind: Kind) -> Draft {
    let event = event(callid, ext);
    event.draft(kind, event.form(kind))
}

fn event<'a>(callid: &'a str, ext: &'a str) -> draft::Event<'a> {
    draft::Event {
        direction: Direction::In,
        phone: b"79101234567",
        diversion: b"74951112233",
        ext: ext.as_bytes(),
        callid: callid.as_bytes(),
    }
}

fn pair(what: &str, link: &str) -> (String, String) {
    (what.to_owned(), link.to_owned())
}

#[test]
fn the_link_follows_the_end_of_the_call() {
    let mut bench = Bench::new();
    bench.start();
    bench.place.put("a.wav", &recorded());
    bench.is_recorded("1.1", "a.wav");
    bench.ends("1.1", "101", true);
    bench.until("the end", |_, requests| !Bench::told(requests, "1.1").is_empty());
    assert_eq!(
        bench.place.names(),
        ["a.wav"],
        "the call goes on: nobody touches its file"
    );
    bench.is_over("1.1");
    let requests = bench.until("the link", |_, requests| Bench::told(requests, "1.1").len() == 2);
    assert_eq!(
        Bench::told(&requests, "1.1"),
        [
            pair("COMPLETED", ""),
            pair("record", "https://pbx.example.com/a.mp3")
        ]
    );
    bench.until("an empty queue", |status, _| {
        is_so(status, |recordings| {
            recordings.converted == 1 && recordings.counts == Default::default()
        })
    });
}

#[test]
fn the_end_waits_for_its_link_and_holds_up_no_other_call() {
    let mut bench = Bench::new();
    bench.place.setup.wait = BOUND;
    bench.start();
    let path = bench.place.put("a.wav", &recorded());
    let open = File::options().append(true).open(&path).unwrap();
    bench.is_recorded("1.1", "a.wav");
    bench.is_over("1.1");
    bench.ends("1.1", "101", true);
    bench.ends("1.2", "102", false);
    let requests = bench.until("the other end", |_, requests| {
        !Bench::told(requests, "1.2").is_empty()
    });
    assert!(Bench::told(&requests, "1.1").is_empty(), "it waits");
    // A transfer: both employees' cards carry the link.
    bench.ends("1.1", "103", true);
    drop(open);
    rest(&path);
    let link = "https://pbx.example.com/a.mp3";
    let requests = bench.until("both ends", |_, requests| Bench::told(requests, "1.1").len() == 2);
    assert_eq!(
        Bench::told(&requests, "1.1"),
        [pair("COMPLETED", link), pair("COMPLETED", link)]
    );
}

#[test]
fn the_end_waits_no_longer_than_it_may() {
    let mut bench = Bench::new();
    bench.place.setup.wait = Duration::from_millis(300);
    bench.start();
    let path = bench.place.put("a.wav", &recorded());
    let open = File::options().append(true).open(&path).unwrap();
    bench.is_recorded("1.1", "a.wav");
    bench.is_over("1.1");
    bench.ends("1.1", "101", true);
    bench.until("the end", |_, requests| Bench::told(requests, "1.1").len() == 1);
    drop(open);
    rest(&path);
    let requests = bench.until("the link", |_, requests| Bench::told(requests, "1.1").len() == 2);
    assert_eq!(
        Bench::told(&requests, "1.1"),
        [
            pair("COMPLETED", ""),
            pair("record", "https://pbx.example.com/a.mp3")
        ]
    );
}

#[test]
fn what_was_not_converted_goes_on_after_a_restart() {
    let mut bench = Bench::new();
    bench.place.encode_by("cat >/dev/null; sleep 1000");
    bench.start();
    for number in 1..=3 {
        let (name, callid) = (format!("{number}.wav"), format!("1.{number}"));
        bench.place.put(&name, &recorded());
        bench.is_recorded(&callid, &name);
        bench.ends(&callid, "101", true);
    }
    bench.is_over("1.1");
    bench.is_over("1.2");
    bench.until("an encoder at work", |status, requests| {
        requests.len() == 3 && is_so(status, |recordings| recordings.counts.converting == 1)
    });
    bench.stop();
    bench.place.setup.encoder = "lame".to_owned();
    bench.start();
    // The third one's call was cut off with the module: it is over as far as anybody can tell.
    let requests = bench.until("all links", |_, requests| requests.len() == 6);
    for number in 1..=3 {
        let link = format!("https://pbx.example.com/{number}.mp3");
        assert_eq!(
            Bench::told(&requests, &format!("1.{number}")),
            [pair("COMPLETED", ""), pair("record", &link)]
        );
    }
    assert_eq!(bench.place.names(), ["1.mp3", "2.mp3", "3.mp3"]);
    bench.stop();
    bench.start();
    bench.ends("2.1", "101", false);
    let requests = bench.until("the next call", |_, requests| requests.len() > 6);
    assert_eq!(requests.len(), 7, "nothing is told twice: {requests:#?}");
}

/// A card that an earlier run has left open is closed when all channels were looked at, and the recording can be ready first.
#[test]
fn the_link_waits_for_an_end_that_comes_after_a_restart() {
    let mut bench = Bench::new();
    bench.start();
    bench.place.put("a.wav", &recorded());
    let shown = [Kind::Incoming, Kind::Accepted].map(|kind| shows("1.1", "101", kind));
    bench.delivery().submit(shown.to_vec()).unwrap();
    bench.is_recorded("1.1", "a.wav");
    bench.until("the card", |_, requests| Bench::told(requests, "1.1").len() == 2);
    bench.stop();
    bench.start();
    bench.until("an mp3", |status, _| {
        is_so(status, |recordings| recordings.converted == 1)
    });
    bench.ends("1.1", "101", false);
    let requests = bench.until("the link", |_, requests| Bench::told(requests, "1.1").len() == 4);
    assert_eq!(
        Bench::told(&requests, "1.1")[2..],
        [
            pair("COMPLETED", ""),
            pair("record", "https://pbx.example.com/a.mp3")
        ]
    );
    let end = &requests[2].fields;
    assert!(
        end.contains(&("is_recorded".to_owned(), "1".to_owned())),
        "the end promises what follows: {end:?}"
    );
}

#[test]
fn of_several_recordings_the_card_gets_the_longest() {
    let mut bench = Bench::new();
    bench.start();
    for (name, seconds) in [("a.wav", 1), ("b.wav", 3), ("c.wav", 2)] {
        let sound = samples(8_000, Duration::from_secs(seconds));
        bench.place.put(name, &wav(8_000, &sound, None));
        bench.is_recorded("1.1", name);
    }
    bench.is_recorded("1.1", "damaged.wav");
    bench.place.put("damaged.wav", b"no wav file");
    bench.ends("1.1", "101", true);
    bench.is_over("1.1");
    let requests = bench.until("the link", |status, requests| {
        requests.len() >= 2
            && is_so(status, |recordings| {
                recordings.converted == 3 && recordings.counts.failed == 1
            })
    });
    assert_eq!(
        Bench::told(&requests, "1.1"),
        [
            pair("COMPLETED", ""),
            pair("record", "https://pbx.example.com/b.mp3")
        ]
    );
    let status = bench.delivery().status().recordings.unwrap();
    assert!(status.counts.reason.contains("damaged.wav"), "{status:?}");
}

#[test]
fn a_file_that_was_moved_away_is_given_up_after_three_days() {
    let mut bench = Bench::new();
    bench.start();
    for (callid, days) in [("today", 0), ("lately", 2), ("long ago", 4)] {
        // What is asked for within seconds may still come.
        let ago = Duration::from_secs(days * 86_400 + 60);
        bench.was_recorded(callid, &format!("{days}.wav"), ago);
        bench.is_over(callid);
    }
    let status = || bench.delivery().status();
    bench.until("their tries", |status, _| {
        is_so(status, |known| known.counts.failed == 2 && known.refused == 1)
    });
    assert!(is_so(&status(), |known| known.counts.waiting == 0));
}

#[test]
fn without_an_encoder_everything_waits_until_there_is_one() {
    let mut bench = Bench::new();
    bench.place.setup.encoder = "there-is-no-such-encoder".to_owned();
    bench.start();
    bench.place.put("a.wav", &recorded());
    bench.is_recorded("1.1", "a.wav");
    bench.is_over("1.1");
    bench.ends("1.1", "101", true);
    bench.until("the trouble in the status", |status, requests| {
        let waits = is_so(status, |recordings| {
            recordings.counts.reason.contains("apt install lame") && recordings.counts.waiting == 1
        });
        waits && requests.len() == 1
    });
    bench.place.setup.encoder = "lame".to_owned();
    bench.delivery().treat_recordings(Some(bench.place.setup.clone()));
    bench.until("the link", |_, requests| Bench::told(requests, "1.1").len() == 2);
}
