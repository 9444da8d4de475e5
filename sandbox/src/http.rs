//! HTTP/1.1 as a server speaks it: one request after the other out of a stream, one response as bytes.
//!
//! Invariants: nothing is read beyond the limits; a request whose end is in doubt is refused and ends the connection,
//! so that no byte of it is ever taken for the next request.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

/// Largest request head, bytes.
pub(crate) const MAX_HEAD: usize = 64 * 1024;
/// Largest request body, bytes.
pub(crate) const MAX_BODY: usize = 1024 * 1024;
const MAX_HEADERS: usize = 100;
/// From the first byte of a request to its last.
const REQUEST_TIME: Duration = Duration::from_secs(30);

/// One request.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) keep_alive: bool,
}

impl Incoming {
    /// The first header of this name, if it is text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .and_then(|(_, value)| std::str::from_utf8(value).ok())
    }

    /// The target without its query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The query, if there is one.
    pub(crate) fn query(&self) -> Option<&str> {
        self.target.split_once('?').map(|(_, query)| query)
    }
}

/// Why no request came out.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The peer went away or said nothing for too long; there is nobody to answer.
    Gone,
    /// What came is not a request; it is answered with this status, and the connection ends.
    Bad { status: u16, reason: String },
}

impl From<io::Error> for ReadError {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

fn bad<T>(status: u16, reason: impl Into<String>) -> Result<T, ReadError> {
    Err(ReadError::Bad {
        status,
        reason: reason.into(),
    })
}

/// Takes requests out of a stream.
pub(crate) struct Reader<S> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
    since: Option<Instant>,
    needs_length: bool,
}

struct Head {
    length: usize,
    request: Incoming,
    body: Length,
    expects_continue: bool,
}

enum Length {
    Known(usize),
    Chunked,
}

