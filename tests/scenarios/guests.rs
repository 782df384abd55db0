//! Virtual servers with guests of each type, on the simulated host.

use std::collections::BTreeSet;

use serde_json::Value;
use vsiflow_tests::{DiskDocument, SIMULATED_IMAGE, Vsiflow, history::assert_nothing_done_twice};

const IGNITION: &str = r#"{"ignition":{"version":"3.4.0"},"storage":{}}"#;

/// A virtual server's document, with these lines below `spec`.
fn server(name: &str, spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}}}\nspec:\n  \
         imageURL: {SIMULATED_IMAGE}\n{spec}"
    )
}

fn cloud_init(name: &str, user_data: &str, more: &str) -> String {
    let user_data: String = user_data
        .lines()
        .map(|line| format!("    {line}\n"))
        .collect();
    server(
        name,
        &format!("guest:\n  type: cloudInit\n  userData: |\n{user_data}{more}"),
    )
}

#[test]
fn a_cloud_init_guest_is_ready_when_all_its_probes_say_so() {
    let vsiflow = Vsiflow::simulated();
    let probes = "ready: {within: 2m, all: [{cloudInit: {}}, {tcp: 22}, {agent: {}}, {address: {}}, \
                  {http: {port: 80, path: /healthz}}, {console: \"login:\"}, {started: {}}]}\n";
    let keys = "  sshKeys: [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIWN1t5kgx4q2jFxXZy0O2OQFFiry5pOc60Y0u+PZsQw me@example\"]\n  hostname: web-1\n";
    let document = cloud_init(
        "web",
        "#cloud-config\npassword: hush\n",
        &format!("{keys}{probes}"),
    );
    vsiflow
        .apply(&document, &[])
        .exits(0)
        .says("vsi/web is Running");

    let object = vsiflow.vsi("web");
    assert_eq!(object["apiVersion"], "vsiflow.io/v1");
    assert_eq!(object["kind"], "VirtualServer");
    assert_eq!(object["spec"]["guest"]["type"], "cloudInit");
    assert!(
        object["spec"]["guest"]["userData"]["recorded"].is_string(),
        "{object}"
    );
    assert!(!object.to_string().contains("hush"), "{object}");
    assert!(!object.to_string().contains("ContractAccepted"), "{object}");
    let description = object["status"]["description"].as_str().unwrap();
    assert!(description.contains("Cloud-init v."), "{description}");
    vsiflow.run(&["get", "-o", "name"]).exits(0).says("vsi/web");
    vsiflow
        .run(&["get", "vs/web", "-o", "name"])
        .exits(0)
        .says("vsi/web");
    assert_nothing_done_twice(&vsiflow.history("web"));

    let seed = vsiflow.sim().content("cidata-");
    let cidata = vsiflow_steps::cidata::read(&seed).unwrap();
    assert_eq!(cidata.user_data, b"#cloud-config\npassword: hush\n");
    assert_eq!(cidata.hostname, "web-1");
    let instance = cidata.instance.unwrap();
    assert!(instance.id.starts_with("i-"), "{instance:?}");
    assert_eq!(
        instance.ssh_keys,
        [
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIWN1t5kgx4q2jFxXZy0O2OQFFiry5pOc60Y0u+PZsQw me@example"
        ]
    );
}

