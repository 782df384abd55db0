//! Gives the fleet what the world asks for, and lets go of what is gone.
//!
//! One pass at a time: a snapshot is translated, compared with what was given before, and only
//! the difference goes on. A pass that is cut short at any point is repeated by the next one with
//! the same result: finalizers are set before the fleet hears of a resource, applying the same
//! twice changes nothing, and a deletion is asked for again until the fleet says that it is done.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt as _, stream};
use kube::Client;
use tokio::time::Instant;
use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{Actor, EntityId, Failure, Hash, Text, Who},
};
use vsiflow_workflows::{
    fleet::{Fleet, FleetError, Knowledge},
    spec::{DiskOrigin, HostSettings, Resolved, ResolvedVsi},
    wanted::{disk_entity, vsi_entity},
};

use crate::{
    api::{self, CallError},
    crd::VsiStatus,
    desk::{Desk, Findings, Hold},
    kind::Kind,
    resource::{Key, Resource},
    translate::{Translation, translate},
    world::{Snapshot, Told, What, World},
};

/// Changes come in bursts (`kubectl apply -f DIR`): a pass waits that long for more.
const SETTLE: Duration = Duration::from_millis(40);
/// What the fleet or the API server refused is tried again after that.
const AGAIN: Duration = Duration::from_secs(15);
/// Calls to the API server at one time.
const AT_ONCE: usize = 8;
/// New VSIs that are given to the fleet in one go.
const BATCH: usize = 50;

/// Everything a pass works with.
pub(crate) struct Controller {
    pub(crate) client: Client,
    pub(crate) fleet: Fleet,
    pub(crate) world: Arc<World>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) host: Option<HostSettings>,
    /// What was given to the fleet, by UID.
    given: BTreeMap<Uuid, Hash>,
    /// Deletions that were asked for: whether only to let go.
    asked: BTreeMap<Uuid, bool>,
    /// Why the fleet did not take what was given.
    refused: BTreeMap<Uuid, Failure>,
    /// Resources that had our finalizer and were not to be deleted.
    kept: BTreeMap<Uuid, Key>,
    /// Something is to be tried again.
    unfinished: bool,
}

impl Controller {
    pub(crate) fn new(
        client: Client,
        fleet: Fleet,
        world: Arc<World>,
        desk: Arc<Desk>,
        host: Option<HostSettings>,
    ) -> Self {
        Self {
            client,
            fleet,
            world,
            desk,
            host,
            given: BTreeMap::new(),
            asked: BTreeMap::new(),
            refused: BTreeMap::new(),
            kept: BTreeMap::new(),
            unfinished: false,
        }
    }

