//! Pools: numbered virtual servers from one template.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vsiflow_tests::{Vsi, Vsiflow, http, until};

/// The document of a pool.
#[derive(Clone, Debug)]
struct PoolManifest {
    replicas: Option<String>,
    cpus: u32,
    memory: &'static str,
    /// Further lines of its spec.
    more: Vec<&'static str>,
    disks: bool,
}

impl PoolManifest {
    fn of(replicas: u32) -> Self {
        Self {
            replicas: Some(replicas.to_string()),
            cpus: 1,
            memory: "512Mi",
            more: Vec::new(),
            disks: false,
        }
    }

    fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    fn with(mut self, line: &'static str) -> Self {
        self.more.push(line);
        self
    }

    fn with_disks(mut self) -> Self {
        self.disks = true;
        self
    }
}

impl std::fmt::Display for PoolManifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let replicas = self.replicas.as_ref();
        let replicas = replicas.map_or(String::new(), |n| format!("  replicas: {n}\n"));
        let more: String = self.more.iter().map(|line| format!("  {line}\n")).collect();
        let disks = if self.disks {
            "  diskTemplates:\n  - metadata: {name: data}\n    spec: {size: 1Gi}\n"
        } else {
            ""
        };
        write!(
            f,
            "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {{name: web}}\nspec:\n\
             {replicas}{more}{disks}  template:\n    metadata: {{labels: {{app: web}}}}\n    spec:\n      \
             imageURL: {}\n      guest: {{type: none}}\n      machine: {{cpus: {}, memory: {}}}\n",
            vsiflow_tests::SIMULATED_IMAGE,
            self.cpus,
            self.memory
        )
    }
}

fn pool(vsiflow: &Vsiflow) -> Value {
    let pool = vsiflow.run(&["get", "pools", "web", "-o", "json"]);
    pool.exits(0).json()
}

/// The names of all VSIs, with their UIDs.
fn members(vsiflow: &Vsiflow) -> BTreeSet<(String, String)> {
    let listed = vsiflow.run(&["get", "vsi", "-o", "json"]).exits(0).json();
    let text = |object: &Value, key: &str| object["metadata"][key].as_str().unwrap().to_owned();
    let items = listed["items"].as_array().unwrap().iter();
    items
        .map(|vsi| (text(vsi, "name"), text(vsi, "uid")))
        .collect()
}

fn names(vsiflow: &Vsiflow) -> String {
    let names = members(vsiflow).into_iter().map(|(name, _)| name);
    names.collect::<Vec<_>>().join(" ")
}

fn cpus(vsiflow: &Vsiflow, name: &str) -> u64 {
    vsiflow.vsi(name)["spec"]["machine"]["cpus"]
        .as_u64()
        .unwrap()
}

/// Earlier versions rounded memory down.
#[test]
fn memory_that_another_version_rounded_rolls_no_pool() {
    let vsiflow = Vsiflow::simulated();
    let with = |memory: &'static str| PoolManifest {
        memory,
        ..PoolManifest::of(1)
    };
    vsiflow.apply(with("476Mi"), &[]).exits(0);
    let before = pool(&vsiflow);
    vsiflow.apply(with("500M"), &[]).exits(0).says("unchanged");
    assert_eq!(pool(&vsiflow), before);
}

#[test]
fn a_pool_makes_its_members_and_says_how_many_are_ready() {
    let vsiflow = Vsiflow::simulated();
    let wait = ["--wait"];
    vsiflow
        .apply(PoolManifest::of(3), &wait)
        .exits(0)
        .says("pool/web is Available");
    assert_eq!(names(&vsiflow), "web-0 web-1 web-2");
    let pool = pool(&vsiflow);
    assert_eq!(pool["spec"]["replicas"], 3);
    assert_eq!(pool["status"]["readyReplicas"], 3);
    assert_eq!(pool["status"]["updatedReplicas"], 3);
    let member = vsiflow.vsi("web-1");
    assert_eq!(member["metadata"]["labels"]["vsiflow.io/pool"], "web");
    assert_eq!(member["metadata"]["labels"]["app"], "web");
    let uid = &member["metadata"]["annotations"]["vsiflow.io/pool-uid"];
    assert_eq!(*uid, pool["metadata"]["uid"]);
    let table = vsiflow.run(&["get", "pools"]).exits(0);
    table.says("DESIRED   READY   UPDATED");
    let described = vsiflow.run(&["describe", "pool/web"]).exits(0);
    described.says("web-2             Running      ready, updated");
    let available = ["wait", "pool/web", "--for=condition=Available"];
    vsiflow.run(&available).exits(0).says("condition met");
    vsiflow
        .apply(PoolManifest::of(3), &wait)
        .exits(0)
        .says("pool/web unchanged");
}

