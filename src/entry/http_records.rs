//! `GET <prefix>/planfix/records/…`: recordings, for whoever has a link.
//!
//! Invariant: whoever has none is told the same whatever he asks for, so that nobody finds out what there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use super::links;
use super::state;
use crate::ast::http::{Method, Request, Response};
use crate::core::range::{self, Asked as Conditions};
use crate::delivery::links::Asked;

/// Until somebody has mended what is in the way, in seconds.
const RETRY_AFTER: &str = "300";

/// Recordings that are sent at once. Asterisk's server has 100 connections for everything (http.conf, `sessionlimit`), and
/// slow listeners must leave some to click-to-call.
const MOST: usize = 80;

/// How many recordings are being sent.
#[derive(Default)]
pub(super) struct Downloads(Arc<AtomicUsize>);

/// One of them.
struct Download(Arc<AtomicUsize>);

impl Downloads {
    pub(super) fn running(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn begin(&self) -> Option<Download> {
        let one_more = |running| (running < MOST).then_some(running + 1);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .is_ok()
            .then(|| Download(Arc::clone(&self.0)))
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers a request whose address ends with `tail`.
pub(super) fn answer(request: &Request<'_>, tail: &[u8]) -> Response {
    if !matches!(request.method(), Method::Get | Method::Head) {
        return Response::new(405).header("Allow", "GET, HEAD");
    }
    // Not 404: the CRM would take the recording for gone.
    let unable = || Response::new(503).header("Retry-After", RETRY_AFTER);
    let Some(state) = state::current() else {
        return unable();
    };
    let found = links::of(&state).map_or(Asked::Unable, |links| links.find(tail, SystemTime::now()));
    let (path, file) = match found {
        Asked::Found(path, file) => (path, file),
        Asked::Expired => return Response::new(410),
        Asked::Nothing => return Response::new(404),
        Asked::Unable => return unable(),
    };
    let about = file.about();
    let answer = range::answer(about, &conditions(request));
    let response = answer
        .headers(about, &path)
        .into_iter()
        .fold(Response::new(answer.status()), |response, (name, value)| {
            response.header(name, value)
        });
    let Some(part) = answer.body(about) else {
        return response;
    };
    let response = response.file(path.media_type(), file.into_file(), part.first, part.length());
    if request.method() == Method::Head {
        return response;
    }
    match state.lasting.downloads.begin() {
        Some(download) => response.holding(download),
        None => Response::new(503).header("Retry-After", "5"),
    }
}

fn conditions<'a>(request: &'a Request<'_>) -> Conditions<'a> {
    // A header that comes twice has no meaning here (RFC 9110, section 5.3), and is as good as none.
    let one = |name: &str| {
        let mut values = request.headers(name);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    };
    let text = |name: &str| one(name).and_then(|value| std::str::from_utf8(value).ok());
    Conditions {
        head: request.method() == Method::Head,
        range: text("Range"),
        if_range: text("If-Range"),
        if_none_match: text("If-None-Match"),
        if_modified_since: text("If-Modified-Since"),
        if_match: text("If-Match"),
        if_unmodified_since: text("If-Unmodified-Since"),
    }
}
