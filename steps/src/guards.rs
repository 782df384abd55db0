//! The checks before anything that may cost a guest its data: a volume is deleted or made again, a domain is defined,
//! started or undefined.
//!
//! They read everything from the host immediately before. If something cannot be read, they refuse:
//! unknown is not absent. Only they make the [`Permit`] that a port wants for such a call, so all deletions of this
//! project go through [`remove`].
//!
//! Files are compared as the host resolves their paths. If it runs no commands for us, they are compared
//! as libvirt writes them; a link or a second mount of a pool is then not detected.

mod data_disks;
mod deletion;
mod domains;
mod incarnation;
mod layers;
mod ledger;
pub mod own_disks;
pub mod permit;
mod pools;
mod shared;
mod users;

use vsiflow_engine::{
    model::Failure,
    step::{Observed, StepContext},
};

pub use self::{
    data_disks::current_volume,
    deletion::{DeletionCandidate, foresee, removable, remove, remove_claim, remove_for_good},
    domains::{
        DomainToUndefine, ReplacedDefinition, foresee_undefinition, permit_definition,
        permit_paused_start, permit_start, permit_undefinition,
    },
    incarnation::{
        is_being_replaced, is_the_recorded, is_whole_disk, record_data_disk, record_data_disk_once,
        record_data_disks, record_replacement,
    },
    layers::{LayerOver, layer_over, nothing_over},
    ledger::{
        is_begun, is_in_use, is_recorded, is_written, object_name, record_begun, record_gone,
        record_in_use, record_made, record_started, replacement_is_ordered, spend_order,
    },
    permit::Permit,
    pools::active_volumes,
    shared::{SharedBy, unused_elsewhere},
    users::{VolumeUser, users},
};
pub(crate) use self::{
    data_disks::{
        all_nameable, all_volumes, find_present, is_newest_known, nameable_volumes, next_volume,
        no_later_volume, record_adopted, record_beside, record_handed_over, record_switched,
    },
    layers::{below_layer, over},
};
use crate::{
    error, host_text, ownership,
    ports::{HostPorts, VolumeInfo, VolumeKey},
};

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
