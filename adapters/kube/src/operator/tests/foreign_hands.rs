//! What other hands do to a cluster: backup tools, edited ConfigMaps, stripped finalizers, lists that lack
//! objects. No guest and no data is lost by it.

use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{Rig, condition_of, finalizers};
use crate::sample::uid;

const LONG: Duration = Duration::from_secs(300);
const DISKS: &str = "onprem-datadisks";
const POOLS: &str = "virtualserverpools";
const SERVERS: &str = "virtualservers";
const QUOTAS: &str = "virtualserverquotas";
const HOST: &str = "root@lpar1.example.com:22";

fn server_spec() -> Value {
    json!({"imageURL": "http://images.lab.test:8080/a.qcow2", "guest": {"type": "none"}})
}

fn pool(rig: &Rig, number: u8) {
    let spec = json!({"spec": {"replicas": 2, "template": {"spec": server_spec()}}});
    rig.server.apply(POOLS, "pool", uid(number), spec);
}

async fn until_true(rig: &Rig, (resource, name): (&str, &str), condition: &str) {
    rig.until(&format!("{name} has {condition}"), || {
        condition_of(rig.server.get(resource, name), condition)["status"] == "True"
    })
    .await;
}

/// A VSI with a data disk, and a pool of two members.
async fn served(rig: &Rig) {
    rig.disk("data", 9);
    let selects = json!({"diskSelector": {"matchLabels": {"disk": "data"}}});
    rig.vsi_with("web", 1, selects);
    rig.vsi("db", 2);
    pool(rig, 3);
    until_true(rig, (POOLS, "pool"), "Available").await;
    rig.until_ready("web").await;
    rig.until_ready("db").await;
    rig.settle().await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_lacks_some_objects_changes_nothing() {
    let rig = Rig::new().await;
    served(&rig).await;
    let (guests, runs) = (rig.guests().await, rig.runs());
    for (resource, name) in [
        ("onprem-hpcrs", "db"),
        (DISKS, "data"),
        (SERVERS, "pool-1"),
        (POOLS, "pool"),
    ] {
        rig.server.leave_out_of_lists(resource, name);
    }
    rig.server.cut();
    tokio::time::sleep(LONG).await;
    assert_eq!((rig.guests().await, rig.runs()), (guests.clone(), runs));
    assert_eq!(rig.volumes().await, 1);
    rig.server.heal();
    rig.server.cut();
    tokio::time::sleep(LONG).await;
    until_true(&rig, (POOLS, "pool"), "Available").await;
    for name in ["web", "db"] {
        assert_eq!(rig.condition(name, "AsDesired")["status"], "True", "{name}");
    }
    assert_eq!((rig.guests().await, rig.runs()), (guests, runs));
}

/// The first page of a list comes, and what would continue it has expired.
#[tokio::test(start_paused = true)]
async fn a_list_that_expires_after_its_first_page_changes_nothing() {
    let rig = Rig::new().await;
    served(&rig).await;
    let (guests, runs) = (rig.guests().await, rig.runs());
    rig.server.expire_lists();
    rig.server.cut();
    tokio::time::sleep(LONG).await;
    let continued = rig.server.requests(&["GET", "continue=next"]);
    assert!(continued > 0, "no list was continued");
    assert_eq!((rig.guests().await, rig.runs()), (guests.clone(), runs));
    assert_eq!(rig.volumes().await, 1);
    // What is deleted and changed meanwhile is seen afterwards.
    rig.server.delete("onprem-hpcrs", "db");
    rig.server.heal();
    rig.until("db is gone", || {
        rig.server.get("onprem-hpcrs", "db").is_none()
    })
    .await;
    until_true(&rig, (POOLS, "pool"), "Available").await;
    assert_eq!(rig.condition("web", "AsDesired")["status"], "True");
    assert_eq!(rig.guests().await.len(), guests.len() - 1);
}

#[tokio::test(start_paused = true)]
async fn a_config_map_that_is_relabelled_or_names_another_host_moves_no_guest() {
    let rig = Rig::of_tenants().await;
    let config = |label: &str, host: &str| {
        let map = json!({
            "metadata": {"labels": {"config": label}},
            "data": {"HOSTNAME": host, "KNOWN_HOSTS": "h ssh-ed25519 A"},
        });
        rig.server.apply("configmaps", "lpar1", uid(100), map);
    };
    config("lpar1", "lpar1.example.com");
    let selects = json!({"targetSelector": {"matchLabels": {"config": "lpar1"}}});
    rig.vsi_with("web", 1, selects);
    rig.until_ready("web").await;
    let domains = async || {
        let host = rig.sim(HOST).await;
        host.with(|state| {
            state
                .domains
                .keys()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
        })
        .await
    };
    let before = domains().await;
    assert_eq!(before, [uid(1).to_string()]);
    for (label, host) in [
        ("other", "lpar1.example.com"),
        ("lpar1", "lpar2.example.com"),
        ("other", "lpar2.example.com"),
    ] {
        config(label, host);
        tokio::time::sleep(LONG).await;
        assert_eq!(
            (domains().await, rig.runs()),
            (before.clone(), 1),
            "{label} {host}"
        );
        let accepted = rig.condition("web", "Accepted");
        assert_eq!(accepted["status"], "False", "{label} {host}: {accepted}");
        assert_eq!(rig.condition("web", "Stalled")["status"], "True");
    }
    let elsewhere = rig.sim("root@lpar2.example.com:22").await;
    assert!(elsewhere.with(|state| state.domains.is_empty()).await);
    config("lpar1", "lpar1.example.com");
    rig.until("it fits again", || {
        rig.condition("web", "AsDesired")["status"] == "True"
    })
    .await;
    assert_eq!((domains().await, rig.runs()), (before, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stripped_finalizer_is_set_again_and_deletes_nothing() {
    let rig = Rig::new().await;
    served(&rig).await;
    let (guests, runs) = (rig.guests().await, rig.runs());
    let objects = [
        ("onprem-hpcrs", "web"),
        (DISKS, "data"),
        (POOLS, "pool"),
        (SERVERS, "pool-0"),
    ];
    for (resource, name) in objects {
        let stripped = json!({"metadata": {"finalizers": []}});
        rig.server.relabel(resource, name, stripped);
        rig.until("it is set again", || {
            finalizers(rig.server.get(resource, name)) == [crate::FINALIZER]
        })
        .await;
    }
    rig.settle().await;
    assert_eq!((rig.guests().await, rig.runs()), (guests.clone(), runs));
    // Deleted by force, with the finalizer stripped.
    for (resource, name) in [(DISKS, "data"), (POOLS, "pool"), ("onprem-hpcrs", "db")] {
        rig.server.lose(resource, name);
    }
    tokio::time::sleep(LONG).await;
    assert_eq!((rig.guests().await, rig.runs()), (guests, runs));
    assert_eq!(rig.volumes().await, 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_backup_tool_restores_under_new_uids_destroys_nothing() {
    let mut rig = Rig::new().await;
    served(&rig).await;
    let quota = json!({"spec": {"hard": {"vsis": 4}}});
    rig.server.apply(QUOTAS, "team", uid(7), quota.clone());
    until_true(&rig, (QUOTAS, "team"), "Ready").await;
    let (guests, runs) = (rig.guests().await, rig.runs());
    rig.stop().await;
    for (resource, name) in [(DISKS, "data"), (POOLS, "pool"), (QUOTAS, "team")] {
        rig.server.lose(resource, name);
    }
    rig.disk("data", 19);
    pool(&rig, 13);
    rig.server.apply(QUOTAS, "team", uid(17), quota);
    rig.restart().await;
    tokio::time::sleep(LONG).await;
    assert_eq!((rig.guests().await, rig.runs()), (guests.clone(), runs));
    let disk = rig.server.get(DISKS, "data");
    assert!(disk.unwrap()["status"].to_string().contains("VSI0726"));
    // It waits for the disk, so that it is not accepted yet.
    assert_ne!(rig.condition("web", "Accepted")["status"], "True");
    assert_eq!(
        condition_of(rig.server.get(POOLS, "pool"), "Accepted")["reason"],
        "VSI0726"
    );
    until_true(&rig, (QUOTAS, "team"), "Ready").await;
    assert_eq!(rig.guests().await, guests);
}
