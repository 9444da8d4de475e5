//! Asterisk's HTTP server: what is registered there, what is asked, what is answered.
//!
//! Invariants:
//! - Asterisk's server takes no reference to the module and looks a handler up under a lock that it drops before it calls
//!   (`main/http.c`, `handle_uri`): an entry is never freed, and who comes after the unregistering is turned away;
//! - unregistering shuts the connections of those who are inside, so that a slow client holds no unload up;
//! - a body is read within a size and a time, and one that was not read to its end is never taken for the next request: the
//!   connection ends then;
//! - no header of ours can be ended by what it holds.
//!
//! A handler runs on a thread of the server's, one for each connection (`httpd_helper_thread`), of which http.conf's `sessionlimit`
//! allows 100: it may wait, but not for long.

use std::borrow::Cow;
use std::ffi::{CStr, c_char, c_int};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::marker::PhantomData;
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::function::name_of;
use super::guard::{Refused, guard};
use super::registration::RegistrationError;
use super::slots::{Slot, Slots};
use super::text;
use crate::sys;

/// A client that takes less than a [`PIECE`] in this time is let go.
const PATIENCE: Duration = Duration::from_secs(20);

/// And so is one that takes less than that many bytes a second of a file, once it has had some time to begin: recordings play at more.
const SLOWEST: u64 = 1 << 10;
const BEGINNING: Duration = Duration::from_secs(60);

/// What is read of a file at once.
const PIECE: usize = 64 << 10;

/// How long, and how much of, what a refused client still sends is listened to. Closing a socket that holds unread bytes resets
/// the connection, and the client may then never see why it was refused.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES: usize = 256 << 10;

/// The longest line that announces a chunk, and the most lines that may follow the last.
const CHUNK_LINE: usize = 128;
const TRAILERS: usize = 16;

/// What is asked for with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Options,
    Other,
}

/// What answers below one address.
pub trait Handler {
    /// What follows http.conf's `prefix` and a slash: `planfix`. Everything below it comes here, too.
    const URI: &'static CStr;
    /// For `http show status`.
    const DESCRIPTION: &'static CStr;

    fn handle(request: &mut Request<'_>) -> Response;
}

/// Why a body could not be had. The connection ends with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// It is longer than what was allowed.
    TooLarge,
    /// The client ended it before its end.
    Cut,
    /// It did not come in time.
    Late,
    /// Its length is not given as HTTP demands.
    Malformed,
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    None,
    Length(u64),
    Chunked,
}

/// Who has come in through one entry of Asterisk's list.
#[derive(Default)]
struct Sessions {
    /// The entry is in Asterisk's list. False turns away who found it there before it went.
    open: bool,
    /// Sockets of those who are inside. Each is open as long as it is in here.
    sockets: Vec<c_int>,
}

/// One entry of Asterisk's list, and who is inside.
struct Door {
    uri: sys::ast_http_uri,
    sessions: Mutex<Sessions>,
}

fn locked(sessions: &Mutex<Sessions>) -> MutexGuard<'_, Sessions> {
    sessions.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Being inside. Dropping it leaves.
struct Visit<'a> {
    sessions: &'a Mutex<Sessions>,
    socket: c_int,
}

impl<'a> Visit<'a> {
    /// `None` when the handler is being unregistered.
    fn begin(sessions: &'a Mutex<Sessions>, socket: c_int) -> Option<Self> {
        let mut inside = locked(sessions);
        inside.open.then(|| inside.sockets.push(socket))?;
        Some(Self { sessions, socket })
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let mut inside = locked(self.sessions);
        if let Some(at) = inside.sockets.iter().position(|socket| *socket == self.socket) {
            inside.sockets.swap_remove(at);
        }
    }
}

/// The connection, as Asterisk lends it.
///
/// Invariant: `session` is that of the callback that is running, and nobody else reads or writes there meanwhile.
#[derive(Clone, Copy)]
struct Connection<'a> {
    session: *mut sys::ast_tcptls_session_instance,
    callback: PhantomData<&'a ()>,
}

