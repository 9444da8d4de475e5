//! The channels and bridges that exist, and who is joined with whom.
//!
//! Invariants:
//! - a channel is in at most one bridge, and a bridge without channels is forgotten;
//! - every channel is in exactly one [`Group`], that of its linkedid, and a group without channels is forgotten;
//! - a record that comes late or twice changes nothing that a later one has said already.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::party::Party;
use super::recordings::Take;
use super::story::Story;
use crate::core::durations::Micros;
use crate::core::record::{Bridge, Channel, Stage, Text};
use crate::core::settings::Calls;

/// A unique id or a linkedid.
pub type Id = Arc<str>;

/// How far the dialling of a channel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Called {
    /// Nobody dialled it.
    No,
    /// It was there before it was followed: whether somebody dialled it is not known.
    Unknown,
    /// It is called and does not ring yet.
    Dialing,
    /// It rings.
    Ringing,
    /// It has answered, and is not joined with its caller yet: he hears an announcement, or is asked whether he takes the call.
    Answered,
    /// It was joined, or given up.
    Over,
}

/// Whose a number in the dialplan is, as far as what is called at it tells: groups and queues have numbers like employees'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nothing tells.
    Unknown,
    /// The employee's of this number: his own phone is called there, or FreePBX says so.
    Employee,
    /// Other employees are called there, or a queue.
    Group,
}

/// What is kept of a channel's snapshots: there are many channels.
#[derive(Debug, Default)]
pub struct Known {
    /// Such as `PJSIP/101-00000001`.
    pub name: Text,
    /// How far it has come.
    pub stage: Stage,
    /// The caller's number: for a called channel its own.
    pub caller: Text,
    /// The number at the other end.
    pub connected: Text,
    /// The number that was dialled to reach it.
    pub dialed: Text,
    /// The number that redirected the call here.
    pub rdnis: Text,
    /// The caller does not want the number to be shown.
    pub restricted: bool,
    /// Where it is in the dialplan.
    pub exten: Text,
    /// The arguments of the application that runs.
    pub data: Text,
    /// The hangup's cause by Q.850, 0 while there is none.
    pub cause: i32,
    /// When it was made.
    pub created: Micros,
}

/// A channel.
#[derive(Debug)]
pub struct Line {
    /// The channel as it was told last.
    pub channel: Known,
    /// The linkedid of its group.
    pub group: Id,
    /// Whose it is.
    pub party: Party,
    /// The bridge it is in.
    pub bridge: Option<Id>,
    /// Who dials it, until they are joined in a bridge or it is given up.
    pub dialer: Option<Id>,
    /// Whom it dials, until then.
    pub dialing: Vec<Id>,
    /// Who takes its place as soon as that one is in no bridge and this one is in one; and the other way round.
    pub successor: Option<Id>,
    /// See `successor`.
    pub predecessor: Option<Id>,
    /// How far its being dialled is.
    pub called: Called,
    /// The dial string by which it was called.
    pub dial_string: Text,
    /// The first number in the dialplan where it was.
    pub first_exten: Text,
    /// The last one: a subroutine (`s`) belongs to the number from which it was called.
    pub last_exten: Text,
    /// Whose `last_exten` is.
    pub holder: Holder,
    /// It has dialled somebody from there.
    pub dials_here: bool,
    /// The employee from whose number the dialplan has sent it on to an outside one, before anybody was called there.
    pub sent_on_by: Option<Text>,
    /// The employee for whom this outside channel stands: his mobile.
    pub stands_for: Option<Text>,
    /// Its number was there and was not to be shown, ever.
    pub withheld: bool,
    /// It has dialled somebody, ever.
    pub has_dialed: bool,
    /// It was in a bridge, ever.
    pub was_bridged: bool,
    /// It was answered, ever.
    pub was_up: bool,
    /// It ran Dial(), ever.
    pub ran_dial: bool,
    /// Its unique id is the callid of a call, or was.
    pub named: bool,
    /// Told of since records were lost.
    pub seen: bool,
    /// The call whose client it is.
    pub client_of: Option<u64>,
    /// The outbound call that it dials.
    pub root_of: Option<u64>,
    /// Calls in which it is an employee's who talks.
    pub talks_in: Vec<u64>,
}

