//! Whether a compacted journal is read and written like any other.

use std::sync::Arc;

use super::{
    super::{Append, ChainedJournal, Record, Rest, Seal},
    Check, Subject,
    support::{Verdict, check, everything, holds, run, said, same},
};
use crate::model::{
    Actor, EntityId, Event, EventKind, Graph, Name, Payload, Precedence, RunId, RunResult,
    StreamId, Text, Timestamp,
};

pub(super) const CHECKS: &[Check] = &[
    check!(a_compacted_journal_reads_on_where_its_seals_end),
    check!(a_compacted_journal_is_written_like_any_other),
    check!(seals_come_in_pages),
    check!(a_journal_that_was_never_compacted_has_no_horizon),
];

/// How many events are old: two whole lives of six, and three of the one that is open.
const OLD: u64 = 15;

fn event(at: u64, kind: EventKind) -> Event {
    Event {
        at: Timestamp(at),
        actor: Actor::Engine,
        reason: Text::default(),
        kind,
    }
}

fn entity(number: u64) -> Result<EntityId, String> {
    EntityId::new(Name::of("vsi"), number.to_string()).map_err(|e| e.to_string())
}

fn append(stream: StreamId, seq: u64, at: u64, kinds: Vec<EventKind>) -> Append {
    Append {
        stream,
        expected_seq: seq,
        events: kinds.into_iter().map(|kind| event(at, kind)).collect(),
    }
}

/// A run of an entity from its wish to its end; an open one has no end.
fn life(number: u64, at: u64, ends: bool) -> Result<Vec<Append>, String> {
    let (entity, workflow) = (entity(number)?, Name::of("provision_vsi"));
    let (stream, generation) = (run(number), 1);
    let StreamId::Run(id) = stream else {
        return Err("a run's stream is none".to_owned());
    };
    let graph = Graph {
        workflow: workflow.clone(),
        version: 1,
        nodes: Vec::new(),
    };
    let mut of_entity = vec![wish(&workflow), opened(id, &workflow, generation)];
    let mut of_run = vec![EventKind::RunStarted {
        entity: entity.clone(),
        generation,
        graph,
    }];
    if ends {
        let result = RunResult::Succeeded;
        of_run.push(EventKind::RunFinished {
            result: result.clone(),
        });
        of_entity.push(EventKind::RunClosed { run: id, result });
        of_entity.push(EventKind::StateChanged {
            state: Name::of("Deleted"),
            detail: Text::default(),
        });
    }
    Ok(vec![
        append(StreamId::Entity(entity), 0, at, of_entity),
        append(stream, 0, at, of_run),
    ])
}

fn wish(workflow: &Name) -> EventKind {
    EventKind::Desired {
        generation: 1,
        workflow: workflow.clone(),
        precedence: Precedence::Supersede,
        desired: Payload::default(),
    }
}

fn opened(run: RunId, workflow: &Name, generation: u64) -> EventKind {
    EventKind::RunOpened {
        run,
        workflow: workflow.clone(),
        generation,
    }
}

/// Two old lives that ended, an old one that did not, a young one: before and after compaction.
/// None where the subject cannot be compacted.
async fn both(
    subject: &dyn Subject,
) -> Result<Option<(Vec<Record>, Arc<dyn ChainedJournal>)>, String> {
    let journal = subject.make().await?;
    for (number, at, ends) in [(1, 10, true), (2, 20, true), (3, 30, false), (4, 50, true)] {
        let batch = life(number, at, ends)?;
        journal.append(batch).await.map_err(said)?;
    }
    let all = everything(&*journal).await?;
    let compacted = subject.compact(journal, Timestamp(40)).await?;
    Ok(compacted.map(|compacted| (all, compacted)))
}

