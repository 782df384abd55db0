//! Pools whose members are in several journals: journal 0 has the pool and creates the objects, the
//! journal of a member's host reports its status.

use std::{sync::atomic::Ordering, time::Duration};

use async_trait::async_trait;
use serde_json::{Value, json};
use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{Actor, Failure, FailureClass, Text},
};
use vsiflow_workflows::{
    fleet::{
        ChosenHost, EndedGroup, Fleet, FleetError, GuestQuestion, GuestQuestions, GuestReports,
        MemberJournals, MemberQuestions, MemberReports, MembersRequest, RequestStatus, put_hosts,
    },
    pool,
    spec::Resolved,
};

use super::{JOURNALS, SERVERS, Set, SharedRig, VSIS};
use crate::sample::uid;

const POOLS: &str = "virtualserverpools";
pub(super) const GROUPS: &str = "virtualservergroups";

fn journal_of(host: &str) -> u16 {
    u16::from(host.contains("lpar1"))
}

pub(super) fn by() -> By {
    By {
        actor: Actor::Engine,
        reason: Text::new("the members of a pool"),
    }
}

impl Set {
    /// The fleet of a journal that a process holds.
    fn fleet(&self, journal: u16) -> Result<Fleet, Failure> {
        if self.silent.lock().unwrap().contains(&journal) {
            let message = format!("journal {journal} does not answer");
            return Err(Failure::new(FailureClass::Blocked, "VSI0766", message));
        }
        Ok(self.fleets.lock().unwrap()[usize::from(journal)].clone())
    }

    /// Makes one member if its journal permits it.
    async fn make(&self, mut one: Resolved) -> Result<(), Failure> {
        let vsi = &one.vsis[0].desired;
        let of = vsi.member_of.clone().unwrap();
        let hosts = vsi.possible_hosts().filter(|host| !host.is_empty());
        let mut hosts: Vec<_> = hosts.map(str::to_owned).collect();
        hosts.sort();
        let host = hosts[of.number as usize % hosts.len()].clone();
        let chosen = ChosenHost {
            namespace: vsi.namespace.clone(),
            name: vsi.name.clone(),
            host: host.clone(),
            decision: Some(Default::default()),
        };
        let journal = journal_of(&host);
        let place = (vsi.namespace.as_str(), of.pool.as_str());
        let permits = self.permits.lock().unwrap().get(&journal).cloned();
        permits.unwrap_or_default().judge(place, &host)?;
        let name = format!("vsi/{}/{}", vsi.namespace, vsi.name);
        if vsi.host.is_empty() {
            put_hosts(&mut one, &[chosen]);
        }
        let fleet = self.fleet(journal)?;
        fleet
            .apply(one, by())
            .await
            .map_err(|error| *error.failure)?;
        self.names.lock().unwrap().insert(name, (journal, false));
        Ok(())
    }
}

#[async_trait]
impl MemberJournals for Set {
    async fn status_of(&self, pool: Uuid) -> Result<RequestStatus, FleetError> {
        let refusals = self.refusals.lock().unwrap().remove(&pool);
        Ok(refusals.map_or(RequestStatus::Nothing, RequestStatus::Answered))
    }

