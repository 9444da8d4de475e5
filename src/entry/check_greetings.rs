//! `planfix check` of operators' greetings: their folder, and the sounds that the menu speaks with.

use std::collections::BTreeSet;

use super::state::State;
use crate::ast::{paths, voice};
use crate::core::greeting::prompt::Prompt;
use crate::core::settings::Settings;
use crate::delivery::checks::Item;
use crate::delivery::greetings::Greetings;
use crate::delivery::sounds::missing;

/// Sounds that are missing and are named.
const NAMED: usize = 3;

/// The items.
pub(super) fn items(state: &State) -> Vec<Item> {
    let name = "Greetings";
    let held = &state.lasting.greetings;
    let (Some(settings), Some(greetings)) = (&state.settings, held.running()) else {
        return vec![match held.trouble() {
            Some(trouble) => Item::fail(name, &trouble, "mend it and run 'module reload res_planfix.so'"),
            None => Item::skipped(name, "planfix.conf is not in force"),
        }];
    };
    let mut items = vec![match (held.trouble(), greetings.probe()) {
        (Some(trouble), _) => Item::fail(name, &trouble, "mend it and run 'module reload res_planfix.so'"),
        (None, Err(fault)) => Item::fail(
            name,
            &fault,
            "see that Asterisk's user may write there and that the disk has room",
        ),
        (None, Ok(())) => Item::pass(name, &found(&greetings)),
    }];
    items.extend(prompts(settings, &greetings));
    items
}

/// Where they lie, and what was taken over.
fn found(greetings: &Greetings) -> String {
    let folder = greetings.folder();
    let adopted = greetings
        .known()
        .iter()
        .filter(|(_, sheet)| sheet.adopted)
        .count();
    let adopted = match adopted {
        0 => String::new(),
        1 => "; those of one operator were taken over from op_alert".to_owned(),
        count => format!("; those of {count} operators were taken over from op_alert"),
    };
    format!("{} can be written{adopted}", folder.display())
}

/// Whether the menu can speak in the languages in use: Asterisk's own, and those in which something is recorded.
fn prompts(settings: &Settings, greetings: &Greetings) -> Vec<Item> {
    let name = "Sounds of the menu";
    let known = greetings.known();
    let recorded = known.iter().flat_map(|(_, sheet)| &sheet.greetings);
    let mut languages: BTreeSet<String> = recorded.map(|greeting| greeting.language.clone()).collect();
    let in_use = !languages.is_empty();
    languages.insert(voice::default_language());
    let sounds = paths::data_dir().join("sounds");
    let mut items = Vec::new();
    for language in languages {
        let prompts = &settings.greetings.prompts;
        let wanted = Prompt::ALL.into_iter().flat_map(|prompt| prompts.sounds(prompt));
        let missing = missing(&sounds, &language, wanted);
        if missing.is_empty() {
            items.push(Item::pass(name, &format!("those of '{language}' are there")));
            continue;
        }
        let more = missing.len().saturating_sub(NAMED);
        let more = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        let named: Vec<&str> = missing.iter().take(NAMED).copied().collect();
        let text = format!("there is no {}{more} in '{language}'", named.join(", "));
        let cure = format!(
            "install Asterisk's core sounds for it (asterisk-core-sounds-{language}), or name others by prompt_… in [greetings]"
        );
        items.push(if in_use {
            Item::fail(name, &text, &cure)
        } else {
            // A system without a menu needs no sounds for it.
            Item::skipped(
                name,
                &format!("nobody has recorded anything; for OpGreetingMenu {text}: {cure}"),
            )
        });
    }
    items
}
