//! The checks before a volume is deleted or created again.
//!
//! They read everything from the host immediately before. If something cannot be read, they refuse:
//! unknown is not absent. All deletions in this crate go through [`remove`].
//!
//! Files are compared as the host resolves their paths. If it runs no commands for us, they are compared
//! as libvirt writes them; a link or a second mount of a pool is then not detected.

use std::collections::BTreeSet;

use uuid::Uuid;
use vsiflow_engine::{
    model::{EntityId, Failure, Name, Text},
    step::{ObjectFact, Observed, Step as _, StepContext},
};

use crate::{
    error,
    files::{self, Files},
    names, ownership,
    ports::{
        DiskSource, DomainInfo, HostPorts, PoolFiles, PortErrorKind, Removed, VolumeInfo, VolumeKey,
    },
    snapshot::CopyDisks,
};

/// A volume to delete.
#[derive(Clone, Copy, Debug)]
pub struct DeletionCandidate<'a> {
    /// The volume.
    pub key: &'a VolumeKey,
    /// Whether this journal recorded that it makes a volume of this name.
    pub recorded: bool,
    /// The VSI whose own domain may name the volume, as long as that domain is off.
    pub owner: Option<Uuid>,
}

/// Checks whether the volume may be deleted; `None` if it does not exist.
///
/// It may be deleted if this journal recorded the intent to make it and is not behind the host. No domain
/// may name it, in a running or stored definition, except the owner's own while that is off. It must not
/// be in another volume's backing chain, neither in an active pool nor in the folder of an inactive one.
///
/// # Errors
/// The first rule that forbids it; port errors by their kind.
pub async fn removable(
    cx: &StepContext,
    ports: &HostPorts,
    doomed: DeletionCandidate<'_>,
) -> Result<Option<VolumeInfo>, Failure> {
    let Some(volume) = ports.storage.volume(doomed.key).await? else {
        return Ok(None);
    };
    if !doomed.recorded {
        return Err(not_ours(ports, doomed.key));
    }
    let domains = ports.domains.domains().await?;
    ownership::none_ahead(cx, ports, &domains)?;
    let listed = ListedPools::of(ports).await?;
    let all: Vec<&DomainInfo> = domains.iter().collect();
    for domain in users(ports, &all, &volume, &listed.volumes).await? {
        if !is_idle_owner(cx, domain, doomed.owner) {
            let why = format!("{} names it", ownership::called(cx, domain));
            return Err(in_use(ports, &volume, &why));
        }
    }
    over(cx, ports, &[&volume], &listed.volumes).await?;
    over_while_off(cx, ports, &volume, &listed.inactive).await?;
    Ok(Some(volume))
}

/// Deletes the volume if [`removable`] permits it.
///
/// # Errors
/// As for [`removable`].
pub async fn remove(
    cx: &StepContext,
    ports: &HostPorts,
    doomed: DeletionCandidate<'_>,
) -> Result<Removed, Failure> {
    match removable(cx, ports, doomed).await? {
        Some(_) => Ok(ports.storage.delete(doomed.key).await?),
        None => Ok(Removed::Absent),
    }
}

/// Deletes a volume that a guest may have written to, if [`removable`] permits it and somebody ordered
/// exactly that. The order is spent before the deletion.
///
/// # Errors
/// As for [`removable`]; blocked, `VSI0040`, without an order.
pub async fn remove_written(
    cx: &StepContext,
    ports: &HostPorts,
    doomed: DeletionCandidate<'_>,
) -> Result<Removed, Failure> {
    if removable(cx, ports, doomed).await?.is_none() {
        return Ok(Removed::Absent);
    }
    spend_order(cx, doomed.key).await?;
    Ok(ports.storage.delete(doomed.key).await?)
}

/// Spends the order to destroy a volume that a guest may have written to; durable when it returns.
///
/// # Errors
/// Blocked, `VSI0040`, without an order.
pub async fn spend_order(cx: &StepContext, key: &VolumeKey) -> Result<(), Failure> {
    let object = object_name(key);
    cx.ledger.record(ObjectFact::Destroying { object }).await
}

