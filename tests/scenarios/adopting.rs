//! `adopt`: takes domains under management that were forgotten, or that another journal or the earlier
//! operator made.

use serde_json::{Value, json};
use vsiflow_tests::{DiskDocument, SIMULATED_IMAGE, Vsi, Vsiflow};

const UID: &str = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0c0d";
const DISK: &str = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0cdd";

fn documents() -> String {
    let web = Vsi::named("web")
        .uid(UID)
        .choosing_disks()
        .network("default");
    let web = web.with("networkConfig: 'version: 2'");
    format!(
        "{web}{}",
        DiskDocument::named("data")
            .uid(DISK)
            .with("deletionPolicy: Delete")
    )
}

/// A host with a VSI that another vsiflow made, and a new journal that does not know it.
fn made_by_another() -> Vsiflow {
    let (maker, vsiflow) = (Vsiflow::simulated(), Vsiflow::simulated());
    maker.apply(documents(), &[]).exits(0);
    vsiflow
        .apply(DiskDocument::named("unrelated"), &[])
        .exits(0);
    let sim = |of: &Vsiflow| of.state().join("sim").join("host-sim");
    for entry in std::fs::read_dir(sim(&maker)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), sim(&vsiflow).join(entry.file_name())).unwrap();
    }
    vsiflow
}

fn without_mark(vsiflow: &Vsiflow) {
    vsiflow.change_sim(|state| state["domains"][UID]["mark"] = Value::Null);
}

fn plan(vsiflow: &Vsiflow, documents: impl ToString, code: i32) -> Value {
    let path = vsiflow.write("plan.yaml", &documents.to_string());
    let plan = vsiflow.run(&["plan", "-f", path.to_str().unwrap(), "-o", "json"]);
    plan.exits(code).json()
}

fn inventory(vsiflow: &Vsiflow, name: &str) -> Value {
    let all = vsiflow
        .run(&["host", "inventory", "-o", "json"])
        .exits(0)
        .json();
    let items = all["items"].as_array().unwrap().clone();
    let found = items
        .into_iter()
        .find(|item| item["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {all:#}"))["status"].clone()
}

/// The time of the guest's start, which adopting must not change.
fn started(vsiflow: &Vsiflow) -> Value {
    vsiflow.sim().domain("default/web")["live"]["started"].clone()
}

#[test]
fn what_the_operator_before_left_is_adopted_without_a_restart_and_its_documents_change_nothing() {
    let vsiflow = made_by_another();
    without_mark(&vsiflow);
    let boot = format!("images/boot-{UID}.qcow2");
    assert_eq!(inventory(&vsiflow, UID)["owner"], "Foreign");
    assert_eq!(inventory(&vsiflow, &boot)["usedBy"], json!([UID]));
    let before = (
        started(&vsiflow),
        vsiflow.sim().domain("default/web")["spec"].clone(),
    );
    vsiflow
        .run(&["adopt", UID, "--as", "taken", "--reason", "moving over"])
        .exits(0)
        .says("vsi/taken is adopted without changes");
    assert_eq!(vsiflow.phase("taken"), "Running");
    assert_eq!(inventory(&vsiflow, UID)["owner"], "Owned");
    assert_eq!(inventory(&vsiflow, &boot)["belongsTo"], "vsi/taken");
    let managed = format!("domain {UID} is managed already, as vsi/taken");
    vsiflow.run(&["adopt", UID]).exits(0).says(&managed);
    vsiflow.run(&["adopt", UID, "--as", "taken"]).exits(0);
    for other in [["--as", "other"], ["--namespace", "other"]] {
        let ran = vsiflow.run(&[&["adopt", UID], &other[..]].concat());
        ran.exits(4)
            .says("VSI0710")
            .says("it is already managed as vsi/taken and keeps that name");
    }
    vsiflow.run(&["adopt", UID, "--as", "Not a name"]).exits(2);
    vsiflow.run(&["get", "--refresh"]).exits(0);
    let conditions = vsiflow.vsi("taken")["status"]["conditions"].to_string();
    assert!(!conditions.contains("Drift"), "{conditions}");

    let planned = plan(&vsiflow, documents(), 1);
    assert_eq!(planned["items"][0]["action"], "none", "{planned:#}");
    vsiflow.apply(documents(), &[]).exits(0);
    assert_eq!(vsiflow.phase("web"), "Running");
    plan(&vsiflow, documents(), 0);
    let disk = vsiflow
        .run(&["get", "disk", "data", "-o", "json"])
        .exits(0)
        .json();
    assert_eq!(disk["status"]["usedBy"], json!(["web"]), "{disk:#}");
    let sim = vsiflow.sim();
    let after = &sim.domain("default/web")["spec"];
    assert_eq!((&started(&vsiflow), after), (&before.0, &before.1));
    let history = vsiflow.history("web");
    assert!(history.iter().any(|e| e.text("reason") == "moving over"));
    assert!(!history.iter().any(|e| e.step() == "stop_domain"));
}

