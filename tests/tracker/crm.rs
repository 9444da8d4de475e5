//! The CRM's side: takes the requests, and holds them against the rules of order, its own and the sandbox's.

use std::collections::BTreeMap;

use planfix_sandbox::protocol;
use planfix_sandbox::sequence::Sequence;
use res_planfix::core::draft::{Draft, Kind};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// How far the card of one employee in one call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Card {
    Shown,
    Accepted,
    Closed,
}

/// One request, decoded.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    fields: BTreeMap<String, String>,
}

impl Request {
    fn of(draft: &Draft) -> Self {
        Self {
            kind: draft.kind,
            fields: form(&draft.body),
        }
    }

    /// The field's value, empty when there is none.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub(crate) fn seconds(&self) -> u64 {
        self.field("duration").parse().unwrap_or(0)
    }

    /// `101 INCOMING`, `101 COMPLETED Success 12`.
    pub(crate) fn line(&self) -> String {
        let (ext, event) = (self.field("ext"), self.kind);
        match event {
            Kind::Completed => {
                let (status, seconds) = (self.field("status"), self.field("duration"));
                format!("{ext} {event} {status} {seconds}")
            }
            _ => format!("{ext} {event}"),
        }
    }
}

fn form(body: &str) -> BTreeMap<String, String> {
    planfix_sandbox::form::decode(body.as_bytes())
        .pairs
        .into_iter()
        .map(|pair| {
            let name = String::from_utf8(pair.name.to_vec()).unwrap();
            (name, String::from_utf8(pair.value.to_vec()).unwrap())
        })
        .collect()
}

/// Everything that the CRM was told.
#[derive(Debug)]
pub(crate) struct Crm {
    pub(crate) requests: Vec<Request>,
    sequence: Sequence,
    cards: BTreeMap<(String, String), Card>,
    /// Type and phone of each call.
    calls: BTreeMap<String, (String, String)>,
    seen: usize,
}

impl Crm {
    pub(crate) fn new() -> Self {
        Self {
            requests: Vec::new(),
            sequence: Sequence::new(1_000_000),
            cards: BTreeMap::new(),
            calls: BTreeMap::new(),
            seen: 0,
        }
    }

    /// The requests since the last time.
    pub(crate) fn news(&mut self) -> &[Request] {
        let from = std::mem::replace(&mut self.seen, self.requests.len());
        &self.requests[from..]
    }

    /// The cards that are on a screen.
    pub(crate) fn open(&self) -> Vec<&(String, String)> {
        let open = self.cards.iter().filter(|(_, card)| **card != Card::Closed);
        open.map(|(key, _)| key).collect()
    }

    /// Takes a request, and says what is wrong with it.
    pub(crate) fn take(&mut self, draft: &Draft) -> Result<(), String> {
        let request = Request::of(draft);
        let problem = |what: &str| {
            Err(format!(
                "{what}: {} of {}: {}",
                request.line(),
                draft.callid,
                draft.body
            ))
        };
        if request.field("callid") != draft.callid || request.field("ext") != draft.ext {
            return problem("the draft is not what its body says");
        }
        let known = (
            request.field("type").to_owned(),
            request.field("phone").to_owned(),
        );
        let call = self
            .calls
            .entry(draft.callid.clone())
            .or_insert_with(|| known.clone());
        if *call != known {
            return problem("the type or the phone has changed");
        }
        let key = (draft.callid.clone(), draft.ext.clone());
        let before = self.cards.get(&key).copied();
        let inbound = request.field("type") == "in";
        let card = match (draft.kind, before) {
            (Kind::Incoming, None | Some(Card::Closed)) if inbound => Card::Shown,
            (Kind::Outgoing, None) if !inbound => Card::Shown,
            (Kind::Accepted, Some(Card::Shown)) => Card::Accepted,
            (Kind::Completed, Some(card @ (Card::Shown | Card::Accepted))) => {
                let status = request.field("status");
                let may = match (card, inbound) {
                    (Card::Accepted, _) => &["Success"][..],
                    (_, true) => &["Missed", "Cancelled"],
                    (_, false) => &["Busy", "NoAnswer", "NotAvailable", "NotAllowed"],
                };
                if !may.contains(&status) {
                    return problem("a status that cannot be");
                }
                if status != "Success" && request.seconds() > 0 {
                    return problem("seconds of a talk that was none");
                }
                if request.field("duration").parse::<u32>().is_err() {
                    return problem("no duration");
                }
                Card::Closed
            }
            _ => return problem("out of order"),
        };
        self.cards.insert(key, card);
        let n = self.requests.len() as u64 + 1;
        let body = format!("{}&planfix_token={TOKEN}", draft.body);
        let reading = protocol::read(body.as_bytes(), TOKEN, &[]);
        match reading.outcome {
            Ok(command) => {
                if let Some(violation) = self.sequence.apply(n, n, &command).first() {
                    return problem(&violation.text);
                }
            }
            Err(refusal) => return problem(&format!("{refusal:?}")),
        }
        self.requests.push(request);
        Ok(())
    }
}
