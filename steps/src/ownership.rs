//! Decides who owns a domain, from its metadata and this journal.

use uuid::Uuid;
use vsiflow_engine::{
    model::{Failure, Name},
    step::{Step as _, StepContext},
};

use crate::{
    error, host_text,
    ports::{DomainInfo, HostPorts, OwnerMark},
    vsi::{AdoptDomain, DefineDomain},
};

/// The mark that this run writes on the domains it makes.
pub fn mark(cx: &StepContext, uid: Uuid) -> OwnerMark {
    OwnerMark {
        journal: cx.journal_id.to_string(),
        uid: uid.to_string(),
        generation: cx.generation,
        sequence: cx.sequence,
        run: Some(cx.run),
        snapshot: None,
    }
}

/// Whether the domain's mark names our journal and this UID.
pub fn is_ours(cx: &StepContext, domain: &DomainInfo, uid: Uuid) -> bool {
    let ours = |mark: &OwnerMark| is_of(cx, mark) && mark.uid == uid.to_string();
    domain.uuid == uid && domain.mark.as_ref().is_some_and(ours)
}

/// A domain's name for people: a VSI of ours by namespace and name, any other by its own name.
pub fn called(cx: &StepContext, domain: &DomainInfo) -> String {
    let name = host_text::shown(&domain.name);
    match &domain.title {
        Some(title) if is_ours(cx, domain, domain.uuid) => format!("VSI {title} (domain {name})"),
        _ => format!("domain {name}"),
    }
}

/// The VSI's own domain; `None` if the host has none of that UUID.
///
/// # Errors
/// Blocked if the domain is foreign, or was changed by a run that this journal does not know (a restored
/// or rolled-back journal). Port errors by their kind.
pub async fn own_domain(
    cx: &StepContext,
    ports: &HostPorts,
    uid: Uuid,
) -> Result<Option<DomainInfo>, Failure> {
    let domain = ports.domains.domain(uid).await?;
    if let Some(domain) = &domain {
        ours_and_not_ahead(cx, ports, domain, uid)?;
    }
    Ok(domain)
}

fn ours_and_not_ahead(
    cx: &StepContext,
    ports: &HostPorts,
    domain: &DomainInfo,
    uid: Uuid,
) -> Result<(), Failure> {
    if !is_ours(cx, domain, uid) {
        let owner = match &domain.mark {
            Some(mark) => format!("it belongs to journal {}", mark.journal),
            None => "it has no mark of vsiflow".to_owned(),
        };
        let failure =
            error::NOT_OURS.failure(format!("a domain with this UUID exists, and {owner}"));
        return Err(failure
            .on_host(ports.host.name())
            .of_object(format!("domain {uid}")));
    }
    not_behind(cx, domain).map_err(|failure| failure.on_host(ports.host.name()))
}

/// Checks that this journal knows the run that last changed the domain.
///
/// Only [`DefineDomain`] and [`AdoptDomain`] write marks, and each of their attempts is recorded before
/// it begins. So if this journal does not know the run in a mark of its own, a newer copy of it wrote the
/// mark: this copy was restored from a backup, or rolled back.
///
/// # Errors
/// Blocked, `VSI0211`.
pub fn not_behind(cx: &StepContext, domain: &DomainInfo) -> Result<(), Failure> {
    let Some(mark) = domain.mark.as_ref().filter(|mark| is_of(cx, mark)) else {
        return Ok(());
    };
    let markers = [DefineDomain::NAME, AdoptDomain::NAME].map(Name::of);
    let attempted = |run| (markers.iter()).any(|step| cx.recorded.was_attempted(run, step));
    let is_known = match mark.run {
        Some(run) => attempted(run),
        None => mark.sequence <= cx.sequence,
    };
    if is_known {
        return Ok(());
    }
    let message = format!(
        "domain {} was touched by a run of this journal (at offset {}) that this copy of it does \
         not know",
        domain.name, mark.sequence
    );
    Err(error::JOURNAL_BEHIND
        .failure(message)
        .of_object(format!("domain {}", domain.uuid)))
}

/// Checks [`not_behind`] for every domain on the host: an unknown change of one VSI shows that the whole
/// journal is an older copy. Called before anything that cannot be undone.
///
/// # Errors
/// As for [`not_behind`]; port errors by their kind.
pub async fn not_behind_host(cx: &StepContext, ports: &HostPorts) -> Result<(), Failure> {
    let domains = ports.domains.domains().await?;
    none_ahead(cx, ports, &domains)
}

/// [`not_behind_host`] for domains that were already read.
///
/// # Errors
/// As for [`not_behind`].
pub fn none_ahead(
    cx: &StepContext,
    ports: &HostPorts,
    domains: &[DomainInfo],
) -> Result<(), Failure> {
    domains
        .iter()
        .try_for_each(|domain| not_behind(cx, domain))
        .map_err(|failure| failure.on_host(ports.host.name()))
}

fn is_of(cx: &StepContext, mark: &OwnerMark) -> bool {
    mark.journal == *cx.journal_id
}
