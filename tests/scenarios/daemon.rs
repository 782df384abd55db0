//! The daemon `serve`: it works on all entities, carries out commands for its state directory, and ends when
//! its lease has expired.

use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;
use vsiflow_tests::{Answer, Running, Server, Vsi, Vsiflow, server, until};

#[test]
fn a_daemon_takes_documents_and_works_on_them_by_itself() {
    let vsiflow = Vsiflow::simulated();
    let daemon = vsiflow.serve(&[]);
    vsiflow
        .apply(Vsi::named("quick"), &[])
        .exits(0)
        .says("vsi/quick created");
    vsiflow.until_phase("quick", "Running", 60);
    vsiflow
        .apply(Vsi::named("waited"), &["--wait"])
        .exits(0)
        .says("is Running");
    vsiflow.run(&["delete", "quick", "--wait"]).exits(0);
    daemon.terminate();
    daemon.end(30).exits(0);
    assert_eq!(vsiflow.phase("waited"), "Running");
}

#[test]
fn defect_15_a_desired_state_is_answered_once_it_is_recorded_however_long_its_work_takes() {
    let (vsiflow, server) = (Vsiflow::simulated(), Server::new());
    // The upload takes a quarter of an hour.
    let slowly = Answer::Slowly(server::image(9_000_000), 10_000);
    let url = server.answers("guest.qcow2", slowly);
    let daemon = vsiflow.serve(&[]);
    let begun = Instant::now();
    vsiflow
        .apply(Vsi::named("slow").image(url), &[])
        .exits(0)
        .says("vsi/slow created");
    let answered = begun.elapsed();
    assert!(answered < Duration::from_secs(5), "{answered:?}");
    assert_eq!(vsiflow.history("slow")[0].kind(), "desired");
    until("the upload", 30, || {
        let list = vsiflow.run(&["image", "list"]);
        list.stdout.contains("Uploading").then_some(())
    });
    // Other VSIs are made during the upload.
    vsiflow.apply(Vsi::named("quick"), &["--wait"]).exits(0);
    assert_ne!(vsiflow.phase("slow"), "Running");
    daemon.kill();
}

#[test]
fn a_daemon_answers_in_a_state_directory_with_a_long_path() {
    let vsiflow = Vsiflow::simulated().with_state(&"x".repeat(120));
    let daemon = vsiflow.serve(&[]);
    vsiflow.run(&["get", "vsi"]).exits(0).says("No VSI");
    daemon.terminate();
    daemon.end(30).exits(0);
}

#[test]
fn a_daemon_that_cannot_answer_ends_with_the_reason() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    std::fs::create_dir(vsiflow.state().join("vsiflow.sock")).unwrap();
    let ended = vsiflow.run(&["serve"]).exits(1);
    ended.says("error[VSI0021]").says("vsiflow.sock");
}

#[test]
fn a_daemon_takes_what_its_caller_reads_from_standard_input() {
    let vsiflow = Vsiflow::simulated();
    let _daemon = vsiflow.serve(&[]);
    let document = Vsi::named("piped").to_string();
    vsiflow
        .feed(&["plan", "-f", "-"], &document)
        .exits(1)
        .says("vsi/piped will be created");
    vsiflow
        .feed(&["apply", "-f", "-", "--wait"], &document)
        .exits(0)
        .says("vsi/piped is Running");
}

#[test]
fn a_daemon_goes_on_with_what_a_kill_left() {
    let vsiflow = Vsiflow::simulated();
    let mut running = vsiflow.start_apply(Vsi::named("left"), &["--wait"]);
    assert!(running.reaches("write_cidata", 30));
    running.kill();
    let daemon = vsiflow.serve(&[]);
    vsiflow.until_phase("left", "Running", 60);
    daemon.interrupt();
    daemon.end(30).exits(0);
}

#[test]
fn documents_that_are_wrong_are_refused_by_a_daemon_in_the_callers_words() {
    let vsiflow = Vsiflow::simulated();
    let _daemon = vsiflow.serve(&[]);
    let path = vsiflow.write("wrong.yaml", "kind: [");
    vsiflow
        .run(&["apply", "-f", path.to_str().unwrap()])
        .exits(2)
        .says("wrong.yaml");
    vsiflow
        .run(&["apply", "-f", "missing.yaml"])
        .exits(2)
        .says("missing.yaml");
}

#[test]
fn a_second_daemon_is_refused_while_the_first_lives_also_stopped() {
    let vsiflow = Vsiflow::simulated();
    let daemon = vsiflow.serve(&[]);
    let holder = format!("process {}", daemon.pid());
    vsiflow
        .run(&["serve"])
        .exits(1)
        .says("VSI0002")
        .says(&holder);
    daemon.stop();
    vsiflow
        .run(&["serve"])
        .exits(1)
        .says("VSI0002")
        .says(&holder);
    daemon.go_on();
}

#[test]
fn a_daemon_that_starts_waits_for_a_command_that_is_about_to_end() {
    let vsiflow = Vsiflow::simulated();
    let mut command = vsiflow.start_apply(Vsi::named("busy").doing("lab-hang"), &["--wait"]);
    assert!(command.reaches("start_domain", 30), "it ended early");
    let mut daemon = vsiflow.start(&["-v", "serve"]);
    assert!(daemon.reaches("in use by", 30), "it ended early");
    command.kill();
    assert!(daemon.reaches("serving", 30), "it did not wait");
}

/// The time of the newest event in the journal.
fn newest_event(vsiflow: &Vsiflow) -> String {
    let export = vsiflow.run(&["audit", "export", "-"]).exits(0).stdout;
    let lines = export
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let times = lines.filter_map(|line: Value| Some(line["time"].as_str()?.to_owned()));
    times.max().unwrap()
}