#[test]
fn an_adopted_vsi_is_changed_and_deleted_like_any_other() {
    let vsiflow = made_by_another();
    without_mark(&vsiflow);
    vsiflow
        .run(&["adopt", "default/web"])
        .exits(0)
        .says("vsi/web is adopted");
    vsiflow.apply(documents(), &[]).exits(0);
    let nics = vsiflow.sim().domain("default/web")["spec"]["nics"].clone();
    let newer = documents().replace("cpus: 1", "cpus: 3");
    vsiflow
        .apply(&newer, &[])
        .exits(0)
        .says("vsi/web is Running");
    let spec = vsiflow.sim().domain("default/web")["spec"].clone();
    assert_eq!(
        (&spec["machine"]["cpus"], &spec["nics"]),
        (&json!(3), &nics)
    );
    let path = vsiflow.write("all.yaml", &newer);
    vsiflow
        .run(&["delete", "-f", path.to_str().unwrap()])
        .exits(0);
    let sim = vsiflow.sim();
    assert!(sim.domains().is_empty());
    let left: Vec<_> = sim
        .volumes()
        .into_iter()
        .filter(|v| v.contains("0a0b0c0d"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_contract_that_differs_from_the_one_that_stands_is_a_change() {
    let vsiflow = made_by_another();
    without_mark(&vsiflow);
    vsiflow.run(&["adopt", UID]).exits(0);
    let other = documents().replace("type: workload", "type: workload\n      more: of it");
    let planned = plan(&vsiflow, other, 1);
    let changes = planned["items"][0]["changes"].clone();
    assert_eq!(
        (&changes[0]["path"], &changes[0]["how"]),
        (&json!("contract"), &json!("rebuild"))
    );
}

#[test]
fn a_domain_of_another_journal_is_taken_only_by_force() {
    let vsiflow = made_by_another();
    assert_eq!(inventory(&vsiflow, UID)["owner"], "OtherJournal");
    vsiflow.run(&["adopt", UID]).exits(4).says("VSI0207");
    vsiflow.run(&["adopt", "nobody"]).exits(3);
    vsiflow.run(&["adopt", UID, "--force"]).exits(0);
    assert_eq!(vsiflow.phase("web"), "Running");
}

#[test]
fn what_was_forgotten_stays_on_its_host_as_an_orphan_and_can_be_adopted_again() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(documents(), &[]).exits(0);
    let volumes = vsiflow.sim().volumes().len();
    vsiflow
        .run(&["delete", "web", "--orphan"])
        .exits(0)
        .says("its host was not touched");
    assert_eq!(vsiflow.sim().domain("default/web")["state"], "Running");
    assert_eq!(vsiflow.sim().volumes().len(), volumes);
    assert_eq!(inventory(&vsiflow, UID)["owner"], "Orphaned");
    let boot = format!("images/boot-{UID}.qcow2");
    assert_eq!(inventory(&vsiflow, &boot)["owner"], "Orphaned");
    vsiflow.run(&["adopt", UID]).exits(0);
    vsiflow.apply(documents(), &[]).exits(0);
    plan(&vsiflow, documents(), 0);
    assert_eq!(inventory(&vsiflow, UID)["owner"], "Owned");
}

#[test]
fn a_domain_with_volumes_of_other_names_is_watched_and_switched_but_never_made_anew() {
    let vsiflow = made_by_another();
    vsiflow.change_sim(|state| {
        let text = state
            .to_string()
            .replace(&format!("boot-{UID}.qcow2"), "disk.img");
        *state = serde_json::from_str(&text).unwrap();
        state["domains"][UID]["mark"] = Value::Null;
    });
    vsiflow.run(&["adopt", UID]).exits(0);
    vsiflow.run(&["stop", "web"]).exits(0).says("is Stopped");
    vsiflow.run(&["start", "web"]).exits(0).says("is Running");
    vsiflow.apply(documents(), &[]).exits(0);
    let more = documents().replace("cpus: 1", "cpus: 3");
    vsiflow.apply(more, &[]).exits(4).says("was adopted");
    vsiflow.run(&["delete", "web"]).exits(0);
    let sim = vsiflow.sim();
    assert!(sim.domains().is_empty());
    assert!(sim.volumes().contains(&"disk.img"), "{:?}", sim.volumes());
}

#[test]
fn defect_20_disks_of_an_adopted_vsi_keep_the_order_in_which_they_stand() {
    let second = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0cde";
    let vsiflow = made_by_another();
    // The disks are in an order that does not follow from their names.
    let both = format!(
        "{}{}",
        documents(),
        DiskDocument::named("a-first").uid(second)
    );
    vsiflow.change_sim(|state| {
        let text = serde_json::to_string(&state["pools"]["images"]["volumes"][DISK]).unwrap();
        let volume = serde_json::from_str(&text).unwrap();
        state["pools"]["images"]["volumes"][second] = volume;
        let domain = &mut state["domains"][UID];
        domain["mark"] = Value::Null;
        for definition in ["spec", "running"] {
            let disks = domain[definition]["disks"].as_array_mut().unwrap();
            let second_text = disks[2].to_string().replace(DISK, second);
            let mut disk: Value = serde_json::from_str(&second_text).unwrap();
            (disk["target"], disk["serial"]) = ("vdd".into(), "second".into());
            disks.push(disk);
        }
    });
    let paths = || {
        let disks = vsiflow.sim().domain("default/web")["spec"]["disks"].clone();
        let disks = disks.as_array().unwrap().iter();
        disks.map(|disk| disk["path"].clone()).collect::<Vec<_>>()
    };
    let standing = paths();
    vsiflow.run(&["adopt", UID]).exits(0);
    vsiflow.apply(&both, &[]).exits(0);
    plan(&vsiflow, &both, 0);
    let newer = both.replace("cpus: 1", "cpus: 3");
    vsiflow.apply(&newer, &[]).exits(0);
    assert_eq!(paths(), standing);
    vsiflow.run(&["restart", "web"]).exits(0);
    assert_eq!(paths(), standing);
}

#[test]
fn a_domain_is_not_adopted_under_the_name_of_another_vsi() {
    let vsiflow = made_by_another();
    without_mark(&vsiflow);
    vsiflow.apply(Vsi::named("web"), &[]).exits(0);
    // The name comes from the domain's title.
    vsiflow
        .run(&["adopt", UID])
        .exits(4)
        .says("VSI0710")
        .says("another VSI is vsi/web")
        .says("--as");
    vsiflow
        .run(&["adopt", UID, "--as", "second"])
        .exits(0)
        .says("vsi/second is adopted");
}

#[test]
fn a_proposed_promise_to_retain_outlives_a_deletion_and_an_adoption() {
    let vsiflow = Vsiflow::simulated();
    let web = || Vsi::named("web").uid(UID).with("updatePolicy: Manual");
    vsiflow.apply(web(), &[]).exits(0);
    let proposed = web().cpus(2).with("deletionPolicy: Retain");
    vsiflow.apply(proposed, &[]);
    vsiflow.run(&["delete", "web", "--yes"]).exits(0);
    vsiflow.run(&["adopt", UID]).exits(0);
    assert_eq!(vsiflow.vsi("web")["spec"]["deletionPolicy"], "Retain");
    let before = vsiflow.sim();
    vsiflow.run(&["delete", "web", "--yes", "--wait"]).exits(0);
    assert_eq!(vsiflow.sim().domains(), before.domains());
    assert_eq!(vsiflow.sim().all_volumes(), before.all_volumes());
}

/// A server `web` with this line in its spec.
fn server(line: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: web, uid: {UID}}}\nspec:\n  \
         imageURL: {SIMULATED_IMAGE}\n  guest: {{type: cloudInit}}\n  {line}\n---\n"
    )
}

