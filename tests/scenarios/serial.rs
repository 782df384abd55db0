//! The serial console of a guest, on a terminal and through a daemon.

use std::time::Duration;

use vsiflow_tests::{TestConsole, Vsi, Vsiflow, until};

/// What happened and who did it, for each console event.
fn notes(vsiflow: &Vsiflow) -> Vec<(String, String)> {
    let events = vsiflow.history("web").into_iter();
    let notes = events.filter(|event| event.kind() == "noted");
    notes
        .map(|event| {
            let what = event.text("detail").to_owned();
            (what, event.text("actor").to_owned())
        })
        .collect()
}

fn provisioned() -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    vsiflow
}

/// Logs in, types something, and leaves with `^]`.
fn log_in(vsiflow: &Vsiflow) {
    let mut console = TestConsole::on_a_terminal(vsiflow, &["console", "web"]);
    console.shows("HPL10001I");
    console.types("\r");
    console.shows("login: ");
    console.types("lab\r");
    console.shows("Welcome, lab");
    console.types("secret-words\r");
    console.shows("secret-words\r\nsecret-words");
    console.types("\x1d");
    assert_eq!(console.end(), 0);
}

fn assert_recorded(vsiflow: &Vsiflow) {
    let notes = notes(vsiflow);
    let whats: Vec<_> = notes.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(whats, ["console_opened", "console_closed"]);
    assert!(notes.iter().all(|(_, actor)| actor.starts_with("unix:")));
    // Neither the typed keys nor the guest's replies are stored anywhere.
    for file in ["log", "blobs"] {
        let mut grep = std::process::Command::new("grep");
        grep.args(["-r", "secret-words"])
            .arg(vsiflow.state().join(file));
        let found = grep.output().unwrap();
        assert!(found.stdout.is_empty(), "{found:?}");
    }
}

#[test]
fn a_user_logs_in_at_the_console_and_that_is_recorded_but_not_what_is_typed() {
    let vsiflow = provisioned();
    log_in(&vsiflow);
    assert_recorded(&vsiflow);
}

#[test]
fn the_same_goes_through_a_daemon() {
    let vsiflow = provisioned();
    let daemon = vsiflow.serve(&[]);
    log_in(&vsiflow);
    until("the end is recorded", 30, || {
        (notes(&vsiflow).len() == 2).then_some(())
    });
    assert_recorded(&vsiflow);
    daemon.terminate();
    daemon.end(60).exits(0);
}

#[test]
fn an_open_console_keeps_nobody_from_the_state_directory() {
    let vsiflow = provisioned();
    let mut console = TestConsole::piped(&vsiflow, &["console", "web", "--stdin"]);
    console.shows("HPL10001I");
    vsiflow.run(&["stop", "web", "--wait"]).exits(0);
    drop(console);
}

#[test]
fn a_console_that_is_taken_names_who_has_it_and_is_taken_over_by_force() {
    let vsiflow = provisioned();
    let daemon = vsiflow.serve(&[]);
    let mut first = TestConsole::piped(&vsiflow, &["console", "web", "--stdin"]);
    first.types("\r");
    first.shows("login: ");
    let refused = vsiflow.run(&["console", "web", "--stdin"]).exits(4);
    let refused = refused.says("VSI0711").says("unix:");
    drop(refused);
    let mut second = TestConsole::piped(&vsiflow, &["console", "web", "--stdin", "--force"]);
    second.types("\r");
    second.shows("login: ");
    // The first console ends although nothing is typed there.
    first.end();
    second.leave();
    assert_eq!(second.end(), 0);
    until("all ends are recorded", 30, || {
        let notes = notes(&vsiflow);
        let closed = notes
            .iter()
            .filter(|(what, _)| what.starts_with("console_closed"));
        (closed.count() == 3).then_some(())
    });
    drop(daemon);
}

#[test]
fn a_daemon_that_ends_records_the_end_of_its_consoles() {
    let vsiflow = provisioned();
    let daemon = vsiflow.serve(&[]);
    let mut console = TestConsole::piped(&vsiflow, &["console", "web", "--stdin"]);
    console.types("\r");
    console.shows("login: ");
    daemon.terminate();
    daemon.end(60).exits(0);
    console.end();
    let notes = notes(&vsiflow);
    assert_eq!(notes.last().unwrap().0, "console_closed: the daemon ended");
}

#[test]
fn a_quiet_console_stays_open() {
    let vsiflow = provisioned();
    let daemon = vsiflow.serve(&[]);
    let mut console = TestConsole::piped(&vsiflow, &["console", "web", "--stdin"]);
    console.types("\r");
    console.shows("login: ");
    // Longer than the timeout of an idle connection.
    std::thread::sleep(Duration::from_secs(7));
    console.types("lab\r");
    console.shows("Welcome, lab");
    console.leave();
    assert_eq!(console.end(), 0);
    drop(daemon);
}

#[test]
fn whoever_may_only_look_gets_no_console() {
    let vsiflow = provisioned();
    let socket = vsiflow.folder().join("look.sock");
    let socket = socket.to_str().unwrap();
    let daemon = vsiflow.serve(&["--read-only", socket]);
    vsiflow
        .run(&["--read-only", socket, "console", "web", "--stdin"])
        .exits(4)
        .says("VSI0020");
    assert!(notes(&vsiflow).is_empty());
    drop(daemon);
}

#[test]
fn without_a_terminal_a_console_has_to_be_meant() {
    let vsiflow = provisioned();
    vsiflow.run(&["console", "web"]).exits(2).says("VSI0816");
    vsiflow
        .run(&["console", "nobody", "--stdin"])
        .exits(3)
        .says("VSI0703");
    vsiflow.run(&["stop", "web", "--wait"]).exits(0);
    vsiflow
        .run(&["console", "web", "--stdin"])
        .exits(1)
        .says("VSI0209");
}

#[test]
fn a_terminal_is_as_before_whatever_ends_the_console() {
    let vsiflow = provisioned();
    for end in ["TERM", "HUP", "INT"] {
        let shell = format!(
            "stty -echo; before=$(stty -g); {} & wait $!; test \"$before\" = \"$(stty -g)\" && echo restored",
            TestConsole::line(&vsiflow, &["console", "web"])
        );
        // In the foreground, where the process may change the terminal's settings.
        let shell = shell.replace(" & wait $!;", ";");
        let mut console = TestConsole::of_shell(&shell);
        console.shows("HPL10001I");
        console.signal(end);
        console.shows("restored");
        console.end();
    }
}

#[test]
fn the_end_of_a_console_whose_process_was_killed_is_recorded_by_the_next_command() {
    let vsiflow = provisioned();
    let mut killed = TestConsole::piped(&vsiflow, &["console", "web", "--stdin"]);
    killed.shows("HPL10001I");
    let mut lives = TestConsole::piped(&vsiflow, &["console", "web", "--stdin", "--force"]);
    lives.shows("HPL10001I");
    killed.signal("KILL");
    killed.end();
    vsiflow.run(&["stop", "web", "--wait"]).exits(0);
    let lost = || {
        let notes = notes(&vsiflow).into_iter();
        let lost = notes.filter(|(what, _)| what == "console_closed: its client was killed");
        lost.count()
    };
    assert_eq!(lost(), 1, "only the console whose client has ended");
    lives.leave();
    lives.end();
    vsiflow.run(&["start", "web", "--wait"]).exits(0);
    assert_eq!(lost(), 1, "once");
    let left = std::fs::read_dir(vsiflow.state().join("consoles")).unwrap();
    assert_eq!(left.count(), 0);
}
