//! A host's pools from one listing, with what libvirt lists no volumes of.

use vsiflow_engine::{model::Failure, step::StepContext};

use super::{in_use, layers};
use crate::{
    error,
    files::Chains,
    ports::{HostPorts, PoolFiles, PortError, PortErrorKind, VolumeInfo, VolumeKey},
};

/// The volumes of the host's active pools, all of them readable.
///
/// # Errors
/// `VSI0210` with the name of a volume that cannot be read; port errors by their kind.
pub async fn active_volumes(ports: &HostPorts) -> Result<Vec<VolumeInfo>, Failure> {
    Ok(ListedPools::of(ports).await?.volumes)
}

/// A host's pools from a single listing, so that a pool that starts or stops during the check is in one
/// of the two lists.
#[derive(Default)]
pub(super) struct ListedPools {
    /// All volumes of the active pools.
    pub(super) volumes: Vec<VolumeInfo>,
    /// The names of the inactive pools.
    pub(super) inactive: Vec<String>,
}

impl ListedPools {
    pub(super) async fn of(ports: &HostPorts) -> Result<Self, Failure> {
        let mut listed = Self::default();
        for pool in ports.storage.pools().await? {
            if !pool.active {
                listed.inactive.push(pool.name);
                continue;
            }
            match ports.storage.volumes(&pool.name).await {
                Err(error) if error.kind == PortErrorKind::PoolMissing => {
                    removed_since(ports, &pool.name, error).await?;
                }
                Err(error) if error.kind == PortErrorKind::PoolInactive => {
                    listed.inactive.push(pool.name);
                }
                volumes => listed.volumes.extend(volumes?),
            }
        }
        match listed.volumes.iter().find_map(Unreadable::of) {
            None => Ok(listed),
            Some(unreadable) => Err(unreadable.refusal(ports)),
        }
    }
}

/// A volume that exists and cannot be read: it may be a layer over any other.
struct Unreadable<'a> {
    key: &'a VolumeKey,
    why: &'a str,
}

impl<'a> Unreadable<'a> {
    fn of(volume: &'a VolumeInfo) -> Option<Self> {
        let why = volume.unreadable.as_deref()?;
        Some(Self {
            key: &volume.key,
            why,
        })
    }

    fn refusal(&self, ports: &HostPorts) -> Failure {
        let Self { key, why } = self;
        error::IN_USE
            .failure(format!(
                "volume {key} cannot be read, and may be a layer over others: {why}"
            ))
            .with_remedy(RENAME)
            .on_host(ports.host.name())
            .of_object(format!("volume {key}"))
    }
}

/// The remedy for a volume that cannot be read.
const RENAME: &str = "Rename its file, or move it out of the pool, and refresh the pool; vsiflow checks again \
                      automatically.";

/// Checks that a pool which was listed and then not found was removed in between: the host does not list it
/// any more. A pool that was removed has no volumes.
async fn removed_since(ports: &HostPorts, pool: &str, error: PortError) -> Result<(), Failure> {
    let listed = ports.storage.pools().await?;
    if listed.iter().any(|listed_pool| listed_pool.name == pool) {
        Err(error.into())
    } else {
        Ok(())
    }
}

/// The remedy for a pool whose files cannot be listed.
const START: &str = "Start the pool by `virsh pool-start`, or remove it by `virsh pool-undefine` if nobody \
                     needs it; vsiflow checks again automatically.";

/// Refuses if a file in the folder of an inactive pool is a layer over the volume, or if that is unknown.
/// libvirt lists no volumes of such a pool, but it and the guests that use it may be started again.
pub(super) async fn over_while_off(
    cx: &StepContext,
    ports: &HostPorts,
    volume: &VolumeInfo,
    inactive: &[String],
) -> Result<(), Failure> {
    for name in inactive {
        let files = match ports.storage.files_of_inactive(name).await {
            Err(error) if error.kind == PortErrorKind::PoolMissing => {
                removed_since(ports, name, error).await?;
                continue;
            }
            files => files?,
        };
        let files = match files {
            PoolFiles::Are(files) => files,
            PoolFiles::None => continue,
            PoolFiles::Unknown(why) => {
                let why = format!("perhaps by a layer in the inactive pool {name}: {why}");
                return Err(in_use(ports, volume, &why).with_remedy(START));
            }
        };
        let mut layers = Vec::new();
        let chains = Chains::read(ports, &[], &[], files.iter().cloned().collect()).await?;
        for file in files {
            let below = chains.below(&file);
            layers.push((format!("{file} in the inactive pool {name}"), below));
        }
        if let Some(layer) = layers::first_over(ports, &[volume], layers).await? {
            return Err(layer.failure(cx, ports));
        }
    }
    Ok(())
}
