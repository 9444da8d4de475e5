//! CALL_DURATION beside the query that it replaces: func_odbc on a table of CEL records.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rusqlite::{Connection, params};

use crate::rig::{Pace, Rig};
use crate::samples::Samples;
use crate::summary::{Means, Summary, What};
use crate::table::{Table, Target};

/// Of each.
const CALLS: usize = 2_000;
/// Five records for each of twenty thousand calls: a few days of a busy company.
const CALLS_KEPT: u32 = 20_000;
const RECORDS: [&str; 5] = ["CHAN_START", "ANSWER", "BRIDGE_ENTER", "BRIDGE_EXIT", "CHAN_END"];
/// Every call that is kept has talked for so many seconds.
const TALKED: &str = "42";
const TIMES: u64 = 50;

pub(crate) const RES_ODBC: &str = "[asteriskcdrdb]\nenabled => yes\ndsn => cel\npre-connect => yes\n";
/// The article's query. Its TIMESTAMPDIFF is MySQL's, so the seconds are subtracted.
pub(crate) const FUNC_ODBC: &str = "[TIMECALL]\ndsn=asteriskcdrdb\n\
    readsql=SELECT (SELECT strftime('%s', eventtime) FROM cel WHERE uniqueid='${ARG1}' AND eventtype='BRIDGE_EXIT') - \
    (SELECT strftime('%s', eventtime) FROM cel WHERE uniqueid='${ARG1}' AND eventtype='BRIDGE_ENTER') AS seconds\n";

/// Makes the database and tells unixODBC of it.
pub(crate) fn lay_out(folder: &Path) -> Result<()> {
    let file = folder.join("cel.db");
    let mut database = Connection::open(&file)?;
    let filling = database.transaction()?;
    filling.execute_batch(
        "CREATE TABLE cel (id INTEGER PRIMARY KEY, eventtype TEXT, eventtime TEXT, uniqueid TEXT, linkedid TEXT, \
         channame TEXT, context TEXT, exten TEXT)",
    )?;
    {
        let mut insert = filling.prepare(
            "INSERT INTO cel (eventtype, eventtime, uniqueid, linkedid, channame, context, exten) \
             VALUES (?1, datetime('2026-01-01 00:00:00', ?2 || ' seconds'), ?3, ?3, ?4, 'from-internal', '101')",
        )?;
        for call in 0..CALLS_KEPT {
            for (event, after) in RECORDS.into_iter().zip([0, 5, 5, 47, 47]) {
                let uniqueid = format!("1700000000.{call}");
                insert.execute(params![
                    event,
                    call * 10 + after,
                    uniqueid,
                    format!("PJSIP/101-{call:08x}")
                ])?;
            }
        }
    }
    filling.execute_batch("CREATE INDEX cel_uniqueid ON cel (uniqueid)")?;
    filling.commit()?;
    let driver = driver().unwrap_or_default();
    let text = format!(
        "[cel]\nDriver = {}\nDatabase = {}\n",
        driver.display(),
        file.display()
    );
    fs::write(folder.join("odbc.ini"), text)?;
    fs::write(folder.join("odbcinst.ini"), "")?;
    Ok(())
}

/// SQLite's driver for ODBC, where Debian's package puts it.
fn driver() -> Option<PathBuf> {
    let unpacked = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
    let unpacked = unpacked
        .split(':')
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    let host = fs::read_dir("/usr/lib")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    unpacked
        .chain(host)
        .map(|dir| dir.join("odbc/libsqlite3odbc.so"))
        .find(|file| file.is_file())
}

pub(crate) fn measure(rig: &mut Rig, summary: &mut Summary) -> Result<Table> {
    driver().context("run `tools/prepare bench`, which installs libsqliteodbc")?;
    let mut table = Table::new(
        "CALL_DURATION beside a query",
        format!(
            "On the same channel's thread, in bursts. The query is the article's, by func_odbc, on {} CEL records with an index on \
             their uniqueid. The database is SQLite inside of Asterisk's own process, which is the best that a query can meet: one \
             of MySQL goes to another process and back.",
            CALLS_KEPT as usize * RECORDS.len()
        ),
        &["means", "calls", "median", "p99", "times CALL_DURATION"],
    );
    let ours = rig.probe("read", CALLS, Pace::BURST, "0", "CALL_DURATION()")?;
    let query = rig.probe(
        "read",
        CALLS,
        Pace::BURST,
        TALKED,
        "ODBC_TIMECALL(1700000000.{n})",
    )?;
    let times = query.median().0 / ours.median().0.max(1);
    let cells = |name: &str, samples: &Samples, times: u64| {
        [
            name.to_owned(),
            samples.len().to_string(),
            samples.median().to_string(),
            samples.at(990).to_string(),
            times.to_string(),
        ]
    };
    summary.note(What::Talked, Means::Module, ours.in_short());
    summary.note(What::Talked, Means::Odbc, query.in_short());
    table.row(cells("`CALL_DURATION()`", &ours, 1), None);
    let target = Target::new(format!("≥ {TIMES}"), times >= TIMES);
    table.row(cells("`ODBC_TIMECALL()`", &query, times), Some(target));
    Ok(table)
}
