//! Defects of the previous operator, as resources show them.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::rig::Rig;
use crate::sample::uid;

const LONG: Duration = Duration::from_secs(300);

#[tokio::test(start_paused = true)]
async fn kube_defect_02_a_network_whose_resource_blinks_stays_the_same() {
    let rig = Rig::new().await;
    let network =
        || json!({"metadata": {"labels": {"net": "a"}}, "spec": {"networkName": "default"}});
    rig.server
        .apply("onprem-networkrefs", "net", uid(9), network());
    let selects = json!({"networkSelector": {"matchLabels": {"net": "a"}}});
    rig.vsi_with("web", 1, selects);
    rig.until_ready("web").await;
    let before = rig.guests().await;
    rig.server.lose("onprem-networkrefs", "net");
    tokio::time::sleep(LONG).await;
    assert_eq!(rig.condition("web", "Accepted")["status"], "False");
    rig.server
        .apply("onprem-networkrefs", "net", uid(9), network());
    rig.until("it fits again", || {
        rig.condition("web", "Accepted")["status"] == "True"
    })
    .await;
    tokio::time::sleep(LONG).await;
    assert_eq!((rig.guests().await, rig.runs()), (before, 1));
}

#[tokio::test(start_paused = true)]
async fn kube_defect_04_a_failed_boot_is_never_ready_and_says_why() {
    let rig = Rig::new().await;
    // Too little for the guest.
    rig.vsi_with("web", 1, json!({"machine": {"memory": "128Mi"}}));
    rig.until("its boot failed", || rig.status("web")["phase"] == "Failed")
        .await;
    let status = rig.status("web");
    assert_eq!(status["status"], 2, "{status}");
    let ready = rig.condition("web", "Ready");
    assert_eq!(ready["status"], "False");
    assert!(
        ready["reason"].as_str().unwrap().starts_with("VSI05"),
        "{ready}"
    );
    let why = status["description"].as_str().unwrap();
    assert!(why.contains("HPL11003E") && why.contains("4 GiB"), "{why}");
    assert!(rig.reasons().iter().any(|one| one == "Failed"));
}

#[tokio::test(start_paused = true)]
async fn kube_defect_15_a_resource_is_answered_while_others_are_worked_on() {
    let rig = Rig::new().await;
    for number in 1..=20 {
        rig.vsi(&format!("web-{number}"), number);
    }
    rig.until("work is under way", || {
        rig.status("web-1")["phase"] == "Provisioning"
    })
    .await;
    let begun = Instant::now();
    rig.vsi("late", 99);
    rig.until("it is answered", || rig.status("late")["phase"].is_string())
        .await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    rig.until_ready("late").await;
}

#[tokio::test(start_paused = true)]
async fn kube_defect_17_what_failed_is_tried_again_by_itself() {
    let rig = Rig::new().await;
    rig.host_reachable(false);
    rig.vsi("web", 1);
    rig.until("it is reported", || {
        let status = rig.status("web");
        status["description"].to_string().contains("VSI01")
    })
    .await;
    rig.host_reachable(true);
    let back = Instant::now();
    rig.until_ready("web").await;
    let took = back.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
    assert_eq!(rig.runs(), 1);
}
