//! Faults on demand: what the stand-in does wrong, to whom and how often.
//!
//! Invariants: at most one fault answers a request, and delays come on top of it; a fault that has done its share is
//! gone; whoever waits inside a fault is released as soon as that fault is cleared.

use serde::{Deserialize, Deserializer, Serialize};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FaultKind {
    /// The answer comes late. Milliseconds.
    Delay(u64),
    /// Nobody listens: connections are refused, open ones are closed.
    Refuse,
    /// Nobody is there: the network swallows new connections, open ones are never answered.
    BlackHole,
    /// The request is read and never answered.
    Hang,
    /// Another HTTP status, with a Retry-After header if given.
    Status(u16, Option<String>),
    /// The connection is closed after the request.
    Cut,
    /// The connection is reset after the request.
    Reset,
    /// The connection is closed in the middle of the headers.
    CutHeader,
    /// The connection is closed in the middle of the body.
    CutBody,
    /// The body comes byte by byte. Milliseconds between two bytes.
    SlowBody(u64),
    /// The body never ends.
    EndlessBody,
    /// One header of so many bytes.
    HugeHeader(u64),
    /// Content-Length promises more than comes.
    LongLength,
    /// Content-Length promises less than comes.
    ShortLength,
    /// A page for people, with status 200.
    Html,
}

const NAMES: &str = "delay=MS, refuse, black-hole, hang, status=CODE, cut, reset, cut-header, cut-body, slow-body[=MS], \
                     endless-body, huge-header[=BYTES], long-length, short-length, html";

impl FaultKind {
    /// The name without its value.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Delay(_) => "delay",
            Self::Refuse => "refuse",
            Self::BlackHole => "black-hole",
            Self::Hang => "hang",
            Self::Status(..) => "status",
            Self::Cut => "cut",
            Self::Reset => "reset",
            Self::CutHeader => "cut-header",
            Self::CutBody => "cut-body",
            Self::SlowBody(_) => "slow-body",
            Self::EndlessBody => "endless-body",
            Self::HugeHeader(_) => "huge-header",
            Self::LongLength => "long-length",
            Self::ShortLength => "short-length",
            Self::Html => "html",
        }
    }

    /// Whether it concerns the listener and not single requests.
    pub(crate) fn whole(&self) -> bool {
        matches!(self, Self::Refuse | Self::BlackHole)
    }
}

impl std::fmt::Display for FaultKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())?;
        match self {
            Self::Delay(value) | Self::SlowBody(value) | Self::HugeHeader(value) => write!(f, "={value}"),
            Self::Status(code, _) => write!(f, "={code}"),
            _ => Ok(()),
        }
    }
}

/// A fault and whom it concerns. Written as `KIND[=VALUE][,next=N][,for=MS][,cmd=C][,event=E][,callid=I][,ext=X]
/// [,retry-after=TEXT][,processed=yes|no]`; a bare three-digit number means that status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// For how many matching requests; `None` for all.
    pub next: Option<u64>,
    /// For how long from when it is set.
    pub lasts: Option<Duration>,
    /// Only this cmd.
    pub cmd: Option<String>,
    /// Only this event.
    pub event: Option<String>,
    /// Only this call.
    pub callid: Option<String>,
    /// Only this extension.
    pub ext: Option<String>,
    /// Whether the CRM has taken the request in although its answer goes wrong. Unset: only a delayed one is taken in.
    pub processed: Option<bool>,
}

impl Fault {
    /// A fault for all requests until it is cleared.
    pub fn new(kind: FaultKind) -> Self {
        Self {
            kind,
            next: None,
            lasts: None,
            cmd: None,
            event: None,
            callid: None,
            ext: None,
            processed: None,
        }
    }

    /// Only for the next `count` matching requests.
    #[must_use]
    pub fn next(mut self, count: u64) -> Self {
        self.next = Some(count);
        self
    }

    /// Only for this call.
    #[must_use]
    pub fn callid(mut self, callid: &str) -> Self {
        self.callid = Some(callid.to_owned());
        self
    }

    /// Only for this cmd.
    #[must_use]
    pub fn cmd(mut self, cmd: &str) -> Self {
        self.cmd = Some(cmd.to_owned());
        self
    }

