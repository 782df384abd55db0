//! Groups: waves of members and pools, with objects for the members in the cluster.

use serde_json::{Value, json};

use super::rig::{Rig, condition_of};
use crate::{ADOPT, sample::uid};

const GROUPS: &str = "virtualservergroups";
const POOLS: &str = "virtualserverpools";
const SERVERS: &str = "virtualservers";

fn template() -> Value {
    json!({"spec": {
        "imageURL": "$(group.release.node.image)",
        "guest": {"type": "cloudInit", "userData": "#cloud-config\nhostname: $(pool.member).$(group.name)\n"},
    }})
}

fn group(rig: &Rig, number: u8, replicas: u32) {
    group_with(
        rig,
        number,
        replicas,
        "http://images.lab.test:8080/debian-12.qcow2",
    );
}

fn group_with(rig: &Rig, number: u8, replicas: u32, image: &str) {
    let spec = json!({
        "release": {"node": {"image": image}},
        "waves": [
            {"name": "first", "members": [{"name": "seed", "template": template()}]},
            {"name": "others", "pools": [
                {"name": "node", "replicas": replicas, "template": template()},
            ]},
        ],
    });
    rig.server
        .apply(GROUPS, "db", uid(number), json!({"spec": spec}));
}

fn status(rig: &Rig) -> Value {
    rig.server.get(GROUPS, "db").unwrap_or_default()["status"].clone()
}

fn accepted(rig: &Rig) -> Value {
    let all = status(rig)["conditions"].as_array().cloned();
    let mut all = all.unwrap_or_default().into_iter();
    let found = all.find(|one| one["type"] == "Accepted");
    found.unwrap_or_default()["reason"].clone()
}

