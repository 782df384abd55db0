//! The procedures that this client calls, with their numbers.

use std::fmt;

use super::{QEMU_PROGRAM, REMOTE_PROGRAM};

/// A procedure of libvirt's programs, by its number on the wire.
///
/// Numbers never change: libvirt only appends new ones (`REMOTE_PROC_*` in libvirt's
/// `src/remote/remote_protocol.x`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Procedure {
    /// `virConnectOpen`.
    ConnectOpen = 1,
    /// `virConnectClose`.
    ConnectClose = 2,
    /// `virConnectGetType`.
    ConnectGetType = 3,
    /// `virConnectGetVersion`.
    ConnectGetVersion = 4,
    /// `virNodeGetInfo`.
    NodeGetInfo = 6,
    /// `virConnectGetCapabilities`.
    ConnectGetCapabilities = 7,
    /// `virDomainGetXMLDesc`.
    DomainGetXmlDesc = 14,
    /// `virDomainGetAutostart`.
    DomainGetAutostart = 15,
    /// `virDomainGetInfo`.
    DomainGetInfo = 16,
    /// `virDomainLookupByName`.
    DomainLookupByName = 23,
    /// `virDomainLookupByUUID`.
    DomainLookupByUuid = 24,
    /// `virDomainReboot`.
    DomainReboot = 27,
    /// `virDomainResume`.
    DomainResume = 28,
    /// `virDomainSetAutostart`.
    DomainSetAutostart = 29,
    /// `virDomainSuspend`.
    DomainSuspend = 34,
    /// `virNetworkCreate`: starts a defined network.
    NetworkCreate = 39,
    /// `virNetworkDefineXML`.
    NetworkDefineXml = 41,
    /// `virNetworkDestroy`.
    NetworkDestroy = 42,
    /// `virNetworkGetXMLDesc`.
    NetworkGetXmlDesc = 43,
    /// `virNetworkLookupByName`.
    NetworkLookupByName = 46,
    /// `virNetworkSetAutostart`.
    NetworkSetAutostart = 48,
    /// `virNetworkUndefine`.
    NetworkUndefine = 49,
    /// `virConnectGetHostname`.
    ConnectGetHostname = 59,
    /// Asks whether the daemon has a protocol feature; asking for keep-alive announces it.
    ConnectSupportsFeature = 60,
    /// Asks how the daemon requires its client to authenticate.
    AuthList = 66,
    /// `virStoragePoolRefresh`.
    StoragePoolRefresh = 83,
    /// `virStoragePoolLookupByName`.
    StoragePoolLookupByName = 84,
    /// `virStoragePoolLookupByVolume`.
    StoragePoolLookupByVolume = 86,
    /// `virStoragePoolGetInfo`.
    StoragePoolGetInfo = 87,
    /// `virStoragePoolGetXMLDesc`.
    StoragePoolGetXmlDesc = 88,
    /// `virStorageVolCreateXML`.
    StorageVolCreateXml = 93,
    /// `virStorageVolDelete`.
    StorageVolDelete = 94,
    /// `virStorageVolLookupByName`.
    StorageVolLookupByName = 95,
    /// `virStorageVolLookupByPath`.
    StorageVolLookupByPath = 97,
    /// `virStorageVolGetInfo`.
    StorageVolGetInfo = 98,
    /// `virStorageVolGetXMLDesc`.
    StorageVolGetXmlDesc = 99,
    /// `virStorageVolGetPath`.
    StorageVolGetPath = 100,
    /// `virStorageVolCreateXMLFrom`.
    StorageVolCreateXmlFrom = 125,
    /// `virDomainIsActive`.
    DomainIsActive = 150,
    /// `virDomainIsPersistent`.
    DomainIsPersistent = 151,
    /// `virNetworkIsActive`.
    NetworkIsActive = 152,
    /// `virStoragePoolIsActive`.
    StoragePoolIsActive = 154,
    /// `virConnectGetLibVersion`.
    ConnectGetLibVersion = 157,
    /// `virDomainAttachDeviceFlags`.
    DomainAttachDeviceFlags = 160,
    /// `virDomainDetachDeviceFlags`.
    DomainDetachDeviceFlags = 161,
    /// `virStorageVolWipe`.
    StorageVolWipe = 165,
    /// `virDomainCreateWithFlags`: starts a defined domain.
    DomainCreateWithFlags = 196,
    /// `virDomainOpenConsole`.
    DomainOpenConsole = 201,
    /// `virStorageVolUpload`.
    StorageVolUpload = 208,
    /// `virStorageVolDownload`.
    StorageVolDownload = 209,
    /// `virDomainHasManagedSaveImage`.
    DomainHasManagedSaveImage = 183,
    /// `virDomainGetState`.
    DomainGetState = 212,
    /// `virDomainUndefineFlags`.
    DomainUndefineFlags = 231,
    /// `virDomainRestoreFlags`.
    DomainRestoreFlags = 233,
    /// `virDomainSaveImageGetXMLDesc`.
    DomainSaveImageGetXmlDesc = 235,
    /// `virDomainDestroyFlags`.
    DomainDestroyFlags = 234,
    /// `virDomainReset`.
    DomainReset = 245,
    /// `virDomainBlockResize`.
    DomainBlockResize = 251,
    /// `virDomainSnapshotCreateXML`.
    DomainSnapshotCreateXml = 185,
    /// `virDomainBlockJobAbort`.
    DomainBlockJobAbort = 237,
    /// `virDomainGetBlockJobInfo`.
    DomainGetBlockJobInfo = 238,
    /// `virNetworkUpdate`.
    NetworkUpdate = 291,
    /// `virDomainBlockCommit`.
    DomainBlockCommit = 290,
    /// `virDomainShutdownFlags`.
    DomainShutdownFlags = 258,
    /// `virStorageVolResize`.
    StorageVolResize = 260,
    /// `virDomainSetMetadata`.
    DomainSetMetadata = 264,
    /// `virDomainGetMetadata`.
    DomainGetMetadata = 265,
    /// `virConnectListAllDomains`.
    ConnectListAllDomains = 273,
    /// `virConnectListAllStoragePools`.
    ConnectListAllStoragePools = 281,
    /// `virStoragePoolListAllVolumes`.
    StoragePoolListAllVolumes = 282,
    /// `virConnectListAllNetworks`.
    ConnectListAllNetworks = 283,
    /// `virConnectDomainEventRegisterAny`.
    ConnectDomainEventCallbackRegisterAny = 316,
    /// Sent by the daemon: a domain changed its state.
    DomainEventCallbackLifecycle = 318,
    /// `virNetworkGetDHCPLeases`.
    NetworkGetDhcpLeases = 341,
    /// `virConnectGetDomainCapabilities`.
    ConnectGetDomainCapabilities = 342,
    /// `virConnectGetAllDomainStats`.
    ConnectGetAllDomainStats = 344,
    /// `virDomainDefineXMLFlags`.
    DomainDefineXmlFlags = 350,
    /// `virDomainInterfaceAddresses`.
    DomainInterfaceAddresses = 353,
    /// `virStorageVolGetInfoFlags`.
    StorageVolGetInfoFlags = 378,
    /// `virDomainQemuAgentCommand`, number 3 of QEMU's program.
    QemuDomainAgentCommand = QEMU | 3,
}

/// Marks the procedures of QEMU's program, whose numbers also start at 1.
const QEMU: i32 = 1 << 16;

impl Procedure {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> i32 {
        (self as i32) & !QEMU
    }

    /// The program that the procedure belongs to.
    pub(crate) const fn program(self) -> u32 {
        match (self as i32) & QEMU {
            0 => REMOTE_PROGRAM,
            _ => QEMU_PROGRAM,
        }
    }
}

impl fmt::Display for Procedure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
