//! The encoder's thread: makes an mp3 of a recording, one at a time, and lets calls go first.
//!
//! Invariants:
//! - nothing outside of the recordings' folder is read, written or removed: every path is compared with the folder once all
//!   links in it are resolved;
//! - the recording itself is removed only after its mp3 was made whole, examined, confirmed by the disk and given its name;
//! - the encoder is a child process, never a shell: a name and a list of arguments. It is fed through a pipe, so it cannot
//!   outlive Asterisk, and it is killed with its whole group when it takes too long or the module goes;
//! - whatever goes wrong is an [`Outcome`]: nothing here panics or waits for ever.
//!
//! A file is complete when its call is over and no descriptor of this process is open to write to it: MixMonitor's thread
//! closes it a moment after the hangup (`apps/app_mixmonitor.c`, mixmonitor_thread), and it is a thread of ours. What a
//! program after it (MixMonitor's third argument) still changes is waited for too, as long as it changes.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, PipeReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::threads::Threads;
use crate::core::recording::mp3;
use crate::core::recording::pcm::{self, Coding};
use crate::core::recording::place::{self, Format};

/// A file that was changed since is not complete yet.
const QUIET: Duration = Duration::from_secs(1);
/// A file that is not there yet is waited for so long: MixMonitor makes it when the first sound comes.
const APPEARS: Duration = Duration::from_secs(10);
/// How often the encoder is looked at.
const GLANCE: Duration = Duration::from_millis(10);
/// After it was killed, or has ended: until its pipe is seen to be closed.
const FAREWELL: Duration = Duration::from_secs(2);
/// The encoder works a hundred times as fast as the call was; this is for a machine that has no time to spare.
const PATIENCE: Duration = Duration::from_secs(120);
/// Samples that are decoded at once, in bytes.
const PORTION: usize = 64 * 1024;
/// A disk with less room than this is full.
const LEAST_ROOM: u64 = 256 * 1024;
/// How far the mp3's length may be from the recording's: what an encoder adds at both ends and does not tell.
const TOLERANCE: Duration = Duration::from_millis(250);

/// What the encoder's thread needs of its surroundings.
pub trait Host: Send + Sync {
    /// Called once on the encoder's thread: whatever runs on it, and the children that it starts, gives way to everything else.
    fn give_way(&self);

    /// Starts a program without a shell, with that standard input, no other descriptor of ours and a group of its own.
    ///
    /// # Errors
    /// When it cannot be started.
    fn start(&self, program: &Path, arguments: &[OsString], input: PipeReader) -> io::Result<Box<dyn Child>>;

    /// Opens a file of a format that only Asterisk reads.
    ///
    /// # Errors
    /// When it cannot.
    fn open(&self, file: &Path) -> io::Result<Box<dyn Samples>>;
}

/// A started program. Dropping it kills it.
pub trait Child: Send {
    /// How it ended, if it did.
    ///
    /// # Errors
    /// When the system does not tell.
    fn ended(&mut self) -> io::Result<Option<ExitStatus>>;

    /// Kills it and its children.
    fn kill(&mut self);
}

/// Sound, decoded.
pub trait Samples: Send {
    /// Samples a second.
    fn rate(&self) -> u32;

    /// 1, or 2 interleaved.
    fn channels(&self) -> u16 {
        1
    }

    /// Adds some samples of 16 bits, little end first. False at the end.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&mut self, into: &mut Vec<u8>) -> io::Result<bool>;
}

/// Makes a link of a path below the recordings' folder, or says why there is none to be had now.
pub type Linker = Arc<dyn Fn(&Path) -> Result<String, String> + Send + Sync>;

/// How recordings are treated.
#[derive(Clone)]
pub struct Setup {
    /// The recordings' folder.
    pub directory: PathBuf,
    /// Whether they become mp3.
    pub convert: bool,
    /// The encoder: a name to be found in PATH, or a path.
    pub encoder: String,
    /// Whether the original stays.
    pub keep_original: bool,
    /// How long the end of a call waits for its link.
    pub wait: Duration,
    /// The shortest time that the encoder gets.
    pub patience: Duration,
    /// Who makes links.
    pub link: Linker,
    /// The surroundings.
    pub host: Arc<dyn Host>,
}

