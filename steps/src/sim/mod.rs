//! The simulated host: every port, without a hypervisor.
//!
//! In tests its state is in memory, and under a paused clock its time is virtual. For users without a
//! host its state is in a folder, written after each effect, and its time is real. What a guest has done
//! is computed from its start time, so it continues while no process runs.
//!
//! Its behaviour follows what was measured on a real host. [`Faults`] make calls fail as real ones do;
//! without them every call succeeds.

mod administrator;
mod console;
mod content;
mod domain;
mod due;
mod faults;
mod guest;
mod host;
mod layers;
mod memory;
mod network;
mod screen;
mod serial;
mod shown;
pub mod source;
mod sparse;
mod state;
mod storage;
mod tokens;
mod upload;

pub use content::Content;
pub use faults::{Fault, Faults};
pub use guest::Live;
pub use host::{Call, SimHost};
pub use source::SimSource;
pub use state::{Domain, Network, Pool, SimHostState, Volume};
pub use tokens::TokenWrite;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::ports::{HostPorts, Hosts, PortResult, Transfer};

/// Simulated hosts by ID; a host is created when it is first requested.
pub struct SimHosts {
    folder: Option<PathBuf>,
    hosts: Mutex<BTreeMap<String, Arc<SimHost>>>,
}

impl SimHosts {
    /// Hosts whose state is lost with the process.
    pub fn in_memory() -> Self {
        Self {
            folder: None,
            hosts: Mutex::default(),
        }
    }

    /// Hosts whose state is in this folder, which is created if it is missing.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: Some(folder.into()),
            hosts: Mutex::default(),
        }
    }

    /// The simulated host of that id, with the pool `images` and the network `default`.
    ///
    /// # Errors
    /// When its folder cannot be read.
    pub async fn sim(&self, id: &str) -> PortResult<Arc<SimHost>> {
        let mut hosts = self.hosts.lock().await;
        if let Some(host) = hosts.get(id) {
            return Ok(host.clone());
        }
        let host = Arc::new(match &self.folder {
            None => SimHost::in_memory(id),
            Some(folder) => SimHost::in_folder(id, folder.join(file_name(id))).await?,
        });
        hosts.insert(id.to_owned(), host.clone());
        Ok(host)
    }
}

/// A host's ID encoded as the name of a folder: no separators, not hidden, and unique.
fn file_name(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let encode = |byte: u8| {
        if plain(byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02x}")
        }
    };
    std::iter::once("host-".to_owned())
        .chain(id.bytes().map(encode))
        .collect()
}

#[async_trait]
impl Hosts for SimHosts {
    async fn host(&self, id: &str) -> PortResult<HostPorts> {
        let host = self.sim(id).await?;
        Ok(HostPorts {
            host: host.clone(),
            storage: host.clone(),
            domains: host.clone(),
            networks: host.clone(),
            console: host,
            upload_limit: None,
            full_verification: false,
            transfer: Transfer::Auto,
        })
    }

    async fn others(&self, id: &str) -> Vec<String> {
        let hosts = self.hosts.lock().await;
        hosts.keys().filter(|host| *host != id).cloned().collect()
    }
}
