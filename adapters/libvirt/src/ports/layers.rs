//! Creates and merges layers over the disks of a running guest.

use uuid::Uuid;
use vsiflow_steps::ports::{DiskJob, LayerSpec, MergeProgress, PortErrorKind, PortResult};

use super::{LibvirtHost, START};
use crate::{
    error::code,
    protocol::{block_flags, block_job, domain_flags},
    xml::{domain_info, snapshot},
};

impl LibvirtHost {
    pub(super) async fn create_layers(
        &self,
        uuid: Uuid,
        layers: &[LayerSpec],
        quiesce: bool,
    ) -> PortResult<()> {
        let calls = self.long(START).await?;
        let domain = self.existing_domain(&calls, uuid).await?;
        let xml_reply = calls.domain_get_xml_desc(&domain, 0).await;
        let xml = xml_reply.map_err(|e| self.of_domain(uuid, &e))?;
        let object = format!("domain {uuid}");
        let context = self.speaking(&object);
        let layers = layers.to_vec();
        let described = (self
            .parsed(xml, move |xml| snapshot::describe(xml, &layers, None))
            .await)
            .map_err(|e| context.unreadable(&e))?;
        let flags = block_flags::SNAPSHOT_DISK_ONLY
            | block_flags::SNAPSHOT_NO_METADATA
            | block_flags::SNAPSHOT_ATOMIC
            | if quiesce {
                block_flags::SNAPSHOT_QUIESCE
            } else {
                0
            };
        let created = calls
            .domain_snapshot_create_xml(&domain, &described, flags)
            .await;
        created.map(drop).map_err(|error| {
            let mut failure = self.of_domain(uuid, &error);
            failure.kind = match error.code() {
                // No agent responds, or it cannot freeze the file systems.
                Some(code::AGENT_UNRESPONSIVE | code::ARGUMENT_UNSUPPORTED) => {
                    PortErrorKind::Rejected
                }
                _ => failure.kind,
            };
            failure
        })
    }

    pub(super) async fn commit(&self, uuid: Uuid, target: &str) -> PortResult<()> {
        let calls = self.long(START).await?;
        let domain = self.existing_domain(&calls, uuid).await?;
        let flags = block_flags::COMMIT_ACTIVE | block_flags::COMMIT_SHALLOW;
        let begun = calls.domain_block_commit(&domain, target, flags).await;
        begun.map_err(|e| self.of_domain(uuid, &e))
    }

    pub(super) async fn job(&self, uuid: Uuid, target: &str) -> PortResult<Option<DiskJob>> {
        let calls = self.quick().await?;
        let domain = self.existing_domain(&calls, uuid).await?;
        let job_reply = calls.domain_get_block_job_info(&domain, target).await;
        let job = job_reply.map_err(|e| self.of_domain(uuid, &e))?;
        if job.found != 1 {
            return Ok(None);
        }
        let merges_into = match job.kind {
            block_job::ACTIVE_COMMIT => {
                let xml_reply = calls.domain_get_xml_desc(&domain, 0).await;
                let xml = xml_reply.map_err(|e| self.of_domain(uuid, &e))?;
                let object = format!("domain {uuid}");
                let target = target.to_owned();
                let file = self.parsed(xml, move |xml| domain_info::merges_into(xml, &target));
                file.await
                    .map_err(|e| self.speaking(&object).unreadable(&e))?
            }
            _ => None,
        };
        Ok(Some(DiskJob {
            merges_into,
            kind: block_job::words(job.kind),
            progress: MergeProgress {
                done: job.current,
                total: job.end,
            },
        }))
    }

    pub(super) async fn pivot(&self, uuid: Uuid, target: &str) -> PortResult<()> {
        let calls = self.long(START).await?;
        let domain = self.existing_domain(&calls, uuid).await?;
        let flags = block_flags::ABORT_PIVOT;
        let ended = calls.domain_block_job_abort(&domain, target, flags).await;
        ended.map_err(|error| self.of_domain(uuid, &error))
    }

    pub(super) async fn wake_paused(&self, uuid: Uuid) -> PortResult<()> {
        let calls = self.long(START).await?;
        let domain = self.existing_domain(&calls, uuid).await?;
        let started = calls.domain_create_with_flags(&domain, domain_flags::START_PAUSED);
        started
            .await
            .map(drop)
            .map_err(|e| self.of_domain(uuid, &e))
    }
}
