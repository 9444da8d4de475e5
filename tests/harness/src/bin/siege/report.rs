//! The figures as a table, and what is judged of them.

use std::fmt;

#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    what: String,
    figure: String,
    /// What was wanted, and whether it is so.
    target: Option<(String, bool)>,
}

impl Report {
    /// A figure.
    pub(crate) fn tell(&mut self, what: impl Into<String>, figure: impl fmt::Display) {
        self.rows.push(Row {
            what: what.into(),
            figure: figure.to_string(),
            target: None,
        });
    }

    /// A figure that is judged.
    pub(crate) fn judge(
        &mut self,
        what: impl Into<String>,
        figure: impl fmt::Display,
        wanted: impl Into<String>,
        met: bool,
    ) {
        self.rows.push(Row {
            what: what.into(),
            figure: figure.to_string(),
            target: Some((wanted.into(), met)),
        });
    }

    /// What is not as it should be.
    pub(crate) fn missed(&self) -> Vec<String> {
        let judged = self
            .rows
            .iter()
            .filter_map(|row| row.target.as_ref().map(|target| (row, target)));
        judged
            .filter(|(_, (_, met))| !met)
            .map(|(row, (wanted, _))| format!("{}: {} instead of {wanted}", row.what, row.figure))
            .collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells: Vec<[&str; 4]> = std::iter::once(["what", "figure", "target", "verdict"])
            .chain(self.rows.iter().map(|row| match &row.target {
                None => [row.what.as_str(), row.figure.as_str(), "", ""],
                Some((wanted, met)) => {
                    let verdict = if *met { "met" } else { "MISSED" };
                    [row.what.as_str(), row.figure.as_str(), wanted.as_str(), verdict]
                }
            }))
            .collect();
        let widths: [usize; 4] = std::array::from_fn(|column| {
            let widths = cells.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0)
        });
        for (line, row) in cells.iter().enumerate() {
            for (cell, width) in row.iter().zip(widths) {
                write!(f, "| {cell:<width$} ")?;
            }
            writeln!(f, "|")?;
            if line == 0 {
                for width in widths {
                    write!(f, "|{}", "-".repeat(width + 2))?;
                }
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missed_is_named() {
        let mut report = Report::default();
        report.tell("calls", 3);
        report.judge("lost", 1, "0", false);
        report.judge("doubled", 0, "0", true);
        assert_eq!(report.missed(), ["lost: 1 instead of 0"]);
        let text = report.to_string();
        assert!(text.contains("| lost    | 1      | 0      | MISSED  |"), "{text}");
    }
}
