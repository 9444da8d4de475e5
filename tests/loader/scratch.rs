//! A module for the tests of the safe floor (`src/ast`): it uses each part of it once, and has doors that
//! lead to a panic.
//!
//! It is an example of the package, built by `cargo test` and by nothing else: what is shipped has no such
//! doors. It takes the floor in by path, because the crate already exports a load, reload and unload of its
//! own.

#[path = "../../src/ast/mod.rs"]
pub mod ast;
#[path = "../../src/sys.rs"]
pub mod sys;

use std::borrow::Cow;
use std::ffi::CStr;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use ast::application::{Application, ApplicationRegistrations, Flow};
use ast::channel::{self, Channel};
use ast::cli::{Command, CommandRegistration, Completion, Out, Outcome};
use ast::device_state::{self, DeviceState, DeviceStateRegistration, DeviceStates};
use ast::function::{FunctionRegistration, ReadFunction, Unreadable, Unwritable, WriteFunction};
use ast::http::{self, Handler, HttpRegistration, Response};
use ast::manager::{Action, ActionRegistration, Authority, Reply, Request};
use ast::module::{Load, Module, Reload, Unload};
use ast::originate::Originate;
use ast::stasis::{Bridge, Changes, Event, Record, Snapshot, Subscriber, Subscription, running_channels};
use ast::thread::{Joined, Place, Thread};
use ast::voice::{self, Ended, HungUp, Played, RecordLimits};
use ast::{config, database, guard, manager, module, paths, thread};

struct Scratch;

ast::module::export!(Scratch);

#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    told: Condvar,
}

struct State {
    bell: Arc<Bell>,
    worker: Thread,
    subscription: Subscription,
    door: HttpRegistration,
    applications: ApplicationRegistrations,
    provider: DeviceStateRegistration,
    functions: Vec<FunctionRegistration>,
    commands: Vec<CommandRegistration>,
    actions: Vec<ActionRegistration>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);
/// Makes the next load panic when half of it is done.
static PANIC_IN_LOAD: AtomicBool = AtomicBool::new(false);

fn read_configuration() {
    match config::load(c"planfix.conf") {
        config::Loaded::Missing => log::warn!(target: "res_planfix::scratch", "planfix.conf is missing."),
        config::Loaded::Invalid => log::warn!(target: "res_planfix::scratch", "planfix.conf is invalid."),
        config::Loaded::Entries(entries) => {
            for config::Entry {
                section,
                name,
                value,
                file,
                line,
            } in entries
            {
                let file = file.rsplit('/').next().unwrap_or_default().to_owned();
                log::info!(target: "res_planfix::scratch", "[{section}] {name}={value} at {file}:{line}.");
            }
        }
    }
}

fn start() -> Result<State, Box<dyn std::error::Error>> {
    let bell = Arc::new(Bell::default());
    let heard = Arc::clone(&bell);
    let worker = thread::spawn(
        "planfix-scratch-worker",
        Place::Behind,
        Box::new(move || {
            let rung = heard.rung.lock().unwrap_or_else(PoisonError::into_inner);
            drop(heard.told.wait_while(rung, |rung| !*rung));
        }),
    )?;
    let doomed = thread::spawn(
        "planfix-doomed",
        Place::Last,
        Box::new(|| panic!("a worker's panic")),
    )?;
    assert_eq!(doomed.join(Duration::from_secs(5)), Joined::Panicked);
    let subscription = Subscription::channels_and_bridges::<Told>()?;
    subscription.accept_variables();
    Ok(State {
        bell,
        worker,
        subscription,
        door: HttpRegistration::handler::<Door>()?,
        applications: ApplicationRegistrations::default().and::<Talk>()?,
        provider: DeviceStateRegistration::new::<Lamps>()?,
        functions: vec![
            FunctionRegistration::read::<Scratched>()?,
            FunctionRegistration::read_write::<Pad>()?,
        ],
        commands: vec![CommandRegistration::new::<Show>()?],
        actions: vec![ActionRegistration::new::<List>()?],
    })
}

