//! Calls on layers over the disks of running domains, and on the jobs that merge them.

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

/// A job on a disk and its progress (`virDomainBlockJobInfo`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct BlockJob {
    /// 1 if there is a job; otherwise the other fields are meaningless.
    pub found: i32,
    /// The type of job (`virDomainBlockJobType`); 4 merges the active layer.
    pub kind: i32,
    /// Its bandwidth limit in MiB per second; 0 means no limit.
    pub bandwidth: u64,
    /// Its current position, in units of the job.
    pub current: u64,
    /// Its end position, in the same units.
    pub end: u64,
}

/// Types of jobs on disks (`virDomainBlockJobType`).
pub mod block_job {
    /// `VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT`: merges the file that the guest writes to into one below.
    pub const ACTIVE_COMMIT: i32 = 4;

    /// A type in words.
    pub fn words(kind: i32) -> String {
        match kind {
            1 => "block pull".to_owned(),
            2 => "block copy".to_owned(),
            3 => "block commit".to_owned(),
            ACTIVE_COMMIT => "active block commit".to_owned(),
            5 => "backup".to_owned(),
            other => format!("block job of type {other}"),
        }
    }
}

/// Flags of block calls.
pub mod block_flags {
    /// `VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA`: libvirt stores no metadata of the snapshot.
    pub const SNAPSHOT_NO_METADATA: u32 = 4;
    /// `VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY`: without memory.
    pub const SNAPSHOT_DISK_ONLY: u32 = 16;
    /// `VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE`: the guest's agent freezes its file systems.
    pub const SNAPSHOT_QUIESCE: u32 = 64;
    /// `VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC`: all disks or none.
    pub const SNAPSHOT_ATOMIC: u32 = 128;
    /// `VIR_DOMAIN_BLOCK_COMMIT_SHALLOW`: merge into the file directly below.
    pub const COMMIT_SHALLOW: u32 = 1;
    /// `VIR_DOMAIN_BLOCK_COMMIT_ACTIVE`: merge the active layer, into which the guest writes.
    pub const COMMIT_ACTIVE: u32 = 4;
    /// `VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT`: the guest continues with the file that was merged into.
    pub const ABORT_PIVOT: u32 = 2;
}

impl Calls {
    /// Creates a snapshot from its XML.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) if the domain is in the wrong state, `VIR_ERR_CONFIG_UNSUPPORTED`
    /// (67) if it does not support what the XML requests, `VIR_ERR_SYSTEM_ERROR` (38) if a file cannot be
    /// created, `VIR_ERR_AGENT_UNRESPONSIVE` (86) if no agent responds to `QUIESCE`.
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
    /// `VIR_ERR_OPERATION_INVALID` (55) if the domain does not run; `VIR_ERR_SYSTEM_ERROR` (38),
    /// `VIR_ERR_CONFIG_UNSUPPORTED` (67) and others if the disk already has a job.
    pub async fn domain_block_commit(
        &self,
        domain: &RemoteDomain,
        disk: &str,
        flags: u32,
    ) -> Result<()> {
        let no_file: Option<&str> = None;
        let unlimited = 0_u64;
        let args = (domain, disk, no_file, no_file, unlimited, flags);
        self.call(Procedure::DomainBlockCommit, &args).await
    }

    /// The job on a disk.
    ///
    /// # Errors
    /// `VIR_ERR_OPERATION_INVALID` (55) if the domain does not run.
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
    /// `VIR_ERR_OPERATION_INVALID` (55) if the domain does not run; another code if the job cannot be ended
    /// like this yet.
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
