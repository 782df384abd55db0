//! The ports: traits through which steps reach hosts and image sources.
//!
//! Rules for every implementation:
//! - *Unknown is not absent.* `Ok(None)` means that the host itself said "no such object", for a volume
//!   in an active pool after a refresh that succeeded. Everything else is an error.
//! - A call that was sent and whose reply was not received is [`PortErrorKind::OutcomeUnknown`].
//! - Every call has a deadline. Dropping a future never leaves a call half sent.

pub mod conformance;
pub mod console;
pub mod domain;
mod error;
pub mod host;
pub mod image_source;
pub mod network;
pub mod pieces;
pub mod screen;
pub mod storage;
mod upload_limit;

pub use console::{ConsoleChunk, ConsolePort, ConsolePosition};
pub use domain::{
    DiskJob, DiskShape, DiskSource, DiskSpec, DomainInfo, DomainPort, DomainShape, DomainSpec,
    DomainStart, DomainState, Firmware, Graphics, GuestConsole, IO_ERROR, LayerSpec, Leftovers,
    MachineSpec, MergeProgress, NicSpec, OwnerMark, PausedStart, Platform, SavedMachine,
    ScreenShape, Undefinition,
};
pub use error::{PortError, PortErrorKind};
pub use host::{
    GuestStats, GuestSupport, HostCapacity, HostCare, HostChanges, HostFacts, HostPort, HostPorts,
    HostUuid, Hosts,
};
pub use image_source::{
    ImageOwner, ImageSource, ImageStream, SourceError, SourceErrorKind, SourceInfo, source_for,
    source_for_owner,
};
pub use network::{
    DhcpHost, DhcpLease, DnsHost, GuestStream, HostRoute, NetworkChange, NetworkInfo, NetworkMode,
    NetworkPort, NetworkShape, NetworkSpec, NetworkSubnet,
};
pub use screen::ScreenStream;
pub use storage::{
    Deletion, DeletionGround, FileAt, FileHead, FileIdentity, PoolFiles, PoolInfo, Removed,
    StoragePort, Synced, Transfer, UploadSink, VolumeFormat, VolumeInfo, VolumeKey, VolumeSpec,
    send_zeros,
};
pub use upload_limit::UploadLimit;

/// The result of a port call.
pub type PortResult<T> = Result<T, PortError>;
