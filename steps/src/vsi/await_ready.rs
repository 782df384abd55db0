//! Waits until the guest is ready: its console is read and its probes are asked until the boot is
//! decided.

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

/// Reads the console from where the boot began, asks what its probes name, and ends when the guest
/// is ready, has failed, has stopped, or has used up its time.
///
/// A probe that was met once stays met. A Hyper Protect guest says on its console that it is ready;
/// its probes come on top of that.
///
/// A guest that took up its saved memory was ready before: of that one only its state is read.
///
/// It changes nothing on the host. Its checkpoint holds the position, the unfinished line and the
/// time that is left; after a crash the next attempt continues there. Time counts while it watches,
/// by the monotonic clock: neither a restart nor a jump of the wall clock ends a boot early.
pub struct AwaitReady {
    hosts: Arc<dyn Hosts>,
}

/// What [`AwaitReady`] is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's id.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// The console's log.
    pub console: VolumeKey,
    /// Seconds until a boot that is not decided counts as failed.
    pub deadline_s: u64,
    /// The guest's network cards, to learn its addresses.
    #[serde(default)]
    pub cards: Vec<Card>,
    /// What runs in it.
    #[serde(default, skip_serializing_if = "GuestType::is_hyper_protect")]
    pub guest: GuestType,
    /// What shows that it is ready, all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
}

/// What [`AwaitReady`] saw of a guest that became ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The line by which the guest said so.
    pub ready_line: String,
    /// Lines with codes that people should see; the last few of them.
    pub warnings: Vec<String>,
    /// Where the console was read to.
    pub console: ConsolePosition,
    /// The end of the console, at most 16 KiB of text without control characters.
    #[serde(default)]
    pub console_tail: String,
    /// The addresses that the networks gave to the guest.
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
    /// The line by which a guest said that it is ready, while its probes are not met yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    said_ready: Option<String>,
    /// What was found of the probes.
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
    // Journals know it by the name that it had when consoles were all that it looked at.
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
        // What decided a boot is read again until its decision is recorded: only an attempt that
        // ended without one saves how far it came.
        if decided
            .as_ref()
            .is_err_and(|failure| failure.class != FailureClass::Failed)
        {
            watch.save().await?;
        }
        decided.map(Done::present)
    }
}
