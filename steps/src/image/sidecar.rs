//! Reads and writes sidecars: the small volume beside an image or a filled data disk that says which
//! journal owns it, and whether it is whole.
//!
//! It is created before the image: creation is atomic on a host, so only one of two engines succeeds. Its
//! length alone identifies the owner, before anything is written into it. The mark that the image is
//! whole is written last; without it the image is never copied.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use vsiflow_engine::{
    model::{Failure, Hash},
    step::StepContext,
};

use super::BaseImage;
use crate::{
    error,
    ports::{HostPorts, PortErrorKind, PortResult, VolumeFormat, VolumeKey, VolumeSpec},
};

/// Length in bytes. Claim and mark take half of it each, padded with blanks.
const LENGTH: usize = 2_048;
const HALF: usize = LENGTH / 2;
/// Maximum length of a file name.
const NAME_MAX: usize = 255;

/// Which journal and entity own the volume, and which image it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarClaim {
    /// The journal that made it.
    pub journal: String,
    /// The entity of that journal.
    pub entity: String,
    /// The image's identity, see `identity` in this folder.
    pub identity: String,
}

/// An image as it was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The SHA-256 of the file, as the host read it.
    pub sha256: String,
    /// The file's length in bytes.
    pub size: u64,
    /// The size a guest sees, in bytes.
    pub virtual_size: u64,
    /// The format.
    pub format: VolumeFormat,
    /// The file's last change, as the host reports it.
    pub modified: Option<String>,
}

impl Mark {
    /// The mark of a verified image.
    pub fn of(image: &BaseImage) -> Self {
        Self {
            sha256: image.sha256.clone(),
            size: image.size,
            virtual_size: image.virtual_size,
            format: image.format,
            modified: image.modified.clone(),
        }
    }
}

/// A sidecar that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// Whether this journal made it.
    pub ours: bool,
    /// The claim in it; `None` if the writer was interrupted before it wrote one.
    pub claim: Option<SidecarClaim>,
    /// The mark, if the image is whole.
    pub whole: Option<Mark>,
}

impl Sidecar {
    /// Whether it marks a data disk as whole, not an image: its entity has the name of the volume.
    pub fn is_of_disk(&self, volume: &VolumeKey) -> bool {
        let claim = self.claim.as_ref().filter(|_| self.whole.is_some());
        claim.is_some_and(|claim| claim.entity.strip_prefix("disk/") == Some(&volume.name))
    }
}

/// The sidecar of a volume. Its name is hidden, so that users do not take it for an image.
pub fn key(image: &VolumeKey) -> VolumeKey {
    let plain = format!("{PREFIX}{}{SUFFIX}", image.name);
    let name = if plain.len() > NAME_MAX {
        format!("{PREFIX}{}{SUFFIX}", Hash::of(image.name.as_bytes()))
    } else {
        plain
    };
    VolumeKey {
        pool: image.pool.clone(),
        name,
    }
}

const PREFIX: &str = ".";
const SUFFIX: &str = ".vsiflow";

/// Whether a volume of this name is a sidecar.
pub fn is_sidecar(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

/// The claim of this step's entity.
pub(crate) fn claim_of(cx: &StepContext, identity: &str) -> SidecarClaim {
    SidecarClaim {
        journal: cx.journal_id.to_string(),
        entity: cx.entity.to_string(),
        identity: identity.to_owned(),
    }
}

/// The length in bytes of this journal's sidecars: 4 KiB and up to 1 MiB more, derived from the journal's
/// ID.
fn length(journal: &str) -> u64 {
    let [a, b, c, ..] = Hash::of(journal.as_bytes()).0;
    let place = u64::from_be_bytes([0, 0, 0, 0, 0, a, b, c]) & 0x000f_ffff;
    place.saturating_add(2 * LENGTH as u64)
}

/// Reads the sidecar of an image.
///
/// # Errors
/// Port errors by their kind.
pub async fn read(
    ports: &HostPorts,
    journal: &str,
    image: &VolumeKey,
) -> Result<Option<Sidecar>, Failure> {
    let key = key(image);
    let Some(volume) = ports.storage.volume(&key).await? else {
        return Ok(None);
    };
    let bytes = match ports.storage.read(&key, 0, LENGTH as u64).await {
        // The sidecar may have been deleted since; only a new lookup proves that.
        Err(error) if error.kind == PortErrorKind::Missing => {
            return match ports.storage.volume(&key).await? {
                None => Ok(None),
                Some(_) => Err(error.into()),
            };
        }
        read => read?,
    };
    let claim: Option<SidecarClaim> = bytes.get(..HALF).and_then(part);
    let whole = bytes.get(HALF..).and_then(part);
    let ours = match &claim {
        Some(claim) => claim.journal == journal,
        None => volume.physical == length(journal),
    };
    Ok(Some(Sidecar {
        ours,
        whole: whole.filter(|_| claim.is_some()),
        claim,
    }))
}

fn part<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    serde_json::from_slice(bytes.trim_ascii()).ok()
}

