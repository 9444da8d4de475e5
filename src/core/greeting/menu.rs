//! The operator's menu: what is said and done after each of his answers.
//!
//! Invariants:
//! - every answer in every state leads somewhere: nothing is ignored, nothing hangs;
//! - three answers in a row that say nothing, and two hundred of whatever kind, end the call;
//! - a greeting is replaced by key 1 after a recording and removed by key 1 after the question whether it shall be; before
//!   that a hang-up, or no answer, leaves everything as it was;
//! - a PIN never comes here.
//!
//! [`Menu::step`] takes an [`Input`] and gives a [`Step`]; whoever has the channel does what it says and comes back with
//! the input that [`Next`] promises, or with [`Input::HungUp`].

use std::time::Duration;

use super::day::Day;
use super::greeting::Sheet;
use super::kind::{Kind, Presence};
use super::prompt::Prompt;

/// Answers in a row that say nothing: nobody is there, or he does not find his way.
const MISSES: u8 = 3;

/// Answers altogether: a key that is stuck would keep the channel, and write to the disk, for ever.
const ANSWERS: u16 = 200;

/// Who speaks, as far as it is known before anything is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The operator himself: it is his phone.
    Own,
    /// Whoever knows the PIN.
    Pin,
    /// Nobody: there is no PIN.
    NoPin,
}

/// What is so at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The operator's greetings play.
    pub enabled: bool,
    /// He is on vacation, until this second or until further notice.
    pub vacation: Option<Option<u64>>,
    /// His temporary greeting plays instead of all others.
    pub temp: bool,
    /// The kinds that he has recorded.
    pub kinds: Vec<Kind>,
    pub today: Day,
}

impl Facts {
    /// What an operator's sheet says at this second of this day.
    #[must_use]
    pub fn of(sheet: &Sheet, now: u64, today: Day) -> Self {
        let kinds: Vec<Kind> = sheet.kinds().collect();
        let is_away = sheet.presence_at(now) == Presence::Vacation;
        Self {
            enabled: sheet.enabled,
            vacation: is_away.then(|| sheet.expires.get(&Kind::Vacation).copied()),
            temp: kinds.contains(&Kind::Temp) && !sheet.is_expired(Kind::Temp, now),
            kinds,
            today,
        }
    }
}

/// How long a greeting may become that is to be recorded: `longest`, unless the operator's others leave less of `total`. The one
/// that it replaces counts for nothing.
#[must_use]
pub fn room(sheet: &Sheet, kind: Kind, language: &str, longest: Duration, total: Duration) -> Duration {
    let replaced = sheet.find(kind, language);
    let replaced = replaced.map_or(Duration::ZERO, |greeting| greeting.length);
    let others = sheet.total().saturating_sub(replaced);
    longest.min(total.saturating_sub(others))
}

/// What came of a PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinCheck {
    Right,
    Wrong,
    /// It was wrong too often, now or before.
    Locked,
    /// There is none.
    NotSet,
    /// Nothing was entered.
    Nothing,
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// After [`Next::Key`]: a key, or none in time.
    Key(Option<u8>),
    /// After [`Next::Line`]: digits, none if nothing was entered.
    Line(String),
    /// After [`Next::Pin`].
    Pin(PinCheck),
    /// After [`Next::Prepare`]: it can be recorded.
    Ready,
    /// After [`Next::Prepare`]: somebody else is recording.
    Taken,
    /// After [`Next::Prepare`]: there is no room for another greeting.
    Full,
    /// After [`Next::Record`]: how long it is without the silence at its end.
    Recorded(Duration),
    /// After [`Next::Line`], [`Next::Pin`] and [`Next::Record`]: he pressed the star.
    GivenUp,
    /// What was asked for is done, and on the disk.
    Done,
    /// It is not, and all is as it was.
    Failed,
    HungUp,
}

/// Something to be heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    Prompt(Prompt),
    /// What was recorded just now.
    Draft,
    /// His greeting of this kind.
    Greeting(Kind),
    /// The day of this second.
    Date(u64),
}

/// What to do when everything is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Wait for a key.
    Key,
    /// Wait for up to so many digits.
    Line(usize),
    /// Wait for a PIN and try it.
    Pin,
    /// See whether a greeting of this kind can be recorded, and keep others from doing so at the same time.
    Prepare(Kind),
    /// Beep and record.
    Record,
    /// Put what was recorded in the place of his greeting of this kind.
    Save(Kind),
    /// Remove his greeting of this kind.
    Delete(Kind),
    /// Switch his greetings on or off.
    Enable(bool),
    /// He is on vacation, through this day or until further notice.
    Away(Option<Day>),
    /// He is back.
    Back,
    /// It is over.
    Leave(Ending),
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// As he wished.
    Done,
    /// He did not answer, or nothing that could be understood.
    Timeout,
    /// He is not the operator, as far as can be known.
    Denied,
    /// He hung up.
    HangUp,
}

