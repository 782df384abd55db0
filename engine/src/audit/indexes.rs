//! The streams as their readers see them: what leads to the records has to be whole as well.

use std::collections::BTreeMap;

use super::{
    Flaw, Violation,
    findings::Findings,
    records::{PAGE, violation},
    streams::Streams,
};
use crate::{
    journal::{ChainedJournal, JournalError},
    model::StreamId,
};

/// Reads every stream the way the engine does, and names what it would stumble over.
pub(super) async fn check(
    journal: &dyn ChainedJournal,
    streams: &Streams,
    findings: &mut Findings,
) -> Result<(), JournalError> {
    let heads = match journal.streams().await {
        Err(JournalError::Damaged { place, why }) => {
            findings.add(violation(&place, &why));
            Vec::new()
        }
        heads => heads?,
    };
    let followed = streams.heads.iter();
    let mut ranges: BTreeMap<StreamId, (u64, u64)> = followed
        .map(|(stream, head)| (stream.clone(), (head.begin, head.next_seq)))
        .collect();
    for head in heads {
        let (_, end) = ranges.entry(head.stream).or_default();
        *end = head.next_seq.max(*end);
    }
    for (stream, (begin, end)) in &ranges {
        read(journal, stream, *begin, *end, findings).await?;
    }
    Ok(())
}

async fn read(
    journal: &dyn ChainedJournal,
    stream: &StreamId,
    begin: u64,
    end: u64,
    findings: &mut Findings,
) -> Result<(), JournalError> {
    let mut from = begin;
    while from < end && !findings.is_full() {
        let mut page = journal.read(stream, from, PAGE).await;
        if let Err(JournalError::Damaged { .. }) = page {
            page = journal.read(stream, from, 1).await;
        }
        match page {
            Ok(page) if page.is_empty() => {
                unlisted(stream, from, findings);
                return Ok(());
            }
            Ok(page) => from = from.saturating_add(page.len() as u64),
            Err(JournalError::Damaged { place, why }) => {
                findings.add(violation(&place, &why));
                from = from.saturating_add(1);
            }
            Err(other) => return Err(other),
        }
    }
    Ok(())
}

fn unlisted(stream: &StreamId, seq: u64, findings: &mut Findings) {
    if !findings.is_named(stream, seq) {
        let what = "its entry in the index of its stream is missing";
        let violation = Violation::of(Flaw::Missing, what);
        findings.add(violation.in_stream(stream.clone(), seq));
    }
}