    fn matches(&self, about: &About<'_>) -> bool {
        let fits =
            |want: &Option<String>, have: Option<&str>| want.as_deref().is_none_or(|want| have == Some(want));
        fits(&self.cmd, about.cmd)
            && fits(&self.event, about.event)
            && fits(&self.callid, about.callid)
            && fits(&self.ext, about.ext)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(next) = self.next {
            write!(f, ",next={next}")?;
        }
        if let Some(lasts) = self.lasts {
            write!(f, ",for={}", lasts.as_millis())?;
        }
        for (name, value) in [
            ("cmd", &self.cmd),
            ("event", &self.event),
            ("callid", &self.callid),
            ("ext", &self.ext),
        ] {
            if let Some(value) = value {
                write!(f, ",{name}={value}")?;
            }
        }
        match &self.kind {
            FaultKind::Status(_, Some(after)) => write!(f, ",retry-after={after}")?,
            // Without a value these two would come back with the one they have by default.
            FaultKind::Status(429 | 503, None) => f.write_str(",retry-after=")?,
            _ => {}
        }
        match self.processed {
            Some(true) => f.write_str(",processed=yes"),
            Some(false) => f.write_str(",processed=no"),
            None => Ok(()),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    /// Fails with a sentence that says what a fault may be.
    fn from_str(spec: &str) -> Result<Self, String> {
        let mut parts = spec.split(',');
        let head = parts.next().unwrap_or_default();
        let (name, value) = head
            .split_once('=')
            .map_or((head, None), |(name, value)| (name, Some(value)));
        let number = |default: Option<u64>| match (value, default) {
            (Some(text), _) => text
                .parse::<u64>()
                .map_err(|_| format!("fault `{spec}`: `{text}` is not a number")),
            (None, Some(default)) => Ok(default),
            (None, None) => Err(format!("fault `{spec}` needs a number: `{name}=NUMBER`")),
        };
        let status = |text: &str| match text.parse::<u16>() {
            Ok(code @ 200..=599) => Ok(FaultKind::Status(
                code,
                matches!(code, 429 | 503).then(|| "1".to_owned()),
            )),
            _ => Err(format!(
                "fault `{spec}`: `{text}` is not an HTTP status from 200 to 599"
            )),
        };
        let kind = match name {
            "delay" => FaultKind::Delay(number(None)?),
            "refuse" => FaultKind::Refuse,
            "black-hole" => FaultKind::BlackHole,
            "hang" => FaultKind::Hang,
            "status" => status(value.unwrap_or_default())?,
            "cut" => FaultKind::Cut,
            "reset" => FaultKind::Reset,
            "cut-header" => FaultKind::CutHeader,
            "cut-body" => FaultKind::CutBody,
            "slow-body" => FaultKind::SlowBody(number(Some(100))?),
            "endless-body" => FaultKind::EndlessBody,
            "huge-header" => FaultKind::HugeHeader(number(Some(10 * 1024 * 1024))?),
            "long-length" => FaultKind::LongLength,
            "short-length" => FaultKind::ShortLength,
            "html" => FaultKind::Html,
            code if code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit()) => status(code)?,
            _ => return Err(format!("`{name}` is not a fault; the faults are {NAMES}")),
        };
        let valued = matches!(
            kind,
            FaultKind::Delay(_) | FaultKind::SlowBody(_) | FaultKind::HugeHeader(_)
        ) || name == "status";
        if value.is_some() && !valued {
            return Err(format!("fault `{spec}`: `{name}` takes no value"));
        }
        let mut fault = Self::new(kind);
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let count = || {
                value
                    .parse::<u64>()
                    .map_err(|_| format!("fault `{spec}`: `{part}` needs a whole number"))
            };
            match name {
                "next" if value == "0" => return Err(format!("fault `{spec}`: `next=0` concerns nobody")),
                "next" => fault.next = Some(count()?),
                "for" => fault.lasts = Some(Duration::from_millis(count()?)),
                "cmd" => fault.cmd = Some(value.to_owned()),
                "event" => fault.event = Some(value.to_owned()),
                "callid" => fault.callid = Some(value.to_owned()),
                "ext" => fault.ext = Some(value.to_owned()),
                "retry-after" => match &mut fault.kind {
                    FaultKind::Status(_, after) => *after = (!value.is_empty()).then(|| value.to_owned()),
                    _ => return Err(format!("fault `{spec}`: `retry-after` goes with a status only")),
                },
                "processed" if value == "yes" || value == "no" => fault.processed = Some(value == "yes"),
                _ => {
                    return Err(format!(
                        "fault `{spec}`: `{part}` is none of next=N, for=MS, cmd=, event=, callid=, ext=, \
                         retry-after=, processed=yes|no"
                    ));
                }
            }
        }
        if fault.kind.whole() && (fault.next.is_some() || !fault.matches(&About::default())) {
            return Err(format!(
                "fault `{spec}`: `{}` concerns everything; only `for=MS` limits it",
                fault.kind
            ));
        }
        Ok(fault)
    }
}

