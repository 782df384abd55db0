//! The addresses of a VSI that was forgotten: they belong to it until a user releases them.

use vsiflow_engine::{model::Failure, step::Step as _};
use vsiflow_steps::network::{ReleaseAddresses, release_addresses};

use crate::{network, nodes::Nodes, record::VsiRecord};

/// The record without addresses. Unless the host is left alone, their reservations are released there.
pub(crate) fn without_addresses(record: &VsiRecord, leaves_host: bool) -> VsiRecord {
    let mut without = record.clone();
    without.released = if leaves_host {
        Vec::new()
    } else {
        network::reservations(record)
    };
    without.vsi.addresses.clear();
    for before in &mut without.before {
        before.vsi.addresses.clear();
    }
    if let Some(proposed) = &mut without.proposed {
        proposed.vsi.addresses.clear();
    }
    without
}

/// Adds the step that releases the reservations, if there are any. Returns the steps to wait for.
pub(crate) fn release_addresses(
    nodes: &mut Nodes,
    record: &VsiRecord,
) -> Result<Vec<&'static str>, Failure> {
    if record.released.is_empty() {
        return Ok(Vec::new());
    }
    let params = release_addresses::Params {
        host: record.vsi.host.clone(),
        cards: record.released.clone(),
        recorded: true,
    };
    nodes.step::<ReleaseAddresses>(&[], &params)?;
    Ok(vec![ReleaseAddresses::NAME])
}
