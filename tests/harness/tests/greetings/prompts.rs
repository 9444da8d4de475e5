//! The menu speaks without anything having been recorded for it.

use std::fs;

use anyhow::{Result, ensure};
use harness::{Asterisk, Version, workspace_root};

/// Every sound of every prompt, as the sample has them, is among the sounds that Debian's packages bring for both languages.
pub(crate) fn every_prompt_is_in_both_languages(version: Version) -> Result<()> {
    let asterisk = Asterisk::builder(version).prepare()?;
    let sample = fs::read_to_string(workspace_root().join("configs/samples/planfix.conf.sample"))?;
    let prompts: Vec<(&str, &str)> = sample
        .lines()
        .filter_map(|line| line.strip_prefix(";prompt_")?.split_once('='))
        .collect();
    ensure!(
        prompts.len() > 20,
        "the sample tells of {} prompts",
        prompts.len()
    );
    for (name, sounds) in prompts {
        let (sounds, _) = sounds.split_once(';').unwrap_or((sounds, ""));
        for sound in sounds.trim().split('&') {
            for language in ["en", "ru"] {
                let file = asterisk
                    .scratch()
                    .join(format!("data/sounds/{language}/{sound}.gsm"));
                ensure!(
                    file.is_file(),
                    "{sound} of prompt_{} is not there in {language}",
                    name.trim()
                );
            }
        }
    }
    Ok(())
}
