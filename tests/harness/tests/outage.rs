//! The CRM, the name service or the disk fails; an operator looks, waits, decides. Nothing that was accepted is lost, and
//! no channel waits.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{Asterisk, Plan, Stage, Version, build_shim, event, field, flat, is_taken_in, on_both, until};
use serde_json::Value;
use tempfile::TempDir;

on_both! {
    a_crm_that_is_away_gets_everything_when_it_is_back,
    a_busy_crm_is_left_alone_for_as_long_as_it_asks,
    a_token_that_is_refused_stops_the_delivery_until_a_reload,
    silent_name_servers_hold_nobody_up,
    a_disk_that_does_not_confirm_holds_nobody_up,
    a_disk_that_stalls_holds_no_channel_up,
    cards_that_were_left_open_are_closed_however_slow_the_disk_is,
    a_full_disk_loses_nothing_that_was_accepted,
    a_full_file_system_does_no_harm,
    the_operator_pauses_and_resumes,
    the_operator_retries_drops_and_replays,
    every_check_passes_or_names_its_cure,
}

/// For whatever happens within a second or two on a machine with nothing else to do. What is held up by a disk or a name
/// service here is held up for ever, so that this proves as much as a second would.
const BOUND: Duration = Duration::from_secs(30);

fn status_says(stage: &Stage, text: &str) -> Result<()> {
    until(&format!("the status to say: {text}"), BOUND, || {
        Ok(flat(&stage.status()?).contains(text).then_some(()))
    })
    .with_context(|| stage.status().unwrap_or_default())
}

fn logs(stage: &Stage, text: &str) -> Result<()> {
    until(&format!("the log to hold: {text}"), BOUND, || {
        Ok(stage.asterisk.log().contains(text).then_some(()))
    })
}

/// Exactly so many times, once the log is written.
fn logs_times(stage: &Stage, times: usize, text: &str) -> Result<()> {
    let mut count = 0;
    until(&format!("the log to hold {times} times: {text}"), BOUND, || {
        count = stage.asterisk.log().matches(text).count();
        Ok((count >= times).then_some(()))
    })?;
    ensure!(count == times, "{count} times instead of {times}: {text}");
    Ok(())
}

/// What a console command prints, every line of which must fit on a terminal of 80 columns.
fn console(asterisk: &Asterisk, command: &str) -> Result<String> {
    let said = asterisk.cli(command)?;
    for line in said.lines() {
        ensure!(
            line.chars().count() <= 80,
            "'{command}' prints a line of {} columns: {line}",
            line.chars().count()
        );
    }
    Ok(said)
}

/// A call as three events.
fn call(stage: &Stage, callid: &str) -> Result<()> {
    let mut ami = stage.asterisk.ami()?;
    for arguments in [
        format!("INCOMING,79101234567,101,{callid}"),
        format!("ACCEPTED,79101234567,101,{callid}"),
        format!("COMPLETED,79101234567,101,{callid},,7,ANSWERED"),
    ] {
        let answer = event(&mut ami, &arguments)?;
        ensure!(answer == "QUEUED", "{arguments} is {answer}");
    }
    Ok(())
}

fn events<'a>(told: &'a [Value], callid: &str) -> Vec<&'a str> {
    told.iter()
        .filter(|entry| is_taken_in(entry) && field(entry, "callid") == callid)
        .map(|entry| field(entry, "event"))
        .collect()
}

/// The call has come in whole and in order, each event once.
fn arrived(stage: &Stage, callid: &str) -> Result<()> {
    let told = stage.crm.log()?;
    let events = events(&told, callid);
    ensure!(
        events == ["INCOMING", "ACCEPTED", "COMPLETED"],
        "{callid}: {events:?}"
    );
    Ok(())
}

// ---- the CRM ---------------------------------------------------------------------------------------------------------

