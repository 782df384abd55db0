//! Keeps what a failed boot left behind, before anything is torn down.

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
    ports::{HostPorts, Hosts, VolumeKey},
};

/// The most of a console that is looked at, in bytes from its end.
const LOOK_MAX: u64 = 1024 * 1024;
/// The most of it that is kept, in bytes from its end.
const KEEP_MAX: usize = 64 * 1024;

/// Reads the end of the console and the domain's definition into its output.
///
/// It changes nothing, so a crash in its middle leaves nothing; the next attempt reads again.
/// What is not there any more is simply not kept.
pub struct KeepEvidence {
    hosts: Arc<dyn Hosts>,
}

/// What [`KeepEvidence`] is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's id.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// The console's log.
    pub console: VolumeKey,
}

/// What [`KeepEvidence`] kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The end of the console, at most 64 KiB of text without control characters.
    pub console_tail: String,
    /// The domain's definition; empty where there is none.
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

async fn tail(ports: &HostPorts, log: &VolumeKey) -> Result<Vec<u8>, Failure> {
    let Some(volume) = ports.storage.volume(log).await? else {
        return Ok(Vec::new());
    };
    let mut at = volume.physical.saturating_sub(LOOK_MAX);
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < LOOK_MAX {
        let chunk = ports
            .storage
            .read(log, at, LOOK_MAX.saturating_sub(bytes.len() as u64))
            .await?;
        if chunk.is_empty() {
            break;
        }
        at = at.saturating_add(chunk.len() as u64);
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// The last [`KEEP_MAX`] bytes as plain lines.
fn text(bytes: &[u8]) -> String {
    let lines = bytes
        .split(|byte| *byte == b'\n')
        .map(|line| hpl::plain(line) + "\n");
    let text: String = lines.collect();
    let start = text.len().saturating_sub(KEEP_MAX);
    let start = (start..text.len())
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(text.len());
    text.get(start..).unwrap_or_default().trim_end().to_owned()
}
