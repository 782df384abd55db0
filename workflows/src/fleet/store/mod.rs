//! Stores desired states durably: secrets in the secret store, the rest in the journal.

mod sweep;

use std::collections::BTreeSet;

use serde::Serialize;
use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{EntityId, Name, Precedence, Text},
    secret::Secret,
    workflow::{DesiredUpdate, DestructionOrder},
};
use vsiflow_steps::ports::Hosts as _;

use super::{Fleet, FleetError, disk::known::DiskIds, host::ownership, unreadable::DesiredReading};
use crate::{
    orders,
    record::{HostRecord, JumpSecretNames, VsiRecord, host_entity, kind},
    spec::{HostSettings, ResolvedVsi, host::JumpSecrets},
};

/// The desired states of one apply, and the secrets that are no longer needed once they are recorded.
#[derive(Default)]
pub(super) struct DesiredUpdates {
    updates: Vec<DesiredUpdate>,
    retired: Vec<(EntityId, Name)>,
    /// The hosts whose settings are recorded afterwards.
    hosts: Vec<String>,
}

impl DesiredUpdates {
    pub(super) fn add(
        &mut self,
        entity: EntityId,
        workflow: &str,
        precedence: Precedence,
        record: &impl Serialize,
        made_from: Option<u64>,
    ) -> Result<(), FleetError> {
        let desired =
            serde_json::to_vec(record).map_err(|error| FleetError::defect(error.to_string()))?;
        self.updates.push(DesiredUpdate {
            entity,
            workflow: Name::of(workflow),
            precedence,
            desired,
            made_from,
            orders: Vec::new(),
            voids: Vec::new(),
        });
        Ok(())
    }

    /// Adds orders to the desired state that was added last; they are recorded with it.
    pub(super) fn order(&mut self, orders: Vec<DestructionOrder>) {
        if let Some(update) = self.updates.last_mut() {
            update.orders.extend(orders);
        }
    }

    /// Open orders by this act for the entity that was added last are void with it.
    pub(super) fn void(&mut self, act: &str) {
        if let Some(update) = self.updates.last_mut() {
            update.voids.push(Name::of(act));
        }
    }

    /// Adds the order to delete the entity that was added last, with these volumes that guests wrote to.
    pub(super) fn order_deletion(&mut self, volumes: impl IntoIterator<Item = Text>) {
        self.order_deletion_by(orders::DELETE, volumes);
    }

    /// The same by another act than a deletion that somebody asked for.
    pub(super) fn order_deletion_by(&mut self, act: &str, volumes: impl IntoIterator<Item = Text>) {
        if let Some(update) = self.updates.last_mut() {
            let orders = orders::for_deletion(&update.entity, act, volumes);
            update.orders.extend(orders);
        }
    }

    pub(super) fn retire<'a>(
        &mut self,
        entity: &EntityId,
        secrets: impl IntoIterator<Item = &'a Name>,
    ) {
        self.retired.extend(
            secrets
                .into_iter()
                .map(|secret| (entity.clone(), secret.clone())),
        );
    }
}

impl Fleet {
    /// Adds the order to keep the members of the pool or group that was added last as its document says. Only in a
    /// journal that was restored, where the document alone is none.
    pub(super) fn order_members(&self, updates: &mut DesiredUpdates) {
        let last = updates.updates.last_mut();
        if let Some(update) = last.filter(|_| self.reach.has_forgotten()) {
            update.orders.push(orders::for_members(&update.entity));
        }
    }

    /// Records the desired states, all of them or none, then erases the secrets that they replaced. After a
    /// crash in between, those secrets are still named in the desired state and are erased with their
    /// owner.
    pub(super) async fn record(&self, updates: DesiredUpdates, by: By) -> Result<(), FleetError> {
        if !updates.updates.is_empty() {
            self.engine.submit(updates.updates, by.clone()).await?;
        }
        for host in updates.hosts {
            self.directory.recorded(&host);
        }
        for (entity, secret) in updates.retired {
            self.secrets.erase(&secret).await?;
            self.engine.erased(entity, secret, by.clone()).await?;
        }
        Ok(())
    }