/// Records that a volume is whole, and that a guest may write to it from now on.
///
/// # Errors
/// When the volume is missing, or the journal fails.
pub async fn record_made(
    cx: &StepContext,
    ports: &HostPorts,
    key: &VolumeKey,
) -> Result<(), Failure> {
    let volume = ports.storage.volume(key).await?.ok_or_else(|| {
        error::MISSING
            .failure("the volume is gone since it was made")
            .on_host(ports.host.name())
            .of_object(format!("volume {key}"))
    })?;
    let made = ObjectFact::Made {
        object: object_name(key),
        identity: Text::new(files::identity(ports, &volume.path).await?),
    };
    cx.ledger.record(made).await
}

/// The name of a volume in the journal's ledger of objects.
pub fn object_name(key: &VolumeKey) -> Text {
    Text::new(key.to_string())
}

/// The observation of every step that makes a volume: a volume of this name is foreign unless this
/// journal recorded the intent to make it.
///
/// # Errors
/// Blocked, `VSI0207`, or `VSI0211` if a newer copy of this journal made it; port errors by their kind.
pub async fn free_or_ours<T>(
    cx: &StepContext,
    ports: &HostPorts,
    key: &VolumeKey,
) -> Result<Observed<T>, Failure> {
    if !cx.intended_before && ports.storage.volume(key).await?.is_some() {
        ownership::not_behind_host(cx, ports).await?;
        return Err(not_ours(ports, key));
    }
    Ok(Observed::Needed)
}

/// The failure for a volume that this journal did not make.
pub fn not_ours(ports: &HostPorts, key: &VolumeKey) -> Failure {
    error::NOT_OURS
        .failure("a volume of this name exists, and this journal did not make it")
        .on_host(ports.host.name())
        .of_object(format!("volume {key}"))
}

/// The failure for a volume that is in use.
pub fn in_use(ports: &HostPorts, volume: &VolumeInfo, why: &str) -> Failure {
    error::IN_USE
        .failure(format!("the volume is in use: {why}"))
        .on_host(ports.host.name())
        .of_object(format!("volume {}", volume.key))
}

fn is_idle_owner(cx: &StepContext, domain: &DomainInfo, owner: Option<Uuid>) -> bool {
    owner.is_some_and(|uid| ownership::is_ours(cx, domain, uid)) && !domain.state.is_active()
}

/// The domains whose live or stored definition names the volume, by any path, or a file that reads
/// through to it. For files outside of `volumes` it reads the backing chain.
///
/// # Errors
/// When a pool or a path that one names cannot be resolved: it may be that volume under another name.
pub async fn users<'a>(
    ports: &HostPorts,
    domains: &[&'a DomainInfo],
    volume: &VolumeInfo,
    volumes: &[VolumeInfo],
) -> Result<Vec<&'a DomainInfo>, Failure> {
    let mut named: Vec<(&'a DomainInfo, BTreeSet<String>)> = Vec::new();
    for domain in domains {
        named.push((*domain, paths(ports, domain, volume).await?));
    }
    let mut all_paths: BTreeSet<String> = named.iter().flat_map(|(_, p)| p.clone()).collect();
    let known: BTreeSet<String> = volumes.iter().map(|v| files::plain(&v.path)).collect();
    let outside: BTreeSet<String> = match volumes {
        [] => BTreeSet::new(),
        _ => all_paths.difference(&known).cloned().collect(),
    };
    let mut below: Vec<(String, String)> = Vec::new();
    for path in outside {
        let chain = files::chain(ports, &path).await?;
        let chain = chain.map_err(|why| in_use(ports, volume, &format!("perhaps: {why}")))?;
        below.extend(chain.into_iter().map(|under| (path.clone(), under)));
    }
    all_paths.extend(below.iter().map(|(_, under)| under.clone()));
    all_paths.insert(volume.path.clone());
    let files = Files::at(ports, all_paths).await?;
    let is = |path: &str| {
        let same = files.same(path, &volume.path);
        same.map_err(|why| in_use(ports, volume, &format!("perhaps: {why}")))
    };
    let mut users = Vec::new();
    for (domain, paths) in named {
        let reads = below.iter().filter(|(over, _)| paths.contains(over));
        for path in paths.iter().chain(reads.map(|(_, under)| under)) {
            if is(path)? {
                users.push(domain);
                break;
            }
        }
    }
    Ok(users)
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
                } else if let Some(other) = ports.storage.volume(&key).await? {
                    paths.insert(other.path);
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

/// A host's pools from a single listing, so that a pool that starts or stops during the check is in one
/// of the two lists.
#[derive(Default)]
struct ListedPools {
    /// All volumes of the active pools.
    volumes: Vec<VolumeInfo>,
    /// The names of the inactive pools.
    inactive: Vec<String>,
}

impl ListedPools {
    async fn of(ports: &HostPorts) -> Result<Self, Failure> {
        let mut listed = Self::default();
        for pool in ports.storage.pools().await? {
            if !pool.active {
                listed.inactive.push(pool.name);
                continue;
            }
            match ports.storage.volumes(&pool.name).await {
                // The host says that the pool was removed after the listing: it has no volumes.
                Err(error) if error.kind == PortErrorKind::PoolMissing => {}
                Err(error) if error.kind == PortErrorKind::PoolInactive => {
                    listed.inactive.push(pool.name);
                }
                volumes => listed.volumes.extend(volumes?),
            }
        }
        Ok(listed)
    }
}

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
    over(cx, ports, volumes, &ListedPools::of(ports).await?.volumes).await
}

