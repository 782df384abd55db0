//! Queries of the front ends: one VSI at a time, and the journal as it grows.

use std::{collections::BTreeMap, sync::Arc};

use uuid::Uuid;
use vsiflow_engine::{
    journal::{Entry, Offset, Record},
    model::{EntityId, Failure, StreamId, Timestamp},
};
use vsiflow_steps::{contract, names};

use super::{
    DiskHandle, Fleet, FleetError, HistoryHandle, VsiHandle, VsiObject, index::Known,
    unreadable::decodable,
};
use crate::{
    phase::Phase,
    record::{VsiRecord, kind},
    spec::{DesiredDisk, DiskOrigin},
    vsi_graph,
};

/// Whether an entity exists, as far as the journal knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntityPresence {
    /// Unknown: this journal never recorded it, or all its events are archived.
    None,
    /// The entity exists, or is being made or deleted.
    Alive,
    /// The entity was deleted and its host confirmed that, or it was orphaned.
    Gone,
}

impl VsiHandle<'_> {
    /// One VSI; `None` if it is not known.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn of(self, entity: &EntityId) -> Result<Option<VsiObject>, FleetError> {
        match self.fleet.known_of(entity).await? {
            Some(known) => Ok(Some(self.fleet.object(&known).await?)),
            None => Ok(None),
        }
    }

    /// The definition of a VSI's domain, as its host prints it now; `None` if the VSI has no domain.
    ///
    /// # Errors
    /// When the journal cannot be read, or the host cannot be asked.
    pub async fn domain_xml(self, entity: &EntityId) -> Result<Option<String>, FleetError> {
        let Some(known) = self.fleet.known_of(entity).await? else {
            return Ok(None);
        };
        let ports = self.fleet.hosts.host(&known.record.vsi.host).await;
        let ports = ports.map_err(Failure::from)?;
        let domain = ports.domains.domain(known.record.uid).await;
        Ok(domain.map_err(Failure::from)?.map(|domain| domain.xml))
    }

    /// Namespace and name of each VSI whose contract is signed by a certificate, and the end of the
    /// certificate's lifetime in seconds since the epoch.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn contract_ends(self) -> Result<Vec<(String, String, u64)>, FleetError> {
        let mut ends = Vec::new();
        for known in self.fleet.known().await? {
            if known.is_deleted() {
                continue;
            }
            if !known.record.vsi.guest_type().is_hyper_protect() {
                continue;
            }
            let Ok(contract) = self.fleet.secrets.get(&known.record.contract).await else {
                continue;
            };
            let vsi = &known.record.vsi;
            let checked = contract::inspect_remembered(contract, &vsi.namespace, &vsi.host);
            let Ok(report) = checked.await else { continue };
            if let Some(lifetime) = report.certificate {
                ends.push((vsi.namespace.clone(), vsi.name.clone(), lifetime.not_after));
            }
        }
        Ok(ends)
    }
}

impl DiskHandle<'_> {
    /// The VSIs that are not deleted and have the data disk with this UID, whichever disk has its name now.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn users(self, uid: Uuid) -> Result<Vec<String>, FleetError> {
        let known = self.fleet.known_with(uid).await?;
        let has = |vsi: &Known, disk: &DesiredDisk| {
            // A disk that came with an adopted VSI is known by its volume only.
            let volume = vsi_graph::volume(&vsi.record, disk).name;
            names::is_of_data_disk(&volume, uid)
                || matches!(disk.source, DiskOrigin::Made { uid: own, .. } if own == Some(uid))
        };
        let uses = |vsi: &&Known| {
            let now = vsi.record.vsi.disks.iter();
            let before = vsi.record.before.iter();
            let before = before.flat_map(|inputs| &inputs.vsi.disks);
            let before = before.filter(|_| !vsi.state.is_settled());
            !vsi.is_deleted() && now.chain(before).any(|disk| has(vsi, disk))
        };
        Ok(known.iter().filter(uses).map(Known::label).collect())
    }
}

impl HistoryHandle<'_> {
    /// At most `limit` events of the whole journal from `from` on, in journal order. Events that cannot be
    /// decoded are skipped.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn recorded(self, from: Offset, limit: usize) -> Result<Vec<Record>, FleetError> {
        let mut from = from;
        loop {
            let page = self.fleet.journal.read_entries(from, limit).await?;
            let Some(last) = page.last().map(Entry::offset) else {
                return Ok(Vec::new());
            };
            let records = decodable(page);
            if !records.is_empty() {
                return Ok(records);
            }
            from = last.saturating_add(1);
        }
    }

    /// The events of a VSI and of its newest run since a moment, in journal order. Events from the future are left out:
    /// they were recorded while the clock was ahead, which may be long ago.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn recorded_of(
        self,
        entity: &EntityId,
        since: Timestamp,
    ) -> Result<Vec<Record>, FleetError> {
        let Some(state) = self.fleet.engine.entity(entity) else {
            return Ok(Vec::new());
        };
        let mut records = self
            .fleet
            .records(&StreamId::Entity(entity.clone()))
            .await?;
        if let Some(run) = state.runs.last() {
            records.extend(self.fleet.records(&StreamId::Run(*run)).await?);
        }
        let is_recent = |at: Timestamp| at >= since && !self.fleet.is_in_future(at);
        records.retain(|record| is_recent(record.event.at));
        records.sort_by_key(|record| record.offset);
        Ok(records)
    }
}

impl Fleet {
    /// Whether a VSI exists, as far as the journal knows.
    pub fn knowledge(&self, entity: &EntityId) -> EntityPresence {
        match self.engine.entity(entity) {
            None => EntityPresence::None,
            // An unreadable VSI still exists.
            Some(_) if self.engine.unreadable(entity).is_some() => EntityPresence::Alive,
            Some(state) if state.desired.is_none() => EntityPresence::None,
            Some(_) if self.phase(entity) == Phase::Deleted => EntityPresence::Gone,
            Some(_) => EntityPresence::Alive,
        }
    }

    pub(super) async fn known_of(&self, entity: &EntityId) -> Result<Option<Known>, FleetError> {
        if entity.kind().as_str() != kind::VSI {
            return Ok(None);
        }
        let Some(state) = self.engine.entity(entity) else {
            return Ok(None);
        };
        let record = self.read_record::<VsiRecord>(&state).await?;
        match record {
            Some(record) => {
                let known = self
                    .known_as(entity.clone(), state, Arc::new(record))
                    .await?;
                Ok(Some(known))
            }
            None => Ok(None),
        }
    }

    /// The number of VSIs in each phase, without deleted ones.
    pub fn phases(&self) -> BTreeMap<&'static str, i64> {
        let mut phases = BTreeMap::new();
        for (entity, _) in self.entities_of(kind::VSI) {
            let phase = self.phase(&entity);
            if phase != Phase::Deleted {
                let count: &mut i64 = phases.entry(phase.as_str()).or_default();
                *count = count.saturating_add(1);
            }
        }
        phases
    }
}
