//! A table that reads well in a terminal and is Markdown as well.

use std::fmt;

/// A heading, columns and rows; a row may carry a target.
pub(crate) struct Table {
    title: &'static str,
    note: String,
    header: Vec<&'static str>,
    rows: Vec<(Vec<String>, Option<Target>)>,
}

/// What was wanted, and whether it was reached.
pub(crate) struct Target {
    wanted: String,
    met: bool,
}

impl Target {
    pub(crate) fn new(wanted: impl Into<String>, met: bool) -> Self {
        Self {
            wanted: wanted.into(),
            met,
        }
    }
}

impl Table {
    pub(crate) fn new(title: &'static str, note: impl Into<String>, columns: &[&'static str]) -> Self {
        Self {
            title,
            note: note.into(),
            header: columns.to_vec(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N], target: Option<Target>) {
        self.rows.push((cells.into(), target));
    }

    /// Whether each target was met.
    pub(crate) fn verdicts(&self) -> impl Iterator<Item = bool> {
        self.rows
            .iter()
            .filter_map(|(_, target)| target.as_ref().map(|target| target.met))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {}\n", self.title)?;
        if !self.note.is_empty() {
            writeln!(f, "{}\n", self.note)?;
        }
        let targets: &[&str] = match self.verdicts().next() {
            Some(_) => &["target", "verdict"],
            None => &[],
        };
        let header: Vec<String> = self
            .header
            .iter()
            .chain(targets)
            .map(|&name| name.to_owned())
            .collect();
        let body: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|(cells, target)| {
                let (wanted, verdict) = match target {
                    Some(target) => (
                        target.wanted.clone(),
                        if target.met { "met" } else { "NOT MET" }.to_owned(),
                    ),
                    None => (String::new(), String::new()),
                };
                cells
                    .iter()
                    .cloned()
                    .chain([wanted, verdict])
                    .take(header.len())
                    .collect()
            })
            .collect();
        let widths: Vec<usize> = (0..header.len())
            .map(|column| {
                std::iter::once(&header)
                    .chain(&body)
                    .filter_map(|row| row.get(column))
                    .map(|cell| cell.chars().count())
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let line = |f: &mut fmt::Formatter<'_>, cells: &[String]| {
            for (cell, width) in cells.iter().zip(&widths) {
                write!(f, "| {cell:<width$} ")?;
            }
            writeln!(f, "|")
        };
        line(f, &header)?;
        let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
        line(f, &rule)?;
        body.iter().try_for_each(|row| line(f, row))
    }
}
