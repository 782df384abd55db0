//! Real hosts that are dead or silent beside a healthy one, and foreign objects on them.

use std::os::unix::fs::PermissionsExt as _;

use vsiflow_tests::{Lab, Vsi, Vsiflow, history, lab::Deleted, until};

#[test]
fn lab_defect_14_a_host_that_is_dead_keeps_no_other_waiting_and_is_never_ready() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-alive.qcow2"), Vsiflow::of_documents());
    let mut dead = lab.host();
    (dead.label, dead.port) = ("dead".to_owned(), 1);
    dead.known_hosts = dead.known_hosts.replace(":2222", ":1");
    let documents = format!(
        "{}{dead}{}---\n{}",
        lab.host(),
        Vsi::named("t-dead").image(image.url()).on("dead"),
        Vsi::named("t-alive").image(image.url())
    );
    let _gone = (Deleted(&vsiflow, "t-alive"), Deleted(&vsiflow, "t-dead"));
    let mut running = vsiflow.start_apply(documents, &["--wait"]);
    // The VSI must be recorded before it can be listed.
    assert!(running.prints("vsi/t-alive created", 30));
    // The VSI on the healthy host.
    vsiflow.until_phase("t-alive", "Running", 120);
    let stuck = vsiflow.vsi("t-dead");
    assert_eq!(stuck["status"]["status"], 0, "{stuck:#}");
    assert_eq!(stuck["status"]["conditions"][0]["status"], "False");
    running.kill();
    vsiflow.run(&["delete", "t-dead", "--wait"]).exits(0);
}

#[test]
fn lab_defect_16_calls_that_time_out_are_made_again_and_nothing_panics() {
    let Some(lab) = Lab::enter_alone() else {
        return;
    };
    let (image, vsiflow) = (lab.image("t-silent.qcow2"), Vsiflow::of_documents());
    let documents = format!(
        "{}{}",
        lab.host(),
        Vsi::named("t-silent").image(image.url())
    );
    let _gone = Deleted(&vsiflow, "t-silent");
    lab.daemon("libvirtd", "freeze");
    let ran = vsiflow.apply(&documents, &["--timeout", "15s"]);
    lab.daemon("libvirtd", "thaw");
    ran.exits(5).keeps_quiet_about("panicked");
    let failure = history::failure(&vsiflow.history("t-silent"), "VSI0102");
    assert_eq!(
        (failure.class.as_str(), failure.host),
        ("transient", lab.host_id())
    );
    vsiflow.run(&["resume", "t-silent"]).exits(0);
    assert_eq!(vsiflow.phase("t-silent"), "Running");
}

#[test]
fn lab_defect_18_a_domain_without_metadata_is_told_and_never_touched() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-bare.qcow2"), Vsiflow::of_documents());
    let documents = format!("{}{}", lab.host(), Vsi::named("t-bare").image(image.url()));
    let _gone = Deleted(&vsiflow, "t-bare");
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    let uid = lab.domains("default/t-bare").remove(0);
    let domid = || lab.virsh(&["domid", &uid]);
    let running = domid();
    let uri = "https://vsiflow.io/domain/v1";
    let bare = [
        "metadata", &uid, "--uri", uri, "--remove", "--live", "--config",
    ];
    lab.virsh(&bare);
    vsiflow.run(&["get", "--refresh"]).exits(0);
    let conditions = vsiflow.vsi("t-bare")["status"]["conditions"].to_string();
    assert!(conditions.contains("no mark of vsiflow"), "{conditions}");
    vsiflow
        .run(&["delete", "t-bare", "--wait"])
        .exits(4)
        .says("VSI0207");
    assert_eq!(domid(), running);
    // The user adopts it again.
    vsiflow.run(&["delete", "t-bare", "--orphan"]).exits(0);
    let host = vsiflow.write("host.yaml", &lab.host().to_string());
    let adopt = ["adopt", &uid, "-f", host.to_str().unwrap(), "--wait"];
    vsiflow.run(&adopt).exits(0);
    assert_eq!(domid(), running);
    vsiflow.run(&["delete", "t-bare", "--wait"]).exits(0);
    assert!(lab.domains("default/t-bare").is_empty());
}

#[test]
fn lab_defect_27_a_status_holds_the_end_of_a_long_console_once() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-chatter.qcow2"), Vsiflow::of_documents());
    let vsi = Vsi::named("t-chatter").image(image.url());
    let vsi = vsi.doing("lab-chatter: 300");
    let _gone = Deleted(&vsiflow, "t-chatter");
    vsiflow
        .apply(format!("{}{vsi}", lab.host()), &["--wait"])
        .exits(0);
    until("a long console", 120, || {
        let log = vsiflow.run(&["logs", "t-chatter"]).exits(0).stdout;
        (log.len() > 200_000).then_some(())
    });
    vsiflow.run(&["get", "--refresh"]).exits(0);
    let shown = vsiflow.vsi("t-chatter").to_string();
    assert!(shown.len() < 24 * 1024, "{}", shown.len());
    vsiflow.run(&["delete", "t-chatter", "--wait"]).exits(0);
}

#[test]
fn lab_commands_take_leave_of_libvirt_so_that_its_log_has_no_error_of_them() {
    // Foreign domains from other tests would disturb this one.
    let Some(lab) = Lab::enter_alone() else {
        return;
    };
    let (image, vsiflow) = (lab.image("t-leave.qcow2"), Vsiflow::of_documents());
    let _gone = Deleted(&vsiflow, "t-leave");
    let before = lab.libvirt_log().len();
    let documents = format!("{}{}", lab.host(), Vsi::named("t-leave").image(image.url()));
    vsiflow.apply(documents, &["--wait"]).exits(0);
    vsiflow.run(&["get", "--refresh"]).exits(0);
    vsiflow.run(&["delete", "t-leave", "--wait"]).exits(0);
    let log = lab.libvirt_log();
    let log = log.get(before..).unwrap_or(&log);
    assert!(!log.contains("End of file"), "{log}");
}

#[test]
fn lab_an_encrypted_key_is_opened_with_its_passphrase() {
    let Some(lab) = Lab::enter() else { return };
    let vsiflow = Vsiflow::of_documents();
    let key = vsiflow.write("key", &lab.host().key);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let locked = std::process::Command::new("ssh-keygen")
        .args(["-q", "-p", "-P", "", "-N", "correct horse", "-f"])
        .arg(&key)
        .status();
    assert!(locked.unwrap().success());
    let host = vsiflow_tests::Host {
        key: std::fs::read_to_string(&key).unwrap(),
        ..lab.host()
    };
    let check = |passphrase: &str| {
        let secret = format!("stringData:\n{passphrase}");
        let text = host.to_string().replace("stringData:\n", &secret);
        let file = vsiflow.write("host.yaml", &text);
        vsiflow.run(&["host", "check", "-f", file.to_str().unwrap()])
    };
    check("").exits(1).says("KEY_PASSPHRASE");
    check("  KEY_PASSPHRASE: wrong\n")
        .exits(1)
        .says("does not open it");
    check("  KEY_PASSPHRASE: correct horse\n")
        .exits(0)
        .says("network default");
}
