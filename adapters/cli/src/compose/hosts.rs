//! The ports of every host: simulated or real, by its settings.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use tokio::sync::Mutex;
use vsiflow_steps::{
    ports::{HostPorts, Hosts, PortError, PortErrorKind, PortResult},
    sim::SimHosts,
};
use vsiflow_workflows::{hosts::HostDirectory, spec::HostRecord};

/// Hosts by their settings. Ports are made once a host.
pub(super) struct AllHosts {
    directory: Arc<HostDirectory>,
    sims: SimHosts,
    real: Mutex<BTreeMap<String, HostPorts>>,
}

impl AllHosts {
    /// Hosts of that directory; simulated ones keep their state below `sim`.
    pub(super) fn new(directory: Arc<HostDirectory>, sim: PathBuf) -> Self {
        Self {
            directory,
            sims: SimHosts::in_folder(sim),
            real: Mutex::default(),
        }
    }
}

#[async_trait]
impl Hosts for AllHosts {
    async fn host(&self, id: &str) -> PortResult<HostPorts> {
        let settings = self.directory.get(id).ok_or_else(|| {
            let message = "the journal knows no settings of this host";
            PortError::new(PortErrorKind::Denied, id, "", message)
        })?;
        if let HostRecord::Sim { .. } = settings.record {
            return self.sims.host(id).await;
        }
        let mut real = self.real.lock().await;
        if let Some(ports) = real.get(id) {
            return Ok(ports.clone());
        }
        let ports = connect(id, &settings)?;
        real.insert(id.to_owned(), ports.clone());
        Ok(ports)
    }
}

fn connect(id: &str, settings: &vsiflow_workflows::spec::HostSettings) -> PortResult<HostPorts> {
    let _ = settings;
    Err(PortError::new(PortErrorKind::Denied, id, "", "not yet"))
}
