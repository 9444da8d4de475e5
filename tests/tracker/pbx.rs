//! A small PBX that publishes what Asterisk would: channels, dials, bridges, transfers, parking.
//!
//! Invariants:
//! - it knows nothing of the tracker, and says by itself who hears whom ([`Pbx::heard_by`]), so the two can be compared;
//! - records come in the order in which Asterisk publishes them; where Asterisk's threads race, tests swap them.

use std::collections::{BTreeMap, BTreeSet};

use res_planfix::core::durations::Micros;
use res_planfix::core::record::{Bridge, Channel, Phase, Record, Stage, Text, What};

/// A channel, by its serial number.
pub(crate) type Chan = u64;

/// How long publishing a record takes.
const STEP: Micros = 100;

/// Whose a channel is, as the PBX's owner knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A client, or the line to him.
    Client,
    /// An employee's phone.
    Employee(String),
    /// An employee's mobile, reached through a trunk; of nobody's when it is empty.
    Mobile(String),
    /// Half of a Local channel.
    Wire,
}

/// A living channel.
#[derive(Clone, Debug)]
pub(crate) struct Leg {
    pub(crate) channel: Channel,
    pub(crate) owner: Owner,
    pub(crate) room: Option<u64>,
    /// The other half of a Local channel.
    pub(crate) half: Option<Chan>,
    /// Who dials it, until it has answered or was given up.
    pub(crate) dialer: Option<Chan>,
    pub(crate) dialing: Vec<Chan>,
    /// It is dialled, by somebody or by an originate.
    pub(crate) called: bool,
}

/// A bridge.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    pub(crate) technology: &'static str,
    pub(crate) members: Vec<Chan>,
}

/// The PBX.
#[derive(Debug)]
pub(crate) struct Pbx {
    pub(crate) now: Micros,
    pub(crate) legs: BTreeMap<Chan, Leg>,
    pub(crate) rooms: BTreeMap<u64, Room>,
    serial: u64,
    records: Vec<Record>,
}

impl Pbx {
    pub(crate) fn new() -> Self {
        Self {
            now: 1_700_000_000_000_000,
            legs: BTreeMap::new(),
            rooms: BTreeMap::new(),
            serial: 0,
            records: Vec::new(),
        }
    }

