//! Invalid documents: all errors are reported, and nothing is changed.

use vsiflow_tests::{Ran, Vsi, Vsiflow};

/// Applies invalid documents.
#[track_caller]
fn refused(documents: &str) -> Ran {
    let vsiflow = Vsiflow::simulated();
    let ran = vsiflow.apply(documents, &[]).exits(2);
    assert!(
        !vsiflow.state().exists(),
        "the state directory was made: {ran:#?}"
    );
    ran
}

/// The position of the line with these words, as errors name it.
fn line(documents: &str, words: &str) -> String {
    let at = documents.lines().position(|line| line.contains(words));
    format!("documents-0.yaml:{}:", at.unwrap() + 1)
}

#[test]
fn an_unknown_field_is_named_with_its_place_and_its_likeness() {
    let wrong = Vsi::named("a")
        .to_string()
        .replace("storagePool", "storagePol");
    refused(&wrong)
        .says("error[VSI06")
        .says(&line(&wrong, "storagePol"))
        .says("storagePol")
        .says("storagePool");
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_place() {
    let wrong = Vsi::named("a").to_string().replace("cpus: 1", "cpus: many");
    refused(&wrong)
        .says("error[VSI06")
        .says(&line(&wrong, "cpus"))
        .says("machine.cpus");
}

#[test]
fn two_documents_of_one_name_are_refused() {
    let twice = format!("{}---\n{}", Vsi::named("twin"), Vsi::named("twin"));
    refused(&twice)
        .says("error[VSI06")
        .says("documents-0.yaml:")
        .says("twin");
}

#[test]
fn everything_wrong_is_said_at_once() {
    let first = Vsi::named("a").to_string().replace("cpus: 1", "cpus: many");
    let second = Vsi::named("b")
        .to_string()
        .replace("storagePool", "storagePol");
    let ran = refused(&format!("{first}---\n{second}"));
    assert_eq!(ran.stderr.matches("error[VSI06").count(), 2, "{ran:#?}");
}

#[test]
fn a_contract_is_never_repeated_in_an_error() {
    let secret = Vsi::named("a").contract("env: very-secret-word\nworkload: x\n");
    let wrong = secret.to_string().replace("contract: |", "contrakt: |");
    refused(&wrong)
        .says("contrakt")
        .keeps_quiet_about("very-secret-word");
}

#[test]
fn a_file_that_is_not_there_or_no_yaml_is_refused() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .run(&["apply", "-f", "nowhere.yaml"])
        .exits(2)
        .says("nowhere.yaml");
    refused("spec: [").says("documents-0.yaml:");
    assert!(!vsiflow.state().exists());
}