/// What to say, and then to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub say: Vec<Say>,
    pub next: Next,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Pin,
    Main,
    Kinds,
    Until,
    DeleteSure,
    Preparing,
    Recording,
    Review,
    Saving,
    Deleting,
    Switching(bool),
    Leaving(Option<Day>),
    Returning,
    Ended(Ending),
}

/// One call of the menu.
#[derive(Clone, Debug)]
pub struct Menu {
    state: State,
    kind: Kind,
    shortest: Duration,
    misses: u8,
    answers: u16,
}

impl Menu {
    /// The menu and its first step. `kind`: of which greetings it speaks first; `shortest`: no greeting is shorter.
    #[must_use]
    pub fn begin(identity: Identity, kind: Kind, shortest: Duration, facts: &Facts) -> (Self, Step) {
        let mut menu = Self {
            state: State::Pin,
            kind,
            shortest,
            misses: 0,
            answers: 0,
        };
        let step = match identity {
            Identity::Own => menu.enter(facts),
            Identity::Pin => menu.ask(State::Pin, Vec::new(), facts),
            Identity::NoPin => menu.end(Prompt::Refused, Ending::Denied),
        };
        (menu, step)
    }

    /// Which greetings it speaks of.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether a recording is under way or waits to be kept.
    #[must_use]
    pub fn is_recording(&self) -> bool {
        matches!(
            self.state,
            State::Preparing | State::Recording | State::Review | State::Saving
        )
    }

    /// What follows.
    pub fn step(&mut self, input: &Input, facts: &Facts) -> Step {
        if *input == Input::HungUp {
            self.state = State::Ended(Ending::HangUp);
        }
        if let State::Ended(ending) = self.state {
            return Step {
                say: Vec::new(),
                next: Next::Leave(ending),
            };
        }
        self.answers += 1;
        if self.answers >= ANSWERS {
            return self.end(Prompt::Goodbye, Ending::Timeout);
        }
        match (self.state, input) {
            (State::Pin, Input::Pin(check)) => self.identified(*check, facts),
            (State::Pin, Input::GivenUp) => self.end(Prompt::Goodbye, Ending::Denied),
            (State::Main, Input::Key(Some(key))) => self.chosen(*key, facts),
            (State::Kinds, Input::Key(Some(key))) => self.kind_chosen(*key, facts),
            (State::Until, Input::Line(line)) => self.until(line, facts),
            (State::DeleteSure, Input::Key(Some(b'1'))) => self.go(State::Deleting, None, facts),
            (State::DeleteSure, Input::Key(Some(_))) | (State::Until | State::Recording, Input::GivenUp) => {
                self.go(State::Main, Some(Prompt::Cancelled), facts)
            }
            (State::Preparing, Input::Ready) => self.go(State::Recording, None, facts),
            (State::Preparing, Input::Taken) => self.go(State::Main, Some(Prompt::Taken), facts),
            (State::Preparing, Input::Full) => self.go(State::Main, Some(Prompt::Full), facts),
            (State::Recording, Input::Recorded(length)) if *length < self.shortest => {
                self.missed(State::Recording, Some(Prompt::TooShort), facts)
            }
            (State::Recording, Input::Recorded(_)) => self.go(State::Review, None, facts),
            (State::Review, Input::Key(Some(key))) => self.reviewed(*key, facts),
            (State::Saving, Input::Done) => self.go(State::Main, Some(Prompt::Saved), facts),
            // The recording is still there, and so is what may have been in its way.
            (State::Saving, Input::Failed) => self.missed(State::Review, Some(Prompt::Failed), facts),
            (State::Deleting, Input::Done) => self.go(State::Main, Some(Prompt::Deleted), facts),
            (State::Switching(_), Input::Done) => self.go(State::Main, None, facts),
            (State::Leaving(_), Input::Done) => {
                // The next that he wants is to say until when.
                self.kind = Kind::Vacation;
                self.go(State::Main, None, facts)
            }
            (State::Returning, Input::Done) => self.go(State::Main, Some(Prompt::VacationOff), facts),
            (
                State::Preparing
                | State::Recording
                | State::Deleting
                | State::Switching(_)
                | State::Leaving(_)
                | State::Returning,
                Input::Failed,
            ) => self.missed(State::Main, Some(Prompt::Failed), facts),
            // Nothing in time, or nothing that fits here.
            (state, _) => self.missed(state, None, facts),
        }
    }

