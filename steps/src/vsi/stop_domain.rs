//! Stops the guest.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use super::{
    delete_volumes::{VolumeToDelete, all_volumes},
    elsewhere, moved, starting,
};
use crate::{
    error,
    guards::{self, DomainToUndefine, own_disks},
    ownership,
    ports::{
        DomainInfo, DomainState, HostPorts, Hosts, Leftovers, PortErrorKind, PortResult, VolumeKey,
    },
};

const POLL: Duration = Duration::from_millis(500);
/// The first pause between two polls; it doubles up to `POLL`. Small guests stop quickly.
const FIRST_POLL: Duration = Duration::from_millis(50);

/// A guest that is still active during its grace period is asked again after this pause, which then
/// doubles.
const FIRST_REMINDER: Duration = Duration::from_secs(2);
/// Maximum pause between two requests, as OpenStack's `shutdown_retry_interval`.
const MAX_REMINDER: Duration = Duration::from_secs(10);

/// Asks the guest to shut down, waits for its grace period, then ends it. It asks more than once: a guest
/// whose system is not up yet ignores the request, and one that is shutting down ignores a second one.
///
/// A guest that is stopped to be deleted, or to get other disks, keeps running if the guards refuse what follows.
///
/// A guest that ends by itself ([`Params::ends_itself`]) is never asked nor ended.
///
/// A crash during the step leaves a guest that runs, shuts down, or is off. The next attempt checks and
/// asks again; the grace period then starts again, which only gives the guest more time.
pub struct StopDomain {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`StopDomain`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID.
    pub uuid: Uuid,
    /// Seconds that the guest has for an orderly shutdown; with 0 it is not asked.
    pub grace_s: u64,
    /// Whether the guest said that its boot failed, and so ends by itself within `grace_s`. One that runs on may have
    /// written what is to stay: the step fails, and the guest keeps running.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends_itself: bool,
    /// Whether the guest boots with other parts afterwards: saved memory does not fit those.
    #[serde(default)]
    pub boots_anew: bool,
    /// Whether a guest that an I/O error holds is not ended, unless `grace_s` is 0. It cannot shut down, so its
    /// stop would be like a power failure.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spares_held: bool,
    /// The disks whose content later steps of the run replace: a guest that runs is not stopped for that unless it is
    /// ordered, and nothing else uses them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<VolumeKey>,
    /// If disks are replaced: every volume that this journal names, or has named, as a disk that the guest writes to. A
    /// guest that writes to another file keeps running.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<VolumeKey>,
    /// Volumes that are deleted once the guest is off. If one may not be deleted, the guest keeps running.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<VolumeToDelete>,
    /// Data disks that stay when the definition of the guest is removed. If the guest writes to another file in the
    /// place of one, it keeps running.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stay: Vec<VolumeKey>,
}

/// How the guest was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StopMode {
    /// It was off, or there was no domain.
    Already,
    /// It shut down when asked.
    Shutdown,
    /// It was ended after its grace period.
    Destroyed,
}

/// What [`StopDomain`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// How the guest was stopped.
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
        if domain.is_none() {
            elsewhere::refuse_moved(cx, &self.hosts, &params.host, params.uuid).await?;
        }
        Ok(Observed::Present(Output {
            how: StopMode::Already,
        }))
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        ownership::not_behind_host(cx, &ports).await?;
        for volume in &params.replaced {
            guards::replacement_is_ordered(cx, Some(volume)).await?;
        }
        let domain = inspect(cx, &ports, params.uuid).await?;
        if let Some(domain) = domain.as_ref().filter(|domain| domain.state.is_active()) {
            if !params.replaced.is_empty() {
                own_disks::writes_only_to(cx, &ports, domain, &params.named).await?;
                guards::foresee(cx, &ports, &params.replaced, params.uuid).await?;
            }
            may_be_deleted(cx, &ports, domain, params).await?;
        }
        let mode = match active(domain.as_ref()) {
            None => {
                without_memory(&ports, params, domain.as_ref())?;
                if domain.is_none() {
                    elsewhere::refuse_moved(cx, &self.hosts, &params.host, params.uuid).await?;
                }
                return Ok(Done::present(Output {
                    how: StopMode::Already,
                }));
            }
            Some(_) if params.ends_itself => {
                if !is_off_within(cx, &ports, params, GuestEnd::ByItself).await? {
                    return Err(runs_on(&ports, params.uuid));
                }
                StopMode::Already
            }
            Some(_) if params.grace_s > 0 && params.spares_held && is_held(domain.as_ref()) => {
                return Err(would_end_hard(&ports, params.uuid));
            }
            // A guest that is suspended, or not up yet, ignores the request.
            Some(DomainState::Paused | DomainState::Starting) => {
                end(&ports, domain.as_ref(), params.uuid).await?
            }
            Some(_) if params.grace_s == 0 => end(&ports, domain.as_ref(), params.uuid).await?,
            Some(_) if is_off_within(cx, &ports, params, GuestEnd::WhenAsked).await? => {
                StopMode::Shutdown
            }
            Some(_) => end(&ports, domain.as_ref(), params.uuid).await?,
        };
        if params.boots_anew {
            // Another program may have saved it with its memory instead.
            let stopped = inspect(cx, &ports, params.uuid).await?;
            without_memory(&ports, params, stopped.as_ref())?;
        }
        Ok(Done::updated(Output { how: mode }))
    }
}

