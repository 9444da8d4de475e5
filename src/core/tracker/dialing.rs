//! Who calls whom: from a Dial record to an outbound call, or to a mobile that stands for an employee.
//!
//! Invariant: an outside channel that is called is either the client of one outbound call or stands for somebody in another
//! call, never both.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Tracker;
use super::party::{Party, dialed_number, internal};
use super::world::{Called, Holder, Id, Line, Reach, is_number, push};
use crate::core::direction::Direction;
use crate::core::phone::ANONYMOUS;
use crate::core::record::{Text, endpoint};

impl Tracker {
    pub(super) fn dial_begins(&mut self, caller: Option<&Id>, peer: &Id, dial_string: &str) {
        self.world.dial(caller, peer);
        let settings = Arc::clone(&self.settings);
        let is_groups = |number: &str| {
            let caller = caller.and_then(|caller| self.world.line(caller));
            caller.is_some_and(|line| line.is_in_group(number))
        };
        let number = self.world.line(peer).map(|line| line.channel.caller.clone());
        // Only now does a called channel have its number: app_dial sets it between making the channel and calling it. Where the
        // channel has none of its own that is the dialplan's place (apps/app_dial.c, `stored_clid`), and may be a group's.
        let number = number.filter(|number| !is_groups(number)).unwrap_or_default();
        let Some(line) = self.world.line_mut(peer) else {
            return;
        };
        line.dial_string = dial_string.into();
        line.party = Party::of(&line.channel.name, &number, &settings);
        let phone = internal(&settings.internal, [endpoint(&line.channel.name)]);
        let phone = phone.filter(|phone| line.party == Party::Employee(phone.clone()));
        let name = line.channel.name.clone();
        self.note(peer, format_args!("{name} is called by '{dial_string}'"));
        if let (Some(ext), Some(caller)) = (phone, caller.and_then(|caller| self.world.line_mut(caller))) {
            caller.calls_for(&ext);
        }
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
        // He dialled a colleague and waits for him. Where a transfer or the dialplan has sent him to an outside number since, that is whom
        // he calls; and out of a bridge he himself asks somebody by keys (main/bridge_basic.c, `feature_attended_transfer`).
        let calls_a_colleague = origin.iter().any(|id| {
            let internal = |exten: &Text| self.settings.internal.matches(exten.as_bytes());
            self.world.line(id).is_some_and(|line| {
                matches!(line.party, Party::Employee(_))
                    && matches!(line.called, Called::No | Called::Unknown)
                    && line.bridge.is_none()
                    && internal(&line.first_exten)
                    && (internal(&line.last_exten) || line.sent_on_by.is_some())
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
        if has_client || forwarded || calls_a_colleague {
            let ext = lines()
                .next()
                .and_then(|line| line.stands_for.clone())
                .or_else(|| self.forwarder(&origin));
            self.stands_for(peer, ext);
            return;
        }
        let root = origin
            .iter()
            .find(|id| self.world.line(id).is_some_and(|line| line.ext().is_some()))
            .cloned();
        // The dialplan of an originate's Local/EXT calls whoever is to answer at that number, by its second half (main/core_unreal.c): a
        // mobile is his. The client is called behind that by the first half, or at once by a Local channel of his own number.
        let second = |line: &&Line| line.party == Party::Local && line.channel.name.ends_with(";2");
        let called_by = caller.and_then(|caller| self.world.line(caller)).filter(second);
        let originated = called_by.and_then(|_| {
            let numbers = lines().filter(second).map(|line| &*line.first_exten);
            internal(&self.settings.internal, numbers)
        });
        if root.is_none() && originated.is_some() {
            self.stands_for(peer, originated);
            return;
        }
        self.begin_out(root, peer);
    }

    /// It is called for this employee, or for nobody.
    fn stands_for(&mut self, peer: &Id, ext: Option<Text>) {
        if let Some(ext) = &ext {
            self.tried(peer, ext);
        }
        let Some(line) = self.world.line_mut(peer) else {
            return;
        };
        let name = line.channel.name.clone();
        let whom = ext.clone();
        line.stands_for = ext;
        let whom = whom.as_deref().unwrap_or("nobody");
        self.note(peer, format_args!("{name} stands for {whom} in this call"));
    }

    pub(super) fn begin_out(&mut self, root: Option<Id>, peer: &Id) -> u64 {
        let known = root.as_ref().and_then(|root| self.world.line(root)?.root_of);
        if let Some(key) = known
            && let Some(call) = self.calls.get_mut(&key).filter(|call| !call.answered)
        {
            push(&mut call.clients, Arc::clone(peer));
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
    pub(super) fn roots(&mut self, key: u64, root: &Id) {
        let Some(line) = self.world.line_mut(root) else {
            return;
        };
        let before = line.root_of.replace(key).filter(|before| *before != key);
        if let Some(before) = before.and_then(|before| self.calls.get_mut(&before)) {
            before.root = None;
        }
        if let Some(call) = self.calls.get_mut(&key) {
            call.root = Some(Arc::clone(root));
        }
        // Where nobody was called at that moment it is over now, and no channel's end will say so.
        if let Some(before) = before.filter(|_| self.following) {
            self.settle_calls(&BTreeSet::from([before]));
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
        // Behind the prefix it may be written with 8: only 7 and ten digits are a number of Russia and Kazakhstan for sure.
        let is_sent = |sent: &str, dialed: &str| {
            let national = dialed.strip_prefix('7').filter(|national| national.len() == 10);
            dialed.len() >= 7 && sent.ends_with(national.unwrap_or(dialed))
        };
        match (sent, dialed) {
            (Some(sent), Some(dialed)) if is_sent(&sent, &dialed) => dialed.into(),
            (Some(sent), _) => sent.into(),
            (None, Some(dialed)) => dialed.into(),
            (None, None) => ANONYMOUS.into(),
        }
    }

    pub(super) fn dial_goes_on(&mut self, caller: Option<&Id>, peer: &Id, status: &str) {
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

    pub(super) fn dial_ends(&mut self, peer: &Id, status: &str) {
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

    pub(super) fn forwards(&mut self, caller: Option<&Id>, peer: &Id, forwarded: &Id, forward: &str) {
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

    /// The employee from whom a call was forwarded: the channel that says so, else the dialplan's place unless it is a group's.
    fn forwarder(&self, origin: &[Id]) -> Option<Text> {
        let lines = || origin.iter().filter_map(|id| self.world.line(id));
        let internal = |number: &str| internal(&self.settings.internal, [number]);
        lines()
            .find_map(|line| line.stands_for.clone())
            .or_else(|| lines().find_map(|line| internal(&line.channel.rdnis)))
            .or_else(|| lines().find_map(|line| line.sent_on_by.clone()))
            .or_else(|| {
                let places = lines().map(|line| &*line.channel.exten);
                let mut employees = places.filter(|exten| !lines().any(|line| line.is_in_group(exten)));
                employees.find_map(internal)
            })
            // FreePBX dials from a subroutine, of whose number (`s`) Dial() tells the new channel (apps/app_dial.c,
            // `ast_channel_exten_set`).
            .or_else(|| {
                let mut places = lines().filter(|line| line.holder == Holder::Employee);
                places.find_map(|line| internal(&line.last_exten))
            })
    }
}

/// The protocol's status for how a try to reach a client ended (`ast_channel_publish_dial`, and the causes of Q.850 for which
/// `DIALSTATUS` has no word of its own).
pub(super) fn outcome(status: &str, cause: i32) -> &'static str {
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
