//! The harness itself, without the module: both versions start, take calls and end without a trace.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use harness::{Asterisk, Sipp, Version, free_udp_port, until};

const EXTENSIONS: &str = "\
[from-internal]
exten => _1XX,1,Set(CDR(userfield)=${CALLERID(num)})
 same => n,Dial(PJSIP/${EXTEN},20)
 same => n,Hangup(${HANGUPCAUSE})
exten => _+X.,1,Dial(PJSIP/trunk/sip:${EXTEN}@${TRUNK},20)
exten => 600,1,Answer()
 same => n,Playback(hello-world)
 same => n,Hangup()
[from-trunk]
exten => _X.,1,Verbose(1,trunk call from ${CALLERID(num)})
 same => n,Dial(PJSIP/101,1)
 same => n,Hangup(19)
";

const BOUND: Duration = Duration::from_secs(30);

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn start(version: Version) -> Result<Asterisk> {
    let trunk = free_udp_port();
    Asterisk::builder(version)
        .phone("101")
        .phone("102")
        .trunk_at(trunk)
        .extensions(&format!("[globals]\nTRUNK=127.0.0.2:{trunk}\n{EXTENSIONS}"))
        .start()
}

fn calls(asterisk: &Asterisk) -> Result<()> {
    let sip = asterisk.sip();
    let phone = asterisk.phone("101");

    let callee = Sipp::uas_answer(millis(100)).at(phone).start()?;
    let mut ami = asterisk.ami()?;
    Sipp::uac_call("102", "101", millis(200))
        .to(sip)
        .run()?
        .ensure_success()?;
    callee.wait()?.ensure_success()?;
    let hangup = ami.event(BOUND, |event| event.is_event("Hangup"))?;
    ensure!(
        hangup.is_some_and(|event| event.get("Uniqueid").is_some()),
        "no Hangup event came"
    );

    let callee = Sipp::uas_hangup(millis(50), millis(100)).at(phone).start()?;
    Sipp::uac_listen("102", "101").to(sip).run()?.ensure_success()?;
    callee.wait()?.ensure_success()?;

    let callee = Sipp::uas_busy().at(phone).start()?;
    Sipp::uac_refused("102", "101", 486)
        .to(sip)
        .run()?
        .ensure_success()?;
    callee.wait()?.ensure_success()?;

    let callee = Sipp::uas_decline().at(phone).start()?;
    Sipp::uac_refused("102", "101", 403)
        .to(sip)
        .run()?
        .ensure_success()?;
    callee.wait()?.ensure_success()?;

    let callee = Sipp::uas_noanswer().at(phone).start()?;
    Sipp::uac_cancel("102", "101", millis(100))
        .to(sip)
        .run()?
        .ensure_success()?;
    callee.wait()?.ensure_success()?;

    let callee = Sipp::uas_noanswer().at(phone).start()?;
    Sipp::uac_refused("74951234567", "74950000000", 480)
        .from_trunk()
        .to(sip)
        .run()?
        .ensure_success()?;
    callee.wait()?.ensure_success()?;
    ensure!(
        asterisk.log().contains("trunk call from 74951234567"),
        "the trunk was not recognised"
    );

    let provider = Sipp::uas_answer(millis(50)).at(asterisk.trunk()).start()?;
    Sipp::uac_call("101", "+74951234567", millis(50))
        .to(sip)
        .run()?
        .ensure_success()?;
    provider.wait()?.ensure_success()?;

    let heard = Sipp::uac_listen("102", "600").to(sip).run()?.ensure_success()?;
    ensure!(
        heard.messages.contains("BYE"),
        "the greeting did not end the call"
    );
    ensure!(
        !asterisk.log().contains("does not exist"),
        "the sounds are not found:\n{}",
        asterisk.log()
    );

    let callee = Sipp::uas_answer(millis(0)).at(phone).calls(20).start()?;
    let many = Sipp::uac_call("102", "101", millis(100))
        .to(sip)
        .calls(20)
        .rate(20.0)
        .run()?
        .ensure_success()?;
    ensure!(
        many.successful() == 20,
        "{} of 20 calls went well",
        many.successful()
    );
    callee.wait()?.ensure_success()?;
    Ok(())
}

