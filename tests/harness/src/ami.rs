//! A client of the manager interface.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::configuration::{MANAGER_SECRET, MANAGER_USER};
use crate::poll::patient;
use crate::until;

/// Within this time every action is answered, or Asterisk hangs.
const ANSWER_BOUND: Duration = Duration::from_secs(30);

/// A response or an event: headers in their order, names as Asterisk wrote them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    headers: Vec<(String, String)>,
}

impl Message {
    fn parse(text: &str) -> Self {
        let headers = text.split("\r\n").filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((
                name.to_owned(),
                value.strip_prefix(' ').unwrap_or(value).to_owned(),
            ))
        });
        Self {
            headers: headers.collect(),
        }
    }

    /// The first header of that name, in any case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// All headers of that name, such as the `Output` lines of `Command`.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Whether this is an event of that name.
    #[must_use]
    pub fn is_event(&self, name: &str) -> bool {
        self.get("Event") == Some(name)
    }

    /// All headers in their order.
    #[must_use]
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }
}

/// The answer to an action.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    /// The response itself.
    pub response: Message,
    /// The events of a list action, without the one that ends the list.
    pub events: Vec<Message>,
    /// The event that ends the list, which holds their number; empty for an action without a list.
    pub end: Message,
}

impl Reply {
    /// Whether Asterisk said anything but `Error`.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.response
            .get("Response")
            .is_some_and(|value| value != "Error")
    }
}

/// A session that is logged in.
#[derive(Debug)]
pub struct Ami {
    stream: TcpStream,
    /// What was read and is not a whole message yet.
    pending: Vec<u8>,
    /// Events that came while something else was waited for.
    events: VecDeque<Message>,
    actions: u64,
}

