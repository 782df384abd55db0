//! Reads the body of a request, with limits on length and time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use http::StatusCode;
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;

use crate::Problem;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads a body, if it is not too long and arrives in time.
pub(crate) async fn whole(body: Body, longest: u64) -> Result<Bytes, Problem> {
    // A body whose declared length is too large is not read.
    if body.size_hint().lower() > longest {
        return Err(too_long(longest));
    }
    let most = usize::try_from(longest).unwrap_or(usize::MAX);
    let read = timeout(BODY_TIMEOUT, Limited::new(body, most).collect()).await;
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

/// The problem of a body that is longer than `longest` bytes.
pub(crate) fn too_long(longest: u64) -> Problem {
    let detail = format!("the body is longer than {longest} bytes");
    Problem::wrong(StatusCode::PAYLOAD_TOO_LARGE, detail)
}
