//! Sends requests of the service to a daemon.

use std::{io, time::Duration};

use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;

use super::ServiceRequest;
use crate::{
    DaemonAddress, Problem,
    client::{exchange, posted_json, problem_of},
};

/// How much longer an answer may take to begin than a daemon takes at most.
const BEGIN_MARGIN: Duration = Duration::from_secs(10);
/// How long the next piece of an answer may take.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum length of an answer, in bytes: a hundred thousand whole objects.
const MAX_ANSWER_LEN: usize = 1 << 30;

/// Why a request has no answer.
#[derive(Debug)]
pub enum DaemonError {
    /// It was refused, or failed.
    Problem(Box<Problem>),
    /// Nothing answers, or the answer is cut off or no answer of a daemon.
    NoAnswer(io::Error),
}

impl From<io::Error> for DaemonError {
    fn from(error: io::Error) -> Self {
        Self::NoAnswer(error)
    }
}

/// Has a daemon answer a request. Cancel safe: the daemon notices the end of the connection.
///
/// # Errors
/// The daemon's problem; or that it does not answer.
pub async fn call_daemon<R: ServiceRequest>(
    place: &DaemonAddress,
    request: &R,
) -> Result<R::Answer, DaemonError> {
    let request = posted_json(place, R::OPERATION.path, request)?;
    let begin = R::LIMITS.answer + BEGIN_MARGIN;
    let answered = exchange(place, request, Some(begin), |answer| async move {
        let status = answer.status();
        let body = whole(answer.into_body()).await?;
        match status {
            StatusCode::OK => Ok(serde_json::from_slice(&body).map_err(io::Error::from)?),
            status => Err(refusal(status, &body)),
        }
    });
    answered.await
}

async fn whole(mut body: Incoming) -> io::Result<Vec<u8>> {
    let mut held = Vec::new();
    while let Some(frame) = timeout(PIECE_TIMEOUT, body.frame()).await? {
        if let Ok(bytes) = frame.map_err(io::Error::other)?.into_data() {
            held.extend_from_slice(&bytes);
        }
        if held.len() > MAX_ANSWER_LEN {
            return Err(io::Error::other("the answer is too long"));
        }
    }
    Ok(held)
}

/// The problem with which a request was refused.
fn refusal(status: StatusCode, body: &[u8]) -> DaemonError {
    match problem_of(status, body) {
        // The path is not there: absent is the request, and not its object.
        Ok(problem) if status == StatusCode::NOT_FOUND && problem.code == Problem::WRONG => {
            let detail = "the daemon does not know this request";
            let remedy = "see that client and server are of one release";
            let unknown = Problem::new(StatusCode::BAD_REQUEST, Problem::WRONG, detail, remedy);
            DaemonError::Problem(Box::new(unknown))
        }
        Ok(problem) => DaemonError::Problem(Box::new(problem)),
        Err(error) => DaemonError::NoAnswer(error),
    }
}
