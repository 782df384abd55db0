//! A user's first VSI, on the simulated host.

use std::collections::BTreeSet;

use vsiflow_tests::{Vsi, Vsiflow, history::assert_nothing_done_twice};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/hello.yaml");

#[test]
fn the_example_runs_without_any_host_or_network() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .run(&["apply", "-f", EXAMPLE])
        .exits(0)
        .says("vsi/hello is Running");
    vsiflow.sim().assert_one_vsi("default/hello");

    let list = vsiflow.run(&["get", "-o", "json"]).exits(0).json();
    let item = &list["items"][0];
    assert_eq!(item["kind"], "HyperProtectContainerRuntimeOnPrem");
    assert_eq!(item["metadata"]["name"], "hello");
    assert_eq!(item["metadata"]["namespace"], "default");
    assert_eq!(item["metadata"]["generation"], 1);
    assert_eq!(item["status"]["phase"], "Running");
    assert_eq!(item["status"]["status"], 1);
    assert_eq!(item["status"]["observedGeneration"], 1);
    assert_eq!(item["status"]["conditions"][0]["type"], "Ready");
    assert_eq!(item["status"]["conditions"][0]["status"], "True");
    let description = item["status"]["description"].as_str().unwrap();
    assert!(description.contains("HPL10001I"), "{description}");
    assert_eq!(list["items"].as_array().unwrap().len(), 1);

    vsiflow.run(&["get"]).exits(0).says("hello").says("Running");
    vsiflow
        .run(&["get", "-o", "name"])
        .exits(0)
        .says("vsi/hello");
    vsiflow
        .run(&["describe", "hello"])
        .exits(0)
        .says("hello")
        .says("Running");
    vsiflow.run(&["logs", "hello"]).exits(0).says("HPL10001I");
    let last = vsiflow.run(&["logs", "hello", "--tail", "1"]).exits(0);
    assert_eq!(last.stdout.lines().count(), 1, "{last:#?}");
}

#[test]
fn a_history_has_a_line_for_each_event_with_stable_keys() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(Vsi::named("told"), &["--reason", "to be told"])
        .exits(0);
    let history = vsiflow.history("told");
    assert_nothing_done_twice(&history);
    let keys =
        "offset time entity run workflow step attempt type outcome durationMs actor reason hash";
    for event in &history {
        let found: BTreeSet<_> = event
            .0
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let missing: Vec<_> = keys.split(' ').filter(|key| !found.contains(key)).collect();
        assert!(missing.is_empty(), "no {missing:?} in {event:?}");
    }
    let first = &history[0];
    assert_eq!(
        (first.kind(), first.text("reason")),
        ("desired", "to be told")
    );
    assert!(first.text("actor").starts_with("unix:"), "{first:?}");
    for step in [
        "ensure_base_image",
        "clone_boot_disk",
        "write_cidata",
        "define_domain",
        "start_domain",
    ] {
        let of = |kind: &str| {
            history
                .iter()
                .filter(|e| e.step() == step && e.kind() == kind)
                .count()
        };
        assert_eq!((of("step_started"), of("step_succeeded")), (1, 1), "{step}");
    }
    vsiflow
        .run(&["history", "told"])
        .exits(0)
        .says("define_domain");
}

#[test]
fn applying_the_same_twice_does_nothing_and_says_so() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(Vsi::named("same"), &[])
        .exits(0)
        .says("vsi/same created");
    let (history, volumes) = (vsiflow.history("same"), vsiflow.sim());
    vsiflow
        .apply(Vsi::named("same"), &["--wait"])
        .exits(0)
        .says("vsi/same unchanged");
    assert_eq!(vsiflow.history("same").len(), history.len());
    assert_eq!(vsiflow.sim().volumes(), volumes.volumes());
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(Vsi::named("dry"), &["--dry-run"])
        .exits(0)
        .says("created (dry run)");
    vsiflow.run(&["get", "vsi", "dry"]).exits(3);
    assert!(vsiflow.sim().volumes().is_empty());
}

#[test]
fn delete_leaves_nothing_but_the_base_image() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("gone"), &[]).exits(0);
    vsiflow
        .run(&["delete", "gone", "--wait"])
        .exits(0)
        .says("vsi/gone deleted");
    let sim = vsiflow.sim();
    assert_eq!(sim.volumes(), ["hpcr-guest.qcow2"]);
    assert!(sim.domains().is_empty());
    vsiflow.run(&["get", "vsi", "gone"]).exits(3);
    vsiflow.run(&["get", "--deleted"]).exits(0).says("Deleted");
    assert!(!vsiflow.history("gone").is_empty());

    let before = vsiflow.history("gone");
    vsiflow
        .apply(Vsi::named("gone"), &[])
        .exits(0)
        .says("vsi/gone created");
    let uid = vsiflow.vsi("gone")["metadata"]["uid"].clone();
    let old = before[0].text("entity");
    assert_ne!(
        old,
        format!("vsi/{}", uid.as_str().unwrap()),
        "a new VSI has a new UID"
    );
}

#[test]
fn two_runs_of_the_same_input_give_the_same_cidata_byte_by_byte() {
    let document = Vsi::named("twin").uid("4f2c9c1e-6a67-4f5b-9d3c-0a1b2c3d4e5f");
    let [first, second] = [(); 2].map(|()| {
        let vsiflow = Vsiflow::simulated();
        vsiflow.apply(&document, &[]).exits(0);
        vsiflow.sim().content("cidata-")
    });
    assert!(first.len() > 10_000, "{}", first.len());
    assert!(first == second, "the two cidata volumes differ");
}
