//! Loads a projection from stored states and the events after them. Events that cannot be
//! understood are quarantined.

use futures::{StreamExt as _, stream};

use super::{Projection, UnreadableEntity};
use crate::{
    journal::{Entry, Folded, Journal, JournalError, Offset, Record, States, StreamState},
    model::{EntityId, EntityState, Hash, RunId, StreamId},
};

const PAGE: usize = 1_000;

/// Pages that are read ahead of the one that is being folded.
const AHEAD: usize = 4;

/// Why a projection cannot be loaded from a journal.
#[derive(Debug)]
pub(in crate::executor) enum LoadError {
    Journal(JournalError),
}

impl Projection {
    /// Starts from the stored states, then folds the later events page by page.
    pub(in crate::executor) async fn load(journal: &dyn Journal) -> Result<Self, LoadError> {
        Self::fold_from(journal, None, Offset::MAX)
            .await
            .map_err(LoadError::Journal)
    }

    /// The same for the events before an offset.
    pub(in crate::executor) async fn as_of(
        journal: &dyn Journal,
        offset: Offset,
    ) -> Result<Self, JournalError> {
        Self::fold_from(journal, Some(offset), offset).await
    }

    async fn fold_from(
        journal: &dyn Journal,
        at: Option<Offset>,
        end: Offset,
    ) -> Result<Self, JournalError> {
        let mut projection = Self::of(journal.states(at).await?);
        // No offset is missing except in known ranges, so the pages are known beforehand: some are
        // read and decoded on other threads while one is folded here.
        let mut pages = stream::iter((projection.as_of..end).step_by(PAGE))
            .map(|from| journal.read_entries(from, PAGE))
            .buffered(AHEAD);
        while let Some(page) = pages.next().await.transpose()? {
            if page.is_empty() {
                break;
            }
            // After a missing range a page may extend past the beginning of the next page.
            for entry in page.iter().take_while(|entry| entry.offset() < end) {
                if entry.offset() >= projection.as_of {
                    projection.take(entry);
                    // The index is never updated from a past state.
                    if at.is_none() {
                        projection.lagging.insert(entry.stream().clone());
                    }
                }
            }
        }
        drop(pages);
        projection.note_all_waiting();
        projection.note_forgotten();
        Ok(projection)
    }

    fn of(states: States) -> Self {
        let (mut entities, mut runs, mut own) = (Vec::new(), Vec::new(), (0, Hash::default()));
        for state in states.streams {
            match state {
                StreamState::Entity(id, folded) => entities.push((id, folded)),
                StreamState::Run(id, folded) => runs.push((id, folded)),
                StreamState::Journal { next_seq, hash } => own = (next_seq, hash),
            }
        }
        Self {
            // Built in one step: inserting one by one would look up each id among the earlier ones.
            entities: entities.into_iter().collect(),
            runs: runs.into_iter().collect(),
            own,
            as_of: states.as_of,
            ..Self::default()
        }
    }

    /// Computes the waiting runs once everything is folded, because doing it after each event would
    /// be slow.
    fn note_all_waiting(&mut self) {
        let open_runs = self
            .runs
            .iter()
            .filter(|(_, run)| run.state.result().is_none())
            .map(|(id, run)| (*id, run.state.clone()));
        for (id, run) in open_runs.collect::<Vec<_>>() {
            self.note_waiting(id, &run);
        }
    }

    /// Notes the runs that entities had and whose states are no longer stored.
    fn note_forgotten(&mut self) {
        let runs = self.entities.values().flat_map(|entity| &entity.state.runs);
        self.forgotten = runs
            .filter(|run| !self.runs.contains_key(run))
            .copied()
            .collect();
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
    }

    /// Folds a record. If it cannot follow, only its own entity is affected.
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
        if let Err(why) = self.apply_alone(&record.stream, &record.event, record.offset) {
            self.quarantine(UnreadableEntity::of(record, why.to_string()));
            self.pass(&record.stream, record.seq, record.hash);
        }
        self.note_recorded(record);
    }

    /// Quarantines the entity of a stream; only the first reason is retained.
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

    /// The entity of a run: named by the run's first event, or by the entity that opened the run.
    fn entity_of(&self, run: RunId) -> Option<EntityId> {
        let named = self.run(run).and_then(|run| run.entity.clone());
        named.or_else(|| {
            let opened =
                |(_, entity): &(&EntityId, &Folded<EntityState>)| entity.state.runs.contains(&run);
            self.entities.iter().find(opened).map(|(id, _)| id.clone())
        })
    }

    /// Advances a stream past a record that was not folded.
    fn pass(&mut self, stream: &StreamId, seq: u64, hash: Hash) {
        let next = seq.saturating_add(1);
        match stream {
            StreamId::Entity(id) => {
                let entity = self.entities.of(id);
                (entity.next_seq, entity.hash) = (next, hash);
            }
            StreamId::Run(id) => {
                let run = self.runs.entry(*id).or_default();
                (run.next_seq, run.hash) = (next, hash);
            }
            StreamId::Journal => self.own = (next, hash),
        }
    }
}
