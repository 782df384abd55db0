//! Compares the disks that a guest writes to with the volumes that this journal names.
//!
//! A guest whose disk is another file has data there that no volume of this journal has: a layer of a backup
//! tool, or a copy to which the host switched the guest. If the definition were written again, the guest
//! would continue with the older content of the volume, and a copy of the volume would lack that data.

use std::collections::BTreeSet;

use vsiflow_engine::{model::Failure, step::StepContext};

use crate::{
    error,
    files::{self, Chains, Files},
    guards, host_text, ownership,
    ports::{DiskShape, DomainInfo, HostPorts, PortErrorKind, VolumeInfo, VolumeKey},
};

/// The remedy for a disk that is another file.
const MOVE_BACK: &str = "Move the disk back to its volume (`virsh blockcopy --pivot`, `virsh edit`), or detach \
                         it; vsiflow checks again automatically.";

/// Refuses if the guest writes to a file, by its live or stored definition, that is none of these volumes.
/// Nothing is checked if no volumes are named.
///
/// # Errors
/// `VSI0210` with the file, `VSI0223` if it is a layer of this journal's own snapshot; the error of
/// anything that cannot be read.
pub(crate) async fn writes_only_to(
    cx: &StepContext,
    ports: &HostPorts,
    domain: &DomainInfo,
    named: &[VolumeKey],
) -> Result<(), Failure> {
    let named = NamedVolumes::find(ports, &guards::all_nameable(cx, named)).await?;
    match named.foreign_disk(ports, domain).await? {
        None => Ok(()),
        Some(disk) => Err(other_file(cx, ports, domain, disk, &named.volumes).await?),
    }
}

/// The file that the guest writes to, by its live or stored definition, and that is none of these volumes.
/// `None` if there is no such file, or no volumes are named.
///
/// # Errors
/// As for `writes_only_to`.
pub async fn foreign_file(
    cx: &StepContext,
    ports: &HostPorts,
    domain: &DomainInfo,
    named: &[VolumeKey],
) -> Result<Option<String>, Failure> {
    let named = NamedVolumes::find(ports, &guards::all_nameable(cx, named)).await?;
    let disk = named.foreign_disk(ports, domain).await?;
    Ok(disk.map(|disk| disk.source.clone()))
}

/// Refuses if the guest does not have one of these volumes itself as a disk, by its stored definition and, if
/// it runs, by its live one.
///
/// # Errors
/// As for [`writes_only_to`].
pub(crate) async fn has_all(
    cx: &StepContext,
    ports: &HostPorts,
    domain: &DomainInfo,
    volumes: &[VolumeInfo],
) -> Result<(), Failure> {
    let disks = domain.shapes().flat_map(|shape| &shape.disks);
    let paths = disks
        .map(|disk| disk.source.clone())
        .chain(volumes.iter().map(|volume| volume.path.clone()));
    let files = Files::at(ports, paths.collect()).await?;
    for volume in volumes {
        for shape in domain.shapes() {
            let mut is_there = false;
            for disk in &shape.disks {
                let same = is_volume(&files, disk, volume);
                is_there |= same.map_err(|why| not_resolved(ports, domain, &why))?;
            }
            if !is_there {
                let called = ownership::called(cx, domain);
                let why = format!("{called} has another file in its place, or none");
                return Err(guards::in_use(ports, volume, &why).with_remedy(MOVE_BACK));
            }
        }
    }
    Ok(())
}

/// Refuses if the guest writes to another file in the place of one of the volumes that stay: only its definition
/// names that file. `others` are the other volumes that it may write to.
///
/// # Errors
/// As for [`writes_only_to`].
pub(crate) async fn has_all_that_stay(
    cx: &StepContext,
    ports: &HostPorts,
    domain: &DomainInfo,
    stay: &[VolumeKey],
    others: &[VolumeKey],
) -> Result<(), Failure> {
    let stay: Vec<VolumeKey> = stay
        .iter()
        .map(|key| guards::current_volume(cx, key))
        .collect();
    let staying = NamedVolumes::find(ports, &stay).await?;
    // Whatever has taken the place of a volume that is gone may hold what the guest wrote.
    let are_there = staying.gone.is_empty() && staying.unlisted.is_empty();
    if are_there && has_all(cx, ports, domain, &staying.volumes).await.is_ok() {
        return Ok(());
    }
    writes_only_to(cx, ports, domain, &[&stay, others].concat()).await
}

/// The disks that the guest writes to, each file once.
fn written(domain: &DomainInfo) -> Vec<&DiskShape> {
    let disks = domain.shapes().flat_map(|shape| &shape.disks);
    let mut sources = BTreeSet::new();
    // A drive without a medium has no source.
    disks
        .filter(|disk| !disk.readonly && !disk.source.is_empty())
        .filter(|disk| sources.insert(&disk.source))
        .collect()
}