fn milliseconds(time: Duration) -> c_int {
    c_int::try_from(time.as_millis()).unwrap_or(c_int::MAX)
}

impl Connection<'_> {
    fn socket(self) -> c_int {
        // SAFETY: by the type's invariant.
        unsafe { sys::shim_http_socket(self.session) }
    }

    fn is_encrypted(self) -> bool {
        // SAFETY: by the type's invariant.
        unsafe { sys::shim_http_encrypted(self.session) != 0 }
    }

    fn peer(self) -> Option<IpAddr> {
        // SAFETY: by the type's invariant. The text is the thread's own, and copied before anything else is done.
        let text = unsafe { text::lossy(sys::shim_http_peer(self.session)) };
        // A link-local address of IPv6 comes with the name of its interface.
        let address: IpAddr = text.split('%').next()?.parse().ok()?;
        Some(address.to_canonical())
    }

    /// All reading and writing from now on ends within that time.
    fn set_deadline(self, within: Duration) {
        // SAFETY: by the type's invariant.
        unsafe { sys::shim_http_deadline(self.session, milliseconds(within)) }
    }

    /// Each reading and writing from now on ends within that time.
    fn set_patience(self, each: Duration) {
        // SAFETY: by the type's invariant.
        unsafe { sys::shim_http_patience(self.session, milliseconds(each)) }
    }

    /// Some bytes; none when the client sends no more or the time is up.
    fn read(self, buffer: &mut [u8]) -> usize {
        // SAFETY: by the type's invariant; the buffer is writable for its length.
        let read = unsafe { sys::shim_http_read(self.session, buffer.as_mut_ptr().cast(), buffer.len()) };
        usize::try_from(read).unwrap_or(0)
    }

    /// A line with its end, or as much of it as the buffer has room for or came in time.
    fn line(self, buffer: &mut [u8]) -> &[u8] {
        // SAFETY: by the type's invariant; `ast_iostream_gets` writes at most the length, NUL included.
        let read = unsafe { sys::shim_http_line(self.session, buffer.as_mut_ptr().cast(), buffer.len()) };
        &buffer[..usize::try_from(read).unwrap_or(0)]
    }

    /// Tells whether all of it was taken.
    fn write(self, bytes: &[u8]) -> bool {
        // SAFETY: by the type's invariant; the bytes are readable for their length.
        let written = unsafe { sys::shim_http_write(self.session, bytes.as_ptr().cast(), bytes.len()) };
        usize::try_from(written).is_ok_and(|written| written == bytes.len())
    }

    /// Asterisk need not look for the rest of the body: it was read to its end.
    fn body_was_read(self) {
        // SAFETY: by the type's invariant.
        unsafe { sys::ast_http_body_read_status(self.session, 1) }
    }
}

/// A request, for the time of the callback.
///
/// Invariant: `path`, `query` and `headers` are what Asterisk gave this callback.
pub struct Request<'a> {
    connection: Connection<'a>,
    method: Method,
    path: *const c_char,
    query: *const sys::ast_variable,
    headers: *const sys::ast_variable,
    /// Whether all of the body has been read.
    read: bool,
}

/// Names and values of a list of Asterisk's.
///
/// # Safety
///
/// The list stays as it is for `'a`.
unsafe fn list<'a>(first: *const sys::ast_variable) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    let mut next = first;
    std::iter::from_fn(move || {
        if next.is_null() {
            return None;
        }
        // SAFETY: not null, so a variable of the list; its strings live as long.
        let (name, value, following) = unsafe {
            (
                text::bytes((*next).name),
                text::bytes((*next).value),
                (*next).next,
            )
        };
        next = following;
        Some((name, value))
    })
}