impl Line {
    /// Whether somebody dialled it, or may have.
    #[must_use]
    pub fn was_called(&self) -> bool {
        self.called != Called::No
    }

    /// Whether it is dialled and not joined with its caller yet.
    #[must_use]
    pub fn is_called(&self) -> bool {
        matches!(self.called, Called::Dialing | Called::Ringing | Called::Answered)
    }

    /// Whether it rings.
    #[must_use]
    pub fn rings(&self) -> bool {
        self.channel.stage != Stage::Up
            && (self.called == Called::Ringing
                || (self.called != Called::Over && self.channel.stage == Stage::Ringing))
    }

    /// The employee who is at it: its own or the one for whom a mobile stands. A Local channel that a call was forwarded to
    /// leads to somebody and is nobody.
    #[must_use]
    pub fn ext(&self) -> Option<&Text> {
        match &self.party {
            Party::Employee(ext) => Some(ext),
            Party::Outside => self.stands_for.as_ref(),
            Party::Local | Party::Device | Party::Own => None,
        }
    }

    /// This employee is called where it is.
    pub fn calls_for(&mut self, ext: &Text) {
        if *ext == self.last_exten {
            self.holder = Holder::Employee;
        } else {
            self.calls_a_group();
        }
    }

    /// Not only the employee of its number is called where it is. What his own phone is called at stays his: a secretary may be
    /// called first.
    pub fn calls_a_group(&mut self) {
        if self.holder == Holder::Unknown {
            self.holder = Holder::Group;
        }
    }

    /// Whether it is where this is a group's number.
    #[must_use]
    pub fn is_in_group(&self, number: &str) -> bool {
        self.holder == Holder::Group && *self.last_exten == *number
    }

    /// Whether somebody is at it who is no employee: he is outside, or at a device without an employee's number.
    #[must_use]
    pub fn is_somebody_else(&self) -> bool {
        matches!(self.party, Party::Outside | Party::Device) && self.ext().is_none()
    }

    /// Whether it is an outside channel.
    #[must_use]
    pub fn is_outside(&self) -> bool {
        self.party == Party::Outside
    }
}

/// The channels of one linkedid.
#[derive(Debug, Default)]
pub struct Group {
    /// Those that exist.
    pub lines: Vec<Id>,
    /// Those that ever were in it, up to a bound.
    pub seen: Vec<Id>,
    /// What happened.
    pub story: Story,
    /// Variables that the analytics fields ask for.
    pub variables: Vec<(Text, Text)>,
    /// The callids that were given to calls of this group.
    pub callids: Vec<Id>,
    /// What of it is recorded.
    pub takes: Vec<Take>,
    /// The callids whose ends have promised a recording.
    pub promised: Vec<Id>,
}

impl Group {
    /// A client who waits in a queue for hours is offered to thousands of channels.
    fn saw(&mut self, id: &Id) {
        /// Enough to find a call by any channel of an ordinary one.
        const MOST: usize = 500;
        if self.seen.len() < MOST && !self.seen.contains(id) {
            push(&mut self.seen, Arc::clone(id));
        }
    }
}

#[derive(Debug, Default)]
struct Room {
    /// Its members wait, and do not hear each other: a parking lot, a pool of agents.
    holding: bool,
    lines: Vec<Id>,
}

/// Everything that exists.
#[derive(Debug, Default)]
pub struct World {
    // Boxed, because a node of the map has room for eleven, and half of them stay empty.
    lines: BTreeMap<Id, Box<Line>>,
    groups: BTreeMap<Id, Box<Group>>,
    rooms: BTreeMap<Id, Room>,
    locals: BTreeMap<Text, Id>,
}

/// Adds to a list that has one entry or two in nearly every call, and in very many calls: the room for four that a vector
/// begins with would stay empty.
pub(super) fn push<T>(list: &mut Vec<T>, entry: T) {
    if list.len() < 4 {
        list.reserve_exact(1);
    }
    list.push(entry);
}

/// How far to look for who is joined with whom.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those who hear each other: through bridges and Local channels.
    Talk,
    /// And those who are being dialled by them.
    Ring,
    /// And those who dialled them.
    Origin,
}

