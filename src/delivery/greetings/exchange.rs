//! Files that take their names together, or none of them does.
//!
//! Invariants:
//! - under a name lies at every moment either all of the old file or all of the new one, never nothing where there was
//!   something: whoever opens it in between hears one whole version, and whoever has it open goes on with the old one;
//! - where one step fails the steps before it are undone, byte for byte;
//! - what is under way lies in the private folder and goes with the value.

use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Steps that are taken together, in their order.
pub(super) struct Exchange {
    tmp: PathBuf,
    steps: Vec<Step>,
}

struct Step {
    /// The name that changes.
    name: PathBuf,
    /// What takes it; `None`: it is removed.
    new: Option<PathBuf>,
    /// What had it.
    old: Old,
    taken: bool,
}

enum Old {
    /// Nothing.
    Nothing,
    /// What lies under this name as well.
    File(PathBuf),
    /// It cannot have a second name: the disk knows no links. Then only a fault of the disk's between two names of one
    /// recording cannot be undone.
    Lost,
}

impl Exchange {
    /// Nothing yet; files under way lie in `tmp`.
    pub(super) fn new(tmp: PathBuf) -> Self {
        Self {
            tmp,
            steps: Vec::new(),
        }
    }

    /// These bytes shall be under that name. They are on the disk when this returns, so that a full one refuses here.
    pub(super) fn put(&mut self, name: PathBuf, bytes: &[u8], modified: SystemTime) -> Result<(), String> {
        let new = self.private_name();
        self.steps.push(Step {
            name,
            new: Some(new.clone()),
            old: Old::Nothing,
            taken: false,
        });
        write(&new, bytes, modified).map_err(|error| format!("{}: {error}", new.display()))
    }

    /// Nothing shall be under that name.
    pub(super) fn remove(&mut self, name: PathBuf) {
        self.steps.push(Step {
            name,
            new: None,
            old: Old::Nothing,
            taken: false,
        });
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Takes all steps, and then `last`, which tells whether it has synced `folder`. Where anything fails all is as it was.
    pub(super) fn commit(
        mut self,
        folder: &Path,
        last: impl FnOnce() -> Result<bool, String>,
    ) -> Result<(), String> {
        let sync = || {
            File::open(folder)
                .and_then(|folder| folder.sync_all())
                .map_err(|error| format!("{}: {error}", folder.display()))
        };
        let done = self
            .take()
            .and_then(|()| last())
            .and_then(|synced| if synced || self.is_empty() { Ok(()) } else { sync() });
        if let Err(text) = done {
            self.undo();
            // The first fault is the one to tell.
            let _ = sync();
            return Err(text);
        }
        Ok(())
    }

    fn take(&mut self) -> Result<(), String> {
        for index in 0..self.steps.len() {
            let old = self.private_name();
            let step = &mut self.steps[index];
            let named = |error: &io::Error| format!("{}: {error}", step.name.display());
            step.old = match fs::hard_link(&step.name, &old) {
                Ok(()) => Old::File(old),
                Err(error) if error.kind() == ErrorKind::NotFound => Old::Nothing,
                Err(_) => Old::Lost,
            };
            let taken = match &step.new {
                Some(new) => fs::rename(new, &step.name),
                None => match fs::remove_file(&step.name) {
                    Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                    removed => removed,
                },
            };
            taken.map_err(|error| named(&error))?;
            step.taken = true;
        }
        Ok(())
    }

    fn undo(&mut self) {
        for step in self.steps.iter_mut().rev().filter(|step| step.taken) {
            let undone = match &step.old {
                Old::File(old) => fs::rename(old, &step.name),
                Old::Nothing if step.new.is_some() => fs::remove_file(&step.name),
                Old::Nothing => Ok(()),
                Old::Lost => Err(ErrorKind::Unsupported.into()),
            };
            if let Err(error) = undone {
                log::error!("{} cannot be put back as it was: {error}", step.name.display());
            }
        }
    }

    fn private_name(&self) -> PathBuf {
        private_name(&self.tmp)
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        for step in &self.steps {
            let old = match &step.old {
                Old::File(old) => Some(old),
                Old::Nothing | Old::Lost => None,
            };
            for file in step.new.iter().chain(old) {
                // A new one has got its name by now, mostly.
                let _ = fs::remove_file(file);
            }
        }
    }
}

/// A name in the private folder that nobody else has.
pub(super) fn private_name(tmp: &Path) -> PathBuf {
    tmp.join(format!("{:016x}", fastrand::u64(..)))
}

/// Writes a sound file, as far as the disk.
pub(super) fn write(path: &Path, bytes: &[u8], modified: SystemTime) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(path)?;
    file.write_all(bytes)?;
    // Whatever the umask is: who backs Asterisk up by its group shall have them.
    file.set_permissions(Permissions::from_mode(0o640))?;
    file.set_times(FileTimes::new().set_modified(modified))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::SystemTime;

