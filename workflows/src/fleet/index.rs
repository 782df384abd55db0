//! Finds VSIs by the names that users gave them.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::de::DeserializeOwned;
use vsiflow_engine::{
    model::{EntityId, EntityState, Failure, Name},
    secret::Secret,
};

use super::{
    ErrorKind, Fleet, FleetError,
    object::qualified,
    unreadable::{DesiredReading, LostState, refuse_lost},
};
use crate::{
    boot_disks,
    phase::{self, Phase},
    provision_vsi,
    record::{self, HostRecord, JumpSecretNames, VsiRecord, kind},
    spec::{DeletionPolicy, host::JumpSecrets},
    update_vsi,
};

/// A VSI of the journal.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) entity: EntityId,
    pub(crate) state: Arc<EntityState>,
    /// On the heap, because lists of known VSIs are sorted.
    pub(crate) record: Arc<VsiRecord>,
    /// Why a part of the VSI cannot be read: what is known may be older than the current state.
    pub(crate) unreadable: Option<Box<Failure>>,
}

impl Known {
    /// The recorded phase.
    pub(crate) fn phase(&self) -> Phase {
        if self.unreadable.is_some() {
            return Phase::Unreadable;
        }
        Phase::recorded(&self.state).unwrap_or(Phase::Pending)
    }

    /// `NAME`, or `NAMESPACE/NAME` outside the default namespace.
    pub(crate) fn label(&self) -> String {
        match self.record.vsi.namespace.as_str() {
            "default" => self.record.vsi.name.clone(),
            _ => self.record.vsi.full_name(),
        }
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.phase() == Phase::Deleted
    }

    /// The workflow that brings it to another desired state.
    pub(crate) fn workflow_of_changes(&self) -> &'static str {
        if boot_disks::was_made(&self.state) {
            update_vsi::NAME
        } else {
            provision_vsi::NAME
        }
    }

    /// Whether everything on its host remains when it is deleted. Its record and its newest document must
    /// both say `Delete`: a promise to retain data holds before the change with it is approved.
    pub(crate) fn is_retained(&self) -> bool {
        self.newest_policy() != DeletionPolicy::Delete
    }

    /// Its deletion policy: `Delete` only if every newest document says so, also one that waits for approval.
    pub(crate) fn newest_policy(&self) -> DeletionPolicy {
        let proposed = self.record.proposed.iter().map(|proposed| &proposed.vsi);
        let newest = std::iter::once(&self.record.vsi).chain(proposed);
        let mut policies = newest.map(|vsi| vsi.deletion_policy);
        let retained = policies.find(|policy| *policy != DeletionPolicy::Delete);
        retained.unwrap_or(DeletionPolicy::Delete)
    }

    /// Returns the VSI, or an error if it cannot be read.
    pub(super) fn readable(self) -> Result<Self, FleetError> {
        match &self.unreadable {
            None => Ok(self),
            Some(why) => Err(FleetError::new(ErrorKind::Blocked, why.as_ref().clone())),
        }
    }

    /// The sort key in lists: namespace and name.
    fn place(&self) -> (&str, &str) {
        let vsi = &self.record.vsi;
        (&vsi.namespace, &vsi.name)
    }
}

/// VSIs that were read when the fleet was opened and that no caller has asked for yet.
#[derive(Default)]
pub(super) struct AlreadyRead(Mutex<HashMap<EntityId, Known>>);

impl AlreadyRead {
    pub(super) fn put(&self, known: Vec<Known>) {
        let known = known.into_iter();
        let known = known.map(|known| (known.entity.clone(), known));
        *self.lock() = known.collect();
    }

