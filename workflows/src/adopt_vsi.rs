//! Takes a domain that is there into management, as it stands.

use serde::{Deserialize, Serialize};
use vsiflow_engine::model::{Failure, Graph, NodeState};
use vsiflow_steps::{
    ports::DomainState,
    vsi::{AdoptDomain, adopt_domain},
};

use crate::{nodes::Nodes, phase::Phase, record::VsiRecord};

/// The workflow's name.
pub const NAME: &str = "adopt_vsi";

/// What only somebody who saw the VSI being made could know: an adopted one does not tell it. The
/// first document that is applied says it, and nothing follows from that.
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

/// The contract, where the cidata volume cannot be read; with it goes what else lies there.
pub const OF_CIDATA: [&str; 2] = ["contract", "networkConfig"];

/// How a VSI was when it was adopted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopted {
    /// Whether its volumes bear the names that vsiflow gives: only then can they be made anew, and
    /// do they go with it.
    pub own_volumes: bool,
    /// The MAC addresses of its cards, in order.
    #[serde(default)]
    pub macs: Vec<String>,
}

/// adopt_domain.
///
/// # Errors
/// When the desired state cannot be made into parameters.
pub fn graph(record: &VsiRecord) -> Result<Graph, Failure> {
    let host = &record.vsi.host;
    let params = adopt_domain::Params {
        host: host.clone(),
        uuid: record.uid,
        previous_owner: record.previous_owner.clone(),
    };
    let mut nodes = Nodes::new(NAME, host);
    nodes.step::<AdoptDomain>(&[], &params)?;
    Ok(nodes.build())
}

/// The state that an adopted VSI was found in.
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
