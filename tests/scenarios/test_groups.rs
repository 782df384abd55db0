//! Checks the groups of tests in `tests/nextest.toml`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The folders whose tests use the lab.
const FOLDERS: [&str; 2] = ["tests/scenarios", "adapters/libvirt/src/lab_tests"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn function(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("fn ")?;
    let name = rest.split('(').next()?;
    Some(name.to_owned())
}

/// The test functions of a file that need the lab or the API server exclusively.
fn alone(source: &str) -> BTreeSet<String> {
    // Built from two parts, because this file is searched as well.
    let entering = concat!("::enter_", "alone()");
    let (mut within, mut found) = (None, BTreeSet::new());
    for line in source.lines() {
        within = function(line).or(within);
        if line.contains(entering) {
            found.extend(within.clone());
        }
    }
    found
}

#[test]
fn whoever_has_the_lab_alone_is_in_the_group_that_comes_last() {
    let config = fs::read_to_string(repository().join("tests/nextest.toml")).unwrap();
    let named = config.split("test(").skip(1);
    let named: BTreeSet<_> = named.filter_map(|rest| rest.split(')').next()).collect();
    let mut found = BTreeSet::new();
    for folder in FOLDERS {
        for entry in fs::read_dir(repository().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                found.extend(alone(&fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(found.len() > 10, "{found:?}");
    let missing: Vec<_> = found
        .iter()
        .filter(|name| !named.contains(name.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "tests/nextest.toml does not name {missing:?}"
    );
}
