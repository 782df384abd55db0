//! The checks before a volume is deleted or created again.
//!
//! They read everything from the host immediately before. If something cannot be read, they refuse:
//! unknown is not absent. All deletions in this crate go through [`remove`].
//!
//! Files are compared as the host resolves their paths. If it runs no commands for us, they are compared
//! as libvirt writes them; a link or a second mount of a pool is then not detected.

mod layers;
mod users;

use uuid::Uuid;
use vsiflow_engine::{
    model::{Failure, Text},
    step::{ObjectFact, Observed, StepContext},
};

pub(crate) use self::layers::{below_layer, over};
pub use self::{
    layers::{LayerOver, layer_over, nothing_over},
    users::{VolumeUser, users},
};
use crate::{
    error,
    files::{self, Chains},
    host_text, ownership,
    ports::{
        DomainInfo, HostPorts, PoolFiles, PortError, PortErrorKind, Removed, VolumeInfo, VolumeKey,
    },
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
/// may use it, in a running or stored definition, except the owner's own while that is off and names the
/// volume itself, not a layer over it. It must not be in another volume's backing chain, neither in an
/// active pool nor in the folder of an inactive one.
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
    let users = users(ports, &all, &volume, &listed.volumes).await?;
    has_no_user(cx, ports, &volume, &users, |domain| {
        is_idle_owner(cx, domain, doomed.owner)
    })?;
    over(cx, ports, &[&volume], &listed.volumes).await?;
    over_while_off(cx, ports, &volume, &listed.inactive).await?;
    Ok(Some(volume))
}

/// Checks whether volumes of a VSI may be deleted or written again once its own domain is off. Nothing is changed.
///
/// # Errors
/// The first rule that forbids it; port errors by their kind.
pub async fn foresee(
    cx: &StepContext,
    ports: &HostPorts,
    volumes: &[VolumeKey],
    owner: Uuid,
) -> Result<(), Failure> {
    let domains = ports.domains.domains().await?;
    ownership::none_ahead(cx, ports, &domains)?;
    let listed = ListedPools::of(ports).await?;
    let all: Vec<&DomainInfo> = domains.iter().collect();
    for key in volumes {
        let Some(volume) = ports.storage.volume(key).await? else {
            continue;
        };
        let users = users(ports, &all, &volume, &listed.volumes).await?;
        has_no_user(cx, ports, &volume, &users, |domain| {
            ownership::is_ours(cx, domain, owner)
        })?;
        over(cx, ports, &[&volume], &listed.volumes).await?;
        over_while_off(cx, ports, &volume, &listed.inactive).await?;
    }
    Ok(())
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
/// As for [`removable`]; blocked, `VSI0041`, without an order.
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

/// Deletes a volume that no other takes the place of, and records that it is gone; by an order if a guest may have
/// written to it.
///
/// # Errors
/// As for [`remove_written`].
pub async fn remove_for_good(
    cx: &StepContext,
    ports: &HostPorts,
    doomed: DeletionCandidate<'_>,
    is_written: bool,
) -> Result<Removed, Failure> {
    let removed = if is_written {
        remove_written(cx, ports, doomed).await?
    } else {
        remove(cx, ports, doomed).await?
    };
    let object = object_name(doomed.key);
    cx.ledger.record(ObjectFact::Gone { object }).await?;
    Ok(removed)
}

/// Spends the order to destroy a volume that a guest may have written to; durable when it returns.
///
/// # Errors
/// Blocked, `VSI0041`, without an order.
pub async fn spend_order(cx: &StepContext, key: &VolumeKey) -> Result<(), Failure> {
    let object = object_name(key);
    cx.ledger.record(ObjectFact::Destroying { object }).await
}

/// Checks that somebody ordered to destroy a volume that a guest may have written to, before its guest gets another
/// in its place. Nothing is recorded.
///
/// # Errors
/// Blocked, `VSI0041`, without an order.
pub async fn replacement_is_ordered(
    cx: &StepContext,
    replaced: Option<&VolumeKey>,
) -> Result<(), Failure> {
    let Some(key) = replaced else {
        return Ok(());
    };
    let object = object_name(key);
    cx.ledger.record(ObjectFact::Replacing { object }).await
}

/// Records that a volume is whole, and that a guest may write to it from now on. One that the host does not find has
/// no identity; it may come back.
///
/// # Errors
/// Port errors by their kind; when the journal fails.
pub async fn record_made(
    cx: &StepContext,
    ports: &HostPorts,
    key: &VolumeKey,
) -> Result<(), Failure> {
    let identity = match ports.storage.volume(key).await? {
        Some(volume) => Text::new(files::identity(ports, &volume.path).await?),
        None => Text::default(),
    };
    let object = object_name(key);
    cx.ledger
        .record(ObjectFact::Made { object, identity })
        .await
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
    is_free_or_ours(cx, ports, key, cx.intended_before).await?;
    Ok(Observed::Needed)
}

/// The same for a step that records each volume before it makes one.
///
/// # Errors
/// As for [`free_or_ours`].
pub async fn is_free_or_ours(
    cx: &StepContext,
    ports: &HostPorts,
    key: &VolumeKey,
    is_ours: bool,
) -> Result<(), Failure> {
    if !is_ours && ports.storage.volume(key).await?.is_some() {
        ownership::not_behind_host(cx, ports).await?;
        return Err(not_ours(ports, key));
    }
    Ok(())
}

/// Whether this journal recorded that it makes the volume, and no definition named it since. In a journal of an
/// earlier version, which recorded no such thing, `was_intended` says it.
pub fn is_begun(cx: &StepContext, key: &VolumeKey, was_intended: bool) -> bool {
    let objects = cx.ledger.objects();
    objects.begun.contains(&object_name(key)) || was_intended && objects.newest.is_none()
}

/// Records that the step is about to make a volume under a name that nothing had before.
///
/// # Errors
/// When the journal fails.
pub async fn record_begun(cx: &StepContext, key: &VolumeKey) -> Result<(), Failure> {
    let object = object_name(key);
    cx.ledger.record(ObjectFact::Begun { object }).await
}

/// Records that the definition names the volume.
///
/// # Errors
/// When the journal fails.
pub async fn record_in_use(cx: &StepContext, key: &VolumeKey) -> Result<(), Failure> {
    let object = object_name(key);
    cx.ledger.record(ObjectFact::InUse { object }).await
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
        .failure(format!("the volume is in use: {}", host_text::shown(why)))
        .on_host(ports.host.name())
        .of_object(format!("volume {}", volume.key))
}

/// Refuses if the volume has a user: a domain with a layer over it, or one that names it and that
/// `is_excused` does not excuse.
fn has_no_user(
    cx: &StepContext,
    ports: &HostPorts,
    volume: &VolumeInfo,
    users: &[VolumeUser<'_>],
    is_excused: impl Fn(&DomainInfo) -> bool,
) -> Result<(), Failure> {
    for user in users {
        let called = ownership::called(cx, user.domain);
        match &user.layer {
            Some(layer) => return Err(below_layer(cx, ports, volume, &called, layer)),
            None if is_excused(user.domain) => {}
            None => return Err(in_use(ports, volume, &format!("{called} names it"))),
        }
    }
    Ok(())
}

fn is_idle_owner(cx: &StepContext, domain: &DomainInfo, owner: Option<Uuid>) -> bool {
    owner.is_some_and(|uid| ownership::is_ours(cx, domain, uid)) && !domain.state.is_active()
}

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
    if listed.iter().any(|other| other.name == pool) {
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
async fn over_while_off(
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