#[test]
fn scaling_down_takes_the_highest_and_its_data_is_attached_again_when_it_comes_back() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(PoolManifest::of(3).with_disks(), &["--wait"])
        .exits(0);
    let disk = |name: &str| {
        vsiflow
            .run(&["get", "disk", name, "-o", "json"])
            .exits(0)
            .json()
    };
    let before = disk("data-web-2")["metadata"]["uid"].clone();
    let scale = |to: &str| {
        let scale = ["scale", "pool/web", "--replicas", to, "--wait"];
        vsiflow.run(&scale).exits(0).says("pool/web is Available");
    };
    scale("1");
    assert_eq!(names(&vsiflow), "web-0");
    assert_eq!(disk("data-web-2")["status"]["usedBy"], json!([]));
    scale("3");
    assert_eq!(names(&vsiflow), "web-0 web-1 web-2");
    assert_eq!(disk("data-web-2")["metadata"]["uid"], before);
    assert_eq!(disk("data-web-2")["status"]["usedBy"], json!(["web-2"]));
    let same = PoolManifest {
        replicas: None,
        ..PoolManifest::of(0).with_disks()
    };
    vsiflow.apply(same, &["--wait"]).exits(0);
    assert_eq!(pool(&vsiflow)["spec"]["replicas"], 3);
}

#[test]
fn a_change_of_the_template_reaches_each_member_and_rollback_takes_it_back() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(PoolManifest::of(3), &["--wait"]).exits(0);
    let before = members(&vsiflow);
    let rolled = vsiflow
        .apply(PoolManifest::of(3).cpus(2), &["--wait"])
        .exits(0);
    rolled.says("template.spec.machine.cpus");
    assert_eq!(
        ["web-0", "web-1", "web-2"].map(|name| cpus(&vsiflow, name)),
        [2, 2, 2]
    );
    assert_eq!(members(&vsiflow), before, "members keep their identity");
    // One after another, from the highest number down.
    let started = |name: &str| {
        let events = vsiflow.history(name);
        let mut starts = events.iter().filter(|event| event.step() == "start_domain");
        starts
            .next_back()
            .and_then(|event| event.0["offset"].as_u64())
    };
    assert!(started("web-2") < started("web-1") && started("web-1") < started("web-0"));
    for option in [&["--dry-run"][..], &["--to", "1"]] {
        let words = [&["rollback", "pool/web"][..], option].concat();
        vsiflow.run(&words).exits(2).says(option[0]);
    }
    vsiflow.run(&["rollback", "pool/web", "--wait"]).exits(0);
    assert_eq!(
        ["web-0", "web-1", "web-2"].map(|name| cpus(&vsiflow, name)),
        [1, 1, 1]
    );
}

#[test]
fn a_rollout_stops_at_the_first_member_that_fails() {
    let vsiflow = Vsiflow::simulated();
    let pool_of = |contract: &str| {
        let head =
            "apiVersion: vsiflow.io/v1\nkind: VirtualServerPool\nmetadata: {name: web}\nspec:\n";
        format!(
            "{head}  replicas: 3\n  template:\n    spec:\n      imageURL: {}\n      guest:\n        \
             type: hyperProtect\n        contract: \"{contract}\"\n      machine: {{cpus: 1, memory: 512Mi}}\n",
            vsiflow_tests::SIMULATED_IMAGE
        )
    };
    let good = vsiflow_tests::documents::CONTRACT.replace('\n', "\\n");
    vsiflow.apply(pool_of(&good), &["--wait"]).exits(0);
    let failed = vsiflow.apply(pool_of("env: e\\n"), &["--wait"]);
    assert_ne!(failed.code, Some(0), "{failed:?}");
    failed.says("web-2");
    let status = pool(&vsiflow)["status"].clone();
    assert_eq!(
        (&status["readyReplicas"], &status["updatedReplicas"]),
        (&json!(2), &json!(1))
    );
    assert_eq!(status["phase"], "Degraded");
    assert_eq!(
        ["web-0", "web-1"].map(|name| vsiflow.phase(name)),
        ["Running", "Running"]
    );
    vsiflow.run(&["rollback", "pool/web", "--wait"]).exits(0);
    assert_eq!(pool(&vsiflow)["status"]["readyReplicas"], 3);
}

