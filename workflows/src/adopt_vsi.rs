//! Workflow `adopt_vsi`: brings an existing domain under management without changing it.

use vsiflow_engine::model::{Failure, Graph};
use vsiflow_steps::vsi::{AdoptDomain, adopt_domain};

use crate::{nodes::Nodes, record::VsiRecord};

/// The workflow's name.
pub const NAME: &str = "adopt_vsi";

/// The fields that cannot be read from an existing domain. The first document that is applied sets
/// them, and nothing is changed on the host for that.
pub const UNKNOWN: [&str; 12] = [
    "guest",
    "ready",
    "namespace",
    "name",
    "labels",
    "image",
    "bootDisk",
    "onDrift",
    "updatePolicy",
    "deletionPolicy",
    "disks",
    "restartedAt",
];

/// The fields that are stored in the cidata volume, and unknown if it cannot be read.
pub const OF_CIDATA: [&str; 2] = ["contract", "networkConfig"];

/// The graph: `adopt_domain`.
///
/// # Errors
/// When the desired state cannot be made into parameters.
pub fn graph(record: &VsiRecord) -> Result<Graph, Failure> {
    let host = &record.vsi.host;
    let params = adopt_domain::Params {
        host: host.clone(),
        uuid: record.uid,
        previous_owner: record.previous_owner.clone(),
        boot: record
            .adopted
            .as_ref()
            .and_then(|adopted| adopted.boot.clone()),
        data_disks: record
            .adopted
            .as_ref()
            .map(|adopted| adopted.data_disks.clone())
            .unwrap_or_default(),
    };
    let mut nodes = Nodes::new(NAME, host);
    nodes.step::<AdoptDomain>(&[], &params)?;
    Ok(nodes.build())
}
