//! Creates the VSI's boot disk.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::starting;
use crate::{
    error,
    guards::{self, DeletionCandidate},
    image::{self, BaseImage, format},
    names,
    ports::{
        DeletionGround, HostPorts, Hosts, PortErrorKind, VolumeFormat, VolumeInfo, VolumeKey,
        VolumeSpec,
    },
    snapshot,
};

/// The node whose output is the [`BaseImage`] to copy.
pub const BASE_IMAGE_NODE: &str = "ensure_base_image";

/// Copies the verified base image on the host, or creates an overlay over it.
///
/// A crash during the step may leave no volume, half a copy, or a whole one whose success was not
/// recorded, and these cannot be distinguished. So the next attempt checks the guards, deletes what it
/// finds and copies again. While the host still works on the old copy, it answers busy and the attempt is
/// repeated.
///
/// A boot disk that replaces another is made under a name that none had before, while the guest keeps the old
/// one: until the domain is defined with it, nothing is lost by a failure, a cancellation or a crash. The journal
/// records the name before the volume is made, so only a volume that it began is made again.
///
/// A boot disk that a guest may have written to is made anew in its place only if somebody ordered exactly that.
/// The order is spent before the old disk is deleted; the same step of the same run may act again by it.
///
/// A boot disk that lasts for one start is made again before each start. If the guest runs, or its memory
/// was saved, the disk is not replaced: the same start continues.
pub struct CloneBootDisk {
    hosts: Arc<dyn Hosts>,
}

/// How the boot disk is made from its base image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A full copy.
    #[default]
    Copy,
    /// A thin layer over the base image.
    Overlay,
}

/// Parameters of [`CloneBootDisk`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID: its own domain, while off, does not protect an old boot disk.
    pub uuid: Uuid,
    /// The boot disk to create.
    pub volume: VolumeKey,
    /// The size the guest sees, in bytes; `None` for the base image's size.
    #[serde(default)]
    pub size: Option<u64>,
    /// How it is made from the base image.
    #[serde(default)]
    pub mode: Mode,
    /// Whether a guest may have written to a volume of this name: then it is replaced only by an order.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub written: bool,
    /// Whether it is made for the next start only, unless that start has already begun.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub for_start: bool,
    /// Whether its name is new, so that it replaces no other volume.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub new: bool,
    /// The boot disk that it replaces, if a guest may have written to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<VolumeKey>,
}

/// What [`CloneBootDisk`] made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The path on the host.
    pub path: String,
    /// The format.
    pub format: VolumeFormat,
    /// The size the guest sees, in bytes.
    pub capacity: u64,
    /// Whether the base image is its backing file; assumed if an older version wrote this.
    #[serde(default = "perhaps")]
    pub overlay: bool,
}

fn perhaps() -> bool {
    true
}

impl CloneBootDisk {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for CloneBootDisk {
    const NAME: &'static str = "clone_boot_disk";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        if params.for_start && is_begun(cx, &ports, params.uuid).await? {
            return inspect(&ports, params).await.map(Observed::Present);
        }
        if params.new {
            guards::replacement_is_ordered(cx, params.replaces.as_ref()).await?;
            let is_begun = is_begun_here(cx, &*self.hosts, params);
            guards::is_free_or_ours(cx, &ports, &params.volume, is_begun).await?;
            return Ok(Observed::Needed);
        }
        guards::free_or_ours(cx, &ports, &params.volume).await
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let base: BaseImage = cx.output(BASE_IMAGE_NODE)?;
        still_verified(&ports, &base).await?;
        large_enough(&ports, params, &base)?;
        boots(&ports, &base).await?;
        make_room(cx, &*self.hosts, &ports, params).await?;
        cx.report("copying the base image", 0, None);
        make(&ports, params, &base).await?;
        finish(&ports, params).await?;
        inspect(&ports, params).await.map(Done::created)
    }
}