    fn identified(&mut self, check: PinCheck, facts: &Facts) -> Step {
        match check {
            PinCheck::Right => self.enter(facts),
            PinCheck::Wrong => self.missed(State::Pin, Some(Prompt::PinWrong), facts),
            PinCheck::Locked => self.end(Prompt::PinLocked, Ending::Denied),
            PinCheck::NotSet => self.end(Prompt::Refused, Ending::Denied),
            PinCheck::Nothing => self.missed(State::Pin, None, facts),
        }
    }

    fn enter(&mut self, facts: &Facts) -> Step {
        let overrides = facts.temp && facts.enabled && self.kind != Kind::Temp;
        self.go(State::Main, overrides.then_some(Prompt::TempActive), facts)
    }

    fn chosen(&mut self, key: u8, facts: &Facts) -> Step {
        let exists = facts.kinds.contains(&self.kind);
        match key {
            b'1' => self.go(State::Preparing, None, facts),
            // 2 as in the service code that this replaces, 7 as Asterisk's voicemail and its sounds have it.
            b'2' | b'7' if exists => self.go(State::DeleteSure, None, facts),
            b'3' if exists => {
                self.misses = 0;
                let say = vec![Say::Greeting(self.kind)];
                self.ask(State::Main, say, facts)
            }
            // The menu says that there is nothing.
            b'2' | b'3' | b'7' => self.go(State::Main, None, facts),
            b'4' => self.go(State::Switching(!facts.enabled), None, facts),
            b'5' => self.go(State::Kinds, None, facts),
            b'6' if facts.vacation.is_some() => self.go(State::Returning, None, facts),
            b'6' => self.go(State::Until, None, facts),
            b'#' | b'*' => self.end(Prompt::Goodbye, Ending::Done),
            _ => self.missed(State::Main, Some(Prompt::Wrong), facts),
        }
    }

    fn kind_chosen(&mut self, key: u8, facts: &Facts) -> Step {
        let chosen = CHOICES.into_iter().find(|(digit, _, _)| *digit == key);
        match chosen {
            Some((_, kind, _)) => {
                self.kind = kind;
                self.go(State::Main, None, facts)
            }
            None if key == b'*' => self.go(State::Main, None, facts),
            None => self.missed(State::Kinds, Some(Prompt::Wrong), facts),
        }
    }

    fn until(&mut self, line: &str, facts: &Facts) -> Step {
        match line {
            "" => self.missed(State::Until, None, facts),
            "0" => self.go(State::Leaving(None), None, facts),
            date => match Day::next(date, facts.today) {
                Some(day) => self.go(State::Leaving(Some(day)), None, facts),
                None => self.missed(State::Until, Some(Prompt::Wrong), facts),
            },
        }
    }

    fn reviewed(&mut self, key: u8, facts: &Facts) -> Step {
        match key {
            b'1' => self.go(State::Saving, None, facts),
            b'2' => {
                self.misses = 0;
                self.ask(State::Review, vec![Say::Draft], facts)
            }
            b'3' => self.go(State::Recording, None, facts),
            b'*' => self.go(State::Main, Some(Prompt::Cancelled), facts),
            _ => self.missed(State::Review, Some(Prompt::Wrong), facts),
        }
    }

    /// On to a state after an answer that was one.
    fn go(&mut self, state: State, first: Option<Prompt>, facts: &Facts) -> Step {
        self.misses = 0;
        self.ask(state, said(first), facts)
    }

    /// On to a state after an answer that was none.
    fn missed(&mut self, state: State, first: Option<Prompt>, facts: &Facts) -> Step {
        self.misses += 1;
        if self.misses < MISSES {
            return self.ask(state, said(first), facts);
        }
        let mut step = self.end(Prompt::Goodbye, Ending::Timeout);
        step.say.splice(0..0, said(first));
        step
    }

    fn end(&mut self, last: Prompt, ending: Ending) -> Step {
        self.state = State::Ended(ending);
        Step {
            say: said(Some(last)),
            next: Next::Leave(ending),
        }
    }

    /// What a state says and waits for.
    fn ask(&mut self, state: State, mut say: Vec<Say>, facts: &Facts) -> Step {
        self.state = state;
        let next = match state {
            State::Pin => {
                say.push(Say::Prompt(Prompt::Pin));
                Next::Pin
            }
            State::Main => {
                self.main(&mut say, facts);
                Next::Key
            }
            State::Kinds => {
                say.extend(CHOICES.map(|(_, _, prompt)| Say::Prompt(prompt)));
                Next::Key
            }
            State::Until => {
                say.push(Say::Prompt(Prompt::Until));
                Next::Line(4)
            }
            State::DeleteSure => {
                say.push(Say::Prompt(Prompt::DeleteSure));
                Next::Key
            }
            State::Recording => {
                say.push(Say::Prompt(match self.kind {
                    Kind::Busy => Prompt::RecordBusy,
                    Kind::Vacation | Kind::Temp => Prompt::RecordTemp,
                    Kind::Default | Kind::NoAnswer | Kind::Unreachable => Prompt::Record,
                }));
                Next::Record
            }
            State::Review => {
                say.push(Say::Prompt(Prompt::Review));
                Next::Key
            }
            State::Preparing => Next::Prepare(self.kind),
            State::Saving => Next::Save(self.kind),
            State::Deleting => Next::Delete(self.kind),
            State::Switching(on) => Next::Enable(on),
            State::Leaving(day) => Next::Away(day),
            State::Returning => Next::Back,
            State::Ended(ending) => Next::Leave(ending),
        };
        Step { say, next }
    }