impl Ami {
    /// A session at that address: see [`crate::Asterisk::ami_address`].
    ///
    /// # Errors
    /// When nobody answers there, or refuses.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        Self::connect_as(address, MANAGER_USER, MANAGER_SECRET)
    }

    /// As [`Ami::connect`], for a user of the test's own.
    ///
    /// # Errors
    /// As for [`Ami::connect`].
    pub fn connect_as(address: SocketAddr, user: &str, secret: &str) -> Result<Self> {
        let stream =
            TcpStream::connect(address).with_context(|| format!("no manager interface on {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(ANSWER_BOUND))?;
        let mut ami = Self {
            stream,
            pending: Vec::new(),
            events: VecDeque::new(),
            actions: 0,
        };
        let greeting = ami
            .take_until(b"\r\n", Instant::now() + patient(ANSWER_BOUND))?
            .context("no greeting came")?;
        ensure!(
            greeting.contains("Call Manager"),
            "{address} greets like no Asterisk: {greeting}"
        );
        let reply = ami.action(&[("Action", "Login"), ("Username", user), ("Secret", secret)])?;
        ensure!(reply.is_success(), "the login was refused: {:?}", reply.response);
        Ok(ami)
    }

    /// Sends an action and waits for its response, and for the end of the list where the response announces one.
    ///
    /// # Errors
    /// When a header holds a line end, the connection breaks or nothing comes within 30 s.
    pub fn action(&mut self, headers: &[(&str, &str)]) -> Result<Reply> {
        self.actions += 1;
        let id = format!("harness-{}", self.actions);
        let mut text = String::new();
        for (name, value) in headers.iter().copied().chain([("ActionID", id.as_str())]) {
            ensure!(
                !value.contains(['\r', '\n']),
                "the header {name} holds a line end"
            );
            let _ = write!(text, "{name}: {value}\r\n");
        }
        text.push_str("\r\n");
        self.stream
            .write_all(text.as_bytes())
            .context("the manager connection broke")?;
        let deadline = Instant::now() + patient(ANSWER_BOUND);
        let mut reply = Reply::default();
        let mut answered = false;
        loop {
            let Some(message) = self.read(deadline)? else {
                bail!(
                    "no full answer to {:?} within {} s",
                    headers.first(),
                    patient(ANSWER_BOUND).as_secs()
                );
            };
            let ours = message.get("ActionID") == Some(id.as_str());
            if message.get("Event").is_none() {
                if ours {
                    let listed = message
                        .get("EventList")
                        .is_some_and(|value| value.eq_ignore_ascii_case("start"));
                    reply.response = message;
                    answered = true;
                    if !listed {
                        return Ok(reply);
                    }
                }
            } else if ours && answered {
                if message
                    .get("EventList")
                    .is_some_and(|value| value.eq_ignore_ascii_case("complete"))
                {
                    reply.end = message;
                    return Ok(reply);
                }
                reply.events.push(message);
            } else {
                self.events.push_back(message);
            }
        }
    }

    /// The value of a variable or function, on that channel or on none.
    ///
    /// # Errors
    /// When Asterisk refuses, and as [`Ami::action`].
    pub fn getvar(&mut self, channel: Option<&str>, variable: &str) -> Result<String> {
        let mut headers = vec![("Action", "Getvar"), ("Variable", variable)];
        headers.extend(channel.map(|name| ("Channel", name)));
        let reply = self.action(&headers)?;
        ensure!(
            reply.is_success(),
            "Getvar {variable} was refused: {:?}",
            reply.response
        );
        Ok(reply.response.get("Value").unwrap_or_default().to_owned())
    }

    /// Has Asterisk load, reload or unload the module; the console's commands for that are closed to AMI. An unload that meets a
    /// channel in one of its functions is refused, and is tried again.
    ///
    /// # Errors
    /// When Asterisk refuses for another reason, or for longer than `bound`.
    pub fn module(&mut self, what: &str, bound: Duration) -> Result<()> {
        let action = [
            ("Action", "ModuleLoad"),
            ("Module", "res_planfix.so"),
            ("LoadType", what),
        ];
        until(what, bound, || {
            let reply = self.action(&action)?;
            let met = what == "unload" && reply.response.get("Message") == Some("Could not unload module.");
            ensure!(reply.is_success() || met, "{what}: {:?}", reply.response);
            Ok(reply.is_success().then_some(()))
        })
    }

    /// Waits until no channel is left. The session hears of no events any more.
    ///
    /// # Errors
    /// When some are there after `bound`, with what they are.
    pub fn without_channels(&mut self, bound: Duration) -> Result<()> {
        self.action(&[("Action", "Events"), ("EventMask", "off")])?;
        let mut left = Vec::new();
        until("an Asterisk without channels", bound, || {
            left = self.action(&[("Action", "CoreShowChannels")])?.events;
            Ok(left.is_empty().then_some(()))
        })
        .with_context(|| format!("there are {left:?}"))
    }

    /// What a console command prints.
    ///
    /// # Errors
    /// As [`Ami::action`].
    pub fn command(&mut self, command: &str) -> Result<String> {
        let reply = self.action(&[("Action", "Command"), ("Command", command)])?;
        Ok(reply
            .response
            .get_all("Output")
            .map(|line| format!("{line}\n"))
            .collect())
    }

    /// The next event, in the order in which they came, that is `wanted`; earlier ones are dropped. `None` when none
    /// came within `bound`.
    ///
    /// # Errors
    /// When the connection breaks.
    pub fn event(
        &mut self,
        bound: Duration,
        mut wanted: impl FnMut(&Message) -> bool,
    ) -> Result<Option<Message>> {
        let deadline = Instant::now() + bound;
        loop {
            let message = match self.events.pop_front() {
                Some(message) => message,
                None => match self.read(deadline)? {
                    Some(message) => message,
                    None => return Ok(None),
                },
            };
            if message.get("Event").is_some() && wanted(&message) {
                return Ok(Some(message));
            }
        }
    }

    fn read(&mut self, deadline: Instant) -> Result<Option<Message>> {
        Ok(self
            .take_until(b"\r\n\r\n", deadline)?
            .map(|text| Message::parse(&text)))
    }

    /// Everything up to `end`. `None` at the deadline: what came of it is kept for the next call.
    fn take_until(&mut self, end: &[u8], deadline: Instant) -> Result<Option<String>> {
        let mut searched = 0;
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some(at) = self.pending[searched..]
                .windows(end.len())
                .position(|window| window == end)
            {
                let rest = self.pending.split_off(searched + at + end.len());
                let taken = std::mem::replace(&mut self.pending, rest);
                return Ok(Some(String::from_utf8_lossy(&taken).into_owned()));
            }
            searched = self.pending.len().saturating_sub(end.len() - 1);
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut chunk) {
                Ok(0) => bail!("Asterisk closed the manager connection"),
                Ok(length) => self.pending.extend_from_slice(&chunk[..length]),
                Err(e)
                    if matches!(
                        e.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(e) => return Err(e).context("the manager connection broke"),
            }
        }
    }
}
