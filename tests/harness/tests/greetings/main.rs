//! The operators' greetings on a real Asterisk: a phone records by the service code, a client hears it before anybody has
//! answered; what is not accepted changes nothing; whoever may not, cannot.
//!
//! `REPLACEMENTS=1000 LISTENERS=20` are what the test of the replacements does without further word.

mod adoption;
mod attack;
mod desk;
mod function;
mod options;
mod pin;
mod prompts;
mod recording;
mod replacement;
mod untouched;
mod wide;

use std::panic::resume_unwind;
use std::thread;

use anyhow::{Context as _, Result};
use harness::{Version, on_both};

use adoption::an_installation_of_the_article_is_taken_over_and_kept_in_step;
use attack::names_of_an_attacker_touch_nothing;
use function::the_function_reads_without_a_channel_and_is_written_by_the_dialplan_alone;
use options::{a_greeting_is_played_as_the_options_say, the_menu_is_entered_as_the_options_say};
use pin::a_strange_phone_needs_the_pin;
use prompts::every_prompt_is_in_both_languages;
use recording::an_operator_records_and_a_client_hears_it;
use recording::two_phones_record_one_after_another;
use replacement::every_listener_hears_one_whole_version;
use untouched::a_full_disk_leaves_the_old_greeting;
use untouched::a_reload_waits_for_nobody_and_an_unload_for_who_records;
use untouched::what_is_not_accepted_changes_nothing;
use wide::the_wide_band_is_kept_and_played;

on_both! {
    every_listener_hears_one_whole_version,
    greetings_are_recorded_and_heard,
    old_ones_outlive_what_goes_wrong,
    whoever_may_not_cannot,
}

/// Makes a test that plays all of these at once, each on an Asterisk of its own: phones wait, and need no processor for it.
macro_rules! at_once {
    ($test:ident: $($name:ident),+ $(,)?) => {
        fn $test(version: Version) -> Result<()> {
            play_at_once(version, &[$((stringify!($name), $name)),+])
        }
    };
}

at_once! {
    greetings_are_recorded_and_heard:
    a_greeting_is_played_as_the_options_say,
    an_operator_records_and_a_client_hears_it,
    the_wide_band_is_kept_and_played,
    two_phones_record_one_after_another,
}

at_once! {
    old_ones_outlive_what_goes_wrong:
    a_full_disk_leaves_the_old_greeting,
    a_reload_waits_for_nobody_and_an_unload_for_who_records,
    an_installation_of_the_article_is_taken_over_and_kept_in_step,
    what_is_not_accepted_changes_nothing,
}

at_once! {
    whoever_may_not_cannot:
    a_strange_phone_needs_the_pin,
    every_prompt_is_in_both_languages,
    names_of_an_attacker_touch_nothing,
    the_function_reads_without_a_channel_and_is_written_by_the_dialplan_alone,
    the_menu_is_entered_as_the_options_say,
}

type Scenario = (&'static str, fn(Version) -> Result<()>);

fn play_at_once(version: Version, scenarios: &[Scenario]) -> Result<()> {
    thread::scope(|scope| {
        let playing: Vec<_> = scenarios
            .iter()
            .map(|(name, scenario)| (name, scope.spawn(move || scenario(version))))
            .collect();
        let played: Vec<Result<()>> = playing
            .into_iter()
            .map(|(name, scenario)| {
                let played = scenario.join().unwrap_or_else(|panic| resume_unwind(panic));
                played.with_context(|| (*name).to_owned())
            })
            .collect();
        played.into_iter().collect()
    })
}
