//! Whether what the CRM was told is right: every card opened and closed once and in order, and nothing repeated without a
//! reason.
//!
//! Invariants: pure; a repetition is excused only when it says the same to the letter, and only by a kill or an unload in
//! between, or by an answer that went wrong; nothing excuses a loss.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::journal::{Request, What};

/// Why a request may come again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Excuses {
    /// How long the CRM's log was when Asterisk was dead, or the module not loaded: what was told before may have been
    /// forgotten to be told.
    pub(crate) restarts: Vec<usize>,
    /// Between which lines of the log answers went wrong, or connections were cut.
    pub(crate) troubles: Vec<Range<usize>>,
}

impl Excuses {
    /// Whether a request may come again.
    pub(crate) fn cover(&self, first: &Request, again: &Request) -> bool {
        first.faulty
            || self.restarted(first.place, again.place)
            || self.troubles.iter().any(|trouble| trouble.contains(&first.place))
    }

    /// Whether a restart lies between two lines.
    fn restarted(&self, first: usize, then: usize) -> bool {
        self.restarts
            .iter()
            .any(|restart| (first + 1..=then).contains(restart))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Card {
    #[default]
    Closed,
    Shown,
    Accepted,
}

#[derive(Default)]
struct Call<'r> {
    phone: &'r str,
    cards: BTreeMap<&'r str, Card>,
    told: Vec<&'r Request>,
    /// What in `told` was repeated last and at which line, while only repetitions have come since.
    repeated: Option<(usize, usize)>,
    promised: bool,
    linked: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Calls that were told of.
    pub(crate) calls: usize,
    /// Cards opened.
    pub(crate) opened: usize,
    /// Cards closed.
    pub(crate) closed: usize,
    /// Requests that came again, each with a reason.
    pub(crate) repeated: usize,
    /// Links to recordings.
    pub(crate) links: usize,
    /// Calls whose recording was promised and did not come.
    pub(crate) unlinked: Vec<String>,
    /// What is wrong.
    pub(crate) breaches: Vec<String>,
}

/// Judges what was told of calls.
pub(crate) fn judge<'r>(requests: impl Iterator<Item = &'r Request>, excuses: &Excuses) -> Verdict {
    let mut verdict = Verdict::default();
    let mut calls: BTreeMap<&str, Call<'_>> = BTreeMap::new();
    for request in requests {
        let call = calls.entry(&request.callid).or_default();
        verdict.take(call, request, excuses);
    }
    for (callid, call) in &calls {
        for (ext, card) in &call.cards {
            if *card != Card::Closed {
                verdict.breaches.push(format!(
                    "the card of {ext} in call {callid} was never closed ({card:?})"
                ));
            }
        }
        if call.promised && !call.linked {
            verdict.unlinked.push((*callid).to_owned());
        }
    }
    verdict.calls = calls.len();
    verdict
}

