//! `GET /live`: how far the journal goes, as server-sent events, for a page of now.
//!
//! A page has no use for the events themselves: it asks for itself again when there are some. So it
//! is told the offset of the newest one alone, at most [`OFTEN`], whatever happens meanwhile: reading
//! and writing each event for it would cost the engine more than the page.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::{Body, Bytes},
    extract::{Query, State},
};
use futures::{StreamExt as _, stream};
use serde::Deserialize;
use tokio::{
    sync::{
        OwnedSemaphorePermit,
        broadcast::{Receiver, error::RecvError},
    },
    time::{Instant, sleep, timeout},
};
use vsiflow_engine::{Notice, journal::Offset};
use vsiflow_workflows::fleet::Fleet;

use crate::{
    Problem,
    api::Api,
    streamed::{Events, Streamed},
};

/// No page is told twice within this time.
const OFTEN: Duration = Duration::from_millis(50);
/// How often it is checked how far the journals of a set go.
const LOOK: Duration = Duration::from_millis(500);
/// How often something is said where nothing happens.
const COMMENT: Duration = Duration::from_secs(15);

/// What a page knows.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LiveQuery {
    /// The offset behind the newest event that it shows [default: that of the next one].
    from: Option<Offset>,
}

pub(super) async fn follow(
    State(api): State<Api>,
    Query(query): Query<LiveQuery>,
) -> Result<Streamed<Events, ()>, Problem> {
    let place = api.watchers().place()?;
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
    // Something at once: whoever asks knows that it is answered.
    let begin = stream::iter([Ok(Bytes::from_static(b": live\n\n"))]);
    let newest = stream::unfold(live, |mut live| async move {
        let event = live.newest().await?;
        Some((Ok::<_, Infallible>(event), live))
    });
    Ok(Streamed::of(Body::from_stream(begin.chain(newest))))
}

/// A page that follows.
struct LivePage {
    api: Api,
    /// What tells of something new; nothing does of the journals of a set, which are checked instead.
    notices: Option<Receiver<Notice>>,
    /// The offset behind the event that it was told of last.
    position: Offset,
    /// Whether it was told just now.
    rests: bool,
    _place: OwnedSemaphorePermit,
}

impl LivePage {
    /// What is to be said next; none when the engine ended.
    async fn newest(&mut self) -> Option<Bytes> {
        if std::mem::take(&mut self.rests) {
            sleep(OFTEN).await;
            // What was missed is in the end that is read now.
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
                sleep(LOOK).await;
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
