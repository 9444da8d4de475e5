//! One private Asterisk in a scratch folder.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::net::{SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::configuration::{Configuration, Loading};
use crate::poll::patient;
use crate::port::{PHONES, TRUNK, free_tcp_port, own_udp_port, udp_is_bound};
use crate::process::{Launch, Process, Task, run};
use crate::{Ami, Version, until, workspace_root};

/// Long for a loaded machine; a start takes about a second.
const START_BOUND: Duration = Duration::from_secs(60);
/// How many times longer a start may take below another program: valgrind makes it fifty times slower.
const SLOWER: u32 = 10;
/// A console command answers at once or something hangs.
const CLI_BOUND: Duration = Duration::from_secs(30);

/// What an [`Asterisk`] is to be like.
///
/// Without further word: no module under test, no phones, an empty dialplan, the modules that calls need.
#[derive(Debug)]
#[must_use]
pub struct Builder {
    version: Version,
    module: Option<PathBuf>,
    documentation: Vec<PathBuf>,
    phones: BTreeMap<String, Option<u16>>,
    wide: BTreeSet<String>,
    trunk_port: Option<u16>,
    extensions: String,
    loading: Loading,
    files: Vec<(String, String)>,
    env: Vec<(OsString, OsString)>,
    under: Vec<OsString>,
    scratch_in: Option<PathBuf>,
    verbose: u8,
    debug: u8,
}

impl Builder {
    /// Puts a copy of this file into the module directory as `res_planfix.so`. It is not loaded by that alone: see
    /// [`Builder::load`].
    pub fn module(mut self, path: impl Into<PathBuf>) -> Self {
        self.module = Some(path.into());
        self
    }

    /// Puts a copy of this XML file into `documentation/thirdparty`.
    pub fn documentation(mut self, path: impl Into<PathBuf>) -> Self {
        self.documentation.push(path.into());
        self
    }

    /// A phone of that number in the context `from-internal`, on a free port: see [`Asterisk::phone`].
    pub fn phone(mut self, number: &str) -> Self {
        self.phones.insert(number.to_owned(), None);
        self
    }

    /// As [`Builder::phone`], of the wide band only: see [`crate::Codec::Wide`].
    pub fn wide_phone(mut self, number: &str) -> Self {
        self.wide.insert(number.to_owned());
        self.phone(number)
    }

    /// A phone on a port that is chosen by the caller.
    pub fn phone_at(mut self, number: &str, port: u16) -> Self {
        self.phones.insert(number.to_owned(), Some(port));
        self
    }

    /// The port of the trunk, which otherwise is a free one. Its endpoint is `trunk`, its context `from-trunk`.
    pub fn trunk_at(mut self, port: u16) -> Self {
        self.trunk_port = Some(port);
        self
    }

    /// The text of extensions.conf.
    pub fn extensions(mut self, text: &str) -> Self {
        text.clone_into(&mut self.extensions);
        self
    }

    /// Loads this module (`app_queue.so`) at the start besides those that calls need.
    pub fn load(mut self, name: &str) -> Self {
        match &mut self.loading {
            Loading::Listed(more) => more.push(name.to_owned()),
            Loading::Everything { except } => except.retain(|other| other != name),
        }
        self
    }

    /// Loads everything in the module directory except these, as an administrator's Asterisk does.
    pub fn autoload_except(mut self, names: &[&str]) -> Self {
        self.loading = Loading::Everything {
            except: names.iter().map(|&name| name.to_owned()).collect(),
        };
        self
    }

