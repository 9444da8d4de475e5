//! Configuration files, read by Asterisk itself: includes, templates and everything else an administrator
//! knows work as they always do.

use std::ffi::CStr;

use super::text;
use crate::sys;

/// One line of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub section: String,
    pub name: String,
    pub value: String,
    /// Where it stands, which for an included file or a template is not the file that was asked for.
    pub file: String,
    /// From 1; 0 when Asterisk does not tell.
    pub line: u32,
}

/// What there was to load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    Missing,
    /// Asterisk could not read it, and has logged file, line and reason.
    Invalid,
    Entries(Vec<Entry>),
}

/// Loads a file of the configuration folder; its entries come in the order of the file.
pub fn load(file: &CStr) -> Loaded {
    let mut config = std::ptr::null_mut();
    // SAFETY: a NUL-terminated string, and a place for a pointer.
    match unsafe { sys::shim_config_load(file.as_ptr(), &raw mut config) } {
        sys::SHIM_CONFIG_LOADED => {}
        sys::SHIM_CONFIG_MISSING => return Loaded::Missing,
        _ => return Loaded::Invalid,
    }
    let asked = file.to_string_lossy();
    let mut entries = Vec::new();
    // SAFETY: the configuration is ours alone until it is destroyed below, so its categories and variables
    // stay as they are. A category's name is handed back as the pointer it was: by it Asterisk tells two
    // sections of one name apart (`main/config.c`).
    unsafe {
        let mut section = sys::ast_category_browse(config, std::ptr::null());
        while !section.is_null() {
            let mut variable = sys::ast_variable_browse(config, section);
            while !variable.is_null() {
                // Asterisk names the file only where it is an included one.
                let file = Some(text::lossy((*variable).file)).filter(|file| !file.is_empty());
                entries.push(Entry {
                    section: text::lossy(section).into_owned(),
                    name: text::lossy((*variable).name).into_owned(),
                    value: text::lossy((*variable).value).into_owned(),
                    file: file.unwrap_or_else(|| asked.clone()).into_owned(),
                    line: u32::try_from((*variable).lineno).unwrap_or(0),
                });
                variable = (*variable).next;
            }
            section = sys::ast_category_browse(config, section);
        }
        sys::ast_config_destroy(config);
    }
    Loaded::Entries(entries)
}
