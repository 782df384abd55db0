//! The diagrams in `docs/`, generated from the code so that they stay correct.
//!
//! With `VSIFLOW_DRAW=1` the tests write them; otherwise they fail if a diagram differs.

mod graphs;
mod house;
mod states;
mod svg;

use std::{fs, path::PathBuf};

use vsiflow_tests::{Vsiflow, documents};

fn docs(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name)
}

/// Asserts that the file has this text, or writes it.
#[track_caller]
fn file_is(name: &str, text: &str) {
    if std::env::var_os("VSIFLOW_DRAW").is_some() {
        fs::write(docs(name), text).unwrap();
    }
    let written = fs::read_to_string(docs(name)).unwrap_or_default();
    assert!(
        written == text,
        "docs/{name} differs from the code; VSIFLOW_DRAW=1 draws it again:\n{text}"
    );
}

/// Asserts that the part between `<!-- drawn: MARK -->` and `<!-- end -->` is this diagram, or
/// writes it.
#[track_caller]
fn part_is(name: &str, mark: &str, diagram: &str) {
    let page = fs::read_to_string(docs(name)).unwrap();
    let begin = format!("<!-- drawn: {mark} -->\n");
    let (before, rest) = page
        .split_once(&begin)
        .unwrap_or_else(|| panic!("docs/{name} has no mark {mark}"));
    let (_, after) = rest.split_once("<!-- end -->").unwrap();
    file_is(
        name,
        &format!("{before}{begin}```mermaid\n{diagram}```\n<!-- end -->{after}"),
    );
}

// One test for each page: two tests that write the same page would overwrite one another.

#[test]
fn the_step_graphs_in_the_documents_are_those_of_the_binary() {
    let vsiflow = Vsiflow::simulated();
    let vsi = documents::Vsi::named("hello").disk("data", "1Gi");
    vsiflow.apply(&vsi, &["--wait"]).exits(0);
    vsiflow.apply(vsi.cpus(2), &["--wait"]).exits(0);
    vsiflow.run(&["delete", "hello", "--wait"]).exits(0);
    let export = vsiflow.run(&["audit", "export", "-"]).exits(0).stdout;
    for workflow in [
        "provision_vsi",
        "ensure_base_image",
        "ensure_data_disk",
        "update_vsi",
        "delete_vsi",
    ] {
        let graph = graphs::started(&export, workflow);
        let page = "explanation/step-graphs.md";
        part_is(page, workflow, &graphs::mermaid(&graph));
    }
    let provision = graphs::started(&export, "provision_vsi");
    file_is("pictures/vsi-steps.svg", &svg::draw(&provision));
}

#[test]
fn the_states_in_the_documents_are_those_that_the_engine_reaches() {
    let page = "explanation/states.md";
    part_is(page, "run", &states::run());
    part_is(page, "step", &states::step());
    part_is(page, "entity", &states::entity());
}

#[test]
fn the_house_in_the_documents_is_that_of_the_crates() {
    part_is("explanation/house.md", "house", &house::mermaid());
}
