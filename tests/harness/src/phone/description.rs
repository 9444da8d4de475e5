//! What a phone says of its media: one stream of A-law, which way it flows, and its packets.

use std::net::{IpAddr, SocketAddr};

use crate::tone::Tone;

/// Samples of a packet: a fiftieth of a second.
const SAMPLES: u16 = 160;
/// The payload type of A-law (RFC 3551, section 6).
const PCMA: u8 = 8;

/// Which way the voice goes, as the one who says it sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Both,
    /// The other side is put on hold.
    SendOnly,
    ReceiveOnly,
    Neither,
}

impl Flow {
    fn name(self) -> &'static str {
        match self {
            Self::Both => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::ReceiveOnly => "recvonly",
            Self::Neither => "inactive",
        }
    }

    /// Whether the one who says it also speaks.
    pub(crate) fn sends(self) -> bool {
        matches!(self, Self::Both | Self::SendOnly)
    }

    /// The answer to an offer of this kind (RFC 3264, section 6.1).
    pub(crate) fn answer_to(description: &str) -> Self {
        let offered = |name: &str| description.lines().any(|line| line.trim_end() == name);
        if offered("a=sendonly") {
            Self::ReceiveOnly
        } else if offered("a=recvonly") {
            Self::SendOnly
        } else if offered("a=inactive") {
            Self::Neither
        } else {
            Self::Both
        }
    }
}

/// The description of the stream at `media`. `version` has to grow with every change.
pub(crate) fn describe(media: SocketAddr, session: u64, version: u32, flow: Flow) -> String {
    let (ip, port) = (media.ip(), media.port());
    format!(
        "v=0\r\no=- {session} {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\na={}\r\n",
        flow.name()
    )
}

/// Where a description wants the voice.
pub(crate) fn place(description: &str) -> Option<SocketAddr> {
    let value = |beginning: &str| {
        let mut lines = description.lines();
        lines.find_map(|line| line.strip_prefix(beginning))
    };
    let ip: IpAddr = value("c=IN IP4 ")?.trim().parse().ok()?;
    let port = value("m=audio ")?.split(' ').next()?.parse().ok()?;
    Some(SocketAddr::new(ip, port)).filter(|_| port != 0)
}

/// A fiftieth of a second of a tone, or of silence, in A-law, as an RTP packet (RFC 3550, section 5.1).
pub(crate) fn packet(number: u16, tone: Option<Tone>) -> Vec<u8> {
    const SILENCE: u8 = 0xd5;
    let first = u32::from(number) * u32::from(SAMPLES);
    let mut packet = vec![0x80, PCMA];
    packet.extend(number.to_be_bytes());
    packet.extend(first.to_be_bytes());
    // Who speaks: one speaker is all there is on a stream here.
    packet.extend(1_u32.to_be_bytes());
    match tone {
        Some(tone) => packet.extend(tone.alaw(first, u32::from(SAMPLES))),
        None => packet.resize(packet.len() + usize::from(SAMPLES), SILENCE),
    }
    packet
}

/// The number of an RTP packet within its stream.
pub(crate) fn number(packet: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]))
}

/// The A-law of an RTP packet; nothing, when it carries something else.
pub(crate) fn payload(packet: &[u8]) -> &[u8] {
    let header = 12 + 4 * usize::from(packet.first().copied().unwrap_or_default() & 0x0f);
    match packet {
        [0x80..=0x8f, kind, ..] if kind & 0x7f == PCMA => packet.get(header..).unwrap_or_default(),
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_says_where_the_voice_goes() {
        let here = SocketAddr::from(([127, 0, 0, 1], 4000));
        assert_eq!(place(&describe(here, 1, 2, Flow::Both)), Some(here));
        assert_eq!(place(""), None);
    }

    #[test]
    fn a_packet_carries_silence_or_a_tone() {
        assert_eq!(packet(258, None)[..8], [0x80, 8, 1, 2, 0, 0, 0xa1, 0x40]);
        assert_eq!(payload(&packet(0, None)), [0xd5; 160]);
        assert_eq!(
            (number(&packet(258, None)), number(&[0x80, 8, 1])),
            (Some(258), None)
        );
        let tone = Tone(440);
        assert_eq!(payload(&packet(3, Some(tone))), tone.alaw(480, 160));
        for other in [&[][..], &[0x80], &[0x80, 101, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 7]] {
            assert!(payload(other).is_empty());
        }
    }

    #[test]
    fn an_offer_is_answered_by_its_counterpart() {
        let offer = |flow| describe(SocketAddr::from(([127, 0, 0, 1], 4000)), 1, 2, flow);
        assert_eq!(Flow::answer_to(&offer(Flow::SendOnly)), Flow::ReceiveOnly);
        assert_eq!(Flow::answer_to(&offer(Flow::ReceiveOnly)), Flow::SendOnly);
        assert_eq!(Flow::answer_to(&offer(Flow::Neither)), Flow::Neither);
        assert_eq!(Flow::answer_to(&offer(Flow::Both)), Flow::Both);
        assert_eq!(Flow::answer_to(""), Flow::Both);
    }
}
