//! Every entity and run, folded from the journal.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{StreamExt as _, stream};

use crate::{
    journal::{
        Entry, Folded, Journal, JournalError, Offset, Record, States, StatesUpdate, StreamState,
    },
    model::{
        Divergence, EntityId, EntityState, Event, EventKind, Failure, FailureClass, Hash, Name,
        NodeState, RunId, RunState, StreamId, Timestamp, Work,
    },
    workflow::{EntityView, Obstacle},
};

const PAGE: usize = 1_000;

/// Pages that are read ahead of the one that is folded.
const AHEAD: usize = 4;

/// Why an entity's events cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableEntity {
    /// The stream, its own or that of one of its runs.
    pub stream: StreamId,
    /// The place in the stream of what cannot be understood.
    pub seq: u64,
    /// The place in the journal.
    pub offset: Offset,
    /// What is wrong with it.
    pub why: String,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Projection {
    pub(super) entities: BTreeMap<EntityId, Folded<EntityState>>,
    pub(super) runs: BTreeMap<RunId, Folded<RunState>>,
    /// Entities that nothing is done for, since not all of their events can be understood.
    pub(super) unreadable: BTreeMap<EntityId, UnreadableEntity>,
    /// Runs that are over and forgotten: no more is known of them.
    forgotten: BTreeSet<RunId>,
    /// The end of the journal's own stream.
    own: (u64, Hash),
    /// Every event before it is folded in.
    as_of: Offset,
    /// Streams that the states it began with did not hold as they are now.
    lagging: BTreeSet<StreamId>,
    /// The runs that wait for an entity now.
    waiting: BTreeMap<EntityId, BTreeSet<RunId>>,
}

/// Why a journal's events do not make a world.
#[derive(Debug)]
pub(super) enum LoadError {
    Journal(JournalError),
}

impl Projection {
    /// Takes over the states that are at hand, then folds what came after, page by page.
    pub(super) async fn load(journal: &dyn Journal) -> Result<Self, LoadError> {
        Self::fold_from(journal, None, Offset::MAX)
            .await
            .map_err(LoadError::Journal)
    }

    /// The same for what the journal held before an offset.
    pub(super) async fn as_of(journal: &dyn Journal, offset: Offset) -> Result<Self, JournalError> {
        Self::fold_from(journal, Some(offset), offset).await
    }

    async fn fold_from(
        journal: &dyn Journal,
        at: Option<Offset>,
        end: Offset,
    ) -> Result<Self, JournalError> {
        let mut world = Self::of(journal.states(at).await?);
        // No offset is missing but for known ranges, so that the pages are known beforehand: some
        // are read and decoded on other threads while one is folded here.
        let pages = stream::iter((world.as_of..end).step_by(PAGE));
        let mut pages = pages
            .map(|from| journal.read_entries(from, PAGE))
            .buffered(AHEAD);
        while let Some(page) = pages.next().await {
            let page = page?;
            if page.is_empty() {
                break;
            }
            // Past a missing range a page goes further than the next one begins.
            for entry in page.iter().take_while(|entry| entry.offset() < end) {
                if entry.offset() >= world.as_of {
                    world.take(entry);
                }
            }
        }
        drop(pages);
        world.note_forgotten();
        Ok(world)
    }

    fn of(states: States) -> Self {
        let mut world = Self {
            as_of: states.as_of,
            ..Self::default()
        };
        for state in states.streams {
            match state {
                StreamState::Entity(id, folded) => {
                    world.entities.insert(id, folded);
                }
                StreamState::Run(id, folded) => {
                    world.note_waiting(id, &folded.state);
                    world.runs.insert(id, folded);
                }
                StreamState::Journal { next_seq, hash } => world.own = (next_seq, hash),
            }
        }
        world
    }

    /// Runs that entities had, and of which no state is kept any more.
    fn note_forgotten(&mut self) {
        let all = self.entities.values().flat_map(|entity| &entity.state.runs);
        let forgotten = all.filter(|run| !self.runs.contains_key(run)).copied();
        self.forgotten = forgotten.collect();
    }

    fn take(&mut self, entry: &Entry) {
        match entry {
            Entry::Event(record) => self.fold(record),
            Entry::Undecodable {
                offset,
                stream,
                seq,
                hash,
                why,
            } => {
                let poison = UnreadableEntity {
                    stream: stream.clone(),
                    seq: *seq,
                    offset: *offset,
                    why: why.clone(),
                };
                self.quarantine(poison);
                self.pass(stream, *seq, *hash);
            }
        }
        self.as_of = entry.offset().saturating_add(1);
        self.lagging.insert(entry.stream().clone());
    }

