//! What the user exports must be what the guest wrote.

use uuid::Uuid;
use vsiflow_workflows::fleet::{Fleet, FleetError};

use super::{oracle::DiskId, watch::TokenWatch};
use crate::{documents, sabotage::Defect};

/// Opens a data disk for an export, and holds the file against what its guest wrote.
pub async fn export(
    defect: Option<Defect>,
    fleet: &Fleet,
    watch: &TokenWatch,
    disk: Uuid,
) -> Result<(), FleetError> {
    let opened = fleet
        .disks()
        .to_export("default", &documents::disk_name(disk))
        .await;
    let path = match opened {
        Ok(opened) => {
            let state = opened.state();
            state.split(' ').next().unwrap_or_default().to_owned()
        }
        // The sabotaged product does not look who writes where.
        Err(_) if defect == Some(Defect::ExportsUnseen) => {
            format!("/var/lib/libvirt/images/{disk}")
        }
        Err(error) => return Err(error),
    };
    if let Some(exported) = watch.tokens_in_file(&path).await {
        watch.oracle().is_exported(DiskId::Data(disk), &exported);
    }
    Ok(())
}
