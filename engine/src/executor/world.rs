//! Every entity and run, folded from the journal.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{StreamExt as _, stream};

use crate::{
    journal::{Journal, JournalError, Offset, Record, Rest},
    model::{
        Divergence, EntityId, EntityState, Event, Name, NodeState, RunId, RunState, StreamId, Work,
    },
    workflow::{EntityView, Obstacle},
};

const PAGE: usize = 1_000;

/// Pages that are read ahead of the one that is folded.
const AHEAD: usize = 4;

#[derive(Clone, Debug)]
pub(super) struct EntityEntry {
    pub(super) state: Arc<EntityState>,
    pub(super) next_seq: u64,
}

#[derive(Clone, Debug)]
pub(super) struct RunEntry {
    pub(super) state: Arc<RunState>,
    pub(super) next_seq: u64,
    /// The offset of its first event: grows from run to run of a journal.
    pub(super) sequence: Offset,
}

#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) entities: BTreeMap<EntityId, EntityEntry>,
    pub(super) runs: BTreeMap<RunId, RunEntry>,
    /// Runs that are over and archived: no more is known of them.
    archived: BTreeSet<RunId>,
    /// The next sequence of the journal's own stream.
    own_seq: u64,
    /// The runs that wait for an entity now.
    waiting: BTreeMap<EntityId, BTreeSet<RunId>>,
}

/// Why a journal's events do not make a world.
#[derive(Debug)]
pub(super) enum LoadError {
    Journal(JournalError),
    Divergence {
        stream: StreamId,
        seq: u64,
        why: Divergence,
    },
}

impl World {
    /// Takes over what archived events came to, then folds the whole journal, page by page.
    pub(super) async fn load(journal: &dyn Journal) -> Result<Self, LoadError> {
        let mut world = Self::default();
        world
            .load_seals(journal)
            .await
            .map_err(LoadError::Journal)?;
        let horizon = journal.horizon().await.map_err(LoadError::Journal)?;
        let horizon = horizon.map_or(0, |horizon| horizon.offset);
        world.load_kept(journal, horizon).await?;
        // Above the horizon no offset is missing, so that the pages are known beforehand: some are
        // read and decoded on other threads while one is folded here.
        let pages = stream::iter((horizon..).step_by(PAGE));
        let mut pages = pages
            .map(|from| journal.read_all(from, PAGE))
            .buffered(AHEAD);
        while let Some(page) = pages.next().await {
            let page = page.map_err(LoadError::Journal)?;
            if page.is_empty() {
                break;
            }
            world.fold(&page)?;
        }
        drop(pages);
        Ok(world)
    }

    /// Folds the records below the horizon that are still there.
    async fn load_kept(&mut self, journal: &dyn Journal, horizon: Offset) -> Result<(), LoadError> {
        let mut from = 0;
        while from < horizon {
            let page = journal.read_all(from, PAGE).await;
            let mut page = page.map_err(LoadError::Journal)?;
            from = page
                .last()
                .map_or(horizon, |last| last.offset.saturating_add(1));
            page.retain(|record| record.offset < horizon);
            self.fold(&page)?;
        }
        Ok(())
    }

    fn fold(&mut self, page: &[Record]) -> Result<(), LoadError> {
        page.iter().try_for_each(|record| {
            let applied = self.apply(&record.stream, &record.event, record.offset);
            applied.map_err(|why| LoadError::Divergence {
                stream: record.stream.clone(),
                seq: record.seq,
                why,
            })
        })
    }

    /// Of runs that are archived it only takes in that they were.
    async fn load_seals(&mut self, journal: &dyn Journal) -> Result<(), JournalError> {
        let mut after = None;
        loop {
            let page = journal.seals(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.stream.clone());
            for seal in page {
                match (seal.stream, seal.rest) {
                    (StreamId::Entity(id), Rest::Entity(snapshot)) => {
                        let entry = EntityEntry {
                            state: Arc::new(snapshot.state),
                            next_seq: seal.next_seq,
                        };
                        self.entities.insert(id, entry);
                    }
                    (StreamId::Run(id), Rest::Run(_)) => {
                        self.archived.insert(id);
                    }
                    (StreamId::Journal, _) => self.own_seq = seal.next_seq,
                    _ => {}
                }
            }
        }
    }

    /// Folds one event. `sequence` counts for the first event of a run.
    pub(super) fn apply(
        &mut self,
        stream: &StreamId,
        event: &Event,
        sequence: Offset,
    ) -> Result<(), Divergence> {
        match stream {
            StreamId::Entity(id) => {
                let entry = self
                    .entities
                    .entry(id.clone())
                    .or_insert_with(|| EntityEntry {
                        state: Arc::default(),
                        next_seq: 0,
                    });
                Arc::make_mut(&mut entry.state).apply(event)?;
                entry.next_seq = entry.next_seq.saturating_add(1);
            }
            StreamId::Run(id) => {
                let entry = self.runs.entry(*id).or_insert_with(|| RunEntry {
                    state: Arc::default(),
                    next_seq: 0,
                    sequence,
                });
                Arc::make_mut(&mut entry.state).apply(event)?;
                entry.next_seq = entry.next_seq.saturating_add(1);
                let state = entry.state.clone();
                self.note_waiting(*id, &state);
            }
            StreamId::Journal => self.own_seq = self.own_seq.saturating_add(1),
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
            StreamId::Journal => self.own_seq,
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

    /// Whether an attempt of a step was begun in a run. Of an archived run every attempt was
    /// recorded, and which steps it had is not known any more: it counts as begun.
    pub(super) fn was_attempted(&self, run: RunId, step: &Name) -> bool {
        if self.archived.contains(&run) {
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

/// What a journal's events come to, for tests that compare journals.
#[cfg(test)]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Folded {
    pub(crate) entities: BTreeMap<EntityId, (EntityState, u64)>,
    pub(crate) runs: BTreeMap<RunId, (RunState, u64)>,
    pub(crate) waiting: BTreeMap<EntityId, BTreeSet<RunId>>,
}

/// Whether the engine that starts on a journal knows of an attempt.
#[cfg(test)]
pub(crate) async fn was_attempted(journal: &dyn Journal, run: RunId, step: &str) -> bool {
    let world = World::load(journal).await.unwrap();
    world.was_attempted(run, &Name::of(step))
}

/// Folds a journal as the engine does when it starts.
#[cfg(test)]
pub(crate) async fn folded(journal: &dyn Journal) -> Folded {
    let world = World::load(journal).await.unwrap();
    let entities = world.entities.into_iter();
    let runs = world.runs.into_iter();
    let waiting = world.waiting.into_iter();
    Folded {
        entities: entities
            .map(|(id, e)| (id, ((*e.state).clone(), e.next_seq)))
            .collect(),
        runs: runs
            .map(|(id, e)| (id, ((*e.state).clone(), e.next_seq)))
            .collect(),
        waiting: waiting.filter(|(_, runs)| !runs.is_empty()).collect(),
    }
}
