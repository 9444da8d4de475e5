//! What a phone says of its media: one stream of A-law, and which way it flows.

use std::net::{IpAddr, SocketAddr};

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

/// A fiftieth of a second of silence in A-law, as an RTP packet (RFC 3550, section 5.1).
pub(crate) fn silence(number: u16) -> Vec<u8> {
    const SAMPLES: u16 = 160;
    const SILENCE: u8 = 0xd5;
    let mut packet = vec![0x80, 8];
    packet.extend(number.to_be_bytes());
    packet.extend((u32::from(number) * u32::from(SAMPLES)).to_be_bytes());
    // Who speaks: one speaker is all there is on a stream here.
    packet.extend(1_u32.to_be_bytes());
    packet.resize(packet.len() + usize::from(SAMPLES), SILENCE);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_says_where_the_voice_goes() {
        let here = SocketAddr::from(([127, 0, 0, 1], 4000));
        assert_eq!(place(&describe(here, 1, 2, Flow::Both)), Some(here));
        assert_eq!(place(""), None);
        assert_eq!(silence(258)[..8], [0x80, 8, 1, 2, 0, 0, 0xa1, 0x40]);
        assert_eq!(silence(0).len(), 172);
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
