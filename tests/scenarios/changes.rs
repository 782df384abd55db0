//! Changes of an existing VSI: planned, approved, carried out, and rolled back.

use serde_json::json;
use vsiflow_tests::{Vsi, Vsiflow, history::Event};

const OTHER: &str = "http://images.lab.test:8080/other.qcow2";

fn running(vsi: &Vsi) -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(vsi, &[]).exits(0);
    vsiflow
}

/// Runs `plan -f` with these documents, and expects this exit code.
fn plan(vsiflow: &Vsiflow, documents: impl ToString, code: i32) -> serde_json::Value {
    let path = vsiflow.write("plan.yaml", &documents.to_string());
    let path = path.to_str().unwrap();
    vsiflow.run(&["plan", "-f", path]).exits(code);
    let json = vsiflow.run(&["plan", "-f", path, "-o", "json"]).exits(code);
    json.json()["items"][0].clone()
}

/// The steps of the newest run, in the order in which they succeeded.
fn newest_steps(history: &[Event]) -> Vec<String> {
    let run = history.last().map(|event| {
        let runs = history.iter().rev();
        let of_update = runs.filter(|e| e.text("workflow") == "update_vsi");
        let run = of_update.map(|e| e.text("run").to_owned()).next();
        (run.unwrap_or_default(), event)
    });
    let (run, _) = run.unwrap();
    let steps = history.iter().filter(|e| e.text("run") == run);
    let done = steps.filter(|e| e.kind() == "step_succeeded");
    done.map(|e| e.step().to_owned()).collect()
}

#[test]
fn a_plan_says_what_would_change_how_and_what_would_be_lost_and_does_nothing() {
    let vsiflow = running(&Vsi::named("web").disk("data", "1Gi"));
    let same = plan(&vsiflow, Vsi::named("web").disk("data", "1Gi"), 0);
    assert_eq!(same["action"], "none");
    let before = vsiflow.history("web").len();
    let changed = Vsi::named("web").disk("data", "1Gi").image(OTHER).cpus(2);
    let plan = plan(&vsiflow, &changed, 1);
    assert_eq!(plan["action"], "rebuild", "{plan:#}");
    let how: Vec<_> = plan["changes"].as_array().unwrap().iter().collect();
    let how: Vec<_> = how.iter().map(|c| (&c["path"], &c["how"])).collect();
    let expected = [("imageURL", "rebuild"), ("machine.cpus", "restart")];
    let expected: Vec<_> = expected.map(|(p, h)| (p.into(), h.into())).to_vec();
    assert_eq!(
        how,
        expected.iter().map(|(p, h)| (p, h)).collect::<Vec<_>>()
    );
    assert!(
        plan["destroys"][0]["object"]
            .as_str()
            .unwrap()
            .contains("boot disk")
    );
    assert!(plan["keeps"].to_string().contains("data disk data"));
    assert_eq!(vsiflow.history("web").len(), before);
    let path = vsiflow.write("new.yaml", &Vsi::named("new").to_string());
    let new = vsiflow
        .run(&["plan", "-f", path.to_str().unwrap()])
        .exits(1);
    assert!(new.stdout.contains("vsi/new will be created"), "{new:#?}");
}

