//! Quotas across the journals of a set.

use std::{sync::atomic::Ordering, time::Duration};

use serde_json::{Value, json};
use vsiflow_workflows::record::disk_entity;

use super::{DEADLINE, DISKS, QUOTAS, SERVERS, SharedRig};
use crate::{OperatorEnd, sample::uid};

impl SharedRig {
    fn quota(&self, hard: Value) {
        let quota = json!({"spec": {"hard": hard}});
        self.server.apply(QUOTAS, "all", uid(90), quota);
    }

    /// A quota that journal 0 has.
    async fn with_quota(hard: Value) -> Self {
        let rig = Self::new().await;
        rig.quota(hard);
        rig.until_recorded("all").await;
        rig
    }

    async fn until_recorded(&self, quota: &str) {
        let is_told = || !self.quota_status(quota)["used"].is_null();
        self.until("the quota is recorded", is_told).await;
    }

    fn quota_status(&self, name: &str) -> Value {
        let quota = self.server.get(QUOTAS, name);
        quota.map_or(Value::Null, |quota| quota["status"].clone())
    }

    fn server_with(&self, name: &str, number: u8, journal: u16, cpus: u32) {
        let spec = json!({"spec": {
            "imageURL": "http://images.lab.test:8080/debian-12.qcow2",
            "guest": {"type": "none"},
            "machine": {"cpus": cpus},
            "targetSelector": {"matchLabels": {"config": format!("lpar{journal}")}},
        }});
        self.server.apply(SERVERS, name, uid(number), spec);
    }

    /// How many processors are requested for a VSI of journal 1.
    async fn cpus(&self, name: &str) -> Option<u64> {
        let vsis = self.journals[1].fleet.vsis();
        let object = vsis.get("default", name).await.ok()?;
        object.spec["machine"]["cpus"].as_u64()
    }

    async fn until_it_has(&self, name: &str, cpus: u64) {
        for _ in 0..1200 {
            if self.cpus(name).await == Some(cpus) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{name} has {:?} processors", self.cpus(name).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_quota_says_what_is_used_in_all_journals_and_goes_with_its_resource() {
    let rig = SharedRig::with_quota(json!({"vsis": 3})).await;
    rig.vsi("a", 1, 0);
    rig.vsi("b", 2, 1);
    let both = || rig.quota_status("all")["used"]["vsis"] == "2";
    rig.until("both are counted", both).await;
    rig.server.delete(QUOTAS, "all");
    rig.until("it is gone", || rig.server.get(QUOTAS, "all").is_none())
        .await;
    let quotas = rig.journals[0].fleet.quotas().namespaces().await;
    assert!(quotas.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_quotas_do_not_permit_is_recorded_nowhere() {
    let rig = SharedRig::with_quota(json!({"vsis": 1})).await;
    rig.vsi("first", 1, 1);
    rig.until_ready("first").await;
    rig.vsi("second", 2, 1);
    rig.until_refused(super::VSIS, "second", "VSI0738").await;
    assert!(rig.known_in(2).is_empty());
    rig.quota(json!({"vsis": 2}));
    rig.until_ready("second").await;
    assert_eq!(rig.known_in(2), [1]);
}

#[tokio::test(start_paused = true)]
async fn journal_0_is_asked_only_about_what_takes_more() {
    let rig = SharedRig::with_quota(json!({"cpus": 8})).await;
    rig.server_with("web", 1, 1, 2);
    rig.until_ready_as(SERVERS, "web").await;
    assert_eq!(rig.decisions(), 1);
    rig.server_with("web", 1, 1, 1);
    rig.until_it_has("web", 1).await;
    assert_eq!(rig.decisions(), 1, "it takes less");
    rig.server_with("web", 1, 1, 4);
    rig.until_it_has("web", 4).await;
    assert_eq!(rig.decisions(), 2);
    rig.server_with("web", 1, 1, 9);
    rig.until_refused(SERVERS, "web", "VSI0738").await;
    assert_eq!(rig.cpus("web").await, Some(4));
}

/// Otherwise a fast tenant would get what is not counted.
#[tokio::test(start_paused = true)]
async fn no_more_is_recorded_than_was_admitted() {
    let rig = SharedRig::with_quota(json!({"cpus": 8})).await;
    rig.set.is_held_back.store(true, Ordering::Relaxed);
    rig.server_with("web", 1, 1, 2);
    rig.until("it is admitted", || rig.decisions() > 0).await;
    rig.server_with("web", 1, 1, 9);
    tokio::time::sleep(Duration::from_secs(5)).await;
    rig.set.is_held_back.store(false, Ordering::Relaxed);
    rig.watched.wake();
    rig.until_refused(SERVERS, "web", "VSI0738").await;
    assert!(rig.known_in(1).is_empty());
    rig.server_with("web", 1, 1, 8);
    rig.until_ready_as(SERVERS, "web").await;
}

#[tokio::test(start_paused = true)]
async fn data_disks_are_admitted_as_well() {
    let rig = SharedRig::with_quota(json!({"disk": "1Gi"})).await;
    let disk = json!({"spec": {
        "size": 1 << 20, "targetSelector": {"matchLabels": {"config": "lpar1"}},
    }});
    rig.server.apply(DISKS, "data", uid(2), disk);
    let entity = disk_entity(uid(2)).unwrap();
    rig.until("it is recorded", || rig.set.knows(1, &entity))
        .await;
    assert_eq!(rig.decisions(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_status_waits_for_a_journal_that_does_not_say_what_is_used() {
    let rig = SharedRig::with_quota(json!({"vsis": 4})).await;
    rig.set.is_silent.store(true, Ordering::Relaxed);
    // The request was sent by then.
    tokio::time::sleep(Duration::from_secs(120)).await;
    rig.vsi("web", 1, 0);
    rig.until_ready("web").await;
    assert_eq!(rig.quota_status("all")["used"]["vsis"], "0", "as it was");
}

/// What was recorded before is not requested again: a whole fleet would wait.
#[tokio::test(start_paused = true)]
async fn a_new_holder_asks_for_nothing_that_is_recorded() {
    let mut rig = SharedRig::with_quota(json!({"vsis": 4})).await;
    rig.vsi("web", 1, 1);
    rig.until_ready("web").await;
    rig.hand_over(1).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(rig.decisions(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_count_that_panics_ends_the_operator() {
    let mut rig = SharedRig::with_quota(json!({"vsis": 1})).await;
    rig.set.count_panics.store(true, Ordering::Relaxed);
    let ended = tokio::time::timeout(DEADLINE, &mut rig.journals[0].serving).await;
    let ended = ended.expect("the operator continues").unwrap();
    assert!(matches!(ended, OperatorEnd::Defect(_)), "{ended:?}");
}
