//! Recordings on a real Asterisk: what phones said is heard in the mp3, in every format that MixMonitor writes; the encoder
//! works alone and at the lowest priority while calls go on, and a killed Asterisk loses none.
//!
//! `RECORDINGS=1000 CALLS=20` make the last test as large as its promise; it prints its figures.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use harness::{
    Ami, Behaviour, CLIENT, Caller, Line, Phone, Sound, Stage, Tone, Version, field, files, is_taken_in,
    on_both, until,
};
use serde_json::Value;

on_both! {
    what_is_said_is_heard_in_the_mp3_whatever_the_format,
    the_dialplan_reports_the_recording_that_its_variable_names,
    the_recording_of_a_call_that_a_kill_cut_off_gets_its_link,
    an_encoder_that_hangs_holds_up_neither_system_nor_an_unload,
    a_killed_asterisk_loses_no_recording_and_calls_hear_nothing_of_the_encoder,
}

const BOUND: Duration = Duration::from_secs(60);
const EMPLOYEE: Tone = Tone(440);
const OUTSIDE: Tone = Tone(1_000);
const NOBODY: Tone = Tone(700);
/// How far the length of a recording may be from that of the talk.
const CLOSE: Duration = Duration::from_millis(100);
/// What the first and last packets may lack of a tone, beside what is cut into pieces.
const EDGES: Duration = Duration::from_millis(250);

fn monitor(stage: &Stage) -> PathBuf {
    stage.asterisk.spool().join("monitor")
}

/// The requests about recordings that the CRM took in: the call and the link.
fn links(entries: &[Value]) -> Vec<(String, String)> {
    let taken = entries
        .iter()
        .filter(|entry| is_taken_in(entry) && entry["cmd"] == "record");
    taken
        .map(|entry| {
            (
                field(entry, "callid").to_owned(),
                field(entry, "record_link").to_owned(),
            )
        })
        .collect()
}

/// A phone of an employee's that answers and says his tone.
fn employee(stage: &Stage, number: &str) -> Result<Phone> {
    let phone = Phone::open(number, stage.asterisk.phone(number), stage.asterisk.sip())?;
    phone.say(Some(EMPLOYEE));
    phone.will(Behaviour::Answer);
    phone.listen()?;
    Ok(phone)
}

fn trunk(stage: &Stage) -> Result<Phone> {
    let phone = Phone::open(CLIENT, stage.asterisk.trunk(), stage.asterisk.sip())?;
    phone.say(Some(OUTSIDE));
    phone.listen()?;
    Ok(phone)
}

// ---- formats ------------------------------------------------------------------------------------------------------------

/// The company's number and what MixMonitor is told: every extension has its own format.
const FORMATS: [(&str, &str); 8] = [
    ("201", "a.wav"),
    ("202", "sub/b.wav49"),
    ("203", "c.gsm"),
    ("204", "d.ulaw"),
    ("205", "e.alaw"),
    ("206", "f.sln"),
    ("207", "g.sln16"),
    ("208", "h"),
];

