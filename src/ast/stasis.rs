//! What happens to channels and bridges, as Asterisk publishes it.
//!
//! Invariants:
//! - a [`Record`] and all it lends live as long as the callback that is given it; nothing is copied here,
//!   nothing is allocated and nothing of ours is locked;
//! - records are given one at a time, on one thread, in the order of publication. The channel, bridge and
//!   parking topics are forwarded to one topic with one subscription, as `main/cdr.c` does it; Asterisk
//!   forwards on the publisher's thread, so what one thread of Asterisk did to a channel comes in that order;
//! - a channel that was told of by [`Event::Running`] or [`Event::ChannelCreated`] is told of once by
//!   [`Event::ChannelGone`], if the subscription lives that long;
//! - when a [`Subscription`] has been dropped, nobody is inside [`Subscriber::record`] and nobody will be.
//!
//! Asterisk makes a queue for the records. It warns when 5000 wait (as for CDR and CEL), so a subscriber
//! copies, hands on and returns.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ptr::NonNull;
use std::time::Duration;

use super::guard::guard;
use super::registration::RegistrationError;
use super::text;
use crate::sys;

/// Who is told what happens.
pub trait Subscriber {
    /// That a channel goes on to another application is told of these alone; eight at most.
    const APPLICATIONS: &'static [&'static CStr];

    /// A message was passed over because none of [`Changes`] is in it; it has cost so much of Asterisk's thread.
    fn passed(cost: Duration);

    /// Takes one record. It must not wait, and must not drop the [`Subscription`], which would wait for it.
    fn record(record: Record<'_>);
}

/// One thing that happened.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    /// When Asterisk made it: microseconds since 1970, by the clock of the machine, which an operator may set.
    /// Records of different threads of Asterisk can be out of order by some tenths of a millisecond.
    pub time: i64,
    pub event: Event<'a>,
    began: u64,
}

/// What happened.
#[derive(Clone, Copy)]
pub enum Event<'a> {
    /// A channel that existed when the subscription began. What was on its way at that moment comes before or
    /// after it, so a creation or an entry into the same bridge may follow; the channel's state converges.
    Running {
        channel: Snapshot<'a>,
        /// The bridge it is in.
        bridge: Option<Bridge<'a>>,
    },
    /// All channels that existed have been told.
    CaughtUp,
    ChannelCreated {
        channel: Snapshot<'a>,
    },
    /// Something of a channel is not as it was.
    ChannelChanged {
        channel: Snapshot<'a>,
        changes: Changes,
    },
    /// The channel's end. No other record names it as its channel after this.
    ChannelGone {
        channel: Snapshot<'a>,
    },
    BridgeEntered {
        channel: Snapshot<'a>,
        bridge: Bridge<'a>,
        /// The unique id of the channel whose place this one takes; that one's leaving came before
        /// (`main/bridge_channel.c`, bridge_channel_internal_push_full).
        swapped: Option<&'a [u8]>,
    },
    BridgeLeft {
        channel: Snapshot<'a>,
        bridge: Bridge<'a>,
    },
    /// A channel is called.
    Dial {
        phase: DialPhase,
        /// Empty at the beginning; then such as `RINGING` or `PROGRESS`; at the end `ANSWER`, `BUSY`,
        /// `NOANSWER`, `CANCEL`, `CONGESTION`, `CHANUNAVAIL` and others.
        status: &'a [u8],
        /// `None` for a channel that was originated.
        caller: Option<Snapshot<'a>>,
        peer: Snapshot<'a>,
        /// The dial string after the technology, such as `101` or `101/sip:101@192.0.2.1`.
        dial_string: &'a [u8],
        /// Where the called channel forwarded the call to, and the channel that was made for it.
        forward: &'a [u8],
        forwarded: Option<Snapshot<'a>>,
    },
    BlindTransfer {
        outcome: Transfer,
        /// By the phone or AMI, not by digits.
        external: bool,
        transferer: Snapshot<'a>,
        /// `None` when there were several.
        transferee: Option<Snapshot<'a>>,
        bridge: Option<Bridge<'a>>,
        context: &'a [u8],
        exten: &'a [u8],
        /// The channel that takes the transferer's place when there are several transferees.
        replacing: Option<Snapshot<'a>>,
    },
    AttendedTransfer {
        outcome: Transfer,
        external: bool,
        /// The transferer's channel towards the transferee.
        transferer: Snapshot<'a>,
        /// The transferer's channel towards the target.
        consulting: Snapshot<'a>,
        /// `None` when there were several.
        transferee: Option<Snapshot<'a>>,
        target: Option<Snapshot<'a>>,
        bridge: Option<Bridge<'a>>,
        consulting_bridge: Option<Bridge<'a>>,
        ending: TransferEnding,
        /// The id of the bridge or the name of the application that it ended in.
        destination: &'a [u8],
    },
    Pickup {
        /// Who picked up.
        channel: Snapshot<'a>,
        /// Who was ringing.
        target: Snapshot<'a>,
    },
    Hold {
        channel: Snapshot<'a>,
        music_class: &'a [u8],
    },
    Unhold {
        channel: Snapshot<'a>,
    },
    Parking {
        what: Parking,
        parkee: Snapshot<'a>,
        retriever: Option<Snapshot<'a>>,
        /// Whom to call when nobody retrieves the call.
        parker_dial_string: &'a [u8],
        lot: &'a [u8],
        space: u32,
    },
    /// MixMonitor() began to record the channel, and says in a variable of the channel where to.
    Recording {
        channel: Snapshot<'a>,
    },
    /// Only after [`Subscription::accept_variables`]; global variables are left out.
    VariableSet {
        channel: Snapshot<'a>,
        name: &'a [u8],
        value: &'a [u8],
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialPhase {
    Begin,
    Progress,
    End,
}

impl DialPhase {
    /// As AMI tells DialState from DialEnd (`main/manager_channels.c`).
    fn of(status: &[u8]) -> Self {
        match status {
            b"" => Self::Begin,
            b"RINGING" | b"PROGRESS" | b"PROCEEDING" => Self::Progress,
            _ => Self::End,
        }
    }
}

/// What a transfer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    Success,
    NotPermitted,
    Invalid,
    Failed,
}

