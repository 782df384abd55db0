//! What journal 0 of a set decides about resources, and the journal of the host records: on which host a VSI is, where it
//! has none yet, and whether quotas permit what a VSI or a data disk takes.
//!
//! What a crash leaves: what was asked is found again by the UID; a decision that was not taken is handed over again to the
//! next holder of the host's journal; what is recorded is known by its UID, and no host is chosen for it again.

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
    apply::{ApplyRequest, host_bytes},
    by,
    shard_scope::all_pools,
};
use crate::{
    FIELD_MANAGER,
    share::{JournalShare, ResourceDecision},
    translate::Translation,
};

/// Resources that are decided about at the same time: documents of people wait beside them.
const AT_ONCE: usize = 16;
/// The same of one namespace: it keeps no other one waiting.
const AT_ONCE_IN_ONE: usize = 8;
/// What was refused is asked again after that, or at once when something of it changed.
const AGAIN: Duration = Duration::from_secs(30);

/// What this journal asked for.
#[derive(Default)]
pub(super) struct Decisions {
    /// What a decision is wanted for in this pass.
    awaiting: BTreeSet<Uuid>,
    /// Of which nothing is under way but what is open.
    idle: BTreeSet<Uuid>,
    /// What was asked and is not answered, with its namespace.
    open: BTreeMap<Uuid, String>,
    /// What was refused, and when.
    refused: BTreeMap<Uuid, (Hash, Instant)>,
    /// What was recorded of hosts that one may be chosen of.
    hosts: BTreeMap<String, Hash>,
}

impl Decisions {
    /// Whether something was asked and is not answered.
    pub(super) fn is_waiting(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether this journal has the settings of a host that one may be chosen of.
    pub(super) fn has_host(&self, host: &str) -> bool {
        self.hosts.contains_key(host)
    }

    /// That a decision is wanted for these.
    pub(super) fn want(&mut self, uids: impl IntoIterator<Item = Uuid>) {
        self.awaiting.extend(uids);
    }

    /// Forgets what no decision was wanted for since the last time.
    pub(super) fn end_pass(&mut self) {
        let awaiting = std::mem::take(&mut self.awaiting);
        self.idle.retain(|uid| awaiting.contains(uid));
        self.open.retain(|uid, _| awaiting.contains(uid));
        self.refused.retain(|uid, _| awaiting.contains(uid));
    }

    fn may_request(&self, (namespace, uid): (&str, Uuid), print: Hash) -> bool {
        let refused = self.refused.get(&uid);
        let is_new = |(before, at): &(Hash, Instant)| *before != print || at.elapsed() > AGAIN;
        let its = self.open.values().filter(|of| *of == namespace).count();
        self.open.len() < AT_ONCE && its < AT_ONCE_IN_ONE && refused.is_none_or(is_new)
    }

    /// When it was refused last: those are asked first that never were, then those whose refusal is the oldest.
    fn refused_at(&self, uid: Uuid) -> Option<Instant> {
        self.refused.get(&uid).map(|(_, at)| *at)
    }
}

/// What is asked of journal 0 for one resource: nothing in it is secret.
pub(super) struct DecisionRequest {
    pub(super) uid: Uuid,
    namespace: String,
    pub(super) resolved: Resolved,
    /// What the decision depends on, as far as the resource says it.
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
    /// What was decided of resources that this pass records.
    pub(super) fn decided(&self) -> BTreeMap<Uuid, ResourceDecision> {
        let share = self.share.as_ref();
        share.map(|share| share.decided()).unwrap_or_default()
    }

    /// Puts the hosts that were chosen into what the cluster asks for.
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

    /// Says what became of them.
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
                    let why = "it asks for more by now than was admitted";
                    Some(Err(not_taken(&decision.host, why)))
                }
                None => problem().map(|problem| Err(is_wrong(&decision.host, problem))),
            };
            share.settle(uid, outcome);
        }
    }

    /// Whether this journal knows a VSI or a data disk by that UID.
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

    /// New VSIs that a host is chosen for over several journals, and all others.
    pub(super) fn open_apart(
        &self,
        requests: Vec<ApplyRequest>,
    ) -> (Vec<ApplyRequest>, Vec<ApplyRequest>) {
        requests.into_iter().partition(|request| {
            let is_new = || self.fleet.knowledge(&request.entity) == EntityPresence::None;
            self.share.is_some() && is_open(&request.vsi) && is_new()
        })
    }

    /// Has hosts chosen for VSIs without one; those that are asked for now.
    pub(super) async fn request_placement(&mut self, open: Vec<ApplyRequest>) -> BTreeSet<Uuid> {
        let requests = open.iter();
        let requests = requests.map(|request| DecisionRequest::of_vsi(request.uid, &request.vsi));
        self.request_decisions(requests.collect()).await
    }

    /// Asks journal 0 about these, as far as it may be asked by now; those that it is.
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
                    // It may have been asked all the same.
                    self.decisions.idle.remove(&uid);
                    self.note_refusal(uid, request.print, *error.failure);
                }
            }
            self.status_queue.dirty_uid(&uid);
        }
        requested
    }

    /// Has journal 0 admit what these take, unless it is about to.
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

    /// The hosts that one may be chosen of, for whatever resource.
    pub(super) fn candidates(&self, translation: &Translation) -> BTreeSet<String> {
        if self.share.is_none() {
            return BTreeSet::new();
        }
        let vsis = translation.vsis.values().filter(|vsi| is_open(vsi));
        let hosts = vsis.flat_map(|vsi| vsi.desired.possible_hosts());
        // Members are made by journal 0, which does not have their settings.
        let of_pools = all_pools(translation);
        let of_pools = of_pools.flat_map(|pool| pool.template.desired.possible_hosts());
        let hosts = hosts.chain(of_pools).filter(|host| !host.is_empty());
        hosts.map(str::to_owned).collect()
    }

    /// Has the journal know those of its hosts that one may be chosen of: it says what they have when it is asked.
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

/// What a choice depends on, as far as the resource says it.
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

/// What the journal of the host finds wrong with the resource, as whoever chose the host is told of it.
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
        tokio::time::sleep(AGAIN * 2).await;
        assert!(decisions.may_request(("a", uid(1)), print));
    }
}
