//! The probe for an answer of an HTTP server in the guest.

use std::net::IpAddr;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::{Request, StatusCode, client::conn::http1, header::HOST};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::{ASK_WITHIN, ProbeAnswer, tcp};
use crate::ports::{GuestStream, HostPorts, PortResult};

pub(super) async fn ask(
    ports: &HostPorts,
    addresses: &[IpAddr],
    port: u16,
    path: &str,
) -> PortResult<ProbeAnswer> {
    let (address, stream) = match tcp::dial(ports, addresses, port).await? {
        Ok(connection) => connection,
        Err(why) => return Ok(ProbeAnswer::NotYet(why)),
    };
    let answered = timeout(ASK_WITHIN, get(stream, address, port, path)).await;
    Ok(match answered {
        Ok(Ok(status)) if status.is_success() || status.is_redirection() => {
            ProbeAnswer::Met(format!("http :{port}{path} answers {}", status.as_u16()))
        }
        Ok(Ok(status)) => ProbeAnswer::NotYet(format!("it answers {}", status.as_u16())),
        Ok(Err(why)) => ProbeAnswer::NotYet(why),
        Err(_) => ProbeAnswer::NotYet("it accepts and does not answer".to_owned()),
    })
}

/// The status of a GET request. The body is not read.
async fn get(
    stream: Box<dyn GuestStream>,
    address: IpAddr,
    port: u16,
    path: &str,
) -> Result<StatusCode, String> {
    let words = |error: hyper::Error| format!("it does not speak HTTP: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(words)?;
    let host = match address {
        IpAddr::V4(address) => format!("{address}:{port}"),
        IpAddr::V6(address) => format!("[{address}]:{port}"),
    };
    let request = Request::get(path)
        .header(HOST, host)
        .header("user-agent", "vsiflow")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let mut answer = Box::pin(sender.send_request(request));
    let mut connection = Box::pin(connection);
    // Both futures run on this task, so nothing remains when it is dropped.
    tokio::select! {
        answered = &mut answer => return Ok(answered.map_err(words)?.status()),
        _ = &mut connection => {}
    }
    // A server may close the connection with its answer: then the answer has already arrived, or never
    // will.
    drop(connection);
    Ok(answer.await.map_err(words)?.status())
}
