//! A real host that cannot be reached, denies access, lacks something or is full. Each failure has
//! its code and class, and names the host and the object.

use vsiflow_tests::{
    Host, Lab, Vsi, Vsiflow,
    history::{self, Failure},
    lab::Deleted,
};

/// A public key that no host here has.
const OTHER_HOST: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

/// Applies, asserts the exit code and error code, and returns the failure from the history.
#[track_caller]
fn ends(
    vsiflow: &Vsiflow,
    host: &Host,
    vsi: &Vsi,
    name: &str,
    (code, exit): (&str, i32),
) -> Failure {
    let patience = ["--wait", "--timeout", if exit == 5 { "4s" } else { "120s" }];
    let ran = vsiflow.apply(format!("{host}{vsi}"), &patience).exits(exit);
    let ran = ran.says(&format!("error[{code}]"));
    let failure = history::failure(&vsiflow.history(name), code);
    assert!(ran.stderr.contains(&failure.remedy), "{ran:#?}");
    assert_ne!(vsiflow.phase(name), "Running");
    assert!(
        !vsiflow.image_phases().contains(&"Ready".to_owned()) || exit == 1 || code == "VSI0203"
    );
    failure
}

/// A failure before anything is made on the host.
#[track_caller]
fn fails_on_the_way(name: &str, change: impl FnOnce(&mut Host), code: (&str, i32), class: &str) {
    let Some(lab) = Lab::enter() else { return };
    let vsiflow = Vsiflow::of_documents();
    let mut host = lab.host();
    change(&mut host);
    let failure = ends(&vsiflow, &host, &Vsi::named(name), name, code);
    assert_eq!(failure.class, class, "{failure:?}");
    assert_eq!(failure.host, format!("root@127.0.0.1:{}", host.port));
    assert!(lab.domains(&format!("default/{name}")).is_empty());
}

#[test]
fn lab_a_host_that_cannot_be_reached() {
    let closed = |host: &mut Host| {
        host.port = 1;
        host.known_hosts = host.known_hosts.replace(":2222", ":1");
    };
    fails_on_the_way("t-closed", closed, ("VSI0101", 5), "transient");
}

#[test]
fn lab_defect_28_a_host_key_that_is_unknown() {
    let unknown =
        |host: &mut Host| host.known_hosts = format!("elsewhere.example.com {OTHER_HOST}");
    fails_on_the_way("t-unknown", unknown, ("VSI0105", 4), "blocked");
}

#[test]
fn lab_a_host_key_that_has_changed() {
    let changed = |host: &mut Host| host.known_hosts = format!("[127.0.0.1]:2222 {OTHER_HOST}");
    fails_on_the_way("t-changed", changed, ("VSI0106", 4), "blocked");
}

#[test]
fn lab_a_key_that_the_host_does_not_take() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status();
    // Outside a lab the key may be missing.
    let text = made
        .ok()
        .and_then(|_| std::fs::read_to_string(&key).ok())
        .unwrap_or_default();
    let wrong = |host: &mut Host| host.key = text;
    fails_on_the_way("t-key", wrong, ("VSI0107", 4), "blocked");
}

#[test]
fn lab_defect_17_a_host_whose_libvirtd_is_down_is_asked_until_it_is_back() {
    let Some(lab) = Lab::enter_alone() else {
        return;
    };
    let (image, vsiflow) = (lab.image("t-absent.qcow2"), Vsiflow::of_documents());
    let (vsi, name) = (Vsi::named("t-absent").image(image.url()), "t-absent");
    let _gone = Deleted(&vsiflow, name);
    lab.daemon("libvirtd", "kill");
    let failure = ends(&vsiflow, &lab.host(), &vsi, name, ("VSI0108", 5));
    assert_eq!(
        (failure.class.as_str(), failure.host),
        ("transient", lab.host_id())
    );

    // It continues automatically once libvirtd is back.
    let running = vsiflow.start(&["resume", name]);
    lab.daemon("libvirtd", "start");
    running.end(120).exits(0);
    assert_eq!(vsiflow.phase(name), "Running");
}

/// The lab has no DMI, so libvirtd draws a new host UUID at each start.
#[test]
fn lab_a_host_uuid_that_libvirtd_draws_anew_is_told_and_stops_nothing() {
    let Some(lab) = Lab::enter_alone() else {
        return;
    };
    let (image, vsiflow) = (lab.image("t-drawn.qcow2"), Vsiflow::of_documents());
    let vsi = Vsi::named("t-drawn").image(image.url());
    let _gone = Deleted(&vsiflow, "t-drawn");
    let uuid = || {
        let all = lab.virsh(&["capabilities"]);
        let uuid = all
            .split_once("<uuid>")
            .and_then(|(_, rest)| rest.split_once('<'));
        uuid.map(|(uuid, _)| uuid.to_owned()).unwrap_or_default()
    };
    let documents = |of: &Vsi| format!("{}{of}", lab.host());
    vsiflow.apply(documents(&vsi), &["--wait"]).exits(0);
    vsiflow.run(&["get", "vsi", "--refresh"]).exits(0);
    let before = uuid();
    lab.daemon("libvirtd", "kill");
    lab.daemon("libvirtd", "start");
    let after = uuid();
    assert_ne!(before, after, "libvirt has it from the hardware");
    vsiflow.run(&["get", "vsi", "--refresh"]).exits(0);
    let hosts = vsiflow.run(&["get", "host", "-o", "json"]).exits(0);
    hosts.says(&before).says(&after);
    vsiflow.apply(documents(&vsi.cpus(3)), &["--wait"]).exits(0);
}

