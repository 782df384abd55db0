//! Finds layers over volumes: files that read through to them. Writing to such a volume or deleting it corrupts
//! the layer.

use std::collections::BTreeSet;

use vsiflow_engine::{
    model::{EntityId, Failure, Name},
    step::{Step as _, StepContext},
};

use super::{active_volumes, in_use, users::disks_by_format};
use crate::{
    error,
    files::{self, Chains, Files},
    names,
    ports::{DomainInfo, HostPorts, VolumeInfo},
    snapshot::CopyDisks,
};

/// The remedy if a volume is a layer over another.
const MERGE: &str = "Merge the layer over it (a snapshot by `virsh blockcommit --active --pivot`) and \
                     delete its file; vsiflow checks again automatically.";

/// Refuses if another volume of an active pool is a layer over one of these, as a snapshot is. The layer
/// reads through to them, so writing to them or deleting them corrupts it.
///
/// # Errors
/// `VSI0210` with both names; the error of anything that cannot be read.
pub async fn nothing_over(
    cx: &StepContext,
    ports: &HostPorts,
    volumes: &[&VolumeInfo],
) -> Result<(), Failure> {
    if volumes.is_empty() {
        return Ok(());
    }
    over(cx, ports, volumes, &active_volumes(ports).await?).await
}

/// [`nothing_over`] for volumes of active pools that were already listed.
pub(crate) async fn over(
    cx: &StepContext,
    ports: &HostPorts,
    volumes: &[&VolumeInfo],
    all: &[VolumeInfo],
) -> Result<(), Failure> {
    match layer_over(ports, volumes, all).await? {
        None => Ok(()),
        Some(layer) => Err(layer.failure(cx, ports)),
    }
}

/// A layer, or what may be one, over a volume.
pub struct LayerOver<'a> {
    volume: &'a VolumeInfo,
    /// The layer's name.
    called: String,
    /// What it is, in words.
    pub why: String,
}

impl LayerOver<'_> {
    /// The failure for the volume.
    pub fn refused(&self, ports: &HostPorts) -> Failure {
        in_use(ports, self.volume, &self.why).with_remedy(MERGE)
    }

    pub(super) fn failure(&self, cx: &StepContext, ports: &HostPorts) -> Failure {
        if is_own_layer(cx, &self.called) {
            own_layer(ports, self.volume, &self.why)
        } else {
            self.refused(ports)
        }
    }
}

/// The first volume of the active pools, `all`, that is a layer over one of `volumes`, or may be.
///
/// # Errors
/// Port errors by their kind.
pub async fn layer_over<'a>(
    ports: &HostPorts,
    volumes: &[&'a VolumeInfo],
    all: &[VolumeInfo],
) -> Result<Option<LayerOver<'a>>, Failure> {
    let unread = unread_layers(volumes, all);
    let chains = if unread.is_empty() {
        Chains::default()
    } else {
        let domains = ports.domains.domains().await?;
        let domains: Vec<&DomainInfo> = domains.iter().collect();
        let raw = disks_by_format(&domains).raw;
        let is_read = |path: &&String| !files::is_device(path) || !raw.contains(*path);
        let to_read = unread.iter().filter(is_read).cloned().collect();
        Chains::read(ports, &domains, all, to_read).await?
    };
    let mut layers = Vec::new();
    for volume in all {
        let called = format!("volume {}", volume.key);
        let Some(backing) = &volume.backing else {
            let path = files::plain(&volume.path);
            if unread.contains(&path) && chains.knows(&path) {
                layers.push((called, chains.below(&path)));
            }
            continue;
        };
        if files::is_opaque(backing) {
            let why = "what is below it is described in a way that is not read".to_owned();
            layers.push((called, Err(why)));
            continue;
        }
        let backing = files::plain(&files::below(&volume.path, backing));
        if unread.contains(&backing) && chains.knows(&backing) {
            layers.push((called.clone(), chains.below(&backing)));
        }
        layers.push((called, Ok(vec![backing])));
    }
    first_over(ports, volumes, layers).await
}

