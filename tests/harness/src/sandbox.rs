//! The stand-in CRM, `planfix-sandbox`, as a guard.
//!
//! Invariant: the tokens travel by the environment, never by the command line, which every user of the machine can
//! read.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Launch, Process};
use crate::{target_binary, until};

/// A start takes milliseconds, an orderly end too.
const BOUND: Duration = Duration::from_secs(30);
/// What stands before the two addresses that it prints.
const CRM: &str = "listening on ";
const CONTROL: &str = "control on ";

/// A running or stopped sandbox. Dropping it kills it and removes its log.
pub struct Sandbox {
    token: String,
    pbx_token: String,
    arguments: Vec<OsString>,
    url: String,
    address: SocketAddr,
    control: SocketAddr,
    process: Option<Process>,
    folder: TempDir,
}

impl Sandbox {
    /// Starts one on free ports with tokens of its own. `arguments` are added to its command line. Without a
    /// `--log-flush` among them, a request is in the log before it is answered.
    ///
    /// # Errors
    /// When it does not say within 30 s where it listens.
    ///
    /// # Panics
    /// When it is not built.
    pub fn start(arguments: &[&str]) -> Result<Self> {
        let folder = TempDir::with_prefix("sandbox-").context("cannot make a folder for the sandbox")?;
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut sandbox = Self {
            token: secret(),
            pbx_token: secret(),
            arguments: arguments.iter().map(OsString::from).collect(),
            url: String::new(),
            address: free,
            control: free,
            process: None,
            folder,
        };
        sandbox.start_again()?;
        Ok(sandbox)
    }

    /// Lets everything else on the machine go before it, as if it were on another one.
    ///
    /// # Errors
    /// When it does not run.
    pub fn yield_to_all(&self) -> Result<()> {
        let process = self.process.as_ref().context("the sandbox does not run")?;
        let pid = i32::try_from(process.pid())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        rustix::process::setpriority_process(pid, 19)?;
        Ok(())
    }