impl Verdict {
    fn take<'r>(&mut self, call: &mut Call<'r>, request: &'r Request, excuses: &Excuses) {
        let before = call.cards.get(request.ext.as_str()).copied().unwrap_or_default();
        let next = match (request.what, before) {
            (What::Shown, Card::Closed) => Some(Card::Shown),
            (What::Accepted, Card::Shown) => Some(Card::Accepted),
            (What::Closed, Card::Accepted) => Some(Card::Closed),
            // Nobody was served who did not answer.
            (What::Closed, Card::Shown) if request.status != "Success" => Some(Card::Closed),
            // Once for a call, after its card has promised it.
            (What::Record, _) if call.promised && !call.linked => Some(before),
            _ => None,
        };
        let Some(next) = next else {
            return self.repeat(call, request, excuses);
        };
        call.cards.insert(&request.ext, next);
        match request.what {
            What::Shown => self.opened += 1,
            What::Closed => {
                self.closed += 1;
                call.promised |= request.is_recorded;
                call.linked |= !request.link.is_empty();
            }
            What::Record => {
                self.links += 1;
                call.linked = true;
            }
            What::Accepted => {}
        }
        if !request.phone.is_empty() {
            if call.phone.is_empty() {
                call.phone = &request.phone;
            } else if call.phone != request.phone {
                self.breaches.push(format!(
                    "call {} has another client at line {}: {}, and not {}",
                    request.callid, request.place, request.phone, call.phone
                ));
            }
        }
        call.repeated = None;
        call.told.push(request);
    }

    /// What cannot be news is a repetition, or wrong.
    fn repeat<'r>(&mut self, call: &mut Call<'r>, request: &'r Request, excuses: &Excuses) {
        let first = call.told.iter().rposition(|told| told.text == request.text);
        let Some(first) = first else {
            let before: Vec<String> = call.told.iter().map(|told| brief(told)).collect();
            return self.breaches.push(format!(
                "call {}: {} at line {} is out of order after {}",
                request.callid,
                brief(request),
                request.place,
                if before.is_empty() {
                    "nothing".to_owned()
                } else {
                    before.join(", ")
                }
            ));
        };
        if !excuses.cover(call.told[first], request) {
            return self.breaches.push(format!(
                "call {}: {} of line {} came again at line {} without a reason",
                request.callid,
                brief(request),
                call.told[first].place,
                request.place
            ));
        }
        if let Some((last, place)) = call.repeated
            && first < last
            && !excuses.restarted(place, request.place)
        {
            self.breaches.push(format!(
                "call {}: {} was repeated at line {} behind what had followed it",
                request.callid,
                brief(request),
                request.place
            ));
        }
        call.repeated = Some((first, request.place));
        self.repeated += 1;
    }
}

