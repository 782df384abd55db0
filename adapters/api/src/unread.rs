//! Counts what a caller was answered and has not read: a client that asks and does not read makes the daemon hold its
//! answers.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http_body::{Body as _, Frame, SizeHint};

use crate::{Caller, Problem, Rights};

/// The most bytes that wait for one caller, of all answers and commands together.
const MAX: usize = 32 * 1024 * 1024;
/// An answer that is shorter is not counted: the connections have a limit.
const SHORT: usize = 64 * 1024;

/// The counts of callers who have something to read.
static COUNTS: Mutex<BTreeMap<String, Weak<AtomicUsize>>> = Mutex::new(BTreeMap::new());

/// How many bytes wait for a caller.
#[derive(Clone, Debug, Default)]
pub struct UnreadBytes(Arc<AtomicUsize>);

impl UnreadBytes {
    /// What waits for a caller. What waits for one who may do everything is not counted together.
    pub fn of(caller: &Caller) -> Self {
        if caller.rights == Rights::Everything {
            return Self::default();
        }
        let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
        counts.retain(|_, count| count.strong_count() > 0);
        let name = caller.key();
        if let Some(count) = counts.get(&name).and_then(Weak::upgrade) {
            return Self(count);
        }
        let count = Arc::default();
        counts.insert(name, Arc::downgrade(&count));
        Self(count)
    }

    /// Adds what waits from now on; `false` if it would be too much, and is not added.
    #[must_use]
    pub fn add(&self, length: usize) -> bool {
        let before = self.0.fetch_add(length, Ordering::Relaxed);
        let fits = before.saturating_add(length) <= MAX;
        if !fits {
            self.remove(length);
        }
        fits
    }

    /// Removes what the caller has read, or what is dropped.
    pub fn remove(&self, length: usize) {
        self.0.fetch_sub(length, Ordering::Relaxed);
    }

    /// Adds an answer. One of any length is permitted while nothing else waits.
    fn add_answer(&self, length: usize) -> bool {
        let alone = self
            .0
            .compare_exchange(0, length, Ordering::Relaxed, Ordering::Relaxed);
        alone.is_ok() || self.add(length)
    }
}

/// Middleware: counts an answer until it is read, and refuses it if the caller reads too little.
pub(crate) async fn counted(request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().cloned();
    let response = next.run(request).await;
    let length = response.body().size_hint().exact();
    let length = length.and_then(|length| usize::try_from(length).ok());
    let (Some(caller), Some(length)) = (caller, length.filter(|length| *length > SHORT)) else {
        return response;
    };
    let unread = UnreadBytes::of(&caller);
    if !unread.add_answer(length) {
        return Problem::busy("too many answers wait to be read").into_response();
    }
    response.map(|answer| {
        Body::new(CountedBody {
            unread,
            length,
            answer,
            piece: Bytes::new(),
        })
    })
}

/// A body that is counted until its last piece is taken.
struct CountedBody {
    unread: UnreadBytes,
    length: usize,
    answer: Body,
    /// What was taken from the answer and not from this body.
    piece: Bytes,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    /// Gives the answer in short pieces: a connection takes a whole one before it waits for its reader.
    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.piece.is_empty() {
            match ready!(Pin::new(&mut self.answer).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.piece = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                ended => return Poll::Ready(ended),
            }
        }
        let length = self.piece.len().min(SHORT);
        let data = self.piece.split_to(length);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.piece.is_empty() && self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.answer.size_hint().exact();
        let held = u64::try_from(self.piece.len()).unwrap_or(u64::MAX);
        match rest {
            Some(rest) => SizeHint::with_exact(rest.saturating_add(held)),
            None => SizeHint::default(),
        }
    }
}

impl Drop for CountedBody {
    fn drop(&mut self) {
        self.unread.remove(self.length);
    }
}

#[cfg(test)]
mod tests {
    use axum::{Extension, Router, middleware, routing::get};
    use http::StatusCode;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;
    use vsiflow_engine::model::{Actor, Who};

    use super::*;

    fn service(name: &str, rights: Rights) -> Router {
        let actor = Actor::Token(Who::new(name));
        let answer = get(|| async { vec![b'x'; MAX / 2] });
        Router::new()
            .route("/", answer)
            .layer(middleware::from_fn(counted))
            .layer(Extension(Caller { actor, rights }))
    }

    async fn ask(service: &Router) -> Response {
        let request = Request::get("/").body(Body::empty()).unwrap();
        service.clone().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn answers_that_one_caller_does_not_read_are_refused_to_that_caller() {
        let viewer = service("reads-no-answer", Rights::Look);
        let held = [ask(&viewer).await, ask(&viewer).await];
        assert_eq!(held[0].status(), StatusCode::OK);
        assert_eq!(ask(&viewer).await.status(), StatusCode::SERVICE_UNAVAILABLE);
        let other = service("reads", Rights::Look);
        assert_eq!(ask(&other).await.status(), StatusCode::OK);
        let [first, _second] = held;
        assert_eq!(first.body().size_hint().exact(), Some((MAX / 2) as u64));
        let read = first.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(read.len(), MAX / 2);
        assert_eq!(ask(&viewer).await.status(), StatusCode::OK);
    }

    #[test]
    fn one_answer_of_any_length_is_given_to_who_reads() {
        let unread = UnreadBytes::default();
        assert!(unread.add_answer(3 * MAX));
        assert!(!unread.add_answer(1) && !unread.add(1));
        unread.remove(3 * MAX);
        assert!(unread.add(MAX) && !unread.add(1));
    }
}
