//! Whose a domain is: its metadata and our journal together say so.

use uuid::Uuid;
use vsiflow_engine::{model::Failure, step::StepContext};

use crate::{
    error,
    ports::{DomainInfo, HostPorts, OwnerMark},
};

/// The mark that this run puts on what it makes.
pub fn mark(cx: &StepContext, uid: Uuid) -> OwnerMark {
    OwnerMark {
        journal: cx.journal_id.to_string(),
        uid: uid.to_string(),
        generation: cx.generation,
        sequence: cx.sequence,
    }
}

/// Whether the domain's mark names our journal and this UID.
pub fn is_ours(cx: &StepContext, domain: &DomainInfo, uid: Uuid) -> bool {
    let ours = |mark: &OwnerMark| mark.journal == *cx.journal_id && mark.uid == uid.to_string();
    domain.uuid == uid && domain.mark.as_ref().is_some_and(ours)
}

/// The VSI's own domain; `None` where the host has none of that UUID.
///
/// # Errors
/// Blocked when the domain is another's, or when it was touched by a run that this journal does
/// not know (a restored or rolled-back journal). Port errors by their kind.
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
        let whose = match &domain.mark {
            Some(mark) => format!("it belongs to journal {}", mark.journal),
            None => "it bears no mark of vsiflow".to_owned(),
        };
        let failure =
            error::NOT_OURS.failure(format!("a domain of this UUID is there and {whose}"));
        return Err(failure
            .on_host(ports.host.name())
            .of_object(format!("domain {uid}")));
    }
    not_behind(cx, domain).map_err(|failure| failure.on_host(ports.host.name()))
}

/// Holds that the domain was not touched by a run newer than ours.
///
/// One run at a time acts for a VSI and sequences only grow, so a higher one in the VSI's own
/// domain means that this journal is an older copy.
///
/// # Errors
/// Blocked, `VSI0211`.
pub fn not_behind(cx: &StepContext, domain: &DomainInfo) -> Result<(), Failure> {
    match &domain.mark {
        Some(mark) if mark.journal == *cx.journal_id && mark.sequence > cx.sequence => {
            let message = format!(
                "the domain was touched by run {} of this journal, which knows only {}",
                mark.sequence, cx.sequence
            );
            Err(error::JOURNAL_BEHIND
                .failure(message)
                .of_object(format!("domain {}", domain.uuid)))
        }
        _ => Ok(()),
    }
}

/// The highest sequence of `journal` in the marks of these domains: above the journal's own
/// newest, that journal is behind the host.
pub fn newest_sequence(journal: &str, domains: &[DomainInfo]) -> Option<u64> {
    let marks = domains.iter().filter_map(|domain| domain.mark.as_ref());
    marks
        .filter(|mark| mark.journal == journal)
        .map(|mark| mark.sequence)
        .max()
}
