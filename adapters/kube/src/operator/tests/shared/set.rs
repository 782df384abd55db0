//! A fake of the set of journals: what they share, and what each of them knows of the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure, FailureClass},
};
use vsiflow_workflows::{
    fleet::{
        Adopting, ChosenHost, EntityPresence, ErrorKind, Fleet, FleetError, NetworkEnd,
        NetworkName, NetworkQuestion, NetworkReport, ObjectUsage, QuotaObject, ReportQuestions,
        RequestStatus, is_open, network_in_use, usage_of,
    },
    placement::Decision,
    quota::Usage,
    spec::Resolved,
};

use super::pools;
use crate::{
    WatchedCluster,
    share::{
        JournalShare, NetworkInquiry, NetworkSummary, PoolPermits, ResourceDecision, StillRequested,
    },
};

pub(super) type BeforeCheck = Box<dyn FnOnce() + Send>;

/// The fake database of a set: a host belongs to the journal whose number its name ends with.
#[derive(Default)]
pub(super) struct Set {
    pub(super) names: Mutex<BTreeMap<String, (u16, bool)>>,
    pub(super) fleets: Mutex<Vec<Fleet>>,
    /// The decisions for resources, by UID, until the host's journal settles them.
    pub(super) decided: Mutex<BTreeMap<Uuid, ResourceDecision>>,
    /// What was admitted for each object.
    pub(super) admitted: Mutex<BTreeMap<String, Usage>>,
    /// Whether no process takes the decisions.
    pub(super) is_held_back: AtomicBool,
    /// The outcomes of the decisions.
    pub(super) outcomes: Mutex<BTreeMap<Uuid, Result<(), Failure>>>,
    /// How many decisions were made.
    pub(super) decisions: Mutex<usize>,
    /// Whether the answer of the next decision is lost.
    pub(super) is_unheard: AtomicBool,
    /// Whether a journal does not report its usage.
    pub(super) is_silent: AtomicBool,
    /// Whether the count of quotas panics.
    pub(super) count_panics: AtomicBool,
    /// The journals that no process holds.
    pub(super) silent: Mutex<BTreeSet<u16>>,
    /// Whether journals report their members late.
    pub(super) is_slow: AtomicBool,
    /// The pools on which journals report after a minute.
    pub(super) late_pools: Mutex<BTreeSet<String>>,
    /// What each journal permits for pools.
    pub(super) permits: Mutex<BTreeMap<u16, PoolPermits>>,
    /// The refusal of a pool's members, until it is reported.
    pub(super) refusals: Mutex<BTreeMap<Uuid, Vec<Failure>>>,
    /// The reports about networks.
    pub(super) networks: Mutex<BTreeMap<NetworkName, NetworkSummary>>,
    /// Called once names are claimed, before the check whether the resource still exists.
    pub(super) before_check: Mutex<Option<BeforeCheck>>,
}

impl Set {
    pub(super) fn knows(&self, journal: u16, entity: &EntityId) -> bool {
        let fleets = self.fleets.lock().unwrap();
        fleets[usize::from(journal)].knowledge(entity) != EntityPresence::None
    }

    /// A process holds a journal from now on.
    pub(super) fn hold(&self, journal: u16, fleet: &Fleet) {
        let mut fleets = self.fleets.lock().unwrap();
        match fleets.get_mut(usize::from(journal)) {
            Some(of_journal) => *of_journal = fleet.clone(),
            None => fleets.push(fleet.clone()),
        }
        self.silent.lock().unwrap().remove(&journal);
    }

    /// The fleet of journal 0.
    fn decides(&self) -> Fleet {
        self.fleets.lock().unwrap()[0].clone()
    }

    /// The reports of all journals about networks, after unused ones were asked to end.
    async fn hear(
        &self,
        networks: BTreeMap<NetworkName, NetworkInquiry>,
    ) -> BTreeMap<NetworkName, NetworkSummary> {
        let fleets = self.fleets.lock().unwrap().clone();
        let mut reports = BTreeMap::new();
        for ((namespace, name), inquiry) in networks {
            let end = inquiry.end;
            let mut all = NetworkReport::default();
            let mut ask = NetworkQuestion {
                namespace: namespace.clone(),
                name: name.clone(),
                users: true,
                end: None,
            };
            for fleet in &fleets {
                all.add(reported(fleet, &ask).await);
            }
            let mut now = NetworkSummary {
                inquiry,
                ..NetworkSummary::default()
            };
            if end == Some(NetworkEnd::Delete) && !all.users.is_empty() {
                now.refused = Some(network_in_use(&namespace, &name, &all.users));
            } else if end.is_some() {
                (ask.end, all) = (end, NetworkReport::default());
                for fleet in &fleets {
                    all.add(reported(fleet, &ask).await);
                }
            }
            now.states = all.states;
            reports.insert((namespace, name), now);
        }
        reports
    }