/// Deletes what is there under the name: what an earlier attempt left, a disk for one start, or one that is
/// ordered to be made anew in its place. The name of a new disk is recorded.
async fn make_room(
    cx: &StepContext,
    hosts: &dyn Hosts,
    ports: &HostPorts,
    params: &Params,
) -> Result<(), Failure> {
    let key = &params.volume;
    if params.new {
        let candidate = DeletionCandidate {
            key,
            recorded: is_begun_here(cx, hosts, params),
            owner: None,
        };
        guards::remove(cx, ports, candidate, DeletionGround::Scratch).await?;
        return guards::record_begun(cx, key).await;
    }
    let doomed = DeletionCandidate {
        key,
        recorded: cx.intended_before,
        owner: Some(params.uuid),
    };
    let ground = match params {
        _ if params.written => DeletionGround::Ordered,
        _ if params.for_start || guards::is_in_use(cx, key) => DeletionGround::Disposable,
        _ => DeletionGround::Scratch,
    };
    guards::remove(cx, ports, doomed, ground).await.map(drop)
}

/// Whether this journal began to make the disk. Earlier versions made only the first boot disk of a VSI.
fn is_begun_here(cx: &StepContext, hosts: &dyn Hosts, params: &Params) -> bool {
    let is_first = names::boot_disk_number(&params.volume.name, params.uuid) == Some(0);
    guards::is_begun(cx, hosts, &params.volume, is_first && cx.intended_before)
}

/// Whether the start that the disk is for has begun: the guest runs, or would resume its memory.
async fn is_begun(cx: &StepContext, ports: &HostPorts, uid: Uuid) -> Result<bool, Failure> {
    let domain = starting::decided(cx, ports, uid).await?;
    Ok(domain.is_some_and(|domain| domain.state.is_active() || domain.saved))
}

/// The boot disk as it now is on the host.
async fn inspect(ports: &HostPorts, params: &Params) -> Result<Output, Failure> {
    let volume = find(ports, params).await?;
    Ok(Output {
        path: volume.path,
        format: VolumeFormat::Qcow2,
        capacity: volume.capacity,
        overlay: params.mode == Mode::Overlay,
    })
}

/// The base image's volume; an error if it has changed since it was verified.
pub(crate) async fn still_verified(
    ports: &HostPorts,
    base: &BaseImage,
) -> Result<VolumeInfo, Failure> {
    match ports.storage.volume(&base.key).await? {
        Some(volume) if image::unchanged(base, &volume) => {
            known_to_the_host(ports, base, &volume)?;
            Ok(volume)
        }
        found => {
            let problem = if found.is_some() {
                "has changed"
            } else {
                "is gone"
            };
            Err(error::MISSING
                .failure(format!("the base image {problem} since it was verified"))
                .on_host(ports.host.name())
                .of_object(format!("volume {}", base.key)))
        }
    }
}

/// libvirt detects the format of an upload on a separate thread, a moment later. Until then it would copy
/// a qcow2 image as the bytes of a raw one.
fn known_to_the_host(
    ports: &HostPorts,
    base: &BaseImage,
    volume: &VolumeInfo,
) -> Result<(), Failure> {
    let qcow2 = VolumeFormat::Qcow2;
    if base.format != qcow2 || volume.format == qcow2.as_str() {
        return Ok(());
    }
    let message = format!(
        "the host takes the qcow2 image for {} as yet",
        volume.format
    );
    Err(error::BUSY
        .failure(message)
        .on_host(ports.host.name())
        .of_object(format!("volume {}", base.key)))
}

fn large_enough(ports: &HostPorts, params: &Params, base: &BaseImage) -> Result<(), Failure> {
    match params.size {
        Some(size) if size < base.virtual_size => Err(error::REJECTED
            .failure(format!(
                "the boot disk's size of {size} bytes is below the image's {}",
                base.virtual_size
            ))
            .with_remedy(format!(
                "Set `bootDisk.size` to {}Gi or more, or leave it out, and apply again.",
                base.virtual_size.div_ceil(1 << 30)
            ))
            .on_host(ports.host.name())
            .of_object(format!("volume {}", params.volume))),
        _ => Ok(()),
    }
}

