//! Entities whose events or blobs cannot be read. Such an entity is shown as unreadable, and other entities
//! are not affected. Only deletions of what it may refer to are refused in the meantime.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use serde::de::DeserializeOwned;
use serde_json::Value;
use vsiflow_engine::{
    executor::{By, UnreadableEntity},
    journal::{Entry, JournalError, Record},
    model::{
        EntityId, EntityState, EventKind, Failure, FailureClass, Hash, Name, Payload, RunState,
        StreamId, Text, Timestamp, Work,
    },
    step::Step as _,
};
use vsiflow_steps::vsi::DefineDomain;

use super::{
    ErrorKind, Fleet, FleetError,
    history::events,
    object::{Condition, Metadata, condition, qualified, rfc3339},
};
use crate::{
    group::GroupRecord,
    network::NetworkRecord,
    phase,
    pool::PoolRecord,
    record::{
        self, DiskRecord, HostRecord, ImageRecord, MachineRecord, SnapshotRecord, VsiRecord, kind,
    },
};

/// Blobs that this process found intact. Blobs never change.
#[derive(Default)]
pub(super) struct SeenBlobs(Mutex<HashSet<Hash>>);

/// How many blobs are remembered. With more of them, all are read once again.
const SEEN_MAX: usize = 1 << 16;

impl SeenBlobs {
    fn has(&self, hash: Hash) -> bool {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.contains(&hash)
    }

    fn add(&self, hash: Hash) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= SEEN_MAX {
            seen.clear();
        }
        seen.insert(hash);
    }
}

/// The result of reading an entity's desired state.
pub(super) enum DesiredReading<T> {
    /// The desired state.
    Record(T),
    /// The entity never had a desired state.
    Nothing,
    /// There is a desired state, but it cannot be read any more.
    Lost(Failure),
}

impl<T> DesiredReading<T> {
    /// Converts the record, if there is one.
    pub(super) fn map<U>(self, to: impl FnOnce(T) -> U) -> DesiredReading<U> {
        match self {
            Self::Record(record) => DesiredReading::Record(to(record)),
            Self::Nothing => DesiredReading::Nothing,
            Self::Lost(failure) => DesiredReading::Lost(failure),
        }
    }
}

/// An entity whose desired state cannot be read, and why.
pub(super) type LostState = (EntityId, Arc<EntityState>, Failure);

/// The desired state of all entities of a kind.
pub(super) struct ReadAll<T> {
    pub(super) read: Vec<(EntityId, Arc<EntityState>, T)>,
    pub(super) lost: Vec<LostState>,
}

/// The phase of an object whose desired state, or a part of it, cannot be read.
pub(super) const UNREADABLE: &str = "Unreadable";

/// An entity whose desired state cannot be read.
#[derive(Clone, Debug)]
pub(super) struct LostEntity {
    pub(super) entity: EntityId,
    pub(super) state: Arc<EntityState>,
    /// Namespace and name, if they are known from something else.
    pub(super) name: Option<(String, String)>,
    pub(super) failure: Failure,
}

impl LostEntity {
    /// Whether it has this name or UID.
    fn is(&self, namespace: &str, name: &str) -> bool {
        let own = self.name.as_ref();
        self.entity.id() == name
            || own.is_some_and(|(own_space, own)| own_space == namespace && own == name)
    }

    /// Its namespace and name; an empty namespace and the UID if they are unknown.
    pub(super) fn place(&self) -> (String, String) {
        let unnamed = || (String::new(), self.entity.id().to_owned());
        self.name.clone().unwrap_or_else(unnamed)
    }

    /// Why it cannot be read, and what can be done.
    pub(super) fn description(&self) -> String {
        format!("{}. {}", self.failure, self.failure.remedy)
    }

    /// The condition of this name: it does not hold, because the entity cannot be read.
    pub(super) fn condition(&self, name: &'static str, changed: Timestamp) -> Condition {
        let code = self.failure.code.as_str();
        condition(name, false, code, &self.description(), changed)
    }

    /// The creation time, RFC 3339; empty if the event with it is lost.
    pub(super) fn created(created: Timestamp) -> String {
        match created {
            Timestamp(0) => String::new(),
            created => rfc3339(created),
        }
    }

    /// Whether it has, or may have, this name.
    fn may_be(&self, namespace: &str, name: &str) -> bool {
        let own = self.name.as_ref();
        self.entity.id() == name
            || own.is_none_or(|(own_space, own)| own_space == namespace && own == name)
    }
}