#[test]
fn guests_of_each_type_run_beside_one_another() {
    let vsiflow = Vsiflow::simulated();
    let documents = [
        cloud_init("cloud", "#cloud-config", ""),
        server(
            "core",
            &format!("guest: {{type: ignition, userData: '{IGNITION}'}}"),
        ),
        server("plain", "guest: {type: none}"),
        server("nothing", "machine: {cpus: 1}"),
        server(
            "z",
            "guest:\n  type: hyperProtect\n  contract: |\n    env: a\n    workload: b",
        ),
    ];
    vsiflow.apply(documents.join("---\n"), &[]).exits(0);
    let list = vsiflow.run(&["get", "vsi", "-o", "json"]).exits(0).json();
    for item in list["items"].as_array().unwrap() {
        assert_eq!(item["status"]["phase"], "Running", "{item}");
    }
    assert_eq!(list["items"].as_array().unwrap().len(), documents.len());
    let sim = vsiflow.sim();
    let seeds = |prefix: &str| {
        sim.volumes()
            .iter()
            .filter(|v| v.starts_with(prefix))
            .count()
    };
    assert_eq!((seeds("cidata-"), seeds("ignition-")), (2, 1));
    assert_eq!(sim.content("ignition-"), IGNITION.as_bytes());
    let names = ["cloud", "core", "plain", "nothing", "z"];
    vsiflow
        .run(&[&["delete"], names.as_slice()].concat())
        .exits(0);
    let stored = vsiflow.sim();
    let left = stored
        .volumes()
        .into_iter()
        .filter(|name| name.contains('-') && !name.starts_with("hpcr"));
    assert_eq!(left.collect::<Vec<_>>(), Vec::<&str>::new());
    assert!(stored.domains().is_empty());
}

#[test]
fn a_set_up_that_fails_is_told_with_its_line() {
    let vsiflow = Vsiflow::simulated();
    let document = cloud_init("web", "#cloud-config\n# lab-fail\n", "");
    vsiflow
        .apply(&document, &[])
        .exits(1)
        .says("VSI0506")
        .says("Failed to run module scripts-user");
}

#[test]
fn a_probe_that_is_not_met_in_time_is_named() {
    let vsiflow = Vsiflow::simulated();
    let probes = "ready: {within: 4s, all: [{tcp: 22}, {started: {}}]}\n";
    let document = cloud_init("web", "#cloud-config\n# lab-closed\n", probes);
    vsiflow
        .apply(&document, &[])
        .exits(1)
        .says("VSI0502")
        .says("it waited for tcp 22");
}

#[test]
fn new_user_data_runs_at_the_next_start_under_a_new_instance_id() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(cloud_init("web", "#cloud-config", ""), &[])
        .exits(0);
    let id = || {
        let seed = vsiflow.sim().content("cidata-");
        vsiflow_steps::cidata::read(&seed)
            .unwrap()
            .instance
            .unwrap()
            .id
    };
    let first = id();
    let newer = cloud_init("web", "#cloud-config\nruncmd: [[ls]]", "");
    let file = vsiflow.write("newer.yaml", &newer);
    vsiflow
        .run(&["plan", "-f", file.to_str().unwrap()])
        .says("guest.userData")
        .says("on restart")
        .says("instance-id");
    vsiflow
        .apply(&newer, &[])
        .exits(0)
        .says("vsi/web is Running");
    assert_ne!(id(), first);
    assert_eq!(clones(&vsiflow, "web"), 1, "the boot disk is not made anew");
    let other = server("web", "guest: {type: none}");
    vsiflow.apply(&other, &[]).exits(4).says("guest.type");
}

/// The number of runs in which a boot disk was made.
fn clones(vsiflow: &Vsiflow, name: &str) -> usize {
    let history = vsiflow.history(name);
    let cloned = history
        .iter()
        .filter(|event| event.step() == "clone_boot_disk" && event.kind() == "step_succeeded");
    let runs: BTreeSet<_> = cloned.map(|event| event.0["run"].to_string()).collect();
    runs.len()
}

#[test]
fn a_rebuild_makes_the_boot_disk_anew_once_and_keeps_the_rest() {
    let vsiflow = Vsiflow::simulated();
    let document = cloud_init("web", "#cloud-config", "");
    vsiflow.apply(&document, &[]).exits(0);
    let uid = vsiflow.vsi("web")["metadata"]["uid"].clone();
    vsiflow
        .run(&["rebuild", "vs/web"])
        .exits(0)
        .says("destroys boot disk")
        .says("keeps MAC address");
    assert_eq!(clones(&vsiflow, "web"), 2);
    assert_eq!(vsiflow.vsi("web")["metadata"]["uid"], uid);
    assert_eq!(vsiflow.vsi("web")["status"]["phase"], "Running");
    vsiflow.apply(&document, &[]).exits(0).says("unchanged");
    vsiflow.run(&["restart", "web"]).exits(0);
    let newer = cloud_init("web", "#cloud-config\nruncmd: [[ls]]", "");
    vsiflow.apply(&newer, &[]).exits(0);
    assert_eq!(
        clones(&vsiflow, "web"),
        2,
        "one rebuild command makes one new boot disk"
    );
}

