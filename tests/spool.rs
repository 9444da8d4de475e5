//! The durable queue on a real disk: what is accepted stays, whatever happens to the file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use res_planfix::core::draft::{Draft, Kind};
use res_planfix::core::lanes::Parcel;
use res_planfix::core::open_card::{OpenCard, OpenCards};
use res_planfix::core::recording::queue::{Recording, State as Stage};
use res_planfix::delivery::spool::{Change, Resending, Spool, SpoolError, State};
use res_planfix::delivery::story::{Story, Told};

const LIMIT: u64 = 64 << 20;

fn parcel(spool: &mut Spool, callid: &str, kind: Kind) -> Arc<Parcel> {
    let draft = Draft {
        callid: callid.to_owned(),
        kind,
        ext: "101".to_owned(),
        body: "cmd=event&x=%D0%9F".to_owned(),
    };
    Arc::new(Parcel {
        id: spool.take_id(),
        accepted: 1_763_700_000_000,
        born: 0,
        attempts: 0,
        draft,
    })
}

fn add(spool: &mut Spool, callid: &str, kind: Kind) -> u64 {
    let parcel = parcel(spool, callid, kind);
    spool.commit(&[Change::Add(Arc::clone(&parcel))]).unwrap();
    parcel.id
}

fn settle(spool: &mut Spool, id: u64, state: State, reason: Option<&str>) {
    let reason = reason.map(ToOwned::to_owned);
    spool
        .commit(&[Change::Settle {
            id,
            state,
            reason,
            at: 1_763_700_001_000,
        }])
        .unwrap();
}

fn open(folder: &std::path::Path) -> Spool {
    let opened = Spool::open(folder, LIMIT, 7_000).unwrap();
    assert!(opened.moved.is_none(), "{:?}", opened.moved);
    opened.spool
}

#[test]
fn what_is_pending_is_there_again_after_a_restart_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("planfix");
    let mut spool = open(&folder);
    let first = add(&mut spool, "c1", Kind::Incoming);
    let second = add(&mut spool, "c2", Kind::Incoming);
    let third = add(&mut spool, "c1", Kind::Completed);
    settle(&mut spool, second, State::Delivered, None);
    // Not closed: as after a crash.
    drop(spool);
    let mut spool = open(&folder);
    let rows = spool.pending_after(0, 10).unwrap();
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [first, third]);
    assert_eq!(rows[1].draft.kind, Kind::Completed);
    assert_eq!(rows[1].draft.body, "cmd=event&x=%D0%9F");
    assert!(spool.take_id() > third);
    let totals = spool.totals().unwrap();
    assert_eq!((totals.pending, totals.failed, totals.kept), (2, 0, 1));
}

#[test]
fn folder_and_files_are_for_their_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("planfix");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(folder.join("spool.db"), "").unwrap();
    fs::set_permissions(folder.join("spool.db"), fs::Permissions::from_mode(0o666)).unwrap();
    let mut spool = open(&folder);
    add(&mut spool, "c", Kind::Incoming);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let mut seen = 0;
    for file in fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        seen += 1;
    }
    assert_eq!(seen, 4, "spool.db, its log, its index and the lock");
}

#[test]
fn a_second_asterisk_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    assert!(matches!(
        Spool::open(folder.path(), LIMIT, 0),
        Err(SpoolError::InUse(_))
    ));
    drop(spool);
    open(folder.path());
}

#[test]
fn a_lock_that_a_child_holds_for_a_moment_keeps_nobody_out() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    drop(spool);
    let lock = fs::File::open(folder.path().join("spool.lock")).unwrap();
    lock.lock().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // Longer than the pause between two tries, and much shorter than all of them.
            std::thread::sleep(std::time::Duration::from_millis(60));
            drop(lock);
        });
        open(folder.path());
    });
}

#[test]
fn a_file_that_is_no_database_is_moved_aside() {
    for (index, content) in [
        &b"not a database at all, only some text that is long enough to be a header of one ........."[..],
        &[0xff; 8192],
    ]
    .iter()
    .enumerate()
    {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("spool.db"), content).unwrap();
        let opened = Spool::open(folder.path(), LIMIT, 7_000).unwrap();
        let (aside, why) = opened.moved.unwrap();
        assert_eq!(fs::read(&aside).unwrap(), *content, "case {index}: {why}");
        assert!(
            aside.display().to_string().ends_with("spool.db.damaged-7"),
            "{}",
            aside.display()
        );
        let mut spool = opened.spool;
        add(&mut spool, "c", Kind::Incoming);
        assert_eq!(spool.totals().unwrap().pending, 1);
    }
}