impl World {
    /// A channel.
    #[must_use]
    pub fn line(&self, id: &str) -> Option<&Line> {
        self.lines.get(id).map(|line| &**line)
    }

    /// A channel, and its unique id as it is kept.
    #[must_use]
    pub fn line_with_id(&self, id: &str) -> Option<(&Id, &Line)> {
        self.lines.get_key_value(id).map(|(id, line)| (id, &**line))
    }

    /// A channel.
    pub fn line_mut(&mut self, id: &str) -> Option<&mut Line> {
        self.lines.get_mut(id).map(|line| &mut **line)
    }

    /// A group.
    #[must_use]
    pub fn group(&self, id: &str) -> Option<&Group> {
        self.groups.get(id).map(|group| &**group)
    }

    /// A group, which is made if there is none.
    pub fn group_mut(&mut self, id: &Id) -> &mut Group {
        self.groups.entry(Arc::clone(id)).or_default()
    }

    /// All channels.
    pub fn lines(&self) -> impl Iterator<Item = (&Id, &Line)> {
        self.lines.iter().map(|(id, line)| (id, &**line))
    }

    /// All groups.
    pub fn groups(&self) -> impl Iterator<Item = (&Id, &Group)> {
        self.groups.iter().map(|(id, group)| (id, &**group))
    }

