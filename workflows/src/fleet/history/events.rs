//! The history of VSIs and other objects: their events, in journal order.

mod durations;
mod kept;
mod line;
mod news;
mod reader;
mod render;

use std::{collections::BTreeSet, sync::Arc};

use vsiflow_engine::{
    journal::{JournalError, Missing, MissingCause, Offset, Record},
    model::{Actor, EntityId, EntityState, Name, RunId, StreamId, Work},
};

pub use self::{
    durations::took,
    kept::LinePage,
    line::{HistoryError, HistoryLine},
    reader::EventReader,
};
use self::{
    kept::{KeptLines, LineRange},
    render::HistoryLines,
};
use crate::fleet::{Fleet, FleetError, HistoryHandle};
use crate::group::GroupRecord;
use crate::pool::PoolRecord;
use crate::record::{host_entity, kind};

/// How many events of a stream are read at a time.
pub(in crate::fleet) const PAGE: usize = 1_000;
/// How many lines of a history are shown at once at most.
const NEWEST: usize = 10_000;
/// The prefix of an image's name. VSIs have none.
const IMAGE: &str = "image/";
/// The prefix of a data disk's name.
const DISK: &str = "disk/";
/// The prefix of a pool's name.
const POOL: &str = "pool/";
/// The prefix of a group's name.
const GROUP: &str = "group/";
/// The prefix of a snapshot's name.
const SNAPSHOT: &str = "snapshot/";
/// The prefix of the name of a network that vsiflow makes.
const NETWORK: &str = "network/";
/// The prefix of a host's name.
const HOST: &str = "host/";
/// The prefix of a token's name.
const TOKEN: &str = "token/";
/// The name of the entity that records the global pause.
const GLOBAL_PAUSE: &str = "engine/brake";

/// The kind of a line that replaces missing events.
const MISSING: &str = "missing";
/// The kind of a line with the reason why an entity cannot be read.
const UNREADABLE: &str = "unreadable";

fn missing_line(entity: &EntityId, range: &Missing) -> HistoryLine {
    let how = match range.cause {
        MissingCause::Removed => "removed with their archive",
        MissingCause::Lost => "lost",
        MissingCause::Damaged => "damaged; see `vsiflow audit verify`",
    };
    let detail = format!("{range} of the journal are {how}; some may be of this");
    HistoryLine {
        offset: range.from,
        entity: entity.to_string(),
        kind: MISSING.to_owned(),
        actor: Actor::Engine.to_string(),
        detail: Some(detail),
        ..HistoryLine::default()
    }
}

/// A host's entity, or the global pause's.
fn other_entity(name: &str) -> Option<EntityId> {
    let host = name.strip_prefix(HOST).map(host_entity);
    let (kind, id) = GLOBAL_PAUSE.split_once('/')?;
    let token = name.strip_prefix(TOKEN);
    let token = token.map(|token| EntityId::new(Name::of(kind::TOKEN), token));
    let paused = (name == GLOBAL_PAUSE).then(|| EntityId::new(Name::of(kind), id));
    host.or(token).or(paused)?.ok()
}

impl HistoryHandle<'_> {
    /// The history of a VSI, deleted ones included: its own events, those of its runs, and those of the
    /// base image's runs that it waited for. A line of the kind `missing` replaces each range of the
    /// journal that cannot be read any more and may have held some of them. A line of the kind `unreadable`
    /// at the end gives the reason why the VSI is not worked on. The newest 10,000 lines at most: a history may be longer
    /// than the memory for it. Other objects have these names:
    ///
    /// - `disk/NAME`: a data disk
    /// - `pool/NAME`: a pool
    /// - `group/NAME`: a group
    /// - `snapshot/NAME`: a snapshot
    /// - `network/NAME`: a network that vsiflow makes, on all its hosts
    /// - `image/NAME`: the images of this name, removed ones included
    /// - `host/ID`: a host
    /// - `token/NAME`: a token
    /// - `engine/brake`: the global pause
    ///
    /// # Errors
    /// When there is no such object, or the journal cannot be read.
    pub async fn lines(self, namespace: &str, name: &str) -> Result<Vec<HistoryLine>, FleetError> {
        let named = self.fleet.entities_named(namespace, name).await?;
        let range = LineRange::newest(NEWEST);
        Ok(self.fleet.lines_together(&named, range).await?.lines)
    }

    /// The entity of this name, as for [`Self::lines`]; the newest if there are several.
    ///
    /// # Errors
    /// When there is no such object, or the journal cannot be read.
    pub async fn entity_named(self, namespace: &str, name: &str) -> Result<EntityId, FleetError> {
        let named = self.fleet.entities_named(namespace, name).await?;
        let newest = named.into_iter().next_back().map(|(entity, _)| entity);
        newest.ok_or_else(|| FleetError::not_found("entity", name))
    }

    /// Whether the journal has events of this entity.
    pub fn knows(self, entity: &EntityId) -> bool {
        self.fleet.engine.entity(entity).is_some()
    }
}

