//! The request that objects are deleted or forgotten, or that the addresses of forgotten VSIs are released.
//!
//! All names are looked up before anything is recorded, so that a typing error deletes nothing. Whoever selected the objects
//! and agreed to their deletion sends their UIDs: another object that has one of the names by now is not deleted.
//!
//! Whose `deletionPolicy` counts: the recorded one, unless a document that is not recorded retains more.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{executor::By, model::EntityId};
use vsiflow_workflows::{
    fleet::{
        DeletionMode, ErrorKind, Fleet, FleetError, Fleets, NamedObject, RetainedTemplates,
        network_in_use,
    },
    kinds::{NameScope, ObjectKind},
    spec::{DeletionPolicy, server_type::ServerType},
};

use super::{
    JournalUse, Operation, ServiceRequest,
    acted::{self, ActAnswer, ActEffect, ActedObject, JournalRequest, RetainedOnHost, journal_of},
    agreed,
    documented::PrunedObject,
    reading::default_namespace,
};
use crate::{Caller, JournalSet, Problem, Rights, api::Api};

/// An object that is to be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeletionTarget {
    /// Its name, such as `web`, `disk/data` or `pool/web`.
    pub name: String,
    /// Its UID, if only that object is meant.
    #[serde(default)]
    pub uid: Option<String>,
    /// The `deletionPolicy` of the document that names it.
    #[serde(default)]
    pub policy: Option<DeletionPolicy>,
    /// The data disks of members that the document of a pool or group retains.
    #[serde(default)]
    pub retains: Vec<RetainedTemplates>,
}

impl DeletionTarget {
    /// Whatever object has this name.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            uid: None,
            policy: None,
            retains: Vec::new(),
        }
    }

    fn kind(&self) -> ObjectKind {
        ObjectKind::of_name(&self.name).0
    }

    /// The name without its kind.
    fn bare(&self) -> &str {
        ObjectKind::of_name(&self.name).1
    }

    fn mode(&self, orphan: bool) -> DeletionMode {
        match self.policy {
            _ if orphan => DeletionMode::Orphan,
            Some(policy) => DeletionMode::of_document(policy),
            None => DeletionMode::ByPolicy,
        }
    }

    /// A disk is deleted with its VSI or after it; so is a network.
    fn turn(&self) -> u8 {
        match self.kind() {
            ObjectKind::Network => 2,
            ObjectKind::Disk => 1,
            _ => 0,
        }
    }
}

/// Asks that objects are deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeleteRequest {
    /// The namespace of names without one.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The objects.
    pub objects: Vec<DeletionTarget>,
    /// Forget them, and leave everything on their hosts.
    #[serde(default)]
    pub orphan: bool,
    /// Release the addresses of VSIs that were forgotten, instead; with `orphan` without asking their hosts.
    #[serde(default)]
    pub release: bool,
    /// Ignore names without an object.
    #[serde(default)]
    pub ignore_not_found: bool,
    /// Why; stored in the history.
    #[serde(default)]
    pub reason: String,
}

impl ServiceRequest for DeleteRequest {
    type Answer = ActAnswer;
    const OPERATION: Operation = Operation {
        id: "delete",
        path: "/v1/delete",
        summary: "Delete or forget objects, or release the addresses of forgotten VSIs",
    };
    const NEEDS: Rights = Rights::Everything;
    const USE: JournalUse = JournalUse::Work;

    /// What it named may be gone because of it.
    fn repeated(self) -> Self {
        Self {
            ignore_not_found: true,
            ..self
        }
    }

    async fn answer(mut self, api: &Api, caller: &Caller) -> Result<ActAnswer, Problem> {
        self.objects.sort_by_key(DeletionTarget::turn);
        acted::answer(self, api, caller).await
    }
}

impl JournalRequest for DeleteRequest {
    fn check(&self) -> Result<(), Problem> {
        for target in &self.objects {
            let (kind, name) = (target.kind(), target.bare());
            if self.release && kind != ObjectKind::Vsi {
                let detail = format!("addresses are released of VSIs, and not of {}", target.name);
                return Err(unusable(
                    detail,
                    "name VSIs that were forgotten, or their UIDs",
                ));
            }
            if !kind.is_deletable() {
                let noun = kind.words().noun;
                let detail = format!("{}: a {noun} is not deleted by its name", target.name);
                let remedy = "leave it out; a VSI with the name of a kind is named as `vsi/NAME`";
                return Err(unusable(detail, remedy));
            }
            if kind == ObjectKind::Type && ServerType::named(name).is_some() {
                let detail = format!("the type {name} is built in");
                return Err(unusable(
                    detail,
                    "leave it out; types of documents can be deleted",
                ));
            }
        }
        Ok(())
    }