    async fn report(&self, questions: &MemberQuestions) -> Result<MemberReports, FleetError> {
        if self.is_slow.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        let is_late = self.late_pools.lock().unwrap().contains(&questions.name);
        if is_late {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        let mut reports = MemberReports::default();
        for number in 0..JOURNALS {
            match self.fleet(number) {
                Ok(fleet) => {
                    let report = fleet.pools().report(questions).await?;
                    reports.reports.insert(number, report);
                }
                Err(failure) => drop(reports.silent.insert(number, failure)),
            }
        }
        Ok(reports)
    }

    async fn journal_of(&self, namespace: &str, name: &str) -> Result<Option<u16>, FleetError> {
        let names = self.names.lock().unwrap();
        let found = names.get(&format!("vsi/{namespace}/{name}"));
        Ok(found.map(|(journal, _)| *journal))
    }

    async fn ask_guests(
        &self,
        of: Option<u16>,
        question: GuestQuestion,
    ) -> Result<GuestReports, FleetError> {
        let questions = GuestQuestions {
            question,
            left_alone: false,
        };
        let mut reports = GuestReports::default();
        for number in (0..JOURNALS).filter(|number| of.is_none_or(|of| of == *number)) {
            match self.fleet(number) {
                Ok(fleet) => {
                    let answer = fleet.groups().ask_guests(&questions).await?;
                    reports.answers.insert(number, answer);
                }
                Err(failure) => drop(reports.silent.insert(number, failure)),
            }
        }
        Ok(reports)
    }

    async fn end_networks(&self, group: &EndedGroup) -> Result<bool, FleetError> {
        let others = self.fleets.lock().unwrap()[1..].to_vec();
        let mut are_going = false;
        for fleet in others {
            are_going |= fleet.networks().end_of_group(group).await?;
        }
        Ok(are_going)
    }

    async fn ask(&self, pool: Uuid, ask: MembersRequest) -> Result<(), FleetError> {
        assert!(ask.of_shared_cluster, "no journal would check its hosts");
        let mut refused = Vec::new();
        for (journal, deletions) in ask.delete {
            let fleet = match self.fleet(journal) {
                Ok(fleet) => fleet,
                Err(failure) => {
                    refused.push(failure);
                    continue;
                }
            };
            for one in deletions {
                let (namespace, id) = (&one.namespace, one.uid.to_string());
                let vsis = fleet.vsis();
                vsis.delete(namespace, &id, one.orphan, by()).await?;
            }
        }
        for vsi in ask.apply.vsis {
            let one = Resolved {
                vsis: vec![vsi],
                ..Resolved::default()
            };
            refused.extend(self.make(one).await.err());
        }
        self.refusals.lock().unwrap().insert(pool, refused);
        Ok(())
    }
}

impl SharedRig {
    pub(super) fn pool(&self, replicas: u32) {
        let spec = json!({"spec": {
            "replicas": replicas,
            "template": {"spec": {
                "imageURL": "http://images.lab.test:8080/debian-12.qcow2",
                "guest": {"type": "cloudInit", "userData": "#cloud-config\nhostname: $(pool.member)\n"},
                "targetSelector": {"matchLabels": {"fleet": "blue"}},
                "placement": {"spread": {"over": "host"}},
            }},
        }});
        self.server.apply(POOLS, "web", uid(1), spec);
    }

    fn members(&self) -> Vec<String> {
        let all = self.server.all(SERVERS);
        let names = all.iter().map(|one| one["metadata"]["name"].as_str());
        names.map(|name| name.unwrap().to_owned()).collect()
    }

    fn vsi_of(&self, name: &str) -> String {
        let object = self.server.get(SERVERS, name).unwrap_or_default();
        let uid = object["metadata"]["annotations"][pool::VSI_ANNOTATION].as_str();
        uid.unwrap_or_default().to_owned()
    }

    fn pool_status(&self) -> Value {
        self.server.get(POOLS, "web").unwrap_or_default()["status"].clone()
    }

    /// A client that waits for the pool it requested gets the status of that one.
    fn promises_no_more_than_there_is(&self) {
        let pool = self.server.get(POOLS, "web").unwrap();
        let (status, generation) = (&pool["status"], &pool["metadata"]["generation"]);
        if status["observedGeneration"] == *generation && status["phase"] == "Available" {
            assert_eq!(
                status["readyReplicas"], pool["spec"]["replicas"],
                "{pool:#}"
            );
            assert_eq!(
                status["updatedReplicas"], pool["spec"]["replicas"],
                "{pool:#}"
            );
        }
    }

