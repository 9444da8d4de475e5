//! Criterion: whatever goes on at once, every card that is opened is closed, once. `make load` plays ten thousand calls.

use anyhow::Result;
use harness::{Traffic, Version, on_both};

on_both!(every_card_is_closed);

fn every_card_is_closed(version: Version) -> Result<()> {
    Traffic::stage(version)?.play(|stage| {
        let report = Traffic::new(300, 25.0).play(stage)?;
        eprintln!("{report}");
        report.ensure_true()
    })
}