impl Fleet {
    /// The desired state of an entity, if it can be read.
    pub(super) async fn read_desired<T: DeserializeOwned>(
        &self,
        entity: &EntityId,
        state: &EntityState,
    ) -> Result<DesiredReading<T>, FleetError> {
        let Some(desired) = &state.desired else {
            let poison = self.engine.unreadable(entity);
            return Ok(poison.map_or(DesiredReading::Nothing, |why| {
                DesiredReading::Lost(why.failure(entity))
            }));
        };
        let lost = |what: String| Ok(DesiredReading::Lost(UnreadableEntity::lost(entity, &what)));
        match self.blobs.get(&desired.desired).await {
            Ok(bytes) => match record::read(&bytes) {
                Ok(record) => Ok(DesiredReading::Record(record)),
                Err(failure) => Ok(DesiredReading::Lost(failure.of_object(entity.to_string()))),
            },
            Err(error) if error.is_damage() => lost(error.to_string()),
            Err(other) => Err(other.into()),
        }
    }

    /// The desired state of every entity of a kind, and the entities whose desired state cannot be read.
    pub(super) async fn read_all<T: DeserializeOwned>(
        &self,
        kind: &str,
    ) -> Result<ReadAll<T>, FleetError> {
        let (mut read, mut lost) = (Vec::new(), Vec::new());
        for (entity, state) in self.entities_of(kind) {
            match self.read_desired(&entity, &state).await? {
                DesiredReading::Record(record) => read.push((entity, state, record)),
                DesiredReading::Nothing => {}
                DesiredReading::Lost(failure) => lost.push((entity, state, failure)),
            }
        }
        Ok(ReadAll { read, lost })
    }

    /// The desired state of an entity, if all of the entity can be read: a part that cannot may be its newest
    /// desired state.
    pub(super) async fn read_whole<T: DeserializeOwned>(
        &self,
        entity: &EntityId,
        state: &EntityState,
    ) -> Result<DesiredReading<T>, FleetError> {
        match self.poison(entity).await? {
            Some(failure) => Ok(DesiredReading::Lost(failure)),
            None => self.read_desired(entity, state).await,
        }
    }

    /// The desired state of every entity of a kind of which all can be read, and the other entities.
    pub(super) async fn read_all_whole<T: DeserializeOwned>(
        &self,
        kind: &str,
    ) -> Result<ReadAll<T>, FleetError> {
        let (mut read, mut lost) = (Vec::new(), Vec::new());
        for (entity, state) in self.entities_of(kind) {
            match self.read_whole(&entity, &state).await? {
                DesiredReading::Record(record) => read.push((entity, state, record)),
                DesiredReading::Nothing => {}
                DesiredReading::Lost(failure) => lost.push((entity, state, failure)),
            }
        }
        Ok(ReadAll { read, lost })
    }

    /// The desired state of every entity of a kind for which it can be read.
    pub(super) async fn all_desired<T: DeserializeOwned>(
        &self,
        kind: &str,
    ) -> Result<Vec<(EntityId, Arc<EntityState>, T)>, FleetError> {
        Ok(self.read_all(kind).await?.read)
    }

    /// Why a part of an entity cannot be read; `None` if all of it can.
    pub(super) async fn poison(&self, entity: &EntityId) -> Result<Option<Failure>, FleetError> {
        if let Some(why) = self.engine.unreadable(entity) {
            return Ok(Some(why.failure(entity)));
        }
        for payload in self.engine.blobs_of(entity) {
            let Payload::Blob { hash, len } = payload else {
                continue;
            };
            if self.seen_blobs.has(hash) {
                continue;
            }
            match self.blobs.get_blob(hash, len).await {
                Ok(_) => self.seen_blobs.add(hash),
                Err(error) if error.is_damage() => {
                    return Ok(Some(UnreadableEntity::lost(entity, &error.to_string())));
                }
                Err(other) => return Err(other.into()),
            }
        }
        Ok(None)
    }

    /// The entities of a kind whose desired state cannot be read, without deleted ones.
    pub(super) async fn lost(&self, kind: &str) -> Result<Vec<LostEntity>, FleetError> {
        let lost = match kind {
            kind::DISK => self.read_all::<DiskRecord>(kind).await?.lost,
            kind::POOL => self.read_all::<PoolRecord>(kind).await?.lost,
            kind::GROUP => self.read_all::<GroupRecord>(kind).await?.lost,
            kind::SNAPSHOT => self.read_all::<SnapshotRecord>(kind).await?.lost,
            kind::NETWORK => self.read_all::<NetworkRecord>(kind).await?.lost,
            kind::VSI => self.read_all::<VsiRecord>(kind).await?.lost,
            kind::IMAGE => self.read_all::<ImageRecord>(kind).await?.lost,
            kind::HOST => self.read_all::<HostRecord>(kind).await?.lost,
            kind::MACHINE => self.read_all::<MachineRecord>(kind).await?.lost,
            _ => self.read_all_whole::<Value>(kind).await?.lost,
        };
        Ok(self.named(lost).await)
    }

