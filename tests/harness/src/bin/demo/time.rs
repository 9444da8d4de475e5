//! The time of day, as the operator's clock on the wall shows it.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

const DAY_MS: i64 = 86_400_000;

/// Knows the time zone.
pub(crate) struct Clock {
    offset_ms: i64,
}

impl Clock {
    /// The machine's time zone, which the standard library does not tell; UTC where `date` does not tell it either.
    pub(crate) fn local() -> Self {
        let output = Command::new("date").arg("+%z").output();
        let zone = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        Self {
            offset_ms: zone
                .ok()
                .and_then(|zone| zone.parse::<i64>().ok())
                .map_or(0, |zone| (zone / 100 * 60 + zone % 100) * 60_000),
        }
    }

    /// Now.
    pub(crate) fn now(&self) -> String {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.show(i64::try_from(since.as_millis()).unwrap_or_default())
    }

    /// A moment of the stand-in CRM, such as `2026-11-20T12:30:15.250Z`.
    pub(crate) fn of(&self, moment: &str) -> String {
        let parts = moment
            .split_once('T')
            .map(|(_, time)| time.trim_end_matches('Z').split([':', '.']));
        let numbers: Vec<i64> = parts
            .map(|parts| parts.filter_map(|part| part.parse().ok()).collect())
            .unwrap_or_default();
        match numbers[..] {
            [hours, minutes, seconds, millis] => {
                self.show(((hours * 60 + minutes) * 60 + seconds) * 1000 + millis)
            }
            _ => moment.to_owned(),
        }
    }

    fn show(&self, utc_ms: i64) -> String {
        let ms = (utc_ms + self.offset_ms).rem_euclid(DAY_MS);
        format!(
            "{:02}:{:02}:{:02}.{:03}",
            ms / 3_600_000,
            ms / 60_000 % 60,
            ms / 1000 % 60,
            ms % 1000
        )
    }
}
