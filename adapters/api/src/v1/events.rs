//! `GET /v1/events`: the journal's events from an offset, as server-sent events.
//!
//! ```text
//! id: 41
//! event: step_succeeded
//! data: {"offset":41,"time":"…","entity":"vsi/…",…}
//! ```
//!
//! `id` is the offset, so that a reader that was cut off can resume: `Last-Event-ID` means the offset
//! after it, and takes precedence over `?from=`. Without either, the stream begins with the next event.
//! A comment is sent if nothing happens, so that a lost connection is noticed. Each reader pulls: a page
//! is read from the journal when the previous one was sent, so a slow reader does not delay the others
//! and has no queue here. Readers that have caught up share the new pages ([`crate::api::watchers`]). An
//! offset beyond the next event's is refused. In a set, `?journal=` selects the journal.

use std::{convert::Infallible, sync::Arc, time::Duration};

use aide::axum::{ApiRouter, routing::get_with};
use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Query, State},
};
use futures::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, sleep, timeout},
};
use vsiflow_engine::journal::Offset;
use vsiflow_workflows::fleet::{EventReader, HistoryLine, of_one_journal};

use super::resource::about;
use crate::{
    Caller, Problem,
    api::{
        Api,
        places::Place,
        watchers::{Tail, TailPage, written},
    },
    streamed::{Events, Streamed},
};

/// Maximum number of events in a page.
const PAGE: usize = 256;
/// How often a comment is sent if nothing happens.
const COMMENT: Duration = Duration::from_secs(15);
/// How often a journal of a set is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Error code: the offset is in the future.
const FUTURE: &str = "VSI0024";

/// From where.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct EventsQuery {
    /// The offset of the first event [default: that of the next one].
    from: Option<Offset>,
    /// In a set of journals, the number of the one whose events these are.
    journal: Option<u16>,
}

pub(super) fn view_routes() -> ApiRouter<Api> {
    let summary = "The journal's events from an offset on, as server-sent events";
    ApiRouter::new().api_route(
        "/v1/events",
        get_with(events, about("watchEvents", "events", summary)),
    )
}