#[test]
fn a_member_that_is_deleted_is_made_again_and_a_cordoned_one_is_left_out() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(PoolManifest::of(3), &["--wait"]).exits(0);
    let before = members(&vsiflow);
    let deleted = vsiflow.run(&["delete", "web-1", "--wait"]).exits(0);
    deleted.says("pool/web makes its deleted members again");
    assert_eq!(names(&vsiflow), "web-0 web-1 web-2");
    assert_eq!(
        before.intersection(&members(&vsiflow)).count(),
        2,
        "one is new"
    );
    vsiflow.run(&["cordon", "web-2"]).exits(0);
    vsiflow
        .apply(PoolManifest::of(3).cpus(2), &["--wait"])
        .exits(0);
    assert_eq!(
        ["web-0", "web-1", "web-2"].map(|name| cpus(&vsiflow, name)),
        [2, 2, 1]
    );
    vsiflow.run(&["uncordon", "web-2", "--wait"]).exits(0);
    assert_eq!(cpus(&vsiflow, "web-2"), 2);
    vsiflow.run(&["cordon", "web-7"]).exits(3).says("VSI0723");
}

#[test]
fn a_template_that_returns_is_that_of_the_member_that_still_has_it() {
    let vsiflow = Vsiflow::simulated();
    let of_motd = |motd: &str| {
        let none = "guest: {type: none}";
        let guest = format!(
            "guest:\n        type: cloudInit\n        userData: \"#cloud-config\\nmotd: {motd}\\n\""
        );
        PoolManifest::of(2).to_string().replace(none, &guest)
    };
    vsiflow.apply(of_motd("first"), &["--wait"]).exits(0);
    let first = pool(&vsiflow)["status"]["revision"].clone();
    vsiflow.run(&["cordon", "web-1"]).exits(0);
    for motd in ["second", "third", "fourth"] {
        vsiflow.apply(of_motd(motd), &["--wait"]).exits(0);
    }
    assert_eq!(pool(&vsiflow)["status"]["updatedReplicas"], 1);
    let started = vsiflow.history("web-1").len();
    vsiflow.apply(of_motd("first"), &["--wait"]).exits(0);
    let status = pool(&vsiflow)["status"].clone();
    assert_eq!(
        (&status["revision"], &status["updatedReplicas"]),
        (&first, &json!(2))
    );
    assert_eq!(
        vsiflow.history("web-1").len(),
        started,
        "nothing was done to it"
    );
}

#[test]
fn manual_asks_once_for_the_pool() {
    let vsiflow = Vsiflow::simulated();
    let manual = |cpus| PoolManifest::of(2).with("updatePolicy: Manual").cpus(cpus);
    vsiflow.apply(manual(1), &["--wait"]).exits(0);
    let waits = vsiflow.apply(manual(2), &["--wait"]).exits(4);
    waits.says("`vsiflow approve pool/web` approves it");
    assert_eq!(cpus(&vsiflow, "web-0"), 1);
    vsiflow.run(&["approve", "pool/web", "--wait"]).exits(0);
    assert_eq!(["web-0", "web-1"].map(|name| cpus(&vsiflow, name)), [2, 2]);
    vsiflow
        .run(&["approve", "pool/web"])
        .exits(4)
        .says("VSI0704");
}

const GOES: &str =
    "diskTemplates: [{metadata: {name: data}, spec: {size: 1Gi, deletionPolicy: Delete}}]";
