//! A lost blob, or a record that cannot be decoded, in a fleet of healthy VSIs: commands on the
//! others work, and nothing is deleted that it may refer to.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use vsiflow_engine::{
    journal::{Append, ChainedJournal as _, Journal as _},
    model::{Actor, EntityId, Event, EventKind, Name, StreamId, Text, Timestamp},
    state_dir::StateDir,
};
use vsiflow_tests::{DiskDocument, Vsi, Vsiflow};

/// A VSI whose desired state does not fit into an event, so it is stored as a blob.
fn heavy() -> Vsi {
    let padding = "x".repeat(4_000);
    Vsi::named("heavy").with(&format!("networkConfig: 'version: 2 # {padding}'"))
}

/// Three VSIs and two data disks, with an intact state.
fn fleet() -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    let disks = ["kept", "spare"].map(|name| {
        let disk = DiskDocument::named(name).with("deletionPolicy: Delete");
        disk.to_string()
    });
    let vsis = ["one", "two"].map(|name| Vsi::named(name).to_string());
    let all = [&vsis[..], &[heavy().to_string()], &disks[..]].concat();
    let applied = vsiflow.apply(all.join("---\n"), &["--wait"]);
    applied.exits(0);
    vsiflow
}

/// The blob with the desired state of a VSI.
fn desired_blob(vsiflow: &Vsiflow, name: &str) -> PathBuf {
    let files = fs::read_dir(vsiflow.state().join("blobs")).unwrap();
    let mut files = files.map(|file| file.unwrap().path());
    let found = files.find(|path| {
        let content: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap_or_default();
        content["vsi"]["name"] == name
    });
    found.expect("the desired state is in a blob")
}

/// Appends a record to a VSI's stream with a valid checksum that no version can decode.
fn plant_undecodable(vsiflow: &Vsiflow, name: &str) {
    let uid = vsiflow.vsi(name)["metadata"]["uid"].clone();
    let entity = EntityId::new(Name::of("vsi"), uid.as_str().unwrap()).unwrap();
    plant_in(vsiflow, entity);
}

/// The only entity of a kind.
fn entity_of(vsiflow: &Vsiflow, kind: &str) -> EntityId {
    let copy = vsiflow.copy_state(&format!("copy-of-{kind}"));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let streams = runtime.block_on(async {
        let journal = StateDir::open(copy).unwrap().journal().await.unwrap();
        let streams = journal.streams().await.unwrap();
        journal.close().await;
        streams
    });
    let mut entities = streams.into_iter().filter_map(|head| match head.stream {
        StreamId::Entity(entity) if entity.kind().as_str() == kind => Some(entity),
        _ => None,
    });
    let entity = entities.next().expect("there is one");
    assert_eq!(entities.next(), None, "and no other");
    entity
}

/// Appends a record to an entity's stream with a valid checksum that no version can decode.
fn plant_in(vsiflow: &Vsiflow, entity: EntityId) {
    let copy = vsiflow.copy_state(&format!("copy-{}", entity.kind()));
    let stream = StreamId::Entity(entity);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut bytes = runtime.block_on(next_record(&copy, &stream));
    bytes.push(0);
    let sum = crc32c::crc32c(&bytes[4..]).to_be_bytes();
    bytes[..4].copy_from_slice(&sum);
    runtime.block_on(async {
        let state = StateDir::open(vsiflow.state()).unwrap();
        let journal = state.journal().await.unwrap();
        journal.restore(vec![bytes]).await.unwrap();
        journal.close().await;
    });
}

/// The bytes of a stream's next record, found by appending it to a copy.
async fn next_record(copy: &Path, stream: &StreamId) -> Vec<u8> {
    let state = StateDir::open(copy).unwrap();
    let journal = state.journal().await.unwrap();
    let heads = journal.streams().await.unwrap();
    let head = heads.into_iter().find(|head| head.stream == *stream);
    let event = Event {
        at: Timestamp(1),
        actor: Actor::Engine,
        reason: Text::default(),
        kind: EventKind::RetryRequested,
    };
    let append = Append {
        stream: stream.clone(),
        expected_seq: head.unwrap().next_seq,
        events: vec![event],
    };
    let written = journal.append(vec![append]).await.unwrap();
    let stored = journal.read_stored(written[0].offset, 1).await.unwrap();
    journal.close().await;
    stored[0].bytes.clone()
}