#[test]
fn a_rebuild_keeps_identity_and_data_disks_and_runs_only_the_steps_of_its_plan() {
    let vsiflow = running(&Vsi::named("web").disk("data", "1Gi"));
    let (before, sim) = (vsiflow.vsi("web"), vsiflow.sim());
    let data = before["metadata"]["uid"].clone();
    let disks = sim
        .volumes()
        .into_iter()
        .map(str::to_owned)
        .collect::<Vec<_>>();
    vsiflow
        .apply(
            Vsi::named("web").disk("data", "1Gi").image(OTHER),
            &["--wait"],
        )
        .exits(0)
        .says("vsi/web is Running");
    let (after, now) = (vsiflow.vsi("web"), vsiflow.sim());
    assert_eq!(after["metadata"]["uid"], data);
    assert_eq!(after["metadata"]["generation"], 2);
    assert_eq!(after["status"]["observedGeneration"], 2);
    let part = |of: &vsiflow_tests::Sim, key: &str| {
        let spec = &of.domain("default/web")["spec"];
        spec[key].clone()
    };
    assert_eq!(part(&now, "nics"), part(&sim, "nics"));
    let [then, new] = [&sim, &now].map(|of| part(of, "disks").as_array().unwrap().clone());
    assert_eq!(new[1..], then[1..]);
    assert_ne!(
        new[0]["path"], then[0]["path"],
        "nothing is made over a disk"
    );
    let kept: Vec<_> = disks.iter().filter(|name| name.len() == 36).collect();
    assert!(
        kept.iter()
            .all(|name| now.volumes().contains(&name.as_str())),
        "{kept:?}"
    );
    let steps = newest_steps(&vsiflow.history("web"));
    assert!(steps.contains(&"clone_boot_disk".to_owned()), "{steps:?}");
    assert!(!steps.contains(&"undefine_domain".to_owned()), "{steps:?}");
    let at = |step: &str| steps.iter().position(|other| other == step).unwrap();
    assert!(
        at("clone_boot_disk") < at("stop_domain"),
        "the guest runs while its new boot disk is made: {steps:?}"
    );
    assert!(
        at("define_domain") < at("remove_replaced_disks"),
        "{steps:?}"
    );
}

#[test]
fn a_data_disk_grows_in_the_very_change_that_rebuilds_or_restarts_its_vsi() {
    let vsiflow = running(&Vsi::named("web").disk("data", "1Gi"));
    let rebuilt = Vsi::named("web").disk("data", "2Gi").image(OTHER);
    vsiflow
        .apply(&rebuilt, &["--timeout", "60s"])
        .exits(0)
        .says("vsi/web is Running");
    let steps = newest_steps(&vsiflow.history("web"));
    assert!(steps.contains(&"clone_boot_disk".to_owned()), "{steps:?}");
    let restarted = Vsi::named("web").disk("data", "3Gi").image(OTHER).cpus(2);
    vsiflow
        .apply(&restarted, &["--timeout", "60s"])
        .exits(0)
        .says("vsi/web is Running");
    let sim = vsiflow.sim();
    let domain = sim.domain("default/web");
    assert_eq!(domain["spec"]["machine"]["cpus"], 2);
    let path = domain["spec"]["disks"][2]["path"].as_str().unwrap();
    let volume = path.rsplit('/').next().unwrap();
    assert_eq!(sim.volume(volume)["capacity"], 3_u64 << 30);
}

#[test]
fn more_processors_restart_the_guest_and_leave_its_boot_disk_alone() {
    let vsiflow = running(&Vsi::named("web"));
    vsiflow.apply(Vsi::named("web").cpus(3), &[]).exits(0);
    let spec = vsiflow.sim().domain("default/web")["spec"]["machine"].clone();
    assert_eq!(spec["cpus"], 3);
    let steps = newest_steps(&vsiflow.history("web"));
    assert!(steps.contains(&"stop_domain".to_owned()), "{steps:?}");
    assert!(!steps.contains(&"clone_boot_disk".to_owned()), "{steps:?}");
}

#[test]
fn a_manual_change_waits_for_approval_and_the_guest_runs_on() {
    let manual = || Vsi::named("web").with("updatePolicy: Manual");
    let vsiflow = running(&manual());
    let newer = || manual().image(OTHER);
    vsiflow
        .apply(newer(), &["--wait"])
        .exits(4)
        .says("waits for approval")
        .says("imageURL");
    let waiting = vsiflow.vsi("web");
    assert_eq!(waiting["status"]["phase"], "Running", "{waiting:#}");
    assert_eq!(
        waiting["status"]["proposal"]["changes"][0]["path"],
        "imageURL"
    );
    let conditions = waiting["status"]["conditions"].to_string();
    assert!(conditions.contains("AwaitingApproval"), "{conditions}");
    // Applying the same document again changes nothing.
    vsiflow
        .apply(newer(), &["--wait"])
        .exits(4)
        .says("unchanged");
    vsiflow
        .run(&["approve", "web", "--wait"])
        .exits(0)
        .says("vsi/web is Running");
    assert!(newest_steps(&vsiflow.history("web")).contains(&"clone_boot_disk".to_owned()));
    vsiflow.apply(newer(), &[]).exits(0).says("unchanged");
    vsiflow.run(&["approve", "web"]).exits(4).says("VSI0704");
}

