//! All documents of one apply, by kind.

use std::collections::BTreeMap;
use std::fmt;

use vsiflow_engine::secret::Secret;

use super::data_disk::{DataDiskRefSpec, DataDiskSpec};
use super::group::GroupSpec;
use super::meta::ObjectMeta;
use super::network::ServerNetworkSpec;
use super::network_ref::NetworkRefSpec;
use super::pool::PoolSpec;
use super::problem::{DocumentRef, FieldPath, Problem, ProblemCode};
use super::quota::QuotaSpec;
use super::server_type::ServerTypeSpec;
use super::snapshot::SnapshotSpec;
use super::vsi::VsiSpec;

/// The group and version of the kinds that the earlier operator had.
pub const API_VERSION: &str = "hpse.ibm.com/v1";
/// The kind of a VSI.
pub const VSI: &str = "HyperProtectContainerRuntimeOnPrem";
/// The group and version of the kinds that only vsiflow has.
pub const VSIFLOW_API_VERSION: &str = "vsiflow.io/v1";
/// The kind of a virtual server with a guest of any type.
pub const VIRTUAL_SERVER: &str = "VirtualServer";
/// The kind of a pool of virtual servers.
pub const POOL: &str = "VirtualServerPool";
/// The kind of a group of members and pools in waves.
pub const GROUP: &str = "VirtualServerGroup";
/// The kind of a snapshot of a virtual server's disks.
pub const SNAPSHOT: &str = "VirtualServerSnapshot";
/// The kind of a size of virtual servers.
pub const SERVER_TYPE: &str = "VirtualServerType";
/// The kind of a namespace's limits.
pub const QUOTA: &str = "VirtualServerQuota";
/// The kind of a network that vsiflow makes.
pub const NETWORK: &str = "VirtualServerNetwork";
/// The kind of a data disk that vsiflow makes.
pub const DATA_DISK: &str = "HyperProtectContainerRuntimeOnPremDataDisk";
/// The kind of a reference to an existing data disk.
pub const DATA_DISK_REF: &str = "HyperProtectContainerRuntimeOnPremDataDiskRef";
/// The kind of a reference to an existing network.
pub const NETWORK_REF: &str = "HyperProtectContainerRuntimeOnPremNetworkRef";
/// The kind of plain host settings.
pub const CONFIG_MAP: &str = "ConfigMap";
/// The kind of secret host settings.
pub const SECRET: &str = "Secret";

/// One document of a known kind.
#[derive(Clone, Debug)]
pub struct Document<T> {
    /// Where it came from.
    pub at: DocumentRef,
    /// Its kind.
    pub kind: &'static str,
    /// Its name, labels and identity.
    pub meta: ObjectMeta,
    /// Its spec.
    pub spec: T,
}

impl<T> Document<T> {
    /// Makes a problem of this document.
    pub fn problem(
        &self,
        code: ProblemCode,
        path: FieldPath,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Problem {
        Problem {
            code,
            document: self.at.clone(),
            kind: self.kind.to_owned(),
            object: self.meta.full_name(),
            path,
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

/// The keys and values of a `ConfigMap` or a Secret, decoded. `Debug` prints only the keys, because a
/// `ConfigMap` may hold a private key as well.
#[derive(Clone, Default)]
pub struct KeyValues(pub BTreeMap<String, Secret>);

impl fmt::Debug for KeyValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// All documents of one apply, by kind, in the order in which they were read.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    /// Virtual server instances, of either kind.
    pub vsis: Vec<Document<VsiSpec>>,
    /// Pools of virtual servers.
    pub pools: Vec<Document<PoolSpec>>,
    /// Groups of members and pools in waves.
    pub groups: Vec<Document<GroupSpec>>,
    /// Snapshots of VSIs.
    pub snapshots: Vec<Document<SnapshotSpec>>,
    /// Sizes of virtual servers.
    pub types: Vec<Document<ServerTypeSpec>>,
    /// Limits of namespaces.
    pub quotas: Vec<Document<QuotaSpec>>,
    /// Data disks that vsiflow makes.
    pub data_disks: Vec<Document<DataDiskSpec>>,
    /// References to existing data disks.
    pub data_disk_refs: Vec<Document<DataDiskRefSpec>>,
    /// References to existing networks.
    pub network_refs: Vec<Document<NetworkRefSpec>>,
    /// Networks that vsiflow makes.
    pub networks: Vec<Document<ServerNetworkSpec>>,
    /// Plain host settings.
    pub config_maps: Vec<Document<KeyValues>>,
    /// Secret host settings.
    pub secrets: Vec<Document<KeyValues>>,
}

impl Documents {
    /// How many documents there are.
    pub fn len(&self) -> usize {
        self.vsis.len()
            + self.pools.len()
            + self.groups.len()
            + self.snapshots.len()
            + self.types.len()
            + self.quotas.len()
            + self.data_disks.len()
            + self.data_disk_refs.len()
            + self.network_refs.len()
            + self.networks.len()
            + self.config_maps.len()
            + self.secrets.len()
    }

    /// Namespace and name of each document that makes an object of its own.
    pub fn names(&self) -> Vec<(String, String)> {
        let vsis = self.vsis.iter().map(|one| &one.meta);
        let pools = self.pools.iter().map(|one| &one.meta);
        let groups = self.groups.iter().map(|one| &one.meta);
        let disks = self.data_disks.iter().map(|one| &one.meta);
        let snapshots = self.snapshots.iter().map(|one| &one.meta);
        let all = vsis.chain(pools).chain(groups);
        let all = all.chain(disks).chain(snapshots);
        all.map(|meta| (meta.namespace.clone(), meta.name.clone()))
            .collect()
    }

    /// Kind, and namespace and name, of each document.
    pub fn objects(&self) -> Vec<(&'static str, String)> {
        fn of<T>(all: &[Document<T>]) -> impl Iterator<Item = (&'static str, String)> {
            all.iter().map(|one| (one.kind, one.meta.full_name()))
        }
        let made = of(&self.vsis)
            .chain(of(&self.pools))
            .chain(of(&self.groups));
        let made = made.chain(of(&self.snapshots)).chain(of(&self.types));
        let disks = of(&self.data_disks).chain(of(&self.data_disk_refs));
        let networks = of(&self.network_refs).chain(of(&self.networks));
        let hosts = of(&self.config_maps).chain(of(&self.secrets));
        made.chain(disks).chain(networks).chain(hosts).collect()
    }

    /// Whether there are no documents.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
