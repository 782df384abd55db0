//! Checks the index of each stream: every record must be readable through its stream.

use std::collections::BTreeMap;

use super::{
    super::{Flaw, Violation},
    findings::VerifyFindings,
    records::{PAGE, violation},
    streams::Streams,
};
use crate::{
    journal::{ChainedJournal, JournalError},
    model::StreamId,
};

/// Reads every stream the way the engine does, and reports what cannot be read.
pub(super) async fn check(
    journal: &dyn ChainedJournal,
    streams: &mut Streams,
    findings: &mut VerifyFindings,
) -> Result<(), JournalError> {
    let heads = match journal.streams().await {
        Err(error) if error.is_damage() => {
            findings.add(violation(&error));
            Vec::new()
        }
        heads => heads?,
    };
    heads.iter().for_each(|head| streams.meet(head));
    let followed = streams.heads.iter();
    let mut ends: BTreeMap<StreamId, u64> = followed
        .map(|(stream, head)| (stream.clone(), head.next_seq))
        .collect();
    for head in heads {
        let end = ends.entry(head.stream).or_default();
        *end = head.next_seq.max(*end);
    }
    for (stream, end) in &ends {
        read(journal, streams, stream, *end, findings).await?;
    }
    Ok(())
}

async fn read(
    journal: &dyn ChainedJournal,
    streams: &Streams,
    stream: &StreamId,
    end: u64,
    findings: &mut VerifyFindings,
) -> Result<(), JournalError> {
    let gaps = streams.heads.get(stream).map(|head| head.gaps.as_slice());
    let missing = |from: u64, to: u64| {
        gaps.unwrap_or_default().contains(&(from, to))
            || (to == end && streams.may_miss(stream, from))
    };
    let mut from = 0;
    while from < end && !findings.is_full() {
        let mut page = journal.read(stream, from, PAGE).await;
        if page.as_ref().is_err_and(JournalError::is_damage) {
            page = journal.read(stream, from, 1).await;
        }
        match page {
            Ok(page) if page.is_empty() => {
                if !missing(from, end) {
                    unlisted(stream, from, findings);
                }
                return Ok(());
            }
            Ok(page) => {
                for record in page {
                    if record.seq != from && !missing(from, record.seq) {
                        unlisted(stream, from, findings);
                    }
                    from = record.seq.saturating_add(1);
                }
            }
            Err(error) if error.is_damage() => {
                findings.add(violation(&error));
                from = from.saturating_add(1);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn unlisted(stream: &StreamId, seq: u64, findings: &mut VerifyFindings) {
    if !findings.is_named(stream, seq) {
        let message = "its entry in the index of its stream is missing";
        let violation = Violation::of(Flaw::Missing, message);
        findings.add(violation.in_stream(stream.clone(), seq));
    }
}