async fn over(
    cx: &StepContext,
    ports: &HostPorts,
    volumes: &[&VolumeInfo],
    all: &[VolumeInfo],
) -> Result<(), Failure> {
    let known: BTreeSet<String> = all.iter().map(|v| files::plain(&v.path)).collect();
    let mut layers = Vec::new();
    for other in all {
        let Some(backing) = &other.backing else {
            continue;
        };
        let called = format!("volume {}", other.key);
        if files::is_opaque(backing) {
            let why = "what is below it is described in a way that is not read".to_owned();
            layers.push((called, Err(why)));
            continue;
        }
        let backing = files::below(&other.path, backing);
        // A backing file in a pool is itself in the list; one outside may have a volume of a pool below
        // it.
        if !known.contains(&files::plain(&backing)) {
            let below = files::chain(ports, &backing).await?;
            layers.push((called.clone(), below));
        }
        layers.push((called, Ok(vec![backing])));
    }
    none_over(cx, ports, volumes, layers).await
}

/// A possible layer: its name, and the files that it reads through to, or why these are unknown.
type DiskLayer = (String, Result<Vec<String>, String>);

/// Refuses if one of the layers is over one of the volumes, or may be.
async fn none_over(
    cx: &StepContext,
    ports: &HostPorts,
    volumes: &[&VolumeInfo],
    layers: Vec<DiskLayer>,
) -> Result<(), Failure> {
    let read = layers.iter().filter_map(|(_, below)| below.as_ref().ok());
    let mut all_paths: BTreeSet<String> = read.flatten().cloned().collect();
    all_paths.extend(volumes.iter().map(|volume| volume.path.clone()));
    let files = Files::at(ports, all_paths).await?;
    for (called, below) in layers {
        for volume in volumes {
            let is = below.as_ref().map_err(String::clone).and_then(|below| {
                let mut found = below.iter().map(|path| files.same(path, &volume.path));
                found.find(|is| *is != Ok(false)).unwrap_or(Ok(false))
            });
            let why = match is {
                Ok(false) => continue,
                Ok(true) => format!("{called} is a layer over it"),
                Err(why) => format!("{called} may be a layer over it: {why}"),
            };
            return Err(if is_own_layer(cx, &called) {
                own_layer(ports, volume, &why)
            } else {
                in_use(ports, volume, &why).with_remedy(MERGE)
            });
        }
    }
    Ok(())
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

/// The remedy for a pool whose files cannot be listed.
const START: &str = "Start the pool by `virsh pool-start`, or remove it by `virsh pool-undefine` if nobody \
                     needs it; vsiflow checks again automatically.";

/// Refuses if a file in the folder of an inactive pool is a layer over the volume, or if that is unknown.
/// libvirt lists no volumes of such a pool, but it and the guests that use it may be started again.
async fn over_while_off(
    cx: &StepContext,
    ports: &HostPorts,
    volume: &VolumeInfo,
    inactive: &[String],
) -> Result<(), Failure> {
    for name in inactive {
        let files = match ports.storage.files_of_inactive(name).await {
            // It was removed after the listing.
            Err(error) if error.kind == PortErrorKind::PoolMissing => continue,
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
        for file in files {
            let below = files::chain(ports, &file).await?;
            layers.push((format!("{file} in the inactive pool {name}"), below));
        }
        none_over(cx, ports, &[volume], layers).await?;
    }
    Ok(())
}