fn server_with_disk() -> String {
    let web = server("diskSelector: {matchLabels: {disks: web}}");
    format!(
        "{web}apiVersion: hpse.ibm.com/v1\nkind: HyperProtectContainerRuntimeOnPremDataDisk\n\
         metadata: {{name: data, labels: {{disks: web}}}}\nspec: {{size: 1Gi, deletionPolicy: Delete}}\n---\n"
    )
}

/// A VSI with a data disk, adopted by the journal that has the disk.
fn adopted_again() -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server_with_disk(), &[]).exits(0);
    vsiflow
        .run(&["snapshot", "create", "web", "first", "--wait"])
        .exits(0);
    vsiflow
        .run(&["delete", "web", "--orphan", "--yes"])
        .exits(0);
    vsiflow.run(&["adopt", UID]).exits(0);
    vsiflow
}

#[test]
fn a_data_disk_of_this_journal_is_the_same_disk_after_an_adoption() {
    let vsiflow = adopted_again();
    let before = vsiflow.sim().domain("default/web")["spec"].clone();
    let planned = plan(&vsiflow, server_with_disk(), 0);
    assert_eq!(planned["items"][0]["action"], "none", "{planned:#}");
    vsiflow.apply(server_with_disk(), &[]).exits(0);
    assert_eq!(vsiflow.sim().domain("default/web")["spec"], before);
    plan(&vsiflow, server_with_disk(), 0);
}

