//! Asterisk's own small database, which the dialplan calls `DB()`.
//!
//! Each call waits for the database's lock and for SQLite (`main/db.c`): for threads of ours and for the console, not for those that
//! must not wait.

use std::ffi::CString;

use super::text;
use crate::sys;

/// `None` where one of them could not be a name: with a NUL in it.
fn names(family: &str, key: &str) -> Option<(CString, CString)> {
    Some((CString::new(family).ok()?, CString::new(key).ok()?))
}

/// The value of an entry; `None` when there is none.
pub fn get(family: &str, key: &str) -> Option<String> {
    let (family, key) = names(family, key)?;
    // SAFETY: two NUL-terminated strings. What comes back is null or a string that is ours until it is given back, once.
    unsafe {
        let value = sys::shim_database_get(family.as_ptr(), key.as_ptr());
        if value.is_null() {
            return None;
        }
        let text = text::lossy(value).into_owned();
        sys::shim_free(value.cast());
        Some(text)
    }
}

/// Makes or replaces an entry. False when Asterisk could not, which it says in the log.
pub fn put(family: &str, key: &str, value: &str) -> bool {
    let (Some((family, key)), Ok(value)) = (names(family, key), CString::new(value)) else {
        return false;
    };
    // SAFETY: three NUL-terminated strings, which Asterisk copies.
    unsafe { sys::ast_db_put(family.as_ptr(), key.as_ptr(), value.as_ptr()) == 0 }
}

/// Removes an entry. False when Asterisk could not.
pub fn delete(family: &str, key: &str) -> bool {
    let Some((family, key)) = names(family, key) else {
        return false;
    };
    // SAFETY: two NUL-terminated strings.
    unsafe { sys::ast_db_del(family.as_ptr(), key.as_ptr()) == 0 }
}

/// All entries of a family: the key without the family, and the value.
pub fn family(family: &str) -> Vec<(String, String)> {
    /// Gives the list back.
    struct Tree(*mut sys::ast_db_entry);

    impl Drop for Tree {
        fn drop(&mut self) {
            // SAFETY: what `ast_db_gettree` returned, given back once; null is allowed.
            unsafe { sys::ast_db_freetree(self.0) };
        }
    }

    let Ok(name) = CString::new(family) else {
        return Vec::new();
    };
    // SAFETY: a NUL-terminated string; without a second one everything of the family is meant.
    let tree = Tree(unsafe { sys::ast_db_gettree(name.as_ptr(), std::ptr::null()) });
    // Asterisk looks with LIKE, for which an underscore is any character and letters have no case.
    let prefix = format!("/{family}/");
    let mut entries = Vec::new();
    let mut next = tree.0;
    while !next.is_null() {
        // SAFETY: an entry of the list, whose strings live as long as `tree`; the value stands in the entry itself.
        let (key, value, following) = unsafe {
            (
                text::lossy((*next).key),
                text::lossy((&raw const (*next).data).cast()),
                (*next).next,
            )
        };
        if let Some(key) = key.strip_prefix(&prefix) {
            entries.push((key.to_owned(), value.into_owned()));
        }
        next = following;
    }
    entries
}
