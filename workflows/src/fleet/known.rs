//! Pools and groups of the journal: reading, listing, and lookup by the names that users gave them.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};
use vsiflow_engine::{
    executor::By,
    model::{Actor, EntityId, EntityState, Failure, Precedence, Text},
};
use vsiflow_steps::ports::Hosts as _;

use crate::{
    fleet::{
        ErrorKind, Fleet, FleetError,
        object::qualified,
        store::DesiredUpdates,
        unreadable::{DesiredReading, LostState},
    },
    group::{self, GroupRecord},
    orders, phase,
    pool::{self, PoolRecord},
    record::kind,
};

/// The record of an entity that makes VSIs under its own names: a pool or a group.
pub(in crate::fleet) trait NamedRecord: DeserializeOwned {
    /// The kind of its entity.
    const KIND: &'static str;
    /// The workflow of a new entity.
    const WORKFLOW: &'static str;
    /// The workflows that delete or forget the entity.
    const ENDINGS: [&'static str; 2];

    fn namespace(&self) -> &str;
    fn name(&self) -> &str;
}

impl NamedRecord for PoolRecord {
    const KIND: &'static str = kind::POOL;
    const WORKFLOW: &'static str = pool::NAME;
    const ENDINGS: [&'static str; 2] = [pool::DELETE, pool::FORGET];

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn name(&self) -> &str {
        &self.name
    }
}

impl NamedRecord for GroupRecord {
    const KIND: &'static str = kind::GROUP;
    const WORKFLOW: &'static str = group::NAME;
    const ENDINGS: [&'static str; 2] = [group::DELETE, group::FORGET];

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// A pool or group of the journal.
#[derive(Clone, Debug)]
pub(in crate::fleet) struct KnownRecord<R> {
    pub(in crate::fleet) entity: EntityId,
    pub(in crate::fleet) state: Arc<EntityState>,
    pub(in crate::fleet) record: R,
}

/// A pool of the journal.
pub(in crate::fleet) type KnownPool = KnownRecord<PoolRecord>;
/// A group of the journal.
pub(in crate::fleet) type KnownGroup = KnownRecord<GroupRecord>;

impl<R: NamedRecord> KnownRecord<R> {
    pub(in crate::fleet) fn is_deleted(&self) -> bool {
        phase::is_gone(&self.entity, &self.state)
    }

    pub(in crate::fleet) fn is_deleting(&self) -> bool {
        R::ENDINGS.contains(&self.workflow())
    }

    /// The failure of its controller where it is held.
    pub(in crate::fleet) fn not_ordered(&self) -> Failure {
        orders::members_not_ordered(format!("{}/{}", R::KIND, self.label()), self.is_deleting())
    }

    /// The actor and reason of what its controller does, with the generation of the document that it acts by.
    pub(in crate::fleet) fn controller(&self, what: &str) -> By {
        let (label, generation) = (self.label(), self.generation());
        By {
            actor: Actor::Engine,
            reason: Text::new(format!(
                "{what} of {}/{label}, generation {generation}",
                R::KIND
            )),
        }
    }

    pub(in crate::fleet) fn workflow(&self) -> &str {
        let desired = self.state.desired.as_ref();
        desired.map_or(R::WORKFLOW, |desired| desired.workflow.as_str())
    }

    pub(in crate::fleet) fn generation(&self) -> u64 {
        let desired = self.state.desired.as_ref();
        desired.map_or(0, |desired| desired.generation)
    }

    /// `NAME`, or `NAMESPACE/NAME` outside the default namespace.
    pub(in crate::fleet) fn label(&self) -> String {
        match self.record.namespace() {
            "default" => self.record.name().to_owned(),
            namespace => format!("{namespace}/{}", self.record.name()),
        }
    }

    /// Its namespace and name.
    pub(in crate::fleet) fn place(&self) -> (String, String) {
        let record = &self.record;
        (record.namespace().to_owned(), record.name().to_owned())
    }

    fn is_named(&self, namespace: &str, name: &str) -> bool {
        let named = self.record.name() == name || self.entity.id() == name;
        named && self.record.namespace() == namespace
    }
}

impl Fleet {
    /// Whether the controller of a pool or a group may not replace or delete what it made: what it was ordered was
    /// ordered before the journal was restored, and may have been taken back since. A deletion may have been cancelled.
    pub(in crate::fleet) fn lacks_order<R: NamedRecord>(&self, known: &KnownRecord<R>) -> bool {
        let KnownRecord { entity, state, .. } = known;
        let needs_order = self.reach.has_forgotten() || known.is_deleting();
        needs_order && !orders::members_are_ordered(entity, state)
    }

    /// Records that a pool or a group is to be deleted or forgotten by this workflow. Only a deletion is ordered.
    pub(in crate::fleet) async fn record_ending<R: NamedRecord + Serialize>(
        &self,
        known: &KnownRecord<R>,
        workflow: &str,
        by: By,
    ) -> Result<(), FleetError> {
        let mut updates = DesiredUpdates::default();
        let (entity, newest) = (known.entity.clone(), Some(known.generation()));
        updates.add(entity, workflow, Precedence::Record, &known.record, newest)?;
        let [deletion, _] = R::ENDINGS;
        if workflow == deletion {
            updates.order_deletion([]);
        }
        self.record(updates, by).await
    }

    /// All entities of a kind, deleted ones included, by namespace and name; and those that cannot be read.
    pub(in crate::fleet) async fn known_records<R: NamedRecord>(
        &self,
    ) -> Result<(Vec<KnownRecord<R>>, Vec<LostState>), FleetError> {
        let all = self.read_all::<R>(R::KIND).await?;
        let read = all.read.into_iter();
        let known = read.map(|(entity, state, record)| KnownRecord {
            entity,
            state,
            record,
        });
        let mut known: Vec<KnownRecord<R>> = known.collect();
        known.sort_by_cached_key(KnownRecord::place);
        let lost = all.lost.into_iter();
        let lost = lost
            .filter(|(entity, state, _)| !phase::is_gone(entity, state) && !self.is_orphan(entity));
        Ok((known, lost.collect()))
    }

    /// All entities of a kind that are not deleted.
    pub(in crate::fleet) async fn living<R: NamedRecord>(
        &self,
    ) -> Result<Vec<KnownRecord<R>>, FleetError> {
        let (mut known, _) = self.known_records().await?;
        known.retain(|one| !one.is_deleted());
        Ok(known)
    }

    /// One entity and its record; `None` if nothing was recorded of it.
    pub(in crate::fleet) async fn known_record<R: NamedRecord>(
        &self,
        entity: &EntityId,
    ) -> Result<Option<KnownRecord<R>>, FleetError> {
        let Some(state) = self.engine.entity(entity) else {
            return Ok(None);
        };
        match self.read_desired(entity, &state).await? {
            DesiredReading::Record(record) => Ok(Some(KnownRecord {
                entity: entity.clone(),
                state,
                record,
            })),
            DesiredReading::Nothing => Ok(None),
            DesiredReading::Lost(failure) => Err(FleetError::new(ErrorKind::Blocked, failure)),
        }
    }

    /// The entity with this name (or `NAMESPACE/NAME`) that is not deleted. With `deleted`, the newest
    /// deleted one if there is no other.
    pub(in crate::fleet) async fn find_record<R: NamedRecord>(
        &self,
        namespace: &str,
        name: &str,
        deleted: bool,
    ) -> Result<KnownRecord<R>, FleetError> {
        let (namespace, name) = qualified(namespace, name);
        let (known, lost) = self.known_records::<R>().await?;
        let known = known.into_iter();
        let mut named: Vec<_> = known
            .filter(|one| one.is_named(namespace, name) && (deleted || !one.is_deleted()))
            .collect();
        named.sort_by_key(|one| {
            let times = self.engine.times(&one.entity);
            (!one.is_deleted(), times.map(|(created, _)| created))
        });
        match (named.pop(), lost.into_iter().next()) {
            (Some(found), _) => Ok(found),
            // The unreadable entity may be the one with this name.
            (None, Some((_, _, failure))) => Err(FleetError::new(ErrorKind::Blocked, failure)),
            (None, None) => Err(FleetError::not_found(R::KIND, name)),
        }
    }
}
