//! Reads `history` and `logs`, once or following new entries.
//!
//! The first piece is read before the answer begins, so that a failure is returned as an error. An
//! answer that has begun and cannot be completed is cut off: the client asks again from there.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use vsiflow_engine::model::EntityId;
use vsiflow_steps::ports::ConsolePosition;
use vsiflow_workflows::fleet::{ConsoleLog, HistoryLine, LogChunk};

use super::{
    ANSWER, HttpAnswer, OFFSET, Refusal, RouteTarget, SubresourceState, answer, route::RouteOptions,
};

/// How often a followed history or log is read.
const POLL: Duration = Duration::from_secs(1);
/// How long reading a piece may take.
const PIECE: Duration = Duration::from_secs(40);
/// Lines of a history that are in memory for one answer.
const PAGE: usize = 1_000;
/// Lines of a history in one piece.
const LINES: usize = 200;

const LINES_OF_JSON: &str = "application/x-ndjson";
const CONSOLE: &str = "application/octet-stream";

/// The history of an entity.
pub(super) async fn history(
    inner: &Arc<SubresourceState>,
    (entity, namespace): (EntityId, &str),
    query: &str,
) -> Result<Response<HttpAnswer>, Refusal> {
    let options = RouteOptions::of(query, &["follow", "from"])?;
    let mut history = History {
        inner: inner.clone(),
        entity,
        namespace: namespace.to_owned(),
        from: options.from,
        has_more: false,
    };
    let until = deadline();
    let first = history.lines().await?;
    let (first, state) = (pieces(first), (history, options.follow));
    let more = stream::unfold(state, move |(mut following, follow)| async move {
        if !following.has_more && (!follow || !pause(until).await) {
            return None;
        }
        // A read that fails now ends the answer; the client asks again.
        let lines = following.lines().await.ok()?;
        Some((pieces(lines), (following, follow)))
    });
    let all = first.map(Ok).chain(more.flatten().map(Ok));
    Ok(streamed(all, LINES_OF_JSON, None))
}

struct History {
    inner: Arc<SubresourceState>,
    entity: EntityId,
    namespace: String,
    from: u64,
    /// Whether the last page was cut.
    has_more: bool,
}

impl History {
    /// The next page of lines. It is in memory until its reader has taken it, and the next one is not read before.
    async fn lines(&mut self) -> Result<Vec<HistoryLine>, Refusal> {
        let _turn = self.inner.turn(&self.namespace).await?;
        let history = self.inner.fleet.history();
        let read = timeout(PIECE, history.lines_of_since(&self.entity, self.from, PAGE));
        let page = read.await.map_err(|_| Refusal::late())??;
        (self.from, self.has_more) = (page.next, page.is_cut);
        Ok(page.lines)
    }
}

/// One JSON object per line, up to [`LINES`] lines at a time.
fn pieces(lines: Vec<HistoryLine>) -> stream::Iter<impl Iterator<Item = Bytes> + Send> {
    let mut lines = lines.into_iter();
    stream::iter(std::iter::from_fn(move || {
        let mut piece = Vec::new();
        for line in lines.by_ref().take(LINES) {
            // Serialization cannot fail: a line consists of texts and numbers.
            if serde_json::to_writer(&mut piece, &line).is_ok() {
                piece.push(b'\n');
            }
        }
        (!piece.is_empty()).then(|| Bytes::from(piece))
    }))
}

/// The console log of a VSI, or the evidence of its newest failed boot.
pub(super) async fn logs(
    inner: &Arc<SubresourceState>,
    entity: EntityId,
    target: &RouteTarget,
    query: &str,
) -> Result<Response<HttpAnswer>, Refusal> {
    let options = RouteOptions::of(query, &["follow", "from", "failed", "definition"])?;
    let (namespace, name) = (&target.namespace, &target.name);
    // Logs are read by name; the name must belong to this object.
    if inner.fleet.vsis().find(namespace, name).await? != entity {
        return Err(Refusal::no_such_object(target));
    }
    if options.failed || options.definition {
        return failed(inner, target, options.definition).await;
    }
    let until = deadline();
    let log = timeout(PIECE, inner.fleet.history().console_log(namespace, name)).await;
    let mut log = FollowedLog {
        inner: inner.clone(),
        log: log.map_err(|_| Refusal::late())??,
        namespace: namespace.clone(),
        at: options.from,
    };
    let first = log.read().await?;
    let beginning = begins(&first);
    log.at = first.next.offset;
    let state = (log, first.bytes.is_empty());
    let more = stream::unfold(Some(state), move |state| async move {
        let (mut open_log, was_at_end) = state?;
        if was_at_end && (!options.follow || !pause(until).await) {
            return None;
        }
        match timeout_at(until, open_log.read()).await {
            // Another log has replaced it: the client starts again.
            Ok(Ok(chunk)) if begins(&chunk) != open_log.at => None,
            Ok(Ok(chunk)) => {
                open_log.at = chunk.next.offset;
                let at_end = chunk.bytes.is_empty();
                Some((Ok(Bytes::from(chunk.bytes)), Some((open_log, at_end))))
            }
            _ if was_at_end => None,
            // The log had more content.
            _ => Some((Err(io::ErrorKind::TimedOut.into()), None)),
        }
    });
    let first = stream::iter([Ok(Bytes::from(first.bytes))]);
    Ok(streamed(first.chain(more), CONSOLE, Some(beginning)))
}

/// The position of a piece's first byte.
fn begins(chunk: &LogChunk) -> u64 {
    let length = u64::try_from(chunk.bytes.len()).unwrap_or(u64::MAX);
    chunk.next.offset.saturating_sub(length)
}

struct FollowedLog {
    inner: Arc<SubresourceState>,
    log: ConsoleLog,
    namespace: String,
    at: u64,
}

impl FollowedLog {
    async fn read(&self) -> Result<LogChunk, Refusal> {
        let _turn = self.inner.turn(&self.namespace).await?;
        let at = ConsolePosition { offset: self.at };
        let read = timeout(PIECE, self.log.read(at)).await;
        Ok(read.map_err(|_| Refusal::late())??)
    }
}

async fn failed(
    inner: &SubresourceState,
    target: &RouteTarget,
    definition: bool,
) -> Result<Response<HttpAnswer>, Refusal> {
    let found = {
        let _turn = inner.turn(&target.namespace).await?;
        let evidence = inner
            .fleet
            .history()
            .evidence(&target.namespace, &target.name);
        let evidence = timeout(PIECE, evidence).await;
        evidence.map_err(|_| Refusal::late())??
    };
    let found = found.ok_or_else(|| Refusal::no_evidence(target))?;
    let text = if definition {
        found.domain_xml
    } else {
        found.console_tail
    };
    Ok(answer(StatusCode::OK, CONSOLE, text + "\n"))
}

/// When an answer must end.
fn deadline() -> Instant {
    let now = Instant::now();
    now.checked_add(ANSWER).unwrap_or(now)
}

/// Waits until the next read; false if the answer must end.
async fn pause(until: Instant) -> bool {
    sleep(POLL).await;
    Instant::now() < until
}

fn streamed(
    pieces: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    kind: &'static str,
    begins: Option<u64>,
) -> Response<HttpAnswer> {
    let frames = pieces.map(|piece| piece.map(Frame::data));
    let mut response = Response::new(StreamBody::new(frames).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.extend(begins.map(|begins| {
        let name = http::HeaderName::from_static(OFFSET);
        (name, HeaderValue::from(begins))
    }));
    response
}
