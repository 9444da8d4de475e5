//! What the console says in words.

use crate::ast::cli::Out;
use crate::core::table::{WIDTH, wrap};

/// Writes a sentence, in as many lines as a narrow terminal needs.
pub(super) fn say(out: &mut Out, sentence: &str) {
    for line in wrap(sentence, WIDTH) {
        out.line(&line);
    }
}
