//! What a phone says of its media: one stream of one codec, which way it flows, and its packets.

use std::net::{IpAddr, SocketAddr};

use super::codec::Codec;
use super::keys::Event;
use crate::tone::Tone;

/// Packets in a second.
const PACKETS: u32 = 50;
/// The payload type of keys that a phone proposes.
const KEYS: u8 = 101;
/// How long a packet is by the clock of the keys, which is that of a narrow stream.
pub(crate) const KEY_SAMPLES: u16 = 160;

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

/// What a phone can do beside talking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Equipment {
    pub(crate) codec: Codec,
    /// Whether its keys go along with the voice (RFC 4733), where the other side agrees.
    pub(crate) keys: bool,
}

/// The description of the stream at `media`. `version` has to grow with every change.
pub(crate) fn describe(
    media: SocketAddr,
    equipment: Equipment,
    session: u64,
    version: u32,
    flow: Flow,
) -> String {
    let (ip, port) = (media.ip(), media.port());
    let (codec, kind) = (equipment.codec, equipment.codec.payload());
    let (mut kinds, mut keys) = (kind.to_string(), String::new());
    if equipment.keys {
        // Asterisk knows keys at 8 kHz in every version, and for a wide stream too.
        kinds.push_str(&format!(" {KEYS}"));
        keys = format!("a=rtpmap:{KEYS} telephone-event/8000\r\na=fmtp:{KEYS} 0-15\r\n");
    }
    format!(
        "v=0\r\no=- {session} {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP {kinds}\r\na=rtpmap:{kind} {}\r\n{keys}a=ptime:20\r\na={}\r\n",
        codec.name(),
        flow.name()
    )
}

/// The payload type by which the other side takes keys along with the voice; none, where it does not.
pub(crate) fn takes_keys(description: &str) -> Option<u8> {
    let mut lines = description.lines().map(str::trim_end);
    let of_keys = |line: &str| {
        line.strip_prefix("a=rtpmap:")?
            .strip_suffix(" telephone-event/8000")?
            .parse()
            .ok()
    };
    lines.find_map(of_keys)
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

/// How many samples a packet holds.
fn samples(codec: Codec) -> u32 {
    codec.rate() / PACKETS
}

/// The time of the packet with that number, in samples.
pub(crate) fn time(codec: Codec, number: u16) -> u32 {
    u32::from(number) * samples(codec)
}

/// A fiftieth of a second of a tone, or of silence, as an RTP packet (RFC 3550, section 5.1).
pub(crate) fn packet(codec: Codec, number: u16, tone: Option<Tone>) -> Vec<u8> {
    let first = time(codec, number);
    let mut packet = head(codec.payload(), number, first);
    packet.extend(codec.encode(tone, first, samples(codec)));
    packet
}

/// The packet with that number, when a key is in the voice's stead.
pub(crate) fn event_packet(kind: u8, number: u16, event: Event) -> Vec<u8> {
    let marked = if event.first { 0x80 | kind } else { kind };
    let mut packet = head(marked, number, event.time);
    packet.extend(event.payload);
    packet
}

fn head(kind: u8, number: u16, time: u32) -> Vec<u8> {
    let mut packet = vec![0x80, kind];
    packet.extend(number.to_be_bytes());
    packet.extend(time.to_be_bytes());
    // Who speaks: one speaker is all there is on a stream here.
    packet.extend(1_u32.to_be_bytes());
    packet
}

/// The number of an RTP packet within its stream.
pub(crate) fn number(packet: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]))
}

/// The voice in an RTP packet; none, when it carries something else.
pub(crate) fn voice(packet: &[u8]) -> Option<(Codec, Vec<i16>)> {
    let header = 12 + 4 * usize::from(packet.first()? & 0x0f);
    match packet {
        [0x80..=0x8f, kind, ..] => {
            let codec = Codec::of(kind & 0x7f)?;
            Some((codec, codec.decode(packet.get(header..)?)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Equipment = Equipment {
        codec: Codec::Alaw,
        keys: false,
    };

    #[test]
    fn a_description_says_where_the_voice_goes_and_whether_keys_go_along() {
        let here = SocketAddr::from(([127, 0, 0, 1], 4000));
        let plain = describe(here, PLAIN, 1, 2, Flow::Both);
        assert_eq!((place(&plain), takes_keys(&plain)), (Some(here), None));
        assert!(plain.contains("m=audio 4000 RTP/AVP 8\r\n"));
        let wide = Equipment {
            codec: Codec::Wide,
            keys: true,
        };
        let wide = describe(here, wide, 1, 2, Flow::Both);
        assert_eq!((place(&wide), takes_keys(&wide)), (Some(here), Some(101)));
        assert!(wide.contains("m=audio 4000 RTP/AVP 118 101\r\n"));
        assert_eq!((place(""), takes_keys("")), (None, None));
    }

    #[test]
    fn a_packet_carries_silence_or_a_tone() {
        let head = packet(Codec::Alaw, 258, None);
        assert_eq!(head[..8], [0x80, 8, 1, 2, 0, 0, 0xa1, 0x40]);
        assert_eq!(packet(Codec::Alaw, 0, None)[12..], [0xd5; 160]);
        assert_eq!((number(&head), number(&[0x80, 8, 1])), (Some(258), None));
        let tone = Tone(440);
        let wide = packet(Codec::Wide, 3, Some(tone));
        assert_eq!(voice(&wide), Some((Codec::Wide, tone.samples(16_000, 960, 320))));
        for other in [&[][..], &[0x80], &[0x80, 101, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 7]] {
            assert_eq!(voice(other), None);
        }
    }

    #[test]
    fn an_offer_is_answered_by_its_counterpart() {
        let offer = |flow| describe(SocketAddr::from(([127, 0, 0, 1], 4000)), PLAIN, 1, 2, flow);
        assert_eq!(Flow::answer_to(&offer(Flow::SendOnly)), Flow::ReceiveOnly);
        assert_eq!(Flow::answer_to(&offer(Flow::ReceiveOnly)), Flow::SendOnly);
        assert_eq!(Flow::answer_to(&offer(Flow::Neither)), Flow::Neither);
        assert_eq!(Flow::answer_to(&offer(Flow::Both)), Flow::Both);
        assert_eq!(Flow::answer_to(""), Flow::Both);
    }
}