    /// The metadata of an entity that cannot be read, as far as it is known, and when the entity changed last.
    pub(super) fn lost_metadata(&self, lost: &LostEntity) -> (Metadata, Timestamp) {
        let (created, changed) = self.engine.times(&lost.entity).unwrap_or_default();
        let (namespace, name) = lost.place();
        let desired = lost.state.desired.as_ref();
        let metadata = Metadata {
            name,
            namespace,
            uid: lost.entity.id().to_owned(),
            generation: desired.map_or(0, |desired| desired.generation),
            creation_timestamp: LostEntity::created(created),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
        };
        (metadata, changed)
    }

    /// An entity whose desired state can be read, if another part of it cannot.
    pub(super) async fn partly_lost(
        &self,
        entity: &EntityId,
        state: &Arc<EntityState>,
        name: (String, String),
    ) -> Result<Option<LostEntity>, FleetError> {
        let failure = self.poison(entity).await?;
        Ok(failure.map(|failure| LostEntity {
            entity: entity.clone(),
            state: state.clone(),
            name: Some(name),
            failure,
        }))
    }

    /// Refuses to say that there is no object of this name while one cannot be read that may have it.
    ///
    /// # Errors
    /// `VSI0018`, which names that one.
    pub(super) async fn refuse_absence(
        &self,
        kind: &'static str,
        namespace: &str,
        name: &str,
    ) -> Result<(), FleetError> {
        refuse_lost(&self.lost(kind).await?, kind, namespace, name)
    }

    /// The entity with this name or UID, if its desired state cannot be read.
    pub(super) async fn lost_one(
        &self,
        kind: &'static str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<LostEntity>, FleetError> {
        let (namespace, name) = qualified(namespace, name);
        let all = self.lost_near(kind, namespace, name).await?;
        let mut all = all.into_iter();
        Ok(all.find(|lost| lost.is(namespace, name)))
    }

    /// The entities of a kind that cannot be read, at least those that have this name or an unknown one. Only
    /// of VSIs and data disks can there be so many that they are looked up.
    async fn lost_near(
        &self,
        kind: &'static str,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<LostEntity>, FleetError> {
        match kind {
            kind::VSI | kind::DISK => self.lost_among(kind, [(namespace, name)]).await,
            _ => self.lost(kind).await,
        }
    }

    /// Forgets the entity with this UID, whose desired state cannot be read. Nothing is refused
    /// because of it any more, and its objects stay on its host. Returns `None` if there is no such entity.
    /// Only the UID is accepted, so that it does not happen by accident. If it becomes readable again, from
    /// a blob that was put back, it exists again.
    ///
    /// # Errors
    /// When the journal fails.
    pub async fn orphan_unreadable(
        &self,
        kind: &'static str,
        uid: &str,
        by: By,
    ) -> Result<Option<EntityId>, FleetError> {
        // Others are recorded again under their names, which are their ids.
        if !kind::WITH_OBJECTS.contains(&kind) {
            return Ok(None);
        }
        let all = self.lost_near(kind, "", uid).await?;
        let Some(lost) = all.into_iter().find(|lost| lost.entity.id() == uid) else {
            return Ok(None);
        };
        let Some(marker) = orphan_marker(&lost.entity) else {
            return Ok(None);
        };
        let (what, detail) = (
            Name::of("orphaned"),
            Text::new(lost.failure.message.as_str()),
        );
        self.engine.note(marker, what, detail, by).await?;
        Ok(Some(lost.entity))
    }

    /// Whether the entity was orphaned.
    pub(super) fn is_orphan(&self, entity: &EntityId) -> bool {
        let marker = orphan_marker(entity);
        marker.is_some_and(|marker| self.engine.entity(&marker).is_some())
    }

    pub(super) async fn named(&self, lost: Vec<LostState>) -> Vec<LostEntity> {
        let mut all = Vec::new();
        for (entity, state, failure) in lost {
            if !phase::is_gone(&entity, &state) && !self.is_orphan(&entity) {
                all.push(LostEntity {
                    name: self.name_of_lost(&entity, &state).await,
                    entity,
                    state,
                    failure,
                });
            }
        }
        all
    }

