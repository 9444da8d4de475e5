//! `POST <prefix>/planfix/api`: what Planfix asks of the PBX (protocol section 3).
//!
//! Invariants:
//! - who has not shown the key learns nothing but that it is wrong, and has nothing done;
//! - nothing of a request reaches the dialplan that is not a number (`core::make_call`);
//! - every refusal is counted; of each kind one in ten seconds is logged, without the key.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use super::errands::{Errand, Errands};
use super::module::NotSetUp;
use super::state::{self, State};
use super::tally::Tally;
use crate::ast::acl::{self, Access};
use crate::ast::http::{BodyError, Method, Request, Response};
use crate::ast::originate::{device_exists, extension_exists};
use crate::core::form::{Form, is_form};
use crate::core::gauges::Clicks;
use crate::core::make_call::{Click, Device};
use crate::core::rate::Rate;
use crate::core::refusal::Refusal;
use crate::core::settings::Settings;
use crate::core::setup::Setup;

/// The largest body. Planfix sends a few hundred bytes.
const LARGEST: usize = 8 << 10;
/// How long a client may take for its body.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a `setup` may take: the disk writes one file.
const SET_UP: Duration = Duration::from_secs(10);
/// Addresses and employees that are remembered.
const SOURCES: usize = 4_096;
const EMPLOYEES: usize = 4_096;
/// What is logged of a field from outside.
const SHOWN: usize = 40;

/// What is remembered of requests as long as the module is loaded.
pub(super) struct Api {
    pub(super) errands: Errands,
    began: Instant,
    /// Refused requests by address.
    sources: Mutex<Rate<IpAddr>>,
    /// Calls by employee.
    employees: Mutex<Rate<String>>,
    calls: AtomicU64,
    /// Those of them whose first phone could not be called.
    unreachable: AtomicU64,
    setups: AtomicU64,
    refused: [Tally; Refusal::COUNT],
}

impl Api {
    pub(super) fn new() -> Self {
        Self {
            errands: Errands::default(),
            began: Instant::now(),
            sources: Mutex::new(Rate::new(SOURCES)),
            employees: Mutex::new(Rate::new(EMPLOYEES)),
            calls: AtomicU64::new(0),
            unreachable: AtomicU64::new(0),
            setups: AtomicU64::new(0),
            refused: Default::default(),
        }
    }

    /// Milliseconds since the beginning, never 0.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .max(1)
    }

    /// Notes that an employee's phone could not be called.
    pub(super) fn note_unreachable(&self) {
        self.unreachable.fetch_add(1, Ordering::Relaxed);
    }

    /// For `planfix show status`.
    pub(super) fn summary(&self) -> String {
        let calls = self.calls.load(Ordering::Relaxed);
        let counts: Vec<String> = Refusal::ALL
            .into_iter()
            .map(|refusal| (self.refused[refusal as usize].count(), refusal))
            .filter(|(count, _)| *count > 0)
            .map(|(count, refusal)| format!("{count} {}", refusal.word()))
            .collect();
        let refused = if counts.is_empty() {
            "none".to_owned()
        } else {
            counts.join(", ")
        };
        let unreachable = match self.unreachable.load(Ordering::Relaxed) {
            0 => String::new(),
            count => format!(", {count} of them to phones that cannot be called"),
        };
        let setups = match self.setups.load(Ordering::Relaxed) {
            0 => String::new(),
            count => format!("; setup {count} times"),
        };
        format!("{calls} calls{unreachable}{setups}; refused: {refused}")
    }

    /// The same in figures.
    pub(super) fn clicks(&self) -> Clicks {
        Clicks {
            calls: self.calls.load(Ordering::Relaxed),
            unreachable: self.unreachable.load(Ordering::Relaxed),
            setups: self.setups.load(Ordering::Relaxed),
            refused: Refusal::ALL.map(|refusal| self.refused[refusal as usize].count()),
        }
    }

    /// Counts a refusal, and logs it if none of its kind was logged lately.
    fn refuse(&self, peer: Option<IpAddr>, refused: &Refused) {
        let tally = &self.refused[refused.why as usize];
        // That there is no key is not news until the next load.
        if let Some(count) = tally.note(self.now(), refused.why == Refusal::NoKey) {
            let peer = peer.map_or_else(|| "an unknown address".to_owned(), |peer| peer.to_string());
            let details = match refused.details.as_str() {
                "" => String::new(),
                details => format!(" ({details})"),
            };
            log::warn!(
                "A request from {peer} was refused: {}{details}; {count} of this kind since the load",
                refused.why.sentence()
            );
        }
    }
}

