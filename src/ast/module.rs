//! The module as Asterisk's loader sees it: load, reload, unload, and which Asterisk this is.
//!
//! Invariants:
//! - nothing of ours runs in an Asterisk of another major version than the one compiled for: the loader
//!   compares build options only, and Debian's 16 and 22 have the same (structures then have the wrong shape,
//!   without a word);
//! - load never answers AST_MODULE_LOAD_FAILURE, which ends Asterisk's start;
//! - whatever a load that declined or panicked has left behind is taken down by an unload.

use std::ffi::c_int;

use super::guard::{self, Refused};
use super::{log, text};
use crate::sys;

/// What a load came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    Loaded,
    /// Not loaded, and Asterisk goes on without. What the operator can mend with a reload should be loaded
    /// and disabled instead.
    Declined,
}

/// What a reload came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    Done,
    /// The old configuration goes on.
    Failed,
}

/// What an unload came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unload {
    Done,
    /// The module stays. Asterisk ignores this when it shuts down or the unload is forced.
    Refused,
}

impl Refused for Load {
    const REFUSED: Self = Self::Declined;
}

impl Refused for Reload {
    const REFUSED: Self = Self::Failed;
}

impl Refused for Unload {
    const REFUSED: Self = Self::Refused;
}

/// What `lib.rs` hands to `export!`.
pub trait Module {
    fn load() -> Load;
    fn reload() -> Reload;
    /// Takes everything down. Also called after a load that declined or panicked and when Asterisk ends, and may be
    /// called twice.
    fn unload() -> Unload;
}

/// 12 hex digits that differ whenever the sources or the Asterisk they were built for differ.
pub const BUILD_ID: &str = env!("PLANFIX_BUILD_ID");

/// The major version of the headers this was compiled with, as text.
pub const COMPILED_VERSION: &str = env!("PLANFIX_ASTERISK_MAJOR");

/// The major version of the headers this was compiled with.
pub const COMPILED_MAJOR: u32 = match u32::from_str_radix(COMPILED_VERSION, 10) {
    Ok(major) => major,
    Err(_) => panic!("build.rs sets PLANFIX_ASTERISK_MAJOR to a number"),
};

/// The Asterisk that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// As `core show version` has it, such as `22.10.1~dfsg+~cs6.17.60671434-1`.
    pub text: String,
    /// `ast_get_version_num()`, such as 221001; 999999 for a build from a git checkout.
    pub number: u32,
    /// 22; `None` when neither the number nor the text tells.
    pub major: Option<u32>,
}

impl Running {
    fn read() -> Self {
        // SAFETY: both return a static string of Asterisk's.
        let (text, number) = unsafe {
            (
                text::lossy(sys::ast_get_version()).into_owned(),
                text::lossy(sys::ast_get_version_num()).into_owned(),
            )
        };
        let number = number.trim().parse().unwrap_or(0);
        Self {
            major: major(&text, number),
            text,
            number,
        }
    }
}

/// The major version from `ABBCC` (Asterisk's `Makefile`), or where a git build has 999999 there, from the
/// text.
fn major(text: &str, number: u32) -> Option<u32> {
    let plausible = |major: &u32| (10..=98).contains(major);
    let from_number = Some(number / 10_000).filter(plausible);
    from_number.or_else(|| {
        // "GIT-22-22.4.0-rc1-12-g1a2b3c", "certified/22.8-cert1", "SVN-trunk-r1".
        text.split(|character: char| !character.is_ascii_digit())
            .find_map(|word| word.parse().ok().filter(plausible))
    })
}

/// The Asterisk that runs.
pub fn running() -> Running {
    Running::read()
}

/// Why this module must not run here, if it must not: it was compiled for another major version.
pub fn mismatch() -> Option<String> {
    let running = running();
    running.major.filter(|major| *major != COMPILED_MAJOR).map(|_| {
        format!(
            "res_planfix was built for Asterisk {COMPILED_MAJOR} and this is Asterisk {}: it stays unloaded. \
             Build it against the headers of this Asterisk (ASTERISK_INCLUDE_DIR) and install it again.",
            running.text
        )
    })
}

/// Asterisk is going down, or is about to when the last call has ended.
pub fn shutting_down() -> bool {
    // SAFETY: reads a flag.
    unsafe { sys::ast_shutting_down() != 0 }
}