    fn reason(&self) -> &str {
        &self.reason
    }

    async fn parts(&self, api: &Api, set: &dyn JournalSet) -> Result<BTreeMap<u16, Self>, Problem> {
        let fleets = api.fleets().await?;
        let empty = Self {
            objects: Vec::new(),
            ..self.clone()
        };
        if self.release {
            // No other journal knows which one had a VSI that was forgotten.
            let part = Self {
                ignore_not_found: true,
                ..self.clone()
            };
            let journals = (0..).zip(fleets.all());
            return Ok(journals.map(|(number, _)| (number, part.clone())).collect());
        }
        self.refuse_networks_in_use(&fleets).await?;
        let mut parts: BTreeMap<u16, Self> = BTreeMap::new();
        for target in &self.objects {
            let journals = match self.journals_of(set, &fleets, target).await {
                Err(problem) if problem.is_not_found() && self.may_be_gone(target) => continue,
                journals => journals?,
            };
            for journal in journals {
                let part = parts.entry(journal).or_insert_with(|| empty.clone());
                part.objects.push(target.clone());
            }
        }
        Ok(parts)
    }

    async fn carry_out(&self, fleet: &Fleet, by: By, stays: bool) -> Result<ActAnswer, Problem> {
        let objects = if self.release {
            self.released(fleet, &by).await?
        } else {
            self.deleted(fleet, &by, stays).await?
        };
        Ok(ActAnswer::of(objects))
    }

    /// A release is sent to all journals: one of them is to know the VSI.
    fn merged(&self, answer: ActAnswer) -> Result<ActAnswer, Problem> {
        if self.release && !self.ignore_not_found && answer.problems.is_empty() {
            let released: BTreeSet<_> = answer.objects.iter().map(|object| &object.name).collect();
            let is_unknown = |target: &&DeletionTarget| {
                !released.contains(&split("", target.bare()).1.to_owned())
            };
            if let Some(target) = self.objects.iter().find(is_unknown) {
                return Err(FleetError::not_found("forgotten vsi", target.bare()).into());
            }
        }
        Ok(answer)
    }
}

impl DeleteRequest {
    /// The request for what has no document any more.
    pub fn of_pruned(pruned: &[PrunedObject], reason: &str) -> Self {
        let names = pruned.iter().map(|object| {
            let (kind, namespace, name) = (object.kind.word(), &object.namespace, &object.name);
            DeletionTarget::named(format!("{kind}/{namespace}/{name}"))
        });
        Self {
            namespace: default_namespace(),
            objects: names.collect(),
            orphan: false,
            release: false,
            ignore_not_found: true,
            reason: reason.to_owned(),
        }
    }

    async fn journals_of(
        &self,
        set: &dyn JournalSet,
        fleets: &Fleets,
        target: &DeletionTarget,
    ) -> Result<Vec<u16>, Problem> {
        let (kind, namespace) = (target.kind(), &self.namespace);
        match kind {
            // Journal 0 has these, and any journal their members.
            ObjectKind::Pool | ObjectKind::Group | ObjectKind::Quota | ObjectKind::Type => {
                kind.check_exists(fleets, namespace, target.bare()).await?;
                Ok(vec![0])
            }
            ObjectKind::Network => Ok(fleets.that_have_network(namespace, target.bare()).await?),
            _ => Ok(vec![
                journal_of(set, fleets, namespace, &target.name).await?,
            ]),
        }
    }

    /// Whether it is no error that an object does not exist: what was selected, and is gone by now, is as it was to be.
    fn may_be_gone(&self, target: &DeletionTarget) -> bool {
        self.ignore_not_found || target.uid.is_some()
    }

