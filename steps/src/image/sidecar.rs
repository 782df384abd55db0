//! The small volume beside an image, or a data disk that is filled, that says whose it is, and whether
//! it is whole.
//!
//! It is made before the image, since creating is atomic on a host: of two engines one gets it.
//! Its length alone says whose it is, before anything is written into it. The mark that the image
//! is whole is written last; without it nobody copies the image.

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

/// Claim and mark take half of this each, filled up with blanks.
const LENGTH: usize = 2_048;
const HALF: usize = LENGTH / 2;
/// The longest name of a file.
const NAME_MAX: usize = 255;

/// Who brings which image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SidecarClaim {
    /// The journal that made it.
    pub journal: String,
    /// The entity of that journal.
    pub entity: String,
    /// What tells the image from others, see `identity` in this folder.
    pub identity: String,
}

/// An image as it was when it was verified.
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
    /// When the file last changed, as the host writes it.
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

/// A sidecar as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sidecar {
    /// Whether this journal made it.
    pub ours: bool,
    /// What it says; `None` where its maker was interrupted before it wrote that.
    pub claim: Option<SidecarClaim>,
    /// The image, once it is whole.
    pub whole: Option<Mark>,
}

impl Sidecar {
    /// Whether it says that a data disk is whole, and not an image: that one bears its entity's name.
    pub fn is_of_disk(&self, volume: &VolumeKey) -> bool {
        let claim = self.claim.as_ref().filter(|_| self.whole.is_some());
        claim.is_some_and(|claim| claim.entity.strip_prefix("disk/") == Some(&volume.name))
    }
}

/// The sidecar of an image's volume. Hidden, so that nobody takes it for an image.
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

/// The claim of this attempt's entity.
pub(crate) fn claim_of(cx: &StepContext, identity: &str) -> SidecarClaim {
    SidecarClaim {
        journal: cx.journal_id.to_string(),
        entity: cx.entity.to_string(),
        identity: identity.to_owned(),
    }
}

/// The length in bytes of this journal's sidecars: a few KiB and something of the journal's own.
fn length(journal: &str) -> u64 {
    let own = Hash::of(journal.as_bytes()).0;
    let [a, b, c, ..] = own;
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
    let Some(found) = ports.storage.volume(&key).await? else {
        return Ok(None);
    };
    let bytes = match ports.storage.read(&key, 0, LENGTH as u64).await {
        // Somebody may have taken the claim away since; only a look that finds nothing says so.
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
        None => found.physical == length(journal),
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

/// Makes the sidecar, and says nothing in it yet. `Exists` where somebody was faster.
async fn create(ports: &HostPorts, journal: &str, image: &VolumeKey) -> PortResult<()> {
    let spec = VolumeSpec {
        key: key(image),
        format: VolumeFormat::Raw,
        capacity: length(journal),
        backing: None,
    };
    ports.storage.create(&spec).await.map(drop)
}

/// Writes claim and mark, and makes the host write them to its disk.
///
/// A crash in its middle leaves the old or the new text, or one that cannot be read; then the
/// length still says whose it is, and the image is not whole.
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

/// Holds the claim on a name: makes it, or finds it this journal's own.
///
/// # Errors
/// Transient, `VSI0308`, where another journal has it.
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

/// The failure for an image that another journal is bringing.
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
