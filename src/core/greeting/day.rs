//! A day as an operator enters it and hears it.

/// A day of the calendar where the PBX is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day {
    pub year: i32,
    pub month: u8,
    pub day: u8,
}

impl Day {
    /// The next day that is written so, DDMM, from today on within a year; `None` for what is no such day.
    #[must_use]
    pub fn next(ddmm: &str, today: Self) -> Option<Self> {
        let is_date = ddmm.len() == 4 && ddmm.bytes().all(|byte| byte.is_ascii_digit());
        let (day, month) = is_date.then(|| ddmm.split_at(2))?;
        let (day, month) = (day.parse().ok()?, month.parse().ok()?);
        [today.year, today.year + 1]
            .into_iter()
            .map(|year| Self { year, month, day })
            .find(|date| date.is_real() && *date >= today)
    }

    fn is_real(self) -> bool {
        let is_leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        let days = match self.month {
            4 | 6 | 9 | 11 => 30,
            2 if is_leap => 29,
            2 => 28,
            1..=12 => 31,
            _ => 0,
        };
        (1..=days).contains(&self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::Day;

    const TODAY: Day = Day {
        year: 2026,
        month: 11,
        day: 21,
    };

    #[test]
    fn a_date_is_the_next_of_its_name() {
        let today = |year, month, day| Day { year, month, day };
        for (ddmm, now, date) in [
            ("0101", today(2026, 12, 31), Some(today(2027, 1, 1))),
            ("3112", today(2026, 12, 31), Some(today(2026, 12, 31))),
            ("2902", today(2027, 3, 1), Some(today(2028, 2, 29))),
            ("2902", today(2025, 3, 1), None),
            ("2902", today(2096, 3, 1), None),
            ("3104", TODAY, None),
            ("0012", TODAY, None),
            ("0113", TODAY, None),
            ("0100", TODAY, None),
            ("101", TODAY, None),
            ("01011", TODAY, None),
            ("+1+1", TODAY, None),
            ("éa1", TODAY, None),
        ] {
            assert_eq!(Day::next(ddmm, now), date, "{ddmm} from {now:?}");
        }
    }
}
