//! Plays a trace of `planfix record` and prints the requests: `cargo run --no-default-features --example play FILE [CALLID]`.

use std::path::Path;
use std::process::ExitCode;

use res_planfix::delivery::player::play;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (path, callid) = match &args[..] {
        [path] => (path, None),
        [path, callid] => (path, Some(callid.as_str())),
        _ => {
            eprintln!("usage: play FILE [CALLID]");
            return ExitCode::FAILURE;
        }
    };
    match play(Path::new(path), callid, |line| println!("{line}")) {
        Ok(count) => {
            let left = count.channels;
            println!(
                "{} records, {} requests, {left} channels left.",
                count.records, count.requests
            );
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}
