//! The steps of a data disk, one file each. A data disk is an entity: runs of its own create, grow and
//! delete it, whether a VSI uses it or not.

pub mod check_source;
pub mod create_volume;
pub mod delete_volume;
pub mod fill_from_image;
pub mod fill_volume;
mod filling;
pub(crate) mod format;
pub mod grow_volume;
mod volumes;

pub use check_source::CheckSource;
pub use create_volume::CreateVolume;
pub use delete_volume::DeleteVolume;
pub use fill_from_image::FillFromImage;
pub use fill_volume::FillVolume;
pub use grow_volume::GrowVolume;
pub use volumes::DataDiskVolumes;

use vsiflow_engine::model::Failure;

use crate::{
    error,
    ports::{HostPorts, VolumeKey},
};

/// The failure for a disk that was made and no longer exists: an empty one must not replace it.
fn vanished(ports: &HostPorts, key: &VolumeKey) -> Failure {
    error::MISSING
        .failure("the data disk no longer exists")
        .on_host(ports.host.name())
        .of_object(format!("volume {key}"))
}