#[test]
fn lab_a_libvirtd_that_dies_in_the_middle_costs_nothing_but_time() {
    let Some(lab) = Lab::enter_alone() else {
        return;
    };
    let (image, vsiflow) = (lab.image("t-dies.qcow2"), Vsiflow::of_documents());
    let documents = format!("{}{}", lab.host(), Vsi::named("t-dies").image(image.url()));
    let _gone = Deleted(&vsiflow, "t-dies");
    for step in ["claim", "ensure_base_image", "start_domain"] {
        let mut running = vsiflow.start_apply(&documents, &["--wait"]);
        assert!(running.reaches(&format!(": {step} "), 60) || step != "claim");
        lab.daemon("libvirtd", "kill");
        lab.daemon("libvirtd", "start");
        running.end(180).exits(0);
        vsiflow.run(&["delete", "t-dies", "--wait"]).exits(0);
    }
    assert!(lab.domains("default/t-dies").is_empty());
}

#[test]
fn lab_a_start_that_libvirt_has_lost_is_told_with_what_ends_it_and_goes_on_then() {
    let Some(lab) = Lab::enter_alone() else {
        return;
    };
    let (image, vsiflow) = (lab.image("t-lost.qcow2"), Vsiflow::of_documents());
    let documents = format!("{}{}", lab.host(), Vsi::named("t-lost").image(image.url()));
    let _gone = Deleted(&vsiflow, "t-lost");
    vsiflow.apply(&documents, &["--wait"]).exits(0);
    let domain = lab.domains("default/t-lost").remove(0);
    lab.lose_start(&domain);
    let mut running = vsiflow.start(&["restart", "t-lost", "--wait"]);
    assert!(running.reaches("VSI0111", 120));
    lab.end_lost_starts();
    running.end(180).exits(0);
    assert_eq!(vsiflow.phase("t-lost"), "Running");
}

#[test]
fn lab_a_pool_that_is_missing() {
    let Some(lab) = Lab::enter() else { return };
    let vsiflow = Vsiflow::of_documents();
    let vsi = Vsi::named("t-nopool").pool("nowhere");
    let failure = ends(&vsiflow, &lab.host(), &vsi, "t-nopool", ("VSI0201", 4));
    assert_eq!(
        (failure.class.as_str(), failure.host),
        ("recheck", lab.host_id())
    );
    assert!(failure.object.contains("nowhere"), "{}", failure.object);
}

#[test]
fn lab_a_pool_that_is_inactive_until_it_is_started() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-idle.qcow2"), Vsiflow::of_documents());
    let pool = lab.pool("t-idle", "64M", false);
    let _gone = Deleted(&vsiflow, "t-idle");
    let vsi = Vsi::named("t-idle").image(image.url()).pool(pool.name());
    let failure = ends(&vsiflow, &lab.host(), &vsi, "t-idle", ("VSI0202", 4));
    assert_eq!(
        (failure.class.as_str(), failure.host),
        ("recheck", lab.host_id())
    );
    assert!(failure.object.contains("t-idle"), "{}", failure.object);
    lab.virsh(&["pool-start", pool.name()]);
    vsiflow.run(&["retry", "t-idle"]).exits(0);
    assert_eq!(vsiflow.phase("t-idle"), "Running");
}

#[test]
fn lab_a_network_that_is_missing() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-nonet.qcow2"), Vsiflow::of_documents());
    let _gone = Deleted(&vsiflow, "t-nonet");
    let vsi = Vsi::named("t-nonet").image(image.url()).network("nowhere");
    let patience = ["--wait", "--timeout", "60s"];
    let ran = vsiflow
        .apply(format!("{}{vsi}", lab.host()), &patience)
        .exits(4);
    ran.says("error[VSI0204]")
        .says("nowhere")
        .says(&lab.host_id());
    let failure = history::failure(&vsiflow.history("t-nonet"), "VSI0204");
    assert_eq!(failure.class, "recheck");
    assert!(lab.domains("default/t-nonet").is_empty());
}

