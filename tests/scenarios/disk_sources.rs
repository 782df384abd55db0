//! Data disks that are filled when they are made, on the simulated host.

use serde_json::Value;
use std::process::Command;

use vsiflow_tests::{DiskDocument, Vsi, Vsiflow};

const DATA: &str = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0d01";
const COPY: &str = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0d02";
const IMAGE: &str = "source: {imageURL: http://images.test/debian-data.qcow2}";

fn filled() -> DiskDocument {
    DiskDocument::named("data")
        .uid(DATA)
        .size("4Gi")
        .with(IMAGE)
}

fn copy(source: &str) -> DiskDocument {
    let copy = DiskDocument::named("copy")
        .uid(COPY)
        .of_vsi("db")
        .size("6Gi");
    copy.with(source).with("deletionPolicy: Delete")
}

fn disk(vsiflow: &Vsiflow, name: &str) -> Value {
    vsiflow
        .run(&["get", "disk", name, "-o", "json"])
        .exits(0)
        .json()
}

fn beside(uid: &str) -> String {
    format!(".{uid}.vsiflow")
}

/// All volumes, hidden ones included.
fn marks(vsiflow: &Vsiflow) -> Vec<String> {
    let sim = vsiflow.sim();
    let volumes = sim.all_volumes();
    volumes.into_iter().map(str::to_owned).collect()
}

fn volumes(vsiflow: &Vsiflow) -> Vec<String> {
    let sim = vsiflow.sim();
    let volumes = sim.volumes();
    volumes.into_iter().map(str::to_owned).collect()
}

#[test]
fn a_data_disk_is_filled_from_an_image_once() {
    let vsiflow = Vsiflow::simulated();
    let documents = format!("{}{}", Vsi::named("web").choosing_disks(), filled());
    vsiflow.apply(&documents, &[]).exits(0);
    let object = disk(&vsiflow, "data");
    assert_eq!(object["status"]["phase"], "Ready");
    let source = &object["spec"]["source"];
    assert_eq!(source["imageURL"], "http://images.test/debian-data.qcow2");
    let sim = vsiflow.sim();
    assert_eq!(
        sim.volume(DATA)["capacity"],
        4_u64 << 30,
        "grown to its size"
    );
    let content = sim.volume(DATA)["content"].clone();
    assert_eq!(content, sim.volume("debian-data.qcow2")["content"]);
    assert!(marks(&vsiflow).contains(&beside(DATA)));
    let history = vsiflow.run(&["history", "disk/data"]).exits(0);
    history.says("check_source").says("fill_from_image");
    let inventory = vsiflow.run(&["host", "inventory", "-o", "json"]).exits(0);
    let listed = inventory.json();
    let mut items = listed["items"].as_array().unwrap().iter();
    let name = format!("images/{}", beside(DATA));
    let mark = items.find(|item| item["metadata"]["name"] == name.as_str());
    assert_eq!(mark.unwrap()["status"]["owner"], "Owned");

    // The guest has written to the disk: no command may discard that.
    vsiflow.change_sim(|stored| {
        let volumes = &mut stored["pools"]["images"]["volumes"];
        volumes[DATA]["content"] = serde_json::json!({"Inline": "d3JpdHRlbiBsYXRlcg=="});
    });
    let later = vsiflow.sim().volume(DATA)["content"].clone();
    let grown = documents.replace("size: 4Gi", "size: 8Gi");
    vsiflow.apply(&grown, &[]).exits(0);
    let other = grown.replace("debian-data", "debian-other");
    vsiflow.apply(&other, &[]).exits(0);
    vsiflow.run(&["retry", "--all"]).exits(0);
    assert_eq!(vsiflow.sim().volume(DATA)["content"], later);
    assert!(
        !volumes(&vsiflow)
            .iter()
            .any(|volume| volume.contains("debian-other"))
    );

    // The filled disk does not need its image any more.
    vsiflow
        .run(&["image", "prune"])
        .exits(0)
        .says("debian-data.qcow2");
    vsiflow.run(&["delete", "web", "--wait"]).exits(0);
    let goes = other.replace(
        "spec:\n  size: 8Gi",
        "spec:\n  deletionPolicy: Delete\n  size: 8Gi",
    );
    let disk_alone = goes.split_once("---").unwrap().1;
    vsiflow.apply(disk_alone, &[]).exits(0);
    vsiflow.run(&["delete", "disk/data", "--wait"]).exits(0);
    let left = marks(&vsiflow);
    assert!(!left.iter().any(|volume| volume.contains(DATA)), "{left:?}");
    vsiflow.run(&["replay", "--verify"]).exits(0);
}

