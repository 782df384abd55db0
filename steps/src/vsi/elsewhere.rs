//! Finds a VSI on another host than its own: an administrator moved it there, or this journal is a copy that was
//! restored from a backup and does not know where it was made since.

use std::sync::Arc;

use uuid::Uuid;
use vsiflow_engine::{
    model::{Failure, Name},
    step::{Step as _, StepContext},
};

use super::{AdoptDomain, DefineDomain};
use crate::{
    error, other_hosts, ownership,
    ports::{DomainInfo, HostPorts, Hosts},
};

/// Refuses to act for a VSI that is not on its host although this journal defined it there, if another host has its
/// domain: with `virsh migrate --undefinesource` nothing of it remains on its own. Hosts that do not answer are left
/// out: that one of them has it is less likely than that somebody removed its definition.
///
/// # Errors
/// Blocked, `VSI0217`.
pub(super) async fn refuse_moved(
    cx: &StepContext,
    hosts: &Arc<dyn Hosts>,
    here: &str,
    uid: Uuid,
) -> Result<(), Failure> {
    let mut makers = [DefineDomain::NAME, AdoptDomain::NAME].into_iter();
    if !makers.any(|step| cx.recorded.was_intended(&cx.entity, &Name::of(step))) {
        return Ok(());
    }
    let is_it = |domain: &DomainInfo| domain.uuid == uid;
    match search(hosts, here, is_it).await {
        None => Ok(()),
        Some((ports, _)) => Err(error::MOVED
            .failure("the guest was moved to this host")
            .on_host(ports.host.name())
            .of_object(format!("domain {uid}"))),
    }
}

/// Refuses to make a VSI where its host has none, in a journal that may have forgotten what it did: if its host shows
/// that, or if another host has the VSI's domain, or a domain of its name that this journal made and does not know.
/// Other hosts that do not answer are left out.
///
/// On its own host every unknown change counts, as before anything that cannot be undone: a newer VSI of another name
/// may have the address that this one would get.
///
/// # Errors
/// Blocked, `VSI0211`; port errors of its own host by their kind.
pub(super) async fn refuse_forgotten(
    cx: &StepContext,
    hosts: &Arc<dyn Hosts>,
    here: &str,
    ports: &HostPorts,
    uid: Uuid,
    title: &str,
) -> Result<(), Failure> {
    if !hosts.has_forgotten() {
        return Ok(());
    }
    ownership::not_behind_host(cx, ports).await?;
    let is_it = |domain: &DomainInfo| {
        let is_namesake = !title.is_empty() && domain.title.as_deref() == Some(title);
        domain.uuid == uid || is_namesake && ownership::not_behind(cx, domain).is_err()
    };
    match search(hosts, here, is_it).await {
        None => Ok(()),
        Some((other, domain)) => Err(error::JOURNAL_BEHIND
            .failure("this host has the VSI, and this copy of the journal does not know that")
            .on_host(other.host.name())
            .of_object(format!("domain {}", domain.uuid))),
    }
}

/// A domain on another host.
async fn search(
    hosts: &Arc<dyn Hosts>,
    here: &str,
    is_it: impl Fn(&DomainInfo) -> bool,
) -> Option<(HostPorts, DomainInfo)> {
    let is_it = &is_it;
    let look = |ports: HostPorts| async move {
        let domains = ports.domains.domains().await?;
        let domain = domains.into_iter().find(is_it);
        Ok(domain.map(|domain| (ports, domain)))
    };
    other_hosts::first_answer(hosts, here, look).await
}
