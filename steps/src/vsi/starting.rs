//! Waits for domains that libvirt is still starting.

use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;
use vsiflow_engine::{model::Failure, step::StepContext};

use crate::{
    error, ownership,
    ports::{DomainInfo, DomainState, HostPorts},
};

const POLL: Duration = Duration::from_millis(100);
/// How long one attempt waits; the next one waits again.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Our domain, once it is known whether it runs.
///
/// A libvirtd that died during a start finds the domain's process when it is back, reports the domain as
/// starting, and ends it a moment later (`qemuProcessReconnect` in libvirt's `src/qemu/qemu_process.c`).
/// Such a domain must not count as running. Changes nothing.
///
/// # Errors
/// `VSI0111` if it is still starting after a minute, `VSI0104` if the process is asked to end before that, and the
/// errors of reading the domain.
pub(super) async fn decided(
    cx: &StepContext,
    ports: &HostPorts,
    uid: Uuid,
) -> Result<Option<DomainInfo>, Failure> {
    let begin = Instant::now();
    loop {
        let domain = ownership::own_domain(cx, ports, uid).await?;
        let is_starting = |of: &&DomainInfo| of.state == DomainState::Starting;
        let Some(starting) = domain.as_ref().filter(is_starting) else {
            return Ok(domain);
        };
        if begin.elapsed() >= WAIT_MAX {
            return Err(lasts(ports, starting));
        }
        tokio::select! {
            biased;
            () = cx.stopped.cancelled() => return Err(undecided(ports, uid)),
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

/// The failure about a domain whose start comes to no end.
pub(super) fn lasts(ports: &HostPorts, domain: &DomainInfo) -> Failure {
    error::START_LASTS
        .failure(format!(
            "libvirt says that it is still starting the domain {}",
            domain.name
        ))
        .on_host(ports.host.name())
        .of_object(format!("domain {}", domain.uuid))
}

fn undecided(ports: &HostPorts, uid: Uuid) -> Failure {
    error::BUSY
        .failure("libvirt is still starting the domain")
        .on_host(ports.host.name())
        .of_object(format!("domain {uid}"))
}