/// The volume at a source of a disk: a path, or the names of pool and volume.
///
/// # Errors
/// `VSI0210` if the path cannot be resolved; port errors by their kind.
pub async fn volume_at<'v>(
    ports: &HostPorts,
    volumes: &'v [VolumeInfo],
    source: &str,
) -> Result<Option<&'v VolumeInfo>, Failure> {
    let is_named = |volume: &&VolumeInfo| {
        files::plain(&volume.path) == files::plain(source) || is_source(&volume.key, source)
    };
    if let Some(volume) = volumes.iter().find(is_named) {
        return Ok(Some(volume));
    }
    let paths = volumes
        .iter()
        .map(|volume| volume.path.clone())
        .chain([source.to_owned()]);
    let files = Files::at(ports, paths.collect()).await?;
    for volume in volumes {
        let same = files.same(source, &volume.path);
        if same.map_err(|why| guards::in_use(ports, volume, &format!("perhaps: {why}")))? {
            return Ok(Some(volume));
        }
    }
    Ok(None)
}

/// The volumes that a journal names.
#[derive(Default)]
struct NamedVolumes {
    /// Those that exist.
    volumes: Vec<VolumeInfo>,
    /// Those that no longer exist.
    gone: Vec<VolumeKey>,
    /// Those in a pool that is inactive or gone: their paths are unknown.
    unlisted: Vec<VolumeKey>,
}

impl NamedVolumes {
    async fn find(ports: &HostPorts, keys: &[VolumeKey]) -> Result<Self, Failure> {
        let mut named = Self::default();
        for key in keys.iter().collect::<BTreeSet<_>>() {
            let no_pool = [PortErrorKind::PoolMissing, PortErrorKind::PoolInactive];
            match ports.storage.volume(key).await {
                Err(error) if no_pool.contains(&error.kind) => named.unlisted.push(key.clone()),
                volume => match volume? {
                    Some(volume) => named.volumes.push(volume),
                    None => named.gone.push(key.clone()),
                },
            }
        }
        Ok(named)
    }

    /// The first disk that the guest writes to and that is none of them.
    async fn foreign_disk<'d>(
        &self,
        ports: &HostPorts,
        domain: &'d DomainInfo,
    ) -> Result<Option<&'d DiskShape>, Failure> {
        let mut written = written(domain);
        written.retain(|disk| !self.names(disk));
        if written.is_empty() || self.is_empty() {
            return Ok(None);
        }
        let paths = written
            .iter()
            .map(|disk| disk.source.clone())
            .chain(self.volumes.iter().map(|volume| volume.path.clone()));
        let files = Files::at(ports, paths.collect()).await?;
        for disk in written {
            let is_named = self.has(&files, disk);
            if !is_named.map_err(|why| not_resolved(ports, domain, &why))? {
                return Ok(Some(disk));
            }
        }
        Ok(None)
    }

    /// Whether the disk is one of them as its path is written.
    fn names(&self, disk: &DiskShape) -> bool {
        let path = files::plain(&disk.source);
        self.volumes
            .iter()
            .any(|volume| files::plain(&volume.path) == path)
    }

    fn is_empty(&self) -> bool {
        self.volumes.is_empty() && self.gone.is_empty() && self.unlisted.is_empty()
    }

    /// Whether the disk is one of them, or a file that no longer exists.
    fn has(&self, files: &Files, disk: &DiskShape) -> Result<bool, String> {
        let source = disk.source.as_str();
        let absent = files.is_absent(source);
        let name = source.rsplit('/').next().unwrap_or_default();
        let is_called = |key: &VolumeKey| key.name == name;
        let is_gone = self.gone.iter().any(is_called) && absent.is_none();
        if absent == Some(true) || is_gone || self.unlisted.iter().any(is_called) {
            return Ok(true);
        }
        for volume in &self.volumes {
            if is_volume(files, disk, volume)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn not_resolved(ports: &HostPorts, domain: &DomainInfo, why: &str) -> Failure {
    error::IN_USE
        .failure(format!(
            "it is unknown what the guest writes to: {}",
            host_text::shown(why)
        ))
        .on_host(ports.host.name())
        .of_object(format!("domain {}", domain.uuid))
}

/// Whether the source of a disk names this pool and volume instead of a path, as some definitions do.
fn is_source(key: &VolumeKey, source: &str) -> bool {
    let of_pool = source.strip_prefix(key.pool.as_str());
    of_pool.and_then(|name| name.strip_prefix('/')) == Some(key.name.as_str())
}

fn is_volume(files: &Files, disk: &DiskShape, volume: &VolumeInfo) -> Result<bool, String> {
    if is_source(&volume.key, &disk.source) {
        return Ok(true);
    }
    files.same(&disk.source, &volume.path)
}

/// The failure for a disk that is none of the volumes.
async fn other_file(
    cx: &StepContext,
    ports: &HostPorts,
    domain: &DomainInfo,
    disk: &DiskShape,
    volumes: &[VolumeInfo],
) -> Result<Failure, Failure> {
    let (called, DiskShape { source, target, .. }) = (ownership::called(cx, domain), disk);
    let path = files::plain(source);
    let chains = Chains::read(ports, &[domain], volumes, [path.clone()].into()).await?;
    let below = chains.below(&path).unwrap_or_default();
    let is_below = |volume: &&VolumeInfo| below.contains(&volume.path);
    if let Some(volume) = volumes.iter().find(is_below) {
        return Ok(guards::below_layer(cx, ports, volume, &called, source));
    }
    let source = host_text::shown(source);
    let message =
        format!("{called} writes to {source} as disk {target}, which this journal does not name");
    Ok(error::IN_USE
        .failure(message)
        .with_remedy(MOVE_BACK)
        .on_host(ports.host.name())
        .of_object(format!("domain {}", domain.uuid)))
}
