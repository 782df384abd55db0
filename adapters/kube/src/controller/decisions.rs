//! VSIs whose host is chosen over all journals of a set: journal 0 has it chosen, the journal of the host records them.
//!
//! What a crash leaves: what was asked is found again by the VSI's UID; a host that was chosen and not taken is handed over
//! again to the next holder of its journal; one that is recorded is known by its UID, and never chosen again.

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
    fleet::{AskStanding, ChosenHost, EntityPresence, FleetError, is_open, put_hosts},
    record::vsi_entity,
    spec::{Problem, Resolved, ResolvedVsi},
};

use super::{
    Controller,
    apply::{ApplyRequest, host_bytes},
    by,
};
use crate::{FIELD_MANAGER, resource::Resource, share::JournalShare, translate::Translation};

/// VSIs that hosts are chosen for at the same time: documents of people wait for theirs beside them.
const AT_ONCE: usize = 16;
/// The same of one namespace: it keeps no other one waiting.
const AT_ONCE_IN_ONE: usize = 8;
/// What was refused is asked again after that, or at once when something of it changed.
const AGAIN: Duration = Duration::from_secs(30);

/// What journal 0 asked for.
#[derive(Default)]
pub(super) struct HostChoices {
    /// Of which nothing is under way but what is open.
    idle: BTreeSet<Uuid>,
    /// What was asked and is not answered, with its namespace.
    open: BTreeMap<Uuid, String>,
    /// What was refused, and when.
    refused: BTreeMap<Uuid, (Hash, Instant)>,
    /// What was recorded of hosts that one may be chosen of.
    hosts: BTreeMap<String, Hash>,
}

impl HostChoices {
    /// Whether something was asked and is not answered.
    pub(super) fn is_waiting(&self) -> bool {
        !self.open.is_empty()
    }

    /// Leaves what is of these resources.
    pub(super) fn retain(&mut self, is_there: impl Fn(&Uuid) -> bool) {
        self.idle.retain(&is_there);
        self.open.retain(|uid, _| is_there(uid));
        self.refused.retain(|uid, _| is_there(uid));
    }