    /// Folds a record. One that cannot follow concerns its own entity alone.
    fn fold(&mut self, record: &Record) {
        if record.seq != self.next_seq(&record.stream) {
            let why = format!(
                "events before it are missing, from #{} on",
                self.next_seq(&record.stream)
            );
            self.quarantine(UnreadableEntity::of(record, why));
            self.pass(&record.stream, record.seq, record.hash);
            return;
        }
        if let Err(why) = self.apply(&record.stream, &record.event, record.offset) {
            self.quarantine(UnreadableEntity::of(record, why.to_string()));
            self.pass(&record.stream, record.seq, record.hash);
        }
        self.note_recorded(record);
    }

    /// Nothing more is done for the entity of a stream; the first reason is the one that is told.
    fn quarantine(&mut self, why: UnreadableEntity) {
        let entity = match &why.stream {
            StreamId::Entity(id) => Some(id.clone()),
            StreamId::Run(id) => self.entity_of(*id),
            StreamId::Journal => None,
        };
        tracing::error!(stream = %why.stream, seq = why.seq, why = why.why, "an event cannot be understood");
        if let Some(entity) = entity {
            self.unreadable.entry(entity).or_insert(why);
        }
    }

    /// A run's first event tells whose it is, and so does that of the entity that opened it.
    fn entity_of(&self, run: RunId) -> Option<EntityId> {
        let told = self.run(run).and_then(|run| run.entity.clone());
        told.or_else(|| {
            let opened =
                |(_, entity): &(&EntityId, &Folded<EntityState>)| entity.state.runs.contains(&run);
            self.entities.iter().find(opened).map(|(id, _)| id.clone())
        })
    }

    /// The stream goes on behind a record that was not folded.
    fn pass(&mut self, stream: &StreamId, seq: u64, hash: Hash) {
        let next = seq.saturating_add(1);
        match stream {
            StreamId::Entity(id) => {
                let entity = self.entities.entry(id.clone()).or_insert_with(empty);
                (entity.next_seq, entity.hash) = (next, hash);
            }
            StreamId::Run(id) => {
                let run = self.runs.entry(*id).or_insert_with(empty);
                (run.next_seq, run.hash) = (next, hash);
            }
            StreamId::Journal => self.own = (next, hash),
        }
    }

    /// Takes in where an event that was folded stands.
    pub(super) fn note_recorded(&mut self, record: &Record) {
        match &record.stream {
            StreamId::Entity(id) => {
                if let Some(entity) = self.entities.get_mut(id) {
                    entity.note(record);
                }
            }
            StreamId::Run(id) => {
                if let Some(run) = self.runs.get_mut(id) {
                    run.note(record);
                }
            }
            StreamId::Journal => self.own.1 = record.hash,
        }
        self.as_of = record.offset.saturating_add(1);
    }

