//! Streams a VSI's history and console log, once or following new entries.

use std::{io, time::Duration};

use aide::axum::{ApiRouter, routing::get_with};
use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Path, Query, State},
};
use futures::{StreamExt as _, stream};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{runtime::Handle, time::sleep};
use vsiflow_engine::{journal::Offset, low_priority, model::EntityId};
use vsiflow_steps::ports::ConsolePosition;
use vsiflow_workflows::fleet::{ConsoleLog, Fleets, HistoryLine, LogChunk};

use super::resource::{ObjectPath, about};
use crate::{
    Caller, Problem,
    api::{Api, places::Place},
    streamed::{Console, Lines, Streamed},
    unread::UnreadBytes,
};

/// How often a followed history or log is read.
const POLL: Duration = Duration::from_millis(500);

/// How many lines of a history are in memory for one answer.
const PAGE_LEN: usize = 2_000;

/// From where, and for how long.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FollowQuery {
    /// The first event's offset, or the first byte.
    from: u64,
    /// Continue with what comes.
    follow: bool,
}

pub(super) fn view_routes() -> ApiRouter<Api> {
    const VSI: &str = "/v1/namespaces/{namespace}/virtualservers/{name}";
    const DISK: &str = "/v1/namespaces/{namespace}/datadisks/{name}";
    let summary = "Every event of a VSI, one JSON object a line";
    let of_disk = "Every event of a data disk, one JSON object a line";
    ApiRouter::new()
        .api_route(
            &format!("{VSI}/history"),
            get_with(
                history,
                about("getVirtualServerHistory", "virtualservers", summary),
            ),
        )
        .api_route(
            &format!("{DISK}/history"),
            get_with(
                disk_history,
                about("getDataDiskHistory", "datadisks", of_disk),
            ),
        )
        .api_route(
            &format!("{VSI}/logs"),
            get_with(
                logs,
                about(
                    "getVirtualServerLogs",
                    "virtualservers",
                    "What the guest wrote to its console",
                ),
            ),
        )
}

async fn history(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(target): Path<ObjectPath>,
    Query(query): Query<FollowQuery>,
) -> Result<Streamed<Lines, HistoryLine>, Problem> {
    let place = api.turns().reader(&caller).await?;
    // Read by its entity, because another object may get the name later.
    let (fleets, ObjectPath { namespace, name }) = (api.fleets().await?, &target);
    let entity = fleets
        .that_has(namespace, name)
        .await?
        .history()
        .entity_named(namespace, name)
        .await?;
    line_stream(FollowedHistory::of(api, caller, entity, query), place).await
}

async fn disk_history(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(target): Path<ObjectPath>,
    Query(query): Query<FollowQuery>,
) -> Result<Streamed<Lines, HistoryLine>, Problem> {
    let place = api.turns().reader(&caller).await?;
    let (fleets, ObjectPath { namespace, name }) = (api.fleets().await?, &target);
    let object = format!("disk/{name}");
    let fleet = fleets.that_has(namespace, &object).await?;
    let entity = fleet.history().entity_named(namespace, &object).await?;
    line_stream(FollowedHistory::of(api, caller, entity, query), place).await
}

/// A history that is read page by page. Of each caller few pages are read at a time, and a page is in memory until its
/// reader has taken it.
struct FollowedHistory {
    api: Api,
    caller: Caller,
    entity: EntityId,
    from: Offset,
    follow: bool,
    /// Whether the last page was cut.
    has_more: bool,
    unread: UnreadBytes,
    /// The length of the last page, which counts until its reader has taken it.
    held: usize,
}

impl Drop for FollowedHistory {
    fn drop(&mut self) {
        self.unread.remove(self.held);
    }
}

impl FollowedHistory {
    fn of(api: Api, caller: Caller, entity: EntityId, query: FollowQuery) -> Self {
        let unread = UnreadBytes::of(&caller);
        Self {
            api,
            caller,
            entity,
            from: query.from,
            follow: query.follow,
            has_more: true,
            unread,
            held: 0,
        }
    }

