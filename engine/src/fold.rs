//! Folds records into states, to compare them with stored states.
//!
//! The fold uses records only, so it can check any other way of storing states.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::Arc,
};

use crate::{
    journal::{Folded, JournalError, Offset, Record, States, Stored, StreamState},
    model::{EntityId, EntityState, Event, EventKind, Hash, RunId, RunState, StreamId, Timestamp},
};

/// The states of every stream so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fold {
    entities: BTreeMap<EntityId, Folded<EntityState>>,
    runs: BTreeMap<RunId, Folded<RunState>>,
    own: Option<(u64, Hash)>,
    /// Streams with an event that cannot be decoded or cannot follow, so their state is unknown.
    unreadable: BTreeSet<StreamId>,
}

/// The position of a stream before its next record.
struct FoldPosition {
    next_seq: u64,
    first: Offset,
    created: Timestamp,
}

impl FoldPosition {
    fn of<T>(folded: Option<&Folded<T>>, record: &Record) -> Self {
        Self {
            next_seq: folded.map_or(0, |folded| folded.next_seq),
            first: folded.map_or(record.offset, |folded| folded.first),
            created: folded.map_or(record.event.at, |folded| folded.created),
        }
    }

    fn after<T>(self, state: Arc<T>, record: &Record, changed: Timestamp) -> Folded<T> {
        Folded {
            state,
            next_seq: self.next_seq.saturating_add(1),
            hash: record.hash,
            first: self.first,
            created: self.created,
            changed,
        }
    }
}

impl Fold {
    /// A fold that continues from states.
    pub(crate) fn of(states: &States) -> Self {
        let mut fold = Self::default();
        for state in states.streams.clone() {
            match state {
                StreamState::Entity(id, folded) => drop(fold.entities.insert(id, folded)),
                StreamState::Run(id, folded) => drop(fold.runs.insert(id, folded)),
                StreamState::Journal { next_seq, hash } => fold.own = Some((next_seq, hash)),
            }
        }
        fold
    }

    /// Folds the next record of a stream. A record that cannot be decoded or cannot follow makes
    /// its stream unreadable.
    ///
    /// # Errors
    /// For a record that a newer version wrote.
    pub(crate) fn take(&mut self, stored: &Stored) -> Result<(), JournalError> {
        let applied = match stored.record() {
            Ok(record) => self.apply(&record),
            Err(error) if error.is_damage() => None,
            Err(error) => return Err(error),
        };
        if applied.is_none() {
            self.unreadable.insert(stored.stream.clone());
        }
        Ok(())
    }

    fn apply(&mut self, record: &Record) -> Option<()> {
        match &record.stream {
            StreamId::Entity(id) => {
                let folded = entity_after(self.entities.get(id), record)?;
                self.entities.insert(id.clone(), folded);
            }
            StreamId::Run(id) => {
                let folded = run_after(self.runs.get(id), record)?;
                self.runs.insert(*id, folded);
            }
            StreamId::Journal => self.own = Some((record.seq.saturating_add(1), record.hash)),
        }
        Some(())
    }

    /// Everything as states, as of an offset.
    #[cfg(test)]
    pub(crate) fn states(&self, as_of: Offset, link: Option<crate::journal::BatchLink>) -> States {
        let entities = self.entities.iter();
        let entities = entities.map(|(id, f)| StreamState::Entity(id.clone(), f.clone()));
        let runs = self.runs.iter();
        let runs = runs.map(|(id, f)| StreamState::Run(*id, f.clone()));
        let own = self
            .own
            .map(|(next_seq, hash)| StreamState::Journal { next_seq, hash });
        let readable = |state: &StreamState| !self.unreadable.contains(&state.stream());
        let streams = entities.chain(runs).chain(own).filter(readable).collect();
        States {
            as_of,
            link,
            streams,
        }
    }

    /// The differences between these states and the folded ones, stream by stream. Runs that ended
    /// may be absent from `states`.
    pub(crate) fn differences(&self, states: &States) -> Vec<(StreamId, String)> {
        let mut differences = Vec::new();
        let mut named = HashSet::new();
        for state in &states.streams {
            let stream = state.stream();
            if !self.unreadable.contains(&stream)
                && let Some(difference) = self.difference(state)
            {
                differences.push((stream.clone(), difference));
            }
            named.insert(stream);
        }
        let absent = self
            .missing_streams()
            .filter(|stream| !named.contains(stream));
        differences.extend(absent.map(|stream| (stream, "it is not there".to_owned())));
        differences
    }

