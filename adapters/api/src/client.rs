//! HTTP client of a daemon, over its socket or from another machine.

use std::{io, time::Duration};

use axum::body::Bytes;
use http::{Request, Response, StatusCode, header, request::Builder};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http1, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::time::timeout;
use vsiflow_workflows::fleet::ConsoleWay;

use crate::{CommandLine, CommandRequest, DaemonAddress, Problem, wire::protocol};

/// The maximum length of a line of an answer, in bytes: a piece of output with every byte escaped.
const MAX_LINE_LEN: usize = 1024 * 1024;
/// How many characters are shown of an answer that is no problem.
const SHOWN_LEN: usize = 200;
/// The maximum length of a problem, in bytes: with the findings about a thousand documents.
const MAX_PROBLEM_LEN: usize = 32 * 1024 * 1024;

/// The result of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientAnswer {
    /// It was run, and ended with this exit code.
    Done(u8),
    /// It was refused before it began.
    Refused(Box<Problem>),
}

/// Has a command run, and passes each line except the last to `take` as it arrives.
///
/// # Errors
/// If the daemon does not answer, or the answer is cut off: the result of the command is unknown then.
/// Errors of `take` are returned.
pub async fn run(
    place: &DaemonAddress,
    request: &CommandRequest,
    mut take: impl FnMut(CommandLine) -> io::Result<()>,
) -> io::Result<ClientAnswer> {
    let request = posted_json(place, "/v1/commands", request)?;
    let answered = exchange(place, request, None, |mut answer| async move {
        match answer.status() {
            StatusCode::OK => lines(answer.body_mut(), &mut take)
                .await
                .map(ClientAnswer::Done),
            status => refused(status, answer.into_body()).await,
        }
    });
    answered.await
}

/// Sends a request, and has its answer read while the connection lasts. `begin` is how long the answer may take to begin.
pub(crate) async fn exchange<T, E: From<io::Error>, Reading>(
    place: &DaemonAddress,
    request: Request<Full<Bytes>>,
    begin: Option<Duration>,
    read: impl FnOnce(Response<Incoming>) -> Reading,
) -> Result<T, E>
where
    Reading: Future<Output = Result<T, E>>,
{
    let stream = place.connect().await?;
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let answered = async {
        let sent = sender.send_request(request);
        let answer = match begin {
            Some(begin) => timeout(begin, sent).await.map_err(io::Error::from)?,
            None => sent.await,
        };
        read(answer.map_err(io::Error::other)?).await
    };
    let mut answered = std::pin::pin!(answered);
    tokio::select! {
        biased;
        answer = &mut answered => answer,
        ended = connection => {
            ended.map_err(io::Error::other)?;
            // Data that arrived before the end is still read.
            answered.await
        }
    }
}

/// The head of a request, with the token of the caller.
fn posted(place: &DaemonAddress, path: &str) -> io::Result<Builder> {
    let request = Request::post(path).header(header::HOST, "localhost");
    Ok(match place.authorization()? {
        Some(token) => request.header(header::AUTHORIZATION, token),
        None => request,
    })
}

/// A request with a body in JSON.
pub(crate) fn posted_json(
    place: &DaemonAddress,
    path: &str,
    body: &impl Serialize,
) -> io::Result<Request<Full<Bytes>>> {
    let body = serde_json::to_vec(body).map_err(io::Error::other)?;
    posted(place, path)?
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::from(body))
        .map_err(io::Error::other)
}

/// Passes the lines on, and returns the exit code from the last one.
async fn lines(
    body: &mut Incoming,
    take: &mut impl FnMut(CommandLine) -> io::Result<()>,
) -> io::Result<u8> {
    let mut held = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(io::Error::other)?;
        let Ok(bytes) = frame.into_data() else {
            continue;
        };
        held.extend_from_slice(&bytes);
        while let Some(end) = held.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = held.drain(..=end).collect();
            match serde_json::from_slice(&line)? {
                CommandLine::Exit(code) => return Ok(code),
                line => take(line)?,
            }
        }
        if held.len() > MAX_LINE_LEN {
            return Err(io::Error::other("a line is too long"));
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

/// Opens a VSI's console or screen. Returns a connection with its bytes, or the problem with which it
/// was refused.
///
/// # Errors
/// If the daemon does not answer.
pub async fn console(
    place: &DaemonAddress,
    target: (&str, &str),
    how: (ConsoleWay, bool),
) -> io::Result<Result<TokioIo<Upgraded>, Box<Problem>>> {
    let stream = place.connect().await?;
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    // The task ends with the request, or after the upgrade.
    let driven = tokio::spawn(connection.with_upgrades());
    let answer = sender.send_request(changing(place, target, how)?).await;
    let answer = answer.map_err(io::Error::other)?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let refusal = refused(answer.status(), answer.into_body()).await?;
        driven.abort();
        return match refusal {
            ClientAnswer::Refused(problem) => Ok(Err(problem)),
            ClientAnswer::Done(_) => Err(io::ErrorKind::InvalidData.into()),
        };
    }
    let upgraded = hyper::upgrade::on(answer).await;
    Ok(Ok(TokioIo::new(upgraded.map_err(io::Error::other)?)))
}

fn changing(
    place: &DaemonAddress,
    (namespace, name): (&str, &str),
    (way, force): (ConsoleWay, bool),
) -> io::Result<Request<Full<Bytes>>> {
    let name = name.replace('/', "%2F");
    let resource = match way {
        ConsoleWay::Serial => format!("console?force={force}"),
        ConsoleWay::Vnc => "vnc".to_owned(),
    };
    let path = format!("/v1/namespaces/{namespace}/virtualservers/{name}/{resource}");
    posted(place, &path)?
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, protocol(way))
        .body(Full::default())
        .map_err(io::Error::other)
}

async fn refused(status: StatusCode, mut body: Incoming) -> io::Result<ClientAnswer> {
    let mut held = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame.map_err(io::Error::other)?.into_data() {
            held.extend_from_slice(&bytes);
        }
        if held.len() > MAX_PROBLEM_LEN {
            break;
        }
    }
    Ok(ClientAnswer::Refused(Box::new(problem_of(status, &held)?)))
}

/// The problem with which a request was refused.
///
/// # Errors
/// The beginning of the body, if it is no problem.
pub(crate) fn problem_of(status: StatusCode, body: &[u8]) -> io::Result<Problem> {
    serde_json::from_slice(body).map_err(|_| {
        let text = String::from_utf8_lossy(body);
        let shown: String = text.chars().take(SHOWN_LEN).collect();
        io::Error::other(format!("{status}: {shown}"))
    })
}

#[cfg(test)]
mod tests;
