//! What a journal need not keep at hand any more: the states of runs that nobody goes by, and
//! blobs that nothing names.
//!
//! Nothing here touches an event. A run that is forgotten is left out of the index and of later
//! bases; its events stay where they are, and its history can be read.

mod sweep;

pub use sweep::{SweepError, Swept, sweep};

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    journal::{Folded, StreamState},
    model::{EntityId, EntityState, Name, RunId, RunResult, RunState, Timestamp},
};

/// Which entities are gone for good, as far as anybody can tell from their state.
pub type IsDeleted<'a> = &'a (dyn Fn(&EntityId, &EntityState) -> bool + Send + Sync);

type RunStates<'a> = BTreeMap<RunId, &'a Folded<RunState>>;

/// The runs whose states may be forgotten: those that are over since before `before` and that no
/// living entity goes by. An entity goes by its open run, its newest, the one that reached what is
/// wanted, and the newest of each workflow that succeeded, since what that found out may still be
/// asked for. One that is gone goes by none. A run whose entity is not among the states stays.
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
    let over = runs.iter().filter(|(id, folded)| {
        let known = folded.state.entity.as_ref();
        folded.state.result().is_some()
            && folded.changed < before
            && known.is_some_and(|entity| entities.contains_key(entity))
            && !needed.contains(id)
    });
    over.map(|(id, _)| *id).collect()
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

/// The runs that a living entity goes by.
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