impl Fleet {
    /// The entities with this name, deleted ones included. There are several if each host or pool has its
    /// own entity.
    ///
    /// # Errors
    /// As for [`HistoryHandle::lines`].
    pub(in crate::fleet) async fn entities_named(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<(EntityId, Arc<EntityState>)>, FleetError> {
        if let Some(disk) = name.strip_prefix(DISK) {
            if let Some(lost) = self.lost_one(kind::DISK, namespace, disk).await? {
                return Ok(vec![(lost.entity, lost.state)]);
            }
            let known = self.find_disk(namespace, disk, true).await?;
            return Ok(vec![(known.entity, known.state)]);
        }
        if let Some(pool) = name.strip_prefix(POOL) {
            let known = self
                .find_record::<PoolRecord>(namespace, pool, true)
                .await?;
            return Ok(vec![(known.entity, known.state)]);
        }
        if let Some(group) = name.strip_prefix(GROUP) {
            let known = self
                .find_record::<GroupRecord>(namespace, group, true)
                .await?;
            return Ok(vec![(known.entity, known.state)]);
        }
        if let Some(snapshot) = name.strip_prefix(SNAPSHOT) {
            let known = self.find_snapshot(namespace, snapshot, true).await?;
            return Ok(vec![(known.entity, known.state)]);
        }
        if let Some(network) = name.strip_prefix(NETWORK) {
            return self.networks_ever(namespace, network).await;
        }
        if let Some(entity) = other_entity(name) {
            let state = self.engine.entity(&entity);
            let state = state.ok_or_else(|| FleetError::not_found("entity", name))?;
            return Ok(vec![(entity, state)]);
        }
        if let Some(image) = name.strip_prefix(IMAGE) {
            return self.images_named(image).await;
        }
        if let Some(lost) = self.lost_one(kind::VSI, namespace, name).await? {
            return Ok(vec![(lost.entity, lost.state)]);
        }
        let known = self.find_any(namespace, name, true).await?;
        Ok(vec![(known.entity, known.state)])
    }

    /// The lines of several entities in a range, in the journal's order.
    async fn lines_together(
        &self,
        entities: &[(EntityId, Arc<EntityState>)],
        range: LineRange,
    ) -> Result<LinePage, FleetError> {
        let mut kept = KeptLines::of(range);
        for (entity, state) in entities {
            self.keep_lines(entity, state, &mut kept).await?;
        }
        let mut page = kept.into_page();
        page.lines
            .dedup_by(|one, other| one.kind == MISSING && one.offset == other.offset);
        Ok(page)
    }

    /// Keeps the lines of an entity and of its runs. A run is in memory as a whole, its entity's own events page by page.
    async fn keep_lines(
        &self,
        entity: &EntityId,
        state: &EntityState,
        kept: &mut KeptLines,
    ) -> Result<(), FleetError> {
        let mut renderer = HistoryLines::default();
        let mut rendered = BTreeSet::new();
        // The runs first: what their entity records of them is shown by how they began.
        for run in &state.runs {
            let records = self.readable_records(&StreamId::Run(*run)).await?;
            for other in self.awaited_runs(*run, &records) {
                if rendered.insert(other) {
                    let awaited = self.readable_records(&StreamId::Run(other)).await?;
                    renderer.keep_run(entity, &awaited, kept);
                }
            }
            if rendered.insert(*run) {
                renderer.keep_run(entity, &records, kept);
            }
        }
        let stream = StreamId::Entity(entity.clone());
        let mut next = 0;
        loop {
            let records = self.readable_page(&stream, next).await?;
            for record in &records {
                kept.keep(renderer.line_with_order(entity, record));
            }
            match records.last() {
                Some(last) => next = last.seq.saturating_add(1),
                None => break,
            }
        }
        for line in self.missing_lines(entity).await? {
            kept.keep(line);
        }
        let unreadable = self.unreadable_line(entity, kept.last_offset()).await?;
        unreadable.into_iter().for_each(|line| kept.keep(line));
        Ok(())
    }

    /// The last line of an unreadable entity's history: the reason why it cannot be read.
    async fn unreadable_line(
        &self,
        entity: &EntityId,
        last: Option<Offset>,
    ) -> Result<Option<HistoryLine>, FleetError> {
        let failure = self.poison(entity).await?;
        Ok(failure.map(|failure| HistoryLine {
            offset: last.unwrap_or_default(),
            entity: entity.to_string(),
            kind: UNREADABLE.to_owned(),
            actor: Actor::Engine.to_string(),
            error: Some(HistoryError::from(&failure)),
            ..HistoryLine::default()
        }))
    }

    /// A line for each missing range that may have held events of an entity or of its runs: the ranges that
    /// end after the entity's first event.
    async fn missing_lines(&self, entity: &EntityId) -> Result<Vec<HistoryLine>, FleetError> {
        let missing = self.journal.missing().await?;
        let first = if missing.is_empty() {
            return Ok(Vec::new());
        } else {
            self.first_offset(entity).await?
        };
        let held = missing.iter().filter(|range| first < range.to);
        Ok(held.map(|range| missing_line(entity, range)).collect())
    }

    /// The offset of an entity's first event; 0 if that is missing.
    async fn first_offset(&self, entity: &EntityId) -> Result<Offset, FleetError> {
        let stream = StreamId::Entity(entity.clone());
        let first = self.journal.read(&stream, 0, 1).await?;
        let first = first.first().filter(|record| record.seq == 0);
        Ok(first.map_or(0, |record| record.offset))
    }

    pub(crate) async fn records(&self, stream: &StreamId) -> Result<Vec<Record>, JournalError> {
        let mut all = Vec::new();
        loop {
            let next = all
                .last()
                .map_or(0, |last: &Record| last.seq.saturating_add(1));
            let page = self.journal.read(stream, next, PAGE).await?;
            let last = page.len() < PAGE;
            all.extend(page);
            if last {
                return Ok(all);
            }
        }
    }

    /// The runs of other entities that were open while this run waited for them.
    fn awaited_runs(&self, run: RunId, records: &[Record]) -> BTreeSet<RunId> {
        let Some(state) = self.engine.run(run) else {
            return BTreeSet::new();
        };
        let (Some(first), Some(last)) = (records.first(), records.last()) else {
            return BTreeSet::new();
        };
        let nodes = state.graph.iter().flat_map(|graph| &graph.nodes);
        let entities = nodes.filter_map(|node| match &node.work {
            Work::Entity { entity, .. } => Some(entity),
            Work::Step { .. } => None,
        });
        let began = |time: RunId| time.0.timestamp_ms();
        let mut runs = BTreeSet::new();
        for entity in entities.filter_map(|entity| self.engine.entity(entity)) {
            let until = last.event.at.0;
            let open = entity.active.as_ref().map(|active| active.run);
            let before = entity
                .runs
                .iter()
                .rev()
                .find(|id| began(**id) < first.event.at.0);
            let within = entity.runs.iter().filter(|id| {
                began(**id) >= first.event.at.0 && (began(**id) <= until || open == Some(**id))
            });
            runs.extend(within.copied());
            runs.extend(before.filter(|id| open == Some(**id)).copied());
        }
        runs
    }
}
