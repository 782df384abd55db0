//! Calls on the host itself: versions, capabilities, opening and authentication.

use serde::Deserialize;

use super::Procedure;
use crate::connection::Calls;
use crate::error::Result;

/// How a daemon requires its client to authenticate (`remote_auth_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthType {
    None,
    Sasl,
    Polkit,
    Other(i32),
}

impl From<i32> for AuthType {
    fn from(number: i32) -> Self {
        match number {
            0 => Self::None,
            1 => Self::Sasl,
            2 => Self::Polkit,
            other => Self::Other(other),
        }
    }
}

/// A version that libvirt packs into one number: `major * 1,000,000 + minor * 1,000 + release`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct PackedVersion(pub u64);

impl std::fmt::Display for PackedVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(packed) = self;
        write!(
            f,
            "{}.{}.{}",
            packed / 1_000_000,
            packed / 1_000 % 1_000,
            packed % 1_000
        )
    }
}

/// The host's hardware (`virNodeGetInfo`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NodeInfo {
    model: [i8; 32],
    /// Memory in KiB.
    pub memory: u64,
    /// Active processors.
    pub cpus: i32,
    /// Clock rate in MHz; 0 if unknown.
    pub mhz: i32,
    /// NUMA nodes.
    pub nodes: i32,
    /// Sockets per node.
    pub sockets: i32,
    /// Cores per socket.
    pub cores: i32,
    /// Threads per core.
    pub threads: i32,
}

impl NodeInfo {
    /// The processor model, for example `s390x`.
    #[must_use]
    pub fn model(&self) -> String {
        let bytes = self.model.iter().map(|byte| byte.cast_unsigned());
        String::from_utf8_lossy(&bytes.take_while(|byte| *byte != 0).collect::<Vec<_>>())
            .into_owned()
    }
}

/// `VIR_DRV_FEATURE_PROGRAM_KEEPALIVE` in libvirt's `src/libvirt_internal.h`.
const FEATURE_KEEPALIVE: i32 = 10;

impl Calls {
    /// Asks how the daemon requires its client to authenticate; the first entry of the reply counts.
    pub(crate) async fn auth_list(&self) -> Result<AuthType> {
        let types: Vec<i32> = self.call(Procedure::AuthList, &()).await?;
        Ok(types
            .first()
            .map_or(AuthType::None, |first| AuthType::from(*first)))
    }

    /// Opens a driver, for example `qemu:///system`. Every other call except `auth_list` requires it.
    pub(crate) async fn connect_open(&self, uri: &str) -> Result<()> {
        self.call(Procedure::ConnectOpen, &(Some(uri), 0_u32)).await
    }

    /// Announces keep-alive. After a positive reply, libvirtd pings a silent client and closes its connection
    /// when the pings get no response.
    pub(crate) async fn announce_keepalive(&self) -> Result<bool> {
        let supported: i32 = self
            .call(Procedure::ConnectSupportsFeature, &FEATURE_KEEPALIVE)
            .await?;
        Ok(supported == 1)
    }

    /// The driver's name, for example `QEMU`.
    ///
    /// # Errors
    /// As for every call, see [`Error`](crate::Error).
    pub async fn connect_get_type(&self) -> Result<String> {
        self.call(Procedure::ConnectGetType, &()).await
    }

    /// The hypervisor's version.
    ///
    /// # Errors
    /// As for every call, see [`Error`](crate::Error).
    pub async fn connect_get_version(&self) -> Result<PackedVersion> {
        self.call(Procedure::ConnectGetVersion, &()).await
    }

    /// The daemon's version.
    ///
    /// # Errors
    /// As for every call, see [`Error`](crate::Error).
    pub async fn connect_get_lib_version(&self) -> Result<PackedVersion> {
        self.call(Procedure::ConnectGetLibVersion, &()).await
    }

    /// The host's own name.
    ///
    /// # Errors
    /// As for every call, see [`Error`](crate::Error).
    pub async fn connect_get_hostname(&self) -> Result<String> {
        self.call(Procedure::ConnectGetHostname, &()).await
    }

    /// The host's capabilities as `<capabilities>` XML; its `<host><uuid>` identifies the machine.
    ///
    /// # Errors
    /// As for every call, see [`Error`](crate::Error).
    pub async fn connect_get_capabilities(&self) -> Result<String> {
        self.call(Procedure::ConnectGetCapabilities, &()).await
    }

    /// The capabilities of domains of one kind as `<domainCapabilities>` XML. libvirt chooses for `None`.
    ///
    /// # Errors
    /// As for every call, see [`Error`](crate::Error).
    pub async fn connect_get_domain_capabilities(
        &self,
        arch: Option<&str>,
        machine: Option<&str>,
        virt_type: Option<&str>,
    ) -> Result<String> {
        let emulator: Option<&str> = None;
        let args = (emulator, arch, machine, virt_type, 0_u32);
        self.call(Procedure::ConnectGetDomainCapabilities, &args)
            .await
    }

    /// The host's memory and processors.
    ///
    /// # Errors
    /// As for every call, see [`Error`](crate::Error).
    pub async fn node_get_info(&self) -> Result<NodeInfo> {
        self.call(Procedure::NodeGetInfo, &()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_read_as_people_write_them() {
        assert_eq!(PackedVersion(9_000_000).to_string(), "9.0.0");
        assert_eq!(PackedVersion(10_000_002).to_string(), "10.0.2");
    }
}