/// Runs every command on the readable objects.
fn readable_ones_work(vsiflow: &Vsiflow) {
    let works = |arguments: &[&str]| vsiflow.run(arguments).exits(0);
    for kind in ["vsi", "disk", "image", "network", "host", "run"] {
        works(&["get", kind]);
        works(&["get", kind, "-o", "json"]);
    }
    works(&["describe", "one"]);
    works(&["history", "one"]).says("start_domain");
    works(&["logs", "one"]);
    works(&["stop", "one", "--wait"]);
    assert_eq!(vsiflow.phase("one"), "Stopped");
    works(&["start", "one", "--wait"]);
    works(&["restart", "two", "--wait"]);
    works(&["retry", "one"]);
    works(&["retry", "--all"]);
    works(&["resume", "--all"]);
    let changed = Vsi::named("one").memory("1Gi");
    vsiflow.apply(changed, &["--wait"]).exits(0);
    vsiflow.apply(Vsi::named("new"), &["--wait"]).exits(0);
    let path = vsiflow.write("two.yaml", &Vsi::named("two").to_string());
    works(&["plan", "-f", path.to_str().unwrap()]);
    works(&["host", "cordon", "sim"]);
    works(&["host", "uncordon", "sim"]);
    works(&["host", "drain", "sim", "--stop"]).says("it may run there still");
    works(&["host", "uncordon", "sim", "--start"]);
    vsiflow.until_phase("one", "Running", 60);
    works(&["pause", "--all"]);
    works(&["unpause", "--all"]);
    works(&["image", "list"]);
    works(&["audit", "head"]);
    works(&["audit", "export", "all.jsonl"]);
    fs::remove_file(vsiflow.folder().join("all.jsonl")).unwrap();
    works(&["compact", "--older-than", "0s"]);
    works(&["delete", "new", "--wait"]);
    works(&["delete", "two", "--orphan", "--wait"]);
}

/// Asserts that commands that might delete what the unreadable record needs are refused.
fn nothing_is_deleted(vsiflow: &Vsiflow) {
    let refused = |arguments: &[&str]| vsiflow.run(arguments).exits(4).says("VSI0019");
    refused(&["image", "prune"]);
    refused(&["image", "prune", "--dry-run"]);
    refused(&["delete", "disk/spare"]);
    assert!(
        vsiflow
            .run(&["get", "disk"])
            .exits(0)
            .stdout
            .contains("spare")
    );
}

#[track_caller]
fn is_shown_as_unreadable(vsiflow: &Vsiflow, name: &str) {
    let shown = vsiflow.run(&["get"]).exits(0);
    shown.says("Unreadable");
    let object = vsiflow.vsi(name);
    let status = &object["status"];
    assert_eq!(
        (&status["phase"], &status["status"]),
        (&"Unreadable".into(), &2.into())
    );
    assert_eq!(status["conditions"][0]["reason"], "VSI0018", "{status}");
    let text = status["description"].as_str().unwrap();
    assert!(text.contains("restore a backup"), "{text}");
    for command in [
        &["stop", name][..],
        &["delete", name],
        &["delete", name, "--orphan"],
    ] {
        vsiflow.run(command).exits(4).says("VSI0018");
    }
}

/// A secret that no record refers to.
fn unused_secret(vsiflow: &Vsiflow) -> PathBuf {
    let secrets = vsiflow.state().join("secrets");
    let one = fs::read_dir(&secrets).unwrap().next().unwrap().unwrap();
    let name = one.file_name().into_string().unwrap();
    // As long as a real one.
    let (front, last) = name.split_at(name.len() - 1);
    let unused = secrets.join(format!("{front}{}", if last == "0" { "1" } else { "0" }));
    fs::copy(one.path(), &unused).unwrap();
    unused
}