    /// A file of the configuration directory. One of a generated name replaces that.
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// A variable of Asterisk's environment.
    ///
    /// A library for `LD_PRELOAD` is built by this machine's `cc -shared -fPIC`, for both versions: Asterisk always
    /// runs with the newer of this machine's C library and its own, so whatever symbol version the library was
    /// linked to is there. It must depend on nothing but the C library. It is loaded into `setpriv` and into the
    /// programs that Asterisk starts too, so it must leave those alone.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Lets this program run Asterisk, such as `valgrind` with its options. Console commands are not run by it. The process is
    /// that program's.
    pub fn under(mut self, words: &[impl AsRef<OsStr>]) -> Self {
        self.under = words.iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// Makes the scratch folder in this directory, which may lie on a file system that misbehaves on purpose.
    pub fn scratch_in(mut self, dir: impl Into<PathBuf>) -> Self {
        self.scratch_in = Some(dir.into());
        self
    }

    /// The level of verbose lines in the log; 5 without further word.
    pub fn verbose(mut self, level: u8) -> Self {
        self.verbose = level;
        self
    }

    /// The level of debug lines in the log; 1 without further word, 0 for measurements.
    pub fn debug(mut self, level: u8) -> Self {
        self.debug = level;
        self
    }

    /// Lays out the scratch folder without starting anything, so that files can be put there first.
    ///
    /// # Errors
    /// When Asterisk cannot be obtained, or the scratch folder cannot be written.
    pub fn prepare(self) -> Result<Asterisk> {
        let mut words = tool(&["command", self.version.major()])?;
        ensure!(!words.is_empty(), "`tools/asterisk command` printed nothing");
        let unpacked = tool_path("root", self.version)?;
        let original_modules = tool_path("modules", self.version)?;
        let scratch = match &self.scratch_in {
            Some(dir) => TempDir::with_prefix_in("asterisk-", dir),
            None => TempDir::with_prefix("asterisk-"),
        }
        .context("cannot make a scratch folder")?;
        let path = scratch.path();
        words.push("-C".into());
        words.push(path.join("etc/asterisk.conf").into());
        let phones = self.phones.into_iter();
        let asterisk = Asterisk {
            version: self.version,
            sip: SocketAddrV4::new(PHONES, own_udp_port()),
            ami: SocketAddrV4::new(PHONES, free_tcp_port()),
            http: SocketAddrV4::new(PHONES, free_tcp_port()),
            phones: phones
                .map(|(number, port)| {
                    (
                        number,
                        SocketAddrV4::new(PHONES, port.unwrap_or_else(own_udp_port)),
                    )
                })
                .collect(),
            trunk: SocketAddrV4::new(TRUNK, self.trunk_port.unwrap_or_else(own_udp_port)),
            words,
            under: self.under,
            env: self.env,
            process: None,
            scratch,
        };
        Configuration {
            scratch: asterisk.scratch.path(),
            unpacked: &unpacked,
            original_modules: &original_modules,
            module: self.module.as_deref(),
            documentation: &self.documentation,
            sip: asterisk.sip.port(),
            ami: asterisk.ami.port(),
            http: asterisk.http.port(),
            phones: &asterisk.phones,
            wide: &self.wide,
            trunk: asterisk.trunk,
            extensions: &self.extensions,
            loading: &self.loading,
            files: &self.files,
            debug: self.debug,
            verbose: self.verbose,
        }
        .lay_out()?;
        Ok(asterisk)
    }

    /// Lays out the scratch folder, starts Asterisk and waits until it has fully booted.
    ///
    /// # Errors
    /// As [`Builder::prepare`] and [`Asterisk::start`].
    pub fn start(self) -> Result<Asterisk> {
        let mut asterisk = self.prepare()?;
        asterisk.start()?;
        Ok(asterisk)
    }
}

/// A private Asterisk. Dropping it kills it and removes its scratch folder.
#[derive(Debug)]
pub struct Asterisk {
    version: Version,
    sip: SocketAddrV4,
    ami: SocketAddrV4,
    http: SocketAddrV4,
    phones: BTreeMap<String, SocketAddrV4>,
    trunk: SocketAddrV4,
    words: Vec<OsString>,
    under: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    // Before the scratch folder, so that it is dropped, and Asterisk gone, when the folder is removed.
    process: Option<Process>,
    scratch: TempDir,
}

impl Asterisk {
    /// Describes a new one.
    pub fn builder(version: Version) -> Builder {
        Builder {
            version,
            module: None,
            documentation: Vec::new(),
            phones: BTreeMap::new(),
            wide: BTreeSet::new(),
            trunk_port: None,
            extensions: String::new(),
            loading: Loading::Listed(Vec::new()),
            files: Vec::new(),
            env: Vec::new(),
            under: Vec::new(),
            scratch_in: None,
            verbose: 5,
            debug: 1,
        }
    }