/// Creates an empty sidecar. `Exists` if another engine was faster.
async fn create(ports: &HostPorts, journal: &str, image: &VolumeKey) -> PortResult<()> {
    let spec = VolumeSpec {
        key: key(image),
        format: VolumeFormat::Raw,
        capacity: length(journal),
        backing: None,
    };
    ports.storage.create(&spec).await.map(drop)
}

/// Writes claim and mark, and syncs them to the host's disk.
///
/// A crash during the write leaves the old or the new text, or one that cannot be read. In the last case
/// the length still identifies the owner, and the image is not whole.
pub(crate) async fn write(
    ports: &HostPorts,
    image: &VolumeKey,
    claim: &SidecarClaim,
    whole: Option<&Mark>,
) -> Result<(), Failure> {
    let mut bytes = Vec::with_capacity(LENGTH);
    bytes.extend(serde_json::to_vec(claim).unwrap_or_default());
    bytes.resize(HALF.saturating_sub(1), b' ');
    bytes.push(b'\n');
    bytes.extend(whole.map_or_else(Vec::new, |mark| {
        serde_json::to_vec(mark).unwrap_or_default()
    }));
    bytes.resize(LENGTH.saturating_sub(1), b' ');
    bytes.push(b'\n');
    let key = key(image);
    let length = Some(bytes.len() as u64);
    let mut sink = ports.storage.upload(&key, 0, length).await?;
    sink.send(bytes.into()).await?;
    sink.finish().await?;
    Ok(ports.storage.sync(&key).await?)
}

/// Acquires the claim on a name: creates the sidecar, or finds this journal's own.
///
/// # Errors
/// Transient, `VSI0308`, if another journal has it.
pub(crate) async fn hold(
    cx: &StepContext,
    ports: &HostPorts,
    image: &VolumeKey,
) -> Result<Option<Sidecar>, Failure> {
    match read(ports, &cx.journal_id, image).await? {
        Some(found) if found.ours => Ok(Some(found)),
        Some(_) => Err(claimed(ports, image)),
        None => match create(ports, &cx.journal_id, image).await {
            Ok(()) => Ok(None),
            Err(error) if error.kind == PortErrorKind::Exists => Err(claimed(ports, image)),
            Err(error) => Err(error.into()),
        },
    }
}

/// The failure if another journal is uploading the image.
pub(super) fn claimed(ports: &HostPorts, image: &VolumeKey) -> Failure {
    error::IMAGE_CLAIMED
        .failure("another vsiflow, or another image of this name, is being brought there")
        .on_host(ports.host.name())
        .of_object(format!("volume {image}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecars_are_hidden_and_their_names_fit() {
        let of = |name: &str| {
            let (pool, name) = ("p".to_owned(), name.to_owned());
            key(&VolumeKey { pool, name }).name
        };
        assert_eq!(of("a.qcow2"), ".a.qcow2.vsiflow");
        assert!(is_sidecar(&of("a.qcow2")) && !is_sidecar("a.qcow2"));
        let long = of(&"x".repeat(255));
        assert!(long.len() <= NAME_MAX && is_sidecar(&long), "{long}");
    }

    #[test]
    fn lengths_tell_journals_apart() {
        assert_ne!(length("a"), length("b"));
        assert!((4_096..2 << 20).contains(&length("a")));
    }
}
