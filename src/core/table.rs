//! Tables for a terminal of 80 columns.
//!
//! Invariants: no line is wider than [`WIDTH`]; a cell is cut with `…` rather than wrapped; control characters never
//! reach the terminal.

/// The narrowest terminal that is still common.
pub const WIDTH: usize = 80;

/// How a column is laid out.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    right: bool,
    stretch: bool,
}

impl Column {
    /// Text, as wide as its widest cell.
    #[must_use]
    pub const fn text(title: &'static str) -> Self {
        Self {
            title,
            right: false,
            stretch: false,
        }
    }

    /// Numbers, to the right.
    #[must_use]
    pub const fn number(title: &'static str) -> Self {
        Self {
            title,
            right: true,
            stretch: false,
        }
    }

    /// Text that gives way when the line is too wide.
    #[must_use]
    pub const fn stretch(title: &'static str) -> Self {
        Self {
            title,
            right: false,
            stretch: true,
        }
    }
}

/// The table's lines, its titles first.
#[must_use]
pub fn lines(columns: &[Column], rows: &[Vec<String>]) -> Vec<String> {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| printable(cell)).collect())
        .collect();
    let mut widths: Vec<usize> = columns
        .iter()
        .map(|column| column.title.chars().count())
        .collect();
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let gaps = 2 * columns.len().saturating_sub(1);
    let mut excess = (widths.iter().sum::<usize>() + gaps).saturating_sub(WIDTH);
    for stretch in [true, false] {
        for (column, width) in columns.iter().zip(&mut widths) {
            if column.stretch == stretch {
                let give = excess.min(width.saturating_sub(if stretch { 12 } else { 6 }));
                *width -= give;
                excess -= give;
            }
        }
    }
    let line = |cells: Vec<&str>| {
        let mut text = String::new();
        for ((column, width), cell) in columns.iter().zip(&widths).zip(cells) {
            if !text.is_empty() {
                text.push_str("  ");
            }
            let cell = cut(cell, *width);
            let fill = " ".repeat(width - cell.chars().count());
            if column.right {
                text.push_str(&fill);
                text.push_str(&cell);
            } else {
                text.push_str(&cell);
                text.push_str(&fill);
            }
        }
        text.trim_end().to_owned()
    };
    let mut lines = vec![line(columns.iter().map(|column| column.title).collect())];
    lines.extend(
        cells
            .iter()
            .map(|row| line(row.iter().map(String::as_str).collect())),
    );
    lines
}

/// `label: value` lines with the values in one column, long values on further lines.
#[must_use]
pub fn fields(rows: &[(&str, String)]) -> Vec<String> {
    let label = rows
        .iter()
        .map(|(label, _)| label.chars().count())
        .max()
        .unwrap_or(0);
    let mut lines = Vec::new();
    for (name, value) in rows {
        let room = WIDTH - label - 4;
        for (index, part) in wrap(&printable(value), room).into_iter().enumerate() {
            let head = if index == 0 {
                format!("{name}:")
            } else {
                String::new()
            };
            let fill = " ".repeat(label + 2 - head.chars().count());
            lines.push(format!("{head}{fill}{part}").trim_end().to_owned());
        }
    }
    lines
}

/// Breaks at blanks so that no line is longer than `room`; a longer word is broken.
#[must_use]
pub fn wrap(text: &str, room: usize) -> Vec<String> {
    // Without room for a letter there would be no end.
    let room = room.max(1);
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let last = lines.last_mut().expect("there is always a line");
            let used = last.chars().count();
            let gap = usize::from(used > 0);
            if used + gap + word.len() <= room {
                if gap == 1 {
                    last.push(' ');
                }
                last.extend(word);
                break;
            }
            if used == 0 {
                last.extend(word.drain(..room.min(word.len())));
            }
            lines.push(String::new());
        }
    }
    lines
}

fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::{Column, WIDTH, fields, lines, wrap};

    #[test]
    fn stays_within_the_width_and_cuts_the_column_that_gives_way() {
        let columns = [
            Column::number("Id"),
            Column::text("Event"),
            Column::stretch("Reason"),
        ];
        let rows = vec![
            vec!["7".to_owned(), "INCOMING".to_owned(), "р".repeat(200)],
            vec!["12345".to_owned(), "COMPLETED".to_owned(), "short\n".to_owned()],
        ];
        let lines = lines(&columns, &rows);
        assert!(
            lines.iter().all(|line| line.chars().count() <= WIDTH),
            "{lines:#?}"
        );
        assert_eq!(lines[0], "   Id  Event      Reason");
        assert!(lines[1].starts_with("    7  INCOMING   рррр") && lines[1].ends_with('…'));
        assert_eq!(lines[2], "12345  COMPLETED  short?");
    }

    #[test]
    fn many_wide_columns_still_fit() {
        let columns = [
            Column::text("A"),
            Column::stretch("B"),
            Column::stretch("C"),
            Column::text("D"),
        ];
        let rows = vec![vec!["x".repeat(60); 4]];
        assert!(lines(&columns, &rows)[1].chars().count() <= WIDTH);
    }

    #[test]
    fn labels_line_up_and_long_values_go_on() {
        let lines = fields(&[("CRM", "reachable".to_owned()), ("Oldest", "word ".repeat(30))]);
        assert_eq!(lines[0], "CRM:    reachable");
        assert!(lines.len() > 2 && lines[2].starts_with("        word"));
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH));
    }

    #[test]
    fn wraps_at_blanks_and_breaks_long_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("ab c", 0), ["a", "b", "c"]);
    }
}
