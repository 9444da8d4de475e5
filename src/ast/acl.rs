//! Named access control lists, as acl.conf has them.

use std::net::IpAddr;

use super::text;
use crate::sys;

/// What a list says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Allowed,
    Denied,
    /// There is no list of that name, or it has no rules: Asterisk would let everybody in then, who names a list does not want that.
    Undefined,
}

/// Whether who comes from there may come in: an empty name is no list, and lets everybody in. Somebody of whom it cannot be told from
/// where he comes is in no list.
pub fn verdict(list: &str, address: Option<IpAddr>) -> Access {
    if list.is_empty() {
        return Access::Allowed;
    }
    address.map_or(Access::Denied, |address| access(list, address))
}

/// Asks the list of that name. A list in a database is read there each time.
fn access(list: &str, address: IpAddr) -> Access {
    let (list, address) = (text::c_line(list), text::c_line(&address.to_string()));
    // SAFETY: two strings that end with NUL.
    match unsafe { sys::shim_acl(list.as_ptr(), address.as_ptr()) } {
        sys::SHIM_ACL_ALLOWED => Access::Allowed,
        sys::SHIM_ACL_DENIED => Access::Denied,
        _ => Access::Undefined,
    }
}
