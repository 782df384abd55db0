//! Networks that are made where servers refer to them.

use serde_json::{Value, json};

use super::rig::Rig;
use crate::sample::uid;

const NETWORKS: &str = "virtualservernetworks";
const SERVERS: &str = "virtualservers";

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
    let told = events(&rig);
    let ready = told.iter().filter(|(reason, _)| reason == "Ready");
    assert_eq!(ready.count(), 1, "{told:?}");
}
