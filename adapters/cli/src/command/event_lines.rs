//! Events, one line each: reads, prints and follows those of some objects or of everything.

mod print;

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use vsiflow_api::{EventsRequest, JournalUse};
use vsiflow_workflows::fleet::{EventTime, EventsQuery, HistoryLine, newest_of};

pub(crate) use self::print::print;
use crate::{
    args::{Common, EventFilter, EventOffset, HistoryFormat},
    exit::{CommandOutcome, Exit, ExitProblem},
    service::{self, ServiceSession, is_silence},
    work::Target,
};

/// How often new events are read. Between two polls other processes may use the state directory.
const POLL: Duration = Duration::from_millis(500);
/// How often new events of a set are read: that opens each of its journals.
const POLL_OF_SET: Duration = Duration::from_secs(1);

/// Which events are shown, and from where the next ones begin: a query for each object, or for each journal.
#[derive(Clone, Debug)]
pub(super) struct EventSource {
    queries: Vec<EventsQuery>,
    /// Of everything: the offset that the user named, until it is known which journals there are.
    unresolved: Option<EventOffset>,
    /// How many of the newest events are shown at most, of everything; none shows all.
    newest: Option<usize>,
}

impl EventSource {
    /// The events of these objects in a namespace.
    pub(super) fn of_objects(
        namespace: &str,
        names: &[String],
        filter: &EventFilter,
        from: u64,
    ) -> Self {
        let queries = names.iter().map(|name| EventsQuery {
            name: Some(name.clone()),
            namespace: namespace.to_owned(),
            from,
            name_objects: names.len() > 1,
            ..query(filter)
        });
        Self {
            queries: queries.collect(),
            unresolved: None,
            newest: None,
        }
    }

    /// The events of these objects, each since an offset of its journal.
    pub(super) fn since(objects: impl Iterator<Item = (Target, u64)>) -> Self {
        let queries = objects.map(|(target, from)| EventsQuery {
            name: Some(target.word()),
            namespace: target.namespace,
            from,
            name_objects: true,
            ..EventsQuery::default()
        });
        Self {
            queries: queries.collect(),
            unresolved: None,
            newest: None,
        }
    }

    /// The newest events of all journals, at most `tail` of them; 0 means all. An offset that names a journal is one
    /// of that journal alone.
    pub(super) fn of_everything(filter: &EventFilter, from: EventOffset, tail: usize) -> Self {
        let everything = EventsQuery {
            from: from.offset,
            name_objects: true,
            ..query(filter)
        };
        Self {
            queries: vec![everything],
            unresolved: Some(from),
            newest: (tail > 0).then_some(tail),
        }
    }

    /// The events since the last call, or since the beginning: all pages of all queries.
    ///
    /// # Errors
    /// If there is no such object or journal.
    pub(super) async fn read(&mut self, common: &Common) -> Result<Vec<HistoryLine>, ExitProblem> {
        let answered = service::in_session(common, JournalUse::Read, |session| {
            read(session, self.clone())
        });
        let (mut lines, source) = answered.await?;
        *self = source;
        if let Some(shard) = &common.shard {
            // An offset alone is ambiguous in a set.
            lines
                .iter_mut()
                .for_each(|line| line.journal = Some(shard.number));
        }
        Ok(lines)
    }
}

/// Every event of each of these objects, read in one session.
///
/// # Errors
/// If one of them does not exist.
pub(super) async fn whole_histories(
    common: &Common,
    namespace: &str,
    names: &[String],
) -> Result<Vec<Vec<HistoryLine>>, ExitProblem> {
    let source = EventSource::of_objects(namespace, names, &EventFilter::default(), 0);
    let answered = service::in_session(common, JournalUse::Read, |session| {
        let queries = source.queries.clone();
        async move {
            let mut histories = Vec::new();
            for query in queries {
                histories.push(all_pages(&session, query).await?.0);
            }
            Ok(histories)
        }
    });
    answered.await
}

/// The lines, and the source of those that follow.
async fn read(
    session: Arc<ServiceSession>,
    mut source: EventSource,
) -> Result<(Vec<HistoryLine>, EventSource), ExitProblem> {
    if let Some(from) = source.unresolved.take() {
        source.queries = in_each_journal(&session, source.queries, from).await?;
    }
    let is_of_objects = source.queries.iter().any(|query| query.name.is_some());
    let mut all = Vec::new();
    for query in &mut source.queries {
        let (lines, next) = match source.newest {
            Some(most) if most <= EventsQuery::PAGE_LEN => {
                newest(&session, query.clone(), most).await?
            }
            most => {
                let (mut lines, next) = all_pages(&session, query.clone()).await?;
                let extra = lines.len().saturating_sub(most.unwrap_or(usize::MAX));
                lines.drain(..extra);
                (lines, next)
            }
        };
        query.from = next.max(query.from);
        all.push(lines);
    }
    // All that is new afterwards is shown.
    let most = source.newest.take();
    let lines = if is_of_objects {
        together(all)
    } else {
        newest_of(all, most.unwrap_or(usize::MAX))
    };
    Ok((lines, source))
}