#[test]
fn a_rebuild_writes_the_boot_disk_alone() {
    let vsiflow = Vsiflow::simulated();
    let disks = "diskSelector: {matchLabels: {disks: web}}\n";
    let document = cloud_init("web", "#cloud-config", disks);
    let document = format!("{document}{}", DiskDocument::named("data"));
    vsiflow.apply(&document, &[]).exits(0);
    let domain = || vsiflow.sim().domain("default/web")["spec"].clone();
    let before = domain();
    let serial = before["disks"][2]["serial"].as_str().unwrap();
    assert_eq!(serial, "data", "{before:#}");
    let volume = |at: usize| {
        let path = before["disks"][at]["path"].as_str().unwrap();
        path.rsplit('/').next().unwrap().to_owned()
    };
    let content = |at: usize| vsiflow.sim().volume(&volume(at))["content"].clone();
    let data = content(2);
    assert!(data.is_object(), "{data}");
    vsiflow.run(&["rebuild", "vs/web"]).exits(0);
    let after = domain();
    for stays in ["uuid", "nics"] {
        assert_eq!(after[stays], before[stays], "{stays}");
    }
    for stays in [1, 2] {
        assert_eq!(after["disks"][stays], before["disks"][stays], "{stays}");
    }
    assert!(!after["nics"][0]["mac"].is_null(), "{after:#}");
    assert_eq!(content(2), data, "the data disk stays");
    assert_eq!(clones(&vsiflow, "web"), 2, "the boot disk is another");
    assert_ne!(after["disks"][0]["path"], before["disks"][0]["path"]);
    let replaced = volume(0);
    assert!(!vsiflow.sim().volumes().contains(&replaced.as_str()));
}

/// A server whose user-data is in the Secret `web-data`.
fn referring(more: &str) -> String {
    let from = "userDataFrom: {secretKeyRef: {name: web-data, key: user-data}}";
    server(
        "web",
        &format!("guest: {{type: cloudInit, {from}}}\n{more}"),
    )
}

fn user_data_secret(key: &str, user_data: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: web-data}}\n\
         stringData: {{{key}: \"{user_data}\\n\"}}\n"
    )
}

fn user_data(vsiflow: &Vsiflow) -> String {
    let seed = vsiflow.sim().content("cidata-");
    let cidata = vsiflow_steps::cidata::read(&seed).unwrap();
    String::from_utf8(cidata.user_data).unwrap()
}

#[test]
fn user_data_may_stand_in_a_secret() {
    let vsiflow = Vsiflow::simulated();
    let secret = user_data_secret("user-data", "#cloud-config");
    vsiflow
        .apply(format!("{}{secret}", referring("")), &[])
        .exits(0);
    assert_eq!(user_data(&vsiflow), "#cloud-config\n");
}

