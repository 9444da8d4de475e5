//! What one record changes: channels and bridges come, change and go.
//!
//! Invariant: only a channel's creation, or a look at all of them, makes it known; a record about any other is of one that has
//! ended already, and revives nothing.

use std::sync::Arc;

use super::dialing::outcome;
use super::party::{Party, internal, targets};
use super::world::{Id, Reach, is_number};
use super::{Output, Tracker, line_group};
use crate::core::direction::Direction;
use crate::core::draft::Draft;
use crate::core::record::{Channel, Phase, RECORDING, Stage, Text, What, bare};

/// Where a client leaves a message: nobody will take the call any more.
const VOICEMAIL: [&str; 2] = ["VoiceMail", "MinivmRecord"];
/// Where FreePBX goes to ring an extension, also when it then finds that it need not try (`ext-local` in its core module, the others in
/// its module findmefollow).
const FREEPBX: [&str; 4] = ["ext-local", "from-did-direct", "followme-check", "followme-sub"];
/// What it runs at an extension's number, wherever that was dialled, and before it looks whether the extension forwards its calls.
const FREEPBX_EXTENSION: &str = "macro-exten-vm";
/// What it runs to ring several: at a group's number, or at that of an employee whose follow-me it is.
const FREEPBX_SEVERAL: &str = "macro-dial";

impl Tracker {
    /// Changes the world, and gives the channels that the record is about.
    pub(super) fn apply(&mut self, what: &What) -> Vec<Id> {
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
                    Some(bridge) => drop(self.world.enter(&id, bridge)),
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
                let successor = self.world.enter(&id, bridge);
                std::iter::once(id).chain(successor).collect()
            }
            What::Left { channel, .. } => {
                let Some(id) = self.known(channel) else {
                    return Vec::new();
                };
                self.note(&id, format_args!("{} leaves its bridge", channel.name));
                // Whoever was joined with it must be looked at too, and cannot be found afterwards.
                let mut touched = self.world.joined(std::slice::from_ref(&id), Reach::Talk);
                self.world.depart(&id);
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
                    // Or it has answered just now, and is being joined with the transferer.
                    if let Some(other) = ids[1].as_ref().filter(|other| ids[0].as_ref() != Some(other)) {
                        self.world.succeed(other, client);
                    }
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
            What::Contact { phone, responsible } => {
                self.is_responsible(phone, responsible);
                Vec::new()
            }
            What::Variable {
                uniqueid,
                name,
                value,
                ..
            } if **name == *RECORDING => self.is_recorded(uniqueid, value),
            What::Variable {
                uniqueid,
                name,
                value,
                ..
            } => {
                if let Some(group) = self.world.line(uniqueid).map(|line| Arc::clone(&line.group)) {
                    let name = bare(name);
                    let variables = &mut self.world.group_mut(&group).variables;
                    match variables.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, known)) => known.clone_from(value),
                        None => variables.push((name.into(), value.clone())),
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
                line.channel.data.clone(),
            )
        });
        // A transfer moves a channel to another number while the application of the last one runs (main/pbx.c, `ast_explicit_goto`).
        let begins = before.as_ref().is_none_or(|(.., data)| *data != channel.data);
        let Some(id) = self.known(channel) else {
            return Vec::new();
        };
        if let Some((stage, linkedid, exten, _)) = before {
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
        self.tries(&id, channel, begins);
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

    /// Whoever calls with this number now is this employee's client. It changes nothing before the call is missed.
    fn is_responsible(&mut self, phone: &str, responsible: &Text) {
        let Some(ext) = internal(&self.settings.internal, [&**responsible]) else {
            return;
        };
        let calls = self.calls.values_mut();
        let mut told = Vec::new();
        for call in calls.filter(|call| call.direction == Direction::In && *call.phone == *phone) {
            if call.responsible.as_ref() != Some(&ext) {
                call.responsible = Some(ext.clone());
                told.extend(call.clients.first().cloned());
            }
        }
        for id in told {
            self.note(
                &id,
                format_args!("the CRM says that {ext} is responsible for {phone}"),
            );
        }
    }

    /// What the dialplan tries, for a call that reaches nobody's phone: it would be told nowhere. The dialplan's place does not
    /// serve otherwise than in FreePBX's contexts for extensions: groups and menus have numbers like employees'.
    fn tries(&mut self, id: &Id, channel: &Channel, begins: bool) {
        let tried = if &*channel.application == "Dial" {
            let Some(line) = self.world.line_mut(id) else {
                return;
            };
            line.ran_dial = true;
            for ext in targets(&channel.data, &self.settings).filter(|_| begins) {
                line.calls_for(&ext);
            }
            targets(&channel.data, &self.settings).next()
        } else if &*channel.application == "Queue" {
            if let Some(line) = self.world.line_mut(id).filter(|_| begins) {
                line.calls_a_group();
            }
            None
        } else if let Some(number) = self.extension(id, channel) {
            let ext = internal(&self.settings.internal, [&*number]);
            if let (Some(ext), Some(line)) = (&ext, self.world.line_mut(id)) {
                line.calls_for(ext);
            }
            ext
        } else {
            if &*channel.context == FREEPBX_SEVERAL
                && let Some(line) = self.world.line_mut(id)
            {
                line.calls_a_group();
            }
            None
        };
        if let Some(tried) = tried {
            self.tried(id, &tried);
        }
    }

    /// The number of the extension that FreePBX is about to ring.
    fn extension(&self, id: &Id, channel: &Channel) -> Option<Text> {
        if FREEPBX.contains(&&*channel.context) {
            Some(channel.exten.clone())
        } else if &*channel.context == FREEPBX_EXTENSION {
            self.world.line(id).map(|line| line.last_exten.clone())
        } else {
            None
        }
    }

    pub(super) fn tried(&mut self, id: &Id, ext: &Text) {
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

    pub(super) fn gone(&mut self, id: &Id) {
        let touched = self.around(std::slice::from_ref(id));
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
            self.recordings_are_over(&group);
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
}