impl Setup {
    /// The time that an encoder gets at least, unless a test is in a hurry.
    pub const PATIENCE: Duration = PATIENCE;
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) id: u64,
    pub(crate) said: String,
    /// When it became known: milliseconds since 1970.
    pub(crate) at: u64,
    /// The day of the call, such as `2026/11/21`.
    pub(crate) day: String,
    pub(crate) setup: Arc<Setup>,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It can be played.
    Done {
        /// Where it lies below the folder.
        path: String,
        /// How long it plays.
        length: Duration,
    },
    /// Somebody still writes to it.
    NotYet,
    /// It never will be: the reason.
    Refused(String),
    /// It holds no sound: the reason.
    Silent(String),
    /// It could not be converted now.
    Failed(String),
    /// There is no such file, and there should be one by now.
    Missing(String),
    /// Nothing can be converted now.
    Hindered(String),
    /// The module is being unloaded.
    BrokenOff,
}

/// The thread's life. `tell` takes each outcome, and says whether anybody still listens.
pub(crate) fn work(
    jobs: &Receiver<Job>,
    host: &dyn Host,
    threads: &dyn Threads,
    stopping: &AtomicBool,
    tell: &dyn Fn(u64, Outcome) -> bool,
) {
    host.give_way();
    while let Ok(job) = jobs.recv() {
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            treat(&job.said, &job.day, job.at, &job.setup, threads, stopping)
        }));
        let outcome =
            worked.unwrap_or_else(|_| Outcome::Failed("the module has a fault, see the log".to_owned()));
        if !tell(job.id, outcome) {
            return;
        }
    }
}

/// Treats one recording. `at` is when it became known, in milliseconds since 1970.
pub fn treat(
    said: &str,
    day: &str,
    at: u64,
    setup: &Setup,
    threads: &dyn Threads,
    stopping: &AtomicBool,
) -> Outcome {
    match attempt(said, day, at, setup, threads, stopping) {
        Ok(outcome) | Err(outcome) => outcome,
    }
}

fn attempt(
    said: &str,
    day: &str,
    at: u64,
    setup: &Setup,
    threads: &dyn Threads,
    stopping: &AtomicBool,
) -> Result<Outcome, Outcome> {
    let root = fs::canonicalize(&setup.directory).map_err(|error| {
        Outcome::Hindered(format!(
            "the recordings' folder {} cannot be entered: {error}",
            setup.directory.display()
        ))
    })?;
    let candidates =
        place::candidates(&root, said, day).map_err(|why| Outcome::Refused(format!("'{said}': {why}")))?;
    let Some(source) = find(&root, candidates.iter().cloned())? else {
        // A run before this one may have converted it and ended before it could say so.
        let targets = candidates.iter().map(|source| place::target(source));
        if let Some(ready) = find(&root, targets)? {
            return ready_made(&root, &ready);
        }
        let age = SystemTime::UNIX_EPOCH + Duration::from_millis(at);
        let young = age.elapsed().is_ok_and(|age| age < APPEARS);
        return Err(if young {
            Outcome::NotYet
        } else {
            Outcome::Missing(format!("there is no such file: '{said}'"))
        });
    };
    if is_written_to(&source) {
        return Err(Outcome::NotYet);
    }
    let format = Format::of(&source).unwrap_or(Format::Asterisk);
    if format == Format::Mp3 {
        return ready_made(&root, &source);
    }
    if !setup.convert {
        return as_it_is(&root, &source);
    }
    let unreadable =
        |error: io::Error| Outcome::Failed(format!("{} cannot be read: {error}", source.display()));
    let samples = open(&source, format, &*setup.host).map_err(unreadable)?;
    let target = place::target(&source);
    let unfinished = Unfinished(place::unfinished(&source));
    let length = encode(samples, &source, &unfinished.0, setup, threads, stopping)?;
    finish(&source, &unfinished.0, &target, length).map_err(|error| trouble_with(&source, &error))?;
    if !setup.keep_original
        && let Err(error) = fs::remove_file(&source)
    {
        log::warn!(
            "{} was converted and cannot be removed: {error}",
            source.display()
        );
    }
    Ok(Outcome::Done {
        path: below(&root, &target)?,
        length,
    })
}

/// A file that is removed unless it got its own name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        // After the rename there is none.
        let _ = fs::remove_file(&self.0);
    }
}

