//! One thing that happened to channels and bridges, as a value of its own.
//!
//! Invariants:
//! - a record has the same shape for every version of Asterisk, and holds nothing of Asterisk's: it can be queued, kept,
//!   written as one line of JSON and read again without a loss;
//! - what is empty is not written, and what is not written is empty, so a line stays short and a later version reads an
//!   earlier one's.

use serde::{Deserialize, Serialize};

use super::durations::Micros;

/// Text of Asterisk's. Names and numbers are short and there are many of them, so a short one takes no memory of its own: that
/// halves what copying a record costs.
pub type Text = compact_str::CompactString;

/// The name of the [`What::Variable`] that tells where MixMonitor() records a channel to. No dialplan can set one of this name,
/// because MixMonitor is an application.
pub const RECORDING: &str = "MixMonitor";

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When Asterisk made it: microseconds since 1970.
    #[serde(rename = "t")]
    pub time: Micros,
    /// What it was.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// Records were lost before this one: [`What::Running`] for every channel and [`What::CaughtUp`] follow.
    Lost,
    /// A channel that existed when the subscription began.
    Running {
        /// The channel.
        channel: Channel,
        /// The bridge it is in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bridge: Option<Bridge>,
    },
    /// All channels that existed have been told.
    CaughtUp,
    /// A channel was made.
    Created {
        /// The channel.
        channel: Channel,
    },
    /// Something about a channel changed.
    Changed {
        /// The channel as it is now.
        channel: Channel,
    },
    /// A channel has ended.
    Gone {
        /// The channel as it was at its end.
        channel: Channel,
    },
    /// A channel entered a bridge.
    Entered {
        /// The channel.
        channel: Channel,
        /// The bridge.
        bridge: Bridge,
        /// The unique id of the channel whose place it takes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        swapped: Option<Text>,
    },
    /// A channel left a bridge.
    Left {
        /// The channel.
        channel: Channel,
        /// The bridge.
        bridge: Bridge,
    },
    /// A channel is called.
    Dial {
        /// How far that is.
        phase: Phase,
        /// Empty at the beginning, then such as `RINGING`; at the end such as `ANSWER` or `BUSY`.
        #[serde(default, skip_serializing_if = "is_empty")]
        status: Text,
        /// Who calls; nobody for a channel that was originated.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        caller: Option<Box<Channel>>,
        /// Who is called.
        peer: Channel,
        /// The dial string after the technology.
        #[serde(default, skip_serializing_if = "is_empty")]
        dial_string: Text,
        /// Where the called phone forwarded the call to.
        #[serde(default, skip_serializing_if = "is_empty")]
        forward: Text,
        /// The channel that was made for that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forwarded: Option<Box<Channel>>,
    },
    /// A call was transferred without asking the target.
    BlindTransfer {
        /// Whether it came about.
        success: bool,
        /// Who transferred.
        transferer: Channel,
        /// Who was transferred; nobody when there were several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transferee: Option<Box<Channel>>,
        /// Where to.
        #[serde(default, skip_serializing_if = "is_empty")]
        exten: Text,
        /// Where to.
        #[serde(default, skip_serializing_if = "is_empty")]
        context: Text,
    },
    /// A call was transferred to somebody who had been asked.
    AttendedTransfer {
        /// Whether it came about.
        success: bool,
        /// The transferer's channel towards who was transferred.
        transferer: Channel,
        /// The transferer's channel towards the target.
        consulting: Box<Channel>,
        /// Who was transferred; nobody when there were several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transferee: Option<Box<Channel>>,
        /// The target.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<Box<Channel>>,
    },
    /// A ringing call was picked up by another phone.
    Pickup {
        /// Who picked up.
        channel: Channel,
        /// Who was ringing.
        target: Box<Channel>,
    },
    /// A channel put the other side on hold.
    Hold {
        /// The channel.
        channel: Channel,
    },
    /// A channel took the other side back.
    Unhold {
        /// The channel.
        channel: Channel,
    },
    /// Something happened to a parked call: `parked`, `retrieved`, `timed-out` and so on.
    Parking {
        /// What.
        what: Text,
        /// Who is parked.
        parkee: Channel,
        /// Who took the call back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retriever: Option<Box<Channel>>,
    },
    /// The CRM has said who is responsible for a client.
    Contact {
        /// The client's number in the CRM's form.
        phone: Text,
        /// The employee's number.
        responsible: Text,
    },
    /// A channel variable that somebody asked for was set.
    Variable {
        /// The channel's unique id.
        uniqueid: Text,
        /// The channel's linked id.
        linkedid: Text,
        /// The variable.
        name: Text,
        /// Its value.
        #[serde(default, skip_serializing_if = "is_empty")]
        value: Text,
    },
}

/// How far a dial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The channel is called.
    Begin,
    /// It rings or is on its way.
    Progress,
    /// It answered or did not.
    End,
}

/// How far a channel has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Nothing yet.
    #[default]
    Down,
    /// It hears ringing: a caller.
    Ring,
    /// It rings: a called one.
    Ringing,
    /// It was answered.
    Up,
    /// Anything else.
    Other,
}

