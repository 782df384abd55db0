//! Layers over the disks of running domains, and the jobs that merge them.

use serde::Deserialize;

use super::{Procedure, RemoteDomain};
use crate::{connection::Calls, error::Result};

/// A snapshot of libvirt's (`remote_nonnull_domain_snapshot`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RemoteSnapshot {
    /// Its name.
    pub name: String,
    /// Its domain.
    pub domain: RemoteDomain,
}

/// A job on a disk, and how far it is (`virDomainBlockJobInfo`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct BlockJob {
    /// 1 where there is a job; the rest means nothing without one.
    pub found: i32,
    /// Which (`virDomainBlockJobType`); 4 merges the layer that the guest writes into.
    pub kind: i32,
    /// Its limit, MiB per second; 0 is none.
    pub bandwidth: u64,
    /// How far it is, in units of its own.
    pub current: u64,
    /// Where it ends, in the same.
    pub end: u64,
}

/// Flags of calls on layers.
pub mod block_flags {
    /// `VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA`: libvirt itself keeps nothing of it.
    pub const SNAPSHOT_NO_METADATA: u32 = 4;
    /// `VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY`: without memory.
    pub const SNAPSHOT_DISK_ONLY: u32 = 16;
    /// `VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE`: the guest's agent holds its file systems still.
    pub const SNAPSHOT_QUIESCE: u32 = 64;
    /// `VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC`: of all disks or of none.
    pub const SNAPSHOT_ATOMIC: u32 = 128;
    /// `VIR_DOMAIN_BLOCK_COMMIT_SHALLOW`: into the file right below.
    pub const COMMIT_SHALLOW: u32 = 1;
    /// `VIR_DOMAIN_BLOCK_COMMIT_ACTIVE`: the layer that the guest writes into.
    pub const COMMIT_ACTIVE: u32 = 4;
    /// `VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT`: the guest continues with the file that was merged into.
    pub const ABORT_PIVOT: u32 = 2;
}

impl Calls {
    /// Makes a snapshot as its XML says.
    ///
    /// # Errors
    /// 55 where the domain is in the wrong state, 67 where the XML asks for what it cannot do, 38 where
    /// a file cannot be made, 86 where no agent answers for `QUIESCE`.
    pub async fn domain_snapshot_create_xml(
        &self,
        domain: &RemoteDomain,
        xml: &str,
        flags: u32,
    ) -> Result<RemoteSnapshot> {
        let args = (domain, xml, flags);
        self.call(Procedure::DomainSnapshotCreateXml, &args).await
    }

    /// Begins to merge a layer of a disk (by target name) into the file below it.
    ///
    /// # Errors
    /// 55 where the domain does not run; 38, 67 and others where a job is there already.
    pub async fn domain_block_commit(
        &self,
        domain: &RemoteDomain,
        disk: &str,
        flags: u32,
    ) -> Result<()> {
        let none: Option<&str> = None;
        let unlimited = 0_u64;
        let args = (domain, disk, none, none, unlimited, flags);
        self.call(Procedure::DomainBlockCommit, &args).await
    }

    /// The job on a disk.
    ///
    /// # Errors
    /// 55 where the domain does not run.
    pub async fn domain_get_block_job_info(
        &self,
        domain: &RemoteDomain,
        disk: &str,
    ) -> Result<BlockJob> {
        let args = (domain, disk, 0_u32);
        self.call(Procedure::DomainGetBlockJobInfo, &args).await
    }

    /// Ends the job on a disk.
    ///
    /// # Errors
    /// 55 where the domain does not run; another where the job is not ready to be ended so.
    pub async fn domain_block_job_abort(
        &self,
        domain: &RemoteDomain,
        disk: &str,
        flags: u32,
    ) -> Result<()> {
        let args = (domain, disk, flags);
        self.call(Procedure::DomainBlockJobAbort, &args).await
    }
}
