//! From what happens to channels to what the CRM is told.
//!
//! Invariants:
//! - every card that is opened is closed exactly once, whatever comes in whatever order;
//! - what is told follows from who is joined with whom *now*, not from the way there: transfers, pickups, parking and
//!   Local channels need no rules of their own;
//! - nothing is kept of a call once its last channel is gone.
//!
//! The rules for what the protocol leaves open stand in ARCHITECTURE.md.

pub mod call;
pub mod party;
pub mod story;
pub mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Arguments;
use std::sync::Arc;

use self::call::{Call, Card, Progress};
use self::party::{Party, dialed_number, internal, targets};
use self::world::{Called, Id, Line, Reach, World, age, is_number};
use super::direction::Direction;
use super::draft::{Draft, Kind};
use super::durations::Micros;
use super::open_card::OpenCard;
use super::phone::ANONYMOUS;
use super::record::{Channel, Phase, Record, Stage, Text, What};
use super::settings::Calls;

/// How long a card stays on the screen of a phone that does not ring, while the client waits for another round.
const LINGER: Micros = 30 * 1_000_000;
/// Where a client leaves a message: nobody will take the call any more.
const VOICEMAIL: [&str; 2] = ["VoiceMail", "MinivmRecord"];
/// Where FreePBX goes to ring an extension, also when it then finds that it need not try (`ext-local` in its core module).
const FREEPBX: [&str; 2] = ["ext-local", "from-did-direct"];

/// Something that comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Requests, all or none of which are to be accepted.
    Tell(Vec<Draft>),
    /// A call has ended, and this is what happened in it.
    Ended {
        /// Its linkedid.
        linkedid: String,
        /// The unique ids of its channels.
        channels: Vec<String>,
        /// When it began: microseconds since 1970.
        began: Micros,
        /// What happened.
        text: String,
    },
}

/// Follows every call.
#[derive(Debug, Default)]
pub struct Tracker {
    settings: Arc<Calls>,
    world: World,
    // Boxed, as all that is many: a node of the map has room for eleven.
    calls: BTreeMap<u64, Box<Call>>,
    next: u64,
    now: Micros,
    following: bool,
    resumed: Vec<OpenCard>,
    output: Vec<Output>,
}

impl Tracker {
    /// One that knows of no channel. `open` are the cards that were left open by the one before.
    #[must_use]
    pub fn new(settings: Arc<Calls>, open: Vec<OpenCard>) -> Self {
        Self {
            settings,
            resumed: open,
            ..Self::default()
        }
    }

    /// Takes new settings over. Calls that are running keep their direction, their phone and whose channels are whose.
    pub fn configure(&mut self, settings: Arc<Calls>) {
        self.settings = settings;
    }

    /// The channel variables whose [`What::Variable`] it wants.
    pub fn variables(settings: &Calls) -> impl Iterator<Item = &str> {
        settings.data.iter().map(|(_, variable)| variable.as_str())
    }