impl Transfer {
    fn of(result: c_int) -> Self {
        match c_uint::try_from(result) {
            Ok(sys::AST_BRIDGE_TRANSFER_SUCCESS) => Self::Success,
            Ok(sys::AST_BRIDGE_TRANSFER_NOT_PERMITTED) => Self::NotPermitted,
            Ok(sys::AST_BRIDGE_TRANSFER_INVALID) => Self::Invalid,
            _ => Self::Failed,
        }
    }
}

/// How an attended transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferEnding {
    Failed,
    /// In one bridge.
    Merged,
    Application,
    /// In an application, by way of a Local channel.
    LocalApplication,
    /// In two bridges that a Local channel links.
    Linked,
    ThreeWay,
}

impl TransferEnding {
    fn of(kind: c_int) -> Self {
        match c_uint::try_from(kind) {
            Ok(sys::AST_ATTENDED_TRANSFER_DEST_BRIDGE_MERGE) => Self::Merged,
            Ok(sys::AST_ATTENDED_TRANSFER_DEST_APP) => Self::Application,
            Ok(sys::AST_ATTENDED_TRANSFER_DEST_LOCAL_APP) => Self::LocalApplication,
            Ok(sys::AST_ATTENDED_TRANSFER_DEST_LINK) => Self::Linked,
            Ok(sys::AST_ATTENDED_TRANSFER_DEST_THREEWAY) => Self::ThreeWay,
            _ => Self::Failed,
        }
    }
}

/// What happened to a parked call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parking {
    Parked,
    TimedOut,
    GaveUp,
    Retrieved,
    Failed,
    Swapped,
}

impl Parking {
    fn of(kind: c_int) -> Self {
        match c_uint::try_from(kind) {
            Ok(sys::PARKED_CALL) => Self::Parked,
            Ok(sys::PARKED_CALL_TIMEOUT) => Self::TimedOut,
            Ok(sys::PARKED_CALL_GIVEUP) => Self::GaveUp,
            Ok(sys::PARKED_CALL_UNPARKED) => Self::Retrieved,
            Ok(sys::PARKED_CALL_SWAP) => Self::Swapped,
            _ => Self::Failed,
        }
    }
}

