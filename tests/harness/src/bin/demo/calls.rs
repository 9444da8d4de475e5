//! The calls that are played, and what the CRM has to receive of each.

use std::time::Duration;

use anyhow::Result;
use harness::{Talk, Tour};

use crate::feed::Received;

/// What happens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The client calls, and this employee answers.
    Answered,
    /// The client calls, nobody answers, and this employee's greeting is played.
    NotAnswered,
    /// This employee clicks on the client's number in the CRM.
    Click,
}

/// What came of a call.
pub(crate) enum Played {
    /// What was said.
    Talk(Talk),
    /// Nobody answered, and for so long the client heard the greeting.
    Greeting(Duration),
}

/// A request that has to arrive.
pub(crate) struct Expected {
    pub(crate) ext: &'static str,
    pub(crate) event: &'static str,
    pub(crate) status: &'static str,
}

/// A call.
pub(crate) struct Call {
    pub(crate) client: &'static str,
    /// As the CRM's command line takes it: the name and, after a colon, who looks after the client.
    pub(crate) contact: &'static str,
    pub(crate) employee: &'static str,
    pub(crate) kind: Kind,
    /// Whole seconds.
    pub(crate) talk: u64,
    pub(crate) story: &'static str,
    /// The same in a word, for the verdict.
    pub(crate) title: &'static str,
    pub(crate) expected: &'static [Expected],
}

const fn told(ext: &'static str, event: &'static str, status: &'static str) -> Expected {
    Expected { ext, event, status }
}

/// In the order in which they are played; the last one comes while the CRM is away.
pub(crate) const CALLS: [Call; 4] = [
    Call {
        client: "74951112233",
        contact: "Anna Petrova:103",
        employee: "103",
        kind: Kind::Answered,
        talk: 3,
        story: "74951112233 calls the company. The CRM knows her, and that 103 looks after her:\n                \
                103 rings first, and they talk for 3 s.",
        title: "answered",
        expected: &[
            told("103", "INCOMING", ""),
            told("103", "ACCEPTED", ""),
            told("103", "COMPLETED", "Success"),
        ],
    },
    Call {
        client: "73433217788",
        contact: "Olga Smirnova",
        employee: "101",
        kind: Kind::NotAnswered,
        talk: 0,
        story: "101 dials *600, says a greeting and keeps it. Then 73433217788 calls. Nobody looks after her:\n                \
                102 is busy, 101 rings, nobody answers, and she hears the greeting.",
        title: "not answered",
        expected: &[told("101", "INCOMING", ""), told("101", "COMPLETED", "Missed")],
    },
    Call {
        client: "79161234567",
        contact: "Pavel Orlov:103",
        employee: "103",
        kind: Kind::Click,
        talk: 2,
        story: "103 clicks on 79161234567 in the CRM: the employee's phone rings, then the client's.",
        title: "click to call",
        expected: &[
            told("103", "OUTGOING", ""),
            told("103", "ACCEPTED", ""),
            told("103", "COMPLETED", "Success"),
        ],
    },
    Call {
        client: "78125554466",
        contact: "Igor Sokolov",
        employee: "101",
        kind: Kind::Answered,
        talk: 2,
        story: "78125554466 calls, 101 answers and they talk for 2 s.",
        title: "CRM away",
        expected: &[
            told("101", "INCOMING", ""),
            told("102", "INCOMING", ""),
            told("101", "ACCEPTED", ""),
            told("102", "COMPLETED", "Cancelled"),
            told("101", "COMPLETED", "Success"),
        ],
    },
];

impl Call {
    /// Lets it happen.
    pub(crate) fn play(&self, tour: &Tour) -> Result<Played> {
        let time = Duration::from_millis(self.talk * 1000 + 200);
        match self.kind {
            Kind::Answered => tour.call_in(self.client, self.employee, time).map(Played::Talk),
            Kind::NotAnswered => {
                tour.record_greeting(self.employee)?;
                tour.call_in_vain(self.client).map(Played::Greeting)
            }
            Kind::Click => tour
                .call_by_click(self.employee, self.client, time)
                .map(Played::Talk),
        }
    }

    /// The events of this call: the client's number tells the calls of the demo apart.
    pub(crate) fn events<'a>(&self, all: &'a [Received]) -> impl Iterator<Item = &'a Received> {
        let client = self.client;
        all.iter()
            .filter(move |received| received.cmd == "event" && received.phone == client)
    }

    /// The recordings that were told of.
    pub(crate) fn records<'a>(&self, all: &'a [Received]) -> impl Iterator<Item = &'a Received> {
        let callid = self
            .events(all)
            .next()
            .map_or(String::new(), |event| event.callid.clone());
        all.iter()
            .filter(move |received| received.cmd == "record" && received.callid == callid)
    }

    /// The client's name in the CRM.
    pub(crate) fn name(&self) -> &'static str {
        self.contact.split(':').next().unwrap_or_default()
    }

    /// Whether the CRM names somebody who looks after the client.
    pub(crate) fn looked_after(&self) -> bool {
        self.contact.contains(':')
    }

    /// How many cards it opens.
    pub(crate) fn cards(&self) -> usize {
        let ends = self
            .expected
            .iter()
            .filter(|expected| !expected.status.is_empty());
        ends.count()
    }

    /// Whether all of it has arrived.
    pub(crate) fn is_told(&self, all: &[Received]) -> bool {
        self.events(all).count() >= self.expected.len()
            && (self.talk == 0 || self.records(all).next().is_some())
    }
}