impl Module for Scratch {
    fn load() -> Load {
        read_configuration();
        let folders = [
            paths::config_dir(),
            paths::spool_dir(),
            paths::monitor_dir(),
            paths::var_dir(),
            paths::data_dir(),
            paths::log_dir(),
            paths::run_dir(),
            paths::module_dir(),
        ];
        assert!(folders.iter().all(|folder| folder.is_absolute()));
        match start() {
            Ok(state) => *STATE.lock().unwrap_or_else(PoisonError::into_inner) = Some(state),
            Err(error) => {
                log::error!(target: "res_planfix::scratch", "Load: {error}.");
                return Load::Declined;
            }
        }
        assert!(!PANIC_IN_LOAD.swap(false, Ordering::Relaxed), "the load's panic");
        log::info!(target: "res_planfix::scratch", "Loaded build {} for {}.", module::BUILD_ID, module::COMPILED_VERSION);
        log::error!(target: "rustls::conn", "a stranger's line");
        log::debug!(target: "res_planfix::scratch", "A line for debug 1.");
        log::trace!(target: "res_planfix::scratch", "A line for debug 3.");
        manager::event(
            Authority::SYSTEM,
            "ScratchLoaded",
            &[("Value", "one\r\nEvent: Forged")],
        );
        Load::Loaded
    }

    fn reload() -> Reload {
        read_configuration();
        Reload::Done
    }

    fn unload() -> Unload {
        let Some(State {
            bell,
            worker,
            subscription,
            door,
            applications,
            provider,
            functions,
            commands,
            actions,
        }) = STATE.lock().unwrap_or_else(PoisonError::into_inner).take()
        else {
            return Unload::Done;
        };
        drop((
            applications,
            provider,
            actions,
            commands,
            functions,
            door,
            subscription,
        ));
        assert!(guard::drained(Duration::ZERO));
        *bell.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        bell.told.notify_all();
        assert_eq!(worker.join(Duration::from_secs(5)), Joined::Finished);
        Unload::Done
    }
}

struct Door;

impl Handler for Door {
    const URI: &'static CStr = c"scratch";
    const DESCRIPTION: &'static CStr = c"Scratch";

    fn handle(request: &mut http::Request<'_>) -> Response {
        assert_ne!(request.path(), b"panic", "a handler's panic");
        let peer = request.peer().map_or_else(String::new, |peer| peer.to_string());
        let body = request.body(8, Duration::from_secs(1));
        let text = format!(
            "{}{} {:?} {peer} {body:?}",
            http::prefix(),
            String::from_utf8_lossy(request.path()),
            request.method()
        );
        Response::new(200).bytes("text/plain", text.into_bytes())
    }
}

struct Scratched;

impl ReadFunction for Scratched {
    const NAME: &'static CStr = c"SCRATCH";

    fn read(channel: Option<&Channel<'_>>, args: &[u8]) -> Result<Cow<'static, [u8]>, Unreadable> {
        match (args, channel) {
            (b"panic", _) => panic!("a function's panic with %s and\nanother line"),
            (b"panic in the next load", _) => {
                PANIC_IN_LOAD.store(true, Ordering::Relaxed);
                Ok(Cow::Borrowed(b"AGREED"))
            }
            (b"unreadable", _) => Err(Unreadable),
            (b"event", _) => {
                manager::event(
                    Authority::CALL,
                    "ScratchEvent",
                    &[("Value", "one\r\nEvent: Forged")],
                );
                Ok(Cow::Borrowed(b"TOLD"))
            }
            (b"facts", Some(channel)) => {
                let facts = channel.facts();
                let variable = channel.variable(c"SCRATCHED").unwrap_or_default();
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let option =
                    |bytes: Option<Vec<u8>>| bytes.map_or_else(|| "-".to_owned(), |bytes| text(&bytes));
                Ok(Cow::Owned(
                    format!(
                        "{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}",
                        text(&facts.name),
                        text(&facts.exten),
                        text(&facts.context),
                        text(&facts.dialed),
                        option(facts.caller_number),
                        facts.caller_restricted,
                        option(facts.connected_number),
                        option(facts.macro_exten),
                        facts.up_time.as_millis() > 0,
                        facts.uniqueid == facts.linkedid,
                        text(&variable)
                    )
                    .into_bytes(),
                ))
            }
            // As a thread of the module's would.
            (b"each", None) => {
                let mut names = Vec::new();
                channel::each(|_| names.push("one"));
                Ok(Cow::Owned(names.join(" ").into_bytes()))
            }
            ([b'f', b'i', b'n', b'd', b' ', uniqueid @ ..], None) => {
                let uniqueid = std::ffi::CString::new(uniqueid).unwrap_or_default();
                let named = channel::name_caller(&uniqueid, c"Nobody");
                let found = channel::found(&uniqueid, |channel| channel.lock().name().to_vec());
                assert_eq!(named, found.is_some());
                Ok(Cow::Owned(found.unwrap_or_else(|| b"GONE".to_vec())))
            }
            (b"empty", _) => Ok(Cow::Borrowed(b"")),
            (b"fixed", _) => Ok(Cow::Borrowed(b"QUEUED")),
            _ => Ok(Cow::Owned(args.to_vec())),
        }
    }
}

static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// Keeps what is written, for who reads it.
struct Pad;

impl ReadFunction for Pad {
    const NAME: &'static CStr = c"SCRATCHPAD";

