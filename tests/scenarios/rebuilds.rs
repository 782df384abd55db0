//! A new boot disk is made beside the present one, which the guest has until it is replaced.

use serde_json::Value;
use vsiflow_tests::{SIMULATED_IMAGE, Vsiflow};

/// A server whose boot disk is a full copy of its image.
fn server() -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: web}}\nspec:\n  \
         imageURL: {SIMULATED_IMAGE}\n  guest: {{type: cloudInit}}\n  bootDisk: {{mode: copy}}\n  \
         ready: {{within: 1m, all: [{{tcp: 22}}]}}\n"
    )
}

/// A server that runs, in a pool that has no room for a second boot disk.
fn without_room() -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server(), &[]).exits(0);
    vsiflow.change_sim(|sim| {
        let pool = &mut sim["pools"]["images"];
        pool["capacity"] = 1.into();
    });
    vsiflow
}

/// The length of a volume's content in bytes, at least.
fn length(content: &Value) -> u64 {
    match (&content["Stored"]["len"], &content["Inline"]) {
        (Value::Number(length), _) => length.as_u64().unwrap(),
        (_, Value::String(base64)) => base64.len() as u64,
        _ => panic!("{content}"),
    }
}

fn boots(vsiflow: &Vsiflow) -> usize {
    let sim = vsiflow.sim();
    let volumes = sim.volumes();
    let boots = volumes.iter().filter(|name| name.starts_with("boot-"));
    boots.count()
}

#[test]
fn a_rebuild_without_room_for_both_leaves_the_guest_as_it_is() {
    let vsiflow = without_room();
    let before = vsiflow.sim().domain("default/web").clone();
    vsiflow
        .run(&["rebuild", "web", "--yes", "--timeout", "5s"])
        .exits(4)
        .says("--in-place");
    let now = vsiflow.sim().domain("default/web").clone();
    assert_eq!(now["spec"]["disks"], before["spec"]["disks"]);
    assert_eq!(now["state"], before["state"], "the guest runs on");
    vsiflow.run(&["cancel", "web"]).exits(0);
    vsiflow.run(&["restart", "web"]).exits(0);
    let restarted = vsiflow.sim().domain("default/web").clone();
    assert_eq!(restarted["spec"]["disks"], before["spec"]["disks"]);
    assert_eq!(boots(&vsiflow), 1);
}

#[test]
fn a_plan_shows_the_room_for_a_new_boot_disk_and_says_in_place_without_room_for_both() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(server(), &[]).exits(0);
    let larger = server().replace("{mode: copy}", "{mode: copy, size: 20Gi}");
    let path = vsiflow.write("larger.yaml", &larger);
    let plan = |arguments: &[&str]| {
        let command = [&["plan", "-f", path.to_str().unwrap()], arguments].concat();
        vsiflow.run(&command).exits(1)
    };
    let needs = || plan(&["-o", "json"]).json()["items"][0]["needs"][0].clone();
    let there = needs();
    assert_eq!(there["place"], "beside", "{there}");
    assert_eq!(there["pool"], "images");
    let (bytes, free) = (there["bytes"].as_u64(), there["free"].as_u64());
    assert!(Some(0) < bytes && bytes < free, "{there}");
    vsiflow.change_sim(|sim| sim["pools"]["images"]["capacity"] = 1.into());
    let without_room = needs();
    assert_eq!(without_room["place"], "in-place", "{without_room}");
    assert_eq!(without_room["free"], 0);
    plan(&[])
        .says("0 free; in place")
        .says("vsiflow rebuild web --in-place");
    // Nothing is known of a pool that is off.
    vsiflow.change_sim(|sim| sim["pools"]["images"]["active"] = false.into());
    let unknown = needs();
    assert_eq!(
        (&unknown["bytes"], &unknown["free"]),
        (&Value::Null, &Value::Null)
    );
    plan(&[]).says("unknown needed, unknown free");
}

#[test]
fn a_rebuild_in_place_needs_room_for_one_boot_disk_alone() {
    let vsiflow = without_room();
    let name = vsiflow.sim().boot_disk("default/web");
    let clones = || {
        let steps = vsiflow.history("web").into_iter();
        steps
            .filter(|line| line.0.to_string().contains("clone_boot_disk"))
            .count()
    };
    let before = clones();
    vsiflow.change_sim(|sim| {
        let pool = &mut sim["pools"]["images"];
        let volumes = pool["volumes"].as_object().unwrap().values();
        let used: u64 = volumes.map(|volume| length(&volume["content"])).sum();
        // The guest logs a little before it is off.
        let boot_disk = length(&pool["volumes"][&name]["content"]);
        pool["capacity"] = (used + boot_disk / 2).into();
    });
    vsiflow
        .run(&["rebuild", "web", "--yes", "--in-place"])
        .exits(0)
        .says("Running");
    assert_eq!(vsiflow.sim().boot_disk("default/web"), name);
    assert!(clones() > before);
    let history = vsiflow.run(&["history", "web", "--events"]).exits(0);
    assert!(history.stdout.contains("rebuild_in_place"), "{history:#?}");
    assert!(history.stdout.contains("undefine_domain"), "{history:#?}");
    vsiflow.run(&["replay", "--verify"]).exits(0);
}

#[test]
fn a_rebuild_after_a_cancelled_one_leaves_one_boot_disk() {
    let vsiflow = without_room();
    vsiflow
        .run(&["rebuild", "web", "--yes", "--timeout", "5s"])
        .exits(4);
    vsiflow.run(&["cancel", "web"]).exits(0);
    vsiflow.change_sim(|sim| sim["pools"]["images"]["capacity"] = (1_u64 << 40).into());
    let before = vsiflow.sim().boot_disk("default/web");
    for _ in 0..2 {
        vsiflow.run(&["rebuild", "web", "--yes"]).exits(0);
        assert_eq!(boots(&vsiflow), 1);
    }
    assert_ne!(vsiflow.sim().boot_disk("default/web"), before);
    vsiflow.run(&["delete", "vsi/web", "--yes"]).exits(0);
    assert_eq!(boots(&vsiflow), 0);
}