#[test]
fn a_disk_that_is_too_small_for_its_image_is_refused_before_anything_is_made() {
    let vsiflow = Vsiflow::simulated();
    let small = filled().size("1Gi");
    vsiflow
        .apply(&small, &[])
        .exits(4)
        .says("VSI0227")
        .says("2Gi or more");
    assert_eq!(volumes(&vsiflow), Vec::<String>::new());
    vsiflow.apply(filled(), &[]).exits(0);
    assert_eq!(disk(&vsiflow, "data")["status"]["phase"], "Ready");
}

#[test]
fn a_wrong_image_is_corrected() {
    let vsiflow = Vsiflow::simulated();
    let wrong = filled()
        .to_string()
        .replace("debian-data", "debian-missing");
    vsiflow
        .apply(&wrong, &["--timeout", "3s"])
        .exits(4)
        .says("VSI0302");
    let sum = format!("imageChecksum: \"sha256:{}\"", "a".repeat(64));
    let other = filled()
        .to_string()
        .replace("qcow2}", &format!("qcow2, {sum}}}"));
    vsiflow.apply(&other, &[]).exits(4).says("VSI0305");
    vsiflow.apply(filled(), &[]).exits(0);
    assert_eq!(disk(&vsiflow, "data")["status"]["phase"], "Ready");
}

#[test]
fn a_data_disk_is_a_copy_of_a_snapshots_disk() {
    let vsiflow = Vsiflow::simulated();
    let web = format!("{}{}", Vsi::named("web").choosing_disks(), filled());
    vsiflow.apply(&web, &[]).exits(0);
    let source = "source: {snapshot: {name: first, disk: data}}";
    let early = vsiflow.apply(copy(source), &[]).exits(4);
    early.says("VSI0226").says("there is no snapshot first");
    vsiflow.run(&["stop", "web"]).exits(0);
    vsiflow
        .run(&["snapshot", "create", "web", "first"])
        .exits(0);
    let wrong = copy("source: {snapshot: {name: first, disk: other}}");
    vsiflow.apply(wrong, &[]).exits(4).says("boot, disk/data");
    vsiflow.apply(copy(source), &[]).exits(0);
    let sim = vsiflow.sim();
    assert_eq!(sim.volume(COPY)["content"], sim.volume(DATA)["content"]);
    assert_eq!(sim.volume(COPY)["capacity"], 6_u64 << 30);
    // The copy does not need its snapshot.
    vsiflow.run(&["snapshot", "delete", "first"]).exits(0);
    vsiflow.apply(copy(source), &[]).exits(0).says("unchanged");
    vsiflow.run(&["delete", "disk/copy", "--wait"]).exits(0);
    assert!(!volumes(&vsiflow).iter().any(|name| name.contains(COPY)));
}

#[test]
fn a_data_disk_is_a_copy_of_another_that_nobody_writes_to() {
    let vsiflow = Vsiflow::simulated();
    let web = format!("{}{}", Vsi::named("web").choosing_disks(), filled());
    vsiflow.apply(&web, &[]).exits(0);
    let source = "source: {disk: data}";
    let busy = vsiflow.apply(copy(source), &["--timeout", "3s"]).exits(4);
    busy.says("VSI0228").says("VSI default/web");
    assert!(!volumes(&vsiflow).iter().any(|name| name.contains(COPY)));
    vsiflow
        .run(&["cancel", "disk/copy"])
        .exits(0)
        .says("disk/copy cancelled")
        .says("vsiflow retry disk/copy");
    vsiflow
        .run(&["cancel", "quota/copy"])
        .exits(2)
        .says("VSI0801")
        .says("disk/NAME");
    vsiflow.run(&["stop", "web"]).exits(0);
    vsiflow.run(&["retry", "disk/copy"]).exits(0);
    vsiflow.apply(copy(source), &[]).exits(0);
    let sim = vsiflow.sim();
    assert_eq!(sim.volume(COPY)["content"], sim.volume(DATA)["content"]);
}

