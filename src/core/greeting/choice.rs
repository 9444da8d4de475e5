//! Which greeting a caller hears.
//!
//! The order: nothing for an operator who has switched his off; then of his own the temporary one, the one for a vacation while
//! he is on vacation, the one for being unreachable while he is away, the one for the end that the call took, and the default;
//! then of the templates the same without a temporary one. What has expired is not there.
//!
//! Invariant: nothing is allocated here, because a channel waits for it.

use super::greeting::{Greeting, Sheet};
use super::kind::{Kind, Presence};

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// The kind that the call's end calls for, or that the dialplan names.
    pub why: Kind,
    /// Whether only that kind will do.
    pub exact: bool,
    /// The caller's language.
    pub language: &'a str,
    /// The PBX's.
    pub default_language: &'a str,
    /// Seconds since 1970.
    pub now: u64,
}

/// Whose recording it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The operator's.
    Own,
    /// The administrator's, for everybody who has none.
    Template,
}

impl Source {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Template => "template",
        }
    }
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// The operator has switched his greetings off.
    Disabled,
    /// There is none.
    Nothing,
    /// This one.
    Play {
        /// Whose it is.
        source: Source,
        /// The recording.
        greeting: &'a Greeting,
    },
}

/// Chooses.
#[must_use]
pub fn choose<'a>(own: &'a Sheet, template: &'a Sheet, question: &Question<'_>) -> Choice<'a> {
    if !own.enabled {
        return Choice::Disabled;
    }
    let state = match own.presence_at(question.now) {
        Presence::Available => None,
        Presence::Away => Some(Kind::Unreachable),
        Presence::Vacation => Some(Kind::Vacation),
    };
    let order = if question.exact {
        [None, None, Some(question.why), None]
    } else {
        [Some(Kind::Temp), state, Some(question.why), Some(Kind::Default)]
    };
    let own = first(own, &order, question).map(|greeting| (Source::Own, greeting));
    // A template is for everybody and for good: a temporary one is nobody's.
    own.or_else(|| first(template, &order[1..], question).map(|greeting| (Source::Template, greeting)))
        .map_or(Choice::Nothing, |(source, greeting)| Choice::Play {
            source,
            greeting,
        })
}

fn first<'a>(sheet: &'a Sheet, order: &[Option<Kind>], question: &Question<'_>) -> Option<&'a Greeting> {
    order
        .iter()
        .flatten()
        // With a vacation it is the presence that ends; who asks for the recording gets it.
        .filter(|kind| **kind == Kind::Vacation || !sheet.is_expired(**kind, question.now))
        .find_map(|kind| sheet.best(*kind, question.language, question.default_language))
}

#[cfg(test)]
mod tests {
    use super::{Choice, Question, Source, choose};
    use crate::core::greeting::greeting::{Greeting, Sheet};
    use crate::core::greeting::kind::{Kind, Presence};
    use std::time::Duration;

    const NOW: u64 = 1_000;

    fn sheet(kinds: &[Kind]) -> Sheet {
        let mut sheet = Sheet::default();
        for kind in kinds {
            sheet.put(Greeting {
                kind: *kind,
                language: "ru".to_owned(),
                length: Duration::from_secs(1),
                bytes: 16_044,
                modified: 1,
                wide: false,
                plays: 0,
            });
        }
        sheet
    }

