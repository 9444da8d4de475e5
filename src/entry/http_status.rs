//! `GET <prefix>/planfix/status` and `GET <prefix>/planfix/metrics`: how the module does, for whoever watches it.
//!
//! Invariants:
//! - without a key in planfix.conf both are like any address that does not exist;
//! - who has not shown the key learns nothing but that, and the log tells of him without the key;
//! - nobody is asked who might not answer at once: neither the disk nor the network can hold an answer up.

use std::net::IpAddr;
use std::time::Instant;

use super::gauges;
use super::state::{self, State};
use super::tally::Tally;
use crate::ast::acl::{self, Access};
use crate::ast::http::{Method, Request, Response};
use crate::core::bearer;
use crate::core::gauges::{JSON_TYPE, METRICS_TYPE};
use crate::core::settings::Status;

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) enum Form {
    Json,
    Metrics,
}

/// Who has asked since the load.
pub(super) struct Watchers {
    began: Instant,
    pub(super) acl: Tally,
    pub(super) key: Tally,
}

impl Watchers {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            acl: Tally::default(),
            key: Tally::default(),
        }
    }

    /// For `planfix show status`.
    pub(super) fn summary(&self) -> String {
        let (acl, key) = (self.acl.count(), self.key.count());
        format!("answered to whoever shows the key; refused: {acl} by the ACL, {key} without the key")
    }

    /// Counts somebody who is refused, and logs it if none of the kind was logged lately.
    fn refuse(&self, tally: &Tally, peer: Option<IpAddr>, why: &str) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if let Some(count) = tally.note(now.max(1), false) {
            let peer = peer.map_or_else(|| "an unknown address".to_owned(), |peer| peer.to_string());
            log::warn!(
                "A request from {peer} for the status was refused: {why}; {count} of this kind since the load"
            );
        }
    }
}

/// Answers a request.
pub(super) fn answer(request: &Request<'_>, form: Form) -> Response {
    let state = state::current();
    let Some((state, settings)) = state.as_deref().and_then(watched) else {
        return Response::new(404);
    };
    let (watchers, peer) = (&state.lasting.watchers, request.peer());
    if acl::verdict(&settings.acl, peer) != Access::Allowed {
        watchers.refuse(
            &watchers.acl,
            peer,
            "the address is not allowed by the ACL (acl in [status])",
        );
        return Response::new(403);
    }
    let shown = bearer::key(request.headers("Authorization"));
    if !shown.is_some_and(|key| settings.key.matches(key)) {
        watchers.refuse(
            &watchers.key,
            peer,
            "it does not show the key of [status] (Authorization: Bearer)",
        );
        return Response::new(401).header("WWW-Authenticate", "Bearer");
    }
    if !matches!(request.method(), Method::Get | Method::Head) {
        return Response::new(405).header("Allow", "GET, HEAD");
    }
    let gauges = gauges::of(state);
    match form {
        Form::Metrics => Response::new(200).bytes(METRICS_TYPE, gauges.metrics().into_bytes()),
        Form::Json => match gauges.json() {
            Ok(text) => Response::new(200).bytes(JSON_TYPE, text.into_bytes()),
            Err(_) => Response::new(500),
        },
    }
}

/// The state, where planfix.conf lets anybody ask for it.
fn watched(state: &State) -> Option<(&State, &Status)> {
    let status = &state.settings.as_ref()?.status;
    (!status.key.is_empty()).then_some((state, status))
}
