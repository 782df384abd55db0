//! Reads the rest of a refused request's body.

use std::time::Duration;

use bytes::Buf;
use http_body::Body;
use http_body_util::BodyExt as _;
use tokio::time::timeout;

/// The maximum number of bytes that are read.
const MAX: usize = 1024 * 1024;
/// How long reading may take; a client that is sending has finished by then.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads the rest of a body, unless it is very long or slow. A connection that is closed with unread
/// bytes is reset, and the client may then lose the answer (RFC 9112, section 9.6).
pub(super) async fn rest<B: Body + Unpin>(body: &mut B) {
    let mut left = MAX;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Buf::remaining);
            match left.checked_sub(length) {
                Some(less) => left = less,
                None => break,
            }
        }
    };
    if timeout(DISCARD_TIMEOUT, reading).await.is_err() {
        tracing::debug!("the body of a refused request did not end in time");
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use bytes::Bytes;
    use futures::{StreamExt as _, stream};
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    /// How many of `pieces` pieces of 1 KiB are read.
    async fn read_of(pieces: usize) -> usize {
        let count = AtomicUsize::new(0);
        let frames = (0..pieces).map(|_| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b'x'; 1_024])))
        });
        rest(&mut StreamBody::new(stream::iter(frames))).await;
        count.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end_unless_it_is_huge() {
        assert_eq!(read_of(40).await, 40);
        assert_eq!(read_of(100_000).await, 1_025);
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_end_holds_up_an_answer_for_a_moment_only() {
        let begun = tokio::time::Instant::now();
        let frames = stream::pending::<Result<Frame<Bytes>, Infallible>>().boxed();
        rest(&mut StreamBody::new(frames)).await;
        assert_eq!(begun.elapsed(), DISCARD_TIMEOUT);
    }
}