    /// Starts it again after [`Sandbox::stop`], at the same addresses and with the same tokens; its log goes on, what
    /// it had in memory is gone.
    ///
    /// # Errors
    /// When it runs already, or does not say within 30 s where it listens.
    ///
    /// # Panics
    /// When it is not built any more.
    pub fn start_again(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the sandbox runs already");
        let mut words: Vec<OsString> = vec![target_binary("planfix-sandbox").into()];
        words.extend(["--listen".into(), self.address.to_string().into()]);
        words.extend(["--control".into(), self.control.to_string().into()]);
        words.extend(["--log".into(), self.log_path().into()]);
        if !self.arguments.iter().any(|argument| argument == "--log-flush") {
            words.extend(["--log-flush".into(), "0".into()]);
        }
        words.extend(self.arguments.iter().cloned());
        let errors = fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("stderr"))?;
        let mut process = Process::start(Launch {
            name: "planfix-sandbox",
            words: &words,
            env: &[
                ("PLANFIX_SANDBOX_TOKEN".into(), self.token.clone().into()),
                ("PLANFIX_SANDBOX_PBX_TOKEN".into(), self.pbx_token.clone().into()),
            ],
            dir: self.folder.path(),
            output: Stdio::piped(),
            errors: errors.into(),
        })?;
        let output = process.stdout().context("the sandbox has no output")?;
        let (url, control) = announced(output)
            .with_context(|| format!("planfix-sandbox did not start: {}", self.complaints().trim_end()))?;
        self.address = address_of(&url)?;
        self.control = address_of(&control)?;
        self.url = url;
        self.process = Some(process);
        Ok(())
    }

    /// Ends it in order, so that its log is whole: from now on its port refuses connections.
    ///
    /// # Errors
    /// When it has ended by itself before, or does not end within 30 s. It is gone in any case.
    pub fn stop(&mut self) -> Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        process.signal(Signal::TERM)?;
        process.wait(BOUND).map(drop)
    }

    /// Where it listens, or last did.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address to configure in the PBX, path included.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its page and its control interface are, without a path.
    #[must_use]
    pub fn page(&self) -> String {
        format!("http://{}", self.control)
    }

    /// What its control interface answers to a GET, such as `/_sandbox/state`.
    ///
    /// # Errors
    /// When it does not answer with JSON and a status of success.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.ask("GET", path, "")
    }

    /// What its control interface answers to a POST, such as `/_sandbox/reset`.
    ///
    /// # Errors
    /// When it does not answer with JSON and a status of success.
    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.ask("POST", path, &body.to_string())
    }

    /// What its control interface answers to a GET with something else than JSON.
    ///
    /// # Errors
    /// When it does not answer with a status of success.
    pub fn fetch(&self, path: &str) -> Result<Vec<u8>> {
        self.bytes("GET", path, "")
    }

    /// Sets a fault, such as `status=500,next=2`.
    ///
    /// # Errors
    /// When the sandbox does not know it.
    pub fn fault(&self, spec: &str) -> Result<()> {
        self.post("/_sandbox/faults", &json!({ "set": spec })).map(drop)
    }

    /// Ends all faults.
    ///
    /// # Errors
    /// When the sandbox does not answer.
    pub fn clear_faults(&self) -> Result<()> {
        self.post("/_sandbox/faults", &json!({ "clear": true })).map(drop)
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<Value> {
        let text = String::from_utf8(self.bytes(method, path, body)?)?;
        if text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&text).with_context(|| format!("{method} {path} was answered with {text:?}"))
    }

    fn bytes(&self, method: &str, path: &str, body: &str) -> Result<Vec<u8>> {
        let (head, answer) = exchange(self.control, method, path, body)
            .with_context(|| format!("{method} {path} of the sandbox's control interface"))?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(
            status.starts_with('2'),
            "{method} {path} was answered with {status}: {}",
            String::from_utf8_lossy(&answer)
        );
        Ok(answer)
    }

    /// The token that the PBX has to send.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The token that the CRM sends to the PBX.
    #[must_use]
    pub fn pbx_token(&self) -> &str {
        &self.pbx_token
    }

    /// The file of JSON lines.
    #[must_use]
    pub fn log_path(&self) -> PathBuf {
        self.folder.path().join("requests.jsonl")
    }

    /// What it complained about.
    #[must_use]
    pub fn complaints(&self) -> String {
        fs::read(self.folder.path().join("stderr"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The log's entries up to now. A line that is still being written is left for the next call.
    ///
    /// # Errors
    /// When a whole line is no JSON.
    pub fn log(&self) -> Result<Vec<Value>> {
        let text = match fs::read_to_string(self.log_path()) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).context("cannot read the sandbox's log"),
        };
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| {
                serde_json::from_str(line).with_context(|| format!("the sandbox's log holds {line:?}"))
            })
            .collect()
    }

    /// Waits until the log's entries satisfy `enough`, and returns them.
    ///
    /// # Errors
    /// After `bound`, with what came instead.
    pub fn wait_for(
        &self,
        what: &str,
        bound: Duration,
        mut enough: impl FnMut(&[Value]) -> bool,
    ) -> Result<Vec<Value>> {
        until(what, bound, || {
            Ok(Some(self.log()?).filter(|entries| enough(entries)))
        })
        .with_context(|| {
            let lines = self.log().unwrap_or_default();
            let lines: Vec<_> = lines.iter().map(Value::to_string).collect();
            format!("the sandbox received:\n{}", lines.join("\n"))
        })
    }
}

fn secret() -> String {
    std::iter::repeat_with(fastrand::alphanumeric).take(24).collect()
}

fn address_of(url: &str) -> Result<SocketAddr> {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    authority
        .parse()
        .with_context(|| format!("the sandbox says \"{url}\", which holds no address"))
}

/// Reads the two addresses, and from then on lets a thread read the rest, so that the pipe never fills.
fn announced(output: impl Read + Send + 'static) -> Result<(String, String)> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            // After the two lines nobody listens any more.
            let _ = sender.send(line);
        }
    });
    let deadline = Instant::now() + BOUND;
    let (mut url, mut control) = (None, None);
    loop {
        let line = match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Disconnected) => bail!("it ended without saying where it listens"),
            Err(mpsc::RecvTimeoutError::Timeout) => bail!("it did not say where it listens"),
        };
        if let Some(found) = line.strip_prefix(CRM) {
            url = Some(found.trim().to_owned());
        } else if let Some(found) = line.strip_prefix(CONTROL) {
            control = Some(found.trim().to_owned());
        }
        if let (Some(url), Some(control)) = (&url, &control) {
            return Ok((url.clone(), control.clone()));
        }
    }
}

/// One HTTP request on a connection of its own. Returns the status line and the body.
fn exchange(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<(String, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&address, BOUND)?;
    stream.set_read_timeout(Some(BOUND))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .context("the answer has no end of headers")?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    ensure!(
        !head.to_ascii_lowercase().contains("transfer-encoding: chunked"),
        "the answer comes in chunks"
    );
    Ok((
        head.lines().next().unwrap_or_default().to_owned(),
        answer.split_off(end + 4),
    ))
}
