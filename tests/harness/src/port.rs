//! Free ports on the loopback network.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, TcpListener, UdpSocket};
use std::sync::{LazyLock, Mutex, PoisonError};

/// The address of the phones and of Asterisk itself.
pub(crate) const PHONES: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);

/// The address of the trunk: Asterisk tells it from the phones by this alone.
pub(crate) const TRUNK: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

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

/// A UDP port that is free on all loopback addresses.
///
/// # Panics
/// When the kernel has none left.
#[must_use]
pub fn free_udp_port() -> u16 {
    free(|| Ok(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?.local_addr()?.port()))
}

/// The first of four UDP ports in a row that are free on all loopback addresses, for a sipp's media: it binds one for sound and
/// another for video. They lie below the kernel's ephemeral ports and below Asterisk's range for RTP, so that nobody else takes
/// one of them before sipp does.
///
/// # Panics
/// When almost all of them are taken.
pub(crate) fn free_media_ports() -> u16 {
    static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    /// So many are not given twice; others have ended by then.
    const KEPT: usize = 500;
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..100_000 {
        let first = 6_000 + 4 * fastrand::u16(0..1_000);
        let is_free = |port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok();
        if !given.contains(&first) && (first..first + 4).all(is_free) {
            if given.len() == KEPT {
                given.remove(0);
            }
            given.push(first);
            return first;
        }
    }
    panic!("no four UDP ports in a row are free between 6000 and 9999");
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
