//! One call with a client, and the cards that it opens on employees' screens.
//!
//! Invariants:
//! - the callid, the direction and the phone never change: the CRM knows the call by them;
//! - a card is opened, then accepted at most once, then closed exactly once, and only then can it be opened again;
//! - an outbound call never opens a card a second time, because the protocol has no event for it (`INCOMING` goes with the
//!   type `in` only, and `OUTGOING` begins a call).

use super::world::{Id, push};
use crate::core::direction::Direction;
use crate::core::draft::{Draft, Event, Kind};
use crate::core::durations::Micros;
use crate::core::record::Text;
use crate::core::settings::Missed;

/// How far a card is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Shown.
    Open,
    /// The employee talks or has talked.
    Accepted,
    /// Not on the screen any more.
    Closed,
}

/// What one employee's screen shows of the call.
#[derive(Debug)]
pub struct Card {
    /// The employee's number.
    pub ext: Text,
    /// How far it is.
    pub progress: Progress,
    /// The spool had no room for its opening.
    pub owes_opening: bool,
    /// The spool had no room for its being accepted.
    pub owes_accepted: bool,
    /// When it was opened.
    pub opened: Micros,
    /// Since when the phone does not ring although the card is open.
    pub idle_since: Option<Micros>,
    /// The employee's channels that were joined with the client.
    pub lines: Vec<Id>,
    /// Whole stretches of talk.
    pub talked: Micros,
    /// Since when he talks now.
    pub talks_since: Option<Micros>,
}

impl Card {
    /// How long he talked.
    #[must_use]
    pub fn talk(&self, now: Micros) -> Micros {
        self.talked + self.talks_since.map_or(0, |since| now.saturating_sub(since))
    }

    fn talks(&mut self, talks: bool, now: Micros) {
        if talks {
            self.talks_since.get_or_insert(now);
        } else if let Some(since) = self.talks_since.take() {
            self.talked += now.saturating_sub(since);
        }
    }
}

/// A call.
#[derive(Debug)]
pub struct Call {
    /// The CRM's key: the linkedid at the beginning.
    pub callid: Id,
    /// The linkedid now.
    pub group: Id,
    /// In or out.
    pub direction: Direction,
    /// The client's number in the CRM's form.
    pub phone: Text,
    /// The company's number that was called or used; empty when it is not known.
    pub diversion: Text,
    /// When it began.
    pub began: Micros,
    /// The client's channels: one, or the latest tries of an outbound call.
    pub clients: Vec<Id>,
    /// Outbound: the employee's channel that dials.
    pub root: Option<Id>,
    /// Somebody has talked with the client.
    pub answered: bool,
    /// It was an employee, whose card can promise a recording.
    pub taken: bool,
    /// What was decided at voicemail: the end adds nothing.
    pub concluded: bool,
    /// It is seen and not told: it began when telling was somebody else's already.
    pub silent: bool,
    /// The employee whom the dialplan tried last.
    pub tried: Option<Text>,
    /// The employee who is responsible for the client in the CRM, once it has said so.
    pub responsible: Option<Text>,
    /// Outbound: what the last try came to.
    pub outcome: &'static str,
    /// It has a recording.
    pub recorded: bool,
    /// The channels that were its client's or an employee's in it, where anything is recorded.
    pub lines: Vec<Id>,
    /// The cards, in the order in which they were first opened.
    pub cards: Vec<Card>,
}

impl Call {
    /// The card of an employee.
    #[must_use]
    pub fn card(&self, ext: &str) -> Option<&Card> {
        self.cards.iter().find(|card| *card.ext == *ext)
    }