fn what_is_said_is_heard_in_the_mp3_whatever_the_format(version: Version) -> Result<()> {
    let mut dialplan = "[from-trunk]\n".to_owned();
    for (number, name) in FORMATS {
        dialplan.push_str(&format!(
            "exten => 74950000{number},1,MixMonitor({name},b)\n same => n,Set(CDR(recordingfile)={})\n \
             same => n,Dial(PJSIP/101,20)\n same => n,Hangup()\n",
            name.rsplit('/').next().unwrap_or(name)
        ));
    }
    let plan = Stage::plan(version)
        .auto()
        .calls("internal = _10X")
        .section("recordings", "link = https://pbx.example.com/records")
        .asterisk(|builder| {
            builder
                .phone("101")
                .load("format_wav_gsm.so")
                .extensions(&dialplan)
        });
    let mut stage = plan.prepare()?;
    let phone = employee(&stage, "101")?;
    let trunk = trunk(&stage)?;
    stage.asterisk.start()?;
    stage.at_work()?;
    stage.play(|stage| {
        let mut lines = Vec::new();
        for (number, _) in FORMATS {
            lines.push(trunk.call_as(&Caller::number(CLIENT), &format!("74950000{number}"))?);
        }
        for line in &lines {
            line.wait_answered()?;
        }
        lines[0].talk(Duration::from_secs(2))?;
        // Who has set the CDR's name himself finds the mp3's there as soon as the two talk.
        let mut ami = stage.asterisk.ami()?;
        until("the mp3 in the CDR", BOUND, || {
            let channels = ami.command("core show channels concise")?;
            let channel = channels
                .lines()
                .find(|line| line.contains("!74950000201!"))
                .and_then(|line| line.split('!').next())
                .context("no channel of the first call")?
                .trim()
                .trim_start_matches("Output: ")
                .to_owned();
            Ok((ami.getvar(Some(&channel), "CDR(recordingfile)")? == "a.mp3").then_some(()))
        })?;
        for line in &lines {
            line.hangup()?;
        }
        let entries = stage.crm.wait_for("all links", BOUND, |entries| {
            links(entries).len() == FORMATS.len()
        })?;
        ensure!(
            entries
                .iter()
                .filter(|entry| field(entry, "event") == "COMPLETED")
                .all(|entry| field(entry, "is_recorded") == "1" && field(entry, "record_link").is_empty()),
            "the ends of the calls: {entries:#?}"
        );
        let mut expected: Vec<String> = FORMATS
            .iter()
            .map(|(_, name)| Path::new(name).with_extension("mp3").display().to_string())
            .collect();
        expected.sort();
        ensure!(files(&monitor(stage)) == expected, "{:?}", files(&monitor(stage)));
        for ((number, name), line) in FORMATS.iter().zip(&lines) {
            let mp3 = monitor(stage).join(name).with_extension("mp3");
            holds(&fs::read(&mp3)?, line).with_context(|| format!("{number}: {}", mp3.display()))?;
        }
        let links = links(&entries);
        for name in &expected {
            ensure!(
                links
                    .iter()
                    .any(|(_, link)| *link == format!("https://pbx.example.com/records/{name}")),
                "no link to {name}: {links:?}"
            );
        }
        let status = stage.row("Recordings")?;
        ensure!(status.contains("8 converted, 0 failed"), "{status}");
        Ok(())
    })?;
    drop(phone);
    Ok(())
}

fn holds(file: &[u8], line: &Line) -> Result<()> {
    let sound = Sound::mp3(file)?;
    let said = line.said()?;
    ensure!(
        sound.duration().abs_diff(said) <= CLOSE,
        "the recording is {:?} long, and they talked for {said:?}",
        sound.duration()
    );
    for (who, tone) in [("the employee", EMPLOYEE), ("the client", OUTSIDE)] {
        let heard = sound.presence(tone);
        ensure!(heard + EDGES >= said, "{who} is heard for {heard:?} of {said:?}");
    }
    let strange = sound.presence(NOBODY);
    ensure!(strange.is_zero(), "{strange:?} of it is what nobody said");
    Ok(())
}

// ---- mode = dialplan ----------------------------------------------------------------------------------------------------

const DIALPLAN: &str = "\
[from-trunk]
exten => 74950000100,1,Set(__CALLFILENAME=in-74950000100-${CALLERID(num)}-${STRFTIME(,,%Y%m%d-%H%M%S)}-${UNIQUEID})
 same => n,MixMonitor(${STRFTIME(,,%Y/%m/%d)}/${CALLFILENAME}.wav,b)
 same => n,NoOp(${PLANFIX_EVENT(INCOMING,,101)})
 same => n,Dial(PJSIP/101,20)
 same => n,Hangup()
exten => h,1,NoOp(${PLANFIX_EVENT(END,,101)})
 same => n,Set(CDR(recordingfile)=${CALLFILENAME}.mp3)
";

fn the_dialplan_reports_the_recording_that_its_variable_names(version: Version) -> Result<()> {
    let plan = Stage::plan(version)
        .calls("internal = _10X")
        .section(
            "recordings",
            "variable = CALLFILENAME\nkeep_original = yes\nlink = https://pbx.example.com/records",
        )
        .asterisk(|builder| builder.phone("101").extensions(DIALPLAN));
    let mut stage = plan.prepare()?;
    let phone = employee(&stage, "101")?;
    let trunk = trunk(&stage)?;
    stage.asterisk.start()?;
    stage.at_work()?;
    stage.play(|stage| {
        let line = trunk.call_as(&Caller::number(CLIENT), "74950000100")?;
        line.talk(Duration::from_secs(1))?;
        line.hangup()?;
        let entries = stage
            .crm
            .wait_for("the link", BOUND, |entries| links(entries).len() == 1)?;
        let taken: Vec<&Value> = entries.iter().filter(|entry| is_taken_in(entry)).collect();
        let order: Vec<&str> = taken
            .iter()
            .map(|entry| match field(entry, "event") {
                "" => field(entry, "cmd"),
                event => event,
            })
            .collect();
        ensure!(
            order.ends_with(&["COMPLETED", "record"]),
            "the link comes behind the end of its call: {order:?}"
        );
        let end = taken[taken.len() - 2];
        ensure!(field(end, "is_recorded") == "1", "{end}");
        let files = files(&monitor(stage));
        ensure!(
            files.len() == 2 && files[0].ends_with(".mp3") && files[1].ends_with(".wav"),
            "{files:?}"
        );
        let link = &links(&entries)[0].1;
        ensure!(
            *link == format!("https://pbx.example.com/records/{}", files[0]),
            "{link} leads not to {files:?}"
        );
        holds(&fs::read(monitor(stage).join(&files[0]))?, &line)
    })?;
    drop(phone);
    Ok(())
}

