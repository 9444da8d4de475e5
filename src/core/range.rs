//! What a request for a file is answered with: all of it, a part of it, or that nothing has changed (RFC 9110, sections 13
//! and 14).
//!
//! Invariants:
//! - a [`Part`] lies within the file and is not empty, whatever numbers the request holds;
//! - a header that is not understood is as good as none: the whole file is always a right answer;
//! - several ranges at once are answered with the whole file (section 14.2 allows it): players do not ask for them, and
//!   many small ones are an old attack.

use std::time::{Duration, UNIX_EPOCH};

use super::audio_path::AudioPath;

/// The file as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its length in bytes.
    pub size: u64,
    /// Its strong validator, with the quotation marks.
    pub etag: String,
    /// When it was changed last, whole seconds since 1970.
    pub modified: u64,
}

/// The headers of the request that matter here. A value that is no text is as good as none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked<'a> {
    /// HEAD: the same answer without the body. Ranges are for GET (section 14.2).
    pub head: bool,
    /// `Range`.
    pub range: Option<&'a str>,
    /// `If-Range`.
    pub if_range: Option<&'a str>,
    /// `If-None-Match`.
    pub if_none_match: Option<&'a str>,
    /// `If-Modified-Since`.
    pub if_modified_since: Option<&'a str>,
    /// `If-Match`.
    pub if_match: Option<&'a str>,
    /// `If-Unmodified-Since`.
    pub if_unmodified_since: Option<&'a str>,
}

/// Bytes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The first.
    pub first: u64,
    /// The last, which is sent too.
    pub last: u64,
}

impl Part {
    /// How many bytes.
    #[must_use]
    pub fn length(self) -> u64 {
        self.last - self.first + 1
    }
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200.
    Whole,
    /// 206.
    Part(Part),
    /// 304.
    NotModified,
    /// 412.
    Failed,
    /// 416.
    Unsatisfiable,
}

/// Judges a request, in the order of section 13.2.2.
#[must_use]
pub fn answer(file: &File, asked: &Asked<'_>) -> Answer {
    let unchanged_since = |date: &str| seconds(date).is_none_or(|date| file.modified <= date);
    let agrees = match (asked.if_match, asked.if_unmodified_since) {
        (Some(tags), _) => lists(tags, &file.etag, Comparison::Strong),
        (None, Some(date)) => unchanged_since(date),
        (None, None) => true,
    };
    if !agrees {
        return Answer::Failed;
    }
    let known = match (asked.if_none_match, asked.if_modified_since) {
        (Some(tags), _) => lists(tags, &file.etag, Comparison::Weak),
        (None, Some(date)) => seconds(date).is_some_and(|date| file.modified <= date),
        (None, None) => false,
    };
    if known {
        return Answer::NotModified;
    }
    match asked.range {
        Some(range) if !asked.head && asked.if_range.is_none_or(|value| is_same(file, value)) => {
            parse(range, file.size)
        }
        _ => Answer::Whole,
    }
}

/// `If-Range`: a weak tag never serves, and a date must be the very one (section 13.1.5).
fn is_same(file: &File, value: &str) -> bool {
    let value = value.trim();
    if value.starts_with('"') {
        value == file.etag
    } else {
        seconds(value) == Some(file.modified)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags holds this one. Ours have no comma in them, so commas part the list well enough: a foreign
/// tag that is torn cannot become ours, because ours stands between quotation marks.
fn lists(tags: &str, etag: &str, comparison: Comparison) -> bool {
    tags.split(',').map(str::trim).any(|tag| {
        tag == "*" || tag == etag || (comparison == Comparison::Weak && tag.strip_prefix("W/") == Some(etag))
    })
}

fn seconds(date: &str) -> Option<u64> {
    let date = httpdate::parse_http_date(date.trim()).ok()?;
    date.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

fn parse(range: &str, size: u64) -> Answer {
    let Some((unit, set)) = range.split_once('=') else {
        return Answer::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Answer::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else {
        return Answer::Whole;
    };
    let part = match (number(first), number(last)) {
        (Number::None, Number::Of(length)) => suffix(length, size),
        (Number::Of(first), Number::None) => from_to(first, u64::MAX, size),
        // Not a range at all (section 14.1.2), unlike one that the file is too short for.
        (Number::Of(first), Number::Of(last)) if last >= first => from_to(first, last, size),
        _ => return Answer::Whole,
    };
    part.map_or(Answer::Unsatisfiable, Answer::Part)
}

enum Number {
    None,
    Of(u64),
    Invalid,
}

/// A number that no u64 holds is as good as the greatest: no file is so long.
fn number(digits: &str) -> Number {
    if digits.is_empty() {
        Number::None
    } else if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        Number::Of(digits.parse().unwrap_or(u64::MAX))
    } else {
        Number::Invalid
    }
}

fn from_to(first: u64, last: u64, size: u64) -> Option<Part> {
    let end = size.checked_sub(1)?;
    (first <= end).then(|| Part {
        first,
        last: last.min(end),
    })
}

fn suffix(length: u64, size: u64) -> Option<Part> {
    let end = size.checked_sub(1)?;
    (length > 0).then(|| Part {
        first: size.saturating_sub(length),
        last: end,
    })
}

impl Answer {
    /// The status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::Whole => 200,
            Self::Part(_) => 206,
            Self::NotModified => 304,
            Self::Failed => 412,
            Self::Unsatisfiable => 416,
        }
    }

    /// The bytes of the file that are the body.
    #[must_use]
    pub fn body(self, file: &File) -> Option<Part> {
        match self {
            Self::Whole => from_to(0, u64::MAX, file.size),
            Self::Part(part) => Some(part),
            Self::NotModified | Self::Failed | Self::Unsatisfiable => None,
        }
    }

    /// The headers that tell of the file, without the body's type and length.
    #[must_use]
    pub fn headers(self, file: &File, path: &AudioPath) -> Vec<(&'static str, String)> {
        let mut headers = vec![("Accept-Ranges", "bytes".to_owned())];
        let mut add = |name, value: String| headers.push((name, value));
        match self {
            Self::Part(part) => {
                let range = format!("bytes {}-{}/{}", part.first, part.last, file.size);
                add("Content-Range", range);
            }
            Self::Unsatisfiable => add("Content-Range", format!("bytes */{}", file.size)),
            Self::Whole | Self::NotModified | Self::Failed => {}
        }
        if matches!(self, Self::Whole | Self::Part(_)) {
            // Nothing else is made of it, whatever it holds; and it is saved, if at all, under a name that does no harm.
            let name = path.harmless_name();
            add("Content-Disposition", format!("inline; filename=\"{name}\""));
            add("X-Content-Type-Options", "nosniff".to_owned());
        }
        if matches!(self, Self::Whole | Self::Part(_) | Self::NotModified) {
            add("ETag", file.etag.clone());
            add("Last-Modified", date(file.modified));
            add("Cache-Control", "private".to_owned());
            // A link that somebody has posted is not for search engines.
            add("X-Robots-Tag", "noindex".to_owned());
        }
        headers
    }
}

/// Years after 9999 have no form in HTTP.
fn date(seconds: u64) -> String {
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(253_402_300_799));
    httpdate::fmt_http_date(time)
}
