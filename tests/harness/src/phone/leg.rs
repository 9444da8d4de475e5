//! One call of a phone: what its agent knows of it.

use std::net::SocketAddr;
use std::time::Instant;

use super::description::{Flow, place, takes_keys};
use super::dialog::Dialog;
use super::ears::Ears;
use super::keys::Keys;
use super::message::Message;

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Begun, and nothing rings yet.
    Calling,
    /// It rings at the called side.
    Ringing,
    /// Answered.
    Talking,
    /// Over.
    Ended(End),
}

/// How a call came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The call that this phone made was refused with that code; 487 after its own cancelling.
    Refused(u16),
    /// The caller of a call to this phone gave up, or somebody else took it.
    Cancelled,
    /// The other side hung up.
    HungUp,
    /// This phone hung up or refused.
    Left,
}

/// What is to be done at a time of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Answer,
    Refuse(u16),
    /// Our change of the media met one of the other side (491) and is tried again.
    Change,
}

#[derive(Debug)]
pub(crate) struct Leg {
    pub(crate) dialog: Dialog,
    /// Whether the other side called.
    pub(crate) incoming: bool,
    /// The number that was dialled.
    pub(crate) dialled: String,
    /// Who calls, as its INVITE says.
    pub(crate) caller: String,
    /// The INVITE that began the call, ours or theirs.
    pub(crate) invite: Message,
    pub(crate) phase: Phase,
    /// The codes that our INVITE got so far.
    pub(crate) codes: Vec<u16>,
    /// It is to be given up as soon as the other side has said anything: not allowed before (RFC 3261, section 9.1).
    pub(crate) give_up: bool,
    pub(crate) due: Option<(Instant, Step)>,
    pub(crate) began: Instant,
    /// Whether a test has it in hand already.
    pub(crate) taken: bool,
    /// The last response that their INVITE got, and that INVITE's number: a repeated INVITE gets it again.
    pub(crate) said: Option<(u32, Message)>,
    pub(crate) flow: Flow,
    /// Where the other side wants our voice.
    pub(crate) voice: Option<SocketAddr>,
    /// The payload type by which the other side takes keys along with the voice.
    pub(crate) events: Option<u8>,
    /// Keys that are to be pressed along with the voice.
    pub(crate) keys: Keys,
    /// How much was said, in packets.
    pub(crate) packets: u16,
    /// What was heard, as long as the phone listens.
    pub(crate) ears: Ears,
    /// The version of our last description.
    pub(crate) version: u32,
    /// Whether a change of the media that we asked for is under way.
    pub(crate) changing: bool,
    /// What became of the last REFER or INFO: the code that it got.
    pub(crate) reply: Option<u16>,
    /// What the other side says of the transfer that we asked for.
    pub(crate) transfer: Option<u16>,
}

impl Leg {
    pub(crate) fn new(dialog: Dialog, incoming: bool, dialled: &str, caller: &str, invite: Message) -> Self {
        Self {
            dialog,
            incoming,
            dialled: dialled.to_owned(),
            caller: caller.to_owned(),
            invite,
            phase: Phase::Calling,
            codes: Vec::new(),
            give_up: false,
            due: None,
            began: Instant::now(),
            taken: !incoming,
            said: None,
            flow: Flow::Both,
            voice: None,
            events: None,
            keys: Keys::default(),
            packets: 0,
            ears: Ears::default(),
            version: 1,
            changing: false,
            reply: None,
            transfer: None,
        }
    }

    /// Takes over where the other side wants our voice, and whether it wants keys along with it.
    pub(crate) fn hear_description(&mut self, message: &Message) {
        if let Some(place) = place(&message.body) {
            self.voice = Some(place);
            self.events = takes_keys(&message.body);
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }
}