/// The first of these that is there, with every link resolved. One that leads out of the folder is refused.
fn find(root: &Path, candidates: impl Iterator<Item = PathBuf>) -> Result<Option<PathBuf>, Outcome> {
    for candidate in candidates {
        let real = match fs::canonicalize(&candidate) {
            Ok(real) => real,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                continue;
            }
            Err(error) => {
                return Err(Outcome::Failed(format!(
                    "{} cannot be found: {error}",
                    candidate.display()
                )));
            }
        };
        let Ok(below) = real.strip_prefix(root) else {
            return Err(Outcome::Refused(format!(
                "{} lies outside of the recordings' folder {}",
                candidate.display(),
                root.display()
            )));
        };
        if place::is_hidden(below) {
            return Err(Outcome::Refused(format!("{} is hidden", candidate.display())));
        }
        if !fs::symlink_metadata(&real).is_ok_and(|meta| meta.is_file()) {
            return Err(Outcome::Refused(format!("{} is no file", candidate.display())));
        }
        return Ok(Some(real));
    }
    Ok(None)
}

fn below(root: &Path, path: &Path) -> Result<String, Outcome> {
    let path = path
        .to_str()
        .map(Path::new)
        .ok_or_else(|| Outcome::Refused(format!("{} has a name that is not in UTF-8", path.display())))?;
    path.strip_prefix(root)
        .map(|path| path.to_string_lossy().into_owned())
        .map_err(|_| {
            Outcome::Refused(format!(
                "{} lies outside of the recordings' folder",
                path.display()
            ))
        })
}

fn ready_made(root: &Path, file: &Path) -> Result<Outcome, Outcome> {
    let bytes = fs::read(file)
        .map_err(|error| Outcome::Failed(format!("{} cannot be read: {error}", file.display())))?;
    let found = mp3::examine(&bytes).map_err(|why| Outcome::Failed(format!("{}: {why}", file.display())))?;
    Ok(Outcome::Done {
        path: below(root, file)?,
        length: found.length,
    })
}

/// `convert = no`: it is linked as it is. How long it plays matters among the recordings of one call only, which are of one
/// format.
fn as_it_is(root: &Path, file: &Path) -> Result<Outcome, Outcome> {
    let bytes = fs::metadata(file).map_or(0, |meta| meta.len());
    Ok(Outcome::Done {
        path: below(root, file)?,
        length: Duration::from_millis(bytes / 16),
    })
}

/// Whether this process writes to the file, or somebody else has just done so.
fn is_written_to(file: &Path) -> bool {
    let changed = fs::metadata(file).and_then(|meta| meta.modified());
    // A file of the future has been left alone for as long as anybody can tell.
    let fresh = changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age < QUIET));
    fresh || is_open_for_writing(file)
}

/// By the kernel's list of this process's descriptors.
fn is_open_for_writing(file: &Path) -> bool {
    let Ok(descriptors) = fs::read_dir("/proc/self/fd") else {
        return false;
    };
    let open = descriptors
        .flatten()
        .filter(|descriptor| fs::read_link(descriptor.path()).is_ok_and(|target| target == file));
    open.map(|descriptor| descriptor.file_name()).any(|number| {
        let info = fs::read_to_string(Path::new("/proc/self/fdinfo").join(number)).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
        let flags = flags.and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok());
        flags.is_some_and(|flags| flags & 3 != 0)
    })
}

/// What went wrong with a file's place rather than with its contents: everything waits while the disk is full.
fn trouble_with(source: &Path, error: &io::Error) -> Outcome {
    let folder = source.parent().unwrap_or(source);
    if matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) || is_full(folder)
    {
        return Outcome::Hindered(format!("there is no room in {}", folder.display()));
    }
    Outcome::Failed(format!("{}: {error}", source.display()))
}

fn is_full(folder: &Path) -> bool {
    rustix::fs::statvfs(folder).is_ok_and(|room| room.f_bavail.saturating_mul(room.f_frsize) < LEAST_ROOM)
}

// ---- sound --------------------------------------------------------------------------------------------------------------