    /// Takes out a VSI that is readable and has not changed. The next caller reads it again.
    pub(super) fn take(&self, entity: &EntityId, state: &Arc<EntityState>) -> Option<Known> {
        let known = self.lock().remove(entity)?;
        (Arc::ptr_eq(&known.state, state) && known.unreadable.is_none()).then_some(known)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EntityId, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fleet {
    /// The desired state of an entity, read from the journal or its blob.
    pub(crate) async fn read_record<T: DeserializeOwned>(
        &self,
        state: &EntityState,
    ) -> Result<Option<T>, FleetError> {
        let Some(desired) = &state.desired else {
            return Ok(None);
        };
        let bytes = self.blobs.get(&desired.desired).await?;
        Ok(Some(record::read(&bytes)?))
    }

    /// All VSIs, deleted ones included, by namespace and name.
    pub(crate) async fn known(&self) -> Result<Vec<Known>, FleetError> {
        Ok(self.known_and_lost().await?.0)
    }

    /// All VSIs, and those whose desired state cannot be read.
    pub(super) async fn known_and_lost(&self) -> Result<(Vec<Known>, Vec<LostState>), FleetError> {
        let all = self.entities_of(kind::VSI);
        let all = self.in_pieces(all, |fleet, some| async move {
            let mut read = Vec::with_capacity(some.len());
            for (entity, state) in some {
                let lost = (entity.clone(), state.clone());
                match fleet.read_known(entity, state).await? {
                    DesiredReading::Record(known) => read.push(Ok(known)),
                    DesiredReading::Nothing => {}
                    DesiredReading::Lost(failure) => read.push(Err((lost.0, lost.1, failure))),
                }
            }
            Ok(read)
        });
        let (mut known, mut lost) = (Vec::new(), Vec::new());
        for one in all.await? {
            match one {
                Ok(one) => known.push(one),
                Err(one) => lost.push(one),
            }
        }
        known.sort_by(|a, b| a.place().cmp(&b.place()));
        Ok((known, lost))
    }

    /// A VSI, as far as its desired state can be read.
    pub(super) async fn read_known(
        &self,
        entity: EntityId,
        state: Arc<EntityState>,
    ) -> Result<DesiredReading<Known>, FleetError> {
        if let Some(known) = self.read.take(&entity, &state) {
            return Ok(DesiredReading::Record(known));
        }
        Ok(match self.read_desired(&entity, &state).await? {
            DesiredReading::Record(record) => {
                DesiredReading::Record(self.known_as(entity, state, Arc::new(record)).await?)
            }
            DesiredReading::Nothing => DesiredReading::Nothing,
            DesiredReading::Lost(failure) => DesiredReading::Lost(failure),
        })
    }

    /// A VSI with this record as its desired state.
    pub(super) async fn known_as(
        &self,
        entity: EntityId,
        state: Arc<EntityState>,
        record: Arc<VsiRecord>,
    ) -> Result<Known, FleetError> {
        // A deleted VSI needs no blob any more.
        let poison = if phase::is_gone(&entity, &state) {
            self.engine.unreadable(&entity).map(|w| w.failure(&entity))
        } else {
            self.poison(&entity).await?
        };
        Ok(Known {
            unreadable: poison.map(Box::new),
            entity,
            state,
            record,
        })
    }

    /// Namespace and name of a VSI; `None` for any other entity, or if they cannot be read.
    ///
    /// # Errors
    /// When its blob cannot be read.
    pub async fn title(&self, entity: &EntityId) -> Result<Option<(String, String)>, FleetError> {
        if entity.kind().as_str() != kind::VSI {
            return Ok(None);
        }
        let Some(state) = self.engine.entity(entity) else {
            return Ok(None);
        };
        let read: DesiredReading<VsiRecord> = self.read_desired(entity, &state).await?;
        Ok(match read {
            DesiredReading::Record(record) => Some((record.vsi.namespace, record.vsi.name)),
            DesiredReading::Nothing | DesiredReading::Lost(_) => None,
        })
    }

    pub(crate) fn entities_of(&self, kind: &str) -> Vec<(EntityId, Arc<EntityState>)> {
        self.engine.entities_of(&Name::of(kind))
    }

    /// The VSI with this name (or `NAMESPACE/NAME`) that is not deleted. With `deleted`, the newest deleted
    /// one if there is no other.
    ///
    /// # Errors
    /// When there is no such VSI, or it cannot be read.
    pub(crate) async fn find(
        &self,
        namespace: &str,
        name: &str,
        deleted: bool,
    ) -> Result<Known, FleetError> {
        self.find_any(namespace, name, deleted).await?.readable()
    }

    /// Finds a VSI as [`Self::find`] does, even if a part of it cannot be read.
    pub(super) async fn find_any(
        &self,
        namespace: &str,
        name: &str,
        deleted: bool,
    ) -> Result<Known, FleetError> {
        let (namespace, name) = qualified(namespace, name);
        let known = self.known_named(namespace, name).await?;
        let named = known.into_iter().filter(|known| {
            let vsi = &known.record.vsi;
            vsi.namespace == namespace && (vsi.name == name || known.entity.id() == name)
        });
        let (gone, alive): (Vec<_>, Vec<_>) = named.partition(Known::is_deleted);
        let newest = gone
            .into_iter()
            .filter(|_| deleted)
            .max_by_key(|k| k.state.runs.last().copied());
        if let Some(alive) = alive.into_iter().next() {
            return Ok(alive);
        }
        let lost = self.lost_among(kind::VSI, [(namespace, name)]).await?;
        refuse_lost(&lost, kind::VSI, namespace, name)?;
        newest.ok_or_else(|| {
            let full = if namespace == "default" {
                name.to_owned()
            } else {
                format!("{namespace}/{name}")
            };
            FleetError::not_found("vsi", &full)
        })
    }

    /// Registers the secrets that hold image credentials, by host and image URL.
    pub(super) fn register_credentials(&self, known: &[Known]) {
        for vsi in known.iter().filter(|known| !known.is_deleted()) {
            if let Some(secret) = &vsi.record.image_credentials {
                let vsi = &vsi.record.vsi;
                self.credentials
                    .put(&vsi.host, &vsi.image.url, secret.clone());
            }
        }
    }

    /// Puts every host that the journal knows and whose secrets are available into the directory. Without
    /// its secrets, no connection to a host is to be tried.
    pub(super) async fn register_hosts(&self, known: &[Known]) -> Result<(), FleetError> {
        let first = first_namespaces(known);
        for (_, state, host) in self.all_desired::<HostRecord>(kind::HOST).await? {
            let cordoned = phase::why_cordoned(state.state.as_ref());
            let id = host.record.id();
            self.reach.cordon(&id, cordoned);
            let owner = host.namespace.clone().or_else(|| first.get(&id).cloned());
            self.directory.set_owner(&id, owner);
            let (key, key_passphrase, image_secret) = (
                self.secret(&host.key).await,
                self.secret(&host.key_passphrase).await,
                self.secret(&host.image_secret).await,
            );
            let lacks = [
                (&host.key, &key),
                (&host.key_passphrase, &key_passphrase),
                (&host.image_secret, &image_secret),
            ];
            if lacks
                .into_iter()
                .any(|(named, found)| named.is_some() && found.is_none())
            {
                continue;
            }
            let Some(jump_secrets) = self.jump_secrets(&host.jump_secrets).await else {
                continue;
            };
            self.directory.put(crate::spec::HostSettings {
                record: host.record,
                key,
                key_passphrase,
                image_secret,
                jump_secrets,
                // Not the namespace of the first VSI: where namespaces trust one another, a host has none.
                namespace: host.namespace,
                labels: host.labels,
                limits: host.limits,
            });
        }
        Ok(())
    }

    /// The secrets of jump hosts; `None` if one of them is not available.
    async fn jump_secrets(&self, names: &[JumpSecretNames]) -> Option<Vec<JumpSecrets>> {
        let mut all = Vec::with_capacity(names.len());
        for host_names in names {
            let (key, key_passphrase) = (
                self.secret(&host_names.key).await,
                self.secret(&host_names.key_passphrase).await,
            );
            let is_whole = key.is_some() == host_names.key.is_some()
                && key_passphrase.is_some() == host_names.key_passphrase.is_some();
            all.push(is_whole.then_some(JumpSecrets {
                key,
                key_passphrase,
            })?);
        }
        Some(all)
    }

    async fn secret(&self, name: &Option<Name>) -> Option<Secret> {
        match name {
            Some(name) => self.secrets.get(name).await.ok(),
            None => None,
        }
    }
}

/// The namespace of the oldest VSI on each host. Earlier versions did not record whose settings they used.
fn first_namespaces(known: &[Known]) -> BTreeMap<String, String> {
    let alive = known.iter().filter(|known| !known.is_deleted());
    let mut alive: Vec<_> = alive.collect();
    alive.sort_by_key(|vsi| vsi.state.runs.first().copied());
    let mut first = BTreeMap::new();
    for vsi in alive {
        let vsi = &vsi.record.vsi;
        first
            .entry(vsi.host.clone())
            .or_insert_with(|| vsi.namespace.clone());
    }
    first
}
