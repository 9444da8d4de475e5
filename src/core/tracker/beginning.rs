//! Calls begin: with a client who calls, or in the middle, when the module is loaded while they run.
//!
//! Invariant: a callid is given once: in the life of a group of joined channels, and in that of the channel whose name it is.

use std::sync::Arc;

use super::call::{Call, Card, Progress};
use super::party::Party;
use super::world::{Id, age, is_number, push};
use super::{Output, Tracker, line_group};
use crate::core::direction::Direction;
use crate::core::durations::Micros;
use crate::core::open_card::OpenCard;
use crate::core::phone::ANONYMOUS;
use crate::core::record::Text;

impl Tracker {
    /// An outside channel that nobody called is a client who calls. A called one is made without a state, and can even be
    /// answered before the record of its being called comes; a caller hears ringing first.
    pub(super) fn begins(&mut self, id: &Id, begins: bool) {
        let Some(line) = self.world.line(id) else { return };
        if !self.following || !line.is_outside() || line.was_called() || line.stands_for.is_some() {
            return;
        }
        if let Some(key) = line.client_of {
            // Some channel drivers tell the number later than the channel.
            let (phone, diversion) = (self.client_phone(id), self.called_number(id));
            if let Some(call) = self.calls.get_mut(&key).filter(|call| call.cards.is_empty()) {
                if *call.phone == *ANONYMOUS && phone != call.phone {
                    call.phone = phone.clone();
                    self.output.push(Output::Inbound { phone });
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
        if *call.phone != *ANONYMOUS && !call.silent {
            let phone = call.phone.clone();
            self.output.push(Output::Inbound { phone });
        }
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

    /// A number that came with the call as withheld stays so, whatever the dialplan says of it later: FreePBX's inbound routes allow
    /// every number to be shown (`CALLERID(num-pres)` in its core module).
    fn client_phone(&self, id: &Id) -> Text {
        match self.world.line(id) {
            Some(line) if !line.channel.restricted && !line.withheld => {
                self.settings.numbering.crm_form(&line.channel.caller).into()
            }
            _ => ANONYMOUS.into(),
        }
    }

    /// Providers name a number in many ways, some of them no number at all.
    pub(super) fn company_number(&self, number: &str) -> Text {
        if number.bytes().filter(u8::is_ascii_digit).count() < 7 {
            return number.into();
        }
        self.settings.numbering.crm_form(number).into()
    }

    /// `id` is the client's channel, or the employee's when there is none.
    pub(super) fn new_call(&mut self, id: &Id, direction: Direction, phone: Text, diversion: Text) -> Call {
        let group = line_group(&self.world, id);
        let resumed = |id: &Id| self.resumed.iter().any(|card| *card.callid == **id);
        // The CRM's key must not come twice. A linkedid outlives the first call where an employee's channel goes on, and is handed
        // on in a conference; so it serves for the call of the channel that it was made for, and for one that the CRM knows by it.
        let is_used = |callid: &Id| {
            let known = self.world.group(&group);
            // A channel that has gone to another group has taken its name along.
            known.is_some_and(|known| known.callids.contains(callid))
                || self.world.line(callid).is_some_and(|line| line.named)
        };
        let is_own = !is_used(&group)
            && match direction {
                Direction::In => resumed(&group) && !resumed(id),
                Direction::Out => {
                    let named_by = self.world.line(&group);
                    resumed(&group) || named_by.is_some_and(|line| line.group == group)
                }
            };
        let mut callid = Arc::clone(if is_own { &group } else { id });
        // A number that the dialplan lets out for nobody has no client's channel, so of two employees in one group the one whose channel
        // named it can find its name given away.
        for count in 2.. {
            if !is_used(&callid) {
                break;
            }
            callid = format!("{id}-{count}").into();
        }
        if let Some(line) = self.world.line_mut(&callid) {
            line.named = true;
        }
        push(&mut self.world.group_mut(&group).callids, Arc::clone(&callid));
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
            taken: false,
            concluded: false,
            silent: self.winding_up,
            tried: None,
            responsible: None,
            outcome: "NoAnswer",
            recorded: false,
            lines: Vec::new(),
            cards: Vec::new(),
        }
    }

    pub(super) fn add_call(&mut self, mut call: Call, client: &Id) -> u64 {
        let key = self.next;
        self.next += 1;
        push(&mut call.clients, Arc::clone(client));
        self.calls.insert(key, Box::new(call));
        if let Some(line) = self.world.line_mut(client) {
            line.client_of = Some(key);
        }
        key
    }

    /// All channels that exist are known: what they are to each other follows from their age.
    pub(super) fn catch_up(&mut self) {
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
    call.taken |= accepted.is_some();
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
