//! One cluster that the journals of a set share: each resource is served by one of them, and no operator
//! finalizes another journal's resource.

mod choices;
mod games;
mod networks;
mod pools;
mod quotas;
mod set;
mod snapshots;

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::Instant};
use vsiflow_workflows::{
    fleet::{EntityPresence, Fleet},
    pool,
    record::vsi_entity,
};

use self::set::{Set, Share};
use super::{
    fault,
    rig::{DEADLINE, RigStores, Switched, VirtualClock, finalizers, open},
};
use crate::{
    ADOPT, FINALIZER, Namespaces, ORPHAN, Operator, OperatorEnd, WatchedCluster, fake::FakeServer,
    sample::uid,
};

const VSIS: &str = "onprem-hpcrs";
const DISKS: &str = "onprem-datadisks";
const SERVERS: &str = "virtualservers";
const NETWORKS: &str = "virtualservernetworks";
const QUOTAS: &str = "virtualserverquotas";
/// How many journals the set has.
const JOURNALS: u16 = 2;

/// A journal, and its operator while a process holds it.
struct SharedJournal {
    stores: RigStores,
    fleet: Fleet,
    serving: JoinHandle<OperatorEnd>,
}

/// Two journals of a set that share a cluster.
struct SharedRig {
    server: FakeServer,
    set: Arc<Set>,
    hosts: Arc<Switched>,
    clock: Arc<VirtualClock>,
    watched: WatchedCluster,
    watching: JoinHandle<()>,
    journals: Vec<SharedJournal>,
}

impl SharedRig {
    async fn new() -> Self {
        let server = FakeServer::new();
        let namespaces = ["default", "b"].map(str::to_owned);
        let namespaces = Namespaces::These(namespaces.to_vec());
        let watched = WatchedCluster::new(server.client(), &namespaces);
        let watching = watched.clone();
        let watching = tokio::spawn(async move {
            watching.watch().await;
        });
        let mut rig = Self {
            server,
            set: Arc::default(),
            hosts: Arc::new(Switched::reachable()),
            clock: Arc::new(VirtualClock::new()),
            watched,
            watching,
            journals: Vec::new(),
        };
        for number in 0..JOURNALS {
            let journal = rig.begin(number, RigStores::of_database()).await;
            rig.journals.push(journal);
            rig.host(number);
        }
        rig
    }

    /// How many decisions were made.
    fn decisions(&self) -> usize {
        *self.set.decisions.lock().unwrap()
    }

    async fn begin(&self, number: u16, stores: RigStores) -> SharedJournal {
        let fleet = open(&stores, &self.hosts, &self.clock, u32::from(number)).await;
        let share = Arc::new(Share {
            number,
            set: self.set.clone(),
            fleet: fleet.clone(),
            watched: self.watched.clone(),
        });
        fleet.be_of_set();
        if number == 0 {
            fleet.pools().reach_over(self.set.clone());
        }
        self.set.hold(number, &fleet);
        let operator = Operator::sharing(&self.watched, fleet.clone(), None, share);
        let driven = fleet.clone();
        let serving = tokio::spawn(async move {
            driven.drive_all().await.unwrap();
            operator.run().await
        });
        SharedJournal {
            stores,
            fleet,
            serving,
        }
    }

    /// The journal's process dies, and another one takes the journal.
    async fn hand_over(&mut self, number: u16) {
        let journal = self.journals.pop().unwrap();
        assert_eq!(usize::from(number), self.journals.len(), "the last one");
        journal.serving.abort();
        journal.fleet.close().await;
        let next = self.begin(number, journal.stores).await;
        self.journals.push(next);
    }

    fn host(&self, number: u16) {
        let map = json!({
            "metadata": {"labels": {"config": format!("lpar{number}"), "fleet": "blue"}},
            "data": {"HOSTNAME": format!("lpar{number}.example.com"), "KNOWN_HOSTS": "h ssh-ed25519 A"},
        });
        let number = u8::try_from(number).unwrap();
        self.server.apply(
            "configmaps",
            &format!("lpar{number}"),
            uid(100 + number),
            map,
        );
    }

    /// A VSI on the host of that journal.
    fn vsi(&self, name: &str, number: u8, journal: u16) {
        let spec = json!({"spec": {
            "contract": "env: |\n  type: env\nworkload: |\n  type: workload\n",
            "imageURL": "http://images.lab.test:8080/hpcr-guest.qcow2",
            "targetSelector": {"matchLabels": {"config": format!("lpar{journal}")}},
        }});
        self.server.apply(VSIS, name, uid(number), spec);
    }

    fn condition(&self, resource: &str, name: &str, kind: &str) -> Value {
        let object = self.server.get(resource, name).unwrap_or_default();
        let all = object["status"]["conditions"].as_array().cloned();
        let mut all = all.unwrap_or_default().into_iter();
        all.find(|one| one["type"] == kind).unwrap_or_default()
    }

    fn has_finalizer(&self, resource: &str, name: &str) -> bool {
        finalizers(self.server.get(resource, name)).contains(&FINALIZER.to_owned())
    }

