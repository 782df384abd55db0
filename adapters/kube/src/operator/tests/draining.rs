//! Draining hosts: members of pools are made on other hosts, and their objects show it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::rig::Rig;
use crate::sample::uid;

const POOLS: &str = "virtualserverpools";
const SERVERS: &str = "virtualservers";
const FIRST: &str = "root@lpar1.example.com:22";
const SECOND: &str = "root@lpar2.example.com:22";

fn host(rig: &Rig, name: &str, number: u8) {
    let map = json!({
        "metadata": {"labels": {"fleet": "blue", "host": name}},
        "data": {"HOSTNAME": format!("{name}.example.com"), "KNOWN_HOSTS": format!("h ssh-ed25519 {number}")},
    });
    rig.server.apply("configmaps", name, uid(100 + number), map);
}

fn spec() -> Value {
    json!({
        "imageURL": "http://images.lab.test:8080/debian-12.qcow2",
        "guest": {"type": "none"},
        "bootDisk": {"mode": "ephemeral"},
        "targetSelector": {"matchLabels": {"fleet": "blue"}},
        "placement": {"spread": {"over": "host"}},
    })
}

/// The host in the status of each server's object, and the UID by which the journal knows it.
fn places(rig: &Rig) -> BTreeMap<String, (String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = rig.server.all(SERVERS);
    all.iter()
        .map(|one| {
            let meta = &one["metadata"];
            let uid = &meta["annotations"]["vsiflow.io/vsi-uid"];
            (
                text(&meta["name"]),
                (text(&one["status"]["host"]), text(uid)),
            )
        })
        .collect()
}

fn on(rig: &Rig, host: &str) -> Vec<String> {
    let places = places(rig).into_iter();
    let there = places.filter(|(_, (place, _))| place == host);
    there.map(|(name, _)| name).collect()
}

async fn until_available(rig: &Rig) {
    rig.until("four members are ready", || {
        let pool = rig.server.get(POOLS, "web").unwrap_or_default();
        let status = &pool["status"];
        status["phase"] == "Available"
            && status["readyReplicas"] == 4
            && places(rig).values().all(|(host, _)| !host.is_empty())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn members_leave_a_drained_host_and_their_objects_follow() {
    let mut rig = Rig::of_tenants().await;
    host(&rig, "lpar1", 1);
    host(&rig, "lpar2", 2);
    let pool = json!({"spec": {"replicas": 4, "template": {"spec": spec()}}});
    rig.server.apply(POOLS, "web", uid(1), pool);
    rig.server
        .apply(SERVERS, "alone", uid(2), json!({"spec": spec()}));
    until_available(&rig).await;
    rig.until("the other is ready", || !places(&rig)["alone"].0.is_empty())
        .await;
    let before = places(&rig);
    let leaving: Vec<_> = on(&rig, FIRST)
        .into_iter()
        .filter(|name| name != "alone")
        .collect();
    assert!(!leaving.is_empty(), "{before:?}");

    rig.drain(FIRST).await;
    let moved = |of: &Rig| {
        leaving
            .iter()
            .all(|name| places(of).get(name).is_some_and(|(host, _)| host == SECOND))
    };
    // After a kill in the middle, the next process continues.
    rig.settle().await;
    rig.restart().await;
    rig.until("they are elsewhere", || moved(&rig)).await;
    until_available(&rig).await;
    for (name, (place, vsi)) in places(&rig) {
        let same = before[&name] == (place, vsi);
        assert_eq!(same, !leaving.contains(&name), "{name}");
    }

    // A member that is made during the drain is placed on another host, too.
    rig.server.delete(SERVERS, &leaving[0]);
    let was = places(&rig)[&leaving[0]].1.clone();
    rig.until("it is another one", || {
        places(&rig)
            .get(&leaving[0])
            .is_some_and(|(host, vsi)| host == SECOND && *vsi != was)
    })
    .await;
    until_available(&rig).await;
}