    fn main(&self, say: &mut Vec<Say>, facts: &Facts) {
        let exists = facts.kinds.contains(&self.kind);
        let mut prompt = |prompt| say.push(Say::Prompt(prompt));
        prompt(match self.kind {
            Kind::Default => Prompt::KindDefault,
            Kind::NoAnswer => Prompt::KindNoAnswer,
            Kind::Busy => Prompt::KindBusy,
            Kind::Unreachable => Prompt::KindUnreachable,
            Kind::Vacation => Prompt::KindVacation,
            Kind::Temp => Prompt::KindTemp,
        });
        if !exists {
            prompt(Prompt::Nothing);
        }
        prompt(if facts.enabled { Prompt::On } else { Prompt::Off });
        if let Some(until) = facts.vacation {
            prompt(Prompt::VacationOn);
            // The last second before he is back lies on the last day.
            say.extend(until.map(|second| Say::Date(second.saturating_sub(1))));
        }
        let options: &[Prompt] = if exists {
            &[Prompt::OptionAgain, Prompt::OptionListen]
        } else {
            &[Prompt::OptionRecord]
        };
        let switch = if facts.enabled {
            Prompt::OptionOff
        } else {
            Prompt::OptionOn
        };
        let options = options
            .iter()
            .copied()
            .chain([switch, Prompt::OptionKind, Prompt::OptionVacation])
            .chain(exists.then_some(Prompt::OptionDelete))
            .chain([Prompt::OptionLeave]);
        say.extend(options.map(Say::Prompt));
    }
}

/// The keys of the kinds, as the prompts say them.
const CHOICES: [(u8, Kind, Prompt); 6] = [
    (b'1', Kind::Default, Prompt::ChooseDefault),
    (b'2', Kind::NoAnswer, Prompt::ChooseNoAnswer),
    (b'3', Kind::Busy, Prompt::ChooseBusy),
    (b'4', Kind::Unreachable, Prompt::ChooseUnreachable),
    (b'5', Kind::Vacation, Prompt::ChooseVacation),
    (b'6', Kind::Temp, Prompt::ChooseTemp),
];

