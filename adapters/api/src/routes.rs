//! The routes of `/v1`, with their descriptions, and what bounds each request to them.

use std::time::Duration;

use aide::axum::ApiRouter;
use axum::{
    body::Body,
    extract::Request,
    middleware::{self, Next},
    response::Response,
};

use crate::{Problem, api::Api, body, v1};

/// The longest body of a request that is no command, in bytes.
pub(crate) const LONGEST: u64 = 64 * 1024;
/// No answer that ends by itself takes longer to begin.
const ANSWER: Duration = Duration::from_secs(120);

/// Every route but that of the description, which is made from these.
pub(crate) fn described() -> ApiRouter<Api> {
    let bounded = v1::view_routes()
        .merge(v1::changes())
        .route_layer(middleware::from_fn(bounded));
    bounded.merge(v1::streams()).merge(v1::commands())
}

/// A body that comes in time and is not too long, and an answer that begins in time.
pub(crate) async fn bounded(request: Request, next: Next) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let bytes = body::whole(body, LONGEST).await?;
    let whole = Request::from_parts(head, Body::from(bytes));
    let answered = tokio::time::timeout(ANSWER, next.run(whole)).await;
    answered.map_err(|_| Problem::late())
}
