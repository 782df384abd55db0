//! `kill -9` during a provisioning on a real host. Three kills always run; every step boundary and
//! random times run with `tests/run --part kill`.

use std::time::{Duration, Instant};

use vsiflow_tests::{
    Lab, Running, Vsi, Vsiflow,
    history::{STEPS, assert_nothing_done_twice},
    lab::Deleted,
    until,
};

/// How many kills happen at random times.
const RANDOM: u64 = 20;
/// A provisioning in the lab takes about this long.
const USUAL_MS: u64 = 6_000;

/// Provisions, kills vsiflow when `wait` returns, provisions again, and asserts that all is well.
fn killed(lab: &Lab, name: &str, wait: impl FnOnce(&mut Running)) {
    let file = format!("{name}.qcow2");
    let (image, vsiflow) = (lab.image(&file), Vsiflow::of_documents());
    let documents = format!("{}{}", lab.host(), Vsi::named(name).image(image.url()));
    let _gone = Deleted(&vsiflow, name);
    let mut running = vsiflow.start_apply(&documents, &["--wait"]);
    wait(&mut running);
    running.kill();

    vsiflow.apply(&documents, &["--wait"]).exits(0);
    assert_eq!(vsiflow.phase(name), "Running");
    assert_eq!(vsiflow.image_phases(), ["Ready"]);
    assert_nothing_done_twice(&vsiflow.history(name));
    let vsi = vsiflow.vsi(name);
    let uid = vsi["metadata"]["uid"].as_str().unwrap();
    assert_eq!(lab.domains(&format!("default/{name}")), [uid]);
    let volumes = lab.volumes("images");
    let mut of = volumes.iter().filter(|volume| volume.contains(uid));
    assert_eq!(of.by_ref().count(), 3, "{volumes:?}");
    assert_eq!(image.bases().len(), 1, "{volumes:?}");
    vsiflow.run(&["delete", name, "--wait"]).exits(0);
    let volumes_left = lab.volumes("images");
    assert!(
        !volumes_left.iter().any(|volume| volume.contains(uid)),
        "{volumes_left:?}"
    );
}

fn killed_after(lab: &Lab, step: &str) {
    let name = format!("k-{}", step.replace('_', "-"));
    killed(lab, &name, |running| {
        assert!(
            running.reaches(&format!(": {step} "), 120),
            "{step} was never told of"
        );
    });
}

#[test]
fn lab_a_kill_while_the_image_goes_up() {
    let Some(lab) = Lab::enter() else { return };
    killed_after(&lab, "probe_source");
}

#[test]
fn lab_a_kill_before_the_domain_is_defined() {
    let Some(lab) = Lab::enter() else { return };
    killed_after(&lab, "clone_boot_disk");
}

#[test]
fn lab_a_kill_while_the_guest_boots() {
    let Some(lab) = Lab::enter() else { return };
    killed_after(&lab, "start_domain");
}

#[test]
#[ignore = "long: tests/run --part kill"]
fn lab_matrix_kill_at_every_step_boundary() {
    let Some(lab) = Lab::enter() else { return };
    for step in STEPS {
        println!("killed after {step}");
        killed_after(&lab, step);
    }
}

#[test]
#[ignore = "long: tests/run --part kill"]
fn lab_matrix_kill_at_random_times() {
    let Some(lab) = Lab::enter() else { return };
    // Each run uses other times; they are printed, so that a failure can be reproduced.
    let seed = u64::from(std::process::id());
    for number in 0..RANDOM {
        let word = (seed + number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let after = Duration::from_millis(word % USUAL_MS);
        println!("killed after {after:?}");
        killed(&lab, &format!("k-random-{number}"), |running| {
            let begun = Instant::now();
            until("the moment of the kill", 60, || {
                (begun.elapsed() >= after || running.has_ended()).then_some(())
            });
        });
    }
}