#[test]
fn a_disk_and_its_copy_come_with_one_apply() {
    let vsiflow = Vsiflow::simulated();
    let both = format!("{}{}", copy("source: {disk: data}"), filled());
    vsiflow.apply(both, &[]).exits(0);
    let sim = vsiflow.sim();
    assert_eq!(sim.volume(COPY)["content"], sim.volume(DATA)["content"]);
    let circle = DiskDocument::named("a")
        .with("source: {disk: b}")
        .to_string();
    let circle = circle
        + &DiskDocument::named("b")
            .with("source: {disk: a}")
            .to_string();
    vsiflow.apply(circle, &[]).exits(4).says("a copy of itself");
}

#[test]
fn what_is_another_namespaces_is_not_copied() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(filled(), &[]).exits(0);
    let source = copy("source: {disk: data}").to_string();
    let elsewhere = source.replace("name: copy", "name: copy\n  namespace: other");
    vsiflow.apply(elsewhere, &[]).exits(4).says("VSI0226");
    let named = copy("source: {disk: default/data}");
    vsiflow.apply(named, &[]).exits(2);
    let by_uid = format!("source: {{disk: {DATA}}}");
    let by_uid = copy(&by_uid).to_string();
    let by_uid = by_uid.replace("name: copy", "name: copy\n  namespace: other");
    vsiflow.apply(by_uid, &[]).exits(4).says("VSI0226");
}

#[test]
fn a_secret_in_a_sources_url_is_refused_and_not_shown() {
    let vsiflow = Vsiflow::simulated();
    let with =
        |url: &str| DiskDocument::named("data").with(&format!("source: {{imageURL: \"{url}\"}}"));
    for url in [
        "https://me:hunter2@images.test/d.qcow2",
        "https://images.test/d.qcow2?sig=hunter2",
    ] {
        let refused = vsiflow.apply(with(url), &[]).exits(2).says("IMAGE_SERVER");
        assert!(!format!("{refused:?}").contains("hunter2"), "{refused:?}");
    }
    let formatted = DiskDocument::named("data").with("source: {blank: true, format: ext4}");
    vsiflow.apply(formatted, &[]).exits(2).says("fs_setup");
}

#[test]
fn a_disk_is_exported_while_nobody_has_it_and_imported_again() {
    let vsiflow = Vsiflow::simulated();
    let web = format!("{}{}", Vsi::named("web").choosing_disks(), filled());
    vsiflow.apply(&web, &[]).exits(0);
    let file = vsiflow.folder().join("out.qcow2");
    let name = file.to_str().unwrap();
    let busy = vsiflow.run(&["disk", "export", "data", name]).exits(4);
    busy.says("VSI0228").says("default/web");
    assert!(!file.exists() && !vsiflow.folder().join("out.qcow2.part").exists());
    vsiflow.run(&["stop", "web"]).exits(0);
    let refusal = vsiflow
        .run(&["disk", "export", "data", name])
        .exits(0)
        .says("sha256:");
    let digits = refusal.stdout.split("sha256:").nth(1).unwrap();
    let digits = digits.trim().trim_end_matches(')').to_owned();
    let beside = std::fs::read_to_string(vsiflow.folder().join("out.qcow2.sha256")).unwrap();
    assert_eq!(beside, format!("{digits}  out.qcow2\n"));
    vsiflow
        .run(&["disk", "export", "data", name])
        .exits(1)
        .says("VSI0314");
    vsiflow
        .run(&["disk", "export", "nothing", "other"])
        .exits(3)
        .says("VSI0703");

    let sum = format!("sha256:{digits}");
    let words = [
        "disk",
        "import",
        "twin",
        name,
        "--checksum",
        &sum,
        "--label",
        "a=b",
    ];
    vsiflow
        .run(&[&words[..], &["--size", "4Ki"]].concat())
        .exits(2)
        .says("VSI0810");
    let pipe = vsiflow.folder().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    vsiflow
        .run(&["disk", "import", "twin", pipe.to_str().unwrap()])
        .exits(1)
        .says("this is no regular file");
    vsiflow.run(&words).exits(0).says("disk/twin created");
    let twin = disk(&vsiflow, "twin");
    assert_eq!(twin["metadata"]["labels"]["a"], "b");
    let again = ["disk", "export", "twin", "twin.qcow2"];
    vsiflow.run(&again).exits(0).says(&digits);

    vsiflow
        .run(&["snapshot", "create", "web", "first"])
        .exits(0);
    vsiflow.run(&["start", "web"]).exits(0);
    let of_snapshot = ["disk", "export", "snapshot/first/data", "second.qcow2"];
    vsiflow.run(&of_snapshot).exits(0).says(&digits);
}