#[test]
fn pending_events_are_carried_over_from_a_file_that_is_partly_readable() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    let ids: Vec<u64> = (0..5)
        .map(|n| add(&mut spool, &format!("c{n}"), Kind::Completed))
        .collect();
    settle(&mut spool, ids[0], State::Delivered, None);
    spool.close();
    // An index that belongs to nobody: the file is not ours any more, but its rows can be read.
    let status = std::process::Command::new("sqlite3")
        .arg(folder.path().join("spool.db"))
        .arg("CREATE TRIGGER evil AFTER INSERT ON event BEGIN DELETE FROM event; END;")
        .status()
        .unwrap();
    assert!(status.success());
    let opened = Spool::open(folder.path(), LIMIT, 7_000).unwrap();
    assert!(opened.moved.unwrap().1.contains("tables"));
    assert_eq!(opened.rescued.pending, 4);
    let mut spool = opened.spool;
    assert_eq!(
        spool
            .pending_after(0, 10)
            .unwrap()
            .iter()
            .map(|row| row.id)
            .collect::<Vec<_>>(),
        ids[1..]
    );
    assert!(spool.take_id() > ids[4]);
}

fn make_foreign(folder: &std::path::Path) {
    let foreign = rusqlite::Connection::open(folder.join("spool.db")).unwrap();
    foreign.execute_batch("CREATE TABLE foreign_one (x)").unwrap();
    foreign.close().unwrap();
}

#[test]
fn a_long_backlog_the_failed_list_and_a_pause_are_carried_over_whole() {
    const EVENTS: u64 = 150_000;
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    let mut changes: Vec<Change> = (0..EVENTS)
        .map(|n| Change::Add(parcel(&mut spool, &format!("c{n}"), Kind::Completed)))
        .collect();
    changes.extend((1..=3).map(|id| Change::Settle {
        id: id * 1_000,
        state: State::Failed,
        reason: Some(format!("refused {id}")),
        at: id,
    }));
    spool.commit(&changes).unwrap();
    spool.set_meta("paused", "yes").unwrap();
    spool.close();
    make_foreign(folder.path());

    let opened = Spool::open(folder.path(), LIMIT, 7_000).unwrap();
    assert!(opened.moved.is_some());
    assert_eq!(
        opened.rescued.to_string(),
        "149997 pending and 3 failed events that could be read"
    );
    let mut spool = opened.spool;
    assert_eq!(spool.totals().unwrap().pending, EVENTS - 3);
    assert_eq!(spool.take_id(), EVENTS + 1);
    let failed: Vec<_> = spool.list(Some(State::Failed), 10).unwrap();
    let failed: Vec<_> = failed
        .iter()
        .map(|row| (row.id, row.reason.as_str(), row.settled_at))
        .collect();
    assert_eq!(
        failed,
        [
            (3_000, "refused 3", Some(3)),
            (2_000, "refused 2", Some(2)),
            (1_000, "refused 1", Some(1))
        ]
    );
    assert_eq!(spool.meta("paused").unwrap().as_deref(), Some("yes"));
    drop(spool);
    open(folder.path());
    let left = fs::read_dir(folder.path()).unwrap();
    let left = left.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert!(!left.into_iter().any(|name| name.contains(".new")));
}

#[test]
fn what_lies_behind_a_damaged_page_is_carried_over_too() {
    const EVENTS: u64 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool.db");
    let mut spool = open(folder.path());
    let changes: Vec<Change> = (0..EVENTS)
        .map(|n| Change::Add(parcel(&mut spool, &format!("call-{n}-"), Kind::Completed)))
        .collect();
    spool.commit(&changes).unwrap();
    spool.close();
    let mut bytes = fs::read(&path).unwrap();
    let mut hit = 0;
    for (number, page) in bytes.chunks_mut(4_096).enumerate().skip(1) {
        // Leaves of the table itself are of type 13.
        if page[0] == 13 && number % 29 == 0 {
            page.fill(0x5a);
            hit += 1;
        }
    }
    assert!(hit > 3, "{hit}");
    fs::write(&path, bytes).unwrap();
    make_foreign(folder.path());

    let opened = Spool::open(folder.path(), LIMIT, 7_000).unwrap();
    assert!(opened.moved.is_some());
    let spool = opened.spool;
    let pending = spool.totals().unwrap().pending;
    assert_eq!(pending, opened.rescued.pending as u64);
    // A page holds some forty events.
    assert!(
        pending > EVENTS - hit * 100 && pending < EVENTS,
        "{pending} without {hit} pages"
    );
    let rows = spool.pending_after(0, 100_000).unwrap();
    assert!(rows.windows(2).all(|pair| pair[0].id < pair[1].id));
    assert_eq!(rows.last().unwrap().id, EVENTS);
}

