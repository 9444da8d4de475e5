//! A name space of mounts for this program and all that it starts, so that it may have file systems of its own, and none of
//! them is left behind whatever happens.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Whoever finds this in the environment is inside.
const INSIDE: &str = "PLANFIX_CHAOS_INSIDE";

/// Goes on in a name space of its own, as root of this machine or of the name space alone. Returns whether this is one; where
/// the kernel allows none it returns nevertheless.
pub(crate) fn enter() -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let Ok(program) = env::current_exe() else {
        return false;
    };
    let ways: [&[&str]; 2] = [
        &["--mount", "--propagation", "private"],
        &["--user", "--map-root-user", "--mount", "--propagation", "private"],
    ];
    for way in ways {
        let allowed = Command::new("unshare").args(way).arg("true").output();
        if allowed.is_ok_and(|output| output.status.success()) {
            let error = Command::new("unshare")
                .args(way)
                .arg("--")
                .arg(&program)
                .args(env::args_os().skip(1))
                .env(INSIDE, "yes")
                .exec();
            eprintln!("chaos: no name space of its own, {error}");
        }
    }
    false
}
