//! The module in a host that is not Asterisk: opened, loaded, called with hostile arguments, unloaded,
//! closed, and the host's threads ended afterwards, three times over, as no live test could look at it.
//!
//! Two modules go through it: the one that is shipped, and a scratch module over the same safe floor
//! (`tests/loader/scratch.rs`) that has what is not shipped, doors to a panic. The host is
//! `tests/loader/host.c`.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};
use std::{env, fs};

use tempfile::TempDir;

/// How long the host may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);
const MAJOR: &str = env!("PLANFIX_ASTERISK_MAJOR");
const ROUNDS: usize = 3;

fn compiler() -> Command {
    Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()))
}

fn run(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// What this variable says the compiler is told besides, where a sanitizer is to be in the host (tools/sanitize).
fn words(variable: &str) -> Vec<String> {
    let text = env::var(variable).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// A folder for what is built here, apart for each version and run.
fn workshop() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("loader-{MAJOR}"));
        fs::create_dir_all(&folder).unwrap();
        folder
    })
}

/// The fake host.
fn host() -> &'static Path {
    static HOST: OnceLock<PathBuf> = OnceLock::new();
    HOST.get_or_init(|| build_host("host", &[]))
}

/// The fake host as another release of the same major version is: its structures differ from the headers.
fn host_of_another_release() -> &'static Path {
    static HOST: OnceLock<PathBuf> = OnceLock::new();
    HOST.get_or_init(|| build_host("host-of-another-release", &["-DANOTHER_RELEASE"]))
}

fn build_host(name: &str, words_of_this_one: &[&str]) -> PathBuf {
    let host = workshop().join(name);
    let mut command = compiler();
    command
        .args([
            "-std=gnu11",
            "-g",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-DAST_MODULE=\"res_planfix\"",
        ])
        .arg("-DAST_MODULE_SELF_SYM=__internal_res_planfix_self")
        .arg(format!("-DPLANFIX_ASTERISK_MAJOR={MAJOR}"));
    // A system folder is searched anyway.
    if !matches!(
        env!("PLANFIX_ASTERISK_HEADERS"),
        "/usr/include" | "/usr/local/include"
    ) {
        command.args(["-isystem", env!("PLANFIX_ASTERISK_HEADERS")]);
    }
    let object = host.with_extension("o");
    run(command
        .args(words_of_this_one)
        .args(words("LOADER_COMPILE"))
        .args(["-c", "tests/loader/host.c", "-o"])
        .arg(&object));
    run(compiler()
        .args(["-rdynamic", "-o"])
        .arg(&host)
        .arg(&object)
        .args(words("LOADER_LINK"))
        .args(["-pthread", "-ldl"]));
    host
}

/// Where cargo puts this package's libraries for its tests.
fn built() -> PathBuf {
    env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// The scratch module, linked as the shipped one is (`build.rs`).
fn scratch() -> &'static Path {
    static MODULE: OnceLock<PathBuf> = OnceLock::new();
    MODULE.get_or_init(|| {
        // `cargo test --test loader` builds no examples.
        let mut target = built().ancestors().nth(2).unwrap().to_owned();
        // Where cargo was told for which machine, it has a folder for that, and makes it again.
        if env::var_os("CARGO_BUILD_TARGET").is_some_and(|machine| target.ends_with(machine)) {
            target.pop();
        }
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", "loader_scratch"]);
        if built().parent().unwrap().ends_with("release") {
            cargo.arg("--release");
        }
        // Build scripts of dependencies look at what cargo tells this test about its package, and would all
        // run anew.
        let about_the_package = |name: &str| {
            name == "OUT_DIR" || name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        };
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(about_the_package)) {
            cargo.env_remove(name);
        }
        run(cargo.env("CARGO_TARGET_DIR", target));
        let (module, exports) = (workshop().join("scratch.so"), workshop().join("exports"));
        fs::write(&exports, "{ global: res_planfix_*; local: *; };\n").unwrap();
        run(compiler()
            .args(["-shared", "-Wl,-z,nodelete", "-Wl,--gc-sections", "-o"])
            .arg(&module)
            .arg(env!("PLANFIX_SHIM"))
            .arg(built().parent().unwrap().join("examples/libloader_scratch.a"))
            .arg(format!("-Wl,--version-script={}", exports.display()))
            .args(["-lgcc_s", "-lpthread", "-ldl", "-lm", "-lc"]));
        module
    })
}

/// The module that is shipped.
fn shipped() -> PathBuf {
    built().join("libres_planfix.so")
}

/// A host that is running. It ends with the value, also when an assertion fails.
struct Host {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
    folder: TempDir,
}

impl Host {
    fn start(configuration: Option<&str>) -> Self {
        Self::start_in(host(), configuration)
    }