#[test]
fn an_end_in_the_middle_of_a_rescue_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool.db");
    let new = folder.path().join("spool.db.new");
    let mut spool = open(folder.path());
    add(&mut spool, "old", Kind::Completed);
    spool.close();
    make_foreign(folder.path());
    // Before the new file was complete: the damaged one still has its name.
    fs::write(&new, "half a file").unwrap();
    let opened = Spool::open(folder.path(), LIMIT, 7_000).unwrap();
    assert_eq!(opened.rescued.pending, 1);
    let mut spool = opened.spool;
    add(&mut spool, "c", Kind::Completed);
    spool.close();
    // Between the two renamings: the old one's log still lies beside.
    fs::rename(&path, &new).unwrap();
    fs::write(folder.path().join("spool.db-wal"), "the log of the old one").unwrap();
    let spool = open(folder.path());
    assert_eq!(spool.totals().unwrap().pending, 2);
    assert!(!new.exists());
    assert_eq!(
        fs::read_to_string(folder.path().join("spool.db.damaged-7-1-wal")).unwrap(),
        "the log of the old one"
    );
}

#[test]
fn what_was_kept_in_memory_moves_to_the_file_behind_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    let ids = ["a", "b", "c"].map(|callid| add(&mut spool, callid, Kind::Incoming));
    let rows = spool.pending_after(0, 10).unwrap();
    // Two of the file's own are known in memory too, and one of them was delivered from there.
    let mut memory = Spool::in_memory(LIMIT).unwrap();
    memory.number_from(ids[1] + 1);
    for row in &rows[..2] {
        memory.commit(&[Change::Add(Arc::new(row.clone()))]).unwrap();
    }
    settle(&mut memory, ids[0], State::Delivered, None);
    // Its number is that of another event in the file.
    let waits = add(&mut memory, "d", Kind::Completed);
    let failed = add(&mut memory, "e", Kind::Completed);
    assert_eq!(waits, ids[2]);
    settle(&mut memory, failed, State::Failed, Some("refused"));
    memory.set_meta("paused", "yes").unwrap();
    let numbers = spool.take_over(&memory, waits).unwrap();
    let pending: Vec<(u64, String)> = spool
        .pending_after(0, 10)
        .unwrap()
        .into_iter()
        .map(|row| (row.id, row.draft.callid))
        .collect();
    let expected = [
        (ids[1], "b".to_owned()),
        (ids[2], "c".to_owned()),
        (numbers[&waits], "d".to_owned()),
    ];
    assert_eq!(pending, expected);
    let list = spool.list(Some(State::Failed), 10).unwrap();
    assert_eq!(
        (list.len(), list[0].id, list[0].reason.as_str()),
        (1, numbers[&failed], "refused")
    );
    assert_eq!(numbers.len(), 2);
    assert!(spool.take_id() > numbers[&failed]);
    assert_eq!(spool.meta("paused").unwrap().as_deref(), Some("yes"));
}

#[test]
fn figures_that_an_administrator_let_sqlite_gather_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    let first = add(&mut spool, "c", Kind::Incoming);
    let second = add(&mut spool, "c", Kind::Completed);
    settle(&mut spool, first, State::Failed, Some("refused"));
    spool.close();
    let beside = rusqlite::Connection::open(folder.path().join("spool.db")).unwrap();
    beside.execute_batch("ANALYZE; PRAGMA optimize").unwrap();
    let tables: i64 = beside
        .query_row(
            "SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_stat1'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(tables, 1);
    beside.close().unwrap();
    let spool = open(folder.path());
    let totals = spool.totals().unwrap();
    assert_eq!((totals.pending, totals.failed), (1, 1));
    assert_eq!(spool.pending_of_call("c", 0).unwrap(), [second]);
}

#[test]
fn a_newer_file_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).close();
    let path = folder.path().join("spool.db");
    assert!(
        std::process::Command::new("sqlite3")
            .arg(&path)
            .arg("PRAGMA user_version = 99")
            .status()
            .unwrap()
            .success()
    );
    let (aside, why) = Spool::open(folder.path(), LIMIT, 7_000).unwrap().moved.unwrap();
    assert!(why.contains("its version is 99"), "{why}");
    assert!(aside.exists());
}

#[test]
fn a_link_in_place_of_the_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("target");
    fs::write(&target, "precious").unwrap();
    let spool = folder.path().join("spool");
    fs::create_dir(&spool).unwrap();
    std::os::unix::fs::symlink(&target, spool.join("spool.db")).unwrap();
    assert!(Spool::open(&spool, LIMIT, 0).is_err());
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
}

/// Everything that was ordered, portion by portion.
fn all(spool: &mut Spool, mut resending: Resending) -> usize {
    while !resending.is_done() {
        spool.resend(&mut resending).unwrap();
    }
    resending.count()
}

fn retry_all(spool: &mut Spool) -> usize {
    let resending = spool.resend_failed();
    all(spool, resending)
}