fn whole_life(version: Version) -> Result<()> {
    let mut asterisk = start(version)?;
    let said = asterisk.cli("core show version")?;
    ensure!(
        said.starts_with(&format!("Asterisk {version}.")),
        "it says {said}"
    );
    calls(&asterisk).with_context(|| asterisk.log())?;

    let mut ami = asterisk.ami()?;
    ensure!(
        ami.command("core show version")?.starts_with("Asterisk"),
        "Command printed nothing"
    );
    ensure!(
        ami.getvar(None, "MATH(2+3,int)")? == "5",
        "Getvar does not calculate"
    );
    let list = ami.action(&[("Action", "PJSIPShowEndpoints")])?;
    ensure!(
        list.events.len() == 3,
        "two phones and a trunk are expected: {list:?}"
    );
    ensure!(
        !ami.action(&[("Action", "NoSuchAction")])?.is_success(),
        "an unknown action succeeded"
    );

    ensure!(asterisk.threads()?.len() > 5, "too few threads");
    ensure!(asterisk.open_fds()?.len() > 5, "too few descriptors");
    ensure!(asterisk.rss_kib()? > 5_000, "too little memory");

    let first = asterisk.pid()?;
    asterisk.kill9();
    ensure!(!asterisk.is_running() && !runs(first), "it survived SIGKILL");
    asterisk.start()?;
    let second = asterisk.pid()?;
    ensure!(second != first, "the process id did not change");
    asterisk.stop_now(BOUND)?;
    ensure!(!runs(second), "it runs still");

    asterisk.start()?;
    let third = asterisk.pid()?;
    asterisk.cli("core restart now").ok();
    until("the restart", BOUND, || {
        Ok((asterisk.console().matches("PBX UUID").count() >= 4).then_some(()))
    })?;
    until("the console after the restart", BOUND, || {
        Ok(asterisk.has_booted().then_some(()))
    })?;
    ensure!(
        asterisk.pid()? == third && asterisk.is_running(),
        "core restart changed the process"
    );
    let scratch = asterisk.scratch().to_owned();
    drop(asterisk);
    ensure!(
        !runs(third) && !scratch.exists(),
        "dropping left something behind"
    );
    Ok(())
}

fn runs(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn asterisk_22_lives_and_dies() -> Result<()> {
    whole_life(Version::V22)
}

#[test]
fn asterisk_16_lives_and_dies() -> Result<()> {
    whole_life(Version::V16)
}

/// What [`harness::Builder::env`] says about libraries for `LD_PRELOAD`.
#[test]
fn a_preloaded_library_reaches_both() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("shim.c");
    let shim = folder.path().join("shim.so");
    std::fs::write(
        &source,
        "#include <math.h>\ndouble preloaded(double x) { return pow(x, 2); }\n",
    )?;
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&shim, &source])
        .status()?;
    ensure!(built.success(), "cc failed");
    for version in Version::ALL {
        let asterisk = Asterisk::builder(version).env("LD_PRELOAD", &shim).start()?;
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", asterisk.pid()?))?;
        ensure!(maps.contains("shim.so"), "Asterisk {version} runs without it");
    }
    Ok(())
}

#[test]
fn a_panic_leaves_no_process() {
    let held = thread::spawn(|| {
        let asterisk = start(Version::V22).expect("Asterisk starts");
        let pid = asterisk.pid().expect("it was started");
        std::panic::panic_any(pid);
    });
    let pid = held
        .join()
        .expect_err("it panicked")
        .downcast::<u32>()
        .expect("with the process id");
    assert!(!runs(*pid), "process {pid} outlived the panic");
}
