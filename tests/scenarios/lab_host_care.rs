//! Monitoring of a real host: libvirt's events are noticed immediately; checks, drains, and a
//! libvirtd that stops and comes back.

use std::time::Instant;

use vsiflow_tests::{Lab, Running, Vsi, Vsiflow, lab::Deleted, until};

/// A daemon whose own scans come only long after the test is over.
fn listening(vsiflow: &Vsiflow) -> Running {
    vsiflow.serve(&["--look-every", "1h"])
}

/// A daemon subscribes to a host's events once the host has an object.
fn until_heard(vsiflow: &Vsiflow) {
    until("the host is listened to", 30, || {
        let host = vsiflow.run(&["get", "host"]).exits(0).stdout;
        host.contains("Ready").then_some(())
    });
}

#[test]
fn lab_what_an_administrator_does_on_the_host_is_heard_of_at_once() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-heard.qcow2"), Vsiflow::of_documents());
    let documents = format!("{}{}", lab.host(), Vsi::named("t-heard").image(image.url()));
    let _gone = Deleted(&vsiflow, "t-heard");
    let daemon = listening(&vsiflow);
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    let uid = lab.domains("default/t-heard").remove(0);
    until_heard(&vsiflow);
    let begun = Instant::now();
    lab.virsh(&["suspend", &uid]);
    vsiflow.until_phase("t-heard", "Failed", 20);
    println!("heard of after {:?}", begun.elapsed());
    lab.virsh(&["resume", &uid]);
    vsiflow.until_phase("t-heard", "Running", 20);
    lab.virsh(&["destroy", &uid]);
    vsiflow.until_phase("t-heard", "Failed", 20);
    let conditions = vsiflow.vsi("t-heard")["status"]["conditions"].to_string();
    assert!(conditions.contains("shut off"), "{conditions}");
    // The change was not undone, because nothing requests that.
    assert!(lab.virsh(&["domstate", &uid]).contains("shut off"));
    vsiflow.run(&["start", "t-heard", "--wait"]).exits(0);
    vsiflow.run(&["delete", "t-heard", "--wait"]).exits(0);
    daemon.terminate();
    daemon.end(30).exits(0);
}

#[test]
fn lab_what_is_changed_is_restored_at_once_where_the_document_asks_for_it() {
    restored_at_once("t-restored", listening);
}

#[test]
fn lab_resume_that_watches_hears_of_what_is_changed_too() {
    restored_at_once("t-watched", |vsiflow| {
        vsiflow.start(&["resume", "--watch", "--every", "1h"])
    });
}

fn restored_at_once(name: &str, watching: fn(&Vsiflow) -> Running) {
    let Some(lab) = Lab::enter() else { return };
    let image = lab.image(&format!("{name}.qcow2"));
    let vsiflow = Vsiflow::of_documents();
    let vsi = Vsi::named(name).image(image.url());
    let documents = format!("{}{}", lab.host(), vsi.with("onDrift: Restore"));
    let _gone = Deleted(&vsiflow, name);
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    let watching = watching(&vsiflow);
    let uid = lab.domains(&format!("default/{name}")).remove(0);
    until_heard(&vsiflow);
    lab.virsh(&["destroy", &uid]);
    until("it runs again", 60, || {
        let state = lab.virsh(&["domstate", &uid]);
        (state.contains("running") && vsiflow.phase(name) == "Running").then_some(())
    });
    watching.terminate();
    watching.end(30);
    vsiflow.run(&["delete", name, "--wait"]).exits(0);
}

#[test]
fn lab_a_host_is_checked_drained_and_filled_again() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-drained.qcow2"), Vsiflow::of_documents());
    let host = vsiflow.write("host.yaml", &lab.host().to_string());
    let checked = vsiflow.run(&["host", "check", "-f", host.to_str().unwrap()]);
    checked
        .exits(0)
        .says("pool images")
        .says("network default")
        .says("turned over at 2048 KiB");
    let documents = format!(
        "{}{}",
        lab.host(),
        Vsi::named("t-drained").image(image.url())
    );
    let _gone = Deleted(&vsiflow, "t-drained");
    vsiflow.apply(&documents, &[]).exits(0);
    let uid = lab.domains("default/t-drained").remove(0);
    let id = lab.host_id();
    vsiflow
        .run(&["host", "drain", &id, "--stop", "--timeout", "20s"])
        .exits(0)
        .says("t-drained is Stopped");
    assert!(lab.virsh(&["domstate", &uid]).contains("shut off"));
    assert!(
        lab.virsh(&["dominfo", &uid])
            .contains("Autostart:      disable")
    );
    vsiflow
        .run(&["host", "uncordon", &id, "--start"])
        .exits(0)
        .says("t-drained is Running");
    assert!(lab.virsh(&["domstate", &uid]).contains("running"));
}

#[test]
fn lab_a_host_whose_libvirt_goes_away_is_not_ready_and_goes_on_by_itself_when_it_is_back() {
    let Some(lab) = Lab::enter_alone() else {
        return;
    };
    let (image, vsiflow) = (lab.image("t-back.qcow2"), Vsiflow::of_documents());
    let documents = |names: [&str; 2]| {
        let vsis = names.map(|name| Vsi::named(name).image(image.url()).to_string());
        format!("{}{}", lab.host(), vsis.join("---\n"))
    };
    let _gone = (Deleted(&vsiflow, "t-back-a"), Deleted(&vsiflow, "t-back-b"));
    let daemon = listening(&vsiflow);
    lab.daemon("libvirtd", "stop");
    vsiflow
        .apply(documents(["t-back-a", "t-back-b"]), &[])
        .exits(0);
    until("the host is not ready", 30, || {
        let host = vsiflow.run(&["get", "host"]).exits(0).stdout;
        host.contains("NotReady").then_some(())
    });
    let reason = vsiflow.vsi("t-back-a")["status"]["conditions"].to_string();
    assert!(
        reason.contains("VSI0108") || reason.contains("libvirt"),
        "{reason}"
    );
    lab.daemon("libvirtd", "start");
    for name in ["t-back-a", "t-back-b"] {
        vsiflow.until_phase(name, "Running", 120);
        vsiflow.run(&["delete", name, "--wait"]).exits(0);
    }
    daemon.terminate();
    daemon.end(30).exits(0);
}