    /// The journals that know a VSI.
    fn known_in(&self, number: u8) -> Vec<usize> {
        let entity = vsi_entity(uid(number)).unwrap();
        let knows =
            |journal: &SharedJournal| journal.fleet.knowledge(&entity) != EntityPresence::None;
        let all = self.journals.iter().enumerate();
        all.filter(|(_, journal)| knows(journal))
            .map(|(at, _)| at)
            .collect()
    }

    async fn until(&self, what: &str, mut ready: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !ready() {
            let kinds = [
                VSIS,
                SERVERS,
                DISKS,
                "virtualserverpools",
                "virtualservergroups",
            ]
            .into_iter();
            let all: Vec<_> = kinds.flat_map(|kind| self.server.all(kind)).collect();
            assert!(begun.elapsed() < DEADLINE, "not in time: {what}\n{all:#?}");
            let ended = self.journals.iter().any(|one| one.serving.is_finished());
            assert!(!ended, "one serves no more");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn until_ready(&self, name: &str) {
        self.until_ready_as(VSIS, name).await;
    }

    async fn until_ready_as(&self, resource: &str, name: &str) {
        let what = format!("{name} is ready");
        let is_ready = || self.condition(resource, name, "Ready")["status"] == "True";
        self.until(&what, is_ready).await;
    }

    /// Why a resource is not accepted.
    async fn until_refused(&self, resource: &str, name: &str, code: &str) {
        let what = format!("{resource} {name} has {code}");
        let is_told = || self.condition(resource, name, "Accepted")["reason"] == code;
        self.until(&what, is_told).await;
    }

    async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn each_resource_is_served_by_the_journal_of_its_host_alone() {
    let mut rig = SharedRig::new().await;
    for journal in 0..2 {
        rig.vsi(
            &format!("web-{journal}"),
            1 + u8::try_from(journal).unwrap(),
            journal,
        );
    }
    rig.until_ready("web-0").await;
    rig.until_ready("web-1").await;
    assert_eq!((rig.known_in(1), rig.known_in(2)), (vec![0], vec![1]));
    // Without a change nothing is written: two operators of one resource would write in turn.
    rig.settle().await;
    let patches = rig.server.requests(&["PATCH"]);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(rig.server.requests(&["PATCH"]), patches);

    rig.hand_over(1).await;
    rig.settle().await;
    assert_eq!(rig.server.requests(&["PATCH"]), patches, "it is as it was");
    for name in ["web-0", "web-1"] {
        rig.server.delete(VSIS, name);
    }
    rig.until("both are gone", || rig.server.all(VSIS).is_empty())
        .await;
    let gone = |number| {
        let entity = vsi_entity(uid(number)).unwrap();
        let journal = &rig.journals[usize::from(number) - 1];
        journal.fleet.knowledge(&entity) == EntityPresence::Gone
    };
    assert!(gone(1) && gone(2));
}

/// Its journal has not reported it yet, and by its host it belongs to another journal now, which
/// finalized it.
#[tokio::test(start_paused = true)]
async fn what_is_recorded_elsewhere_is_not_let_go_of_before_it_is_gone_there() {
    let mut rig = SharedRig::new().await;
    rig.server
        .fail(fault(&["PATCH", "/status"], 500, usize::MAX));
    rig.vsi("web", 1, 1);
    rig.until("it is recorded", || !rig.known_in(1).is_empty())
        .await;
    assert_eq!(rig.known_in(1), [1]);
    // No process holds the journal for a while.
    let journal = rig.journals.pop().unwrap();
    journal.serving.abort();
    let serving = tokio::spawn(std::future::pending());
    rig.journals.push(SharedJournal { serving, ..journal });
    rig.vsi("web", 1, 0);
    rig.server.delete(VSIS, "web");
    rig.settle().await;
    assert!(rig.has_finalizer(VSIS, "web"), "another journal has it");
    assert_eq!(rig.known_in(1), [1]);

    rig.server.heal();
    rig.hand_over(1).await;
    rig.until("it is gone", || rig.server.all(VSIS).is_empty())
        .await;
    let entity = vsi_entity(uid(1)).unwrap();
    assert_eq!(
        rig.journals[1].fleet.knowledge(&entity),
        EntityPresence::Gone
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_before_it_is_recorded_never_is() {
    let rig = SharedRig::new().await;
    let server = rig.server.clone();
    let deletes = move || server.delete(VSIS, "web");
    *rig.set.before_check.lock().unwrap() = Some(Box::new(deletes));
    rig.vsi("web", 1, 1);
    rig.until("it is gone", || rig.server.all(VSIS).is_empty())
        .await;
    rig.settle().await;
    assert!(rig.known_in(1).is_empty());
    assert!(
        rig.set.before_check.lock().unwrap().is_none(),
        "it was about to be"
    );
}

#[tokio::test(start_paused = true)]
async fn what_nobody_can_say_is_still_there_waits_to_be_recorded() {
    let rig = SharedRig::new().await;
    rig.server
        .fail(fault(&["GET", "/onprem-hpcrs/web"], 500, usize::MAX));
    rig.vsi("web", 1, 1);
    rig.until_refused(VSIS, "web", "VSI0769").await;
    assert!(rig.known_in(1).is_empty());
    rig.server.heal();
    rig.until_ready("web").await;
}

#[tokio::test(start_paused = true)]
async fn what_is_to_be_nowhere_says_so_and_is_let_go() {
    let rig = SharedRig::new().await;
    let disk = json!({
        "metadata": {"finalizers": [FINALIZER]},
        "spec": {"size": 1 << 20, "targetSelector": {"matchLabels": {"config": "lpar9"}}},
    });
    rig.server.apply(DISKS, "data", uid(3), disk);
    rig.until_refused(DISKS, "data", "VSI0605").await;
    rig.server.delete(DISKS, "data");
    rig.until("it is gone", || rig.server.get(DISKS, "data").is_none())
        .await;
}

/// Its journal was lost, and the resource of what it had made was finalized before.
#[tokio::test(start_paused = true)]
async fn what_stands_on_a_host_is_adopted_by_the_journal_of_the_host() {
    let mut rig = SharedRig::new().await;
    rig.vsi("web", 1, 1);
    rig.until_ready("web").await;
    let orphan = json!({"metadata": {"annotations": {ORPHAN: "true"}}});
    rig.server.apply(VSIS, "web", uid(1), orphan);
    rig.settle().await;
    rig.server.delete(VSIS, "web");
    rig.until("it is finalized", || rig.server.get(VSIS, "web").is_none())
        .await;
    let journal = rig.journals.pop().unwrap();
    journal.serving.abort();
    journal.fleet.close().await;
    let successor = rig.begin(1, RigStores::default()).await;
    rig.journals.push(successor);

    rig.vsi("web", 1, 1);
    let adopt = json!({"metadata": {"annotations": {ADOPT: "true"}}});
    rig.server.apply(VSIS, "web", uid(1), adopt);
    rig.until_ready("web").await;
    assert_eq!(rig.known_in(1), [1]);
    let history = rig.journals[1].fleet.history();
    let lines = history.lines("default", "web").await.unwrap();
    let text = format!("{lines:?}");
    assert!(
        text.contains("adopt") && !text.contains("define_domain"),
        "{text}"
    );
    assert_eq!(rig.set.names.lock().unwrap()["vsi/default/web"].0, 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_is_a_pools_member_by_an_annotation() {
    let rig = SharedRig::new().await;
    let claims = json!({
        "metadata": {"finalizers": [FINALIZER], "annotations": {
            pool::UID_ANNOTATION: uid(50), pool::VSI_ANNOTATION: uid(51),
        }},
        "spec": {"imageURL": "http://images.lab.test:8080/debian-12.qcow2", "guest": {"type": "none"},
            "targetSelector": {"matchLabels": {"config": "lpar1"}}},
    });
    rig.server.apply(SERVERS, "web-1", uid(1), claims);
    rig.until_refused(SERVERS, "web-1", "VSI0721").await;
    rig.server.delete(SERVERS, "web-1");
    rig.until("it is gone", || rig.server.get(SERVERS, "web-1").is_none())
        .await;
    assert!(rig.known_in(1).is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_host_is_recorded_once_that_is_described() {
    let rig = SharedRig::new().await;
    rig.server.lose("configmaps", "lpar1");
    rig.vsi("web", 1, 1);
    rig.until_refused(VSIS, "web", "VSI0605").await;
    assert!(rig.known_in(1).is_empty());
    rig.host(1);
    rig.until_ready("web").await;
    assert_eq!(rig.known_in(1), [1]);
    assert_eq!(rig.condition(VSIS, "web", "Accepted")["status"], "True");
}

#[tokio::test(start_paused = true)]
async fn disks_go_to_the_journal_of_their_host_and_stay_with_their_vsi() {
    let rig = SharedRig::new().await;
    let spec = json!({
        "metadata": {"labels": {"disk": "data"}},
        "spec": {"size": 1 << 20, "targetSelector": {"matchLabels": {"config": "lpar1"}}},
    });
    rig.server.apply(DISKS, "data", uid(3), spec);
    rig.vsi("web", 1, 1);
    let selects = json!({"spec": {"diskSelector": {"matchLabels": {"disk": "data"}}}});
    rig.server.apply(VSIS, "web", uid(1), selects);
    rig.until_ready("web").await;
    let entity = vsiflow_workflows::record::disk_entity(uid(3)).unwrap();
    let knows = |at: usize| rig.journals[at].fleet.knowledge(&entity) == EntityPresence::Alive;
    assert!(!knows(0) && knows(1));
    rig.server.delete(DISKS, "data");
    rig.settle().await;
    assert!(rig.has_finalizer(DISKS, "data"), "a VSI uses it");
    rig.server.delete(VSIS, "web");
    rig.until("both are gone", || rig.server.get(DISKS, "data").is_none())
        .await;
    assert!(!knows(1));
}
