//! What waits for a person: another operator's resources, changes to be approved, lost disks.

use std::time::Duration;

use serde_json::{Value, json};

use super::rig::Rig;
use crate::{APPROVE, LostJournal, fake::FakeFault, sample::uid};

const LONG: Duration = Duration::from_secs(300);

fn finalizers(rig: &Rig, all: &[&str]) {
    let rest = json!({"metadata": {"finalizers": all}});
    rig.server.apply("onprem-hpcrs", "web", uid(1), rest);
}

#[tokio::test(start_paused = true)]
async fn what_another_operator_still_serves_is_left_alone_and_says_what_to_do() {
    let rig = Rig::new().await;
    rig.vsi("web", 1);
    finalizers(&rig, &["metacontroller.io/compositecontroller-x"]);
    // It may have been seen before the finalizer was set.
    rig.until("it is reported", || {
        rig.condition("web", "NotMigrated")["status"] == "True"
    })
    .await;
    let condition = rig.condition("web", "NotMigrated");
    let message = condition["message"].as_str().unwrap();
    assert!(message.contains("vsiflow migrate"), "{condition}");
    assert_eq!(condition["reason"], "VSI1003");
    tokio::time::sleep(LONG).await;
    assert!(rig.domains().await.is_empty());
    assert!(rig.server.requests(&["PATCH", "/status"]) <= 3);

    finalizers(&rig, &[crate::FINALIZER]);
    rig.until_ready("web").await;
    assert!(rig.condition("web", "NotMigrated").is_null());
}

/// A waiting change: an existing VSI with another number of processors.
async fn waiting(rig: &Rig, cpus: u32) -> String {
    let before = proposal(rig)["id"].clone();
    let spec = json!({"spec": {"machine": {"cpus": cpus}}});
    rig.server.apply("onprem-hpcrs", "web", uid(1), spec);
    rig.until("a change waits", || {
        let now = proposal(rig)["id"].clone();
        now.is_string() && now != before
    })
    .await;
    proposal(rig)["id"].as_str().unwrap().to_owned()
}

fn proposal(rig: &Rig) -> Value {
    rig.status("web")["proposal"].clone()
}

fn approve(rig: &Rig, id: &str) {
    let rest = json!({"metadata": {"annotations": {APPROVE: id}}});
    rig.server.apply("onprem-hpcrs", "web", uid(1), rest);
}

