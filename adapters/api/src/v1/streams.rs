//! Streams a VSI's history and console log, once or following new entries.

use std::{io, time::Duration};

use aide::axum::{ApiRouter, routing::get_with};
use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Path, Query, State},
};
use futures::{Stream, StreamExt as _, stream};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::sleep;
use vsiflow_engine::{journal::Offset, model::EntityId};
use vsiflow_steps::ports::ConsolePosition;
use vsiflow_workflows::fleet::{ConsoleLog, HistoryLine, LogChunk};

use super::resource::{ObjectPath, about};
use crate::{
    Caller, Problem,
    api::{Api, places::Place},
    streamed::{Console, Lines, Streamed},
};

/// How often a followed history or log is read.
const POLL: Duration = Duration::from_millis(500);

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
    // Followed by its entity, because another object may get the name later.
    let (fleets, ObjectPath { namespace, name }) = (api.fleets().await?, &target);
    let fleet = fleets.that_has(namespace, name).await?;
    let first = fleet.history().lines(namespace, name).await?;
    let entity = if query.follow {
        Some(fleet.vsis().find(namespace, name).await?)
    } else {
        None
    };
    Ok(line_stream(api, first, entity, (query, place)))
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
    let first = fleet.history().lines(namespace, &object).await?;
    let entity = if query.follow {
        Some(fleet.disks().find(namespace, name).await?)
    } else {
        None
    };
    Ok(line_stream(api, first, entity, (query, place)))
}

/// The lines that exist, and then new ones if an entity is followed.
fn line_stream(
    api: Api,
    first: Vec<HistoryLine>,
    entity: Option<EntityId>,
    (query, place): (FollowQuery, Place),
) -> Streamed<Lines, HistoryLine> {
    let mut next = query.from;
    let first = since(first, &mut next);
    let begin = (api, entity, next, place);
    let more = stream::unfold(begin, |(open_api, followed, from, held)| async move {
        let followed_entity = followed?;
        sleep(POLL).await;
        let fleets = open_api.fleets().await.ok()?;
        let history = fleets.that_knows(&followed_entity)?.history();
        // Read before the lines: what is recorded meanwhile is looked for again.
        let end = history.end();
        let lines = history.lines_of_since(&followed_entity, from).await.ok()?;
        let last = lines.last().map(|line| line.offset.saturating_add(1));
        let read_to = from.max(end).max(last.unwrap_or_default());
        Some((lines, (open_api, Some(followed_entity), read_to, held)))
    });
    Streamed::of(Body::from_stream(pieces(stream::iter([first]).chain(more))))
}

/// The new lines.
fn since(mut lines: Vec<HistoryLine>, from: &mut Offset) -> Vec<HistoryLine> {
    lines.retain(|line| line.offset >= *from);
    if let Some(last) = lines.last() {
        *from = last.offset.saturating_add(1);
    }
    lines
}

fn pieces(
    pages: impl Stream<Item = Vec<HistoryLine>> + Send + 'static,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let lines = pages.flat_map(stream::iter);
    lines.map(|line| {
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        Ok(Bytes::from(text))
    })
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