const STAYS: &str =
    "diskTemplates: [{metadata: {name: data}, spec: {size: 1Gi, deletionPolicy: Retain}}]";

#[test]
fn manual_also_asks_before_a_template_permits_to_lose_data() {
    let vsiflow = Vsiflow::simulated();
    let manual = |disks| PoolManifest::of(1).with("updatePolicy: Manual").with(disks);
    vsiflow.apply(manual(STAYS), &["--wait"]).exits(0);
    vsiflow
        .apply(manual(GOES), &[])
        .exits(4)
        .says("waits for approval");
    vsiflow.run(&["approve", "pool/web", "--wait"]).exits(0);
    // What protects more asks nobody.
    vsiflow.apply(manual(STAYS), &["--wait"]).exits(0);
}

#[test]
fn a_document_that_retains_the_disks_of_members_deletes_none() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(PoolManifest::of(1).with(GOES), &["--wait"])
        .exits(0);
    let stays = vsiflow.write("stays.yaml", &PoolManifest::of(1).with(STAYS).to_string());
    let delete = ["delete", "-f", stays.to_str().unwrap(), "--wait"];
    vsiflow.run(&delete).exits(4).says("VSI0756");
    assert_eq!(names(&vsiflow), "web-0");
    vsiflow
        .run(&["apply", "-f", stays.to_str().unwrap(), "--wait"])
        .exits(0);
    vsiflow.run(&delete).exits(0);
    vsiflow.run(&["get", "disks"]).exits(0).says("data-web-0");
}

#[test]
fn a_rollback_names_the_disks_that_are_made_anew() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(PoolManifest::of(2), &["--wait"]).exits(0);
    let image = vsiflow_tests::SIMULATED_IMAGE;
    let other = PoolManifest::of(2)
        .to_string()
        .replace(image, "http://images.test/other.qcow2");
    vsiflow.apply(other, &["--wait"]).exits(0);
    let boot_disk = vsiflow.sim().boot_disk("default/web-1");
    vsiflow
        .run(&["rollback", "pool/web", "--wait"])
        .exits(0)
        .says(&format!("boot disk images/{boot_disk} is destroyed"))
        .keeps_quiet_about("00000000-0000");
}

#[test]
fn a_vsi_that_the_pool_did_not_make_is_refused_and_never_taken() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("web-1"), &["--wait"]).exits(0);
    let before = members(&vsiflow);
    vsiflow
        .apply(PoolManifest::of(2), &[])
        .exits(4)
        .says("VSI0721");
    assert_eq!(members(&vsiflow), before, "nothing was made");
    vsiflow.run(&["get", "pools", "web"]).exits(3);
    vsiflow.apply(PoolManifest::of(1), &["--wait"]).exits(0);
    let scale = ["scale", "pool/web", "--replicas", "2"];
    vsiflow.run(&scale).exits(4).says("VSI0721");
    vsiflow
        .apply(Vsi::named("web-0"), &[])
        .exits(4)
        .says("VSI0720");
    vsiflow.run(&["delete", "pool/web", "--wait"]).exits(0);
    assert_eq!(members(&vsiflow), before);
}

#[test]
fn numbers_that_cannot_be_are_refused_with_their_place_before_anything_is_made() {
    let vsiflow = Vsiflow::simulated();
    for wrong in ["-1", "1000000", "many"] {
        let mut pool = PoolManifest::of(1);
        pool.replicas = Some(wrong.to_owned());
        let refused = vsiflow.apply(pool, &[]).exits(2);
        refused
            .says("VSI0604")
            .says("spec.replicas")
            .says(".yaml:5:13");
    }
    let both = PoolManifest::of(1).with("strategy: {maxUnavailable: 0}");
    vsiflow
        .apply(both, &[])
        .exits(2)
        .says("spec.strategy.maxUnavailable");
    let surge = PoolManifest::of(1)
        .with("strategy: {maxSurge: 1}")
        .with_disks();
    vsiflow
        .apply(surge, &[])
        .exits(2)
        .says("spec.strategy.maxSurge");
    vsiflow.apply(PoolManifest::of(1), &["--wait"]).exits(0);
    for wrong in ["-1", "1001"] {
        let scale = ["scale", "pool/web", "--replicas", wrong];
        vsiflow.run(&scale).exits(4).says("VSI0727");
    }
    assert_eq!(names(&vsiflow), "web-0");
}