    fn question(why: Kind) -> Question<'static> {
        Question {
            why,
            exact: false,
            language: "ru",
            default_language: "en",
            now: NOW,
        }
    }

    fn chosen(own: &Sheet, template: &Sheet, question: &Question<'_>) -> Option<(Source, Kind)> {
        match choose(own, template, question) {
            Choice::Play { source, greeting } => Some((source, greeting.kind)),
            Choice::Disabled | Choice::Nothing => None,
        }
    }

    /// B-3: what an operator has is taken away from the top, one by one.
    #[test]
    fn the_order_of_precedence() {
        use Kind::{Busy, Default, NoAnswer, Temp, Unreachable, Vacation};
        for presence in Presence::ALL {
            for why in Kind::ALL {
                let by_presence = match presence {
                    Presence::Available => None,
                    Presence::Away => Some(Unreachable),
                    Presence::Vacation => Some(Vacation),
                };
                let mut order = vec![Temp];
                order.extend(by_presence);
                order.extend([why, Default]);
                let mut left = Kind::ALL.to_vec();
                let template = sheet(&[Default, NoAnswer, Busy, Unreachable, Vacation, Temp]);
                for expected in &order {
                    let own = Sheet {
                        presence,
                        ..sheet(&left)
                    };
                    if left.contains(expected) {
                        assert_eq!(
                            chosen(&own, &template, &question(why)),
                            Some((Source::Own, *expected)),
                            "{presence:?} {why:?} {left:?}"
                        );
                        left.retain(|kind| kind != expected);
                    }
                }
                // Then the templates, in the same order without what is temporary.
                let own = Sheet {
                    presence,
                    ..sheet(&left)
                };
                let mut left = Kind::ALL.to_vec();
                for expected in &order[1..] {
                    if left.contains(expected) {
                        assert_eq!(
                            chosen(&own, &sheet(&left), &question(why)),
                            Some((Source::Template, *expected)),
                            "{presence:?} {why:?} {left:?}"
                        );
                        left.retain(|kind| kind != expected);
                    }
                }
                assert_eq!(chosen(&own, &sheet(&left), &question(why)), None);
            }
        }
    }

    #[test]
    fn who_has_switched_off_is_not_given_a_template() {
        let all = sheet(&Kind::ALL);
        let own = Sheet {
            enabled: false,
            ..all.clone()
        };
        assert_eq!(choose(&own, &all, &question(Kind::Busy)), Choice::Disabled);
        let nothing = Sheet::default();
        assert_eq!(choose(&nothing, &nothing, &question(Kind::Busy)), Choice::Nothing);
        assert_eq!(
            chosen(&nothing, &all, &question(Kind::Busy)),
            Some((Source::Template, Kind::Busy))
        );
    }

    #[test]
    fn exactly_this_kind_and_no_other() {
        let all = sheet(&Kind::ALL);
        for why in Kind::ALL {
            let exact = Question {
                exact: true,
                ..question(why)
            };
            assert_eq!(chosen(&all, &all, &exact), Some((Source::Own, why)));
            let others: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| *kind != why).collect();
            let others = sheet(&others);
            assert_eq!(chosen(&others, &all, &exact), Some((Source::Template, why)));
            assert_eq!(chosen(&others, &others, &exact), None);
        }
    }

    /// B-3: at the very second of its end it does not apply any more, whether its thread has come to remove it or not.
    #[test]
    fn at_its_second_it_has_expired() {
        let nothing = Sheet::default();
        for kind in Kind::ALL {
            for (end, applies) in [(NOW + 1, true), (NOW, false), (NOW - 1, false)] {
                let mut own = sheet(&[kind]);
                own.presence = Presence::Vacation;
                own.expires.insert(kind, end);
                let why = if kind == Kind::Vacation { Kind::Busy } else { kind };
                let expected = applies.then_some((Source::Own, kind));
                assert_eq!(chosen(&own, &nothing, &question(why)), expected, "{kind:?} {end}");
            }
        }
        // The recording of a vacation that has ended is there for who asks for it.
        let mut own = sheet(&[Kind::Vacation, Kind::Default]);
        own.presence = Presence::Vacation;
        own.expires.insert(Kind::Vacation, NOW);
        assert_eq!(
            chosen(&own, &nothing, &question(Kind::NoAnswer)),
            Some((Source::Own, Kind::Default))
        );
        assert_eq!(
            chosen(&own, &nothing, &question(Kind::Vacation)),
            Some((Source::Own, Kind::Vacation))
        );
    }

    /// Whatever is chosen exists, has not expired, and nothing that goes before it does.
    #[test]
    fn no_sheet_brings_a_wrong_choice() {
        let mut state = 1_u32;
        let mut next = |below: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) % below
        };
        for _ in 0..20_000 {
            let mut kinds = Vec::new();
            kinds.extend(Kind::ALL.into_iter().filter(|_| next(2) == 0));
            let mut own = sheet(&kinds);
            own.enabled = next(8) > 0;
            own.presence = Presence::ALL[next(3) as usize];
            for kind in Kind::ALL {
                if next(3) == 0 {
                    own.expires.insert(kind, NOW - 2 + u64::from(next(5)));
                }
            }
            let template = sheet(&Kind::ALL[next(7) as usize % 6..]);
            let question = question(Kind::ALL[next(6) as usize]);
            match choose(&own, &template, &question) {
                Choice::Disabled => assert!(!own.enabled),
                Choice::Nothing => assert!(own.enabled && !own.is_active_for(question.why, NOW)),
                Choice::Play { source, greeting } => {
                    assert!(own.enabled);
                    let sheet = if source == Source::Own { &own } else { &template };
                    assert!(sheet.greetings.contains(greeting));
                    let ended = sheet.is_expired(greeting.kind, NOW) && greeting.kind != Kind::Vacation;
                    assert!(!ended);
                    assert_eq!(source == Source::Own, own.is_active_for(question.why, NOW));
                }
            }
        }
    }

    impl Sheet {
        /// Whether something of his own applies, told in another way than the choice is made.
        fn is_active_for(&self, why: Kind, now: u64) -> bool {
            let state = self.presence_at(now);
            self.greetings.iter().any(|greeting| match greeting.kind {
                Kind::Vacation => state == Presence::Vacation || why == Kind::Vacation,
                Kind::Unreachable if state != Presence::Away && why != Kind::Unreachable => false,
                kind @ (Kind::NoAnswer | Kind::Busy) if kind != why => false,
                kind => self.expires.get(&kind).is_none_or(|end| now < *end),
            })
        }
    }
}