// ---- a kill in the middle of a call -----------------------------------------------------------------------------------

fn the_recording_of_a_call_that_a_kill_cut_off_gets_its_link(version: Version) -> Result<()> {
    let plan = Stage::plan(version)
        .auto()
        .calls("internal = _10X")
        .section("recordings", "link = https://pbx.example.com/records")
        .asterisk(|builder| {
            builder.phone("101").extensions(
                "[from-trunk]\nexten => 74950000100,1,MixMonitor(cut.wav,b)\n same => n,Dial(PJSIP/101,20)\n",
            )
        });
    let mut stage = plan.prepare()?;
    let phone = employee(&stage, "101")?;
    let trunk = trunk(&stage)?;
    stage.asterisk.start()?;
    stage.at_work()?;
    stage.play(|stage| {
        let line = trunk.call_as(&Caller::number(CLIENT), "74950000100")?;
        line.talk(Duration::from_secs(3))?;
        stage.asterisk.kill9();
        let cut = fs::read(monitor(stage).join("cut.wav"))?;
        // What the kill leaves: nobody has written how long it is.
        ensure!(
            cut.len() > 16_000 && cut[40..44] == [0; 4],
            "{} bytes, {:?}",
            cut.len(),
            &cut[40..44]
        );
        stage.asterisk.start()?;
        stage.at_work()?;
        let entries = stage
            .crm
            .wait_for("the link", BOUND, |entries| !links(entries).is_empty())?;
        let end = entries
            .iter()
            .find(|entry| field(entry, "event") == "COMPLETED" && is_taken_in(entry))
            .context("no end")?;
        ensure!(
            field(end, "status") == "Success" && field(end, "is_recorded") == "1",
            "{end}"
        );
        let sound = Sound::mp3(&fs::read(monitor(stage).join("cut.mp3"))?)?;
        let whole = Duration::from_secs_f64((cut.len() - 44) as f64 / 16_000.0);
        ensure!(
            sound.duration().abs_diff(whole) <= CLOSE,
            "{:?} of {whole:?}",
            sound.duration()
        );
        ensure!(
            sound.presence(OUTSIDE) + EDGES >= whole,
            "the client is heard for {:?}",
            sound.presence(OUTSIDE)
        );
        Ok(())
    })?;
    drop(phone);
    Ok(())
}

// ---- many at once -------------------------------------------------------------------------------------------------------

/// Queues a recording as the end of a call would: `${FILE}` and `${CALL}` come with the originated channel.
const MANY: &str = "\
[from-trunk]
exten => _7495000010X,1,MixMonitor(live-${UNIQUEID}.wav,b)
 same => n,Dial(PJSIP/${EXTEN:-3},20)
 same => n,Hangup()
[end]
exten => s,1,Set(MIXMONITOR_FILENAME=${FILE})
 same => n,NoOp(${PLANFIX_EVENT(COMPLETED,79105550000,101,${CALL},,3,Success,type=in)})
 same => n,Hangup()
[system]
exten => s,1,System(exit ${STATUS})
 same => n,Set(GLOBAL(ANSWER)=${STATUS} ${SYSTEMSTATUS})
 same => n,Hangup()
[nothing]
exten => s,1,Hangup()
";

/// Runs that part of the dialplan on a channel of its own.
fn runs(ami: &mut Ami, context: &str, variables: &str) -> Result<()> {
    let channel = format!("Local/s@{context}");
    let reply = ami.action(&[
        ("Action", "Originate"),
        ("Channel", &channel),
        ("Context", "nothing"),
        ("Exten", "s"),
        ("Priority", "1"),
        ("Async", "true"),
        ("Variable", variables),
    ])?;
    ensure!(reply.is_success(), "Originate was refused");
    Ok(())
}

/// A recording that was made a while ago.
fn put(stage: &Stage, name: &str, sound: &[u8]) -> Result<()> {
    let path = monitor(stage).join(name);
    fs::write(&path, sound)?;
    let quiet = SystemTime::now() - Duration::from_secs(60);
    fs::File::options().write(true).open(&path)?.set_modified(quiet)?;
    Ok(())
}

