//! Decisions: what journal 0 of a set decides about resources, and the journal of the host records: the
//! host of a VSI that has none yet, and whether quotas permit what a VSI or a data disk takes.
//!
//! After a crash, a request is found again by the UID of its resource. A decision that was not taken is
//! handed over again to the next holder of the host's journal. What is recorded is known by its UID, and
//! no host is chosen for it again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;
use vsiflow_engine::{
    model::{Failure, FailureClass, Hash, Name},
    secret::Secret,
};
use vsiflow_workflows::{
    fleet::{ChosenHost, EntityPresence, FleetError, RequestStatus, is_open, put_hosts},
    record::{disk_entity, vsi_entity},
    spec::{DesiredDataDisk, Problem, Resolved, ResolvedVsi},
};

use super::{
    Controller,
    apply_request::{ApplyRequest, host_bytes},
    by,
    shard_scope::all_pools,
};
use crate::{
    FIELD_MANAGER,
    share::{JournalShare, ResourceDecision},
    translate::Translation,
};

/// Resources that may be in decision at the same time: people's documents wait in the same queue.
const MAX_OPEN: usize = 16;
/// The same for one namespace, so that it does not hold back the others.
const MAX_OPEN_PER_NAMESPACE: usize = 8;
/// When a refused request is sent again; it is sent immediately if its resource changed.
const RETRY_WAIT: Duration = Duration::from_secs(30);

/// The requests of this journal to journal 0.
#[derive(Default)]
pub(super) struct Decisions {
    /// Resources that need a decision in this pass.
    awaiting: BTreeSet<Uuid>,
    /// Resources without a request under way, except those in `open`.
    idle: BTreeSet<Uuid>,
    /// Requests without an answer, with their namespaces.
    open: BTreeMap<Uuid, String>,
    /// Refused requests, and when they were refused.
    refused: BTreeMap<Uuid, (Hash, Instant)>,
    /// Hash of the recorded settings of each host that may be chosen.
    hosts: BTreeMap<String, Hash>,
}

impl Decisions {
    /// Whether a request has no answer yet.
    pub(super) fn is_waiting(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether this journal has the settings of a host that may be chosen.
    pub(super) fn has_host(&self, host: &str) -> bool {
        self.hosts.contains_key(host)
    }

    /// Records that these resources need a decision.
    pub(super) fn want(&mut self, uids: impl IntoIterator<Item = Uuid>) {
        self.awaiting.extend(uids);
    }

    /// Forgets resources for which no decision was needed since the last call.
    pub(super) fn end_pass(&mut self) {
        let awaiting = std::mem::take(&mut self.awaiting);
        self.idle.retain(|uid| awaiting.contains(uid));
        self.open.retain(|uid, _| awaiting.contains(uid));
        self.refused.retain(|uid, _| awaiting.contains(uid));
    }

    fn may_request(&self, (namespace, uid): (&str, Uuid), print: Hash) -> bool {
        let refused = self.refused.get(&uid);
        let is_new = |(before, at): &(Hash, Instant)| *before != print || at.elapsed() > RETRY_WAIT;
        let its = self.open.values().filter(|of| *of == namespace).count();
        self.open.len() < MAX_OPEN && its < MAX_OPEN_PER_NAMESPACE && refused.is_none_or(is_new)
    }

    /// When the resource was refused last: those that never were come first, then the oldest refusals.
    fn refused_at(&self, uid: Uuid) -> Option<Instant> {
        self.refused.get(&uid).map(|(_, at)| *at)
    }
}

/// A request to journal 0 about one resource. It holds no secrets.
pub(super) struct DecisionRequest {
    pub(super) uid: Uuid,
    namespace: String,
    pub(super) resolved: Resolved,
    /// Hash of the fields of the resource that the decision depends on.
    print: Hash,
}

impl DecisionRequest {
    pub(super) fn of_vsi(uid: Uuid, vsi: &ResolvedVsi) -> Self {
        let resolved = ResolvedVsi {
            contract: Secret::new(String::new()),
            image_url: None,
            ..vsi.clone()
        };
        Self {
            uid,
            namespace: vsi.desired.namespace.clone(),
            print: asked_print(vsi),
            resolved: Resolved {
                vsis: vec![resolved],
                ..Resolved::default()
            },
        }
    }

    pub(super) fn of_disk(uid: Uuid, disk: &DesiredDataDisk) -> Self {
        Self {
            uid,
            namespace: disk.namespace.clone(),
            print: Hash::of(&serde_json::to_vec(disk).unwrap_or_default()),
            resolved: Resolved {
                data_disks: vec![disk.clone()],
                ..Resolved::default()
            },
        }
    }
}

impl Controller {
    /// Decisions about resources that this pass records.
    pub(super) fn decided(&self) -> BTreeMap<Uuid, ResourceDecision> {
        let share = self.share.as_ref();
        share.map(|share| share.decided()).unwrap_or_default()
    }

