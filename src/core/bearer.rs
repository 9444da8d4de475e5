//! `Authorization: Bearer …` (RFC 6750, section 2.1): the key that a request shows.

/// The key in the values of a request's `Authorization` headers. `None` where there is none, or more than one: which of them
/// counts would be a matter of taste, and of whatever stands before the PBX.
#[must_use]
pub fn key<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    let (scheme, key) = value.split_at_checked("Bearer ".len())?;
    // A scheme may be written as one likes (RFC 9110, section 11.1).
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| key.trim_ascii())
        .filter(|key| !key.is_empty())
}

#[cfg(test)]
mod tests {
    fn shown<'a>(values: &[&'a str]) -> Option<&'a [u8]> {
        super::key(values.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn one_header_shows_one_key() {
        for value in ["Bearer abc", "bearer abc", "BEARER  abc "] {
            assert_eq!(shown(&[value]), Some(&b"abc"[..]), "{value:?}");
        }
    }

    #[test]
    fn whatever_else_there_is_shows_none() {
        for values in [
            &[][..],
            &[""],
            &["abc"],
            &["Bearer"],
            &["Bearer "],
            &["Bearerabc"],
            &["Basic abc"],
            &["Token Bearer abc"],
            &["Bearer abc", "Bearer abc"],
        ] {
            assert_eq!(shown(values), None, "{values:?}");
        }
    }
}