    /// What was published since the last time.
    pub(crate) fn records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now += seconds * 1_000_000;
    }

    pub(crate) fn alive(&self, chan: Chan) -> bool {
        self.legs.contains_key(&chan)
    }

    pub(crate) fn leg(&self, chan: Chan) -> &Leg {
        &self.legs[&chan]
    }

    pub(crate) fn uniqueid(&self, chan: Chan) -> &str {
        &self.leg(chan).channel.uniqueid
    }

    // ---- who hears whom ---------------------------------------------------------------------------------------------

    /// The channels that hear this one, through bridges and Local channels.
    pub(crate) fn heard_by(&self, chan: Chan) -> BTreeSet<Chan> {
        let mut found = BTreeSet::new();
        let mut left = vec![chan];
        while let Some(next) = left.pop() {
            if !found.insert(next) {
                continue;
            }
            let leg = self.leg(next);
            left.extend(leg.half);
            if let Some(room) = leg.room.map(|room| &self.rooms[&room])
                && room.technology != "holding_bridge"
            {
                left.extend(&room.members);
            }
        }
        found.remove(&chan);
        found
    }

    /// The channels that are called for this one, by itself or by whom it hears.
    pub(crate) fn called_for(&self, chan: Chan) -> BTreeSet<Chan> {
        let mut found = BTreeSet::new();
        let mut left = vec![chan];
        let mut seen = BTreeSet::new();
        while let Some(next) = left.pop() {
            if !seen.insert(next) {
                continue;
            }
            let heard = self.heard_by(next);
            let dialing = heard
                .iter()
                .chain([&next])
                .flat_map(|chan| &self.leg(*chan).dialing);
            found.extend(dialing.clone());
            left.extend(dialing);
        }
        found
    }

    /// The others in the channel's bridge.
    pub(crate) fn peers(&self, chan: Chan) -> Vec<Chan> {
        let members = self.leg(chan).room.map(|room| self.rooms[&room].members.clone());
        members
            .unwrap_or_default()
            .into_iter()
            .filter(|peer| *peer != chan)
            .collect()
    }

    // ---- publishing -------------------------------------------------------------------------------------------------

    fn tell(&mut self, what: What) {
        self.records.push(Record { time: self.now, what });
        self.now += STEP;
    }

    fn snapshot(&self, chan: Chan) -> Channel {
        self.leg(chan).channel.clone()
    }

    fn bridge(&self, room: u64) -> Bridge {
        Bridge {
            uniqueid: format!("bridge-{room}").into(),
            technology: self.rooms[&room].technology.into(),
        }
    }

    fn change(&mut self, chan: Chan, change: impl FnOnce(&mut Channel)) {
        let Some(leg) = self.legs.get_mut(&chan) else {
            return;
        };
        change(&mut leg.channel);
        let channel = self.snapshot(chan);
        self.tell(What::Changed { channel });
    }

    fn stage(&mut self, chan: Chan, stage: Stage) {
        if self.leg(chan).channel.stage != stage {
            self.change(chan, |channel| channel.stage = stage);
        }
    }

    fn make(
        &mut self,
        device: &str,
        owner: Owner,
        requestor: Option<Chan>,
        set: impl FnOnce(&mut Channel),
    ) -> Chan {
        self.serial += 1;
        let serial = self.serial;
        let uniqueid: Text = format!("{}.{serial}", self.now / 1_000_000).into();
        let name = match owner {
            Owner::Wire => device.into(),
            _ => format!("{device}-{serial:08x}").into(),
        };
        let mut channel = Channel {
            linkedid: requestor.map_or_else(
                || uniqueid.clone(),
                |from| self.leg(from).channel.linkedid.clone(),
            ),
            uniqueid,
            name,
            created: self.now,
            context: "office".into(),
            ..Channel::default()
        };
        set(&mut channel);
        self.legs.insert(
            serial,
            Leg {
                channel: channel.clone(),
                owner,
                room: None,
                half: None,
                dialer: None,
                dialing: Vec::new(),
                called: false,
            },
        );
        self.tell(What::Created { channel });
        serial
    }

    // ---- calls that begin -------------------------------------------------------------------------------------------

    /// A client calls the company's number `did` through `PJSIP/trunk`.
    pub(crate) fn client_calls(&mut self, number: &str, did: &str) -> Chan {
        self.comes_in("PJSIP/trunk", number, did)
    }

    pub(crate) fn comes_in(&mut self, trunk: &str, number: &str, did: &str) -> Chan {
        self.make(trunk, Owner::Client, None, |channel| {
            channel.stage = Stage::Ring;
            channel.caller = number.into();
            channel.dialed = did.into();
            channel.exten = did.into();
        })
    }

    /// An employee dials.
    pub(crate) fn phone_calls(&mut self, ext: &str, exten: &str) -> Chan {
        self.make(
            &format!("PJSIP/{ext}"),
            Owner::Employee(ext.into()),
            None,
            |channel| {
                channel.stage = Stage::Ring;
                channel.caller = ext.into();
                channel.dialed = exten.into();
                channel.exten = exten.into();
            },
        )
    }

    // ---- the dialplan -----------------------------------------------------------------------------------------------

    /// The channel goes to another extension.
    pub(crate) fn goes_to(&mut self, chan: Chan, exten: &str) {
        self.change(chan, |channel| channel.exten = exten.into());
    }

    /// The channel goes to an extension of another context.
    pub(crate) fn is_at(&mut self, chan: Chan, context: &str, exten: &str) {
        self.change(chan, |channel| {
            channel.context = context.into();
            channel.exten = exten.into();
        });
    }

    /// The channel runs an application that says something about the call.
    pub(crate) fn runs(&mut self, chan: Chan, application: &str, data: &str) {
        self.change(chan, |channel| {
            channel.application = application.into();
            channel.data = data.into();
        });
    }

    pub(crate) fn is_answered(&mut self, chan: Chan) {
        self.stage(chan, Stage::Up);
    }

    pub(crate) fn sets(&mut self, chan: Chan, name: &str, value: &str) {
        let channel = self.snapshot(chan);
        self.tell(What::Variable {
            uniqueid: channel.uniqueid,
            linkedid: channel.linkedid,
            name: name.into(),
            value: value.into(),
        });
    }

    // ---- dialling ---------------------------------------------------------------------------------------------------

    /// Dial() or Queue() calls these employees' phones.
    pub(crate) fn dials<const N: usize>(&mut self, caller: Chan, exts: [&str; N]) -> [Chan; N] {
        let data: Vec<String> = exts.iter().map(|ext| format!("PJSIP/{ext}")).collect();
        self.runs(caller, "Dial", &format!("{},20,tT", data.join("&")));
        exts.map(|ext| self.dials_phone(caller, ext))
    }

    pub(crate) fn dials_phone(&mut self, caller: Chan, ext: &str) -> Chan {
        let peer = self.make(
            &format!("PJSIP/{ext}"),
            Owner::Employee(ext.into()),
            Some(caller),
            |_| {},
        );
        self.dials_channel(caller, peer, ext, ext);
        peer
    }

    /// Dial() calls a number through `PJSIP/trunk`.
    pub(crate) fn dials_out(&mut self, caller: Chan, number: &str, owner: Owner) -> Chan {
        self.dials_out_by(caller, "trunk", number, owner)
    }

    pub(crate) fn dials_out_by(&mut self, caller: Chan, trunk: &str, number: &str, owner: Owner) -> Chan {
        self.runs(caller, "Dial", &format!("PJSIP/{number}@{trunk},60"));
        let peer = self.make(&format!("PJSIP/{trunk}"), owner, Some(caller), |_| {});
        self.dials_channel(caller, peer, number, &format!("{number}@{trunk}"));
        peer
    }

    /// The same, where the channel's number is the dialplan's place because Dial() knows no other one.
    pub(crate) fn dials_out_at(&mut self, exten: &str, caller: Chan, number: &str, owner: Owner) -> Chan {
        self.runs(caller, "Dial", &format!("PJSIP/{number}@trunk,60"));
        let peer = self.make("PJSIP/trunk", owner, Some(caller), |_| {});
        self.dials_channel(caller, peer, exten, &format!("{number}@trunk"));
        peer
    }

    /// A Local channel is called, and its other half runs the dialplan.
    pub(crate) fn dials_local(&mut self, caller: Chan, exten: &str) -> [Chan; 2] {
        let [one, two] = self.local(Some(caller), exten);
        self.dials_channel(caller, one, exten, &format!("{exten}@office/n"));
        [one, two]
    }

    fn local(&mut self, requestor: Option<Chan>, exten: &str) -> [Chan; 2] {
        let pair = self.serial + 1;
        let [one, two] = [1, 2].map(|half| {
            let name = format!("Local/{exten}@office-{pair:08x};{half}");
            self.make(&name, Owner::Wire, requestor, |channel| {
                if half == 2 {
                    channel.stage = Stage::Ring;
                }
                channel.exten = exten.into();
            })
        });
        if requestor.is_none() {
            let linkedid = self.leg(one).channel.linkedid.clone();
            self.change(two, |channel| channel.linkedid = linkedid);
        }
        for (half, other) in [(one, two), (two, one)] {
            self.legs.get_mut(&half).unwrap().half = Some(other);
        }
        [one, two]
    }

    fn dials_channel(&mut self, caller: Chan, peer: Chan, number: &str, dial_string: &str) {
        let from = self.leg(caller).channel.caller.clone();
        self.change(peer, |channel| {
            // main/app_dial.c: a called channel without a number of its own gets what was dialled.
            channel.caller = number.into();
            channel.connected = from;
        });
        let leg = self.legs.get_mut(&peer).unwrap();
        leg.dialer = Some(caller);
        leg.called = true;
        self.legs.get_mut(&caller).unwrap().dialing.push(peer);
        self.dial(Phase::Begin, "", Some(caller), peer, dial_string);
    }

    fn dial(&mut self, phase: Phase, status: &str, caller: Option<Chan>, peer: Chan, dial_string: &str) {
        let (caller, peer) = (
            caller.map(|caller| self.snapshot(caller).into()),
            self.snapshot(peer),
        );
        self.tell(What::Dial {
            phase,
            status: status.into(),
            caller,
            peer,
            dial_string: dial_string.into(),
            forward: Text::default(),
            forwarded: None,
        });
    }

    /// An originate: nobody dials this phone.
    pub(crate) fn originates(&mut self, ext: &str, exten: &str) -> Chan {
        let peer = self.make(
            &format!("PJSIP/{ext}"),
            Owner::Employee(ext.into()),
            None,
            |channel| {
                channel.caller = ext.into();
                channel.exten = exten.into();
            },
        );
        self.legs.get_mut(&peer).unwrap().called = true;
        self.dial(Phase::Begin, "", None, peer, ext);
        peer
    }

    /// ARI makes and calls a channel for this one: they share a linkedid, and no record names who calls
    /// (res/ari/resource_channels.c, `ari_channels_handle_originate_with_id`).
    pub(crate) fn originates_for(&mut self, caller: Chan, ext: &str) -> Chan {
        let peer = self.make(
            &format!("PJSIP/{ext}"),
            Owner::Employee(ext.into()),
            Some(caller),
            |channel| channel.caller = ext.into(),
        );
        self.legs.get_mut(&peer).unwrap().called = true;
        self.dial(Phase::Begin, "", None, peer, ext);
        peer
    }

    /// An originate of `Local/ext`: its second half runs the dialplan that calls the phone.
    pub(crate) fn originates_local(&mut self, ext: &str) -> [Chan; 2] {
        let [one, two] = self.local(None, ext);
        self.legs.get_mut(&one).unwrap().called = true;
        self.dial(Phase::Begin, "", None, one, &format!("{ext}@office"));
        [one, two]
    }

    /// The called phone rings, and whoever calls it through a Local channel hears that.
    pub(crate) fn rings(&mut self, peer: Chan) {
        self.stage(peer, Stage::Ringing);
        let dialer = self.leg(peer).dialer;
        self.dial(Phase::Progress, "RINGING", dialer, peer, "");
        if let Some(half) = dialer.and_then(|dialer| self.leg(dialer).half)
            && self.leg(half).called
            && self.leg(half).channel.stage == Stage::Down
        {
            self.rings(half);
        }
    }

    /// A line that sends tones instead of ringing.
    pub(crate) fn progresses(&mut self, peer: Chan) {
        let dialer = self.leg(peer).dialer;
        self.dial(Phase::Progress, "PROGRESS", dialer, peer, "");
    }

    /// The called channel answers; the others that were called with it are hung up, and it is joined with its caller.
    pub(crate) fn answers(&mut self, peer: Chan) {
        self.stage(peer, Stage::Up);
        let dialer = self.leg(peer).dialer;
        self.wins(dialer, peer);
        let Some(dialer) = dialer else { return };
        self.is_answered(dialer);
        if let Some(half) = self.leg(dialer).half
            && self.leg(half).called
        {
            self.answers(half);
        }
        if self.alive(peer) && self.alive(dialer) && self.leg(dialer).room.is_none() {
            self.joins([peer, dialer]);
        }
    }

    /// The dial ends with `peer`: app_dial hangs the others up before it tells of the answer.
    fn wins(&mut self, dialer: Option<Chan>, peer: Chan) {
        let others: Vec<Chan> = dialer.map_or_else(Vec::new, |dialer| self.leg(dialer).dialing.clone());
        let others: Vec<Chan> = others.into_iter().filter(|other| *other != peer).collect();
        for other in &others {
            self.dial_ends(*other, "CANCEL");
        }
        for other in others {
            self.hangs_up(other);
        }
        self.dial_ends(peer, "ANSWER");
    }

    fn dial_ends(&mut self, peer: Chan, status: &str) {
        let leg = self.legs.get_mut(&peer).unwrap();
        if !std::mem::take(&mut leg.called) {
            return;
        }
        let dialer = leg.dialer.take();
        if let Some(dialer) = dialer.and_then(|dialer| self.legs.get_mut(&dialer)) {
            dialer.dialing.retain(|other| *other != peer);
        }
        self.dial(Phase::End, status, dialer, peer, "");
    }

    /// The same, and the cause is told with the channel's end alone.
    pub(crate) fn fails_with_a_late_cause(&mut self, peer: Chan, status: &str, cause: i32) {
        self.dial_ends(peer, status);
        self.legs.get_mut(&peer).unwrap().channel.cause = cause;
        self.hangs_up(peer);
    }

    /// The called channel ends without an answer: `BUSY`, `NOANSWER`, `CONGESTION`, `CHANUNAVAIL`.
    pub(crate) fn fails(&mut self, peer: Chan, status: &str, cause: i32) {
        self.change(peer, |channel| channel.cause = cause);
        self.dial_ends(peer, status);
        self.hangs_up(peer);
    }

    /// The phone redirects the call to another one (302): a Local channel takes its place.
    pub(crate) fn forwards(&mut self, peer: Chan, exten: &str) -> [Chan; 2] {
        let dialer = self.leg(peer).dialer.unwrap();
        let number = self.leg(peer).channel.caller.clone();
        let [one, two] = self.local(Some(dialer), exten);
        for half in [one, two] {
            self.change(half, |channel| channel.rdnis = number.clone());
        }
        let (caller, original, forwarded) = (self.snapshot(dialer), self.snapshot(peer), self.snapshot(one));
        let leg = self.legs.get_mut(&peer).unwrap();
        leg.called = false;
        leg.dialer = None;
        self.legs
            .get_mut(&dialer)
            .unwrap()
            .dialing
            .retain(|other| *other != peer);
        self.tell(What::Dial {
            phase: Phase::End,
            status: "CANCEL".into(),
            caller: Some(caller.into()),
            peer: original,
            dial_string: Text::default(),
            forward: format!("Local/{exten}@office").into(),
            forwarded: Some(forwarded.into()),
        });
        self.dials_channel(dialer, one, exten, &format!("{exten}@office"));
        self.hangs_up(peer);
        [one, two]
    }

    // ---- bridges ----------------------------------------------------------------------------------------------------

    /// A new bridge with these.
    pub(crate) fn joins<const N: usize>(&mut self, chans: [Chan; N]) -> u64 {
        let room = self.room("simple_bridge");
        for chan in chans {
            self.enters(chan, room);
        }
        room
    }

    pub(crate) fn room(&mut self, technology: &'static str) -> u64 {
        self.serial += 1;
        let members = Vec::new();
        self.rooms.insert(self.serial, Room { technology, members });
        self.serial
    }

    pub(crate) fn enters(&mut self, chan: Chan, room: u64) {
        self.takes_the_place(chan, room, None);
    }

    fn takes_the_place(&mut self, chan: Chan, room: u64, of: Option<Chan>) {
        self.leaves(chan);
        if let Some(of) = of {
            self.leaves(of);
        }
        let members = &mut self.rooms.get_mut(&room).unwrap().members;
        members.push(chan);
        // main/bridge_channel.c: all get the oldest one's linkedid. No record of theirs says so; the next ones do.
        let members = members.clone();
        let age = |linkedid: &str| -> (u64, u64) {
            let (seconds, serial) = linkedid.split_once('.').unwrap();
            (seconds.parse().unwrap(), serial.parse().unwrap())
        };
        let linkedids = members
            .iter()
            .map(|member| self.leg(*member).channel.linkedid.clone());
        let oldest = linkedids.min_by_key(|linkedid| age(linkedid)).unwrap();
        for member in members {
            self.legs.get_mut(&member).unwrap().channel.linkedid = oldest.clone();
        }
        self.legs.get_mut(&chan).unwrap().room = Some(room);
        let swapped = of.filter(|of| self.alive(*of)).map(|of| self.uniqueid(of).into());
        let (channel, bridge) = (self.snapshot(chan), self.bridge(room));
        self.tell(What::Entered {
            channel,
            bridge,
            swapped,
        });
    }

    pub(crate) fn leaves(&mut self, chan: Chan) {
        let Some(room) = self.legs.get_mut(&chan).and_then(|leg| leg.room.take()) else {
            return;
        };
        self.rooms
            .get_mut(&room)
            .unwrap()
            .members
            .retain(|member| *member != chan);
        let (channel, bridge) = (self.snapshot(chan), self.bridge(room));
        self.tell(What::Left { channel, bridge });
        if self.rooms[&room].members.is_empty() {
            self.rooms.remove(&room);
        }
    }

    /// A Local channel between two bridges is taken out: who is at its second half takes the place of the first
    /// (main/bridge.c, `try_swap_optimize_out`).
    pub(crate) fn optimizes(&mut self, one: Chan) {
        let two = self.leg(one).half.unwrap();
        let room = self.leg(one).room.unwrap();
        let [peer] = self.peers(two)[..] else {
            panic!("the second half is not alone with one other")
        };
        self.takes_the_place(peer, room, Some(one));
        self.leaves(two);
        for half in [one, two] {
            self.legs.get_mut(&half).unwrap().half = None;
        }
        self.gone(one);
        self.gone(two);
    }

    pub(crate) fn holds(&mut self, chan: Chan) {
        let channel = self.snapshot(chan);
        self.tell(What::Hold { channel });
    }

    pub(crate) fn unholds(&mut self, chan: Chan) {
        let channel = self.snapshot(chan);
        self.tell(What::Unhold { channel });
    }

    // ---- transfers --------------------------------------------------------------------------------------------------

    /// Who is alone with this one in a bridge of two.
    pub(crate) fn partner(&self, chan: Chan) -> Option<Chan> {
        match self.peers(chan)[..] {
            [peer] => Some(peer),
            _ => None,
        }
    }

    /// Sends the other one in the bridge to an extension; what becomes of him there is the caller's to say.
    pub(crate) fn transfers(&mut self, transferer: Chan, exten: &str) -> Chan {
        let other = self.partner(transferer).unwrap();
        let (from, whom) = (self.snapshot(transferer), self.snapshot(other));
        self.leaves(transferer);
        self.tell(What::BlindTransfer {
            success: true,
            transferer: from,
            transferee: Some(whom.into()),
            exten: exten.into(),
            context: "office".into(),
        });
        self.leaves(other);
        self.goes_to(other, exten);
        self.hangs_up(transferer);
        other
    }

    /// Joins who is with `first` and who is with `second`, two channels of one phone
    /// (main/bridge.c, `two_bridge_attended_transfer`).
    pub(crate) fn joins_calls(&mut self, first: Chan, second: Chan) {
        let room = self.leg(first).room.unwrap();
        let (from, consulting) = (self.snapshot(first), self.snapshot(second));
        let whom = self.partner(first).map(|other| self.snapshot(other).into());
        let target = self.partner(second).map(|other| self.snapshot(other).into());
        let mut others = self.peers(second);
        if !others.is_empty() {
            let other = others.remove(0);
            self.takes_the_place(other, room, Some(first));
        }
        for other in others {
            self.enters(other, room);
        }
        self.leaves(first);
        self.leaves(second);
        self.tell(What::AttendedTransfer {
            success: true,
            transferer: from,
            consulting: consulting.into(),
            transferee: whom,
            target,
        });
        self.hangs_up(first);
        self.hangs_up(second);
    }

    /// The same while the target still rings: the other one takes the place of `second` in Dial()
    /// (main/bridge.c, `ast_bridge_transfer_attended`; main/channel.c, `ast_channel_move`).
    pub(crate) fn joins_ringing(&mut self, first: Chan, second: Chan) -> Chan {
        let other = self.partner(first).unwrap();
        let (from, consulting, whom) = (self.snapshot(first), self.snapshot(second), self.snapshot(other));
        self.leaves(first);
        self.tell(What::AttendedTransfer {
            success: true,
            transferer: from,
            consulting: consulting.into(),
            transferee: Some(whom.into()),
            target: None,
        });
        self.leaves(other);
        let dialing = std::mem::take(&mut self.legs.get_mut(&second).unwrap().dialing);
        for peer in &dialing {
            self.legs.get_mut(peer).unwrap().dialer = Some(other);
        }
        self.legs.get_mut(&other).unwrap().dialing = dialing;
        self.change(other, |_| {});
        self.hangs_up(second);
        self.hangs_up(first);
        other
    }

    /// The same when the target has answered and is not joined with `second` yet: the two are joined, and only then does the other one
    /// take the place of `second`, of which no record tells. The transfer is told before they are joined, or behind it.
    pub(crate) fn joins_answered(&mut self, first: Chan, second: Chan, told_first: bool) -> Chan {
        let other = self.partner(first).unwrap();
        let peer = self.leg(second).dialing[0];
        let transfer = What::AttendedTransfer {
            success: true,
            transferer: self.snapshot(first),
            consulting: self.snapshot(second).into(),
            transferee: Some(self.snapshot(other).into()),
            target: None,
        };
        if told_first {
            self.tell(transfer.clone());
        }
        self.answers(peer);
        if !told_first {
            self.tell(transfer);
        }
        self.leaves(first);
        self.leaves(other);
        let room = self.legs.get_mut(&second).unwrap().room.take().unwrap();
        let members = &mut self.rooms.get_mut(&room).unwrap().members;
        members.retain(|member| *member != second);
        members.push(other);
        self.legs.get_mut(&other).unwrap().room = Some(room);
        self.change(other, |_| {});
        self.hangs_up(second);
        self.hangs_up(first);
        other
    }

    /// The employee presses the keys for an attended transfer: his channel goes to another bridge, with a Local channel that
    /// nobody dialled by a record (main/bridge_basic.c, `feature_attended_transfer`). Returns that and the called phone.
    pub(crate) fn consults_by_keys(&mut self, employee: Chan, ext: &str) -> [Chan; 2] {
        let [one, two] = self.consults_outside_by_keys(employee, ext);
        [one, self.dials_phone(two, ext)]
    }

    /// The same; whom the second half of the Local channel calls is left to the dialplan.
    pub(crate) fn consults_outside_by_keys(&mut self, employee: Chan, exten: &str) -> [Chan; 2] {
        let [one, two] = self.local(Some(employee), exten);
        let room = self.room("simple_bridge");
        self.enters(one, room);
        self.enters(employee, room);
        [one, two]
    }

    /// He goes back to who waits for him.
    pub(crate) fn goes_back_by_keys(&mut self, employee: Chan, waiting: Chan, one: Chan) {
        let room = self.leg(waiting).room.unwrap();
        self.enters(employee, room);
        self.hangs_up(one);
    }

    /// He hangs up, and those whom he talked with are joined.
    pub(crate) fn completes_by_keys(&mut self, employee: Chan, waiting: Chan, one: Chan) {
        let room = self.leg(waiting).room.unwrap();
        let transferer = self.snapshot(employee);
        let (transferee, target) = (self.snapshot(waiting), self.snapshot(one));
        self.leaves(employee);
        self.enters(one, room);
        self.tell(What::AttendedTransfer {
            success: true,
            consulting: transferer.clone().into(),
            transferer,
            transferee: Some(transferee.into()),
            target: Some(target.into()),
        });
        self.hangs_up(employee);
    }

    /// Another phone takes the ringing call (main/pickup.c, `ast_do_pickup`): its channel takes the ringing one's place.
    pub(crate) fn picks_up(&mut self, ext: &str, ringing: Chan) -> Chan {
        let picker = self.phone_calls(ext, "*8");
        self.is_answered(picker);
        let (channel, target) = (self.snapshot(picker), self.snapshot(ringing));
        let dialer = self.leg(ringing).dialer.unwrap();
        self.change(picker, |channel| channel.application = Text::default());
        self.tell(What::Pickup {
            channel,
            target: target.into(),
        });
        let leg = self.legs.get_mut(&picker).unwrap();
        leg.called = true;
        leg.dialer = Some(dialer);
        let leg = self.legs.get_mut(&ringing).unwrap();
        leg.called = false;
        leg.dialer = None;
        let dialing = &mut self.legs.get_mut(&dialer).unwrap().dialing;
        dialing.retain(|other| *other != ringing);
        dialing.push(picker);
        self.hangs_up(ringing);
        self.answers(picker);
        picker
    }

    // ---- parking ----------------------------------------------------------------------------------------------------

    fn parking(&mut self, what: &str, parkee: Chan, retriever: Option<Chan>) {
        let (parkee, retriever) = (self.snapshot(parkee), retriever.map(|chan| self.snapshot(chan)));
        self.tell(What::Parking {
            what: what.into(),
            parkee,
            retriever: retriever.map(Box::new),
        });
    }

    /// The employee parks the other one.
    pub(crate) fn parks(&mut self, employee: Chan) -> Chan {
        let other = self.partner(employee).unwrap();
        self.leaves(other);
        let lot = self.lot();
        self.enters(other, lot);
        self.parking("parked", other, None);
        self.hangs_up(employee);
        other
    }

    /// The parking lot: one bridge for all.
    fn lot(&mut self) -> u64 {
        let lot = self
            .rooms
            .iter()
            .find(|(_, room)| room.technology == "holding_bridge");
        let lot = lot.map(|(lot, _)| *lot);
        lot.unwrap_or_else(|| self.room("holding_bridge"))
    }

    pub(crate) fn is_parked(&self, chan: Chan) -> bool {
        let room = self.leg(chan).room.map(|room| &self.rooms[&room]);
        room.is_some_and(|room| room.technology == "holding_bridge")
    }

    /// An employee takes a parked call back.
    pub(crate) fn retrieves(&mut self, ext: &str, parkee: Chan) -> Chan {
        let employee = self.phone_calls(ext, "701");
        self.is_answered(employee);
        self.parking("retrieved", parkee, Some(employee));
        self.joins([parkee, employee]);
        employee
    }

    /// Nobody takes it back: it goes on in the dialplan.
    pub(crate) fn parked_for_long(&mut self, parkee: Chan) {
        self.parking("timed-out", parkee, None);
        self.leaves(parkee);
    }

    // ---- ends -------------------------------------------------------------------------------------------------------

    fn gone(&mut self, chan: Chan) {
        let channel = self.snapshot(chan);
        self.legs.remove(&chan);
        self.tell(What::Gone { channel });
    }

    /// The channel ends and takes with it whatever was there for it alone: whom it calls, the other half of a Local channel,
    /// who is left alone in its bridge.
    pub(crate) fn hangs_up(&mut self, chan: Chan) {
        for other in self.hangs_up_alone(chan) {
            self.hangs_up(other);
        }
    }

    /// The same, but who is left alone in its bridge goes on in the dialplan: those are returned.
    pub(crate) fn hangs_up_alone(&mut self, chan: Chan) -> Vec<Chan> {
        if !self.alive(chan) {
            return Vec::new();
        }
        if self.leg(chan).channel.cause == 0 {
            self.legs.get_mut(&chan).unwrap().channel.cause = 16;
        }
        let mut alone = Vec::new();
        let room = self.leg(chan).room;
        self.leaves(chan);
        if let Some(room) = room.and_then(|room| self.rooms.get(&room))
            && room.technology == "simple_bridge"
            && let [other] = room.members[..]
        {
            self.leaves(other);
            alone.push(other);
        }
        for peer in self.leg(chan).dialing.clone() {
            self.dial_ends(peer, "CANCEL");
            self.hangs_up(peer);
        }
        if self.leg(chan).called {
            self.dial_ends(chan, "CANCEL");
        }
        let half = self.leg(chan).half;
        self.gone(chan);
        if let Some(half) = half.filter(|half| self.alive(*half)) {
            self.legs.get_mut(&half).unwrap().half = None;
            alone.extend(self.hangs_up_alone(half));
        }
        alone
    }

    // ---- a look at all ----------------------------------------------------------------------------------------------

    /// What a module that begins to follow calls now is told of those that run.
    pub(crate) fn look(&mut self) -> Vec<Record> {
        let time = self.now;
        let running = self.legs.values().map(|leg| What::Running {
            channel: leg.channel.clone(),
            bridge: leg.room.map(|room| self.bridge(room)),
        });
        let whats = std::iter::once(What::Lost).chain(running).chain([What::CaughtUp]);
        whats.map(|what| Record { time, what }).collect()
    }
}
