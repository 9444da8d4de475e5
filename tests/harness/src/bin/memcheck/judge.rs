//! What memcheck wrote: which of its findings have the module in one of their stacks.
//!
//! Invariants: a report without its end is no report; every stack of a finding counts, also the one that says where a block was
//! allocated or freed, or where a value that was never set comes from.

use anyhow::{Result, ensure};

/// What a report says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// How many findings it has, whoever's.
    pub(crate) all: usize,
    /// Those with the module in a stack, as text.
    pub(crate) ours: Vec<String>,
}

/// Reads a report in memcheck's XML (docs/internals/xml-output-protocol4.txt in valgrind's source), and looks for a shared object of that
/// name.
///
/// # Errors
/// When it is no report of memcheck's, or has no end: whatever ran was killed before it could be looked at for leaks.
pub(crate) fn judge(report: &str, object: &str) -> Result<Verdict> {
    ensure!(
        report.contains("<tool>memcheck</tool>"),
        "memcheck wrote no report"
    );
    ensure!(
        report.contains("<state>FINISHED</state>") && report.trim_end().ends_with("</valgrindoutput>"),
        "memcheck's report has no end"
    );
    let findings: Vec<&str> = between(report, "error").collect();
    let is_ours =
        |finding: &&&str| between(finding, "obj").any(|path| path.rsplit('/').next() == Some(object));
    Ok(Verdict {
        all: findings.len(),
        ours: findings
            .iter()
            .filter(is_ours)
            .map(|finding| text(finding))
            .collect(),
    })
}

/// What stands between each opening tag of that name and its end. No element that is looked for holds another of its name.
fn between<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let (open, close) = (format!("<{name}>"), format!("</{name}>"));
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.find(&open)? + open.len();
        let end = start + rest[start..].find(&close)?;
        let found = &rest[start..end];
        rest = &rest[end + close.len()..];
        Some(found)
    })
}

fn first(text: &str, name: &str) -> String {
    let found = between(text, name).next().unwrap_or_default();
    let plain = found
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"");
    plain.replace("&apos;", "'").replace("&amp;", "&")
}

/// A finding as memcheck would have printed it.
fn text(finding: &str) -> String {
    let mut lines = vec![first(finding, "kind")];
    for line in finding.lines().map(str::trim) {
        if let Some(what) = ["what", "text", "auxwhat"]
            .iter()
            .find(|name| line.contains(&format!("<{name}>")))
        {
            lines.push(format!("  {}", first(line, what)));
        }
        if line == "<frame>" {
            lines.push("    ".to_owned());
        }
        for (name, before) in [("obj", ""), ("fn", " "), ("file", " "), ("line", ":")] {
            if line.starts_with(&format!("<{name}>")) {
                let value = first(line, name);
                let short = if name == "obj" {
                    value.rsplit('/').next().unwrap_or_default()
                } else {
                    &value
                };
                if let Some(last) = lines.last_mut() {
                    last.push_str(before);
                    last.push_str(short);
                }
            }
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = include_str!("ours.xml");
    const OTHERS: &str = include_str!("others.xml");

    #[test]
    fn a_finding_with_the_module_in_a_stack_is_ours_whichever_stack_it_is() {
        let verdict = judge(OURS, "res_planfix.so").unwrap();
        assert_eq!((verdict.all, verdict.ours.len()), (4, 3), "{verdict:#?}");
        for (place, what) in [
            "Invalid read of size 4",
            "a block of size 8 free'd",
            "24 bytes in 1 blocks",
        ]
        .iter()
        .enumerate()
        {
            assert!(verdict.ours[place].contains(what), "{verdict:#?}");
        }
        assert!(
            verdict.ours[0].contains("    res_planfix.so overrun module.c:4\n"),
            "{}",
            verdict.ours[0]
        );
    }

    #[test]
    fn a_finding_in_other_code_is_counted_and_no_more() {
        let verdict = judge(OTHERS, "res_planfix.so").unwrap();
        assert_eq!(verdict.ours, [""; 0]);
        assert!(verdict.all > 0);
        // A name that ends so is another's.
        assert_eq!(judge(OURS, "planfix.so").unwrap().ours, [""; 0]);
    }

    #[test]
    fn a_report_that_was_cut_off_is_none() {
        for end in ["<state>FINISHED</state>", "</valgrindoutput>"] {
            let cut = OURS.find(end).unwrap();
            assert!(judge(&OURS[..cut], "res_planfix.so").is_err(), "{end}");
        }
        assert!(judge("", "res_planfix.so").is_err());
    }
}
