//! The networks that VSIs are on, as their hosts show them now, and the addresses of guests that scans
//! found.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{PoisonError, RwLock},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use uuid::Uuid;
use vsiflow_engine::model::Failure;
use vsiflow_steps::ports::{HostPorts, NetworkInfo, NetworkMode, VolumeKey};

use crate::drift::{self, DriftFinding};
use crate::fleet::{
    Fleet, FleetError, HostHandle, NetworkHandle,
    index::Known,
    network::apply::KnownNetwork,
    unreadable::{LostEntity, UNREADABLE},
};
use crate::record::kind;
use crate::spec::DeletionPolicy;

/// The addresses of guests, as the newest scan of their hosts found them. In memory only: they change
/// without any action of a user.
#[derive(Debug, Default)]
pub(in crate::fleet) struct SeenAddresses {
    seen: RwLock<AddressesByGuest>,
    /// How many times an address changed.
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct AddressesByGuest {
    all: BTreeMap<Uuid, Vec<String>>,
    /// How many there were after those of deleted guests were last removed.
    kept: usize,
}

/// Addresses of deleted guests are removed once there are so many more.
const REMOVED_AT_ONCE: usize = 256;

impl SeenAddresses {
    /// Stores the addresses of a guest. An empty list is ignored: the guest's lease may just be renewed.
    pub(in crate::fleet) fn put(
        &self,
        uid: Uuid,
        addresses: Vec<String>,
        is_there: impl Fn(Uuid) -> bool,
    ) {
        if addresses.is_empty() {
            return;
        }
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        if seen.all.get(&uid) != Some(&addresses) {
            seen.all.insert(uid, addresses);
            let most = seen.kept.saturating_mul(2).saturating_add(REMOVED_AT_ONCE);
            if seen.all.len() > most {
                seen.all.retain(|known, _| is_there(*known));
                seen.kept = seen.all.len();
            }
            self.changes
                .send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(in crate::fleet) fn get(&self, uid: Uuid) -> Option<Vec<String>> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        seen.all.get(&uid).cloned()
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
    /// `Active`, `Inactive`, `Missing`, `Unknown` where the host does not answer, or `Unreadable` where
    /// vsiflow's own record of it cannot be read.
    pub phase: &'static str,
    /// Why it is not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Its definition, as the host prints it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xml: Option<String>,
    /// The VSIs that are on it.
    pub used_by: Vec<String>,
    /// How vsiflow makes it; none of one that the host has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made: Option<MadeNetwork>,
}

/// The state of a network that vsiflow makes on one host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkState {
    /// The host's id.
    pub host: String,
    /// `Pending`, `Creating`, `Ready`, `Blocked` or `Deleting`.
    pub phase: String,
    /// The failure that it is waiting on, or the detail of its phase.
    pub message: String,
}

/// A network that vsiflow makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MadeNetwork {
    /// The namespace of its document.
    pub namespace: String,
    /// The name of its document.
    pub name: String,
    /// Its IPv4 addresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// `nat`, `routed`, `isolated` or `bridge`.
    pub mode: &'static str,
    /// What becomes of it on its host when it is deleted: `Delete` or `Retain`.
    pub deletion_policy: &'static str,
    /// The addresses that VSIs have in it, by the VSIs' names.
    pub addresses: BTreeMap<String, String>,
}

impl NetworkHandle<'_> {
    /// Changes with every address that a scan of a host finds newly. No event reports these.
    pub fn seen_addresses(self) -> watch::Receiver<u64> {
        self.fleet.addresses.changes()
    }

    /// The networks that VSIs are on, as their hosts show them now.
    ///
    /// # Errors
    /// When the journal cannot be read. A host that does not answer is part of the list.
    pub async fn list(self) -> Result<Vec<NetworkObject>, FleetError> {
        let mut users = BTreeMap::<(String, String), Vec<String>>::new();
        let mut made = BTreeMap::new();
        for known in self.fleet.known_networks().await? {
            if known.is_deleted() {
                continue;
            }
            let key = (known.record.host.clone(), known.record.network.on_host());
            users.entry(key.clone()).or_default();
            made.insert(key, known);
        }
        let mut addresses = BTreeMap::<(String, String), BTreeMap<String, String>>::new();
        for known in self.fleet.known().await?.iter().filter(|k| !k.is_deleted()) {
            for (network, address) in &known.record.vsi.addresses {
                let key = (known.record.vsi.host.clone(), network.clone());
                let of = addresses.entry(key).or_default();
                of.insert(known.label(), address.to_string());
            }
            let host = &known.record.vsi.host;
            let networks: BTreeSet<_> = known.record.vsi.networks.iter().collect();
            for network in networks {
                let key = (host.clone(), network.clone());
                users.entry(key).or_default().push(known.label());
            }
        }
        let mut objects = Vec::new();
        for ((host, name), used_by) in users {
            let found = self.on_host(&host, &name).await;
            let key = (host.clone(), name.clone());
            let mut object = object(host, name, used_by, found);
            if let Some(known) = made.remove(&key) {
                let addresses = addresses.remove(&key).unwrap_or_default();
                self.fleet.describe_made(&known, addresses, &mut object);
                if let Some(failure) = self.fleet.poison(&known.entity).await? {
                    object.phase = UNREADABLE;
                    object.message = format!("{failure}. {}", failure.remedy);
                }
            }
            objects.push(object);
        }
        let lost = self.fleet.lost(kind::NETWORK).await?;
        objects.extend(lost.iter().map(lost_network));
        Ok(objects)
    }

