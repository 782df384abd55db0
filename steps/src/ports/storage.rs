//! Pools and volumes.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use vsiflow_engine::model::Hash;

use super::PortResult;

/// A volume by pool and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VolumeKey {
    /// The pool's name.
    pub pool: String,
    /// The volume's name in the pool.
    pub name: String,
}

impl std::fmt::Display for VolumeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.pool, self.name)
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
    /// The format libvirt found, in its own word (`raw`, `qcow2`, `iso`, …).
    pub format: String,
    /// The size a guest sees, in bytes.
    pub capacity: u64,
    /// Bytes taken on the host.
    pub allocation: u64,
    /// The file's length in bytes.
    pub physical: u64,
    /// The path of the backing file, where there is one.
    pub backing: Option<String>,
    /// When the content last changed, as the host writes it; compared, never computed with.
    pub modified: Option<String>,
}

/// A volume to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSpec {
    /// Pool and name.
    pub key: VolumeKey,
    /// The format.
    pub format: VolumeFormat,
    /// The size a guest sees, in bytes. Ignored by a clone, which has its source's.
    pub capacity: u64,
    /// The path and format of a backing file.
    pub backing: Option<(String, VolumeFormat)>,
}

/// What a removal found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It was there and is gone.
    Removed,
    /// It was gone already.
    Absent,
}

/// Which file a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileAt {
    /// This one: all paths that lead to it give the same word.
    Is(String),
    /// The host says that there is none.
    Nothing,
    /// It cannot be told, and why.
    Unknown(String),
}

/// The files of a pool that is inactive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolFiles {
    /// These, by their paths.
    Are(Vec<String>),
    /// It does not keep its volumes in files of a folder.
    None,
    /// It cannot be told, and why.
    Unknown(String),
}

/// How much of a volume that is being filled is on the host's disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synced {
    /// So many bytes from its beginning on; more are sent.
    Prefix(u64),
    /// All of its bytes, so many.
    Whole(u64),
}

/// How the bytes of an image go to a host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Transfer {
    /// By commands of the host's into the volume's file where it permits that, packed where the way
    /// there is slow; elsewhere by libvirt.
    #[default]
    Auto,
    /// The same, never packed.
    Plain,
    /// The same, packed wherever the host can unpack and it makes fewer bytes.
    Packed,
    /// By libvirt alone.
    Libvirt,
}

impl Transfer {
    /// Whether nobody chose.
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }

    /// The same way, without packing.
    #[must_use]
    pub fn unpacked(self) -> Self {
        match self {
            Self::Auto | Self::Plain | Self::Packed => Self::Plain,
            Self::Libvirt => Self::Libvirt,
        }
    }
}

/// Bytes on their way into a volume.
#[async_trait]
pub trait UploadSink: Send {
    /// Sends bytes. Returns when they are on their way; waits while too many are.
    async fn send(&mut self, bytes: Bytes) -> PortResult<()>;

    /// Passes over so many bytes. Where the volume ended before them they read as zeros; where it
    /// did not, what was there may stay.
    async fn send_hole(&mut self, length: u64) -> PortResult<()> {
        send_zeros(self, length).await
    }

    /// Up to where the bytes are in the volume, where the host tells that while it writes them. Elsewhere the
    /// volume's length does.
    fn written(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// Ends the upload and waits for the host's word. Nothing is synced by that. Which way the bytes went,
    /// for people; none where there is only one.
    async fn finish(self: Box<Self>) -> PortResult<Option<String>>;

    /// Gives the upload up. What arrived stays.
    async fn abort(self: Box<Self>);
}

/// Sends zeros, for hosts that take no holes.
///
/// # Errors
/// Those of [`UploadSink::send`].
pub async fn send_zeros<S: UploadSink + ?Sized>(sink: &mut S, length: u64) -> PortResult<()> {
    let mut left = length;
    while left > 0 {
        let piece = left.min(ZEROS.len() as u64);
        let zeros = ZEROS.get(..usize::try_from(piece).unwrap_or(0));
        sink.send(Bytes::from_static(zeros.unwrap_or_default()))
            .await?;
        left = left.saturating_sub(piece);
    }
    Ok(())
}

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Pools and volumes of a host.
#[async_trait]
pub trait StoragePort: Send + Sync {
    /// All pools.
    async fn pools(&self) -> PortResult<Vec<PoolInfo>>;