    fn start_in(program: &Path, configuration: Option<&str>) -> Self {
        let folder = TempDir::new().unwrap();
        let mut child = Command::new(program)
            .arg(folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (send, answers) = channel();
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                if send.send(text).is_err() {
                    return;
                }
                line.clear();
            }
        });
        let mut host = Self {
            child,
            input,
            answers,
            folder,
        };
        if let Some(text) = configuration {
            host.configure(text);
        }
        host.ask(&format!("version {MAJOR}.4.0 {MAJOR}0400"));
        host
    }

    /// A host in which the shipped module is loaded.
    fn loaded(configuration: &str) -> Self {
        let mut host = Self::start(Some(configuration));
        host.open(&shipped());
        assert_eq!(host.returned("load"), "0");
        host
    }

    /// Gives one command and returns the lines it brought, each as a kind and a text. The host's own
    /// complaints fail the test, and so does a key.
    fn ask(&mut self, command: &str) -> Vec<(String, String)> {
        writeln!(self.input, "{command}")
            .and_then(|()| self.input.flush())
            .unwrap_or_else(|error| {
                panic!(
                    "the host is gone before {command:?}: {error}, {:?}",
                    self.child.wait()
                );
            });
        let mut lines = Vec::new();
        loop {
            let line = self.answers.recv_timeout(PATIENCE).unwrap_or_else(|error| {
                let state = self.child.try_wait();
                panic!("no answer to {command:?} after {lines:?}: {error}, {state:?}");
            });
            // Whatever the module says by any way, no key is in it.
            assert!(!line.contains(KEYS), "{command:?} brought {line:?}");
            let (kind, text) = line.split_once(' ').unwrap_or((&line, ""));
            match kind {
                "." => return lines,
                "error" => panic!("{command:?}: {text}; before that {lines:?}"),
                _ => lines.push((kind.to_owned(), text.to_owned())),
            }
        }
    }

    /// The texts of one kind that a command brought.
    fn texts(&mut self, command: &str, kind: &str) -> Vec<String> {
        self.ask(command)
            .into_iter()
            .filter(|(found, _)| found == kind)
            .map(|(_, text)| text)
            .collect()
    }

    /// What the last line of that kind said.
    fn last(&mut self, command: &str, kind: &str) -> String {
        self.texts(command, kind)
            .pop()
            .unwrap_or_else(|| panic!("{command:?} brought no {kind}"))
    }

    /// Changes planfix.conf.
    fn configure(&self, text: &str) {
        fs::write(self.folder.path().join("planfix.conf"), text).unwrap();
    }

    fn returned(&mut self, command: &str) -> String {
        self.last(command, "returned")
    }

    fn registered(&mut self) -> BTreeSet<String> {
        self.ask("registered")
            .into_iter()
            .map(|(kind, name)| format!("{kind} {name}"))
            .collect()
    }

    fn open(&mut self, module: &Path) {
        let opened = self.last(&format!("open {}", module.display()), "opened");
        assert!(opened.starts_with("res_planfix "), "{opened}");
    }

    /// Threads and descriptors at the moment.
    fn held(&mut self) -> [usize; 2] {
        ["threads", "files"].map(|what| self.last(what, "count").parse().unwrap())
    }

    /// Waits until no more is held than before: the kernel lists a thread for a moment after it was joined.
    fn holds_no_more_than(&mut self, before: [usize; 2]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let held = self.held();
            if held[0] <= before[0] && held[1] <= before[1] {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{before:?} threads and descriptors became {held:?}"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Unloads, closes and ends the thread that has been in the module: the image must outlive both.
    fn part(&mut self) {
        assert_eq!(self.returned("unload"), "0");
        assert_eq!(self.registered(), BTreeSet::new());
        assert_eq!(self.last("close", "closed"), "0 mapped 1");
        self.ask("leave");
        let sanitized = words("LOADER_COMPILE")
            .iter()
            .any(|word| word.contains("address"));
        assert_eq!(
            self.last("leaks", "leaks"),
            if sanitized { "0" } else { "unknown" }
        );
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may be gone already, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Function arguments that nobody should send.
fn hostile_arguments() -> Vec<String> {
    vec![
        String::new(),
        ",".repeat(4000),
        "%s%n%s%n".to_owned(),
        "\\x0aEvent: Forged\\x0d\\x0a".to_owned(),
        "\\xff\\xfe\\xc3\\x28".to_owned(),
        "\\x1b[31m\\x07".to_owned(),
        "'\"`$(reboot)`${EVAL(x)}".to_owned(),
        "x".repeat(60_000),
    ]
}

fn exported(module: &Path) -> Vec<String> {
    run(Command::new("nm")
        .args(["-D", "--defined-only", "--format=posix"])
        .arg(module))
    .lines()
    .map(|line| line.split(' ').next().unwrap().to_owned())
    .collect()
}

#[test]
fn the_module_exports_its_three_callbacks_and_nothing_else() {
    for module in [scratch().to_owned(), shipped()] {
        let mut names = exported(&module);
        names.sort();
        assert_eq!(
            names,
            ["res_planfix_load", "res_planfix_reload", "res_planfix_unload"],
            "{}",
            module.display()
        );
    }
}

#[test]
fn a_module_comes_and_goes_three_times_and_leaves_nothing() {
    let mut host = Host::start(Some("[general]\nenabled = yes ; as it is\n[planfix]\nurl = a\n"));
    let mut before = None;
    for round in 0..ROUNDS {
        host.open(scratch());
        let loaded = host.ask("load");
        let logged = |text: &str| {
            loaded
                .iter()
                .any(|(kind, line)| kind == "log" && line.contains(text))
        };
        assert!(
            logged("[general] enabled=yes") && logged("at planfix.conf:2") && logged("[planfix] url=a"),
            "{loaded:?}"
        );
        assert!(
            !logged("a stranger's line") && !logged("A line for debug"),
            "{loaded:?}"
        );
        assert!(
            loaded.contains(&("returned".to_owned(), "0".to_owned())),
            "{loaded:?}"
        );
        assert!(loaded.contains(&(
            "event".to_owned(),
            r"ScratchLoaded: Value: one\x5cr\x5cnEvent: Forged\x0d\x0a".to_owned()
        )));
        let names = [
            "action ScratchList",
            "application ScratchTalk",
            "at exit",
            "command scratch show",
            "function SCRATCH",
            "function SCRATCHPAD",
            "handler scratch",
            "object forward",
            "object memory",
            "object message type",
            "object subscription",
            "object topic",
            "provider Scratch",
        ]
        .map(str::to_owned);
        assert_eq!(host.registered(), BTreeSet::from(names), "round {round}");
        assert_eq!(host.returned("reload"), "0");
        assert_eq!(host.returned("read SCRATCH none 16 fixed"), "0 QUEUED");
        host.part();
        match before {
            None => before = Some(host.held()),
            Some(before) => host.holds_no_more_than(before),
        }
    }
}

#[test]
fn a_configuration_that_is_missing_broken_or_read_is_told_apart() {
    let mut host = Host::start(None);
    host.open(scratch());
    assert!(host.texts("load", "log")[0].contains("planfix.conf is missing."));
    host.configure("invalid\n");
    assert!(host.texts("reload", "log")[0].contains("planfix.conf is invalid."));
    host.configure("[planfix]\nurl = a\n[calls]\n[planfix]\nurl = b\n");
    let lines = host.texts("reload", "log");
    assert!(
        lines[0].ends_with(r"[planfix] url=a at planfix.conf:2.\x0a"),
        "{lines:?}"
    );
    assert!(
        lines[1].ends_with(r"[planfix] url=b at planfix.conf:5.\x0a"),
        "{lines:?}"
    );
    host.part();
}

#[test]
fn a_function_takes_any_argument_and_any_buffer() {
    let mut host = Host::start(None);
    host.open(scratch());
    assert_eq!(host.returned("load"), "0");
    for argument in hostile_arguments() {
        for (how, size) in [("none", 4096), ("channel", 1), ("locked", 16), ("none", 0)] {
            let answer = host.returned(&format!("read SCRATCH {how} {size} {argument}"));
            assert!(answer.starts_with("0 "), "{answer}");
        }
    }
    assert_eq!(host.returned("read SCRATCH none 6 fixed"), "0 QUEUE");
    assert_eq!(host.returned("read SCRATCH none 4 Яна"), "0 Я");
    assert_eq!(host.returned("read SCRATCH none 16 unreadable"), "-1 ");
    for how in ["channel", "locked"] {
        let facts = host.returned(&format!("read SCRATCH {how} 200 facts"));
        assert_eq!(
            facts,
            "0 PJSIP/101-00000001|101|from-internal||79001234567|false|-|-|true|true|"
        );
    }
    host.part();
}

/// Whoever holds the container of all channels while he waits for one of them holds up every call that begins.
#[test]
fn a_channel_is_looked_for_without_waiting_for_another() {
    let mut host = Host::start(None);
    host.open(scratch());
    assert_eq!(host.returned("load"), "0");
    // Each is looked for twice: to name its caller, and to see its name.
    for (uniqueid, answer, walks) in [
        ("1700000000.1", "0 PJSIP/101-00000001", 2),
        // There was one a moment ago.
        ("1700000000.9", "0 GONE", 2),
        // One that Asterisk does not know is not even looked for.
        ("nobody", "0 GONE", 0),
        ("", "0 GONE", 0),
    ] {
        let lines = host.ask(&format!("read SCRATCH none 64 find {uniqueid}"));
        let count = |kind: &str| lines.iter().filter(|(is, _)| is == kind).count();
        assert!(
            lines.contains(&("returned".to_owned(), answer.to_owned())),
            "{uniqueid}: {lines:?}"
        );
        assert_eq!(count("walk"), walks, "{uniqueid}: {lines:?}");
        let named = usize::from(answer != "0 GONE");
        assert_eq!(
            (count("caller"), count("connected")),
            (named, named),
            "{uniqueid}"
        );
    }
    assert_eq!(host.returned("read SCRATCH none 64 each"), "0 one one one");
    host.part();
}

/// The host complains when a function is written to with the channel locked: `PJSIP_HEADER()` waits for a thread that may wait for the
/// channel.
#[test]
fn a_phone_is_called_with_nothing_locked_and_goes_to_the_dialplan_when_it_answers() {
    let mut host = Host::start(None);
    host.open(scratch());
    assert_eq!(host.returned("load"), "0");
    let before = host.texts("registered", "object");
    let prepared = [
        "variable __PLAIN=one",
        "variable PJSIP_HEADER(add,Alert-Info)=two",
        "shown 79001234567",
    ];
    let answered = [
        "context from-internal",
        "exten 79001234567",
        "priority 1",
        "dialplan begins",
    ];
    for (resource, answer, after) in [
        (
            "101",
            "Called",
            [&["rings 20000"][..], &answered, &["over without the phone"]].concat(),
        ),
        (
            "full",
            "Called",
            [
                &["rings 20000"][..],
                &answered,
                &["hung up", "over without the phone"],
            ]
            .concat(),
        ),
        ("silent", "Called", vec!["rings 20000", "over with the phone"]),
        ("nobody", "Unreachable", vec!["over with the phone"]),
    ] {
        let dialled = format!("dial PJSIP/{resource}");
        let mut expected = vec![dialled.as_str()];
        if answer == "Called" {
            expected.extend(prepared);
        }
        expected.extend(after);
        let mut lines = host.ask(&format!("run scratch show call PJSIP {resource}"));
        assert!(
            lines.contains(&("out".to_owned(), format!(r"{answer}\x0a"))),
            "{resource}: {lines:?}"
        );
        // It rings on a thread of its own.
        let until = Instant::now() + PATIENCE;
        while !lines.iter().any(|(kind, _)| kind == "over") && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
            lines.extend(host.ask("registered"));
        }
        let kinds = [
            "dial", "variable", "shown", "rings", "context", "exten", "priority", "dialplan", "hung", "over",
        ];
        let happened: Vec<String> = lines
            .iter()
            .filter(|(kind, _)| kinds.contains(&kind.as_str()))
            .map(|(kind, text)| format!("{kind} {text}"))
            .collect();
        assert_eq!(happened, expected, "{resource}");
    }
    // The last of these threads says that it is over a moment before it has given everything back.
    let until = Instant::now() + PATIENCE;
    while host.texts("registered", "object") != before && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    host.ask("channel up");
    host.part();
}

#[test]
fn a_panic_stays_inside_whichever_way_it_was_provoked() {
    let mut host = Host::start(None);
    host.open(scratch());
    assert_eq!(host.returned("load"), "0");
    for _ in 0..3 {
        for how in ["none", "channel", "locked"] {
            assert_eq!(host.returned(&format!("read SCRATCH {how} 16 panic")), "-1 ");
            assert_eq!(
                host.returned(&format!("write SCRATCHPAD {how} dialplan x panic")),
                "-1"
            );
        }
        // The call goes on.
        assert_eq!(host.last("exec ScratchTalk panic", "ran"), "0");
        // AST_DEVICE_UNKNOWN.
        assert_eq!(host.returned("device Scratch:panic"), "0");
        assert_eq!(host.returned("run scratch show panic"), "failure");
        assert_eq!(host.texts("tab scratch show panic ", "candidate"), [""; 0]);
        assert_eq!(host.returned("action Action: ScratchList|How: panic"), "0");
        assert_eq!(
            host.returned("action Action: ScratchList|How: panic in list"),
            "0"
        );
    }
    // One of the worker's, and in each round three of the function's reading and its writing, one of the application, the
    // provider, the command, the completion, the action and the list.
    assert_eq!(
        host.texts("run scratch show status", "out")[0]
            .split_once("panics ")
            .unwrap()
            .1,
        r"37\x0a"
    );
    host.part();
}

#[test]
fn a_panic_is_logged_with_its_place_and_a_flood_of_them_is_not() {
    let mut host = Host::start(None);
    host.open(scratch());
    host.ask("load");
    let first = host.last("read SCRATCH none 16 panic", "log");
    assert!(first.starts_with("ERROR scratch.rs:"), "{first}");
    assert!(
        first.contains(r"a function's panic with %s and\x5cnanother line"),
        "{first}"
    );
    assert_eq!(host.texts("read SCRATCH none 16 panic", "log"), [""; 0]);
    host.part();
}

/// What the host's snapshot of that name says (`snapshot` in `tests/loader/host.c`).
fn described(name: &str, state: &str) -> String {
    format!(
        "[{name} linkedid {name} technology accountcode caller-number caller-name ani rdnis dialed connected-number \
         connected-name context exten application application-data - {state} restricted=false cause=17 \
         created=1600000000000001]"
    )
}

const BRIDGE: &str = "(bridge-1 simple_bridge creator bridge-name channels=2)";

#[test]
fn what_happens_to_calls_is_told_in_one_shape() {
    let mut host = Host::start(None);
    host.open(scratch());
    assert_eq!(host.returned("load"), "0");
    let one = described("one", "Up");
    let renumbered = one
        .replace("caller-number", "another-number")
        .replace("application-data -", "application-data bridge-1")
        .replace("restricted=false", "restricted=true");
    let stepped = one.replace(" application ", " another-application ");
    let told = [
        ("created", format!("ChannelCreated {one}")),
        ("answered", format!("ChannelChanged state {one}")),
        ("renumbered", format!("ChannelChanged caller {renumbered}")),
        ("stepped", format!("ChannelChanged application {stepped}")),
        ("gone", format!("ChannelGone {one}")),
        ("entered", format!("BridgeEntered {BRIDGE} {one} swapped=-")),
        ("swapped", format!("BridgeEntered {BRIDGE} {one} swapped=two")),
        ("left", format!("BridgeLeft {BRIDGE} {one}")),
        ("dial", "Dial Begin - one -> two 101 - -".to_owned()),
        ("ringing", "Dial Progress RINGING one -> two 101 - -".to_owned()),
        (
            "dial forwarded",
            "Dial End BUSY - -> two 101 Local/102@phones one".to_owned(),
        ),
        (
            "blind",
            "BlindTransfer Success external=true one two bridge-1 102@context three".to_owned(),
        ),
        (
            "attended",
            "AttendedTransfer Failed external=false one two three four bridge-1 - Merged bridge-2".to_owned(),
        ),
        (
            "attended to application",
            "AttendedTransfer NotPermitted external=false one two three - bridge-1 - Application Queue"
                .to_owned(),
        ),
        ("pickup", "Pickup one two".to_owned()),
        ("hold", "Hold one jazz".to_owned()),
        ("hold plain", "Hold one -".to_owned()),
        ("unhold", "Unhold one".to_owned()),
        ("parked", "Parking Retrieved one two PJSIP/101 lot 701".to_owned()),
        ("variable", r"VariableSet one NAME=%s\x5cnvalue".to_owned()),
    ];
    for (kind, expected) in told {
        let line = host.last(&format!("tell {kind}"), "log");
        let (_, line) = line.split_once(": ").unwrap();
        assert_eq!(line, format!(r"1700000000123456 {expected}\x0a"), "{kind}");
    }
    host.part();
}

/// Whoever updates Asterisk within a major version does not build the module again.
#[test]
fn another_release_of_the_same_major_version_is_read_rightly() {
    let mut host = Host::start_in(host_of_another_release(), None);
    host.open(scratch());
    assert_eq!(host.returned("load"), "0");
    let line = host.last("tell created", "log");
    let one = described("one", "Up");
    assert!(line.ends_with(&format!(r" ChannelCreated {one}\x0a")), "{line}");
    host.part();
}

#[test]
fn what_is_no_news_of_a_call_is_not_told() {
    let mut host = Host::start(None);
    host.open(scratch());
    assert_eq!(host.returned("load"), "0");
    for kind in ["unchanged", "stepped quietly", "bridged"] {
        let line = host.last(&format!("tell {kind}"), "log");
        assert!(line.ends_with(r": passed over\x0a"), "{kind}: {line}");
    }
    let mut silent = vec!["gone twice", "global variable"];
    if MAJOR == "16" {
        silent.push("cleared");
    }
    for kind in silent {
        assert_eq!(host.ask(&format!("tell {kind}")), [], "{kind}");
    }
    // Not even queued.
    assert_eq!(
        host.last("tell masquerade", "filtered"),
        "ast_channel_masquerade_type"
    );
    host.part();
}

#[test]
fn a_kind_of_message_that_stasis_conf_declines_is_named_and_the_others_are_told() {
    let mut host = Host::start(None);
    host.open(scratch());
    host.ask("decline ast_channel_hold_type");
    let loaded = host.texts("load", "log");
    let warned: Vec<&String> = loaded
        .iter()
        .filter(|line| line.contains("declines messages"))
        .collect();
    let [line] = warned[..] else { panic!("{loaded:?}") };
    assert!(
        line.starts_with("WARNING ") && line.contains("ast_channel_hold_type"),
        "{line}"
    );
    assert!(host.last("tell unhold", "log").contains("Unhold one"));
    host.part();
}

#[test]
fn channels_that_exist_are_told_first_and_can_be_asked_for() {
    let mut host = Host::start(None);
    host.open(scratch());
    let running = format!(
        "Running {} {BRIDGE}",
        described("there", "Up").replace("application-data -", "application-data bridge-1")
    );
    let loaded = host.texts("load", "log");
    let at = |text: &str| {
        let found: Vec<usize> = (0..loaded.len())
            .filter(|at| loaded[*at].contains(text))
            .collect();
        assert_eq!(found.len(), 1, "{text}: {loaded:?}");
        found[0]
    };
    assert!(at(&running) < at(" CaughtUp"));
    assert!(!loaded.iter().any(|line| line.contains("going")), "{loaded:?}");
    let shown = host.texts("run scratch show running", "out");
    assert_eq!(shown.len(), 1, "{shown:?}");
    assert!(shown[0].contains(&running), "{shown:?}");
    host.part();
}

#[test]
fn a_subscriber_that_panics_is_told_the_next_record() {
    let mut host = Host::start(None);
    host.open(scratch());
    assert_eq!(host.returned("load"), "0");
    let line = host.last("tell panic", "log");
    assert!(
        line.contains("a subscriber's panic") && line.contains("a stasis record"),
        "{line}"
    );
    assert!(host.last("tell unhold", "log").contains("Unhold one"));
    host.part();
}

#[test]
fn a_request_is_answered_whatever_the_handler_does_and_whenever_it_comes() {
    let mut host = Host::start(None);
    host.open(scratch());
    assert_eq!(host.returned("load"), "0");
    let answer = |host: &mut Host, request: &str| {
        let sent = host.texts(request, "sent").concat();
        let status = sent.split(' ').nth(1).unwrap_or_default().to_owned();
        let body = sent.rsplit(r"\x0d\x0a").next().unwrap_or_default().to_owned();
        (status, body)
    };
    let (status, body) = answer(&mut host, "http GET a%2eb");
    assert_eq!((&*status, &*body), ("200", "/prefixa%2eb Get 192.0.2.7 Ok([])"));
    let (status, body) = answer(&mut host, "http POST a 12345678");
    assert_eq!(status, "200");
    assert!(body.ends_with("Ok([49, 50, 51, 52, 53, 54, 55, 56])"), "{body}");
    // The connection goes on behind a body that was read, and ends with one that was not.
    assert_eq!(host.returned("http POST a 12345678"), "0");
    assert_eq!(host.returned("http POST a 123456789"), "-1");
    let (_, body) = answer(&mut host, "http POST a 123456789");
    assert!(body.ends_with("Err(TooLarge)"), "{body}");
    assert_eq!(answer(&mut host, "http GET panic").0, "500");
    assert_eq!(host.returned("http GET panic"), "0");
    // Who has found the handler before it went comes all the same.
    assert_eq!(host.returned("unload"), "0");
    assert_eq!(answer(&mut host, "http GET a").0, "503");
    assert_eq!(host.returned("http GET panic"), "-1");
    assert_eq!(host.returned("load"), "0");
    assert_eq!(answer(&mut host, "http GET a").0, "200");
    host.part();
}

/// What the scratch module's application has made of it, and what it answered Asterisk.
fn talked(host: &mut Host, words: &str) -> (String, String) {
    let lines = host.ask(&format!("exec ScratchTalk {words}"));
    let of = |kind: &str| {
        let found = lines.iter().find(|(is, _)| is == kind);
        found.map(|(_, text)| text.clone()).unwrap_or_default()
    };
    (of("variable").trim_start_matches("TALKED=").to_owned(), of("ran"))
}

#[test]
fn a_function_is_written_by_the_dialplan_and_by_nobody_outside() {
    let mut host = Host::start(None);
    host.open(scratch());
    assert_eq!(host.returned("load"), "0");
    let mut write =
        |how: &str, args_and_value: &str| host.returned(&format!("write SCRATCHPAD {how} {args_and_value}"));
    assert_eq!(write("channel dialplan", r"101,enabled yes\x2c and %s"), "0");
    assert_eq!(write("channel dialplan", "refuse yes"), "-1");
    // Asterisk's refusal, which is ours to ask for.
    assert_eq!(write("none outside", "101,enabled no"), "blocked");
    assert_eq!(
        host.returned("read SCRATCHPAD none 80"),
        "0 channel 101,enabled yes, and %s"
    );
    let mut write = |how: &str, rest: &str| host.returned(&format!("write SCRATCHPAD {how} dialplan {rest}"));
    // With no value at all, and with a channel that is locked.
    assert_eq!(write("none", "102"), "0");
    assert_eq!(write("locked", "102 x"), "0");
    for argument in hostile_arguments() {
        let argument = argument.replace(' ', r"\x20");
        assert_eq!(write("none", &format!("{argument} x")), "0");
        assert_eq!(write("channel", &format!("x {argument}")), "0");
    }
    host.part();
}

#[test]
fn a_caller_is_told_what_there_is_until_he_presses_a_key_or_goes() {
    let mut host = Host::start(None);
    host.open(scratch());
    assert_eq!(host.returned("load"), "0");
    for (happens, words, came, flow) in [
        ("up", "play one two #", "Whole Whole", "0"),
        ("up release/1 release/#", "play one #", "Digit(35)", "0"),
        ("up hangup", "play one two #", "HungUp", "-1"),
        ("up stop", "play one two #", "Whole Whole", "0"),
        (
            "up",
            "play missing unreadable /tmp/x #",
            "Missing Missing Whole",
            "0",
        ),
        ("up", "play  #", "Missing", "0"),
        ("up release/1", "number 4294967253", "Digit(49)", "0"),
        ("up", "digits 42", "Whole", "0"),
        ("up", "digits missing-unreadable", "Missing", "0"),
        ("up hangup", "date 1763700000", "HungUp", "-1"),
        ("up release/7", "digit 10", "Some(55)", "0"),
        ("up stop", "digit 10", "None", "0"),
        ("up", "digit 10", "None", "0"),
        ("up hangup", "digit 10", "HungUp", "-1"),
        ("down", "answer", "true", "0"),
        ("reads/slin16", "facts", "ru_RU en true true false", "0"),
        ("reads/slin", "facts", "ru_RU en false true false", "0"),
    ] {
        host.ask(&format!("channel {happens}"));
        assert_eq!(
            talked(&mut host, words),
            (came.to_owned(), flow.to_owned()),
            "{happens}: {words}"
        );
    }
    // Before the answer the caller is told once that there is something to hear, and after it he need not be told.
    let told = |host: &mut Host, words: &str| {
        let lines = host.ask(&format!("exec ScratchTalk {words}"));
        let kinds = lines
            .iter()
            .filter(|(kind, _)| ["indicated", "played", "answered"].contains(&kind.as_str()));
        kinds.map(|(kind, _)| kind.clone()).collect::<Vec<_>>()
    };
    host.ask("channel down");
    assert_eq!(
        told(&mut host, "play one two #"),
        ["indicated", "played", "played"]
    );
    assert_eq!(told(&mut host, "answer"), ["answered"]);
    assert_eq!(told(&mut host, "answer"), [""; 0]);
    assert_eq!(told(&mut host, "play one #"), ["played"]);
    // One of the administrator's own is found where Asterisk looks for it.
    assert_eq!(told(&mut host, "play own-hello #"), [""; 0]);
    host.ask("search_custom");
    assert_eq!(told(&mut host, "play own-hello #"), ["played"]);
    assert_eq!(told(&mut host, "play /tmp/own-hello #"), [""; 0]);
    // A sound that is missing is not even tried: Asterisk would complain.
    assert_eq!(told(&mut host, "play missing #"), [""; 0]);
    host.part();
}

/// The same for a recording of what comes without a pause. A machine that stands still for half a second makes one, and is asked
/// again.
fn recorded(host: &mut Host, happens: &str, limits: &str) -> (String, String) {
    let until = Instant::now() + PATIENCE;
    loop {
        host.ask(&format!("channel {happens}"));
        let begun = Instant::now();
        let came = talked(host, &format!("record {limits}"));
        if begun.elapsed() < Duration::from_millis(500) || Instant::now() > until {
            return came;
        }
    }
}

#[test]
fn what_a_caller_says_is_recorded_at_the_rate_and_within_the_limits_that_were_asked_for() {
    let mut host = Host::start(None);
    host.open(scratch());
    assert_eq!(host.returned("load"), "0");
    let frames =
        |format: &str, count: u32, level: u32, times: u32| format!("voice/{format}/{count}/{level}*{times}");
    // Rate, longest, silence, ends; what came: why, samples, how many of them sound, and how loud they are.
    for (happens, limits, came) in [
        // A second, of which the last 60 ms may be the key's tone.
        (
            format!("{} press/# release/#", frames("slin", 160, 1000, 50)),
            "8000 60000 5000 #",
            "# 7520 7520 {1000}",
        ),
        (
            format!(
                "{} press/# {} release/#",
                frames("slin16", 320, 9, 50),
                frames("slin16", 320, 9000, 5)
            ),
            "16000 60000 0 #",
            "# 15040 15040 {9}",
        ),
        // A key that does not end it is part of it.
        (
            format!(
                "{0} press/1 release/1 {0} press/* release/*",
                frames("slin", 160, 1000, 50)
            ),
            "8000 60000 5000 #*",
            "* 15520 15520 {1000}",
        ),
        // What is no linear sound of that rate becomes one, also when it changes in the middle.
        (
            format!(
                "{} {} press/# release/#",
                frames("bytes", 160, 4, 25),
                frames("slin16", 320, 1000, 25)
            ),
            "8000 60000 5000 #",
            "# 7520 7520 {1000, 1024}",
        ),
        (
            format!("{} press/# release/#", frames("slin", 160, 1000, 50)),
            "16000 60000 5000 #",
            "# 15040 15040 {1000}",
        ),
        // So much silence, of which a fifth of a second stays.
        (
            format!(
                "{} {}",
                frames("slin", 160, 256, 50),
                frames("slin", 160, 255, 500)
            ),
            "8000 60000 1000 #",
            "Silence 9600 9600 {255, 256}",
        ),
        // No more than was asked for, however fast it comes.
        (
            frames("slin", 160, 1000, 500),
            "8000 2010 1000 #",
            "Longest 16080 16080 {1000}",
        ),
        // A format that nobody can read is silence.
        (
            format!("{} press/# release/#", frames("unknown", 160, 4, 50)),
            "8000 60000 0 #",
            "# 0 0 {}",
        ),
    ] {
        assert_eq!(
            recorded(&mut host, &format!("up reads/bytes {happens}"), limits),
            (came.to_owned(), "0".to_owned()),
            "{happens}: {limits}"
        );
    }
    // A hang-up leaves nothing of it.
    let happens = format!("up {} hangup", frames("slin", 160, 1000, 50));
    assert_eq!(
        recorded(&mut host, &happens, "8000 60000 5000 #"),
        ("HungUp".to_owned(), "-1".to_owned())
    );
    // A way from a format is looked for once, and not with each frame.
    host.ask(&format!("channel up {}", frames("unknown", 160, 4, 500)));
    let paths = host.texts("exec ScratchTalk record 8000 50 0 #", "path");
    assert_eq!(paths, ["unknown slin"]);
    // The channel could not be made to read linear sound: it comes as it is, and is made so.
    let happens = format!("reads/unknown {}", frames("bytes", 160, 4, 50));
    assert_eq!(
        recorded(&mut host, &happens, "8000 1000 0 #").0,
        "Longest 8000 8000 {1024}"
    );
    // Silence is sent meanwhile where Asterisk is told to.
    host.ask("channel reads/bytes hangup");
    assert_eq!(
        host.texts("exec ScratchTalk record 8000 50 0 #", "silence"),
        [""; 0]
    );
    host.ask("transmit_silence");
    host.ask("channel hangup");
    assert_eq!(
        host.texts("exec ScratchTalk record 8000 50 0 #", "silence"),
        ["begins", "ends"]
    );
    host.part();
}

#[test]
fn a_recording_ends_when_nothing_is_heard_at_all() {
    let mut host = Host::start(None);
    host.open(scratch());
    assert_eq!(host.returned("load"), "0");
    let took = |host: &mut Host, happens: &str, limits: &str| {
        host.ask(&format!("channel up {happens}"));
        let begun = Instant::now();
        let (came, _) = talked(host, &format!("record {limits}"));
        let mut words = came.split(' ').map(str::to_owned);
        let (why, samples) = (words.next().unwrap(), words.next().unwrap());
        (
            begun.elapsed(),
            why,
            samples.parse::<usize>().unwrap(),
            words.next().unwrap().parse::<usize>().unwrap(),
        )
    };
    let (time, why, samples, loud) = took(&mut host, "", "8000 700 0 #");
    assert!(
        time >= Duration::from_millis(700) && why == "Longest",
        "{time:?} {why}"
    );
    // 500 ms of it at least were made up for.
    assert!(
        (4_000..=5_600).contains(&samples) && loud == 0,
        "{samples} {loud}"
    );
    // A phone that sends no silence is silent.
    let (_, why, samples, loud) = took(&mut host, "voice/slin/160/1000*50", "8000 20000 600 #");
    // Of the silence that ended it a fifth of a second stays. A machine that stands still makes more silence.
    assert!(
        why == "Silence" && loud <= 8_000 && samples >= loud + 1_600,
        "{why} {samples} {loud}"
    );
    // What was left out between two words is there again: a second of voice, half a second of nothing or somewhat more.
    let (time, _, samples, loud) = took(
        &mut host,
        "voice/slin/160/1000*25 wait/600 voice/slin/160/1000*25 press/# release/#",
        "8000 20000 0 #",
    );
    let most = 8_000 + usize::try_from(time.as_millis()).unwrap() * 8;
    assert!((12_200..=most).contains(&samples), "{samples} of {most}");
    assert!((7_520..=8_000).contains(&loud), "{loud}");
    host.part();
}

#[test]
fn a_channel_inside_leaves_before_its_application_goes() {
    let mut host = Host::start(None);
    host.open(scratch());
    for _ in 0..ROUNDS {
        assert_eq!(host.returned("load"), "0");
        host.ask("channel up wait/100000");
        // The host complains when the application is unregistered with the channel inside.
        let mut said = host.ask("start ScratchTalk record 8000 100000 0 #");
        let begun = Instant::now();
        said.extend(host.ask("unload"));
        assert!(begun.elapsed() < PATIENCE / 2);
        said.extend(host.ask("join"));
        for line in [("returned", "0"), ("variable", "TALKED=HungUp"), ("ran", "-1")] {
            assert!(said.contains(&(line.0.to_owned(), line.1.to_owned())), "{said:?}");
        }
        assert_eq!(host.registered(), BTreeSet::new());
    }
    assert_eq!(host.last("close", "closed"), "0 mapped 1");
    host.ask("leave");
}

/// Asterisk refuses to unload a module that somebody is in, but he may enter a moment later.
#[test]
fn an_application_that_somebody_does_not_leave_stays_for_him_and_is_taken_up_again() {
    let mut host = Host::start(Some(&format!("{SHIPPED_CONFIGURATION}{GREETINGS}")));
    host.open(&shipped());
    assert_eq!(host.returned("load"), "0");
    host.ask("channel up release/1 wait/100000");
    let mut said = host.ask("start OpGreetingMenu 101,k(noanswer)");
    // The host complains when an application is unregistered with the channel inside, and when one is registered twice.
    let begun = Instant::now();
    assert_eq!(host.returned("unload_by_the_way"), "0");
    assert!(begun.elapsed() < PATIENCE / 2);
    let left = host.registered();
    assert!(
        left.contains("application OpGreetingMenu") && !left.contains("application OpGreeting"),
        "{left:?}"
    );
    assert!(!left.contains("function PLANFIX_EVENT"), "{left:?}");
    said.extend(host.ask("load"));
    assert!(
        said.contains(&("returned".to_owned(), "0".to_owned())),
        "{said:?}"
    );
    let names = host.registered();
    for name in ["application OpGreeting", "application OpGreetingMenu"] {
        assert!(names.contains(name), "{names:?}");
    }
    said.extend(host.ask("unload"));
    said.extend(host.ask("join"));
    assert!(said.contains(&("ran".to_owned(), "-1".to_owned())), "{said:?}");
    assert_eq!(host.registered(), BTreeSet::new());
    // And again, now that he has gone.
    assert_eq!(host.returned("load"), "0");
    host.ask("channel up");
    assert_eq!(
        status(&mut host, "OpGreeting 101,noanswer", "OPGREETINGSTATUS"),
        "NONE"
    );
    host.part();
}

#[test]
fn a_device_has_the_state_that_its_provider_tells() {
    let mut host = Host::start(None);
    host.open(scratch());
    assert_eq!(host.returned("load"), "0");
    // AST_DEVICE_NOT_INUSE, AST_DEVICE_INUSE, AST_DEVICE_INVALID.
    for (device, state) in [("on", "2"), ("off", "1"), ("", "4"), (r"\xff%s\x0a", "4")] {
        assert_eq!(
            host.returned(&format!("device Scratch:{device}")),
            state,
            "{device}"
        );
    }
    assert_eq!(host.texts("run scratch show lamp on", "lamp"), ["Scratch:on 2"]);
    assert_eq!(
        host.texts(r"run scratch show lamp a%s\x0a", "lamp"),
        [r"Scratch:a%s\x5cn 2"]
    );
    host.part();
}

#[test]
fn the_database_is_read_and_written_and_a_family_is_nobody_elses() {
    let mut host = Host::start(None);
    host.open(scratch());
    assert_eq!(host.returned("load"), "0");
    let lines = host.texts("run scratch show database", "out");
    assert_eq!(
        lines,
        [
            r#"[("101", "true"), ("a/b", "")]\x0a"#,
            r#"Some("true")\x0a"#,
            r"None\x0a"
        ]
    );
    host.part();
}

#[test]
fn an_action_is_answered_once_and_nobody_forges_a_header() {
    let mut host = Host::start(None);
    host.open(scratch());
    assert_eq!(host.returned("load"), "0");
    for how in ["ack", "error", "fields", "silent", "panic", "list"] {
        let sent = host.texts(
            &format!(
                r"action Action: ScratchList|How: {how}|ActionID: 7\x0d\x0aEvent: Forged|Value: a\x0d\x0a%s"
            ),
            "ami",
        );
        let text = sent.concat().replace(r"\x0d\x0a", "\r\n");
        assert!(text.ends_with("\r\n\r\n"), "{text}");
        assert!(
            !text
                .lines()
                .any(|line| line.starts_with("Event: Forged") || line.starts_with('%')),
            "{text}"
        );
        assert!(
            how != "fields" || text.contains("\r\nForged: a\\x5cr\\x5cnResponse: Error\r\n"),
            "{text}"
        );
        assert!(how != "list" || text.contains("\r\nListItems: 2\r\n"), "{text}");
    }
    host.part();
}

#[test]
fn a_command_completes_by_prefix_and_its_lines_stay_lines() {
    let mut host = Host::start(None);
    host.open(scratch());
    assert_eq!(host.returned("load"), "0");
    assert_eq!(
        host.texts("tab scratch show STAT", "candidate"),
        ["status", "statistics"]
    );
    assert_eq!(
        host.texts("tab scratch show ", "candidate"),
        ["status", "statistics", "panic", "fail"]
    );
    let lines = host.texts(r"run scratch show status %s \xff", "out");
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[3], "Started 1763700000250\\x0a");
    assert_eq!(lines[4], "Behind [\"%s\", \"\u{fffd}\"] %s%n \\x5cx1b[31m\\x0a");
    assert_eq!(host.returned("run scratch show"), "usage");
    assert_eq!(host.returned("run scratch show fail"), "failure");
    host.part();
}

#[test]
fn a_load_that_panics_leaves_nothing_and_the_next_one_works() {
    let mut host = Host::start(None);
    host.open(scratch());
    assert_eq!(host.returned("load"), "0");
    assert_eq!(
        host.returned("read SCRATCH none 16 panic in the next load"),
        "0 AGREED"
    );
    assert_eq!(host.returned("unload"), "0");
    let held = host.held();
    // AST_MODULE_LOAD_DECLINE, never AST_MODULE_LOAD_FAILURE.
    assert_eq!(host.returned("load"), "1");
    assert_eq!(host.registered(), BTreeSet::new());
    host.holds_no_more_than(held);
    assert_eq!(host.returned("load"), "0");
    host.part();
}

#[test]
fn a_module_for_another_asterisk_declines_and_names_both_versions() {
    let other = if MAJOR == "16" { "22" } else { "16" };
    for module in [scratch().to_owned(), shipped()] {
        for (text, number) in [
            (format!("{other}.28.0~dfsg"), format!("{other}2800")),
            (format!("GIT-{other}-1a2b"), "999999".into()),
        ] {
            let mut host = Host::start(None);
            host.ask(&format!("version {text} {number}"));
            host.open(&module);
            let answer = host.ask("load");
            assert!(
                answer.contains(&("returned".to_owned(), "1".to_owned())),
                "{answer:?}"
            );
            let log: Vec<_> = answer.iter().filter(|(kind, _)| kind == "log").collect();
            let [(_, line)] = log[..] else { panic!("{log:?}") };
            assert!(
                line.contains(&format!("Asterisk {MAJOR} ")) && line.contains(&text),
                "{line}"
            );
            assert_eq!(host.registered(), BTreeSet::new());
            assert_eq!(host.last("close", "closed"), "0 mapped 1");
        }
    }
}

/// A configuration with a CRM that refuses every connection: the discard port of this machine.
/// How all keys begin.
const KEYS: &str = "loader-secret";

const SHIPPED_CONFIGURATION: &str = "[general]\nenabled = yes\nmode = dialplan\n[planfix]\nurl = http://127.0.0.1:9/tel/api\n\
     token = loader-secret-1\npbx_token = loader-secret-2\n[status]\nkey = loader-secret-for-status\n";

#[test]
fn the_shipped_module_comes_and_goes_three_times_and_leaves_nothing() {
    let mut host = Host::start(Some(SHIPPED_CONFIGURATION));
    let mut before = None;
    for round in 0..ROUNDS {
        host.open(&shipped());
        assert_eq!(host.returned("load"), "0");
        let names = host.registered();
        for name in [
            "function PLANFIX_EVENT",
            "handler planfix",
            "function PLANFIX_CONTACT",
            "function OP_GREETING",
            "application OpGreeting",
            "application OpGreetingMenu",
            "provider Planfix",
            "command planfix show greetings",
            "action PlanfixShowGreetings",
            "command planfix show status",
            "command planfix show calls",
            "command planfix show call",
            "command planfix show contact",
            "command planfix record start",
            "command planfix record stop",
            "command planfix play",
            "command planfix show link",
            "command planfix rotate links",
            "action PlanfixShowStatus",
            "action PlanfixShowCalls",
            "action PlanfixShowCall",
            "action PlanfixShowContact",
        ] {
            assert!(names.contains(name), "{names:?}");
        }
        let incoming = format!("read PLANFIX_EVENT channel 64 INCOMING,79001234567,101,call-{round}");
        assert_eq!(host.returned(&incoming), "0 QUEUED");
        // Nobody listens at port 9.
        let asked = host.ask("read PLANFIX_CONTACT channel 64 79001234567,name");
        let said = |kind: &str, text: &str| asked.iter().any(|(is, said)| is == kind && said.trim() == text);
        assert!(
            said("returned", "0") && said("variable", "PLANFIX_CONTACT_STATUS=ERROR"),
            "{asked:?}"
        );
        assert_eq!(host.returned("run planfix show contact 79001234567"), "success");
        assert_eq!(host.returned("run planfix show status"), "success");
        assert_eq!(host.returned("action Action: PlanfixShowStatus|ActionID: 7"), "0");
        assert_eq!(host.returned("reload"), "0");
        host.configure("[planfix]\nurl = nonsense\n");
        assert_ne!(host.returned("reload"), "0");
        assert_eq!(
            host.returned(&incoming.replace("INCOMING", "ACCEPTED")),
            "0 QUEUED"
        );
        host.configure(SHIPPED_CONFIGURATION);
        if round == 1 {
            // An Asterisk that stops at once does not unload, and comes here instead.
            host.ask("end");
            assert_eq!(host.registered(), BTreeSet::from(["at exit".to_owned()]));
        }
        let said = format!("{:?}", host.ask("unload"));
        assert!(!said.contains("loader-secret"), "{said}");
        assert!(said.contains(r#"("returned", "0")"#), "{said}");
        assert_eq!(host.registered(), BTreeSet::new());
        assert_eq!(host.last("close", "closed"), "0 mapped 1");
        host.ask("leave");
        match before {
            None => before = Some(host.held()),
            Some(before) => host.holds_no_more_than(before),
        }
    }
}

#[test]
fn the_question_for_a_caller_answers_hostile_arguments_with_nothing() {
    let mut host = Host::loaded(SHIPPED_CONFIGURATION);
    for argument in hostile_arguments() {
        for argument in [
            argument.clone(),
            format!("{argument},name"),
            format!("79001234567,{argument}"),
        ] {
            for how in ["none", "channel", "locked"] {
                let lines = host.ask(&format!("read PLANFIX_CONTACT {how} 64 {argument}"));
                let answer = lines.iter().find(|(kind, _)| kind == "returned");
                let (_, answer) = answer.unwrap();
                assert!(["0", "-1"].contains(&answer.trim()), "{argument}: {answer}");
                let bug = lines
                    .iter()
                    .find(|(kind, text)| kind == "log" && text.contains("A bug in res_planfix"));
                assert_eq!(bug, None);
            }
        }
    }
    assert_eq!(host.returned("unload"), "0");
}

/// `channelvars` of manager.conf and ari.conf reads a function for every snapshot of a channel, mostly with the channel locked; and a
/// variable that is set makes a snapshot.
#[test]
fn what_is_read_for_a_snapshot_makes_none_and_waits_for_nobody() {
    let mut host = Host::loaded(SHIPPED_CONFIGURATION);
    let read = "read PLANFIX_CONTACT channel 64 79001234567,name";
    host.ask("channelvars PLANFIX_CONTACT");
    let variable = ["PLANFIX_CONTACT_STATUS=ERROR"];
    let lines = host.ask(read);
    let of = |kind: &str| -> Vec<&str> {
        let found = lines.iter().filter(|(is, _)| is == kind);
        found.map(|(_, text)| text.as_str()).collect()
    };
    assert_eq!(
        (of("variable"), of("snapshot"), of("returned")),
        (variable.to_vec(), vec!["0 "], vec!["0 "])
    );
    // What it is already is not set again.
    assert_eq!(host.texts(read, "variable"), [""; 0]);
    host.part();
    // With the channel locked nothing is changed, and nobody is waited for: this CRM takes connections and says nothing.
    let crm = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = crm.local_addr().unwrap().to_string();
    let configuration = SHIPPED_CONFIGURATION.replace("127.0.0.1:9", &address);
    let mut host = Host::loaded(&format!("{configuration}[contact]\ntimeout_ms = 10000\n"));
    let begun = Instant::now();
    let lines = host.ask("read PLANFIX_CONTACT locked 64 79001234567,name");
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "it waited for {:?}",
        begun.elapsed()
    );
    assert!(
        lines.contains(&("returned".to_owned(), "0 ".to_owned())),
        "{lines:?}"
    );
    assert!(!lines.iter().any(|(kind, _)| kind == "variable"), "{lines:?}");
    host.part();
}

#[test]
fn the_shipped_function_answers_hostile_arguments_with_a_verdict() {
    let mut host = Host::loaded(SHIPPED_CONFIGURATION);
    for argument in hostile_arguments() {
        for prefix in ["", "INCOMING,", "END,79001234567,", "COMPLETED,79001234567,101,"] {
            for how in ["none", "channel", "locked"] {
                let lines = host.ask(&format!("read PLANFIX_EVENT {how} 64 {prefix}{argument}"));
                // Behind the answer there may be a line of another thread's log.
                let answer = lines.iter().find(|(kind, _)| kind == "returned");
                let (_, answer) = answer.unwrap();
                assert!(
                    ["0 QUEUED", "0 IGNORED", "0 REJECTED"].contains(&answer.as_str()),
                    "{prefix}: {answer}"
                );
                let bug = lines
                    .iter()
                    .find(|(kind, text)| kind == "log" && text.contains("A bug in res_planfix"));
                assert_eq!(bug, None);
                // One message, one line, whatever was in the argument; and an event has its own headers alone.
                assert!(
                    lines
                        .iter()
                        .filter(|(kind, _)| kind != "event")
                        .all(|(_, text)| text.trim_end_matches(r"\x0a").find(r"\x0a").is_none()),
                    "{lines:?}"
                );
                for (_, event) in lines.iter().filter(|(kind, _)| kind == "event") {
                    let headers = event.trim_end_matches(r"\x0d\x0a").split(r"\x0d\x0a");
                    let names: Vec<&str> = headers.filter_map(|line| line.split(": ").next()).collect();
                    assert_eq!(names[..3], ["PlanfixCall", "CallId", "Exten"], "{event}");
                    assert!([6, 8].contains(&names.len()), "{event}");
                }
            }
        }
    }
    host.part();
}

/// What an application of the shipped module has set that variable to.
fn status(host: &mut Host, command: &str, variable: &str) -> String {
    let lines = host.ask(&format!("exec {command}"));
    let bug = |(kind, text): &&(String, String)| kind == "log" && text.contains("A bug in res_planfix");
    assert_eq!(lines.iter().find(bug), None);
    let set = lines.iter().filter(|(kind, _)| kind == "variable");
    let mut value = set.filter_map(|(_, text)| text.strip_prefix(&format!("{variable}=")));
    value
        .next_back()
        .unwrap_or_else(|| panic!("{lines:?}"))
        .to_owned()
}

const GREETINGS: &str = "[greetings]\noperators = _1XX\nadopt = no\n";

#[test]
fn an_operator_records_a_greeting_and_callers_hear_it() {
    let configuration = format!("{SHIPPED_CONFIGURATION}{GREETINGS}");
    let mut host = Host::start(Some(&configuration));
    let mut before = None;
    for round in 0..ROUNDS {
        host.open(&shipped());
        assert_eq!(host.returned("load"), "0");
        let read =
            |host: &mut Host, what: &str| host.returned(&format!("read OP_GREETING none 200 101,{what}"));
        let existed = if round == 0 { "0 0" } else { "0 1" };
        assert_eq!(read(&mut host, "exists,noanswer"), existed);
        // The phone is the operator's own: 1 record, two seconds, 1 save, and away.
        host.ask(
            "channel down reads/bytes release/1 voice/slin/160/5000*100 press/# release/# release/1 release/#",
        );
        let menu = "OpGreetingMenu 101,k(noanswer)";
        assert_eq!(status(&mut host, menu, "OPGREETINGMENUSTATUS"), "DONE");
        assert_eq!(read(&mut host, "exists,noanswer"), "0 1");
        assert_eq!(read(&mut host, "duration,noanswer"), "0 1940");
        assert_eq!(read(&mut host, "kinds"), "0 noanswer");
        // AST_DEVICE_INUSE, AST_DEVICE_NOT_INUSE.
        assert_eq!(host.returned("device Planfix:greeting_101"), "2");
        assert_eq!(host.returned("device Planfix:greeting_102"), "1");
        host.ask("channel down");
        let lines = host.ask("exec OpGreeting 101,noanswer");
        let said = |kind: &str, text: &str| lines.iter().any(|(is, said)| is == kind && said.contains(text));
        assert!(
            said("indicated", "progress") && said("played", "/101/noanswer-") && said("ran", "0"),
            "{lines:?}"
        );
        assert!(said("variable", "OPGREETINGSTATUS=PLAYED"), "{lines:?}");
        // A caller who goes in the middle, and one of whom AMI wants something else.
        host.ask("channel down hangup");
        assert_eq!(
            status(&mut host, "OpGreeting 101,noanswer", "OPGREETINGSTATUS"),
            "HANGUP"
        );
        // Without leave nobody outside writes.
        let write = |host: &mut Host, who: &str, what: &str| {
            host.returned(&format!("write OP_GREETING none {who} 101,{what}"))
        };
        assert_eq!(write(&mut host, "outside", "enabled no"), "blocked");
        assert_eq!(write(&mut host, "dialplan", "enabled no"), "0");
        host.ask("channel down");
        assert_eq!(
            status(&mut host, "OpGreeting 101,noanswer", "OPGREETINGSTATUS"),
            "DISABLED"
        );
        assert_eq!(host.returned("device Planfix:greeting_101"), "1");
        // Who hangs up while he records leaves everything as it was.
        let sound = host
            .folder
            .path()
            .join("planfix/greetings/operators/-/101/noanswer-ru_RU.wav");
        let old = fs::read(&sound).unwrap();
        host.ask("channel down release/1 voice/slin/160/9000*100 hangup");
        assert_eq!(status(&mut host, menu, "OPGREETINGMENUSTATUS"), "HANGUP");
        assert!(fs::read(&sound).unwrap() == old);
        assert_eq!(write(&mut host, "dialplan", "enabled yes"), "0");
        host.part();
        match before {
            None => before = Some(host.held()),
            Some(before) => host.holds_no_more_than(before),
        }
    }
}

#[test]
fn nobody_becomes_an_operator_by_his_name() {
    let configuration = format!("{SHIPPED_CONFIGURATION}{GREETINGS}");
    let mut host = Host::loaded(&configuration);
    let mut names = hostile_arguments();
    names.extend(
        [
            "..",
            "../101",
            "101/../102",
            "/101",
            "101;id",
            "$(id)",
            "101@../x",
            "101@",
            "999",
            "101\u{2215}x",
        ]
        .map(str::to_owned),
    );
    names.push("1".repeat(300));
    for name in names {
        let bare = name.replace(' ', r"\x20");
        for how in ["none", "channel", "locked"] {
            let answer = host.returned(&format!("read OP_GREETING {how} 200 {bare},exists"));
            assert_eq!(answer, "-1 ", "{name}");
            let answer = host.returned(&format!("write OP_GREETING {how} dialplan {bare},enabled no"));
            assert_eq!(answer, "-1", "{name}");
        }
        host.ask("channel down");
        // Without a name somebody is meant all the same: whose phone it is.
        if !name.is_empty() && !name.starts_with(',') {
            for (application, variable) in [
                ("OpGreeting", "OPGREETINGSTATUS"),
                ("OpGreetingMenu", "OPGREETINGMENUSTATUS"),
            ] {
                assert_eq!(
                    status(&mut host, &format!("{application} {name}"), variable),
                    "FAILED",
                    "{name}"
                );
            }
        }
        let device = host.returned(&format!("device Planfix:greeting_{name}"));
        assert_eq!(device, "4", "{name}");
    }
    assert_eq!(
        host.last("read OP_GREETING none 200 101,enabled", "returned"),
        "0 1"
    );
    let operators = host.folder.path().join("planfix/greetings/operators");
    let made: Vec<_> = fs::read_dir(&operators).map_or_else(|_| Vec::new(), Iterator::collect);
    assert!(made.is_empty(), "{made:?}");
    host.part();
}

#[test]
fn the_shipped_module_loads_disabled_without_a_configuration_and_says_what_to_do() {
    let mut host = Host::start(None);
    host.open(&shipped());
    let loaded = host.ask("load");
    assert!(
        loaded.contains(&("returned".to_owned(), "0".to_owned())),
        "{loaded:?}"
    );
    assert!(
        loaded
            .iter()
            .any(|(kind, text)| kind == "log" && text.contains("planfix.conf")),
        "{loaded:?}"
    );
    assert_eq!(
        host.returned("read PLANFIX_EVENT none 64 INCOMING,79001234567,101,call"),
        "0 IGNORED"
    );
    host.configure(SHIPPED_CONFIGURATION);
    assert_eq!(host.returned("reload"), "0");
    assert_eq!(
        host.returned("read PLANFIX_EVENT none 64 INCOMING,79001234567,101,call"),
        "0 QUEUED"
    );
    host.part();
}

#[test]
fn the_shipped_module_follows_calls_records_them_and_plays_them_again() {
    let following = SHIPPED_CONFIGURATION.replace("mode = dialplan", "mode = auto");
    let mut host = Host::start(Some(&following));
    let mut before = None;
    for round in 0..ROUNDS {
        host.open(&shipped());
        assert_eq!(host.returned("load"), "0");
        let name = format!("round-{round}.jsonl");
        // The channels that the host has.
        assert_eq!(
            host.returned(&format!("run planfix record start {name}")),
            "success"
        );
        assert_eq!(host.returned("run planfix record start another.jsonl"), "failure");
        for kind in ["created", "answered", "entered", "hold", "unhold", "left", "gone"] {
            host.ask(&format!("tell {kind}"));
        }
        assert_eq!(host.returned("run planfix record stop"), "success");
        let trace = fs::read_to_string(host.folder.path().join(&name)).unwrap();
        let events: Vec<&str> = trace
            .lines()
            .skip(1)
            .filter_map(|line| line.split("\"event\":\"").nth(1)?.split('"').next())
            .collect();
        assert_eq!(
            events,
            [
                "running",
                "caught-up",
                "created",
                "changed",
                "entered",
                "hold",
                "unhold",
                "left",
                "gone"
            ]
        );
        assert!(!trace.contains("loader-secret"), "{trace}");
        let played = host.texts(&format!("run planfix play {name}"), "out").concat();
        assert!(
            played.contains("9 records, 0 requests, 1 channels left. Nothing was sent."),
            "{played}"
        );

        assert_eq!(host.returned("run planfix show calls"), "success");
        let story = host.texts("run planfix show call linkedid", "out").concat();
        assert!(story.contains("Call linkedid, running for"), "{story}");
        assert_eq!(host.returned("run planfix show call nobody"), "success");
        assert_eq!(host.returned("run planfix show call"), "usage");
        host.ask("tab planfix show call ");
        for action in [
            "PlanfixShowCalls",
            "PlanfixShowCall",
            "PlanfixShowCall|Call: linkedid",
            "PlanfixShowCall|Call: x",
        ] {
            assert_eq!(
                host.returned(&format!("action Action: {action}|ActionID: 7")),
                "0"
            );
        }
        // A recording that nobody stopped ends with the module.
        let name = format!("unfinished-{round}.jsonl");
        assert_eq!(
            host.returned(&format!("run planfix record start {name} masked")),
            "success"
        );
        host.part();
        let trace = fs::read_to_string(host.folder.path().join(&name)).unwrap();
        assert!(trace.ends_with('\n') && trace.contains("caught-up"), "{trace}");
        let held = host.held();
        assert_eq!(
            *before.get_or_insert(held),
            held,
            "round {round}: threads and descriptors"
        );
    }
}

/// `Host::ask` looks at everything that is said; this makes the module say what it can.
#[test]
fn no_key_is_ever_said() {
    let mut host = Host::loaded(SHIPPED_CONFIGURATION);
    let names = host.registered();
    for name in &names {
        if let Some(command) = name.strip_prefix("command ")
            // These ask the network, or have no end.
            && !["planfix check"].contains(&command)
        {
            for words in ["", " 1", " all", " status"] {
                host.ask(&format!("run {command}{words}"));
            }
            host.ask(&format!("tab {command} "));
        }
        if let Some(action) = name.strip_prefix("action ") {
            host.ask(&format!("action Action: {action}|ActionID: 7"));
        }
    }
    let mut said = Vec::new();
    for body in [
        "cmd=makeCall&from=101&to=79001234567",
        "cmd=makeCall&from=101&to=79001234567&token=wrong",
        "cmd=makeCall&from=101&to=nobody&token=loader-secret-2",
        "cmd=nothing&token=loader-secret-2",
        "cmd=setup&token=loader-secret-2&url=http%3A//127.0.0.1%3A9/&planfix_token=loader-secret-3",
        "token=loader-secret-2",
        "no form",
    ] {
        said.push(host.ask(&format!("http POST api {body}")));
    }
    for shown in [
        "",
        " Bearer wrong",
        " Bearer loader-secret-for-status",
        " Bearer loader-secret-2",
    ] {
        for path in ["status", "metrics"] {
            said.push(host.ask(&format!("http GET {path}{shown}")));
        }
    }
    let said = format!("{said:?}");
    for refused in [
        "the key is not pbx_token",
        "the command is neither",
        "it does not show the key of [status]",
    ] {
        assert!(said.contains(refused), "{refused}: {said}");
    }
    for event in ["INCOMING,79001234567,101,call", "ACCEPTED", "loader"] {
        host.ask(&format!("read PLANFIX_EVENT channel 64 {event}"));
    }
    host.ask("read PLANFIX_CONTACT channel 64 79001234567,name");
    for configuration in [
        SHIPPED_CONFIGURATION.replace("url = ", "url = nonsense"),
        SHIPPED_CONFIGURATION.replace("url = http://127.0.0.1:9", "url = http://127.0.0.2:9"),
        SHIPPED_CONFIGURATION.replace("token = ", "tokn = "),
        SHIPPED_CONFIGURATION.replace("loader-secret-1", "loader-secret-1\ntoken = loader-secret-4"),
        "token = loader-secret-1\n".to_owned(),
        SHIPPED_CONFIGURATION.to_owned(),
    ] {
        host.configure(&configuration);
        host.ask("reload");
        host.ask("run planfix show status");
    }
    host.part();
}

/// The status and the metrics are for whoever shows the key.
#[test]
fn figures_are_told_to_whoever_shows_the_key() {
    let mut host = Host::loaded(SHIPPED_CONFIGURATION);
    let ask = |host: &mut Host, request: &str| host.texts(&format!("http GET {request}"), "sent").concat();
    for path in ["status", "metrics"] {
        for shown in [
            "",
            " Bearer wrong",
            " loader-secret-for-status",
            " Bearer loader-secret-2",
        ] {
            let sent = ask(&mut host, &format!("{path}{shown}"));
            assert!(sent.starts_with("HTTP/1.1 401 "), "{sent}");
            assert!(
                sent.contains("WWW-Authenticate: Bearer") && sent.ends_with(r"\x0d\x0a\x0d\x0a"),
                "{sent}"
            );
        }
    }
    let status = ask(&mut host, "status Bearer loader-secret-for-status");
    assert!(
        status.starts_with("HTTP/1.1 200 ") && status.contains("\"enabled\":1"),
        "{status}"
    );
    let metrics = ask(&mut host, "metrics Bearer loader-secret-for-status");
    assert!(
        metrics.contains(r#"planfix_status_refused_total{reason="key"} 8"#),
        "{metrics}"
    );
    // Without a key there is no such address, whatever is shown.
    host.configure(&SHIPPED_CONFIGURATION.replace("key = loader-secret-for-status", "key ="));
    assert_eq!(host.returned("reload"), "0");
    for path in ["status", "metrics", "nothing"] {
        let sent = ask(&mut host, &format!("{path} Bearer loader-secret-for-status"));
        assert!(sent.starts_with("HTTP/1.1 404 "), "{sent}");
    }
    host.part();
}

/// Whatever is answered QUEUED while nobody listens at the CRM's address is on the disk when the module is gone.
#[test]
fn what_is_answered_queued_is_kept() {
    let mut host = Host::loaded(SHIPPED_CONFIGURATION);
    let mut told = BTreeSet::new();
    for call in 0..TIMES {
        for event in ["INCOMING", "ACCEPTED"] {
            let command = format!("read PLANFIX_EVENT channel 64 {event},79001234567,101,call-{call}");
            assert_eq!(host.texts(&command, "returned"), ["0 QUEUED"]);
            told.insert(format!("{event} call-{call}"));
        }
    }
    host.part();
    let spool = rusqlite::Connection::open(host.folder.path().join("planfix/spool.db")).unwrap();
    let mut kept = spool
        .prepare("SELECT kind || ' ' || callid FROM event WHERE state = 0 ORDER BY id")
        .unwrap();
    let kept: Vec<String> = kept
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(kept.len(), told.len(), "{kept:?}");
    assert_eq!(kept.into_iter().collect::<BTreeSet<_>>(), told);
}

/// How often these commands are repeated, where it is judged what they cost.
const TIMES: usize = 100;

/// What these commands cost the thread that calls the module: how often it waited, and how many microseconds it worked.
fn cost(host: &mut Host, commands: &[&str], which: &str) -> [usize; 2] {
    for command in commands {
        host.ask(&command.replace("{}", which));
    }
    let inside = host.last("inside", "inside");
    let numbers: Vec<usize> = inside.split(' ').map(|number| number.parse().unwrap()).collect();
    let [calls, waits, microseconds] = numbers[..] else {
        panic!("{inside}")
    };
    // Some of what is told the module has not subscribed to.
    assert!(calls > 0, "{commands:?}");
    [waits, microseconds]
}

/// Asterisk calls these on the threads of its calls and on that of its message bus. A wait of ten milliseconds there is
/// heard by nobody in a test and felt by everybody on a busy PBX, so what is judged is what the kernel counts: how often
/// the thread gave its processor away, and for how long it kept it.
#[test]
fn what_asterisk_calls_while_calls_go_on_never_waits() {
    let events = &[
        "read PLANFIX_EVENT channel 64 INCOMING,79001234567,101,call-{}",
        "read PLANFIX_EVENT locked 64 ACCEPTED,79001234567,101,call-{}",
        "read PLANFIX_EVENT none 64 COMPLETED,79001234567,101,call-{},Success,5,0",
        "read PLANFIX_EVENT channel 64 OUTGOING,79001234567,102,call-{}",
    ][..];
    let functions = [
        events,
        &["read PLANFIX_EVENT none 64 a verb that is none"],
        &["read CALL_DURATION channel 64 total"],
        &["read PLANFIX_CONTACT channel 64 79001234567,name"],
        &["read OP_GREETING channel 64 101"],
        &["device Planfix:greeting_101"],
    ];
    let messages = [
        &["tell created", "tell gone"][..],
        &["tell created", "tell answered", "tell renumbered", "tell stepped"],
        &["tell dial", "tell ringing", "tell dial forwarded"],
        &["tell entered", "tell hold", "tell unhold", "tell left"],
        &["tell blind", "tell attended", "tell pickup", "tell parked"],
        &["tell variable", "tell masquerade", "tell swapped", "tell gone"],
    ];
    for (mode, verdict) in [("mode = dialplan", "QUEUED"), ("mode = auto", "IGNORED")] {
        let configuration = SHIPPED_CONFIGURATION.replace("mode = dialplan", mode);
        let mut host = Host::loaded(&format!("{configuration}{GREETINGS}"));
        for event in events {
            let answers = host.texts(&event.replace("{}", "first"), "returned");
            assert_eq!(answers, [format!("0 {verdict}")], "{event}");
        }
        for commands in functions.iter().chain(&messages) {
            // What is set up once, at the first call, is not judged.
            cost(&mut host, commands, "second");
            let (mut waits, mut microseconds) = (0, 0);
            for time in 0..TIMES {
                let [waited, worked] = cost(&mut host, commands, &time.to_string());
                waits += waited;
                microseconds += worked;
            }
            // Now and then somebody else holds one of the locks for a moment.
            assert!(
                waits <= TIMES / 10,
                "{mode}, {commands:?}, {TIMES} times: the thread waited {waits} times"
            );
            assert!(
                microseconds < TIMES * 5_000,
                "{mode}, {commands:?}, {TIMES} times: the thread worked for {microseconds} microseconds"
            );
        }
        host.part();
    }
}

#[test]
fn what_is_accepted_is_told_over_ami_with_clean_headers() {
    let mut host = Host::loaded(SHIPPED_CONFIGURATION);
    // A thread of the module's own tells it, so it comes with this answer or with a later one.
    let mut told = host.texts(
        r"read PLANFIX_EVENT none 64 INCOMING,79001234567,101,call\xc2\x85Event: Forged",
        "event",
    );
    let until = Instant::now() + Duration::from_secs(30);
    while told.is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
        told = host.texts("run planfix show status", "event");
    }
    let [event] = &told[..] else { panic!("{told:?}") };
    let lines: Vec<&str> = event.split(r"\x0d\x0a").collect();
    assert_eq!(lines[0], "PlanfixCall: PlanfixEvent: INCOMING");
    assert_eq!(
        lines[1..],
        [
            r"CallId: call\x5cx85Event: Forged",
            "Exten: 101",
            "Type: in",
            "Phone: 79001234567",
            "Diversion: 101",
            ""
        ]
    );
    // Nothing is told of what is not accepted.
    for refused in [
        "INCOMING",
        "INCOMING,102,101,call-2",
        r"INCOMING,79001234567,101,call\x0d\x0aEvent: Forged",
    ] {
        let told = host.texts(&format!("read PLANFIX_EVENT none 64 {refused}"), "event");
        assert_eq!(told, [""; 0], "{refused}");
    }
    // The unload waits until everything is told.
    assert_eq!(host.texts("unload", "event"), [""; 0]);
    assert_eq!(host.last("close", "closed"), "0 mapped 1");
    host.ask("leave");
}
