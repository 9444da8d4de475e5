//! The cards that employees have on their screens and that were not closed yet.
//!
//! Invariants:
//! - a card is open from the acceptance of its INCOMING or OUTGOING until that of its COMPLETED, whatever became of the
//!   requests: one that was given up as stale still needs its end, because the CRM is told of every end;
//! - [`OpenCard::closing`] repeats the opening's values as they are encoded and decodes none, so that bytes that are no
//!   UTF-8 stay what they are;
//! - while the module runs, [`OpenCards`] is the truth and the spool's table follows it; what the table does not know yet is
//!   one change a card, however often the card changed.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::draft::{Draft, Kind};
use super::recent::Recent;

/// More cards than this are not remembered: whoever has so many sends INCOMING and never COMPLETED.
pub const MOST: usize = 20_000;
/// When there are more, so many of the oldest go at once, so that looking for them is rare.
const PORTION: usize = MOST / 100;

/// A card that was shown and not closed. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCard {
    /// The call.
    pub callid: String,
    /// The employee's number.
    pub ext: String,
    /// The body of the INCOMING or OUTGOING that opened it.
    pub opening: String,
    /// When that was accepted.
    pub shown: u64,
    /// When its ACCEPTED was, if there was one.
    pub accepted: Option<u64>,
    /// Until when the module followed the call, as far as is known; `None` for one that it follows now.
    pub alive: Option<u64>,
}

impl OpenCard {
    fn age_and_name(&self) -> (u64, &str, &str) {
        (self.shown, &self.callid, &self.ext)
    }

    /// The COMPLETED that tells what is known: Success with the talk time until the module last followed the call, or that
    /// nobody answered.
    #[must_use]
    pub fn closing(&self) -> Draft {
        let mut body = String::with_capacity(self.opening.len() + 64);
        let mut outbound = false;
        for pair in self.opening.split('&') {
            let (name, value) = form_urlencoded::parse(pair.as_bytes()).next().unwrap_or_default();
            let kept = match &*name {
                "event" => "event=COMPLETED",
                "cmd" | "type" | "phone" | "diversion" | "ext" | "callid" => pair,
                _ => continue,
            };
            outbound |= name == "type" && value == "out";
            if !body.is_empty() {
                body.push('&');
            }
            body.push_str(kept);
        }
        let (status, seconds) = match self.accepted {
            Some(accepted) => {
                let until = self.alive.unwrap_or(accepted);
                ("Success", until.saturating_sub(accepted) / 1_000)
            }
            None if outbound => ("NoAnswer", 0),
            None => ("Missed", 0),
        };
        body.push_str(&format!("&duration={seconds}&is_recorded=0&status={status}"));
        Draft {
            callid: self.callid.clone(),
            kind: Kind::Completed,
            ext: self.ext.clone(),
            body,
        }
    }
}

/// A change that the spool's table lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CardChange<'a> {
    /// The card's whole row, new or in place of the one that is there.
    Put(&'a OpenCard),
    /// The row is there; the card was accepted, or goes on in this run.
    Accept(&'a OpenCard),
    /// The row goes.
    Remove {
        /// The call.
        callid: &'a str,
        /// The employee's number.
        ext: &'a str,
    },
}

#[derive(Debug)]
struct Held {
    name: Arc<str>,
    card: OpenCard,
    /// False for one that was closed and whose row is still to be removed.
    open: bool,
    /// Whether the table has a row of this card.
    in_table: bool,
    lack: Lack,
}

/// What the table lacks of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    Nothing,
    Row,
    Acceptance,
    Removal,
}

/// Every open card, and what the spool's table does not know of them yet.
#[derive(Debug, Default)]
pub struct OpenCards {
    cards: HashMap<Arc<str>, Held>,
    /// The names of those of which the table lacks something, each once.
    lacking: Vec<Arc<str>>,
    /// What was closed while the disk's table was out of reach: it may hold those cards from an earlier run.
    closed: Option<Recent<()>>,
}