impl Request<'_> {
    pub fn method(&self) -> Method {
        self.method
    }

    /// What follows the handler's URI and a slash, as the client wrote it: `%2e` is still `%2e`.
    pub fn path(&self) -> &[u8] {
        // SAFETY: by the type's invariant.
        unsafe { text::bytes(self.path) }
    }

    /// The first value of that name behind the question mark, decoded.
    pub fn query(&self, name: &str) -> Option<&[u8]> {
        // SAFETY: by the type's invariant.
        let mut all = unsafe { list(self.query) };
        all.find_map(|(known, value)| (known == name.as_bytes()).then_some(value))
    }

    /// The values of all headers of that name.
    pub fn headers<'s>(&'s self, name: &str) -> impl Iterator<Item = &'s [u8]> {
        // SAFETY: by the type's invariant.
        let all = unsafe { list::<'s>(self.headers) };
        all.filter_map(move |(known, value)| known.eq_ignore_ascii_case(name.as_bytes()).then_some(value))
    }

    /// The value of the first header of that name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers(name).next()
    }

    /// Who asks. `None` when it cannot be told.
    pub fn peer(&self) -> Option<IpAddr> {
        self.connection.peer()
    }

    fn framing(&self) -> Option<Framing> {
        framing(self.headers("Transfer-Encoding"), self.headers("Content-Length"))
    }

    /// Nothing of a body is left on the connection.
    fn is_read(&self) -> bool {
        self.read || matches!(self.framing(), Some(Framing::None | Framing::Length(0)))
    }

    /// Reads the body, which may be asked for once.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub fn body(&mut self, limit: usize, within: Duration) -> Result<Vec<u8>, BodyError> {
        let framing = self.framing().ok_or(BodyError::Malformed)?;
        if let Framing::Length(length) = framing
            && usize::try_from(length).map_or(true, |length| length > limit)
        {
            return Err(BodyError::TooLarge);
        }
        if framing == Framing::None || self.read {
            return Ok(Vec::new());
        }
        let until = Instant::now() + within;
        self.connection.set_deadline(within);
        let expects = self.header("Expect").unwrap_or_default();
        if expects.eq_ignore_ascii_case(b"100-continue") {
            self.connection.write(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let body = match framing {
            Framing::None => Ok(Vec::new()),
            Framing::Length(length) => {
                let mut body = Vec::new();
                // It is at most `limit`.
                let length = usize::try_from(length).unwrap_or(limit);
                self.append(&mut body, length).map(|()| body)
            }
            Framing::Chunked => self.chunks(limit),
        };
        let body = body.map_err(|error| match error {
            BodyError::Cut if Instant::now() >= until => BodyError::Late,
            other => other,
        })?;
        self.read = true;
        self.connection.body_was_read();
        Ok(body)
    }

    /// Appends so many bytes.
    fn append(&self, body: &mut Vec<u8>, count: usize) -> Result<(), BodyError> {
        let start = body.len();
        body.resize(start + count, 0);
        let mut rest = &mut body[start..];
        while !rest.is_empty() {
            match self.connection.read(rest) {
                0 => return Err(BodyError::Cut),
                read => rest = &mut rest[read..],
            }
        }
        Ok(())
    }

    /// RFC 9112, section 7.1.
    fn chunks(&self, limit: usize) -> Result<Vec<u8>, BodyError> {
        let mut body = Vec::new();
        let mut line = [0; CHUNK_LINE];
        loop {
            let length = chunk_length(self.connection.line(&mut line))?;
            if length == 0 {
                break;
            }
            if length > limit - body.len() {
                return Err(BodyError::TooLarge);
            }
            self.append(&mut body, length)?;
            let mut end = Vec::new();
            self.append(&mut end, 2)?;
            if end != b"\r\n" {
                return Err(BodyError::Malformed);
            }
        }
        for _ in 0..TRAILERS {
            match self.connection.line(&mut line) {
                b"\r\n" | b"\n" => return Ok(body),
                [.., b'\n'] => {}
                [] => return Err(BodyError::Cut),
                _ => return Err(BodyError::Malformed),
            }
        }
        Err(BodyError::Malformed)
    }

    /// Takes what a client that was refused still sends, for a moment.
    fn linger(&self) {
        self.connection.set_deadline(LINGER);
        let mut buffer = [0; 4096];
        let mut taken = 0;
        while taken < LINGER_BYTES {
            match self.connection.read(&mut buffer) {
                0 => return,
                read => taken += read,
            }
        }
    }
}