#[test]
fn a_lost_blob_concerns_its_own_vsi_alone() {
    let vsiflow = fleet();
    let blob = desired_blob(&vsiflow, "heavy");
    let moved = vsiflow.folder().join("blob");
    fs::rename(&blob, &moved).unwrap();
    let unused = unused_secret(&vsiflow);

    is_shown_as_unreadable(&vsiflow, "heavy");
    vsiflow.apply(heavy(), &[]).exits(4).says("VSI0018");
    nothing_is_deleted(&vsiflow);
    readable_ones_work(&vsiflow);
    let backup = vsiflow.run(&["backup", "kept.backup"]).exits(0);
    backup.says("lacks").says("payload");
    vsiflow.run(&["audit", "verify"]).exits(1).says("VSI0902");
    assert!(unused.exists(), "a secret was erased that may be needed");
    is_shown_as_unreadable(&vsiflow, "heavy");

    // Once it is back, all is as before.
    fs::rename(&moved, &blob).unwrap();
    assert_eq!(vsiflow.phase("heavy"), "Running");
    vsiflow.run(&["stop", "heavy", "--wait"]).exits(0);
    vsiflow.run(&["image", "prune"]).exits(0);
    vsiflow.run(&["delete", "disk/spare", "--wait"]).exits(0);
    assert!(!unused.exists(), "an unused secret still exists");
    vsiflow.run(&["replay", "--verify"]).exits(0);
}

#[test]
fn a_record_that_nobody_can_decode_concerns_its_own_vsi_alone() {
    let vsiflow = fleet();
    plant_undecodable(&vsiflow, "heavy");
    let unused = unused_secret(&vsiflow);

    is_shown_as_unreadable(&vsiflow, "heavy");
    vsiflow
        .apply(heavy().memory("1Gi"), &[])
        .exits(4)
        .says("VSI0018");
    nothing_is_deleted(&vsiflow);
    readable_ones_work(&vsiflow);
    let backup = vsiflow.run(&["backup", "kept.backup"]).exits(0);
    backup.says("lacks").says("cannot be decoded");
    assert!(unused.exists(), "a secret was erased that may be needed");
    // Even if the index was written since, the VSI is not forgotten.
    is_shown_as_unreadable(&vsiflow, "heavy");
    nothing_is_deleted(&vsiflow);
}

#[test]
fn a_lost_blob_of_what_a_step_left_is_told_of_its_vsi() {
    let vsiflow = fleet();
    let lost = desired_blob(&vsiflow, "heavy");
    let blobs = fs::read_dir(vsiflow.state().join("blobs")).unwrap();
    let others = blobs.map(|blob| blob.unwrap().path());
    let others: Vec<_> = others.filter(|path| *path != lost).collect();
    assert!(!others.is_empty(), "a step's parameters are in a blob");
    others
        .iter()
        .for_each(|path| fs::remove_file(path).unwrap());

    is_shown_as_unreadable(&vsiflow, "heavy");
    assert_eq!(vsiflow.phase("one"), "Running");
    nothing_is_deleted(&vsiflow);
    vsiflow.run(&["stop", "one", "--wait"]).exits(0);
}

/// The UID of the unreadable VSI, whose name is unknown.
fn unreadable_uid(vsiflow: &Vsiflow) -> Option<String> {
    let all = vsiflow.run(&["get", "-A", "-o", "json"]).exits(0);
    let all: Value = serde_json::from_str(&all.stdout).unwrap();
    let mut items = all["items"].as_array().unwrap().iter();
    let found = items.find(|item| item["status"]["phase"] == "Unreadable");
    found.map(|item| item["metadata"]["uid"].as_str().unwrap().to_owned())
}

#[test]
fn one_that_is_lost_for_good_with_its_name_is_let_go_by_its_uid() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("one"), &["--wait"]).exits(0);
    vsiflow.run(&["pause", "--all"]).exits(0);
    vsiflow.apply(heavy(), &[]).exits(4).says("VSI0016");
    let blob = desired_blob(&vsiflow, "heavy");
    let moved = vsiflow.folder().join("blob");
    fs::rename(&blob, &moved).unwrap();
    vsiflow.run(&["unpause", "--all"]).exits(0);

    // The unreadable VSI may have this name.
    let uid = unreadable_uid(&vsiflow).expect("it is listed");
    let refused = vsiflow.apply(Vsi::named("new"), &["--wait"]).exits(4);
    refused
        .says("VSI0018")
        .says(&format!("delete {uid} --orphan"));
    vsiflow.run(&["delete", &uid]).exits(4).says("VSI0018");
    vsiflow.run(&["image", "prune"]).exits(4).says("VSI0019");

    let reason = ["delete", &uid, "--orphan", "--reason", "no backup has it"];
    vsiflow.run(&reason).exits(0).says("is forgotten");
    assert_eq!(unreadable_uid(&vsiflow), None);
    vsiflow.apply(Vsi::named("new"), &["--wait"]).exits(0);
    vsiflow.run(&["image", "prune"]).exits(0);
    vsiflow.run(&["delete", &uid, "--orphan"]).exits(3);
    let text = vsiflow.run(&["events", "-o", "json"]).exits(0);
    assert!(
        text.stdout.contains("no backup has it"),
        "who did it, and why"
    );
    vsiflow.run(&["audit", "verify"]).exits(1).says("VSI0902");

    // The VSI that is readable again was never deleted.
    fs::rename(&moved, &blob).unwrap();
    assert_eq!(vsiflow.vsi("heavy")["metadata"]["uid"], uid.as_str());
}