    /// What came out since the last time.
    pub fn take(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.output)
    }

    /// The spool had no room for this: it is owed, and goes before the card's end.
    pub fn refused(&mut self, drafts: &[Draft]) {
        for draft in drafts {
            if let Some(call) = self.calls.values_mut().find(|call| *call.callid == *draft.callid) {
                call.owe(draft);
            }
        }
    }

    /// The calls with clients that are running.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        self.calls.values().map(|call| &**call)
    }

    /// The linkedid of a running call, clients' or not, and what happened in it, by its linkedid or the unique id of one of its
    /// channels.
    #[must_use]
    pub fn explain(&self, id: &str) -> Option<(String, Micros, String)> {
        let (linkedid, group) = self.world.groups().find(|(linkedid, group)| {
            ***linkedid == *id
                || group.seen.iter().any(|seen| **seen == *id)
                || group.callids.iter().any(|callid| **callid == *id)
        })?;
        Some((linkedid.to_string(), group.story.began(), group.story.text()))
    }

    /// The callids under which the CRM was told of this running call.
    #[must_use]
    pub fn callids(&self, linkedid: &str) -> Vec<String> {
        let group = self.world.group(linkedid);
        let callids = group.into_iter().flat_map(|group| &group.callids);
        callids.map(ToString::to_string).collect()
    }

    /// How many channels are known.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.world.len()
    }

    /// Whether nothing is known of any channel or call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.world.is_empty() && self.calls.is_empty() && self.resumed.is_empty()
    }

    /// Time passes: to be called about once a second.
    pub fn tick(&mut self, now: Micros) {
        self.now = now;
        let keys: Vec<u64> = self.calls.keys().copied().collect();
        for key in keys {
            self.with_call(key, |tracker, call, data| {
                let lingering: Vec<Text> = call
                    .cards
                    .iter()
                    .filter(|card| card.progress == Progress::Open && call.direction == Direction::In)
                    .filter(|card| {
                        card.idle_since
                            .is_some_and(|since| now.saturating_sub(since) >= LINGER)
                    })
                    .map(|card| card.ext.clone())
                    .collect();
                for ext in lingering {
                    let told = call.close(&ext, "Cancelled", data, now);
                    tracker.tell(
                        call,
                        told,
                        "the phone has not rung for long, and the client still waits",
                    );
                }
            });
        }
    }

    /// Takes one record.
    pub fn record(&mut self, record: &Record) {
        self.now = record.time;
        let touched = self.apply(&record.what);
        self.settle(&touched);
    }

    // ---- what a record says -----------------------------------------------------------------------------------------

    /// Changes the world, and gives the channels that the record is about.
    fn apply(&mut self, what: &What) -> Vec<Id> {
        match what {
            What::Lost => {
                self.world.doubt();
                self.following = false;
                Vec::new()
            }
            What::CaughtUp => {
                self.catch_up();
                Vec::new()
            }
            What::Running { channel, bridge } => {
                let id = self.learn(channel);
                self.world.found(&id);
                self.note(&id, format_args!("{} is running", channel.name));
                match bridge {
                    Some(bridge) => self.world.enter(&id, bridge),
                    None => self.world.leave(&id),
                }
                vec![id]
            }
            What::Created { channel } => {
                let id = self.learn(channel);
                let party = self.world.line(&id).map(|line| line.party.clone());
                let whose = match party {
                    Some(Party::Employee(ext)) => format!("the phone of {ext}"),
                    Some(Party::Outside) => "a line to the outside".to_owned(),
                    Some(Party::Local) => "half of a Local channel".to_owned(),
                    _ => "neither an employee's phone nor a trunk".to_owned(),
                };
                self.note(
                    &id,
                    format_args!(
                        "{} is made: {whose}; caller '{}', exten '{}'",
                        channel.name, channel.caller, channel.exten
                    ),
                );
                let begins = matches!(channel.stage, Stage::Ring | Stage::Up);
                self.begins(&id, begins);
                vec![id]
            }
            What::Changed { channel } => self.changed(channel),
            What::Gone { channel } => {
                if let Some(id) = self.known(channel) {
                    self.gone(&id);
                }
                Vec::new()
            }
            What::Entered { channel, bridge, .. } => {
                let Some(id) = self.known(channel) else {
                    return Vec::new();
                };
                self.note(
                    &id,
                    format_args!("{} enters a {}", channel.name, bridge.technology),
                );
                self.world.enter(&id, bridge);
                vec![id]
            }
            What::Left { channel, .. } => {
                let Some(id) = self.known(channel) else {
                    return Vec::new();
                };
                self.note(&id, format_args!("{} leaves its bridge", channel.name));
                // Whoever was joined with it must be looked at too, and cannot be found afterwards.
                let mut touched = self.world.joined(std::slice::from_ref(&id), Reach::Talk);
                self.world.leave(&id);
                touched.push(id);
                touched
            }
            What::Dial {
                phase,
                status,
                caller,
                peer,
                dial_string,
                forward,
                forwarded,
            } => {
                let caller = caller.as_ref().and_then(|caller| self.known(caller));
                let Some(peer) = self.known(peer) else {
                    return Vec::new();
                };
                match phase {
                    Phase::Begin => self.dial_begins(caller.as_ref(), &peer, dial_string),
                    Phase::Progress => self.dial_goes_on(caller.as_ref(), &peer, status),
                    Phase::End => self.dial_ends(&peer, status),
                }
                let forwarded = forwarded.as_ref().filter(|_| !forward.is_empty());
                let forwarded = forwarded.and_then(|forwarded| self.known(forwarded));
                if let Some(forwarded) = &forwarded {
                    self.forwards(caller.as_ref(), &peer, forwarded, forward);
                }
                std::iter::once(peer).chain(forwarded).chain(caller).collect()
            }
            What::BlindTransfer {
                success,
                transferer,
                exten,
                ..
            } => {
                let Some(id) = self.known(transferer) else {
                    return Vec::new();
                };
                let how = if *success {
                    "transfers the call"
                } else {
                    "cannot transfer the call"
                };
                self.note(&id, format_args!("{} {how} to '{exten}'", transferer.name));
                vec![id]
            }
            What::AttendedTransfer {
                success,
                transferer,
                consulting,
                transferee,
                ..
            } => {
                let ids = [transferer, consulting].map(|channel| self.known(channel));
                let how = if *success {
                    "joins its calls"
                } else {
                    "cannot join its calls"
                };
                let client = transferee.as_ref().and_then(|transferee| self.known(transferee));
                if let Some(id) = client.as_ref().or(ids[0].as_ref()) {
                    self.note(
                        id,
                        format_args!("{} {how} ({} is the other one)", transferer.name, consulting.name),
                    );
                }
                // The target may still ring. Then it rings for who is transferred from now on, who takes the transferer's place
                // in Dial() (main/bridge.c, `ast_bridge_transfer_attended`).
                if let Some(client) = client.as_ref().filter(|_| *success) {
                    self.world.hand_over(&consulting.uniqueid, client);
                    let key = ids[1].as_ref().and_then(|other| self.world.line(other)?.root_of);
                    let is_employee = self.world.line(client).is_some_and(|line| line.ext().is_some());
                    if let Some(key) = key.filter(|_| is_employee) {
                        self.roots(key, client);
                    }
                }
                ids.into_iter().flatten().chain(client).collect()
            }
            What::Pickup { channel, target } => {
                let ids = [channel, target].map(|channel| self.known(channel));
                if let Some(id) = ids.iter().flatten().next() {
                    self.note(id, format_args!("{} picks the call up", channel.name));
                }
                ids.into_iter().flatten().collect()
            }
            What::Hold { channel } | What::Unhold { channel } => {
                let Some(id) = self.known(channel) else {
                    return Vec::new();
                };
                let how = if matches!(what, What::Hold { .. }) {
                    "holds"
                } else {
                    "takes back from hold"
                };
                self.note(&id, format_args!("{} {how} the other side", channel.name));
                vec![id]
            }
            What::Parking {
                what,
                parkee,
                retriever,
            } => {
                let Some(id) = self.known(parkee) else {
                    return Vec::new();
                };
                self.note(&id, format_args!("{} in a parking lot: {what}", parkee.name));
                let retriever = retriever.as_ref().and_then(|retriever| self.known(retriever));
                std::iter::once(id).chain(retriever).collect()
            }
            What::Variable {
                uniqueid,
                name,
                value,
                ..
            } => {
                if let Some(group) = self.world.line(uniqueid).map(|line| Arc::clone(&line.group)) {
                    let variables = &mut self.world.group_mut(&group).variables;
                    match variables.iter_mut().find(|(known, _)| known == name) {
                        Some((_, known)) => known.clone_from(value),
                        None => variables.push((name.clone(), value.clone())),
                    }
                }
                Vec::new()
            }
        }
    }

    fn learn(&mut self, channel: &Channel) -> Id {
        self.world.update(channel, &self.settings)
    }

    /// A channel is made known by its creation or by a look at all. Whatever else names one that is not known comes late: a
    /// transfer is published when its channels may be gone, and nobody would tell of their end once more.
    fn known(&mut self, channel: &Channel) -> Option<Id> {
        self.world.line(&channel.uniqueid)?;
        Some(self.learn(channel))
    }

    fn changed(&mut self, channel: &Channel) -> Vec<Id> {
        let before = self.world.line(&channel.uniqueid).map(|line| {
            (
                line.channel.stage,
                Arc::clone(&line.group),
                line.channel.exten.clone(),
            )
        });
        let Some(id) = self.known(channel) else {
            return Vec::new();
        };
        if let Some((stage, linkedid, exten)) = before {
            if stage != channel.stage {
                let now = match channel.stage {
                    Stage::Ring => "calls",
                    Stage::Ringing => "rings",
                    Stage::Up => "is answered",
                    Stage::Down | Stage::Other => "has another state",
                };
                self.note(&id, format_args!("{} {now}", channel.name));
            }
            if *linkedid != *channel.linkedid {
                self.note(
                    &id,
                    format_args!(
                        "{} belongs to call {} now, not to {linkedid}",
                        channel.name, channel.linkedid
                    ),
                );
            }
            if exten != channel.exten && is_number(&channel.exten) {
                self.note(
                    &id,
                    format_args!("{} is at {}@{}", channel.name, channel.exten, channel.context),
                );
            }
        }
        self.begins(&id, channel.stage == Stage::Ring);
        self.tries(&id, channel);
        if VOICEMAIL.contains(&&*channel.application)
            && let Some(key) = self.world.line(&id).and_then(|line| line.client_of)
        {
            self.note(&id, format_args!("{} is asked for a message", channel.name));
            self.with_call(key, |tracker, call, data| {
                if call.direction == Direction::In && !call.answered && !call.concluded {
                    tracker.miss(call, data, "the client reached voicemail");
                    call.concluded = true;
                }
            });
        }
        vec![id]
    }

    /// What the dialplan tries, for a call that reaches nobody's phone: it would be told nowhere. The dialplan's place does not
    /// serve otherwise than in FreePBX's contexts for extensions: groups and menus have numbers like employees'.
    fn tries(&mut self, id: &Id, channel: &Channel) {
        let tried = if &*channel.application == "Dial" {
            let Some(line) = self.world.line_mut(id) else {
                return;
            };
            line.ran_dial = true;
            targets(&channel.data, &self.settings).next()
        } else if FREEPBX.contains(&&*channel.context) {
            internal(&self.settings.internal, [&*channel.exten])
        } else {
            None
        };
        if let Some(tried) = tried {
            self.tried(id, &tried);
        }
    }

    fn tried(&mut self, id: &Id, ext: &Text) {
        let origin = self.world.joined(std::slice::from_ref(id), Reach::Origin);
        for key in self.calls_of(&origin) {
            if let Some(call) = self
                .calls
                .get_mut(&key)
                .filter(|call| call.direction == Direction::In)
            {
                call.tried = Some(ext.clone());
            }
        }
    }

    fn gone(&mut self, id: &Id) {
        let touched = self.around(id);
        self.world.leave(id);
        self.world.unlink(id);
        let Some(line) = self.world.line(id) else { return };
        let (name, cause, client_of) = (line.channel.name.clone(), line.channel.cause, line.client_of);
        self.note(id, format_args!("{name} ends, cause {cause}"));
        // Dial() has few words, and the cause stands in the last snapshot only (apps/app_dial.c,
        // `hangupcause_to_dial_status`): a refusal by the provider ends as NOANSWER there.
        if let Some(call) = client_of.and_then(|key| self.calls.get_mut(&key)) {
            let told = outcome("", cause);
            let says_more = match call.outcome {
                "NoAnswer" => cause != 0,
                "NotAvailable" => told == "NotAllowed",
                _ => false,
            };
            if says_more {
                call.outcome = told;
            }
        }
        self.was_not_let_out(id);
        for key in &touched {
            if let Some(call) = self.calls.get_mut(key) {
                call.clients.retain(|client| client != id);
                if call.root.as_ref() == Some(id) {
                    call.root = None;
                }
                for card in &mut call.cards {
                    card.lines.retain(|line| line != id);
                }
            }
        }
        self.settle_calls(&touched);
        if let Some((linkedid, group)) = self.world.remove(id) {
            self.output.push(Output::Ended {
                linkedid: group.callids.first().unwrap_or(&linkedid).to_string(),
                channels: group.seen.iter().map(ToString::to_string).collect(),
                began: group.story.began(),
                text: group.story.text(),
            });
        }
    }

    /// An employee dialled an outside number, and the dialplan called nobody: the CRM is told that it was not let through. One
    /// whose channel was answered heard something, so it was a service and no refusal.
    fn was_not_let_out(&mut self, id: &Id) {
        let Some(line) = self.world.line(id) else { return };
        let Party::Employee(ext) = line.party.clone() else {
            return;
        };
        let number = &line.first_exten;
        if line.has_dialed
            || line.was_bridged
            || line.was_up
            || line.was_called()
            || line.root_of.is_some()
            || !self.following
            || !self
                .settings
                .numbering
                .is_outside(number, &self.settings.internal)
        {
            return;
        }
        let (phone, ran_dial) = (self.settings.numbering.crm_form(number), line.ran_dial);
        let mut call = self.new_call(id, Direction::Out, phone.into(), Text::default());
        let data = self.data(&line_group(&self.world, id));
        let data: Vec<(&str, &str)> = data.iter().map(|(name, value)| (&**name, &**value)).collect();
        let (status, why) = if ran_dial {
            ("NotAvailable", "the trunk could not be called")
        } else {
            ("NotAllowed", "the dialplan called nobody")
        };
        let mut told: Vec<Draft> = call.open(&ext, self.now).into_iter().collect();
        told.extend(call.close(&ext, status, &data, self.now));
        self.tell(&call, told, why);
    }

    // ---- dialling ---------------------------------------------------------------------------------------------------

    fn dial_begins(&mut self, caller: Option<&Id>, peer: &Id, dial_string: &str) {
        self.world.dial(caller, peer);
        let settings = Arc::clone(&self.settings);
        let Some(line) = self.world.line_mut(peer) else {
            return;
        };
        line.dial_string = dial_string.into();
        // Only now does a called channel have its number: app_dial sets it between making the channel and calling it.
        line.party = Party::of(&line.channel, &settings);
        let name = line.channel.name.clone();
        self.note(peer, format_args!("{name} is called by '{dial_string}'"));
        if self
            .world
            .line(peer)
            .is_some_and(|line| line.is_outside() && line.client_of.is_none())
        {
            self.calls_out(caller, peer);
        }
    }

    /// An outside channel is called: for an inbound call it stands for an employee or for nobody, else an employee calls a client.
    fn calls_out(&mut self, caller: Option<&Id>, peer: &Id) {
        let origin = caller.map_or_else(Vec::new, |caller| {
            self.world.joined(std::slice::from_ref(caller), Reach::Origin)
        });
        let tries = |id: &&Id| {
            let call = self
                .world
                .line(id)
                .and_then(|line| self.calls.get(&line.root_of?));
            call.is_some_and(|call| !call.answered)
        };
        if let Some(root) = origin.iter().find(tries).cloned() {
            self.begin_out(Some(root), peer);
            return;
        }
        let has_client = origin
            .iter()
            .any(|id| self.world.line(id).is_some_and(|line| line.client_of.is_some()));
        let began_internally = origin.iter().any(|id| {
            self.world.line(id).is_some_and(|line| {
                matches!(line.party, Party::Employee(_))
                    && matches!(line.called, Called::No | Called::Unknown)
                    && self.settings.internal.matches(line.first_exten.as_bytes())
            })
        });
        // On the way to an employee who forwards: whoever called him, it is for him. What he himself calls, once he has answered
        // that way, is another thing.
        let lines = || {
            std::iter::once(peer)
                .chain(&origin)
                .filter_map(|id| self.world.line(id))
        };
        let forwarded = lines()
            .any(|line| line.stands_for.is_some() && line.is_called() && line.called != Called::Answered);
        if has_client || forwarded || began_internally {
            let ext = lines()
                .next()
                .and_then(|line| line.stands_for.clone())
                .or_else(|| self.forwarder(&origin));
            if let Some(ext) = &ext {
                self.tried(peer, ext);
            }
            let whom = ext.as_deref().unwrap_or("nobody");
            let name = self
                .world
                .line(peer)
                .map(|line| line.channel.name.clone())
                .unwrap_or_default();
            self.note(peer, format_args!("{name} stands for {whom} in this call"));
            if let Some(line) = self.world.line_mut(peer) {
                line.stands_for = ext;
            }
            return;
        }
        let root = origin
            .iter()
            .find(|id| self.world.line(id).is_some_and(|line| line.ext().is_some()))
            .cloned();
        self.begin_out(root, peer);
    }

    fn begin_out(&mut self, root: Option<Id>, peer: &Id) -> u64 {
        let known = root.as_ref().and_then(|root| self.world.line(root)?.root_of);
        if let Some(key) = known
            && let Some(call) = self.calls.get_mut(&key).filter(|call| !call.answered)
        {
            call.clients.push(Arc::clone(peer));
            call.outcome = "NoAnswer";
            if let Some(line) = self.world.line_mut(peer) {
                line.client_of = Some(key);
            }
            self.note(peer, format_args!("one more try for the same client"));
            return key;
        }
        let phone = self.outbound_phone(root.as_ref(), peer);
        let connected = self.world.line(peer).map(|line| line.channel.connected.clone());
        let used = connected
            .filter(|number| is_number(number) && !self.settings.internal.matches(number.as_bytes()));
        let diversion = used
            .map(|number| self.company_number(&number))
            .unwrap_or_default();
        let call = self.new_call(peer, Direction::Out, phone, diversion);
        let key = self.add_call(call, peer);
        let Some(root) = root else {
            self.note(peer, format_args!("outbound call, the employee is not known yet"));
            return key;
        };
        self.roots(key, &root);
        let ext = self.world.line(&root).and_then(Line::ext).cloned();
        self.with_call(key, |tracker, call, _| {
            if let Some(ext) = ext.filter(|_| tracker.following) {
                let told = call.open(&ext, tracker.now);
                tracker.tell(call, told, "an employee's phone calls an outside number");
            }
        });
        key
    }

    /// The outbound call is dialled by this channel from now on.
    fn roots(&mut self, key: u64, root: &Id) {
        let Some(line) = self.world.line_mut(root) else {
            return;
        };
        let before = line
            .root_of
            .replace(key)
            .and_then(|before| self.calls.get_mut(&before));
        if let Some(before) = before {
            before.root = None;
        }
        if let Some(call) = self.calls.get_mut(&key) {
            call.root = Some(Arc::clone(root));
        }
    }

    /// The number that the employee means: what was sent to the trunk, or what he dialled, whichever has no prefix for a trunk.
    fn outbound_phone(&self, root: Option<&Id>, peer: &Id) -> Text {
        let numbering = &self.settings.numbering;
        let peer = self.world.line(peer);
        let sent = peer
            .and_then(|line| dialed_number(&line.dial_string))
            .map(|number| numbering.crm_form(number));
        let root = root.and_then(|root| self.world.line(root));
        let dialed = root
            .map(|line| &*line.channel.exten)
            .into_iter()
            .chain(root.map(|line| &*line.first_exten))
            .chain(peer.map(|line| &*line.channel.caller))
            .find(|number| numbering.is_outside(number, &self.settings.internal))
            .map(|number| numbering.crm_form(number));
        let long = |number: &str| number.len() >= 7;
        match (sent, dialed) {
            (Some(sent), Some(dialed)) if sent.ends_with(&*dialed) && long(&dialed) => dialed.into(),
            (Some(sent), _) => sent.into(),
            (None, Some(dialed)) => dialed.into(),
            (None, None) => ANONYMOUS.into(),
        }
    }

    fn dial_goes_on(&mut self, caller: Option<&Id>, peer: &Id, status: &str) {
        if let Some(caller) = caller {
            self.world.dialed_by(caller, peer);
        }
        let Some(line) = self.world.line_mut(peer) else {
            return;
        };
        // A mobile network sends PROGRESS and a tone where a phone sends RINGING.
        if matches!(status, "RINGING" | "PROGRESS") && line.called == Called::Dialing {
            line.called = Called::Ringing;
            let name = line.channel.name.clone();
            self.note(peer, format_args!("{name}: {status}"));
        }
    }

    fn dial_ends(&mut self, peer: &Id, status: &str) {
        if status == "ANSWER" {
            self.world.answered(peer);
        } else {
            self.world.unlink(peer);
        }
        let Some(line) = self.world.line(peer) else { return };
        let (name, cause, client_of) = (line.channel.name.clone(), line.channel.cause, line.client_of);
        self.note(peer, format_args!("{name}: {status}, cause {cause}"));
        if let Some(call) = client_of.and_then(|key| self.calls.get_mut(&key)) {
            call.outcome = outcome(status, cause);
        }
    }

    fn forwards(&mut self, caller: Option<&Id>, peer: &Id, forwarded: &Id, forward: &str) {
        let Some(line) = self.world.line(peer) else { return };
        let (ext, name) = (line.ext().cloned(), line.channel.name.clone());
        self.note(peer, format_args!("{name} forwards the call to '{forward}'"));
        if let Some(line) = self.world.line_mut(forwarded) {
            line.stands_for = ext;
        }
        // The new channel is called in place of the old one; its own Dial record may come before or after this one.
        if self.world.line(forwarded).is_some_and(|line| !line.was_called()) {
            self.world.dial(caller, forwarded);
        }
    }

    /// The employee from whom a call was forwarded: the channel that says so, else the dialplan's place.
    fn forwarder(&self, origin: &[Id]) -> Option<Text> {
        let lines = || origin.iter().filter_map(|id| self.world.line(id));
        let internal = |number: &str| internal(&self.settings.internal, [number]);
        lines()
            .find_map(|line| line.stands_for.clone())
            .or_else(|| lines().find_map(|line| internal(&line.channel.rdnis)))
            .or_else(|| lines().find_map(|line| internal(&line.channel.exten)))
    }

    // ---- beginnings -------------------------------------------------------------------------------------------------

    /// An outside channel that nobody called is a client who calls. A called one is made without a state, and can even be
    /// answered before the record of its being called comes; a caller hears ringing first.
    fn begins(&mut self, id: &Id, begins: bool) {
        let Some(line) = self.world.line(id) else { return };
        if !self.following || !line.is_outside() || line.was_called() || line.stands_for.is_some() {
            return;
        }
        if let Some(key) = line.client_of {
            // Some channel drivers tell the number later than the channel.
            let (phone, diversion) = (self.client_phone(id), self.called_number(id));
            if let Some(call) = self.calls.get_mut(&key).filter(|call| call.cards.is_empty()) {
                if *call.phone == *ANONYMOUS {
                    call.phone = phone;
                }
                // FreePBX can take the company's number from a header and go on from `s` to it.
                if call.diversion.is_empty() {
                    call.diversion = diversion;
                }
            }
        } else if begins {
            self.begin_in(id);
        }
    }

    fn begin_in(&mut self, id: &Id) -> u64 {
        let phone = self.client_phone(id);
        let diversion = self.called_number(id);
        let call = self.new_call(id, Direction::In, phone, diversion);
        self.note(id, format_args!("inbound call from {}", call.phone));
        self.add_call(call, id)
    }

    /// The company's number that the client called: what was dialled to reach the channel, else the first number in the dialplan.
    fn called_number(&self, id: &Id) -> Text {
        let Some(line) = self.world.line(id) else {
            return Text::default();
        };
        if is_number(&line.channel.dialed) {
            return self.company_number(&line.channel.dialed);
        }
        if self.settings.internal.matches(line.first_exten.as_bytes()) {
            return Text::default();
        }
        self.company_number(&line.first_exten)
    }

    fn client_phone(&self, id: &Id) -> Text {
        match self.world.line(id) {
            Some(line) if !line.channel.restricted => {
                self.settings.numbering.crm_form(&line.channel.caller).into()
            }
            _ => ANONYMOUS.into(),
        }
    }

    /// Providers name a number in many ways, some of them no number at all.
    fn company_number(&self, number: &str) -> Text {
        if number.bytes().filter(u8::is_ascii_digit).count() < 7 {
            return number.into();
        }
        self.settings.numbering.crm_form(number).into()
    }

    /// `id` is the client's channel, or the employee's when there is none.
    fn new_call(&mut self, id: &Id, direction: Direction, phone: Text, diversion: Text) -> Call {
        let group = line_group(&self.world, id);
        let resumed = |id: &Id| self.resumed.iter().any(|card| *card.callid == **id);
        // The CRM's key must not come twice. A linkedid outlives the first call where an employee's channel goes on, and is handed
        // on in a conference; so it serves for the call of the channel that it was made for, and for one that the CRM knows by it.
        let is_used = self
            .world
            .group(&group)
            .is_some_and(|known| known.callids.contains(&group));
        let is_own = !is_used
            && match direction {
                Direction::In => resumed(&group) && !resumed(id),
                Direction::Out => resumed(&group) || self.world.line(&group).is_some(),
            };
        let callid = Arc::clone(if is_own { &group } else { id });
        self.world.group_mut(&group).callids.push(Arc::clone(&callid));
        Call {
            callid,
            group,
            direction,
            phone,
            diversion,
            began: self.now,
            clients: Vec::new(),
            root: None,
            answered: false,
            concluded: false,
            tried: None,
            outcome: "NoAnswer",
            cards: Vec::new(),
        }
    }

    fn add_call(&mut self, mut call: Call, client: &Id) -> u64 {
        let key = self.next;
        self.next += 1;
        call.clients.push(Arc::clone(client));
        self.calls.insert(key, Box::new(call));
        if let Some(line) = self.world.line_mut(client) {
            line.client_of = Some(key);
        }
        key
    }

    /// All channels that exist are known: what they are to each other follows from their age.
    fn catch_up(&mut self) {
        for id in self.world.unseen() {
            self.gone(&id);
        }
        let mut outside: Vec<(Micros, Id)> = self
            .world
            .lines()
            .filter(|(_, line)| line.is_outside() && line.client_of.is_none() && line.stands_for.is_none())
            .map(|(id, line)| (age(line), Arc::clone(id)))
            .collect();
        outside.sort();
        for (_, id) in outside {
            self.find_call(&id);
        }
        self.following = true;
        let cards = std::mem::take(&mut self.resumed);
        let mut orphans = Vec::new();
        for card in cards {
            match self.calls.values_mut().find(|call| *call.callid == *card.callid) {
                Some(call) => adopt(call, &card),
                None => orphans.push(card),
            }
        }
        let keys: Vec<u64> = self.calls.keys().copied().collect();
        for key in &keys {
            let root = self.calls.get(key).and_then(|call| call.root.clone());
            let ext = root.and_then(|root| self.world.line(&root)?.ext().cloned());
            self.with_call(*key, |tracker, call, _| {
                if let Some(ext) = ext.filter(|ext| call.card(ext).is_none()) {
                    let told = call.open(&ext, tracker.now);
                    tracker.tell(call, told, "the call was running already");
                }
            });
        }
        self.settle_calls(&keys.into_iter().collect());
        for card in orphans {
            self.output.push(Output::Tell(vec![card.closing()]));
        }
    }

    fn find_call(&mut self, id: &Id) {
        let Some(group) = self.world.line(id).and_then(|line| self.world.group(&line.group)) else {
            return;
        };
        let lines = || {
            group
                .lines
                .iter()
                .filter_map(|id| Some((id, self.world.line(id)?)))
        };
        if lines().any(|(_, line)| line.client_of.is_some()) {
            return;
        }
        let first = lines()
            .min_by_key(|(_, line)| age(line))
            .map(|(first, _)| Arc::clone(first));
        let employee = lines()
            .filter(|(_, line)| matches!(line.party, Party::Employee(_)))
            .min_by_key(|(_, line)| age(line))
            .map(|(employee, _)| Arc::clone(employee));
        // Joined calls have one linkedid, and the CRM may know this one by its own.
        let own = self.resumed.iter().any(|card| *card.callid == **id);
        if first.as_ref() == Some(id) || own || employee.is_none() {
            self.begin_in(id);
        } else {
            self.begin_out(employee, id);
        }
    }

    // ---- what follows from it ---------------------------------------------------------------------------------------

    fn around(&self, id: &Id) -> BTreeSet<u64> {
        let mut lines = self.world.joined(std::slice::from_ref(id), Reach::Origin);
        if let Some(group) = self.world.line(id).and_then(|line| self.world.group(&line.group)) {
            lines.extend(group.lines.iter().cloned());
        }
        self.calls_of(&lines)
    }

    fn calls_of(&self, lines: &[Id]) -> BTreeSet<u64> {
        let lines = lines.iter().filter_map(|id| self.world.line(id));
        lines
            .flat_map(|line| {
                line.talks_in
                    .iter()
                    .copied()
                    .chain(line.client_of)
                    .chain(line.root_of)
            })
            .collect()
    }

    fn settle(&mut self, touched: &[Id]) {
        if !self.following || touched.is_empty() {
            return;
        }
        let calls: BTreeSet<u64> = touched.iter().flat_map(|id| self.around(id)).collect();
        self.settle_calls(&calls);
    }

    fn settle_calls(&mut self, calls: &BTreeSet<u64>) {
        for key in calls {
            self.with_call(*key, |tracker, call, data| tracker.settle_call(*key, call, data));
        }
    }

    /// Makes what the CRM knows of a call the same as what is.
    fn settle_call(&mut self, key: u64, call: &mut Call, data: &[(&str, &str)]) {
        let now = self.now;
        let present = self.present(call);
        let silent: Vec<Text> = call
            .cards
            .iter()
            .filter(|card| !present.talking.iter().any(|(ext, _)| *ext == card.ext))
            .map(|card| card.ext.clone())
            .collect();
        for ext in silent {
            call.talks(&ext, &[], now);
        }
        for (ext, lines) in &present.talking {
            for line in lines {
                if let Some(line) = self
                    .world
                    .line_mut(line)
                    .filter(|line| !line.talks_in.contains(&key))
                {
                    line.talks_in.push(key);
                }
            }
            let told = call.talks(ext, lines, now);
            if !told.is_empty() {
                self.tell(call, told, "he is joined with the client");
            }
        }
        if present.elsewhere && !call.answered {
            self.tell(call, None, "the client talks with somebody outside");
            call.answered = true;
        }
        let over = call.is_over();
        let left: Vec<Text> = call
            .cards
            .iter()
            .filter(|card| card.progress == Progress::Accepted && (over || card.lines.is_empty()))
            .map(|card| card.ext.clone())
            .collect();
        for ext in left {
            let told = call.close(&ext, "Success", data, now);
            let why = if over {
                "the client is gone"
            } else {
                "his last channel in the call is gone"
            };
            self.tell(call, told, why);
        }
        if over {
            self.end(call, data);
        } else if call.direction == Direction::In {
            self.ring(call, data, &present);
        }
    }

    fn ring(&mut self, call: &mut Call, data: &[(&str, &str)], present: &Present) {
        let now = self.now;
        for card in &mut call.cards {
            if card.progress == Progress::Open && !present.called.contains(&card.ext) {
                card.idle_since.get_or_insert(now);
            } else {
                card.idle_since = None;
            }
        }
        let fresh: Vec<&Text> = present
            .ringing
            .iter()
            .filter(|ext| {
                call.card(ext)
                    .is_none_or(|card| card.progress == Progress::Closed)
            })
            .collect();
        let somebody_talks = call.answered;
        if !fresh.is_empty() || somebody_talks {
            let idle: Vec<Text> = call
                .cards
                .iter()
                .filter(|card| card.idle_since.is_some())
                .map(|card| card.ext.clone())
                .collect();
            for ext in idle {
                let told = call.close(&ext, "Cancelled", data, now);
                let why = if somebody_talks {
                    "another employee took the call"
                } else {
                    "his phone is silent and the next one rings"
                };
                self.tell(call, told, why);
            }
        }
        if fresh.is_empty() {
            return;
        }
        call.concluded = false;
        for ext in fresh {
            let told = call.open(ext, now);
            self.tell(call, told, "his phone rings");
        }
    }

    fn end(&mut self, call: &mut Call, data: &[(&str, &str)]) {
        if call.direction == Direction::In && !call.answered {
            if !call.concluded {
                self.miss(call, data, "the client is gone and nobody talked with him");
            }
            return;
        }
        let status = match call.direction {
            Direction::In => "Cancelled",
            Direction::Out if call.outcome == "Success" => "NoAnswer",
            Direction::Out => call.outcome,
        };
        let open: Vec<Text> = call
            .cards
            .iter()
            .filter(|card| card.progress != Progress::Closed)
            .map(|card| card.ext.clone())
            .collect();
        for ext in open {
            let told = call.close(&ext, status, data, self.now);
            self.tell(call, told, "the call is over");
        }
    }

    /// Nobody took the call: the rule says who missed it.
    fn miss(&mut self, call: &mut Call, data: &[(&str, &str)], why: &str) {
        let now = self.now;
        let exts = |open: bool| -> Vec<Text> {
            let cards = call
                .cards
                .iter()
                .filter(|card| !open || card.progress == Progress::Open);
            cards.map(|card| card.ext.clone()).collect()
        };
        let mut candidates = exts(true);
        if candidates.is_empty() {
            // All were closed while the client waited, or nobody's phone rang at all.
            candidates = exts(false);
            if candidates.is_empty() {
                let nobody = Some(&self.settings.nobody).filter(|ext| !ext.is_empty());
                candidates.extend(
                    call.tried
                        .clone()
                        .or_else(|| nobody.map(|ext| ext.as_str().into())),
                );
            }
            let chosen = Call::missed(self.settings.missed, &candidates).to_vec();
            if chosen.is_empty() {
                self.tell(
                    call,
                    None,
                    "nobody's phone rang and no employee was tried: there is nobody to tell it to",
                );
            }
            for ext in chosen {
                let mut told: Vec<Draft> = call.open(&ext, now).into_iter().collect();
                told.extend(call.close(&ext, "Missed", data, now));
                self.tell(call, told, why);
            }
            return;
        }
        let chosen = Call::missed(self.settings.missed, &candidates).to_vec();
        for ext in &candidates {
            let status = if chosen.contains(ext) {
                "Missed"
            } else {
                "Cancelled"
            };
            let told = call.close(ext, status, data, now);
            self.tell(call, told, why);
        }
    }

    /// Who is with the client, and who is called for him.
    fn present(&self, call: &Call) -> Present {
        let mut present = Present::default();
        for id in self.world.joined(&call.clients, Reach::Talk) {
            let Some(line) = self.world.line(&id).filter(|line| line.client_of.is_none()) else {
                continue;
            };
            match line.ext() {
                Some(ext) => match present.talking.iter_mut().find(|(known, _)| known == ext) {
                    Some((_, lines)) => lines.push(id),
                    None => present.talking.push((ext.clone(), vec![id])),
                },
                None => present.elsewhere |= line.is_outside(),
            }
        }
        for id in self.world.joined(&call.clients, Reach::Ring) {
            self.look(&id, &mut present);
        }
        // Where the dialling was not seen, because the module was loaded in the middle of it, the linkedid tells.
        let group = call.clients.first().and_then(|client| self.world.line(client));
        let group = group.and_then(|line| self.world.group(&line.group));
        for id in group.into_iter().flat_map(|group| &group.lines) {
            if self
                .world
                .line(id)
                .is_some_and(|line| line.called == Called::Unknown && line.rings())
            {
                self.look(id, &mut present);
            }
        }
        present
    }

    fn look(&self, id: &Id, present: &mut Present) {
        let Some((line, ext)) = self.world.line(id).and_then(|line| Some((line, line.ext()?))) else {
            return;
        };
        let rings = line.rings();
        if (line.is_called() || rings) && !present.called.contains(ext) {
            present.called.push(ext.clone());
        }
        if rings && !present.ringing.contains(ext) {
            present.ringing.push(ext.clone());
        }
    }

    /// Lends a call together with its analytics fields, and forgets it when it is over.
    fn with_call(&mut self, key: u64, what: impl FnOnce(&mut Self, &mut Call, &[(&str, &str)])) {
        let Some(mut call) = self.calls.remove(&key) else {
            return;
        };
        if let Some(line) = call
            .clients
            .first()
            .or(call.root.as_ref())
            .and_then(|id| self.world.line(id))
        {
            call.group = Arc::clone(&line.group);
        }
        let data = self.data(&call.group);
        let data: Vec<(&str, &str)> = data.iter().map(|(name, value)| (&**name, &**value)).collect();
        what(self, &mut call, &data);
        if !call.is_over() {
            self.calls.insert(key, call);
        }
    }

    /// The analytics fields whose variables were set.
    fn data(&self, group: &Id) -> Vec<(String, Text)> {
        let Some(group) = self.world.group(group) else {
            return Vec::new();
        };
        let value = |variable: &str| {
            let found = group.variables.iter().find(|(name, _)| **name == *variable);
            found.map(|(_, value)| value.clone())
        };
        let fields = self.settings.data.iter();
        fields
            .filter_map(|(field, variable)| Some((field.clone(), value(variable)?)))
            .collect()
    }

    // ---- telling ----------------------------------------------------------------------------------------------------

    fn note(&mut self, id: &Id, line: Arguments<'_>) {
        let at = self.now;
        if let Some(group) = self.world.line(id).map(|line| Arc::clone(&line.group)) {
            self.world.group_mut(&group).story.tell(at, line);
        }
    }

    fn tell(&mut self, call: &Call, drafts: impl IntoIterator<Item = Draft>, why: &str) {
        let drafts: Vec<Draft> = drafts.into_iter().collect();
        if let Some(group) = self.world.group(&call.group).map(|_| Arc::clone(&call.group)) {
            let at = self.now;
            let story = &mut self.world.group_mut(&group).story;
            for draft in &drafts {
                story.tell(at, format_args!("=> {}: {why}", summary(draft)));
            }
            if drafts.is_empty() {
                story.tell(at, format_args!("{why}"));
            }
        }
        if !drafts.is_empty() {
            self.output.push(Output::Tell(drafts));
        }
    }
}

