//! A journal against a head that was kept elsewhere.

use super::super::{AuditAnchor, Flaw, Violation};
use crate::{
    journal::{Missing, Offset},
    model::Hash,
};

/// What the head says that the journal does not bear out: `met` is the link of the batch that
/// ends at the head's offset, `end` is where the journal ends, `missing` the ranges that cannot be
/// read.
pub(super) fn check(
    kept: &AuditAnchor,
    journal_id: &str,
    met: Option<Hash>,
    end: Offset,
    missing: &[Missing],
) -> Vec<Violation> {
    let mut found = Vec::new();
    if kept.journal != journal_id {
        let theirs = &kept.journal;
        let what = format!("the head is of the journal {theirs}, this one is {journal_id}");
        found.push(Violation::of(Flaw::RolledBack, what));
    }
    let within = kept.offset.filter(|_| met.is_none()).and_then(|offset| {
        let mut ranges = missing.iter();
        ranges.find(|range| (range.from..range.to).contains(&offset))
    });
    if let (Some(offset), Some(range)) = (kept.offset, within) {
        let what = format!(
            "the head stored elsewhere is in a missing range ({range}): nothing shows \
             whether it is part of this journal"
        );
        found.push(Violation::of(Flaw::Missing, what).at(offset));
    } else if let Some(offset) = kept.offset
        && let Some(what) = difference(kept, offset, met, end)
    {
        found.push(Violation::of(Flaw::RolledBack, what).at(offset));
    }
    found
}

fn difference(
    kept: &AuditAnchor,
    offset: Offset,
    met: Option<Hash>,
    end: Offset,
) -> Option<String> {
    match met {
        Some(link) if link == kept.link => None,
        Some(link) => Some(format!(
            "the history is different: the link is {link}, the head stored elsewhere says {}",
            kept.link
        )),
        None if end <= offset => Some(format!(
            "the journal ends before offset {end}, the head stored elsewhere is at {offset}"
        )),
        None => {
            Some("the history is different: no batch ends at the head stored elsewhere".to_owned())
        }
    }
}