    /// Whether quotas permit these in addition to everything that was admitted.
    async fn admits(&self, asked: &[ObjectUsage]) -> bool {
        let quotas = self.decides().quotas().list().await.unwrap();
        let mut admitted = self.admitted.lock().unwrap();
        let mut then = admitted.clone();
        then.extend(asked.iter().map(|one| (one.object.clone(), one.usage)));
        let sum = then.values().copied().fold(Usage::default(), Usage::plus);
        let mut hard = quotas.iter().map(|quota| &quota.spec.hard);
        let are_kept = hard.all(|hard| {
            hard.vsis.is_none_or(|limit| sum.vsis <= u64::from(limit))
                && hard.cpus.is_none_or(|limit| sum.cpus <= u64::from(limit))
        });
        if are_kept {
            *admitted = then;
        }
        are_kept
    }
}

async fn reported(fleet: &Fleet, question: &NetworkQuestion) -> NetworkReport {
    let question = std::slice::from_ref(question);
    let reports = fleet.networks().reports(question, pools::by()).await;
    reports.unwrap().pop().unwrap()
}

pub(super) struct Share {
    pub(super) number: u16,
    pub(super) set: Arc<Set>,
    pub(super) fleet: Fleet,
    pub(super) watched: WatchedCluster,
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "journal {}", self.number)
    }
}

impl Share {
    fn claim(&self, names: &[String]) -> Result<(), FleetError> {
        let mut claimed = self.set.names.lock().unwrap();
        for name in names {
            let other = claimed
                .get(name)
                .filter(|(journal, _)| *journal != self.number);
            if other.is_some() {
                let failure = Failure::new(FailureClass::Blocked, "VSI0765", "it is another's");
                return Err(FleetError {
                    kind: ErrorKind::Blocked,
                    failure: Box::new(failure),
                });
            }
        }
        let all = names.iter().cloned();
        claimed.extend(all.map(|name| (name, (self.number, true))));
        Ok(())
    }

    async fn record(
        &self,
        resolved: Resolved,
        by: By,
        still: &dyn StillRequested,
    ) -> Result<(), FleetError> {
        if !resolved.vsis.is_empty() {
            let before_check = self.set.before_check.lock().unwrap().take();
            before_check.into_iter().for_each(|before| before());
        }
        still.check().await?;
        self.fleet.apply(resolved, by).await.map(drop)
    }
}

#[async_trait]
impl JournalShare for Share {
    fn number(&self) -> u16 {
        self.number
    }