/// What needs no codec is read here: a damaged header must not cost the sound.
fn open(source: &Path, format: Format, host: &dyn Host) -> io::Result<Box<dyn Samples>> {
    let coding = match format {
        Format::Wav => return Ok(Box::new(Plain::wave(source)?)),
        Format::Sln(_) => Coding::Linear,
        Format::Ulaw => Coding::Ulaw,
        Format::Alaw => Coding::Alaw,
        Format::Mp3 | Format::Asterisk => return host.open(source),
    };
    let rate = if let Format::Sln(rate) = format {
        rate
    } else {
        8_000
    };
    let file = File::open(source)?;
    let length = file.metadata()?.len();
    Ok(Box::new(Plain {
        rate,
        channels: 1,
        coding,
        bytes: file.take(length),
    }))
}

struct Plain {
    rate: u32,
    channels: u16,
    coding: Coding,
    bytes: io::Take<File>,
}

impl Plain {
    fn wave(source: &Path) -> io::Result<Self> {
        let mut file = File::open(source)?;
        let length = file.metadata()?.len();
        let mut head = Vec::new();
        (&mut file).take(pcm::HEAD as u64).read_to_end(&mut head)?;
        let wave = pcm::wave(&head, length).map_err(io::Error::other)?;
        io::Seek::seek(&mut file, io::SeekFrom::Start(wave.start))?;
        Ok(Self {
            rate: wave.rate,
            channels: wave.channels,
            coding: wave.coding,
            bytes: file.take(wave.length),
        })
    }
}

impl Samples for Plain {
    fn rate(&self) -> u32 {
        self.rate
    }

    fn channels(&self) -> u16 {
        self.channels
    }

    fn read(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        let mut bytes = Vec::with_capacity(PORTION);
        (&mut self.bytes).take(PORTION as u64).read_to_end(&mut bytes)?;
        self.coding.decode(&bytes, into);
        Ok(!bytes.is_empty())
    }
}

// ---- the encoder --------------------------------------------------------------------------------------------------------

/// Where a program is: as a shell would look for it. `None` when it is nowhere.
#[must_use]
pub fn program(name: &str) -> Option<PathBuf> {
    let runs = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(runs);
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from(PATH));
    // Asterisk is started with a short PATH here and there.
    let usual = std::env::split_paths(PATH);
    std::env::split_paths(&path)
        .chain(usual)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(runs)
}

/// Where programs are.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why there is no encoder, for the log, the status and `planfix check`.
#[must_use]
pub fn no_encoder(name: &str) -> String {
    format!("the encoder '{name}' is not there: install it (Debian, Ubuntu: apt install lame; others: lame)")
}

/// lame's words for samples from its standard input. The recording keeps its rate: a call's 8 kHz become MPEG 2.5, as with the
/// article's line, at a bit rate that adds nothing that could be heard in them.
fn arguments(rate: u32, channels: u16, target: &Path) -> Vec<OsString> {
    let bits = match rate {
        ..=12_000 => 32,
        12_001..=24_000 => 48,
        _ => 64,
    } * u32::from(channels);
    let mode = if channels == 1 { "m" } else { "j" };
    let sampling = format!("{}.{:03}", rate / 1_000, rate % 1_000);
    let words = [
        "--quiet",
        "-r",
        "--signed",
        "--little-endian",
        "--bitwidth",
        "16",
        "-s",
        &sampling,
        "-m",
        mode,
        "-h",
        "-b",
        &bits.to_string(),
        "-",
    ]
    .map(OsString::from);
    words.into_iter().chain([target.as_os_str().to_owned()]).collect()
}

/// How much sound was fed, or why no more.
type Fed = io::Result<Duration>;