    /// Whether nothing more can come of it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.clients.is_empty() && (self.direction == Direction::In || self.root.is_none() || self.answered)
    }

    fn event<'a>(&'a self, ext: &'a str) -> Event<'a> {
        let diversion = if self.diversion.is_empty() {
            ext
        } else {
            &self.diversion
        };
        Event {
            direction: self.direction,
            phone: self.phone.as_bytes(),
            diversion: diversion.as_bytes(),
            ext: ext.as_bytes(),
            callid: self.callid.as_bytes(),
        }
    }

    fn popup(&self, kind: Kind, ext: &str) -> Draft {
        let event = self.event(ext);
        event.draft(kind, event.form(kind))
    }

    fn opening(&self, ext: &str) -> Draft {
        match self.direction {
            Direction::In => self.popup(Kind::Incoming, ext),
            Direction::Out => self.popup(Kind::Outgoing, ext),
        }
    }

    /// Opens the employee's card. `None` when it is open already, or cannot be opened again.
    pub fn open(&mut self, ext: &Text, now: Micros) -> Option<Draft> {
        match self.cards.iter_mut().find(|card| card.ext == *ext) {
            Some(card) if card.progress != Progress::Closed || self.direction == Direction::Out => {
                return None;
            }
            Some(card) => {
                card.progress = Progress::Open;
                card.opened = now;
                card.idle_since = None;
                card.lines.clear();
                card.talked = 0;
            }
            None => push(
                &mut self.cards,
                Card {
                    ext: ext.clone(),
                    progress: Progress::Open,
                    owes_opening: false,
                    owes_accepted: false,
                    opened: now,
                    idle_since: None,
                    lines: Vec::new(),
                    talked: 0,
                    talks_since: None,
                },
            ),
        }
        Some(self.opening(ext))
    }

    /// The employee is joined with the client by these channels, or is not. Gives what the CRM is to be told, if he just began.
    pub fn talks(&mut self, ext: &Text, lines: &[Id], now: Micros) -> Vec<Draft> {
        let mut told = Vec::new();
        if lines.is_empty() {
            if let Some(card) = self.cards.iter_mut().find(|card| card.ext == *ext) {
                card.talks(false, now);
            }
            return told;
        }
        told.extend(self.open(ext, now));
        let Some(card) = self
            .cards
            .iter_mut()
            .find(|card| card.ext == *ext && card.progress != Progress::Closed)
        else {
            return told;
        };
        for line in lines {
            if !card.lines.contains(line) {
                push(&mut card.lines, Id::clone(line));
            }
        }
        card.idle_since = None;
        card.talks(true, now);
        let begins = card.progress == Progress::Open;
        let owes_opening = begins && std::mem::take(&mut card.owes_opening);
        card.progress = Progress::Accepted;
        self.answered = true;
        self.taken = true;
        if owes_opening {
            told.push(self.opening(ext));
        }
        if begins {
            told.push(self.popup(Kind::Accepted, ext));
        }
        told
    }

    /// Closes the employee's card. Empty when it is closed already, or when the CRM never heard of it and need not.
    pub fn close(
        &mut self,
        ext: &Text,
        status: &'static str,
        data: &[(&str, &str)],
        now: Micros,
    ) -> Vec<Draft> {
        let Some(card) = self
            .cards
            .iter_mut()
            .find(|card| card.ext == *ext && card.progress != Progress::Closed)
        else {
            return Vec::new();
        };
        card.talks(false, now);
        card.idle_since = None;
        card.progress = Progress::Closed;
        let seconds = if status == "Success" {
            card.talked / 1_000_000
        } else {
            0
        };
        let owes_opening = std::mem::take(&mut card.owes_opening);
        let owes_accepted = std::mem::take(&mut card.owes_accepted);
        if owes_opening && status == "Cancelled" {
            return Vec::new();
        }
        let recorded: &[u8] = if self.recorded && status == "Success" {
            b"1"
        } else {
            b"0"
        };
        let event = self.event(ext);
        let mut form = event
            .form(Kind::Completed)
            .field(b"duration", seconds.to_string().as_bytes())
            .field(b"is_recorded", recorded)
            .field(b"status", status.as_bytes());
        for (name, value) in data {
            form = form.field(format!("data_{name}").as_bytes(), value.as_bytes());
        }
        let mut told = Vec::new();
        if owes_opening {
            told.push(self.opening(ext));
        }
        if owes_accepted {
            told.push(self.popup(Kind::Accepted, ext));
        }
        told.push(event.draft(Kind::Completed, form));
        told
    }

    /// The spool had no room for this, which the CRM must have before the card's end can be told.
    pub fn owe(&mut self, draft: &Draft) {
        if let Some(card) = self.cards.iter_mut().find(|card| *card.ext == *draft.ext) {
            match draft.kind {
                Kind::Incoming | Kind::Outgoing => card.owes_opening = true,
                Kind::Accepted => card.owes_accepted = true,
                Kind::Completed | Kind::Record => {}
            }
        }
    }

    /// Who gets Missed among these, who are in the order of their first ringing, where the responsible employee is not known.
    #[must_use]
    pub fn missed(rule: Missed, exts: &[Text]) -> &[Text] {
        match (rule, exts) {
            (_, []) => exts,
            (Missed::First | Missed::Responsible, _) => &exts[..1],
            (Missed::Last, _) => &exts[exts.len() - 1..],
            (Missed::All, _) => exts,
        }
    }
}
