//! Links to recordings, as the settings in force want them.

use std::path::PathBuf;
use std::sync::Arc;

use super::state::{Lasting, State};
use crate::ast::paths;
use crate::core::link::Base;
use crate::core::settings::Settings;
use crate::delivery::links::Links;

/// The folder of the recordings.
pub(super) fn folder(settings: &Settings) -> PathBuf {
    match settings.recordings.directory.as_str() {
        "" => paths::monitor_dir(),
        directory => PathBuf::from(directory),
    }
}

/// The folder of what belongs to this machine and must outlive the spool: it lies beside Asterisk's own database, which is
/// in every backup.
pub(super) fn keys_folder() -> PathBuf {
    paths::database().with_file_name("planfix")
}

/// Has the keys ready if these settings want signed links.
pub(super) fn prepare(settings: &Settings, lasting: &Lasting) {
    if matches!(Base::read(&settings.recordings.link), Base::Own(_)) {
        lasting.link_keys.open();
    }
}

/// The links of this state; `None` while planfix.conf is not in force.
pub(super) fn of(state: &State) -> Option<Links> {
    let settings = state.settings.as_ref()?;
    Some(Links::new(
        &settings.recordings,
        folder(settings),
        Arc::clone(&state.lasting.link_keys),
    ))
}
