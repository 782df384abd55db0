//! The networks that VSIs are on, as their hosts show them now, and the addresses they gave away.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{PoisonError, RwLock},
};

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;
use vsiflow_engine::model::Failure;
use vsiflow_steps::ports::{HostPorts, NetworkInfo, VolumeKey};

use crate::drift::{self, DriftFinding};
use crate::fleet::{Fleet, FleetError, index::Known};

/// The addresses of guests, as the newest look at their hosts found them. In memory only: they come
/// and go without anybody's doing.
#[derive(Debug, Default)]
pub(in crate::fleet) struct SeenAddresses {
    seen: RwLock<BTreeMap<Uuid, Vec<String>>>,
}

impl SeenAddresses {
    /// One that has none keeps what was known of it: its lease may just be renewed.
    pub(in crate::fleet) fn put(&self, uid: Uuid, addresses: Vec<String>) {
        if addresses.is_empty() {
            return;
        }
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        seen.insert(uid, addresses);
    }

    pub(in crate::fleet) fn get(&self, uid: Uuid) -> Option<Vec<String>> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.get(&uid).cloned()
    }
}

/// A network of a host that VSIs are on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NetworkObject {
    /// Its name on the host.
    pub name: String,
    /// The host's id.
    pub host: String,
    /// `Active`, `Inactive`, `Missing`, or `Unknown` where the host does not answer.
    pub phase: &'static str,
    /// Why it is not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Its definition, as the host prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xml: Option<String>,
    /// The VSIs that are on it.
    pub used_by: Vec<String>,
}

impl Fleet {
    /// The networks that VSIs are on, as their hosts show them now.
    ///
    /// # Errors
    /// When the journal cannot be read. A host that does not answer is told.
    pub async fn networks(&self) -> Result<Vec<NetworkObject>, FleetError> {
        let mut users = BTreeMap::<(String, String), Vec<String>>::new();
        for known in self.known().await?.iter().filter(|k| !k.is_deleted()) {
            let host = &known.wanted.vsi.host;
            let networks: BTreeSet<_> = known.wanted.vsi.networks.iter().collect();
            for network in networks {
                let key = (host.clone(), network.clone());
                users.entry(key).or_default().push(known.label());
            }
        }
        let mut objects = Vec::new();
        for ((host, name), used_by) in users {
            let found = self.network(&host, &name).await;
            objects.push(object(host, name, used_by, found));
        }
        Ok(objects)
    }

    /// A network as its host shows it now; `None` where the host says that there is none.
    ///
    /// # Errors
    /// When the host cannot be asked.
    pub async fn network(&self, host: &str, name: &str) -> Result<Option<NetworkInfo>, FleetError> {
        let ports = self.hosts.host(host).await.map_err(Failure::from)?;
        Ok(ports.networks.network(name).await.map_err(Failure::from)?)
    }

    /// Whether a volume is on its host now.
    ///
    /// # Errors
    /// When the host cannot be asked, or the pool is not active.
    pub async fn has_volume(&self, host: &str, pool: &str, name: &str) -> Result<bool, FleetError> {
        let ports = self.hosts.host(host).await.map_err(Failure::from)?;
        let (pool, name) = (pool.to_owned(), name.to_owned());
        let found = ports.storage.volume(&VolumeKey { pool, name }).await;
        Ok(found.map_err(Failure::from)?.is_some())
    }
}

fn object(
    host: String,
    name: String,
    used_by: Vec<String>,
    found: Result<Option<NetworkInfo>, FleetError>,
) -> NetworkObject {
    let (phase, message, xml) = match found {
        Ok(Some(network)) if network.active => ("Active", String::new(), Some(network.xml)),
        Ok(Some(network)) => ("Inactive", String::new(), Some(network.xml)),
        Ok(None) => ("Missing", String::new(), None),
        Err(error) => ("Unknown", error.to_string(), None),
    };
    NetworkObject {
        name,
        host,
        phase,
        message,
        xml,
        used_by,
    }
}

/// The networks of these VSIs of one host that guests cannot use now, by name.
pub(in crate::fleet) async fn broken(
    ports: &HostPorts,
    known: &[Known],
) -> Result<BTreeMap<String, DriftFinding>, FleetError> {
    let names = known.iter().flat_map(|known| &known.wanted.vsi.networks);
    let names: BTreeSet<_> = names.collect();
    let mut broken = BTreeMap::new();
    for name in names {
        let network = ports.networks.network(name).await.map_err(Failure::from)?;
        let found = match network {
            Some(network) if network.active => continue,
            Some(_) => "an inactive one",
            None => "none",
        };
        broken.insert(name.clone(), drift::of_network(name, found));
    }
    Ok(broken)
}