/// A pool, a group, a snapshot and a network that vsiflow makes. The desired states of the first two are blobs.
fn fleet_of_all_kinds() -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    let image = vsiflow_tests::SIMULATED_IMAGE;
    let padding = "x".repeat(4_000);
    let guest = format!(
        "{{type: cloudInit, userData: \"#cloud-config\\n{{}}\\n\", \
         networkConfig: 'version: 2 # {padding}'}}"
    );
    let template = format!(
        "{{spec: {{imageURL: '{image}', guest: {guest}, machine: {{cpus: 1, memory: 512Mi}}}}}}"
    );
    let head = "apiVersion: vsiflow.io/v1\nkind: VirtualServer";
    let documents = [
        format!(
            "{head}Pool\nmetadata: {{name: web}}\nspec: {{replicas: 1, template: {template}}}\n"
        ),
        format!(
            "{head}Group\nmetadata: {{name: ocp}}\nspec: {{waves: [{{name: all, members: \
             [{{name: node, template: {template}}}]}}]}}\n"
        ),
        format!("{head}Network\nmetadata: {{name: lan}}\nspec: {{cidr: 10.7.0.0/24}}\n"),
        Vsi::named("one")
            .with("interfaces: [{network: lan}]")
            .to_string(),
    ];
    vsiflow.apply(documents.join("---\n"), &["--wait"]).exits(0);
    // Its memory is protected, so it is copied while it is off.
    vsiflow.run(&["stop", "one", "--wait"]).exits(0);
    vsiflow
        .run(&["snapshot", "create", "one", "before"])
        .exits(0);
    vsiflow
}

/// The blobs with the desired states of an object, one for each generation.
fn blobs_of(vsiflow: &Vsiflow, is_meant: impl Fn(&Value) -> bool) -> Vec<PathBuf> {
    let files = fs::read_dir(vsiflow.state().join("blobs")).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let blobs = files.filter(|path| {
        let content = serde_json::from_slice(&fs::read(path).unwrap()).unwrap_or_default();
        is_meant(&content)
    });
    let blobs: Vec<_> = blobs.collect();
    assert!(!blobs.is_empty(), "the desired state is in a blob");
    blobs
}

#[track_caller]
fn lists_as_unreadable(vsiflow: &Vsiflow, kind: &str, name: &str) {
    let listed = vsiflow
        .run(&["get", kind, "-A", "-o", "json"])
        .exits(0)
        .json();
    let items = listed["items"].as_array().unwrap();
    let phase = |item: &Value| {
        item["status"]["phase"]
            .as_str()
            .or(item["phase"].as_str())
            .map(str::to_owned)
    };
    let unreadable = items
        .iter()
        .filter(|item| phase(item).as_deref() == Some("Unreadable"));
    let text: Vec<_> = unreadable.map(ToString::to_string).collect();
    assert_eq!(text.len(), 1, "{kind}: {listed}");
    assert!(text[0].contains(name), "{kind} {name}: {text:?}");
    vsiflow.run(&["get", kind]).exits(0).says("Unreadable");
}

