//! Boots: their time limits, and the results of the last ones.

use vsiflow_engine::{
    model::{EntityState, FailureClass, Name, NodeState, RunResult},
    step::Step as _,
    workflow::Situation,
};
use vsiflow_steps::{
    ports::ConsolePosition,
    vsi::{StartDomain, start_domain},
};

/// After how many seconds an undecided boot counts as failed. A real guest takes half a minute; an
/// emulated one on a busy host several minutes.
pub const BOOT_DEADLINE_S: u64 = 600;

/// How many seconds a guest whose boot failed gets to shut down.
pub(crate) const FAILED_GRACE_S: u64 = 5;

const DEADLINE_CODE: &str = "VSI0502";

/// Where the console output of the last recorded boot begins.
pub(crate) fn last_boot(at: &Situation<'_>) -> ConsolePosition {
    let runs = at.entity.runs.iter().rev();
    let started = runs.filter_map(|run| {
        let run = (at.runs)(*run)?;
        let NodeState::Succeeded { output, .. } = run.nodes.get(&Name::of(StartDomain::NAME))?
        else {
            return None;
        };
        let output: start_domain::Output = serde_json::from_slice(output.inline()?).ok()?;
        Some(output.console)
    });
    started.take(1).next().unwrap_or_default()
}

/// Whether the newest run, for this desired state, ended at the boot's deadline.
pub(crate) fn was_too_slow(state: &EntityState) -> bool {
    let newest = state.desired.as_ref().map(|desired| desired.generation);
    state.last.as_ref().is_some_and(|last| {
        let slow = matches!(&last.result, RunResult::Failed(f) if f.code.as_str() == DEADLINE_CODE);
        slow && Some(last.generation) == newest
    })
}

/// Whether the newest run ended with a boot that failed.
pub(crate) fn boot_failed(state: &EntityState) -> bool {
    state.last.as_ref().is_some_and(|last| {
        matches!(&last.result, RunResult::Failed(failure) if failure.class == FailureClass::Failed)
    })
}
