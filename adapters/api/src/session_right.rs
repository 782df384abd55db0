//! How long a caller may hold a session: a console, or an answer that follows something.
//!
//! The right to begin one is checked before it begins. Here it is checked again while it lasts, so that a
//! token that is revoked or expires ends what it began.

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use axum::extract::FromRequestParts;
use futures::future::BoxFuture;
use http::request::Parts;
use tokio::time::{sleep, timeout};

/// How long a console may stay open.
pub(crate) const SESSION_MAX: Duration = Duration::from_secs(3_600);

/// Checks a right once more: why it is withdrawn, if it is. A check that cannot be made withdraws nothing.
pub type RightCheck = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The right of a caller to a session; an extension of each request. The default is never withdrawn.
#[derive(Clone, Default)]
pub struct SessionRight {
    check: Option<(RightCheck, Duration)>,
}

impl SessionRight {
    /// A right that is checked again in this interval.
    pub fn checked(check: RightCheck, interval: Duration) -> Self {
        let check = Some((check, interval));
        Self { check }
    }

    /// Waits until the right is withdrawn; returns why.
    pub(crate) async fn withdrawn(&self) -> String {
        let Some((check, interval)) = &self.check else {
            return std::future::pending().await;
        };
        loop {
            sleep(*interval).await;
            if let Err(why) = check().await {
                return why;
            }
        }
    }

    /// Waits until a console has to end; returns why.
    pub(crate) async fn ended(&self) -> String {
        let ended = timeout(SESSION_MAX, self.withdrawn()).await;
        ended.unwrap_or_else(|_| "it was open for an hour".to_owned())
    }
}

impl fmt::Debug for SessionRight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let interval = self.check.as_ref().map(|(_, interval)| interval);
        f.debug_tuple("SessionRight").field(&interval).finish()
    }
}

impl<S: Sync> FromRequestParts<S> for SessionRight {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

impl aide::operation::OperationInput for SessionRight {}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures::FutureExt as _;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_session_ends_when_its_right_is_withdrawn_and_after_an_hour() {
        let begun = Instant::now();
        let why = SessionRight::default().ended().await;
        assert_eq!(
            (begun.elapsed(), why.as_str()),
            (SESSION_MAX, "it was open for an hour")
        );
        let is_revoked = Arc::new(AtomicBool::new(false));
        let looked_at = is_revoked.clone();
        let check: RightCheck = Arc::new(move || {
            let answer = if looked_at.load(Ordering::Relaxed) {
                Err("revoked".to_owned())
            } else {
                Ok(())
            };
            async move { answer }.boxed()
        });
        let right = SessionRight::checked(check, Duration::from_secs(5));
        let reopened = Instant::now();
        let revoke = async {
            sleep(Duration::from_secs(62)).await;
            is_revoked.store(true, Ordering::Relaxed);
        };
        let (cause, ()) = tokio::join!(right.ended(), revoke);
        let ended = (reopened.elapsed().as_secs(), cause.as_str());
        assert_eq!(ended, (65, "revoked"));
    }
}