#[test]
fn failed_events_go_again_in_portions_each_once_and_in_the_order_of_their_call() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    let callid = |n: u64| format!("c{}", n % 7);
    for n in 0..1_200 {
        let id = add(&mut spool, &callid(n), Kind::Completed);
        settle(&mut spool, id, State::Failed, Some("refused"));
    }
    let mut resending = spool.resend_failed();
    assert_eq!(spool.resend(&mut resending).unwrap(), 500);
    assert!(!resending.is_done());
    // One of these fails again, and one of those that are still to go is asked for by its call.
    let first = spool.pending_after(0, 1).unwrap()[0].id;
    settle(&mut spool, first, State::Failed, Some("refused"));
    let left = spool.resend_of_call(&mut resending, "c3").unwrap();
    assert_eq!(left, (500..1_200).filter(|n| n % 7 == 3).count());
    assert_eq!(spool.resend_of_call(&mut resending, "c3").unwrap(), 0);
    let fresh = add(&mut spool, "c3", Kind::Record);
    assert_eq!(all(&mut spool, resending), 1_200);
    let rows = spool.pending_after(0, 2_000).unwrap();
    assert_eq!(
        rows.len(),
        1_200,
        "all but the one that failed again, and the fresh one"
    );
    let of_call: Vec<u64> = rows
        .iter()
        .filter(|row| row.draft.callid == "c3")
        .map(|row| row.id)
        .collect();
    assert_eq!(of_call.last(), Some(&fresh), "what goes again stands before it");
    assert_eq!(spool.totals().unwrap().failed, 1);
}

#[test]
fn failed_events_are_listed_retried_and_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    let ids: Vec<u64> = (0..3)
        .map(|n| add(&mut spool, &format!("c{n}"), Kind::Completed))
        .collect();
    for id in &ids {
        settle(
            &mut spool,
            *id,
            State::Failed,
            Some("refused (HTTP 400): Invalid parameters"),
        );
    }
    let rows = spool.list(Some(State::Failed), 10).unwrap();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[0].reason, "refused (HTTP 400): Invalid parameters");
    assert!(rows[0].accepted.starts_with("2025-11-2"), "{}", rows[0].accepted);
    assert_eq!(spool.retry(ids[1]).unwrap(), 1);
    assert_eq!(spool.retry(999).unwrap(), 0);
    assert!(spool.drop_failed(ids[0], 0).unwrap());
    assert!(!spool.drop_failed(ids[0], 0).unwrap());
    assert_eq!(retry_all(&mut spool), 1);
    let pending: Vec<String> = spool
        .pending_after(0, 10)
        .unwrap()
        .into_iter()
        .map(|row| row.draft.callid)
        .collect();
    assert_eq!(pending, ["c1", "c2"]);
    assert_eq!(spool.totals().unwrap().failed, 0);
}

#[test]
fn delivered_events_go_again_by_call_and_by_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    for callid in ["a", "b", "a"] {
        let id = add(&mut spool, callid, Kind::Completed);
        settle(&mut spool, id, State::Delivered, None);
    }
    assert_eq!(spool.replay("a").unwrap(), 2);
    assert_eq!(spool.replay("a").unwrap(), 0);
    for (from, to, count) in [
        ("2020-01-01", "2020-01-02", 0),
        ("2025-11-20", "2025-11-23 12:00", 1),
    ] {
        let resending = spool.resend_between(from, to, 0).unwrap();
        assert_eq!(all(&mut spool, resending), count);
    }
    for wrong in ["", "now", "yesterday", "2025-13-45"] {
        let error = spool
            .resend_between(wrong, "2025-11-23", 0)
            .unwrap_err()
            .to_string();
        assert!(error.contains("is not a time"), "{error}");
    }
}

fn big(spool: &mut Spool) -> Result<(), SpoolError> {
    let mut parcel = Arc::unwrap_or_clone(parcel(spool, "c", Kind::Completed));
    parcel.draft.body = "x".repeat(2_000);
    spool.commit(&[Change::Add(Arc::new(parcel))])
}

#[test]
fn what_fills_the_spool_can_still_be_settled_and_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path(), 1 << 20, 0).unwrap().spool;
    while spool.fill().unwrap() < 980 {
        big(&mut spool).unwrap();
    }
    for row in spool.pending_after(0, 10_000).unwrap() {
        settle(&mut spool, row.id, State::Delivered, None);
    }
    assert!(spool.forget(State::Delivered, u64::MAX, 10_000).unwrap() > 250);
    assert!(spool.fill().unwrap() < 100);
    add(&mut spool, "c", Kind::Completed);
}

