//! The routes of `/v1`, with their descriptions, and the limits on each request.

use std::time::Duration;

use aide::axum::ApiRouter;
use axum::{
    body::Body,
    extract::Request,
    middleware::{self, Next},
    response::Response,
};
use http_body::Body as _;

use crate::{Problem, api::Api, body, placed::placed, service, v1};

/// The limits of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// The maximum length of its body, in bytes.
    longest: u64,
    /// How long its answer may take to begin.
    pub(crate) answer: Duration,
}

impl RequestLimits {
    /// Of requests without files.
    pub const SHORT: Self = Self {
        longest: 64 * 1024,
        answer: Duration::from_secs(120),
    };
    /// Of documents: files of 64 MiB, encoded. Hosts are asked where their VSIs have room, one that does not answer too.
    pub const OF_DOCUMENTS: Self = Self {
        longest: 96 * 1024 * 1024,
        answer: Duration::from_secs(600),
    };

    /// The maximum length of the body, in bytes.
    pub(crate) fn longest(self) -> u64 {
        self.longest
    }

    /// Middleware: requires a body that arrives in time and is not too long, and an answer that begins in time. The memory
    /// of long bodies is limited for all callers together.
    pub(crate) async fn hold(self, request: Request, next: Next) -> Result<Response, Problem> {
        let (head, body) = request.into_parts();
        let length = body.size_hint();
        let length = length.upper().unwrap_or_else(|| length.lower());
        if length > self.longest {
            return Err(body::too_long(self.longest));
        }
        let memory = match head.extensions.get::<Api>() {
            Some(api) if length > Self::SHORT.longest => Some(api.turns().body(length).await?),
            _ => None,
        };
        // A body that does not say how long it is may be short.
        let longest = memory
            .as_ref()
            .map_or(Self::SHORT.longest, |_| self.longest);
        let bytes = body::whole(body, longest).await?;
        let whole = Request::from_parts(head, Body::from(bytes));
        let answered = tokio::time::timeout(self.answer, next.run(whole)).await;
        drop(memory);
        answered.map_err(|_| Problem::late())
    }
}

/// All routes except that of the description, which is generated from these.
pub(crate) fn described() -> ApiRouter<Api> {
    let views = v1::view_routes().route_layer(middleware::from_fn(placed));
    let bounded = views
        .merge(v1::changes())
        .route_layer(middleware::from_fn(bounded));
    bounded
        .merge(service::routes())
        .merge(v1::streams())
        .merge(v1::commands())
}

/// Middleware: holds to the limits of requests without files.
pub(crate) async fn bounded(request: Request, next: Next) -> Result<Response, Problem> {
    RequestLimits::SHORT.hold(request, next).await
}
