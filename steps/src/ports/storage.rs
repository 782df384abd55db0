//! The port to pools and volumes.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use vsiflow_engine::model::Hash;

use super::PortResult;
use crate::{guards::permit::Permit, host_text};

/// The key of a volume: pool and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VolumeKey {
    /// The pool's name.
    pub pool: String,
    /// The volume's name in the pool.
    pub name: String,
}

/// For people: what is not text is escaped.
impl std::fmt::Display for VolumeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (pool, name) = (host_text::shown(&self.pool), host_text::shown(&self.name));
        write!(f, "{pool}/{name}")
    }
}

/// A volume's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VolumeFormat {
    /// Plain bytes.
    Raw,
    /// QEMU's copy-on-write format.
    Qcow2,
}

impl VolumeFormat {
    /// The word libvirt uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// A pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolInfo {
    /// Its name.
    pub name: String,
    /// Whether it is active.
    pub active: bool,
    /// Size in bytes.
    pub capacity: u64,
    /// Bytes still free.
    pub available: u64,
}

/// A volume as the host sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeInfo {
    /// Pool and name.
    pub key: VolumeKey,
    /// The path on the host, as domains name it.
    pub path: String,
    /// The format that libvirt detected, in its own word (`raw`, `qcow2`, `iso`, …).
    pub format: String,
    /// The size a guest sees, in bytes.
    pub capacity: u64,
    /// Bytes used on the host.
    pub allocation: u64,
    /// The file's length in bytes.
    pub physical: u64,
    /// The path of the backing file, if there is one.
    pub backing: Option<String>,
    /// The content's last change, as the host reports it; only compared for equality.
    pub modified: Option<String>,
    /// Why the volume cannot be read, if so: it exists, but nothing else in here except its key is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

impl VolumeInfo {
    /// A volume that exists, and of which nothing but its key is known.
    pub fn unreadable(key: VolumeKey, why: impl Into<String>) -> Self {
        Self {
            key,
            path: String::new(),
            format: String::new(),
            capacity: 0,
            allocation: 0,
            physical: 0,
            backing: None,
            modified: None,
            unreadable: Some(why.into()),
        }
    }
}

/// A volume to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSpec {
    /// Pool and name.
    pub key: VolumeKey,
    /// The format.
    pub format: VolumeFormat,
    /// The size a guest sees, in bytes. Ignored by a clone, which has its source's size.
    pub capacity: u64,
    /// The path and format of a backing file.
    pub backing: Option<(String, VolumeFormat)>,
}

/// The result of a deletion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It existed and was deleted.
    Removed,
    /// It did not exist.
    Absent,
}

/// What identifies a file on its host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    /// Device and inode, `DEVICE:INODE`, or `device MAJOR:MINOR` for a block device: equal for all paths that lead to
    /// the file. A host may number its devices anew when it boots.
    pub place: String,
    /// The time when the file was made, in the host's words; `None` if its file system does not keep it.
    pub born: Option<String>,
}

/// The file that a path resolves to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAt {
    /// This file.
    Is(FileIdentity),
    /// The host reports that there is no file.
    Nothing,
    /// It is unknown, with the reason.
    Unknown(String),
}

/// The first bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileHead {
    /// These bytes.
    Bytes(Bytes),
    /// There is no file, or it is neither a regular file nor a block device, or the host runs no commands
    /// for us.
    Nothing,
    /// The file cannot be read, with the reason.
    Unknown(String),
}

/// The files of a pool that is inactive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolFiles {
    /// The paths of its files.
    Are(Vec<String>),
    /// Its volumes are not files in a folder.
    None,
    /// They are unknown, with the reason.
    Unknown(String),
}

/// How much of a volume that is being filled is on the host's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synced {
    /// This many bytes from its start; more will follow.
    Prefix(u64),
    /// All bytes of the volume; its length.
    Whole(u64),
}

/// How the bytes of an image are transferred to a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Transfer {
    /// By commands on the host that write the volume's file, if the host permits commands, compressed if
    /// the connection is slow; else by libvirt.
    #[default]
    Auto,
    /// Like `Auto`, never compressed.
    Plain,
    /// Like `Auto`, compressed whenever the host can unpack and it saves bytes.
    Packed,
    /// Only by libvirt.
    Libvirt,
}

impl Transfer {
    /// Whether it is the default.
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }

    /// The same transfer without compression.
    #[must_use]
    pub fn unpacked(self) -> Self {
        match self {
            Self::Auto | Self::Plain | Self::Packed => Self::Plain,
            Self::Libvirt => Self::Libvirt,
        }
    }
}

/// An open upload into a volume.
#[async_trait]
pub trait UploadSink: Send {
    /// Sends bytes. Returns when they are in transit; waits while too many are.
    async fn send(&mut self, bytes: Bytes) -> PortResult<()>;

    /// Skips `length` bytes. Beyond the volume's old end they read as zeros; within it the old content
    /// may remain.
    async fn send_hole(&mut self, length: u64) -> PortResult<()> {
        send_zeros(self, length).await
    }