/// Who is with the client of a call.
#[derive(Debug, Default)]
struct Present {
    /// Employees who are joined with the client, and their channels.
    talking: Vec<(Text, Vec<Id>)>,
    /// Somebody outside who stands for no employee is joined with the client.
    elsewhere: bool,
    /// Employees who are called, whether their phones ring already or not.
    called: Vec<Text>,
    /// Employees whose phones ring.
    ringing: Vec<Text>,
}

/// A card that was on the screen before this tracker began, in a call that goes on.
fn adopt(call: &mut Call, card: &OpenCard) {
    for (name, value) in form_urlencoded::parse(card.opening.as_bytes()) {
        match &*name {
            "type" => {
                call.direction = if value == "out" {
                    Direction::Out
                } else {
                    Direction::In
                };
            }
            "phone" => call.phone = (&*value).into(),
            "diversion" => call.diversion = (&*value).into(),
            _ => {}
        }
    }
    let accepted = card.accepted.map(|at| at.saturating_mul(1_000));
    call.answered |= accepted.is_some();
    call.cards.push(Card {
        ext: card.ext.as_str().into(),
        progress: if accepted.is_some() {
            Progress::Accepted
        } else {
            Progress::Open
        },
        owes_opening: false,
        owes_accepted: false,
        opened: card.shown.saturating_mul(1_000),
        idle_since: None,
        lines: Vec::new(),
        talked: 0,
        talks_since: accepted,
    });
}