#[test]
fn a_user_data_secret_that_is_away_for_a_moment_changes_nothing() {
    let vsiflow = Vsiflow::simulated();
    let secret = user_data_secret("user-data", "#cloud-config");
    vsiflow
        .apply(format!("{}{secret}", referring("")), &[])
        .exits(0);
    let runs = || {
        let history = vsiflow.history("web");
        history.iter().filter(|e| e.kind() == "run_opened").count()
    };
    let plan = |document: &str| -> Value {
        let file = vsiflow.write("plan.yaml", document);
        let file = file.to_str().unwrap();
        let plan = vsiflow.run(&["plan", "-f", file, "-o", "json"]);
        plan.exits(0).json()["items"][0].clone()
    };
    let opened = runs();
    let without_key = format!("{}{}", referring(""), user_data_secret("other", "x"));
    for document in [referring(""), without_key] {
        assert_eq!(plan(&document)["action"], "none", "{:#}", plan(&document));
        vsiflow
            .apply(&document, &[])
            .exits(0)
            .says("what guest.userDataFrom chooses");
        assert_eq!(runs(), opened, "nothing ran");
        assert_eq!(vsiflow.phase("web"), "Running");
    }
    // Another change is applied, with the earlier user-data.
    let larger = referring("machine: {cpus: 2}");
    vsiflow.apply(&larger, &[]).exits(0);
    assert_eq!(user_data(&vsiflow), "#cloud-config\n");
    let opened_again = runs();
    vsiflow.apply(format!("{larger}{secret}"), &[]).exits(0);
    assert_eq!(runs(), opened_again, "it is the same again");
    let conditions = vsiflow.vsi("web")["status"]["conditions"].to_string();
    assert!(!conditions.contains("ReferencesResolved"), "{conditions}");
}

#[test]
fn what_cannot_work_is_refused_with_its_field_and_a_remedy() {
    let vsiflow = Vsiflow::simulated();
    let long = format!("#cloud-config\n# {}\n", "x".repeat(17_000));
    for (document, field, words) in [
        (
            server(
                "web",
                &format!("guest: {{type: ignition, userData: '{IGNITION}', contract: x}}"),
            ),
            "spec.guest.contract",
            "a guest has one type",
        ),
        (cloud_init("web", &long, ""), "spec.guest.userData", "16384"),
        (
            cloud_init("web", "write_files: []", ""),
            "spec.guest.userData",
            "#cloud-config",
        ),
        (
            cloud_init("web", "#cloud-config", "  sshKeys: [\"~/.ssh/id.pub\"]\n"),
            "spec.guest.sshKeys",
            ".pub",
        ),
        (
            cloud_init("web", "#cloud-config", "  networkConfig: \"auto eth0\"\n"),
            "spec.guest.networkConfig",
            "netplan",
        ),
        (
            cloud_init(&"w".repeat(64), "#cloud-config", ""),
            "metadata.name",
            "spec.guest.hostname",
        ),
        (
            server(
                "web",
                "guest: {type: ignition, userData: '{\"ignition\":{\"version\":\"2.2.0\"}}'}",
            ),
            "spec.guest.userData",
            "2.2.0",
        ),
        (
            cloud_init(
                "web",
                "#cloud-config",
                "ready: {all: [{console: \"(a\"}]}\n",
            ),
            "spec.ready.all[0].console",
            "does not compile",
        ),
        (
            cloud_init(
                "web",
                "#cloud-config",
                "ready: {all: [{console: \"((a{100}){100}){100}\"}]}\n",
            ),
            "spec.ready.all[0].console",
            "too large",
        ),
        (
            server(
                "web",
                "guest:\n  type: hyperProtect\n  contract: \"env: a\"\nready: {all: [{agent: {}}]}",
            ),
            "spec.ready.all[0].agent",
            "no channel",
        ),
        (
            server(
                "web",
                "guest: {type: none}\nready: {all: [{cloudInit: {}}]}",
            ),
            "spec.ready.all[0].cloudInit",
            "never met",
        ),
        (
            server("web", "guest: {userData: x}"),
            "spec.guest.userData",
            "guest.type is missing",
        ),
        (
            server(
                "web",
                "guest: {type: none}\nready: {all: [{tcp: 1, agent: {}}]}",
            ),
            "spec.ready.all[0]",
            "more than one probe",
        ),
        (
            server("web", "guest: {type: none}\nready: {within: soon}"),
            "spec.ready.within",
            "15m",
        ),
    ] {
        let ran = vsiflow.apply(&document, &[]).exits(2);
        let all = format!("{}{}", ran.stdout, ran.stderr);
        assert!(
            all.contains(field) && all.contains(words),
            "{field}, {words}: {all}"
        );
        assert!(all.contains(":") && !all.contains("xxxx"), "{all}");
    }
}

