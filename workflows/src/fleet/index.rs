//! Finds entities by the names people gave them.

use std::{collections::BTreeMap, sync::Arc};

use serde::de::DeserializeOwned;
use vsiflow_engine::{
    model::{EntityId, EntityState, Name},
    secret::Secret,
};

use super::{Fleet, FleetError, host::maintenance};
use crate::{
    phase::Phase,
    record::{self, HostRecord, VsiRecord, kind},
};

/// A VSI of the journal.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) entity: EntityId,
    pub(crate) state: Arc<EntityState>,
    pub(crate) wanted: VsiRecord,
}

impl Known {
    /// The recorded phase.
    pub(crate) fn phase(&self) -> Phase {
        let recorded = self.state.state.as_ref().map(|(name, _)| name.as_str());
        recorded.and_then(Phase::named).unwrap_or(Phase::Pending)
    }

    /// `NAME`, or `NAMESPACE/NAME` outside the default namespace.
    pub(crate) fn label(&self) -> String {
        match self.wanted.vsi.namespace.as_str() {
            "default" => self.wanted.vsi.name.clone(),
            _ => self.wanted.vsi.full_name(),
        }
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.phase() == Phase::Deleted
    }

    /// Where it stands in a list that people read.
    fn place(&self) -> (&str, &str) {
        let vsi = &self.wanted.vsi;
        (&vsi.namespace, &vsi.name)
    }
}

/// Namespace and name of what may be given as `NAMESPACE/NAME`, as messages have it.
pub(super) fn qualified<'a>(namespace: &'a str, name: &'a str) -> (&'a str, &'a str) {
    name.split_once('/').unwrap_or((namespace, name))
}

impl Fleet {
    /// What is wanted of an entity, read from the journal or its blob.
    pub(crate) async fn wanted<T: DeserializeOwned>(
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
        let mut known = Vec::new();
        for (entity, state) in self.entities_of(kind::VSI) {
            if let Some(wanted) = self.wanted(&state).await? {
                known.push(Known {
                    entity,
                    state,
                    wanted,
                });
            }
        }
        known.sort_by(|a, b| a.place().cmp(&b.place()));
        Ok(known)
    }

    /// Namespace and name of a VSI; none of anything else.
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
        let wanted = self.wanted::<VsiRecord>(&state).await?;
        Ok(wanted.map(|wanted| (wanted.vsi.namespace, wanted.vsi.name)))
    }

    pub(crate) fn entities_of(&self, kind: &str) -> Vec<(EntityId, Arc<EntityState>)> {
        let kind = Name::of(kind);
        self.engine
            .entities()
            .into_iter()
            .filter(|(id, _)| *id.kind() == kind)
            .collect()
    }

    /// The VSI of that name, or `NAMESPACE/NAME`, that is not deleted; else, with `deleted`, the newest that was.
    pub(crate) async fn find(
        &self,
        namespace: &str,
        name: &str,
        deleted: bool,
    ) -> Result<Known, FleetError> {
        let (namespace, name) = qualified(namespace, name);
        let known = self.known().await?;
        let named = known.into_iter().filter(|known| {
            let vsi = &known.wanted.vsi;
            vsi.namespace == namespace && (vsi.name == name || known.entity.id() == name)
        });
        let (gone, alive): (Vec<_>, Vec<_>) = named.partition(Known::is_deleted);
        let newest = gone
            .into_iter()
            .filter(|_| deleted)
            .max_by_key(|k| k.state.runs.last().copied());
        alive.into_iter().next().or(newest).ok_or_else(|| {
            let full = if namespace == "default" {
                name.to_owned()
            } else {
                format!("{namespace}/{name}")
            };
            FleetError::not_found("vsi", &full)
        })
    }

    /// Remembers which secret belongs to which image URL.
    pub(crate) async fn take_in_credentials(&self) -> Result<(), FleetError> {
        for known in self
            .known()
            .await?
            .into_iter()
            .filter(|known| !known.is_deleted())
        {
            if let Some(secret) = known.wanted.image_credentials {
                let vsi = &known.wanted.vsi;
                self.credentials.put(&vsi.host, &vsi.image.url, secret);
            }
        }
        Ok(())
    }

    /// Tells the directory every host that the journal knows, and whose secrets are at hand: without
    /// them nobody is to try to get there.
    pub(crate) async fn take_in_hosts(&self) -> Result<(), FleetError> {
        let first = self.first_there().await?;
        for (_, state) in self.entities_of(kind::HOST) {
            let Some(host) = self.wanted::<HostRecord>(&state).await? else {
                continue;
            };
            let cordoned = maintenance::why_cordoned(state.state.as_ref());
            let id = host.record.id();
            self.reach.cordon(&id, cordoned);
            let namespace = host.namespace.clone().or_else(|| first.get(&id).cloned());
            self.directory.give(&id, namespace.clone());
            let (key, image_secret) = (
                self.secret(&host.key).await,
                self.secret(&host.image_secret).await,
            );
            let lacks =
                |named: &Option<Name>, found: &Option<Secret>| named.is_some() && found.is_none();
            if lacks(&host.key, &key) || lacks(&host.image_secret, &image_secret) {
                continue;
            }
            self.directory.put(crate::spec::HostSettings {
                record: host.record,
                key,
                image_secret,
                namespace,
            });
        }
        Ok(())
    }

    /// The namespace of the first VSI on each host: versions before this one did not record whose
    /// settings they took.
    async fn first_there(&self) -> Result<BTreeMap<String, String>, FleetError> {
        let mut alive = self.known().await?;
        alive.retain(|known| !known.is_deleted());
        alive.sort_by_key(|known| known.state.runs.first().copied());
        let mut first = BTreeMap::new();
        for known in alive {
            let vsi = known.wanted.vsi;
            first.entry(vsi.host).or_insert(vsi.namespace);
        }
        Ok(first)
    }

    async fn secret(&self, name: &Option<Name>) -> Option<Secret> {
        match name {
            Some(name) => self.secrets.get(name).await.ok(),
            None => None,
        }
    }
}