/// A request that is not done.
struct Refused {
    why: Refusal,
    /// For the log, without the key.
    details: String,
    /// What Planfix is told in place of the refusal's own words.
    told: Option<String>,
    /// The right key was shown.
    trusted: bool,
}

impl From<Refusal> for Refused {
    fn from(why: Refusal) -> Self {
        Self {
            why,
            details: String::new(),
            told: None,
            trusted: false,
        }
    }
}

/// Answers a request.
pub(super) fn answer(request: &mut Request<'_>) -> Response {
    let Some(state) = state::current() else {
        return response(Refusal::Disabled, None);
    };
    if request.method() == Method::Options {
        // 'planfix check' asks this of itself, and it tells nobody anything.
        return Response::new(204).header("Allow", "OPTIONS, POST");
    }
    let peer = request.peer();
    let Err(refused) = take(&state, request, peer) else {
        // The protocol's own answer is an empty body.
        return Response::new(200);
    };
    let api = &state.lasting.api;
    api.refuse(peer, &refused);
    if !refused.trusted && !matches!(refused.why, Refusal::Flood | Refusal::Disabled) {
        let limit = state
            .settings
            .as_ref()
            .map_or(1, |settings| settings.callback.rate_per_minute);
        let mut sources = api.sources.lock().unwrap_or_else(PoisonError::into_inner);
        sources.take(&source(peer), api.now(), limit);
    }
    response(refused.why, refused.told)
}

fn response(why: Refusal, told: Option<String>) -> Response {
    let error = told.unwrap_or_else(|| why.error().to_owned());
    let body = serde_json::json!({ "error": error }).to_string();
    let response = Response::new(why.status());
    match why {
        Refusal::Method => response.header("Allow", "OPTIONS, POST"),
        Refusal::Flood | Refusal::Rate => response.header("Retry-After", "60"),
        _ => response,
    }
    .bytes("application/json; charset=utf-8", body.into_bytes())
}