async fn events(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Streamed<Events, HistoryLine>, Problem> {
    let place = api.watchers().place(&caller)?;
    if let Some(journal) = query.journal {
        return of_set(api, journal, &query, &headers, place).await;
    }
    // Joined first, so that everything that is recorded from now on is in these pages.
    let fleet = api.fleet().map_err(|_| {
        let why = "events are in the order of one journal";
        of_one_journal(why, "name it, such as ?journal=2")
    })?;
    let tail = api.watchers().join(fleet)?;
    let pages = tail.pages();
    let end = fleet.history().end();
    let from = last_seen(&headers)?.or(query.from).unwrap_or(end);
    if from > end {
        return Err(of_the_future(from, end));
    }
    let watch = Watch {
        behind: Some(fleet.history().events(from)?),
        next: from,
        pages,
        api,
        _tail: tail,
        _place: place,
    };
    // Sent immediately, so that the client knows that the connection works.
    let begin = stream::iter([Ok(Bytes::from_static(b": events\n\n"))]);
    let following = stream::unfold(watch, |mut watch| async move {
        let page = watch.page().await?;
        Some((Ok::<_, Infallible>(page), watch))
    });
    Ok(Streamed::of(Body::from_stream(begin.chain(following))))
}

/// The events of one journal of a set, whichever process has it: the journal is polled.
async fn of_set(
    api: Api,
    journal: u16,
    query: &EventsQuery,
    headers: &HeaderMap,
    place: Place,
) -> Result<Streamed<Events, HistoryLine>, Problem> {
    let fleets = api.fleets().await?;
    if fleets.number_of(fleets.numbered(journal)?).is_none() {
        let detail = "`journal` belongs to sets, and this is a single journal";
        return Err(Problem::wrong(StatusCode::BAD_REQUEST, detail));
    }
    let end = fleets.numbered(journal)?.history().end();
    let from = last_seen(headers)?.or(query.from).unwrap_or(end);
    if from > end {
        return Err(of_the_future(from, end));
    }
    let begin = stream::iter([Ok(Bytes::from_static(b": events\n\n"))]);
    let following = stream::unfold((from, place), move |(next, held)| {
        let journals = api.clone();
        async move {
            let (page, behind) = next_of_set(&journals, journal, next).await?;
            Some((Ok::<_, Infallible>(page), (behind, held)))
        }
    });
    Ok(Streamed::of(Body::from_stream(begin.chain(following))))
}

/// The next page, and the offset after it; none if the journal cannot be read any more.
async fn next_of_set(api: &Api, journal: u16, from: Offset) -> Option<(Bytes, Offset)> {
    let quiet = Instant::now();
    loop {
        let fleets = api.fleets().await.ok()?;
        let fleet = fleets.numbered(journal).ok()?;
        if fleet.history().end() > from {
            let mut events = fleet.history().events(from).ok()?;
            let lines = events.page(PAGE).await;
            let lines = lines.inspect_err(|error| tracing::warn!(%error, "events end"));
            let mut lines = lines.ok()?;
            lines
                .iter_mut()
                .for_each(|line| line.journal = Some(journal));
            if !lines.is_empty() {
                return Some((written(&lines), events.from()));
            }
        }
        if quiet.elapsed() >= COMMENT {
            return Some((Bytes::from_static(b": \n\n"), from));
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// The offset after the last one that a reader received.
fn last_seen(headers: &HeaderMap) -> Result<Option<Offset>, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let seen = value
        .to_str()
        .ok()
        .and_then(|text| text.parse::<Offset>().ok());
    let seen = seen.ok_or_else(|| {
        let detail = "Last-Event-ID is not an offset";
        Problem::wrong(StatusCode::BAD_REQUEST, detail)
    })?;
    Ok(Some(seen.saturating_add(1)))
}

fn of_the_future(from: Offset, end: Offset) -> Problem {
    let detail = format!("no event has the offset {from} yet: the next one will have {end}");
    let remedy = "ask from an offset that was read here; another journal has other offsets";
    Problem::new(StatusCode::BAD_REQUEST, FUTURE, detail, remedy)
}

/// A reader of events.
struct Watch {
    api: Api,
    /// The offset after the last event that was sent.
    next: Offset,
    /// Reads the journal until this reader has caught up with its end.
    behind: Option<EventReader>,
    pages: Receiver<TailPage>,
    _tail: Arc<Tail>,
    _place: Place,
}

impl Watch {
    /// The next message to send; none if the journal cannot be read any more.
    async fn page(&mut self) -> Option<Bytes> {
        loop {
            if let Some(page) = self.catch_up().await? {
                return Some(page);
            }
            match timeout(COMMENT, self.pages.recv()).await {
                Err(_elapsed) => return Some(Bytes::from_static(b": \n\n")),
                Ok(Ok(page)) if page.next <= self.next => {}
                Ok(Ok(page)) if page.from <= self.next => {
                    let following = page.following(self.next);
                    self.next = page.next;
                    if !following.is_empty() {
                        return Some(following);
                    }
                }
                // Events between are missing.
                Ok(Ok(_) | Err(RecvError::Lagged(_))) => self.recheck()?,
                Ok(Err(RecvError::Closed)) => return None,
            }
        }
    }

    /// The next page from the journal, until its end was reached once. Events that are recorded during
    /// that read arrive with the shared pages; otherwise a reader would read the journal itself as long
    /// as there are new events.
    async fn catch_up(&mut self) -> Option<Option<Bytes>> {
        let Some(events) = &mut self.behind else {
            return Some(None);
        };
        let lines = events.page(PAGE).await;
        let lines = lines
            .inspect_err(|error| tracing::warn!(%error, "events end"))
            .ok()?;
        self.next = events.from();
        if lines.len() < PAGE {
            self.behind = None;
        }
        if lines.is_empty() {
            return Some(None);
        }
        Some(Some(written(&lines)))
    }

    fn recheck(&mut self) -> Option<()> {
        self.behind = Some(self.api.fleet().ok()?.history().events(self.next).ok()?);
        Some(())
    }
}