#[test]
fn a_deleted_pool_takes_its_members_along_and_keeps_data_by_policy() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(PoolManifest::of(2).with_disks(), &["--wait"])
        .exits(0);
    vsiflow
        .run(&["delete", "pool/web", "--wait"])
        .exits(0)
        .says("pool/web deleted");
    assert_eq!(names(&vsiflow), "");
    vsiflow.run(&["get", "pools", "web"]).exits(3);
    let disks = vsiflow.run(&["get", "disk", "-o", "name"]).exits(0);
    assert_eq!(disks.stdout, "disk/data-web-0\ndisk/data-web-1\n");
    // A new pool of this name gets the old data disks again.
    vsiflow
        .apply(PoolManifest::of(2).with_disks(), &["--wait"])
        .exits(0);
    let disk_objects = vsiflow.run(&["get", "disk", "-o", "json"]).exits(0).json();
    assert_eq!(
        disk_objects["items"][0]["status"]["usedBy"],
        json!(["web-0"])
    );
    assert_eq!(disk_objects["items"].as_array().unwrap().len(), 2);
}

/// A journal that was restored from a backup, which was taken when this command had begun with one of three members.
fn restored_in_the_middle_of(command: &[&str]) -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(PoolManifest::of(3), &["--wait"]).exits(0);
    vsiflow.run(&["pause", "--all"]).exits(0);
    // The pause is the outcome; the time is for busy machines.
    let begun = [command, &["--wait", "--timeout", "60s"]].concat();
    vsiflow.run(&begun).exits(4).says("VSI0016");
    vsiflow.run(&["backup", "kept.backup"]).exits(0);
    vsiflow.restore("kept.backup");
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow
        .run(&["resume", "pool/web"])
        .exits(4)
        .says("VSI0041");
    assert_eq!(vsiflow.sim().domains().len(), 3);
    vsiflow
}

#[test]
fn a_pools_deletion_is_not_carried_out_by_a_journal_that_was_restored_until_it_is_ordered_again() {
    let vsiflow = restored_in_the_middle_of(&["delete", "pool/web"]);
    vsiflow.run(&["delete", "pool/web", "--wait"]).exits(0);
    assert_eq!(names(&vsiflow), "");
}

#[test]
fn fewer_members_are_not_made_by_a_journal_that_was_restored_until_that_is_ordered_again() {
    let vsiflow = restored_in_the_middle_of(&["scale", "pool/web", "--replicas", "1"]);
    vsiflow.run(&["delete", "web-2", "--wait"]).exits(0);
    vsiflow
        .run(&["resume", "pool/web"])
        .exits(4)
        .says("VSI0041");
    vsiflow
        .run(&["scale", "pool/web", "--replicas", "1"])
        .exits(4)
        .says("VSI0041");
    assert_eq!(names(&vsiflow), "web-0 web-1");
    let one = vsiflow.write("one.yaml", &PoolManifest::of(1).to_string());
    vsiflow
        .run(&["plan", "-f", one.to_str().unwrap()])
        .exits(1)
        .says("VSI web-1 with boot disk");
    assert_eq!(names(&vsiflow), "web-0 web-1");
    vsiflow.apply(PoolManifest::of(1), &["--wait"]).exits(0);
    assert_eq!(names(&vsiflow), "web-0");
    // What was ordered is done.
    vsiflow
        .apply(PoolManifest::of(1), &[])
        .exits(0)
        .says("unchanged");
    vsiflow
        .run(&["scale", "pool/web", "--replicas", "2", "--wait"])
        .exits(0);
    assert_eq!(names(&vsiflow), "web-0 web-1");
}

#[test]
fn a_plan_of_fewer_members_names_the_data_disks_that_go_with_them() {
    const DELETED: &str =
        "diskTemplates: [{metadata: {name: data}, spec: {size: 1Gi, deletionPolicy: Delete}}]";
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(PoolManifest::of(2).with(DELETED), &["--wait"])
        .exits(0);
    let plan_of = |pool: PoolManifest| {
        let file = vsiflow.write("plan.yaml", &pool.to_string());
        vsiflow
            .run(&["plan", "-f", file.to_str().unwrap()])
            .exits(1)
    };
    plan_of(PoolManifest::of(1).with(DELETED)).says("data disk data-web-1");
    // What a newest template retains stays.
    plan_of(PoolManifest::of(1).with_disks()).keeps_quiet_about("data disk");
}