fn a_crm_that_is_away_gets_everything_when_it_is_back(version: Version) -> Result<()> {
    // Only "hang" and "black-hole" wait for a time-out, and no answer to a request that nothing is wrong with may come
    // later than that: it would be one more outage.
    let plan = Stage::plan(version)
        .calls("stale_popup = 86400")
        .delivery("retry_max = 1\nresponse_timeout = 8\nconnect_timeout = 8");
    plan.play(|stage| {
        for (round, fault) in ["refuse", "black-hole", "hang", "status=500", "reset"]
            .into_iter()
            .enumerate()
        {
            stage.crm.fault(fault)?;
            for number in 0..4 {
                call(stage, &format!("{fault}.{number}"))?;
            }
            status_says(stage, "out of reach for").with_context(|| fault.to_owned())?;
            status_says(stage, "Queue: 12 waiting").with_context(|| fault.to_owned())?;
            let queue = console(&stage.asterisk, "planfix show queue")?;
            ensure!(queue.contains("Tries") && queue.contains("COMPLETED"), "{queue}");
            // Some of the requests hang at this moment. They tell of what is over, whenever they fail.
            stage.crm.clear_faults()?;
            stage.drained().with_context(|| fault.to_owned())?;
            for number in 0..4 {
                arrived(stage, &format!("{fault}.{number}"))?;
            }
            status_says(stage, "reachable, last answer")?;
            // One warning when it goes and one when it is back, not one for each try.
            for text in ["Planfix is out of reach", "Planfix answers again"] {
                logs_times(stage, round + 1, text).with_context(|| fault.to_owned())?;
            }
        }
        let log = stage.asterisk.log();
        ensure!(!log.contains("] ERROR["), "an error although nothing was lost");
        Ok(())
    })
}

fn a_busy_crm_is_left_alone_for_as_long_as_it_asks(version: Version) -> Result<()> {
    Stage::plan(version).calls("stale_popup = 86400").play(|stage| {
        stage.crm.fault("status=429,retry-after=2,next=1")?;
        call(stage, "busy.1")?;
        // The log and not the status, which says so for two seconds only.
        logs(stage, "Planfix is out of reach, busy (HTTP 429), asks for 2 s")?;
        call(stage, "busy.2")?;
        stage.drained()?;
        arrived(stage, "busy.1")?;
        arrived(stage, "busy.2")?;
        let told = stage.crm.log()?;
        let arrivals: Vec<f64> = told
            .iter()
            .filter_map(|entry| entry["arrival_ms"].as_f64())
            .collect();
        ensure!(told[0]["status"] == 429 && told.len() == 7, "{told:#?}");
        let pause = arrivals[1] - arrivals[0];
        // Both clocks count milliseconds that have begun.
        ensure!(pause >= 1_990.0, "the next request came after {pause} ms");
        Ok(())
    })
}

/// So many requests wait, and none is under way.
fn waits(stage: &Stage, count: usize) -> Result<()> {
    until(&format!("{count} requests to wait"), BOUND, || {
        let status = flat(&stage.status()?);
        let all = status.contains(&format!("Queue: {count} waiting")) && status.contains(", 0 under way");
        Ok(all.then_some(()))
    })
    .with_context(|| stage.status().unwrap_or_default())
}

fn a_token_that_is_refused_stops_the_delivery_until_a_reload(version: Version) -> Result<()> {
    Stage::plan(version).calls("stale_popup = 86400").play(|stage| {
        let right = stage.settings().to_owned();
        stage.reload_with(&right.replace(stage.crm.token(), "wrong"))?;
        for number in 0..10 {
            call(stage, &format!("token.{number}"))?;
        }
        status_says(stage, "stopped for")?;
        status_says(stage, "set 'token' in planfix.conf to the key that Planfix shows")?;
        waits(stage, 30)?;
        // What was given to the workers before the first answer may go out, which is no more than one request of a call.
        let tries = stage.crm.log()?.len();
        ensure!(tries <= 10, "{tries} requests with a token that is refused");
        // Further events do not make it ask again.
        for number in 10..20 {
            call(stage, &format!("token.{number}"))?;
        }
        waits(stage, 60)?;
        ensure!(stage.crm.log()?.len() == tries, "it asks again at each event");
        logs_times(stage, 1, "Delivery to Planfix stops")?;

        stage.reload_with(&right)?;
        stage.drained()?;
        for number in 0..20 {
            arrived(stage, &format!("token.{number}"))?;
        }
        Ok(())
    })
}

// ---- the name service and the disk -------------------------------------------------------------------------------------

/// `tests/live/shim/outage.c`, built, and the folder of its flags.
struct Shim {
    folder: TempDir,
}

impl Shim {
    fn build() -> Result<Self> {
        let folder = TempDir::with_prefix("outage-")?;
        fs::create_dir(folder.path().join("flags"))?;
        build_shim("outage.c", &folder.path().join("outage.so"), &["-ldl"])?;
        Ok(Self { folder })
    }

