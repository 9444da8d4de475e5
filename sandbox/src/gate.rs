//! The listening socket of the stand-in, which can refuse, swallow or accept connections, always on the same port.
//!
//! Invariants: a socket stays bound to the port until the end, so that the system gives it to nobody else while
//! connections are refused; when a change of mode has been waited for, it holds for every connection made from then on.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// The socket holds a queue of this length while it listens.
const BACKLOG: i32 = 1024;

/// How the port behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Mode {
    /// Connections are accepted.
    #[default]
    Open,
    /// Connections are refused.
    Refuse,
    /// Connections are not even answered.
    BlackHole,
}

impl Mode {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Refuse => "refuse",
            Self::BlackHole => "black-hole",
        }
    }
}

/// The socket and the mode it is in.
pub(crate) struct Gate {
    state: State,
    address: SocketAddr,
}

enum State {
    Open(TcpListener),
    /// Bound and not listening: the kernel refuses, and the port stays ours.
    Refuse(Socket),
    /// The queue is full with our own connections, so the kernel drops what comes.
    BlackHole(TcpListener, Vec<Socket>),
    /// Only while the state changes, or after a change that failed.
    Broken,
}

impl Gate {
    pub(crate) fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = bound(address)?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from(socket);
        let address = listener.local_addr()?;
        Ok(Self {
            state: State::Open(listener),
            address,
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection. Only in mode Open.
    pub(crate) fn accept(&self) -> io::Result<TcpStream> {
        match &self.state {
            State::Open(listener) => listener.accept().map(|(stream, _)| stream),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Changes the mode; nothing happens if it is the same.
    pub(crate) fn set(&mut self, mode: Mode) -> io::Result<()> {
        self.state = match (std::mem::replace(&mut self.state, State::Broken), mode) {
            (State::Broken, mode) => {
                let fresh = State::Refuse(bound(self.address)?);
                self.state = fresh;
                return if mode == Mode::Refuse {
                    Ok(())
                } else {
                    self.set(mode)
                };
            }
            (State::Open(listener), Mode::Open) => State::Open(listener),
            (State::Refuse(socket), Mode::Refuse) => State::Refuse(socket),
            (State::BlackHole(listener, fill), Mode::BlackHole) => State::BlackHole(listener, fill),
            (State::Refuse(socket), Mode::Open) => {
                socket.listen(BACKLOG)?;
                State::Open(TcpListener::from(socket))
            }
            (State::BlackHole(listener, fill), Mode::Open) => {
                drop(fill);
                // Listening again on a listening socket only changes the length of its queue.
                let socket = Socket::from(listener);
                socket.listen(BACKLOG)?;
                State::Open(TcpListener::from(socket))
            }
            (State::Open(listener) | State::BlackHole(listener, _), Mode::Refuse) => {
                // There is no way back from listening, so the socket is closed and another one bound at once.
                drop(listener);
                State::Refuse(bound(self.address)?)
            }
            (State::Open(listener), Mode::BlackHole) => swallow(Socket::from(listener), self.address)?,
            (State::Refuse(socket), Mode::BlackHole) => swallow(socket, self.address)?,
        };
        Ok(())
    }
}

/// Fills the queue of a socket that takes in one connection only.
fn swallow(socket: Socket, address: SocketAddr) -> io::Result<State> {
    socket.listen(0)?;
    let mut fill = Vec::new();
    for _ in 0..4 {
        let filler = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        filler.set_nonblocking(true)?;
        // In progress, done or timed out: each is what fills the queue.
        let _ = filler.connect(&reachable(address).into());
        fill.push(filler);
    }
    Ok(State::BlackHole(TcpListener::from(socket), fill))
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// An address at which this machine itself reaches a listener.
pub(crate) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Makes a blocked `accept` return.
pub(crate) fn wake(address: SocketAddr) {
    // Refused or timed out means that nobody is blocked there.
    let _ = TcpStream::connect_timeout(&reachable(address), Duration::from_millis(500));
}
