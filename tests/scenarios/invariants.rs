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

/// The sources of the crates: path below the repository, and text.
fn sources() -> Vec<(String, String)> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (mut folders, mut sources) = (Vec::new(), Vec::new());
    for folder in ["engine", "steps", "workflows", "adapters"] {
        folders.push(repository.join(folder));
    }
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let path = path.strip_prefix(&repository).unwrap();
                sources.push((path.to_str().unwrap().to_owned(), text));
            }
        }
    }
    sources
}

/// Every error code in the sources of the crates.
fn codes() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for (_, text) in sources() {
        let after = text.split("VSI").skip(1).filter_map(|rest| rest.get(..4));
        let digits = after.filter(|word| word.chars().all(|c| c.is_ascii_digit()));
        codes.extend(digits.map(|digits| format!("VSI{digits}")));
    }
    codes
}

/// Kinds of work that an outsider can make long: the words that begin it, and the only places that may hold them.
const COSTLY: [(&[&str], &[&str]); 7] = [
    (
        &["regex::", "Regex::", "RegexBuilder", "RegexSet"],
        &["steps/src/guest/pattern.rs", "steps/src/guest/pattern/"],
    ),
    (
        // Elsewhere they are checked in turns, and once.
        &[
            "contract::inspect(",
            "contract::check(",
            "pattern::compile(",
        ],
        &[
            "adapters/cli/src/command/contract.rs",
            "steps/src/contract/",
            "steps/src/guest/pattern.rs",
            "steps/src/sim/",
        ],
    ),
    (
        // Deriving the key of an encrypted one.
        &["decode_secret_key", "load_secret_key"],
        &["adapters/libvirt/src/ssh/auth/"],
    ),
    (
        &["jsonpath_rust", "pest::"],
        &["adapters/cli/src/output/jsonpath/"],
    ),
    (
        &["tar::Archive", "Archive::new("],
        &["adapters/image/src/archive.rs"],
    ),
    (
        &[
            "GzDecoder",
            "ZlibDecoder",
            "DeflateDecoder",
            "XzReader",
            "StreamingDecoder",
            "zstd::decode",
        ],
        &[
            "adapters/image/src/packing.rs",
            "adapters/image/src/packing/",
            "adapters/image/src/oci/layer.rs",
            // At most so many bytes are unpacked.
            "steps/src/contract/archive.rs",
            "steps/src/guest/user_data.rs",
            "adapters/file/src/kubevirt/guest.rs",
            // What this journal packed itself.
            "engine/src/journal/log/base.rs",
            "engine/src/journal/archive/packed.rs",
        ],
    ),
    (
        &[
            "serde_saphyr::from_",
            "roxmltree::",
            "quick_xml::Reader",
            "quick_xml::{Reader",
            "quick_xml::de",
        ],
        &[
            "adapters/file/src/yaml.rs",
            "adapters/image/src/packing/ova.rs",
            "adapters/libvirt/src/xml/tree.rs",
            "steps/src/cidata/meta_data.rs",
            "steps/src/contract/document.rs",
            "steps/src/guest/user_data/yaml.rs",
        ],
    ),
];

fn is_test(path: &str) -> bool {
    let folders = ["/tests/", "/lab_tests/", "/benches/", "/examples/"];
    let files = ["tests.rs", "fuzz.rs", "corpus_file.rs"];
    folders.iter().any(|part| path.contains(part)) || files.iter().any(|end| path.ends_with(end))
}

#[test]
fn nothing_but_a_check_of_a_host_acts_without_the_permit_of_a_guard() {
    let rooms = ["steps/src/guards/permit.rs", "steps/src/ports/conformance"];
    let product = sources().into_iter().filter(|(path, _)| !is_test(path));
    let unguarded = product.filter(|(_, text)| text.contains("unguarded"));
    let elsewhere: Vec<String> = unguarded
        .map(|(path, _)| path)
        .filter(|path| !rooms.iter().any(|room| path.starts_with(room)))
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

#[test]
fn work_that_an_outsider_can_make_long_is_in_the_room_that_limits_it() {
    let mut elsewhere = Vec::new();
    for (path, text) in sources().into_iter().filter(|(path, _)| !is_test(path)) {
        let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let product = product
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let product: String = product.flat_map(|line| [line, "\n"]).collect();
        for (words, rooms) in COSTLY {
            let is_room = rooms.iter().any(|room| path.starts_with(room));
            let word = words.iter().find(|word| product.contains(**word));
            elsewhere.extend(
                word.filter(|_| !is_room)
                    .map(|word| format!("{path}: {word}")),
            );
        }
    }
    assert!(elsewhere.is_empty(), "{elsewhere:#?}");
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