/// When this Asterisk was started, in milliseconds since 1970.
pub fn started() -> u64 {
    // SAFETY: asterisk_daemon() of main/asterisk.c sets it once, before it loads the first module; it is not changed after
    // that (the same in 16 to 23). It is copied out, not borrowed.
    let started = unsafe { sys::ast_startuptime };
    let seconds = u64::try_from(started.tv_sec).unwrap_or(0);
    seconds * 1_000 + u64::try_from(started.tv_usec).unwrap_or(0) / 1_000
}

/// Asterisk has loaded all its modules.
pub fn fully_booted() -> bool {
    // SAFETY: reads a flag.
    unsafe { sys::shim_fully_booted() != 0 }
}

/// Behind `res_planfix_load`; only [`export!`] uses it.
#[doc(hidden)]
pub fn load<M: Module>() -> c_int {
    guard::install_panic_hook();
    log::install();
    let outcome = guard::uncounted("load", || match mismatch() {
        Some(reason) => {
            ::log::error!(target: "res_planfix", "{reason}");
            None
        }
        None => Some(M::load()),
    });
    if outcome == Some(Load::Loaded) {
        // SAFETY: a function of an image that is never unmapped.
        if unsafe { sys::ast_register_atexit(Some(exit::<M>)) } != 0 {
            ::log::warn!(
                target: "res_planfix",
                "The module is not told of Asterisk's end: there is no memory. Unload it before 'core stop now'."
            );
        }
        return sys::AST_MODULE_LOAD_SUCCESS as c_int;
    }
    // Asterisk forgets a module that declines, so nothing of ours may stay registered. A mismatch registered
    // nothing.
    if outcome.is_some() {
        guard::uncounted("unload", M::unload);
    }
    guard::remove_panic_hook();
    sys::AST_MODULE_LOAD_DECLINE as c_int
}

impl Refused for Option<Load> {
    const REFUSED: Self = Some(Load::Declined);
}

/// Behind `res_planfix_reload`; only [`export!`] uses it.
#[doc(hidden)]
pub fn reload<M: Module>() -> c_int {
    match guard::uncounted("reload", M::reload) {
        Reload::Done => 0,
        // The loader tells a reload that went well from one that did not, and nothing finer (`main/loader.c`,
        // `reload_module`).
        Reload::Failed => -1,
    }
}

/// `core stop now`, `core restart now` and SIGTERM unload no module (`main/asterisk.c`, `really_quit`), but they do call
/// whatever was registered for this. The channels are hung up by then, and what their dialplan said last is accepted.
unsafe extern "C" fn exit<M: Module>() {
    guard::uncounted("exit", || {
        M::unload();
    });
}

/// Behind `res_planfix_unload`; only [`export!`] uses it.
#[doc(hidden)]
pub fn unload<M: Module>() -> c_int {
    // SAFETY: only compared with what is registered, which this need not be.
    unsafe { sys::ast_unregister_atexit(Some(exit::<M>)) };
    match guard::uncounted("unload", M::unload) {
        Unload::Done => {
            guard::remove_panic_hook();
            0
        }
        Unload::Refused => -1,
    }
}

/// Gives Asterisk the type's load, reload and unload. Used once, in `lib.rs`.
macro_rules! export {
    ($module:ty) => {
        const _: () = {
            // SAFETY: the prefix is ours alone, and the image exports nothing else.
            #[unsafe(no_mangle)]
            extern "C" fn res_planfix_load() -> ::std::ffi::c_int {
                $crate::ast::module::load::<$module>()
            }
            // SAFETY: as above.
            #[unsafe(no_mangle)]
            extern "C" fn res_planfix_reload() -> ::std::ffi::c_int {
                $crate::ast::module::reload::<$module>()
            }
            // SAFETY: as above.
            #[unsafe(no_mangle)]
            extern "C" fn res_planfix_unload() -> ::std::ffi::c_int {
                $crate::ast::module::unload::<$module>()
            }
        };
    };
}
pub(crate) use export;

#[cfg(test)]
mod tests {
    use super::major;

    #[test]
    fn the_major_version_is_read_from_releases_and_git_builds() {
        assert_eq!(major("22.10.1~dfsg+~cs6.17.60671434-1", 221_001), Some(22));
        assert_eq!(major("16.28.0~dfsg-0+deb11u4", 162_800), Some(16));
        assert_eq!(major("certified/22.8-cert1", 220_801), Some(22));
        assert_eq!(major("GIT-23-23.0.0-12-g1a2b3c", 999_999), Some(23));
        assert_eq!(major("GIT-master-1a2b3c", 999_999), None);
    }
}
