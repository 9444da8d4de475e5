//! What the operator hears in the menu: prompts of one or more sounds each.
//!
//! Invariants:
//! - every sound of a default is in both the English and the Russian package of Asterisk's core sounds, so that nothing
//!   has to be recorded before the menu can be used;
//! - a prompt is whole: no other is put together with it to make a sentence, so that one recording can replace it.
//!
//! The packages have no sentence for most of this. What is made of single words has the same order in both languages:
//! what it does, then the key ("Запись. Нажмите один").

use std::collections::BTreeMap;

/// The prompts, each with its name and the sounds that it has when planfix.conf says nothing.
macro_rules! prompts {
    ($($(#[$doc:meta])* $variant:ident $name:literal $sounds:literal;)*) => {
        /// One prompt.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Prompt {
            $($(#[$doc])* $variant,)*
        }

        impl Prompt {
            /// Every prompt.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The option of planfix.conf that replaces it.
            #[must_use]
            pub fn option(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!("prompt_", $name),)*
                }
            }

            /// Its sounds when nothing replaces them.
            #[must_use]
            pub fn default(self) -> &'static str {
                match self {
                    $(Self::$variant => $sounds,)*
                }
            }
        }

        /// Section, name and default of the option of every prompt.
        pub const OPTIONS: [(&str, &str, &str); Prompt::ALL.len()] =
            [$(("greetings", concat!("prompt_", $name), $sounds)),*];
    };
}

prompts! {
    /// Asks for the PIN.
    Pin "pin" "confbridge-pin";
    /// The PIN was wrong.
    PinWrong "pin_wrong" "vm-incorrect";
    /// It was wrong too often.
    PinLocked "pin_locked" "confbridge-pin-bad";
    /// This phone is not the operator's, and he has no PIN.
    Refused "refused" "feature-not-avail-line";
    /// His temporary greeting plays instead of all others.
    TempActive "temp_active" "vm-tmpexists";
    /// He is on vacation.
    VacationOn "vacation_on" "do-not-disturb&activated";
    /// He is back.
    VacationOff "vacation_off" "do-not-disturb&de-activated";
    /// His greetings play.
    On "on" "activated";
    /// They do not.
    Off "off" "de-activated";
    /// There is no greeting of this kind.
    Nothing "nothing" "vm-nomore";
    /// The kinds of greetings.
    KindDefault "kind_default" "vm-message";
    /// As above.
    KindNoAnswer "kind_noanswer" "number-not-answering";
    /// As above.
    KindBusy "kind_busy" "vm-isonphone";
    /// As above.
    KindUnreachable "kind_unreachable" "vm-isunavail";
    /// As above.
    KindVacation "kind_vacation" "do-not-disturb";
    /// As above.
    KindTemp "kind_temp" "digits/today";
    /// Key 1, while there is no greeting.
    OptionRecord "option_record" "dictate/record&vm-press&digits/1";
    /// Key 1, when there is one.
    OptionAgain "option_again" "to-rerecord-it&vm-press&digits/1";
    /// Key 7 (2 does the same): the core sounds have a sentence for 7 alone.
    OptionDelete "option_delete" "vm-delete";
    /// Key 3.
    OptionListen "option_listen" "to-listen-to-it&vm-press&digits/3";
    /// Key 4, while greetings do not play.
    OptionOn "option_on" "activated&vm-press&digits/4";
    /// Key 4, while they do.
    OptionOff "option_off" "de-activated&vm-press&digits/4";
    /// Key 5.
    OptionKind "option_kind" "number-not-answering&vm-isonphone&vm-isunavail&vm-press&digits/5";
    /// Key 6.
    OptionVacation "option_vacation" "do-not-disturb&vm-press&digits/6";
    /// The way out.
    OptionLeave "option_leave" "vm-tocancel";
    /// The keys of the kinds.
    ChooseDefault "choose_default" "vm-message&vm-press&digits/1";
    /// As above.
    ChooseNoAnswer "choose_noanswer" "number-not-answering&vm-press&digits/2";
    /// As above.
    ChooseBusy "choose_busy" "vm-isonphone&vm-press&digits/3";
    /// As above.
    ChooseUnreachable "choose_unreachable" "vm-isunavail&vm-press&digits/4";
    /// As above.
    ChooseVacation "choose_vacation" "do-not-disturb&vm-press&digits/5";
    /// As above.
    ChooseTemp "choose_temp" "digits/today&vm-press&digits/6";
    /// Asks for the last day of the vacation: 3112 for the 31st of December, 0 for until further notice.
    Until "until" "vm-press&digits/3&digits/1&digits/1&digits/2&vm-for&digits/mon-11&digits/30&digits/h-1&dir-multi1&digits/0&vm-then-pound";
    /// Before a greeting is recorded.
    Record "record" "vm-rec-unv";
    /// The same for when he is busy.
    RecordBusy "record_busy" "vm-rec-busy";
    /// The same for a greeting that holds for some time.
    RecordTemp "record_temp" "vm-rec-temp";
    /// What is said after it is recorded.
    Beep "beep" "beep";
    /// The operator's greetings are as long together as they may be.
    Full "full" "vm-mailboxfull";
    /// The recording is shorter than it may be.
    TooShort "too_short" "vm-tooshort";
    /// What to do with the recording.
    Review "review" "vm-review&vm-star-cancel";
    /// It is kept.
    Saved "saved" "vm-msgsaved";
    /// Something could not be done, and all is as it was.
    Failed "failed" "im-sorry&vm-pls-try-again";
    /// Somebody else records for this operator.
    Taken "taken" "im-sorry&is-in-use";
    /// Whether it shall really be deleted: 1.
    DeleteSure "delete_sure" "if-correct-press&digits/1&vm-star-cancel";
    /// It is.
    Deleted "deleted" "vm-deleted";
    /// All is as it was, as he wished.
    Cancelled "cancelled" "cancelled";
    /// There is no such key.
    Wrong "wrong" "pm-invalid-option";
    /// The end.
    Goodbye "goodbye" "vm-goodbye";
}

