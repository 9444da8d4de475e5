//! Links to recordings: made for the CRM, and judged when somebody comes with one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Delivery;
use super::checks::Item;
use super::link_keys::LinkKeys;
use super::served_file::ServedFile;
use crate::core::audio_path::AudioPath;
use crate::core::link::{self, Base, Verdict};
use crate::core::secret::Secret;
use crate::core::settings::{self, Crm};

/// A recording that is asked for by an expired link, so there need not be any of that name.
const PROBE: &[u8] = b"planfix-check.mp3";

/// How links are made under one planfix.conf.
pub struct Links {
    base: Base,
    expires: Duration,
    folder: PathBuf,
    keys: Arc<LinkKeys>,
}

/// What somebody who comes with a link is given.
#[derive(Debug)]
pub enum Asked {
    /// The recording.
    Found(AudioPath, ServedFile),
    /// Nothing, because the link was good once.
    Expired,
    /// Nothing, and he is not told why.
    Nothing,
    /// Nothing now: no link can be judged.
    Unable,
}

impl Links {
    /// Links to what lies in `folder`.
    #[must_use]
    pub fn new(recordings: &settings::Recordings, folder: PathBuf, keys: Arc<LinkKeys>) -> Self {
        Self {
            base: Base::read(&recordings.link),
            expires: recordings.link_expires,
            folder,
            keys,
        }
    }

    /// Where links lead.
    #[must_use]
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// The link to a recording, given by its path below the folder. `None` when planfix.conf wants no links.
    ///
    /// # Errors
    /// Why there is none: the keys cannot be read, or the file has no name that can be linked.
    pub fn link(&self, relative: &Path, now: SystemTime) -> Result<Option<String>, String> {
        let path = || {
            AudioPath::new(relative)
                .map_err(|fault| format!("{} cannot be linked: {fault}", relative.display()))
        };
        match &self.base {
            Base::None => Ok(None),
            Base::Outside(base) => Ok(Some(link::plain(base, &path()?))),
            Base::Own(base) => {
                let end = (!self.expires.is_zero()).then(|| seconds(now) + self.expires.as_secs());
                Ok(Some(link::signed(base, &*self.keys.get()?, &path()?, end)))
            }
        }
    }

    /// For `planfix check`: whether links lead here. Whoever answers an expired link with "Gone" has judged its signature, and
    /// that can only be this module; so nothing has to be served that would tell others of it.
    #[must_use]
    pub fn check(&self, config: &settings::Delivery, delivery: &Delivery) -> Item {
        let name = "Links";
        let base = match &self.base {
            Base::None => return Item::skipped(name, "none are given: no link is set in [recordings]"),
            Base::Outside(base) => {
                let folder = self.folder.display();
                return Item::pass(
                    name,
                    &format!("to {base}, where another web server has to serve {folder}"),
                );
            }
            Base::Own(base) => base,
        };
        let keys = match self.keys.get() {
            Ok(keys) => keys,
            Err(text) => return Item::fail(name, "there are none", &text),
        };
        let Ok(path) = AudioPath::from_bytes(PROBE) else {
            return Item::skipped(name, "they could not be tried");
        };
        let probe = Crm {
            url: link::signed(base, &keys, &path, Some(1)),
            token: Secret::new(""),
            pbx_token: Secret::new(""),
            pbx_url: String::new(),
            // The CRM trusts the public authorities, whatever this side trusts of the CRM's.
            tls_ca_file: String::new(),
        };
        let cure = "have the router or the proxy pass /planfix/ on, as it is, to Asterisk's HTTP server (http.conf); if it is \
                    only this machine that does not reach its own public address, nothing needs mending";
        let answer = delivery.client(&probe, config).map(|client| client.status());
        match answer {
            Ok(Ok(410)) => Item::pass(name, &format!("{base} leads here")),
            Ok(Ok(status)) => Item::fail(
                name,
                &format!("{base} leads somewhere else, where the answer is HTTP {status}"),
                cure,
            ),
            Ok(Err(trouble)) => Item::fail(name, &format!("{base} was not reached: {trouble}"), cure),
            Err(text) => Item::fail(name, &text, "see to the certificates of this machine"),
        }
    }

    /// Where links lead, or why there are none, in a few words.
    #[must_use]
    pub fn summary(&self) -> String {
        match (&self.base, self.keys.get()) {
            (Base::None, _) => "none: no link is set in [recordings]".to_owned(),
            (Base::Outside(base), _) => format!("to {base}, served by others"),
            (Base::Own(base), Ok(keys)) => {
                let older = match keys.count() - 1 {
                    0 => String::new(),
                    1 => " and an older one".to_owned(),
                    count => format!(" and {count} older ones"),
                };
                format!("to {base}, served here, by one key{older}")
            }
            (Base::Own(_), Err(text)) => format!("none: {text}"),
        }
    }

    /// What the link is good for that ends with `tail`.
    #[must_use]
    pub fn find(&self, tail: &[u8], now: SystemTime) -> Asked {
        if !matches!(self.base, Base::Own(_)) {
            return Asked::Nothing;
        }
        let Ok(keys) = self.keys.get() else {
            return Asked::Unable;
        };
        // Without a right signature the disk is not looked at, so nobody can learn by asking what lies there.
        match link::verify(&keys, tail, seconds(now)) {
            Verdict::Good(path) => match ServedFile::open(&self.folder, &path) {
                Ok(file) => Asked::Found(path, file),
                Err(error) => {
                    log::debug!("A recording is not served: {error}");
                    Asked::Nothing
                }
            },
            Verdict::Expired => Asked::Expired,
            Verdict::Bad => Asked::Nothing,
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