/// The files whose headers libvirt does not report: backing files outside of pools, which may have a volume
/// of a pool below them, and volumes that are block devices.
fn unread_layers(volumes: &[&VolumeInfo], all: &[VolumeInfo]) -> BTreeSet<String> {
    let in_pools: BTreeSet<String> = all.iter().map(|v| files::plain(&v.path)).collect();
    let backing = all
        .iter()
        .filter_map(|v| Some((v, v.backing.as_ref()?)))
        .filter(|(_, backing)| !files::is_opaque(backing))
        .map(|(v, backing)| files::plain(&files::below(&v.path, backing)))
        .filter(|path| !in_pools.contains(path));
    let is_checked = |layer: &VolumeInfo| volumes.iter().any(|volume| volume.key == layer.key);
    let devices = all
        .iter()
        .filter(|v| v.backing.is_none() && !is_checked(v) && files::is_device(&v.path))
        .map(|v| files::plain(&v.path));
    backing.chain(devices).collect()
}

/// A possible layer: its name, and the files that it reads through to, or why these are unknown.
pub(super) type DiskLayer = (String, Result<Vec<String>, String>);

/// The first of the layers that is over one of the volumes, or may be.
pub(super) async fn first_over<'a>(
    ports: &HostPorts,
    volumes: &[&'a VolumeInfo],
    layers: Vec<DiskLayer>,
) -> Result<Option<LayerOver<'a>>, Failure> {
    let chains = layers.iter().filter_map(|(_, below)| below.as_ref().ok());
    let mut all_paths: BTreeSet<String> = chains.flatten().cloned().collect();
    all_paths.extend(volumes.iter().map(|volume| volume.path.clone()));
    let files = Files::at(ports, all_paths).await?;
    for (called, below) in layers {
        for volume in volumes {
            let is_below = below.as_ref().map_err(String::clone).and_then(|below| {
                let mut matches = below.iter().map(|path| files.same(path, &volume.path));
                matches.find(|same| *same != Ok(false)).unwrap_or(Ok(false))
            });
            let why = match is_below {
                Ok(false) => continue,
                Ok(true) => format!("{called} is a layer over it"),
                Err(why) => format!("{called} may be a layer over it: {why}"),
            };
            return Ok(Some(LayerOver {
                volume,
                called,
                why,
            }));
        }
    }
    Ok(None)
}

/// Whether this is the layer of a snapshot whose intent this journal recorded; its run merges the layer.
/// Any other volume with such a name is foreign.
fn is_own_layer(cx: &StepContext, called: &str) -> bool {
    let name = called.rsplit('/').next().unwrap_or_default();
    let snapshot = names::snapshot_of(name).filter(|_| name.ends_with(".layer"));
    let entity = snapshot.and_then(|uid| EntityId::new(Name::of("snapshot"), uid.to_string()).ok());
    entity.is_some_and(|id| cx.recorded.was_intended(&id, &Name::of(CopyDisks::NAME)))
}

fn own_layer(ports: &HostPorts, volume: &VolumeInfo, why: &str) -> Failure {
    error::OWN_LAYER
        .failure(format!("a snapshot of it is being taken: {why}"))
        .on_host(ports.host.name())
        .of_object(format!("volume {}", volume.key))
}

/// The failure for a volume over which the domain `called` has a layer.
pub(crate) fn below_layer(
    cx: &StepContext,
    ports: &HostPorts,
    volume: &VolumeInfo,
    called: &str,
    layer: &str,
) -> Failure {
    let why = format!("{called} has {layer}, a layer over it");
    if is_own_layer(cx, layer) {
        own_layer(ports, volume, &why)
    } else {
        in_use(ports, volume, &why).with_remedy(MERGE)
    }
}
