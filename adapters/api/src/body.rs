//! The body of a request, bounded in length and time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use http::StatusCode;
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;

use crate::Problem;

/// How long a body may take to come.
const COMING: Duration = Duration::from_secs(30);

/// All of a body, if it is not too long and comes in time.
pub(crate) async fn whole(body: Body, longest: u64) -> Result<Bytes, Problem> {
    // What says so beforehand is not read.
    if body.size_hint().lower() > longest {
        return Err(too_long(longest));
    }
    let most = usize::try_from(longest).unwrap_or(usize::MAX);
    let read = timeout(COMING, Limited::new(body, most).collect()).await;
    let read = read.map_err(|_| {
        let detail = "the body did not come in time";
        Problem::wrong(StatusCode::REQUEST_TIMEOUT, detail)
    })?;
    let read = read.map_err(|error| {
        if error.is::<LengthLimitError>() {
            too_long(longest)
        } else {
            Problem::wrong(StatusCode::BAD_REQUEST, error.to_string())
        }
    })?;
    Ok(read.to_bytes())
}

/// A body of more bytes than that is refused.
pub(crate) fn too_long(longest: u64) -> Problem {
    let detail = format!("the body is longer than {longest} bytes");
    Problem::wrong(StatusCode::PAYLOAD_TOO_LARGE, detail)
}
