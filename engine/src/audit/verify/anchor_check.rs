//! Checks a journal against an audit anchor that was stored elsewhere.

use super::super::{AuditAnchor, Flaw, Violation};
use crate::{
    journal::{Missing, Offset},
    model::Hash,
};

/// Reports where the anchor contradicts the journal. `met` is the link of the batch that ends at
/// the anchor's offset, `end` is the end of the journal, `missing` are the ranges that cannot be
/// read.
pub(super) fn check(
    head: &AuditAnchor,
    journal_id: &str,
    met: Option<Hash>,
    end: Offset,
    missing: &[Missing],
) -> Vec<Violation> {
    let mut violations = Vec::new();
    if head.journal != journal_id {
        let theirs = &head.journal;
        let message = format!("the head is of the journal {theirs}, this one is {journal_id}");
        violations.push(Violation::of(Flaw::RolledBack, message));
    }
    let within = head.offset.filter(|_| met.is_none()).and_then(|offset| {
        let mut ranges = missing.iter();
        ranges.find(|range| (range.from..range.to).contains(&offset))
    });
    if let (Some(offset), Some(range)) = (head.offset, within) {
        let message = format!(
            "the head stored elsewhere is in a missing range ({range}): nothing shows \
             whether it is part of this journal"
        );
        violations.push(Violation::of(Flaw::Missing, message).at(offset));
    } else if let Some(offset) = head.offset
        && let Some(message) = difference(head, offset, met, end)
    {
        violations.push(Violation::of(Flaw::RolledBack, message).at(offset));
    }
    violations
}

fn difference(
    head: &AuditAnchor,
    offset: Offset,
    met: Option<Hash>,
    end: Offset,
) -> Option<String> {
    match met {
        Some(link) if link == head.link => None,
        Some(link) => Some(format!(
            "the history is different: the link is {link}, the head stored elsewhere says {}",
            head.link
        )),
        None if end <= offset => Some(format!(
            "the journal ends before offset {end}, the head stored elsewhere is at {offset}"
        )),
        None => {
            Some("the history is different: no batch ends at the head stored elsewhere".to_owned())
        }
    }
}