    /// Inserts the chosen hosts into the translation.
    pub(super) fn insert_chosen_hosts(
        &mut self,
        all: &BTreeMap<Uuid, ResourceDecision>,
        translation: &mut Translation,
    ) {
        for (uid, decision) in all {
            let chosen = &decision.host;
            let vsi = translation.vsis.get_mut(uid);
            let Some(vsi) = vsi.filter(|vsi| is_open(vsi)) else {
                continue;
            };
            self.refused.remove(uid);
            if vsi.desired.possible_hosts().any(|host| host == chosen.host) {
                put_host(vsi, chosen);
            } else {
                let why = "its placement permits that host no more";
                self.refused.insert(*uid, not_taken(chosen, why));
            }
        }
    }

    /// Reports to the share what became of the decisions.
    pub(super) fn settle(&self, all: BTreeMap<Uuid, ResourceDecision>, translation: &Translation) {
        let Some(share) = self.share.as_ref().filter(|_| !all.is_empty()) else {
            return;
        };
        let cluster = self.cache.snapshot().resources;
        for (uid, decision) in all {
            let is_known = self.is_recorded(uid) && !self.admission.is_lacking(uid);
            let resource = cluster.iter().find(|resource| resource.uid == uid);
            let problem = || translation.problems.get(&resource?.key)?.first();
            let outcome = match self.refused.get(&uid) {
                _ if is_known => Some(Ok(())),
                Some(failure) => Some(Err(failure.clone())),
                None if self.admission.is_lacking(uid) => {
                    let why = "it now asks for more than was admitted";
                    Some(Err(not_taken(&decision.host, why)))
                }
                None => problem().map(|problem| Err(is_wrong(&decision.host, problem))),
            };
            share.settle(uid, outcome);
        }
    }

    /// Whether this journal knows a VSI or a data disk with that UID.
    fn is_recorded(&self, uid: Uuid) -> bool {
        let entities = [vsi_entity(uid), disk_entity(uid)].into_iter().flatten();
        let mut known = entities.map(|entity| self.fleet.knowledge(&entity));
        known.any(|presence| presence != EntityPresence::None)
    }

    /// Whether journal 0 was asked about a resource and has not decided yet.
    pub(super) async fn is_being_decided(
        &mut self,
        share: &dyn JournalShare,
        (uid, namespace): (Uuid, &str),
        print: Hash,
    ) -> Result<bool, FleetError> {
        if self.decisions.idle.contains(&uid) && !self.decisions.open.contains_key(&uid) {
            return Ok(false);
        }
        match share.deciding(uid).await? {
            RequestStatus::Open => {
                self.decisions.open.insert(uid, namespace.to_owned());
                return Ok(true);
            }
            RequestStatus::Answered(refused) => {
                if let Some(failure) = refused.into_iter().next() {
                    self.note_refusal(uid, print, failure);
                }
            }
            RequestStatus::Nothing => {}
        }
        self.decisions.open.remove(&uid);
        self.decisions.idle.insert(uid);
        Ok(false)
    }

    fn note_refusal(&mut self, uid: Uuid, print: Hash, failure: Failure) {
        let refusals = &mut self.decisions.refused;
        refusals.insert(uid, (print, Instant::now()));
        self.refused.insert(uid, failure);
    }

    /// Splits requests into new VSIs whose host is chosen across several journals, and all others.
    pub(super) fn open_apart(
        &self,
        requests: Vec<ApplyRequest>,
    ) -> (Vec<ApplyRequest>, Vec<ApplyRequest>) {
        requests.into_iter().partition(|request| {
            let is_new = || self.fleet.knowledge(&request.entity) == EntityPresence::None;
            self.share.is_some() && is_open(&request.vsi) && is_new()
        })
    }

    /// Requests hosts for VSIs without one. Returns the UIDs of those that were requested now.
    pub(super) async fn request_placement(&mut self, open: Vec<ApplyRequest>) -> BTreeSet<Uuid> {
        let requests = open.iter();
        let requests = requests.map(|request| DecisionRequest::of_vsi(request.uid, &request.vsi));
        self.request_decisions(requests.collect()).await
    }

    /// Asks journal 0 about as many of these as limits permit now. Returns the UIDs of those.
    pub(super) async fn request_decisions(
        &mut self,
        requests: Vec<DecisionRequest>,
    ) -> BTreeSet<Uuid> {
        let mut requested = BTreeSet::new();
        let Some(share) = self.share.clone() else {
            return requested;
        };
        let mut requests = requests;
        requests.sort_by_key(|request| self.decisions.refused_at(request.uid));
        for request in requests {
            self.heartbeat();
            self.unfinished = true;
            let (uid, namespace) = (request.uid, &request.namespace);
            if !self.decisions.may_request((namespace, uid), request.print) {
                continue;
            }
            match share.decide(uid, &request.resolved).await {
                Ok(()) => {
                    self.decisions.open.insert(uid, namespace.clone());
                    self.refused.remove(&uid);
                    requested.insert(uid);
                }
                Err(error) => {
                    // The request may have been recorded all the same.
                    self.decisions.idle.remove(&uid);
                    self.note_refusal(uid, request.print, *error.failure);
                }
            }
            self.status_queue.dirty_uid(&uid);
        }
        requested
    }

