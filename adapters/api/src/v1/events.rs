//! `GET /v1/events`: the journal's events from an offset on, as server-sent events.
//!
//! ```text
//! id: 41
//! event: step_succeeded
//! data: {"offset":41,"time":"…","entity":"vsi/…",…}
//! ```
//!
//! `id` is the offset, so that a reader that was cut off continues where it was: `Last-Event-ID` means
//! one behind it, and comes before `?from=`. Without either, it begins with the next event. A comment
//! comes where nothing happens, so that a lost connection is noticed. Each reader pulls: a page is read
//! from the journal when the page before it was taken, so that one that is slow holds up nobody and has
//! no queue here. Those who have everything share what comes then ([`crate::api::watchers`]). An offset that no event has yet but the next one is refused.
//! In a set `?journal=` says of which journal they are.

use std::{convert::Infallible, sync::Arc, time::Duration};

use aide::axum::{ApiRouter, routing::get_with};
use axum::{
    body::{Body, Bytes},
    extract::{Query, State},
};
use futures::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{
    sync::{
        OwnedSemaphorePermit,
        broadcast::{Receiver, error::RecvError},
    },
    time::{Instant, sleep, timeout},
};
use vsiflow_engine::journal::Offset;
use vsiflow_workflows::fleet::{EventReader, HistoryLine, of_one_journal};

use super::resource::about;
use crate::{
    Problem,
    api::{
        Api,
        watchers::{Tail, TailPage, written},
    },
    streamed::{Events, Streamed},
};

/// Events in one page.
const PAGE: usize = 256;
/// How often something is said where nothing happens.
const COMMENT: Duration = Duration::from_secs(15);
/// How often a journal of a set is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// An offset is of the future.
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
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Result<Streamed<Events, HistoryLine>, Problem> {
    let place = api.watchers().place()?;
    if let Some(journal) = query.journal {
        return of_set(api, journal, &query, &headers, place).await;
    }
    // First of all: what is recorded from now on is among these pages.
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
    // Something at once: whoever asks knows that it is answered.
    let begin = stream::iter([Ok(Bytes::from_static(b": events\n\n"))]);
    let following = stream::unfold(watch, |mut watch| async move {
        let page = watch.page().await?;
        Some((Ok::<_, Infallible>(page), watch))
    });
    Ok(Streamed::of(Body::from_stream(begin.chain(following))))
}

/// Those of a journal of a set, whichever process works on it: it is looked at again and again.
async fn of_set(
    api: Api,
    journal: u16,
    query: &EventsQuery,
    headers: &HeaderMap,
    place: OwnedSemaphorePermit,
) -> Result<Streamed<Events, HistoryLine>, Problem> {
    let fleets = api.fleets().await?;
    if fleets.number_of(fleets.numbered(journal)?).is_none() {
        let detail = "`journal` is one of a set, and this is a journal by itself";
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

/// The next page, and the offset behind it; none where the journal cannot be read any more.
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
        sleep(LOOK).await;
    }
}

/// The offset after the one that a reader had last.
fn last_seen(headers: &HeaderMap) -> Result<Option<Offset>, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let seen = value
        .to_str()
        .ok()
        .and_then(|text| text.parse::<Offset>().ok());
    let seen = seen.ok_or_else(|| {
        let detail = "Last-Event-ID is no offset";
        Problem::wrong(StatusCode::BAD_REQUEST, detail)
    })?;
    Ok(Some(seen.saturating_add(1)))
}

fn of_the_future(from: Offset, end: Offset) -> Problem {
    let detail = format!("no event has the offset {from} yet: the next one will have {end}");
    let remedy = "ask from an offset that was read here; another journal has other offsets";
    Problem::new(StatusCode::BAD_REQUEST, FUTURE, detail, remedy)
}

/// A reader.
struct Watch {
    api: Api,
    /// The offset behind the last event that it got.
    next: Offset,
    /// The journal, while it has not got everything that was there when it looked last.
    behind: Option<EventReader>,
    pages: Receiver<TailPage>,
    _tail: Arc<Tail>,
    _place: OwnedSemaphorePermit,
}

impl Watch {
    /// What is to be said next; none where the journal cannot be read any more.
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
                // Some are missing between.
                Ok(Ok(_) | Err(RecvError::Lagged(_))) => self.recheck()?,
                Ok(Err(RecvError::Closed)) => return None,
            }
        }
    }

    /// The next page that the journal has already, if it was not read to its end. What is recorded while one reads comes
    /// with what everybody is told: or a reader would read for itself as long as events come.
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
