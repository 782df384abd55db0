//! Rollback of a VSI to an earlier desired state.

use vsiflow_tests::{Vsi, Vsiflow};

fn cpus(vsiflow: &Vsiflow) -> u64 {
    vsiflow.vsi("web")["spec"]["machine"]["cpus"]
        .as_u64()
        .unwrap()
}

fn changed_twice() -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    for cpus in 1..4 {
        vsiflow
            .apply(Vsi::named("web").cpus(cpus), &["--wait"])
            .exits(0);
    }
    vsiflow
}

#[test]
fn a_vsi_goes_back_to_what_was_asked_of_it_before() {
    let vsiflow = changed_twice();
    let planned = vsiflow.run(&["rollback", "web", "--dry-run"]).exits(0);
    planned.says("restarted").says("generation 2");
    assert_eq!(cpus(&vsiflow), 3, "a plan changes nothing");
    vsiflow.run(&["rollback", "web", "--wait"]).exits(0);
    assert_eq!(cpus(&vsiflow), 2);
    assert_eq!(vsiflow.phase("web"), "Running");
    vsiflow
        .run(&["rollback", "vsi/web", "--to", "1", "--wait"])
        .exits(0);
    assert_eq!(cpus(&vsiflow), 1);
    // The state before this one is what it had before the previous rollback.
    vsiflow.run(&["rollback", "web", "--wait"]).exits(0);
    assert_eq!(cpus(&vsiflow), 2);
}

#[test]
fn what_cannot_be_gone_back_to_is_refused_and_nothing_changes() {
    let vsiflow = changed_twice();
    let before = vsiflow.vsi("web");
    let refused = |words: &[&str]| vsiflow.run(words).exits(4).says("VSI0728");
    refused(&["rollback", "web", "--to", "9"]).says("--events");
    vsiflow.run(&["rollback", "nobody"]).exits(3);
    vsiflow.run(&["rollback", "disk/data"]).exits(2);
    assert_eq!(vsiflow.vsi("web"), before);
    let once = Vsi::named("once");
    vsiflow.apply(&once, &["--wait"]).exits(0);
    refused(&["rollback", "once"]).says("nothing else");
}

#[test]
fn a_generation_whose_contract_was_erased_is_refused() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let other = Vsi::named("web").contract("env: other\nworkload: other\n");
    vsiflow.apply(other, &["--wait"]).exits(0);
    vsiflow
        .run(&["rollback", "web"])
        .exits(4)
        .says("VSI0728")
        .says("erased");
}
