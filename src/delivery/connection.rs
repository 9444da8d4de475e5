//! TCP connections that another thread can break off.
//!
//! Invariants:
//! - a shutdown reaches a connection in every phase, also while it is still being made: the socket is registered before
//!   `connect`, and on Linux `shutdown` wakes a thread that waits for a connection (net/ipv4/af_inet.c, `inet_shutdown`,
//!   case `TCP_SYN_SENT`);
//! - no call waits longer than the time it was given.
//!
//! ureq's own connector registers a socket only once it is connected, which would hold an unload for a whole
//! `connect_timeout` when the CRM's address swallows packets.

use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket, Type};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, ShutdownHandle, Transport,
};
use ureq::{Error, Timeout};

/// Opens connections.
#[derive(Debug)]
pub(super) struct LinkConnector;

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    wire: Arc<Wire>,
    buffers: LazyBuffers,
}

#[derive(Debug)]
struct Wire(Socket);

impl ShutdownHandle for Wire {
    fn shutdown(&self) {
        // It fails where there is no connection any more, and then there is nothing to break off.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl Connector<()> for LinkConnector {
    type Out = Link;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Link>, Error> {
        let until = Instant::now() + limit(details.timeout);
        let mut last = Error::ConnectionFailed;
        let count = details.addrs.len();
        for (index, address) in details.addrs.iter().enumerate() {
            // Whatever is left is shared by the addresses that are left, so that one dead address costs no more than
            // its part.
            let left =
                until.saturating_duration_since(Instant::now()) / u32::try_from(count - index).unwrap_or(1);
            if left < Duration::from_millis(10) {
                return Err(Error::Timeout(Timeout::Connect));
            }
            match Self::open(*address, left, details) {
                Ok(link) => return Ok(Some(link)),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::NotConnected => {
                    return Err(Error::Io(error));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl LinkConnector {
    fn open(address: SocketAddr, within: Duration, details: &ConnectionDetails<'_>) -> Result<Link, Error> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        let wire = Arc::new(Wire(socket));
        let handle = Arc::downgrade(&wire) as Weak<dyn ShutdownHandle>;
        (details.register_shutdown)(handle)?;
        wire.0
            .connect_timeout(&address.into(), within)
            .map_err(|error| timed(error, Timeout::Connect))?;
        wire.0.set_tcp_nodelay(true)?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Link { wire, buffers })
    }
}

impl Transport for Link {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let until = Instant::now() + limit(timeout);
        let mut output = &self.buffers.output()[..amount];
        while !output.is_empty() {
            self.wire
                .0
                .set_write_timeout(Some(left(until, timeout.reason)?))?;
            match (&self.wire.0).write(output) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(written) => output = &output[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(timed(error, timeout.reason)),
            }
        }
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        let until = Instant::now() + limit(timeout);
        loop {
            self.wire.0.set_read_timeout(Some(left(until, timeout.reason)?))?;
            let input = self.buffers.input_append_buf();
            match (&self.wire.0).read(input) {
                Ok(amount) => {
                    self.buffers.input_appended(amount);
                    return Ok(amount > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(timed(error, timeout.reason)),
            }
        }
    }

    fn is_open(&mut self) -> bool {
        // An idle connection has nothing to read: anything else is its end or an answer that nobody asked for.
        let mut byte = [MaybeUninit::uninit()];
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        matches!(self.wire.0.recv_with_flags(&mut byte, flags), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// ureq gives every phase a limit, because each of its timeouts is set; the fallback is for a phase that it might add.
fn limit(timeout: NextTimeout) -> Duration {
    timeout.not_zero().map_or(Duration::from_secs(60), |limit| {
        (*limit).min(Duration::from_secs(3_600))
    })
}

fn left(until: Instant, reason: Timeout) -> Result<Duration, Error> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        Err(Error::Timeout(reason))
    } else {
        Ok(left)
    }
}

fn timed(error: io::Error, reason: Timeout) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Error::Timeout(reason),
        _ => Error::Io(error),
    }
}