    /// What changed, for an index. The journal knows the link.
    pub(super) fn update<'a>(&self, streams: impl Iterator<Item = &'a StreamId>) -> StatesUpdate {
        StatesUpdate {
            as_of: self.as_of,
            link: None,
            changed: streams.filter_map(|stream| self.state(stream)).collect(),
            forgotten: Vec::new(),
        }
    }

    /// What an index has to be told before anything else: what it lagged behind, or all.
    pub(super) fn first_update(&mut self, all: bool) -> StatesUpdate {
        let lagging = std::mem::take(&mut self.lagging);
        if all {
            self.whole_update()
        } else {
            self.update(lagging.iter())
        }
    }

    /// Drops the states of runs that nobody goes by; that they were stays known.
    pub(super) fn forget(&mut self, runs: &BTreeSet<RunId>) -> StatesUpdate {
        for run in runs {
            self.runs.remove(run);
        }
        self.forgotten.extend(runs);
        StatesUpdate {
            as_of: self.as_of,
            forgotten: runs.iter().map(|run| StreamId::Run(*run)).collect(),
            ..StatesUpdate::default()
        }
    }

    fn whole_update(&self) -> StatesUpdate {
        StatesUpdate {
            as_of: self.as_of,
            changed: self.states().streams,
            ..StatesUpdate::default()
        }
    }

    /// Everything, for a base.
    pub(super) fn states(&self) -> States {
        let entities = self.entities.iter();
        let entities = entities.map(|(id, folded)| StreamState::Entity(id.clone(), folded.clone()));
        let runs = self.runs.iter();
        let runs = runs.map(|(id, folded)| StreamState::Run(*id, folded.clone()));
        let own = self.state(&StreamId::Journal);
        States {
            as_of: self.as_of,
            link: None,
            streams: entities.chain(runs).chain(own).collect(),
        }
    }

    fn state(&self, stream: &StreamId) -> Option<StreamState> {
        match stream {
            StreamId::Entity(id) => {
                let folded = self.entities.get(id)?.clone();
                Some(StreamState::Entity(id.clone(), folded))
            }
            StreamId::Run(id) => Some(StreamState::Run(*id, self.runs.get(id)?.clone())),
            StreamId::Journal => {
                let (next_seq, hash) = self.own;
                (next_seq > 0).then_some(StreamState::Journal { next_seq, hash })
            }
        }
    }

    /// Folds one event. `offset` counts for the first event of a stream.
    pub(super) fn apply(
        &mut self,
        stream: &StreamId,
        event: &Event,
        offset: Offset,
    ) -> Result<(), Divergence> {
        match stream {
            StreamId::Entity(id) => {
                let entry = self.entities.entry(id.clone()).or_insert_with(empty);
                let moved = gets_another_name(&entry.state, event);
                Arc::make_mut(&mut entry.state).apply(event)?;
                entry.follow(event, offset, moved);
            }
            StreamId::Run(id) => {
                let entry = self.runs.entry(*id).or_insert_with(empty);
                Arc::make_mut(&mut entry.state).apply(event)?;
                entry.follow(event, offset, true);
                let state = entry.state.clone();
                self.note_waiting(*id, &state);
            }
            StreamId::Journal => self.own.0 = self.own.0.saturating_add(1),
        }
        Ok(())
    }

    fn note_waiting(&mut self, id: RunId, run: &RunState) {
        let nodes = run.graph.iter().flat_map(|graph| &graph.nodes);
        for node in nodes {
            let Work::Entity { entity, .. } = &node.work else {
                continue;
            };
            let waits = matches!(run.nodes.get(&node.name), Some(NodeState::Running { .. }));
            if waits && run.result().is_none() {
                self.waiting.entry(entity.clone()).or_default().insert(id);
            } else if let Some(runs) = self.waiting.get_mut(entity) {
                runs.remove(&id);
            }
        }
    }

    /// The runs, nodes and entities that wait for `entity` now.
    pub(super) fn waiting_for(&self, entity: &EntityId) -> Vec<(RunId, Name, EntityId)> {
        let runs = self.waiting.get(entity).into_iter().flatten();
        let runs = runs.filter_map(|id| Some((*id, self.run(*id)?)));
        let nodes = runs.flat_map(|(id, run)| {
            let nodes = awaited_entities(run).filter(|(_, awaited)| *awaited == entity);
            nodes.filter_map(move |(node, _)| Some((id, node.clone(), run.entity.clone()?)))
        });
        nodes.collect()
    }

    pub(super) fn next_seq(&self, stream: &StreamId) -> u64 {
        match stream {
            StreamId::Entity(id) => self.entities.get(id).map_or(0, |entry| entry.next_seq),
            StreamId::Run(id) => self.runs.get(id).map_or(0, |entry| entry.next_seq),
            StreamId::Journal => self.own.0,
        }
    }

    pub(super) fn entity(&self, id: &EntityId) -> Option<&Arc<EntityState>> {
        self.entities.get(id).map(|entry| &entry.state)
    }

    pub(super) fn run(&self, id: RunId) -> Option<&Arc<RunState>> {
        self.runs.get(&id).map(|entry| &entry.state)
    }

    pub(super) fn active_run(&self, id: &EntityId) -> Option<RunId> {
        self.entity(id)?.active.as_ref().map(|active| active.run)
    }

    /// Whether an attempt of a step was begun in a run. Of a forgotten run every attempt was
    /// recorded, and which steps it had is not known any more: it counts as begun.
    pub(super) fn was_attempted(&self, run: RunId, step: &Name) -> bool {
        if self.forgotten.contains(&run) {
            return true;
        }
        self.run(run).is_some_and(|run| {
            let nodes = run.graph.iter().flat_map(|graph| &graph.nodes);
            let of_step = nodes.filter(
                |node| matches!(&node.work, Work::Step { step: named, .. } if named == step),
            );
            of_step
                .filter_map(|node| run.nodes.get(&node.name))
                .any(|state| state.attempt() > 0)
        })
    }

    /// The entity with its newest run and what stands in its way.
    pub(super) fn view<'a>(&'a self, id: &'a EntityId) -> Option<EntityView<'a>> {
        let entity = self.entity(id)?.as_ref();
        let newest = entity.active.as_ref().map(|run| run.run);
        let newest = newest.or(entity.last.as_ref().map(|run| run.run));
        let run = newest.and_then(|run| self.run(run)).map(AsRef::as_ref);
        let obstacle = run.and_then(|run| self.obstacle(run, DEPTH));
        Some(EntityView {
            id,
            entity,
            run,
            obstacle,
        })
    }

    fn obstacle<'a>(&'a self, run: &'a RunState, depth: u8) -> Option<Obstacle<'a>> {
        let own = run.obstacle().and_then(|(node, state)| {
            state.failure().map(|failure| Obstacle {
                node,
                state,
                failure,
            })
        });
        own.or_else(|| {
            self.awaited(run)
                .find_map(|other| self.obstacle(other, depth.checked_sub(1)?))
        })
    }

    /// The open runs of the entities that this run waits for.
    fn awaited<'a>(&'a self, run: &'a RunState) -> impl Iterator<Item = &'a RunState> {
        awaited_entities(run)
            .filter_map(|(_, entity)| self.active_run(entity))
            .filter_map(|id| self.run(id).map(AsRef::as_ref))
    }
}

