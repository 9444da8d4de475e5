//! Which process this is, so that what an earlier one has left can be told from what this one did before a reload.
//!
//! A clock that was set since cannot mix them up, which moments could.

use std::fs;

/// This process's name among all that ever ran on this machine: the machine's start and the process's own, as the kernel counts
/// it (proc(5), `starttime`). `None` where `/proc` does not say.
pub(crate) fn name() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let stat = fs::read("/proc/self/stat").ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The program's name is in parentheses and may hold any of this; what follows it is the third field.
    let (_, fields) = stat.rsplit_once(") ")?;
    let started = fields.split(' ').nth(19)?;
    let boot = boot.trim();
    (!boot.is_empty()).then(|| format!("{boot} {started} {}", std::process::id()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_keeps_its_name_and_no_other_has_it() {
        let mine = super::name().unwrap();
        assert_eq!(Some(&mine), super::name().as_ref());
        let [_, started, pid] = mine.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{mine}")
        };
        assert!(started.parse::<u64>().unwrap() > 0);
        assert_eq!(pid, std::process::id().to_string());
    }
}