    /// Refuses an action that might delete something that an unreadable entity refers to.
    ///
    /// # Errors
    /// `VSI0019`, which names the first unreadable entity.
    pub(super) async fn refuse_while_unreadable(&self, what: &str) -> Result<(), FleetError> {
        let (mut count, mut first) = (0_usize, None);
        for (entity, state) in self.engine.entities() {
            if self.is_orphan(&entity) {
                continue;
            }
            let poison = if phase::is_gone(&entity, &state) {
                self.engine.unreadable(&entity).map(|w| w.failure(&entity))
            } else {
                self.poison(&entity).await?
            };
            if let Some(failure) = poison {
                count = count.saturating_add(1);
                first.get_or_insert(failure);
            }
        }
        for kind in kind::WITH_RECORDS {
            let lost = self.lost(kind).await?.into_iter().next();
            first = first.or(lost.map(|lost| lost.failure));
        }
        let Some(first) = first else { return Ok(()) };
        let count = count.max(1);
        let (object, message) = (first.object.to_string(), first.message);
        let message =
            format!("{what} is refused while {count} cannot be read: {object}: {message}");
        let failure = Failure::new(FailureClass::Blocked, "VSI0019", message)
            .of_object(object)
            .with_remedy(
                "`vsiflow get -A` shows what cannot be read, with what to do; nothing that it may \
                 name is taken away until then",
            );
        Err(FleetError::new(ErrorKind::Blocked, failure))
    }

    /// Namespace and name of an unreadable entity, from an earlier desired state or, of a VSI, from the title
    /// of its domain.
    async fn name_of_lost(
        &self,
        entity: &EntityId,
        state: &EntityState,
    ) -> Option<(String, String)> {
        if let Some(name) = name_by_id(entity) {
            return Some(name);
        }
        if let Some(name) = self.name_before(entity).await {
            return Some(name);
        }
        let mut runs = self.engine.runs_of(entity);
        runs.extend(state.runs.iter().copied());
        runs.sort_unstable();
        for run in runs.into_iter().rev() {
            let Some(run) = self.engine.run(run) else {
                continue;
            };
            if let Some(title) = self.title_in(&run).await {
                return Some(title);
            }
        }
        None
    }

    /// The newest desired state of an entity that can be read.
    pub(super) async fn previous_desired<T: DeserializeOwned>(
        &self,
        entity: &EntityId,
    ) -> Option<T> {
        let stream = StreamId::Entity(entity.clone());
        let records = self.readable_records(&stream).await.ok()?;
        for record in records.iter().rev() {
            let EventKind::Desired { desired, .. } = &record.event.kind else {
                continue;
            };
            if let Ok(bytes) = self.blobs.get(desired).await
                && let Ok(vsi) = record::read(&bytes)
            {
                return Some(vsi);
            }
        }
        None
    }

    async fn name_before(&self, entity: &EntityId) -> Option<(String, String)> {
        let stream = StreamId::Entity(entity.clone());
        let records = self.readable_records(&stream).await.ok()?;
        for record in records.iter().rev() {
            let EventKind::Desired { desired, .. } = &record.event.kind else {
                continue;
            };
            if let Some(name) = self.name_in(entity, desired).await {
                return Some(name);
            }
        }
        None
    }

    async fn name_in(&self, entity: &EntityId, desired: &Payload) -> Option<(String, String)> {
        let bytes = self.blobs.get(desired).await.ok()?;
        match entity.kind().as_str() {
            kind::DISK => {
                let DiskRecord { disk, .. } = record::read(&bytes).ok()?;
                Some((disk.namespace, disk.name))
            }
            kind::POOL => {
                let pool: PoolRecord = record::read(&bytes).ok()?;
                Some((pool.namespace, pool.name))
            }
            kind::GROUP => {
                let group: GroupRecord = record::read(&bytes).ok()?;
                Some((group.namespace, group.name))
            }
            kind::SNAPSHOT => {
                let snapshot: SnapshotRecord = record::read(&bytes).ok()?;
                Some((snapshot.namespace, snapshot.name))
            }
            kind::NETWORK => {
                let NetworkRecord { network, .. } = record::read(&bytes).ok()?;
                Some((network.namespace, network.name))
            }
            kind::VSI => {
                let VsiRecord { vsi, .. } = record::read(&bytes).ok()?;
                Some((vsi.namespace, vsi.name))
            }
            kind::IMAGE => {
                let image: ImageRecord = record::read(&bytes).ok()?;
                Some((String::new(), image.file_name))
            }
            _ => None,
        }
    }