    /// The next page as JSON lines. Reading it takes long if the history is long, so it is not done on the runtime's
    /// threads.
    async fn next_page(&mut self) -> Result<Bytes, Problem> {
        self.unread.remove(std::mem::take(&mut self.held));
        let place = self.api.turns().request(&self.caller).await?;
        let fleets = self.api.fleets().await?;
        let (entity, from, runtime) = (self.entity.clone(), self.from, Handle::current());
        let read = low_priority::aside(move || {
            // Held by the work: a caller that waits no longer does not end it.
            let _place = place;
            runtime.block_on(page_of(&fleets, &entity, from))
        });
        let page = read.await.map_err(|error| Problem::defect(&error))??;
        if !self.unread.add(page.lines.len()) {
            return Err(Problem::busy("too many answers wait to be read"));
        }
        self.held = page.lines.len();
        (self.from, self.has_more) = (page.next, page.has_more);
        Ok(page.lines)
    }

    /// The page after that; `None` at the end.
    async fn more(mut self, place: Place) -> Option<(io::Result<Bytes>, (Self, Place))> {
        if !self.has_more {
            if !self.follow {
                return None;
            }
            sleep(POLL).await;
        }
        let page = self.next_page().await;
        if page.is_err() {
            (self.follow, self.has_more) = (false, false);
        }
        // There is more: the client must not take this for the end.
        let page = page.map_err(|problem| io::Error::other(problem.detail));
        Some((page, (self, place)))
    }
}

/// A page of a history as JSON lines.
struct WrittenPage {
    lines: Bytes,
    next: Offset,
    has_more: bool,
}

async fn page_of(fleets: &Fleets, entity: &EntityId, from: Offset) -> Result<WrittenPage, Problem> {
    let fleet = fleets.that_knows(entity).ok_or_else(|| {
        let detail = format!("{entity} is not known here any more");
        Problem::new(StatusCode::NOT_FOUND, "VSI0703", detail, "ask again")
    })?;
    let page = fleet.history().lines_of_since(entity, from, PAGE_LEN);
    let page = page.await?;
    let mut lines = Vec::new();
    for line in &page.lines {
        serde_json::to_writer(&mut lines, line).map_err(|error| Problem::defect(&error))?;
        lines.push(b'\n');
    }
    Ok(WrittenPage {
        lines: lines.into(),
        next: page.next,
        has_more: page.is_cut,
    })
}

/// The pages that exist, and then new ones if the history is followed.
async fn line_stream(
    mut history: FollowedHistory,
    place: Place,
) -> Result<Streamed<Lines, HistoryLine>, Problem> {
    // An error of the first page is the answer.
    let first = history.next_page().await?;
    let more = stream::unfold((history, place), |(followed, held)| followed.more(held));
    let pages = stream::iter([Ok(first)]).chain(more);
    Ok(Streamed::of(Body::from_stream(pages)))
}

async fn logs(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(target): Path<ObjectPath>,
    Query(query): Query<FollowQuery>,
) -> Result<Streamed<Console, String>, Problem> {
    let place = api.turns().reader(&caller).await?;
    let (fleets, ObjectPath { namespace, name }) = (api.fleets().await?, &target);
    let fleet = fleets.that_has(namespace, name).await?;
    let log = fleet.history().console_log(namespace, name).await?;
    let first = log.read(ConsolePosition { offset: query.from }).await?;
    let begin = Some((log, first.next, place));
    let more = stream::unfold(begin, move |state| async move {
        let (open_log, at, held) = state?;
        match next(&open_log, at, query.follow).await {
            Ok(Some(chunk)) => {
                let next = (open_log, chunk.next, held);
                Some((Ok(Bytes::from(chunk.bytes)), Some(next)))
            }
            Ok(None) => None,
            // There may be more: the client must not take this for the end.
            Err(error) => Some((Err(error), None)),
        }
    });
    let first = stream::iter([Ok(Bytes::from(first.bytes))]);
    Ok(Streamed::of(Body::from_stream(first.chain(more))))
}

/// The next piece; none at the end if it is not followed.
async fn next(log: &ConsoleLog, at: ConsolePosition, follow: bool) -> io::Result<Option<LogChunk>> {
    loop {
        let chunk = log.read(at).await.map_err(io::Error::other)?;
        if !chunk.bytes.is_empty() {
            return Ok(Some(chunk));
        }
        if !follow {
            return Ok(None);
        }
        sleep(POLL).await;
    }
}
