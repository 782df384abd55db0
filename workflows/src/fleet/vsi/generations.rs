//! The generations of a VSI's desired state.

use serde_json::Value;
use vsiflow_engine::{
    journal::Offset,
    model::{EventKind, StreamId},
};

use super::object::{rfc3339, spec_of};
use crate::{
    fleet::{FleetError, VsiHandle},
    record::{self, VsiRecord},
};

/// A generation of a VSI.
#[derive(Clone, Debug, PartialEq)]
pub struct VsiGeneration {
    /// Its number, from 1.
    pub generation: u64,
    /// The event that recorded it.
    pub offset: Offset,
    /// The time of that event, RFC 3339.
    pub time: String,
    /// The actor that requested it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// The desired state without secrets, as `get -o json` shows it. Null if there was none (the VSI was to
    /// be deleted), or it cannot be read any more.
    pub spec: Value,
}

impl VsiHandle<'_> {
    /// The newest generations of a VSI that the journal holds, the newest first.
    ///
    /// # Errors
    /// When there is no VSI of that name, or the journal cannot be read.
    pub async fn generations(
        self,
        namespace: &str,
        name: &str,
        most: usize,
    ) -> Result<Vec<VsiGeneration>, FleetError> {
        let known = self.fleet.find_any(namespace, name, true).await?;
        let stream = StreamId::Entity(known.entity.clone());
        let mut found = Vec::new();
        for record in self
            .fleet
            .readable_records(&stream)
            .await?
            .into_iter()
            .rev()
        {
            let EventKind::Desired {
                generation,
                desired,
                ..
            } = &record.event.kind
            else {
                continue;
            };
            if found.len() >= most {
                break;
            }
            found.push(VsiGeneration {
                generation: *generation,
                offset: record.offset,
                time: rfc3339(record.event.at),
                actor: record.event.actor.to_string(),
                reason: record.event.reason.to_string(),
                spec: match self.fleet.blobs.get(desired).await {
                    Ok(bytes) => {
                        record::read::<VsiRecord>(&bytes).map_or(Value::Null, |vsi| spec_of(&vsi))
                    }
                    Err(error) => {
                        tracing::debug!(%error, "a generation cannot be read");
                        Value::Null
                    }
                },
            });
        }
        Ok(found)
    }
}