#[test]
fn a_daemon_woken_after_its_lease_records_nothing_and_exits_with_6() {
    let vsiflow = Vsiflow::simulated();
    let daemon = vsiflow.serve(&["--lease", "3s"]);
    let names: Vec<_> = (0..5).map(|n| format!("many-{n}")).collect();
    for name in &names {
        vsiflow.apply(Vsi::named(name), &[]).exits(0);
    }
    daemon.stop();
    let stopped = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
    std::thread::sleep(Duration::from_secs(4));
    daemon.go_on();
    daemon.end(30).exits(6).says("VSI0012");
    // A write in progress may have ended when the process was suspended. Nothing was written after that.
    let newest = newest_event(&vsiflow);
    assert!(newest <= stopped, "{newest}, stopped at {stopped}");
    let mut successor = vsiflow.serve(&["--lease", "3s"]);
    until("all are Running", 90, || {
        names
            .iter()
            .all(|name| vsiflow.phase(name) == "Running")
            .then_some(())
    });
    let titles: Vec<_> = names.iter().map(|name| format!("default/{name}")).collect();
    let titles: Vec<_> = titles.iter().map(String::as_str).collect();
    vsiflow.sim().assert_vsis(&titles);
    assert!(!successor.has_ended(), "it renews its lease");
}

#[test]
fn a_daemon_archives_what_is_old_and_goes_on() {
    let vsiflow = Vsiflow::simulated();
    let archive = ["--archive-every", "1s", "--archive-from", "10"];
    let mut daemon = vsiflow.command(&["serve", "--retention", "1s"]);
    let mut daemon = Running::start(daemon.args(archive));
    assert!(daemon.reaches("serving", 30));
    vsiflow.apply(Vsi::named("old"), &["--wait"]).exits(0);
    vsiflow.run(&["delete", "old", "--wait"]).exits(0);
    let archives = vsiflow.state().join("archive");
    until("an archive", 60, || {
        let mut all = archives.read_dir().ok()?;
        all.next().map(drop)
    });
    vsiflow.apply(Vsi::named("new"), &["--wait"]).exits(0);
    assert_eq!(vsiflow.phase("new"), "Running");
    daemon.terminate();
    daemon.end(30).exits(0);
    vsiflow.run(&["audit", "verify"]).exits(0);
}

#[test]
fn an_earlier_contract_that_is_asked_for_while_it_is_replaced_is_not_lost() {
    let vsiflow = Vsiflow::simulated();
    let mut daemon = vsiflow.serve(&[]);
    let first = || Vsi::named("back").with("updatePolicy: Manual");
    vsiflow.apply(first(), &["--wait"]).exits(0);
    vsiflow
        .apply(first().doing("another"), &["--wait"])
        .exits(4);
    vsiflow.run(&["approve", "back"]).exits(0);
    // The next step stops the guest, and that takes a moment.
    assert!(daemon.reaches("vsi/back: set_autostart", 60));
    // Apply the previous contract again while the run that erases it is open.
    vsiflow.apply(first(), &["--wait"]);
    vsiflow.until_phase("back", "Running", 60);
    vsiflow.run(&["approve", "back", "--wait"]).exits(0);
    vsiflow.apply(first(), &[]).exits(0).says("unchanged");
    daemon.terminate();
    daemon.end(30).exits(0);
}

#[test]
fn a_daemon_sees_what_was_changed_on_a_host() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("seen"), &[]).exits(0);
    vsiflow.change_sim(|state| {
        let domains = state["domains"].as_object_mut().unwrap();
        let domain = domains.values_mut().next().unwrap();
        domain["state"] = "ShutOff".into();
        (domain["live"], domain["running"]) = (Value::Null, Value::Null);
    });
    let mut daemon = vsiflow.serve(&["--look-every", "1s"]);
    assert!(daemon.prints("vsi/seen: drift", 30));
}

#[test]
fn a_journal_is_audited_while_a_daemon_works_on_it() {
    let vsiflow = Vsiflow::simulated();
    let mut daemon = vsiflow.serve(&[]);
    for number in 0..4 {
        let name = format!("busy-{number}");
        vsiflow.apply(Vsi::named(&name), &[]).exits(0);
    }
    let head = vsiflow.run(&["audit", "head"]).exits(0).stdout;
    vsiflow.write("head", &head);
    let sound = "nothing was changed, removed, reordered or inserted";
    for step in ["clone_boot_disk", "start_domain", "monitor_console"] {
        assert!(daemon.reaches(&format!("vsi/busy-3: {step}"), 60));
        vsiflow.run(&["audit", "verify"]).exits(0).says(sound);
        vsiflow
            .run(&["audit", "verify", "--head=head"])
            .exits(0)
            .says("stored elsewhere is part of it");
        vsiflow.run(&["replay", "--verify"]).exits(0);
    }
    vsiflow.run(&["audit", "export", "busy.jsonl"]).exits(0);
    let export = vsiflow.folder().join("busy.jsonl");
    assert!(export.is_file(), "in the caller's folder");
    vsiflow.run(&["audit", "export", "busy.jsonl"]).exits(1);
    let printed = vsiflow.run(&["audit", "export"]).exits(0).stdout;
    assert!(printed.lines().count() > 100);
    vsiflow
        .run(&["audit", "rebuild", "busy.jsonl"])
        .exits(1)
        .says("not empty");
    daemon.terminate();
    daemon.end(30).exits(0);
}

#[test]
fn a_lease_that_is_too_short_is_refused() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.run(&["serve", "--lease", "1s"]).exits(2).says("3s");
}
