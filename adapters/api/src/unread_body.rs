//! Reads what a refused request still sends.
//!
//! A connection that is closed while its client sends is reset, and the answer that says why is lost: a client whose
//! token has expired would see no more than a broken connection. So before such an answer is given, the rest of the body
//! is read and thrown away. It never reads more than [`MAX_LEN`], nor longer than [`PATIENCE`]: whoever sends more than
//! that may lose the answer. A client that waits to be asked for its body (`Expect: 100-continue`) is not asked.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::Request,
    middleware::Next,
    response::Response,
};
use http::header::EXPECT;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::{BodyExt as _, Limited};
use tokio::time::timeout;

/// The most that is read of such a body, in bytes.
const MAX_LEN: usize = 8 * 1024 * 1024;
/// How long it may take to come.
const PATIENCE: Duration = Duration::from_secs(5);

/// Middleware: reads the rest of the body of a request that is refused.
pub(crate) async fn read_if_refused(request: Request, next: Next) -> Response {
    if request.body().is_end_stream() || request.headers().contains_key(EXPECT) {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = Arc::new(Mutex::new(body));
    let shared = Body::new(SharedBody(body.clone()));
    let response = next.run(Request::from_parts(parts, shared)).await;
    let is_refused = response.status().is_client_error() || response.status().is_server_error();
    // Otherwise something reads the body still.
    if let Some(rest) = Arc::into_inner(body).filter(|_| is_refused) {
        discard(rest.into_inner().unwrap_or_else(PoisonError::into_inner)).await;
    }
    response
}

async fn discard(body: Body) {
    // What cannot be read to its end is not begun.
    if body.size_hint().lower() > MAX_LEN as u64 {
        return;
    }
    let mut body = Limited::new(body, MAX_LEN);
    let read = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = timeout(PATIENCE, read).await;
}

/// A body that can be read on when its reader is gone.
struct SharedBody(Arc<Mutex<Body>>);

impl SharedBody {
    fn body(&self) -> MutexGuard<'_, Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl http_body::Body for SharedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.body()).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body().size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::{Router, middleware, routing::post};
    use futures::{StreamExt as _, stream};
    use http::StatusCode;
    use tower::util::ServiceExt as _;

    use super::*;

    /// How many of `count` pieces of a body are read if the handler refuses the request without reading any.
    async fn pieces_read(count: usize, change: impl FnOnce(&mut Request)) -> usize {
        let read = Arc::new(AtomicUsize::new(0));
        let counted = read.clone();
        let pieces = stream::iter(0..count).map(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(vec![b'a'; 64 * 1024])
        });
        let mut request = Request::post("/").body(Body::from_stream(pieces)).unwrap();
        change(&mut request);
        let routes = Router::new()
            .route("/", post(|| async { StatusCode::UNAUTHORIZED }))
            .layer(middleware::from_fn(read_if_refused));
        let answer = routes.oneshot(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        read.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn the_body_of_a_refused_request_is_read_to_its_end_or_its_limit() {
        assert_eq!(pieces_read(10, |_| ()).await, 10);
        let most = MAX_LEN / (64 * 1024);
        assert!((most..=most + 1).contains(&pieces_read(1_000, |_| ()).await));
    }

    #[tokio::test]
    async fn a_client_that_waits_to_be_asked_is_not_asked() {
        let waits = |request: &mut Request| {
            let value = "100-continue".parse().unwrap();
            request.headers_mut().insert(EXPECT, value);
        };
        assert_eq!(pieces_read(10, waits).await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_holds_up_no_answer_for_long() {
        let silent = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let begun = tokio::time::Instant::now();
        discard(silent).await;
        assert!(begun.elapsed() <= PATIENCE);
    }
}
