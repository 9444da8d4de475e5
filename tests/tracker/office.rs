//! The PBX, the tracker that follows it, and the CRM that is told.

use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use res_planfix::core::open_card::OpenCard;
use res_planfix::core::pattern::Patterns;
use res_planfix::core::record::Record;
use res_planfix::core::recording::News;
use res_planfix::core::settings::Calls;
use res_planfix::core::tracker::{Output, Tracker};
use res_planfix::core::trunks::Trunks;

use crate::crm::{Crm, Request};
use crate::pbx::Pbx;

/// The client's number as it comes, and as the CRM is told it.
pub(crate) const CLIENT: &str = "89101234567";
pub(crate) const PHONE: &str = "79101234567";
/// The company's number.
pub(crate) const DID: &str = "84951112233";

/// What stands in planfix.conf: numbers of three digits are the employees', `PJSIP/trunk…` leads out.
pub(crate) fn calls() -> Calls {
    Calls {
        internal: Patterns::parse("_XXX").unwrap(),
        trunks: Trunks::parse("PJSIP/trunk*").unwrap(),
        data: vec![("source".to_owned(), "UTM_SOURCE".to_owned())],
        ..Calls::default()
    }
}

/// A running office. Whatever the PBX can do it can do.
pub(crate) struct Office {
    pub(crate) pbx: Pbx,
    pub(crate) tracker: Tracker,
    pub(crate) crm: Crm,
    /// The stories of calls that have ended.
    pub(crate) stories: Vec<String>,
    /// What was told of recordings.
    pub(crate) recordings: Vec<News>,
    /// Decides which cards the spool has no room for.
    pub(crate) refuses: Option<fastrand::Rng>,
}

impl Deref for Office {
    type Target = Pbx;

    fn deref(&self) -> &Pbx {
        &self.pbx
    }
}

impl DerefMut for Office {
    fn deref_mut(&mut self) -> &mut Pbx {
        &mut self.pbx
    }
}

impl Office {
    /// One whose module was loaded before the first call.
    pub(crate) fn new() -> Self {
        Self::with(calls())
    }

    pub(crate) fn with(calls: Calls) -> Self {
        let mut office = Self::unloaded(calls);
        office.look();
        office
    }

    /// One whose module is not loaded yet.
    pub(crate) fn unloaded(calls: Calls) -> Self {
        Self {
            pbx: Pbx::new(),
            tracker: Tracker::new(Arc::new(calls), Vec::new()),
            crm: Crm::new(),
            stories: Vec::new(),
            recordings: Vec::new(),
            refuses: None,
        }
    }

    /// The module is loaded now, and finds these cards in the spool.
    pub(crate) fn loads(&mut self, calls: Calls, open: Vec<OpenCard>) {
        self.pbx.records();
        self.tracker = Tracker::new(Arc::new(calls), open);
        self.look();
    }

    /// All channels are looked at anew.
    pub(crate) fn look(&mut self) {
        for record in self.pbx.look() {
            self.follows(&record);
        }
    }

    pub(crate) fn follows(&mut self, record: &Record) {
        self.tracker.record(record);
        self.tells();
    }

    /// What the PBX has published goes to the tracker, and what that says to the CRM.
    pub(crate) fn passes_on(&mut self) {
        for record in self.pbx.records() {
            self.follows(&record);
        }
    }

    fn tells(&mut self) {
        for output in self.tracker.take() {
            match output {
                Output::Tell(drafts) => {
                    let popups = drafts.iter().all(|draft| draft.kind.is_popup());
                    if popups && self.refuses.as_mut().is_some_and(|random| random.u32(..3) == 0) {
                        self.tracker.refused(&drafts);
                        continue;
                    }
                    for draft in &drafts {
                        if let Err(problem) = self.crm.take(draft) {
                            panic!("{problem}\n{}", self.explain());
                        }
                    }
                }
                Output::Inbound { .. } => {}
                Output::Recording(news) => self.recordings.push(news),
                Output::Ended { text, .. } => self.stories.push(text),
            }
        }
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, seconds: u64) {
        self.passes_on();
        for _ in 0..seconds {
            self.pbx.wait(1);
            self.tracker.tick(self.pbx.now);
            self.tells();
        }
    }

    /// The requests since the last time.
    pub(crate) fn news(&mut self) -> Vec<Request> {
        self.passes_on();
        self.crm.news().to_vec()
    }

    /// Since the last time the CRM was told this and nothing else.
    #[track_caller]
    pub(crate) fn told<const N: usize>(&mut self, expected: [&str; N]) {
        let lines: Vec<String> = self.news().iter().map(Request::line).collect();
        assert_eq!(lines, expected, "\n{}", self.explain());
    }

    /// All channels that live, and what the tracker made of their calls.
    fn explain(&self) -> String {
        self.explain_about("")
    }

    /// Those stories in which this is named.
    pub(crate) fn explain_about(&self, what: &str) -> String {
        let linkedids: BTreeSet<&str> = self.pbx.legs.values().map(|leg| &*leg.channel.linkedid).collect();
        let living = linkedids
            .iter()
            .filter_map(|linkedid| self.tracker.explain(linkedid));
        let living = living.map(|(linkedid, _, text)| format!("{linkedid}:\n{text}"));
        let stories = self.stories.iter().cloned().chain(living);
        stories.filter(|story| story.contains(what)).collect()
    }

    /// Every channel is hung up, and nothing is left: no card and no memory of a call.
    #[track_caller]
    pub(crate) fn closes(&mut self) {
        assert!(self.pbx.legs.is_empty(), "channels live: {:#?}", self.pbx.legs);
        self.told([]);
        let open = self.crm.open();
        assert!(open.is_empty(), "cards are open: {open:?}");
        assert!(
            self.tracker.is_empty(),
            "the tracker still knows something: {:#?}",
            self.tracker
        );
    }
}
