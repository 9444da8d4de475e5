//! The program `planfix-sandbox`; `--help` says what it does.

#![forbid(unsafe_code)]

use planfix_sandbox::{Invocation, Sandbox};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::mpsc;

fn main() -> ExitCode {
    let environment = |name: &str| std::env::var(name).ok();
    match Invocation::parse(std::env::args_os().skip(1), environment) {
        Ok(Invocation::Print(text)) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Ok(Invocation::Run {
            options,
            until_stdin_closes,
        }) => match run(*options, until_stdin_closes) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("planfix-sandbox: {error}");
                ExitCode::FAILURE
            }
        },
        Err(error) => {
            eprintln!("planfix-sandbox: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(options: planfix_sandbox::Options, until_stdin_closes: bool) -> std::io::Result<()> {
    let (end, ended) = mpsc::channel();
    // Before the first line of output: whoever has read it may send a signal at once.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let sandbox = Sandbox::start(options)?;
    {
        let mut out = std::io::stdout().lock();
        writeln!(out, "listening on {}", sandbox.url())?;
        writeln!(out, "control on {}", sandbox.control())?;
        out.flush()?;
    }
    let signalled = end.clone();
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            // The receiver is gone only when the program ends anyway.
            let _ = signalled.send(());
        }
    });
    if until_stdin_closes {
        std::thread::spawn(move || {
            let mut scrap = [0; 1024];
            while std::io::stdin().read(&mut scrap).is_ok_and(|size| size > 0) {}
            let _ = end.send(());
        });
    }
    // An error means that nobody is left who could say so, and that is an end as well.
    let _ = ended.recv();
    drop(sandbox);
    Ok(())
}