    fn plan(&self, version: Version) -> Plan {
        Stage::plan(version)
            .calls("stale_popup = 86400")
            // A name that is not found is waited for as long as a connection. An answer that comes later than it may
            // would be asked for again, and a call be told twice.
            .delivery("connect_timeout = 1\nresponse_timeout = 30\nretry_max = 1")
            .asterisk(|builder| {
                builder
                    .env("LD_PRELOAD", self.folder.path().join("outage.so"))
                    .env("PLANFIX_OUTAGE_FLAGS", self.folder.path().join("flags"))
                    .env("PLANFIX_OUTAGE_PATH", "/spool/planfix/")
            })
    }

    fn flag(&self, name: &str) -> PathBuf {
        self.folder.path().join("flags").join(name)
    }

    fn set(&self, name: &str) -> Result<()> {
        Ok(fs::write(self.flag(name), "")?)
    }

    fn clear(&self, name: &str) -> Result<()> {
        Ok(fs::remove_file(self.flag(name))?)
    }
}

fn silent_name_servers_hold_nobody_up(version: Version) -> Result<()> {
    let shim = Shim::build()?;
    shim.plan(version).play(|stage| {
        shim.set("names")?;
        let far = stage
            .settings()
            .replace(stage.crm.url(), "https://planfix.invalid/tel/api");
        stage.reload_with(&far)?;
        call(stage, "names.1")?;
        status_says(stage, "out of reach for")?;
        // Nor do the name servers hold up who wants to know who calls: 300 ms for the first few, and then nobody.
        let mut ami = stage.asterisk.ami()?;
        let start = Instant::now();
        for number in 10..60 {
            let name = ami.getvar(None, &format!("PLANFIX_CONTACT(791600000{number},name)"))?;
            ensure!(name.is_empty(), "nobody can have told {name}");
        }
        let took = start.elapsed();
        ensure!(took < BOUND, "50 questions took {took:?}");
        // It comes back, and so does the stop, although the name servers never answer.
        let check = flat(&console(&stage.asterisk, "planfix check")?);
        ensure!(
            check.contains("FAIL DNS") && check.contains("the name servers in /etc/resolv.conf"),
            "{check}"
        );
        stage.asterisk.stop_now(BOUND)?;
        shim.clear("names")?;
        stage.asterisk.configure("planfix.conf", stage.settings())?;
        stage.asterisk.start()?;
        stage.drained()?;
        arrived(stage, "names.1")
    })
}

/// A hundred events one after the other, each answered QUEUED before the next is told. The disk is held up meanwhile: an
/// answer that waited for it would not come at all.
fn answers_without_the_disk(stage: &Stage, name: &str) -> Result<()> {
    let mut ami = stage.asterisk.ami()?;
    let start = Instant::now();
    for number in 0..100 {
        let answer = event(
            &mut ami,
            &format!("COMPLETED,79101234567,101,{name}.{number},,0,BUSY"),
        )?;
        ensure!(answer == "QUEUED", "event {number} is {answer}");
    }
    let took = start.elapsed();
    println!("{}: {name}: 100 events in {took:?}", stage.asterisk.version());
    ensure!(took < BOUND, "100 events took {took:?}");
    Ok(())
}

fn all_hundred(stage: &Stage, name: &str) -> Result<()> {
    stage
        .crm
        .wait_for("a hundred events", BOUND, |entries| {
            let mut numbers: Vec<&str> = entries
                .iter()
                .filter(|entry| is_taken_in(entry))
                .filter_map(|entry| field(entry, "callid").strip_prefix(name))
                .collect();
            numbers.sort_unstable();
            numbers.dedup();
            numbers.len() >= 100
        })
        .map(drop)
}

fn a_disk_that_does_not_confirm_holds_nobody_up(version: Version) -> Result<()> {
    let shim = Shim::build()?;
    shim.plan(version).play(|stage| {
        call(stage, "sync.before")?;
        stage.drained()?;
        shim.set("sync")?;
        answers_without_the_disk(stage, "sync.a")?;
        // The kernel has the events; only a power cut could take them now. They go out without the disk's word.
        all_hundred(stage, "sync.a")?;
        stage.drained()?;
        answers_without_the_disk(stage, "sync.b")?;
        let took = stage.asterisk.stop_now(BOUND)?;
        println!("{version}: stopped within {took:?} with a disk that does not confirm");
        shim.clear("sync")?;
        stage.asterisk.start()?;
        all_hundred(stage, "sync.b")?;
        stage.drained()
    })
}

