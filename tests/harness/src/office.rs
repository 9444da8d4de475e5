//! A small company on a [`Stage`]: phones, a provider, groups, queues, a menu, a parking lot and a room, configured as an
//! administrator would, without a word of the CRM. What happens in it is told by the module alone (`mode = auto`).
//!
//! Invariants: between two flows no call is left, and no phone remembers what it was told to do; the configuration is the
//! same on every version, and lies in tests/harness/office.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::port::TRUNK;
use crate::{Ami, Caller, Cel, Line, Message, Phone, Stage, Version, free_udp_port, until};

/// The client of every flow that needs but one.
pub const CLIENT: &str = "79101234567";

/// Asterisk knows the second provider by its address.
const RESERVE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
/// The phones that are plugged in: extensions.conf says what each is for.
const PHONES: [&str; 7] = ["101", "102", "103", "104", "105", "107", "108"];
/// Long for a loaded machine: an end takes milliseconds.
const BOUND: Duration = Duration::from_secs(30);

/// What extensions.conf uses beyond what calls need anyway.
const MODULES: &[&str] = &[
    "app_bridgewait.so",
    "app_channelredirect.so",
    "app_confbridge.so",
    "app_directed_pickup.so",
    "app_followme.so",
    "app_minivm.so",
    "app_queue.so",
    "bridge_holding.so",
    "res_parking.so",
];

const FILES: &[(&str, &str)] = &[
    ("confbridge.conf", include_str!("../office/confbridge.conf")),
    ("features.conf", include_str!("../office/features.conf")),
    ("followme.conf", include_str!("../office/followme.conf")),
    ("minivm.conf", include_str!("../office/minivm.conf")),
    ("queues.conf", include_str!("../office/queues.conf")),
    ("res_parking.conf", include_str!("../office/res_parking.conf")),
];

/// A company at work.
pub struct Office {
    /// Its Asterisk and the CRM.
    pub stage: Stage,
    phones: BTreeMap<&'static str, Phone>,
    trunk: Phone,
    reserve: Phone,
    ami: Mutex<Ami>,
}

impl Office {
    /// Opens one: the module is loaded and follows every call.
    ///
    /// # Errors
    /// As [`crate::Plan::start`].
    ///
    /// # Panics
    /// When the module is not built.
    pub fn open(version: Version) -> Result<Self> {
        let plan = Stage::plan(version).auto().asterisk(|builder| {
            let builder = PHONES
                .iter()
                .fold(Cel::logged(version, builder), |builder, number| {
                    builder.phone(number)
                });
            let builder = MODULES.iter().fold(builder, |builder, name| builder.load(name));
            FILES
                .iter()
                .fold(builder, |builder, (name, text)| builder.file(name, text))
                .extensions(include_str!("../office/extensions.conf"))
        });
        let mut stage = plan.prepare()?;
        let asterisk = &stage.asterisk;
        let reserve = SocketAddr::from((RESERVE, free_udp_port()));
        let mut endpoints = include_str!("../office/pjsip.conf")
            .replace("{asterisk}", &asterisk.sip().to_string())
            .replace("{trunk}", &asterisk.trunk().to_string())
            .replace("{trunk address}", &TRUNK.to_string())
            .replace("{reserve}", &reserve.to_string())
            .replace("{reserve address}", &RESERVE.to_string());
        for number in PHONES {
            let address = asterisk.phone(number).to_string();
            endpoints = endpoints.replace(&format!("{{{number}}}"), &address);
        }
        ensure!(
            !endpoints.contains("@{"),
            "pjsip.conf has a word that nobody fills in"
        );
        asterisk.configure("pjsip.conf", &endpoints)?;
        let server = asterisk.sip();
        let phones = PHONES
            .into_iter()
            .map(|number| Ok((number, Phone::open(number, asterisk.phone(number), server)?)))
            .collect::<Result<_>>()?;
        let trunk = Phone::open(CLIENT, asterisk.trunk(), server)?;
        let reserve = Phone::open("reserve", reserve, server)?;
        stage.asterisk.start()?;
        stage.at_work()?;
        let mut ami = stage.asterisk.ami()?;
        // Nobody reads them here, and they would fill the connection.
        ami.action(&[("Action", "Events"), ("EventMask", "off")])?;
        Ok(Self {
            stage,
            phones,
            trunk,
            reserve,
            ami: Mutex::new(ami),
        })
    }