impl OpenCards {
    /// Follows a request that was accepted at `at`.
    pub fn note(&mut self, draft: &Draft, at: u64) {
        if draft.kind == Kind::Record {
            return;
        }
        let name = name(&draft.callid, &draft.ext);
        match draft.kind {
            Kind::Incoming | Kind::Outgoing => {
                let card = OpenCard {
                    callid: draft.callid.clone(),
                    ext: draft.ext.clone(),
                    opening: draft.body.clone(),
                    shown: at,
                    accepted: None,
                    alive: None,
                };
                let held = match self.cards.get_mut(name.as_str()) {
                    Some(held) => {
                        held.card = card;
                        held.open = true;
                        held
                    }
                    None => hold(&mut self.cards, name, card, false),
                };
                lacks(held, Lack::Row, &mut self.lacking);
            }
            Kind::Accepted => {
                let Some(held) = self.cards.get_mut(name.as_str()).filter(|held| held.open) else {
                    return;
                };
                held.card.accepted.get_or_insert(at);
                // A card of an earlier run goes on in this one.
                held.card.alive = None;
                if held.lack == Lack::Nothing {
                    lacks(held, Lack::Acceptance, &mut self.lacking);
                }
            }
            Kind::Completed | Kind::Record => {
                if let Some(held) = self.cards.get_mut(name.as_str()) {
                    held.open = false;
                    lacks(held, Lack::Removal, &mut self.lacking);
                }
                if let Some(closed) = &mut self.closed {
                    closed.note(&name, ());
                }
            }
        }
    }

    /// The spool now is one whose table holds `rows`. What is known here and not there is to be written; what was closed while
    /// that table was out of reach is to be removed from it.
    pub fn adopt(&mut self, rows: Vec<OpenCard>) {
        self.start_over();
        let closed = self.closed.take();
        for row in rows {
            let name = name(&row.callid, &row.ext);
            if let Some(held) = self.cards.get_mut(name.as_str()) {
                held.in_table = true;
                continue;
            }
            let gone = closed.as_ref().is_some_and(|closed| closed.of(&name).is_some());
            let held = hold(&mut self.cards, name, row, true);
            if gone {
                held.open = false;
                lacks(held, Lack::Removal, &mut self.lacking);
            }
        }
    }

    /// The spool now is a new one, whose table is empty.
    pub fn start_over(&mut self) {
        self.cards.retain(|_, held| held.open);
        self.lacking.clear();
        for held in self.cards.values_mut() {
            (held.in_table, held.lack) = (false, Lack::Row);
            self.lacking.push(Arc::clone(&held.name));
        }
    }

    /// The same, while the table on the disk, which will come back, is out of reach.
    pub fn start_over_in_memory(&mut self) {
        self.start_over();
        self.closed = Some(Recent::new(MOST));
    }

    /// Rows that go from the table. They are not to be written before the COMPLETED that closed the card is.
    #[must_use]
    pub fn removals(&self) -> Vec<CardChange<'_>> {
        self.changes(|held| {
            (held.lack == Lack::Removal && held.in_table).then_some(CardChange::Remove {
                callid: &held.card.callid,
                ext: &held.card.ext,
            })
        })
    }

    /// Rows that come to the table or change: `most` of them, those that have waited longest.
    #[must_use]
    pub fn rows(&self, most: usize) -> Vec<CardChange<'_>> {
        let mut rows = self.changes(|held| match held.lack {
            Lack::Row => Some(CardChange::Put(&held.card)),
            Lack::Acceptance => Some(CardChange::Accept(&held.card)),
            Lack::Nothing | Lack::Removal => None,
        });
        rows.truncate(most);
        rows
    }

    fn changes<'a>(&'a self, change: impl Fn(&'a Held) -> Option<CardChange<'a>>) -> Vec<CardChange<'a>> {
        let lacking = self.lacking.iter().filter_map(|name| self.cards.get(name));
        lacking.filter_map(change).collect()
    }

    /// The table lacks no removal any more.
    pub fn removals_written(&mut self) {
        let cards = &mut self.cards;
        self.lacking.retain(|name| {
            let open = cards.get(name).is_some_and(|held| held.open);
            if !open {
                cards.remove(name);
            }
            open
        });
    }

    /// The table has what [`OpenCards::rows`] gave for as many.
    pub fn rows_written(&mut self, most: usize) {
        let (cards, mut left) = (&mut self.cards, most);
        self.lacking.retain(|name| match cards.get_mut(name) {
            Some(held) if held.open && left > 0 => {
                (held.in_table, held.lack) = (true, Lack::Nothing);
                left -= 1;
                false
            }
            _ => true,
        });
    }

    /// Whether the table holds what is known here.
    #[must_use]
    pub fn are_written(&self) -> bool {
        self.lacking.is_empty()
    }

    /// Whether anybody talks whom this run has seen to accept: the module's being alive is part of what is known then.
    #[must_use]
    pub fn any_talk(&self) -> bool {
        self.open()
            .any(|card| card.accepted.is_some() && card.alive.is_none())
    }

    /// Whether anybody has a card of this call.
    #[must_use]
    pub fn has_one_of(&self, callid: &str) -> bool {
        self.open().any(|card| card.callid == callid)
    }

    /// The calls of which somebody has a card.
    #[must_use]
    pub fn callids(&self) -> HashSet<&str> {
        self.open().map(|card| card.callid.as_str()).collect()
    }

    fn open(&self) -> impl Iterator<Item = &OpenCard> {
        self.cards
            .values()
            .filter(|held| held.open)
            .map(|held| &held.card)
    }

    /// What closes the cards that an earlier Asterisk has left open, the oldest first. `of_earlier`: whether all those that this run
    /// has inherited are; where that is unknown, they are those that were shown before `started`.
    #[must_use]
    pub fn left_open(&self, of_earlier: Option<bool>, started: u64) -> Vec<Draft> {
        let mut left: Vec<&OpenCard> = self
            .open()
            .filter(|card| card.alive.is_some() && of_earlier.unwrap_or(card.shown < started))
            .collect();
        left.sort_unstable_by(|a, b| a.age_and_name().cmp(&b.age_and_name()));
        left.into_iter().map(OpenCard::closing).collect()
    }

    /// Forgets the oldest where there are too many; returns how many.
    pub fn forget_excess(&mut self) -> usize {
        if self.cards.len() <= MOST {
            return 0;
        }
        let open = self.cards.values_mut().filter(|held| held.open);
        let mut open: Vec<&mut Held> = open.collect();
        let excess = open.len().saturating_sub(MOST);
        if excess == 0 {
            return 0;
        }
        open.sort_unstable_by(|a, b| (a.card.shown, &a.name).cmp(&(b.card.shown, &b.name)));
        for held in open.iter_mut().take(excess + PORTION) {
            held.open = false;
            lacks(held, Lack::Removal, &mut self.lacking);
        }
        excess + PORTION
    }

    /// Every open card, the oldest first. Those of this run are followed until `now`.
    #[must_use]
    pub fn list(&self, now: u64) -> Vec<OpenCard> {
        let mut cards: Vec<OpenCard> = self
            .open()
            .map(|card| OpenCard {
                alive: card.alive.or(Some(now)),
                ..card.clone()
            })
            .collect();
        cards.sort_unstable_by(|a, b| a.age_and_name().cmp(&b.age_and_name()));
        cards
    }
}

