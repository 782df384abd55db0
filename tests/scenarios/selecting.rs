//! Selecting objects by their properties, lists in the caller's format, and waiting for a state.

use vsiflow_tests::{DiskDocument, TestConsole, Vsi, Vsiflow};

fn labelled(name: &str, app: &str) -> String {
    let vsi = Vsi::named(name).to_string();
    vsi.replacen(
        "metadata:\n",
        &format!("metadata:\n  labels: {{app: {app}}}\n"),
        1,
    )
}

/// Three VSIs, two of them with the application `web`.
fn fleet() -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    let all = [
        labelled("one", "web"),
        labelled("two", "web"),
        labelled("three", "db"),
    ];
    vsiflow.apply(all.join("---\n"), &["--wait"]).exits(0);
    vsiflow
}

#[test]
fn lists_are_selected_sorted_and_printed_as_asked() {
    let vsiflow = fleet();
    let out = |arguments: &[&str]| vsiflow.run(arguments).exits(0).stdout;
    assert_eq!(
        out(&["get", "-l", "app=web", "-o", "name"]),
        "vsi/one\nvsi/two\n"
    );
    assert_eq!(out(&["get", "-l", "app!=web", "-o", "name"]), "vsi/three\n");
    assert_eq!(
        out(&["get", "-l", "app in (db,x)", "-o", "name"]),
        "vsi/three\n"
    );
    assert_eq!(
        out(&[
            "get",
            "--field-selector",
            "metadata.name!=one,status.phase=Running",
            "-o",
            "name"
        ]),
        "vsi/three\nvsi/two\n"
    );
    let names = "jsonpath={range .items[*]}{.metadata.name}:{.status.phase}{\"\\n\"}{end}";
    assert_eq!(
        out(&["get", "-l", "app=web", "-o", names]),
        "one:Running\ntwo:Running\n"
    );
    assert_eq!(
        out(&["get", "one", "-o", "jsonpath={.metadata.labels.app}"]),
        "web\n"
    );
    assert_eq!(
        out(&[
            "get",
            "-o",
            "custom-columns=N:.metadata.name,APP:.metadata.labels.app",
            "--sort-by",
            ".metadata.name"
        ]),
        "N       APP\none     web\nthree   db\ntwo     web\n"
    );
    assert!(!out(&["get", "--no-headers"]).contains("PHASE"));
    let sorted = out(&["get", "--no-headers", "--sort-by", ".metadata.labels.app"]);
    assert!(sorted.starts_with("three"), "{sorted}");
    vsiflow
        .run(&["get", "--sort-by", ".metadata.nam"])
        .exits(2)
        .says("none of the objects has a field at .metadata.nam");
    assert_eq!(out(&["get", "-l", "app=none"]), "");
    vsiflow
        .run(&["get", "one", "-l", "app=web"])
        .exits(2)
        .says("VSI0810");
    vsiflow
        .run(&["get", "host", "-l", "app=web"])
        .exits(2)
        .says("VSI0810");
    vsiflow
        .run(&["get", "-l", "app=$("])
        .exits(2)
        .says("the value of the label app");
    vsiflow
        .run(&["get", "-o", "jsonpath={.a"])
        .exits(2)
        .says("not closed");
}

#[test]
fn what_is_selected_is_worked_on_and_nothing_else() {
    let vsiflow = fleet();
    vsiflow.run(&["stop", "-l", "app=web", "--wait"]).exits(0);
    assert_eq!(vsiflow.phase("one"), "Stopped");
    assert_eq!(vsiflow.phase("two"), "Stopped");
    assert_eq!(vsiflow.phase("three"), "Running");
    vsiflow
        .run(&["start", "--field-selector", "metadata.name=two", "--wait"])
        .exits(0);
    assert_eq!(vsiflow.phase("one"), "Stopped");
    vsiflow.run(&["start", "--all", "--wait"]).exits(0);
    assert_eq!(vsiflow.phase("one"), "Running");
    vsiflow
        .run(&["stop", "-l", "app=none", "--wait"])
        .exits(0)
        .says("No VSIs found");
    vsiflow.run(&["stop", "one", "-l", "app=web"]).exits(2);
    vsiflow.run(&["stop"]).exits(2);
}

#[test]
fn nothing_that_is_selected_is_destroyed_unless_somebody_agrees_and_never_beyond_the_limit() {
    let vsiflow = fleet();
    let disk = DiskDocument::named("spare").with("deletionPolicy: Delete");
    vsiflow.apply(disk.to_string(), &["--wait"]).exits(0);
    for refused in [
        &["delete", "-l", "app=web"][..],
        &["delete", "--all"],
        &["rebuild", "--all"],
        &["delete", "--all", "--yes", "--limit", "2"],
        &["delete", "disk", "--all"],
    ] {
        vsiflow.run(refused).exits(4).says("VSI0811");
    }
    vsiflow
        .run(&["delete", "one", "-l", "app=web", "--yes"])
        .exits(2);
    assert_eq!(
        vsiflow.run(&["get", "-o", "name"]).stdout.lines().count(),
        3
    );
    vsiflow.run(&["delete", "-l", "app=none"]).exits(0);
    vsiflow
        .run(&["delete", "-l", "app=web", "--yes", "--wait"])
        .exits(0);
    assert_eq!(vsiflow.run(&["get", "-o", "name"]).stdout, "vsi/three\n");
    vsiflow
        .run(&["delete", "disk", "--all", "-y", "--wait"])
        .exits(0);
    assert_eq!(vsiflow.phase("three"), "Running");
}

