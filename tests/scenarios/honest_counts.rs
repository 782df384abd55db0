//! `tests/run` counts only tests that ran as passed.

use std::{
    collections::BTreeSet,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use tempfile::TempDir;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs shell commands with the functions of `tests/run` and a stand-in for `cargo`, which lists three tests
/// and one ignored test, and reports that `ran` tests ran.
fn counted(ran: &str, words: &str) -> Output {
    let folder = TempDir::new().unwrap();
    let cargo = folder.path().join("cargo");
    let summary = format!("     Summary [   0.1s] {ran} tests run: {ran} passed, 7 skipped");
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in\n  'nextest list'*'--run-ignored only'*) echo 'c t::late' ;;\n  \
         'nextest list'*) printf 'c t::%s\\n' one two three ;;\n  'nextest run'*) echo '{summary}' ;;\nesac\n"
    );
    std::fs::write(&cargo, script).unwrap();
    std::fs::set_permissions(&cargo, PermissionsExt::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", folder.path().display());
    let words = format!(
        ". tests/lib/runner.sh; {words}; code=$?; say \"$passed $failed $skipped\"; exit $code"
    );
    let mut shell = Command::new("bash");
    shell.args(["-uc", &words]).current_dir(repository());
    shell.env("PATH", path).env_remove("VSIFLOW_NO_NEXTEST");
    shell.env_remove("VSIFLOW_NEED_LAB").output().unwrap()
}

#[track_caller]
fn counts(output: &Output, succeeded: bool, last: &str) {
    let printed = String::from_utf8_lossy(&output.stdout);
    assert_eq!(printed.lines().last(), Some(last), "{output:?}");
    assert_eq!(output.status.success(), succeeded, "{output:?}");
}

#[test]
fn all_that_was_listed_has_run() {
    counts(&counted("3", "tests"), true, "3 0 1");
}

#[test]
fn a_test_that_was_listed_and_did_not_run_is_a_failure() {
    counts(&counted("2", "tests"), false, "2 1 1");
}

#[test]
fn a_filter_that_finds_no_test_is_a_failure() {
    let nothing = "listed() { echo 0; }; tests";
    counts(&counted("0", nothing), false, "0 1 0");
}

#[test]
fn where_no_lab_is_permitted_each_test_that_needs_one_is_skipped() {
    let without = "lab() { [ \"$1\" != up ] || return 4; }; \
        with_lab none on_api_server none floor tests --only kube_ --inside none";
    counts(&counted("0", without), true, "0 0 3");
    let needed = format!("VSIFLOW_NEED_LAB=1; {without}");
    counts(&counted("0", &needed), false, "0 3 0");
}

#[test]
fn advisories_are_left_out_only_where_their_server_cannot_be_reached() {
    let fetched = |answers: &str, more: &str| {
        let words = format!(
            ". tests/lib/advisories.sh; install_deny() {{ :; }}; has_advisories() {{ false; }}; \
             fetch_advisories() {{ false; }}; reach_advisories() {{ {answers}; }}; {more}; dependencies"
        );
        counted("0", &words)
    };
    counts(&fetched("false", ":"), true, "0 0 1");
    let output = fetched("false", ":");
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.contains("SKIPPED: known advisories are NOT checked"));
    counts(&fetched("true", ":"), false, "0 0 0");
    counts(&fetched("true", "VSIFLOW_OFFLINE=1"), true, "0 0 1");
    counts(
        &fetched("false", "VSIFLOW_NEED_ADVISORIES=1"),
        false,
        "0 0 0",
    );
    counts(&fetched("true", "fetch_advisories() { :; }"), true, "0 0 0");
}

#[test]
fn a_test_for_the_lab_fails_outside_of_it() {
    for name in [
        "scenarios::lab_vsi::lab_what_vsiflow_did_not_make_is_untouched",
        "scenarios::kube::kube_a_namespace_goes_with_everything_in_it",
    ] {
        let mut one = Command::new(std::env::current_exe().unwrap());
        one.args(["--exact", name]);
        one.env_remove("VSIFLOW_LAB").env_remove("VSIFLOW_LAB_KUBE");
        let output = one.output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(printed.contains("0 passed; 1 failed"), "{printed}");
    }
}

/// The reasons of the ignored tests in this folder.
fn reasons(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            reasons(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(path).unwrap();
            let after = text.split("\n#[ignore = \"").skip(1);
            found.extend(after.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
}

#[test]
fn what_is_left_out_names_a_part_that_there_is() {
    let mut found = Vec::new();
    reasons(Path::new(env!("CARGO_MANIFEST_DIR")), &mut found);
    assert!(found.len() >= 4, "{found:?}");
    for reason in found {
        let (_, part) = reason
            .split_once("--part ")
            .unwrap_or_else(|| panic!("{reason:?} names no part"));
        let file = repository().join("tests/parts").join(part);
        assert!(file.is_file(), "{reason}");
    }
}

/// The names of all tests in this folder.
fn tests_in(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
            tests_in(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(path).unwrap();
            let marked = ["#[test]", "#[tokio::test"].map(|mark| text.split(mark).skip(1));
            let after = marked.into_iter().flatten();
            let names = after.filter_map(|rest| rest.split_once("fn ")?.1.split_once('('));
            found.extend(names.map(|(name, _)| name.to_owned()));
        }
    }
}

#[test]
fn every_defence_names_tests_that_there_are() {
    let mut tests = BTreeSet::new();
    for folder in ["engine", "steps", "workflows", "adapters", "tests"] {
        tests_in(&repository().join(folder), &mut tests);
    }
    let text = std::fs::read_to_string(repository().join("SECURITY.md")).unwrap();
    let (_, after) = text.split_once("\n## Defences\n").unwrap();
    let (defences, _) = after.split_once("\n## ").unwrap();
    let rows = defences.lines().filter(|line| line.starts_with("| "));
    let rows: Vec<_> = rows.filter(|line| !line.starts_with("| what ")).collect();
    assert!(rows.len() > 20, "{rows:?}");
    for row in rows {
        let (_, named) = row.trim_end_matches(" |").rsplit_once(" | ").unwrap();
        let named: Vec<_> = named.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{row}");
        let missing: Vec<_> = named
            .iter()
            .filter(|name| !tests.contains(**name))
            .collect();
        assert!(missing.is_empty(), "there is no {missing:?}: {row}");
    }
}