impl<S: Read + Write> Reader<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            since: None,
            needs_length: true,
        }
    }

    /// Takes a POST without a length for one without a body, as HTTP allows and people with curl do.
    pub(crate) fn lenient(stream: S) -> Self {
        Self {
            needs_length: false,
            ..Self::new(stream)
        }
    }

    /// The next request; `None` when the peer has closed between two requests.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, ReadError> {
        self.since = (!self.buffer.is_empty()).then(Instant::now);
        let head = loop {
            let head = if self.buffer.is_empty() {
                None
            } else {
                parse_head(&self.buffer, self.needs_length)?
            };
            if head.as_ref().map_or(self.buffer.len(), |head| head.length) > MAX_HEAD {
                return bad(431, format!("the request's head is longer than {MAX_HEAD} bytes"));
            }
            if let Some(head) = head {
                break head;
            }
            if !self.more()? {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(ReadError::Gone)
                };
            }
        };
        let Head {
            length,
            mut request,
            body,
            expects_continue,
        } = head;
        if let Length::Known(size) = body
            && size > MAX_BODY
        {
            return bad(413, format!("the body has {size} bytes, more than {MAX_BODY}"));
        }
        if expects_continue && self.buffer.len() == length {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            self.stream.flush()?;
        }
        self.buffer.drain(..length);
        match body {
            Length::Known(size) => {
                while self.buffer.len() < size {
                    self.must_read()?;
                }
                request.body = self.take(size);
            }
            Length::Chunked => request.body = self.chunks()?,
        }
        Ok(Some(request))
    }

    fn chunks(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut body = Vec::new();
        loop {
            let (start, size) = loop {
                match httparse::parse_chunk_size(&self.buffer) {
                    Ok(httparse::Status::Complete(found)) => break found,
                    Ok(httparse::Status::Partial) if self.buffer.len() <= 1024 => self.must_read()?,
                    Ok(httparse::Status::Partial) => return bad(400, "a chunk's size line is too long"),
                    Err(_) => return bad(400, "a chunk's size is not a number"),
                }
            };
            let Some(size) = usize::try_from(size)
                .ok()
                .filter(|size| body.len() + size <= MAX_BODY)
            else {
                return bad(413, format!("the chunks make more than {MAX_BODY} bytes"));
            };
            self.buffer.drain(..start);
            if size == 0 {
                break;
            }
            while self.buffer.len() < size + 2 {
                self.must_read()?;
            }
            body.extend(self.take(size));
            if self.take(2) != b"\r\n" {
                return bad(400, "a chunk is longer than its size");
            }
        }
        // Trailers end with an empty line; they mean nothing here.
        let mut trailers = 0;
        loop {
            match self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                Some(0) => {
                    self.take(2);
                    return Ok(body);
                }
                Some(end) => {
                    trailers += end;
                    self.take(end + 2);
                }
                None => self.must_read()?,
            }
            if trailers + self.buffer.len() > MAX_HEAD + MAX_BODY {
                return bad(431, "the trailers are too long");
            }
        }
    }

    fn take(&mut self, size: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(size);
        std::mem::replace(&mut self.buffer, rest)
    }

    fn must_read(&mut self) -> Result<(), ReadError> {
        if self.more()? {
            Ok(())
        } else {
            Err(ReadError::Gone)
        }
    }

    /// Reads once. `false` at the end of the stream.
    fn more(&mut self) -> Result<bool, ReadError> {
        let old = self.buffer.len();
        self.buffer.resize(old + 8192, 0);
        let read = loop {
            match self.stream.read(&mut self.buffer[old..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        self.buffer.truncate(old + *read.as_ref().unwrap_or(&0));
        let since = *self.since.get_or_insert_with(Instant::now);
        if since.elapsed() > REQUEST_TIME {
            return bad(
                408,
                format!("the request took longer than {} s", REQUEST_TIME.as_secs()),
            );
        }
        Ok(read? > 0)
    }
}

/// Parses a head; `None` while it is incomplete.
fn parse_head(buffer: &[u8], needs_length: bool) -> Result<Option<Head>, ReadError> {
    let mut space = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut space);
    let length = match parsed.parse(buffer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return bad(431, format!("more than {MAX_HEADERS} headers")),
        Err(error) => return bad(400, format!("not an HTTP request: {error}")),
    };
    let headers: Vec<(String, Vec<u8>)> = parsed
        .headers
        .iter()
        .map(|header| (header.name.to_owned(), header.value.to_vec()))
        .collect();
    let modern = parsed.version == Some(1);
    let mut sizes = Vec::new();
    let (mut chunked, mut encoded, mut close, mut keep, mut expects_continue, mut hosts) =
        (false, false, false, false, false, 0);
    for (name, value) in &headers {
        let value = String::from_utf8_lossy(value);
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => sizes.push(value.to_owned()),
            "transfer-encoding" => {
                encoded = true;
                chunked = value.eq_ignore_ascii_case("chunked");
            }
            "connection" => {
                for token in value.split(',').map(str::trim) {
                    close |= token.eq_ignore_ascii_case("close");
                    keep |= token.eq_ignore_ascii_case("keep-alive");
                }
            }
            "expect" => expects_continue = value.eq_ignore_ascii_case("100-continue"),
            "host" => hosts += 1,
            _ => {}
        }
    }
    if modern && hosts != 1 {
        return bad(
            400,
            format!("an HTTP/1.1 request has one Host header, not {hosts}"),
        );
    }
    if encoded && !chunked {
        return bad(501, "the only transfer encoding known here is chunked");
    }
    if encoded && !sizes.is_empty() {
        return bad(400, "Content-Length and Transfer-Encoding exclude each other");
    }
    sizes.dedup();
    let body = match sizes.as_slice() {
        _ if chunked => Length::Chunked,
        [] if needs_length && matches!(parsed.method, Some("POST" | "PUT" | "PATCH")) => {
            return bad(411, "the request has a body but no Content-Length");
        }
        [] => Length::Known(0),
        [one] if !one.is_empty() && one.bytes().all(|byte| byte.is_ascii_digit()) => {
            Length::Known(one.parse().unwrap_or(usize::MAX))
        }
        _ => return bad(400, "Content-Length is not one number"),
    };
    let request = Incoming {
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().to_owned(),
        headers,
        body: Vec::new(),
        keep_alive: !close && (modern || keep),
    };
    Ok(Some(Head {
        length,
        request,
        body,
        expects_continue: expects_continue && modern,
    }))
}

