//! A child process with its own process group that ends with its guard, and with this program.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::until;

type Job = Box<dyn FnOnce() + Send>;

/// Children are started by this one thread. The kernel ends a child with the *thread* that started it (prctl(2),
/// `PR_SET_PDEATHSIG`), and the thread of a single test may end while another still uses the child.
static STARTER: LazyLock<mpsc::Sender<Job>> = LazyLock::new(|| {
    let (sender, jobs) = mpsc::channel::<Job>();
    thread::Builder::new()
        .name("starter".into())
        .spawn(move || jobs.into_iter().for_each(|job| job()))
        .expect("a thread can be started");
    sender
});

fn spawn(mut command: Command) -> io::Result<Child> {
    let (reply, answer) = mpsc::channel();
    let job: Job = Box::new(move || {
        // The receiver waits below for as long as it takes.
        let _ = reply.send(command.spawn());
    });
    STARTER
        .send(job)
        .expect("the starter lives as long as the program");
    answer.recv().expect("the starter answers")
}

/// A thread of a process, as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The kernel's number of the thread.
    pub id: u32,
    /// Its name, cut to 15 bytes by the kernel.
    pub name: String,
    /// How far it stands behind others for the processor.
    pub nice: i32,
}

/// A running child. Dropping it kills its process group and waits for it.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    status: Option<ExitStatus>,
}

/// What to start: the program with its arguments, added variables of the environment, the working directory and the
/// file that takes what it prints.
pub(crate) struct Launch<'a> {
    pub(crate) name: &'a str,
    pub(crate) words: &'a [OsString],
    pub(crate) env: &'a [(OsString, OsString)],
    pub(crate) dir: &'a Path,
    pub(crate) output: Stdio,
    pub(crate) errors: Stdio,
}

impl Process {
    pub(crate) fn start(launch: Launch<'_>) -> Result<Self> {
        // Without setpriv a killed test would leave its Asterisk behind.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).args(launch.words);
        command
            .envs(launch.env.iter().map(|(k, v)| (k, v)))
            .current_dir(launch.dir);
        command
            .stdin(Stdio::null())
            .stdout(launch.output)
            .stderr(launch.errors)
            .process_group(0);
        let child = spawn(command).with_context(|| {
            format!(
                "cannot start {} through setpriv (package util-linux)",
                launch.name
            )
        })?;
        Ok(Self {
            name: launch.name.to_owned(),
            child,
            status: None,
        })
    }

    /// The process id, which is that of the process group too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// The exit status when it has ended. What it started and left behind is killed then.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            let ended = waitid(WaitId::Pid(self.group()), look)
                .with_context(|| format!("cannot wait for {}", self.name))?
                .is_some();
            if ended {
                self.kill();
            }
        }
        Ok(self.status)
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When it still runs after `bound`. It is not killed then.
    pub fn wait(&mut self, bound: Duration) -> Result<ExitStatus> {
        let what = format!("the end of {} (process {})", self.name, self.pid());
        until(&what, bound, || self.ended())
    }

    /// Sends a signal to the process group.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(status) = self.ended()? {
            bail!("{} has ended already ({status})", self.name);
        }
        kill_process_group(self.group(), signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Kills the process group and waits for the process. Does nothing to one that has ended.
    pub fn kill(&mut self) {
        // The process was not waited for yet, so its number, which is the group's, belongs to no other.
        if self.status.is_none() {
            let _ = kill_process_group(self.group(), Signal::KILL);
            self.status = self.child.wait().ok();
        }
    }

    fn group(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The threads it has now.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn threads(&self) -> Result<Vec<Task>> {
        let mut tasks = Vec::new();
        for entry in self.proc_entries("task")? {
            // A thread may end between the listing and this.
            let Ok(text) = fs::read_to_string(entry.join("stat")) else {
                continue;
            };
            let (head, tail) = text.rsplit_once(") ").context("no thread's stat")?;
            let name = head.split_once('(').context("no thread's stat")?.1;
            // Field 19 of proc(5); the third comes after the name.
            let nice = tail.split(' ').nth(16).context("no thread's stat")?;
            let Some(id) = entry
                .file_name()
                .and_then(OsStr::to_str)
                .and_then(|id| id.parse().ok())
            else {
                continue;
            };
            tasks.push(Task {
                id,
                name: name.to_owned(),
                nice: nice.parse()?,
            });
        }
        Ok(tasks)
    }

    /// What its open descriptors lead to.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn open_fds(&self) -> Result<Vec<PathBuf>> {
        Ok(self
            .proc_entries("fd")?
            .into_iter()
            .filter_map(|entry| fs::read_link(entry).ok())
            .collect())
    }

    /// Resident memory in KiB.
    ///
    /// # Errors
    /// When the process has ended.
    pub fn rss_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(self.proc_path("status")).context("the process has ended")?;
        status
            .lines()
            .find_map(|line| {
                line.strip_prefix("VmRSS:")?
                    .trim()
                    .strip_suffix(" kB")?
                    .parse()
                    .ok()
            })
            .with_context(|| format!("{} has no memory any more", self.name))
    }

    fn proc_path(&self, what: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{what}", self.pid()))
    }

    fn proc_entries(&self, what: &str) -> Result<Vec<PathBuf>> {
        let entries =
            fs::read_dir(self.proc_path(what)).with_context(|| format!("{} has ended", self.name))?;
        Ok(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a short command to its end and returns what it printed.
///
/// The output is read by a thread, so that a full pipe cannot hold the command up.
pub(crate) fn run(name: &str, words: &[OsString], bound: Duration) -> Result<Output> {
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
    let group = Pid::from_child(&child);
    let start = Instant::now();
    let (reply, answer) = mpsc::channel();
    thread::spawn(move || reply.send(child.wait_with_output()));
    match answer.recv_timeout(bound) {
        Ok(output) => output.with_context(|| format!("cannot read from {name}")),
        Err(_) => {
            let _ = kill_process_group(group, Signal::KILL);
            bail!("{name} did not end within {} ms", start.elapsed().as_millis());
        }
    }
}