fn a_disk_that_stalls_holds_no_channel_up(version: Version) -> Result<()> {
    /// The inbox of the module holds this many; what comes after is refused at once.
    const INBOX: usize = 16_384;
    /// For so many requests, each of which the sandbox writes down before it answers.
    const FLOOD: Duration = Duration::from_secs(300);
    let shim = Shim::build()?;
    let plan = shim.plan(version).asterisk(|builder| builder.debug(0).verbose(0));
    plan.play(|stage| {
        call(stage, "stall.before")?;
        stage.drained()?;
        shim.set("write")?;
        answers_without_the_disk(stage, "stall.a")?;
        // The commands tell what was known before, and that it is old.
        let said = stage.asterisk.cli("planfix show queue")?;
        ensure!(
            said.contains("the disk does not answer") && said.contains("more wait in memory."),
            "{said}"
        );
        let reply = stage.asterisk.ami()?.action(&[("Action", "PlanfixShowFailed")])?;
        ensure!(
            reply.is_success() && format!("{reply:?}").contains("the disk does not answer"),
            "{reply:?}"
        );
        status_says(stage, "the disk has not answered for")?;
        let said = stage.asterisk.cli("planfix pause")?;
        ensure!(flat(&said).contains("is carried out when it does"), "{said}");
        stage.asterisk.cli("planfix resume")?;
        shim.clear("write")?;
        all_hundred(stage, "stall.a")?;
        stage.drained()?;

        // A disk that never comes back: at last an event is refused, and says so.
        shim.set("write")?;
        let mut ami = stage.asterisk.ami()?;
        let mut accepted = 0;
        let start = Instant::now();
        loop {
            let answer = event(
                &mut ami,
                &format!("COMPLETED,79101234567,101,flood.{accepted},,0,BUSY"),
            )?;
            if answer == "REJECTED" {
                break;
            }
            ensure!(answer == "QUEUED", "{answer}");
            accepted += 1;
            ensure!(accepted < 2 * INBOX, "nothing is refused");
        }
        println!(
            "{version}: {accepted} events were accepted within {:?}",
            start.elapsed()
        );
        ensure!(accepted >= INBOX, "only {accepted} were accepted");
        logs(
            stage,
            "the event is lost, the disk does not answer and the inbox is full",
        )?;
        status_says(stage, "1 rejected")?;
        shim.clear("write")?;
        stage.crm.wait_for("what was accepted", FLOOD, |entries| {
            let flood = entries
                .iter()
                .filter(|entry| field(entry, "callid").starts_with("flood."));
            flood.count() >= accepted
        })?;
        stage.drained()?;

        // What the disk will not take cannot be kept, but it holds nobody up, and it is said.
        shim.set("write")?;
        answers_without_the_disk(stage, "stall.b")?;
        let took = stage.asterisk.stop_now(BOUND)?;
        println!("{version}: stopped within {took:?} with a disk that stalls");
        logs(stage, "is left behind")
    })
}

/// After a power cut the disk has much to do, and so has a spool that was large.
fn cards_that_were_left_open_are_closed_however_slow_the_disk_is(version: Version) -> Result<()> {
    let shim = Shim::build()?;
    let mut stage = shim.plan(version).start()?;
    ensure!(stage.event("INCOMING,79101234567,101,left.1")? == "QUEUED");
    stage.drained()?;
    stage.asterisk.kill9();
    let settings = stage.settings().replace("mode = dialplan", "mode = auto");
    stage.asterisk.configure("planfix.conf", &settings)?;
    shim.set("write")?;
    stage.asterisk.start()?;
    stage.play(|stage| {
        logs(
            stage,
            "Calls are not followed yet: the spool is still being opened",
        )?;
        shim.clear("write")?;
        stage
            .crm
            .wait_for("the end of what was left open", BOUND, |entries| {
                entries
                    .iter()
                    .any(|entry| field(entry, "status") == "Missed" && field(entry, "callid") == "left.1")
            })?;
        stage.drained()
    })
}