/// The queries for everything, for each journal that there is, or for the one that an offset names.
async fn in_each_journal(
    session: &ServiceSession,
    everything: Vec<EventsQuery>,
    from: EventOffset,
) -> Result<Vec<EventsQuery>, ExitProblem> {
    let one = EventsQuery {
        newest: Some(1),
        ..EventsQuery::default()
    };
    let journals = session.call(EventsRequest(one)).await?.journals;
    let of_journal = |journal| {
        let queries = everything.iter();
        queries.map(move |query| EventsQuery {
            journal: Some(journal),
            ..query.clone()
        })
    };
    match from.journal {
        Some(journal) if journal >= journals || journals == 1 => {
            Err(no_journal(journal, journals, from.offset))
        }
        Some(journal) => Ok(of_journal(journal).collect()),
        None if journals == 1 => Ok(everything),
        None if from.offset > 0 => Err(no_journal_named()),
        None => Ok((0..journals).flat_map(of_journal).collect()),
    }
}

/// All pages of a query, and from where the next one begins.
async fn all_pages(
    session: &ServiceSession,
    mut query: EventsQuery,
) -> Result<(Vec<HistoryLine>, u64), ExitProblem> {
    let mut lines = Vec::new();
    loop {
        let page = session.call(EventsRequest(query.clone())).await?;
        lines.extend(page.lines);
        query.from = page.next;
        if !page.has_more {
            return Ok((lines, query.from));
        }
    }
}

/// The newest events that match a query, and from where the next page begins.
async fn newest(
    session: &ServiceSession,
    query: EventsQuery,
    most: usize,
) -> Result<(Vec<HistoryLine>, u64), ExitProblem> {
    let (mut lines, mut next, mut before) = (Vec::new(), None, None);
    loop {
        let missing = most.saturating_sub(lines.len());
        let page = session.call(EventsRequest(EventsQuery {
            newest: Some(u32::try_from(missing).unwrap_or(u32::MAX)),
            before,
            ..query.clone()
        }));
        let page = page.await?;
        lines = page.lines.into_iter().chain(lines).collect();
        let begins = *next.get_or_insert(page.next);
        before = page.previous;
        if before.is_none() {
            return Ok((lines, begins));
        }
    }
}

/// The events of several objects in the order of their journals; one of several objects is there once.
fn together(objects: Vec<Vec<HistoryLine>>) -> Vec<HistoryLine> {
    let are_several = objects.len() > 1;
    let mut lines: Vec<_> = objects.into_iter().flatten().collect();
    if are_several {
        let key = |line: &HistoryLine| (line.journal, line.offset, line.entity.clone());
        lines.sort_by_cached_key(key);
        lines.dedup_by(|one, other| key(one) == key(other));
    }
    lines
}

fn query(filter: &EventFilter) -> EventsQuery {
    EventsQuery {
        since: earliest(filter).map(EventTime),
        actor: filter.actor.clone(),
        failed: filter.failed,
        ..EventsQuery::default()
    }
}

fn no_journal_named() -> ExitProblem {
    let message = "an offset is one of a journal, and there are several here";
    let remedy = "take the offset as `events -o wide` shows it, as JOURNAL:OFFSET";
    ExitProblem::new(Exit::Usage, "VSI0764", message, remedy)
}

fn no_journal(journal: u16, journals: u16, offset: u64) -> ExitProblem {
    if journals == 1 {
        let message = format!("there is one journal here, and no journal {journal}");
        let remedy = format!("leave the journal out: --from-offset {offset}");
        return ExitProblem::new(Exit::Usage, "VSI0764", message, &remedy);
    }
    let message = format!("there is no journal {journal}: the set has {journals}, from 0 on");
    let remedy = "take the offset as `events -o wide` shows it, as JOURNAL:OFFSET";
    ExitProblem::new(Exit::Usage, "VSI0764", message, remedy)
}

/// The moment that `--since` means; `None` without a limit.
pub(super) fn earliest(filter: &EventFilter) -> Option<Timestamp> {
    let since = SignedDuration::try_from(filter.since?).ok()?;
    Timestamp::now().checked_sub(since).ok()
}

/// Prints existing events, then new ones, until interrupted. While nothing answers, there are none.
pub(super) async fn follow(
    common: &Common,
    source: EventSource,
    output: Option<HistoryFormat>,
) -> CommandOutcome {
    tokio::select! {
        followed = follow_on(common, source, output) => followed,
        _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
    }
}

async fn follow_on(
    common: &Common,
    mut source: EventSource,
    output: Option<HistoryFormat>,
) -> CommandOutcome {
    let poll = common.set.as_ref().map_or(POLL, |_| POLL_OF_SET);
    let (mut has_answered, mut has_printed) = (false, false);
    loop {
        let lines = match source.read(common).await {
            Err(problem) if has_answered && is_silence(&problem) => Vec::new(),
            read => read?,
        };
        has_answered = true;
        if !lines.is_empty() {
            print(output, &lines, !has_printed)?;
            has_printed = true;
        }
        tokio::time::sleep(poll).await;
    }
}