impl UnreadableEntity {
    /// As people are told.
    pub fn failure(&self, entity: &EntityId) -> Failure {
        let Self {
            stream,
            seq,
            offset,
            why,
        } = self;
        let message = format!("{stream} #{seq} (offset {offset}) cannot be understood: {why}");
        let failure = Failure::new(FailureClass::Blocked, "VSI0018", message);
        failure.of_object(entity.to_string()).with_remedy(
            "restore a backup, or use the version of vsiflow that wrote it where that is newer; nothing \
             is done for it until then, and `vsiflow audit verify` names the damage",
        )
    }

    /// The same where a blob that it names is lost.
    pub fn lost(entity: &EntityId, what: &str) -> Failure {
        let message = format!("something that it names is lost: {what}");
        let failure = Failure::new(FailureClass::Blocked, "VSI0018", message);
        failure.of_object(entity.to_string()).with_remedy(
            "restore a backup, or put the blob back into `blobs/` of the state directory; nothing is \
             done for it until then, and `vsiflow audit verify` names what is missing",
        )
    }

    fn of(record: &Record, why: String) -> Self {
        Self {
            stream: record.stream.clone(),
            seq: record.seq,
            offset: record.offset,
            why,
        }
    }
}

fn gets_another_name(entity: &EntityState, event: &Event) -> bool {
    match &event.kind {
        EventKind::StateChanged { state, .. } => {
            entity.state.as_ref().map(|(name, _)| name) != Some(state)
        }
        _ => false,
    }
}

fn empty<T: Default>() -> Folded<T> {
    Folded {
        state: Arc::default(),
        next_seq: 0,
        hash: Hash::default(),
        first: 0,
        created: Timestamp::default(),
        changed: Timestamp::default(),
    }
}

impl<T> Folded<T> {
    /// Goes on behind an event.
    fn follow(&mut self, event: &Event, offset: Offset, moved: bool) {
        if self.next_seq == 0 {
            (self.first, self.created, self.changed) = (offset, event.at, event.at);
        }
        if moved {
            self.changed = event.at;
        }
        self.next_seq = self.next_seq.saturating_add(1);
    }

    /// Takes in where its newest event stands.
    fn note(&mut self, record: &Record) {
        self.hash = record.hash;
        if record.seq == 0 {
            self.first = record.offset;
        }
    }
}

/// How far obstacles are looked for through entities that wait for one another.
const DEPTH: u8 = 4;

/// The nodes of a run that wait for another entity now, and those entities.
pub(super) fn awaited_entities(run: &RunState) -> impl Iterator<Item = (&Name, &EntityId)> {
    let nodes = run.graph.iter().flat_map(|graph| &graph.nodes);
    nodes.filter_map(|node| match (&node.work, run.nodes.get(&node.name)) {
        (Work::Entity { entity, .. }, Some(NodeState::Running { .. })) => {
            Some((&node.name, entity))
        }
        _ => None,
    })
}
