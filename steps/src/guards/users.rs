//! Finds the domains that use a volume.

use std::collections::{BTreeMap, BTreeSet};

use vsiflow_engine::model::Failure;

use super::in_use;
use crate::{
    files::{self, Chains, Files},
    ports::{DiskSource, DomainInfo, HostPorts, VolumeFormat, VolumeInfo, VolumeKey},
};

/// A domain that uses a volume.
pub struct VolumeUser<'a> {
    /// The domain.
    pub domain: &'a DomainInfo,
    /// The file that the domain names and that reads through to the volume; `None` if the domain names
    /// only the volume itself.
    pub layer: Option<String>,
}

/// The domains whose live or stored definition names the volume, by any path, or a file that reads
/// through to it. For files outside of `volumes`, those of the active pools, it reads the backing chain.
///
/// # Errors
/// When a pool or a path that one names cannot be resolved, or a chain cannot be read: it may be that
/// volume under another name.
pub async fn users<'a>(
    ports: &HostPorts,
    domains: &[&'a DomainInfo],
    volume: &VolumeInfo,
    volumes: &[VolumeInfo],
) -> Result<Vec<VolumeUser<'a>>, Failure> {
    let perhaps = |why: String| in_use(ports, volume, &format!("perhaps: {why}"));
    let mut named: Vec<(&'a DomainInfo, BTreeSet<String>)> = Vec::new();
    for domain in domains {
        named.push((*domain, paths(ports, domain, volume).await?));
    }
    let mut all_paths: BTreeSet<String> = named.iter().flat_map(|(_, p)| p.clone()).collect();
    let outside = outside_of_pools(domains, &all_paths, volumes);
    let chains = Chains::read(ports, domains, volumes, outside.images()).await?;
    let mut below: BTreeMap<&String, Vec<String>> = BTreeMap::new();
    for path in &outside.disks {
        below.insert(path, chains.below(path).map_err(perhaps)?);
    }
    for path in &outside.others {
        // A host's own files, such as a guest's firmware settings, are often readable by it alone.
        below.insert(path, chains.below(path).unwrap_or_default());
    }
    all_paths.extend(below.values().flatten().cloned());
    all_paths.insert(volume.path.clone());
    let files = Files::at(ports, all_paths).await?;
    let is_volume = |path: &String| files.same(path, &volume.path).map_err(perhaps);
    let mut users = Vec::new();
    for (domain, paths) in named {
        let (mut layer, mut names) = (None, false);
        for path in paths {
            if is_volume(&path)? {
                names = true;
                continue;
            }
            for under in below.get(&path).into_iter().flatten() {
                if is_volume(under)? {
                    layer = Some(path.clone());
                }
            }
        }
        if names || layer.is_some() {
            users.push(VolumeUser { domain, layer });
        }
    }
    Ok(users)
}

/// Files that domains name outside of the pools whose volumes libvirt describes.
struct OutsideFiles {
    /// Disks, whose backing files must be known.
    disks: BTreeSet<String>,
    /// Files that may be images.
    others: BTreeSet<String>,
}

impl OutsideFiles {
    fn images(&self) -> BTreeSet<String> {
        self.disks.union(&self.others).cloned().collect()
    }
}

/// The files among `paths` whose backing files libvirt does not report. A disk that its guest gets as raw
/// bytes has none, whatever the guest wrote into it.
fn outside_of_pools(
    domains: &[&DomainInfo],
    paths: &BTreeSet<String>,
    volumes: &[VolumeInfo],
) -> OutsideFiles {
    let in_pools = volumes.iter().filter(|v| !files::is_device(&v.path));
    let in_pools: BTreeSet<String> = in_pools.map(|v| files::plain(&v.path)).collect();
    let DisksByFormat { layered, raw } = disks_by_format(domains);
    let (disks, others): (_, BTreeSet<String>) = paths
        .difference(&in_pools)
        .filter(|path| layered.contains(*path) || !raw.contains(*path))
        .cloned()
        .partition(|path| layered.contains(path));
    OutsideFiles {
        disks,
        others: others
            .into_iter()
            .filter(|path| files::may_be_image(path))
            .collect(),
    }
}

/// The paths of disks in definitions.
#[derive(Default)]
pub(super) struct DisksByFormat {
    /// Those that may have a backing file.
    pub(super) layered: BTreeSet<String>,
    /// Those that their guest gets as raw bytes.
    pub(super) raw: BTreeSet<String>,
}

pub(super) fn disks_by_format(domains: &[&DomainInfo]) -> DisksByFormat {
    let mut by_format = DisksByFormat::default();
    let shapes = domains.iter().flat_map(|domain| domain.shapes());
    for disk in shapes.flat_map(|shape| &shape.disks) {
        let paths = if disk.format == VolumeFormat::Raw.as_str() {
            &mut by_format.raw
        } else {
            &mut by_format.layered
        };
        paths.insert(files::plain(&disk.source));
    }
    by_format
}

/// The paths of the files that the domain names, with the volume's own path for any other form of its
/// name.
async fn paths(
    ports: &HostPorts,
    domain: &DomainInfo,
    volume: &VolumeInfo,
) -> Result<BTreeSet<String>, Failure> {
    let mut paths = BTreeSet::new();
    for file in &domain.files {
        match file {
            DiskSource::Path(path) => _ = paths.insert(files::plain(path)),
            DiskSource::Volume { pool, volume: name } => {
                let key = VolumeKey {
                    pool: pool.clone(),
                    name: name.clone(),
                };
                if key == volume.key {
                    paths.insert(volume.path.clone());
                } else if let Some(named) = ports.storage.volume(&key).await? {
                    paths.insert(named.path);
                }
            }
            DiskSource::Other(words) if words.contains(&volume.path) => {
                paths.insert(volume.path.clone());
            }
            DiskSource::Other(_) => {}
        }
    }
    Ok(paths)
}
