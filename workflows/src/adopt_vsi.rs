//! Workflow `adopt_vsi`: brings an existing domain under management without changing it.

use serde::{Deserialize, Serialize};
use vsiflow_engine::model::{Failure, Graph, NodeState};
use vsiflow_steps::{
    ports::{DomainState, VolumeKey},
    vsi::{AdoptDomain, adopt_domain},
};

use crate::{nodes::Nodes, phase::Phase, record::VsiRecord};

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

/// What was found when a VSI was adopted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Whether its volumes have the names that vsiflow gives. Only then can they be rebuilt, and are
    /// deleted with it.
    pub own_volumes: bool,
    /// Its boot disk, if it has one of the names that vsiflow gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<VolumeKey>,
    /// The MAC addresses of its cards, in order.
    #[serde(default)]
    pub macs: Vec<String>,
}

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
    };
    let mut nodes = Nodes::new(NAME, host);
    nodes.step::<AdoptDomain>(&[], &params)?;
    Ok(nodes.build())
}

/// The phase in which an adopted VSI was found.
pub(crate) fn phase(node: &NodeState) -> Option<Phase> {
    let NodeState::Succeeded { output, .. } = node else {
        return None;
    };
    let output: adopt_domain::Output = serde_json::from_slice(output.inline()?).ok()?;
    Some(match output.state {
        DomainState::Running
        | DomainState::ShuttingDown
        | DomainState::Starting
        | DomainState::Held => Phase::Running,
        DomainState::Paused => Phase::Paused,
        DomainState::ShutOff | DomainState::Crashed => Phase::Stopped,
    })
}