/// Checks that the guards will let a VSI be deleted whose guest is stopped for that.
async fn may_be_deleted(
    cx: &StepContext,
    ports: &HostPorts,
    domain: &DomainInfo,
    params: &Params,
) -> Result<(), Failure> {
    if params.volumes.is_empty() {
        return Ok(());
    }
    let volumes: Vec<VolumeToDelete> = all_volumes(params.uuid, &params.volumes).collect();
    let candidates = volumes.iter().map(|doomed| doomed.candidate(params.uuid));
    let undefined = DomainToUndefine {
        uuid: params.uuid,
        leftovers: Leftovers::Delete,
        volumes: &candidates.collect::<Vec<_>>(),
        stay: &params.stay,
    };
    guards::foresee_undefinition(cx, ports, domain, undefined).await
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

/// The state of a domain that holds its disks; `None` if it does not.
fn active(domain: Option<&DomainInfo>) -> Option<DomainState> {
    let state = domain.map(|domain| domain.state);
    state.filter(|state| state.is_active())
}

fn is_held(domain: Option<&DomainInfo>) -> bool {
    domain.is_some_and(DomainInfo::is_held_by_io_error)
}

fn would_end_hard(ports: &HostPorts, uid: Uuid) -> Failure {
    error::NOT_RUNNING
        .failure(
            "the guest is paused by an I/O error of a disk and cannot shut down: stopping it would end it hard, \
             like a power failure",
        )
        .with_remedy(END_HARD)
        .on_host(ports.host.name())
        .of_object(format!("domain {uid}"))
}

fn runs_on(ports: &HostPorts, uid: Uuid) -> Failure {
    error::BOOT_RUNS_ON
        .failure(
            "the guest said that its boot failed, and runs on; its boot disk was not made anew",
        )
        .on_host(ports.host.name())
        .of_object(format!("domain {uid}"))
}

const END_HARD: &str = "Make room in its pool or repair the disk, then `vsiflow unpause` and stop it again; or end \
     it with `vsiflow stop --force`.";

/// Refuses a domain that was saved with its memory if the next boot has other parts: data that the guest
/// had not written to its disks is only in that memory.
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

/// What a guest's end is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum GuestEnd {
    ByItself,
    WhenAsked,
}

/// Whether the guest stopped within its grace period.
async fn is_off_within(
    cx: &StepContext,
    ports: &HostPorts,
    params: &Params,
    guest_end: GuestEnd,
) -> Result<bool, Failure> {
    let asks = guest_end == GuestEnd::WhenAsked;
    if asks {
        off_is_fine(ports.domains.shutdown(params.uuid).await)?;
    }
    let start = Instant::now();
    let grace = Duration::from_secs(params.grace_s);
    let (mut wait, mut reminder) = (FIRST_POLL, FIRST_REMINDER);
    let mut remind_at = start + reminder;
    while active(inspect(cx, ports, params.uuid).await?.as_ref()).is_some() {
        if start.elapsed() >= grace {
            return Ok(false);
        }
        if asks && Instant::now() >= remind_at {
            off_is_fine(ports.domains.shutdown(params.uuid).await)?;
            reminder = reminder.saturating_mul(2).min(MAX_REMINDER);
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

async fn end(
    ports: &HostPorts,
    domain: Option<&DomainInfo>,
    uid: Uuid,
) -> Result<StopMode, Failure> {
    let ended = ports.domains.destroy(uid).await;
    let starting_domain = domain.filter(|domain| domain.state == DomainState::Starting);
    if let (Some(starting_domain), Err(error)) = (starting_domain, &ended)
        && error.kind == PortErrorKind::Busy
    {
        // libvirt does not end a start that it has lost.
        return Err(starting::lasts(ports, starting_domain));
    }
    off_is_fine(ended)?;
    Ok(StopMode::Destroyed)
}

/// The guest may stop between our observation and our call.
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