    /// Has journal 0 admit what these take, unless it is already deciding.
    pub(super) async fn request_admission(&mut self, unadmitted: Vec<DecisionRequest>) {
        let Some(share) = self.share.clone() else {
            return;
        };
        self.decisions
            .want(unadmitted.iter().map(|request| request.uid));
        let mut requests = Vec::new();
        for request in unadmitted {
            let place = (request.uid, request.namespace.as_str());
            match self.is_being_decided(&*share, place, request.print).await {
                Ok(true) => _ = self.refused.remove(&request.uid),
                Ok(false) => requests.push(request),
                Err(error) => {
                    self.unfinished = true;
                    self.refused.insert(request.uid, *error.failure);
                }
            }
        }
        self.request_decisions(requests).await;
    }

    /// The hosts that may be chosen for any resource.
    pub(super) fn candidates(&self, translation: &Translation) -> BTreeSet<String> {
        if self.share.is_none() {
            return BTreeSet::new();
        }
        let vsis = translation.vsis.values().filter(|vsi| is_open(vsi));
        let hosts = vsis.flat_map(|vsi| vsi.desired.possible_hosts());
        // Journal 0 makes the members, and it does not have these hosts' settings.
        let of_pools = all_pools(translation);
        let of_pools = of_pools.flat_map(|pool| pool.template.desired.possible_hosts());
        let hosts = hosts.chain(of_pools).filter(|host| !host.is_empty());
        hosts.map(str::to_owned).collect()
    }

    /// Records the settings of those of the journal's hosts that may be chosen: the journal reports
    /// their capacity when it is asked.
    pub(super) async fn apply_hosts(
        &mut self,
        candidates: &BTreeSet<String>,
        translation: &Translation,
    ) {
        self.decisions
            .hosts
            .retain(|host, _| candidates.contains(host));
        for host in candidates {
            let Some(settings) = translation.rest.hosts.get(host) else {
                continue;
            };
            let mut bytes = Vec::new();
            host_bytes(&mut bytes, host, &translation.rest);
            let print = Hash::of(&bytes);
            if self.decisions.hosts.get(host) == Some(&print) {
                continue;
            }
            self.heartbeat();
            let resolved = Resolved {
                hosts: [(host.clone(), settings.clone())].into(),
                ..Resolved::default()
            };
            let by = by(FIELD_MANAGER, "a host that VSIs may be placed on");
            match self.record(resolved, by).await {
                Ok(()) => _ = self.decisions.hosts.insert(host.clone(), print),
                Err(error) => {
                    self.unfinished = true;
                    tracing::warn!("the settings of {host} are not recorded: {error}");
                }
            }
        }
    }
}

/// Hash of the fields of the resource that the choice of a host depends on.
pub(super) fn asked_print(vsi: &ResolvedVsi) -> Hash {
    Hash::of(&serde_json::to_vec(&vsi.desired).unwrap_or_default())
}

fn put_host(vsi: &mut ResolvedVsi, chosen: &ChosenHost) {
    let mut alone = Resolved {
        vsis: vec![vsi.clone()],
        ..Resolved::default()
    };
    put_hosts(&mut alone, std::slice::from_ref(chosen));
    if let Some(with_host) = alone.vsis.pop() {
        *vsi = with_host;
    }
}

/// The failure that the host's journal found with a resource, as the chooser of the host receives it.
fn is_wrong(chosen: &ChosenHost, problem: &Problem) -> Failure {
    Failure {
        code: Name::of(problem.code.as_str()),
        ..not_taken(chosen, &problem.message).with_remedy(&problem.remedy)
    }
}

fn not_taken(chosen: &ChosenHost, why: &str) -> Failure {
    Failure::new(FailureClass::Transient, "VSI0769", why)
        .of_object(format!("vsi/{}/{}", chosen.namespace, chosen.name))
        .on_host(&chosen.host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(number: usize) -> Uuid {
        Uuid::from_u128(number as u128)
    }

    #[tokio::test(start_paused = true)]
    async fn no_namespace_keeps_others_waiting_for_their_hosts() {
        let (mut decisions, print) = (Decisions::default(), Hash::of(b"asked"));
        let mut numbers = Vec::new();
        for number in 0..40 {
            let namespace = if number < 20 { "many" } else { "few" };
            if decisions.may_request((namespace, uid(number)), print) {
                decisions.open.insert(uid(number), namespace.to_owned());
                numbers.push(number);
            }
        }
        let expected: Vec<_> = (0..8).chain(20..28).collect();
        assert_eq!(numbers, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_asked_again_later_unless_it_changed() {
        let (mut decisions, print) = (Decisions::default(), Hash::of(b"asked"));
        decisions.refused.insert(uid(1), (print, Instant::now()));
        assert!(!decisions.may_request(("a", uid(1)), print));
        assert!(decisions.may_request(("a", uid(1)), Hash::of(b"changed")));
        assert!(
            decisions.refused_at(uid(2)) < decisions.refused_at(uid(1)),
            "new ones are first"
        );
        tokio::time::sleep(RETRY_WAIT * 2).await;
        assert!(decisions.may_request(("a", uid(1)), print));
    }
}
