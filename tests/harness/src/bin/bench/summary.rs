//! The module beside its peers, in one table: the figures that the parts have found.

use std::collections::BTreeMap;
use std::fmt;

use crate::table::Table;

/// By what means the CRM gets to know of a call, or the dialplan how long somebody talked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Means {
    Module,
    Curl,
    System,
    Agi,
    Odbc,
    Listener,
}

impl Means {
    const ALL: [Self; 6] = [
        Self::Module,
        Self::Curl,
        Self::System,
        Self::Agi,
        Self::Odbc,
        Self::Listener,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Module => "res_planfix",
            Self::Curl => "`CURL()`",
            Self::System => "`System(php …)`",
            Self::Agi => "AGI in PHP",
            Self::Odbc => "func_odbc",
            Self::Listener => "AMI listener in Python",
        }
    }
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum What {
    EventNear,
    EventAway,
    Talked,
    Popup,
    Processor,
    Instructions,
}

impl What {
    const ALL: [Self; 6] = [
        Self::EventNear,
        Self::EventAway,
        Self::Talked,
        Self::Popup,
        Self::Processor,
        Self::Instructions,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::EventNear => "a channel waits for one event, CRM answers at once",
            Self::EventAway => "a channel waits for one event, CRM answers after 20 ms",
            Self::Talked => "a channel waits for the seconds talked",
            Self::Popup => "from the phone's ringing to the popup",
            Self::Processor => "processor time that a call costs more",
            Self::Instructions => "instructions that a call costs more",
        }
    }
}

/// What the parts have found so far.
#[derive(Default)]
pub(crate) struct Summary(BTreeMap<(What, Means), String>);

impl Summary {
    pub(crate) fn note(&mut self, what: What, means: Means, figure: impl fmt::Display) {
        self.0.insert((what, means), figure.to_string());
    }

    /// The table; nothing where no part has found anything.
    pub(crate) fn table(&self) -> Option<Table> {
        if self.0.is_empty() {
            return None;
        }
        let mut columns = vec!["what"];
        columns.extend(Means::ALL.map(Means::name));
        let mut table = Table::new(
            "The module and its peers",
            "Medians, with the 99th percentile behind them. What is behind each figure stands in the tables below. An empty cell: \
             that means has no part in this, or it was not measured.",
            &columns,
        );
        for what in What::ALL {
            let cell = |means| self.0.get(&(what, means)).cloned().unwrap_or_default();
            let [module, curl, system, agi, odbc, listener] = Means::ALL.map(cell);
            table.row(
                [what.name().to_owned(), module, curl, system, agi, odbc, listener],
                None,
            );
        }
        Some(table)
    }
}
