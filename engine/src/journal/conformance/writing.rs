//! Checks of how a journal writes a batch.

use futures::future::{join_all, try_join_all};

use super::{
    super::JournalError,
    Check, Subject,
    support::{
        JournalCheckResult, append, check, entity, error_text, event, everything, holds, huge, run,
        same,
    },
};

pub(super) const CHECKS: &[Check] = &[
    check!(an_append_returns_its_records_in_order),
    check!(an_empty_batch_writes_nothing),
    check!(a_batch_may_name_a_stream_twice),
    check!(a_conflict_writes_nothing),
    check!(a_sequence_ahead_of_the_stream_is_a_conflict),
    check!(too_long_an_event_is_refused_with_its_batch),
    check!(a_refusal_does_not_touch_its_neighbours),
    check!(one_of_many_writers_wins_each_sequence),
    check!(sixty_four_writers_get_one_total_order),
    check!(an_append_nobody_waits_for_is_whole_or_absent),
];

async fn an_append_returns_its_records_in_order(subject: &dyn Subject) -> JournalCheckResult {
    let journal = subject.make().await?;
    let (a, b) = (entity("a")?, run(1));
    let batch = vec![append(&a, 0, 2), append(&b, 0, 1)];
    let records = journal.append(batch).await.map_err(error_text)?;
    let places: Vec<_> = records
        .iter()
        .map(|r| (r.offset, r.stream.clone(), r.seq))
        .collect();
    same(
        "places",
        &places,
        &vec![(0, a.clone(), 0), (1, a, 1), (2, b, 0)],
    )?;
    let events: Vec<_> = records.iter().map(|r| r.event.clone()).collect();
    same("events", &events, &vec![event(0), event(1), event(0)])
}

async fn an_empty_batch_writes_nothing(subject: &dyn Subject) -> JournalCheckResult {
    let journal = subject.make().await?;
    let a = entity("a")?;
    same(
        "no request",
        &journal.append(Vec::new()).await,
        &Ok(Vec::new()),
    )?;
    same(
        "no event",
        &journal.append(vec![append(&a, 0, 0)]).await,
        &Ok(Vec::new()),
    )?;
    let stale = journal.append(vec![append(&a, 1, 0)]).await;
    holds(
        "a stale request without events is a conflict",
        stale.is_err(),
    )?;
    same("streams", &journal.streams().await, &Ok(Vec::new()))
}

async fn a_batch_may_name_a_stream_twice(subject: &dyn Subject) -> JournalCheckResult {
    let journal = subject.make().await?;
    let a = entity("a")?;
    let batch = vec![append(&a, 0, 1), append(&a, 1, 2)];
    let records = journal.append(batch).await.map_err(error_text)?;
    same(
        "sequences",
        &records.iter().map(|r| r.seq).collect(),
        &vec![0, 1, 2],
    )?;
    let again = journal
        .append(vec![append(&a, 3, 1), append(&a, 3, 1)])
        .await;
    let conflict = JournalError::Conflict {
        stream: a,
        expected: 3,
        actual: 4,
    };
    same("the second at the same place", &again, &Err(conflict))
}

async fn a_conflict_writes_nothing(subject: &dyn Subject) -> JournalCheckResult {
    let journal = subject.make().await?;
    let (a, b) = (entity("a")?, run(1));
    journal
        .append(vec![append(&b, 0, 2)])
        .await
        .map_err(error_text)?;
    let before = everything(&*journal).await?;
    let refused = journal
        .append(vec![append(&a, 0, 1), append(&b, 1, 1)])
        .await;
    let conflict = JournalError::Conflict {
        stream: b.clone(),
        expected: 1,
        actual: 2,
    };
    same("the answer", &refused, &Err(conflict))?;
    same(
        "the journal afterwards",
        &everything(&*journal).await?,
        &before,
    )?;
    let next = journal
        .append(vec![append(&a, 0, 1), append(&b, 2, 1)])
        .await
        .map_err(error_text)?;
    same(
        "the next offsets",
        &next.iter().map(|r| r.offset).collect(),
        &vec![2, 3],
    )
}

