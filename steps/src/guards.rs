//! What must hold before a volume is deleted or made again.
//!
//! All of it is read from the host immediately before. Whatever cannot be read refuses: unknown
//! is not absent. There is no other way to a deletion in this crate than through [`remove`].

use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Observed, StepContext},
};

use crate::{
    error, ownership,
    ports::{DiskSource, DomainInfo, HostPorts, PortErrorKind, Removed, VolumeInfo, VolumeKey},
};

/// A volume that somebody wants gone.
#[derive(Clone, Copy, Debug)]
pub struct Doomed<'a> {
    /// The volume.
    pub key: &'a VolumeKey,
    /// Whether this journal recorded that it makes a volume of this name.
    pub recorded: bool,
    /// The VSI whose own domain may name the volume, as long as it is off.
    pub owner: Option<Uuid>,
}

/// Says whether the volume may be deleted; `None` where it is not there.
///
/// It may when this journal recorded the intent to make it, the journal is not behind the host,
/// no domain names it (running or stored, anybody's, but for the owner's own while that is off),
/// and it is in no other volume's backing chain on any active pool.
///
/// # Errors
/// The first rule that forbids it; port errors by their kind.
pub async fn removable(
    cx: &StepContext,
    ports: &HostPorts,
    doomed: Doomed<'_>,
) -> Result<Option<VolumeInfo>, Failure> {
    let Some(volume) = ports.storage.volume(doomed.key).await? else {
        return Ok(None);
    };
    if !doomed.recorded {
        return Err(not_ours(ports, doomed.key));
    }
    let domains = ports.domains.domains().await?;
    ownership::none_ahead(cx, ports, &domains)?;
    for domain in &domains {
        if names(ports, domain, &volume).await? && !is_idle_owner(cx, domain, doomed.owner) {
            let why = format!("{} names it", ownership::called(cx, domain));
            return Err(in_use(ports, &volume, &why));
        }
    }
    nothing_over(ports, &[&volume]).await?;
    Ok(Some(volume))
}

/// Deletes the volume if [`removable`] permits it.
///
/// # Errors
/// As for [`removable`].
pub async fn remove(
    cx: &StepContext,
    ports: &HostPorts,
    doomed: Doomed<'_>,
) -> Result<Removed, Failure> {
    match removable(cx, ports, doomed).await? {
        Some(_) => Ok(ports.storage.delete(doomed.key).await?),
        None => Ok(Removed::Absent),
    }
}

/// The look of every step that makes a volume: where something of that name is there and this
/// journal had not recorded the intent to make it, it is another's.
///
/// # Errors
/// Blocked, `VSI0207`, or `VSI0211` where a newer copy of this journal made it; port errors by
/// their kind.
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
        .failure("a volume of this name is there that this journal did not make")
        .on_host(ports.host.name())
        .of_object(format!("volume {key}"))
}

/// The failure for a volume that somebody uses.
pub fn in_use(ports: &HostPorts, volume: &VolumeInfo, why: &str) -> Failure {
    error::IN_USE
        .failure(format!("the volume is in use: {why}"))
        .on_host(ports.host.name())
        .of_object(format!("volume {}", volume.key))
}

fn is_idle_owner(cx: &StepContext, domain: &DomainInfo, owner: Option<Uuid>) -> bool {
    owner.is_some_and(|uid| ownership::is_ours(cx, domain, uid)) && !domain.state.is_active()
}

/// Whether a definition of the domain, live or stored, names the volume.
///
/// # Errors
/// When a pool it names cannot be read: then it may be that volume by another name.
pub async fn names(
    ports: &HostPorts,
    domain: &DomainInfo,
    volume: &VolumeInfo,
) -> Result<bool, Failure> {
    for file in &domain.files {
        let named = match file {
            DiskSource::Path(path) => *path == volume.path,
            DiskSource::Volume { pool, volume: name } => {
                let key = VolumeKey {
                    pool: pool.clone(),
                    name: name.clone(),
                };
                key == volume.key || is_at(ports, &key, &volume.path).await?
            }
            DiskSource::Other(words) => words.contains(&volume.path),
        };
        if named {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Two pools may hold one folder: what counts is where the volume is.
async fn is_at(ports: &HostPorts, key: &VolumeKey, path: &str) -> Result<bool, Failure> {
    let base = |text: &str| text.rsplit('/').next().map(str::to_owned);
    if base(path).as_deref() != Some(key.name.as_str()) {
        return Ok(false);
    }
    Ok(ports
        .storage
        .volume(key)
        .await?
        .is_some_and(|other| other.path == path))
}

/// What is to be done about a volume that lies over another.
const MERGE: &str = "Merge what lies over it (a snapshot by `virsh blockcommit --active --pivot`) and \
                     delete its file; vsiflow looks again by itself.";

/// Refuses where another volume of an active pool lies over one of these, as a snapshot does: that
/// one reads through to them, so that whoever writes to them, or takes them away, spoils it.
///
/// # Errors
/// `VSI0210` with both names; whatever cannot be read.
pub async fn nothing_over(ports: &HostPorts, volumes: &[&VolumeInfo]) -> Result<(), Failure> {
    if volumes.is_empty() {
        return Ok(());
    }
    let pools = ports.storage.pools().await?;
    for pool in pools.iter().filter(|pool| pool.active) {
        let others = match ports.storage.volumes(&pool.name).await {
            // The host says that the pool went away since it was listed: nothing lies in it.
            Err(error) if error.kind == PortErrorKind::PoolMissing => continue,
            others => others?,
        };
        for other in &others {
            let under = |volume: &&&VolumeInfo| other.backing.as_ref() == Some(&volume.path);
            if let Some(volume) = volumes.iter().find(under) {
                let why = format!("volume {} lies over it", other.key);
                return Err(in_use(ports, volume, &why).with_remedy(MERGE));
            }
        }
    }
    Ok(())
}