    use super::Exchange;

    fn contents(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let mut contents: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(Result::unwrap)
            .filter(|entry| entry.path().is_file())
            .map(|entry| {
                (
                    entry.file_name().into_string().unwrap(),
                    fs::read(entry.path()).unwrap(),
                )
            })
            .collect();
        contents.sort();
        contents
    }

    struct Bench {
        #[expect(dead_code, reason = "held for its Drop")]
        scratch: tempfile::TempDir,
        tmp: std::path::PathBuf,
        folder: std::path::PathBuf,
    }

    fn bench() -> Bench {
        let scratch = tempfile::tempdir().unwrap();
        let (tmp, folder) = (scratch.path().join("tmp"), scratch.path().join("folder"));
        for folder in [&tmp, &folder] {
            fs::create_dir(folder).unwrap();
        }
        fs::write(folder.join("a"), "old a").unwrap();
        fs::write(folder.join("b"), "old b").unwrap();
        Bench { scratch, tmp, folder }
    }

    fn exchange(bench: &Bench) -> Exchange {
        let mut exchange = Exchange::new(bench.tmp.clone());
        for (name, text) in [("a", "new a"), ("c", "new c")] {
            exchange
                .put(bench.folder.join(name), text.as_bytes(), SystemTime::UNIX_EPOCH)
                .unwrap();
        }
        exchange.remove(bench.folder.join("b"));
        exchange.remove(bench.folder.join("nothing"));
        exchange
    }

    #[test]
    fn all_steps_are_taken_and_nothing_is_left() {
        let bench = bench();
        exchange(&bench).commit(&bench.folder, || Ok(false)).unwrap();
        let new = |name: &str| (name.to_owned(), format!("new {name}").into_bytes());
        assert_eq!(contents(&bench.folder), [new("a"), new("c")]);
        assert_eq!(contents(&bench.tmp), []);
    }

    #[test]
    fn a_fault_in_any_step_leaves_all_as_it_was() {
        // The last step, one that cannot be taken after others were, and nothing at all.
        for (blocked, last) in [("", true), ("z", false), ("y", false)] {
            let bench = bench();
            let before = contents(&bench.folder);
            let mut exchange = exchange(&bench);
            if !blocked.is_empty() {
                let folder = bench.folder.join(blocked);
                fs::create_dir(&folder).unwrap();
                if blocked == "z" {
                    exchange.put(folder, b"new", SystemTime::UNIX_EPOCH).unwrap();
                } else {
                    exchange.remove(folder);
                }
            }
            let fault = exchange
                .commit(&bench.folder, || {
                    if last {
                        Err("the disk is full".to_owned())
                    } else {
                        Ok(true)
                    }
                })
                .unwrap_err();
            let named = if last { "the disk is full" } else { blocked };
            assert!(fault.contains(named), "{fault}");
            assert_eq!(contents(&bench.folder), before, "{blocked}");
            assert_eq!(contents(&bench.tmp), []);
        }
    }

    #[test]
    fn what_is_not_committed_is_gone() {
        let bench = bench();
        let before = contents(&bench.folder);
        drop(exchange(&bench));
        assert_eq!(contents(&bench.folder), before);
        assert_eq!(contents(&bench.tmp), []);
    }
}
