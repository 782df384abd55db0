//! Checks of missing ranges and of bases.

use std::sync::Arc;

use super::{
    super::{
        ChainedJournal, Folded, JournalError, Missing, MissingCause, States, StreamHead,
        StreamState, base_hash,
    },
    Check, Subject,
    support::{JournalCheckResult, append, check, entity, error_text, everything, holds, same},
};
use crate::model::{EntityState, Hash, StreamId, Timestamp};

pub(super) const CHECKS: &[Check] = &[
    check!(a_whole_journal_misses_nothing),
    check!(a_base_is_given_back_to_whom_it_serves),
    check!(a_journal_goes_on_after_a_range_that_is_missing),
    check!(a_missing_range_begins_where_the_journal_ends),
];

async fn a_whole_journal_misses_nothing(subject: &dyn Subject) -> JournalCheckResult {
    let journal = subject.make().await?;
    let batch = vec![append(&entity("a")?, 0, 3)];
    journal.append(batch).await.map_err(error_text)?;
    same("what is missing", &journal.missing().await, &Ok(Vec::new()))?;
    let states = journal.states(Some(2)).await.map_err(error_text)?;
    same("states before any base", &states, &States::default())
}

/// States as of the journal's end, in which every entity has the empty state.
async fn states_of(journal: &dyn ChainedJournal) -> Result<States, String> {
    let link = journal.head().await.map_err(error_text)?;
    let heads = journal.streams().await.map_err(error_text)?;
    let streams = heads.into_iter().filter_map(|head| match head.stream {
        StreamId::Entity(id) => Some(StreamState::Entity(
            id,
            Folded {
                state: Arc::<EntityState>::default(),
                next_seq: head.next_seq,
                hash: head.hash,
                first: 0,
                created: Timestamp(1),
                changed: Timestamp(2),
            },
        )),
        _ => None,
    });
    Ok(States {
        as_of: link.map_or(0, |link| link.last.saturating_add(1)),
        link,
        streams: streams.collect(),
    })
}

async fn a_base_is_given_back_to_whom_it_serves(subject: &dyn Subject) -> JournalCheckResult {
    let journal = subject.make().await?;
    let stream = entity("a")?;
    let mut bases = Vec::new();
    for seq in [0, 2, 4] {
        journal
            .append(vec![append(&stream, seq, 2)])
            .await
            .map_err(error_text)?;
        let states = states_of(&*journal).await?;
        let hash = base_hash(&states).map_err(error_text)?;
        match journal
            .write_base(states.clone())
            .await
            .map_err(error_text)?
        {
            None => return Ok(()),
            written => same("what is committed to", &written, &Some(hash))?,
        }
        bases.push(states);
    }
    let journal = subject.reopen(journal).await?;
    for (at, expected) in [(2, 0), (3, 0), (4, 1), (6, 2), (u64::MAX, 2)] {
        let found = journal.states(Some(at)).await.map_err(error_text)?;
        same("a base", &Some(&found), &bases.get(expected))?;
    }
    let none = journal.states(Some(1)).await.map_err(error_text)?;
    same("states before the first base", &none, &States::default())
}

/// A journal that lacks the first two of three events of a stream; none if the implementation does
/// not support missing ranges.
async fn holed(subject: &dyn Subject) -> Result<Option<Arc<dyn ChainedJournal>>, String> {
    let whole = subject.make().await?;
    let stream = entity("a")?;
    let batch = vec![append(&stream, 0, 2)];
    whole.append(batch).await.map_err(error_text)?;
    let (states, heads) = (
        states_of(&*whole).await?,
        whole.streams().await.map_err(error_text)?,
    );
    let link = states.link.map(|link| link.hash).unwrap_or_default();
    whole
        .append(vec![append(&stream, 2, 1)])
        .await
        .map_err(error_text)?;
    let rest = whole.read_stored(2, 9).await.map_err(error_text)?;
    let journal = subject.make().await?;
    match journal.restore_missing(missing(0, 2), link, heads).await {
        Err(JournalError::Storage(_)) => return Ok(None),
        other => other.map_err(error_text)?,
    }
    journal.write_base(states).await.map_err(error_text)?;
    let rest = rest.into_iter().map(|stored| stored.bytes).collect();
    let restored = journal.restore(rest).await.map_err(error_text)?;
    same(
        "the link",
        &restored,
        &whole.head().await.map_err(error_text)?,
    )?;
    subject.reopen(journal).await.map(Some)
}

fn missing(from: u64, to: u64) -> Missing {
    let cause = MissingCause::Removed;
    Missing { from, to, cause }
}

async fn a_journal_goes_on_after_a_range_that_is_missing(
    subject: &dyn Subject,
) -> JournalCheckResult {
    let Some(journal) = holed(subject).await? else {
        return Ok(());
    };
    let stream = entity("a")?;
    let named = journal.missing().await;
    same("what is missing", &named, &Ok(vec![missing(0, 2)]))?;
    let written = journal.append(vec![append(&stream, 3, 1)]).await;
    let written = written.map_err(error_text)?;
    let offsets: Vec<_> = everything(&*journal).await?;
    let offsets: Vec<_> = offsets.iter().map(|record| record.offset).collect();
    same("what is there", &offsets, &vec![2, 3])?;
    let of_stream = journal.read(&stream, 0, 9).await.map_err(error_text)?;
    same("the stream", &of_stream.last(), &written.last())?;
    same(
        "its first event there",
        &of_stream.first().map(|r| r.seq),
        &Some(2),
    )?;
    let links = journal.read_links(0, 9).await.map_err(error_text)?;
    same("the links", &links.len(), &2)
}

async fn a_missing_range_begins_where_the_journal_ends(
    subject: &dyn Subject,
) -> JournalCheckResult {
    let journal = subject.make().await?;
    let stream = entity("a")?;
    journal
        .append(vec![append(&stream, 0, 2)])
        .await
        .map_err(error_text)?;
    let head = StreamHead {
        stream,
        next_seq: 1,
        hash: Hash::default(),
    };
    let tries = [
        (0, 2, vec![]),
        (3, 4, vec![]),
        (2, 2, vec![]),
        (2, 4, vec![head]),
    ];
    for (from, to, heads) in tries {
        let range = missing(from, to);
        let refused = journal.restore_missing(range, Hash::default(), heads).await;
        holds("a range elsewhere is refused", refused.is_err())?;
    }
    same("what is missing", &journal.missing().await, &Ok(Vec::new()))
}