fn an_encoder_that_hangs_holds_up_neither_system_nor_an_unload(version: Version) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (encoder, pid) = (folder.path().join("encoder"), folder.path().join("pid"));
    let script = format!(
        "#!/bin/sh\ncat >/dev/null\necho $$ >'{0}.new'\nmv '{0}.new' '{0}'\nsleep 1000\n",
        pid.display()
    );
    fs::write(&encoder, script)?;
    fs::set_permissions(&encoder, fs::Permissions::from_mode(0o755))?;
    let section = format!(
        "link = https://pbx.example.com/records\nencoder = {}",
        encoder.display()
    );
    let plan = Stage::plan(version)
        .calls("internal = _10X")
        .section("recordings", &section)
        .asterisk(|builder| builder.extensions(MANY));
    plan.play(|stage| {
        let mut ami = stage.asterisk.ami()?;
        ami.action(&[("Action", "Events"), ("EventMask", "off")])?;
        put(stage, "0.wav", &recording(2))?;
        runs(&mut ami, "end", "FILE=0.wav,CALL=hangs")?;
        until("an encoder at work", BOUND, || Ok(pid.exists().then_some(())))?;
        let encoder = fs::read_to_string(&pid)?.trim().to_owned();
        until("its row in the status", BOUND, || {
            Ok(stage.row("Recordings")?.contains("1 converting").then_some(()))
        })?;
        // Both wait for children of the same process.
        for (status, answer) in [("0", "0 SUCCESS"), ("3", "3 APPERROR")] {
            runs(&mut ami, "system", &format!("STATUS={status}"))?;
            until("what System() says", BOUND, || {
                Ok((ami.getvar(None, "ANSWER")? == answer).then_some(()))
            })?;
        }
        let check = stage.asterisk.cli("planfix check")?;
        ensure!(check.contains("Encoder"), "{check}");
        let unloaded = stage.asterisk.cli("module unload res_planfix.so")?;
        until("the end of the encoder", BOUND, || {
            Ok((!Path::new("/proc").join(&encoder).exists()).then_some(()))
        })
        .context(unloaded)?;
        ensure!(
            files(&monitor(stage)) == ["0.wav"],
            "{:?}",
            files(&monitor(stage))
        );
        let mended = stage
            .settings()
            .replace(&section, "link = https://pbx.example.com/records");
        stage.asterisk.configure("planfix.conf", &mended)?;
        stage.asterisk.cli("module load res_planfix.so")?;
        stage.at_work()?;
        let entries = stage
            .crm
            .wait_for("the link", BOUND, |entries| !links(entries).is_empty())?;
        let expected = (
            "hangs".to_owned(),
            "https://pbx.example.com/records/0.mp3".to_owned(),
        );
        ensure!(links(&entries) == [expected], "{:?}", links(&entries));
        Ok(())
    })
}

fn number_of(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(otherwise)
}

