//! What goes wrong: each kind of fault, what it needs to have for itself, and what the module may say of it.

use std::fmt;

/// Seconds; and `stale_popup` of planfix.conf cannot be longer.
const DAY: i64 = 86_400;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// The CRM does this: a fault of the sandbox's.
    Crm(&'static str),
    /// The name service does not know the CRM's name, or does not answer; and the module begins anew meanwhile, because
    /// a running one remembers the address.
    Names(Names),
    /// The disk has no room left.
    DiskFull,
    /// The disk cannot be written.
    DiskReadOnly,
    /// Somebody overwrites the spool's files.
    SpoolDamaged,
    /// The wall clock is set by so many seconds, and back.
    Clock(i64),
    /// SIGKILL, and a new start.
    Kill,
    /// Reloads with other settings.
    ReloadGood,
    /// Reloads with a planfix.conf that is wrong.
    ReloadBad,
    /// Unload, and load.
    Module,
    /// Many requests at Asterisk's HTTP server, few of them right.
    Flood,
    /// The encoder does this.
    Encoder(Encoder),
}

/// What is wrong with the name service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Names {
    /// It answers that it cannot tell.
    Dead,
    /// It does not answer.
    Silent,
}

/// What is wrong with the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Encoder {
    /// There is none.
    Missing,
    /// It reads nothing and does not end.
    Hanging,
    /// It dies of a signal.
    Crashing,
}

/// What a fault takes hold of. Two faults that lay a hand on the same part never come at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Part {
    /// Whether Asterisk runs and the module is loaded.
    Running,
    /// The disk. While it fails events are in memory alone, which a restart loses, as the module says.
    Disk,
    /// The CRM's answers.
    Crm,
    /// planfix.conf.
    File,
    /// The wall clock.
    Clock,
    /// Asterisk's HTTP server.
    Http,
    /// The encoder.
    Encoder,
}

impl Fault {
    /// Every fault that there is.
    pub(crate) const ALL: &[Self] = &[
        Self::Crm("refuse"),
        Self::Crm("black-hole"),
        Self::Crm("hang"),
        Self::Crm("delay=400"),
        // Longer than the module waits: the answer comes too late, and what was asked has been done.
        Self::Crm("delay=6000,processed=yes"),
        Self::Crm("slow-body=50,processed=yes"),
        Self::Crm("status=500"),
        Self::Crm("status=503,retry-after=2"),
        Self::Crm("status=429,retry-after=2"),
        Self::Crm("status=401"),
        Self::Crm("html"),
        Self::Crm("cut"),
        Self::Crm("cut,processed=yes"),
        Self::Crm("reset,processed=yes"),
        Self::Crm("cut-header,processed=yes"),
        Self::Crm("cut-body,processed=yes"),
        Self::Names(Names::Dead),
        Self::Names(Names::Silent),
        Self::DiskFull,
        Self::DiskReadOnly,
        Self::SpoolDamaged,
        Self::Clock(3_600),
        Self::Clock(-3_600),
        Self::Clock(40 * DAY),
        Self::Kill,
        Self::ReloadGood,
        Self::ReloadBad,
        Self::Module,
        Self::Flood,
        Self::Encoder(Encoder::Missing),
        Self::Encoder(Encoder::Hanging),
        Self::Encoder(Encoder::Crashing),
    ];

    /// What it needs for itself.
    pub(crate) fn parts(self) -> &'static [Part] {
        match self {
            Self::Crm(_) => &[Part::Crm],
            // An unload or a kill in the middle of a fault of the disk's would lose what memory holds.
            Self::DiskFull | Self::DiskReadOnly | Self::SpoolDamaged => &[Part::Disk, Part::Running],
            // Across a restart the age of a card is taken from the wall clock, and none is shown after more than a day.
            Self::Clock(seconds) if seconds >= DAY => &[Part::Clock, Part::Running],
            Self::Clock(_) => &[Part::Clock],
            // A restart takes over whatever planfix.conf says then.
            Self::Kill | Self::Module | Self::Names(_) => &[Part::Running, Part::File],
            Self::ReloadGood | Self::ReloadBad => &[Part::File],
            Self::Flood => &[Part::Http],
            Self::Encoder(_) => &[Part::Encoder],
        }
    }

    /// Whether it is one blow and needs no end.
    pub(crate) fn is_blow(self) -> bool {
        matches!(self, Self::Kill)
    }

    /// Parts of what the module may write as an ERROR because of it, from then on.
    pub(crate) fn errors(self) -> &'static [&'static str] {
        match self {
            Self::Crm(spec) if spec.starts_with("status=401") => &["Delivery to Planfix stops, "],
            // A page instead of an answer looks like a wrong address.
            Self::Crm("html") => &["Delivery to Planfix stops, "],
            Self::DiskFull => &[
                "The spool cannot be written, ",
                "The spool is nearly full, ",
                "The disk does not confirm what was written ",
                "the event is lost, the spool is full",
                "Recordings cannot be converted, ",
            ],
            Self::DiskReadOnly => &[
                "The spool cannot be written, ",
                "The disk does not confirm what was written ",
            ],
            Self::SpoolDamaged => &[" is damaged, ", "The disk does not confirm what was written "],
            Self::ReloadBad => &["planfix.conf:", "planfix.conf was not taken over; "],
            Self::Encoder(_) => &[
                "Recordings cannot be converted, ",
                "A recording could not be converted, ",
            ],
            _ => &[],
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crm(spec) => write!(f, "crm {spec}"),
            Self::Names(names) => write!(f, "names {names:?}"),
            Self::DiskFull => f.write_str("disk full"),
            Self::DiskReadOnly => f.write_str("disk read-only"),
            Self::SpoolDamaged => f.write_str("spool damaged"),
            Self::Clock(seconds) => write!(f, "clock {seconds:+} s"),
            Self::Kill => f.write_str("kill -9"),
            Self::ReloadGood => f.write_str("reload, other settings"),
            Self::ReloadBad => f.write_str("reload, wrong file"),
            Self::Module => f.write_str("unload and load"),
            Self::Flood => f.write_str("http flood"),
            Self::Encoder(encoder) => write!(f, "encoder {encoder:?}"),
        }
    }
}
