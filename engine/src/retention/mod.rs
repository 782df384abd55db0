//! Retention: decides which states of runs may be dropped, and removes blobs that nothing names.
//!
//! Events are never removed here. A run that is forgotten is omitted from the index and from later
//! bases; its events remain, and its history can be read.

mod sweep;

pub use sweep::{SweepError, Swept, sweep};

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    journal::{Folded, StreamState},
    model::{EntityId, EntityState, Name, RunId, RunResult, RunState, Timestamp},
};

/// Decides from an entity's state whether it is deleted for good.
pub type IsDeleted<'a> = &'a (dyn Fn(&EntityId, &EntityState) -> bool + Send + Sync);

type RunStates<'a> = BTreeMap<RunId, &'a Folded<RunState>>;

/// The runs whose states may be dropped: those that ended before `before` and that no existing
/// entity needs. An entity needs its open run, its newest run, the run that reached the desired
/// state, and the newest successful run of each workflow, because its outputs may still be read. A
/// deleted entity needs none. A run whose entity is not among the states is retained.
///
/// A run ended before the later runs of its entity changed: if its own time is later, it was recorded
/// while the clock was ahead.
pub fn forgettable(
    streams: &[StreamState],
    before: Timestamp,
    is_gone: IsDeleted<'_>,
) -> BTreeSet<RunId> {
    let runs: RunStates<'_> = streams.iter().filter_map(run).collect();
    let entities: BTreeMap<_, _> = streams.iter().filter_map(entity).collect();
    let needed: BTreeSet<_> = entities
        .iter()
        .filter(|(id, state)| !is_gone(id, state))
        .flat_map(|(_, state)| needed(state, &runs))
        .collect();
    let mut later = BTreeMap::new();
    for state in entities.values() {
        note_later_changes(state, &runs, &mut later);
    }
    let expired = runs.iter().filter(|(id, folded)| {
        let entity = folded.state.entity.as_ref();
        folded.state.result().is_some()
            && later.get(id).copied().unwrap_or(folded.changed) < before
            && entity.is_some_and(|entity_id| entities.contains_key(entity_id))
            && !needed.contains(id)
    });
    expired.map(|(id, _)| *id).collect()
}

fn run(stream: &StreamState) -> Option<(RunId, &Folded<RunState>)> {
    match stream {
        StreamState::Run(id, folded) => Some((*id, folded)),
        _ => None,
    }
}

fn entity(stream: &StreamState) -> Option<(&EntityId, &EntityState)> {
    match stream {
        StreamState::Entity(id, folded) => Some((id, folded.state.as_ref())),
        _ => None,
    }
}

/// Notes for each run of an entity the earliest time at which it or a later run changed.
fn note_later_changes(
    state: &EntityState,
    runs: &RunStates<'_>,
    later: &mut BTreeMap<RunId, Timestamp>,
) {
    let mut earliest = Timestamp(u64::MAX);
    for id in state.runs.iter().rev() {
        if let Some(folded) = runs.get(id) {
            earliest = earliest.min(folded.changed);
            later.insert(*id, earliest);
        }
    }
}

/// The runs that an existing entity needs.
fn needed(state: &EntityState, runs: &RunStates<'_>) -> Vec<RunId> {
    let mut needed: Vec<_> = newest_of_each_workflow(state, runs).collect();
    needed.extend(state.active.as_ref().map(|run| run.run));
    needed.extend(state.last.as_ref().map(|run| run.run));
    needed.extend(state.reached_by);
    needed
}

fn newest_of_each_workflow(
    state: &EntityState,
    runs: &RunStates<'_>,
) -> impl Iterator<Item = RunId> + use<> {
    let mut newest: BTreeMap<Option<Name>, RunId> = BTreeMap::new();
    for id in &state.runs {
        let run = runs.get(id).map(|folded| folded.state.as_ref());
        if let Some(run) = run.filter(|run| run.result() == Some(&RunResult::Succeeded)) {
            let workflow = run.graph.as_ref().map(|graph| graph.workflow.clone());
            newest.insert(workflow, *id);
        }
    }
    newest.into_values()
}

#[cfg(test)]
mod tests;