#[test]
fn a_wait_ends_when_the_state_is_there_or_the_time_is_up() {
    let vsiflow = fleet();
    let wait = |arguments: &[&str]| {
        let words = [&["wait"][..], arguments].concat();
        vsiflow.run(&words)
    };
    wait(&["one", "two", "--for=condition=Ready"])
        .exits(0)
        .says("vsi/one condition met");
    wait(&["--all", "--for=condition=ready=true"]).exits(0);
    wait(&["vsi/one", "--for=phase=Running", "--timeout", "0"]).exits(0);
    wait(&["one", "--for=jsonpath={.status.host}=sim"]).exits(0);
    wait(&["-l", "app=web", "--for=phase=Stopped", "--timeout", "1s"])
        .exits(5)
        .says("timed out waiting for vsi/one");
    wait(&["nobody", "--for=condition=Ready"])
        .exits(3)
        .says("VSI0703");
    wait(&["nobody", "--for=delete"]).exits(0);
    wait(&["-l", "app=none", "--for=condition=Ready"]).exits(3);
    wait(&["one", "--for=Ready"])
        .exits(2)
        .says("condition=Ready");
    wait(&["--for=delete"]).exits(2);
}

#[test]
fn a_wait_sees_what_others_do_through_a_daemon_too() {
    let vsiflow = fleet();
    let daemon = vsiflow.serve(&[]);
    let waits = vsiflow.start(&["wait", "one", "--for=delete", "--timeout", "60s"]);
    let stops = vsiflow.start(&[
        "wait",
        "-l",
        "app=db",
        "--for=phase=Stopped",
        "--timeout",
        "60s",
    ]);
    vsiflow.run(&["delete", "one", "--wait"]).exits(0);
    vsiflow.run(&["stop", "three", "--wait"]).exits(0);
    waits.end(60).exits(0).says("vsi/one condition met");
    stops.end(60).exits(0).says("vsi/three condition met");
    daemon.terminate();
    daemon.end(60).exits(0);
}

#[test]
fn times_of_a_list_are_relative_unless_absolute_ones_are_asked_for() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let created = vsiflow.vsi("web")["metadata"]["creationTimestamp"].clone();
    let created = created.as_str().unwrap();
    for kind in ["vsi", "run", "image"] {
        let shown = vsiflow.run(&["get", kind]).exits(0).stdout;
        assert!(!shown.contains(&created[..11]), "{shown}");
        let absolute = vsiflow.run(&["get", kind, "--time", "absolute"]).exits(0);
        absolute.says(&created[..11]);
    }
    vsiflow
        .run(&["get", "--time", "absolute"])
        .exits(0)
        .says("CREATED")
        .says(created);
}

#[test]
fn a_user_at_a_terminal_is_asked_before_a_daemon_destroys_what_is_selected() {
    let vsiflow = fleet();
    let daemon = vsiflow.serve(&[]);
    let mut refuses = TestConsole::on_a_terminal(&vsiflow, &["delete", "-l", "app=web", "--wait"]);
    refuses.shows("delete vsi/one, vsi/two? [y/N]");
    refuses.types("n\r");
    refuses.shows("VSI0811");
    assert_eq!(refuses.end(), 4);
    let names = || vsiflow.run(&["get", "-o", "name"]).stdout;
    assert_eq!(names().lines().count(), 3);
    let mut agrees = TestConsole::on_a_terminal(&vsiflow, &["delete", "-l", "app=web", "--wait"]);
    agrees.shows("delete vsi/one, vsi/two? [y/N]");
    // What is gone by now is as it was to be; what was made since is not what the user agreed to.
    vsiflow.run(&["delete", "two", "--wait"]).exits(0);
    vsiflow.apply(labelled("four", "web"), &["--wait"]).exits(0);
    agrees.types("y\r");
    agrees.shows("vsi/one deleted");
    assert_eq!(agrees.end(), 0);
    vsiflow.run(&["delete", "four", "--wait"]).exits(0);
    assert_eq!(names(), "vsi/three\n");
    let mut rebuilds = TestConsole::on_a_terminal(&vsiflow, &["rebuild", "--all", "--wait"]);
    rebuilds.shows("rebuild vsi/three? [y/N]");
    rebuilds.types("y\r");
    assert_eq!(rebuilds.end(), 0);
    // Without a terminal the user cannot be asked.
    vsiflow
        .run(&["delete", "--all"])
        .exits(4)
        .says("VSI0811")
        .says("--yes");
    daemon.terminate();
    daemon.end(60).exits(0);
}

#[test]
fn an_empty_selector_selects_nothing_rather_than_everything() {
    let vsiflow = fleet();
    for words in [
        &["delete", "-l", "", "--yes", "--wait"][..],
        &["delete", "--field-selector", "", "--yes"],
        &["rebuild", "-l", ",", "--yes"],
        &["stop", "-l", " "],
        &["get", "-l", ""],
    ] {
        vsiflow.run(words).exits(2).says("select everything");
    }
    let left = vsiflow.run(&["get", "-o", "name"]).exits(0).stdout;
    assert_eq!(left.lines().count(), 3);
}