#[test]
fn the_limit_is_hard_and_delivering_makes_room_even_there() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path(), 1 << 20, 0).unwrap().spool;
    let mut count = 0;
    let error = loop {
        match big(&mut spool) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
        assert!(count < 10_000, "the limit did not hold");
    };
    assert!(matches!(error, SpoolError::Full(_)), "{error}");
    assert!(spool.bytes() <= (1 << 20), "{}", spool.bytes());
    let rows = spool.pending_after(0, 10_000).unwrap();
    assert_eq!(rows.len(), count);
    let settled: Vec<Change> = rows
        .iter()
        .flat_map(|row| {
            [
                Change::Tried {
                    id: row.id,
                    attempts: 1,
                    reason: "no answer ".repeat(100),
                },
                Change::Settle {
                    id: row.id,
                    state: State::Delivered,
                    reason: None,
                    at: 1,
                },
            ]
        })
        .collect();
    spool.commit_lean(&settled).unwrap();
    assert_eq!(spool.totals().unwrap().pending, 0);
    big(&mut spool).unwrap();
}

#[test]
fn a_pause_and_the_like_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    spool.set_meta("paused", "yes").unwrap();
    spool.set_meta("paused", "no").unwrap();
    spool.close();
    assert_eq!(open(folder.path()).meta("paused").unwrap().as_deref(), Some("no"));
}

#[test]
fn an_administrator_can_read_it_while_it_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    add(&mut spool, "c1", Kind::Incoming);
    let output = std::process::Command::new("sqlite3")
        .arg("-readonly")
        .arg(folder.path().join("spool.db"))
        .arg("SELECT callid, kind, body FROM event")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "c1|INCOMING|cmd=event&x=%D0%9F\n"
    );
}

#[test]
fn a_log_that_was_copied_begins_anew_and_is_short_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path(), 4 << 20, 0).unwrap().spool;
    while !spool.log_is_long() {
        big(&mut spool).unwrap();
    }
    let beside = rusqlite::Connection::open(folder.path().join("spool.db")).unwrap();
    beside
        .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
        .unwrap();
    add(&mut spool, "c", Kind::Completed);
    assert!(
        !spool.log_is_long(),
        "it would be copied after every commit from now on"
    );
}

/// The schema of the first version, to the letter.
const FIRST_SCHEMA: &str = "\
CREATE TABLE event (id INTEGER PRIMARY KEY, callid TEXT NOT NULL, kind TEXT NOT NULL, ext TEXT NOT NULL, body TEXT NOT NULL, accepted INTEGER NOT NULL, state INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, reason TEXT, settled INTEGER);
CREATE INDEX event_pending ON event (id) WHERE state = 0;
CREATE INDEX event_call ON event (callid, id);
CREATE INDEX event_settled ON event (state, settled) WHERE state <> 0;
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
PRAGMA user_version = 1;
PRAGMA journal_mode = wal;
INSERT INTO meta VALUES ('paused', 'yes');
INSERT INTO event VALUES
  (7, 'c1', 'INCOMING', '101', 'cmd=event&x=%D0%9F', 1763700000000, 1, 1, NULL, 1763700001000),
  (8, 'c1', 'ACCEPTED', '101', 'cmd=event', 1763700000000, 3, 0, 'stale', 1763700001000),
  (9, 'c2', 'COMPLETED', '102', 'cmd=event', 1763700000000, 2, 3, 'refused', 1763700001000),
  (10, 'c1', 'COMPLETED', '101', 'cmd=event', 1763700000000, 0, 4, 'no answer', NULL);
";

#[test]
fn a_file_of_the_first_version_is_upgraded_in_place_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spool.db");
    let old = rusqlite::Connection::open(&path).unwrap();
    old.execute_batch(FIRST_SCHEMA).unwrap();
    // Not closed: the rows lie in the log alone, as after a crash.
    for _ in 0..2 {
        let mut spool = open(folder.path());
        let totals = spool.totals().unwrap();
        assert_eq!((totals.pending, totals.failed, totals.kept), (1, 1, 1));
        assert_eq!(spool.meta("paused").unwrap().as_deref(), Some("yes"));
        let rows = spool.pending_after(0, 10).unwrap();
        assert_eq!((rows[0].id, rows[0].attempts), (10, 4));
        let kept = spool.of_call("c1").unwrap();
        assert_eq!(kept.iter().map(|row| row.id).collect::<Vec<_>>(), [7, 8, 10]);
        assert_eq!(kept[0].body, "cmd=event&x=%D0%9F");
        assert!(spool.take_id() > 10);
        assert_eq!(spool.open_cards().unwrap(), []);
        spool.keep_stories(&[story(1)]).unwrap();
        assert!(spool.story("c1").unwrap().is_some());
        spool.put_recording(&recording(1, Stage::Waiting)).unwrap();
        assert_eq!(spool.recordings().unwrap(), [recording(1, Stage::Waiting)]);
    }
    let version: i64 = old
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .unwrap();
    assert_eq!(version, 3);
}

