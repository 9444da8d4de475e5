//! Text on its way between Rust and C: lossless inwards, NUL-terminated, clean and cut at a character
//! outwards.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_char};
use std::fmt::{self, Write as _};

/// What stands in for one control character, so that it can be neither a line break nor a terminal's command.
fn escaped(character: char, out: &mut impl fmt::Write) -> fmt::Result {
    match character {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_char(' '),
        control if control.is_control() => write!(out, "\\x{:02x}", u32::from(control)),
        plain => out.write_char(plain),
    }
}

/// The text with every control character escaped: one line for a log, a console or a protocol made of lines.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        // Writing to a String cannot fail.
        let _ = escaped(character, &mut clean);
    }
    Cow::Owned(clean)
}

/// The text as one clean line for C. It holds no NUL, because a NUL is a control character.
pub(super) fn c_line(text: &str) -> CString {
    CString::new(one_line(text).into_owned()).unwrap_or_default()
}

/// The bytes of a C string, `""` for a null pointer.
///
/// # Safety
///
/// `text` is null or points to a NUL-terminated string that is neither freed nor changed during `'a`.
pub(super) unsafe fn bytes<'a>(text: *const c_char) -> &'a [u8] {
    if text.is_null() {
        return b"";
    }
    // SAFETY: not null, and the caller vouches for the rest.
    unsafe { CStr::from_ptr(text) }.to_bytes()
}

/// As [`bytes`], read as UTF-8; what is not UTF-8 becomes U+FFFD.
///
/// # Safety
///
/// As [`bytes`].
pub(super) unsafe fn lossy<'a>(text: *const c_char) -> Cow<'a, str> {
    // SAFETY: the caller vouches for it.
    String::from_utf8_lossy(unsafe { bytes(text) })
}

/// The longest beginning of `text` that has at most `limit` bytes and does not end inside a UTF-8 character.
///
/// Text that is not UTF-8 is cut at the limit itself when no character begins within the last four bytes.
pub fn cut(text: &[u8], limit: usize) -> &[u8] {
    if text.len() <= limit {
        return text;
    }
    let continues = |at: usize| text[at] & 0xc0 == 0x80;
    let start = (limit.saturating_sub(3)..=limit)
        .rev()
        .find(|at| !continues(*at))
        .unwrap_or(limit);
    &text[..start]
}

/// Copies `text` up to its first NUL into a C buffer, cut at a character, always terminated.
///
/// # Safety
///
/// `buffer` is writable for `length` bytes, and nobody else uses it during the call.
pub(super) unsafe fn write_truncated(text: &[u8], buffer: *mut c_char, length: usize) {
    if buffer.is_null() || length == 0 {
        return;
    }
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = cut(text, length - 1);
    // SAFETY: text.len() <= length - 1, so text and its NUL fit in what the caller vouches for; a Rust slice
    // and the caller's buffer cannot overlap, since nobody else uses the latter.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), buffer.cast::<u8>(), text.len());
        buffer.add(text.len()).write(0);
    }
}

/// One line of bounded length in memory of its own: what is logged on a channel's thread costs no allocation.
///
/// Invariant: `bytes[..length]` is UTF-8 without control characters, `bytes[length]` is NUL.
pub(super) struct Line<const SIZE: usize> {
    bytes: [u8; SIZE],
    length: usize,
    full: bool,
}

impl<const SIZE: usize> Line<SIZE> {
    pub(super) fn new() -> Self {
        const { assert!(SIZE > 4) };
        Self {
            bytes: [0; SIZE],
            length: 0,
            full: false,
        }
    }

    pub(super) fn of(text: impl fmt::Display) -> Self {
        let mut line = Self::new();
        // A line that is full swallows the rest, so this only fails when the Display itself does: then what
        // came stands.
        let _ = write!(line, "{text}");
        line
    }

    pub(super) fn as_ptr(&self) -> *const c_char {
        self.bytes.as_ptr().cast()
    }

    fn push(&mut self, text: &str) {
        // Once something did not fit, nothing later is taken: a line has no holes.
        if self.full || self.length + text.len() >= SIZE {
            self.full = true;
            return;
        }
        self.bytes[self.length..self.length + text.len()].copy_from_slice(text.as_bytes());
        self.length += text.len();
        // INVARIANT: the terminator follows; `length < SIZE` was checked above.
        self.bytes[self.length] = 0;
    }
}

/// Takes clean text; [`fmt::Write`] of [`Line`] puts the escapes in front of it.
struct Clean<'a, const SIZE: usize>(&'a mut Line<SIZE>);

impl<const SIZE: usize> fmt::Write for Clean<'_, SIZE> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push(text);
        Ok(())
    }
}

impl<const SIZE: usize> fmt::Write for Line<SIZE> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() < SIZE - self.length && !text.chars().any(char::is_control) {
            self.push(text);
            return Ok(());
        }
        text.chars()
            .try_for_each(|character| escaped(character, &mut Clean(self)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through_c(text: &[u8], length: usize) -> Vec<u8> {
        let mut buffer = vec![0x55_u8; length + 1];
        // SAFETY: the buffer has `length` bytes and one more, which must stay untouched.
        unsafe { write_truncated(text, buffer.as_mut_ptr().cast(), length) };
        assert_eq!(buffer[length], 0x55, "written behind the buffer");
        buffer.truncate(length);
        buffer
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default()
            .to_vec()
    }

    #[test]
    fn a_result_is_cut_at_a_character_and_terminated() {
        assert_eq!(through_c(b"QUEUED", 16), b"QUEUED");
        assert_eq!(through_c(b"QUEUED", 7), b"QUEUED");
        assert_eq!(through_c(b"QUEUED", 6), b"QUEUE");
        assert_eq!(through_c(b"QUEUED", 1), b"");
        assert_eq!(through_c("Ян".as_bytes(), 4), "Я".as_bytes());
        assert_eq!(through_c("a😀".as_bytes(), 5), b"a");
        assert_eq!(through_c("a😀".as_bytes(), 6), "a😀".as_bytes());
        assert_eq!(through_c(&[0x80; 9], 9), [0x80; 8]);
        assert_eq!(through_c(b"a\0b", 9), b"a");
    }

    #[test]
    fn a_line_has_no_control_characters_and_ends_at_a_character() {
        let text = |line: &Line<16>| String::from_utf8(line.bytes[..line.length].to_vec()).unwrap();
        assert_eq!(text(&Line::of("a\nb\x1b[1m")), "a\\nb\\x1b[1m");
        assert_eq!(text(&Line::of("0123456789abcdef")), "0123456789abcde");
        assert_eq!(text(&Line::of("0123456789abcdЯx")), "0123456789abcd");
        assert_eq!(
            text(&Line::of(format_args!("{}{}", "0123456789abcdeЯ", "x"))),
            "0123456789abcde"
        );
        assert_eq!(
            one_line("a\r\nAction: Originate\0"),
            "a\\r\\nAction: Originate\\x00"
        );
        assert!(matches!(one_line("Привет, %s"), Cow::Borrowed(_)));
    }
}
