//! The parts of [`CopyDisks`](super::copy_disks::CopyDisks) that save the guest's memory.

use vsiflow_engine::model::Failure;

use super::{
    copy_disks::{CopyWork, refused},
    layers::Saved,
    memory,
};
use crate::{
    guards::{self, DeletionCandidate},
    ports::{DeletionGround, DomainInfo, LayerSpec, PortResult, VolumeInfo},
};

impl CopyWork<'_> {
    /// Checks that the snapshot includes every disk that the guest writes to: without that the memory
    /// does not match.
    pub(super) fn whole_machine(
        &self,
        domain: Option<&DomainInfo>,
        layers: &[LayerSpec],
    ) -> Result<(), Failure> {
        let shape = domain
            .and_then(|domain| domain.live.as_ref())
            .filter(|_| self.params.memory.is_some());
        let mut written = shape.iter().flat_map(|shape| &shape.disks);
        let left_out =
            written.find(|disk| !disk.readonly && !layers.iter().any(|l| l.target == disk.target));
        match left_out {
            None => Ok(()),
            Some(disk) => {
                let why = format!(
                    "the guest writes to {}, which is in no snapshot",
                    disk.source
                );
                Err(refused(self.ports, self.params.uuid, &why))
            }
        }
    }

    /// Adds all layers, and saves the memory of the same moment if requested.
    pub(super) async fn lay(&self, layers: &[LayerSpec], volumes: &[VolumeInfo]) -> PortResult<()> {
        let (params, domains) = (self.params, &self.ports.domains);
        let Some((memory, boot)) = params.memory.as_ref().zip(volumes.first()) else {
            let laid = domains.add_layers(params.uuid, layers, params.quiesce);
            return laid.await;
        };
        self.cx
            .report("saving the memory; the guest is paused", 0, None);
        let path = memory::path(boot, memory);
        domains.save_with_layers(params.uuid, layers, &path).await
    }

    /// Syncs and hashes the saved memory; only then it counts as saved.
    pub(super) async fn measure(&self, saved: &mut Saved) -> Result<(), Failure> {
        let Some(memory) = self.params.memory.as_ref() else {
            return Ok(());
        };
        if saved.memory.is_none() {
            self.cx.report("verifying the memory", 0, None);
            saved.memory = Some(memory::measure(self.ports, memory).await?);
            self.cx.save(saved).await?;
        }
        Ok(())
    }

    pub(super) async fn remove_memory(&self) -> Result<(), Failure> {
        let Some(key) = self.params.memory.as_ref() else {
            return Ok(());
        };
        let doomed = DeletionCandidate {
            key,
            recorded: true,
            owner: None,
        };
        let removed = guards::remove(self.cx, self.ports, doomed, DeletionGround::Scratch).await;
        removed.map(drop)
    }
}
