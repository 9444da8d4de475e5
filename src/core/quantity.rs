//! Sizes and durations as an administrator writes them: `1G`, `500M`, `30d`, `15`.

use std::time::Duration;

const SECONDS_IN_A_DAY: u64 = 86_400;

/// Reads a duration: a whole number with an optional `s`, `m`, `h` or `d`; seconds without a letter.
///
/// # Errors
/// A sentence that says what was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = || {
        format!(
            "'{text}' is not a duration: expected a whole number with s, m, h or d, such as 15, 90s or 30d"
        )
    };
    let (digits, unit) = split(text);
    let scale = match unit.to_ascii_lowercase().as_str() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => SECONDS_IN_A_DAY,
        _ => return Err(expected()),
    };
    let count: u64 = digits.parse().map_err(|_| expected())?;
    count
        .checked_mul(scale)
        .map(Duration::from_secs)
        .ok_or_else(expected)
}

/// Reads a size in bytes: a whole number with an optional `K`, `M`, `G` or `T` (powers of 1024).
///
/// # Errors
/// A sentence that says what was expected.
pub fn bytes(text: &str) -> Result<u64, String> {
    let expected =
        || format!("'{text}' is not a size: expected a whole number with K, M, G or T, such as 500M or 1G");
    let (digits, unit) = split(text);
    let shift = match unit.to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" => 10,
        "M" | "MB" => 20,
        "G" | "GB" => 30,
        "T" | "TB" => 40,
        _ => return Err(expected()),
    };
    let count: u64 = digits.parse().map_err(|_| expected())?;
    count.checked_mul(1 << shift).ok_or_else(expected)
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// Writes a size for a person: `12.0 MiB`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub fn show_bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Writes a duration for a person with at most two units: `3d 4h`, `2m 10s`, `0s`.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes, rest) = (
        seconds / SECONDS_IN_A_DAY,
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60,
    );
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m {rest}s"),
        (0, _, _) => format!("{hours}h {minutes}m"),
        _ => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, duration, show_bytes, show_duration};
    use std::time::Duration;

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("15", 15),
            ("90s", 90),
            ("2m", 120),
            ("3h", 10_800),
            ("30d", 2_592_000),
            ("7 d", 604_800),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for wrong in [
            "",
            "d",
            "-1",
            "1.5",
            "1w",
            "99999999999999999999",
            "999999999999999999d",
        ] {
            assert!(duration(wrong).unwrap_err().contains(wrong), "{wrong}");
        }
    }

    #[test]
    fn sizes() {
        for (text, count) in [("0", 0), ("100K", 102_400), ("1G", 1 << 30), ("2 TB", 2 << 40)] {
            assert_eq!(bytes(text), Ok(count), "{text}");
        }
        for wrong in ["", "G", "1X", "-5M", "99999999T"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shown() {
        assert_eq!(show_bytes(17), "17 B");
        assert_eq!(show_bytes(12 << 20), "12.0 MiB");
        assert_eq!(show_duration(Duration::from_secs(0)), "0s");
        assert_eq!(show_duration(Duration::from_secs(130)), "2m 10s");
        assert_eq!(
            show_duration(Duration::from_secs(3 * 86_400 + 4 * 3_600 + 59)),
            "3d 4h"
        );
    }
}