    /// Its Asterisk's version.
    #[must_use]
    pub fn version(&self) -> Version {
        self.stage.asterisk.version()
    }

    /// An employee's phone.
    ///
    /// # Panics
    /// When no such phone is plugged in.
    #[must_use]
    pub fn phone(&self, number: &str) -> &Phone {
        let Some(phone) = self.phones.get(number) else {
            panic!("no phone {number} is plugged in")
        };
        phone
    }

    /// The provider's switch, with all clients behind it.
    #[must_use]
    pub fn trunk(&self) -> &Phone {
        &self.trunk
    }

    /// The second provider's switch.
    #[must_use]
    pub fn reserve(&self) -> &Phone {
        &self.reserve
    }

    /// The client calls the company's number that leads to this extension.
    ///
    /// # Errors
    /// As [`Phone::call_as`].
    pub fn client_calls(&self, extension: &str) -> Result<Line> {
        self.caller_calls(&Caller::number(CLIENT), extension)
    }

    /// Somebody else calls the company's number that leads to this extension.
    ///
    /// # Errors
    /// As [`Phone::call_as`].
    pub fn caller_calls(&self, caller: &Caller, extension: &str) -> Result<Line> {
        self.trunk.call_as(caller, &did(extension))
    }

    /// The session of the manager interface that nobody reads events of.
    pub fn ami(&self) -> MutexGuard<'_, Ami> {
        self.ami.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The names of all channels.
    ///
    /// # Errors
    /// As [`Ami::action`].
    pub fn channels(&self) -> Result<Vec<String>> {
        let reply = self.ami().action(&[("Action", "CoreShowChannels")])?;
        let names = reply.events.iter().filter_map(|event| event.get("Channel"));
        Ok(names.map(str::to_owned).collect())
    }

    /// The name of the one channel of that endpoint (`101`, `trunk`).
    ///
    /// # Errors
    /// When it has none within the bound.
    pub fn channel_of(&self, endpoint: &str) -> Result<String> {
        let beginning = format!("PJSIP/{endpoint}-");
        until(&format!("a channel of {endpoint}"), BOUND, || {
            let channels = self.channels()?;
            Ok(channels.into_iter().find(|name| name.starts_with(&beginning)))
        })
    }

    /// Waits until the phones of all these endpoints hear each other, be it through Local channels.
    ///
    /// # Errors
    /// When they do not within the bound.
    pub fn together(&self, endpoints: &[&str]) -> Result<()> {
        until(&format!("a conversation of {endpoints:?}"), BOUND, || {
            let reply = self.ami().action(&[("Action", "CoreShowChannels")])?;
            let rooms = rooms(&reply.events);
            let holds = |room: &BTreeSet<String>, endpoint: &&str| {
                let beginning = format!("PJSIP/{endpoint}-");
                room.iter().any(|name| name.starts_with(&beginning))
            };
            let found = rooms
                .iter()
                .any(|room| endpoints.iter().all(|endpoint| holds(room, endpoint)));
            Ok(found.then_some(()))
        })
        .with_context(|| {
            let channels = self.ami().command("core show channels concise");
            channels.unwrap_or_else(|error| format!("{error:#}"))
        })
    }

    /// Waits until so many calls are parked.
    ///
    /// # Errors
    /// When they are more or fewer.
    pub fn parked(&self, count: usize) -> Result<()> {
        until(&format!("{count} parked calls"), BOUND, || {
            let reply = self.ami().action(&[("Action", "ParkedCalls")])?;
            let calls = reply.events.iter().filter(|event| event.is_event("ParkedCall"));
            Ok((calls.count() == count).then_some(()))
        })
    }

