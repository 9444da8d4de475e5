//! The calls that are played, and what the CRM has to receive of each.

use std::time::Duration;

use anyhow::Result;
use harness::{Asterisk, Sipp, SippRun};

use crate::feed::Received;

/// How the phone behaves.
#[derive(Clone, Copy)]
pub(crate) enum Phone {
    /// Rings and answers; the caller hangs up after so many milliseconds.
    Answers { talk_ms: u64 },
    /// Refuses with 486.
    IsBusy,
    /// Rings until the PBX gives up.
    IsNotAnswered,
}

/// A request that has to arrive.
pub(crate) struct Expected {
    pub(crate) event: &'static str,
    pub(crate) status: &'static str,
    /// Whole seconds of talk, at least.
    pub(crate) duration: Option<u64>,
}

/// A call.
pub(crate) struct Call {
    pub(crate) client: &'static str,
    pub(crate) name: &'static str,
    pub(crate) did: &'static str,
    pub(crate) ext: &'static str,
    pub(crate) phone: Phone,
    pub(crate) story: &'static str,
    /// The same in a word, for the verdict.
    pub(crate) title: &'static str,
    pub(crate) expected: &'static [Expected],
}

const RINGING: Expected = Expected {
    event: "INCOMING",
    status: "",
    duration: None,
};
const TALKING: Expected = Expected {
    event: "ACCEPTED",
    status: "",
    duration: None,
};
const MISSED: Expected = Expected {
    event: "COMPLETED",
    status: "Missed",
    duration: Some(0),
};

const fn talked(seconds: u64) -> Expected {
    Expected {
        event: "COMPLETED",
        status: "Success",
        duration: Some(seconds),
    }
}

/// In the order in which they are played; the last one comes while the CRM is away.
pub(crate) const CALLS: [Call; 4] = [
    Call {
        client: "74951112233",
        name: "Anna Petrova",
        did: "74950000101",
        ext: "101",
        phone: Phone::Answers { talk_ms: 3_200 },
        story: "answers and they talk for 3 s",
        title: "answered",
        expected: &[RINGING, TALKING, talked(3)],
    },
    Call {
        client: "78125554466",
        name: "Igor Sokolov",
        did: "74950000102",
        ext: "102",
        phone: Phone::IsBusy,
        story: "is busy",
        title: "busy",
        expected: &[RINGING, MISSED],
    },
    Call {
        client: "73433217788",
        name: "Olga Smirnova",
        did: "74950000103",
        ext: "103",
        phone: Phone::IsNotAnswered,
        story: "rings for 3 s and nobody answers",
        title: "not answered",
        expected: &[RINGING, MISSED],
    },
    Call {
        client: "79161234567",
        name: "Pavel Orlov",
        did: "74950000104",
        ext: "104",
        phone: Phone::Answers { talk_ms: 2_200 },
        story: "answers and they talk for 2 s",
        title: "CRM away",
        expected: &[RINGING, TALKING, talked(2)],
    },
];

impl Call {
    /// Starts the phone and the client: the one that is called and the one that calls.
    pub(crate) fn start(&self, asterisk: &Asterisk) -> Result<(SippRun, SippRun)> {
        let (client, did) = (self.client, self.did);
        let (callee, caller) = match self.phone {
            Phone::Answers { talk_ms } => (
                Sipp::uas_answer(Duration::from_millis(800)),
                Sipp::uac_call(client, did, Duration::from_millis(talk_ms)),
            ),
            Phone::IsBusy => (Sipp::uas_busy(), Sipp::uac_refused(client, did, 486)),
            // The dialplan hangs up with the causes 17 and 19, which are 486 and 480.
            Phone::IsNotAnswered => (Sipp::uas_noanswer(), Sipp::uac_refused(client, did, 480)),
        };
        let callee = callee.at(asterisk.phone(self.ext)).start()?;
        let caller = caller.from_trunk().to(asterisk.sip()).start()?;
        Ok((callee, caller))
    }

    /// What was received of this call: the client's number tells the calls of the demo apart.
    pub(crate) fn received<'a>(&self, all: &'a [Received]) -> impl Iterator<Item = &'a Received> {
        let client = self.client;
        all.iter().filter(move |received| received.phone == client)
    }
}
