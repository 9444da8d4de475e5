//! `make install`, `make samples` and `make uninstall`, into a folder; what tools/asterisk and tools/prepare say of a new machine.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A machine's root with an asterisk.conf that puts everything where nobody would guess it.
struct Root(tempfile::TempDir);

impl Root {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc/asterisk");
        fs::create_dir_all(&etc).unwrap();
        fs::write(
            etc.join("asterisk.conf"),
            "[directories](!)\nastetcdir => /etc/pbx ; comment\nastmoddir=/opt/pbx/modules\n astdatadir => /opt/pbx/data\n",
        )
        .unwrap();
        fs::write(root.path().join("built.so"), "the module").unwrap();
        Self(root)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn install(&self, what: &str) -> (bool, String) {
        let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/install"))
            .arg(what)
            .env("DESTDIR", self.0.path())
            .env("RES_PLANFIX_MODULE", self.path("built.so"))
            .env_remove("ASTERISK_CONF")
            .output()
            .unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.success(), text)
    }
}

const MODULE: &str = "opt/pbx/modules/res_planfix.so";
const DOCUMENTATION: &str = "opt/pbx/data/documentation/thirdparty/res_planfix-en_US.xml";

#[test]
fn the_module_goes_where_asterisk_conf_says_and_comes_away_again() {
    let root = Root::new();
    let (done, text) = root.install("module");
    assert!(done, "{text}");
    assert_eq!(fs::read_to_string(root.path(MODULE)).unwrap(), "the module");
    assert!(
        fs::read_to_string(root.path(DOCUMENTATION))
            .unwrap()
            .contains("PLANFIX_EVENT")
    );
    // A running Asterisk has the old file mapped: it must not be written to.
    let before = fs::metadata(root.path(MODULE)).unwrap().ino();
    let (done, text) = root.install("module");
    assert!(done, "{text}");
    assert_ne!(fs::metadata(root.path(MODULE)).unwrap().ino(), before);
    let (done, text) = root.install("samples");
    assert!(done, "{text}");
    let (done, text) = root.install("uninstall");
    assert!(done, "{text}");
    assert!(!root.path(MODULE).exists() && !root.path(DOCUMENTATION).exists());
    assert!(
        root.path("etc/pbx/planfix.conf").exists(),
        "the configuration stays"
    );
}

/// asterisk.conf may be root's where Asterisk itself is not: the folder of its database is always its own.
#[test]
fn the_configuration_belongs_to_who_has_asterisks_database() {
    let root = Root::new();
    let conf = root.path("etc/asterisk/asterisk.conf");
    let text = fs::read_to_string(&conf).unwrap() + "astdbdir => /var/lib/pbx\n";
    fs::write(&conf, text).unwrap();
    let database = root.path("var/lib/pbx");
    fs::create_dir_all(&database).unwrap();
    // Only root can give files away.
    let given = std::os::unix::fs::chown(&database, Some(4_711), Some(4_712)).is_ok();
    let (done, text) = root.install("samples");
    assert!(
        done && text.contains("it belongs to ") && text.contains("has to be able to read it"),
        "{text}"
    );
    let about = fs::metadata(root.path("etc/pbx/planfix.conf")).unwrap();
    if given {
        assert_eq!((about.uid(), about.gid()), (4_711, 4_712));
    }
}

#[test]
fn an_existing_configuration_is_never_overwritten() {
    let root = Root::new();
    let (done, text) = root.install("samples");
    assert!(done, "{text}");
    let conf = root.path("etc/pbx/planfix.conf");
    assert_eq!(fs::metadata(&conf).unwrap().permissions().mode() & 0o777, 0o640);
    fs::write(&conf, "precious").unwrap();
    fs::write(root.path("etc/pbx/planfix.conf.sample"), "old").unwrap();
    let (done, text) = root.install("samples");
    assert!(done && text.contains("kept"), "{text}");
    assert_eq!(fs::read_to_string(&conf).unwrap(), "precious");
    assert!(
        fs::read_to_string(root.path("etc/pbx/planfix.conf.sample"))
            .unwrap()
            .contains("[planfix]")
    );
}

