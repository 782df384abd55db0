//! The places of requests that show the fleet: lists, objects and pages.

use std::time::Duration;

use axum::{Extension, extract::Request, middleware::Next, response::Response};
use tokio::{
    runtime::Handle,
    task::spawn_blocking,
    time::{error::Elapsed, timeout},
};

use crate::{Caller, Problem, api::Api};

/// How long such a request may hold its place.
const ANSWER: Duration = Duration::from_secs(120);

/// Middleware: answers once there is a place for the caller, on a thread for blocking work. The answer grows with the
/// fleet, and it is written where it is made: neither may hold up the runtime's threads, nor take those of others.
pub(crate) async fn placed(
    Extension(api): Extension<Api>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let Some(caller) = request.extensions().get::<Caller>() else {
        return Err(Problem::view_only());
    };
    let place = api.turns().request(caller).await?;
    let runtime = Handle::current();
    let answered = spawn_blocking(move || {
        // Held by the work: a caller that waits no longer does not end it.
        let _place = place;
        runtime.block_on(async { timeout(ANSWER, next.run(request)).await })
    });
    match answered.await {
        Ok(answer) => answer.map_err(|_: Elapsed| Problem::late()),
        Err(error) => Err(Problem::defect(&error)),
    }
}