fn a_full_disk_loses_nothing_that_was_accepted(version: Version) -> Result<()> {
    let shim = Shim::build()?;
    shim.plan(version).play(|stage| {
        call(stage, "full.before")?;
        stage.drained()?;
        stage.crm.fault("status=503")?;
        call(stage, "full.waiting")?;
        status_says(stage, "3 waiting")?;
        shim.set("full")?;
        stage.queue("COMPLETED,79101234567,101,full.during,,0,BUSY")?;
        logs(stage, "The spool cannot be written, no room")?;
        // New cards are refused, ends of calls are not.
        until("a refused card", BOUND, || {
            Ok((stage.event("INCOMING,79101234567,102,full.refused")? == "REJECTED").then_some(()))
        })?;
        logs(stage, "the event is lost, the spool is full")?;
        stage.queue("COMPLETED,79101234567,101,full.during.2,,0,BUSY")?;
        status_says(stage, "nearly full: new popups are refused")?;
        status_says(stage, "events are kept in memory")?;
        let check = flat(&console(&stage.asterisk, "planfix check")?);
        ensure!(check.contains("FAIL Spool"), "{check}");
        // With the CRM back everything is delivered from memory.
        stage.crm.clear_faults()?;
        // The list of what waits is the disk's, and nothing can be taken off that now.
        waits(stage, 0)?;
        arrived(stage, "full.waiting")?;
        shim.clear("full")?;
        logs(stage, "The spool can be written again")?;
        call(stage, "full.after")?;
        stage.drained()?;
        arrived(stage, "full.after")?;
        let told = stage.crm.log()?;
        for callid in ["full.during", "full.during.2"] {
            ensure!(events(&told, callid) == ["COMPLETED"], "{callid}: {told:#?}");
        }
        Ok(())
    })
}