    async fn title_in(&self, run: &RunState) -> Option<(String, String)> {
        let nodes = run.graph.iter().flat_map(|graph| &graph.nodes);
        let mut params = nodes.filter_map(|node| match &node.work {
            Work::Step { step, params, .. } if step.as_str() == DefineDomain::NAME => Some(params),
            _ => None,
        });
        let bytes = self.blobs.get(params.next()?).await.ok()?;
        let parsed: Value = serde_json::from_slice(&bytes).ok()?;
        let (namespace, name) = parsed.get("title")?.as_str()?.split_once('/')?;
        Some((namespace.to_owned(), name.to_owned()))
    }

    /// The next events of a stream that can be decoded, from a position in it on; none at its end.
    pub(super) async fn readable_page(
        &self,
        stream: &StreamId,
        from: u64,
    ) -> Result<Vec<Record>, JournalError> {
        match self.journal.read(stream, from, events::PAGE).await {
            Err(error) if error.is_damage() => {}
            other => return other,
        }
        // One by one: readable events may follow one that cannot be decoded.
        let heads = self.journal.streams().await?;
        let end = heads.iter().find(|head| head.stream == *stream);
        for seq in from..end.map_or(0, |head| head.next_seq) {
            match self.journal.read(stream, seq, 1).await {
                Ok(record) if !record.is_empty() => return Ok(record),
                _ => {}
            }
        }
        Ok(Vec::new())
    }

    /// The events of a stream that can be decoded.
    pub(super) async fn readable_records(
        &self,
        stream: &StreamId,
    ) -> Result<Vec<Record>, JournalError> {
        match self.records(stream).await {
            Err(error) if error.is_damage() => {}
            other => return other,
        }
        // One by one: readable events may follow one that cannot be decoded.
        let head = self.journal.streams().await?;
        let end = head.iter().find(|head| head.stream == *stream);
        let mut all = Vec::new();
        for seq in 0..end.map_or(0, |stream_head| stream_head.next_seq) {
            if let Ok(found) = self.journal.read(stream, seq, 1).await {
                all.extend(found);
            }
        }
        Ok(all)
    }
}

/// Namespace and name of an entity whose id is made of them; without a namespace, the name alone.
fn name_by_id(entity: &EntityId) -> Option<(String, String)> {
    match entity.kind().as_str() {
        kind::TYPE | kind::TOKEN => Some((String::new(), entity.id().to_owned())),
        kind::QUOTA => {
            let (namespace, name) = entity.id().split_once('/')?;
            Some((namespace.to_owned(), name.to_owned()))
        }
        _ => None,
    }
}

/// The entity that marks another one as orphaned.
fn orphan_marker(entity: &EntityId) -> Option<EntityId> {
    EntityId::new(Name::of(kind::ORPHAN), entity.id()).ok()
}

/// The events of these entries that can be decoded.
pub(super) fn decodable(entries: Vec<Entry>) -> Vec<Record> {
    let decoded = entries.into_iter().filter_map(|entry| match entry {
        Entry::Event(record) => Some(record),
        Entry::Undecodable { .. } => None,
    });
    decoded.collect()
}

/// Refuses a name that an unreadable entity has, or may have.
pub(super) fn refuse_lost(
    all: &[LostEntity],
    kind: &str,
    namespace: &str,
    name: &str,
) -> Result<(), FleetError> {
    let mut meant = all.iter().filter(|lost| lost.may_be(namespace, name));
    let Some(lost) = meant.next() else {
        return Ok(());
    };
    let mut failure = lost.failure.clone();
    if lost.name.is_none() && lost.entity.id() != name {
        let message = format!(
            "it is unknown whether {kind} {name} is {}, whose name cannot be read",
            lost.entity
        );
        let (remedy, uid) = (&lost.failure.remedy, lost.entity.id());
        let what = match lost.entity.kind().as_str() {
            kind::VSI => String::new(),
            other => format!("{other}/"),
        };
        failure = Failure::new(FailureClass::Blocked, "VSI0018", message)
            .of_object(format!("{kind}/{name}"))
            .with_remedy(format!(
                "{remedy}; where that is not to be had, `vsiflow delete {what}{uid} --orphan` lets go \
                 of it, and what it has on its host stays there"
            ));
    }
    Err(FleetError::new(ErrorKind::Blocked, failure))
}