    /// A journal knows only its own VSIs.
    async fn refuse_networks_in_use(&self, fleets: &Fleets) -> Result<(), FleetError> {
        let is_network = |target: &&DeletionTarget| target.kind() == ObjectKind::Network;
        for target in self
            .objects
            .iter()
            .filter(is_network)
            .filter(|_| !self.orphan)
        {
            let (namespace, name) = split(&self.namespace, target.bare());
            let mut users = Vec::new();
            for fleet in fleets.all() {
                users.extend(fleet.networks().users(namespace, name).await?);
            }
            if !users.is_empty() {
                let failure = network_in_use(namespace, name, &users);
                return Err(FleetError::new(ErrorKind::Blocked, failure));
            }
        }
        Ok(())
    }

    async fn released(&self, fleet: &Fleet, by: &By) -> Result<Vec<ActedObject>, FleetError> {
        let mut released = Vec::new();
        for target in &self.objects {
            let (vsis, name) = (fleet.vsis(), target.bare());
            let entities = vsis.release_addresses(&self.namespace, name, self.orphan, by.clone());
            let entities = match entities.await {
                Err(error) if self.ignore_not_found && error.kind == ErrorKind::NotFound => {
                    continue;
                }
                entities => entities?,
            };
            let objects = entities
                .into_iter()
                .map(|entity| self.named(target, entity));
            released.extend(objects.map(|object| ActedObject::of(object, ActEffect::Recorded)));
        }
        Ok(released)
    }

    async fn deleted(
        &self,
        fleet: &Fleet,
        by: &By,
        stays: bool,
    ) -> Result<Vec<ActedObject>, Problem> {
        let mut acted = Vec::new();
        let mut readable = Vec::new();
        for target in &self.objects {
            match self.unreadable_forgotten(fleet, target, by).await? {
                Some(object) => acted.push(object),
                None => readable.push(target),
            }
        }
        let targets = self.existing(fleet, readable).await?;
        if !self.orphan {
            refuse_retained(fleet, &self.namespace, &targets).await?;
        }
        for target in targets {
            match self.delete(fleet, target, by).await {
                // It went with one that was named before it.
                Err(error) if error.kind == ErrorKind::NotFound => {}
                objects => acted.extend(objects?),
            }
        }
        if !self.orphan {
            acted.extend(pools_of(fleet, &acted, by, stays).await?);
        }
        Ok(acted)
    }

    /// Forgets an object whose record cannot be read, and which its UID names.
    async fn unreadable_forgotten(
        &self,
        fleet: &Fleet,
        target: &DeletionTarget,
        by: &By,
    ) -> Result<Option<ActedObject>, FleetError> {
        if !self.orphan {
            return Ok(None);
        }
        let (kind, name) = (target.kind(), target.bare());
        let forgotten = fleet
            .orphan_unreadable(kind.word(), name, by.clone())
            .await?;
        let object = forgotten.map(|entity| self.named(target, entity));
        Ok(object.map(|object| ActedObject::of(object, ActEffect::UnreadableForgotten)))
    }

