//! Networks whose hosts belong to several journals: journal 0 reports them, and all of them finalize.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use vsiflow_workflows::fleet::{NetworkEnd, NetworkState};

use super::{NETWORKS, SERVERS, SharedRig, pools::GROUPS};
use crate::{
    sample::uid,
    share::{NetworkInquiry, NetworkSummary},
};

impl SharedRig {
    fn network(&self, policy: &str) {
        let spec = json!({"spec": {"cidr": "10.20.0.0/24", "deletionPolicy": policy}});
        self.server.apply(NETWORKS, "inner", uid(3), spec);
    }

    /// A server on the network, on the host of that journal.
    fn networked(&self, name: &str, number: u8, journal: u16) {
        let spec = json!({"spec": {
            "imageURL": "http://images.lab.test:8080/debian-12.qcow2",
            "guest": {"type": "none"},
            "targetSelector": {"matchLabels": {"config": format!("lpar{journal}")}},
            "interfaces": [{"network": "inner"}],
        }});
        self.server.apply(SERVERS, name, uid(number), spec);
    }

    fn network_status(&self) -> Value {
        let network = self.server.get(NETWORKS, "inner").unwrap_or_default();
        network["status"].clone()
    }

    async fn states_in(&self, journal: usize) -> Vec<NetworkState> {
        let networks = self.journals[journal].fleet.networks();
        networks.states("default", "inner").await.unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn a_network_is_told_of_on_all_hosts_and_goes_from_all_of_them() {
    let mut rig = SharedRig::new().await;
    rig.network("Delete");
    rig.until("nothing is on it", || {
        rig.network_status()["phase"] == "Unused"
    })
    .await;
    for journal in 0..2_u8 {
        rig.networked(&format!("web-{journal}"), 10 + journal, journal.into());
    }
    for name in ["web-0", "web-1"] {
        rig.until_ready_as(SERVERS, name).await;
    }
    rig.until("both hosts have it", || {
        let hosts = rig.network_status()["host"].clone();
        let hosts = hosts.as_str().unwrap_or_default();
        rig.network_status()["phase"] == "Ready"
            && hosts.contains("lpar0")
            && hosts.contains("lpar1")
    })
    .await;
    // Without a change nothing is written.
    rig.settle().await;
    let patches = rig.server.requests(&["PATCH"]);
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    assert_eq!(rig.server.requests(&["PATCH"]), patches);

    rig.server.delete(NETWORKS, "inner");
    rig.until_refused(NETWORKS, "inner", "VSI0746").await;
    rig.server.delete(SERVERS, "web-0");
    rig.until("a server is gone", || {
        rig.server.get(SERVERS, "web-0").is_none()
    })
    .await;
    rig.settle().await;
    assert!(
        rig.has_finalizer(NETWORKS, "inner"),
        "another server is on it"
    );
    assert_eq!(
        rig.states_in(0).await.len(),
        1,
        "nowhere it goes before all do"
    );
    rig.hand_over(1).await;
    rig.server.delete(SERVERS, "web-1");
    rig.until("it is gone", || rig.server.get(NETWORKS, "inner").is_none())
        .await;
    assert!(rig.states_in(0).await.is_empty() && rig.states_in(1).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_recorded_on_a_network_that_goes_at_that_moment() {
    let rig = SharedRig::new().await;
    rig.network("Delete");
    rig.until("the network is served", || {
        rig.has_finalizer(NETWORKS, "inner")
    })
    .await;
    let server = rig.server.clone();
    let deletes = move || server.delete(NETWORKS, "inner");
    *rig.set.before_check.lock().unwrap() = Some(Box::new(deletes));
    rig.networked("web", 1, 1);
    rig.until("it is gone", || rig.server.get(NETWORKS, "inner").is_none())
        .await;
    rig.settle().await;
    assert!(rig.set.before_check.lock().unwrap().is_none());
    assert!(rig.known_in(1).is_empty(), "its network was going");
    assert!(rig.states_in(1).await.is_empty());
}

/// A network with the same name existed before, and nothing of it was left.
#[tokio::test(start_paused = true)]
async fn what_was_heard_of_another_network_of_its_name_lets_none_go() {
    let rig = SharedRig::new().await;
    rig.network("Delete");
    rig.networked("web", 1, 1);
    rig.until_ready_as(SERVERS, "web").await;
    rig.server.delete(SERVERS, "web");
    rig.until("nothing is on it", || {
        rig.server.get(SERVERS, "web").is_none()
    })
    .await;
    rig.settle().await;
    rig.set.is_silent.store(true, Ordering::Relaxed);
    let before = NetworkSummary {
        inquiry: NetworkInquiry {
            uid: uid(4),
            end: Some(NetworkEnd::Delete),
        },
        ..NetworkSummary::default()
    };
    let name = ("default".to_owned(), "inner".to_owned());
    rig.set.networks.lock().unwrap().insert(name, before);
    rig.server.delete(NETWORKS, "inner");
    rig.settle().await;
    assert!(rig.has_finalizer(NETWORKS, "inner"), "it is on a host");
    rig.set.is_silent.store(false, Ordering::Relaxed);
    rig.watched.wake();
    rig.until("it is gone", || rig.server.get(NETWORKS, "inner").is_none())
        .await;
    assert!(rig.states_in(1).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_becomes_of_a_network_reaches_the_journals_of_its_pools_members() {
    let rig = SharedRig::new().await;
    rig.network("Delete");
    let template = json!({"spec": {
        "imageURL": "http://images.lab.test:8080/debian-12.qcow2",
        "guest": {"type": "none"},
        "targetSelector": {"matchLabels": {"config": "lpar1"}},
        "interfaces": [{"network": "inner"}],
    }});
    let spec = json!({"spec": {"waves": [
        {"name": "first", "members": [{"name": "seed", "template": template}]},
    ]}});
    rig.server.apply(GROUPS, "db", uid(1), spec.clone());
    let is_available = || {
        let group = rig.server.get(GROUPS, "db").unwrap_or_default();
        group["status"]["phase"] == "Available"
    };
    rig.until("the group is available", is_available).await;
    assert!(rig.states_in(0).await.is_empty(), "no member exists");
    assert_eq!(rig.states_in(1).await.len(), 1);
    let policy = || async {
        let all = rig.journals[1].fleet.networks().list().await.unwrap();
        all[0].made.as_ref().unwrap().deletion_policy
    };
    assert_eq!(policy().await, "Delete");
    rig.network("Retain");
    rig.settle().await;
    assert_eq!(policy().await, "Retain");
    rig.network("Delete");
    rig.settle().await;
    assert_eq!(policy().await, "Delete");

    // A group deletes the networks that its members used.
    rig.server.delete(GROUPS, "db");
    rig.until("the group is gone", || {
        rig.server.get(GROUPS, "db").is_none()
    })
    .await;
    assert!(rig.states_in(1).await.is_empty());

    rig.server.apply(GROUPS, "db", uid(2), spec);
    rig.until("it is available", is_available).await;
    rig.server.delete(NETWORKS, "inner");
    rig.until_refused(NETWORKS, "inner", "VSI0746").await;
    rig.settle().await;
    assert_eq!(rig.states_in(1).await.len(), 1, "it is in use");
    rig.server.delete(GROUPS, "db");
    rig.until("both are gone", || {
        rig.server.get(GROUPS, "db").is_none() && rig.server.get(NETWORKS, "inner").is_none()
    })
    .await;
    assert!(rig.states_in(1).await.is_empty());
}