/// How far a channel has come (`enum ast_channel_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Down,
    Reserved,
    OffHook,
    Dialing,
    /// It hears ringing: a caller.
    Ring,
    /// It rings: a called one.
    Ringing,
    Up,
    Busy,
    Other,
}

impl State {
    fn of(state: c_int) -> Self {
        match c_uint::try_from(state) {
            Ok(sys::AST_STATE_DOWN) => Self::Down,
            Ok(sys::AST_STATE_RESERVED) => Self::Reserved,
            Ok(sys::AST_STATE_OFFHOOK) => Self::OffHook,
            Ok(sys::AST_STATE_DIALING) => Self::Dialing,
            Ok(sys::AST_STATE_RING) => Self::Ring,
            Ok(sys::AST_STATE_RINGING) => Self::Ringing,
            Ok(sys::AST_STATE_UP) => Self::Up,
            Ok(sys::AST_STATE_BUSY) => Self::Busy,
            _ => Self::Other,
        }
    }
}

/// What changed of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changes(c_uint);

impl Changes {
    pub const STATE: Self = Self(sys::SHIM_CHANGED_STATE);
    /// The name, the linked id or the account code.
    pub const IDENTITY: Self = Self(sys::SHIM_CHANGED_IDENTITY);
    /// The caller's number, name, ANI, RDNIS or restriction, or the dialled number.
    pub const CALLER: Self = Self(sys::SHIM_CHANGED_CALLER);
    pub const CONNECTED: Self = Self(sys::SHIM_CHANGED_CONNECTED);
    /// The context or the extension.
    pub const EXTENSION: Self = Self(sys::SHIM_CHANGED_EXTENSION);
    /// The application or its arguments, as with every step in the dialplan.
    pub const APPLICATION: Self = Self(sys::SHIM_CHANGED_APPLICATION);

    /// Whether that is among them.
    pub fn holds(self, part: Self) -> bool {
        self.0 & part.0 != 0
    }
}

/// A channel at one moment.
#[derive(Clone, Copy)]
pub struct Snapshot<'a>(&'a sys::shim_snapshot);

/// A bridge at one moment.
#[derive(Clone, Copy)]
pub struct Bridge<'a>(&'a sys::shim_bridge);

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(self) -> &'a [u8] {
                // SAFETY: a string of the message that is being handled or of the snapshot that is being
                // looked at, both immutable and held until after the callback, which `'a` does not outlive;
                // or null.
                unsafe { text::bytes(self.0.$name) }
            }
        )*
    };
}

impl<'a> Snapshot<'a> {
    /// `None` for one that the shim left empty.
    fn present(raw: &'a sys::shim_snapshot) -> Option<Self> {
        (!raw.uniqueid.is_null()).then_some(Self(raw))
    }

    texts! {
        uniqueid;
        /// The unique id of the channel that began the call. It changes when calls are joined.
        linkedid;
        /// Such as `PJSIP/101-00000001`.
        name;
        /// Such as `PJSIP`.
        technology;
        accountcode;
        caller_number;
        caller_name;
        ani;
        /// The number that redirected the call here.
        rdnis;
        /// The number that was dialled to reach this channel (`CALLERID(dnid)`).
        dialed;
        connected_number;
        connected_name;
        context;
        exten;
        /// The application that runs, and its arguments.
        application;
        application_data;
        /// The unique id of the bridge that it is in. It is told a little before the entry and cleared a
        /// little after the leaving.
        bridge;
    }

    /// When it was made: microseconds since 1970.
    pub fn created(self) -> i64 {
        self.0.created
    }

    pub fn state(self) -> State {
        State::of(self.0.state)
    }

    /// The caller asked for the number not to be shown, or it is not available.
    pub fn caller_restricted(self) -> bool {
        self.0.caller_restricted != 0
    }

    /// The cause by Q.850 (`asterisk/causes.h`), 0 while there is none. It is final in [`Event::ChannelGone`]
    /// only: `Dial()` sets 16 as soon as the called channel answers.
    pub fn hangup_cause(self) -> i32 {
        self.0.hangup_cause
    }
}

impl<'a> Bridge<'a> {
    /// `None` for one that the shim left empty.
    fn present(raw: &'a sys::shim_bridge) -> Option<Self> {
        (!raw.uniqueid.is_null()).then_some(Self(raw))
    }

