//! Free ports on the loopback network.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{LazyLock, Mutex, PoisonError};

/// The address of the phones and of Asterisk itself.
pub(crate) const PHONES: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);

/// The address of the trunk: Asterisk tells it from the phones by this alone.
pub(crate) const TRUNK: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// Where UDP ports are claimed.
const CLAIMS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// The kernel may offer a port again that was handed out but not bound yet; it is not taken twice by this process.
static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

fn free(probe: impl Fn() -> std::io::Result<u16>) -> u16 {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let port = probe().expect("the kernel gives a free port of the loopback network");
        if given.insert(port) {
            return port;
        }
    }
}

/// UDP ports for those who bind them a moment later. They lie below the kernel's ephemeral ports and below Asterisk's range for
/// RTP, so that nobody else takes one of them before.
struct Reserve {
    first: u16,
    last: u16,
    /// How many in a row are given at once.
    row: u16,
    given: Mutex<Vec<u16>>,
}

impl Reserve {
    /// So many are not given twice; others have ended by then.
    const KEPT: usize = 500;

    const fn new(first: u16, last: u16, row: u16) -> Self {
        Self {
            first,
            last,
            row,
            given: Mutex::new(Vec::new()),
        }
    }

    /// The first of a row that is free on all loopback addresses.
    fn take(&self) -> u16 {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let is_free = |port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
        for _ in 0..100_000 {
            let rows = (self.last - self.first + 1) / self.row;
            let first = self.first + self.row * fastrand::u16(0..rows);
            if !given.contains(&first) && (first..first + self.row).all(is_free) && claim(first).is_some() {
                if given.len() == Self::KEPT {
                    given.remove(0);
                }
                given.push(first);
                return first;
            }
        }
        panic!(
            "almost all UDP ports between {} and {} are taken",
            self.first, self.last
        );
    }
}

/// A UDP port that is free on all loopback addresses.
///
/// # Panics
/// When almost all of them are taken.
#[must_use]
pub fn free_udp_port() -> u16 {
    static RESERVE: Reserve = Reserve::new(10_000, 11_999, 1);
    RESERVE.take()
}

/// One that stays this process's until it ends, for a program that is killed and started again: nobody of ours takes the port
/// meanwhile, in whichever process.
///
/// # Panics
/// When almost all of them are taken.
#[must_use]
pub fn own_udp_port() -> u16 {
    static OWN: Mutex<Vec<TcpListener>> = Mutex::new(Vec::new());
    loop {
        let port = free_udp_port();
        if let Some(claim) = claim(port) {
            OWN.lock().unwrap_or_else(PoisonError::into_inner).push(claim);
            return port;
        }
    }
}

/// Marks a UDP port as somebody's for as long as this is kept, by a TCP port of the same number at an address that nothing else
/// uses. `None`: it is another's.
fn claim(port: u16) -> Option<TcpListener> {
    TcpListener::bind((CLAIMS, port)).ok()
}

/// The first of four UDP ports in a row, for a sipp's media: it binds one for sound and another for video.
///
/// # Panics
/// When almost all of them are taken.
pub(crate) fn free_media_ports() -> u16 {
    static RESERVE: Reserve = Reserve::new(6_000, 9_999, 4);
    RESERVE.take()
}

/// A TCP port that is free on 127.0.0.1.
///
/// # Panics
/// When the kernel has none left.
#[must_use]
pub fn free_tcp_port() -> u16 {
    free(|| Ok(TcpListener::bind((PHONES, 0))?.local_addr()?.port()))
}

/// The first port of a range for RTP. Asterisk itself steps over ports that are taken; a random range below the
/// kernel's ephemeral ports keeps two instances apart.
pub(crate) fn media_range() -> (u16, u16) {
    let first = 12_000 + 2 * fastrand::u16(0..9_700);
    (first, first + 600)
}

/// Whether some socket of this machine is bound to that UDP port, by the kernel's own table: a probe by binding
/// would get in the way of the program that is waited for.
pub(crate) fn udp_is_bound(address: IpAddr, port: u16) -> bool {
    let IpAddr::V4(address) = address else {
        return false;
    };
    let wanted = format!("{:08X}:{port:04X}", u32::from_le_bytes(address.octets()));
    std::fs::read_to_string("/proc/net/udp")
        .unwrap_or_default()
        .lines()
        .any(|line| line.split_whitespace().nth(1) == Some(wanted.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_owned_is_given_to_nobody_though_nobody_is_bound_to_it() {
        let own = own_udp_port();
        assert!(claim(own).is_none());
        // As many as make the reserve forget what it gave.
        let given: Vec<u16> = (0..2 * Reserve::KEPT).map(|_| free_udp_port()).collect();
        assert!(!given.contains(&own));
        let other = given[0];
        assert!(claim(other).is_some(), "only for as long as it is kept");
    }
}
