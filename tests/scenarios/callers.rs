//! Commands that a daemon carries out for a caller: with the caller's files, and under the caller's name.

use std::process::Command;

use vsiflow_tests::{Running, Vsi, Vsiflow, vsiflow::binary};

#[test]
fn documents_are_those_that_the_caller_sees() {
    let vsiflow = Vsiflow::simulated();
    let _daemon = vsiflow.serve(&[]);
    // The daemon's working directory has a file with the same name.
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

/// A user ID without an account on this machine.
const DAEMONS_USER: u32 = 12_345;

#[test]
fn a_history_names_the_caller_and_not_the_daemon() {
    let vsiflow = Vsiflow::simulated();
    if !rustix::process::getuid().is_root() {
        println!("skipped: only the superuser reaches another user's daemon");
        return;
    }
    std::os::unix::fs::chown(vsiflow.folder(), Some(DAEMONS_USER), Some(DAEMONS_USER)).unwrap();
    // The daemon's user must be able to run the binary.
    let program = vsiflow.folder().join("vsiflow");
    std::fs::hard_link(binary(), &program)
        .or_else(|_| std::fs::copy(binary(), &program).map(drop))
        .unwrap();
    let mut daemon = Command::new("setpriv");
    let user = DAEMONS_USER.to_string();
    daemon.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    daemon
        .arg(&program)
        .args(vsiflow.command(&["serve"]).get_args());
    let mut daemon = Running::start(daemon.current_dir(vsiflow.folder()).env("USER", "daemon"));
    assert!(daemon.reaches("serving", 30));
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    vsiflow.run(&["stop", "web", "--wait"]).exits(0);
    let history = vsiflow.history("web");
    let desired = history.iter().filter(|event| event.kind() == "desired");
    let actors: Vec<_> = desired.map(|event| event.text("actor")).collect();
    assert_eq!(actors, ["unix:root", "unix:root"]);
    // Automatic actions of the daemon have the actor `engine`.
    assert!(history.iter().any(|event| event.text("actor") == "engine"));
}