    fn read(_: Option<&Channel<'_>>, _: &[u8]) -> Result<Cow<'static, [u8]>, Unreadable> {
        let written = WRITTEN.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Cow::Owned(written.clone()))
    }
}

impl WriteFunction for Pad {
    const WRITE_ESCALATES: bool = true;

    fn write(channel: Option<&Channel<'_>>, args: &[u8], value: &[u8]) -> Result<(), Unwritable> {
        assert_ne!(value, b"panic", "a writing's panic");
        if args == b"refuse" {
            return Err(Unwritable);
        }
        let who = if channel.is_some() {
            &b"channel"[..]
        } else {
            b"nobody"
        };
        *WRITTEN.lock().unwrap_or_else(PoisonError::into_inner) = [who, args, value].join(&b' ');
        Ok(())
    }
}

struct Lamps;

impl DeviceStates for Lamps {
    const PROVIDER: &'static CStr = c"Scratch";

    fn state(device: &str) -> DeviceState {
        match device {
            "on" => DeviceState::InUse,
            "off" => DeviceState::NotInUse,
            "panic" => panic!("a provider's panic"),
            _ => DeviceState::Invalid,
        }
    }
}

/// Does on a channel what its argument says, and sets `TALKED` to what came of it.
struct Talk;

impl Talk {
    fn talk(channel: &Channel<'_>, words: &[&str]) -> Result<String, HungUp> {
        let number = |text: &str| text.parse().unwrap_or(0);
        let time = |text: &str| Duration::from_millis(number(text));
        let said = |played: Played| format!("{played:?}");
        Ok(match words {
            ["panic"] => panic!("an application's panic"),
            ["answer"] => {
                channel.answer()?;
                format!("{}", channel.is_up())
            }
            ["play", sounds @ .., breaks] => {
                let mut heard = Vec::new();
                for sound in sounds {
                    heard.push(said(channel.play(sound, "ru", breaks)?));
                }
                heard.join(" ")
            }
            ["number", value] => said(channel.say_number(u32::MAX - number(value) as u32, "en", "1")?),
            ["digits", digits] => said(channel.say_digits(digits, "en", "")?),
            ["date", seconds] => said(channel.say_date(number(seconds), "en", "")?),
            ["digit", within] => format!("{:?}", channel.digit(time(within))?),
            ["record", rate, longest, silence, ends] => {
                let limits = RecordLimits {
                    rate: number(rate) as u32,
                    longest: time(longest),
                    silence: Some(time(silence)).filter(|silence| !silence.is_zero()),
                    threshold: 256,
                    ends,
                };
                let recorded = channel.record(&limits)?;
                let why = match recorded.why {
                    Ended::Digit(digit) => char::from(digit).to_string(),
                    other => format!("{other:?}"),
                };
                let loud: Vec<i16> = recorded.samples.iter().copied().filter(|s| *s != 0).collect();
                let levels: std::collections::BTreeSet<u16> =
                    loud.iter().map(|sample| sample.unsigned_abs()).collect();
                format!("{why} {} {} {levels:?}", recorded.samples.len(), loud.len())
            }
            ["facts"] => format!(
                "{} {} {} {} {}",
                channel.language(),
                voice::default_language(),
                channel.is_wideband(),
                channel.has_sound("beep", "ru"),
                channel.has_sound("missing", "ru")
            ),
            _ => String::from_utf8_lossy(words.join(" ").as_bytes()).into_owned(),
        })
    }
}

impl Application for Talk {
    const NAME: &'static CStr = c"ScratchTalk";

    fn run(channel: &Channel<'_>, args: &[u8]) -> Flow {
        let args = String::from_utf8_lossy(args);
        let words: Vec<&str> = args.split(' ').collect();
        let (talked, flow) = match Self::talk(channel, &words) {
            Ok(text) => (text, Flow::Continue),
            Err(HungUp) => ("HungUp".to_owned(), Flow::HangUp),
        };
        let talked = std::ffi::CString::new(talked).unwrap_or_default();
        channel.set_variable(c"TALKED", &talked);
        flow
    }
}

/// Logs each record as a line.
struct Told;

impl Subscriber for Told {
    const APPLICATIONS: &'static [&'static CStr] = &[c"Queue", c"another-application"];

    fn passed(_cost: Duration) {
        log::info!(target: "res_planfix::stasis", "passed over");
    }