impl Stage {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A channel at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Channel {
    /// Its unique id.
    pub uniqueid: Text,
    /// The unique id of the channel that began the call. It changes when calls are joined.
    pub linkedid: Text,
    /// Such as `PJSIP/101-00000001`.
    pub name: Text,
    /// How far it has come.
    #[serde(skip_serializing_if = "Stage::is_default")]
    pub stage: Stage,
    /// The caller's number: for a called channel its own.
    #[serde(skip_serializing_if = "is_empty")]
    pub caller: Text,
    /// The number at the other end.
    #[serde(skip_serializing_if = "is_empty")]
    pub connected: Text,
    /// The number that was dialled to reach it.
    #[serde(skip_serializing_if = "is_empty")]
    pub dialed: Text,
    /// The number that redirected the call here.
    #[serde(skip_serializing_if = "is_empty")]
    pub rdnis: Text,
    /// The caller does not want the number to be shown.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub restricted: bool,
    /// Where it is in the dialplan.
    #[serde(skip_serializing_if = "is_empty")]
    pub context: Text,
    /// Where it is in the dialplan.
    #[serde(skip_serializing_if = "is_empty")]
    pub exten: Text,
    /// The application that runs.
    #[serde(skip_serializing_if = "is_empty")]
    pub application: Text,
    /// The application's arguments.
    #[serde(skip_serializing_if = "is_empty")]
    pub data: Text,
    /// The hangup's cause by Q.850, 0 while there is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub cause: i32,
    /// When it was made: microseconds since 1970.
    pub created: Micros,
}

/// The variable that is meant by this name. `Set(__UTM_SOURCE=…)` makes `UTM_SOURCE` for this channel and those that it makes, and is
/// published with the underscores (main/pbx_variables.c, `pbx_builtin_setvar_helper`; main/channel.c, `ast_channel_inherit_variables`).
#[must_use]
pub fn bare(name: &str) -> &str {
    let name = name.strip_prefix('_').unwrap_or(name);
    name.strip_prefix('_').unwrap_or(name)
}

/// Such as `PJSIP`, of a channel's name.
#[must_use]
pub fn technology(name: &str) -> &str {
    name.split_once('/').map_or("", |(technology, _)| technology)
}

/// Such as `101`: what stands in a channel's name between the technology and the number that makes it unique.
#[must_use]
pub fn endpoint(name: &str) -> &str {
    let rest = name.split_once('/').map_or("", |(_, rest)| rest);
    rest.rsplit_once('-').map_or(rest, |(endpoint, _)| endpoint)
}

/// A bridge at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bridge {
    /// Its unique id.
    pub uniqueid: Text,
    /// Such as `simple_bridge`; it changes during a bridge's life.
    pub technology: Text,
}

fn is_empty(text: &Text) -> bool {
    text.is_empty()
}

fn is_zero(cause: &i32) -> bool {
    *cause == 0
}

#[cfg(test)]
mod tests {
    use super::{Bridge, Channel, Phase, Record, Stage, What};

    fn channel(name: &str) -> Channel {
        Channel {
            uniqueid: "1700000000.1".into(),
            linkedid: "1700000000.1".into(),
            name: name.into(),
            stage: Stage::Ringing,
            created: 1_700_000_000_000_000,
            ..Channel::default()
        }
    }

    #[test]
    fn a_record_is_one_line_that_reads_back_the_same() {
        let records = [
            What::Lost,
            What::CaughtUp,
            What::Created {
                channel: channel("PJSIP/101-00000001"),
            },
            What::Running {
                channel: channel("Local/1@x-00000001;2"),
                bridge: Some(Bridge {
                    uniqueid: "b".into(),
                    technology: "simple_bridge".into(),
                }),
            },
            What::Dial {
                phase: Phase::End,
                status: "ANSWER".into(),
                caller: None,
                peer: channel("PJSIP/Иван-00000001"),
                dial_string: "101/sip:101@192.0.2.1".into(),
                forward: "".into(),
                forwarded: None,
            },
            What::Contact {
                phone: "79101234567".into(),
                responsible: "103".into(),
            },
            What::Variable {
                uniqueid: "1".into(),
                linkedid: "1".into(),
                name: "UTM".into(),
                value: "\"\n\u{0}Я".into(),
            },
        ];
        for what in records {
            let record = Record { time: 7, what };
            let line = serde_json::to_string(&record).unwrap();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record, "{line}");
        }
    }

    #[test]
    fn what_is_empty_is_not_written() {
        let record = Record {
            time: 7,
            what: What::Gone {
                channel: channel("PJSIP/101-00000001"),
            },
        };
        let line = serde_json::to_string(&record).unwrap();
        assert!(!line.contains("caller") && !line.contains("cause"), "{line}");
        assert!(
            serde_json::from_str::<Record>("{\"t\":1,\"event\":\"flying\"}").is_err(),
            "an unknown event is no record"
        );
    }

    #[test]
    fn a_variable_is_inherited_by_two_underscores_at_most() {
        for (name, variable) in [
            ("UTM_SOURCE", "UTM_SOURCE"),
            ("_UTM_SOURCE", "UTM_SOURCE"),
            ("__FROM_DID", "FROM_DID"),
            ("___ODD", "_ODD"),
            ("_", ""),
            ("", ""),
        ] {
            assert_eq!(super::bare(name), variable);
        }
    }

    #[test]
    fn the_endpoint_stands_between_the_technology_and_the_sequence() {
        for (name, technology, endpoint) in [
            ("PJSIP/101-00000001", "PJSIP", "101"),
            ("PJSIP/my-provider-0000000a", "PJSIP", "my-provider"),
            ("DAHDI/i1/89161234567-1", "DAHDI", "i1/89161234567"),
            ("Local/101@from-internal-00000001;1", "Local", "101@from-internal"),
            ("odd", "", ""),
        ] {
            assert_eq!(
                (super::technology(name), super::endpoint(name)),
                (technology, endpoint)
            );
        }
    }
}
