//! Recordings: what Asterisk knows of them, and what the delivery needs of Asterisk to convert them.
//!
//! Invariant: without a link nothing is touched. Whoever installs the module over a system that does something with its
//! recordings already must not find them converted and removed.

use std::collections::HashMap;
use std::ffi::{CString, OsString};
use std::io::{self, PipeReader};
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::SystemTime;

use super::links;
use super::state::Lasting;
use crate::ast::audio::Audio;
use crate::ast::channel::{Channel, each, found};
use crate::ast::child;
use crate::core::link::Base;
use crate::core::record::{RECORDING, Record, Text, What};
use crate::core::recording::place;
use crate::core::settings::{Convert, Settings};
use crate::delivery::links::Links;
use crate::delivery::recordings::{Child, Host, PATH, Samples, Setup};

/// MixMonitor's own variable (`apps/app_mixmonitor.c`, mixmonitor_exec).
const MIXMONITOR: &std::ffi::CStr = c"MIXMONITOR_FILENAME";

/// The channel variable that names recordings, if these settings want any.
pub(super) fn variable(settings: &Settings) -> Option<CString> {
    if Base::read(&settings.recordings.link) == Base::None {
        return None;
    }
    CString::new(settings.recordings.variable.as_str()).ok()
}

/// How the delivery treats recordings by these settings.
pub(super) fn setup(settings: &Settings, lasting: &Lasting) -> Option<Setup> {
    variable(settings)?;
    let recordings = &settings.recordings;
    let directory = links::folder(settings);
    let links = Links::new(recordings, directory.clone(), Arc::clone(&lasting.link_keys));
    Some(Setup {
        directory,
        convert: recordings.convert == Convert::Mp3,
        encoder: recordings.encoder.clone(),
        keep_original: recordings.keep_original,
        wait: recordings.wait,
        patience: Setup::PATIENCE,
        link: Arc::new(move |path: &Path| {
            let link = links.link(path, SystemTime::now())?;
            link.ok_or_else(|| "no link is configured".to_owned())
        }),
        host: Arc::new(AsteriskHost),
    })
}

/// Whether the record tells of a recording.
pub(super) fn is_one(record: &Record) -> bool {
    matches!(&record.what, What::Variable { name, .. } if **name == *RECORDING)
}

/// More channels than this are not recorded at once.
const MOST: usize = 10_000;

/// A channel that is recorded.
#[derive(Clone, Debug)]
pub(super) struct Take {
    uniqueid: Text,
    said: String,
}

impl Take {
    /// The CDR names the mp3, as the article's dialplan has it. What names another recording stays.
    pub(super) fn name_in_cdr(&self) {
        let Ok(uniqueid) = CString::new(&*self.uniqueid) else {
            return;
        };
        found(&uniqueid, |channel| {
            let now = channel.recordingfile()?;
            let name = place::recordingfile(&self.said, &String::from_utf8_lossy(&now))?;
            channel.set_recordingfile(&CString::new(name).ok()?);
            Some(())
        });
    }
}

/// The channels that are recorded.
///
/// FreePBX, and whoever does it alike, names the recording in the CDR a line after MixMonitor(), which overwrites what was put
/// there when MixMonitor told of itself. So it is looked at again when the channel comes to talk.
#[derive(Debug, Default)]
pub(super) struct Takes(HashMap<Text, Take>);

impl Takes {
    pub(super) fn add(&mut self, take: Take) {
        // Ends of channels that were lost leave theirs here.
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert(take.uniqueid.clone(), take);
    }

    /// What is to be named in the CDR because of this record.
    pub(super) fn follow(&mut self, record: &Record) -> Option<Take> {
        if self.0.is_empty() {
            return None;
        }
        match &record.what {
            What::Entered { channel, .. } => self.0.get(&channel.uniqueid).cloned(),
            What::Gone { channel } => {
                self.0.remove(&channel.uniqueid);
                None
            }
            _ => None,
        }
    }
}

/// The record of a recording, with the path that the channel tells. `None` when the channel is gone or tells none.
pub(super) fn with_path(record: Record, variable: &CString) -> Option<(Record, Take)> {
    let What::Variable {
        uniqueid,
        linkedid,
        name,
        ..
    } = record.what
    else {
        return None;
    };
    let said = found(&CString::new(&*uniqueid).ok()?, |channel| said(channel, variable))??;
    let record = Record {
        time: record.time,
        what: What::Variable {
            uniqueid: uniqueid.clone(),
            linkedid,
            name,
            value: said.as_str().into(),
        },
    };
    Some((record, Take { uniqueid, said }))
}

/// The recordings of the channels that were running already when the module was loaded.
pub(super) fn of_running(records: &[Record], variable: &CString) -> Vec<Record> {
    let running = records.iter().filter_map(|record| match &record.what {
        What::Running { channel, .. } => Some((channel.uniqueid.as_bytes(), (record.time, channel))),
        _ => None,
    });
    let running: HashMap<_, _> = running.collect();
    let mut recordings = Vec::new();
    if running.is_empty() {
        return recordings;
    }
    // One way through all of them, where each on its own would be looked for among all.
    each(|one| {
        let Some((time, channel)) = running.get(one.lock().uniqueid()).copied() else {
            return;
        };
        // FreePBX's bare name is inherited by channels that are not recorded.
        let Some(said) = said(one, variable).filter(|said| said.contains('/')) else {
            return;
        };
        recordings.push(Record {
            time,
            what: What::Variable {
                uniqueid: channel.uniqueid.clone(),
                linkedid: channel.linkedid.clone(),
                name: RECORDING.into(),
                value: said.into(),
            },
        });
    });
    recordings
}

/// Where the channel is recorded to, by its variables.
pub(super) fn said(channel: &Channel<'_>, variable: &CString) -> Option<String> {
    let locked = channel.lock();
    let text = |name| {
        locked
            .variable(name)
            .map(|value| String::from_utf8_lossy(&value).into_owned())
    };
    place::choose(text(variable), text(MIXMONITOR))
}

/// Asterisk, for the encoder's thread.
struct AsteriskHost;

impl Host for AsteriskHost {
    fn give_way(&self) {
        child::give_way();
    }

    fn start(&self, program: &Path, arguments: &[OsString], input: PipeReader) -> io::Result<Box<dyn Child>> {
        let path = format!("PATH={PATH}");
        let environment = [path.as_str(), "LC_ALL=C", "HOME=/nonexistent"];
        let child = child::Child::start(program, arguments, &environment, &input)?;
        Ok(Box::new(child))
    }

    fn open(&self, file: &Path) -> io::Result<Box<dyn Samples>> {
        let audio = Audio::open(file)
            .ok_or_else(|| io::Error::other("Asterisk cannot open it, see the message before this one"))?;
        Ok(Box::new(audio))
    }
}

impl Child for child::Child {
    fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        child::Child::ended(self)
    }

    fn kill(&mut self) {
        child::Child::kill(self);
    }
}

impl Samples for Audio {
    fn rate(&self) -> u32 {
        Audio::rate(self)
    }

    fn read(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        let samples = Audio::read(self)
            .map_err(|_| io::Error::other("Asterisk cannot decode it: is its codec's module loaded?"))?;
        for sample in samples.chunks_exact(2) {
            into.extend(i16::from_ne_bytes([sample[0], sample[1]]).to_le_bytes());
        }
        Ok(!samples.is_empty())
    }
}
