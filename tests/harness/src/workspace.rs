//! Where things lie in the checkout: its root, the modules under test, the binaries cargo built.

use std::env;
use std::path::{Path, PathBuf};

use crate::Version;

/// The root of the checkout.
///
/// # Panics
/// When the checkout was moved after this crate was compiled.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().unwrap_or_else(|e| {
        panic!(
            "the checkout is not at {} any more ({e}): run `cargo clean` and build again",
            root.display()
        )
    })
}

/// The module under test: `target/asterisk-<version>/res_planfix.so` below the checkout, or what
/// `RES_PLANFIX_MODULE_22` and `RES_PLANFIX_MODULE_16` name.
///
/// # Panics
/// When there is none, with the command that makes it.
#[must_use]
pub fn module_path(version: Version) -> PathBuf {
    let variable = format!("RES_PLANFIX_MODULE_{version}");
    let path = env::var_os(&variable).map_or_else(
        || workspace_root().join(format!("target/asterisk-{version}/res_planfix.so")),
        PathBuf::from,
    );
    assert!(
        path.is_file(),
        "{} does not exist: run `make modules` first, or set {variable} to a module that was built for \
         Asterisk {version}",
        path.display()
    );
    path
}

/// A binary of this workspace. Looked for beside the running program first, so that a private target directory
/// and a build profile are honoured, then below `target`.
///
/// # Panics
/// When it was not built yet, with the command that does.
#[must_use]
pub fn target_binary(name: &str) -> PathBuf {
    let beside = env::current_exe().ok();
    let beside = beside
        .iter()
        .flat_map(|exe| exe.ancestors().skip(1).take(2))
        .map(|dir| dir.join(name));
    let root = workspace_root();
    let below = ["release", "debug"].map(|profile| root.join("target").join(profile).join(name));
    beside
        .chain(below)
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!("the program {name} is not built: run `cargo build --workspace --bin {name}` first")
        })
}
