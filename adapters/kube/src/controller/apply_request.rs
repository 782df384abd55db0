//! What the controller asks of the fleet for a resource, and what of it is compared with the last request.

use uuid::Uuid;
use vsiflow_engine::model::{EntityId, Hash};
use vsiflow_workflows::spec::{Resolved, ResolvedVsi};

use super::recorded::AppliedGeneration;

/// What to apply to the fleet for a resource.
#[derive(Clone)]
pub(super) struct ApplyRequest {
    pub(super) uid: Uuid,
    pub(super) entity: EntityId,
    pub(super) manager: String,
    pub(super) generation: i64,
    pub(super) vsi: Box<ResolvedVsi>,
}

impl ApplyRequest {
    pub(super) fn applied(&self, print: Hash) -> AppliedGeneration {
        AppliedGeneration {
            uid: self.uid,
            generation: self.generation,
            print,
        }
    }
}

/// The reason that is recorded with a generation of a resource.
pub(super) fn generation_reason(number: i64) -> String {
    format!("generation {number} of the resource")
}

/// Appends all settings of a host.
pub(super) fn host_bytes(bytes: &mut Vec<u8>, host: &str, rest: &Resolved) {
    let Some(host) = rest.hosts.get(host) else {
        return;
    };
    bytes.extend(
        serde_json::to_vec(&(&host.record, &host.labels, &host.limits)).unwrap_or_default(),
    );
    for secret in host.secrets() {
        put_part(bytes, secret.expose());
    }
}

pub(super) fn put_part(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.push(0);
    bytes.extend_from_slice(part);
}
