//! The kinds of resources that are watched.

use kube::core::{ApiResource, Resource};
use vsiflow_workflows::spec::documents;

use crate::crd::{
    DataDisk, DataDiskRef, NetworkRef, VirtualServer, VirtualServerGroup, VirtualServerNetwork,
    VirtualServerPool, VirtualServerQuota, VirtualServerSnapshot, Vsi,
};

/// A subresource of an object in the API of subresources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subresource {
    History,
    Logs,
    Retry,
    Cancel,
    Console,
}

impl Subresource {
    /// Its name in a path.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::History => "history",
            Self::Logs => "logs",
            Self::Retry => "retry",
            Self::Cancel => "cancel",
            Self::Console => "console",
        }
    }

    /// The verbs whose rights are checked: reading, acting, and typing to a guest.
    pub(crate) fn verbs(self) -> &'static [&'static str] {
        match self {
            Self::History | Self::Logs => &["get"],
            Self::Retry | Self::Cancel => &["create", "update"],
            Self::Console => &["create"],
        }
    }
}

/// A kind of `hpse.ibm.com/v1` or `vsiflow.io/v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ResourceKind {
    Vsi,
    VirtualServer,
    Pool,
    Group,
    DataDisk,
    DataDiskRef,
    NetworkRef,
    Network,
    Quota,
    Snapshot,
}

impl ResourceKind {
    pub(crate) const ALL: [Self; 10] = [
        Self::Vsi,
        Self::VirtualServer,
        Self::Pool,
        Self::Group,
        Self::DataDisk,
        Self::DataDiskRef,
        Self::NetworkRef,
        Self::Network,
        Self::Quota,
        Self::Snapshot,
    ];

    /// The kind as documents name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vsi => documents::VSI,
            Self::VirtualServer => documents::VIRTUAL_SERVER,
            Self::Pool => documents::POOL,
            Self::Group => documents::GROUP,
            Self::DataDisk => documents::DATA_DISK,
            Self::DataDiskRef => documents::DATA_DISK_REF,
            Self::NetworkRef => documents::NETWORK_REF,
            Self::Network => documents::NETWORK,
            Self::Quota => documents::QUOTA,
            Self::Snapshot => documents::SNAPSHOT,
        }
    }

    /// Whether it is a VSI, of either kind.
    pub(crate) fn is_vsi(self) -> bool {
        matches!(self, Self::Vsi | Self::VirtualServer)
    }

    /// Whether an API server may lack this kind: the definitions of an earlier vsiflow do not have it.
    pub(crate) fn is_optional(self) -> bool {
        matches!(
            self,
            Self::VirtualServer
                | Self::Pool
                | Self::Group
                | Self::Network
                | Self::Quota
                | Self::Snapshot
        )
    }

    /// Whether the VSIs that it makes have objects of their own.
    pub(crate) fn has_members(self) -> bool {
        matches!(self, Self::Pool | Self::Group)
    }

    /// The kind with that plural.
    pub(crate) fn with_plural(plural: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.plural() == plural)
    }

    /// The name of the kind in paths and access rules.
    pub(crate) fn plural(self) -> String {
        self.api_resource().plural
    }

    /// The subresources of the kind.
    pub(crate) fn subresources(self) -> &'static [Subresource] {
        use Subresource::{Cancel, Console, History, Logs, Retry};
        match self {
            Self::Vsi | Self::VirtualServer => &[History, Logs, Retry, Cancel, Console],
            Self::DataDisk => &[History, Retry],
            Self::Pool
            | Self::Group
            | Self::Network
            | Self::Quota
            | Self::Snapshot
            | Self::DataDiskRef
            | Self::NetworkRef => &[],
        }
    }

    /// Its group, version and plural on the API server.
    pub(crate) fn api_resource(self) -> ApiResource {
        fn of<K: Resource<DynamicType = ()>>() -> ApiResource {
            ApiResource::erase::<K>(&())
        }
        match self {
            Self::Vsi => of::<Vsi>(),
            Self::VirtualServer => of::<VirtualServer>(),
            Self::Pool => of::<VirtualServerPool>(),
            Self::Group => of::<VirtualServerGroup>(),
            Self::DataDisk => of::<DataDisk>(),
            Self::DataDiskRef => of::<DataDiskRef>(),
            Self::NetworkRef => of::<NetworkRef>(),
            Self::Network => of::<VirtualServerNetwork>(),
            Self::Quota => of::<VirtualServerQuota>(),
            Self::Snapshot => of::<VirtualServerSnapshot>(),
        }
    }
}