    fn record(record: Record<'_>) {
        log::info!(target: "res_planfix::stasis", "{}", line(record));
        if let Event::VariableSet { name: b"panic", .. } = record.event {
            panic!("a subscriber's panic");
        }
    }
}

fn word(bytes: &[u8]) -> Cow<'_, str> {
    match bytes {
        b"" => Cow::Borrowed("-"),
        bytes => String::from_utf8_lossy(bytes),
    }
}

fn snapshot(of: Snapshot<'_>) -> String {
    let texts = [
        of.uniqueid(),
        of.linkedid(),
        of.name(),
        of.technology(),
        of.accountcode(),
        of.caller_number(),
        of.caller_name(),
        of.ani(),
        of.rdnis(),
        of.dialed(),
        of.connected_number(),
        of.connected_name(),
        of.context(),
        of.exten(),
        of.application(),
        of.application_data(),
        of.bridge(),
    ];
    format!(
        "[{} {:?} restricted={} cause={} created={}]",
        texts.map(word).join(" "),
        of.state(),
        of.caller_restricted(),
        of.hangup_cause(),
        of.created()
    )
}

fn bridge(of: Bridge<'_>) -> String {
    format!(
        "({} {} {} {} channels={})",
        word(of.uniqueid()),
        word(of.technology()),
        word(of.creator()),
        word(of.name()),
        of.channels()
    )
}