    /// Waits until this endpoint is in no call any more. A phone that has said goodbye is not out of it at once: Asterisk first ends
    /// what it was about to tell it, such as the number of the parking space.
    ///
    /// # Errors
    /// When it stays in one.
    pub fn left(&self, endpoint: &str) -> Result<()> {
        let prefix = format!("PJSIP/{endpoint}-");
        until(&format!("no channel of {endpoint}"), BOUND, || {
            let channels = self.channels()?;
            Ok((!channels.iter().any(|name| name.starts_with(&prefix))).then_some(()))
        })
    }

    /// Waits until Asterisk has optimised every Local channel away.
    ///
    /// # Errors
    /// When one stays.
    pub fn loses_its_local_channels(&self) -> Result<()> {
        until("a call without its Local channel", BOUND, || {
            let channels = self.channels()?;
            Ok((!channels.iter().any(|name| name.starts_with("Local/"))).then_some(()))
        })
    }

    /// Waits until the last call is over.
    ///
    /// # Errors
    /// When a channel stays.
    pub fn empties(&self) -> Result<()> {
        until("an Asterisk without channels", BOUND, || {
            Ok(self.channels()?.is_empty().then_some(()))
        })
        .with_context(|| format!("there are {:?}", self.channels()))
    }

    /// Ends everything that goes on, and lets all phones forget it.
    ///
    /// # Errors
    /// As [`Office::empties`].
    pub fn tidy(&self) -> Result<()> {
        let all = || self.phones.values().chain([&self.trunk, &self.reserve]);
        // A phone forgets its calls only when Asterisk has heard of their end.
        all().try_for_each(Phone::hangup_all)?;
        if self.empties().is_err() {
            self.ami()
                .action(&[("Action", "Hangup"), ("Channel", "/.*/"), ("Cause", "16")])?;
            self.empties()?;
        }
        all().try_for_each(Phone::reset)
    }

    /// Every message of every phone since the last [`Office::tidy`], in the order of time.
    #[must_use]
    pub fn transcript(&self) -> String {
        let phones = self.phones.iter().map(|(&name, phone)| (name, phone));
        let switches = [("trunk", &self.trunk), ("reserve", &self.reserve)];
        let mut lines: Vec<(Instant, String)> = phones
            .chain(switches)
            .flat_map(|(name, phone)| {
                let lines = phone.transcript().into_iter();
                lines.map(move |(at, line)| (at, format!("{name:>8} {line}")))
            })
            .collect();
        lines.sort_by_key(|(at, _)| *at);
        let Some((first, _)) = lines.first() else {
            return String::new();
        };
        let first = *first;
        lines
            .iter()
            .map(|(at, line)| format!("{:>6} ms {line}\n", (*at - first).as_millis()))
            .collect()
    }
}

/// Which channels hear each other, by the events of `CoreShowChannels`: those in one bridge, and what is behind a Local
/// channel's other half.
fn rooms(channels: &[Message]) -> Vec<BTreeSet<String>> {
    let mut rooms: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for channel in channels {
        let [name, bridge, state] =
            ["Channel", "BridgeId", "ChannelStateDesc"].map(|header| channel.get(header).unwrap_or_default());
        if !bridge.is_empty() && state == "Up" {
            rooms.entry(bridge).or_default().insert(name.to_owned());
        }
    }
    let mut rooms: Vec<BTreeSet<String>> = rooms.into_values().collect();
    let halves: Vec<String> = rooms
        .iter()
        .flatten()
        .filter_map(|name| name.strip_suffix(";1").map(str::to_owned))
        .collect();
    for local in halves {
        let [one, other] = ["1", "2"].map(|half| format!("{local};{half}"));
        let (joined, mut rest): (Vec<_>, Vec<_>) = rooms
            .into_iter()
            .partition(|room| room.contains(&one) || room.contains(&other));
        rest.push(joined.into_iter().flatten().collect());
        rooms = rest;
    }
    rooms
}

/// The company's number that leads to this extension.
#[must_use]
pub fn did(extension: &str) -> String {
    format!("74950000{extension}")
}