#[test]
fn prune_and_limits_count_members() {
    let vsiflow = Vsiflow::simulated();
    let folder = vsiflow.folder().join("documents");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("pool.yaml"), PoolManifest::of(3).to_string()).unwrap();
    std::fs::write(folder.join("db.yaml"), Vsi::named("db").to_string()).unwrap();
    let folder_name = folder.to_str().unwrap().to_owned();
    let apply = |more: &[&str]| {
        let apply = ["apply", "--wait", "-f", &folder_name];
        vsiflow.run(&[&apply[..], more].concat())
    };
    apply(&[]).exits(0);
    std::fs::remove_file(folder.join("pool.yaml")).unwrap();
    apply(&["--prune", "--prune-limit", "2"])
        .exits(4)
        .says("VSI0709");
    assert_eq!(names(&vsiflow), "db web-0 web-1 web-2");
    vsiflow
        .run(&["delete", "pool", "--all", "--yes", "--limit", "2"])
        .exits(4)
        .says("VSI0811");
    apply(&["--prune", "--prune-limit", "3"]).exits(0);
    assert_eq!(names(&vsiflow), "db");
}

#[test]
fn a_daemon_scales_and_makes_again_by_itself() {
    let vsiflow = Vsiflow::simulated();
    let _daemon = vsiflow.serve(&[]);
    vsiflow.apply(PoolManifest::of(2), &["--wait"]).exits(0);
    let socket = vsiflow.state().join("vsiflow.sock");
    const POOL: &str = "/v1/namespaces/default/virtualserverpools/web";
    let scaled = http::post(
        &socket,
        &format!("{POOL}/scale"),
        &json!({"replicas": 3, "waitSeconds": 60, "reason": "a test"}),
    );
    assert_eq!(scaled.is(200).json()["outcome"], "Reached");
    let shown = http::get(&socket, POOL).is(200).json();
    assert_eq!(shown["status"]["readyReplicas"], 3);
    let listed = http::get(&socket, "/v1/virtualserverpools").is(200).json();
    assert_eq!(listed["items"][0]["metadata"]["name"], "web");
    let wrong = json!({"replicas": -1});
    http::post(&socket, &format!("{POOL}/scale"), &wrong).is_problem("VSI0727");
    let before = members(&vsiflow);
    vsiflow.run(&["delete", "web-1", "--wait"]).exits(0);
    until("web-1 exists again", 60, || {
        let now = members(&vsiflow);
        let ready = pool(&vsiflow)["status"]["readyReplicas"] == 3;
        (ready && now != before).then_some(())
    });
    vsiflow
        .run(&["scale", "pool/web", "--replicas", "0", "--wait"])
        .exits(0);
    assert_eq!(names(&vsiflow), "");
}

#[test]
fn what_a_kill_left_of_a_pool_is_continued() {
    let vsiflow = Vsiflow::simulated();
    let mut apply = vsiflow.start_apply(PoolManifest::of(5), &["--wait"]);
    assert!(apply.reaches("resolve_networks", 60));
    apply.kill();
    vsiflow.run(&["resume", "--wait"]).exits(0);
    assert_eq!(names(&vsiflow), "web-0 web-1 web-2 web-3 web-4");
    assert_eq!(pool(&vsiflow)["status"]["phase"], "Available");
    vsiflow.run(&["resume"]).exits(0).says("nothing to resume");
}

/// A policy does not wait for the rollout that brings it to the records of members.
const DELETES: &str =
    "diskTemplates: [{metadata: {name: data}, spec: {size: 1Gi, deletionPolicy: Delete}}]";
const RETAINS: &str =
    "diskTemplates: [{metadata: {name: data}, spec: {size: 1Gi, deletionPolicy: Retain}}]";