    async fn until_pool_has(&self, replicas: u32) {
        let what = format!("{replicas} members are ready");
        let is_ready = |name: &String| self.condition(SERVERS, name, "Ready")["status"] == "True";
        self.until(&what, || {
            let (status, members) = (self.pool_status(), self.members());
            self.promises_no_more_than_there_is();
            status["phase"] == "Available"
                && status["readyReplicas"] == replicas
                && members.len() == replicas as usize
                && members.iter().all(is_ready)
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn members_are_on_hosts_of_several_journals_and_each_tells_of_its_own() {
    let mut rig = SharedRig::new().await;
    rig.pool(3);
    rig.until_pool_has(3).await;
    assert_eq!(rig.members(), ["web-0", "web-1", "web-2"]);
    let host = |name: &str| rig.server.get(SERVERS, name).unwrap()["status"]["host"].clone();
    assert!(host("web-0").as_str().unwrap().contains("lpar0"));
    assert!(host("web-1").as_str().unwrap().contains("lpar1"));

    let all = |of: &SharedRig| (of.server.all(SERVERS), of.pool_status());
    let before = all(&rig);
    rig.hand_over(1).await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(all(&rig), before, "no journal reports another status");

    rig.pool(1);
    rig.until_pool_has(1).await;
    rig.server.delete(POOLS, "web");
    rig.until("all of it is gone", || {
        rig.members().is_empty() && rig.server.get(POOLS, "web").is_none()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_group_comes_up_in_waves_over_the_journals() {
    let rig = SharedRig::new().await;
    let template = json!({"spec": {
        "imageURL": "http://images.lab.test:8080/debian-12.qcow2",
        "guest": {"type": "none"},
        "targetSelector": {"matchLabels": {"fleet": "blue"}},
        "placement": {"spread": {"over": "host"}},
    }});
    let spec = json!({"spec": {"waves": [
        {"name": "first", "members": [{"name": "seed", "template": template}]},
        {"name": "others", "pools": [{"name": "node", "replicas": 2, "template": template}]},
    ]}});
    rig.server.apply(GROUPS, "db", uid(1), spec);
    let is_ready = |name: &str| rig.condition(SERVERS, name, "Ready")["status"] == "True";
    let names = ["db-seed-0", "db-node-0", "db-node-1"];
    rig.until("all members are ready", || {
        let status = &rig.server.get(GROUPS, "db").unwrap()["status"];
        names.iter().all(|name| is_ready(name))
            && status["phase"] == "Available"
            && status["progress"] == "3/3"
    })
    .await;
    rig.server.delete(GROUPS, "db");
    rig.until("all of it is gone", || {
        rig.members().is_empty() && rig.server.get(GROUPS, "db").is_none()
    })
    .await;
}

/// Reports about members may be older than the desired state.
#[tokio::test(start_paused = true)]
async fn a_status_never_takes_what_was_asked_before_for_what_is_asked_now() {
    let rig = SharedRig::new().await;
    rig.pool(2);
    rig.until_pool_has(2).await;
    rig.set.is_slow.store(true, Ordering::Relaxed);
    rig.pool(3);
    rig.until_pool_has(3).await;
    let label = json!({"spec": {"template": {"metadata": {"labels": {"tier": "new"}}}}});
    rig.server.apply(POOLS, "web", uid(1), label);
    let updated = || {
        rig.promises_no_more_than_there_is();
        let all = rig.server.all(SERVERS);
        all.len() == 3
            && all
                .iter()
                .all(|one| one["metadata"]["labels"]["tier"] == "new")
    };
    rig.until("all are updated", updated).await;
    rig.until_pool_has(3).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_on_which_journals_report_late_holds_up_no_other() {
    let rig = SharedRig::new().await;
    rig.set.late_pools.lock().unwrap().insert("late".to_owned());
    rig.pool(2);
    rig.until_pool_has(2).await;
    let spec = rig.server.get(POOLS, "web").unwrap()["spec"].clone();
    rig.server
        .apply(POOLS, "late", uid(2), json!({"spec": spec}));
    tokio::time::sleep(Duration::from_secs(10)).await;
    let begun = tokio::time::Instant::now();
    rig.pool(3);
    rig.until_pool_has(3).await;
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
    let is_available = || rig.condition(POOLS, "late", "Available")["status"] == "True";
    rig.until("the other one is available in time", is_available)
        .await;
}

#[tokio::test(start_paused = true)]
async fn who_deletes_a_members_object_deletes_that_member_wherever_it_is() {
    let rig = SharedRig::new().await;
    rig.pool(2);
    rig.until_pool_has(2).await;
    for name in ["web-0", "web-1"] {
        let before = rig.vsi_of(name);
        rig.server.delete(SERVERS, name);
        rig.until("it is recreated", || {
            let now = rig.vsi_of(name);
            !now.is_empty() && now != before
        })
        .await;
        rig.until_pool_has(2).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_is_let_go_leaves_its_members_and_their_objects_go() {
    let rig = SharedRig::new().await;
    rig.pool(2);
    rig.until_pool_has(2).await;
    let uids = ["web-0", "web-1"].map(|name| rig.vsi_of(name));
    let orphan = json!({"metadata": {"annotations": {crate::ORPHAN: "true"}}});
    rig.server.apply(POOLS, "web", uid(1), orphan);
    rig.server.delete(POOLS, "web");
    rig.until("nothing of it is in the cluster", || {
        rig.members().is_empty() && rig.server.get(POOLS, "web").is_none()
    })
    .await;
    let mut domains = Vec::new();
    for number in 0..2 {
        let host = format!("root@lpar{number}.example.com:22");
        let host = rig.hosts.hosts.sim(&host).await.unwrap();
        let there: Vec<_> = host
            .with(|state| state.domains.keys().map(ToString::to_string).collect())
            .await;
        domains.extend(there);
    }
    assert!(uids.iter().all(|uid| domains.contains(uid)), "{domains:?}");
}

/// A user who may write VirtualServers gets no access to a VSI by an annotation, in any journal.
#[tokio::test(start_paused = true)]
async fn what_another_journal_has_is_no_members_object_by_an_annotation() {
    let rig = SharedRig::new().await;
    rig.pool(2);
    rig.until_pool_has(2).await;
    rig.vsi("own", 2, 1);
    rig.until_ready("own").await;
    let pool = uid(1);
    for (number, name, named) in [
        (60, "other", rig.vsi_of("web-1")),
        (61, "web-7", rig.vsi_of("web-1")),
        (62, "new", uid(2).to_string()),
        (63, "nobody", uid(77).to_string()),
    ] {
        let claims = json!({
            "metadata": {"annotations": {pool::UID_ANNOTATION: pool, pool::VSI_ANNOTATION: named}},
            "spec": {"imageURL": "http://images.lab.test:8080/debian-12.qcow2", "guest": {"type": "none"},
                "targetSelector": {"matchLabels": {"config": "lpar1"}}},
        });
        rig.server.apply(SERVERS, name, uid(number), claims);
        rig.until_refused(SERVERS, name, "VSI0721").await;
        rig.server.delete(SERVERS, name);
        rig.until("it is gone", || rig.server.get(SERVERS, name).is_none())
            .await;
    }
    rig.until_pool_has(2).await;
    rig.until_ready("own").await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_is_made_once_its_hosts_are_described() {
    let rig = SharedRig::new().await;
    rig.server.lose("configmaps", "lpar0");
    rig.server.lose("configmaps", "lpar1");
    rig.pool(2);
    let is_told = || rig.condition(POOLS, "web", "Accepted")["reason"] != Value::Null;
    rig.until("it reports what is missing", is_told).await;
    rig.host(0);
    rig.host(1);
    rig.until_pool_has(2).await;
}

/// Only the journal of a host knows which settings of it are valid once the cluster does not have them
/// any more.
#[tokio::test(start_paused = true)]
async fn no_member_is_made_on_a_host_that_another_namespace_has() {
    let rig = SharedRig::new().await;
    rig.vsi("first", 2, 1);
    rig.until_ready("first").await;
    rig.server.lose("configmaps", "lpar1");
    let map = json!({
        "metadata": {"labels": {"config": "lpar1"}},
        "data": {"HOSTNAME": "lpar1.example.com", "KNOWN_HOSTS": "h ssh-ed25519 B"},
    });
    rig.server.apply("configmaps", "b/lpar1", uid(110), map);
    let spec = json!({"spec": {
        "replicas": 1,
        "template": {"spec": {
            "imageURL": "http://images.lab.test:8080/debian-12.qcow2",
            "guest": {"type": "none"},
            "targetSelector": {"matchLabels": {"config": "lpar1"}},
        }},
    }});
    rig.server.apply(POOLS, "b/web", uid(1), spec);
    let status = || rig.server.get(POOLS, "b/web").unwrap()["status"].clone();
    rig.until("the pool says why it has no member", || {
        status()["message"]
            .to_string()
            .contains("namespace default")
    })
    .await;
    assert_eq!(status()["readyReplicas"], 0, "{:#}", status());
    assert!(rig.server.get(SERVERS, "b/web-0").is_none());
    rig.server.delete(VSIS, "first");
    rig.until("the host is free", || {
        rig.condition(SERVERS, "b/web-0", "Ready")["status"] == "True"
    })
    .await;
}
