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

/// A VSI by everything that no other domain may have.
#[derive(Clone, Copy)]
pub(super) struct VsiIdentity<'a> {
    pub(super) uid: Uuid,
    /// `namespace/name`; empty if an older version recorded none.
    pub(super) title: &'a str,
    /// Its MAC addresses, as far as they are known and not derived from the UID.
    pub(super) macs: &'a [String],
}

impl VsiIdentity<'_> {
    /// Whether the domain has its name or one of its addresses.
    fn is_shared_with(&self, domain: &DomainInfo) -> bool {
        self.macs.iter().any(|mac| has_address(domain, mac))
            || !self.title.is_empty() && domain.title.as_deref() == Some(self.title)
    }

    /// Whether the domain has each of its addresses.
    pub(super) fn has_all_addresses(&self, domain: &DomainInfo) -> bool {
        self.macs.iter().all(|mac| has_address(domain, mac))
    }
}

fn has_address(domain: &DomainInfo, mac: &str) -> bool {
    let mut cards = domain.shapes().flat_map(|shape| &shape.nics);
    cards.any(|card| card.mac.eq_ignore_ascii_case(mac))
}

/// Refuses to make a VSI where its host has none, or to give it another address, in a journal that may have forgotten
/// what it did: if its host shows that, or if another host has the VSI's domain, or a domain with its name or with an
/// address of it that this journal changed and does not know. Other hosts that do not answer are left out.
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
    vsi: VsiIdentity<'_>,
) -> Result<(), Failure> {
    if !hosts.has_forgotten() {
        return Ok(());
    }
    ownership::not_behind_host(cx, ports).await?;
    let is_it = |domain: &DomainInfo| {
        let is_unknown = || ownership::not_behind(cx, domain).is_err();
        domain.uuid == vsi.uid || vsi.is_shared_with(domain) && is_unknown()
    };
    match search(hosts, here, is_it).await {
        None => Ok(()),
        Some((other, domain)) => Err(error::JOURNAL_BEHIND
            .failure(
                "this host has the VSI, or another one with its name or its address, and this copy of the journal does not \
                 know that",
            )
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