fn brief(request: &Request) -> String {
    match request.what {
        What::Closed => format!("Closed({}) {}", request.status, request.ext),
        What::Record => "Record".to_owned(),
        what => format!("{what:?} {}", request.ext),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(place: usize, what: What, ext: &str) -> Request {
        Request {
            place,
            what,
            callid: "1.1".to_owned(),
            ext: ext.to_owned(),
            phone: if what == What::Record {
                String::new()
            } else {
                "79101234567".to_owned()
            },
            status: String::new(),
            is_recorded: false,
            link: if what == What::Record {
                "https://pbx/1.mp3".to_owned()
            } else {
                String::new()
            },
            text: format!("{what:?} {ext}"),
            faulty: false,
        }
    }

    /// A call in which two phones ring, and one is answered and recorded.
    fn right() -> Vec<Request> {
        let told = [
            (What::Shown, "101"),
            (What::Shown, "102"),
            (What::Accepted, "102"),
            (What::Closed, "101"),
            (What::Closed, "102"),
            (What::Record, ""),
        ];
        let mut requests: Vec<Request> = told
            .iter()
            .enumerate()
            .map(|(place, (what, ext))| request(place, *what, ext))
            .collect();
        requests[3].status = "Cancelled".to_owned();
        requests[4].status = "Success".to_owned();
        requests[4].is_recorded = true;
        requests
    }

    fn judged(requests: &[Request], excuses: &Excuses) -> Verdict {
        judge(requests.iter(), excuses)
    }

    /// The lines in their order, whatever was done to them.
    fn lined(mut requests: Vec<Request>) -> Vec<Request> {
        for (place, request) in requests.iter_mut().enumerate() {
            request.place = place;
        }
        requests
    }

    #[test]
    fn what_is_right_is_right() {
        let verdict = judged(&right(), &Excuses::default());
        assert_eq!(verdict.breaches, Vec::<String>::new());
        assert_eq!(
            (verdict.opened, verdict.closed, verdict.links, verdict.repeated),
            (2, 2, 1, 0)
        );
        assert_eq!(verdict.unlinked, Vec::<String>::new());
    }

    #[test]
    fn an_event_that_is_lost_shows_whichever_it_is() {
        for lost in 0..right().len() {
            let mut requests = right();
            requests.remove(lost);
            let verdict = judged(&lined(requests), &Excuses::default());
            assert!(
                !verdict.breaches.is_empty() || !verdict.unlinked.is_empty(),
                "without number {lost}"
            );
        }
    }

    #[test]
    fn an_event_that_comes_twice_shows_whichever_it_is() {
        for twice in 0..right().len() {
            for again in twice + 1..=right().len() {
                let mut requests = right();
                requests.insert(again, requests[twice].clone());
                let verdict = judged(&lined(requests), &Excuses::default());
                // A card that is shown anew and not closed is stuck; a recording's link has no order but behind its call.
                assert!(!verdict.breaches.is_empty(), "number {twice} again at {again}");
            }
        }
    }

    #[test]
    fn two_that_change_places_show_whichever_they_are() {
        let wrong = |one: usize, other: usize| {
            let mut requests = right();
            requests.swap(one, other);
            !judged(&lined(requests), &Excuses::default()).breaches.is_empty()
        };
        // Those of one employee, and the recording before it was promised.
        for (one, other) in [(0, 3), (1, 2), (2, 4), (1, 4), (4, 5)] {
            assert!(wrong(one, other), "{one} and {other}");
        }
    }

    #[test]
    fn a_repetition_needs_a_kill_in_between_or_an_answer_that_went_wrong() {
        let repeated = || {
            let mut requests = right();
            requests.insert(3, requests[2].clone());
            lined(requests)
        };
        let between = Excuses {
            restarts: vec![3],
            ..Excuses::default()
        };
        let verdict = judged(&repeated(), &between);
        assert_eq!((verdict.breaches, verdict.repeated), (Vec::new(), 1));
        let before = Excuses {
            restarts: vec![2],
            ..Excuses::default()
        };
        assert_eq!(judged(&repeated(), &before).breaches.len(), 1);
        let trouble = Excuses {
            troubles: vec![2..3, 90..91],
            ..Excuses::default()
        };
        assert_eq!(judged(&repeated(), &trouble).repeated, 1);
        let mut faulty = repeated();
        faulty[2].faulty = true;
        assert_eq!(judged(&faulty, &Excuses::default()).repeated, 1);
        // Another text is no repetition, whatever happened.
        let mut other = repeated();
        other[3].text.push_str(", another duration");
        assert_eq!(judged(&other, &between).breaches.len(), 1);
    }

    #[test]
    fn what_is_repeated_keeps_its_order() {
        let again = |order: [usize; 2]| {
            let mut requests = right();
            let copies: Vec<Request> = order.iter().map(|place| requests[*place].clone()).collect();
            requests.splice(3..3, copies);
            judged(
                &lined(requests),
                &Excuses {
                    restarts: vec![3],
                    ..Excuses::default()
                },
            )
        };
        assert_eq!(again([1, 2]).breaches, Vec::<String>::new());
        assert_eq!(again([2, 1]).breaches.len(), 1);
    }

    #[test]
    fn a_card_is_shown_anew_when_it_is_closed() {
        let mut requests = right();
        requests.truncate(5);
        requests[4].is_recorded = false;
        let round = requests.clone();
        requests.extend(round);
        let verdict = judged(&lined(requests), &Excuses::default());
        assert_eq!((verdict.breaches, verdict.opened), (Vec::new(), 4));
    }

    #[test]
    fn a_call_keeps_its_client() {
        let mut requests = right();
        requests[2].phone = "79160000000".to_owned();
        assert_eq!(judged(&requests, &Excuses::default()).breaches.len(), 1);
    }

    #[test]
    fn a_recording_comes_only_once_and_only_if_it_was_promised() {
        let mut another = right();
        let mut again = another[5].clone();
        again.text.push('2');
        another.push(again);
        assert_eq!(judged(&lined(another), &Excuses::default()).breaches.len(), 1);
        let mut unpromised = right();
        unpromised[4].is_recorded = false;
        assert_eq!(judged(&unpromised, &Excuses::default()).breaches.len(), 1);
    }

    #[test]
    fn a_promised_recording_is_missed() {
        let mut requests = right();
        requests.pop();
        assert_eq!(judged(&requests, &Excuses::default()).unlinked, ["1.1"]);
    }
}