    /// The position up to which the bytes are in the volume, if the host reports that while it writes.
    /// Otherwise the volume's length shows it.
    fn written(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// Ends the upload and waits for the host's confirmation; does not sync. Returns how the bytes were
    /// transferred, for people; `None` if there is only one way.
    async fn finish(self: Box<Self>) -> PortResult<Option<String>>;

    /// Aborts the upload. Bytes that arrived remain.
    async fn abort(self: Box<Self>);
}

/// Sends zeros, for hosts that support no holes.
///
/// # Errors
/// The errors of [`UploadSink::send`].
pub async fn send_zeros<S: UploadSink + ?Sized>(sink: &mut S, length: u64) -> PortResult<()> {
    let mut remaining = length;
    while remaining > 0 {
        let piece = remaining.min(ZEROS.len() as u64);
        let zeros = ZEROS.get(..usize::try_from(piece).unwrap_or(0));
        sink.send(Bytes::from_static(zeros.unwrap_or_default()))
            .await?;
        remaining = remaining.saturating_sub(piece);
    }
    Ok(())
}

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Why a volume is deleted. There is no other reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletionGround {
    /// Somebody ordered exactly that, and the order is spent.
    Ordered,
    /// This journal made it, and no definition gave it to a guest that could write to it.
    Scratch,
    /// A layer of a snapshot whose content was merged into its disk.
    Merged,
    /// A boot disk that lasts for one start of its guest.
    Disposable,
}

/// A volume to delete.
#[derive(Clone, Debug)]
pub struct Deletion {
    /// The volume.
    pub key: VolumeKey,
    /// Why.
    pub ground: DeletionGround,
}

/// Pools and volumes of a host.
#[async_trait]
pub trait StoragePort: Send + Sync {
    /// All pools.
    async fn pools(&self) -> PortResult<Vec<PoolInfo>>;

    /// The pool of that name; `None` if the host reports that there is none.
    async fn pool(&self, pool: &str) -> PortResult<Option<PoolInfo>>;

    /// A volume. `None` only in an active pool after a refresh that succeeded; a missing pool is the
    /// error `PoolMissing`, an inactive one `PoolInactive`. A volume that cannot be read is an error.
    async fn volume(&self, key: &VolumeKey) -> PortResult<Option<VolumeInfo>>;

    /// All volumes of an active pool, after a refresh, with those that cannot be read
    /// ([`VolumeInfo::unreadable`]).
    async fn volumes(&self, pool: &str) -> PortResult<Vec<VolumeInfo>>;

    /// Creates a volume. `Exists` if one of that name exists.
    async fn create(&self, spec: &VolumeSpec) -> PortResult<VolumeInfo>;

    /// Makes a full copy of `source` on the host and syncs it there. `Exists` if a volume of that name
    /// exists. After `OutcomeUnknown` a volume of that name may be half a copy.
    async fn clone_volume(&self, source: &VolumeKey, spec: &VolumeSpec) -> PortResult<VolumeInfo>;

    /// Sets the size a guest sees, in bytes; it can only grow.
    async fn resize(&self, key: &VolumeKey, capacity: u64) -> PortResult<()>;

    /// Deletes a volume.
    async fn delete(&self, permit: &Permit<Deletion>) -> PortResult<Removed>;

    /// Opens an upload of at most `length` bytes from `offset`; of any length if `length` is `None`. Does
    /// not truncate.
    async fn upload(
        &self,
        key: &VolumeKey,
        offset: u64,
        length: Option<u64>,
    ) -> PortResult<Box<dyn UploadSink>>;

    /// Like [`upload`](Self::upload), for an image into a volume that was made for it, by the fastest way
    /// that the host and `transfer` permit. Some MiB may be in transit before the first bytes are in the
    /// volume. `Replaced` if the volume's path leads to another file than libvirt created, also at the
    /// end; that file is never written to.
    async fn fill(
        &self,
        key: &VolumeKey,
        offset: u64,
        length: Option<u64>,
        _transfer: Transfer,
    ) -> PortResult<Box<dyn UploadSink>> {
        self.upload(key, offset, length).await
    }

    /// Reads at most `max` bytes of the volume from `offset`; fewer at its end.
    async fn read(&self, key: &VolumeKey, offset: u64, max: u64) -> PortResult<Bytes>;

    /// Syncs the volume to the host's disk, if the host permits commands.
    async fn sync(&self, key: &VolumeKey) -> PortResult<()>;

    /// Makes the host drop its cached pages of the volume, if the host permits commands: the next read is
    /// from its disk. Only pages that were synced before are dropped.
    async fn drop_cached(&self, key: &VolumeKey) -> PortResult<()>;

    /// The files that these paths resolve to, in the same order, as the host itself resolves links,
    /// mounts and dots; `None` if it runs no commands for us.
    async fn files(&self, _paths: &[String]) -> PortResult<Option<Vec<FileAt>>> {
        Ok(None)
    }

    /// Reads the starts of any files and block devices on the host, in the same order: at most `max` bytes
    /// of an image that may name a backing file, at least four of any other.
    async fn heads(&self, paths: &[String], _max: u64) -> PortResult<Vec<FileHead>> {
        Ok(vec![FileHead::Nothing; paths.len()])
    }

    /// The files in the folder of an inactive pool; libvirt lists none of them.
    async fn files_of_inactive(&self, _pool: &str) -> PortResult<PoolFiles> {
        Ok(PoolFiles::Unknown("the host does not tell".to_owned()))
    }

    /// The SHA-256 of the volume's bytes as the host reads them.
    async fn sha256(&self, key: &VolumeKey) -> PortResult<Hash>;

    /// The SHA-256 of a volume's bytes, computed by the host while the volume is being filled. It reads
    /// each byte once, in order, and only bytes that are on its disk. `None` if the host cannot do that,
    /// or the sender of `synced` is dropped before the whole volume is there.
    ///
    /// If the future is dropped, the host stops reading soon.
    async fn sha256_along(
        &self,
        _key: &VolumeKey,
        _synced: watch::Receiver<Synced>,
    ) -> PortResult<Option<Hash>> {
        Ok(None)
    }
}