    async fn journals_of_hosts(
        &self,
        hosts: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, u16>, FleetError> {
        let journal = |host: &String| u16::from(host.contains("lpar1"));
        Ok(hosts
            .iter()
            .map(|host| (host.clone(), journal(host)))
            .collect())
    }

    async fn journals_of_names(
        &self,
        names: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, u16>, FleetError> {
        let claimed = self.set.names.lock().unwrap();
        let found = names
            .iter()
            .filter_map(|name| Some((name.clone(), claimed.get(name)?.0)));
        Ok(found.collect())
    }

    async fn may_be_elsewhere(&self, name: &str, entity: &EntityId) -> Result<bool, FleetError> {
        let owner = self.set.names.lock().unwrap().get(name).copied();
        let other = owner.filter(|(journal, _)| *journal != self.number);
        Ok(other.is_some_and(|(journal, is_busy)| is_busy || self.set.knows(journal, entity)))
    }

    async fn apply(
        &self,
        resolved: Resolved,
        by: By,
        still: &dyn StillRequested,
        admitted: &BTreeSet<String>,
    ) -> Result<(), FleetError> {
        let vsis = resolved.vsis.iter().map(|vsi| &vsi.desired);
        let namespaces = vsis.clone().map(|vsi| vsi.namespace.clone()).collect();
        let limited = self.limited(&namespaces).await?;
        assert!(limited.is_subset(admitted), "journal 0 was not asked");
        let vsis = vsis.map(|vsi| format!("vsi/{}/{}", vsi.namespace, vsi.name));
        let disks = resolved.data_disks.iter();
        let disks = disks.map(|disk| format!("disk/{}/{}", disk.namespace, disk.name));
        let snapshots = resolved.snapshots.iter();
        let snapshots = snapshots.map(|one| format!("snapshot/{}/{}", one.namespace, one.name));
        let names: Vec<_> = vsis.chain(disks).chain(snapshots).collect();
        self.claim(&names)?;
        let applied = self.record(resolved, by, still).await;
        let mut claimed = self.set.names.lock().unwrap();
        for name in names {
            // The name of something that does not exist is free for others.
            match applied {
                Ok(()) => _ = claimed.insert(name, (self.number, false)),
                Err(_) => _ = claimed.remove(&name),
            }
        }
        applied
    }

    async fn adopt(
        &self,
        what: Adopting,
        by: By,
        still: &dyn StillRequested,
    ) -> Result<(), FleetError> {
        let vsis = self.fleet.vsis();
        let (namespace, name) = vsis.adoption_name(&what, by.clone()).await?;
        self.claim(&[format!("vsi/{namespace}/{name}")])?;
        still.check().await?;
        vsis.adopt(what, by).await.map(drop)
    }

    /// The last candidate, if there are several.
    async fn decide(&self, uid: Uuid, resolved: &Resolved) -> Result<(), FleetError> {
        *self.set.decisions.lock().unwrap() += 1;
        let vsis = resolved.vsis.iter();
        let vsis = vsis.inspect(|vsi| {
            assert!(vsi.contract.expose().is_empty(), "secrets do not travel");
            assert!(self.number == 0 || !is_open(vsi), "another one chooses");
        });
        let hosts = vsis.map(|vsi| {
            let host = vsi.desired.possible_hosts().max().unwrap_or_default();
            (&vsi.desired.namespace, &vsi.desired.name, host)
        });
        let disks = resolved.data_disks.iter();
        let disks = disks.map(|disk| (&disk.namespace, &disk.name, disk.host.as_str()));
        let (namespace, name, host) = hosts.chain(disks).next().unwrap();
        let decision = ResourceDecision {
            host: ChosenHost {
                namespace: namespace.clone(),
                name: name.clone(),
                host: host.to_owned(),
                decision: Some(Decision::default()),
            },
            admitted: usage_of(resolved),
        };
        if self.set.admits(&decision.admitted).await {
            self.set.decided.lock().unwrap().insert(uid, decision);
        } else {
            let failure = Failure::new(FailureClass::Blocked, "VSI0738", "it is too much");
            let mut outcomes = self.set.outcomes.lock().unwrap();
            outcomes.insert(uid, Err(failure));
        }
        self.watched.wake();
        if self.set.is_unheard.swap(false, Ordering::Relaxed) {
            let failure = Failure::new(FailureClass::Transient, "VSI0831", "it does not answer");
            return Err(FleetError {
                kind: ErrorKind::Blocked,
                failure: Box::new(failure),
            });
        }
        Ok(())
    }

    async fn deciding(&self, uid: Uuid) -> Result<RequestStatus, FleetError> {
        if self.set.decided.lock().unwrap().contains_key(&uid) {
            return Ok(RequestStatus::Open);
        }
        let outcome = self.set.outcomes.lock().unwrap().remove(&uid);
        Ok(match outcome {
            Some(outcome) => RequestStatus::Answered(outcome.err().into_iter().collect()),
            None => RequestStatus::Nothing,
        })
    }

    fn decided(&self) -> BTreeMap<Uuid, ResourceDecision> {
        if self.set.is_held_back.load(Ordering::Relaxed) {
            return BTreeMap::new();
        }
        let all = self.set.decided.lock().unwrap().clone().into_iter();
        let is_own = |host: &str| u16::from(host.contains("lpar1")) == self.number;
        all.filter(|(_, decision)| is_own(&decision.host.host))
            .collect()
    }

    fn settle(&self, uid: Uuid, outcome: Option<Result<(), Failure>>) {
        let Some(outcome) = outcome else {
            return;
        };
        self.set.outcomes.lock().unwrap().insert(uid, outcome);
        self.set.decided.lock().unwrap().remove(&uid);
    }

    fn permit(&self, pools: PoolPermits) {
        let mut permits = self.set.permits.lock().unwrap();
        permits.insert(self.number, pools);
    }

    async fn limited(&self, namespaces: &BTreeSet<String>) -> Result<BTreeSet<String>, FleetError> {
        let mut limited = self.set.decides().quotas().namespaces().await?;
        limited.retain(|namespace| namespaces.contains(namespace));
        Ok(limited)
    }

    async fn limit(&self, resolved: Resolved, by: By) -> Result<(), FleetError> {
        assert_eq!(self.number, 0);
        self.fleet.apply(resolved, by).await.map(drop)
    }

    async fn quotas(&self) -> Result<Vec<QuotaObject>, FleetError> {
        assert_eq!(self.number, 0);
        if self.set.count_panics.load(Ordering::Relaxed) {
            panic!("the test asked for it");
        }
        if self.set.is_silent.load(Ordering::Relaxed) {
            return std::future::pending().await;
        }
        let questions = ReportQuestions {
            namespaces: self.fleet.quotas().namespaces().await?,
            ..ReportQuestions::default()
        };
        let others = self.set.fleets.lock().unwrap()[1..].to_vec();
        let mut taken = Vec::new();
        for other in others {
            let report = other.placements();
            taken.extend(report.report(&Resolved::default(), &questions).await?.taken);
        }
        self.fleet.quotas().list_beside(&taken).await
    }

    fn watch_networks(&self, networks: BTreeMap<NetworkName, NetworkInquiry>) {
        assert_eq!(self.number, 0);
        if self.set.is_silent.load(Ordering::Relaxed) {
            return;
        }
        let (set, watched) = (self.set.clone(), self.watched.clone());
        tokio::spawn(async move {
            let reports = set.hear(networks).await;
            let before = std::mem::replace(&mut *set.networks.lock().unwrap(), reports.clone());
            if before != reports {
                watched.wake();
            }
        });
    }

    fn network_report(&self, network: &NetworkName) -> Option<NetworkSummary> {
        assert_eq!(self.number, 0);
        self.set.networks.lock().unwrap().get(network).cloned()
    }
}
