//! Stores evidence of a failed boot before anything is deleted.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use crate::{
    hpl,
    ports::{HostPorts, Hosts, PortErrorKind, VolumeKey},
};

/// Maximum number of bytes at the end of a console that are read.
const READ_MAX: u64 = 1024 * 1024;
/// Maximum number of bytes at the end of a console that are stored.
const KEEP_MAX: usize = 64 * 1024;

/// Reads the end of the console and the domain's definition into its output.
///
/// The step changes nothing, so a crash during it leaves nothing; the next attempt reads again. What no
/// longer exists is left out.
pub struct KeepEvidence {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`KeepEvidence`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// The console log.
    pub console: VolumeKey,
}

/// What [`KeepEvidence`] stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The end of the console, at most 64 KiB of text without control characters.
    pub console_tail: String,
    /// The domain's definition; empty if there is none.
    pub domain_xml: String,
}

impl KeepEvidence {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for KeepEvidence {
    const NAME: &'static str = "keep_evidence";
    type Params = Params;
    type Output = Output;

    async fn observe(&self, _: &StepContext, _: &Params) -> Result<Observed<Output>, Failure> {
        Ok(Observed::Needed)
    }

    async fn run(&self, _: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let domain = ports.domains.domain(params.uuid).await?;
        let domain_xml = domain.map(|domain| domain.xml).unwrap_or_default();
        let console_tail = text(&tail(&ports, &params.console).await?);
        Ok(Done::created(Output {
            console_tail,
            domain_xml,
        }))
    }
}

/// The end of the console, including the rotated file.
async fn tail(ports: &HostPorts, log: &VolumeKey) -> Result<Vec<u8>, Failure> {
    let newest = end_of(ports, log, READ_MAX).await?;
    let room = READ_MAX.saturating_sub(newest.len() as u64);
    if room == 0 {
        return Ok(newest);
    }
    let rotated = VolumeKey {
        pool: log.pool.clone(),
        name: format!("{}.0", log.name),
    };
    let mut evidence = end_of(ports, &rotated, room).await?;
    evidence.extend_from_slice(&newest);
    Ok(evidence)
}

/// At most the last `most` bytes of a volume; empty if it, or its pool, does not exist.
async fn end_of(ports: &HostPorts, key: &VolumeKey, most: u64) -> Result<Vec<u8>, Failure> {
    let volume = match ports.storage.volume(key).await {
        Ok(Some(volume)) => volume,
        Ok(None) => return Ok(Vec::new()),
        Err(error) if is_gone(error.kind) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let mut position = volume.physical.saturating_sub(most);
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < most {
        let remaining = most.saturating_sub(bytes.len() as u64);
        let chunk = match ports.storage.read(key, position, remaining).await {
            Err(error) if is_gone(error.kind) => break,
            read => read?,
        };
        if chunk.is_empty() {
            break;
        }
        position = position.saturating_add(chunk.len() as u64);
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn is_gone(kind: PortErrorKind) -> bool {
    matches!(kind, PortErrorKind::Missing | PortErrorKind::PoolMissing)
}

/// The last [`KEEP_MAX`] bytes as plain lines.
fn text(bytes: &[u8]) -> String {
    let lines = bytes
        .split(|byte| *byte == b'\n')
        .map(|line| hpl::plain(line) + "\n");
    let text: String = lines.collect();
    let start = text.len().saturating_sub(KEEP_MAX);
    let start = (start..text.len())
        .find(|position| text.is_char_boundary(*position))
        .unwrap_or(text.len());
    text.get(start..).unwrap_or_default().trim_end().to_owned()
}
