//! The sandbox's guard: what it announces, receives, logs and does on demand.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Result, ensure};
use harness::Sandbox;
use serde_json::Value;

fn ping(sandbox: &Sandbox) -> Result<String> {
    let mut stream = TcpStream::connect(sandbox.address())?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let body = format!("cmd=ping&planfix_token={}", sandbox.token());
    write!(
        stream,
        "POST /tel/api HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n\r\n{body}",
        sandbox.address(),
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn it_receives_fails_on_demand_and_comes_back() -> Result<()> {
    let mut sandbox = Sandbox::start(&[])?;
    ensure!(
        sandbox
            .url()
            .starts_with(&format!("http://{}", sandbox.address())),
        "{}",
        sandbox.url()
    );
    ensure!(
        ping(&sandbox)?.starts_with("HTTP/1.1 200"),
        "the ping was refused"
    );
    let entries = sandbox.wait_for("a ping", Duration::from_secs(5), |entries| entries.len() == 1)?;
    ensure!(
        !entries[0].to_string().contains(sandbox.token()),
        "the log holds the token: {entries:?}"
    );

    sandbox.fault("status=500,next=1")?;
    ensure!(
        ping(&sandbox)?.starts_with("HTTP/1.1 500"),
        "the fault did not come"
    );
    sandbox.fault("status=500")?;
    sandbox.clear_faults()?;
    ensure!(
        ping(&sandbox)?.starts_with("HTTP/1.1 200"),
        "the fault did not go"
    );
    ensure!(
        sandbox.fault("no-such-fault").is_err(),
        "an unknown fault was taken"
    );
    ensure!(
        matches!(sandbox.get("/_sandbox/state")?, Value::Object(_)),
        "the state is no object"
    );

    sandbox.stop()?;
    ensure!(ping(&sandbox).is_err(), "a stopped sandbox answered");
    sandbox.start_again()?;
    ensure!(
        ping(&sandbox)?.starts_with("HTTP/1.1 200"),
        "it did not come back"
    );
    let entries = sandbox.log()?;
    ensure!(entries.len() == 4, "four pings are expected: {entries:?}");
    Ok(())
}
