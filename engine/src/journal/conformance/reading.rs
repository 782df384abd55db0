//! Checks of what a journal returns when it is read.

use super::{
    super::{ChainedJournal, StreamHead},
    Check, Subject,
    support::{
        JournalCheckResult, append, check, entity, error_text, everything, holds, run, same,
    },
};

pub(super) const CHECKS: &[Check] = &[
    check!(an_empty_journal_is_empty),
    check!(reading_gives_what_append_returned),
    check!(a_stream_is_read_by_pages),
    check!(the_journal_is_read_by_pages),
    check!(an_unknown_stream_is_empty),
    check!(streams_are_told_from_those_with_like_names),
    check!(heads_are_sorted_and_newest),
    check!(reopening_keeps_everything),
];

async fn an_empty_journal_is_empty(subject: &dyn Subject) -> JournalCheckResult {
    let journal = subject.make().await?;
    same("records", &everything(&*journal).await?, &Vec::new())?;
    same("streams", &journal.streams().await, &Ok(Vec::new()))?;
    same("head", &journal.head().await, &Ok(None))
}

async fn reading_gives_what_append_returned(subject: &dyn Subject) -> JournalCheckResult {
    let journal = subject.make().await?;
    let (a, b) = (entity("a")?, run(1));
    let batch = vec![append(&a, 0, 3), append(&b, 0, 2)];
    let mut written = journal.append(batch).await.map_err(error_text)?;
    written.extend(
        journal
            .append(vec![append(&a, 3, 1)])
            .await
            .map_err(error_text)?,
    );
    same("the journal", &everything(&*journal).await?, &written)?;
    written.retain(|record| record.stream == a);
    let read = journal.read(&a, 0, usize::MAX).await.map_err(error_text)?;
    same("the stream", &read, &written)
}

async fn a_stream_is_read_by_pages(subject: &dyn Subject) -> JournalCheckResult {
    let journal = subject.make().await?;
    let (a, b) = (entity("a")?, run(1));
    for seq in 0..10 {
        let batch = vec![append(&a, seq, 1), append(&b, seq, 1)];
        journal.append(batch).await.map_err(error_text)?;
    }
    for (from, limit, expected) in [(0, 4, 0..4), (4, 4, 4..8), (8, 4, 8..10), (10, 4, 10..10)] {
        let page = journal.read(&a, from, limit).await.map_err(error_text)?;
        let seqs: Vec<_> = page.iter().map(|record| record.seq).collect();
        same("a page", &seqs, &expected.collect())?;
        holds(
            "a page of one stream",
            page.iter().all(|record| record.stream == a),
        )?;
    }
    same(
        "nothing asked",
        &journal.read(&a, 0, 0).await,
        &Ok(Vec::new()),
    )?;
    same(
        "past the end",
        &journal.read(&a, u64::MAX, 1).await,
        &Ok(Vec::new()),
    )
}

async fn the_journal_is_read_by_pages(subject: &dyn Subject) -> JournalCheckResult {
    let journal = subject.make().await?;
    for number in 0..10 {
        journal
            .append(vec![append(&run(number), 0, 1)])
            .await
            .map_err(error_text)?;
    }
    for (from, limit, expected) in [(0, 7, 0..7), (7, 7, 7..10), (10, 7, 10..10), (99, 1, 0..0)] {
        let page = journal.read_all(from, limit).await.map_err(error_text)?;
        let offsets: Vec<_> = page.iter().map(|record| record.offset).collect();
        same("a page", &offsets, &expected.collect())?;
    }
    same(
        "nothing asked",
        &journal.read_all(0, 0).await,
        &Ok(Vec::new()),
    )?;
    same(
        "past the end",
        &journal.read_all(u64::MAX, 1).await,
        &Ok(Vec::new()),
    )
}

async fn an_unknown_stream_is_empty(subject: &dyn Subject) -> JournalCheckResult {
    let journal = subject.make().await?;
    journal
        .append(vec![append(&entity("a")?, 0, 1)])
        .await
        .map_err(error_text)?;
    same(
        "another",
        &journal.read(&entity("b")?, 0, 9).await,
        &Ok(Vec::new()),
    )
}

async fn streams_are_told_from_those_with_like_names(subject: &dyn Subject) -> JournalCheckResult {
    let journal = subject.make().await?;
    let alike = ["a", "a/b", "a/b/c", "ab", "a.b", "a-", "A"];
    for id in alike {
        journal
            .append(vec![append(&entity(id)?, 0, 2)])
            .await
            .map_err(error_text)?;
    }
    for id in alike {
        let stream = entity(id)?;
        let read = journal
            .read(&stream, 0, usize::MAX)
            .await
            .map_err(error_text)?;
        same("events", &read.len(), &2)?;
        holds(
            "a stream of its own",
            read.iter().all(|record| record.stream == stream),
        )?;
    }
    same(
        "streams",
        &journal.streams().await.map_err(error_text)?.len(),
        &alike.len(),
    )
}

async fn heads_are_sorted_and_newest(subject: &dyn Subject) -> JournalCheckResult {
    let journal = subject.make().await?;
    for (id, count) in [("c", 1), ("a", 3), ("b.c", 2), ("b", 300)] {
        journal
            .append(vec![append(&entity(id)?, 0, count)])
            .await
            .map_err(error_text)?;
    }
    let last = journal
        .append(vec![append(&entity("a")?, 3, 1)])
        .await
        .map_err(error_text)?;
    let heads = journal.streams().await.map_err(error_text)?;
    let goes: Vec<_> = heads
        .iter()
        .map(|h| (h.stream.to_string(), h.next_seq))
        .collect();
    let expected = [("a", 4), ("b", 300), ("b.c", 2), ("c", 1)];
    let expected = expected.map(|(id, next)| (format!("entity/vsi/{id}"), next));
    same("heads", &goes, &expected.to_vec())?;
    same(
        "a link",
        &heads.first().map(|h| h.hash),
        &last.first().map(|record| record.hash),
    )
}

async fn reopening_keeps_everything(subject: &dyn Subject) -> JournalCheckResult {
    let mut journal = subject.make().await?;
    let a = entity("a")?;
    for seq in 0..4 {
        let batch = vec![append(&a, seq, 1), append(&run(seq), 0, 2)];
        journal.append(batch).await.map_err(error_text)?;
        let before = contents(&*journal).await?;
        journal = subject.reopen(journal).await?;
        same("what is there", &contents(&*journal).await?, &before)?;
    }
    let stale = journal.append(vec![append(&a, 3, 1)]).await;
    holds("sequences are known after reopening", stale.is_err())?;
    let next = journal
        .append(vec![append(&a, 4, 1)])
        .await
        .map_err(error_text)?;
    same(
        "the next offset",
        &next.first().map(|record| record.offset),
        &Some(12),
    )
}

type StreamContents = (
    Vec<super::super::Record>,
    Vec<StreamHead>,
    Option<super::super::BatchLink>,
);

async fn contents(journal: &dyn ChainedJournal) -> Result<StreamContents, String> {
    let heads = journal.streams().await.map_err(error_text)?;
    Ok((
        everything(journal).await?,
        heads,
        journal.head().await.map_err(error_text)?,
    ))
}