fn name(of: Option<Snapshot<'_>>) -> Cow<'_, str> {
    word(of.map_or(b"", Snapshot::name))
}

fn id(of: Option<Bridge<'_>>) -> Cow<'_, str> {
    word(of.map_or(b"", Bridge::uniqueid))
}

fn line(Record { time, event, .. }: Record<'_>) -> String {
    let told = match event {
        Event::Running {
            channel,
            bridge: within,
        } => {
            format!(
                "Running {} {}",
                snapshot(channel),
                within.map_or_else(|| "-".to_owned(), bridge)
            )
        }
        Event::CaughtUp => "CaughtUp".to_owned(),
        Event::ChannelCreated { channel } => format!("ChannelCreated {}", snapshot(channel)),
        Event::ChannelChanged { channel, changes } => {
            let parts = [
                ("state", Changes::STATE),
                ("identity", Changes::IDENTITY),
                ("caller", Changes::CALLER),
                ("connected", Changes::CONNECTED),
                ("extension", Changes::EXTENSION),
                ("application", Changes::APPLICATION),
            ];
            let changed: Vec<&str> = parts
                .iter()
                .filter_map(|(name, part)| changes.holds(*part).then_some(*name))
                .collect();
            format!("ChannelChanged {} {}", changed.join(","), snapshot(channel))
        }
        Event::ChannelGone { channel } => format!("ChannelGone {}", snapshot(channel)),
        Event::Recording { channel } => format!("Recording {}", snapshot(channel)),
        Event::BridgeEntered {
            channel,
            bridge: entered,
            swapped,
        } => {
            let swapped = word(swapped.unwrap_or_default());
            format!(
                "BridgeEntered {} {} swapped={swapped}",
                bridge(entered),
                snapshot(channel)
            )
        }
        Event::BridgeLeft {
            channel,
            bridge: left,
        } => {
            format!("BridgeLeft {} {}", bridge(left), snapshot(channel))
        }
        Event::Dial {
            phase,
            status,
            caller,
            peer,
            dial_string,
            forward,
            forwarded,
        } => format!(
            "Dial {phase:?} {} {} -> {} {} {} {}",
            word(status),
            name(caller),
            word(peer.name()),
            word(dial_string),
            word(forward),
            name(forwarded)
        ),
        Event::BlindTransfer {
            outcome,
            external,
            transferer,
            transferee,
            bridge,
            context,
            exten,
            replacing,
        } => format!(
            "BlindTransfer {outcome:?} external={external} {} {} {} {}@{} {}",
            word(transferer.name()),
            name(transferee),
            id(bridge),
            word(exten),
            word(context),
            name(replacing)
        ),
        Event::AttendedTransfer {
            outcome,
            external,
            transferer,
            consulting,
            transferee,
            target,
            bridge,
            consulting_bridge,
            ending,
            destination,
        } => format!(
            "AttendedTransfer {outcome:?} external={external} {} {} {} {} {} {} {ending:?} {}",
            word(transferer.name()),
            word(consulting.name()),
            name(transferee),
            name(target),
            id(bridge),
            id(consulting_bridge),
            word(destination)
        ),
        Event::Pickup { channel, target } => {
            format!("Pickup {} {}", word(channel.name()), word(target.name()))
        }
        Event::Hold { channel, music_class } => {
            format!("Hold {} {}", word(channel.name()), word(music_class))
        }
        Event::Unhold { channel } => format!("Unhold {}", word(channel.name())),
        Event::Parking {
            what,
            parkee,
            retriever,
            parker_dial_string,
            lot,
            space,
        } => format!(
            "Parking {what:?} {} {} {} {} {space}",
            word(parkee.name()),
            name(retriever),
            word(parker_dial_string),
            word(lot)
        ),
        Event::VariableSet {
            channel,
            name: variable,
            value,
        } => {
            format!(
                "VariableSet {} {}={}",
                word(channel.name()),
                word(variable),
                word(value)
            )
        }
    };
    format!("{time} {told}")
}

struct Show;

impl Command for Show {
    const COMMAND: &'static CStr = c"scratch show";
    const SUMMARY: &'static CStr = c"Show what the scratch module was given";
    const USAGE: &'static CStr = c"Usage: scratch show [status|panic|fail] ...\n";

    fn complete(at: &Completion<'_>) -> Vec<String> {
        match at.position {
            0 => ["status", "statistics", "panic", "fail"]
                .map(str::to_owned)
                .to_vec(),
            1 if at.args == ["panic"] => panic!("a completion's panic"),
            _ => Vec::new(),
        }
    }

    fn run(args: &[&str], out: &mut Out) -> Outcome {
        match args {
            [] => Outcome::ShowUsage,
            ["panic"] => panic!("a command's panic"),
            ["fail"] => Outcome::Failure,
            ["lamp", device] => {
                device_state::changed(c"Scratch", device, DeviceState::InUse);
                Outcome::Success
            }
            ["database"] => {
                assert!(database::put("op_alert", "101", "true") && database::put("op_alert", "a/b", ""));
                assert!(database::put("opXalert", "103", "true"));
                out.line(&format!("{:?}", database::family("op_alert")));
                out.line(&format!("{:?}", database::get("op_alert", "101")));
                assert!(database::delete("op_alert", "101") && !database::delete("op_alert", "101"));
                assert!(!database::put("op_alert", "a\0b", "") && database::family("\0").is_empty());
                out.line(&format!("{:?}", database::get("op_alert", "101")));
                Outcome::Success
            }
            ["call", technology, resource] => {
                let call = Originate {
                    technology,
                    resource,
                    timeout: Duration::from_secs(20),
                    context: "from-internal",
                    exten: "79001234567",
                    caller: "101",
                    variables: &[
                        ("__PLAIN", "one".to_owned()),
                        ("PJSIP_HEADER(add,Alert-Info)", "two".to_owned()),
                    ],
                };
                let called = call.start();
                out.line(if called.is_ok() { "Called" } else { "Unreachable" });
                Outcome::Success
            }
            ["running"] => {
                running_channels(|record| out.line(&line(record)));
                Outcome::Success
            }
            ["status", behind @ ..] => {
                let running = module::running();
                out.line(&format!("Build {}, panics {}", module::BUILD_ID, guard::panics()));
                out.line(&format!(
                    "Asterisk {:?} for {}",
                    running.major,
                    module::COMPILED_MAJOR
                ));
                let booted = module::fully_booted();
                let _ = writeln!(out, "Booted {booted}, shutting down {}", module::shutting_down());
                out.line(&format!("Started {}", module::started()));
                let _ = write!(out, "Behind {behind:?} %s%n \x1b[31m");
                Outcome::Success
            }
            _ => Outcome::ShowUsage,
        }
    }
}

struct List;

impl Action for List {
    const NAME: &'static CStr = c"ScratchList";
    const AUTHORITY: Authority = Authority::SYSTEM;

    fn run(request: &Request<'_>, reply: Reply<'_>) {
        let value = request.header(c"Value").map(Cow::into_owned).unwrap_or_default();
        match request.header(c"How").as_deref() {
            Some("ack") => reply.ack(&value),
            Some("error") => reply.error(&value),
            Some("fields") => {
                reply.fields("Fields", &[("Value", &value), ("Forged", "a\r\nResponse: Error")]);
            }
            Some("silent") => drop(reply),
            Some("panic") => panic!("an action's panic"),
            Some("panic in list") => {
                let mut list = reply.list("List", "ScratchListComplete");
                list.event("ScratchEntry", &[("Number", "1")]);
                panic!("an action's panic in its list");
            }
            _ => {
                let mut list = reply.list("List", "ScratchListComplete");
                list.event("ScratchEntry", &[("Number", "1"), ("Value", &value)]);
                list.event("ScratchEntry", &[("Number", "2")]);
            }
        }
    }
}
