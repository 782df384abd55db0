//! Pools: each member of the journal has a VirtualServer in the cluster.

use serde_json::{Value, json};

use super::{fault, rig::Rig};
use crate::{ADOPT, APPROVE, sample::uid};

const POOLS: &str = "virtualserverpools";
const SERVERS: &str = "virtualservers";
const POOL_UID: &str = "vsiflow.io/pool-uid";
const VSI_UID: &str = "vsiflow.io/vsi-uid";

fn pool(rig: &Rig, number: u8, replicas: u32) {
    pool_with(rig, number, json!({"replicas": replicas}));
}

fn pool_with(rig: &Rig, number: u8, more: Value) {
    let mut spec = json!({
        "template": {
            "metadata": {"labels": {"app": "web"}},
            "spec": {
                "imageURL": "http://images.lab.test:8080/debian-12.qcow2",
                "guest": {"type": "cloudInit", "userData": "#cloud-config\nhostname: $(pool.member)\n"},
            },
        },
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    rig.server
        .apply(POOLS, "web", uid(number), json!({"spec": spec}));
}

fn server(name: &str, annotations: Value) -> Value {
    json!({
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"imageURL": "http://images.lab.test:8080/a.qcow2", "guest": {"type": "none"}},
    })
}

fn status(rig: &Rig) -> Value {
    rig.server.get(POOLS, "web").unwrap_or_default()["status"].clone()
}

fn condition(object: Option<Value>, name: &str) -> Value {
    let object = object.unwrap_or_default();
    let all = object["status"]["conditions"].as_array().cloned();
    let mut all = all.unwrap_or_default().into_iter();
    all.find(|one| one["type"] == name).unwrap_or_default()
}

fn annotation(rig: &Rig, name: &str, key: &str) -> String {
    let object = rig.server.get(SERVERS, name).unwrap_or_default();
    let value = object["metadata"]["annotations"][key].as_str();
    value.unwrap_or_default().to_owned()
}

/// The name of the Event that says that an object runs.
fn running_event(rig: &Rig, object: &str) -> Option<String> {
    let events = rig.server.all("events").into_iter();
    let mut running = events
        .filter(|event| event["reason"] == "Running" && event["involvedObject"]["name"] == object);
    Some(running.next()?["metadata"]["name"].as_str()?.to_owned())
}

#[tokio::test(start_paused = true)]
async fn transitions_of_members_that_were_not_reported_are_after_a_restart() {
    let mut rig = Rig::new().await;
    pool(&rig, 1, 1);
    rig.until("its Event is there", || {
        running_event(&rig, "web-0").is_some()
    })
    .await;
    rig.settle().await;
    let event = running_event(&rig, "web-0").unwrap();
    rig.server.lose("events", &event);
    assert_eq!(running_event(&rig, "web-0"), None);
    rig.restart().await;
    rig.until("its Event is there again", || {
        running_event(&rig, "web-0") == Some(event.clone())
    })
    .await;
}

fn members(rig: &Rig) -> Vec<String> {
    let all = rig.server.all(SERVERS);
    all.iter()
        .map(|one| one["metadata"]["name"].as_str().unwrap().to_owned())
        .collect()
}

async fn until_available(rig: &Rig, replicas: u32) {
    let what = format!("{replicas} members are ready");
    rig.until(&what, || {
        let status = status(rig);
        let ready =
            |name: &String| condition(rig.server.get(SERVERS, name), "Ready")["status"] == "True";
        status["phase"] == "Available"
            && status["readyReplicas"] == replicas
            && members(rig).len() == replicas as usize
            && members(rig).iter().all(ready)
    })
    .await;
}

async fn until_gone(rig: &Rig) {
    rig.until("nothing is left", || {
        members(rig).is_empty() && rig.server.get(POOLS, "web").is_none()
    })
    .await;
    assert!(rig.domains().await.is_empty());
}

fn refused(rig: &Rig) -> Value {
    condition(rig.server.get(POOLS, "web"), "Accepted")["reason"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_pool_becomes_members_that_the_cluster_shows_and_owns_not() {
    let rig = Rig::new().await;
    pool(&rig, 1, 2);
    until_available(&rig, 2).await;
    assert_eq!(members(&rig), ["web-0", "web-1"]);
    let member = rig.server.get(SERVERS, "web-1").unwrap();
    let meta = &member["metadata"];
    assert!(meta["ownerReferences"].is_null(), "{meta:#}");
    assert_eq!(
        (
            &meta["labels"]["vsiflow.io/pool"],
            &meta["labels"]["vsiflow.io/pool-index"]
        ),
        (&json!("web"), &json!("1"))
    );
    assert_eq!(meta["labels"]["app"], "web");
    assert_eq!(annotation(&rig, "web-1", POOL_UID), uid(1).to_string());
    assert_eq!(meta["finalizers"], json!([crate::FINALIZER]));
    // Its domain is known by the UID of the VSI.
    let vsi = annotation(&rig, "web-1", VSI_UID);
    assert!(rig.domains().await.contains(&vsi));
    // The template's secrets are not copied.
    assert!(
        !member["spec"].to_string().contains("cloud-config"),
        "{member:#}"
    );
    assert_eq!(status(&rig)["selector"], "vsiflow.io/pool=web");
    assert!(rig.reasons().contains(&"Available".to_owned()));

    pool(&rig, 1, 1);
    until_available(&rig, 1).await;
    assert_eq!(members(&rig), ["web-0"]);
    rig.server.delete(POOLS, "web");
    until_gone(&rig).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_of_a_pool_without_a_change() {
    let rig = Rig::new().await;
    pool(&rig, 1, 3);
    until_available(&rig, 3).await;
    rig.settle().await;
    let written = || {
        let count = |method| rig.server.requests(&[method]);
        (count("PATCH"), count("POST"), count("DELETE"))
    };
    let before = written();
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    assert_eq!(written(), before);
}

#[tokio::test(start_paused = true)]
async fn a_pool_without_replicas_gets_what_it_has_so_that_it_can_be_scaled() {
    let rig = Rig::new().await;
    pool_with(&rig, 1, json!({}));
    until_available(&rig, 1).await;
    rig.until("it says so", || {
        rig.server.get(POOLS, "web").unwrap()["spec"]["replicas"] == 1
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_member_whose_object_is_deleted_is_made_again() {
    let rig = Rig::new().await;
    pool(&rig, 1, 2);
    until_available(&rig, 2).await;
    let before = annotation(&rig, "web-0", VSI_UID);
    rig.server.delete(SERVERS, "web-0");
    rig.until("it is another one", || {
        let now = annotation(&rig, "web-0", VSI_UID);
        !now.is_empty() && now != before
    })
    .await;
    until_available(&rig, 2).await;
    assert!(!rig.domains().await.contains(&before));
}

#[tokio::test(start_paused = true)]
async fn an_object_whose_deletion_is_answered_with_conflicts_is_deleted_later() {
    let rig = Rig::new().await;
    pool(&rig, 1, 2);
    until_available(&rig, 2).await;
    // More failures than there are events of the member, each of which triggers a retry.
    rig.server
        .fail(fault(&["DELETE", "virtualservers"], 409, 50));
    pool(&rig, 1, 1);
    until_available(&rig, 1).await;
    assert_eq!(members(&rig), ["web-0"]);
}

#[tokio::test(start_paused = true)]
async fn whatever_is_changed_of_a_members_object_is_put_right() {
    let rig = Rig::new().await;
    pool(&rig, 1, 1);
    until_available(&rig, 1).await;
    let guests = rig.guests().await;
    let before = rig.server.get(SERVERS, "web-0").unwrap();
    let vsi = annotation(&rig, "web-0", VSI_UID);
    let number = uid(9);
    rig.server.apply(
        SERVERS,
        "web-0",
        number,
        json!({
            "metadata": {"labels": {"vsiflow.io/pool": "other"}, "finalizers": []},
            "spec": {"machine": {"cpus": 7}, "powerState": "Stopped", "guest": {"type": "none"}},
        }),
    );
    rig.until("it is corrected", || {
        let now = rig.server.get(SERVERS, "web-0").unwrap();
        let part = |object: &Value| {
            let meta = &object["metadata"];
            (
                object["spec"].clone(),
                meta["labels"].clone(),
                meta["finalizers"].clone(),
            )
        };
        part(&now) == part(&before)
    })
    .await;
    rig.settle().await;
    assert_eq!(rig.guests().await, guests, "the guest was touched");
    assert_eq!(annotation(&rig, "web-0", VSI_UID), vsi);
}

#[tokio::test(start_paused = true)]
async fn a_virtual_server_that_the_pool_did_not_make_is_refused_and_never_taken() {
    let rig = Rig::new().await;
    rig.server
        .apply(SERVERS, "web-1", uid(7), server("web-1", json!({})));
    rig.settle().await;
    let guests = rig.guests().await;
    assert_eq!(guests.len(), 1);
    pool(&rig, 1, 2);
    rig.until("it is refused", || refused(&rig) == "VSI0721")
        .await;
    rig.settle().await;
    assert_eq!(
        (members(&rig), rig.guests().await),
        (vec!["web-1".to_owned()], guests)
    );
    rig.server.delete(POOLS, "web");
    rig.until("the pool is deleted", || {
        rig.server.get(POOLS, "web").is_none()
    })
    .await;
    assert_eq!(rig.guests().await.len(), 1);
}

/// A resource that cannot be read is in no journal, but has the name all the same.
#[tokio::test(start_paused = true)]
async fn an_object_that_no_journal_knows_has_its_name_as_well() {
    let rig = Rig::new().await;
    let broken = json!({"spec": {"imageURL": 7}});
    rig.server.apply(SERVERS, "web-0", uid(7), broken);
    pool(&rig, 1, 1);
    rig.until("it is refused", || refused(&rig) == "VSI0721")
        .await;
    rig.settle().await;
    assert!(rig.domains().await.is_empty());
    rig.server.lose(SERVERS, "web-0");
    until_available(&rig, 1).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_gets_at_a_vsi_by_writing_annotations() {
    let rig = Rig::of_tenants().await;
    for (place, number) in [("", 101), ("b/", 102)] {
        let map = json!({
            "metadata": {"labels": {"config": "lpar1"}},
            "data": {"HOSTNAME": "lpar1.example.com", "KNOWN_HOSTS": "h ssh-ed25519 A"},
        });
        rig.server
            .apply("configmaps", &format!("{place}lpar1"), uid(number), map);
    }
    let selector = json!({"matchLabels": {"config": "lpar1"}});
    let template = json!({"spec": {
        "imageURL": "http://images.lab.test:8080/a.qcow2", "guest": {"type": "none"},
        "targetSelector": selector,
    }});
    pool_with(&rig, 1, json!({"replicas": 1, "template": template}));
    until_available(&rig, 1).await;
    let vsi = annotation(&rig, "web-0", VSI_UID);
    let pool = uid(1).to_string();
    // With the annotations of the other namespace's member, under its name and under another one.
    for (number, name) in [(50, "b/web-0"), (51, "b/else")] {
        let forged = server("x", json!({POOL_UID: pool, VSI_UID: vsi}));
        let forged = json!({
            "metadata": {"annotations": forged["metadata"]["annotations"]}, "spec": forged["spec"],
        });
        rig.server.apply(SERVERS, name, uid(number), forged);
        rig.until("it is refused", || {
            condition(rig.server.get(SERVERS, name), "Accepted")["reason"] == "VSI0721"
        })
        .await;
        let status = rig.server.get(SERVERS, name).unwrap()["status"].to_string();
        assert!(
            !status.contains("Running") && !status.contains(&vsi),
            "{status}"
        );
        rig.server.delete(SERVERS, name);
    }
    rig.settle().await;
    assert_eq!(annotation(&rig, "web-0", VSI_UID), vsi);
    until_available(&rig, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_recorded_and_not_shown_yet_is_shown_after_a_kill() {
    let mut rig = Rig::new().await;
    rig.server.fail(fault(&["POST", SERVERS], 500, usize::MAX));
    pool(&rig, 1, 2);
    rig.until("both are recorded", || rig.runs() >= 2).await;
    assert!(members(&rig).is_empty());
    rig.restart().await;
    rig.server.heal();
    until_available(&rig, 2).await;
    let guests = rig.guests().await;
    // The answer is lost, but the object exists.
    rig.server.delete(SERVERS, "web-1");
    rig.server.fail(crate::fake::FakeFault {
        done: true,
        ..fault(&["POST", SERVERS], 500, 1)
    });
    rig.settle().await;
    rig.restart().await;
    until_available(&rig, 2).await;
    assert!(rig.guests().await.contains(&guests[0]) || rig.guests().await.contains(&guests[1]));
}

#[tokio::test(start_paused = true)]
async fn a_restart_touches_no_member_and_their_secrets_are_there_again() {
    let mut rig = Rig::new().await;
    pool(&rig, 1, 2);
    until_available(&rig, 2).await;
    let (guests, runs) = (rig.guests().await, rig.runs());
    rig.restart().await;
    rig.settle().await;
    until_available(&rig, 2).await;
    assert_eq!((rig.guests().await, rig.runs()), (guests, runs));
    pool(&rig, 1, 3);
    until_available(&rig, 3).await;
}

#[tokio::test(start_paused = true)]
async fn a_deletion_that_a_kill_interrupts_goes_on() {
    let mut rig = Rig::new().await;
    pool(&rig, 1, 3);
    until_available(&rig, 3).await;
    rig.server.delete(POOLS, "web");
    rig.until("one is gone", || members(&rig).len() < 3).await;
    rig.restart().await;
    until_gone(&rig).await;
}

#[tokio::test(start_paused = true)]
async fn a_restored_pool_takes_over_and_deletes_nothing_until_it_is_told_to() {
    let rig = Rig::new().await;
    pool(&rig, 1, 2);
    until_available(&rig, 2).await;
    let guests = rig.guests().await;
    // A backup tool creates it again: the same name, another UID.
    rig.server.lose(POOLS, "web");
    rig.settle().await;
    pool(&rig, 2, 1);
    rig.until("it is refused", || refused(&rig) == "VSI0726")
        .await;
    rig.settle().await;
    assert_eq!(
        (members(&rig).len(), rig.guests().await),
        (2, guests.clone())
    );
    rig.server.delete(POOLS, "web");
    rig.until("it is deleted", || rig.server.get(POOLS, "web").is_none())
        .await;
    rig.settle().await;
    assert_eq!((members(&rig).len(), rig.guests().await), (2, guests));

    pool(&rig, 3, 1);
    let adopt = json!({"metadata": {"annotations": {ADOPT: "true"}}});
    rig.server.apply(POOLS, "web", uid(3), adopt);
    until_available(&rig, 1).await;
    rig.server.delete(POOLS, "web");
    until_gone(&rig).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_a_lost_journal_made_waits_and_nothing_is_made_again() {
    let mut rig = Rig::new().await;
    pool(&rig, 1, 2);
    until_available(&rig, 2).await;
    let domains = rig.domains().await;
    rig.lose_journal().await;
    let lost = |of: &Rig, kind, name| {
        condition(of.server.get(kind, name), "JournalLost")["status"] == "True"
    };
    rig.until("it says so", || {
        lost(&rig, POOLS, "web") && lost(&rig, SERVERS, "web-0")
    })
    .await;
    rig.settle().await;
    assert_eq!(rig.domains().await, domains);
    rig.server.delete(POOLS, "web");
    rig.server.delete(SERVERS, "web-0");
    rig.settle().await;
    assert!(rig.server.get(POOLS, "web").is_some() && rig.server.get(SERVERS, "web-0").is_some());
    assert_eq!(rig.domains().await, domains);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_template_waits_for_the_annotation_where_the_policy_is_manual() {
    let rig = Rig::new().await;
    let manual = |cpus: u32| {
        json!({"replicas": 2, "updatePolicy": "Manual", "template": {"spec": {
            "imageURL": "http://images.lab.test:8080/a.qcow2", "guest": {"type": "none"},
            "machine": {"cpus": cpus},
        }}})
    };
    pool_with(&rig, 1, manual(1));
    until_available(&rig, 2).await;
    let guests = rig.guests().await;
    pool_with(&rig, 1, manual(2));
    rig.until("it waits", || status(&rig)["proposal"]["id"].is_string())
        .await;
    rig.settle().await;
    assert_eq!(rig.guests().await, guests);
    let id = status(&rig)["proposal"]["id"].clone();
    let approve = json!({"metadata": {"annotations": {APPROVE: id}}});
    rig.server.apply(POOLS, "web", uid(1), approve);
    rig.until("it is rolled", || status(&rig)["proposal"].is_null())
        .await;
    until_available(&rig, 2).await;
    assert_ne!(rig.guests().await, guests);
    assert_eq!(status(&rig)["updatedReplicas"], 2);
}
