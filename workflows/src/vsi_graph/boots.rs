//! Boots: how long they may take, and what the runs on record say of the last ones.

use vsiflow_engine::{
    model::{EntityState, FailureClass, Name, NodeState, RunResult},
    step::Step as _,
    workflow::Situation,
};
use vsiflow_steps::{
    ports::ConsolePosition,
    vsi::{StartDomain, start_domain},
};

/// Seconds until a boot that is not decided counts as failed. A real guest takes half a minute;
/// an emulated one on a busy host several.
pub const BOOT_DEADLINE_S: u64 = 600;

/// Seconds a guest whose boot failed gets to come down by itself.
pub(crate) const FAILED_GRACE_S: u64 = 5;

const DEADLINE_CODE: &str = "VSI0502";

/// Where the console of the last boot begins that a run is known of.
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

/// Whether the newest run, for this very desired state, ended at the boot's deadline.
pub(crate) fn was_too_slow(state: &EntityState, workflow: &str) -> bool {
    let newest = state.desired.as_ref().map(|desired| desired.generation);
    state.last.as_ref().is_some_and(|last| {
        let slow = matches!(&last.result, RunResult::Failed(f) if f.code.as_str() == DEADLINE_CODE);
        slow && last.workflow.as_str() == workflow && Some(last.generation) == newest
    })
}

/// Whether the newest run ended with a boot that failed.
pub(crate) fn boot_failed(state: &EntityState) -> bool {
    state.last.as_ref().is_some_and(|last| {
        matches!(&last.result, RunResult::Failed(failure) if failure.class == FailureClass::Failed)
    })
}
