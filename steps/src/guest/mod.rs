//! Types of guests: how each gets its configuration, and what shows that it is ready.

pub mod ignition;
pub mod no_cloud;
pub mod pattern;
mod probe;
pub mod user_data;

use serde::{Deserialize, Serialize};

pub use probe::Probe;

/// The type of guest; it determines how it is configured and when it is ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GuestType {
    /// IBM's Hyper Protect Container Runtime, configured by a contract.
    #[default]
    HyperProtect,
    /// Anything with cloud-init, configured by user-data.
    CloudInit,
    /// Fedora CoreOS and its relatives, configured by Ignition at their first boot.
    Ignition,
    /// An image that takes no configuration.
    None,
}

impl GuestType {
    /// Whether it is a Hyper Protect guest.
    pub fn is_hyper_protect(&self) -> bool {
        *self == Self::HyperProtect
    }

    /// The type as documents name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HyperProtect => "hyperProtect",
            Self::CloudInit => "cloudInit",
            Self::Ignition => "ignition",
            Self::None => "none",
        }
    }

    /// The volume by which it gets its configuration on a machine of that architecture.
    pub fn seed(self, arch: &str) -> Seed {
        match self {
            Self::HyperProtect | Self::CloudInit => Seed::Cidata,
            Self::None => Seed::None,
            Self::Ignition if matches!(arch, "s390x" | "ppc64le" | "ppc64") => Seed::IgnitionDisk,
            Self::Ignition => Seed::IgnitionFwCfg,
        }
    }
}

/// The type of volume by which a guest gets its configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Seed {
    /// An ISO with the label `cidata`.
    #[default]
    Cidata,
    /// A disk with the serial `ignition`, whose content is the configuration.
    IgnitionDisk,
    /// A file that the guest reads through the firmware's configuration device.
    IgnitionFwCfg,
    /// The guest gets no configuration.
    None,
}

impl Seed {
    /// Whether it is a cidata volume.
    pub fn is_cidata(&self) -> bool {
        *self == Self::Cidata
    }

    /// Whether it holds an Ignition configuration.
    pub fn is_ignition(self) -> bool {
        matches!(self, Self::IgnitionDisk | Self::IgnitionFwCfg)
    }
}
