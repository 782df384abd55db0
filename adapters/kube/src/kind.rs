//! The kinds of resources that are watched.

use kube::core::{ApiResource, Resource};
use vsiflow_workflows::spec::documents;

use crate::crd::{DataDisk, DataDiskRef, NetworkRef, Vsi};

/// A kind of `hpse.ibm.com/v1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum ResourceKind {
    Vsi,
    DataDisk,
    DataDiskRef,
    NetworkRef,
}

impl ResourceKind {
    pub(crate) const ALL: [Self; 4] = [
        Self::Vsi,
        Self::DataDisk,
        Self::DataDiskRef,
        Self::NetworkRef,
    ];

    /// The kind as documents name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vsi => documents::VSI,
            Self::DataDisk => documents::DATA_DISK,
            Self::DataDiskRef => documents::DATA_DISK_REF,
            Self::NetworkRef => documents::NETWORK_REF,
        }
    }

    /// Where the API server has it.
    pub(crate) fn api_resource(self) -> ApiResource {
        fn of<K: Resource<DynamicType = ()>>() -> ApiResource {
            ApiResource::erase::<K>(&())
        }
        match self {
            Self::Vsi => of::<Vsi>(),
            Self::DataDisk => of::<DataDisk>(),
            Self::DataDiskRef => of::<DataDiskRef>(),
            Self::NetworkRef => of::<NetworkRef>(),
        }
    }
}