#[tokio::test(start_paused = true)]
async fn an_approval_is_of_one_change_and_of_no_other() {
    let rig = Rig::new().await;
    rig.vsi_with("web", 1, json!({"updatePolicy": "Manual"}));
    rig.until_ready("web").await;
    let first = waiting(&rig, 3).await;
    let condition = rig.condition("web", "UpdateApproved");
    assert_eq!(condition["status"], "False");
    assert!(
        condition["message"].as_str().unwrap().contains(&first),
        "{condition}"
    );
    let second = waiting(&rig, 4).await;
    approve(&rig, &first);
    tokio::time::sleep(LONG).await;
    assert_eq!(
        (rig.runs(), proposal(&rig)["id"].as_str()),
        (1, Some(&*second))
    );

    approve(&rig, &second);
    rig.until("nothing waits", || proposal(&rig).is_null())
        .await;
    rig.until_ready("web").await;
    tokio::time::sleep(LONG).await;
    assert_eq!(rig.runs(), 2, "it was approved once");
    // The old approval does not apply to later changes.
    waiting(&rig, 2).await;
    tokio::time::sleep(LONG).await;
    assert_eq!(rig.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_restart_is_done_once_for_each_time_it_is_asked_for() {
    let mut rig = Rig::new().await;
    rig.vsi("web", 1);
    rig.until_ready("web").await;
    let ask = |of: &Rig, at: &str| {
        let rest = json!({"metadata": {"annotations": {"vsiflow.io/restartedAt": at}}});
        of.server.apply("onprem-hpcrs", "web", uid(1), rest);
    };
    let before = rig.guests().await;
    ask(&rig, "2027-01-01T00:00:00Z");
    rig.until("a run", || rig.runs() == 2).await;
    tokio::time::sleep(LONG).await;
    rig.until_ready("web").await;
    let after = rig.guests().await;
    assert_ne!(before, after, "its guest was started again");

    rig.restart().await;
    tokio::time::sleep(LONG).await;
    assert_eq!((rig.runs(), rig.guests().await), (2, after.clone()));
    ask(&rig, "2027-01-01T00:00:01Z");
    rig.until("a run", || rig.runs() == 3).await;
}

async fn made_disk(rig: &Rig) {
    rig.disk("data", 9);
    let policy = json!({"spec": {"deletionPolicy": "Delete"}});
    rig.server.apply("onprem-datadisks", "data", uid(9), policy);
    rig.until("the disk is ready", || {
        let disk = rig.server.get("onprem-datadisks", "data").unwrap();
        disk["status"]["status"] == 1
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_a_lost_journal_made_is_not_let_go_of_in_silence() {
    let mut rig = Rig::new().await;
    made_disk(&rig).await;
    rig.lose_journal().await;
    let lost = |of: &Rig| {
        let disk = of.server.get("onprem-datadisks", "data").unwrap();
        disk["status"]["conditions"]
            .to_string()
            .contains("JournalLost")
    };
    rig.until("it is reported", || lost(&rig)).await;
    rig.server.delete("onprem-datadisks", "data");
    tokio::time::sleep(LONG).await;
    assert!(lost(&rig));
    assert_eq!(rig.volumes().await, 1);

    // With `LostJournal::Adopt` the disk is adopted, and then deleted according to its policy.
    rig.if_lost = LostJournal::Adopt;
    rig.restart().await;
    rig.until("it is gone", || {
        rig.server.get("onprem-datadisks", "data").is_none()
    })
    .await;
    assert_eq!(rig.volumes().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_adopted_after_a_lost_journal_stays_as_it_is() {
    let mut rig = Rig::new().await;
    made_disk(&rig).await;
    rig.if_lost = LostJournal::Adopt;
    rig.lose_journal().await;
    tokio::time::sleep(LONG).await;
    let disk = rig.server.get("onprem-datadisks", "data").unwrap();
    assert_eq!(disk["status"]["phase"], "Ready", "{disk}");
    assert_eq!(rig.volumes().await, 1);
    rig.server.delete("onprem-datadisks", "data");
    rig.until("it is gone", || {
        rig.server.get("onprem-datadisks", "data").is_none()
    })
    .await;
    assert_eq!(rig.volumes().await, 0);
}

#[tokio::test(start_paused = true)]
async fn definitions_are_told_as_the_operator_before_told_them() {
    let rig = Rig::new().await;
    let network = json!({
        "metadata": {"labels": {"net": "a"}}, "spec": {"networkName": "default"},
    });
    rig.server
        .apply("onprem-networkrefs", "net", uid(7), network);
    let gone = json!({"spec": {"networkName": "nowhere"}});
    rig.server.apply("onprem-networkrefs", "gone", uid(8), gone);
    let selects = json!({"networkSelector": {"matchLabels": {"net": "a"}}});
    rig.vsi_with("web", 1, selects);
    rig.until_ready("web").await;
    let status = |name: &str| {
        let found = rig.server.get("onprem-networkrefs", name).unwrap();
        found["status"].clone()
    };
    rig.until("the network's definition", || {
        status("net")["metadata"]["networkXML"].is_string()
    })
    .await;
    let status_of_net = status("net");
    assert_eq!(status_of_net["metadata"]["Name"], "default");
    assert_eq!(
        status_of_net["description"],
        status_of_net["metadata"]["networkXML"]
    );
    assert_eq!(status_of_net["status"], 1);
    rig.until("it is missing", || status("gone")["phase"] == "Missing")
        .await;
    assert_eq!(status("gone")["status"], 2);
    rig.until("the domain's definition", || {
        rig.status("web")["metadata"]["domainXML"].is_string()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn secrets_are_read_anew_after_a_restart_and_nothing_follows_from_that() {
    let mut rig = Rig::new().await;
    rig.vsi("web", 1);
    rig.vsi("db", 2);
    rig.until_ready("web").await;
    rig.until_ready("db").await;
    let before = rig.guests().await;
    rig.restart().await;
    tokio::time::sleep(LONG).await;
    rig.until_ready("web").await;
    assert_eq!((rig.guests().await, rig.runs()), (before.clone(), 2));

    // A change that was made while no process ran is a change of that VSI alone.
    rig.stop().await;
    let other = json!({"spec": {"contract": "env: |\n  type: env\nworkload: |\n  type: other\n"}});
    rig.server.apply("onprem-hpcrs", "web", uid(1), other);
    rig.restart().await;
    tokio::time::sleep(LONG).await;
    rig.until_ready("web").await;
    let after = rig.guests().await;
    assert_eq!(rig.runs(), 3);
    assert_eq!(before.last(), after.last());
    assert_ne!(before.first(), after.first());
}

#[tokio::test(start_paused = true)]
async fn what_was_under_way_waits_until_the_cluster_can_be_read() {
    let mut rig = Rig::new().await;
    rig.vsi("web", 1);
    rig.until("it is begun", || {
        rig.status("web")["currentStep"] == "clone_boot_disk"
    })
    .await;
    rig.stop().await;
    rig.server.fail(FakeFault {
        of: &["GET"],
        code: 503,
        times: 60,
        done: false,
    });
    rig.restart().await;
    rig.until_ready("web").await;
    assert_eq!(rig.runs(), 1);
    let reasons = rig.reasons();
    let bad: Vec<_> = reasons
        .iter()
        .filter(|one| one.contains("Blocked"))
        .collect();
    assert!(bad.is_empty(), "{reasons:?}");
}
