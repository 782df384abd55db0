//! The rules of `ARCHITECTURE.md`: crates depend on each other in one direction only.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use serde_json::Value;

pub(super) type Dependencies = BTreeMap<String, Vec<String>>;

/// The dependencies of each crate of the workspace, without those of tests.
pub(super) fn dependencies() -> Dependencies {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--offline",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| (name(package), needs(package)))
        .collect()
}

fn name(value: &Value) -> String {
    value["name"].as_str().unwrap().to_owned()
}

fn needs(package: &Value) -> Vec<String> {
    let all = package["dependencies"].as_array().unwrap();
    all.iter()
        .filter(|need| need["kind"] != "dev")
        .map(name)
        .collect()
}

pub(super) fn ours(all: &Dependencies, of: &str) -> Vec<String> {
    let needs = all
        .get(of)
        .unwrap_or_else(|| panic!("there is no crate {of}"));
    needs
        .iter()
        .filter(|need| all.contains_key(*need))
        .cloned()
        .collect()
}

/// Every error code in the sources of the crates.
fn codes() -> BTreeSet<String> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut folders, mut codes) = (Vec::new(), BTreeSet::new());
    for folder in ["engine", "steps", "workflows", "adapters"] {
        folders.push(repository.join(folder));
    }
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(path).unwrap();
                let after = text.split("VSI").skip(1).filter_map(|rest| rest.get(..4));
                let digits = after.filter(|word| word.chars().all(|c| c.is_ascii_digit()));
                codes.extend(digits.map(|digits| format!("VSI{digits}")));
            }
        }
    }
    codes
}

#[test]
fn every_error_code_is_explained_in_the_docs() {
    let docs = include_str!("../../docs/reference/errors.md");
    let explained = |code: &String| docs.contains(&format!("\n| {code} | "));
    let missing: Vec<_> = codes()
        .into_iter()
        .filter(|code| !explained(code))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn arrows_point_from_adapters_to_workflows_to_steps_to_engine() {
    let all = dependencies();
    assert!(
        ours(&all, "vsiflow-engine").is_empty(),
        "the engine depends on no other crate of ours"
    );
    assert_eq!(ours(&all, "vsiflow-steps"), ["vsiflow-engine"]);
    let workflows = ours(&all, "vsiflow-workflows");
    let inner = ["vsiflow-engine", "vsiflow-steps"];
    assert!(
        workflows.iter().all(|need| inner.contains(&need.as_str())),
        "{workflows:?}"
    );
}

#[test]
fn adapters_do_not_know_one_another_and_only_the_command_line_knows_all() {
    let all = dependencies();
    let inner = ["vsiflow-engine", "vsiflow-steps", "vsiflow-workflows"];
    let outside = ["vsiflow", "vsiflow-tests"];
    let adapters = all
        .keys()
        .filter(|name| !inner.contains(&name.as_str()) && !outside.contains(&name.as_str()));
    let adapters: Vec<_> = adapters.collect();
    assert!(adapters.len() >= 3, "{adapters:?}");
    for adapter in adapters {
        let needs = ours(&all, adapter);
        assert!(
            needs.iter().all(|need| inner.contains(&need.as_str())),
            "{adapter}: {needs:?}"
        );
    }
}

#[test]
fn foreign_worlds_stay_in_the_room_that_speaks_with_them() {
    for (crate_name, needs) in dependencies() {
        for need in needs {
            let home = match need.as_str() {
                "kube" | "k8s-openapi" => "vsiflow-kube",
                // The descriptions in OVAs are XML, too. Only `vsiflow-libvirt` reads libvirt's XML.
                "quick-xml" if crate_name == "vsiflow-image" => continue,
                "quick-xml" | "russh" => "vsiflow-libvirt",
                // Tenants choose the URLs of images, so `vsiflow-image` checks addresses. The collector's
                // address comes from the administrator.
                "reqwest" if crate_name == "vsiflow-otlp" => continue,
                "reqwest" => "vsiflow-image",
                "sled" | "bincode" => "vsiflow-engine",
                "clap" => "vsiflow",
                "tokio-postgres" => "vsiflow-postgres",
                _ => continue,
            };
            assert_eq!(crate_name, home, "{need} belongs into {home}");
        }
    }
}
