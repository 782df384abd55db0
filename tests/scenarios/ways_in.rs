//! The ways into guests, as far as a simulated host has any.

use vsiflow_tests::{Vsi, Vsiflow};

#[test]
fn there_is_no_way_into_a_simulated_guest_and_that_is_said() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    vsiflow
        .run(&["ssh", "web", "--", "true"])
        .exits(4)
        .says("VSI0813");
    vsiflow.run(&["ssh", "nobody"]).exits(3).says("VSI0703");
    let daemon = vsiflow.serve(&[]);
    vsiflow
        .run(&["ssh", "vsi/web", "-l", "root"])
        .exits(4)
        .says("VSI0813");
    daemon.terminate();
    daemon.end(60).exits(0);
}

#[test]
fn a_configuration_that_was_written_once_is_there_for_ssh_to_include() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let file = vsiflow.state().join("ssh_config");
    vsiflow
        .run(&["ssh-config"])
        .exits(0)
        .says("Written by vsiflow");
    assert!(!file.exists());
    vsiflow
        .run(&["ssh-config", "--write"])
        .exits(0)
        .says("ssh_config");
    let whole = std::fs::read_to_string(&file).unwrap();
    // What somebody else wrote there does not stay.
    std::fs::write(&file, "Host *\n").unwrap();
    vsiflow.apply(Vsi::named("db"), &["--wait"]).exits(0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), whole);
}
