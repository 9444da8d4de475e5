//! What Asterisk's HTTP server answers below `planfix/`: who is asked.
//!
//! Invariant: nothing is told about the module to whoever asks for an address that is not one.

use std::ffi::CStr;

use super::http_api;
use super::http_records;
use super::http_status::{self, Form};
use crate::ast::http::{Handler, Request, Response};

/// Everything below `<prefix>/planfix`.
pub(super) struct Door;

impl Handler for Door {
    const URI: &'static CStr = c"planfix";
    const DESCRIPTION: &'static CStr = c"Planfix: click-to-call, recordings, status";

    fn handle(request: &mut Request<'_>) -> Response {
        if let Some(tail) = request.path().strip_prefix(b"records/") {
            return http_records::answer(request, tail);
        }
        match request.path() {
            b"api" | b"api/" => http_api::answer(request),
            b"status" => http_status::answer(request, Form::Json),
            b"metrics" => http_status::answer(request, Form::Metrics),
            _ => Response::new(404),
        }
    }
}
