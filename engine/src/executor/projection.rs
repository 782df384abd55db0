//! The projection: the states of every entity and run, folded from the journal.

mod entity_states;
mod load;
mod queries;
mod states;
mod unreadable;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use self::entity_states::EntityStates;
pub use self::unreadable::UnreadableEntity;
pub(super) use self::{load::LoadError, queries::awaited_entities};
use crate::{
    journal::{Folded, Offset, Record},
    model::{
        Divergence, EntityId, EntityState, Event, EventKind, Hash, NodeState, RunId, RunState,
        StreamId, Work,
    },
};

#[derive(Clone, Debug, Default)]
pub(super) struct Projection {
    pub(super) entities: EntityStates,
    pub(super) runs: BTreeMap<RunId, Folded<RunState>>,
    /// Entities that the engine does not work for, because some of their events cannot be
    /// understood.
    pub(super) unreadable: BTreeMap<EntityId, UnreadableEntity>,
    /// Runs that ended and whose states were dropped: nothing more is known of them.
    forgotten: BTreeSet<RunId>,
    /// The next sequence and the hash of the journal's own stream.
    own: (u64, Hash),
    /// Every event before this offset is folded.
    pub(super) as_of: Offset,
    /// Streams with events after the states from which the projection was loaded.
    lagging: BTreeSet<StreamId>,
    /// For each entity the runs that wait for it now.
    waiting: BTreeMap<EntityId, BTreeSet<RunId>>,
}

impl Projection {
    /// Takes the offset and hash of an event that was folded before it was durable.
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

    /// A part of the projection with the states of these streams.
    pub(super) fn part<'a>(&self, streams: impl Iterator<Item = &'a StreamId>) -> Self {
        let mut part = Self {
            as_of: self.as_of,
            ..Self::default()
        };
        for stream in streams {
            match stream {
                StreamId::Entity(id) => {
                    if let Some(state) = self.entities.get(id) {
                        part.entities.insert(id.clone(), state.clone());
                    }
                }
                StreamId::Run(id) => {
                    if let Some(state) = self.runs.get(id) {
                        part.runs.insert(*id, state.clone());
                    }
                }
                StreamId::Journal => part.own = self.own,
            }
        }
        part
    }

    /// Takes the offsets and hashes of a written part; the states here may be newer.
    pub(super) fn note_written(&mut self, part: &Self) {
        for (id, written) in part.entities.iter() {
            if let Some(entity) = self.entities.get_mut(id) {
                entity.note_written(written);
            }
        }
        for (id, written) in &part.runs {
            if let Some(run) = self.runs.get_mut(id) {
                run.note_written(written);
            }
        }
        if part.own.0 > 0 {
            self.own.1 = part.own.1;
        }
        self.as_of = part.as_of;
    }

    /// Replaces states with those of a part.
    pub(super) fn take_over(&mut self, part: Self) {
        self.entities.take_over(part.entities);
        self.runs.extend(part.runs);
        if part.own.0 > 0 {
            self.own = part.own;
        }
        self.as_of = part.as_of;
    }

    /// Folds one event. `offset` is used only for the first event of a stream.
    pub(super) fn apply(
        &mut self,
        stream: &StreamId,
        event: &Event,
        offset: Offset,
    ) -> Result<(), Divergence> {
        self.apply_alone(stream, event, offset)?;
        if let StreamId::Run(id) = stream {
            let run = self.runs.get(id).map(|entry| entry.state.clone());
            run.iter().for_each(|run| self.note_waiting(*id, run));
        }
        Ok(())
    }

    /// The same, without updating which runs wait: see [`Self::note_all_waiting`].
    fn apply_alone(
        &mut self,
        stream: &StreamId,
        event: &Event,
        offset: Offset,
    ) -> Result<(), Divergence> {
        match stream {
            StreamId::Entity(id) => {
                let entry = self.entities.of(id);
                let moved = gets_another_name(&entry.state, event);
                Arc::make_mut(&mut entry.state).apply(event)?;
                entry.follow(event, offset, moved);
            }
            StreamId::Run(id) => {
                let entry = self.runs.entry(*id).or_default();
                Arc::make_mut(&mut entry.state).apply(event)?;
                entry.follow(event, offset, true);
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
}

fn gets_another_name(entity: &EntityState, event: &Event) -> bool {
    match &event.kind {
        EventKind::StateChanged { state, .. } => {
            entity.state.as_ref().map(|(name, _)| name) != Some(state)
        }
        _ => false,
    }
}

impl<T> Folded<T> {
    /// Advances the position of the stream by one event.
    fn follow(&mut self, event: &Event, offset: Offset, moved: bool) {
        if self.next_seq == 0 {
            (self.first, self.created, self.changed) = (offset, event.at, event.at);
        }
        if moved {
            self.changed = event.at;
        }
        self.next_seq = self.next_seq.saturating_add(1);
    }

    fn note_written(&mut self, written: &Self) {
        (self.hash, self.first) = (written.hash, written.first);
    }

    /// Takes the hash of the newest event, and the offset if it is the first.
    fn note(&mut self, record: &Record) {
        self.hash = record.hash;
        if record.seq == 0 {
            self.first = record.offset;
        }
    }
}
