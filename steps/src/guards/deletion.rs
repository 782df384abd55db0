//! The checks before a volume is deleted, and the deletion: the only one of this crate.

use uuid::Uuid;
use vsiflow_engine::{model::Failure, step::StepContext};

use super::{
    below_layer, in_use, incarnation,
    ledger::{is_written, record_gone, record_ground},
    not_ours, over,
    permit::Permit,
    pools::{ListedPools, over_while_off},
    users::{VolumeUser, users},
};
use crate::{
    image::sidecar,
    ownership,
    ports::{Deletion, DeletionGround, DomainInfo, HostPorts, Removed, VolumeInfo, VolumeKey},
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
/// active pool nor in the folder of an inactive one. A boot disk must still be the file that the journal recorded.
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
    let look = HostLook::now(cx, ports).await?;
    let is_excused = |domain: &DomainInfo| is_idle_owner(cx, domain, doomed.owner);
    look.is_unused(cx, ports, &volume, is_excused).await?;
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
    let look = HostLook::now(cx, ports).await?;
    let is_excused = |domain: &DomainInfo| ownership::is_ours(cx, domain, owner);
    for key in volumes {
        if let Some(volume) = ports.storage.volume(key).await? {
            look.is_unused(cx, ports, &volume, is_excused).await?;
        }
    }
    Ok(())
}

/// All domains and pools of a host.
struct HostLook {
    domains: Vec<DomainInfo>,
    pools: ListedPools,
}

impl HostLook {
    /// Reads them; refuses if this journal is behind the host.
    async fn now(cx: &StepContext, ports: &HostPorts) -> Result<Self, Failure> {
        let domains = ports.domains.domains().await?;
        ownership::none_ahead(cx, ports, &domains)?;
        let pools = ListedPools::of(ports).await?;
        Ok(Self { domains, pools })
    }

    /// Checks that the volume is the recorded file, and that nothing uses it except by domains that are excused.
    async fn is_unused(
        &self,
        cx: &StepContext,
        ports: &HostPorts,
        volume: &VolumeInfo,
        is_excused: impl Fn(&DomainInfo) -> bool,
    ) -> Result<(), Failure> {
        incarnation::is_the_recorded(cx, ports, volume).await?;
        let domains: Vec<&DomainInfo> = self.domains.iter().collect();
        let volume_users = users(ports, &domains, volume, &self.pools.volumes).await?;
        has_no_user(cx, ports, volume, &volume_users, is_excused)?;
        over(cx, ports, &[volume], &self.pools.volumes).await?;
        over_while_off(cx, ports, volume, &self.pools.inactive).await
    }
}

/// Deletes the volume on this ground, if [`removable`] permits it.
///
/// An order is spent before the deletion, and any other ground is noted. A volume that the journal knows as one that a
/// guest may have written to needs an order, whatever the ground.
///
/// # Errors
/// As for [`removable`]; blocked, `VSI0041`, without the order that is needed.
pub async fn remove(
    cx: &StepContext,
    ports: &HostPorts,
    doomed: DeletionCandidate<'_>,
    ground: DeletionGround,
) -> Result<Removed, Failure> {
    if removable(cx, ports, doomed).await?.is_none() {
        return Ok(Removed::Absent);
    }
    let permit = permit_deletion(cx, doomed.key, ground).await?;
    Ok(ports.storage.delete(&permit).await?)
}

/// Deletes a volume that no other takes the place of, and records that it is gone.
///
/// # Errors
/// As for [`remove`]; when the journal fails.
pub async fn remove_for_good(
    cx: &StepContext,
    ports: &HostPorts,
    doomed: DeletionCandidate<'_>,
    ground: DeletionGround,
) -> Result<Removed, Failure> {
    let removed = remove(cx, ports, doomed, ground).await?;
    record_gone(cx, doomed.key).await?;
    Ok(removed)
}

async fn permit_deletion(
    cx: &StepContext,
    key: &VolumeKey,
    ground: DeletionGround,
) -> Result<Permit<Deletion>, Failure> {
    let ground = if is_written(cx, key) {
        DeletionGround::Ordered
    } else {
        ground
    };
    record_ground(cx, key, ground).await?;
    Ok(Permit::new(Deletion {
        key: key.clone(),
        ground,
    }))
}

/// Deletes the claim beside an image that is not complete, whoever made it, because somebody asked for exactly that.
/// The image itself stays. Returns whether there was such a claim.
///
/// # Errors
/// Port errors by their kind.
pub async fn remove_claim(ports: &HostPorts, image: &VolumeKey) -> Result<bool, Failure> {
    let claim = sidecar::read(ports, "", image).await?;
    if claim.is_none_or(|claim| claim.whole.is_some()) {
        return Ok(false);
    }
    let permit = Permit::new(Deletion {
        key: sidecar::key(image),
        ground: DeletionGround::Ordered,
    });
    Ok(ports.storage.delete(&permit).await? == Removed::Removed)
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