    /// The objects that exist, each of them the one that is meant.
    async fn existing<'t>(
        &self,
        fleet: &Fleet,
        targets: Vec<&'t DeletionTarget>,
    ) -> Result<Vec<&'t DeletionTarget>, Problem> {
        let fleets = Fleets::from(fleet.clone());
        let mut existing = Vec::new();
        for target in targets {
            let (kind, name) = (target.kind(), target.bare());
            let checked = if kind == ObjectKind::Network {
                let found = fleet.networks().find(&self.namespace, name).await;
                found.map(drop)
            } else {
                kind.check_exists(&fleets, &self.namespace, name).await
            };
            match checked {
                Err(error) if error.kind == ErrorKind::NotFound && self.may_be_gone(target) => {
                    continue;
                }
                checked => checked?,
            }
            agreed::check(
                &fleets,
                &self.namespace,
                &target.name,
                target.uid.as_deref(),
            )
            .await?;
            existing.push(target);
        }
        Ok(existing)
    }

    async fn delete(
        &self,
        fleet: &Fleet,
        target: &DeletionTarget,
        by: &By,
    ) -> Result<Vec<ActedObject>, FleetError> {
        let (kind, name) = (target.kind(), target.bare());
        // Its record is gone once it is forgotten.
        let disk = match kind {
            ObjectKind::Disk => Some(fleet.disks().get(&self.namespace, name).await?),
            _ => None,
        };
        let mode = target.mode(self.orphan);
        let entities = kind
            .delete(fleet, &self.namespace, name, mode, by.clone())
            .await?;
        if entities.is_empty() {
            return Ok(vec![self.gone(target)]);
        }
        let mut deleted = Vec::new();
        for entity in entities {
            let is_forgotten = fleet.is_forgotten(&entity);
            let is_left = self.orphan || kind == ObjectKind::Vsi && is_forgotten;
            let retained = match &disk {
                _ if self.orphan || !is_forgotten => None,
                Some(disk) => Some(RetainedOnHost {
                    host: disk.status.host.clone(),
                    volume: Some(disk.status.volume.clone()),
                }),
                None => retained_vsi(fleet, kind, &entity).await?,
            };
            let effect = if is_left {
                ActEffect::Forgotten
            } else {
                ActEffect::Recorded
            };
            deleted.push(ActedObject {
                retained,
                ..ActedObject::of(self.named(target, entity), effect)
            });
        }
        Ok(deleted)
    }

    fn named(&self, target: &DeletionTarget, entity: EntityId) -> NamedObject {
        let (namespace, name) = split(&self.namespace, target.bare());
        NamedObject {
            entity,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        }
    }

    fn gone(&self, target: &DeletionTarget) -> ActedObject {
        let kind = target.kind();
        let (namespace, name) = match kind.names() {
            NameScope::Journal => ("", target.bare()),
            NameScope::Namespace | NameScope::Host => split(&self.namespace, target.bare()),
        };
        ActedObject::without_entity(kind, namespace, name, ActEffect::Gone)
    }
}

/// The namespace and the name of `NAMESPACE/NAME`, or of a name in this namespace.
fn split<'n>(namespace: &'n str, name: &'n str) -> (&'n str, &'n str) {
    name.split_once('/').unwrap_or((namespace, name))
}

fn unusable(detail: String, remedy: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "VSI0810", detail, remedy)
}

/// Everything of a VSI stays on its host if it is only forgotten.
async fn retained_vsi(
    fleet: &Fleet,
    kind: ObjectKind,
    entity: &EntityId,
) -> Result<Option<RetainedOnHost>, FleetError> {
    if kind != ObjectKind::Vsi {
        return Ok(None);
    }
    let vsi = fleet.vsis().of(entity).await?;
    Ok(Some(RetainedOnHost {
        host: vsi.map(|vsi| vsi.status.host).unwrap_or_default(),
        volume: None,
    }))
}

/// Refuses to delete what a document retains and its record does not. VSIs and data disks are deleted by the policies of
/// their documents.
async fn refuse_retained(
    fleet: &Fleet,
    namespace: &str,
    targets: &[&DeletionTarget],
) -> Result<(), Problem> {
    for target in targets {
        for retained in &target.retains {
            if !fleet.would_delete_retained(retained).await? {
                continue;
            }
            let (own_namespace, name) = split(namespace, target.bare());
            let detail =
                "its document retains data that is recorded to go with it; nothing was changed";
            let remedy = "apply the document first, or delete it by its name";
            let label = match own_namespace {
                "default" => name.to_owned(),
                other => format!("{other}/{name}"),
            };
            return Err(Problem {
                object: format!("{}/{label}", target.kind().word()),
                ..Problem::new(StatusCode::CONFLICT, "VSI0756", detail, remedy)
            });
        }
    }
    Ok(())
}

/// The pools that make deleted members again. A process that does not stay works on them, too.
async fn pools_of(
    fleet: &Fleet,
    deleted: &[ActedObject],
    by: &By,
    stays: bool,
) -> Result<Vec<ActedObject>, Problem> {
    let mut vsis = Vec::new();
    for object in deleted
        .iter()
        .filter(|object| object.kind == ObjectKind::Vsi)
    {
        vsis.push(object.entity()?);
    }
    let pools = fleet.pools().of_vsis(&vsis).await?;
    if !stays && !pools.is_empty() {
        let entities = pools.iter().map(|(entity, ..)| entity.clone()).collect();
        fleet.resume(entities, by.clone()).await?;
    }
    let objects = pools.into_iter().map(|(entity, namespace, name)| {
        let pool = NamedObject {
            entity,
            namespace,
            name,
        };
        ActedObject::of(pool, ActEffect::MakesAgain)
    });
    Ok(objects.collect())
}