impl Prompt {
    /// The prompt that this option of planfix.conf replaces.
    #[must_use]
    pub fn of_option(option: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|prompt| prompt.option() == option)
    }
}

/// The sounds of the prompts that planfix.conf replaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prompts(BTreeMap<Prompt, String>);

impl Prompts {
    /// Sets one option; `None` for one that is not a prompt's.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn set(&mut self, option: &str, value: &str) -> Option<Result<(), String>> {
        let prompt = Prompt::of_option(option)?;
        let sounds: Vec<&str> = value.split('&').map(str::trim).collect();
        let is_sound = |sound: &&str| !sound.is_empty() && !sound.chars().any(|c| c.is_control() || c == '|');
        if !sounds.iter().all(is_sound) {
            return Some(Err(format!(
                "'{value}' is not a list of sounds: expected names as Playback takes them, separated by &, such as {}",
                prompt.default()
            )));
        }
        let sounds = sounds.join("&");
        // What is written as it is anyway replaces nothing.
        if sounds == prompt.default() {
            self.0.remove(&prompt);
        } else {
            self.0.insert(prompt, sounds);
        }
        Some(Ok(()))
    }

    /// The sounds of a prompt, in their order.
    pub fn sounds(&self, prompt: Prompt) -> impl Iterator<Item = &str> {
        self.0
            .get(&prompt)
            .map_or(prompt.default(), String::as_str)
            .split('&')
    }
}

#[cfg(test)]
mod tests {
    use super::{OPTIONS, Prompt, Prompts};

    /// Sounds that are in asterisk-core-sounds-en-gsm and in asterisk-core-sounds-ru-gsm, 1.6.1 both. The live tests look for
    /// the same in the packages themselves.
    const IN_BOTH_PACKAGES: &str = "
        activated beep cancelled confbridge-pin confbridge-pin-bad de-activated dictate/record digits/0 digits/1 digits/2
        digits/3 digits/30 digits/4 digits/5 digits/6 digits/h-1 digits/mon-11 digits/today dir-multi1 do-not-disturb
        feature-not-avail-line if-correct-press im-sorry is-in-use number-not-answering pm-invalid-option to-listen-to-it
        to-rerecord-it vm-delete vm-deleted vm-for vm-goodbye vm-incorrect vm-isonphone vm-isunavail vm-mailboxfull vm-message vm-msgsaved
        vm-nomore vm-pls-try-again vm-press vm-rec-busy vm-rec-temp vm-rec-unv vm-review vm-star-cancel vm-then-pound
        vm-tmpexists vm-tocancel vm-tooshort";

    #[test]
    fn every_default_is_made_of_core_sounds_of_both_languages() {
        for prompt in Prompt::ALL {
            for sound in prompt.default().split('&') {
                assert!(
                    IN_BOTH_PACKAGES.split_whitespace().any(|known| known == sound),
                    "'{sound}' of {} is not known to be in both packages",
                    prompt.option()
                );
            }
        }
        // A sound that no prompt uses any more needs no promise.
        for known in IN_BOTH_PACKAGES.split_whitespace() {
            let is_used = Prompt::ALL
                .into_iter()
                .any(|prompt| prompt.default().split('&').any(|sound| sound == known));
            assert!(is_used, "{known}");
        }
    }

    #[test]
    fn every_prompt_has_an_option_of_its_own() {
        for (index, prompt) in Prompt::ALL.into_iter().enumerate() {
            assert_eq!(Prompt::of_option(prompt.option()), Some(prompt));
            assert_eq!(OPTIONS[index], ("greetings", prompt.option(), prompt.default()));
        }
        assert_eq!(Prompt::of_option("prompt_x"), None);
        assert_eq!(Prompt::of_option("pin"), None);
    }

    #[test]
    fn a_prompt_is_replaced_by_one_sound_or_several() {
        let mut prompts = Prompts::default();
        let sounds =
            |prompts: &Prompts, prompt| prompts.sounds(prompt).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(sounds(&prompts, Prompt::Review), ["vm-review", "vm-star-cancel"]);
        assert_eq!(
            prompts.set("prompt_review", " custom/a & /srv/sounds/b "),
            Some(Ok(()))
        );
        assert_eq!(sounds(&prompts, Prompt::Review), ["custom/a", "/srv/sounds/b"]);
        assert_eq!(sounds(&prompts, Prompt::Saved), ["vm-msgsaved"]);
        assert_eq!(prompts.set("prompt_nonsense", "a"), None);
        assert_eq!(prompts.set("folder", "a"), None);
        for wrong in ["", "&", "a&&b", "a\u{1}b", "a|b"] {
            let text = prompts.set("prompt_saved", wrong).unwrap().unwrap_err();
            assert!(text.contains("such as vm-msgsaved"), "{text}");
        }
        assert_eq!(sounds(&prompts, Prompt::Saved), ["vm-msgsaved"]);
    }
}
