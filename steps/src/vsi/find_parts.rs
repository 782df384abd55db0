//! Finds the volumes that an earlier run made for the VSI and that are not replaced.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use crate::{
    disk::format,
    error,
    guards::{self, own_disks},
    guest::Seed,
    names,
    ports::{HostPorts, Hosts, VolumeFormat, VolumeInfo, VolumeKey},
};

/// Checks, before anything is changed, that boot disk, cidata and console log exist, that no layer is
/// over the boot disk, and that it has the format of its definition. A guest with a snapshot's layer must
/// not get the disk below it.
///
/// The step changes nothing, so a crash during it leaves nothing; the next attempt checks again.
pub struct FindParts {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`FindParts`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// The pool of its volumes.
    pub pool: String,
    /// The boot disks of the VSI, the one that its definition is recorded to name first. An unfinished run may
    /// have written a definition with another of them. Earlier versions knew only the first boot disk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub boot: Vec<VolumeKey>,
    /// Whether the boot disk was made as a layer over its base image.
    #[serde(default)]
    pub overlay: bool,
    /// Whether the run makes another boot disk, so that the present one is not looked up: it may be damaged or gone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub boot_is_replaced: bool,
    /// The type of the volume by which the guest gets its configuration.
    #[serde(default, skip_serializing_if = "Seed::is_cidata")]
    pub seed: Seed,
}

/// What [`FindParts`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The boot disk; `None` if the run makes another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Part>,
    /// The volume by which the guest gets its configuration, if it gets any.
    pub cidata: Option<Part>,
    /// The console log.
    pub console: Part,
}

/// A volume as a domain names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The volume; `None` if an older version wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<VolumeKey>,
    /// The path on the host.
    pub path: String,
    /// The format.
    pub format: VolumeFormat,
    /// Whether it has a backing file; assumed if an older version wrote this.
    #[serde(default = "perhaps")]
    pub overlay: bool,
}

fn perhaps() -> bool {
    true
}

impl FindParts {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }

    async fn inspect(&self, cx: &StepContext, params: &Params) -> Result<Output, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let (pool, uuid) = (&params.pool, params.uuid);
        let boot = if params.boot_is_replaced {
            None
        } else {
            let boot = boot_in_definition(&ports, params).await?;
            guards::nothing_over(cx, &ports, &[&boot]).await?;
            Some(boot_disk(&ports, params, boot).await?)
        };
        let cidata = match names::seed(pool, uuid, params.seed) {
            Some(seed) => Some(plain(find(&ports, &seed).await?)),
            None => None,
        };
        Ok(Output {
            boot,
            cidata,
            console: plain(find(&ports, &names::console_log(pool, uuid)).await?),
        })
    }
}

/// Of the boot disks, the one that the VSI's stored definition names; the first if it names none of them.
async fn boot_in_definition(ports: &HostPorts, params: &Params) -> Result<VolumeInfo, Failure> {
    let first = names::boot_disk(&params.pool, params.uuid, 0);
    let recorded = params.boot.first().unwrap_or(&first);
    if params.boot.len() > 1
        && let Some(domain) = ports.domains.domain(params.uuid).await?
    {
        for key in &params.boot {
            let Some(volume) = ports.storage.volume(key).await? else {
                continue;
            };
            let volumes = std::slice::from_ref(&volume);
            for disk in &domain.stored.disks {
                if own_disks::volume_at(ports, volumes, &disk.source)
                    .await?
                    .is_some()
                {
                    return Ok(volume);
                }
            }
        }
    }
    find(ports, recorded).await
}

/// The boot disk, in the format of its definition. Its backing file is trusted only if no guest can have
/// written it: in the header of a disk that is a qcow2 for its guest as well.
async fn boot_disk(
    ports: &HostPorts,
    params: &Params,
    volume: VolumeInfo,
) -> Result<Part, Failure> {
    let domain = ports.domains.domain(params.uuid).await?;
    let defined = domain.and_then(|domain| format::defined(&domain, &volume.path));
    let is_qcow2 = volume.format == VolumeFormat::Qcow2.as_str();
    let layered = params.overlay || defined == Some(VolumeFormat::Qcow2);
    if volume.backing.is_some() && layered && is_qcow2 {
        return Ok(part(volume, VolumeFormat::Qcow2));
    }
    let format = format::pinned(ports, &volume, defined).await?;
    Ok(part(volume, format))
}

/// A raw volume that only the host writes to, never a guest.
fn plain(volume: VolumeInfo) -> Part {
    part(volume, VolumeFormat::Raw)
}

async fn find(ports: &HostPorts, key: &VolumeKey) -> Result<VolumeInfo, Failure> {
    let volume = ports.storage.volume(key).await?;
    volume.ok_or_else(|| {
        error::MISSING
            .failure("a volume that was made for the VSI no longer exists")
            .on_host(ports.host.name())
            .of_object(format!("volume {key}"))
    })
}

fn part(volume: VolumeInfo, format: VolumeFormat) -> Part {
    Part {
        volume: Some(volume.key),
        path: volume.path,
        format,
        overlay: volume.backing.is_some(),
    }
}

#[async_trait]
impl Step for FindParts {
    const NAME: &'static str = "find_parts";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        Ok(Observed::Present(self.inspect(cx, params).await?))
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        Ok(Done::present(self.inspect(cx, params).await?))
    }
}