/// How the body's end is found; `None` when two answers are possible, which is how requests are smuggled (RFC 9112, 6.3).
fn framing<'a>(
    encodings: impl Iterator<Item = &'a [u8]>,
    lengths: impl Iterator<Item = &'a [u8]>,
) -> Option<Framing> {
    let mut framing = Framing::None;
    for length in lengths {
        let digits = !length.is_empty() && length.len() <= 18 && length.iter().all(u8::is_ascii_digit);
        let length: u64 = std::str::from_utf8(length)
            .ok()
            .filter(|_| digits)?
            .parse()
            .ok()?;
        if framing != Framing::None && framing != Framing::Length(length) {
            return None;
        }
        framing = Framing::Length(length);
    }
    // Asterisk looks at the first only and refuses what it does not know (`httpd_process_request`).
    for encoding in encodings {
        if framing != Framing::None || !encoding.eq_ignore_ascii_case(b"chunked") {
            return None;
        }
        framing = Framing::Chunked;
    }
    Some(framing)
}

/// The length in the line that begins a chunk.
fn chunk_length(line: &[u8]) -> Result<usize, BodyError> {
    let text = match line {
        [text @ .., b'\r', b'\n'] | [text @ .., b'\n'] => text,
        [] => return Err(BodyError::Cut),
        short if short.len() < CHUNK_LINE - 1 => return Err(BodyError::Cut),
        _ => return Err(BodyError::Malformed),
    };
    let digits = text
        .split(|byte| *byte == b';')
        .next()
        .unwrap_or_default()
        .trim_ascii_end();
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(BodyError::Malformed);
    }
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| usize::from_str_radix(digits, 16).ok())
        .ok_or(BodyError::Malformed)
}

enum Body {
    Bytes(Cow<'static, [u8]>),
    File { file: File, offset: u64, length: u64 },
}

/// An answer. Its length, the date and what the connection needs are added when it is sent.
pub struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Body,
    held: Option<Box<dyn Send>>,
}

impl Refused for Response {
    const REFUSED: Self = Self::new(500);
}

impl Response {
    /// An answer without a body.
    pub const fn new(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Body::Bytes(Cow::Borrowed(b"")),
            held: None,
        }
    }

    /// Drops this when everything is sent, or cannot be.
    #[must_use]
    pub fn holding(mut self, held: impl Send + 'static) -> Self {
        self.held = Some(Box::new(held));
        self
    }

    /// Adds a header. Control characters in its value become blanks.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        let value = value.into().replace(char::is_control, " ");
        self.headers.push((name, value));
        self
    }

    /// With these bytes as the body.
    #[must_use]
    pub fn bytes(mut self, content_type: &'static str, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        self.body = Body::Bytes(bytes.into());
        self.header("Content-Type", content_type)
    }

    /// With a part of a file as the body. It is read while it is sent.
    #[must_use]
    pub fn file(mut self, content_type: &'static str, file: File, offset: u64, length: u64) -> Self {
        self.body = Body::File { file, offset, length };
        self.header("Content-Type", content_type)
    }

    pub fn status(&self) -> u16 {
        self.status
    }

    fn length(&self) -> u64 {
        match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File { length, .. } => *length,
        }
    }

    fn has(&self, name: &str) -> bool {
        self.headers
            .iter()
            .any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// Everything up to the empty line, and that.
    fn head(&self, now: SystemTime, closes: bool) -> String {
        let mut head = format!(
            "HTTP/1.1 {} {}\r\nDate: {}\r\n",
            self.status,
            reason(self.status),
            httpdate::fmt_http_date(now)
        );
        // Writing to a String cannot fail. 204 and 304 have no body, and so no length (RFC 9110, 8.6).
        if !matches!(self.status, 204 | 304) {
            let _ = write!(head, "Content-Length: {}\r\n", self.length());
        }
        if !self.has("Cache-Control") {
            head.push_str("Cache-Control: no-store\r\n");
        }
        if closes {
            head.push_str("Connection: close\r\n");
        }
        for (name, value) in &self.headers {
            let _ = write!(head, "{name}: {value}\r\n");
        }
        head.push_str("\r\n");
        head
    }

    /// Tells whether the client has got all of it.
    fn send(self, connection: Connection<'_>, method: Method, closes: bool) -> bool {
        connection.set_patience(PATIENCE);
        let mut out = self.head(SystemTime::now(), closes).into_bytes();
        if method == Method::Head {
            return connection.write(&out);
        }
        match self.body {
            Body::Bytes(bytes) => {
                out.extend_from_slice(&bytes);
                connection.write(&out)
            }
            Body::File { file, offset, length } => send_file(connection, out, &file, offset, length).is_ok(),
        }
    }
}

