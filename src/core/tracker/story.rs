//! What happened in a call and what was made of it, for `planfix show call`.
//!
//! Invariant: it never grows beyond some 12 KB; what does not fit is counted and said.

use std::fmt::Write as _;

use crate::core::durations::Micros;

/// A call with a hundred records has some 5 KB. A conference that lasts all day must not take the memory of a thousand calls.
const MOST: usize = 12 * 1024;

/// A long line.
const LINE: usize = 128;
/// How much more room is made at once.
const PORTION: usize = 384;

/// Lines, each with its moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    began: Micros,
    text: String,
    left_out: u32,
}

impl Story {
    /// Adds a line.
    pub fn tell(&mut self, at: Micros, line: std::fmt::Arguments<'_>) {
        if self.text.is_empty() {
            self.began = at;
        }
        if self.text.len() >= MOST {
            self.left_out += 1;
            return;
        }
        let since = at.saturating_sub(self.began);
        let before = self.text.len();
        // Doubling would leave half of it empty in every call.
        if self.text.capacity() - before < LINE {
            self.text.reserve_exact(PORTION);
        }
        let _ = writeln!(
            self.text,
            "{:4}.{:03}  {line}",
            since / 1_000_000,
            since / 1_000 % 1_000
        );
        // A line break in a name would make two lines of one.
        if self.text[before..].matches('\n').count() > 1 {
            let line = self.text.split_off(before).replace(['\n', '\r'], " ");
            self.text.push_str(line.trim_end());
            self.text.push('\n');
        }
    }

    /// When it began: microseconds since 1970.
    #[must_use]
    pub fn began(&self) -> Micros {
        self.began
    }

    /// Puts what happened in another call, which has been joined with this one, before it.
    pub fn prepend(&mut self, other: &Self) {
        if other.text.is_empty() {
            return;
        }
        let own = std::mem::replace(self, other.clone());
        for line in std::iter::once("(joined with what follows, whose time counts from its own beginning)")
            .chain(own.text.lines())
        {
            if self.text.len() < MOST {
                let _ = writeln!(self.text, "{line}");
            } else {
                self.left_out += 1;
            }
        }
        self.left_out += own.left_out;
    }

    /// The lines.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.text.clone();
        if self.left_out > 0 {
            let _ = writeln!(text, "({} more lines are left out)", self.left_out);
        }
        text
    }

    /// Bytes that it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.text.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, Story};

    #[test]
    fn lines_count_from_the_first() {
        let mut story = Story::default();
        story.tell(5_000_000, format_args!("one"));
        story.tell(6_234_000, format_args!("two\nlines"));
        assert_eq!(story.text(), "   0.000  one\n   1.234  two lines\n");
        assert_eq!(story.began(), 5_000_000);
    }

    #[test]
    fn it_is_bounded_and_says_so() {
        let mut story = Story::default();
        for n in 0..10_000 {
            story.tell(n, format_args!("line {n}"));
        }
        assert!(story.bytes() < 3 * MOST, "{}", story.bytes());
        assert!(story.text().contains("more lines are left out"));
        let mut other = Story::default();
        other.tell(1, format_args!("other"));
        other.prepend(&story);
        assert!(other.text().len() < MOST + 200);
    }
}