async fn a_sequence_ahead_of_the_stream_is_a_conflict(subject: &dyn Subject) -> JournalCheckResult {
    let journal = subject.make().await?;
    let a = entity("a")?;
    let refused = journal.append(vec![append(&a, 5, 1)]).await;
    let conflict = JournalError::Conflict {
        stream: a,
        expected: 5,
        actual: 0,
    };
    same("the answer", &refused, &Err(conflict))
}

async fn too_long_an_event_is_refused_with_its_batch(subject: &dyn Subject) -> JournalCheckResult {
    let journal = subject.make().await?;
    let (a, b) = (entity("a")?, run(1));
    let mut long = append(&b, 0, 1);
    long.events.push(huge());
    let refused = journal.append(vec![append(&a, 0, 1), long]).await;
    let too_long = matches!(&refused, Err(JournalError::TooLong { stream, .. }) if *stream == b);
    holds(&format!("the answer was {refused:?}"), too_long)?;
    same(
        "the journal afterwards",
        &everything(&*journal).await?,
        &Vec::new(),
    )?;
    journal
        .append(vec![append(&a, 0, 1), append(&b, 0, 1)])
        .await
        .map(drop)
        .map_err(error_text)
}

async fn a_refusal_does_not_touch_its_neighbours(subject: &dyn Subject) -> JournalCheckResult {
    let journal = subject.make().await?;
    let a = entity("a")?;
    let appends = (0..32).map(|n| {
        let stale = if n % 2 == 0 {
            vec![append(&run(n), 0, 1)]
        } else {
            vec![append(&a, 9, 1)]
        };
        journal.append(stale)
    });
    let answers = join_all(appends).await;
    let written = answers.iter().filter(|answer| answer.is_ok()).count();
    same("appends written", &written, &16)?;
    same("records", &everything(&*journal).await?.len(), &16)
}

async fn one_of_many_writers_wins_each_sequence(subject: &dyn Subject) -> JournalCheckResult {
    let journal = subject.make().await?;
    let a = entity("a")?;
    for seq in 0..4 {
        let answers = join_all((0..16).map(|_| journal.append(vec![append(&a, seq, 1)]))).await;
        let conflict = JournalError::Conflict {
            stream: a.clone(),
            expected: seq,
            actual: seq + 1,
        };
        let won = answers.iter().filter(|answer| answer.is_ok()).count();
        let lost = answers
            .iter()
            .filter(|answer| **answer == Err(conflict.clone()))
            .count();
        same("won and lost", &(won, lost), &(1, 15))?;
    }
    Ok(())
}

async fn sixty_four_writers_get_one_total_order(subject: &dyn Subject) -> JournalCheckResult {
    let journal = subject.make().await?;
    let writers = (0..64).map(|writer| {
        let journal = journal.clone();
        tokio::spawn(async move {
            let mut records = Vec::new();
            for seq in 0..8 {
                records.extend(journal.append(vec![append(&run(writer), seq, 1)]).await?);
            }
            Ok::<_, JournalError>(records)
        })
    });
    let written = try_join_all(writers).await.map_err(|e| e.to_string())?;
    let mut written: Vec<_> = written
        .into_iter()
        .collect::<Result<Vec<_>, _>>()
        .map_err(error_text)?
        .concat();
    written.sort_by_key(|record| record.offset);
    let offsets: Vec<_> = written.iter().map(|record| record.offset).collect();
    same("offsets", &offsets, &(0..512).collect())?;
    same("the journal", &everything(&*journal).await?, &written)
}

async fn an_append_nobody_waits_for_is_whole_or_absent(
    subject: &dyn Subject,
) -> JournalCheckResult {
    let journal = subject.make().await?;
    for number in 0..16 {
        let (a, b) = (entity(&format!("a{number}"))?, run(number));
        let mut dropped = journal.append(vec![append(&a, 0, 1), append(&b, 0, 1)]);
        let _ = futures::poll!(&mut dropped);
        drop(dropped);
    }
    // Once a later append is acknowledged, all earlier ones are written or absent for good.
    journal
        .append(vec![append(&entity("last")?, 0, 1)])
        .await
        .map_err(error_text)?;
    let heads = journal.streams().await.map_err(error_text)?;
    let halves = heads
        .iter()
        .filter(|head| matches!(head.stream, crate::model::StreamId::Run(_)));
    let runs = halves.count();
    same("halves of batches", &(heads.len() - 1 - runs), &runs)
}