impl<'de> Deserialize<'de> for Fault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for Fault {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What of a request a fault can be bound to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct About<'a> {
    /// Field `cmd`.
    pub(crate) cmd: Option<&'a str>,
    /// Field `event`.
    pub(crate) event: Option<&'a str>,
    /// Field `callid`.
    pub(crate) callid: Option<&'a str>,
    /// Field `ext`.
    pub(crate) ext: Option<&'a str>,
}

/// A fault that is set.
#[derive(Debug, Clone)]
pub(crate) struct Active {
    pub(crate) id: u64,
    pub(crate) fault: Fault,
    pub(crate) hits: u64,
    until: Option<Instant>,
    released: Arc<AtomicBool>,
}

/// A fault as it concerns one request.
#[derive(Debug, Clone)]
pub(crate) struct Struck {
    pub(crate) kind: FaultKind,
    pub(crate) text: String,
    pub(crate) processed: Option<bool>,
    until: Option<Instant>,
    released: Arc<AtomicBool>,
}

impl Struck {
    /// Whether the fault is still on; whoever waits in it goes on when it is not.
    pub(crate) fn holds(&self) -> bool {
        !self.released.load(Ordering::Relaxed) && self.until.is_none_or(|until| Instant::now() < until)
    }
}

/// The faults that are set, in the order in which they were set.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    active: Vec<Active>,
    /// Faults that have struck as often as they should, but may still hold a request.
    spent: Vec<Active>,
    last_id: u64,
}

impl Faults {
    pub(crate) fn set(&mut self, fault: Fault, now: Instant) -> u64 {
        self.last_id += 1;
        let until = fault.lasts.map(|lasts| now + lasts);
        self.active.push(Active {
            id: self.last_id,
            fault,
            hits: 0,
            until,
            released: Arc::default(),
        });
        self.last_id
    }

    /// Clears the faults that `which` picks and releases whoever waits in them. Returns how many.
    pub(crate) fn clear(&mut self, which: impl Fn(&Active) -> bool) -> usize {
        let before = self.active.len();
        for list in [&mut self.active, &mut self.spent] {
            list.retain(|active| {
                let goes = which(active);
                if goes {
                    active.released.store(true, Ordering::Relaxed);
                }
                !goes
            });
        }
        before - self.active.len()
    }

    pub(crate) fn expire(&mut self, now: Instant) -> usize {
        self.clear(|active| active.until.is_some_and(|until| until <= now))
    }