    /// Stores the secrets of a VSI, except a contract that is already stored. The rest becomes its record.
    pub(super) async fn store_secrets(
        &self,
        vsi: ResolvedVsi,
        uid: Uuid,
        contract: Option<Name>,
        disks: &DiskIds,
    ) -> Result<VsiRecord, FleetError> {
        let contract = match contract {
            Some(contract) => contract,
            None => self.secrets.put(vsi.contract).await?,
        };
        let image_credentials = match vsi.image_url {
            Some(url) => {
                let secret = self.secrets.put(url).await?;
                let (host, image_url) = (&vsi.desired.host, &vsi.desired.image.url);
                self.credentials.put(host, image_url, secret.clone());
                self.forget_credentials().await?;
                Some(secret)
            }
            None => None,
        };
        let namespace = &vsi.desired.namespace;
        let uid_of = |name: &String| disks.get(&(namespace.clone(), name.clone()));
        let names = vsi.desired.disks.iter().map(|disk| &disk.name);
        let named_disks = names.filter_map(|name| Some((name.clone(), *uid_of(name)?)));
        let named_disks = named_disks.collect();
        Ok(VsiRecord {
            image_credentials,
            disks: named_disks,
            unresolved_refs: vsi.unresolved_refs,
            placed: vsi.placed,
            ..VsiRecord::new(uid, contract, vsi.desired)
        })
    }

    /// Forgets credentials of images that no VSI names any more, once there are many.
    async fn forget_credentials(&self) -> Result<(), FleetError> {
        if !self.credentials.are_many() {
            return Ok(());
        }
        let known = self.known().await?;
        let stay = known.iter().filter(|known| !known.is_deleted());
        let named: BTreeSet<_> = stay.flat_map(|vsi| vsi.record.secrets()).collect();
        self.credentials.retain(|secret| named.contains(secret));
        Ok(())
    }

    /// Accepts secrets that are stored elsewhere and were just read there: every secret that resources
    /// name, and the settings of hosts that have had no secrets since a restart. Work that needs one of
    /// them can continue.
    ///
    /// # Errors
    /// When the journal or the secrets cannot be used.
    pub async fn deliver(
        &self,
        hosts: Vec<HostSettings>,
        mut secrets: Vec<Secret>,
        by: By,
    ) -> Result<(), FleetError> {
        let own = hosts.iter().flat_map(HostSettings::secrets);
        secrets.extend(own.cloned());
        self.secrets.deliver(secrets).await?;
        Box::pin(self.deliver_members()).await?;
        let mut updates = DesiredUpdates::default();
        for host in hosts {
            let recorded =
                host_entity(&host.id()).is_ok_and(|entity| self.engine.entity(&entity).is_some());
            let others = ownership::others(&self.directory, &host).is_some();
            if recorded && !others && self.directory.get(&host.id()).is_none() {
                self.host_update(host, &mut updates).await?;
            }
        }
        self.record(updates, by).await
    }