async fn a_compacted_journal_reads_on_where_its_seals_end(subject: &dyn Subject) -> Verdict {
    let Some((all, journal)) = both(subject).await? else {
        return Ok(());
    };
    let horizon = journal.horizon().await.map_err(said)?;
    let horizon = horizon.ok_or("it has no horizon")?;
    same("the horizon", &horizon.offset, &OLD)?;
    let open = run(3);
    let stays = |record: &&Record| record.offset >= OLD || record.stream == open;
    let mut expected: Vec<_> = all.iter().filter(stays).cloned().collect();
    let mut found = everything(&*journal).await?;
    // The one event more says what was sealed.
    let sealed = found.pop().map(|record| record.stream);
    same("the newest stream", &sealed, &Some(StreamId::Journal))?;
    same("what is left", &found, &expected)?;
    let page = journal.read_all(1, 2).await.map_err(said)?;
    same(
        "a page across the horizon",
        &page,
        &expected.drain(..2).collect(),
    )?;
    for number in 1..3 {
        let sealed = StreamId::Entity(entity(number)?);
        let records = journal.read(&sealed, 0, 9).await.map_err(said)?;
        same("events of an archived stream", &records, &Vec::new())?;
        let seal = journal.seal(&sealed).await.map_err(said)?;
        same("its seal", &seal.map(|seal| seal.next_seq), &Some(4))?;
    }
    let kept = journal.read(&open, 0, 9).await.map_err(said)?;
    same("events of an open run", &kept.len(), &1)
}

async fn a_compacted_journal_is_written_like_any_other(subject: &dyn Subject) -> Verdict {
    let Some((all, journal)) = both(subject).await? else {
        return Ok(());
    };
    let stream = StreamId::Entity(entity(1)?);
    let early = append(stream.clone(), 0, 60, vec![EventKind::RetryRequested]);
    let refused = journal.append(vec![early]).await;
    holds("a sequence that is archived is refused", refused.is_err())?;
    let next = append(stream.clone(), 4, 60, vec![EventKind::RetryRequested]);
    let records = journal.append(vec![next]).await.map_err(said)?;
    let offset = all.len() as u64 + 1;
    same(
        "its offset",
        &records.first().map(|r| r.offset),
        &Some(offset),
    )?;
    let journal = subject.reopen(journal).await?;
    let read = journal.read(&stream, 0, 9).await.map_err(said)?;
    same("what was appended", &read, &records)?;
    let stored = journal.read_stored(offset, 1).await.map_err(said)?;
    let seal = journal.seal(&stream).await.map_err(said)?;
    let links = (stored.first().map(|s| s.prev), seal.map(|seal| seal.hash));
    holds(
        "the stream's chain goes on from its seal",
        links.0 == links.1,
    )?;
    let horizon = journal.horizon().await.map_err(said)?;
    let links = journal.read_links(0, usize::MAX).await.map_err(said)?;
    let prev = links.first().map(|link| (link.first, link.prev));
    let expected = horizon.map(|horizon| (horizon.offset, horizon.link.hash));
    holds(
        "the journal's chain goes on from the horizon",
        prev == expected,
    )?;
    let heads = journal.streams().await.map_err(said)?;
    same("the streams", &heads.len(), &9)
}

async fn seals_come_in_pages(subject: &dyn Subject) -> Verdict {
    let Some((_, journal)) = both(subject).await? else {
        return Ok(());
    };
    let all = journal.seals(None, usize::MAX).await.map_err(said)?;
    same("how many there are", &all.len(), &6)?;
    let mut paged: Vec<Seal> = Vec::new();
    loop {
        let after = paged.last().map(|seal| seal.stream.clone());
        let page = journal.seals(after.as_ref(), 2).await.map_err(said)?;
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    same("the pages", &paged, &all)?;
    let kept = all.iter().filter(|seal| seal.is_kept());
    same("kept streams", &kept.count(), &1)?;
    let folded = all.iter().filter(|s| matches!(s.rest, Rest::Entity(_)));
    same("folded entities", &folded.count(), &3)
}

async fn a_journal_that_was_never_compacted_has_no_horizon(subject: &dyn Subject) -> Verdict {
    let journal = subject.make().await?;
    journal.append(life(1, 10, true)?).await.map_err(said)?;
    same(
        "its horizon",
        &journal.horizon().await.map_err(said)?,
        &None,
    )?;
    let seal = journal.seal(&run(1)).await.map_err(said)?;
    same("a seal", &seal, &None)?;
    let seals = journal.seals(None, 9).await.map_err(said)?;
    same("its seals", &seals, &Vec::new())
}
