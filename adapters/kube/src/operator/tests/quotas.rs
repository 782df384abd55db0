//! Quotas: what exceeds them is reported, and made once there is room.

use serde_json::{Value, json};

use super::rig::Rig;
use crate::sample::uid;

const QUOTAS: &str = "virtualserverquotas";
const SERVERS: &str = "virtualservers";

fn quota(rig: &Rig, hard: Value) {
    let spec = json!({"spec": {"hard": hard}});
    rig.server.apply(QUOTAS, "team", uid(200), spec);
}

fn server(rig: &Rig, name: &str, number: u8) {
    let spec = json!({
        "imageURL": "http://images.lab.test:8080/debian-12.qcow2",
        "guest": {"type": "none"},
    });
    rig.server
        .apply(SERVERS, name, uid(number), json!({"spec": spec}));
}

fn status(rig: &Rig) -> Value {
    rig.server.get(QUOTAS, "team").unwrap_or_default()["status"].clone()
}

fn condition(object: Option<Value>, name: &str) -> Value {
    let object = object.unwrap_or_default();
    let all = object["status"]["conditions"].as_array().cloned();
    let mut all = all.unwrap_or_default().into_iter();
    all.find(|one| one["type"] == name).unwrap_or_default()
}

fn accepted(rig: &Rig, name: &str) -> Value {
    condition(rig.server.get(SERVERS, name), "Accepted")["reason"].clone()
}

async fn until_enforced(rig: &Rig) {
    rig.until("the quota is enforced", || {
        condition(rig.server.get(QUOTAS, "team"), "Ready")["status"] == "True"
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_exceeds_a_quota_waits_until_there_is_room() {
    let rig = Rig::new().await;
    quota(&rig, json!({"vsis": 1}));
    until_enforced(&rig).await;
    server(&rig, "a", 1);
    rig.until("it is counted", || status(&rig)["used"]["vsis"] == "1")
        .await;
    assert_eq!(status(&rig)["summary"], "vsis: 1/1");
    server(&rig, "b", 2);
    rig.until("it is refused", || accepted(&rig, "b") == "VSI0738")
        .await;
    rig.settle().await;
    assert_eq!(rig.domains().await.len(), 1);
    let reasons = rig.reasons();
    let refused = reasons.iter().filter(|one| *one == "RefusedVSI0738");
    assert_eq!(refused.count(), 1, "{reasons:?}");

    rig.server.delete(SERVERS, "a");
    rig.until("the other is made", || accepted(&rig, "b") == "Accepted")
        .await;
    rig.server.delete(QUOTAS, "team");
    rig.until("the quota is gone", || {
        rig.server.get(QUOTAS, "team").is_none()
    })
    .await;
    server(&rig, "c", 3);
    rig.until("nothing limits it", || accepted(&rig, "c") == "Accepted")
        .await;
}

#[tokio::test(start_paused = true)]
async fn all_have_their_turn_though_more_wait_than_are_asked_for_in_a_pass() {
    let rig = Rig::new().await;
    quota(&rig, json!({"vsis": 3}));
    until_enforced(&rig).await;
    (1..=90).for_each(|number| server(&rig, &format!("s{number}"), number));
    let all = |reason: &str| {
        let reasons = (1..=90).map(|number| accepted(&rig, &format!("s{number}")));
        reasons.filter(|is| is == reason).count()
    };
    rig.until("three are made", || {
        all("Accepted") == 3 && all("VSI0738") == 87
    })
    .await;
    rig.settle().await;
    assert_eq!(rig.domains().await.len(), 3);
    quota(&rig, json!({"vsis": 90}));
    rig.until("all are made", || all("Accepted") == 90).await;
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_is_lowered_takes_nothing_away_and_says_so() {
    let rig = Rig::new().await;
    quota(&rig, json!({"vsis": 2}));
    until_enforced(&rig).await;
    server(&rig, "a", 1);
    server(&rig, "b", 2);
    rig.until("both are counted", || status(&rig)["used"]["vsis"] == "2")
        .await;
    quota(&rig, json!({"vsis": 1}));
    let within = || condition(rig.server.get(QUOTAS, "team"), "WithinLimits");
    rig.until("it says so", || within()["status"] == "False")
        .await;
    rig.settle().await;
    assert_eq!(rig.domains().await.len(), 2);
    assert!(rig.reasons().contains(&"Exceeded".to_owned()));

    // A quota without limits is refused, and the previous limits hold.
    quota(&rig, json!({"vsis": null}));
    rig.until("it is refused", || {
        let accepted = condition(rig.server.get(QUOTAS, "team"), "Accepted");
        accepted["status"] == "False"
    })
    .await;
    assert_eq!(status(&rig)["hard"]["vsis"], "1");
    server(&rig, "c", 3);
    rig.until("it is refused", || accepted(&rig, "c") == "VSI0738")
        .await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_written_of_a_quota_without_a_change() {
    let rig = Rig::new().await;
    quota(&rig, json!({"vsis": 1}));
    server(&rig, "a", 1);
    rig.until("it is counted", || status(&rig)["used"]["vsis"] == "1")
        .await;
    server(&rig, "b", 2);
    rig.until("it is refused", || accepted(&rig, "b") == "VSI0738")
        .await;
    rig.settle().await;
    let written = || rig.server.requests(&["PATCH"]);
    let before = written();
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    assert_eq!(written(), before);
}
