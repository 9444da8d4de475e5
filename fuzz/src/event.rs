//! PLANFIX_EVENT.

use std::borrow::Cow;

use res_planfix::core::args;
use res_planfix::core::direction::Direction;
use res_planfix::core::disposition::{StatusMap, is_status};
use res_planfix::core::draft::{Draft, Kind};
use res_planfix::core::pattern::Patterns;
use res_planfix::core::planfix_event::{Surroundings, Verdict, read};
use res_planfix::core::settings::Calls;

use super::readers::is_line;

/// A channel whose facts are bytes from outside.
struct Channel<'a> {
    facts: Vec<&'a [u8]>,
}

impl Channel<'_> {
    fn fact(&self, at: usize) -> Option<Vec<u8>> {
        let fact = self.facts.get(at).filter(|fact| !fact.is_empty());
        fact.map(|fact| fact.to_vec())
    }
}

impl Surroundings for Channel<'_> {
    fn linkedid(&self) -> Option<Vec<u8>> {
        self.fact(0)
    }
    fn caller_number(&self) -> Option<Vec<u8>> {
        self.fact(1)
    }
    fn dialed_number(&self) -> Option<Vec<u8>> {
        self.fact(2)
    }
    fn exten(&self) -> Option<Vec<u8>> {
        self.fact(3)
    }
    fn name(&self) -> Option<Vec<u8>> {
        self.fact(4)
    }
    fn variable(&self, name: &str) -> Option<Vec<u8>> {
        self.fact(5 + name.len() % 4)
    }
    fn talk_seconds(&self) -> Option<u64> {
        None
    }
    fn answered_seconds(&self) -> Option<u64> {
        self.exists().then_some(3)
    }
    fn exists(&self) -> bool {
        !self.facts.is_empty()
    }
    fn is_recorded(&self) -> bool {
        self.facts.len() > 5
    }
}

/// A byte with settings, the arguments, and behind each 0x1e one of the channel's facts.
pub fn event(input: &[u8]) {
    let (flags, rest) = input.split_first().unwrap_or((&0, &[]));
    let mut parts = rest.split(|byte| *byte == 0x1e);
    let text = parts.next().unwrap_or_default();
    let channel = Channel {
        facts: parts.collect(),
    };
    let calls = Calls {
        internal: Patterns::parse("_XXX,_XXXX").unwrap(),
        status_map: if flags & 1 == 0 {
            StatusMap::Api
        } else {
            StatusMap::Voxlink
        },
        data: vec![("source".to_owned(), "UTM_SOURCE".to_owned())],
        ..Calls::default()
    };
    separated(text);
    let known = |_: &str| (flags & 2 == 2).then_some(Direction::Out);
    match read(text, &channel, &calls, &known) {
        Verdict::Queue { drafts, warning, .. } => {
            assert!(!drafts.is_empty() && drafts.len() <= 2);
            assert!(warning.as_deref().is_none_or(is_line), "{warning:?}");
            drafts.iter().for_each(is_of_the_protocol);
            assert!(drafts.iter().all(|draft| draft.callid == drafts[0].callid));
        }
        Verdict::Ignore(why) => assert!(is_line(why)),
        Verdict::Reject(sentence) => assert!(is_line(&sentence), "{sentence:?}"),
    }
}

/// A form in ASCII that has every field that the protocol demands, and none that it does not know.
pub fn is_of_the_protocol(draft: &Draft) {
    let body = &draft.body;
    assert!(body.bytes().all(|byte| byte.is_ascii_graphic()), "{body:?}");
    let fields: Vec<(Cow<'_, str>, Cow<'_, str>)> = draft.fields().collect();
    let has = |name: &str| {
        fields
            .iter()
            .any(|(known, value)| known == name && !value.is_empty())
    };
    let direction = match &*draft.field("type") {
        "in" => Some(Direction::In),
        "out" => Some(Direction::Out),
        _ => None,
    };
    let demanded: &[&str] = match draft.kind {
        Kind::Record => &["callid", "record_link"],
        Kind::Completed => &["phone", "ext", "callid", "duration", "is_recorded", "status"],
        _ => &["phone", "ext", "callid"],
    };
    assert!(demanded.iter().all(|name| has(name)), "{body}");
    assert_eq!(direction.is_none(), draft.kind == Kind::Record, "{body}");
    let command = if draft.kind == Kind::Record {
        "record"
    } else {
        "event"
    };
    assert_eq!(draft.field("cmd"), command, "{body}");
    if let Some(direction) = direction {
        assert_eq!(draft.field("event"), draft.kind.word());
        match draft.kind {
            Kind::Incoming => assert_eq!(direction, Direction::In),
            Kind::Outgoing => assert_eq!(direction, Direction::Out),
            Kind::Completed => {
                assert!(draft.field("duration").parse::<u64>().is_ok(), "{body}");
                assert!(is_status(draft.field("status").as_bytes(), direction), "{body}");
                assert!(["0", "1"].contains(&&*draft.field("is_recorded")), "{body}");
            }
            Kind::Accepted | Kind::Record => {}
        }
    }
    for (name, _) in &fields {
        let known = [
            "cmd",
            "type",
            "event",
            "phone",
            "diversion",
            "ext",
            "callid",
            "duration",
            "is_recorded",
            "status",
            "record_link",
            "is_temp",
        ];
        assert!(known.contains(&&**name) || name.starts_with("data_"), "{body}");
    }
}

/// Without anything that protects a comma, arguments are what is between commas; and nothing is ever added.
fn separated(text: &[u8]) {
    let list = args::split(text);
    assert!(!list.is_empty());
    let commas = list.len() - 1;
    assert!(list.iter().map(|argument| argument.len()).sum::<usize>() + commas <= text.len());
    if !text.iter().any(|byte| b"\"\\()[]".contains(byte)) {
        assert!(
            list.iter()
                .map(|argument| &**argument)
                .eq(text.split(|byte| *byte == b','))
        );
    }
}
