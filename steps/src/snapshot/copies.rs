//! The recorded length and hash of a snapshot's copies.
//!
//! A copy lies in its pool for months, and a disk is restored from it after the present disk is gone. So it is
//! hashed when it is whole, and read again before anything is replaced by it.

use serde::{Deserialize, Serialize};
use vsiflow_engine::model::Failure;

use crate::{
    error,
    ports::{HostPorts, VolumeInfo, VolumeKey},
};

/// A copy as it was when it was whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopySum {
    /// The file's length in bytes.
    pub length: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// Hashes a copy that is on the host's disk.
pub(super) async fn measure(ports: &HostPorts, copy: &VolumeInfo) -> Result<CopySum, Failure> {
    ports.storage.drop_cached(&copy.key).await?;
    let sha256 = ports.storage.sha256(&copy.key).await?;
    Ok(CopySum {
        length: copy.physical,
        sha256: sha256.to_string(),
    })
}

/// Checks that a copy is what was recorded.
///
/// # Errors
/// `VSI0235` if its length or its hash differs; port errors by their kind.
pub(super) async fn check(
    ports: &HostPorts,
    copy: &VolumeInfo,
    expected: &CopySum,
) -> Result<(), Failure> {
    check_length(ports, copy, expected)?;
    if measure(ports, copy).await? == *expected {
        return Ok(());
    }
    let why = "its bytes are not those that were copied";
    Err(damaged(ports, &copy.key, why))
}

/// Checks that a copy has the recorded length.
///
/// # Errors
/// `VSI0235` if it has another one.
pub(super) fn check_length(
    ports: &HostPorts,
    copy: &VolumeInfo,
    expected: &CopySum,
) -> Result<(), Failure> {
    if copy.physical == expected.length {
        return Ok(());
    }
    let (is, was) = (copy.physical, expected.length);
    let why = format!("it has {is} bytes instead of {was}");
    Err(damaged(ports, &copy.key, &why))
}

fn damaged(ports: &HostPorts, key: &VolumeKey, why: &str) -> Failure {
    error::COPY_DAMAGED
        .failure(format!(
            "a copy of the snapshot is damaged: {why}; nothing was changed"
        ))
        .on_host(ports.host.name())
        .of_object(format!("volume {key}"))
}
