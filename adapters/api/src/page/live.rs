//! `GET /live`: the position of the newest event, as server-sent events, for a page that shows the
//! present.
//!
//! A page does not use the events themselves: it reloads itself when there are new ones. So it receives
//! only the offset of the newest event, at most once per [`MIN_INTERVAL`]: reading and writing each event for
//! it would cost the engine more than the page itself.

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Query, State},
};
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, sleep, timeout},
};
use vsiflow_engine::{Notice, journal::Offset};
use vsiflow_workflows::fleet::Fleet;

use crate::{
    Caller, Problem,
    api::{Api, places::Place},
    streamed::{Events, Streamed},
};

/// The minimum time between two events to one page.
const MIN_INTERVAL: Duration = Duration::from_millis(50);
/// How often the ends of a set's journals are read.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// How often a comment is sent if nothing happens.
const COMMENT: Duration = Duration::from_secs(15);

/// The query of the page.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LiveQuery {
    /// The offset after the newest event that it shows [default: that of the next one].
    from: Option<Offset>,
}

pub(super) async fn follow(
    State(api): State<Api>,
    caller: Option<Extension<Caller>>,
    Query(query): Query<LiveQuery>,
) -> Result<Streamed<Events, ()>, Problem> {
    let caller = caller.as_deref().ok_or_else(Problem::view_only)?;
    let place = api.watchers().place(caller)?;
    let position = match query.from {
        Some(from) => from,
        None => api.end().await?,
    };
    let live = LivePage {
        notices: api.fleet().ok().map(Fleet::notices),
        position,
        rests: false,
        api,
        _place: place,
    };
    // Sent immediately, so that the client knows that the connection works.
    let begin = stream::iter([Ok(Bytes::from_static(b": live\n\n"))]);
    let newest = stream::unfold(live, |mut live| async move {
        let event = live.newest().await?;
        Some((Ok::<_, Infallible>(event), live))
    });
    Ok(Streamed::of(Body::from_stream(begin.chain(newest))))
}

/// A page that follows the journal.
struct LivePage {
    api: Api,
    /// Notices of new events; none in a set, whose journals are polled instead.
    notices: Option<Receiver<Notice>>,
    /// The offset after the last event that was reported to the page.
    position: Offset,
    /// Whether an event was just sent.
    rests: bool,
    _place: Place,
}

impl LivePage {
    /// The next message to send; none if the engine ended.
    async fn newest(&mut self) -> Option<Bytes> {
        if std::mem::take(&mut self.rests) {
            sleep(MIN_INTERVAL).await;
            // Skipped notices are covered by the position that is read next.
            self.notices = self.notices.as_ref().map(Receiver::resubscribe);
        }
        let quiet = Instant::now();
        loop {
            let end = self.api.end().await.ok()?;
            if end > self.position {
                (self.position, self.rests) = (end, true);
                let newest = end.saturating_sub(1);
                return Some(format!("id: {newest}\ndata:\n\n").into());
            }
            let Some(notices) = &mut self.notices else {
                if quiet.elapsed() >= COMMENT {
                    return Some(Bytes::from_static(b": \n\n"));
                }
                sleep(POLL_INTERVAL).await;
                continue;
            };
            match timeout(COMMENT, notices.recv()).await {
                Err(_elapsed) => return Some(Bytes::from_static(b": \n\n")),
                Ok(Ok(Notice::Ended) | Err(RecvError::Closed)) => return None,
                Ok(Ok(_) | Err(RecvError::Lagged(_))) => {}
            }
        }
    }
}