    pub(super) async fn host_update(
        &self,
        host: HostSettings,
        updates: &mut DesiredUpdates,
    ) -> Result<(), FleetError> {
        let known = self.directory.get(&host.id());
        let same = known.as_ref().is_some_and(|known| known.same_as(&host));
        let (labels_before, limits_before) = known
            .map(|known| (known.labels, known.limits))
            .unwrap_or_default();
        let same_limits = host.limits.is_none() || host.limits == limits_before;
        let same_labels = host.labels.is_empty() || host.labels == labels_before;
        // A host that was only offered is not recorded yet.
        let same_labels = same_labels && same_limits && !self.directory.is_offered(&host.id());
        if let Some(owner) = ownership::others(&self.directory, &host) {
            return if same {
                Ok(())
            } else {
                Err(ownership::refused(&host, &owner))
            };
        }
        let owned = host.namespace.is_none() || self.directory.owner(&host.id()) == host.namespace;
        self.directory.put(host.clone());
        updates.hosts.push(host.id());
        if host.namespace.is_some() {
            self.directory.set_owner(&host.id(), host.namespace.clone());
        }
        if same && owned && same_labels {
            return Ok(());
        }
        let entity =
            host_entity(&host.id()).map_err(|error| FleetError::defect(error.to_string()))?;
        let earlier: Option<HostRecord> = match self.engine.entity(&entity) {
            Some(state) => match self.read_desired(&entity, &state).await? {
                DesiredReading::Record(record) => Some(record),
                // The host is recorded again.
                DesiredReading::Nothing | DesiredReading::Lost(_) => None,
            },
            None => None,
        };
        let key = self.put_secret(host.key).await?;
        let key_passphrase = self.put_secret(host.key_passphrase).await?;
        let image_secret = self.put_secret(host.image_secret).await?;
        let jump_secrets = self.put_jump_secrets(host.jump_secrets).await?;
        let labels = match (host.labels.is_empty(), &earlier) {
            (true, Some(earlier)) => earlier.labels.clone(),
            _ => host.labels,
        };
        let limits = host
            .limits
            .or_else(|| earlier.as_ref().and_then(|earlier| earlier.limits.clone()));
        let is_known = earlier.as_ref().is_some_and(|earlier| {
            let before = [&earlier.key, &earlier.key_passphrase, &earlier.image_secret];
            let same_owner = host.namespace.is_none() || earlier.namespace == host.namespace;
            same_owner
                && earlier.record == host.record
                && earlier.labels == labels
                && earlier.limits == limits
                && before == [&key, &key_passphrase, &image_secret]
                && earlier.jump_secrets == jump_secrets
        });
        if is_known {
            // The journal has this record; only this process needed the secrets again.
            return Ok(());
        }
        let (before, jumps_before, owner) = match earlier {
            Some(earlier) => (
                [earlier.key, earlier.key_passphrase, earlier.image_secret],
                earlier.jump_secrets,
                earlier.namespace,
            ),
            None => Default::default(),
        };
        let now: Vec<&Name> = [&key, &key_passphrase, &image_secret]
            .into_iter()
            .flatten()
            .chain(jump_secrets.iter().flat_map(JumpSecretNames::iter))
            .collect();
        // The same secret may have moved, for example from the host to its jump host.
        let superseded = |old: Option<Name>| old.filter(|old| !now.contains(&old));
        let [retired, retired_key_passphrase, retired_image_secret] = before.map(superseded);
        let retired_jump_secrets: Vec<Name> = jumps_before
            .iter()
            .flat_map(JumpSecretNames::iter)
            .filter(|old| !now.contains(old))
            .cloned()
            .collect();
        let all = retired.iter().chain(&retired_key_passphrase);
        let all = all.chain(&retired_image_secret);
        updates.retire(&entity, all.chain(&retired_jump_secrets));
        let record = HostRecord {
            record: host.record,
            key,
            retired,
            key_passphrase,
            retired_key_passphrase,
            image_secret,
            retired_image_secret,
            jump_secrets,
            retired_jump_secrets,
            namespace: host.namespace.or(owner),
            labels,
            limits,
        };
        updates.add(entity, kind::HOST, Precedence::Record, &record, None)
    }

    async fn put_jump_secrets(
        &self,
        all: Vec<JumpSecrets>,
    ) -> Result<Vec<JumpSecretNames>, FleetError> {
        let mut names = Vec::with_capacity(all.len());
        for secrets in all {
            names.push(JumpSecretNames {
                key: self.put_secret(secrets.key).await?,
                key_passphrase: self.put_secret(secrets.key_passphrase).await?,
            });
        }
        Ok(names)
    }

    async fn put_secret(&self, secret: Option<Secret>) -> Result<Option<Name>, FleetError> {
        Ok(match secret {
            Some(secret) => Some(self.secrets.put(secret).await?),
            None => None,
        })
    }
}