    /// How many channels there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether nothing exists: no channel, no group, no bridge.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.groups.is_empty() && self.rooms.is_empty() && self.locals.is_empty()
    }

    /// Takes over what a record tells of a channel, which becomes known if it was not. Returns its id.
    pub fn update(&mut self, told: &Channel, calls: &Calls) -> Id {
        if let Some((id, line)) = self.lines.get_key_value(&*told.uniqueid) {
            let id = Arc::clone(id);
            let moved = *line.group != *told.linkedid && !told.linkedid.is_empty();
            if let Some(line) = self.lines.get_mut(&*id) {
                // A masquerade exchanges names (main/channel.c, `channel_do_masquerade`).
                if line.party == Party::Local && line.channel.name != told.name {
                    forget_local(&mut self.locals, &line.channel.name, &id);
                    self.locals.insert(told.name.clone(), Arc::clone(&id));
                }
                line.take(told, calls);
            }
            if moved {
                self.regroup(&id, &told.linkedid);
            }
            return id;
        }
        let id: Id = Arc::from(&*told.uniqueid);
        let linkedid = if told.linkedid.is_empty() {
            &told.uniqueid
        } else {
            &told.linkedid
        };
        let group = self
            .groups
            .get_key_value(&**linkedid)
            .map_or_else(|| Arc::from(&**linkedid), |(group, _)| Arc::clone(group));
        let party = Party::of(&told.name, &told.caller, calls);
        if party == Party::Local {
            self.locals.insert(told.name.clone(), Arc::clone(&id));
        }
        let mut line = Line {
            channel: Known::default(),
            group: Arc::clone(&group),
            party,
            bridge: None,
            dialer: None,
            dialing: Vec::new(),
            successor: None,
            predecessor: None,
            called: Called::No,
            dial_string: Text::default(),
            first_exten: Text::default(),
            last_exten: Text::default(),
            holder: Holder::Unknown,
            dials_here: false,
            sent_on_by: None,
            stands_for: None,
            withheld: false,
            has_dialed: false,
            was_bridged: false,
            was_up: false,
            ran_dial: false,
            named: false,
            seen: true,
            client_of: None,
            root_of: None,
            talks_in: Vec::new(),
        };
        line.take(told, calls);
        self.lines.insert(Arc::clone(&id), Box::new(line));
        let group = self.group_mut(&group);
        push(&mut group.lines, Arc::clone(&id));
        group.saw(&id);
        id
    }

    /// The channel has got another linkedid: its call was joined with an older one.
    fn regroup(&mut self, id: &Id, linkedid: &str) {
        let to = self
            .groups
            .get_key_value(linkedid)
            .map_or_else(|| Arc::from(linkedid), |(group, _)| Arc::clone(group));
        let Some(line) = self.lines.get_mut(id) else {
            return;
        };
        let from = std::mem::replace(&mut line.group, Arc::clone(&to));
        let group = self.group_mut(&to);
        push(&mut group.lines, Arc::clone(id));
        group.saw(id);
        let Some(old) = self.groups.get_mut(&from) else {
            return;
        };
        old.lines.retain(|line| line != id);
        if !old.lines.is_empty() {
            return;
        }
        let Some(old) = self.groups.remove(&from) else {
            return;
        };
        let new = self.group_mut(&to);
        new.story.prepend(&old.story);
        for id in &old.seen {
            new.saw(id);
        }
        new.callids.extend(old.callids);
        new.takes.extend(old.takes);
        new.promised.extend(old.promised);
        for (name, value) in old.variables {
            if !new.variables.iter().any(|(known, _)| *known == name) {
                new.variables.push((name, value));
            }
        }
    }

    /// The channel is gone. Returns its group if that was the last one.
    pub fn remove(&mut self, id: &Id) -> Option<(Id, Box<Group>)> {
        self.leave(id);
        self.unlink(id);
        let line = self.lines.remove(id)?;
        if line.party == Party::Local {
            forget_local(&mut self.locals, &line.channel.name, id);
        }
        let group = self.groups.get_mut(&line.group)?;
        group.lines.retain(|line| line != id);
        if group.lines.is_empty() {
            self.groups.remove_entry(&line.group)
        } else {
            None
        }
    }

    /// The channel is in this bridge now, or whoever takes its place, who is returned.
    pub fn enter(&mut self, id: &Id, bridge: &Bridge) -> Option<Id> {
        let key = self
            .rooms
            .get_key_value(&*bridge.uniqueid)
            .map_or_else(|| Arc::from(&*bridge.uniqueid), |(key, _)| Arc::clone(key));
        if self
            .lines
            .get(id)
            .is_none_or(|line| line.bridge.as_ref() == Some(&key))
        {
            return None;
        }
        self.leave(id);
        // A bridge changes its technology as channels come and go, so the last word holds.
        self.rooms.entry(Arc::clone(&key)).or_default().holding = &*bridge.technology == "holding_bridge";
        self.sit(id, &key);
        let successor = self.lines.get(id)?.successor.clone()?;
        self.take_place(&successor).then_some(successor)
    }

    fn sit(&mut self, id: &Id, key: &Id) {
        push(
            &mut self.rooms.entry(Arc::clone(key)).or_default().lines,
            Arc::clone(id),
        );
        if let Some(line) = self.lines.get_mut(id) {
            line.bridge = Some(Arc::clone(key));
            line.was_bridged = true;
        }
        // Who dialled and who was dialled come one after the other.
        let Some(line) = self.lines.get(id) else { return };
        let is_here = |other: &&Id| {
            self.lines
                .get(*other)
                .is_some_and(|other| other.bridge.as_ref() == Some(key))
        };
        let mut joined: Vec<Id> = line.dialing.iter().filter(is_here).cloned().collect();
        joined.extend(line.dialer.iter().filter(is_here).map(|_| Arc::clone(id)));
        for peer in joined {
            self.unlink(&peer);
        }
    }

    /// By a masquerade `to` takes the place of `from`, of which no record tells, if `from` was in a bridge by then
    /// (main/channel.c, `ast_channel_move`).
    pub fn succeed(&mut self, from: &Id, to: &Id) {
        if let Some(line) = self.lines.get_mut(from) {
            line.successor = Some(Arc::clone(to));
        }
        if let Some(line) = self.lines.get_mut(to) {
            line.predecessor = Some(Arc::clone(from));
        }
        self.take_place(to);
    }

    fn take_place(&mut self, id: &Id) -> bool {
        let from = self
            .lines
            .get(id)
            .filter(|line| line.bridge.is_none())
            .and_then(|line| line.predecessor.clone());
        let Some(from) = from else { return false };
        let Some(key) = self.lines.get_mut(&from).and_then(|line| {
            let key = line.bridge.clone()?;
            line.successor = None;
            Some(key)
        }) else {
            return false;
        };
        if let Some(line) = self.lines.get_mut(id) {
            line.predecessor = None;
        }
        let holding = self.rooms.get(&key).is_some_and(|room| room.holding);
        self.leave(&from);
        self.rooms.entry(Arc::clone(&key)).or_default().holding = holding;
        self.sit(id, &key);
        true
    }

    /// The channel has left its bridge, and takes a place in another if one waits for it.
    pub fn depart(&mut self, id: &Id) {
        self.leave(id);
        self.take_place(id);
    }

    /// The channel is in no bridge any more.
    pub fn leave(&mut self, id: &Id) {
        let Some(bridge) = self.lines.get_mut(id).and_then(|line| line.bridge.take()) else {
            return;
        };
        self.unlink(id);
        if let Some(room) = self.rooms.get_mut(&bridge) {
            room.lines.retain(|line| line != id);
            if room.lines.is_empty() {
                self.rooms.remove(&bridge);
            }
        }
    }

    /// `caller` dials `peer`.
    pub fn dial(&mut self, caller: Option<&Id>, peer: &Id) {
        if let Some(line) = self.lines.get_mut(peer) {
            line.called = Called::Dialing;
        }
        self.link(caller, peer);
    }

    /// `peer` is dialled by `caller` and by nobody else.
    fn link(&mut self, caller: Option<&Id>, peer: &Id) {
        let Some(line) = self.lines.get_mut(peer) else {
            return;
        };
        let old = std::mem::replace(&mut line.dialer, caller.cloned());
        if let Some(old) = old.and_then(|old| self.lines.get_mut(&old)) {
            old.dialing.retain(|line| line != peer);
        }
        if let Some(caller) = caller.and_then(|caller| self.lines.get_mut(caller)) {
            caller.has_dialed = true;
            caller.dials_here = true;
            push(&mut caller.dialing, Arc::clone(peer));
        }
    }

    /// `peer` is not dialled any more.
    pub fn unlink(&mut self, peer: &Id) {
        if let Some(line) = self.lines.get_mut(peer).filter(|line| line.was_called()) {
            line.called = Called::Over;
            self.link(None, peer);
        }
    }

    /// `peer` has answered who dials it.
    pub fn answered(&mut self, peer: &Id) {
        if let Some(line) = self.lines.get_mut(peer).filter(|line| line.is_called()) {
            line.called = Called::Answered;
        }
    }

    /// `peer` is dialled by `caller`, who may have taken another one's place.
    pub fn dialed_by(&mut self, caller: &Id, peer: &Id) {
        let line = self.lines.get(peer).filter(|line| line.is_called());
        if line.is_some_and(|line| line.dialer.as_ref() != Some(caller)) {
            self.link(Some(caller), peer);
        }
    }

    /// The channel was there when all were looked at: what it did before, nobody saw.
    pub fn found(&mut self, id: &Id) {
        if let Some(line) = self.lines.get_mut(id).filter(|line| line.called == Called::No) {
            line.called = Called::Unknown;
        }
    }

    /// What is still dialled by `from` is now dialled by `to`.
    pub fn hand_over(&mut self, from: &str, to: &Id) {
        // `from` may be gone already: its peers still name it.
        let dialed = self
            .lines
            .iter()
            .filter(|(_, line)| line.dialer.as_deref() == Some(from));
        let dialed: Vec<Id> = dialed.map(|(id, _)| Arc::clone(id)).collect();
        for peer in dialed {
            self.link(Some(to), &peer);
        }
    }

    /// The other half of a Local channel.
    fn other_half(&self, line: &Line) -> Option<&Id> {
        if line.party != Party::Local {
            return None;
        }
        let name = &*line.channel.name;
        let other = match name.strip_suffix(";1") {
            Some(stem) => format!("{stem};2"),
            None => format!("{};1", name.strip_suffix(";2")?),
        };
        self.locals.get(&*other)
    }

    /// The channels that are joined with these, themselves included, nearest first.
    #[must_use]
    pub fn joined(&self, from: &[Id], reach: Reach) -> Vec<Id> {
        let mut found: Vec<Id> = Vec::new();
        let mut seen: BTreeSet<&Id> = BTreeSet::new();
        let mut entered: BTreeSet<&Id> = BTreeSet::new();
        let mut queue: VecDeque<&Id> = from.iter().collect();
        while let Some(id) = queue.pop_front() {
            let Some((id, line)) = self.lines.get_key_value(id) else {
                continue;
            };
            if !seen.insert(id) {
                continue;
            }
            found.push(Arc::clone(id));
            // A conference's members lead to each other, and are looked through once.
            let bridge = line.bridge.as_ref().filter(|bridge| entered.insert(bridge));
            let room = bridge.and_then(|bridge| self.rooms.get(bridge));
            if let Some(room) = room.filter(|room| !room.holding) {
                queue.extend(&room.lines);
            }
            queue.extend(self.other_half(line));
            match reach {
                Reach::Talk => {}
                Reach::Ring => queue.extend(&line.dialing),
                Reach::Origin => {
                    queue.extend(&line.dialer);
                    // Who has answered is as good as joined.
                    let answered = |id: &&Id| {
                        self.lines
                            .get(*id)
                            .is_some_and(|line| line.called == Called::Answered)
                    };
                    queue.extend(line.dialing.iter().filter(answered));
                }
            }
        }
        found
    }

    /// Every channel is unseen until it is told of again.
    pub fn doubt(&mut self) {
        for line in self.lines.values_mut() {
            line.seen = false;
        }
    }

    /// The channels that were not told of since [`World::doubt`].
    #[must_use]
    pub fn unseen(&self) -> Vec<Id> {
        let lines = self.lines.iter().filter(|(_, line)| !line.seen);
        lines.map(|(id, _)| Arc::clone(id)).collect()
    }
}