    /// Passes as long as it is polled. Cancel safe: see the module's text.
    pub(crate) async fn run(mut self) {
        let mut changes = self.world.changes();
        // Everything may have been listed already.
        changes.mark_changed();
        loop {
            let again = match self.unfinished {
                true => AGAIN,
                false => Duration::MAX,
            };
            let until = Instant::now().checked_add(again);
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = sleep_until(until) => {}
            }
            tokio::time::sleep(SETTLE).await;
            changes.mark_unchanged();
            if self.world.is_complete() {
                self.pass().await;
            }
        }
    }

    async fn pass(&mut self) {
        self.unfinished = false;
        let snapshot = self.world.snapshot();
        let translation = translate(&snapshot, self.host.as_ref());
        self.notice_vanished(&snapshot);
        let mut found = findings(&snapshot, &translation);
        let mut finalizers = Vec::new();
        let mut wishes = Vec::new();
        for resource in &snapshot.resources {
            let findings = found.entry(resource.key.clone()).or_default();
            if resource.is_going() {
                if self.may_go(resource, findings).await {
                    finalizers.push((resource.clone(), false));
                }
                continue;
            }
            match resource.key.kind {
                Kind::Vsi => {
                    let vsi = translation.vsis.get(&resource.uid);
                    match self.standing(resource, vsi, findings) {
                        Standing::Nothing => {}
                        Standing::Finalizer => finalizers.push((resource.clone(), true)),
                        Standing::Wish(wish) => wishes.push(wish),
                    }
                }
                Kind::DataDisk if !resource.has_finalizer() => {
                    finalizers.push((resource.clone(), true));
                }
                _ => {}
            }
        }
        self.give_disks(&snapshot, &translation).await;
        self.give(wishes, &snapshot, &translation).await;
        for resource in &snapshot.resources {
            if let Some(findings) = found.get_mut(&resource.key) {
                findings.refusal = self.refused.get(&resource.uid).cloned();
            }
        }
        self.forget(&snapshot);
        let all = snapshot.resources.iter();
        let keys = all.map(|one| (one.uid, one.key.clone())).collect();
        self.desk.lay_out(found, keys);
        self.set_finalizers(finalizers).await;
    }

    /// A resource that went away although it had our finalizer: somebody took that. Nothing is
    /// deleted for it; it is said.
    fn notice_vanished(&mut self, snapshot: &Snapshot) {
        let there: BTreeSet<_> = snapshot.resources.iter().map(|one| one.uid).collect();
        for (uid, key) in &self.kept {
            let alive = vsi_entity(*uid)
                .is_ok_and(|entity| self.fleet.knowledge(&entity) == Knowledge::Alive);
            if !there.contains(uid) && alive {
                tracing::warn!(
                    %uid,
                    "{key} is gone although its VSI is not: nothing is deleted; \
                     `vsiflow delete` removes it"
                );
            }
        }
        let kept = snapshot
            .resources
            .iter()
            .filter(|one| one.key.kind == Kind::Vsi && one.has_finalizer() && !one.is_going());
        self.kept = kept.map(|one| (one.uid, one.key.clone())).collect();
    }

    /// What is to be done for a VSI that is to be there.
    fn standing(
        &self,
        resource: &Resource,
        vsi: Option<&ResolvedVsi>,
        findings: &mut Findings,
    ) -> Standing {
        let Ok(entity) = vsi_entity(resource.uid) else {
            return Standing::Nothing;
        };
        let before = status_of(resource);
        match self.fleet.knowledge(&entity) {
            Knowledge::None if before.run_id.is_some() => {
                findings.hold = Some(Hold::JournalLost);
                return Standing::Nothing;
            }
            Knowledge::Gone if before.observed_generation == Some(resource.generation) => {
                findings.hold = Some(Hold::Removed);
                return Standing::Nothing;
            }
            _ => {}
        }
        let Some(vsi) = vsi else {
            return Standing::Nothing;
        };
        match resource.has_finalizer() {
            true => Standing::Wish(Wish {
                uid: resource.uid,
                entity,
                manager: resource.manager.clone(),
                generation: resource.generation,
                vsi: Box::new(vsi.clone()),
            }),
            false => Standing::Finalizer,
        }
    }

    /// Gives the fleet each data disk that differs from what it was given last. What is wrong with
    /// one must not keep VSIs from being made that do not select it.
    async fn give_disks(&mut self, snapshot: &Snapshot, translation: &Translation) {
        let asked = translation.rest.data_disks.iter();
        let asked: BTreeMap<_, _> = asked.filter_map(|disk| Some((disk.uid?, disk))).collect();
        for resource in &snapshot.resources {
            let Some(disk) = asked.get(&resource.uid) else {
                continue;
            };
            if resource.is_going() || !resource.has_finalizer() {
                continue;
            }
            let mut bytes = serde_json::to_vec(disk).unwrap_or_default();
            host_bytes(&mut bytes, &disk.host, &translation.rest);
            let print = Hash::of(&bytes);
            if self.given.get(&resource.uid) == Some(&print) {
                self.refused.remove(&resource.uid);
                continue;
            }
            let resolved = Resolved {
                data_disks: vec![(*disk).clone()],
                ..translation.rest.clone()
            };
            let by = by(&resource.manager, &generation(resource.generation));
            let applied = self.fleet.apply(resolved, by).await;
            self.took(resource.uid, print, applied.err());
        }
    }

    /// What came of giving the fleet something.
    fn took(&mut self, uid: Uuid, print: Hash, error: Option<FleetError>) {
        match error {
            None => {
                self.given.insert(uid, print);
                self.refused.remove(&uid);
            }
            Some(error) => {
                self.unfinished = true;
                self.refused.insert(uid, *error.failure);
            }
        }
        self.desk.dirty_uid(&uid);
    }

    /// Whether the fleet knows every data disk of the VSI, so that it is not taken for another.
    fn has_its_disks(&self, vsi: &ResolvedVsi) -> bool {
        let mut uids = vsi
            .desired
            .disks
            .iter()
            .filter_map(|disk| match disk.source {
                DiskOrigin::Made { uid, .. } => uid,
                DiskOrigin::Existing { .. } => None,
            });
        uids.all(|uid| {
            disk_entity(uid).is_ok_and(|disk| self.fleet.knowledge(&disk) == Knowledge::Alive)
        })
    }

    /// Gives the fleet what differs from what it was given last.
    async fn give(&mut self, wishes: Vec<Wish>, snapshot: &Snapshot, translation: &Translation) {
        let names = references(snapshot);
        let mut new: BTreeMap<String, Vec<(Wish, Hash)>> = BTreeMap::new();
        let mut known = Vec::new();
        for wish in wishes {
            let print = fingerprint(&wish.vsi, &translation.rest, &names);
            if self.given.get(&wish.uid) == Some(&print) {
                self.refused.remove(&wish.uid);
                continue;
            }
            if !self.has_its_disks(&wish.vsi) {
                self.unfinished = true;
                continue;
            }
            match self.fleet.knowledge(&wish.entity) {
                Knowledge::None => new
                    .entry(wish.manager.clone())
                    .or_default()
                    .push((wish, print)),
                _ => known.push((wish, print)),
            }
        }
        for (_, mut wishes) in new {
            while !wishes.is_empty() {
                let rest = wishes.split_off(wishes.len().min(BATCH));
                self.apply_together(wishes, &translation.rest).await;
                wishes = rest;
            }
        }
        for wish in known {
            self.apply(vec![wish], &translation.rest).await;
        }
    }

    /// All of them in one go; where one is refused, each on its own.
    async fn apply_together(&mut self, wishes: Vec<(Wish, Hash)>, rest: &Resolved) {
        if !self.apply(wishes.clone(), rest).await && wishes.len() > 1 {
            for wish in wishes {
                self.apply(vec![wish], rest).await;
            }
        }
    }

    async fn apply(&mut self, wishes: Vec<(Wish, Hash)>, rest: &Resolved) -> bool {
        let Some((first, _)) = wishes.first() else {
            return true;
        };
        let reason = match wishes.as_slice() {
            [(one, _)] => generation(one.generation),
            _ => "resources were changed".to_owned(),
        };
        let by = by(&first.manager, &reason);
        let resolved = Resolved {
            vsis: wishes.iter().map(|(wish, _)| (*wish.vsi).clone()).collect(),
            data_disks: Vec::new(),
            ..rest.clone()
        };
        let error = self.fleet.apply(resolved, by).await.err();
        for (wish, print) in &wishes {
            self.took(wish.uid, *print, error.clone());
        }
        error.is_none()
    }

    /// Whether our finalizer can go.
    async fn may_go(&mut self, resource: &Arc<Resource>, findings: &mut Findings) -> bool {
        if !resource.has_finalizer() {
            return false;
        }
        match resource.key.kind {
            Kind::Vsi => self.vsi_may_go(resource, findings).await,
            Kind::DataDisk => self.disk_may_go(resource, findings).await,
            _ => true,
        }
    }

    async fn vsi_may_go(&mut self, resource: &Resource, findings: &mut Findings) -> bool {
        let Ok(entity) = vsi_entity(resource.uid) else {
            return false;
        };
        let worked_on = status_of(resource).run_id.is_some();
        self.may_be_let_go(resource, &entity, worked_on, findings)
            .await
    }

    async fn disk_may_go(&mut self, resource: &Resource, findings: &mut Findings) -> bool {
        let Ok(entity) = disk_entity(resource.uid) else {
            return false;
        };
        let key = &resource.key;
        match self.fleet.users_of_disk(&key.namespace, &key.name).await {
            Ok(users) if users.is_empty() || resource.is_orphaned() => {}
            Ok(users) => {
                findings.hold = Some(Hold::InUse(users));
                self.unfinished = true;
                return false;
            }
            Err(error) => {
                self.unfinished = true;
                self.refused.insert(resource.uid, *error.failure);
                return false;
            }
        }
        self.may_be_let_go(resource, &entity, false, findings).await
    }

    /// Asks the fleet to remove what a resource is about, once, and tells whether that is done.
    async fn may_be_let_go(
        &mut self,
        resource: &Resource,
        entity: &EntityId,
        worked_on: bool,
        findings: &mut Findings,
    ) -> bool {
        let (uid, orphan) = (resource.uid, resource.is_orphaned());
        match self.fleet.knowledge(entity) {
            Knowledge::Gone => return true,
            Knowledge::None if orphan || !worked_on => return true,
            Knowledge::None => {
                findings.hold = Some(Hold::JournalLost);
                return false;
            }
            Knowledge::Alive => {}
        }
        if self.asked.get(&uid) != Some(&orphan) {
            match self.delete(resource, orphan).await {
                Ok(_) => {
                    self.asked.insert(uid, orphan);
                    self.refused.remove(&uid);
                }
                Err(error) => {
                    self.unfinished = true;
                    self.refused.insert(uid, *error.failure);
                }
            }
        }
        // It may have been decided at once.
        self.fleet.knowledge(entity) == Knowledge::Gone
    }

    async fn delete(&self, resource: &Resource, orphan: bool) -> Result<EntityId, FleetError> {
        let by = by(&resource.manager, "the resource was deleted");
        let (namespace, id) = (&resource.key.namespace, resource.uid.to_string());
        match resource.key.kind {
            Kind::Vsi => self.fleet.delete(namespace, &id, orphan, by).await,
            _ => self.fleet.delete_disk(namespace, &id, orphan, by).await,
        }
    }

    async fn set_finalizers(&mut self, wanted: Vec<(Arc<Resource>, bool)>) {
        let client = &self.client;
        let calls = wanted.into_iter().map(|(resource, wanted)| async move {
            let done = api::set_finalizer(client, &resource, wanted).await;
            (resource, wanted, done)
        });
        let mut calls = stream::iter(calls).buffer_unordered(AT_ONCE);
        while let Some((resource, wanted, done)) = calls.next().await {
            match done {
                Ok(Some(patched)) if wanted => {
                    let what = What::Kind(patched.key.kind);
                    self.world.put(what, Told::Resource(Arc::new(patched)));
                }
                // Gone, or going: the watch tells.
                Ok(_) | Err(CallError::Gone | CallError::Conflict) => {}
                Err(error) => {
                    self.unfinished = true;
                    tracing::warn!("the finalizer of {} cannot be set: {error}", resource.key);
                }
            }
        }
    }

    /// Forgets what was given for resources that are not there any more.
    fn forget(&mut self, snapshot: &Snapshot) {
        let there: BTreeSet<_> = snapshot.resources.iter().map(|one| one.uid).collect();
        self.given.retain(|uid, _| there.contains(uid));
        self.asked.retain(|uid, _| there.contains(uid));
        self.refused.retain(|uid, _| there.contains(uid));
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// What is to be done for a VSI.
enum Standing {
    Nothing,
    Finalizer,
    Wish(Wish),
}

/// What the fleet is to be given for a resource.
#[derive(Clone)]
struct Wish {
    uid: Uuid,
    entity: EntityId,
    manager: String,
    generation: i64,
    vsi: Box<ResolvedVsi>,
}

fn generation(number: i64) -> String {
    format!("generation {number} of the resource")
}

fn by(manager: &str, reason: &str) -> By {
    By {
        actor: Actor::Kubernetes(Who::new(manager)),
        reason: Text::new(reason),
    }
}

/// What a resource's status says; nothing where it is of another form.
pub(crate) fn status_of(resource: &Resource) -> VsiStatus {
    serde_json::from_value(resource.status.clone()).unwrap_or_default()
}

/// What the translation found, by resource.
fn findings(snapshot: &Snapshot, translation: &Translation) -> BTreeMap<Key, Findings> {
    let found = snapshot.resources.iter().map(|resource| {
        let key = resource.key.clone();
        let findings = Findings {
            generation: resource.generation,
            is_made: key.kind == Kind::DataDisk,
            problems: translation.problems.get(&key).cloned().unwrap_or_default(),
            warnings: translation.warnings.get(&key).cloned().unwrap_or_default(),
            host: translation.hosts.get(&key).cloned(),
            used_by: translation.used_by.get(&key).cloned().unwrap_or_default(),
            ..Findings::default()
        };
        (key, findings)
    });
    found.collect()
}

/// The references there are, by namespace: what a VSI keeps depends on which are away.
fn references(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for one in snapshot
        .resources
        .iter()
        .filter(|one| one.key.kind != Kind::Vsi)
    {
        let all = names.entry(one.key.namespace.clone()).or_default();
        all.push_str(&one.key.to_string());
        all.push('\n');
    }
    names
}

/// Everything that matters for one VSI, secrets included, as a hash that is never stored.
fn fingerprint(vsi: &ResolvedVsi, rest: &Resolved, references: &BTreeMap<String, String>) -> Hash {
    let mut bytes = serde_json::to_vec(&vsi.desired).unwrap_or_default();
    let mut add = |part: &[u8]| {
        bytes.push(0);
        bytes.extend_from_slice(part);
    };
    add(vsi.contract.expose());
    if let Some(url) = &vsi.image_url {
        add(url.expose());
    }
    host_bytes(&mut bytes, &vsi.desired.host, rest);
    let mut add = |part: &[u8]| {
        bytes.push(0);
        bytes.extend_from_slice(part);
    };
    if vsi.selects_disks || vsi.selects_networks {
        let all = references.get(&vsi.desired.namespace);
        add(all.map_or(&[][..], |all| all.as_bytes()));
    }
    Hash::of(&bytes)
}

/// Everything that is said of a host.
fn host_bytes(bytes: &mut Vec<u8>, host: &str, rest: &Resolved) {
    let Some(host) = rest.hosts.get(host) else {
        return;
    };
    bytes.extend(serde_json::to_vec(&host.record).unwrap_or_default());
    for secret in [&host.key, &host.image_secret].into_iter().flatten() {
        bytes.push(0);
        bytes.extend_from_slice(secret.expose());
    }
}
