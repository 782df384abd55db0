//! Brings the guest down.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::moved;
use crate::{
    error, ownership,
    ports::{DomainInfo, DomainState, HostPorts, Hosts, PortErrorKind, PortResult},
};

const POLL: Duration = Duration::from_millis(500);
/// The first look; each next one comes later. Small guests are down in a blink.
const FIRST: Duration = Duration::from_millis(50);

/// A guest that is still going through its grace is asked again after this long, then after twice as long.
const FIRST_REMINDER: Duration = Duration::from_secs(2);
/// And at least this often, as OpenStack's `shutdown_retry_interval` does.
const LONGEST_REMINDER: Duration = Duration::from_secs(10);

/// Asks the guest to shut down, waits for its grace, then ends it. It asks more than once: a guest whose
/// system is not up yet does not hear it, and one that is going down does nothing new.
///
/// A crash in its middle leaves a guest that runs, goes down, or is off. The next attempt looks
/// and asks again; the grace then starts anew, which only gives the guest more time.
pub struct StopDomain {
    hosts: Arc<dyn Hosts>,
}

/// What [`StopDomain`] is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's id.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// Seconds the guest gets for an orderly end; with 0 it is not asked.
    pub grace_s: u64,
    /// Whether the guest boots anew afterwards, with other parts: memory that was saved does not
    /// fit those.
    #[serde(default)]
    pub boots_anew: bool,
}

/// How the guest came down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopMode {
    /// It was off, or there was no domain.
    Already,
    /// It shut down when asked.
    Shutdown,
    /// It was ended after its grace.
    Destroyed,
}

/// What [`StopDomain`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// How the guest came down.
    pub how: StopMode,
}

impl StopDomain {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for StopDomain {
    const NAME: &'static str = "stop_domain";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let domain = inspect(cx, &ports, params.uuid).await?;
        if active(domain.as_ref()).is_some() {
            return Ok(Observed::Needed);
        }
        without_memory(&ports, params, domain.as_ref())?;
        Ok(Observed::Present(Output {
            how: StopMode::Already,
        }))
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        ownership::not_behind_host(cx, &ports).await?;
        let domain = inspect(cx, &ports, params.uuid).await?;
        let how = match active(domain.as_ref()) {
            None => {
                without_memory(&ports, params, domain.as_ref())?;
                return Ok(Done::present(Output {
                    how: StopMode::Already,
                }));
            }
            // A guest that is suspended, or not up yet, hears nothing.
            Some(DomainState::Paused | DomainState::Starting) => end(&ports, params.uuid).await?,
            Some(_) if params.grace_s == 0 => end(&ports, params.uuid).await?,
            Some(_) if shut_down(cx, &ports, params).await? => StopMode::Shutdown,
            Some(_) => end(&ports, params.uuid).await?,
        };
        if params.boots_anew {
            // Somebody may have saved it instead, meanwhile.
            let again = inspect(cx, &ports, params.uuid).await?;
            without_memory(&ports, params, again.as_ref())?;
        }
        Ok(Done::updated(Output { how }))
    }
}

/// Our domain, if its guest is on this host.
async fn inspect(
    cx: &StepContext,
    ports: &HostPorts,
    uid: Uuid,
) -> Result<Option<DomainInfo>, Failure> {
    let domain = ownership::own_domain(cx, ports, uid).await?;
    moved::refused(ports, domain.as_ref())?;
    Ok(domain)
}

/// The state of a domain where it holds its disks.
fn active(domain: Option<&DomainInfo>) -> Option<DomainState> {
    let state = domain.map(|domain| domain.state);
    state.filter(|state| state.is_active())
}

/// Refuses what was saved with its memory where that would not fit what comes: what the guest had
/// not written to its disks yet is in that memory alone.
fn without_memory(
    ports: &HostPorts,
    params: &Params,
    domain: Option<&DomainInfo>,
) -> Result<(), Failure> {
    if !params.boots_anew || !domain.is_some_and(|domain| domain.saved) {
        return Ok(());
    }
    Err(error::SAVED_MEMORY
        .failure("the guest was saved with its memory, which a change of its parts would spoil")
        .on_host(ports.host.name())
        .of_object(format!("domain {}", params.uuid)))
}

/// Whether the guest was down within its grace.
async fn shut_down(cx: &StepContext, ports: &HostPorts, params: &Params) -> Result<bool, Failure> {
    off_is_fine(ports.domains.shutdown(params.uuid).await)?;
    let start = Instant::now();
    let grace = Duration::from_secs(params.grace_s);
    let (mut wait, mut reminder) = (FIRST, FIRST_REMINDER);
    let mut remind_at = start + reminder;
    while active(inspect(cx, ports, params.uuid).await?.as_ref()).is_some() {
        if start.elapsed() >= grace {
            return Ok(false);
        }
        if Instant::now() >= remind_at {
            off_is_fine(ports.domains.shutdown(params.uuid).await)?;
            reminder = reminder.saturating_mul(2).min(LONGEST_REMINDER);
            remind_at = Instant::now() + reminder;
        }
        cx.report(
            "shutting down",
            start.elapsed().as_secs(),
            Some(params.grace_s),
        );
        tokio::select! {
            biased;
            () = tokio::time::sleep(wait.min(grace.saturating_sub(start.elapsed()))) => {}
            () = cx.stopped.cancelled() => {
                return Err(error::OUTCOME_UNKNOWN.failure("stopped waiting for the guest's end"));
            }
        }
        wait = wait.saturating_mul(2).min(POLL);
    }
    Ok(true)
}

async fn end(ports: &HostPorts, uid: Uuid) -> Result<StopMode, Failure> {
    off_is_fine(ports.domains.destroy(uid).await)?;
    Ok(StopMode::Destroyed)
}

/// The guest may go down between our look and our call.
fn off_is_fine(result: PortResult<()>) -> Result<(), Failure> {
    match result {
        Err(error)
            if !matches!(
                error.kind,
                PortErrorKind::WrongState | PortErrorKind::Missing
            ) =>
        {
            Err(error.into())
        }
        _ => Ok(()),
    }
}