/// What the second version added, to the letter.
const SECOND_SCHEMA: &str = "\
CREATE TABLE open_card (callid TEXT NOT NULL, ext TEXT NOT NULL, opening TEXT NOT NULL, shown INTEGER NOT NULL, accepted INTEGER, alive INTEGER, PRIMARY KEY (callid, ext)) WITHOUT ROWID;
CREATE TABLE story (id INTEGER PRIMARY KEY, callid TEXT NOT NULL, ended INTEGER NOT NULL, text TEXT NOT NULL);
CREATE INDEX story_ended ON story (ended);
CREATE TABLE story_channel (channel TEXT NOT NULL, story INTEGER NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (channel, story)) WITHOUT ROWID;
CREATE INDEX story_channel_story ON story_channel (story);
PRAGMA user_version = 2;
INSERT INTO open_card VALUES ('c3', '103', 'cmd=event', 1763700000000, NULL, NULL);
";

#[test]
fn a_file_of_the_second_version_is_upgraded_in_place_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let old = rusqlite::Connection::open(folder.path().join("spool.db")).unwrap();
    old.execute_batch(FIRST_SCHEMA).unwrap();
    old.execute_batch(SECOND_SCHEMA).unwrap();
    let spool = open(folder.path());
    assert_eq!(spool.totals().unwrap().pending, 1);
    assert_eq!(spool.open_cards().unwrap().len(), 1);
    assert_eq!(spool.next_recording().unwrap(), 1);
}

fn recording(id: u64, state: Stage) -> Recording {
    Recording {
        id,
        callid: format!("1.{id}"),
        said: "/monitor/Вася.wav".to_owned(),
        at: 1_763_700_000_000 + id,
        state,
        tries: 2,
        reason: "damaged".to_owned(),
        path: "2026/11/21/Вася.mp3".to_owned(),
        length: 2_000,
        told: false,
    }
}

#[test]
fn recordings_are_kept_until_the_crm_was_told_and_a_while_longer() {
    let folder = tempfile::tempdir().unwrap();
    let spool = open(folder.path());
    let told = Recording {
        told: true,
        ..recording(4, Stage::Done)
    };
    let rows = [
        recording(1, Stage::Running),
        recording(2, Stage::Waiting),
        recording(3, Stage::Done),
        told,
        recording(5, Stage::Refused),
    ];
    for row in &rows {
        spool.put_recording(row).unwrap();
    }
    spool.put_recording(&rows[1]).unwrap();
    assert_eq!(spool.recordings().unwrap(), rows[..3]);
    assert_eq!(spool.next_recording().unwrap(), 6);
    assert_eq!(
        spool.forget_recordings(1_763_700_000_004, 10).unwrap(),
        0,
        "too young"
    );
    assert_eq!(
        spool.forget_recordings(u64::MAX, 10).unwrap(),
        1,
        "only what was told"
    );
    spool.close();
    assert_eq!(open(folder.path()).recordings().unwrap(), rows[..3]);
}

#[test]
fn a_file_of_the_first_version_that_holds_more_than_that_is_not_upgraded() {
    let folder = tempfile::tempdir().unwrap();
    let old = rusqlite::Connection::open(folder.path().join("spool.db")).unwrap();
    old.execute_batch(FIRST_SCHEMA).unwrap();
    old.execute_batch("CREATE VIEW open_card AS SELECT * FROM event")
        .unwrap();
    old.close().unwrap();
    let opened = Spool::open(folder.path(), LIMIT, 7_000).unwrap();
    assert!(opened.moved.unwrap().1.contains("tables"));
    assert_eq!((opened.rescued.pending, opened.rescued.failed), (1, 1));
}

/// A request is accepted at `at` and written as the dispatcher writes it.
fn follow(spool: &mut Spool, cards: &mut OpenCards, callid: &str, kind: Kind, at: u64) {
    let parcel = parcel(spool, callid, kind);
    cards.note(&parcel.draft, at);
    write(spool, cards, &[Change::Add(parcel)], Some(at));
}

fn write(spool: &mut Spool, cards: &mut OpenCards, changes: &[Change], alive: Option<u64>) {
    let mut lacking = cards.removals();
    lacking.extend(cards.rows(usize::MAX));
    spool.commit_along(changes, &lacking, alive).unwrap();
    cards.removals_written();
    cards.rows_written(usize::MAX);
}

fn open_card(callid: &str, shown: u64, accepted: Option<u64>, alive: Option<u64>) -> OpenCard {
    OpenCard {
        callid: callid.to_owned(),
        ext: "101".to_owned(),
        opening: "cmd=event&x=%D0%9F".to_owned(),
        shown,
        accepted,
        alive,
    }
}

