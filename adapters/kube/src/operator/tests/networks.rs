//! Networks that are made when servers refer to them.

use serde_json::{Value, json};

use super::rig::Rig;
use crate::sample::uid;

const NETWORKS: &str = "virtualservernetworks";
const SERVERS: &str = "virtualservers";
const POOLS: &str = "virtualserverpools";

fn network(rig: &Rig, number: u8, cidr: &str) {
    let spec = json!({"spec": {"cidr": cidr}});
    rig.server.apply(NETWORKS, "net", uid(number), spec);
}

fn server(rig: &Rig, number: u8) {
    let spec = json!({
        "imageURL": "http://images.lab.test:8080/debian-12.qcow2",
        "guest": {"type": "none"},
        "interfaces": [{"network": "net"}],
    });
    rig.server
        .apply(SERVERS, "web", uid(number), json!({"spec": spec}));
}

/// Reasons and messages of the network's Events.
fn events(rig: &Rig) -> Vec<(String, String)> {
    let all = rig.server.all("events").into_iter();
    let all = all.filter(|event| event["involvedObject"]["kind"] == "VirtualServerNetwork");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    all.map(|event| (text(&event["reason"]), text(&event["message"])))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_a_network_is_told_as_its_events_once_each() {
    let rig = Rig::new().await;
    network(&rig, 1, "10.20.0.0/24");
    server(&rig, 2);
    let has = |reason: &str| events(&rig).iter().any(|(is, _)| is == reason);
    rig.until("it is ready", || has("Ready")).await;
    rig.settle().await;
    let recorded = events(&rig);
    let ready = recorded.iter().filter(|(reason, _)| reason == "Ready");
    assert_eq!(ready.count(), 1, "{recorded:?}");
}

fn accepted(rig: &Rig, resource: &str, name: &str) -> Value {
    let object = rig.server.get(resource, name).unwrap_or_default();
    let all = object["status"]["conditions"].as_array().cloned();
    let mut all = all.unwrap_or_default().into_iter();
    let found = all.find(|one| one["type"] == "Accepted");
    found.unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn what_a_host_has_no_room_for_is_refused_until_it_is_changed() {
    let rig = Rig::new().await;
    // The host has 192.168.122.0/24.
    network(&rig, 1, "192.168.122.0/25");
    server(&rig, 2);
    let template = rig.server.get(SERVERS, "web").unwrap()["spec"].clone();
    let pool = json!({"spec": {"replicas": 2, "template": {"spec": template}}});
    rig.server.apply(POOLS, "shop", uid(3), pool);
    rig.until("both are refused", || {
        let reasons = [
            accepted(&rig, SERVERS, "web"),
            accepted(&rig, POOLS, "shop"),
        ];
        reasons.iter().all(|one| one["reason"] == "VSI0315")
    })
    .await;
    let why = accepted(&rig, POOLS, "shop")["message"].clone();
    assert!(why.to_string().contains("network default"), "{why}");
    assert!(rig.domains().await.is_empty());
    assert_eq!(rig.runs(), 0);
    network(&rig, 1, "10.20.0.0/24");
    rig.until("they are ready", || {
        let ready = rig.server.get(POOLS, "shop").unwrap_or_default();
        ready["status"]["phase"] == "Available"
            && accepted(&rig, SERVERS, "web")["status"] == "True"
    })
    .await;
    rig.until("their guests exist", || rig.server.all(SERVERS).len() == 3)
        .await;
    assert_eq!(rig.domains().await.len(), 3);
}
