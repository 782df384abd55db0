//! A VSI is on one host. Once anything of it may have been made there, it goes to no other host before it is
//! deleted there: otherwise it would run twice under one UUID.

use vsiflow_engine::{
    model::{EntityState, Failure, Name, NodeState, RunPhase, RunResult, RunState, Work},
    step::Step as _,
    workflow::Situation,
};
use vsiflow_steps::{
    network::ReserveAddresses,
    vsi::{CloneBootDisk, CreateConsoleLog, DefineDomain, WriteCidata},
};

use crate::{delete_vsi, record::VsiRecord, update_vsi};

/// Why a VSI with something on its host cannot go to another one.
pub(crate) const WHY: &str = "something of it may be on its host";

/// The steps that make something of a VSI on its host.
const MAKERS: [&str; 5] = [
    CloneBootDisk::NAME,
    WriteCidata::NAME,
    CreateConsoleLog::NAME,
    ReserveAddresses::NAME,
    DefineDomain::NAME,
];

/// Whether anything of a VSI may have been made on its host.
pub(crate) fn may_have_parts(state: &EntityState) -> bool {
    MAKERS
        .iter()
        .any(|step| state.intents.contains(&Name::of(step)))
}

/// Refuses another host than the one where a run has begun to make something. Unlike the comparison of
/// documents, it sees the steps that are in progress at this moment.
///
/// # Errors
/// When a run has begun to make something on another host.
pub(crate) fn refuse_second_host(record: &VsiRecord, at: &Situation<'_>) -> Result<(), Failure> {
    let runs = at.entity.runs.iter().rev();
    for run in runs.filter_map(|run| (at.runs)(*run)) {
        if was_deleted(&run) {
            return Ok(());
        }
        match host_with_parts(&run) {
            Some(host) if host == record.vsi.host => return Ok(()),
            Some(host) => {
                let why = format!("{WHY} {host}");
                return Err(update_vsi::refused(record, "host", &why));
            }
            None => {}
        }
    }
    Ok(())
}

/// Whether the run has deleted everything on the host.
fn was_deleted(run: &RunState) -> bool {
    let graph = run.graph.as_ref();
    let deletes = graph.is_some_and(|graph| graph.workflow.as_str() == delete_vsi::NAME);
    deletes && matches!(run.phase, RunPhase::Finished(RunResult::Succeeded))
}

/// The host on which the run has begun to make something.
fn host_with_parts(run: &RunState) -> Option<String> {
    let nodes = run.graph.as_ref()?.nodes.iter();
    let mut begun = nodes.filter(|node| {
        let begun = run.nodes.get(&node.name).map_or(0, NodeState::attempt) > 0;
        let makes =
            matches!(&node.work, Work::Step { step, .. } if MAKERS.contains(&step.as_str()));
        begun && makes
    });
    begun.next().map(|node| node.lane.to_string())
}
