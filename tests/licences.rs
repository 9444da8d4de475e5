//! The licence gate: every dependency against deny.toml. Building cargo-deny would cost minutes; this costs none.

use std::collections::HashMap;
use std::process::Command;

use serde::Deserialize;

#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
    exceptions: Vec<Exception>,
}

#[derive(Deserialize)]
struct Exception {
    #[serde(rename = "crate")]
    name: String,
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// Absent for the packages of this workspace.
    source: Option<String>,
}

fn deny() -> Deny {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml")).unwrap();
    toml::from_str(&text).unwrap()
}

/// Why the package may not be used, if so.
fn fault(package: &Package, deny: &Deny) -> Option<String> {
    let name = format!("{} {}", package.name, package.version);
    if deny.bans.deny.iter().any(|banned| banned.name == package.name) {
        return Some(format!("{name} is banned in deny.toml"));
    }
    let Some(text) = &package.license else {
        return Some(format!("{name} names no licence"));
    };
    let exceptions: HashMap<&str, &Vec<String>> = deny
        .licenses
        .exceptions
        .iter()
        .map(|exception| (exception.name.as_str(), &exception.allow))
        .collect();
    let allowed = exceptions
        .get(package.name.as_str())
        .copied()
        .unwrap_or(&deny.licenses.allow);
    let expression = match spdx::Expression::parse_mode(text, spdx::ParseMode::LAX) {
        Ok(expression) => expression,
        Err(error) => return Some(format!("{name}: '{text}' is no licence expression: {error}")),
    };
    let holds = expression.evaluate(|requirement| allowed.contains(&requirement.to_string()));
    (!holds).then(|| format!("{name} is under '{text}': allow it in deny.toml with a reason, or do without"))
}

/// The packages that a manifest brings, in its locked versions.
fn packages(manifest: &str) -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--manifest-path",
            manifest,
            "--format-version",
            "1",
            "--locked",
            "--filter-platform",
            "x86_64-unknown-linux-gnu",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Metadata = serde_json::from_slice(&output.stdout).unwrap();
    assert!(metadata.packages.len() > 20, "the dependencies are listed");
    metadata.packages
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let deny = deny();
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let faults: Vec<String> = packages(manifest)
            .iter()
            .filter(|package| package.source.is_some())
            .filter_map(|package| fault(package, &deny))
            .collect();
        assert!(faults.is_empty(), "{manifest}: {faults:#?}");
    }
}

#[test]
fn the_gate_refuses_what_it_should() {
    let deny = deny();
    let package = |name: &str, license: Option<&str>| Package {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        license: license.map(ToOwned::to_owned),
        source: None,
    };
    for license in [
        "GPL-3.0-only",
        "AGPL-3.0-only",
        "LGPL-3.0-or-later",
        "Apache-2.0",
        "MIT AND GPL-3.0-only",
        "nonsense",
    ] {
        assert!(fault(&package("x", Some(license)), &deny).is_some(), "{license}");
    }
    assert!(fault(&package("x", None), &deny).is_some());
    assert!(fault(&package("openssl-sys", Some("MIT")), &deny).is_some());
    for license in [
        "MIT",
        "MIT OR Apache-2.0",
        "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
        "MIT/Apache-2.0",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
    ] {
        assert!(fault(&package("x", Some(license)), &deny).is_none(), "{license}");
    }
    assert!(fault(&package("ring", Some("Apache-2.0 AND ISC")), &deny).is_none());
}
