//! The dialplan of the demo, and the lines of the article that it replaces.

/// planfix-in.php before Dial(), planfix-end.php at the hangup, with the article's arguments in a word each.
const ARTICLE: [&str; 2] = [
    "System(/usr/bin/php /opt/planfix-in.php NUMBER EXT CALLID)",
    "System(/usr/bin/php /opt/planfix-end.php NUMBER EXT CALLID RECORD TALK DIALSTATUS)",
];

/// extensions.conf. Calls to 749500001XX ring the phone of the last three digits for up to three seconds.
pub(crate) const TEXT: &str = include_str!("extensions.conf");

/// Prints both, with a mark at the lines that tell the CRM something.
pub(crate) fn print() {
    println!("\nThe article calls PHP from the dialplan, for INCOMING and for the end of the call:\n");
    for line in ARTICLE {
        println!("  > {line}");
    }
    println!("\nThe dialplan of this demo says PLANFIX_EVENT in these two places:\n");
    for line in TEXT.lines() {
        let mark = if line.contains("PLANFIX_EVENT") { '>' } else { ' ' };
        println!("{}", format!("  {mark} {line}").trim_end());
    }
    println!();
}