#[test]
fn open_cards_are_there_after_a_crash_with_the_talk_time_that_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    let mut cards = OpenCards::default();
    follow(&mut spool, &mut cards, "rings", Kind::Incoming, 1_000);
    follow(&mut spool, &mut cards, "talks", Kind::Outgoing, 2_000);
    follow(&mut spool, &mut cards, "talks", Kind::Accepted, 3_000);
    follow(&mut spool, &mut cards, "over", Kind::Incoming, 4_000);
    follow(&mut spool, &mut cards, "over", Kind::Completed, 5_000);
    follow(&mut spool, &mut cards, "unknown", Kind::Completed, 6_000);
    let left = [
        open_card("rings", 1_000, None, Some(6_000)),
        open_card("talks", 2_000, Some(3_000), Some(6_000)),
    ];
    let sorted = |spool: &Spool| {
        let mut cards = spool.open_cards().unwrap();
        cards.sort_unstable_by_key(|card| card.shown);
        cards
    };
    // Not closed: as after a crash. The second run ends in the same way before anybody closes the cards, and was alive
    // long after the first.
    for run in 0..3 {
        drop(spool);
        spool = open(folder.path());
        spool.inherit_open_cards().unwrap();
        assert_eq!(sorted(&spool), left, "run {run}");
        spool.commit_along(&[], &[], Some(900_000 + run)).unwrap();
    }
    let mut cards = OpenCards::default();
    cards.adopt(spool.open_cards().unwrap());
    for card in cards.list(0) {
        cards.note(&card.closing(), 7_000);
    }
    write(&mut spool, &mut cards, &[], None);
    drop(spool);
    assert_eq!(open(folder.path()).open_cards().unwrap(), []);
}

#[test]
fn a_card_stays_open_whatever_becomes_of_its_requests_and_is_not_reopened_by_a_replay() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    let mut cards = OpenCards::default();
    for (callid, kind) in [
        ("stale", Kind::Incoming),
        ("refused", Kind::Incoming),
        ("over", Kind::Incoming),
        ("over", Kind::Completed),
    ] {
        follow(&mut spool, &mut cards, callid, kind, 1_000);
    }
    for (id, state) in [
        (1, State::Dropped),
        (2, State::Failed),
        (3, State::Delivered),
        (4, State::Delivered),
    ] {
        settle(&mut spool, id, state, None);
    }
    assert_eq!(spool.replay("over").unwrap(), 2);
    assert_eq!(retry_all(&mut spool), 1);
    assert!(spool.forget(State::Dropped, u64::MAX, 10).unwrap() == 1);
    drop(spool);
    let open: Vec<String> = open(folder.path())
        .open_cards()
        .unwrap()
        .into_iter()
        .map(|card| card.callid)
        .collect();
    assert_eq!(open, ["refused", "stale"]);
}

#[test]
fn open_cards_are_carried_over_from_a_file_that_is_partly_readable() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    let mut cards = OpenCards::default();
    follow(&mut spool, &mut cards, "talks", Kind::Incoming, 2_000);
    follow(&mut spool, &mut cards, "talks", Kind::Accepted, 3_000);
    // Pending, and its card is open no more: the events alone would not tell.
    follow(&mut spool, &mut cards, "over", Kind::Incoming, 4_000);
    follow(&mut spool, &mut cards, "over", Kind::Completed, 5_000);
    spool.close();
    let foreign = rusqlite::Connection::open(folder.path().join("spool.db")).unwrap();
    foreign
        .execute_batch("CREATE TRIGGER evil AFTER INSERT ON open_card BEGIN DELETE FROM event; END;")
        .unwrap();
    foreign.close().unwrap();
    let opened = Spool::open(folder.path(), LIMIT, 7_000).unwrap();
    assert!(opened.moved.is_some());
    assert_eq!(opened.rescued.pending, 4);
    let left = [open_card("talks", 2_000, Some(3_000), Some(5_000))];
    assert_eq!(opened.spool.open_cards().unwrap(), left);
}

#[test]
fn a_card_is_closed_even_where_nothing_else_fits() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = Spool::open(folder.path(), 1 << 20, 0).unwrap().spool;
    let mut cards = OpenCards::default();
    for n in 0..200 {
        let parcel = parcel(&mut spool, &format!("c{n}"), Kind::Incoming);
        cards.note(&parcel.draft, n);
    }
    write(&mut spool, &mut cards, &[], Some(1));
    while big(&mut spool).is_ok() {}
    // What an event leaves over may be room for a story.
    let error = (1..100)
        .find_map(|number| spool.keep_stories(&[story(number)]).err())
        .unwrap();
    assert!(matches!(error, SpoolError::Full(_)), "{error}");
    for n in 0..200 {
        let parcel = parcel(&mut spool, &format!("c{n}"), Kind::Completed);
        cards.note(&parcel.draft, n);
    }
    // `alive` is as long as before, so it fits as well.
    write(&mut spool, &mut cards, &[], Some(2));
    assert_eq!(spool.open_cards().unwrap(), []);
}