/// Earlier versions rounded memory down.
#[test]
fn memory_that_another_version_rounded_is_no_change() {
    let with = |memory: &str| Vsi::named("web").memory(memory);
    let vsiflow = running(&with("3814Mi"));
    vsiflow.apply(with("4G"), &[]).exits(0).says("unchanged");
    let memory = || vsiflow.sim().domain("default/web")["spec"]["machine"]["memory_mib"].clone();
    assert_eq!(memory(), 3814);
    vsiflow.apply(with("3815Mi"), &[]).exits(0);
    assert_eq!(memory(), 3815, "a whole number is meant");
}

#[test]
fn a_manual_change_that_is_taken_back_leaves_nothing() {
    let manual = || Vsi::named("web").with("updatePolicy: Manual");
    let vsiflow = running(&manual());
    vsiflow.apply(manual().doing("more"), &[]).exits(4);
    vsiflow
        .apply(manual(), &["--wait"])
        .exits(0)
        .says("is Running");
    assert!(vsiflow.vsi("web")["status"]["proposal"].is_null());
    let path = vsiflow.write("same.yaml", &manual().to_string());
    vsiflow
        .run(&["plan", "-f", path.to_str().unwrap()])
        .exits(0);
    assert!(
        !vsiflow
            .history("web")
            .iter()
            .any(|e| e.step() == "stop_domain")
    );
}

#[test]
fn a_change_that_cannot_be_made_is_refused_before_anything_is_touched() {
    let vsiflow = running(&Vsi::named("web").disk("data", "2Gi"));
    let before = vsiflow.history("web").len();
    let smaller = Vsi::named("web").disk("data", "1Gi");
    assert_eq!(plan(&vsiflow, &smaller, 4)["action"], "refused");
    vsiflow
        .apply(&smaller, &[])
        .exits(4)
        .says("VSI0701")
        .says("never shrinks");
    vsiflow
        .apply(Vsi::named("web").disk("data", "2Gi").pool("other"), &[])
        .exits(4);
    assert_eq!(vsiflow.history("web").len(), before);
}

#[test]
fn a_data_disk_grows_while_its_guest_runs() {
    let vsiflow = running(&Vsi::named("web").disk("data", "1Gi"));
    vsiflow
        .apply(Vsi::named("web").disk("data", "3Gi"), &[])
        .exits(0);
    let sim = vsiflow.sim();
    let disk = sim
        .volumes()
        .into_iter()
        .find(|name| name.len() == 36)
        .unwrap();
    assert_eq!(sim.volume(disk)["capacity"], 3_u64 << 30);
    let steps = newest_steps(&vsiflow.history("web"));
    assert_eq!(steps, ["await_data_disks", "release"]);
}

#[test]
fn one_change_of_many_rolls_and_stops_at_the_first_that_does_not_boot() {
    let vsiflow = Vsiflow::simulated();
    let all = |change: fn(Vsi) -> Vsi| {
        let names = ["a", "b", "c"].map(|name| change(Vsi::named(name)).to_string());
        names.join("---\n")
    };
    vsiflow.apply(all(|vsi| vsi), &[]).exits(0);
    vsiflow.apply(all(|vsi| vsi.image(OTHER)), &[]).exits(0);
    // The rollout never interrupts two VSIs at the same time.
    let events = |name: &str| {
        let history = vsiflow.history(name);
        let at = |step: &str, kind: &str| {
            let found = history.iter().rev();
            let found = found.clone().find(|e| e.step() == step && e.kind() == kind);
            found.unwrap().0["offset"].as_u64().unwrap()
        };
        (
            at("stop_domain", "step_started"),
            at("monitor_console", "step_succeeded"),
        )
    };
    assert!(events("a").1 < events("b").0 && events("b").1 < events("c").0);
    vsiflow
        .apply(all(|vsi| vsi.image(OTHER).memory("200Mi")), &["--wait"])
        .exits(4)
        .says("VSI0501")
        .says("VSI0505");
    assert_eq!(vsiflow.phase("a"), "Failed");
    for name in ["b", "c"] {
        assert_eq!(vsiflow.phase(name), "Degraded");
        let domain = vsiflow.sim().domain(&format!("default/{name}"))["state"].clone();
        assert_eq!(domain, "Running");
    }
    vsiflow
        .apply(all(|vsi| vsi.image(OTHER)), &["--wait"])
        .exits(0);
    assert_eq!(vsiflow.phase("c"), "Running");
}