    texts! {
        uniqueid;
        /// Such as `simple_bridge`, `native_rtp` or `softmix`; it changes during a bridge's life.
        technology;
        /// What made it, such as `ConfBridge`; often empty.
        creator;
        /// The name that its creator gave it.
        name;
    }

    /// How many channels are in it, after what is told of.
    pub fn channels(self) -> u32 {
        self.0.channels
    }
}

impl<'a> Record<'a> {
    /// How long ago Asterisk gave this to us: what its thread has paid for the message up to now.
    pub fn cost(&self) -> Duration {
        since(self.began)
    }

    /// `None` for an event that this does not know.
    fn of(raw: &'a sys::shim_record) -> Option<Self> {
        // SAFETY: as for `texts!`.
        let told = |at: usize| unsafe { text::bytes(raw.text[at]) };
        // The shim reports no event without the channels that are always there (`fill` in `kinds`).
        let (channel, peer) = (Snapshot(&raw.channel), Snapshot(&raw.peer));
        let bridge = Bridge(&raw.bridge);
        let event = match raw.event {
            sys::SHIM_RUNNING => Event::Running {
                channel,
                bridge: Bridge::present(&raw.bridge),
            },
            sys::SHIM_CAUGHT_UP => Event::CaughtUp,
            sys::SHIM_CHANNEL_CREATED => Event::ChannelCreated { channel },
            sys::SHIM_CHANNEL_CHANGED => Event::ChannelChanged {
                channel,
                changes: Changes(raw.changes),
            },
            sys::SHIM_CHANNEL_GONE => Event::ChannelGone { channel },
            sys::SHIM_BRIDGE_ENTERED => Event::BridgeEntered {
                channel,
                bridge,
                swapped: Some(told(0)).filter(|uniqueid| !uniqueid.is_empty()),
            },
            sys::SHIM_BRIDGE_LEFT => Event::BridgeLeft { channel, bridge },
            sys::SHIM_DIAL => Event::Dial {
                phase: DialPhase::of(told(0)),
                status: told(0),
                caller: Snapshot::present(&raw.channel),
                peer,
                dial_string: told(1),
                forward: told(2),
                forwarded: Snapshot::present(&raw.third),
            },
            sys::SHIM_BLIND_TRANSFER => Event::BlindTransfer {
                outcome: Transfer::of(raw.outcome),
                external: raw.external != 0,
                transferer: channel,
                transferee: Snapshot::present(&raw.peer),
                bridge: Bridge::present(&raw.bridge),
                context: told(0),
                exten: told(1),
                replacing: Snapshot::present(&raw.third),
            },
            sys::SHIM_ATTENDED_TRANSFER => Event::AttendedTransfer {
                outcome: Transfer::of(raw.outcome),
                external: raw.external != 0,
                transferer: channel,
                consulting: peer,
                transferee: Snapshot::present(&raw.third),
                target: Snapshot::present(&raw.fourth),
                bridge: Bridge::present(&raw.bridge),
                consulting_bridge: Bridge::present(&raw.second_bridge),
                ending: TransferEnding::of(raw.kind),
                destination: told(0),
            },
            sys::SHIM_PICKUP => Event::Pickup {
                channel,
                target: peer,
            },
            sys::SHIM_HOLD => Event::Hold {
                channel,
                music_class: told(0),
            },
            sys::SHIM_UNHOLD => Event::Unhold { channel },
            sys::SHIM_PARKING => Event::Parking {
                what: Parking::of(raw.kind),
                parkee: channel,
                retriever: Snapshot::present(&raw.peer),
                parker_dial_string: told(0),
                lot: told(1),
                space: raw.number,
            },
            sys::SHIM_RECORDING => Event::Recording { channel },
            sys::SHIM_VARIABLE_SET => Event::VariableSet {
                channel,
                name: told(0),
                value: told(1),
            },
            _ => return None,
        };
        Some(Self {
            time: raw.time,
            event,
            began: raw.began,
        })
    }
}

/// The time since a moment of the shim's clock.
fn since(began: u64) -> Duration {
    // SAFETY: it reads a clock.
    let now = unsafe { sys::shim_nanoseconds() };
    Duration::from_nanos(now.saturating_sub(began))
}

/// Called by the shim on the subscription's thread.
unsafe extern "C" fn passed<S: Subscriber>(began: u64) {
    guard("a stasis message", || S::passed(since(began)));
}