/// Who a request counts for: with IPv6 a whole subnet, because everybody has 2^64 addresses of one.
fn source(peer: Option<IpAddr>) -> IpAddr {
    match peer {
        Some(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        Some(address) => address,
        None => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn take(state: &State, request: &mut Request<'_>, peer: Option<IpAddr>) -> Result<(), Refused> {
    let api = &state.lasting.api;
    let Some(settings) = state.settings.as_ref().filter(|settings| settings.enabled) else {
        return Err(Refusal::Disabled.into());
    };
    let key = &settings.crm.pbx_token;
    let flooded = is_flooded(api, peer, settings.callback.rate_per_minute);
    if flooded && key.can_be_guessed() {
        return Err(Refusal::Flood.into());
    }
    let form = asked(request, settings, peer).map_err(|refused| {
        // Who asks too often learns no more than that.
        if flooded { Refusal::Flood.into() } else { refused }
    })?;
    let done = match form.get("cmd") {
        "makeCall" => make_call(state, settings, &form),
        "setup" => set_up(api, &form),
        other => Err(Refused {
            details: shown(&[("cmd", other)]),
            ..Refusal::Command.into()
        }),
    };
    done.map_err(|refused| Refused {
        trusted: true,
        ..refused
    })
}

/// Whether the address was refused too often lately. Behind a proxy everybody has the proxy's, Planfix and whoever means ill; so the
/// right key is heard all the same, unless it is one that so many guesses could find.
fn is_flooded(api: &Api, peer: Option<IpAddr>, limit: u32) -> bool {
    let sources = api.sources.lock().unwrap_or_else(PoisonError::into_inner);
    sources.is_exceeded(&source(peer), api.now(), limit)
}

/// The form of who may ask and has shown the key.
fn asked(request: &mut Request<'_>, settings: &Settings, peer: Option<IpAddr>) -> Result<Form, Refused> {
    let list = &settings.callback.acl;
    match acl::verdict(list, peer) {
        Access::Allowed => {}
        Access::Denied => return Err(Refusal::Acl.into()),
        Access::Undefined => {
            return Err(Refused {
                details: format!("there is no ACL '{list}' in acl.conf, or it has no rules"),
                ..Refusal::Acl.into()
            });
        }
    }
    let form = form(request)?;
    let key = &settings.crm.pbx_token;
    if key.is_empty() {
        return Err(Refusal::NoKey.into());
    }
    if !key.matches(form.get("token").as_bytes()) {
        return Err(Refusal::Token.into());
    }
    Ok(form)
}

fn form(request: &mut Request<'_>) -> Result<Form, Refusal> {
    if request.method() != Method::Post {
        return Err(Refusal::Method);
    }
    if !request.header("Content-Type").is_some_and(is_form) {
        return Err(Refusal::Form);
    }
    let body = request.body(LARGEST, PATIENCE).map_err(|error| match error {
        BodyError::TooLarge => Refusal::TooLarge,
        BodyError::Late => Refusal::Late,
        BodyError::Cut | BodyError::Malformed => Refusal::Form,
    })?;
    Form::parse(&body).ok_or(Refusal::Form)
}

/// Fields from outside, for the log.
fn shown(fields: &[(&str, &str)]) -> String {
    let cut = |text: &str| text.chars().take(SHOWN).collect::<String>();
    let texts: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("{name} = '{}'", cut(value)))
        .collect();
    texts.join(", ")
}

fn make_call(state: &State, settings: &Settings, form: &Form) -> Result<(), Refused> {
    let refused = |why: Refusal| Refused {
        details: shown(&[("from", form.get("from")), ("to", form.get("to"))]),
        ..why.into()
    };
    let (api, callback) = (&state.lasting.api, &settings.callback);
    let click = Click::read(form, &settings.calls.internal, callback).map_err(refused)?;
    let device = Device::of(&click.from, callback);
    if device.can_be_asked_for() && !device_exists(&format!("{}/{}", device.technology, device.resource)) {
        return Err(refused(Refusal::From));
    }
    if !extension_exists(&callback.context, &click.to, &click.from) {
        return Err(refused(Refusal::To));
    }
    let mut employees = api.employees.lock().unwrap_or_else(PoisonError::into_inner);
    if !employees.take(&click.from, api.now(), callback.rate_per_minute) {
        return Err(refused(Refusal::Rate));
    }
    drop(employees);
    api.errands
        .bring(Errand::Call(click, Box::new(callback.clone())))
        .map_err(|_| refused(Refusal::Busy))?;
    api.calls.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Returns when it is in force and on the disk, since Planfix takes 200 for that.
fn set_up(api: &Api, form: &Form) -> Result<(), Refused> {
    let refused = |why: Refusal, text: String| Refused {
        details: text.clone(),
        told: Some(text),
        ..why.into()
    };
    let setup = Setup::read(form).map_err(|fault| refused(Refusal::Setup, fault))?;
    let (told, outcome) = bounded(1);
    api.errands
        .bring(Errand::SetUp(setup, told))
        .map_err(|_| Refused::from(Refusal::Busy))?;
    match outcome.recv_timeout(SET_UP) {
        Ok(Ok(())) => {
            api.setups.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        Ok(Err(NotSetUp::Pinned)) => Err(Refusal::Pinned.into()),
        Ok(Err(NotSetUp::Fault(text))) => Err(refused(Refusal::Setup, text)),
        Err(_) => Err(refused(
            Refusal::Busy,
            "The PBX is still taking the settings over; try again in a minute".to_owned(),
        )),
    }
}