#[test]
fn a_failed_change_is_taken_back_with_the_earlier_document() {
    let vsiflow = running(&Vsi::named("web"));
    vsiflow
        .apply(Vsi::named("web").memory("200Mi"), &[])
        .exits(1);
    assert_eq!(vsiflow.phase("web"), "Failed");
    vsiflow
        .apply(Vsi::named("web"), &[])
        .exits(0)
        .says("vsi/web is Running");
    assert_eq!(vsiflow.phase("web"), "Running");
}

#[test]
fn defect_22_a_document_without_a_pool_means_the_same_as_before() {
    let vsiflow = running(&Vsi::named("web"));
    let document = Vsi::named("web")
        .to_string()
        .replace("  storagePool: images\n", "");
    assert_eq!(plan(&vsiflow, document, 0)["action"], "none");
}

#[test]
fn defect_24_inputs_that_read_the_same_one_after_the_other_are_told_apart() {
    let reference = |network: &str| {
        format!(
            "---\napiVersion: hpse.ibm.com/v1\nkind: HyperProtectContainerRuntimeOnPremNetworkRef\n\
             metadata: {{name: {network}, labels: {{network: web}}}}\n\
             spec: {{networkName: {network}, targetSelector: {{matchLabels: {{config: lab}}}}}}\n"
        )
    };
    let select = "networkSelector: {matchLabels: {network: web}}";
    let on = |networks: [&str; 2]| {
        let web = Vsi::named("web").with(select);
        format!("{web}{}", networks.map(reference).concat())
    };
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("other"), &[]).exits(0);
    vsiflow.change_sim(|state| {
        for name in ["ab", "c", "a", "bc"] {
            let network = serde_json::json!({"active": true, "prefix": "10.1.1"});
            state["networks"][name] = network;
        }
    });
    vsiflow.apply(on(["ab", "c"]), &[]).exits(0);
    let planned = plan(&vsiflow, on(["a", "bc"]), 1);
    assert_eq!(planned["changes"][0]["path"], "networks", "{planned:#}");
}

/// It ran on both hosts, under one UUID.
#[test]
fn a_vsi_that_was_never_ready_stays_on_the_host_where_it_was_begun() {
    let vsiflow = Vsiflow::of_documents();
    let host = |label: &str, of: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {label}, labels: {{config: {label}}}}}\n\
             data: {{HOSTNAME: \"sim:{of}\"}}\n---\n"
        )
    };
    let hosts = host("lpar1", "a") + &host("lpar2", "b");
    let on = |label: &str| format!("{hosts}{}", Vsi::named("web").on(label));
    let first = format!("{hosts}{}", Vsi::named("first").on("lpar1"));
    vsiflow.apply(first, &["--wait"]).exits(0);
    vsiflow.change_sim_of("a", |state| state["broken"] = json!({"start": "Timeout"}));
    let briefly = ["--wait", "--timeout", "3s"];
    vsiflow.apply(on("lpar1"), &briefly).exits(5);
    let on_a = || vsiflow.sim_of("a").domains().contains(&"default/web");
    assert!(on_a());
    let relabelled = host("lpar1", "b") + &Vsi::named("web").on("lpar1").to_string();
    for moved in [on("lpar2"), relabelled] {
        vsiflow
            .apply(&moved, &briefly)
            .exits(4)
            .says("VSI0701")
            .says("cannot be changed");
        let file = vsiflow.write("moved.yaml", &moved);
        let plan = ["plan", "-f", file.to_str().unwrap()];
        vsiflow.run(&plan).exits(4);
    }
    assert!(vsiflow.sim_of("b").domains().is_empty());
    // Its other fields can still be corrected.
    let corrected = format!("{hosts}{}", Vsi::named("web").on("lpar1").memory("1Gi"));
    vsiflow.apply(corrected, &briefly).exits(5);
    vsiflow.change_sim_of("a", |state| state["broken"] = json!({}));
    vsiflow.run(&["delete", "web", "--wait"]).exits(0);
    assert!(!on_a());
    vsiflow.apply(on("lpar2"), &["--wait"]).exits(0);
    assert_eq!(vsiflow.sim_of("b").domains(), ["default/web"]);
}
