//! Placement: a resource whose selector matches several hosts of its namespace.

use serde_json::{Value, json};

use super::rig::Rig;
use crate::sample::uid;

const SERVERS: &str = "virtualservers";

fn host(rig: &Rig, place: &str, name: &str, number: u8, known: &str) {
    let map = json!({
        "metadata": {"labels": {"fleet": "blue", "host": name}},
        "data": {"HOSTNAME": format!("{name}.example.com"), "KNOWN_HOSTS": known},
    });
    rig.server.apply(
        "configmaps",
        &format!("{place}{name}"),
        uid(100 + number),
        map,
    );
}

fn server(rig: &Rig, name: &str, number: u8) {
    let spec = json!({
        "imageURL": "http://images.lab.test:8080/debian-12.qcow2",
        "guest": {"type": "none"},
        "targetSelector": {"matchLabels": {"fleet": "blue"}},
        "placement": {"spread": {"over": "host"}},
    });
    rig.server
        .apply(SERVERS, name, uid(number), json!({"spec": spec}));
}

fn condition(rig: &Rig, name: &str, kind: &str) -> Value {
    let object = rig.server.get(SERVERS, name).unwrap_or_default();
    let all = object["status"]["conditions"].as_array().cloned();
    let mut all = all.unwrap_or_default().into_iter();
    all.find(|one| one["type"] == kind).unwrap_or_default()
}

async fn until_ready(rig: &Rig, name: &str) {
    let what = format!("{name} is ready");
    rig.until(&what, || condition(rig, name, "Ready")["status"] == "True")
        .await;
}

fn place(rig: &Rig, name: &str) -> String {
    let object = rig.server.get(SERVERS, name).unwrap_or_default();
    object["status"]["host"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[tokio::test(start_paused = true)]
async fn servers_are_spread_over_the_hosts_of_their_namespace_and_stay() {
    let mut rig = Rig::of_tenants().await;
    host(&rig, "", "lpar1", 1, "h ssh-ed25519 A");
    host(&rig, "", "lpar2", 2, "h ssh-ed25519 B");
    server(&rig, "v1", 1);
    until_ready(&rig, "v1").await;
    server(&rig, "v2", 2);
    until_ready(&rig, "v2").await;
    let before = [place(&rig, "v1"), place(&rig, "v2")];
    let hosts = ["root@lpar1.example.com:22", "root@lpar2.example.com:22"];
    assert_eq!(before, hosts);
    // Another host joins, the first one is not described any more, and the operator restarts.
    host(&rig, "", "lpar3", 3, "h ssh-ed25519 C");
    rig.server.delete("configmaps", "lpar1");
    rig.restart().await;
    server(&rig, "v3", 3);
    until_ready(&rig, "v3").await;
    assert_eq!(place(&rig, "v3"), "root@lpar3.example.com:22");
    assert_eq!([place(&rig, "v1"), place(&rig, "v2")], before);
}

#[tokio::test(start_paused = true)]
async fn no_namespace_gets_at_anothers_host_by_choosing_among_several() {
    let rig = Rig::of_tenants().await;
    host(&rig, "", "lpar1", 1, "h ssh-ed25519 A");
    host(&rig, "", "lpar2", 2, "h ssh-ed25519 B");
    server(&rig, "v1", 1);
    until_ready(&rig, "v1").await;
    host(&rig, "b/", "lpar1", 11, "h ssh-ed25519 EVIL");
    host(&rig, "b/", "other", 12, "h ssh-ed25519 D");
    server(&rig, "b/v1", 11);
    rig.until("it is refused", || {
        condition(&rig, "b/v1", "Accepted")["reason"] == "VSI0612"
    })
    .await;
    let known = rig.settings("root@lpar1.example.com:22").unwrap();
    assert_eq!(known.record.known_hosts(), Some("h ssh-ed25519 A"));
    assert_eq!(place(&rig, "b/v1"), "");
}

#[tokio::test(start_paused = true)]
async fn a_simulated_host_is_not_for_documents_of_others() {
    let rig = Rig::of_tenants().await;
    let map = json!({"metadata": {"labels": {"fleet": "blue"}}, "data": {"HOSTNAME": "sim:a"}});
    rig.server.apply("configmaps", "a", uid(101), map);
    server(&rig, "v1", 1);
    rig.until("it is refused", || {
        condition(&rig, "v1", "Accepted")["reason"] == "VSI0611"
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn where_no_host_fits_the_resource_says_which_lacks_what() {
    let rig = Rig::of_tenants().await;
    host(&rig, "", "lpar1", 1, "h ssh-ed25519 A");
    host(&rig, "", "lpar2", 2, "h ssh-ed25519 B");
    rig.host_reachable(false);
    server(&rig, "v1", 1);
    rig.until("it says so", || {
        let object = rig.server.get(SERVERS, "v1").unwrap_or_default();
        object["status"].to_string().contains("VSI0737")
    })
    .await;
    rig.host_reachable(true);
    until_ready(&rig, "v1").await;
}
