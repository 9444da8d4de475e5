//! What the demo's Asterisk is configured with, and the lines of the article that are not needed any more.

use harness::DIALPLAN;

/// planfix-in.php before Dial(), planfix-end.php at the hangup, lame before it, with the article's arguments in a word
/// each.
const ARTICLE: [&str; 3] = [
    "System(/usr/bin/php /opt/planfix-in.php NUMBER EXT CALLID)",
    "System(/usr/bin/lame -h -b 192 RECORDING.wav RECORDING.mp3)",
    "System(/usr/bin/php /opt/planfix-end.php NUMBER EXT CALLID LINK TALK DIALSTATUS)",
];

/// Prints both, with a mark at the line that asks the CRM something.
pub(crate) fn print() {
    println!("\nThe article runs programs from the dialplan, for each call:\n");
    for line in ARTICLE {
        println!("  > {line}");
    }
    println!(
        "\nHere the module follows the calls by itself (mode = auto): no line tells the CRM anything. One asks it who \n\
         looks after the client; without it everything else is the same. In a dialplan that is to decide by itself \n\
         what is told, mode = dialplan and the function PLANFIX_EVENT do that (configs/samples).\n"
    );
    for line in DIALPLAN.lines() {
        let mark = if line.contains("PLANFIX_CONTACT") {
            '>'
        } else {
            ' '
        };
        println!("{}", format!("  {mark} {line}").trim_end());
    }
}