/// Checks that the image is no container or file system that only a running guest can open.
async fn boots(ports: &HostPorts, base: &BaseImage) -> Result<(), Failure> {
    if base.format != VolumeFormat::Raw {
        return Ok(());
    }
    let head = ports.storage.read(&base.key, 0, format::BOOT_MARKS).await?;
    format::check_boot(&head).map_err(|unfit| {
        let failure = format::unfit_image(&unfit, &format!("volume {}", base.key));
        failure.on_host(ports.host.name())
    })
}

async fn make(ports: &HostPorts, params: &Params, base: &BaseImage) -> Result<(), Failure> {
    let overlay = params.mode == Mode::Overlay;
    let spec = VolumeSpec {
        key: params.volume.clone(),
        format: VolumeFormat::Qcow2,
        capacity: params.size.unwrap_or(base.virtual_size),
        backing: overlay.then(|| (base.path.clone(), base.format)),
    };
    let result = if overlay {
        ports.storage.create(&spec).await
    } else {
        ports.storage.clone_volume(&base.key, &spec).await
    };
    result.map(drop).map_err(|error| match error.kind {
        PortErrorKind::Exists => guards::not_ours(ports, &params.volume),
        PortErrorKind::NoSpace if params.new => Failure::from(error).with_remedy(NO_ROOM_FOR_BOTH),
        PortErrorKind::Rejected if !overlay => snapshot::unconvertible(error),
        _ => error.into(),
    })
}

/// The remedy where a pool has no room for a new disk beside the present one.
pub(crate) const NO_ROOM_FOR_BOTH: &str = "Free space in the pool: the new disk is made beside the present one, which \
                                the guest keeps until then. Or give up the present one first by `vsiflow rebuild \
                                NAME --in-place`, or `vsiflow snapshot restore NAME --in-place`.";

async fn finish(ports: &HostPorts, params: &Params) -> Result<(), Failure> {
    let volume = find(ports, params).await?;
    if let Some(size) = params.size.filter(|size| *size > volume.capacity) {
        ports.storage.resize(&params.volume, size).await?;
    }
    Ok(ports.storage.sync(&params.volume).await?)
}

async fn find(ports: &HostPorts, params: &Params) -> Result<VolumeInfo, Failure> {
    ports.storage.volume(&params.volume).await?.ok_or_else(|| {
        error::MISSING
            .failure("the boot disk that was made is gone")
            .on_host(ports.host.name())
            .of_object(format!("volume {}", params.volume))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::SimHosts;

    #[tokio::test]
    async fn an_image_that_the_host_takes_for_another_format_is_not_copied_yet() {
        let ports = SimHosts::in_memory().host("sim:").await.unwrap();
        let key = VolumeKey {
            pool: "images".to_owned(),
            name: "base.qcow2".to_owned(),
        };
        let spec = VolumeSpec {
            key: key.clone(),
            format: VolumeFormat::Raw,
            capacity: 0,
            backing: None,
        };
        let mut volume = ports.storage.create(&spec).await.unwrap();
        let base = |format| BaseImage {
            host: "sim:".to_owned(),
            key: key.clone(),
            path: volume.path.clone(),
            format,
            size: 0,
            virtual_size: 0,
            sha256: String::new(),
            modified: None,
            origin: String::new(),
        };
        let (qcow2, raw) = (base(VolumeFormat::Qcow2), base(VolumeFormat::Raw));
        let early = known_to_the_host(&ports, &qcow2, &volume).unwrap_err();
        assert_eq!(early.code.as_str(), "VSI0104");
        assert_eq!(known_to_the_host(&ports, &raw, &volume), Ok(()));
        volume.format = "qcow2".to_owned();
        assert_eq!(known_to_the_host(&ports, &qcow2, &volume), Ok(()));
    }
}