fn encode(
    samples: Box<dyn Samples>,
    source: &Path,
    target: &Path,
    setup: &Setup,
    threads: &dyn Threads,
    stopping: &AtomicBool,
) -> Result<Duration, Outcome> {
    let Some(program) = program(&setup.encoder) else {
        return Err(Outcome::Hindered(no_encoder(&setup.encoder)));
    };
    let no_child =
        |error: io::Error| Outcome::Hindered(format!("{} cannot be started: {error}", program.display()));
    // What a crash has left may be a link.
    let _ = fs::remove_file(target);
    let (input, feed) = io::pipe().map_err(no_child)?;
    let arguments = arguments(samples.rate(), samples.channels(), target);
    let mut child = setup.host.start(&program, &arguments, input).map_err(no_child)?;
    let (sender, fed) = bounded::<Fed>(1);
    let feeder = Box::new(move || {
        // Nobody listens any more when this was broken off.
        let _ = sender.send(pour(samples, feed));
    });
    let thread = threads.spawn("planfix/decode", feeder).map_err(no_child)?;
    let begun = Instant::now();
    let limit = setup.patience + at_most(source);
    let ended = loop {
        match child.ended() {
            Ok(Some(status)) => break Ok(status),
            Ok(None) if stopping.load(Ordering::SeqCst) => break Err(Outcome::BrokenOff),
            Ok(None) if begun.elapsed() > limit => {
                break Err(Outcome::Failed(format!(
                    "{} did not come to an end within {} s",
                    program.display(),
                    limit.as_secs()
                )));
            }
            Ok(None) => std::thread::sleep(GLANCE),
            Err(error) => break Err(Outcome::Failed(format!("{}: {error}", program.display()))),
        }
    };
    if ended.is_err() {
        child.kill();
    }
    // Its pipe is closed now, unless somebody outside of its group holds it.
    let fed = match fed.recv_timeout(FAREWELL) {
        Ok(fed) => fed,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            Err(io::Error::other("its sound could not be handed over"))
        }
    };
    thread.join(FAREWELL);
    let status = ended?;
    if !status.success() {
        let room = source.parent().is_some_and(is_full);
        return Err(if room {
            trouble_with(source, &io::Error::from(io::ErrorKind::StorageFull))
        } else {
            Outcome::Failed(format!(
                "{} failed on {}: {status}",
                program.display(),
                source.display()
            ))
        });
    }
    match fed {
        Ok(length) if length.is_zero() => {
            Err(Outcome::Silent(format!("{} holds no sound", source.display())))
        }
        Ok(length) => Ok(length),
        Err(error) => Err(Outcome::Failed(format!("{}: {error}", source.display()))),
    }
}

/// What a long recording takes beyond the patience: a wav file as long as it plays, one in GSM a tenth of that.
fn at_most(source: &Path) -> Duration {
    Duration::from_secs(fs::metadata(source).map_or(0, |meta| meta.len()) / 16_000)
}

/// Pours the sound into the pipe.
fn pour(mut samples: Box<dyn Samples>, mut pipe: impl Write) -> Fed {
    let (rate, channels) = (
        u64::from(samples.rate().max(1)),
        u64::from(samples.channels().max(1)),
    );
    let mut bytes = 0_u64;
    let mut portion = Vec::with_capacity(2 * PORTION);
    loop {
        portion.clear();
        if !samples.read(&mut portion)? {
            break;
        }
        pipe.write_all(&portion)?;
        bytes += portion.len() as u64;
    }
    Ok(Duration::from_millis(bytes / 2 / channels * 1_000 / rate))
}

/// Examines what the encoder made, has the disk confirm it, and gives it its name.
fn finish(source: &Path, unfinished: &Path, target: &Path, length: Duration) -> io::Result<()> {
    let bytes = fs::read(unfinished)?;
    let made = mp3::examine(&bytes)
        .map_err(|why| io::Error::other(format!("what the encoder made is no mp3: {why}")))?;
    if made.length.abs_diff(length) > TOLERANCE.max(length / 100) {
        return Err(io::Error::other(format!(
            "what the encoder made plays {:.1} s instead of {:.1} s",
            made.length.as_secs_f64(),
            length.as_secs_f64()
        )));
    }
    let file = File::open(unfinished)?;
    file.set_permissions(fs::metadata(source)?.permissions())?;
    file.sync_all()?;
    fs::rename(unfinished, target)?;
    if let Some(folder) = target.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

// ---- without Asterisk ---------------------------------------------------------------------------------------------------

/// Programs by the standard library, and no formats of Asterisk's: for tests and tools.
#[derive(Debug, Default)]
pub struct StdHost;

struct StdChild(std::process::Child);

impl Host for StdHost {
    fn give_way(&self) {}

    fn start(&self, program: &Path, arguments: &[OsString], input: PipeReader) -> io::Result<Box<dyn Child>> {
        let child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .stdin(Stdio::from(input))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        Ok(Box::new(StdChild(child)))
    }

    fn open(&self, file: &Path) -> io::Result<Box<dyn Samples>> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("{} needs Asterisk", file.display()),
        ))
    }
}

impl Child for StdChild {
    fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.0.try_wait()
    }

    fn kill(&mut self) {
        let group = rustix::process::Pid::from_child(&self.0);
        // It may have ended by itself.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.0.wait();
    }
}

impl Drop for StdChild {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.kill();
        }
    }
}
