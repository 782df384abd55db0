//! A daemon's callers: it reads what they read.

use vsiflow_tests::{Running, Vsi, Vsiflow};

fn serving(vsiflow: &Vsiflow) -> Running {
    let mut daemon = vsiflow.start(&["serve"]);
    assert!(daemon.reaches("serving", 30));
    daemon
}

#[test]
fn documents_are_those_that_the_caller_sees() {
    let vsiflow = Vsiflow::simulated();
    let _daemon = serving(&vsiflow);
    // The daemon has a file of that name as well, where it was started.
    vsiflow.write("a.yaml", &Vsi::named("the-daemons").to_string());
    let elsewhere = tempfile::tempdir().unwrap();
    let document = Vsi::named("the-callers").to_string();
    std::fs::write(elsewhere.path().join("a.yaml"), document).unwrap();
    let mut apply = vsiflow.command(&["apply", "-f", "a.yaml"]);
    let ran = Running::start(apply.current_dir(elsewhere.path())).end(60);
    ran.exits(0).says("vsi/the-callers created");
    let listed = vsiflow.run(&["get", "-o", "name"]).exits(0);
    listed.keeps_quiet_about("the-daemons");
}
