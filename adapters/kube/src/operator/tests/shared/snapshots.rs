//! Snapshots in a set: the journal of the VSI takes the snapshot, whichever operator sees the resource.

use serde_json::json;
use vsiflow_workflows::{fleet::EntityPresence, record::snapshot_entity};

use super::{SharedRig, VSIS};
use crate::sample::uid;

const SNAPSHOTS: &str = "virtualserversnapshots";
const SERVERS: &str = super::SERVERS;

impl SharedRig {
    /// A server on the host of that journal.
    fn server(&self, name: &str, number: u8, journal: u16) {
        let spec = json!({"spec": {
            "imageURL": "http://images.lab.test:8080/debian-12.qcow2",
            "guest": {"type": "none"},
            "targetSelector": {"matchLabels": {"config": format!("lpar{journal}")}},
        }});
        self.server.apply(SERVERS, name, uid(number), spec);
    }

    fn snapshot(&self, name: &str, number: u8, vsi: &str) {
        let spec = json!({"spec": {"virtualServer": vsi}});
        self.server.apply(SNAPSHOTS, name, uid(number), spec);
    }

    /// The journals that know a snapshot.
    fn have_snapshot(&self, number: u8) -> Vec<usize> {
        let entity = snapshot_entity(uid(number)).unwrap();
        let all = self.journals.iter().enumerate();
        all.filter(|(_, one)| one.fleet.knowledge(&entity) == EntityPresence::Alive)
            .map(|(at, _)| at)
            .collect()
    }
}

#[tokio::test(start_paused = true)]
async fn each_snapshot_is_taken_once_by_the_journal_of_its_vsi() {
    let mut rig = SharedRig::new().await;
    rig.snapshot("early", 5, "web");
    rig.until_refused(SNAPSHOTS, "early", "VSI0703").await;
    rig.server("web", 1, 1);
    rig.server("other", 2, 0);
    rig.until_ready_as(SERVERS, "web").await;
    rig.until_ready_as(SERVERS, "other").await;
    rig.snapshot("second", 6, "other");
    for name in ["early", "second"] {
        rig.until_ready_as(SNAPSHOTS, name).await;
    }
    assert_eq!(
        (rig.have_snapshot(5), rig.have_snapshot(6)),
        (vec![1], vec![0])
    );
    rig.settle().await;
    let patches = rig.server.requests(&["PATCH"]);
    rig.hand_over(1).await;
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    assert_eq!(rig.server.requests(&["PATCH"]), patches, "it is as it was");

    for name in ["early", "second"] {
        rig.server.delete(SNAPSHOTS, name);
    }
    rig.until("both are gone", || rig.server.all(SNAPSHOTS).is_empty())
        .await;
    assert!(rig.have_snapshot(5).is_empty() && rig.have_snapshot(6).is_empty());
    assert_eq!(rig.server.all(SERVERS).len(), 2);
    assert!(rig.server.all(VSIS).is_empty());
}

/// Another journal may have the VSI's name now.
#[tokio::test(start_paused = true)]
async fn a_snapshot_stays_with_the_journal_that_took_it() {
    let rig = SharedRig::new().await;
    rig.server("web", 1, 1);
    rig.until_ready_as(SERVERS, "web").await;
    rig.snapshot("first", 5, "web");
    rig.until_ready_as(SNAPSHOTS, "first").await;
    // Another journal has the name of the VSI.
    let name = "vsi/default/web".to_owned();
    rig.set.names.lock().unwrap().insert(name, (0, false));
    rig.settle().await;
    assert_eq!(rig.have_snapshot(5), [1]);
    assert_eq!(
        rig.condition(SNAPSHOTS, "first", "Accepted")["status"],
        "True"
    );
    rig.server.delete(SNAPSHOTS, "first");
    rig.until("it is gone", || rig.server.all(SNAPSHOTS).is_empty())
        .await;
    assert!(rig.have_snapshot(5).is_empty());
}
