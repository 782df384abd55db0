//! Placement of VSIs across the journals of a set.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::{Value, json};
use vsiflow_workflows::{fleet::EntityPresence, record::vsi_entity};

use super::{DISKS, SERVERS, SharedRig};
use crate::{operator::tests::fault, sample::uid};

impl SharedRig {
    /// A server that may be on either of two hosts.
    fn server_anywhere(&self, name: &str, number: u8, more: Value) {
        let mut spec = json!({
            "imageURL": "http://images.lab.test:8080/debian-12.qcow2",
            "guest": {"type": "none"},
            "targetSelector": {"matchLabels": {"fleet": "blue"}},
            "placement": {"spread": {"over": "host"}},
        });
        let all = spec.as_object_mut().unwrap();
        all.extend(more.as_object().cloned().unwrap_or_default());
        let object = json!({ "spec": spec });
        self.server.apply(SERVERS, name, uid(number), object);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_is_chosen_over_all_journals_and_its_journal_has_the_vsi() {
    let mut rig = SharedRig::new().await;
    rig.server_anywhere("web", 1, json!({}));
    rig.until_ready_as(SERVERS, "web").await;
    assert_eq!(rig.known_in(1), [1]);
    assert!(rig.has_finalizer(SERVERS, "web"));
    let server = rig.server.clone();
    let status = || server.get(SERVERS, "web").unwrap()["status"].clone();
    let before = status();
    assert!(before["host"].as_str().unwrap().contains("lpar1"));

    rig.hand_over(1).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(status(), before, "no journal reports another status");
    assert_eq!(rig.decisions(), 1, "nor chooses again");

    rig.server.delete(SERVERS, "web");
    rig.until("it is gone", || rig.server.get(SERVERS, "web").is_none())
        .await;
    let vsi = vsi_entity(uid(1)).unwrap();
    let fleet = &rig.journals[1].fleet;
    assert_eq!(fleet.knowledge(&vsi), EntityPresence::Gone);
}

#[tokio::test(start_paused = true)]
async fn no_host_is_chosen_anew_while_one_is_being_chosen() {
    let rig = SharedRig::new().await;
    rig.set.is_held_back.store(true, Ordering::Relaxed);
    rig.server_anywhere("web", 1, json!({}));
    rig.until("a host was chosen", || rig.decisions() > 0).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(rig.known_in(1).is_empty());
    rig.set.is_held_back.store(false, Ordering::Relaxed);
    rig.watched.wake();
    rig.until_ready_as(SERVERS, "web").await;
    assert_eq!(rig.decisions(), 1);
}

/// A request may be carried out although its answer was lost.
#[tokio::test(start_paused = true)]
async fn no_host_is_chosen_anew_where_it_is_not_known_whether_one_is() {
    let rig = SharedRig::new().await;
    rig.set.is_held_back.store(true, Ordering::Relaxed);
    rig.set.is_unheard.store(true, Ordering::Relaxed);
    rig.server_anywhere("web", 1, json!({}));
    rig.until("a host was chosen", || rig.decisions() > 0).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    rig.set.is_held_back.store(false, Ordering::Relaxed);
    rig.watched.wake();
    rig.until_ready_as(SERVERS, "web").await;
    assert_eq!(rig.decisions(), 1);
}

/// The status cannot show where it is recorded.
#[tokio::test(start_paused = true)]
async fn no_host_is_chosen_anew_for_what_another_journal_has() {
    let rig = SharedRig::new().await;
    rig.server
        .fail(fault(&["PATCH", "/web/status"], 500, usize::MAX));
    rig.server_anywhere("web", 1, json!({}));
    rig.until("it is recorded", || rig.known_in(1) == [1]).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(rig.decisions(), 1);
    rig.server.heal();
    rig.until_ready_as(SERVERS, "web").await;
}

/// Only the host of its data disk is possible.
#[tokio::test(start_paused = true)]
async fn what_has_a_data_disk_is_placed_where_that_is() {
    let rig = SharedRig::new().await;
    let disk = json!({
        "metadata": {"labels": {"disk": "data"}},
        "spec": {"size": 1 << 20, "targetSelector": {"matchLabels": {"config": "lpar0"}}},
    });
    rig.server.apply(DISKS, "data", uid(2), disk);
    let select = json!({"diskSelector": {"matchLabels": {"disk": "data"}}});
    rig.server_anywhere("web", 1, select);
    rig.until_ready_as(SERVERS, "web").await;
    assert_eq!(rig.known_in(1), [0]);
}

#[tokio::test(start_paused = true)]
async fn what_the_hosts_journal_does_not_take_says_why() {
    let rig = SharedRig::new().await;
    rig.server
        .fail(fault(&["GET", "/virtualservers/web"], 500, usize::MAX));
    rig.server_anywhere("web", 1, json!({}));
    rig.until_refused(SERVERS, "web", "VSI0769").await;
    assert!(rig.known_in(1).is_empty());
    rig.server.heal();
    rig.until_ready_as(SERVERS, "web").await;
    assert_eq!(rig.known_in(1), [1]);
    assert!(rig.decisions() > 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_while_its_host_is_chosen_is_not_recorded() {
    let rig = SharedRig::new().await;
    let server = rig.server.clone();
    let deletes = move || server.delete(SERVERS, "web");
    *rig.set.before_check.lock().unwrap() = Some(Box::new(deletes));
    rig.server_anywhere("web", 1, json!({}));
    let is_gone = || rig.server.get(SERVERS, "web").is_none();
    let was_chosen = || rig.decisions() > 0;
    rig.until("it is gone", || was_chosen() && is_gone()).await;
    assert!(rig.known_in(1).is_empty());
}