fn members(rig: &Rig) -> Vec<String> {
    let all = rig.server.all(SERVERS);
    all.iter()
        .map(|one| one["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

async fn until_available(rig: &Rig, names: &[&str]) {
    rig.until(&format!("{names:?} are ready"), || {
        let status = status(rig);
        let progress = format!("{0}/{0}", names.len());
        status["phase"] == "Available" && status["progress"] == progress && members(rig) == names
    })
    .await;
}

async fn until_gone(rig: &Rig) {
    rig.until("nothing is left", || {
        members(rig).is_empty() && rig.server.get(GROUPS, "db").is_none()
    })
    .await;
    assert!(rig.domains().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_group_becomes_waves_of_members_that_the_cluster_shows() {
    let mut rig = Rig::new().await;
    group(&rig, 1, 2);
    rig.until("the first wave comes first", || members(&rig).len() == 1)
        .await;
    assert_eq!(members(&rig), ["db-seed-0"]);
    until_available(&rig, &["db-node-0", "db-node-1", "db-seed-0"]).await;
    let is = status(&rig);
    assert_eq!(
        (&is["wave"], &is["release"], &is["message"]),
        (&json!("others"), &json!("debian-12.qcow2"), &Value::Null)
    );
    let member = rig.server.get(SERVERS, "db-node-1").unwrap();
    let meta = &member["metadata"];
    assert!(meta["ownerReferences"].is_null(), "{meta:#}");
    assert_eq!(
        (
            &meta["labels"]["vsiflow.io/group"],
            &meta["labels"]["vsiflow.io/pool"]
        ),
        (&json!("db"), &json!("db-node"))
    );
    assert_eq!(
        meta["annotations"]["vsiflow.io/group-uid"],
        uid(1).to_string()
    );
    let image = "http://images.lab.test:8080/debian-12.qcow2";
    assert_eq!(member["spec"]["imageURL"], image);
    assert!(!member.to_string().contains("cloud-config"), "{member:#}");

    // Secrets are only in memory: texts that contain them are generated again.
    let (guests, runs) = (rig.guests().await, rig.runs());
    rig.restart().await;
    rig.settle().await;
    assert_eq!((rig.guests().await, rig.runs()), (guests, runs));
    group(&rig, 1, 3);
    until_available(&rig, &["db-node-0", "db-node-1", "db-node-2", "db-seed-0"]).await;
    rig.server.delete(GROUPS, "db");
    until_gone(&rig).await;
}

#[tokio::test(start_paused = true)]
async fn a_group_goes_the_newest_wave_first_also_after_a_kill() {
    let mut rig = Rig::new().await;
    group(&rig, 1, 2);
    until_available(&rig, &["db-node-0", "db-node-1", "db-seed-0"]).await;
    // As when its namespace is deleted: everything at the same moment.
    rig.server.delete(SERVERS, "db-seed-0");
    rig.server.delete(GROUPS, "db");
    rig.until("the newest member is deleted", || members(&rig).len() == 2)
        .await;
    assert_eq!(members(&rig), ["db-node-0", "db-seed-0"]);
    rig.restart().await;
    rig.until("the next one is deleted", || members(&rig).len() == 1)
        .await;
    assert_eq!(members(&rig), ["db-seed-0"]);
    until_gone(&rig).await;
}

/// What a group removed is never made again: the name of its member is free.
#[tokio::test(start_paused = true)]
async fn a_virtual_server_may_have_the_name_of_a_removed_member() {
    let rig = Rig::new().await;
    let with_cpus = |cpus: u32| {
        let mut template = template();
        template["spec"]["machine"] = json!({"cpus": cpus, "memory": "512Mi"});
        let seed = json!({"name": "seed", "template": template, "removeAfter": "others"});
        let node = json!({"name": "node", "replicas": 1, "template": template});
        let spec = json!({
            "release": {"node": {"image": "http://images.lab.test:8080/debian-12.qcow2"}},
            "waves": [{"name": "first", "members": [seed]}, {"name": "others", "pools": [node]}],
        });
        rig.server
            .apply(GROUPS, "db", uid(1), json!({"spec": spec}));
    };
    with_cpus(1);
    until_available(&rig, &["db-node-0"]).await;
    let own = json!({"spec": {
        "imageURL": "http://images.lab.test:8080/debian-12.qcow2", "guest": {"type": "none"},
    }});
    rig.server.apply(SERVERS, "db-seed-0", uid(2), own);
    rig.until("it is ready", || {
        condition_of(rig.server.get(SERVERS, "db-seed-0"), "Ready")["status"] == "True"
    })
    .await;
    with_cpus(2);
    rig.until("the group follows its document", || {
        let node = rig.server.get(SERVERS, "db-node-0").unwrap();
        node["spec"]["machine"]["cpus"] == 2 && status(&rig)["phase"] == "Available"
    })
    .await;
    assert_eq!(accepted(&rig), "Accepted");
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_members_names_others_have_is_refused() {
    let rig = Rig::new().await;
    let other = json!({"spec": {
        "imageURL": "http://images.lab.test:8080/a.qcow2", "guest": {"type": "none"},
    }});
    rig.server.apply(SERVERS, "db-node-1", uid(7), other);
    group(&rig, 1, 2);
    rig.until("it is refused", || accepted(&rig) == "VSI0721")
        .await;
    rig.settle().await;
    assert_eq!((members(&rig).len(), rig.guests().await.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_restored_group_takes_over_and_deletes_nothing_until_it_is_told_to() {
    let rig = Rig::new().await;
    group(&rig, 1, 1);
    until_available(&rig, &["db-node-0", "db-seed-0"]).await;
    let guests = rig.guests().await;
    rig.server.lose(GROUPS, "db");
    rig.settle().await;
    group(&rig, 2, 1);
    rig.until("it is refused", || accepted(&rig) == "VSI0733")
        .await;
    rig.server.delete(GROUPS, "db");
    rig.until("it is deleted", || rig.server.get(GROUPS, "db").is_none())
        .await;
    rig.settle().await;
    assert_eq!(rig.guests().await, guests);
    group(&rig, 3, 1);
    let adopt = json!({"metadata": {"annotations": {ADOPT: "true"}}});
    rig.server.apply(GROUPS, "db", uid(3), adopt);
    until_available(&rig, &["db-node-0", "db-seed-0"]).await;
    assert_eq!(rig.guests().await, guests);
    rig.server.delete(GROUPS, "db");
    until_gone(&rig).await;
}

/// A pool with the name of a group's pool; it is refused.
async fn pool_like_the_groups(rig: &Rig, metadata: Value) {
    let spec = json!({"replicas": 1, "template": {"spec": {
        "imageURL": "http://images.lab.test:8080/a.qcow2", "guest": {"type": "none"},
    }}});
    let object = json!({"metadata": metadata, "spec": spec});
    rig.server.apply(POOLS, "db-node", uid(5), object);
    rig.until("the pool is refused", || {
        let pool = rig.server.get(POOLS, "db-node");
        condition_of(pool, "Accepted")["reason"] == "VSI0730"
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_pool_with_the_name_of_a_groups_pool_holds_up_no_deletion() {
    let rig = Rig::new().await;
    group(&rig, 1, 1);
    until_available(&rig, &["db-node-0", "db-seed-0"]).await;
    // Another tool has not finished with it, so that its deletion lasts.
    pool_like_the_groups(&rig, json!({"finalizers": ["example.com/backup"]})).await;
    rig.server.delete(POOLS, "db-node");
    rig.settle().await;
    assert!(rig.server.get(POOLS, "db-node").is_some());

    let vsi = || {
        let member = rig.server.get(SERVERS, "db-node-0").unwrap_or_default();
        member["metadata"]["annotations"]["vsiflow.io/vsi-uid"].clone()
    };
    let before = vsi();
    rig.server.delete(SERVERS, "db-node-0");
    rig.until("the member is another one", || {
        vsi().is_string() && vsi() != before
    })
    .await;
    until_available(&rig, &["db-node-0", "db-seed-0"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_asks_for_adoption_takes_no_pool_of_a_group() {
    let rig = Rig::new().await;
    group(&rig, 1, 1);
    until_available(&rig, &["db-node-0", "db-seed-0"]).await;
    let guests = rig.guests().await;
    pool_like_the_groups(&rig, json!({"annotations": {ADOPT: "true"}})).await;
    rig.server.delete(POOLS, "db-node");
    rig.until("the pool is deleted", || {
        rig.server.get(POOLS, "db-node").is_none()
    })
    .await;
    rig.settle().await;
    assert_eq!(rig.guests().await, guests);
    until_available(&rig, &["db-node-0", "db-seed-0"]).await;
}

#[tokio::test(start_paused = true)]
async fn the_images_of_a_groups_templates_are_judged_as_those_of_virtual_servers() {
    let rig = Rig::new().await;
    group_with(&rig, 1, 1, "file:///etc/shadow");
    rig.until("it is refused", || accepted(&rig) == "VSI0611")
        .await;
    // A reference to something that does not exist, or in a field that permits none.
    let spec = |url: &str| {
        json!({"spec": {"waves": [{"name": "a", "members": [
            {"name": "seed", "template": {"spec": {"imageURL": url}}},
        ]}]}})
    };
    for url in ["$(group.release.other.image)", "http://a/$(pool.name)"] {
        rig.server.apply(GROUPS, "db", uid(1), spec(url));
        rig.until("it is refused", || {
            let message = status(&rig)["message"].to_string();
            accepted(&rig) == "VSI0604" && message.contains("imageURL")
        })
        .await;
    }
    rig.settle().await;
    assert!(members(&rig).is_empty());
}
