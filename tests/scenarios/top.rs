//! `vsiflow top`, and step graphs that a terminal shows while they run.

use vsiflow_tests::{TestConsole, Vsi, Vsiflow, until};

/// A terminal of a usual size that prints its settings afterwards.
fn terminal(vsiflow: &Vsiflow, arguments: &[&str]) -> TestConsole {
    let line = TestConsole::line(vsiflow, arguments);
    TestConsole::of_shell(&format!(
        "stty rows 30 cols 140; {line}; echo \"exit $?.\"; stty -a"
    ))
}

/// Waits until the terminal's settings are restored.
fn is_restored(terminal: &mut TestConsole, exit: i32) {
    terminal.shows("\x1b[?1049l");
    terminal.shows(&format!("exit {exit}."));
    terminal.shows(" icanon");
    assert_eq!(terminal.end(), 0);
}

#[test]
fn keys_lead_through_the_fleet_and_the_terminal_is_given_back() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let mut top = terminal(&vsiflow, &["top"]);
    top.shows("\x1b[?1049h");
    top.shows("vsiflow top");
    top.shows("web");
    top.shows("Running");
    // The key `h` shows the history, as the command does.
    top.types("h");
    top.shows("define_domain");
    top.types("q:hosts\r");
    top.shows("sim");
    top.types("?");
    top.shows("newest");
    top.types("x:nonsense\r");
    top.shows("nonsense");
    top.types("q");
    is_restored(&mut top, 0);
}

#[test]
fn what_a_daemon_does_is_seen_as_it_happens() {
    let vsiflow = Vsiflow::simulated();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("look.sock");
    let socket = socket.to_str().unwrap();
    let daemon = vsiflow.serve(&["--read-only", socket]);
    let mut top = terminal(&vsiflow, &["top"]);
    top.shows("vsiflow top");
    // A user with read access sees the same.
    let other = Vsiflow::of_documents();
    let mut looks = terminal(&other, &["top", "--read-only", socket]);
    looks.shows("vsiflow top");
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    for screen in [&mut top, &mut looks] {
        screen.shows("web");
        screen.shows("Running");
        screen.types("q");
        is_restored(screen, 0);
    }
    daemon.terminate();
    daemon.end(30).exits(0);
}

#[test]
fn a_signal_ends_it_and_gives_the_terminal_back() {
    let vsiflow = Vsiflow::simulated();
    for signal in ["TERM", "HUP"] {
        let mut top = terminal(&vsiflow, &["top"]);
        top.shows("vsiflow top");
        top.signal(signal);
        is_restored(&mut top, 130);
    }
}

/// Whether a process uses that state directory.
fn works(vsiflow: &Vsiflow) -> bool {
    let state = vsiflow.state().display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut lines =
        processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.any(|line| {
        let line = String::from_utf8_lossy(&line).into_owned();
        line.contains(&state) && line.trim_end_matches('\0').ends_with("\0top")
    })
}

#[test]
fn a_terminal_that_is_closed_ends_it() {
    let vsiflow = Vsiflow::simulated();
    let mut top = terminal(&vsiflow, &["top"]);
    top.shows("vsiflow top");
    assert!(works(&vsiflow));
    drop(top);
    until("its end", 60, || (!works(&vsiflow)).then_some(()));
}

#[test]
fn without_a_terminal_it_says_what_to_use_and_one_look_is_an_object() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    vsiflow
        .run(&["top"])
        .exits(2)
        .says("VSI0780")
        .says("vsiflow get -w");
    let once = vsiflow
        .run(&["top", "--once", "--from-offset", "0"])
        .exits(0);
    let look: serde_json::Value = serde_json::from_str(&once.stdout).unwrap();
    assert_eq!(look["vsis"][0]["name"], "web");
    assert_eq!(look["vsis"][0]["phase"], "Running");
    assert_eq!(look["hosts"][0]["name"], "sim");
    assert!(look["end"].as_u64().unwrap() > 10, "{look}");
    assert!(look["stepsEnded"].as_u64().unwrap() > 5, "{look}");
    vsiflow.run(&["top", "-o", "json"]).exits(2);
}

#[test]
fn a_command_that_waits_draws_the_step_graph_on_a_terminal_and_writes_lines_elsewhere() {
    let vsiflow = Vsiflow::simulated();
    let document = vsiflow.write("web.yaml", &Vsi::named("web").to_string());
    let document = document.to_str().unwrap();
    let mut applied = terminal(&vsiflow, &["apply", "-f", document, "--wait"]);
    applied.shows("vsi/web   provision_vsi   Active");
    applied.shows("Waiting");
    applied.shows("vsi/web   provision_vsi   Succeeded");
    applied.shows("vsi/web is Running");
    applied.shows("exit 0.");
    let lines = vsiflow.apply(Vsi::named("db"), &["--wait"]).exits(0);
    let lines = lines.says("db: define_domain done");
    assert!(
        !lines.stderr.contains("provision_vsi   "),
        "{}",
        lines.stderr
    );
}

#[test]
fn a_command_that_waits_beside_a_daemon_draws_the_step_graph_too() {
    let vsiflow = Vsiflow::simulated();
    let _daemon = vsiflow.serve(&[]);
    let document = vsiflow.write("web.yaml", &Vsi::named("web").doing("lab-hang").to_string());
    let document = document.to_str().unwrap();
    let words = ["apply", "-f", document, "--wait", "--timeout", "15s"];
    let mut applied = terminal(&vsiflow, &words);
    applied.shows("vsi/web   provision_vsi   Active");
    applied.shows("monitor_console");
    // The last state of the graph stays above the prompt.
    applied.shows("exit 5.");
    // Without a terminal, there are only lines.
    let lines = vsiflow.apply(Vsi::named("db"), &["--wait"]).exits(0);
    let lines = lines.says("db: define_domain done");
    assert!(
        !lines.stderr.contains("provision_vsi   "),
        "{}",
        lines.stderr
    );
}

#[test]
fn a_watch_draws_what_is_worked_on() {
    let vsiflow = Vsiflow::simulated();
    let daemon = vsiflow.serve(&[]);
    let mut watch = terminal(&vsiflow, &["get", "-w"]);
    vsiflow
        .apply(Vsi::named("web").doing("lab-hang"), &[])
        .exits(0);
    watch.shows("vsi/web   provision_vsi");
    watch.shows("monitor_console");
    watch.signal("INT");
    watch.shows("exit 130.");
    daemon.terminate();
    daemon.end(30).exits(0);
}

#[test]
fn graphs_are_drawn_of_whatever_has_runs_or_members() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let images = vsiflow.run(&["get", "image", "-o", "name"]).exits(0);
    let image = images.stdout.trim();
    vsiflow
        .run(&[
            "history",
            "--graph",
            &format!("image/{}", image.trim_start_matches("image/")),
        ])
        .exits(0)
        .says("upload_chunks");
    vsiflow.run(&["history", "--graph", "host/sim"]).exits(0);
    vsiflow.run(&["history", "--graph", "pool/nobody"]).exits(3);
}