/// A file system of two megabytes.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this user may not mount.
    fn mount(at: &Path) -> Result<Option<Self>> {
        fs::create_dir_all(at)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m,mode=0700", "planfix-test"])
            .arg(at)
            .output();
        Ok(mounted
            .is_ok_and(|output| output.status.success())
            .then(|| Self(at.to_owned())))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: Asterisk may still hold files of it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// As above, but with a real file system: what SQLite maps into memory lies on it too.
fn a_full_file_system_does_no_harm(version: Version) -> Result<()> {
    let mut stage = Stage::plan(version).delivery("retry_max = 1").prepare()?;
    let folder = stage.asterisk.spool().join("planfix");
    let Some(disk) = SmallDisk::mount(&folder)? else {
        println!("this user may not mount a file system: left out");
        return Ok(());
    };
    stage.asterisk.start()?;
    stage.play(|stage| {
        stage.at_work()?;
        call(stage, "tmpfs.before")?;
        stage.drained()?;
        stage.crm.fault("status=503")?;
        let filler = folder.join("filler");
        let mut file = fs::File::create(&filler)?;
        let full = std::io::copy(&mut std::io::repeat(0), &mut file);
        ensure!(full.is_err(), "the file system has no end");
        let mut ami = stage.asterisk.ami()?;
        let mut accepted = Vec::new();
        let link = format!("https://pbx.example.com/{}", "x".repeat(700));
        let (begun, mut number) = (Instant::now(), 0);
        // Events go on coming while the module tries the disk again, which it does each second.
        while number < 2_000 || begun.elapsed() < Duration::from_secs(5) {
            number += 1;
            if number > 2_000 {
                thread::sleep(Duration::from_millis(20));
            }
            let callid = format!("tmpfs.{number}");
            let answer = event(
                &mut ami,
                &format!("COMPLETED,79101234567,101,{callid},{link},0,BUSY"),
            )?;
            if answer == "QUEUED" {
                accepted.push(callid);
            }
        }
        logs(stage, "The spool cannot be written, no room")?;
        println!("{version}: {} of {number} events were accepted", accepted.len());
        // It is said when it begins, and not each time that it is tried.
        let said = stage.asterisk.log().matches("The spool is nearly full").count();
        ensure!(
            said <= 2,
            "{said} times the log says that the spool is nearly full"
        );
        drop(file);
        fs::remove_file(&filler)?;
        stage.crm.clear_faults()?;
        stage.crm.wait_for("what was accepted", 4 * BOUND, |entries| {
            entries.iter().filter(|entry| is_taken_in(entry)).count() >= accepted.len() + 3
        })?;
        let told = stage.crm.log()?;
        let came: std::collections::HashSet<&str> = told
            .iter()
            .filter(|entry| is_taken_in(entry))
            .map(|entry| field(entry, "callid"))
            .collect();
        let lost: Vec<&String> = accepted
            .iter()
            .filter(|callid| !came.contains(callid.as_str()))
            .collect();
        ensure!(
            lost.is_empty(),
            "{} accepted events are lost: {lost:?}",
            lost.len()
        );
        stage.asterisk.stop_now(BOUND).map(drop)
    })?;
    drop(disk);
    Ok(())
}

// ---- the operator ------------------------------------------------------------------------------------------------------

/// A list action, whose end must count what came.
fn listed(stage: &Stage, action: &str, entry: &str) -> Result<Vec<harness::Message>> {
    let reply = stage.asterisk.ami()?.action(&[("Action", action)])?;
    ensure!(reply.is_success(), "{reply:?}");
    ensure!(
        reply.end.is_event(&format!("{action}Complete"))
            && reply.end.get("ListItems") == Some(reply.events.len().to_string().as_str()),
        "{action} ends with {:?} after {} events",
        reply.end,
        reply.events.len()
    );
    ensure!(
        reply.events.iter().all(|event| event.is_event(entry)),
        "{reply:?}"
    );
    Ok(reply.events)
}

/// The tab key offers this behind that line. It offers nothing while the spool has no time for an answer at once, so it is
/// pressed again.
fn offers(stage: &Stage, line: &str, right: impl Fn(&[String]) -> bool) -> Result<()> {
    let mut words = Vec::new();
    until(&format!("what is offered behind '{line}'"), BOUND, || {
        words = completions(stage, line)?;
        Ok(right(&words).then_some(()))
    })
    .with_context(|| format!("{words:?} are offered"))
}

/// What the tab key offers behind this line now.
fn completions(stage: &Stage, line: &str) -> Result<Vec<String>> {
    let word = line.rsplit(' ').next().unwrap_or_default();
    let said = stage
        .asterisk
        .cli(&format!("_command matchesarray \"{line}\" \"{word}\""))?;
    let list = said.split("_EOF_").next().unwrap_or_default();
    // The first is what all of them begin with, perhaps nothing.
    Ok(list
        .split(' ')
        .skip(1)
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect())
}

fn the_operator_pauses_and_resumes(version: Version) -> Result<()> {
    Stage::plan(version).calls("stale_popup = 86400").play(|stage| {
        let said = console(&stage.asterisk, "planfix pause")?;
        ensure!(
            said.contains("Delivery is paused. Events are kept until 'planfix resume'."),
            "{said}"
        );
        call(
            stage,
            "звонок-с-очень-длинным-идентификатором-который-не-помещается-в-строку",
        )?;
        call(stage, "pause.2")?;
        status_says(stage, "paused by the operator ('planfix resume')")?;
        status_says(stage, "6 waiting")?;
        let queue = console(&stage.asterisk, "planfix show queue")?;
        ensure!(
            queue.matches("pause.2").count() == 3 && queue.contains('…'),
            "{queue}"
        );
        let entries = listed(stage, "PlanfixShowQueue", "PlanfixQueueEntry")?;
        ensure!(
            entries.len() == 6
                && entries[5].get("CallId") == Some("pause.2")
                && entries[5].get("PlanfixEvent") == Some("COMPLETED")
                && entries[5].get("Total") == Some("6"),
            "{entries:?}"
        );
        let reply = stage
            .asterisk
            .ami()?
            .action(&[("Action", "PlanfixShowQueue"), ("Limit", "2")])?;
        ensure!(
            reply.events.len() == 2
                && reply.end.get("ListItems") == Some("2")
                && reply.events[0].get("Total") == Some("6"),
            "{reply:?}"
        );
        let status = listed(stage, "PlanfixShowStatus", "PlanfixStatus")?;
        ensure!(
            status.len() == 1
                && status[0]
                    .get("Queue")
                    .is_some_and(|queue| queue.starts_with("6 waiting")),
            "{status:?}"
        );

        // The pause outlives a restart.
        stage.asterisk.restart()?;
        stage.at_work()?;
        status_says(stage, "paused by the operator ('planfix resume')")?;
        status_says(stage, "6 waiting")?;
        ensure!(stage.crm.log()?.is_empty(), "something was sent");
        let said = console(&stage.asterisk, "planfix resume")?;
        ensure!(said.contains("Delivery goes on."), "{said}");
        stage.drained()?;
        arrived(stage, "pause.2")?;
        let said = console(&stage.asterisk, "planfix show queue")?;
        ensure!(said.contains("Nothing waits."), "{said}");
        ensure!(
            listed(stage, "PlanfixShowQueue", "PlanfixQueueEntry")?.is_empty(),
            "the list is not empty"
        );
        Ok(())
    })
}

fn the_operator_retries_drops_and_replays(version: Version) -> Result<()> {
    Stage::plan(version).calls("stale_popup = 86400").play(|stage| {
        stage.crm.fault("status=400")?;
        for number in 0..3 {
            stage.queue(&format!("COMPLETED,79101234567,101,failed.{number},,0,BUSY"))?;
        }
        status_says(stage, "Failed: 3, see 'planfix show failed'")?;
        stage.crm.clear_faults()?;
        let failed = console(&stage.asterisk, "planfix show failed")?;
        ensure!(failed.matches("refused").count() == 3, "{failed}");
        let entries = listed(stage, "PlanfixShowFailed", "PlanfixFailedEntry")?;
        ensure!(
            entries.len() == 3
                && entries.iter().all(|entry| entry
                    .get("Reason")
                    .is_some_and(|reason| reason.contains("HTTP 400"))),
            "{entries:?}"
        );
        let id = |callid: &str| -> Result<String> {
            let entry = entries.iter().find(|entry| entry.get("CallId") == Some(callid));
            Ok(entry
                .and_then(|entry| entry.get("Id"))
                .context("no such entry")?
                .to_owned())
        };
        let ids = [id("failed.0")?, id("failed.1")?, id("failed.2")?];

        let all = |words: &[String]| ids.iter().all(|id| words.contains(id));
        offers(stage, "planfix retry ", |words| {
            words.len() == 4 && words.contains(&"all".to_owned()) && all(words)
        })?;
        offers(stage, "planfix retry a", |words| words == ["all"])?;
        offers(stage, "planfix drop ", |words| words.len() == 3 && all(words))?;
        let words = completions(stage, "planfix ")?;
        for word in ["check", "drop", "pause", "replay", "resume", "retry", "show"] {
            ensure!(words.contains(&word.to_owned()), "{words:?}");
        }
        let words = completions(stage, "planfix show ")?;
        ensure!(
            words
                == [
                    "call",
                    "calls",
                    "contact",
                    "failed",
                    "greetings",
                    "link",
                    "queue",
                    "status"
                ],
            "{words:?}"
        );

        let said = console(&stage.asterisk, &format!("planfix drop {}", ids[0]))?;
        ensure!(
            said.contains(&format!("Request {} was dropped.", ids[0])),
            "{said}"
        );
        let said = console(&stage.asterisk, &format!("planfix drop {}", ids[0]))?;
        ensure!(said.contains("There is no failed request"), "{said}");
        let said = console(&stage.asterisk, &format!("planfix retry {}", ids[1]))?;
        ensure!(said.contains("One request waits again."), "{said}");
        stage.drained()?;
        let said = console(&stage.asterisk, "planfix retry all")?;
        ensure!(said.contains("One request waits again."), "{said}");
        stage.drained()?;
        let said = console(&stage.asterisk, "planfix retry all")?;
        ensure!(said.contains("Nothing has failed."), "{said}");
        let told = stage.crm.log()?;
        ensure!(
            events(&told, "failed.0").is_empty()
                && events(&told, "failed.1") == ["COMPLETED"]
                && events(&told, "failed.2") == ["COMPLETED"],
            "{told:#?}"
        );

        // What was delivered is sent again, the call whole and in order.
        call(stage, "replay.1")?;
        stage.drained()?;
        offers(stage, "planfix replay rep", |words| words == ["replay.1"])?;
        let said = console(&stage.asterisk, "planfix replay replay.1")?;
        ensure!(said.contains("3 requests are sent again."), "{said}");
        stage.drained()?;
        let told = stage.crm.log()?;
        let twice = [
            "INCOMING",
            "ACCEPTED",
            "COMPLETED",
            "INCOMING",
            "ACCEPTED",
            "COMPLETED",
        ];
        ensure!(
            events(&told, "replay.1") == twice,
            "{:?}",
            events(&told, "replay.1")
        );
        let said = console(
            &stage.asterisk,
            "planfix replay \"2001-01-01\" \"2002-01-01 18:30\"",
        )?;
        ensure!(said.contains("No such delivered request is kept"), "{said}");
        let said = console(&stage.asterisk, "planfix replay 2001-01-01 2201-01-01")?;
        ensure!(said.contains("5 requests are sent again."), "{said}");
        stage.drained()
    })
}

fn every_check_passes_or_names_its_cure(version: Version) -> Result<()> {
    const ADDRESS: &str = "https://pbx.example.com/planfix/api";
    let plan = Stage::plan(version)
        .crm("--pbx-url")
        .crm(ADDRESS)
        .asterisk(|builder| builder.extensions("[from-internal]\nexten => _X.,1,Hangup()\n"))
        .delivery(&format!("max_spool = 16M\n[planfix]\npbx_url = {ADDRESS}"));
    plan.play(|stage| {
        let check = |expected: &[&str]| -> Result<()> {
            let said = flat(&console(&stage.asterisk, "planfix check")?);
            for text in expected {
                ensure!(said.contains(text), "'planfix check' lacks \"{text}\": {said}");
            }
            Ok(())
        };
        let file = stage.asterisk.etc().join("planfix.conf");
        let mode = |mode: u32| fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode));
        mode(0o644)?;
        check(&[
            "FAIL File permissions",
            "run 'chmod o-rwx",
            "One item needs mending.",
        ])?;
        mode(0o640)?;
        // What the module makes is for Asterisk's user alone, and the command that is named makes it so.
        let made = stage.asterisk.scratch().join("db/planfix/setup.json");
        fs::create_dir_all(made.parent().context("a folder")?)?;
        fs::write(&made, "{}")?;
        fs::set_permissions(&made, std::os::unix::fs::PermissionsExt::from_mode(0o640))?;
        check(&["FAIL File permissions", "run 'chmod go-rwx", "setup.json"])?;
        let closed = Command::new("chmod").arg("go-rwx").arg(&made).status()?;
        ensure!(closed.success(), "chmod failed");
        check(&["pass File permissions"])?;
        fs::remove_file(&made)?;
        check(&[
            "pass planfix.conf read without a problem",
            "pass File permissions",
            "pass DNS",
            "pass Connection",
            "pass Ping Planfix accepts the token",
            "pass Key of the PBX",
            "pass Address of the PBX",
            "pass Spool",
            "pass Disk space",
            "pass HTTP server on",
            "pass Click-to-call http://127.0.0.1",
            "Everything is in order.",
        ])?;
        stage.crm.post(
            "/_sandbox/ping",
            &serde_json::json!({ "pbx_token": "other", "pbx_url": "https://pbx.example.com/" }),
        )?;
        check(&["FAIL Address of the PBX the one that was entered in Planfix does not end in /planfix/api"])?;
        stage.crm.post(
            "/_sandbox/ping",
            &serde_json::json!({ "pbx_token": "other", "pbx_url": "https://elsewhere/planfix/api" }),
        )?;
        check(&[
            "FAIL Key of the PBX pbx_token differs from what was entered in Planfix",
            "FAIL Address of the PBX pbx_url differs",
            "2 items need mending.",
        ])?;
        stage.crm.fault("refuse")?;
        check(&["FAIL Connection no address of 127.0.0.1 accepts connections"])?;
        stage.crm.clear_faults()?;
        stage.reload_with(&stage.settings().replace(stage.crm.token(), "wrong"))?;
        mode(0o640)?;
        check(&[
            "FAIL Ping the token is not accepted (HTTP 401)",
            "set 'token' in planfix.conf to the key that Planfix shows",
        ])?;
        stage.asterisk.configure(
            "http.conf",
            "[general]\nenabled = yes\nbindaddr = 127.0.0.1\nbindport = 1\n",
        )?;
        check(&["FAIL Click-to-call http://127.0.0.1:1/planfix/api"])?;
        let settings = stage.settings().replace(ADDRESS, "https://pbx.example.com");
        stage.reload_with(&format!("{settings}\n[callback]\ncontext = nowhere\n"))?;
        check(&[
            "FAIL Path of the PBX pbx_url in planfix.conf does not end in /planfix/api",
            "FAIL Numbers to call there is no context 'nowhere' in the dialplan",
        ])?;
        stage.reload_with(&format!(
            "{}\n[callback]\nacl = nobody-wrote-it\n",
            stage.settings()
        ))?;
        check(&["FAIL ACL there is no ACL 'nobody-wrote-it' in acl.conf, or it has no rules"])?;
        for (lines, said) in [
            (
                "enabled = yes",
                "FAIL HTTP server enabled, but without bindaddr Asterisk does not start it; set bindaddr",
            ),
            (
                "tlsenable = yes",
                "FAIL HTTP server tlsenable is set, but without tlsbindaddr and without enabled = yes",
            ),
            (
                "enabled = no",
                "FAIL HTTP server off; set enabled = yes and bindaddr = 0.0.0.0 in [general] of http.conf",
            ),
        ] {
            stage
                .asterisk
                .configure("http.conf", &format!("[general]\n{lines}\n"))?;
            check(&[said])?;
        }
        Ok(())
    })
}
