//! The calendar of the place where the PBX is.

use std::mem;

/// Year, month (1 to 12) and day (1 to 31) of a moment, in seconds since 1970.
pub fn day(seconds: u64) -> Option<(i32, u8, u8)> {
    let seconds = libc::time_t::try_from(seconds).ok()?;
    // SAFETY: numbers and a pointer that may be null: zero is a value of all of them.
    let mut time: libc::tm = unsafe { mem::zeroed() };
    // SAFETY: two values of our own, and the result is not kept.
    if unsafe { libc::localtime_r(&raw const seconds, &raw mut time) }.is_null() {
        return None;
    }
    let month = u8::try_from(time.tm_mon + 1).ok()?;
    Some((time.tm_year + 1_900, month, u8::try_from(time.tm_mday).ok()?))
}

/// When that day is over, in seconds since 1970.
pub fn midnight_after(year: i32, month: u8, day: u8) -> Option<u64> {
    // SAFETY: as above.
    let mut time: libc::tm = unsafe { mem::zeroed() };
    time.tm_year = year.checked_sub(1_900)?;
    time.tm_mon = i32::from(month) - 1;
    // mktime knows that the 32nd is the first of the next month (C17, 7.27.2.3).
    time.tm_mday = i32::from(day) + 1;
    // It shall find out whether it is summer.
    time.tm_isdst = -1;
    // SAFETY: a value of our own.
    u64::try_from(unsafe { libc::mktime(&raw mut time) }).ok()
}

#[cfg(test)]
mod tests {
    use super::{day, midnight_after};

    #[test]
    fn a_day_ends_when_the_next_begins() {
        let mut date = (2026, 1, 1);
        for _ in 0..800 {
            let end = midnight_after(date.0, date.1, date.2).unwrap();
            assert_eq!(day(end - 1), Some(date), "the last second of {date:?}");
            let next = day(end).unwrap();
            assert!(next > date, "{next:?} after {date:?}");
            date = next;
        }
        assert!(date > (2028, 3, 1), "{date:?}");
    }
}
