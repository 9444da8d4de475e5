//! `make install`, `make samples` and `make uninstall`, into a folder.

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
