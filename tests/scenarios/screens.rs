//! The screen of a guest, at a local port.

use vsiflow_tests::{
    SIMULATED_IMAGE, TestConsole, Vsiflow, until,
    viewer::{Viewer, screen},
};

fn server(machine: &str, more: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: web}}\nspec:\n  \
         imageURL: {SIMULATED_IMAGE}\n  machine: {{{machine}}}\n{more}"
    )
}

fn with_screen() -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    let server = server("graphics: vnc", "");
    vsiflow.apply(server, &["--wait"]).exits(0);
    vsiflow
}

/// What happened and who did it, for each screen event.
fn notes(vsiflow: &Vsiflow) -> Vec<(String, String)> {
    let events = vsiflow.history("web").into_iter();
    let notes = events.filter(|event| event.kind() == "noted");
    let notes = notes.map(|event| {
        let what = event.text("detail").to_owned();
        (what, event.text("actor").to_owned())
    });
    notes.filter(|(what, _)| what.starts_with("vnc_")).collect()
}

#[test]
fn a_viewer_reaches_the_screen_and_that_is_recorded() {
    let vsiflow = with_screen();
    assert_eq!(vsiflow.vsi("web")["spec"]["machine"]["graphics"], "vnc");
    let (mut console, address) = screen(&vsiflow, "web");
    let mut first = Viewer::greeted(address);
    let _second = Viewer::greeted(address);
    // Other commands can use the state directory at the same time.
    vsiflow.run(&["get"]).exits(0);
    console.signal("INT");
    assert_eq!(console.end(), 0);
    first.is_left();
    let notes = notes(&vsiflow);
    let whats: Vec<_> = notes.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(whats, ["vnc_opened", "vnc_closed"]);
    assert!(notes.iter().all(|(_, actor)| actor.starts_with("unix:")));
}

#[test]
fn each_viewer_through_a_daemon_is_recorded() {
    let vsiflow = with_screen();
    let daemon = vsiflow.serve(&[]);
    let (mut console, address) = screen(&vsiflow, "web");
    let first = Viewer::greeted(address);
    let mut second = Viewer::greeted(address);
    drop(first);
    let ended = |count: usize| {
        until("ends are recorded", 30, || {
            let notes = notes(&vsiflow);
            let closed = notes.iter().filter(|(what, _)| what == "vnc_closed");
            (closed.count() == count).then_some(())
        });
    };
    ended(1);
    console.signal("TERM");
    assert_eq!(console.end(), 0);
    second.is_left();
    ended(2);
    daemon.terminate();
    daemon.end(60).exits(0);
}

#[test]
fn a_daemon_that_ends_records_the_end_of_its_screens() {
    let vsiflow = with_screen();
    let daemon = vsiflow.serve(&[]);
    let (_console, address) = screen(&vsiflow, "web");
    let mut viewer = Viewer::greeted(address);
    daemon.terminate();
    daemon.end(60).exits(0);
    viewer.is_left();
    let notes = notes(&vsiflow);
    assert_eq!(notes.last().unwrap().0, "vnc_closed: the daemon ended");
}

#[test]
fn a_screen_that_is_not_there_is_refused_with_what_to_do() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server("cpus: 1", ""), &["--wait"]).exits(0);
    let refused = || vsiflow.run(&["vnc", "web", "--listen-only"]).exits(4);
    refused().says("VSI0742").says("graphics: vnc");
    // A running guest has no screen before its next start.
    let changed = server("cpus: 1, graphics: vnc", "  updatePolicy: Manual\n");
    vsiflow.apply(&changed, &[]).exits(4);
    vsiflow.run(&["plan", "-f", "-"]);
    refused().says("VSI0742");
    vsiflow.run(&["approve", "web", "--wait"]).exits(0);
    let (mut console, address) = screen(&vsiflow, "web");
    Viewer::greeted(address);
    console.signal("INT");
    assert_eq!(console.end(), 0);
    vsiflow.run(&["stop", "web", "--force", "--wait"]).exits(0);
    refused().says("VSI0741").says("vsiflow start");
    vsiflow
        .run(&["vnc", "nobody", "--listen-only"])
        .exits(3)
        .says("VSI0703");
}

#[test]
fn a_port_that_is_taken_is_refused_and_a_free_one_is_used() {
    let vsiflow = with_screen();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let words = ["vnc", "web", "--listen-only", "--port", &port];
    vsiflow.run(&words).exits(1).says("VSI0807").says(&port);
    drop(taken);
    let mut console = TestConsole::piped(&vsiflow, &words);
    assert_eq!(console.line_shown(), format!("vnc://127.0.0.1:{port}"));
    console.signal("INT");
    assert_eq!(console.end(), 0);
}

#[test]
fn the_end_of_a_screen_whose_process_was_killed_is_recorded_by_the_next_command() {
    let vsiflow = with_screen();
    let (mut killed, _) = screen(&vsiflow, "web");
    killed.signal("KILL");
    killed.end();
    vsiflow.run(&["stop", "web", "--force", "--wait"]).exits(0);
    assert_eq!(
        notes(&vsiflow).last().unwrap().0,
        "vnc_closed: its client was killed"
    );
}

#[test]
fn a_document_gets_no_screen_of_its_own_making() {
    let vsiflow = Vsiflow::simulated();
    let contract =
        "  guest:\n    type: hyperProtect\n    contract: |\n      env: a\n      workload: b\n";
    for (machine, more, says) in [
        ("graphics: spice", "", "spec.machine.graphics"),
        (
            "graphics: {type: vnc, listen: 0.0.0.0}",
            "",
            "spec.machine.graphics",
        ),
        ("graphics: vnc, password: hush", "", "password"),
        ("graphics: vnc", contract, "protected from its host"),
        (
            "graphics: vnc, secureExecution: required",
            "",
            "protected from its host",
        ),
    ] {
        let refused = vsiflow.apply(server(machine, more), &[]).exits(2);
        refused.says(says);
    }
    vsiflow.apply(server("graphics: none", ""), &[]).exits(0);
    assert!(vsiflow.vsi("web")["spec"]["machine"]["graphics"].is_null());
}

#[test]
fn whoever_may_only_look_gets_no_screen() {
    let vsiflow = with_screen();
    let socket = vsiflow.folder().join("look.sock");
    let socket = socket.to_str().unwrap();
    let daemon = vsiflow.serve(&["--read-only", socket]);
    vsiflow
        .run(&["--read-only", socket, "vnc", "web", "--listen-only"])
        .exits(4)
        .says("VSI0020");
    assert!(notes(&vsiflow).is_empty());
    drop(daemon);
}