/// One response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub(crate) fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type", content_type.to_owned())],
            body: body.into(),
        }
    }

    pub(crate) fn json(status: u16, value: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_else(|error| error.to_string().into_bytes());
        Self::new(status, "application/json; charset=utf-8", body)
    }

    pub(crate) fn error(status: u16, text: &str) -> Self {
        Self::json(status, &serde_json::json!({ "error": text }))
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Status line and headers, without the length of the body and without the empty line.
    pub(crate) fn head(&self, keep_alive: bool) -> Vec<u8> {
        let mut head = Vec::with_capacity(256 + self.body.len());
        head.extend_from_slice(b"HTTP/1.1 ");
        head.extend_from_slice(self.status.to_string().as_bytes());
        head.push(b' ');
        head.extend_from_slice(phrase(self.status).as_bytes());
        head.extend_from_slice(b"\r\nServer: planfix-sandbox\r\n");
        for (name, value) in &self.headers {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        if !keep_alive {
            head.extend_from_slice(b"Connection: close\r\n");
        }
        head
    }

    /// The whole response, with another Content-Length than the body's if one is given.
    pub(crate) fn encode(&self, keep_alive: bool, length: Option<usize>) -> Vec<u8> {
        let mut bytes = self.head(keep_alive);
        // 204 and 304 have no body by definition, and no length either.
        if !matches!(self.status, 204 | 304) {
            let length = length.unwrap_or(self.body.len());
            bytes.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that hands out its bytes a few at a time and keeps what is written.
    struct Wire {
        input: Vec<u8>,
        step: usize,
        output: Vec<u8>,
    }

    impl Read for Wire {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let size = self.step.min(self.input.len()).min(buffer.len());
            buffer[..size].copy_from_slice(&self.input[..size]);
            self.input.drain(..size);
            Ok(size)
        }
    }

    impl Write for Wire {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.output.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn reader(text: &str, step: usize) -> Reader<Wire> {
        Reader::new(Wire {
            input: text.as_bytes().to_vec(),
            step,
            output: Vec::new(),
        })
    }

    #[test]
    fn reads_pipelined_requests_however_they_are_cut() {
        let text = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc\
                    POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n3;x=y\r\nfgh\r\n0\r\nT: 1\r\n\r\n\
                    GET /c?d HTTP/1.0\r\n\r\n";
        for step in [1, 2, 3, 7, 1000] {
            let mut reader = reader(text, step);
            let first = reader.next().unwrap().unwrap();
            assert_eq!(
                (first.path(), first.body.as_slice(), first.keep_alive),
                ("/a", &b"abc"[..], true)
            );
            let second = reader.next().unwrap().unwrap();
            assert_eq!((second.path(), second.body.as_slice()), ("/b", &b"defgh"[..]));
            let third = reader.next().unwrap().unwrap();
            assert_eq!(
                (third.path(), third.query(), third.keep_alive),
                ("/c", Some("d"), false)
            );
            assert!(reader.next().unwrap().is_none());
        }
    }

    #[test]
    fn refuses_what_is_in_doubt() {
        let post = "POST / HTTP/1.1\r\nHost: x\r\n";
        for (text, status) in [
            ("nonsense\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(), 400),
            (format!("{post}\r\n"), 411),
            (
                format!("{post}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
                400,
            ),
            (format!("{post}Content-Length: +1\r\n\r\na"), 400),
            (
                format!("{post}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
                400,
            ),
            (format!("{post}Transfer-Encoding: gzip\r\n\r\n"), 501),
            (
                format!("{post}Content-Length: 99999999999999999999999\r\n\r\n"),
                413,
            ),
            (
                format!("{post}Transfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n"),
                413,
            ),
            (format!("{post}Transfer-Encoding: chunked\r\n\r\nxyz\r\n"), 400),
            (format!("{post}Transfer-Encoding: chunked\r\n\r\n1\r\nabc"), 400),
            (
                format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(MAX_HEAD)),
                431,
            ),
            (
                format!(
                    "GET / HTTP/1.1\r\nHost: x\r\n{}\r\n",
                    "A: b\r\n".repeat(MAX_HEADERS)
                ),
                431,
            ),
        ] {
            match reader(&text, 4096).next() {
                Err(ReadError::Bad {
                    status: found,
                    reason,
                }) => assert_eq!(found, status, "{reason}: {text:.60}"),
                Err(ReadError::Gone) => panic!("{text:.60}: gone"),
                Ok(_) => panic!("{text:.60}: taken"),
            }
        }
        let mut cut = reader("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", 5);
        assert!(matches!(cut.next(), Err(ReadError::Gone)));
    }

    #[test]
    fn answers_expect_continue() {
        let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
        let mut reader = reader(&format!("{head}ab"), head.len());
        assert_eq!(reader.next().unwrap().unwrap().body, b"ab");
        assert_eq!(reader.stream.output, b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    #[test]
    fn encodes_responses() {
        assert_eq!(
            Response::empty(200).encode(true, None),
            b"HTTP/1.1 200 OK\r\nServer: planfix-sandbox\r\nContent-Length: 0\r\n\r\n"
        );
        let error =
            String::from_utf8(Response::error(400, "Invalid parameters").encode(false, None)).unwrap();
        assert!(
            error.contains(
                "Connection: close\r\nContent-Length: 30\r\n\r\n{\"error\":\"Invalid parameters\"}"
            ),
            "{error}"
        );
    }
}