    /// Starts it in its scratch folder, for the first time or again after its end, and waits until it has fully
    /// booted.
    ///
    /// # Errors
    /// When it runs already, ends by itself or does not boot in time; what it printed is part of the error.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        let bound = if self.under.is_empty() {
            START_BOUND
        } else {
            START_BOUND * SLOWER
        };
        until("Asterisk's console", bound, || {
            if let Some(status) = self.running()?.ended()? {
                bail!("it ended by itself ({status})");
            }
            Ok(self.has_booted().then_some(()))
        })
        .with_context(|| {
            format!(
                "Asterisk {} did not start:\n{}\n{}",
                self.version,
                self.console(),
                self.log()
            )
        })?;
        Ok(())
    }

    /// Whether it has fully booted and knows all of its own commands, among them those that stop and restart it: they
    /// are registered some moments after it says that it has booted (main/asterisk.c), the shutdown's before the
    /// version's.
    #[must_use]
    pub fn has_booted(&self) -> bool {
        // No answer is no error here: the socket of an earlier run may lie there still.
        let says = |command, text| self.cli(command).is_ok_and(|reply| reply.contains(text));
        says("core waitfullybooted", "fully booted") && says("core show version", "Asterisk ")
    }

    /// Starts it without waiting, for tests of the start itself.
    ///
    /// # Errors
    /// When it runs already or cannot be executed.
    pub fn launch(&mut self) -> Result<()> {
        if let Some(process) = &mut self.process {
            ensure!(process.ended()?.is_some(), "Asterisk runs already");
        }
        let output = File::options()
            .create(true)
            .append(true)
            .open(self.scratch.path().join("log/console"))
            .context("cannot write the console's output")?;
        let mut words = self.under.clone();
        words.extend(self.words.iter().cloned());
        // -f and not -c: without a terminal the console prints megabytes of blanks.
        words.push("-f".into());
        self.process = Some(Process::start(Launch {
            name: &format!("Asterisk {}", self.version),
            words: &words,
            env: &self.env,
            dir: self.scratch.path(),
            errors: Stdio::from(output.try_clone()?),
            output: Stdio::from(output),
        })?);
        Ok(())
    }

    /// What a console command prints.
    ///
    /// # Errors
    /// When Asterisk does not run, or does not answer within 30 s.
    pub fn cli(&self, command: &str) -> Result<String> {
        let mut words = self.words.clone();
        words.extend(["-rx".into(), command.into()]);
        let output = run(
            &format!("the console command \"{command}\""),
            &words,
            patient(CLI_BOUND),
        )?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "the console command \"{command}\" failed: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    }

    /// A new session of the manager interface, logged in with all rights.
    ///
    /// # Errors
    /// When Asterisk does not answer or refuses.
    pub fn ami(&self) -> Result<Ami> {
        Ami::connect(self.ami.into())
    }

    /// Ends it by `core stop now` and returns how long that took.
    ///
    /// # Errors
    /// When it still runs after `bound`; it is left running then.
    pub fn stop_now(&mut self, bound: Duration) -> Result<Duration> {
        let start = Instant::now();
        // The connection often ends before the answer does, so what counts is the end of the process.
        let said = self.cli("core stop now");
        let rest = bound.saturating_sub(start.elapsed());
        let status = self
            .running()?
            .wait(rest)
            .with_context(|| format!("\"core stop now\" said {said:?}"))?;
        ensure!(
            status.success(),
            "Asterisk {} ended with {status}:\n{}",
            self.version,
            self.console()
        );
        Ok(start.elapsed())
    }

    /// Kills it with SIGKILL, together with what it started, and waits for its end and for its sockets: a child of another
    /// process group that is just being started holds them until it has closed them, and would be taken for an Asterisk that
    /// runs already.
    pub fn kill9(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill();
        }
        let (address, port) = (self.sip().ip(), self.sip().port());
        // Where they stay, the next start says so.
        let _ = until("the sockets of a killed Asterisk", START_BOUND, || {
            Ok((!udp_is_bound(address, port)).then_some(()))
        });
    }

    /// Stops it by `core stop now` where it still runs and starts it again in the same scratch folder.
    ///
    /// # Errors
    /// As [`Asterisk::stop_now`] and [`Asterisk::start`].
    pub fn restart(&mut self) -> Result<()> {
        if self.is_running() {
            self.stop_now(START_BOUND)?;
        }
        self.start()
    }

    /// Whether it runs.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        self.process
            .as_mut()
            .is_some_and(|process| matches!(process.ended(), Ok(None)))
    }

    /// Its process.
    ///
    /// # Errors
    /// When it was never started.
    pub fn running(&mut self) -> Result<&mut Process> {
        self.process.as_mut().context("Asterisk was not started")
    }

    fn process(&self) -> Result<&Process> {
        self.process.as_ref().context("Asterisk was not started")
    }

    /// Its process id.
    ///
    /// # Errors
    /// When it was never started.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.process()?.pid())
    }

    /// Its threads.
    ///
    /// # Errors
    /// When it does not run.
    pub fn threads(&self) -> Result<Vec<Task>> {
        self.process()?.threads()
    }

    /// What its open descriptors lead to.
    ///
    /// # Errors
    /// When it does not run.
    pub fn open_fds(&self) -> Result<Vec<PathBuf>> {
        self.process()?.open_fds()
    }

    /// Its resident memory in KiB.
    ///
    /// # Errors
    /// When it does not run.
    pub fn rss_kib(&self) -> Result<u64> {
        self.process()?.rss_kib()
    }

    /// The whole log up to now.
    #[must_use]
    pub fn log(&self) -> String {
        read_lossy(&self.scratch.path().join("log/full"))
    }

    /// What it printed up to now, over all its starts.
    #[must_use]
    pub fn console(&self) -> String {
        read_lossy(&self.scratch.path().join("log/console"))
    }

    /// Its version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// The scratch folder, with `etc`, `modules`, `lib`, `db`, `data`, `spool`, `run` and `log` in it.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The configuration directory.
    #[must_use]
    pub fn etc(&self) -> PathBuf {
        self.scratch.path().join("etc")
    }

    /// The spool directory.
    #[must_use]
    pub fn spool(&self) -> PathBuf {
        self.scratch.path().join("spool")
    }

    /// Writes a file of the configuration directory.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn configure(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.etc().join(name), text).with_context(|| format!("cannot write {name}"))
    }

    /// Where it takes SIP.
    #[must_use]
    pub fn sip(&self) -> SocketAddr {
        self.sip.into()
    }

    /// Where the manager interface listens.
    #[must_use]
    pub fn ami_address(&self) -> SocketAddr {
        self.ami.into()
    }

    /// Where its HTTP server listens.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http.into()
    }

    /// Where the phone of that number has to be.
    ///
    /// # Panics
    /// When the builder was not told of it.
    #[must_use]
    pub fn phone(&self, number: &str) -> SocketAddr {
        let Some(address) = self.phones.get(number) else {
            panic!("phone {number} was not described")
        };
        (*address).into()
    }

    /// Where the provider behind the trunk has to be.
    #[must_use]
    pub fn trunk(&self) -> SocketAddr {
        self.trunk.into()
    }
}

fn read_lossy(path: &Path) -> String {
    fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// The lines that a sub-command of `tools/asterisk` prints. The first use may take minutes, as it downloads; what it
/// says meanwhile is shown.
fn tool(arguments: &[&str]) -> Result<Vec<OsString>> {
    let script = workspace_root().join("tools/asterisk");
    let output = Command::new(&script)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", script.display()))?;
    ensure!(
        output.status.success(),
        "`tools/asterisk {}` failed, see its message above",
        arguments.join(" ")
    );
    let text = String::from_utf8(output.stdout).context("`tools/asterisk` printed no UTF-8")?;
    Ok(text.lines().map(OsString::from).collect())
}

fn tool_path(what: &str, version: Version) -> Result<PathBuf> {
    let lines = tool(&[what, version.major()])?;
    lines
        .into_iter()
        .next()
        .map(PathBuf::from)
        .with_context(|| format!("`tools/asterisk {what}` printed nothing"))
}