/// `INCOMING 101`, `COMPLETED 101 Success, 12 s`.
fn summary(draft: &Draft) -> String {
    let value = |name: &str| {
        let mut pairs = draft.body.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
            .unwrap_or_default()
    };
    match draft.kind {
        Kind::Completed => format!(
            "{} {} {}, {} s",
            draft.kind,
            draft.ext,
            value("status"),
            value("duration")
        ),
        _ => format!("{} {}", draft.kind, draft.ext),
    }
}

/// The protocol's status for how a try to reach a client ended (`ast_channel_publish_dial`, and the causes of Q.850 for which
/// `DIALSTATUS` has no word of its own).
fn outcome(status: &str, cause: i32) -> &'static str {
    match status {
        "ANSWER" => return "Success",
        "BUSY" => return "Busy",
        "DONTCALL" | "TORTURE" => return "NotAllowed",
        _ => {}
    }
    match (cause, status) {
        // User busy.
        (17, _) => "Busy",
        // Rejected, facility not subscribed, barred (outgoing, incoming), not authorized.
        (21 | 50 | 52 | 54 | 55 | 57, _) => "NotAllowed",
        // No such number, no route, subscriber absent, out of order, number incomplete, network trouble.
        (1..=3 | 20 | 27 | 28 | 34 | 38 | 41 | 42 | 44, _) | (_, "CONGESTION" | "CHANUNAVAIL") => {
            "NotAvailable"
        }
        _ => "NoAnswer",
    }
}

fn line_group(world: &World, id: &Id) -> Id {
    world
        .line(id)
        .map_or_else(|| Arc::clone(id), |line| Arc::clone(&line.group))
}