#[test]
fn an_ephemeral_boot_disk_is_another_at_every_start() {
    let vsiflow = Vsiflow::simulated();
    let ephemeral = "bootDisk: {mode: ephemeral}\n";
    let document = cloud_init("web", "#cloud-config", ephemeral);
    vsiflow.apply(&document, &[]).exits(0);
    let boot = || vsiflow.sim().domain("default/web")["spec"]["disks"][0].clone();
    let before = boot();
    assert_eq!(before["overlay"], true);
    assert_eq!(
        vsiflow.sim().domain("default/web")["spec"]["autostart"],
        false
    );
    // A running or suspended guest keeps its boot disk.
    vsiflow.run(&["start", "web"]).exits(0);
    vsiflow.run(&["pause", "web"]).exits(0);
    vsiflow.run(&["unpause", "web"]).exits(0);
    assert_eq!(made_anew(&vsiflow), 1);
    vsiflow.run(&["restart", "web"]).exits(0);
    assert_eq!(made_anew(&vsiflow), 2);
    vsiflow.run(&["stop", "web"]).exits(0);
    vsiflow.run(&["start", "web"]).exits(0);
    assert_eq!(made_anew(&vsiflow), 3);
    let larger = format!("{document}machine: {{cpus: 3}}\n").replace("machine", "  machine");
    vsiflow.apply(&larger, &[]).exits(0);
    assert_eq!(made_anew(&vsiflow), 4);
    assert_eq!(boot(), before, "it is defined as before");
    vsiflow.run(&["get", "--refresh"]).exits(0);
    assert_eq!(vsiflow.phase("web"), "Running", "no drift");
    let history = vsiflow.history("web");
    assert_nothing_done_twice(&history);
    let notes = history.iter().filter(|event| event.kind() == "noted");
    let grounds = notes.filter(|note| {
        let detail = note.text("detail");
        detail.starts_with("deletion_begun: ") && detail.contains("disposable")
    });
    assert_eq!(grounds.count(), 3);
}

#[test]
fn an_edit_of_an_ephemeral_server_that_was_never_ready_is_carried_out() {
    let vsiflow = Vsiflow::simulated();
    let never = "bootDisk: {mode: ephemeral}\nready: {within: 1s, all: [{tcp: 9999}]}\n";
    let document = cloud_init("web", "#cloud-config", never);
    vsiflow.apply(&document, &[]).exits(1).says("VSI0502");
    let larger = format!("{document}machine: {{cpus: 3}}\n").replace("machine", "  machine");
    vsiflow.apply(&larger, &[]).exits(1).says("VSI0502");
    let sim = vsiflow.sim();
    let spec = &sim.domain("default/web")["spec"];
    assert_eq!(
        spec["machine"]["cpus"], 3,
        "the change is in the definition"
    );
}

/// How often a boot disk was really made, not only found.
fn made_anew(vsiflow: &Vsiflow) -> usize {
    let history = vsiflow.history("web");
    let made = history.iter().filter(|event| {
        event.step() == "clone_boot_disk"
            && event.kind() == "step_succeeded"
            && event.0["outcome"] == "Created"
    });
    made.count()
}

#[test]
fn the_boot_disk_of_a_hyper_protect_vsi_is_not_ephemeral() {
    let vsiflow = Vsiflow::simulated();
    let document = vsiflow_tests::Vsi::named("web").with("bootDisk: {mode: ephemeral}");
    vsiflow
        .apply(&document, &[])
        .exits(2)
        .says("spec.bootDisk.mode");
}

