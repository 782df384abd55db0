//! Waits until the guest is ready: reads its console and asks its probes until the result of the boot is
//! known.

pub mod probes;
mod verdict;
mod watch;

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::{Failure, FailureClass},
    step::{Done, Observed, Step, StepContext},
};

use self::{probes::ProbeFound, watch::ReadyWatch};
use super::ready_report::Card;
use crate::{
    error,
    guest::{GuestType, Probe},
    ports::{ConsolePosition, Hosts, VolumeKey},
};

/// Reads the console from the start of the boot, asks the probes, and ends when the guest is ready, has
/// failed, has stopped, or has exceeded its deadline.
///
/// A probe that was met once counts as met. A Hyper Protect guest reports on its console that it is
/// ready; its probes are required in addition.
///
/// A guest that resumed its saved memory was ready before: only its state is read.
///
/// The step changes nothing on the host. Its checkpoint holds the position, the unfinished line and the
/// time that is left; after a crash the next attempt continues from it. Time counts only while it
/// watches, by the monotonic clock: neither a restart nor a jump of the wall clock ends a boot early.
pub struct AwaitReady {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`AwaitReady`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// The VSI's namespace; empty in runs that an earlier version recorded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The console log.
    pub console: VolumeKey,
    /// Seconds after which a boot without a result counts as failed.
    pub deadline_s: u64,
    /// The guest's network cards, to find its addresses.
    #[serde(default)]
    pub cards: Vec<Card>,
    /// The type of guest.
    #[serde(default, skip_serializing_if = "GuestType::is_hyper_protect")]
    pub guest: GuestType,
    /// The probes; all of them must be met.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
}

/// What [`AwaitReady`] found when the guest became ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The line by which the guest reported that it is ready.
    pub ready_line: String,
    /// The last lines with codes that people should see.
    pub warnings: Vec<String>,
    /// The position up to which the console was read.
    pub console: ConsolePosition,
    /// The end of the console, at most 16 KiB of text without control characters.
    #[serde(default)]
    pub console_tail: String,
    /// The addresses of the guest.
    #[serde(default)]
    pub addresses: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct WatchPlace {
    position: ConsolePosition,
    /// The line that has not ended yet, in base64.
    pending: String,
    left_ms: u64,
    warnings: Vec<String>,
    /// The part of the boot that was seen last.
    #[serde(default)]
    phase: String,
    /// The newest line that has ended.
    #[serde(default)]
    last: String,
    /// The line by which the guest reported that it is ready, while its probes are not met yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    said_ready: Option<String>,
    /// The results of the probes so far.
    #[serde(default, skip_serializing_if = "ProbeFound::is_empty")]
    found: ProbeFound,
}

impl AwaitReady {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for AwaitReady {
    // The stored name is from the time when the step only read consoles.
    const NAME: &'static str = "monitor_console";
    type Params = Params;
    type Output = Output;

    async fn observe(&self, _: &StepContext, _: &Params) -> Result<Observed<Output>, Failure> {
        Ok(Observed::Needed)
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let mut watch = ReadyWatch::resume(cx, params, ports).await?;
        watch.save().await?;
        let decided = tokio::select! {
            biased;
            decided = watch.decide() => decided,
            () = cx.stopped.cancelled() => {
                Err(error::OUTCOME_UNKNOWN.failure("the watch was stopped before the boot was decided"))
            }
        };
        // The lines that decided a boot are read again until the result is recorded: only an attempt
        // without a result saves its position.
        if decided
            .as_ref()
            .is_err_and(|failure| failure.class != FailureClass::Failed)
        {
            watch.save().await?;
        }
        decided.map(Done::present)
    }
}