/// An encoder that says when there are two of it, and at what priority it runs.
fn watched_encoder(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("encoder");
    let folder = folder.display();
    let script = format!(
        "#!/bin/sh\nmkdir '{folder}/busy' 2>/dev/null || echo twice >>'{folder}/twice'\n\
         echo \"$(nice) $(ls -l /proc/$$/fd | grep -c -e socket: -e eventfd -e /dev/)\" >>'{folder}/seen'\n\
         lame \"$@\"\nstatus=$?\nrmdir '{folder}/busy'\nexit $status\n"
    );
    fs::write(&path, script)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// A tone, as a wav file of 8 kHz.
fn recording(seconds: u32) -> Vec<u8> {
    let count = seconds * 8_000;
    let mut file = b"RIFF".to_vec();
    file.extend((36 + count * 2).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data");
    file.extend((count * 2).to_le_bytes());
    for number in 0..count {
        let angle = std::f64::consts::TAU * 440.0 * f64::from(number) / 8_000.0;
        #[allow(clippy::cast_possible_truncation, reason = "the amplitude is far within i16")]
        let sample = (8_000.0 * angle.sin()) as i16;
        file.extend(sample.to_le_bytes());
    }
    file
}

fn a_killed_asterisk_loses_no_recording_and_calls_hear_nothing_of_the_encoder(
    version: Version,
) -> Result<()> {
    let (many, talks) = (number_of("RECORDINGS", 40), number_of("CALLS", 4));
    let folder = tempfile::tempdir()?;
    let encoder = watched_encoder(folder.path())?;
    let plan = Stage::plan(version)
        .calls("internal = _10X")
        .section(
            "recordings",
            &format!(
                "link = https://pbx.example.com/records\nencoder = {}",
                encoder.display()
            ),
        )
        .asterisk(|builder| builder.phone("101").phone("102").extensions(MANY));
    let mut stage = plan.prepare()?;
    let phones = [employee(&stage, "101")?, employee(&stage, "102")?];
    let trunk = trunk(&stage)?;
    stage.asterisk.start()?;
    stage.at_work()?;
    let sound = recording(10);
    let quiet = SystemTime::now() - Duration::from_secs(60);
    for number in 0..many {
        let path = monitor(&stage).join(format!("{number}.wav"));
        fs::write(&path, &sound)?;
        fs::File::options().write(true).open(&path)?.set_modified(quiet)?;
    }
    stage.play(|stage| {
        let mut lines = Vec::new();
        for number in 0..talks {
            let exten = format!("7495000010{}", 1 + number % 2);
            lines.push(trunk.call_as(&Caller::number(CLIENT), &exten)?);
        }
        for line in &lines {
            line.wait_answered()?;
        }
        let lost = |lines: &[Line]| -> Result<(u64, u64, Duration)> {
            let mut sum = (0, 0, Duration::ZERO);
            for line in lines {
                let reception = line.reception()?;
                sum.0 += u64::from(reception.packets);
                sum.1 += u64::from(reception.lost);
                sum.2 = sum.2.max(reception.longest_pause);
            }
            Ok(sum)
        };
        lines[0].talk(Duration::from_secs(1))?;
        let before = lost(&lines)?;
        let begun = Instant::now();
        let mut ami = stage.asterisk.ami()?;
        ami.action(&[("Action", "Events"), ("EventMask", "off")])?;
        for number in 0..many {
            runs(&mut ami, "end", &format!("FILE={number}.wav,CALL=many-{number}"))?;
        }
        let third = |stage: &Stage| files(&monitor(stage)).iter().filter(|name| name.ends_with(".mp3")).count();
        until("a third of the recordings converted", 10 * BOUND, || {
            Ok((third(stage) >= many / 3).then_some(()))
        })?;
        // Whatever was promised has reached the spool by then.
        stage.crm.wait_for("the ends of all calls", BOUND, |entries| {
            entries.iter().filter(|entry| field(entry, "event") == "COMPLETED" && is_taken_in(entry)).count() == many
        })?;
        let (took, converted, after) = (begun.elapsed(), third(stage), lost(&lines)?);
        let (packets, gone) = (after.0 - before.0, after.1 - before.1);
        println!(
            "Asterisk {version}: {talks} calls, {converted} recordings of 10 s in {took:?}; {packets} packets of voice, {gone} \
             lost, longest pause {:?} (before: {:?})",
            after.2, before.2
        );
        ensure!(packets > 0 && gone * 100 <= packets, "{gone} of {packets} packets of voice are lost");
        stage.asterisk.kill9();
        // The encoder that was at work has come to the end of its input.
        until("the end of the last encoder", BOUND, || Ok((!folder.path().join("busy").exists()).then_some(())))?;
        stage.asterisk.start()?;
        stage.at_work()?;
        // A request whose answer the kill has cut off comes twice.
        let distinct = |entries: &[Value]| links(entries).into_iter().collect::<BTreeSet<_>>();
        let entries =
            stage.crm.wait_for("every link", 20 * BOUND, |entries| distinct(entries).len() >= many)?;
        let told: Vec<_> = distinct(&entries).into_iter().collect();
        let mut expected: Vec<(String, String)> = (0..many)
            .map(|number| (format!("many-{number}"), format!("https://pbx.example.com/records/{number}.mp3")))
            .collect();
        expected.sort();
        ensure!(told == expected, "{} links of {many}", told.len());
        println!("Asterisk {version}: all {many} links after {:?}, the kill in between", begun.elapsed());
        ensure!(!folder.path().join("twice").exists(), "the encoder ran twice at a time");
        let seen = fs::read_to_string(folder.path().join("seen"))?;
        // Standard output and standard error lead nowhere; everything else of Asterisk's is closed.
        ensure!(
            seen.lines().all(|line| line == "19 2"),
            "priority and descriptors of the encoder: {:?}",
            seen.lines().next()
        );
        let left: Vec<String> = files(&monitor(stage))
            .into_iter()
            .filter(|name| !name.ends_with(".mp3") && !name.starts_with("live-"))
            .collect();
        ensure!(left.is_empty(), "{left:?} are left");
        Ok(())
    })?;
    drop(phones);
    Ok(())
}
