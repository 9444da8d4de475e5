//! The durable queue on a real disk: what is accepted stays, whatever happens to the file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use res_planfix::core::draft::{Draft, Kind};
use res_planfix::core::lanes::Parcel;
use res_planfix::delivery::spool::{Change, Replay, Spool, SpoolError, State};

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
    assert_eq!(opened.rescued, 4);
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
    assert_eq!(spool.retry(Some(ids[1])).unwrap(), 1);
    assert_eq!(spool.retry(Some(999)).unwrap(), 0);
    assert!(spool.drop_failed(ids[0], 0).unwrap());
    assert!(!spool.drop_failed(ids[0], 0).unwrap());
    assert_eq!(spool.retry(None).unwrap(), 1);
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
    assert_eq!(spool.replay(&Replay::Call("a".to_owned())).unwrap(), 2);
    assert_eq!(spool.replay(&Replay::Call("a".to_owned())).unwrap(), 0);
    let between = |from: &str, to: &str| Replay::Between(from.to_owned(), to.to_owned());
    assert_eq!(spool.replay(&between("2020-01-01", "2020-01-02")).unwrap(), 0);
    assert_eq!(
        spool.replay(&between("2025-11-20", "2025-11-23 12:00")).unwrap(),
        1
    );
    for wrong in ["", "now", "yesterday", "2025-13-45"] {
        let error = spool
            .replay(&between(wrong, "2025-11-23"))
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
        .map(|row| Change::Settle {
            id: row.id,
            state: State::Delivered,
            reason: None,
            at: 1,
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
