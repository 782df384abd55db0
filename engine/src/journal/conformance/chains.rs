//! Checks of the hash chains: their links cover all records, and writing a journal back reproduces
//! them.

use super::{
    super::{BatchLink, ChainedJournal, Stored},
    Check, Subject,
    support::{
        JournalCheckResult, append, check, entity, error_text, everything, holds, run, same,
    },
};
use crate::{
    journal::chain,
    model::{Hash, StreamId},
};

pub(super) const CHECKS: &[Check] = &[
    check!(stored_bytes_hold_the_records),
    check!(each_stream_is_a_chain),
    check!(batches_are_a_chain_over_all_records),
    check!(a_journal_written_back_is_the_same),
    check!(writing_back_refuses_what_does_not_follow),
];

async fn filled(subject: &dyn Subject) -> Result<std::sync::Arc<dyn ChainedJournal>, String> {
    let journal = subject.make().await?;
    for seq in 0..6 {
        let batch = vec![
            append(&entity("a")?, 2 * seq, 2),
            append(&run(seq % 2), seq / 2, 1),
        ];
        journal.append(batch).await.map_err(error_text)?;
    }
    Ok(journal)
}

async fn stored(journal: &dyn ChainedJournal) -> Result<Vec<Stored>, String> {
    journal.read_stored(0, usize::MAX).await.map_err(error_text)
}

async fn links(journal: &dyn ChainedJournal) -> Result<Vec<BatchLink>, String> {
    journal.read_links(0, usize::MAX).await.map_err(error_text)
}

async fn stored_bytes_hold_the_records(subject: &dyn Subject) -> JournalCheckResult {
    let journal = filled(subject).await?;
    let stored = stored(&*journal).await?;
    let records = stored
        .iter()
        .map(Stored::record)
        .collect::<Result<Vec<_>, _>>();
    same(
        "records",
        &records.map_err(error_text)?,
        &everything(&*journal).await?,
    )?;
    let parsed = stored
        .iter()
        .map(|stored| Stored::parse(stored.bytes.clone()));
    let parsed = parsed.collect::<Result<Vec<_>, _>>().map_err(error_text)?;
    same("what the bytes say", &parsed, &stored)?;
    let page = journal.read_stored(4, 3).await.map_err(error_text)?;
    same(
        "a page",
        &page,
        &stored.into_iter().skip(4).take(3).collect(),
    )
}

async fn each_stream_is_a_chain(subject: &dyn Subject) -> JournalCheckResult {
    let journal = filled(subject).await?;
    let mut heads = std::collections::BTreeMap::<StreamId, Hash>::new();
    for stored in stored(&*journal).await? {
        let prev = heads.get(&stored.stream).copied().unwrap_or_default();
        same("the link before", &stored.prev, &prev)?;
        let link = chain::link(prev, &stored.stream, stored.seq, &stored.bytes);
        same("the link", &stored.hash, &link)?;
        heads.insert(stored.stream, link);
    }
    let newest = journal.streams().await.map_err(error_text)?;
    let newest: Vec<_> = newest
        .into_iter()
        .map(|head| (head.stream, head.hash))
        .collect();
    same("the heads", &newest, &heads.into_iter().collect())
}

async fn batches_are_a_chain_over_all_records(subject: &dyn Subject) -> JournalCheckResult {
    let journal = filled(subject).await?;
    let stored = stored(&*journal).await?;
    let (mut prev, mut next) = (Hash::default(), 0);
    let links = links(&*journal).await?;
    for link in &links {
        let range = link.first..=link.last;
        let records = stored
            .iter()
            .filter(|stored| range.contains(&stored.offset));
        let expected = BatchLink::new(prev, next, link.last, records.map(|record| &record.hash));
        same("a link", link, &expected)?;
        (prev, next) = (link.hash, link.last.saturating_add(1));
    }
    same("records linked", &next, &(stored.len() as u64))?;
    same(
        "the head",
        &journal.head().await.map_err(error_text)?.as_ref(),
        &links.last(),
    )
}

/// Writes a journal back into another one, batch by batch, as a rebuild does.
async fn write_back(from: &dyn ChainedJournal, to: &dyn ChainedJournal) -> JournalCheckResult {
    let stored = stored(from).await?;
    for link in links(from).await? {
        let range = link.first..=link.last;
        let batch = stored
            .iter()
            .filter(|stored| range.contains(&stored.offset));
        let bytes = batch.map(|record| record.bytes.clone()).collect();
        same(
            "the link",
            &to.restore(bytes).await.map_err(error_text)?,
            &Some(link),
        )?;
    }
    Ok(())
}

async fn a_journal_written_back_is_the_same(subject: &dyn Subject) -> JournalCheckResult {
    let from = filled(subject).await?;
    let (records, chained, head) = (
        stored(&*from).await?,
        links(&*from).await?,
        from.head().await,
    );
    let to = subject.make().await?;
    write_back(&*from, &*to).await?;
    same("stored bytes", &stored(&*to).await?, &records)?;
    same("links", &links(&*to).await?, &chained)?;
    same("the head", &to.head().await, &head)?;
    let next = vec![append(&entity("a")?, 12, 1)];
    same(
        "what follows",
        &to.append(next.clone()).await,
        &from.append(next).await,
    )
}

async fn writing_back_refuses_what_does_not_follow(subject: &dyn Subject) -> JournalCheckResult {
    let from = filled(subject).await?;
    let bytes: Vec<_> = stored(&*from)
        .await?
        .into_iter()
        .map(|stored| stored.bytes)
        .collect();
    let to = subject.make().await?;
    let gap = bytes.iter().skip(1).cloned().collect();
    holds("a gap is refused", to.restore(gap).await.is_err())?;
    let turned: Vec<_> = bytes.iter().rev().cloned().collect();
    holds(
        "another order is refused",
        to.restore(turned).await.is_err(),
    )?;
    let mut flipped = bytes.clone();
    let byte = flipped
        .last_mut()
        .and_then(|last_record| last_record.last_mut());
    byte.into_iter().for_each(|byte| *byte ^= 1);
    let refused = to.restore(flipped).await;
    let damaged = matches!(refused, Err(error) if error.is_damage());
    holds("a flipped bit is refused", damaged)?;
    same("what was written", &everything(&*to).await?, &Vec::new())?;
    to.restore(bytes).await.map(drop).map_err(error_text)
}