    fn may_ask(&self, (namespace, uid): (&str, Uuid), print: Hash) -> bool {
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

impl Controller {
    /// Hosts that were chosen for VSIs that this pass records.
    pub(super) fn chosen(&self) -> BTreeMap<Uuid, ChosenHost> {
        let share = self.share.as_ref();
        share.map(|share| share.chosen()).unwrap_or_default()
    }

    /// Puts them into what the cluster asks for.
    pub(super) fn put_chosen(
        &mut self,
        all: &BTreeMap<Uuid, ChosenHost>,
        translation: &mut Translation,
    ) {
        for (uid, chosen) in all {
            let asked = translation.vsis.get_mut(uid);
            let Some(vsi) = asked.filter(|vsi| is_open(vsi)) else {
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
    pub(super) fn settle(&self, all: BTreeMap<Uuid, ChosenHost>, translation: &Translation) {
        let Some(share) = self.share.as_ref().filter(|_| !all.is_empty()) else {
            return;
        };
        let world = self.world.snapshot().resources;
        for (uid, chosen) in all {
            let is_known =
                vsi_entity(uid).is_ok_and(|vsi| self.fleet.knowledge(&vsi) != EntityPresence::None);
            let resource = world.iter().find(|resource| resource.uid == uid);
            let problem = || translation.problems.get(&resource?.key)?.first();
            let outcome = match self.refused.get(&uid) {
                _ if is_known => Some(Ok(())),
                Some(failure) => Some(Err(failure.clone())),
                None => problem().map(|problem| Err(is_wrong(&chosen, problem))),
            };
            share.settle(uid, outcome);
        }
    }

    /// Whether a host is being chosen for a VSI that has none.
    pub(super) async fn is_being_chosen(
        &mut self,
        share: &dyn JournalShare,
        resource: &Resource,
        print: Hash,
    ) -> Result<bool, FleetError> {
        let uid = resource.uid;
        if self.choices.idle.contains(&uid) && !self.choices.open.contains_key(&uid) {
            return Ok(false);
        }
        match share.choosing(uid).await? {
            AskStanding::Open => {
                let namespace = resource.key.namespace.clone();
                self.choices.open.insert(uid, namespace);
                return Ok(true);
            }
            AskStanding::Answered(refused) => {
                if let Some(failure) = refused.into_iter().next() {
                    self.note_refusal(uid, print, failure);
                }
            }
            AskStanding::Nothing => {}
        }
        self.choices.open.remove(&uid);
        self.choices.idle.insert(uid);
        Ok(false)
    }

    fn note_refusal(&mut self, uid: Uuid, print: Hash, failure: Failure) {
        let refusals = &mut self.choices.refused;
        refusals.insert(uid, (print, Instant::now()));
        self.refused.insert(uid, failure);
    }

    /// New VSIs that a host is chosen for over several journals, and all others.
    pub(super) fn open_apart(
        &self,
        wishes: Vec<ApplyRequest>,
    ) -> (Vec<ApplyRequest>, Vec<ApplyRequest>) {
        wishes.into_iter().partition(|wish| {
            let is_new = || self.fleet.knowledge(&wish.entity) == EntityPresence::None;
            self.share.is_some() && is_open(&wish.vsi) && is_new()
        })
    }

    /// Has hosts chosen for VSIs without one; those that are asked for now.
    pub(super) async fn have_chosen(&mut self, open: Vec<ApplyRequest>) -> BTreeSet<Uuid> {
        let mut asked = BTreeSet::new();
        let Some(share) = self.share.clone() else {
            return asked;
        };
        let mut open = open;
        open.sort_by_key(|wish| self.choices.refused_at(wish.uid));
        for wish in open {
            self.gets_on();
            self.unfinished = true;
            let (print, namespace) = (asked_print(&wish.vsi), &wish.vsi.desired.namespace);
            if !self.choices.may_ask((namespace, wish.uid), print) {
                continue;
            }
            match share.choose(wish.uid, &question(&wish.vsi)).await {
                Ok(()) => {
                    self.choices.open.insert(wish.uid, namespace.clone());
                    self.refused.remove(&wish.uid);
                    asked.insert(wish.uid);
                }
                Err(error) => {
                    // It may have been asked all the same.
                    self.choices.idle.remove(&wish.uid);
                    self.note_refusal(wish.uid, print, *error.failure);
                }
            }
            self.desk.dirty_uid(&wish.uid);
        }
        asked
    }

    /// The hosts that one may be chosen of, for whatever resource.
    pub(super) fn candidates(&self, translation: &Translation) -> BTreeSet<String> {
        if self.share.is_none() {
            return BTreeSet::new();
        }
        let vsis = translation.vsis.values().filter(|vsi| is_open(vsi));
        let hosts = vsis.flat_map(|vsi| vsi.desired.possible_hosts());
        let hosts = hosts.filter(|host| !host.is_empty());
        hosts.map(str::to_owned).collect()
    }

    /// Has the journal know those of its hosts that one may be chosen of: it says what they have when it is asked.
    pub(super) async fn give_hosts(
        &mut self,
        candidates: &BTreeSet<String>,
        translation: &Translation,
    ) {
        self.choices
            .hosts
            .retain(|host, _| candidates.contains(host));
        for host in candidates {
            let Some(settings) = translation.rest.hosts.get(host) else {
                continue;
            };
            let mut bytes = Vec::new();
            host_bytes(&mut bytes, host, &translation.rest);
            let print = Hash::of(&bytes);
            if self.choices.hosts.get(host) == Some(&print) {
                continue;
            }
            self.gets_on();
            let resolved = Resolved {
                hosts: [(host.clone(), settings.clone())].into(),
                ..Resolved::default()
            };
            let by = by(FIELD_MANAGER, "a host that VSIs may be placed on");
            match self.record(resolved, by).await {
                Ok(()) => _ = self.choices.hosts.insert(host.clone(), print),
                Err(error) => {
                    self.unfinished = true;
                    tracing::warn!("the settings of {host} are not recorded: {error}");
                }
            }
        }
    }
}

/// What is asked: nothing in it is secret.
fn question(vsi: &ResolvedVsi) -> Resolved {
    Resolved {
        vsis: vec![ResolvedVsi {
            contract: Secret::new(String::new()),
            image_url: None,
            ..vsi.clone()
        }],
        ..Resolved::default()
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
        let (mut choices, print) = (HostChoices::default(), Hash::of(b"asked"));
        let mut asked = Vec::new();
        for number in 0..40 {
            let namespace = if number < 20 { "many" } else { "few" };
            if choices.may_ask((namespace, uid(number)), print) {
                choices.open.insert(uid(number), namespace.to_owned());
                asked.push(number);
            }
        }
        let expected: Vec<_> = (0..8).chain(20..28).collect();
        assert_eq!(asked, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_asked_again_later_unless_it_changed() {
        let (mut choices, print) = (HostChoices::default(), Hash::of(b"asked"));
        choices.refused.insert(uid(1), (print, Instant::now()));
        assert!(!choices.may_ask(("a", uid(1)), print));
        assert!(choices.may_ask(("a", uid(1)), Hash::of(b"changed")));
        assert!(
            choices.refused_at(uid(2)) < choices.refused_at(uid(1)),
            "new ones are first"
        );
        tokio::time::sleep(AGAIN * 2).await;
        assert!(choices.may_ask(("a", uid(1)), print));
    }
}
