//! A real host that was restarted: VSIs that should run are started, and nothing else happens.

use vsiflow_tests::{Lab, Vsi, Vsiflow, lab::Deleted, until};

#[test]
fn lab_after_a_restart_of_the_host_what_is_to_run_runs_again_and_that_is_no_drift() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-restart.qcow2"), Vsiflow::of_documents());
    let host = lab.rebootable(2311);
    let vsi = |name| Vsi::named(name).image(image.url());
    let (down, auto) = (vsi("t-down"), vsi("t-auto"));
    let off = vsi("t-off").with("powerState: Stopped");
    let documents = format!("{}{down}---\n{auto}---\n{off}", host.host());
    let _gone = ["t-down", "t-auto", "t-off"].map(|name| Deleted(&vsiflow, name));
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    let uid = |name: &str| lab.domains(&format!("default/{name}")).remove(0);
    let autostart = |name: &str| lab.virsh(&["dominfo", &uid(name)]);
    assert!(autostart("t-auto").contains("Autostart:      enable"));
    assert!(autostart("t-off").contains("Autostart:      disable"));
    // The effect of a restart: all guests end, and libvirt starts those with autostart.
    host.was_restarted();
    for name in ["t-down", "t-auto"] {
        lab.virsh(&["destroy", &uid(name)]);
    }
    lab.virsh(&["start", &uid("t-auto")]);
    let boot = |name: &str| lab.virsh(&["domid", &uid(name)]).trim().to_owned();
    let booted = boot("t-auto");

    let mut watching = vsiflow.start(&["resume", "--watch", "--every", "1s"]);
    for name in ["t-down", "t-auto"] {
        let words = format!("vsi/{name} is started again: its host was restarted");
        assert!(watching.prints(&words, 60), "never says {words}");
        until("it runs", 60, || {
            let runs = lab.virsh(&["domstate", &uid(name)]).trim() == "running";
            (runs && vsiflow.phase(name) == "Running").then_some(())
        });
        let history = vsiflow.history(name);
        assert!(!history.iter().any(|e| e.0.to_string().contains("drift: ")));
    }
    assert_eq!(boot("t-auto"), booted, "libvirt had started it already");
    assert_eq!(lab.virsh(&["domstate", &uid("t-off")]).trim(), "shut off");
    watching.terminate();
    watching.end(30);
}