    /// The pool of that name; `None` where the host says that there is none.
    async fn pool(&self, pool: &str) -> PortResult<Option<PoolInfo>>;

    /// A volume. `None` only in an active pool after a refresh that succeeded; a missing pool is
    /// `PoolMissing`, an inactive one `PoolInactive`.
    async fn volume(&self, key: &VolumeKey) -> PortResult<Option<VolumeInfo>>;

    /// All volumes of an active pool, after a refresh.
    async fn volumes(&self, pool: &str) -> PortResult<Vec<VolumeInfo>>;

    /// Makes a volume. `Exists` where one of that name is there.
    async fn create(&self, spec: &VolumeSpec) -> PortResult<VolumeInfo>;

    /// Makes a full copy of `source` on the host and syncs it there. `Exists` where one of that
    /// name is there. After `OutcomeUnknown` a volume of that name may be half a copy.
    async fn clone_volume(&self, source: &VolumeKey, spec: &VolumeSpec) -> PortResult<VolumeInfo>;

    /// Sets the size a guest sees, in bytes; only ever larger.
    async fn resize(&self, key: &VolumeKey, capacity: u64) -> PortResult<()>;

    /// Removes a volume. The caller has asked the guards first ([`crate::guards`]).
    async fn delete(&self, key: &VolumeKey) -> PortResult<Removed>;

    /// Opens an upload of at most `length` bytes from `offset` on; of any length where the source
    /// did not say it. Does not truncate.
    async fn upload(
        &self,
        key: &VolumeKey,
        offset: u64,
        length: Option<u64>,
    ) -> PortResult<Box<dyn UploadSink>>;

    /// The same for the bytes of an image, into a volume that was made for it, by the fastest way that
    /// the host and `transfer` permit. Some MiB may be on their way before the first of them is in the
    /// volume. `Replaced` where the volume's path leads to another file than libvirt made, also at the
    /// end; nothing is ever written into that one.
    async fn fill(
        &self,
        key: &VolumeKey,
        offset: u64,
        length: Option<u64>,
        _transfer: Transfer,
    ) -> PortResult<Box<dyn UploadSink>> {
        self.upload(key, offset, length).await
    }

    /// At most `max` bytes of the volume from `offset` on; fewer at its end.
    async fn read(&self, key: &VolumeKey, offset: u64, max: u64) -> PortResult<Bytes>;

    /// Makes the host write the volume to its disk, where the host permits that.
    async fn sync(&self, key: &VolumeKey) -> PortResult<()>;

    /// Makes the host forget what it holds of the volume in memory, where the host permits that:
    /// then the next read is of its disk. Only what was synced before is forgotten.
    async fn drop_cached(&self, key: &VolumeKey) -> PortResult<()>;

    /// Which files these paths lead to, in their order, as the host itself resolves links, mounts
    /// and dots; `None` where it runs no commands for us.
    async fn files(&self, _paths: &[String]) -> PortResult<Option<Vec<FileAt>>> {
        Ok(None)
    }

    /// At most `max` bytes of the beginning of any file on the host; `None` where there is none, or
    /// the host runs no commands for us.
    async fn head(&self, _path: &str, _max: u64) -> PortResult<Option<Bytes>> {
        Ok(None)
    }

    /// The files in the folder of an inactive pool, none of which libvirt lists.
    async fn files_of_inactive(&self, _pool: &str) -> PortResult<PoolFiles> {
        Ok(PoolFiles::Unknown("the host does not tell".to_owned()))
    }

    /// The SHA-256 of the volume's bytes as the host reads them.
    async fn sha256(&self, key: &VolumeKey) -> PortResult<Hash>;

    /// The SHA-256 of a volume's bytes as the host reads them while the volume is being filled: once,
    /// in order, and nothing that is not on its disk yet. `None` where the host has no way to do
    /// that, or the sender of `synced` is gone before all is there.
    ///
    /// Dropped, the host ends the reading soon.
    async fn sha256_along(
        &self,
        _key: &VolumeKey,
        _synced: watch::Receiver<Synced>,
    ) -> PortResult<Option<Hash>> {
        Ok(None)
    }
}
