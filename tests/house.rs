//! The house rules that a machine can hold.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The project's own files, as git lists them.
fn files() -> Vec<PathBuf> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let names = String::from_utf8(output.stdout).unwrap();
    let files: Vec<PathBuf> = names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .collect();
    assert!(files.len() > 40, "the files are listed");
    files
        .into_iter()
        .filter(|file| root().join(file).is_file())
        .collect()
}

fn text(file: &Path) -> String {
    String::from_utf8_lossy(&fs::read(root().join(file)).unwrap()).into_owned()
}

#[test]
fn unsafe_code_lives_on_the_asterisk_floor_alone() {
    for file in files() {
        let name = file.to_string_lossy();
        let ours = name.starts_with("src/") && name.ends_with(".rs");
        if !ours || name.starts_with("src/ast/") || name == "src/sys.rs" {
            continue;
        }
        for (index, line) in text(&file).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let words: Vec<&str> = code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
            assert!(!words.contains(&"unsafe"), "{name}:{}: {line}", index + 1);
        }
    }
}

#[test]
fn floors_are_used_downwards_only() {
    let forbidden = [
        (
            "src/core/",
            &[
                "crate::delivery",
                "crate::ast",
                "crate::entry",
                "crate::sys",
                "std::thread",
                "std::net::Tcp",
                "std::fs",
            ][..],
        ),
        ("src/delivery/", &["crate::ast", "crate::entry", "crate::sys"]),
        ("src/ast/", &["crate::entry", "crate::delivery", "crate::core"]),
        ("src/entry/", &["crate::sys"]),
    ];
    for file in files() {
        let name = file.to_string_lossy();
        for (floor, words) in forbidden {
            if name.starts_with(floor) && name.ends_with(".rs") {
                let text = text(&file);
                for word in words {
                    assert!(!text.contains(word), "{name} uses {word}");
                }
            }
        }
    }
}

#[test]
fn no_file_names_a_registry_or_a_place_of_one_machine() {
    // Put together here, so that this file does not name them either.
    let hosts = [
        "crates.".to_owned() + "io",
        "deb.debian.".to_owned() + "org",
        "pypi.".to_owned() + "org",
        "npmjs.".to_owned() + "org",
        "/ro".to_owned() + "ot/.",
        "/wo".to_owned() + "rk/",
    ];
    for file in files() {
        if file.ends_with("Cargo.lock") {
            continue;
        }
        let text = text(&file);
        for host in &hosts {
            assert!(!text.contains(host.as_str()), "{} names {host}", file.display());
        }
    }
}

#[test]
fn the_sample_configuration_has_every_option_at_its_default() {
    let sample = text(Path::new("configs/samples/planfix.conf.sample"));
    for (section, name, default) in res_planfix::core::settings::options() {
        let own = sample
            .split("\n[")
            .find(|part| part.trim_start_matches('[').starts_with(&format!("{section}]")))
            .unwrap_or_else(|| panic!("the sample has no section [{section}]"));
        let line = own
            .lines()
            .map(|line| line.trim_start_matches(';').trim())
            .find(|line| {
                let key = line.split('=').next().unwrap_or_default().trim();
                if name == "data_NAME" {
                    key.starts_with("data_")
                } else {
                    key == name
                }
            })
            .unwrap_or_else(|| panic!("the sample has no '{name}' in [{section}]"));
        let value = line
            .split_once('=')
            .map(|(_, value)| value.split(';').next().unwrap_or_default().trim());
        if section != "planfix" && name != "data_NAME" {
            assert_eq!(value, Some(default), "default of '{name}' in the sample");
        }
        assert!(
            line.split(';')
                .nth(1)
                .is_some_and(|prose| prose.trim().len() > 10),
            "'{name}' lacks its line of prose"
        );
    }
}

/// Whoever watches the module has to know what a figure means.
#[test]
fn every_figure_is_explained() {
    let text = text(Path::new("docs/monitoring.md"));
    let all = res_planfix::core::gauges::Gauges::default().json().unwrap();
    let all: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&all).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("| `")).collect();
    for name in all.keys() {
        let named = rows.iter().filter(|row| {
            let names = row.split('|').nth(1).unwrap_or_default();
            names.split(',').any(|own| own.trim() == format!("`{name}`"))
        });
        assert_eq!(named.count(), 1, "{name} in docs/monitoring.md");
    }
}

/// `make faults` puts them into a copy one by one; here it is seen that they have not been left behind by the code.
#[test]
fn each_fault_can_still_be_put_in() {
    let folder = root().join("tests/faults");
    let faults: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "patch"))
        .collect();
    assert!(faults.len() > 10, "the faults are listed");
    for fault in faults {
        let text = fs::read_to_string(&fault).unwrap();
        let ring = text.lines().find_map(|line| line.strip_prefix("Ring: "));
        assert!(
            matches!(ring, Some("pure" | "loader")),
            "{}: no \"Ring: pure\" or \"Ring: loader\"",
            fault.display()
        );
        let checked = std::process::Command::new("git")
            .args(["apply", "--check"])
            .arg(&fault)
            .current_dir(root())
            .output()
            .unwrap();
        assert!(
            checked.status.success(),
            "{} no longer fits the code:\n{}",
            fault.display(),
            String::from_utf8_lossy(&checked.stderr)
        );
    }
}
