//! Sends requests of the service to a daemon.

use std::{io, time::Duration};

use axum::body::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::ServiceRequest;
use crate::{DaemonAddress, Problem};

/// How long an answer may take to begin: a little longer than a daemon takes at most.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(130);
/// How long the next piece of an answer may take.
const PIECE_TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum length of an answer, in bytes: a hundred thousand whole objects.
const MAX_ANSWER_LEN: usize = 1 << 30;
/// How much of an answer that is no problem of ours is shown.
const SHOWN_LEN: usize = 200;

/// Why a request has no answer.
#[derive(Debug)]
pub enum CallError {
    /// It was refused, or failed.
    Problem(Box<Problem>),
    /// Nothing answers, or the answer is cut off or no answer of a daemon.
    NoAnswer(io::Error),
}

impl From<io::Error> for CallError {
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
) -> Result<R::Answer, CallError> {
    let stream = place.connect().await?;
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let answered = async {
        let answer = timeout(BEGIN_TIMEOUT, sender.send_request(posted(place, request)?)).await;
        let answer = answer
            .map_err(io::Error::other)?
            .map_err(io::Error::other)?;
        let status = answer.status();
        let body = whole(answer.into_body()).await?;
        match status {
            StatusCode::OK => Ok(serde_json::from_slice(&body).map_err(io::Error::from)?),
            status => Err(refusal(status, &body)),
        }
    };
    let mut answered = std::pin::pin!(answered);
    tokio::select! {
        biased;
        answer = &mut answered => answer,
        ended = connection => {
            ended.map_err(io::Error::other)?;
            // What arrived before the end is still read.
            answered.await
        }
    }
}

fn posted<R: ServiceRequest>(
    place: &DaemonAddress,
    request: &R,
) -> io::Result<Request<Full<Bytes>>> {
    let mut head = Request::post(R::OPERATION.path)
        .header(header::HOST, "localhost")
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(token) = place.authorization()? {
        head = head.header(header::AUTHORIZATION, token);
    }
    let body = serde_json::to_vec(request).map_err(io::Error::other)?;
    head.body(Full::from(body)).map_err(io::Error::other)
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
fn refusal(status: StatusCode, body: &[u8]) -> CallError {
    match serde_json::from_slice::<Problem>(body) {
        // The path is not there: absent is the request, and not its object.
        Ok(problem) if status == StatusCode::NOT_FOUND && problem.code == Problem::WRONG => {
            let detail = "the daemon does not know this request";
            let remedy = "see that client and server are of one release";
            let unknown = Problem::new(StatusCode::BAD_REQUEST, Problem::WRONG, detail, remedy);
            CallError::Problem(Box::new(unknown))
        }
        Ok(problem) => CallError::Problem(Box::new(problem)),
        Err(_) => {
            let text = String::from_utf8_lossy(body);
            let shown: String = text.chars().take(SHOWN_LEN).collect();
            CallError::NoAnswer(io::Error::other(format!("{status}: {shown}")))
        }
    }
}