/// Takes the half's name out, unless it is another's meanwhile.
fn forget_local(locals: &mut BTreeMap<Text, Id>, name: &Text, id: &Id) {
    if locals.get(name) == Some(id) {
        locals.remove(name);
    }
}

impl Line {
    fn take(&mut self, told: &Channel, calls: &Calls) {
        let known = &mut self.channel;
        let take = |known: &mut Text, told: &Text| {
            if known != told {
                known.clone_from(told);
            }
        };
        take(&mut known.name, &told.name);
        take(&mut known.caller, &told.caller);
        take(&mut known.connected, &told.connected);
        take(&mut known.dialed, &told.dialed);
        take(&mut known.rdnis, &told.rdnis);
        take(&mut known.exten, &told.exten);
        take(&mut known.data, &told.data);
        known.restricted = told.restricted;
        known.created = told.created;
        if told.cause != 0 {
            known.cause = told.cause;
        }
        // A channel that was up stays so: Dial() of a later leg may tell an older snapshot.
        if known.stage != Stage::Up {
            known.stage = told.stage;
        }
        self.withheld |= told.restricted && !told.caller.is_empty();
        self.was_up |= told.stage == Stage::Up;
        self.seen = true;
        if is_number(&told.exten) {
            if self.first_exten.is_empty() {
                self.first_exten.clone_from(&told.exten);
            }
            if self.last_exten != told.exten {
                self.moves_to(&told.exten, calls);
            }
        }
    }
}

impl Line {
    /// It goes on to another number in the dialplan.
    fn moves_to(&mut self, number: &Text, calls: &Calls) {
        let outside = |number: &str| calls.numbering.is_outside(number, &calls.internal);
        let before = std::mem::replace(&mut self.last_exten, number.clone());
        let is_forwarded = self.holder == Holder::Employee && !self.dials_here;
        // A prefix for the trunk makes two outside numbers of one.
        if !outside(number) {
            self.sent_on_by = None;
        } else if !outside(&before) {
            self.sent_on_by = is_forwarded.then_some(before);
        }
        self.holder = Holder::Unknown;
        self.dials_here = false;
    }
}

/// Whether it is a number in the dialplan and not one of its own extensions (`s`, `h`, `i`, `t`, …).
#[must_use]
pub fn is_number(exten: &str) -> bool {
    exten.bytes().any(|byte| byte.is_ascii_digit())
}

/// How old a channel is, for telling which began a call.
#[must_use]
pub fn age(line: &Line) -> Micros {
    line.channel.created
}
