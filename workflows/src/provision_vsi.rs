//! Workflow `provision_vsi`: makes a VSI for the first time.

use vsiflow_engine::{
    model::{Failure, FailureClass, Graph},
    step::Step as _,
    workflow::Situation,
};
use vsiflow_steps::vsi::{
    AttachDataDisks, AwaitReady, CloneBootDisk, CreateConsoleLog, DefineDomain, ResolveHost,
    WriteCidata, clone_boot_disk::BASE_IMAGE_NODE,
};

use crate::{
    boot_disks::was_made,
    delete_vsi,
    record::VsiRecord,
    spec::PowerState,
    vsi_graph::{NewBootDisk, VsiGraphBuilder},
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
/// ready. Once this journal may have defined a domain, a guest may have written to its disks: from then on
/// only `update_vsi` works on the VSI.
///
/// # Errors
/// When the VSI was made before and is not deleted since, or the desired state cannot be made into parameters.
pub fn graph(record: &VsiRecord, at: &Situation<'_>) -> Result<Graph, Failure> {
    let boot_disk = if !was_made(at.entity) {
        NewBootDisk::First
    } else if delete_vsi::is_gone(at) {
        NewBootDisk::AfterDeletion
    } else {
        return Err(never_again(record));
    };
    let mut parts = VsiGraphBuilder::new(NAME, record, at);
    if !record.unresolved_refs.is_empty() {
        parts.nodes.require(&record.unresolved_refs)?;
        return Ok(parts.nodes.build());
    }
    let checked = parts.check_contract(&[])?;
    parts.resolve_new_host(&checked)?;
    let made = make_parts(&mut parts, ResolveHost::NAME, boot_disk)?;
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

/// Adds the parts of a domain; returns the nodes that its definition follows.
fn make_parts(
    parts: &mut VsiGraphBuilder<'_>,
    base: &'static str,
    boot_disk: NewBootDisk,
) -> Result<Vec<&'static str>, Failure> {
    let base = parts.await_networks(base)?;
    parts.first_image(&[base])?;
    parts.clone_new(&[BASE_IMAGE_NODE], boot_disk)?;
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