/// Called by the shim on the subscription's thread; `record` and what it points to live until this returns.
unsafe extern "C" fn record<S: Subscriber>(record: *const sys::shim_record, _data: *mut c_void) {
    guard("a stasis record", || {
        // SAFETY: the shim's guarantee; `Subscriber::record` takes any lifetime, so it cannot keep this one.
        if let Some(record) = unsafe { record.as_ref() }.and_then(Record::of) {
            S::record(record);
        }
    });
}

/// A subscriber that is being told. Dropping it ends that.
///
/// Not to be dropped inside [`Subscriber::record`], nor while a lock is held that it takes: the drop waits
/// until all that is queued has been told.
pub struct Subscription(NonNull<sys::shim_subscription>);

// SAFETY: whoever drops it does so once; Asterisk locks what is inside.
unsafe impl Send for Subscription {}
// SAFETY: a shared subscription can do nothing.
unsafe impl Sync for Subscription {}

impl Subscription {
    /// Begins to tell `S` what happens to all channels and bridges, beginning with those that exist
    /// ([`Event::Running`], then [`Event::CaughtUp`]).
    ///
    /// # Errors
    ///
    /// Asterisk has no memory, or is going down.
    pub fn channels_and_bridges<S: Subscriber>() -> Result<Self, RegistrationError> {
        let applications: Vec<*const c_char> = S::APPLICATIONS.iter().map(|name| name.as_ptr()).collect();
        // SAFETY: the callbacks are sound for whatever the shim gives them, and live as long as the image, which is never
        // unmapped; so do the names. The list of them is copied before this returns.
        let subscription = unsafe {
            sys::shim_stasis_subscribe(
                Some(record::<S>),
                Some(passed::<S>),
                applications.as_ptr(),
                applications.len(),
            )
        };
        let subscription = NonNull::new(subscription)
            .map(Self)
            .ok_or_else(|| RegistrationError::new("stasis subscription to", c"channels and bridges"))?;
        for index in 0.. {
            // SAFETY: the subscription is alive; what is returned is static.
            let declined = unsafe { sys::shim_stasis_declined(subscription.0.as_ptr(), index) };
            if declined.is_null() {
                break;
            }
            ::log::warn!(
                target: "res_planfix",
                "stasis.conf declines messages of the type {}, so calls cannot be followed completely: remove it from \
                 [declined_message_types] and restart Asterisk.",
                // SAFETY: static and not null.
                unsafe { text::lossy(declined) }
            );
        }
        Ok(subscription)
    }
}

/// Whether this Asterisk tells of [`Event::Recording`].
pub fn tells_of_recordings() -> bool {
    // SAFETY: it looks at a symbol.
    unsafe { sys::shim_stasis_tells_of_recordings() != 0 }
}

impl Subscription {
    /// Gives [`Event::VariableSet`] too from now on, until the subscription ends.
    pub fn accept_variables(&self) {
        // SAFETY: the subscription is alive; Asterisk locks its topic for the change.
        unsafe { sys::shim_stasis_accept_variables(self.0.as_ptr()) };
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // SAFETY: alive until here, and never used again.
        unsafe { sys::shim_stasis_unsubscribe(self.0.as_ptr()) };
    }
}

/// Called by the shim with the data of [`running_channels`], on its thread.
unsafe extern "C" fn running<F: FnMut(Record<'_>)>(record: *const sys::shim_record, each: *mut c_void) {
    guard("a running channel", || {
        // SAFETY: the shim's guarantee for the record; `each` is the closure that `running_channels` lends to
        // the shim and does not touch meanwhile.
        let (record, each) = unsafe { (record.as_ref(), &mut *each.cast::<F>()) };
        if let Some(record) = record.and_then(Record::of) {
            each(record);
        }
    });
}

/// Gives an [`Event::Running`] for each channel that exists now. A [`Subscription`] begins with the same, in
/// its place among the other records, which is what following calls needs; this is for a look.
///
/// To be called with no channel and no bridge locked.
pub fn running_channels<F: FnMut(Record<'_>)>(mut each: F) {
    // SAFETY: the closure outlives the call, and nobody else uses it until that returns.
    unsafe { sys::shim_stasis_running(Some(running::<F>), (&raw mut each).cast()) };
}