    /// The state of the network with this name on each of its hosts, as the journal knows it.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn states(
        self,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<NetworkState>, FleetError> {
        let all = self.fleet.known_networks().await?;
        let named = all
            .iter()
            .filter(|network| network.is_named(namespace, name) && !network.is_deleted());
        Ok(named.map(|known| self.fleet.network_state(known)).collect())
    }

    /// A network as its host shows it now; `None` if the host has no such network.
    ///
    /// # Errors
    /// When the host cannot be asked.
    pub async fn on_host(self, host: &str, name: &str) -> Result<Option<NetworkInfo>, FleetError> {
        let ports = self.fleet.hosts.host(host).await.map_err(Failure::from)?;
        Ok(ports.networks.network(name).await.map_err(Failure::from)?)
    }
}

impl HostHandle<'_> {
    /// Whether a volume exists on its host now.
    ///
    /// # Errors
    /// When the host cannot be asked, or the pool is not active.
    pub async fn has_volume(self, host: &str, pool: &str, name: &str) -> Result<bool, FleetError> {
        let ports = self.fleet.hosts.host(host).await.map_err(Failure::from)?;
        let (pool, name) = (pool.to_owned(), name.to_owned());
        let found = ports.storage.volume(&VolumeKey { pool, name }).await;
        Ok(found.map_err(Failure::from)?.is_some())
    }
}

impl Fleet {
    /// The state of a network on its host, as the journal knows it.
    pub(super) fn network_state(&self, known: &KnownNetwork) -> NetworkState {
        let recorded = known.state.state.as_ref();
        let failure = self.obstacle(&known.entity);
        let why = failure.map(|failure| format!("{failure}. {}", failure.remedy));
        NetworkState {
            host: known.record.host.clone(),
            phase: recorded.map_or("Pending".to_owned(), |(phase, _)| phase.to_string()),
            message: why
                .or_else(|| recorded.map(|(_, detail)| detail.to_string()))
                .unwrap_or_default(),
        }
    }

    /// Adds what the journal knows of a network that vsiflow makes.
    fn describe_made(
        &self,
        known: &KnownNetwork,
        addresses: BTreeMap<String, String>,
        object: &mut NetworkObject,
    ) {
        let network = &known.record.network;
        let recorded = known.state.state.as_ref();
        let recorded = recorded.map(|(name, detail)| (name.as_str(), detail.as_str()));
        let phases = ["Pending", "Creating", "Blocked", "Deleting"];
        let (phase, detail) = recorded.unwrap_or(("Pending", ""));
        if let Some(phase) = phases.into_iter().find(|one| *one == phase) {
            object.phase = phase;
            let failure = self.obstacle(&known.entity);
            let why = failure.map(|failure| format!("{failure}. {}", failure.remedy));
            object.message = why.unwrap_or_else(|| detail.to_owned());
        }
        object.made = Some(MadeNetwork {
            namespace: network.namespace.clone(),
            name: network.name.clone(),
            cidr: network.cidr.map(|cidr| cidr.to_string()),
            mode: match network.mode {
                NetworkMode::Nat => "nat",
                NetworkMode::Routed => "routed",
                NetworkMode::Isolated => "isolated",
                NetworkMode::Bridge => "bridge",
            },
            deletion_policy: match network.deletion_policy {
                DeletionPolicy::Delete => "Delete",
                DeletionPolicy::Retain => "Retain",
            },
            addresses,
        });
    }
}

/// A network that vsiflow makes, and whose desired state cannot be read: its host is unknown.
fn lost_network(lost: &LostEntity) -> NetworkObject {
    let (_, name) = lost.place();
    NetworkObject {
        name,
        host: String::new(),
        phase: UNREADABLE,
        message: lost.description(),
        xml: None,
        used_by: Vec::new(),
        made: None,
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
        made: None,
    }
}

/// The networks of these VSIs of one host that guests cannot use now, with a finding for each, by name.
pub(in crate::fleet) async fn broken(
    ports: &HostPorts,
    known: &[Known],
) -> Result<BTreeMap<String, DriftFinding>, FleetError> {
    let names = known.iter().flat_map(|known| &known.record.vsi.networks);
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
