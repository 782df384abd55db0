//! Sizes that a machine is made in where only a name is given for them.

use serde::Serialize;

/// A size with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerType {
    /// Its name.
    pub name: &'static str,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory, as documents write it.
    pub memory: &'static str,
    /// The least size of the boot disk, as documents write it.
    pub boot_disk: &'static str,
}

/// The sizes that are built in, the smallest first.
pub const SERVER_TYPES: [ServerType; 3] = [
    ServerType {
        name: "small",
        cpus: 1,
        memory: "2Gi",
        boot_disk: "10Gi",
    },
    ServerType {
        name: "medium",
        cpus: 2,
        memory: "4Gi",
        boot_disk: "20Gi",
    },
    ServerType {
        name: "large",
        cpus: 4,
        memory: "8Gi",
        boot_disk: "40Gi",
    },
];

impl ServerType {
    /// The size of that name.
    pub fn named(name: &str) -> Option<Self> {
        SERVER_TYPES.into_iter().find(|size| size.name == name)
    }
}
