//! Reads the console logs of VSIs.

use uuid::Uuid;
use vsiflow_engine::model::Failure;
use vsiflow_steps::{
    names,
    ports::{ConsolePosition, HostPorts, VolumeKey},
};

use crate::fleet::{FleetError, HistoryHandle};

/// A VSI's console log. It does not hold the fleet, so following it does not keep other processes from the
/// state directory.
pub struct ConsoleLog {
    ports: HostPorts,
    log: VolumeKey,
    uid: Uuid,
}

/// A piece of a console log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// The guest's output; any bytes.
    pub bytes: Vec<u8>,
    /// Where to continue.
    pub next: ConsolePosition,
}

const CHUNK: u64 = 256 * 1024;

impl HistoryHandle<'_> {
    /// The console log of a VSI. The host is not contacted yet.
    ///
    /// # Errors
    /// When there is no such VSI, or its host's settings are not known.
    pub async fn console_log(self, namespace: &str, name: &str) -> Result<ConsoleLog, FleetError> {
        let known = self.fleet.find(namespace, name, false).await?;
        let vsi = &known.record.vsi;
        let ports = self
            .fleet
            .hosts
            .host(&vsi.host)
            .await
            .map_err(Failure::from)?;
        Ok(ConsoleLog {
            ports,
            log: names::console_log(&vsi.pool, known.record.uid),
            uid: known.record.uid,
        })
    }
}

impl ConsoleLog {
    /// The UID of its VSI.
    pub fn uid(&self) -> Uuid {
        self.uid
    }

    pub(in crate::fleet) fn ports(&self) -> &HostPorts {
        &self.ports
    }

    /// The current end of the log.
    ///
    /// # Errors
    /// When the host cannot be asked.
    pub async fn end(&self) -> Result<ConsolePosition, FleetError> {
        let end = self.ports.console.end(&self.log).await;
        Ok(end.map_err(Failure::from)?)
    }

    /// Reads from a position on; returns no bytes if there are none yet. Cancel safe.
    ///
    /// # Errors
    /// When the host cannot be asked.
    pub async fn read(&self, from: ConsolePosition) -> Result<LogChunk, FleetError> {
        let chunk = self
            .ports
            .console
            .read(&self.log, from, CHUNK)
            .await
            .map_err(Failure::from)?;
        Ok(LogChunk {
            bytes: chunk.bytes.to_vec(),
            next: chunk.next,
        })
    }
}
