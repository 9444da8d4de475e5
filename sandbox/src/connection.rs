//! One connection to `/tel/api`: requests in, answers or faults out.

use crate::exchange::{Exchange, Plan};
use crate::fault::{FaultKind, Struck};
use crate::http::{ReadError, Reader, Response};
use crate::wire::Wire;
use std::io::{self, Read, Write};
use std::time::Duration;

/// How often a held connection looks whether its peer has gone or its fault is off.
const GLANCE: Duration = Duration::from_millis(50);
/// What stands in a body that is sent for its own sake.
const FILLER: usize = 64;

/// What becomes of the connection.
enum Next {
    Keep,
    Close,
    Cut,
    Reset,
}

/// Serves a connection until it ends.
pub(crate) fn serve(exchange: &Exchange, wire: Wire, id: u64, idle: Duration) {
    let mut reader = Reader::new(wire);
    let mut serial = 0;
    loop {
        if reader.stream.set_read_timeout(idle).is_err() {
            return;
        }
        serial += 1;
        // One round for each request that needs no new timeout; a fault may have left another one behind.
        let next = loop {
            match reader.next() {
                Ok(Some(incoming)) => {
                    let plan = exchange.receive(id, serial, &incoming);
                    if plan.delay.is_none() && plan.fault.is_none() {
                        let bytes = plan.response.encode(incoming.keep_alive, None);
                        if reader
                            .stream
                            .write_all(&bytes)
                            .and_then(|()| reader.stream.flush())
                            .is_err()
                        {
                            break Next::Cut;
                        }
                        if !incoming.keep_alive {
                            break Next::Close;
                        }
                        serial += 1;
                        continue;
                    }
                    break act(exchange, &mut reader.stream, &plan, incoming.keep_alive).unwrap_or(Next::Cut);
                }
                Ok(None) => break Next::Close,
                Err(ReadError::Gone) => break Next::Cut,
                Err(ReadError::Bad { status, reason }) => {
                    let bytes = Response::error(status, &reason).encode(false, None);
                    exchange.receive_nonsense(id, serial, status, reason);
                    break match reader.stream.write_all(&bytes) {
                        Ok(()) => Next::Close,
                        Err(_) => Next::Cut,
                    };
                }
            }
        };
        match next {
            Next::Keep if !exchange.stopping() => {}
            Next::Keep | Next::Close => return reader.stream.close(),
            Next::Cut => return reader.stream.cut(),
            // Shutting down first would be an orderly end; the reset comes when the last handle is closed.
            Next::Reset => return,
        }
    }
}

/// Answers with the faults of the plan.
fn act(exchange: &Exchange, wire: &mut Wire, plan: &Plan, keep_alive: bool) -> io::Result<Next> {
    if let Some(struck) = &plan.delay
        && let FaultKind::Delay(ms) = struck.kind
    {
        exchange.rest(struck, Duration::from_millis(ms));
    }
    let done = if keep_alive { Next::Keep } else { Next::Close };
    let Some(struck) = &plan.fault else {
        wire.write_all(&plan.response.encode(keep_alive, None))?;
        wire.flush()?;
        return Ok(done);
    };
    let padded = || {
        let mut response = plan.response.clone();
        // White space around JSON is no other JSON, and an empty body has no middle in which to be slow or cut.
        response.body.resize(response.body.len().max(FILLER), b' ');
        response
    };
    let send = |wire: &mut Wire, bytes: &[u8]| wire.write_all(bytes).and_then(|()| wire.flush());
    match &struck.kind {
        FaultKind::Refuse | FaultKind::Cut => return Ok(Next::Cut),
        FaultKind::Hang | FaultKind::BlackHole => {
            hold(exchange, wire, struck);
            return Ok(Next::Cut);
        }
        FaultKind::Reset => {
            wire.reset();
            return Ok(Next::Reset);
        }
        FaultKind::Status(code, retry_after) => {
            let mut response = wrong_status(*code);
            if let Some(text) = retry_after {
                response = response.with("Retry-After", text.replace(['\r', '\n'], " "));
            }
            send(wire, &response.encode(keep_alive, None))?;
        }
        FaultKind::Html => send(wire, &html(200).encode(keep_alive, None))?,
        FaultKind::CutHeader => {
            send(wire, b"HTTP/1.1 200 OK\r\nServer: planfix-sandbox\r\nContent-Ty")?;
            return Ok(Next::Close);
        }
        FaultKind::CutBody => {
            let bytes = padded().encode(keep_alive, None);
            send(wire, &bytes[..bytes.len() - FILLER / 2])?;
            return Ok(Next::Close);
        }
        FaultKind::SlowBody(ms) => {
            let response = padded();
            let bytes = response.encode(keep_alive, None);
            let (head, body) = bytes.split_at(bytes.len() - response.body.len());
            send(wire, head)?;
            for byte in body {
                exchange.rest(struck, Duration::from_millis(*ms));
                send(wire, std::slice::from_ref(byte))?;
            }
        }
        FaultKind::EndlessBody => {
            let mut head = plan.response.head(keep_alive);
            head.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
            send(wire, &head)?;
            let chunk = [b"4000\r\n".as_slice(), &[b'x'; 0x4000], b"\r\n"].concat();
            while struck.holds() && !exchange.stopping() {
                send(wire, &chunk)?;
            }
            return Ok(Next::Cut);
        }
        FaultKind::HugeHeader(size) => {
            send(wire, b"HTTP/1.1 200 OK\r\nX-Filler: ")?;
            let piece = [b'x'; 0x4000];
            let mut left = *size;
            while left > 0 {
                let part = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
                wire.write_all(&piece[..part])?;
                left -= part as u64;
            }
            send(
                wire,
                format!("\r\nContent-Length: {}\r\n\r\n", plan.response.body.len()).as_bytes(),
            )?;
            send(wire, &plan.response.body)?;
        }
        FaultKind::LongLength => {
            let response = padded();
            send(
                wire,
                &response.encode(keep_alive, Some(response.body.len() + 100)),
            )?;
            // A promise that is broken by closing would be `cut-body`.
            hold(exchange, wire, struck);
            return Ok(Next::Cut);
        }
        FaultKind::ShortLength => {
            let response = padded();
            send(wire, &response.encode(keep_alive, Some(2)))?;
        }
        FaultKind::Delay(_) => {}
    }
    Ok(done)
}

/// Keeps the connection open and silent until the peer goes, the fault is off, or everything stops.
fn hold(exchange: &Exchange, wire: &mut Wire, struck: &Struck) {
    let mut scrap = [0; 4096];
    while struck.holds() && !exchange.stopping() && wire.set_read_timeout(GLANCE).is_ok() {
        match wire.read(&mut scrap) {
            Ok(1..) => {}
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                ) => {}
            Ok(0) | Err(_) => return,
        }
    }
}

fn wrong_status(code: u16) -> Response {
    match code {
        200 => Response::empty(200),
        300..=399 => html(code).with("Location", "/user/login"),
        400 => Response::error(400, "Invalid parameters"),
        401 => Response::error(401, "Invalid token"),
        _ => html(code),
    }
}

fn html(code: u16) -> Response {
    let page = format!(
        "<!DOCTYPE html>\n<html><head><title>{code}</title></head>\n<body><center><h1>{code}</h1></center>\n\
         <p>This page is meant for people.</p></body></html>\n"
    );
    Response::new(code, "text/html; charset=utf-8", page)
}
