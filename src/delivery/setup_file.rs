//! The file that keeps what Planfix has sent by `setup`.
//!
//! Invariant: it is a private file (`delivery::private_file`), and holds what was sent last or what was sent before.

use std::path::{Path, PathBuf};

use super::private_file;
use crate::core::setup::Setup;

/// Room for more than a `setup` can be: its form is bounded to 8 KiB.
const LONGEST: u64 = 64 << 10;

/// Where it lies in that folder.
#[must_use]
pub fn path(folder: &Path) -> PathBuf {
    folder.join("setup.json")
}

/// What it holds; `None` when there is none.
///
/// # Errors
/// A sentence for the operator.
pub fn read(folder: &Path) -> Result<Option<Setup>, String> {
    let path = path(folder);
    let named = |fault: &dyn std::fmt::Display| format!("{}: {fault}", path.display());
    let Some(bytes) = private_file::read(&path, LONGEST).map_err(|error| named(&error))? else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).map_err(|error| named(&error))?;
    Setup::from_text(&text).map(Some).map_err(|fault| named(&fault))
}

/// Writes it, as far as the disk.
///
/// # Errors
/// A sentence for the operator; what was there before stays.
pub fn write(folder: &Path, setup: &Setup) -> Result<(), String> {
    let path = path(folder);
    private_file::replace(&path, &setup.to_text()).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::{path, read, write};
    use crate::core::form::Form;
    use crate::core::setup::Setup;

    fn setup(token: &str) -> Setup {
        let body = format!("planfix_url=https://a.planfix.ru/tel/api&planfix_token={token}");
        Setup::read(&Form::parse(body.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn it_is_kept_for_its_owner_alone_and_replaced_whole() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("planfix");
        assert_eq!(read(&folder), Ok(None));
        for token in ["first", "second"] {
            write(&folder, &setup(token)).unwrap();
            assert_eq!(read(&folder), Ok(Some(setup(token))));
        }
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&path(&folder))), (0o700, 0o600));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn a_link_in_its_place_leads_nowhere() {
        let scratch = tempfile::tempdir().unwrap();
        let elsewhere = scratch.path().join("elsewhere");
        fs::write(&elsewhere, "mine").unwrap();
        symlink(&elsewhere, path(scratch.path())).unwrap();
        write(scratch.path(), &setup("key")).unwrap();
        assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "mine");
        assert_eq!(read(scratch.path()), Ok(Some(setup("key"))));
    }

    #[test]
    fn what_somebody_has_opened_to_others_is_private_again() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("planfix");
        write(&folder, &setup("key")).unwrap();
        let give = |path: &std::path::Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        give(&folder, 0o755);
        give(&path(&folder), 0o644);
        assert_eq!(read(&folder), Ok(Some(setup("key"))));
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&path(&folder))), (0o700, 0o600));
    }

    #[test]
    fn a_disk_that_refuses_is_told_and_the_file_stays() {
        let scratch = tempfile::tempdir().unwrap();
        let taken = scratch.path().join("file");
        fs::write(&taken, "").unwrap();
        let fault = write(&taken, &setup("secret")).unwrap_err();
        assert!(fault.contains("file") && !fault.contains("secret"), "{fault}");
        fs::write(path(scratch.path()), "no json").unwrap();
        let fault = read(scratch.path()).unwrap_err();
        assert!(fault.contains("setup.json"), "{fault}");
    }
}
