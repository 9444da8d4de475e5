//! The folders of this Asterisk, as its asterisk.conf names them.

use std::ffi::{OsStr, c_char};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::text;
use crate::sys;

/// # Safety
///
/// `name` is one of Asterisk's `ast_config_AST_*`: set before the first module is loaded, never changed
/// afterwards.
unsafe fn folder(name: *const c_char) -> PathBuf {
    // SAFETY: the caller vouches for it.
    PathBuf::from(OsStr::from_bytes(unsafe { text::bytes(name) }))
}

macro_rules! folders {
    ($($(#[$doc:meta])* $function:ident = $variable:ident;)*) => {
        $(
            $(#[$doc])*
            pub fn $function() -> PathBuf {
                // SAFETY: one of the variables that `folder` is for.
                unsafe { folder(sys::$variable) }
            }
        )*
    };
}

folders! {
    /// `astetcdir`: planfix.conf.
    config_dir = ast_config_AST_CONFIG_DIR;
    /// `astspooldir`: what must survive a restart.
    spool_dir = ast_config_AST_SPOOL_DIR;
    /// `astspooldir`/monitor: recordings.
    monitor_dir = ast_config_AST_MONITOR_DIR;
    /// `astvarlibdir`.
    var_dir = ast_config_AST_VAR_DIR;
    /// Asterisk's own database, in `astdbdir`.
    database = ast_config_AST_DB;
    /// `astdatadir`: sounds and documentation.
    data_dir = ast_config_AST_DATA_DIR;
    /// `astlogdir`.
    log_dir = ast_config_AST_LOG_DIR;
    /// `astrundir`.
    run_dir = ast_config_AST_RUN_DIR;
    /// `astmoddir`.
    module_dir = ast_config_AST_MODULE_DIR;
}