    /// The streams that any complete set of states must contain.
    fn missing_streams(&self) -> impl Iterator<Item = StreamId> {
        let entities = self.entities.keys().cloned().map(StreamId::Entity);
        let runs = self
            .runs
            .iter()
            .filter(|(_, run)| run.state.result().is_none())
            .map(|(id, _)| StreamId::Run(*id));
        let journal = self.own.map(|_| StreamId::Journal);
        let streams = entities.chain(runs).chain(journal);
        streams.filter(|stream| !self.unreadable.contains(stream))
    }

    fn difference(&self, state: &StreamState) -> Option<String> {
        let difference = match state {
            StreamState::Entity(id, stored) => match self.entities.get(id) {
                None => UNKNOWN.to_owned(),
                Some(folded) => differs(&self.without_ended_runs(folded, &stored.state), stored)?,
            },
            StreamState::Run(id, stored) => match self.runs.get(id) {
                None => UNKNOWN.to_owned(),
                Some(folded) => differs(folded, stored)?,
            },
            StreamState::Journal { next_seq, hash } => {
                if self.own.unwrap_or_default() == (*next_seq, *hash) {
                    return None;
                }
                "it ends elsewhere".to_owned()
            }
        };
        Some(difference)
    }

    /// The folded entity without those ended runs that the stored one no longer lists.
    fn without_ended_runs(
        &self,
        folded: &Folded<EntityState>,
        stored: &EntityState,
    ) -> Folded<EntityState> {
        let mut remaining = folded.clone();
        if remaining.state.runs != stored.runs {
            let named: HashSet<_> = stored.runs.iter().copied().collect();
            let is_ended = |run: &RunId| {
                let run = self.runs.get(run);
                run.is_none_or(|run| run.state.result().is_some())
            };
            let state = Arc::make_mut(&mut remaining.state);
            state
                .runs
                .retain(|run| named.contains(run) || !is_ended(run));
        }
        remaining
    }
}

const UNKNOWN: &str = "no event tells of it";

/// An entity after its next event; `None` if the event cannot follow.
fn entity_after(
    folded: Option<&Folded<EntityState>>,
    record: &Record,
) -> Option<Folded<EntityState>> {
    let place = FoldPosition::of(folded, record);
    let mut state = folded.map_or_else(Arc::default, |folded| folded.state.clone());
    let changed = folded.map_or(record.event.at, |folded| folded.changed);
    let changed = if is_other_state(&state, &record.event) {
        record.event.at
    } else {
        changed
    };
    Arc::make_mut(&mut state).apply(&record.event).ok()?;
    (record.seq == place.next_seq).then(|| place.after(state, record, changed))
}

/// Whether the event changes the name of the entity's state.
fn is_other_state(before: &EntityState, event: &Event) -> bool {
    match &event.kind {
        EventKind::StateChanged { state, .. } => {
            before.state.as_ref().map(|(name, _)| name) != Some(state)
        }
        _ => false,
    }
}

/// A run after its next event; `None` if the event cannot follow.
fn run_after(folded: Option<&Folded<RunState>>, record: &Record) -> Option<Folded<RunState>> {
    let place = FoldPosition::of(folded, record);
    let mut state = folded.map_or_else(Arc::default, |folded| folded.state.clone());
    Arc::make_mut(&mut state).apply(&record.event).ok()?;
    (record.seq == place.next_seq).then(|| place.after(state, record, record.event.at))
}

/// Describes in which parts the found state differs from the folded one.
fn differs<T: PartialEq>(folded: &Folded<T>, stored: &Folded<T>) -> Option<String> {
    let parts = [
        ("its state", folded.state == stored.state),
        ("how many events it has", folded.next_seq == stored.next_seq),
        ("its newest link", folded.hash == stored.hash),
        ("its first event", folded.first == stored.first),
        ("when it began", folded.created == stored.created),
        ("when it changed", folded.changed == stored.changed),
    ];
    let differing: Vec<_> = parts
        .iter()
        .filter(|(_, same)| !same)
        .map(|(part, _)| *part)
        .collect();
    (!differing.is_empty()).then(|| format!("it differs in {}", differing.join(", ")))
}
