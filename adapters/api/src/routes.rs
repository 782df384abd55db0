//! The routes of `/v1`, with their descriptions, and the limits on each request.

use std::time::Duration;

use aide::axum::ApiRouter;
use axum::{
    body::Body,
    extract::Request,
    middleware::{self, Next},
    response::Response,
};

use crate::{Problem, api::Api, body, placed::placed, service, v1};

/// The maximum length of a request's body, except for commands, in bytes.
pub(crate) const MAX_LEN: u64 = 64 * 1024;
/// How long an answer may take to begin, if it does not follow something.
const ANSWER: Duration = Duration::from_secs(120);

/// All routes except that of the description, which is generated from these.
pub(crate) fn described() -> ApiRouter<Api> {
    let views = v1::view_routes().route_layer(middleware::from_fn(placed));
    let bounded = views
        .merge(v1::changes())
        .merge(service::routes())
        .route_layer(middleware::from_fn(bounded));
    bounded.merge(v1::streams()).merge(v1::commands())
}

/// Middleware: requires a body that arrives in time and is not too long, and an answer that begins in
/// time.
pub(crate) async fn bounded(request: Request, next: Next) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let bytes = body::whole(body, MAX_LEN).await?;
    let whole = Request::from_parts(head, Body::from(bytes));
    let answered = tokio::time::timeout(ANSWER, next.run(whole)).await;
    answered.map_err(|_| Problem::late())
}