#[test]
fn lab_a_pool_that_is_full_until_there_is_room() {
    let Some(lab) = Lab::enter() else { return };
    let (image, vsiflow) = (lab.image("t-full.qcow2"), Vsiflow::of_documents());
    let _gone = Deleted(&vsiflow, "t-full");
    // No room for either volume, and room for the base image alone.
    for (name, size) in [("t-full-4", "4M"), ("t-full-9", "9M")] {
        let pool = lab.pool(name, size, true);
        let vsi = Vsi::named("t-full").image(image.url()).pool(pool.name());
        let failure = ends(&vsiflow, &lab.host(), &vsi, "t-full", ("VSI0203", 4));
        assert_eq!(
            (failure.class.as_str(), failure.host),
            ("recheck", lab.host_id())
        );
        assert!(failure.object.contains(name), "{}", failure.object);
        assert!(lab.domains("default/t-full").is_empty());
        lab.virsh(&["pool-refresh", pool.name()]);
        resize(pool.name(), "64M");
        vsiflow.run(&["retry", "t-full"]).exits(0);
        assert_eq!(vsiflow.phase("t-full"), "Running");
        vsiflow.run(&["delete", "t-full", "--wait"]).exits(0);
    }
}

fn resize(pool: &str, size: &str) {
    let mut mount = std::process::Command::new("mount");
    mount
        .args(["-o", &format!("remount,size={size}")])
        .arg(format!("/var/lib/libvirt/{pool}"));
    assert!(mount.status().unwrap().success(), "{mount:?}");
}

#[test]
fn lab_an_image_that_the_web_server_does_not_have_until_it_has() {
    let Some(lab) = Lab::enter() else { return };
    let vsiflow = Vsiflow::of_documents();
    let _gone = Deleted(&vsiflow, "t-noimage");
    let url = "http://images.lab.test:8080/t-noimage.qcow2";
    let vsi = Vsi::named("t-noimage").image(url);
    let failure = ends(&vsiflow, &lab.host(), &vsi, "t-noimage", ("VSI0302", 4));
    assert_eq!(
        (failure.class.as_str(), failure.object.as_str()),
        ("recheck", url)
    );
    let volumes = lab.volumes("images");
    assert!(
        !volumes.contains(&"t-noimage.qcow2".to_owned()),
        "{volumes:?}"
    );
    let _image = lab.image("t-noimage.qcow2");
    vsiflow.run(&["retry", "t-noimage"]).exits(0);
    vsiflow.run(&["delete", "t-noimage", "--wait"]).exits(0);
}

/// A guest that reports itself that its boot failed.
#[track_caller]
fn fails_to_boot(
    name: &str,
    change: impl FnOnce(Vsi) -> Vsi,
    (code, meaning, to_do): (&str, &str, &str),
) {
    let Some(lab) = Lab::enter() else { return };
    let file = format!("{name}.qcow2");
    let (image, vsiflow) = (lab.image(&file), Vsiflow::of_documents());
    let _gone = Deleted(&vsiflow, name);
    let vsi = change(Vsi::named(name).image(image.url()));
    let failure = ends(&vsiflow, &lab.host(), &vsi, name, ("VSI0501", 1));
    assert_eq!(
        (failure.class.as_str(), failure.host.clone()),
        ("failed", lab.host_id())
    );
    assert!(failure.message.contains(code), "{failure:?}");
    assert!(failure.remedy.contains(to_do), "{failure:?}");
    assert_eq!(vsiflow.phase(name), "Failed");
    let status = vsiflow.vsi(name);
    assert_eq!(status["status"]["status"], 2, "{status:#}");
    // The description has the decisive line or one before it, its meaning and the remedy.
    let description = status["status"]["description"].as_str().unwrap();
    for words in [code, meaning, failure.remedy.as_str()] {
        assert!(description.contains(words), "no {words} in {description}");
    }
    assert_eq!(status["status"]["failedBoots"], 1, "{status:#}");
    assert!(status["status"]["nextTry"].is_string(), "{status:#}");
    assert_eq!(status["status"]["evidence"][0]["where"], "host");
    vsiflow
        .run(&["logs", name])
        .exits(0)
        .says(code)
        .says("HPL10000E");

    // Once the cause is removed the VSI is rebuilt, and the earlier log remains.
    let good = Vsi::named(name).image(image.url());
    vsiflow
        .apply(format!("{}{good}", lab.host()), &["--wait"])
        .exits(0);
    assert_eq!(vsiflow.phase(name), "Running");
    let logs = ["logs", name, "--failed"];
    vsiflow.run(&logs).exits(0).says(code).says("HPL10000E");
    vsiflow
        .run(&["logs", name, "--failed", "--definition"])
        .exits(0)
        .says("<domain")
        .says(&format!("<title>default/{name}</title>"));
    vsiflow.run(&["delete", name, "--wait"]).exits(0);
}

#[test]
fn lab_a_contract_that_the_guest_does_not_take() {
    // vsiflow reads this as YAML. The guest does not: it looks for the words at the start of a
    // line.
    let contract = "{\"env\": \"type: env\", \"workload\": \"type: workload\"}\n";
    let expected = (
        "HPL11001E",
        "cannot read or decrypt the contract",
        "contract check",
    );
    fails_to_boot("t-contract", |vsi| vsi.contract(contract), expected);
}

#[test]
fn lab_defect_04_a_boot_that_fails_for_too_little_memory_is_told_and_its_evidence_stays() {
    let expected = ("HPL11003E", "less memory than it needs", "4 GiB of memory");
    fails_to_boot("t-memory", |vsi| vsi.memory("256Mi"), expected);
}