fn hold(cards: &mut HashMap<Arc<str>, Held>, name: String, card: OpenCard, in_table: bool) -> &mut Held {
    let name: Arc<str> = name.into();
    let held = Held {
        name: Arc::clone(&name),
        card,
        open: true,
        in_table,
        lack: Lack::Nothing,
    };
    cards.entry(name).insert_entry(held).into_mut()
}

fn lacks(held: &mut Held, lack: Lack, lacking: &mut Vec<Arc<str>>) {
    if held.lack == Lack::Nothing {
        lacking.push(Arc::clone(&held.name));
    }
    held.lack = lack;
}

/// A card's name within the table.
fn name(callid: &str, ext: &str) -> String {
    let mut name = String::with_capacity(callid.len() + ext.len() + 1);
    for part in [callid, "\n", ext] {
        name.push_str(part);
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{CardChange, MOST, OpenCard, OpenCards};
    use crate::core::draft::{Draft, Form, Kind};

    fn draft(callid: &str, ext: &str, kind: Kind) -> Draft {
        let way = if kind == Kind::Outgoing { "out" } else { "in" };
        let form = Form::command("event")
            .field(b"type", way.as_bytes())
            .field(b"event", kind.word().as_bytes())
            .field(b"phone", b"+7 9\xff\xd0&=%")
            .field(b"diversion", "имя".as_bytes())
            .field(b"ext", ext.as_bytes())
            .field(b"callid", callid.as_bytes())
            .field(b"data_more", b"left out");
        Draft {
            callid: callid.to_owned(),
            kind,
            ext: ext.to_owned(),
            body: form.finish(),
        }
    }

    fn card(kind: Kind, accepted: Option<u64>, alive: Option<u64>) -> OpenCard {
        OpenCard {
            callid: "c".to_owned(),
            ext: "101".to_owned(),
            opening: draft("c", "101", kind).body,
            shown: 1_000,
            accepted,
            alive,
        }
    }

    #[test]
    fn closes_with_what_is_known_and_with_the_openings_very_bytes() {
        for (kind, way, accepted, alive, ending) in [
            (
                Kind::Incoming,
                "in",
                None,
                Some(9_000),
                "duration=0&is_recorded=0&status=Missed",
            ),
            (
                Kind::Outgoing,
                "out",
                None,
                None,
                "duration=0&is_recorded=0&status=NoAnswer",
            ),
            (
                Kind::Incoming,
                "in",
                Some(2_000),
                Some(64_999),
                "duration=62&is_recorded=0&status=Success",
            ),
            (
                Kind::Outgoing,
                "out",
                Some(2_000),
                Some(4_000),
                "duration=2&is_recorded=0&status=Success",
            ),
            // The clock was set back, or nothing was written after the acceptance.
            (
                Kind::Incoming,
                "in",
                Some(2_000),
                Some(1_000),
                "duration=0&is_recorded=0&status=Success",
            ),
            (
                Kind::Incoming,
                "in",
                Some(2_000),
                None,
                "duration=0&is_recorded=0&status=Success",
            ),
        ] {
            let closing = card(kind, accepted, alive).closing();
            assert_eq!(
                (closing.kind, closing.callid.as_str(), closing.ext.as_str()),
                (Kind::Completed, "c", "101")
            );
            assert_eq!(
                closing.body,
                format!(
                    "cmd=event&type={way}&event=COMPLETED&phone=%2B7+9%FF%D0%26%3D%25&diversion=%D0%B8%D0%BC%D1%8F&ext=101&callid=c&{ending}"
                )
            );
        }
    }

    #[test]
    fn only_what_an_earlier_asterisk_showed_is_left_open() {
        let inherited = card(Kind::Incoming, None, Some(1_500));
        let mut cards = OpenCards::default();
        cards.adopt(vec![inherited.clone()]);
        cards.note(&draft("new", "101", Kind::Incoming), 500);
        // Where nobody knows whose they are, time decides.
        assert_eq!(cards.left_open(None, 1_000), []);
        assert_eq!(cards.left_open(None, 1_001), [inherited.closing()]);
        // Else no clock that was set back or forward does.
        assert_eq!(cards.left_open(Some(true), 1), [inherited.closing()]);
        assert_eq!(cards.left_open(Some(false), 9_000), []);
        // Somebody answers: the call goes on in this run.
        cards.note(&draft("c", "101", Kind::Accepted), 600);
        assert_eq!(cards.left_open(Some(true), 9_000), []);
    }

    #[test]
    fn a_card_is_open_until_its_own_end() {
        let mut cards = OpenCards::default();
        cards.note(&draft("c", "101", Kind::Incoming), 1);
        cards.note(&draft("c", "102", Kind::Incoming), 2);
        cards.note(&draft("d", "101", Kind::Accepted), 3);
        cards.note(&draft("c", "101", Kind::Accepted), 4);
        cards.note(&draft("c", "101", Kind::Accepted), 5);
        cards.note(&draft("c", "102", Kind::Completed), 6);
        cards.note(&draft("c", "101", Kind::Record), 7);
        cards.note(&draft("c", "103", Kind::Completed), 8);
        let open = cards.list(9);
        assert_eq!(open.len(), 1);
        assert_eq!(
            (
                open[0].ext.as_str(),
                open[0].shown,
                open[0].accepted,
                open[0].alive
            ),
            ("101", 1, Some(4), Some(9))
        );
        assert!(cards.any_talk());
        cards.note(&draft("c", "101", Kind::Completed), 10);
        assert!(cards.list(11).is_empty() && !cards.any_talk());
        // What came and went between two writes needs none.
        assert!(cards.removals().is_empty() && cards.rows(1).is_empty());
    }

    /// A table as the spool keeps it.
    #[derive(Default)]
    struct Table(BTreeMap<(String, String), OpenCard>);

    impl Table {
        fn write(&mut self, changes: &[CardChange<'_>]) {
            for change in changes {
                match *change {
                    CardChange::Put(card) => {
                        self.0
                            .insert((card.callid.clone(), card.ext.clone()), card.clone());
                    }
                    CardChange::Accept(card) => {
                        let row = self.0.get_mut(&(card.callid.clone(), card.ext.clone()));
                        let row = row.expect("an acceptance is written to a row that is there");
                        (row.accepted, row.alive) = (card.accepted, card.alive);
                    }
                    CardChange::Remove { callid, ext } => {
                        let row = self.0.remove(&(callid.to_owned(), ext.to_owned()));
                        assert!(row.is_some(), "a removal is written for a row that is there");
                    }
                }
            }
        }

        /// As a later run finds it.
        fn left(&mut self, alive: u64) -> Vec<OpenCard> {
            for card in self.0.values_mut() {
                card.alive.get_or_insert(alive);
            }
            self.0.values().cloned().collect()
        }

        fn is(&self, cards: &OpenCards, now: u64) -> bool {
            let followed = |card: &OpenCard| OpenCard {
                alive: card.alive.or(Some(now)),
                ..card.clone()
            };
            let mut rows: Vec<OpenCard> = self.0.values().map(followed).collect();
            rows.sort_unstable_by(|a, b| (a.shown, &a.callid, &a.ext).cmp(&(b.shown, &b.callid, &b.ext)));
            rows == cards.list(now)
        }
    }

    fn write(cards: &mut OpenCards, table: &mut Table) {
        table.write(&cards.removals());
        cards.removals_written();
        table.write(&cards.rows(usize::MAX));
        cards.rows_written(usize::MAX);
        assert!(cards.are_written());
    }

    #[test]
    fn the_table_holds_what_is_known_however_seldom_and_piecemeal_it_is_written() {
        for seed in 0..300 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut cards, mut table) = (OpenCards::default(), Table::default());
            for now in 1..400 {
                let ext = ["101", "102"][random.usize(..2)];
                let kind = Kind::ALL[random.usize(..5)];
                cards.note(&draft(&format!("c{}", random.u8(..3)), ext, kind), now);
                match random.u8(..12) {
                    0 => {
                        table.write(&cards.removals());
                        cards.removals_written();
                    }
                    1 => {
                        let most = random.usize(..4);
                        table.write(&cards.rows(most));
                        cards.rows_written(most);
                    }
                    // A crash: what was not written is lost.
                    2 => {
                        cards = OpenCards::default();
                        cards.adopt(table.left(now));
                    }
                    // A damaged file was replaced by a new one.
                    3 => {
                        table = Table::default();
                        cards.start_over();
                    }
                    4..7 => {
                        write(&mut cards, &mut table);
                        assert!(table.is(&cards, now), "seed {seed}, {now}");
                    }
                    _ => {}
                }
            }
        }
    }

    #[test]
    fn what_happened_in_memory_is_told_to_the_table_that_comes_back() {
        let (mut cards, mut disk) = (OpenCards::default(), Table::default());
        for ext in ["101", "102", "103"] {
            cards.note(&draft("c", ext, Kind::Incoming), 1);
        }
        write(&mut cards, &mut disk);

        let (mut cards, mut memory) = (OpenCards::default(), Table::default());
        cards.start_over_in_memory();
        // Of a card that only the disk knows, of one that is shown again, and of one that is new.
        cards.note(&draft("c", "101", Kind::Completed), 2);
        cards.note(&draft("c", "102", Kind::Incoming), 3);
        cards.note(&draft("c", "104", Kind::Incoming), 4);
        cards.note(&draft("c", "104", Kind::Accepted), 5);
        write(&mut cards, &mut memory);
        cards.adopt(disk.left(2));
        write(&mut cards, &mut disk);
        assert!(disk.is(&cards, 6));
        let open: Vec<_> = cards
            .list(6)
            .into_iter()
            .map(|card| (card.ext, card.shown, card.accepted, card.alive))
            .collect();
        assert_eq!(
            open,
            [
                ("103".to_owned(), 1, None, Some(2)),
                ("102".to_owned(), 3, None, Some(6)),
                ("104".to_owned(), 4, Some(5), Some(6))
            ]
        );
    }

    #[test]
    fn a_card_of_an_earlier_run_goes_on_when_it_is_accepted_in_this_one() {
        let mut cards = OpenCards::default();
        cards.adopt(vec![
            card(Kind::Incoming, None, Some(5_000)),
            OpenCard {
                ext: "102".to_owned(),
                ..card(Kind::Incoming, Some(3_000), Some(5_000))
            },
        ]);
        assert!(!cards.any_talk(), "nobody follows those");
        assert_eq!(
            cards
                .list(9_000)
                .iter()
                .map(|card| card.alive)
                .collect::<Vec<_>>(),
            [Some(5_000); 2]
        );
        cards.note(&draft("c", "101", Kind::Accepted), 8_000);
        assert!(cards.any_talk());
        assert_eq!(cards.list(9_000)[0].alive, Some(9_000));
    }

    #[test]
    fn cards_that_nobody_closes_are_bounded() {
        let mut cards = OpenCards::default();
        for n in 0..=MOST {
            cards.note(&draft(&n.to_string(), "101", Kind::Incoming), n as u64);
        }
        assert_eq!(cards.forget_excess(), 1 + MOST / 100);
        assert_eq!(cards.list(0)[0].shown, 1 + MOST as u64 / 100);
        assert_eq!(cards.rows(usize::MAX).len(), cards.list(0).len());
        assert_eq!(cards.forget_excess(), 0);
    }
}