fn said(prompt: Option<Prompt>) -> Vec<Say> {
    prompt.into_iter().map(Say::Prompt).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{HashSet, VecDeque};
    use std::sync::LazyLock;
    use std::time::Duration;

    use super::{
        ANSWERS, Ending, Facts, Identity, Input, MISSES, Menu, Next, PinCheck, Say, State, Step, room,
    };
    use crate::core::greeting::day::Day;
    use crate::core::greeting::greeting::{Greeting, Sheet};
    use crate::core::greeting::kind::{Kind, Presence};
    use crate::core::greeting::prompt::Prompt;

    const SHORTEST: Duration = Duration::from_secs(1);
    const TODAY: Day = Day {
        year: 2026,
        month: 11,
        day: 21,
    };

    fn facts(kinds: &[Kind]) -> Facts {
        Facts {
            enabled: true,
            vacation: None,
            temp: false,
            kinds: kinds.to_vec(),
            today: TODAY,
        }
    }

    /// Every combination of what can be so.
    fn all_facts() -> Vec<Facts> {
        let mut all = Vec::new();
        for enabled in [false, true] {
            for vacation in [None, Some(Some(0))] {
                for temp in [false, true] {
                    for kinds in [&[][..], &Kind::ALL[..], &[Kind::Busy]] {
                        all.push(Facts {
                            enabled,
                            vacation,
                            temp,
                            ..facts(kinds)
                        });
                    }
                }
            }
        }
        all
    }

    /// Every input, whether a state waits for it or not.
    fn all_inputs() -> Vec<Input> {
        let keys = "0123456789*#ABCD\u{0}".bytes().map(|key| Input::Key(Some(key)));
        let lines = ["", "0", "3112", "0101", "2902", "9999", "00", "12", "x"]
            .map(|line| Input::Line(line.to_owned()));
        let pins = [
            PinCheck::Right,
            PinCheck::Wrong,
            PinCheck::Locked,
            PinCheck::NotSet,
            PinCheck::Nothing,
        ];
        keys.chain(lines)
            .chain(pins.map(Input::Pin))
            .chain([
                Input::Key(None),
                Input::Ready,
                Input::Taken,
                Input::Full,
                Input::Recorded(Duration::ZERO),
                Input::Recorded(SHORTEST),
                Input::GivenUp,
                Input::Done,
                Input::Failed,
                Input::HungUp,
            ])
            .collect()
    }

    /// Every menu that can come about, but for the number of answers.
    fn all_menus() -> &'static [Menu] {
        static MENUS: LazyLock<Vec<Menu>> = LazyLock::new(find_menus);
        &MENUS
    }

    fn find_menus() -> Vec<Menu> {
        let (inputs, all) = (all_inputs(), all_facts());
        let key = |menu: &Menu| (menu.state, menu.kind, menu.misses);
        let mut seen = HashSet::new();
        let mut menus = Vec::new();
        let mut open = VecDeque::new();
        for kind in Kind::ALL {
            for identity in [Identity::Own, Identity::Pin, Identity::NoPin] {
                open.push_back(Menu::begin(identity, kind, SHORTEST, &facts(&[])).0);
            }
        }
        while let Some(menu) = open.pop_front() {
            if !seen.insert(key(&menu)) {
                continue;
            }
            for facts in &all {
                for input in &inputs {
                    let mut after = menu.clone();
                    after.step(input, facts);
                    after.answers = 0;
                    if !seen.contains(&key(&after)) {
                        open.push_back(after);
                    }
                }
            }
            menus.push(menu);
        }
        menus
    }

    fn is_change(next: Next) -> bool {
        matches!(
            next,
            Next::Save(_) | Next::Delete(_) | Next::Enable(_) | Next::Away(_) | Next::Back
        )
    }

    /// What can come back from a step.
    fn answers_to(next: Next) -> Vec<Input> {
        let fits = |input: &Input| match next {
            Next::Key => matches!(input, Input::Key(_)),
            Next::Line(_) => matches!(input, Input::Line(_) | Input::GivenUp),
            Next::Pin => matches!(input, Input::Pin(_) | Input::GivenUp),
            Next::Prepare(_) => matches!(input, Input::Ready | Input::Taken | Input::Full | Input::Failed),
            Next::Record => matches!(input, Input::Recorded(_) | Input::GivenUp | Input::Failed),
            Next::Leave(_) => false,
            _ => matches!(input, Input::Done | Input::Failed),
        };
        all_inputs().into_iter().filter(fits).collect()
    }

    fn key(key: char) -> Input {
        Input::Key(Some(u8::try_from(key).unwrap()))
    }

    fn own(kind: Kind, facts: &Facts) -> (Menu, Step) {
        Menu::begin(Identity::Own, kind, SHORTEST, facts)
    }

    fn prompts(step: &Step) -> Vec<Prompt> {
        step.say
            .iter()
            .filter_map(|say| match say {
                Say::Prompt(prompt) => Some(*prompt),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn every_answer_in_every_state_ends_or_goes_on() {
        let (menus, inputs, all) = (all_menus(), all_inputs(), all_facts());
        let states: HashSet<_> = menus
            .iter()
            .map(|menu| std::mem::discriminant(&menu.state))
            .collect();
        assert_eq!(states.len(), 14, "every state is reached");
        for menu in menus {
            for facts in &all {
                for input in &inputs {
                    let mut after = menu.clone();
                    let step = after.step(input, facts);
                    let has_ended = matches!(after.state, State::Ended(_));
                    assert_eq!(
                        has_ended,
                        matches!(step.next, Next::Leave(_)),
                        "{menu:?} {input:?}"
                    );
                    // Whoever is asked something has heard a question.
                    let is_question = matches!(step.next, Next::Key | Next::Line(_) | Next::Pin);
                    assert!(!is_question || !step.say.is_empty(), "{menu:?} {input:?}");
                }
            }
        }
    }

    #[test]
    fn nothing_but_silence_comes_to_an_end_everywhere() {
        for menu in all_menus() {
            for silence in [Input::Key(None), Input::Line(String::new()), Input::Failed] {
                let mut menu = menu.clone();
                let mut left = 3 * usize::from(MISSES);
                while !matches!(menu.step(&silence, &facts(&Kind::ALL)).next, Next::Leave(_)) {
                    left -= 1;
                    assert!(left > 0, "{menu:?} goes on and on with {silence:?}");
                }
            }
        }
    }

    #[test]
    fn whatever_is_answered_it_ends() {
        let all = all_facts();
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..2_000 {
            let (mut menu, mut step) = own(Kind::Default, &all[0]);
            for count in 0_u16.. {
                assert!(count <= ANSWERS, "it goes on and on");
                let answers = answers_to(step.next);
                let Some(answer) = random.choice(&answers) else {
                    break;
                };
                step = menu.step(answer, random.choice(&all).unwrap());
            }
        }
        // A key that is stuck and that is always a right answer.
        let (mut menu, mut step) = own(Kind::Default, &facts(&[]));
        let mut changes = 0_u16;
        while !matches!(step.next, Next::Leave(_)) {
            changes += u16::from(is_change(step.next));
            let answer = if step.next == Next::Key {
                key('4')
            } else {
                Input::Done
            };
            step = menu.step(&answer, &facts(&[]));
        }
        assert_eq!(step.next, Next::Leave(Ending::Timeout));
        assert!((10..=ANSWERS / 2).contains(&changes), "{changes}");
    }

    #[test]
    fn a_hang_up_changes_nothing_anywhere() {
        for menu in all_menus() {
            let mut menu = menu.clone();
            let before = menu.state;
            let step = menu.step(&Input::HungUp, &facts(&Kind::ALL));
            assert_eq!(
                (step.say, step.next),
                (Vec::new(), Next::Leave(Ending::HangUp)),
                "{before:?}"
            );
            assert!(!menu.is_recording());
        }
    }

    #[test]
    fn a_greeting_changes_by_one_key_after_one_question_only() {
        let (mut saves, mut deletes) = (HashSet::new(), HashSet::new());
        for menu in all_menus() {
            for facts in all_facts() {
                for input in all_inputs() {
                    let mut after = menu.clone();
                    let wishes = match after.step(&input, &facts).next {
                        Next::Save(_) => &mut saves,
                        Next::Delete(_) => &mut deletes,
                        _ => continue,
                    };
                    // What is asked for again while it is not done is no new wish.
                    if menu.state != after.state {
                        let Input::Key(pressed) = input else {
                            panic!("{input:?} in {menu:?} changes something");
                        };
                        wishes.insert((menu.state, pressed));
                    }
                }
            }
        }
        assert_eq!(saves, HashSet::from([(State::Review, Some(b'1'))]));
        assert_eq!(deletes, HashSet::from([(State::DeleteSure, Some(b'1'))]));
    }

    #[test]
    fn nobody_gets_in_without_a_pin() {
        let inside = facts(&Kind::ALL);
        let (_, step) = Menu::begin(Identity::NoPin, Kind::Default, SHORTEST, &inside);
        assert_eq!(
            (prompts(&step), step.next),
            (vec![Prompt::Refused], Next::Leave(Ending::Denied))
        );
        for menu in all_menus() {
            if menu.state != State::Pin {
                continue;
            }
            for input in all_inputs() {
                let mut after = menu.clone();
                let step = after.step(&input, &inside);
                if input == Input::Pin(PinCheck::Right) {
                    assert_eq!(after.state, State::Main);
                } else {
                    assert!(matches!(after.state, State::Pin | State::Ended(_)), "{input:?}");
                    assert!(matches!(step.next, Next::Pin | Next::Leave(_)), "{input:?}");
                }
            }
        }
        let (mut menu, step) = Menu::begin(Identity::Pin, Kind::Default, SHORTEST, &inside);
        assert_eq!((prompts(&step), step.next), (vec![Prompt::Pin], Next::Pin));
        let step = menu.step(&Input::Pin(PinCheck::Wrong), &inside);
        assert_eq!(
            (prompts(&step), step.next),
            (vec![Prompt::PinWrong, Prompt::Pin], Next::Pin)
        );
        let step = menu.step(&Input::Pin(PinCheck::Locked), &inside);
        assert_eq!(
            (prompts(&step), step.next),
            (vec![Prompt::PinLocked], Next::Leave(Ending::Denied))
        );
    }

    #[test]
    fn a_greeting_is_recorded_heard_recorded_again_and_kept() {
        let nothing = facts(&[]);
        let (mut menu, step) = own(Kind::Busy, &nothing);
        assert!(prompts(&step).starts_with(&[Prompt::KindBusy, Prompt::Nothing]));
        assert!(prompts(&step).contains(&Prompt::OptionRecord));
        assert!(!prompts(&step).contains(&Prompt::OptionDelete));
        assert_eq!(menu.step(&key('1'), &nothing).next, Next::Prepare(Kind::Busy));
        assert!(menu.is_recording());
        let step = menu.step(&Input::Ready, &nothing);
        assert_eq!(
            (prompts(&step), step.next),
            (vec![Prompt::RecordBusy], Next::Record)
        );
        let step = menu.step(&Input::Recorded(SHORTEST / 2), &nothing);
        assert_eq!(
            (prompts(&step), step.next),
            (vec![Prompt::TooShort, Prompt::RecordBusy], Next::Record)
        );
        let step = menu.step(&Input::Recorded(SHORTEST), &nothing);
        assert_eq!((prompts(&step), step.next), (vec![Prompt::Review], Next::Key));
        let step = menu.step(&key('2'), &nothing);
        assert_eq!(step.say, [Say::Draft, Say::Prompt(Prompt::Review)]);
        assert_eq!(menu.step(&key('3'), &nothing).next, Next::Record);
        menu.step(&Input::Recorded(2 * SHORTEST), &nothing);
        assert_eq!(menu.step(&key('1'), &nothing).next, Next::Save(Kind::Busy));
        let there = facts(&[Kind::Busy]);
        let step = menu.step(&Input::Done, &there);
        assert!(prompts(&step).starts_with(&[Prompt::Saved, Prompt::KindBusy, Prompt::On]));
        assert!(!menu.is_recording());
        let step = menu.step(&key('3'), &there);
        assert_eq!(step.say[0], Say::Greeting(Kind::Busy));
        let step = menu.step(&key('#'), &there);
        assert_eq!(
            (prompts(&step), step.next),
            (vec![Prompt::Goodbye], Next::Leave(Ending::Done))
        );
    }

    #[test]
    fn what_cannot_be_saved_can_be_saved_again_or_given_up() {
        let nothing = facts(&[]);
        let (mut menu, _) = own(Kind::Default, &nothing);
        for input in [key('1'), Input::Ready, Input::Recorded(SHORTEST), key('1')] {
            menu.step(&input, &nothing);
        }
        let step = menu.step(&Input::Failed, &nothing);
        assert_eq!(
            (prompts(&step), step.next),
            (vec![Prompt::Failed, Prompt::Review], Next::Key)
        );
        assert!(menu.is_recording(), "the recording is still there");
        assert_eq!(menu.step(&key('1'), &nothing).next, Next::Save(Kind::Default));
        menu.step(&Input::Failed, &nothing);
        let step = menu.step(&key('*'), &nothing);
        assert_eq!(prompts(&step)[0], Prompt::Cancelled);
        assert!(!menu.is_recording());
    }

    #[test]
    fn what_stands_in_the_way_of_a_recording_is_said() {
        for (input, prompt) in [
            (Input::Taken, Prompt::Taken),
            (Input::Full, Prompt::Full),
            (Input::Failed, Prompt::Failed),
        ] {
            let (mut menu, _) = own(Kind::Default, &facts(&[]));
            menu.step(&key('1'), &facts(&[]));
            let step = menu.step(&input, &facts(&[]));
            assert_eq!((prompts(&step)[0], step.next), (prompt, Next::Key));
            assert!(!menu.is_recording());
        }
    }

    #[test]
    fn deleting_asks_once_more() {
        let there = facts(&[Kind::Default]);
        for delete in ['2', '7'] {
            let (mut menu, _) = own(Kind::Default, &there);
            let step = menu.step(&key(delete), &there);
            assert_eq!((prompts(&step), step.next), (vec![Prompt::DeleteSure], Next::Key));
            let mut sure = menu.clone();
            assert_eq!(sure.step(&key('1'), &there).next, Next::Delete(Kind::Default));
            assert_eq!(prompts(&sure.step(&Input::Done, &facts(&[])))[0], Prompt::Deleted);
            // A key that bounces is not sure.
            assert_eq!(prompts(&menu.step(&key(delete), &there))[0], Prompt::Cancelled);
            let (mut menu, _) = own(Kind::Busy, &there);
            let step = menu.step(&key(delete), &there);
            assert_eq!(
                (prompts(&step)[1], step.next),
                (Prompt::Nothing, Next::Key),
                "there is nothing"
            );
        }
    }

    #[test]
    fn greetings_are_switched_and_kinds_chosen() {
        let mut now = facts(&[Kind::Default]);
        let (mut menu, step) = own(Kind::Default, &now);
        assert!(prompts(&step).contains(&Prompt::OptionOff));
        assert_eq!(menu.step(&key('4'), &now).next, Next::Enable(false));
        now.enabled = false;
        let step = menu.step(&Input::Done, &now);
        assert!(prompts(&step).starts_with(&[Prompt::KindDefault, Prompt::Off]));
        assert!(prompts(&step).contains(&Prompt::OptionOn));
        assert_eq!(menu.step(&key('4'), &now).next, Next::Enable(true));
        menu.step(&Input::Done, &now);
        for (digit, kind) in ('1'..='6').zip(Kind::ALL) {
            menu.step(&key('5'), &now);
            menu.step(&key(digit), &now);
            assert_eq!(menu.kind(), kind);
        }
        menu.step(&key('5'), &now);
        assert_eq!(prompts(&menu.step(&key('9'), &now))[0], Prompt::Wrong);
        menu.step(&key('*'), &now);
        assert_eq!(menu.kind(), Kind::Temp);
    }

    #[test]
    fn a_vacation_has_a_last_day_or_none() {
        let mut now = facts(&[Kind::Default]);
        let (menu, _) = own(Kind::Default, &now);
        let away = |line: &str| {
            let mut menu = menu.clone();
            assert_eq!(menu.step(&key('6'), &facts(&[])).next, Next::Line(4));
            menu.step(&Input::Line(line.to_owned()), &facts(&[])).next
        };
        let day = |year, month, day| Next::Away(Some(Day { year, month, day }));
        assert_eq!(away("0"), Next::Away(None));
        assert_eq!(away("3112"), day(2026, 12, 31));
        assert_eq!(away("2111"), day(2026, 11, 21));
        assert_eq!(away("2011"), day(2027, 11, 20));
        assert_eq!(away("3102"), Next::Line(4));
        let mut menu = menu.clone();
        menu.step(&key('6'), &now);
        menu.step(&Input::Line("3112".to_owned()), &now);
        now.vacation = Some(Some(1_798_750_800));
        let step = menu.step(&Input::Done, &now);
        assert!(step.say.starts_with(&[
            Say::Prompt(Prompt::KindVacation),
            Say::Prompt(Prompt::Nothing),
            Say::Prompt(Prompt::On),
            Say::Prompt(Prompt::VacationOn),
            Say::Date(1_798_750_799)
        ]));
        assert_eq!(menu.step(&key('6'), &now).next, Next::Back);
        now.vacation = None;
        assert_eq!(prompts(&menu.step(&Input::Done, &now))[0], Prompt::VacationOff);
    }

    fn greeting(kind: Kind, language: &str, seconds: u64) -> Greeting {
        Greeting {
            kind,
            language: language.to_owned(),
            length: Duration::from_secs(seconds),
            bytes: 44 + seconds * 16_000,
            modified: 0,
            wide: false,
            plays: 0,
        }
    }

    #[test]
    fn what_is_so_is_read_from_the_sheet() {
        let mut sheet = Sheet {
            presence: Presence::Vacation,
            ..Sheet::default()
        };
        let at = |sheet: &Sheet, now| Facts::of(sheet, now, TODAY);
        assert_eq!(at(&sheet, 50).vacation, Some(None));
        sheet.expires.insert(Kind::Vacation, 100);
        sheet.expires.insert(Kind::Temp, 60);
        sheet.greetings = vec![greeting(Kind::Temp, "ru", 1), greeting(Kind::Temp, "en", 1)];
        let before = at(&sheet, 59);
        assert_eq!(
            (before.vacation, before.temp, before.kinds),
            (Some(Some(100)), true, vec![Kind::Temp])
        );
        assert!(!at(&sheet, 60).temp);
        assert_eq!(at(&sheet, 99).vacation, Some(Some(100)));
        assert_eq!(at(&sheet, 100).vacation, None);
        sheet.enabled = false;
        assert!(!at(&sheet, 0).enabled);
    }

    #[test]
    fn the_room_is_what_the_others_leave() {
        let seconds = Duration::from_secs;
        let sheet = Sheet {
            greetings: vec![
                greeting(Kind::Default, "ru", 50),
                greeting(Kind::Busy, "ru", 30),
                greeting(Kind::Busy, "en", 15),
            ],
            ..Sheet::default()
        };
        for (kind, language, total, left) in [
            (Kind::Temp, "ru", 600, 60),
            (Kind::Temp, "ru", 100, 5),
            (Kind::Busy, "ru", 100, 35),
            (Kind::Busy, "en", 100, 20),
            (Kind::Default, "ru", 100, 55),
            (Kind::Temp, "ru", 95, 0),
            (Kind::Temp, "ru", 10, 0),
        ] {
            let room = room(&sheet, kind, language, seconds(60), seconds(total));
            assert_eq!(room, seconds(left), "{kind:?} {language} of {total}");
        }
    }

    #[test]
    fn a_temporary_greeting_is_named_at_the_beginning() {
        let temp = Facts {
            temp: true,
            ..facts(&[Kind::Temp])
        };
        assert_eq!(prompts(&own(Kind::Default, &temp).1)[0], Prompt::TempActive);
        assert_eq!(prompts(&own(Kind::Temp, &temp).1)[0], Prompt::KindTemp);
        let off = Facts {
            enabled: false,
            ..temp
        };
        assert_eq!(prompts(&own(Kind::Default, &off).1)[0], Prompt::KindDefault);
    }
}
