//! Console logs, for people.

use vsiflow_engine::model::EntityId;
use vsiflow_steps::{names, ports::ConsolePosition};

use super::{Fleet, FleetError, index::Known};

/// A piece of a console log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// What the guest wrote: any bytes.
    pub bytes: Vec<u8>,
    /// Where to go on.
    pub next: ConsolePosition,
}

const CHUNK: u64 = 256 * 1024;

impl Fleet {
    /// Reads a VSI's console log from a position on; no bytes when there are none yet.
    ///
    /// # Errors
    /// When there is no such VSI, or its host cannot be asked.
    pub async fn logs(
        &self,
        namespace: &str,
        name: &str,
        from: ConsolePosition,
    ) -> Result<LogChunk, FleetError> {
        let known = self.find(namespace, name, false).await?;
        self.read_log(&known, from).await
    }

    async fn read_log(&self, known: &Known, from: ConsolePosition) -> Result<LogChunk, FleetError> {
        let (vsi, uid) = (&known.wanted.vsi, known.wanted.uid);
        let failed = |error| FleetError::from(vsiflow_engine::model::Failure::from(error));
        let ports = self.hosts.host(&vsi.host).await.map_err(failed)?;
        let log = names::console_log(&vsi.pool, uid);
        let chunk = ports
            .console
            .read(&log, from, CHUNK)
            .await
            .map_err(failed)?;
        Ok(LogChunk {
            bytes: chunk.bytes.to_vec(),
            next: chunk.next,
        })
    }

    /// Whether a guest that prints to the log may still be there.
    pub fn may_print(&self, entity: &EntityId) -> bool {
        self.engine
            .entity(entity)
            .is_some_and(|state| state.active.is_some() || state.reached > 0)
    }
}