#[test]
fn secure_execution_that_the_host_lacks_is_refused_before_anything_is_made() {
    let vsiflow = Vsiflow::simulated();
    let secure = "guest: {type: none}\nmachine: {arch: s390x, secureExecution: required}";
    vsiflow
        .apply(server("web", secure), &[])
        .exits(4)
        .says("VSI0504")
        .says("secure execution");
    let sim = vsiflow.sim();
    assert_eq!(sim.volumes(), Vec::<&str>::new(), "not even an image");
    assert!(sim.domains().is_empty());
}

/// Changes the behaviour of the running guest.
fn change_guest(vsiflow: &Vsiflow, change: impl FnOnce(&mut Value)) {
    vsiflow.change_sim(|state| {
        let domains = state["domains"].as_object_mut().unwrap();
        let (_, domain) = domains.iter_mut().next().unwrap();
        change(&mut domain["live"]);
    });
}

/// Lets the guest log this line now.
fn say(vsiflow: &Vsiflow, line: &str) {
    change_guest(vsiflow, |live| {
        let at = live["started"].as_u64().unwrap();
        let line = serde_json::json!([at, line]);
        live["lines"].as_array_mut().unwrap().push(line);
    });
}

fn condition(vsiflow: &Vsiflow, name: &str) -> Value {
    let object = vsiflow.vsi("web");
    let conditions = object["status"]["conditions"].as_array().unwrap().clone();
    let found = conditions.into_iter().find(|one| one["type"] == name);
    found.unwrap_or_default()
}

#[test]
fn a_port_that_stops_answering_degrades_a_guest_until_it_answers_again() {
    let vsiflow = Vsiflow::simulated();
    let probes = "ready: {all: [{tcp: 22}, {agent: {}}]}\n";
    vsiflow
        .apply(cloud_init("web", "#cloud-config", probes), &[])
        .exits(0);
    let look = || vsiflow.run(&["get", "--refresh"]).exits(0);
    look();
    assert_eq!(vsiflow.phase("web"), "Running");
    change_guest(&vsiflow, |live| live["ports"] = serde_json::json!([]));
    look();
    assert_eq!(vsiflow.phase("web"), "Degraded");
    let degraded = condition(&vsiflow, "Degraded");
    assert_eq!(degraded["status"], "True", "{degraded}");
    let message = degraded["message"].as_str().unwrap();
    assert!(message.contains("guest tcp 22"), "{message}");
    assert_eq!(condition(&vsiflow, "Ready")["status"], "False");
    assert_eq!(condition(&vsiflow, "Drift"), Value::Null);
    change_guest(&vsiflow, |live| live["ports"] = serde_json::json!([22]));
    look();
    assert_eq!(vsiflow.phase("web"), "Running");
    assert_eq!(condition(&vsiflow, "Ready")["status"], "True");
}

#[test]
fn a_failure_that_a_guest_tells_of_later_degrades_it_with_the_line() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(vsiflow_tests::Vsi::named("web"), &[])
        .exits(0);
    let look = || vsiflow.run(&["get", "--refresh"]).exits(0);
    say(
        &vsiflow,
        "hpcr-catch-failed[1421]: HPL10000E: One or more service failed",
    );
    look();
    assert_eq!(vsiflow.phase("web"), "Degraded");
    let message = condition(&vsiflow, "Degraded")["message"].to_string();
    assert!(message.contains("HPL10000E"), "{message}");
    say(
        &vsiflow,
        "hpcr-catch-success[1421]: HPL10001I: Services succeeded",
    );
    look();
    assert_eq!(vsiflow.phase("web"), "Running");
}

#[test]
fn under_a_daemon_a_guest_that_panics_in_each_boot_has_failed() {
    let vsiflow = Vsiflow::simulated();
    let probes = "ready: {all: [{tcp: 22}]}\n";
    vsiflow
        .apply(cloud_init("web", "#cloud-config\n# lab-panic", probes), &[])
        .exits(0);
    let daemon = vsiflow.serve(&["--look-every", "1s"]);
    vsiflow.until_phase("web", "Failed", 30);
    vsiflow.run(&["restart", "web", "--wait"]).exits(0);
    vsiflow.until_phase("web", "Failed", 30);
    drop(daemon);
}