fn story(number: u64) -> Story {
    Story {
        callid: format!("c{number}"),
        channels: vec![format!("{number}.1"), format!("{number}.2"), "shared".to_owned()],
        ended: number * 1_000,
        text: format!("story {number}\n{}", "x".repeat(8_000)),
    }
}

#[test]
fn stories_are_found_by_the_call_and_by_each_channel() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    spool.keep_stories(&[story(1), story(2)]).unwrap();
    // A linkedid is the uniqueid of one of the channels.
    let linked = Story {
        channels: vec!["3.9".to_owned(), "c3".to_owned()],
        ..story(3)
    };
    spool.keep_stories(std::slice::from_ref(&linked)).unwrap();
    drop(spool);
    let spool = open(folder.path());
    for (name, found) in [
        ("c1", Some(story(1))),
        ("1.1", Some(story(1))),
        ("1.2", Some(story(1))),
        ("shared", Some(story(2))),
        ("c3", Some(linked.clone())),
        ("3.9", Some(linked)),
        ("3", None),
        ("", None),
    ] {
        assert_eq!(spool.story(name).unwrap(), found, "{name}");
    }
    let told = |number: u64| Told {
        callid: format!("c{number}"),
        ended: number * 1_000,
    };
    assert_eq!(spool.latest_stories(2).unwrap(), [told(3), told(2)]);
}

#[test]
fn old_stories_go_first_and_a_few_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    let stories: Vec<Story> = (0..20).map(story).collect();
    spool.keep_stories(&stories).unwrap();
    let oldest = |spool: &Spool| spool.latest_stories(100).unwrap().last().map(|told| told.ended);
    assert_eq!(spool.forget_stories(5_000, 100, 3).unwrap(), 3);
    assert_eq!(oldest(&spool), Some(3_000));
    assert_eq!(spool.forget_stories(5_000, 100, 100).unwrap(), 2);
    assert_eq!(spool.forget_stories(5_000, 100, 100).unwrap(), 0);
    assert_eq!(oldest(&spool), Some(5_000));
    // By number, and by both.
    assert_eq!(spool.forget_stories(0, 10, 3).unwrap(), 3);
    assert_eq!(spool.forget_stories(0, 10, 100).unwrap(), 2);
    assert_eq!(spool.forget_stories(13_000, 9, 100).unwrap(), 3);
    assert_eq!(oldest(&spool), Some(13_000));
    // One with a time of its own does not hold the others up.
    let future = Story {
        ended: 1 << 50,
        ..story(30)
    };
    spool.keep_stories(&[future, story(31)]).unwrap();
    assert_eq!(spool.forget_stories(32_000, 100, 100).unwrap(), 8);
    assert_eq!(spool.story("shared").unwrap().unwrap().callid, "c30");
    assert_eq!(spool.story("31.1").unwrap(), None);
    assert_eq!(spool.forget_stories(u64::MAX, 0, 100).unwrap(), 1);
    drop(spool);
    let file = rusqlite::Connection::open(folder.path().join("spool.db")).unwrap();
    let names: i64 = file
        .query_row("SELECT count(*) FROM story_channel", [], |row| row.get(0))
        .unwrap();
    assert_eq!(names, 0, "no name is left behind");
}

#[test]
fn every_event_of_a_call_is_listed_with_what_became_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path());
    for kind in [Kind::Incoming, Kind::Accepted, Kind::Completed, Kind::Record] {
        add(&mut spool, "c", kind);
    }
    add(&mut spool, "d", Kind::Incoming);
    settle(&mut spool, 1, State::Delivered, None);
    settle(&mut spool, 2, State::Dropped, Some("stale"));
    settle(&mut spool, 3, State::Failed, Some("refused"));
    let tried = Change::Tried {
        id: 4,
        attempts: 7,
        reason: "no answer".to_owned(),
    };
    spool.commit(&[tried]).unwrap();
    let rows = spool.of_call("c").unwrap();
    let states: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.id,
                row.state,
                row.reason.as_str(),
                row.attempts,
                row.settled_at,
            )
        })
        .collect();
    let settled = Some(1_763_700_001_000);
    assert_eq!(
        states,
        [
            (1, Some(State::Delivered), "", 0, settled),
            (2, Some(State::Dropped), "stale", 0, settled),
            (3, Some(State::Failed), "refused", 0, settled),
            (4, None, "no answer", 7, None),
        ]
    );
    assert_eq!(
        (rows[0].accepted_at, rows[0].kind.as_str()),
        (1_763_700_000_000, "INCOMING")
    );
    assert_eq!(rows[0].settled, spool.local_time(1_763_700_001_000).unwrap());
    assert_eq!((rows[0].settled.len(), rows[3].settled.as_str()), (19, ""));
    assert_eq!(rows[0].body, "cmd=event&x=%D0%9F");
}
