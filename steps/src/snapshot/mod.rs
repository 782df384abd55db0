//! The steps of snapshots, one file each.
//!
//! A snapshot is a whole copy of each disk of a VSI, beside the disk in its pool: it needs no other file,
//! and no disk needs it. A running guest writes into a layer over each disk until the disks are copied;
//! then the layers are merged. If its memory is saved, too, that is of the same moment (`memory`).

pub mod await_snapshot;
pub mod check_memory;
mod copies;
pub mod copy_disks;
mod copy_memory;
pub mod find_copy;
mod layers;
pub(crate) mod memory;
pub mod merge_layers;
pub mod restore_beside;
pub mod restore_disks;
mod restored_room;

pub use await_snapshot::AwaitSnapshot;
pub use check_memory::CheckMemory;
pub use copies::CopySum;
pub use copy_disks::CopyDisks;
pub use find_copy::FindCopy;
pub use memory::{SavedMemory, VolumeTrace};
pub use merge_layers::MergeLayers;
pub use restore_beside::RestoreBeside;
pub use restore_disks::RestoreDisks;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{model::Failure, step::StepContext};

use crate::{
    error,
    guards::{self, DeletionCandidate},
    ports::{
        DeletionGround, DomainInfo, HostPorts, PortError, PortErrorKind, VolumeFormat, VolumeInfo,
        VolumeKey, VolumeSpec,
    },
};

/// A disk of a VSI, and its copy in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskCopy {
    /// The disk's name for people: `boot`, or the name of a data disk.
    pub disk: String,
    /// The disk, by its first volume.
    pub volume: VolumeKey,
    /// Its copy.
    pub copy: VolumeKey,
    /// The layer over the disk while it is copied, if its guest runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<VolumeKey>,
}

/// The disks as they are now: a restoration may have made another volume of one than the first, by which it is named.
fn present(cx: &StepContext, disks: &[DiskCopy]) -> Vec<DiskCopy> {
    let present = disks.iter().map(|disk| DiskCopy {
        volume: guards::current_volume(cx, &disk.volume),
        ..disk.clone()
    });
    present.collect()
}

/// Deletes on this ground what is there under the copy's name, and copies as qcow2.
pub(crate) async fn copy(
    cx: &StepContext,
    ports: &HostPorts,
    from: &VolumeInfo,
    to: DeletionCandidate<'_>,
    ground: DeletionGround,
) -> Result<VolumeInfo, Failure> {
    guards::remove(cx, ports, to, ground).await?;
    copy_as(ports, from, to, VolumeFormat::Qcow2).await
}

/// Copies in this format under a name that nothing has.
async fn copy_as(
    ports: &HostPorts,
    from: &VolumeInfo,
    to: DeletionCandidate<'_>,
    format: VolumeFormat,
) -> Result<VolumeInfo, Failure> {
    let spec = VolumeSpec {
        key: to.key.clone(),
        format,
        capacity: from.capacity,
        backing: None,
    };
    let cloned = ports.storage.clone_volume(&from.key, &spec).await;
    cloned.map_err(|error| match error.kind {
        PortErrorKind::Exists => guards::not_ours(ports, to.key),
        PortErrorKind::Rejected => unconvertible(error),
        _ => error.into(),
    })?;
    // The reply was made before the host inspected the copy, so read the volume again.
    found(ports, to.key, "the copy is gone since it was made").await
}

/// The failure if the host cannot copy a volume that was found whole. It would fail again.
pub(crate) fn unconvertible(error: PortError) -> Failure {
    Failure::from(error).with_remedy(UNCONVERTIBLE)
}

const UNCONVERTIBLE: &str = "Run `qemu-img check` on the file on the host: if it is whole, update the host's QEMU, \
     or convert the image with `qemu-img convert -O qcow2` and provide the result; then `vsiflow retry`.";

/// A volume that must exist; `gone` is the message of the failure.
pub(crate) async fn found(
    ports: &HostPorts,
    key: &VolumeKey,
    gone: &str,
) -> Result<VolumeInfo, Failure> {
    ports.storage.volume(key).await?.ok_or_else(|| {
        error::MISSING
            .failure(gone)
            .on_host(ports.host.name())
            .of_object(format!("volume {key}"))
    })
}

/// Refuses a guest that was saved with its memory: data that it had not written to its disks is only in
/// that memory.
fn without_memory(ports: &HostPorts, domain: Option<&DomainInfo>) -> Result<(), Failure> {
    match domain.filter(|domain| domain.saved) {
        None => Ok(()),
        Some(domain) => Err(error::SAVED_MEMORY
            .failure("the guest was saved with its memory, which its disks alone do not fit")
            .on_host(ports.host.name())
            .of_object(format!("domain {}", domain.uuid))),
    }
}

/// The failure for a guest that is not in the required state.
fn runs(ports: &HostPorts, uuid: Uuid, why: &str) -> Failure {
    error::WRONG_STATE
        .failure(why)
        .on_host(ports.host.name())
        .of_object(format!("domain {uuid}"))
}