#[test]
fn a_disk_that_is_retained_before_its_deletion_begins_stays() {
    let vsiflow = Vsiflow::simulated();
    let wait = ["--wait"];
    vsiflow
        .apply(PoolManifest::of(2).with(DELETES), &wait)
        .exits(0);
    let disk = vsiflow
        .run(&["get", "disk", "data-web-1", "-o", "json"])
        .exits(0)
        .json();
    let volume = disk["metadata"]["uid"].as_str().unwrap();
    vsiflow.run(&["pause", "--all"]).exits(0);
    vsiflow.run(&["scale", "pool/web", "--replicas", "1"]);
    vsiflow.apply(PoolManifest::of(1).with(RETAINS), &["--timeout", "1s"]);
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow.run(&["resume", "--all"]).exits(0);
    assert_eq!(names(&vsiflow), "web-0");
    assert!(vsiflow.sim().volumes().contains(&volume));
    vsiflow.run(&["replay", "--verify"]).exits(0);
}

#[test]
fn a_disk_whose_deletion_waits_is_deleted_also_if_the_pool_grows_again() {
    let vsiflow = Vsiflow::simulated();
    let wait = ["--wait"];
    vsiflow
        .apply(PoolManifest::of(2).with(DELETES), &wait)
        .exits(0);
    vsiflow.run(&["pause", "--all"]).exits(0);
    for replicas in ["1", "2"] {
        vsiflow.run(&["scale", "pool/web", "--replicas", replicas]);
    }
    vsiflow.run(&["unpause", "--all"]).exits(0);
    vsiflow.run(&["resume", "--all"]).exits(0);
    assert_eq!(names(&vsiflow), "web-0 web-1");
    let sim = vsiflow.sim();
    let volumes = sim.volumes();
    let disks = volumes.iter().filter(|name| name.len() == 36);
    assert_eq!(disks.count(), 2, "{volumes:?}");
}

#[test]
fn a_disk_that_the_newest_template_retains_is_not_deleted() {
    let vsiflow = Vsiflow::simulated();
    let disks = || -> Vec<(String, String)> {
        let listed = vsiflow.run(&["get", "disk", "-o", "json"]).exits(0).json();
        let items = listed["items"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        items
            .map(|disk| {
                let policy = &disk["spec"]["deletionPolicy"];
                (text(&disk["metadata"]["name"]), text(policy))
            })
            .collect()
    };
    let wait = ["--wait"];
    vsiflow
        .apply(PoolManifest::of(3).with(DELETES), &wait)
        .exits(0);
    vsiflow
        .apply(PoolManifest::of(2).with(RETAINS), &wait)
        .exits(0);
    assert_eq!(names(&vsiflow), "web-0 web-1");
    assert_eq!(disks().len(), 3, "{:?}", disks());
    // What was to stay when its member was given up stays under a later template, too.
    vsiflow
        .apply(PoolManifest::of(2).with(DELETES), &wait)
        .exits(0);
    assert!(disks().contains(&("data-web-2".to_owned(), "Retain".to_owned())));
    // The members keep the earlier template.
    vsiflow
        .apply(PoolManifest::of(3).with(DELETES), &wait)
        .exits(0);
    let below = PoolManifest::of(3)
        .with(RETAINS)
        .with("strategy: {partition: 3}");
    vsiflow.apply(below, &wait).exits(0);
    let recorded = disks();
    assert!(
        recorded.iter().all(|(_, policy)| policy == "Delete"),
        "{recorded:?}"
    );
    vsiflow.run(&["delete", "pool/web", "--wait"]).exits(0);
    assert_eq!(names(&vsiflow), "");
    let retained = disks();
    assert_eq!(retained.len(), 3, "{retained:?}");
    assert!(
        retained.iter().all(|(_, policy)| policy == "Retain"),
        "{retained:?}"
    );
    // So does the deletion of one of them by its name.
    vsiflow
        .run(&["delete", "disk/data-web-0", "--wait"])
        .exits(0)
        .says("stays on host");
    let sim = vsiflow.sim();
    let volumes = sim.volumes();
    let made = volumes.iter().filter(|name| name.len() == 36);
    assert_eq!(made.count(), 3, "{volumes:?}");
}
