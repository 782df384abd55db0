//! Workflow `provision_vsi`: makes a VSI that was never ready, again after a failed boot.

use vsiflow_engine::{
    model::{EntityState, Failure, FailureClass, Graph, Name},
    step::Step as _,
    workflow::Situation,
};
use vsiflow_steps::vsi::{
    AttachDataDisks, AwaitReady, CloneBootDisk, CreateConsoleLog, DefineDomain, DeleteVolumes,
    KeepEvidence, ResolveHost, StopDomain, UndefineDomain, WriteCidata,
    clone_boot_disk::BASE_IMAGE_NODE, delete_volumes, undefine_domain,
};

use crate::{
    record::VsiRecord,
    spec::PowerState,
    vsi_graph::{self, VsiGraphBuilder},
};

pub use crate::vsi_graph::{BOOT_DEADLINE_S, SIMULATED};

/// The workflow's name.
pub const NAME: &str = "provision_vsi";

/// The graph: `check_contract` → `resolve_host` → {`ensure_base_image` → `clone_boot_disk`,
/// `write_cidata`, `create_console_log`, `attach_data_disks`, `resolve_networks`} → `define_domain` →
/// `start_domain` → `await_ready`.
///
/// If a reference is unresolved, the graph is only `require_references`.
///
/// A VSI that should be off is not started, and one that should be paused is suspended once it is
/// ready. If this journal may have defined a domain before, that domain is taken down first, and its
/// evidence stored. A boot that only took too long is watched further instead, because its guest may be
/// working by now.
///
/// # Errors
/// When the VSI was ready once, or the desired state cannot be made into parameters.
pub fn graph(record: &VsiRecord, at: &Situation<'_>) -> Result<Graph, Failure> {
    let state = at.entity;
    if state.reached > 0 {
        return Err(never_again(record));
    }
    let mut parts = VsiGraphBuilder::new(NAME, record, at);
    if !record.unresolved_refs.is_empty() {
        parts.nodes.require(&record.unresolved_refs)?;
        return Ok(parts.nodes.build());
    }
    if vsi_graph::was_too_slow(state, NAME) && record.power_state() != PowerState::Stopped {
        parts.resolve_host(&[])?;
        boot(&mut parts, ResolveHost::NAME)?;
        return Ok(parts.nodes.build());
    }
    let checked = parts.check_contract(&[])?;
    parts.resolve_new_host(&checked)?;
    let base = if state.intents.contains(&Name::of(DefineDomain::NAME)) {
        take_down(&mut parts, state)?;
        DeleteVolumes::NAME
    } else {
        ResolveHost::NAME
    };
    let made = make_parts(&mut parts, base)?;
    parts.define(&made)?;
    boot(&mut parts, DefineDomain::NAME)?;
    Ok(parts.nodes.build())
}

fn boot(parts: &mut VsiGraphBuilder<'_>, after: &'static str) -> Result<(), Failure> {
    let power = parts.record.power_state();
    if power != PowerState::Stopped {
        let after = parts.fresh_boot_disk(&[after])?;
        parts.start(&after)?;
    }
    if power == PowerState::Paused {
        parts.suspend(&[AwaitReady::NAME])?;
    }
    Ok(())
}

/// Takes down an earlier attempt. Deletes the console log too: its content must not decide a later
/// boot.
fn take_down(parts: &mut VsiGraphBuilder<'_>, state: &EntityState) -> Result<(), Failure> {
    let (host, uuid) = (parts.record.vsi.host.clone(), parts.record.uid);
    parts.keep_evidence(&[ResolveHost::NAME])?;
    parts.stop(&[KeepEvidence::NAME], vsi_graph::FAILED_GRACE_S)?;
    let undefine = undefine_domain::Params {
        host: host.clone(),
        uuid,
    };
    let nodes = &mut parts.nodes;
    nodes.step::<UndefineDomain>(&[StopDomain::NAME], &undefine)?;
    let log = delete_volumes::VolumeToDelete {
        volume: vsi_graph::console(parts.record),
        recorded: state.intents.contains(&Name::of(CreateConsoleLog::NAME)),
    };
    let delete = delete_volumes::Params {
        host,
        uuid,
        volumes: vec![log],
    };
    nodes
        .step::<DeleteVolumes>(&[UndefineDomain::NAME], &delete)
        .map(drop)
}

/// Adds the parts of a domain; returns the nodes that its definition follows.
fn make_parts(
    parts: &mut VsiGraphBuilder<'_>,
    base: &'static str,
) -> Result<Vec<&'static str>, Failure> {
    let base = parts.await_networks(base)?;
    parts.first_image(&[base])?;
    parts.clone(&[BASE_IMAGE_NODE])?;
    let mut made = vec![CloneBootDisk::NAME];
    if parts.cidata(&[base])? {
        made.push(WriteCidata::NAME);
    }
    parts.console_log(&[base])?;
    parts.data_disks(&[base])?;
    let networks = parts.networks(base)?;
    made.extend([CreateConsoleLog::NAME, AttachDataDisks::NAME, networks]);
    Ok(made)
}

/// The failure for a VSI that was ready once: it is rebuilt only by a plan that says so.
fn never_again(record: &VsiRecord) -> Failure {
    Failure::new(
        FailureClass::Blocked,
        "VSI0701",
        "the change would rebuild it; nothing was changed",
    )
    .of_object(format!("vsi/{}", record.vsi.full_name()))
    .with_remedy("undo the change, or delete the VSI and apply again; data disks remain")
}
