//! Work that timed out, was interrupted, cancelled or killed resumes where it stopped.

use vsiflow_tests::{
    Vsi, Vsiflow,
    history::{STEPS, assert_nothing_done_twice},
    until,
};

#[track_caller]
fn assert_whole(vsiflow: &Vsiflow, name: &str) {
    assert_eq!(vsiflow.phase(name), "Running");
    assert_eq!(vsiflow.image_phases(), ["Ready"]);
    vsiflow.sim().assert_one_vsi(&format!("default/{name}"));
    assert_nothing_done_twice(&vsiflow.history(name));
}

#[test]
fn a_timeout_exits_5_and_resume_goes_on() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(Vsi::named("late"), &["--timeout", "300ms"])
        .exits(5)
        .says("vsiflow resume late");
    vsiflow.run(&["resume", "late"]).exits(0);
    assert_whole(&vsiflow, "late");
}

#[test]
fn an_interrupt_exits_130_and_resume_goes_on() {
    let vsiflow = Vsiflow::simulated();
    let mut running = vsiflow.start_apply(Vsi::named("cut"), &["--wait"]);
    assert!(running.reaches("write_cidata", 30));
    running.interrupt();
    running.end(30).exits(130).says("vsiflow resume cut");
    vsiflow.run(&["resume", "--all"]).exits(0);
    assert_whole(&vsiflow, "cut");
    vsiflow.run(&["resume"]).exits(0).says("nothing to resume");
}

#[test]
fn cancel_keeps_what_exists_and_retry_goes_on() {
    let vsiflow = Vsiflow::simulated();
    let mut running = vsiflow.start_apply(Vsi::named("held"), &["--wait"]);
    assert!(running.reaches("write_cidata", 30));
    running.kill();
    vsiflow
        .run(&["cancel", "held"])
        .exits(0)
        .says("vsiflow retry held");
    assert_eq!(vsiflow.phase("held"), "Blocked");
    let cidata = vsiflow.sim().content("cidata-");
    vsiflow.run(&["resume"]).exits(0).says("nothing to resume");
    vsiflow.run(&["retry", "held"]).exits(0);
    assert_eq!(vsiflow.phase("held"), "Running");
    vsiflow.sim().assert_one_vsi("default/held");
    assert!(cidata == vsiflow.sim().content("cidata-"));
}

#[test]
fn delete_removes_what_a_killed_apply_left() {
    let vsiflow = Vsiflow::simulated();
    let mut running = vsiflow.start_apply(Vsi::named("half"), &["--wait"]);
    assert!(running.reaches("define_domain", 30));
    running.kill();
    vsiflow.run(&["delete", "half", "--wait"]).exits(0);
    assert_eq!(vsiflow.sim().volumes(), ["hpcr-guest.qcow2"]);
    assert!(vsiflow.sim().domains().is_empty());
}

#[test]
fn a_delete_that_was_killed_goes_on() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("leaving"), &[]).exits(0);
    for _ in 0..2 {
        let mut running = vsiflow.start(&["delete", "leaving", "--wait"]);
        running.reaches("stop_domain", 30);
        running.kill();
    }
    vsiflow.run(&["resume"]).exits(0);
    assert_eq!(vsiflow.sim().volumes(), ["hpcr-guest.qcow2"]);
    assert!(vsiflow.sim().domains().is_empty());
}

#[test]
fn a_kill_after_any_step_costs_nothing_but_time() {
    // Each test mostly waits for a guest, so they run in parallel.
    std::thread::scope(|scope| {
        let stories = STEPS.map(|step| scope.spawn(move || (step, killed_after(step))));
        for story in stories {
            let (step, ended) = story.join().unwrap();
            assert!(ended || step != "resolve_host", "no kill came in time");
        }
    });
}

/// Whether the kill came before the end.
fn killed_after(step: &str) -> bool {
    let vsiflow = Vsiflow::simulated();
    let mut running = vsiflow.start_apply(Vsi::named("killed"), &["--wait"]);
    let seen = running.reaches(&format!(": {step} "), 60);
    assert!(seen, "{step} was never reported");
    running.kill();
    vsiflow.apply(Vsi::named("killed"), &["--wait"]).exits(0);
    assert_whole(&vsiflow, "killed");
    seen
}

#[test]
fn kills_again_and_again_cost_nothing_but_time() {
    let vsiflow = Vsiflow::simulated();
    let mut kills = 0;
    loop {
        let mut running = vsiflow.start_apply(Vsi::named("tough"), &["--wait"]);
        // Each process gets no further than its first recorded step.
        if !running.reaches("s)", 60) {
            running.end(60).exits(0);
            break;
        }
        running.kill();
        kills += 1;
    }
    assert!(kills > 1, "{kills}");
    assert_whole(&vsiflow, "tough");
}

#[test]
fn a_kill_before_the_first_event_leaves_a_state_that_can_be_used() {
    for microseconds in (0..20_000).step_by(1_000) {
        let vsiflow = Vsiflow::simulated();
        let running = vsiflow.start_apply(Vsi::named("early"), &["--wait"]);
        let begun = std::time::Instant::now();
        let at = std::time::Duration::from_micros(microseconds);
        until("the moment of the kill", 10, || {
            (begun.elapsed() >= at).then_some(())
        });
        running.kill();
        vsiflow.run(&["get"]).exits(0);
        vsiflow.apply(Vsi::named("early"), &["--dry-run"]).exits(0);
    }
}
