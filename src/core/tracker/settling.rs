//! What the CRM knows of a call is made the same as what is.
//!
//! Invariant: whatever is told follows from who is joined with the client and who is called for him at this moment, and from
//! the cards that are open.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Tracker;
use super::call::{Call, Progress};
use super::world::{Called, Id, Reach, push};
use crate::core::direction::Direction;
use crate::core::draft::Draft;
use crate::core::record::{Text, bare};
use crate::core::settings::Missed;

impl Tracker {
    /// The calls that these channels have to do with: those of whom they are joined with or dialled by, and of their linkedids.
    pub(super) fn around(&self, ids: &[Id]) -> BTreeSet<u64> {
        let groups = ids.iter().filter_map(|id| Some(&self.world.line(id)?.group));
        let groups: BTreeSet<&Id> = groups.collect();
        let groups = groups.into_iter().filter_map(|group| self.world.group(group));
        let mut lines = self.world.joined(ids, Reach::Origin);
        lines.extend(groups.flat_map(|group| group.lines.iter().cloned()));
        self.calls_of(&lines)
    }

    pub(super) fn calls_of(&self, lines: &[Id]) -> BTreeSet<u64> {
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

    pub(super) fn settle(&mut self, touched: &[Id]) {
        if !self.following || touched.is_empty() {
            return;
        }
        self.settle_calls(&self.around(touched));
    }

    pub(super) fn settle_calls(&mut self, calls: &BTreeSet<u64>) {
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
                    push(&mut line.talks_in, key);
                }
            }
            let told = call.talks(ext, lines, now);
            if !told.is_empty() {
                self.tell(call, told, "he is joined with the client");
            }
        }
        if present.elsewhere && !call.answered {
            self.tell(call, None, "the client talks with somebody who is no employee");
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
        // Now: one who was transferred to a queue waits again, and its rounds are to open nothing anew.
        let somebody_talks = !present.talking.is_empty() || present.elsewhere;
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
    pub(super) fn miss(&mut self, call: &mut Call, data: &[(&str, &str)], why: &str) {
        let now = self.now;
        let exts = |open: bool| -> Vec<Text> {
            let cards = call
                .cards
                .iter()
                .filter(|card| !open || card.progress == Progress::Open);
            cards.map(|card| card.ext.clone()).collect()
        };
        let responsible = call
            .responsible
            .clone()
            .filter(|_| self.settings.missed == Missed::Responsible);
        let open = exts(true);
        // All were closed while the client waited, or nobody's phone rang at all.
        let mut candidates = if open.is_empty() {
            exts(false)
        } else {
            open.clone()
        };
        if candidates.is_empty() {
            let nobody = Some(&self.settings.nobody).filter(|ext| !ext.is_empty());
            candidates.extend(
                call.tried
                    .clone()
                    .or_else(|| nobody.map(|ext| ext.as_str().into())),
            );
        }
        let chosen = match &responsible {
            Some(ext) => vec![ext.clone()],
            None => Call::missed(self.settings.missed, &candidates).to_vec(),
        };
        if chosen.is_empty() {
            self.tell(
                call,
                None,
                "nobody's phone rang and no employee was tried: there is nobody to tell it to",
            );
        }
        for ext in &open {
            let status = if chosen.contains(ext) {
                "Missed"
            } else {
                "Cancelled"
            };
            let told = call.close(ext, status, data, now);
            self.tell(call, told, why);
        }
        for ext in chosen.iter().filter(|ext| !open.contains(ext)) {
            let mut told: Vec<Draft> = call.open(ext, now).into_iter().collect();
            told.extend(call.close(ext, "Missed", data, now));
            let why = match &responsible {
                Some(_) => "nobody talked with the client, for whom he is responsible",
                None => why,
            };
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
                None => present.elsewhere |= line.is_somebody_else(),
            }
        }
        for id in self.world.joined(&call.clients, Reach::Ring) {
            self.look(&id, &mut present);
        }
        // Where the dialling was not seen, because the module was loaded in the middle of it, the linkedid tells. So it does where an
        // application calls a phone for him: nobody's channel does (res/ari/resource_channels.c, `ari_channels_handle_originate_with_id`).
        let group = call.clients.first().and_then(|client| self.world.line(client));
        let group = group.and_then(|line| self.world.group(&line.group));
        for id in group.into_iter().flat_map(|group| &group.lines) {
            if self.world.line(id).is_some_and(|line| {
                let by_nobody = line.is_called() && line.dialer.is_none();
                (by_nobody || line.called == Called::Unknown) && line.rings()
            }) {
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
    pub(super) fn with_call(&mut self, key: u64, what: impl FnOnce(&mut Self, &mut Call, &[(&str, &str)])) {
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
        self.find_recordings(&mut call);
        let data = self.data(&call.group);
        let data: Vec<(&str, &str)> = data.iter().map(|(name, value)| (&**name, &**value)).collect();
        what(self, &mut call, &data);
        if !call.is_over() {
            self.calls.insert(key, call);
        }
    }

    /// The analytics fields whose variables were set.
    pub(super) fn data(&self, group: &Id) -> Vec<(String, Text)> {
        let Some(group) = self.world.group(group) else {
            return Vec::new();
        };
        let value = |variable: &str| {
            let found = group.variables.iter().find(|(name, _)| **name == *bare(variable));
            found.map(|(_, value)| value.clone())
        };
        let fields = self.settings.data.iter();
        fields
            .filter_map(|(field, variable)| Some((field.clone(), value(variable)?)))
            .collect()
    }
}

/// Who is with the client of a call.
#[derive(Debug, Default)]
struct Present {
    /// Employees who are joined with the client, and their channels.
    talking: Vec<(Text, Vec<Id>)>,
    /// Somebody who is no employee, and no other client, is joined with the client.
    elsewhere: bool,
    /// Employees who are called, whether their phones ring already or not.
    called: Vec<Text>,
    /// Employees whose phones ring.
    ringing: Vec<Text>,
}