/// Sends the head and that part of the file behind it.
fn send_file(
    connection: Connection<'_>,
    head: Vec<u8>,
    file: &File,
    offset: u64,
    length: u64,
) -> io::Result<()> {
    let mut out = head;
    let (mut at, end) = (offset, offset.saturating_add(length));
    let until = Instant::now() + BEGINNING + Duration::from_secs(length / SLOWEST);
    let whole = |sent: bool| sent.then_some(()).ok_or(io::Error::from(ErrorKind::WriteZero));
    while at < end {
        // The first piece goes together with the head: one packet, where it is short.
        let start = out.len();
        let piece = usize::try_from(end - at).map_or(PIECE, |rest| rest.min(PIECE));
        out.resize(start + piece, 0);
        let read = file.read_at(&mut out[start..], at)?;
        if read == 0 {
            // The file has shrunk; the client sees that the promised length is not reached.
            return Err(ErrorKind::UnexpectedEof.into());
        }
        out.truncate(start + read);
        whole(connection.write(&out))?;
        out.clear();
        at += read as u64;
        if !connection.is_encrypted() {
            return pass_on(connection, file, at, end, until);
        }
        if Instant::now() > until {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    whole(connection.write(&out))
}

/// As the rest of [`send_file`], but the kernel copies.
fn pass_on(connection: Connection<'_>, file: &File, at: u64, end: u64, until: Instant) -> io::Result<()> {
    let (mut at, end) = (
        libc::off_t::try_from(at).map_err(io::Error::other)?,
        libc::off_t::try_from(end).map_err(io::Error::other)?,
    );
    let socket = connection.socket();
    while at < end {
        let piece = usize::try_from(end - at).map_or(PIECE, |rest| rest.min(PIECE));
        // SAFETY: two open descriptors, and a place for the offset.
        let sent = unsafe { libc::sendfile(socket, file.as_raw_fd(), &raw mut at, piece) };
        match sent {
            1.. => continue,
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
        match io::Error::last_os_error() {
            error if error.kind() == ErrorKind::WouldBlock => {}
            error if error.kind() == ErrorKind::Interrupted => continue,
            error => return Err(error),
        }
        let mut wait = libc::pollfd {
            fd: socket,
            events: libc::POLLOUT,
            revents: 0,
        };
        // SAFETY: one structure.
        let ready = unsafe { libc::poll(&raw mut wait, 1, milliseconds(PATIENCE)) };
        if ready == 0 || Instant::now() > until {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        206 => "Partial Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Other",
    }
}

/// What the callback answers Asterisk: 0 for the next request, -1 to end the connection.
struct Next(c_int);

impl Refused for Next {
    const REFUSED: Self = Self(-1);
}

/// Called by `handle_uri` of `main/http.c`. It guarantees: the session is that of this thread and has a stream; `entry` is one that was
/// registered with this callback; `path` is NUL-terminated; the lists, which may be null, are not changed meanwhile.
unsafe extern "C" fn handle<H: Handler>(
    session: *mut sys::ast_tcptls_session_instance,
    entry: *const sys::ast_http_uri,
    path: *const c_char,
    method: sys::ast_http_method,
    query: *mut sys::ast_variable,
    headers: *mut sys::ast_variable,
) -> c_int {
    let name = const { name_of(H::URI) };
    guard(name, || {
        let connection = Connection {
            session,
            callback: PhantomData,
        };
        // SAFETY: `HttpRegistration::handler` sets `data` to the sessions of a door, which live for ever.
        let sessions = unsafe { &*(*entry).data.cast::<Mutex<Sessions>>() };
        let Some(_visit) = Visit::begin(sessions, connection.socket()) else {
            Response::new(503).send(connection, Method::Other, true);
            return Next::REFUSED;
        };
        let mut request = Request {
            connection,
            method: match method {
                sys::AST_HTTP_GET => Method::Get,
                sys::AST_HTTP_HEAD => Method::Head,
                sys::AST_HTTP_POST => Method::Post,
                sys::AST_HTTP_OPTIONS => Method::Options,
                _ => Method::Other,
            },
            path,
            query,
            headers,
            read: false,
        };
        let response = guard(name, || H::handle(&mut request));
        let asked = |value: &[u8]| value.eq_ignore_ascii_case(b"close");
        let unread = !request.is_read();
        let closes = unread || request.headers("Connection").any(asked);
        if !response.send(connection, request.method, closes) {
            return Next::REFUSED;
        }
        if unread {
            request.linger();
        }
        Next(if closes { -1 } else { 0 })
    })
    .0
}

static SLOTS: Slots<Door> = Slots::new();

/// A handler that Asterisk knows. Dropping it unregisters it and shuts the connections of those who are inside; they come out by
/// themselves, soon ([`guard::drained`](super::guard::drained)).
pub struct HttpRegistration {
    uri: &'static CStr,
    /// `None` only while it is being dropped.
    slot: Option<Slot<Door>>,
}

impl HttpRegistration {
    /// Registers a handler, whether the server is on or not.
    ///
    /// # Errors
    ///
    /// Asterisk refuses it.
    pub fn handler<H: Handler>() -> Result<Self, RegistrationError> {
        let slot = SLOTS.take(H::URI, || {
            // SAFETY: the structure is one of C: numbers, pointers and an optional callback, for all of which zero is a value.
            let mut uri: sys::ast_http_uri = unsafe { std::mem::zeroed() };
            uri.uri = H::URI.as_ptr();
            uri.description = H::DESCRIPTION.as_ptr();
            // Never compared with anybody else's: nobody unregisters by it but http.c itself, by its own.
            uri.key = H::URI.as_ptr();
            uri.callback = Some(handle::<H>);
            uri.set_has_subtree(1);
            // A path is taken as it is written: decoded, `%00` would end it and `%2f` would be a slash.
            uri.set_no_decode_uri(1);
            Door {
                uri,
                sessions: Mutex::default(),
            }
        });
        let door = slot.as_ptr();
        // SAFETY: the door lives for ever, and its entry is in no list of Asterisk's, since we had the slot: nobody else reads the entry.
        let refused = unsafe {
            (*door).uri.data = (&raw mut (*door).sessions).cast();
            locked(&(*door).sessions).open = true;
            sys::ast_http_uri_link(&raw mut (*door).uri) != 0
        };
        // INVARIANT: the slot's entry is in Asterisk's list, or the registration is dropped with the slot given back.
        if refused {
            SLOTS.put(H::URI, slot);
            return Err(RegistrationError::new("HTTP handler", H::URI));
        }
        Ok(Self {
            uri: H::URI,
            slot: Some(slot),
        })
    }
}

impl Drop for HttpRegistration {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let door = slot.as_ptr();
        // SAFETY: by the type's invariant the entry is in Asterisk's list, and this takes it out.
        unsafe { sys::ast_http_uri_unlink(&raw mut (*door).uri) };
        // SAFETY: the door lives for ever, and this part of it is only used through shared references.
        let sessions = unsafe { &(*door).sessions };
        let mut inside = locked(sessions);
        inside.open = false;
        for socket in &inside.sockets {
            // SAFETY: open as long as it is in here. Whoever reads or writes there is told at once that it is over; Asterisk closes
            // it afterwards.
            unsafe { libc::shutdown(*socket, libc::SHUT_RDWR) };
        }
        drop(inside);
        SLOTS.put(self.uri, slot);
    }
}

/// What http.conf's `prefix` is, without a slash at its end; empty where there is none.
pub fn prefix() -> String {
    // main/http.c, MAX_PREFIX.
    const PREFIX: usize = 80;
    let mut buffer = [0; PREFIX];
    // SAFETY: the buffer is writable for its length, and Asterisk terminates what it copies.
    unsafe {
        sys::ast_http_prefix(buffer.as_mut_ptr(), PREFIX as c_int);
        text::lossy(buffer.as_ptr()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(encodings: &[&str], lengths: &[&str]) -> Option<Framing> {
        let bytes = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| text.as_bytes().to_vec())
                .collect::<Vec<_>>()
        };
        let (encodings, lengths) = (bytes(encodings), bytes(lengths));
        framing(
            encodings.iter().map(Vec::as_slice),
            lengths.iter().map(Vec::as_slice),
        )
    }

    #[test]
    fn a_body_has_one_length_or_none() {
        assert_eq!(framed(&[], &[]), Some(Framing::None));
        assert_eq!(framed(&[], &["12"]), Some(Framing::Length(12)));
        assert_eq!(framed(&[], &["12", "12"]), Some(Framing::Length(12)));
        assert_eq!(framed(&["Chunked"], &[]), Some(Framing::Chunked));
        for lengths in [
            &["12", "13"][..],
            &["0x1"],
            &["-1"],
            &["+1"],
            &["1 "],
            &[""],
            &["1,1"],
            &["9999999999999999999"],
        ] {
            assert_eq!(framed(&[], lengths), None, "{lengths:?}");
        }
        assert_eq!(framed(&["chunked"], &["12"]), None);
        assert_eq!(framed(&["chunked", "chunked"], &[]), None);
        assert_eq!(framed(&["identity"], &[]), None);
    }

    #[test]
    fn a_chunk_says_how_long_it_is() {
        assert_eq!(chunk_length(b"1f\r\n"), Ok(31));
        assert_eq!(chunk_length(b"0\r\n"), Ok(0));
        assert_eq!(chunk_length(b"A;name=value\n"), Ok(10));
        for line in [
            &b"\r\n"[..],
            b"-1\r\n",
            b"+1\r\n",
            b"fffffffff\r\n",
            b"1g\r\n",
            b" 1\r\n",
        ] {
            assert_eq!(chunk_length(line), Err(BodyError::Malformed), "{line:?}");
        }
        assert_eq!(chunk_length(b"1f"), Err(BodyError::Cut));
        assert_eq!(chunk_length(b""), Err(BodyError::Cut));
        assert_eq!(chunk_length(&[b'0'; CHUNK_LINE - 1]), Err(BodyError::Malformed));
    }

    #[test]
    fn no_value_ends_its_header() {
        let response = Response::new(200)
            .header("ETag", "a\r\nSet-Cookie: b")
            .bytes("text/plain", &b"abc"[..]);
        let head = response.head(SystemTime::UNIX_EPOCH, true);
        assert_eq!(
            head,
            "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 3\r\nCache-Control: no-store\r\n\
             Connection: close\r\nETag: a  Set-Cookie: b\r\nContent-Type: text/plain\r\n\r\n"
        );
        assert!(
            !Response::new(304)
                .head(SystemTime::UNIX_EPOCH, false)
                .contains("Content-Length")
        );
    }
}
