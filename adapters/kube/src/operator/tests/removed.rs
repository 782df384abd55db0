//! Objects that a command deleted although their resources remained.

use std::time::Duration;

use serde_json::{Value, json};

use super::rig::{Rig, condition_of};
use crate::sample::uid;

const LONG: Duration = Duration::from_secs(300);
const DISKS: &str = "onprem-datadisks";
const QUOTAS: &str = "virtualserverquotas";

fn disk_condition(rig: &Rig, name: &str) -> Value {
    condition_of(rig.server.get(DISKS, "data"), name)
}

async fn made_disk(rig: &Rig) {
    rig.disk("data", 9);
    let policy = json!({"spec": {"deletionPolicy": "Delete"}});
    rig.server.apply(DISKS, "data", uid(9), policy);
    rig.until("the disk is ready", || {
        disk_condition(rig, "Ready")["status"] == "True"
    })
    .await;
}

/// The generation of the refused attempt counted as the recorded one.
#[tokio::test(start_paused = true)]
async fn a_vsi_that_was_changed_after_its_deletion_is_made_although_an_attempt_was_refused() {
    let rig = Rig::new().await;
    rig.vsi("web", 1);
    rig.until_ready("web").await;
    rig.delete_by_command("web").await;
    rig.until("it is reported", || {
        rig.condition("web", "Removed")["status"] == "True"
    })
    .await;
    let none = json!({"spec": {"hard": {"vsis": 0}}});
    rig.server.apply(QUOTAS, "none", uid(7), none);
    rig.until("the quota holds", || {
        condition_of(rig.server.get(QUOTAS, "none"), "Ready")["status"] == "True"
    })
    .await;
    rig.vsi_with("web", 1, json!({"machine": {"cpus": 3}}));
    rig.until("it is refused", || {
        rig.condition("web", "Accepted")["reason"] == "VSI0738"
    })
    .await;
    tokio::time::sleep(LONG).await;
    rig.server.delete(QUOTAS, "none");
    rig.until_ready("web").await;
}

#[tokio::test(start_paused = true)]
async fn a_data_disk_that_a_command_deleted_does_not_come_back_empty() {
    let mut rig = Rig::new().await;
    made_disk(&rig).await;
    rig.delete_disk_by_command("data").await;
    rig.until("it is reported", || {
        disk_condition(&rig, "Removed")["status"] == "True"
    })
    .await;
    rig.restart().await;
    tokio::time::sleep(LONG).await;
    assert_eq!(rig.volumes().await, 0);
    assert_eq!(disk_condition(&rig, "Removed")["status"], "True");
    // Another label changes nothing that was recorded.
    let label = json!({"metadata": {"labels": {"tier": "gold"}}});
    rig.server.relabel(DISKS, "data", label);
    tokio::time::sleep(LONG).await;
    assert_eq!(rig.volumes().await, 0);

    rig.server
        .apply(DISKS, "data", uid(9), json!({"spec": {"size": 2 << 20}}));
    rig.until("it is made again", || {
        disk_condition(&rig, "Ready")["status"] == "True"
    })
    .await;
    assert_eq!(rig.volumes().await, 1);
}

/// What was recorded is not known from a status that another process replaced.
#[tokio::test(start_paused = true)]
async fn what_a_command_deleted_stays_deleted_without_its_status() {
    let mut rig = Rig::new().await;
    rig.vsi("web", 1);
    made_disk(&rig).await;
    rig.until_ready("web").await;
    rig.delete_by_command("web").await;
    rig.delete_disk_by_command("data").await;
    rig.until("both are reported", || {
        let disk = disk_condition(&rig, "Removed");
        rig.condition("web", "Removed")["status"] == "True" && disk["status"] == "True"
    })
    .await;
    rig.stop().await;
    for (resource, name) in [("onprem-hpcrs", "web"), (DISKS, "data")] {
        rig.server.overwrite_status(resource, name, json!({}));
    }
    rig.restart().await;
    tokio::time::sleep(LONG).await;
    assert_eq!((rig.domains().await.len(), rig.volumes().await), (0, 0));
    rig.vsi_with("web", 1, json!({"machine": {"cpus": 3}}));
    rig.until_ready("web").await;
}