#[test]
fn a_snapshot_is_restored_whole_after_an_adoption() {
    let vsiflow = adopted_again();
    vsiflow.run(&["stop", "web", "--wait"]).exits(0);
    vsiflow
        .run(&["snapshot", "restore", "first", "--yes", "--wait"])
        .exits(0)
        .says("loses the content of disk boot")
        .says("loses the content of disk disk/data");
    let history = vsiflow.history("web");
    assert!(history.iter().any(|event| event.step() == "restore_beside"));
}

#[test]
fn a_boot_disk_that_was_adopted_is_not_made_for_one_start_by_the_first_document() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .apply(server("bootDisk: {mode: copy}"), &[])
        .exits(0);
    vsiflow
        .run(&["delete", "web", "--orphan", "--yes"])
        .exits(0);
    vsiflow.run(&["adopt", UID]).exits(0);
    let boot = vsiflow.sim().boot_disk("default/web");
    let ephemeral = || server("bootDisk: {mode: ephemeral}");
    plan(&vsiflow, ephemeral(), 4);
    vsiflow
        .apply(ephemeral(), &[])
        .exits(4)
        .says("apply it with `mode: copy` first");
    // Once the disk is known to last, the change shows what it destroys.
    vsiflow
        .apply(server("bootDisk: {mode: copy}"), &[])
        .exits(0);
    vsiflow.run(&["restart", "web", "--wait"]).exits(0);
    assert_eq!(vsiflow.sim().boot_disk("default/web"), boot);
    let planned = plan(&vsiflow, ephemeral(), 1);
    assert!(planned.to_string().contains("rebuil"), "{planned:#}");
}

/// A cloud-init guest that was forgotten and adopted, without a document.
fn adopted_cloud_init_guest() -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server(""), &[]).exits(0);
    vsiflow
        .run(&["delete", "web", "--orphan", "--yes"])
        .exits(0);
    vsiflow.run(&["adopt", UID]).exits(0);
    vsiflow
}

#[test]
fn the_guest_of_an_adopted_vsi_is_of_the_type_that_its_volume_shows() {
    let vsiflow = adopted_cloud_init_guest();
    // A Hyper Protect guest would have to say that its boot succeeded.
    vsiflow.run(&["restart", "web", "--wait"]).exits(0);
    // The memory of a Hyper Protect guest could not be saved.
    vsiflow
        .run(&["snapshot", "create", "web", "first", "--wait"])
        .exits(0);
    vsiflow
        .run(&["snapshot", "restore", "first", "--yes", "--wait"])
        .exits(0);
    let planned = plan(&vsiflow, server(""), 0);
    assert_eq!(planned["items"][0]["action"], "none", "{planned:#}");

    let other = Vsiflow::simulated();
    let plain = server("").replace("{type: cloudInit}", "{type: none}");
    other.apply(plain, &[]).exits(0);
    other.run(&["delete", "web", "--orphan", "--yes"]).exits(0);
    other.run(&["adopt", UID]).exits(0);
    other.run(&["restart", "web", "--wait"]).exits(0);
}

#[test]
fn an_adopted_vsi_is_rebuilt_only_once_a_document_says_from_which_image() {
    let vsiflow = adopted_cloud_init_guest();
    let boot = vsiflow.sim().boot_disk("default/web");
    vsiflow
        .run(&["rebuild", "web"])
        .exits(4)
        .says("VSI0701")
        .says("apply its document");
    // Nothing was ordered that the document would carry out.
    vsiflow.apply(server(""), &[]).exits(0);
    assert_eq!(vsiflow.sim().boot_disk("default/web"), boot);
    vsiflow.run(&["rebuild", "web", "--wait"]).exits(0);
    assert_ne!(vsiflow.sim().boot_disk("default/web"), boot);
}