#[test]
fn what_is_missing_is_named() {
    let root = Root::new();
    fs::remove_file(root.path("built.so")).unwrap();
    let (done, text) = root.install("module");
    assert!(!done && text.contains("run 'make' first"), "{text}");
    fs::write(root.path("etc/asterisk/asterisk.conf"), "[directories]\n").unwrap();
    let (done, text) = root.install("samples");
    assert!(
        !done && text.contains("does not tell astetcdir: set ASTERISK_CONF"),
        "{text}"
    );
    assert!(!root.install("nonsense").0);
}

/// What tools/asterisk says where apt knows one source, a folder with `packages`, and nothing of Debian.
fn on_a_machine_that_does_not_know_debian(packages: &[(&str, &[(&str, &str)])]) -> String {
    let root = tempfile::tempdir().unwrap();
    let source = root.path().join("source");
    fs::create_dir(&source).unwrap();
    let mut list = String::new();
    for (name, files) in packages {
        let tree = root.path().join(name);
        let about = format!(
            "Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody <nobody@example.com>\nDescription: {name}\n"
        );
        for (file, text) in files.iter().chain([("DEBIAN/control", about.as_str())].iter()) {
            let file = tree.join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, text).unwrap();
        }
        let package = source.join(format!("{name}.deb"));
        run(Command::new("dpkg-deb").arg("--build").arg(&tree).arg(&package));
        let sum = run(Command::new("sha256sum").arg(&package));
        let size = fs::metadata(&package).unwrap().len();
        let sum = sum.split(' ').next().unwrap();
        list += &format!("{about}Filename: ./{name}.deb\nSize: {size}\nSHA256: {sum}\n\n");
    }
    fs::write(source.join("Packages"), list).unwrap();
    let sources = root.path().join("sources.list");
    fs::write(
        &sources,
        format!("deb [trusted=yes] file:{} ./\n", source.display()),
    )
    .unwrap();
    let settings = root.path().join("apt.conf");
    let text = format!(
        "Dir::Etc::sourcelist \"{}\";\nDir::Etc::sourceparts \"/dev/null\";\n",
        sources.display()
    );
    fs::write(&settings, text).unwrap();
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/asterisk"))
        .args(["fetch", "22"])
        .env("APT_CONFIG", &settings)
        .env("RES_PLANFIX_CACHE", root.path().join("cache"))
        .env_remove("RES_PLANFIX_DEBIAN_ARCHIVE")
        .output()
        .unwrap();
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Ubuntu's sources name no archive of Debian's, where the private Asterisk comes from; its debootstrap does.
#[test]
fn ubuntu_tells_where_debian_is() {
    if Command::new("apt-get").arg("--version").output().is_err() {
        return;
    }
    let keys = ("usr/share/keyrings/debian-archive-keyring.gpg", "keys");
    let address = (
        "usr/sbin/debootstrap",
        "#!/bin/sh\nDEF_MIRROR=\"file:/there/is/nothing\"\n",
    );
    let text = on_a_machine_that_does_not_know_debian(&[
        ("debian-archive-keyring", &[keys]),
        ("debootstrap", &[address]),
    ]);
    assert!(
        text.contains("no archive gave Asterisk 22 (tried: file:/there/is/nothing "),
        "{text}"
    );
    let text = on_a_machine_that_does_not_know_debian(&[("debian-archive-keyring", &[keys])]);
    assert!(
        text.contains("has the package debootstrap (on Ubuntu: switch on \"universe\")")
            && text.contains("or set RES_PLANFIX_DEBIAN_ARCHIVE"),
        "{text}"
    );
}

/// A gcc alone is found and links nothing; and a new machine has no lists of packages yet.
#[test]
fn a_compiler_without_a_c_library_is_missing_too() {
    if Command::new("apt-get").arg("--version").output().is_err() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let programs = [("cc", "echo crt1.o"), ("id", "echo 4711"), ("sudo", "exit 1")];
    for (name, text) in programs {
        let program = root.path().join(name);
        fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", root.path().display(), std::env::var("PATH").unwrap());
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tools/prepare"))
        .arg("build")
        .env("PATH", path)
        .env("RES_PLANFIX_CACHE", root.path().join("cache"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success()
            && text.contains(
                "Run as root: apt-get update && apt-get install --no-install-recommends gcc libc6-dev"
            ),
        "{text}"
    );
}