#[test]
fn an_unreadable_object_of_any_kind_is_listed_and_protects_what_it_may_name() {
    let vsiflow = fleet_of_all_kinds();
    let pool = blobs_of(&vsiflow, |record| {
        record["name"] == "web" && record.get("replicas").is_some()
    });
    let group = blobs_of(&vsiflow, |record| {
        record["name"] == "ocp" && record.get("waves").is_some()
    });
    // The group has a pool, too.
    let shown = vsiflow.run(&["get", "pool", "web", "-o", "json"]);
    let shown = shown.exits(0).json();
    let pool_uid = shown["metadata"]["uid"].as_str().unwrap();
    for blob in pool.iter().chain(&group) {
        fs::rename(blob, blob.with_extension("away")).unwrap();
    }
    for kind in ["snapshot", "network"] {
        plant_in(&vsiflow, entity_of(&vsiflow, kind));
    }

    lists_as_unreadable(&vsiflow, "pools", "");
    lists_as_unreadable(&vsiflow, "groups", "");
    lists_as_unreadable(&vsiflow, "snapshots", "before");
    lists_as_unreadable(&vsiflow, "networks", "lan");
    vsiflow.run(&["image", "prune"]).exits(4).says("VSI0019");
    vsiflow.run(&["delete", "network/lan"]).exits(4);
    vsiflow.run(&["delete", "snapshot/before"]).exits(4);
    vsiflow
        .run(&["delete", "pool/web"])
        .exits(4)
        .says("VSI0018");

    // Its name is unknown: only its UID lets go of it.
    let named = format!("pool/{pool_uid}");
    vsiflow
        .run(&["delete", &named, "--orphan"])
        .exits(0)
        .says("is forgotten");
    let pools = vsiflow.run(&["get", "pools", "-A"]).exits(0).stdout;
    assert!(!pools.contains("Unreadable"), "{pools}");
    assert_eq!(vsiflow.phase("one"), "Stopped");
}

/// A server type whose record does not fit into an event.
const LARGE_TYPE: &str = "apiVersion: vsiflow.io/v1\nkind: VirtualServerType\nmetadata: {name: roomy}\n\
                          spec: {cpus: 3, memory: 1Gi, guest: {type: cloudInit, networkConfig: PADDING}}\n";

fn large_type() -> String {
    let padding = format!("'version: 2 # {}'", "x".repeat(4_000));
    LARGE_TYPE.replace("PADDING", &padding)
}

#[test]
fn a_type_that_cannot_be_read_is_listed_and_known_until_its_document_is_applied_again() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(large_type(), &[]).exits(0);
    vsiflow.run(&["get", "type", "roomy"]).exits(0).says("1Gi");
    for blob in blobs_of(&vsiflow, |record| record.get("spec").is_some()) {
        fs::rename(&blob, blob.with_extension("away")).unwrap();
    }

    lists_as_unreadable(&vsiflow, "types", "roomy");
    let shown = vsiflow.run(&["get", "type", "roomy", "-o", "json"]);
    let shown = shown.exits(0).json();
    assert_eq!(shown["status"]["phase"], "Unreadable", "{shown}");
    vsiflow
        .run(&["delete", "type/roomy"])
        .exits(4)
        .says("VSI0018");
    vsiflow
        .run(&[
            "create",
            "web",
            "--type",
            "roomy",
            "--image",
            vsiflow_tests::SIMULATED_IMAGE,
        ])
        .exits(4)
        .says("VSI0018");
    vsiflow.run(&["image", "prune"]).exits(4).says("VSI0019");

    vsiflow.apply(large_type(), &[]).exits(0).says("configured");
    vsiflow.run(&["get", "type", "roomy"]).exits(0).says("1Gi");
    vsiflow.run(&["delete", "type/roomy"]).exits(0);
}

#[test]
fn tokens_quotas_and_images_that_cannot_be_read_are_listed() {
    let vsiflow = Vsiflow::simulated();
    let quota = "apiVersion: vsiflow.io/v1\nkind: VirtualServerQuota\nmetadata: {name: most}\n\
                 spec: {hard: {vsis: 3}}\n";
    vsiflow.apply(quota, &[]).exits(0);
    vsiflow.apply(Vsi::named("one"), &["--wait"]).exits(0);
    let create = ["token", "create", "--role", "viewer", "--ttl", "1h"];
    vsiflow.run(&create).exits(0);
    for kind in ["quota", "image", "token"] {
        plant_in(&vsiflow, entity_of(&vsiflow, kind));
    }

    lists_as_unreadable(&vsiflow, "quotas", "most");
    lists_as_unreadable(&vsiflow, "images", "");
    let tokens = vsiflow.run(&["token", "list"]).exits(0);
    let tokens = tokens.says("Unreadable").says("is refused");
    drop(tokens);
    let listed = vsiflow
        .run(&["token", "list", "-o", "json"])
        .exits(0)
        .json();
    let name = listed["items"][0]["name"].as_str().unwrap();
    vsiflow
        .run(&["token", "revoke", name])
        .exits(4)
        .says("VSI0018");
    // Nobody knows what the quota allows.
    vsiflow.apply(Vsi::named("two"), &[]).exits(4);
}