    /// When the next fault runs out.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.active.iter().filter_map(|active| active.until).min()
    }

    pub(crate) fn active(&self) -> &[Active] {
        &self.active
    }

    /// The fault that concerns the listener; the one set last wins.
    pub(crate) fn whole(&self) -> Option<&Active> {
        self.active.iter().rev().find(|active| active.fault.kind.whole())
    }

    /// The delay and the other fault that strike a request.
    pub(crate) fn strike(&mut self, about: &About<'_>) -> (Option<Struck>, Option<Struck>) {
        if self.active.is_empty() {
            return (None, None);
        }
        let delay = self.take(about, true);
        (delay, self.take(about, false))
    }

    fn take(&mut self, about: &About<'_>, delay: bool) -> Option<Struck> {
        let concerns = |active: &Active| {
            matches!(active.fault.kind, FaultKind::Delay(_)) == delay && active.fault.matches(about)
        };
        // A dead listener outranks everything: nobody is there who could answer wrongly.
        let at = self
            .active
            .iter()
            .position(|active| !delay && active.fault.kind.whole())
            .or_else(|| self.active.iter().position(concerns))?;
        let active = &mut self.active[at];
        active.hits += 1;
        let struck = Struck {
            kind: active.fault.kind.clone(),
            text: active.fault.to_string(),
            processed: active.fault.processed,
            until: active.until,
            released: Arc::clone(&active.released),
        };
        if let Some(next) = &mut active.fault.next {
            *next = next.saturating_sub(1);
            if *next == 0 {
                let spent = self.active.remove(at);
                self.spent.retain(|old| Arc::strong_count(&old.released) > 1);
                self.spent.push(spent);
            }
        }
        Some(struck)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_read_and_written() {
        for (spec, written) in [
            ("delay=500", "delay=500"),
            ("refuse", "refuse"),
            ("refuse,for=200", "refuse,for=200"),
            ("black-hole", "black-hole"),
            ("hang,next=2,callid=1.2", "hang,next=2,callid=1.2"),
            ("500", "status=500"),
            ("status=503", "status=503,retry-after=1"),
            (
                "429,retry-after=7,cmd=event,event=COMPLETED",
                "status=429,cmd=event,event=COMPLETED,retry-after=7",
            ),
            ("503,retry-after=", "status=503,retry-after="),
            ("slow-body", "slow-body=100"),
            ("huge-header=100,processed=yes", "huge-header=100,processed=yes"),
            ("html,ext=101,processed=no", "html,ext=101,processed=no"),
        ] {
            let fault: Fault = spec.parse().unwrap();
            assert_eq!(fault.to_string(), written);
            assert_eq!(written.parse::<Fault>().unwrap(), fault);
        }
        for (spec, part) in [
            ("", "is not a fault"),
            ("explode", "the faults are delay=MS"),
            ("delay", "needs a number"),
            ("delay=x", "not a number"),
            ("status=99", "not an HTTP status"),
            ("99", "is not a fault"),
            ("hang=3", "takes no value"),
            ("hang,next=x", "whole number"),
            ("hang,retry-after=1", "goes with a status only"),
            ("hang,nxt=1", "none of next=N"),
            ("refuse,next=1", "concerns everything"),
            ("refuse,cmd=ping", "concerns everything"),
        ] {
            let error = spec.parse::<Fault>().unwrap_err();
            assert!(error.contains(part), "{spec}: {error}");
        }
    }

    #[test]
    fn faults_strike_whom_they_concern() {
        let mut faults = Faults::default();
        let now = Instant::now();
        faults.set("500,next=2,callid=a".parse().unwrap(), now);
        faults.set("delay=5,cmd=event".parse().unwrap(), now);
        let about = |callid| About {
            cmd: Some("event"),
            event: None,
            callid: Some(callid),
            ext: None,
        };
        let kinds = |faults: &mut Faults, callid| {
            let (delay, other) = faults.strike(&about(callid));
            (delay.is_some(), other.is_some())
        };
        assert_eq!(kinds(&mut faults, "b"), (true, false));
        assert_eq!(kinds(&mut faults, "a"), (true, true));
        assert_eq!(kinds(&mut faults, "a"), (true, true));
        assert_eq!(kinds(&mut faults, "a"), (true, false));
        assert_eq!(faults.clear(|_| true), 1);
        assert_eq!(kinds(&mut faults, "a"), (false, false));
    }

    #[test]
    fn faults_run_out_and_release() {
        let mut faults = Faults::default();
        let now = Instant::now();
        faults.set("hang,for=10".parse().unwrap(), now);
        let (_, struck) = faults.strike(&About::default());
        faults.set("refuse,for=20".parse().unwrap(), now);
        assert_eq!(faults.next_expiry(), Some(now + Duration::from_millis(10)));
        assert_eq!(faults.expire(now + Duration::from_millis(10)), 1);
        assert!(!struck.unwrap().holds());
        assert!(faults.whole().is_some());
        assert_eq!(faults.expire(now + Duration::from_millis(20)), 1);
        assert!(faults.whole().is_none() && faults.active().is_empty());
    }
}
