//! What is typed to a guest: `console`, a connection that changes over to its bytes.
//!
//! The API server hands such a connection through as it is, and bounds it no more once it has changed over. Who
//! carries the bytes is behind a port: that is composed elsewhere, as listening is.

use async_trait::async_trait;
use bytes::Bytes;
use http::{
    Extensions, HeaderValue, Response, StatusCode,
    header::{CONNECTION, UPGRADE},
    request::Parts,
};
use http_body_util::{BodyExt as _, Full};
use vsiflow_engine::{
    executor::By,
    model::{Actor, EntityId, Text, Who},
};
use vsiflow_workflows::fleet::FleetError;

use super::{
    HttpAnswer, Refusal, RequestCaller, RouteTarget, SubresourceState, route::RouteOptions,
};

/// What the connection changes to.
pub const PROTOCOL: &str = "vsiflow-console";

/// A console that is asked for.
pub struct ConsoleRequest {
    /// The namespace of the VSI.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// To close the console of whoever has it open.
    pub force: bool,
    /// Who asks, and why.
    pub by: By,
    /// What came with the request: the way to the bytes of its connection.
    pub connection: Extensions,
}

/// Why there is no console.
#[derive(Debug)]
pub enum ConsoleRefused {
    /// Too many are open.
    Busy,
    /// The connection cannot change over.
    Connection,
    /// The host, or the journal, says so.
    Failed(FleetError),
}

/// Whoever carries the bytes of consoles.
#[async_trait]
pub trait Consoles: Send + Sync {
    /// Opens a console, records that, and carries its bytes once the connection has changed over.
    ///
    /// # Errors
    /// When there is none; the connection does not change over then.
    async fn open(&self, console: ConsoleRequest) -> Result<(), ConsoleRefused>;
}

impl From<ConsoleRefused> for Refusal {
    fn from(why: ConsoleRefused) -> Self {
        match why {
            ConsoleRefused::Busy => Self::busy(),
            ConsoleRefused::Connection => Self::upgrade(PROTOCOL),
            ConsoleRefused::Failed(error) => error.into(),
        }
    }
}

/// Opens the console of a VSI.
pub(super) async fn open(
    inner: &SubresourceState,
    consoles: &dyn Consoles,
    (entity, target): (EntityId, &RouteTarget),
    parts: Parts,
    caller: &RequestCaller,
) -> Result<Response<HttpAnswer>, Refusal> {
    let query = parts.uri.query().unwrap_or_default();
    let options = RouteOptions::of(query, &["force"])?;
    let protocol = parts.headers.get(UPGRADE);
    if protocol.is_none_or(|to| !to.as_bytes().eq_ignore_ascii_case(PROTOCOL.as_bytes())) {
        return Err(Refusal::upgrade(PROTOCOL));
    }
    let (namespace, name) = (target.namespace.clone(), target.name.clone());
    // A console is had by name: it must be that of this very object.
    if inner.fleet.vsis().find(&namespace, &name).await? != entity {
        return Err(Refusal::no_such_object(target));
    }
    let by = By {
        actor: Actor::Kubernetes(Who::new(caller.user.clone())),
        reason: Text::new(""),
    };
    let console = ConsoleRequest {
        namespace,
        name,
        force: options.force,
        by,
        connection: parts.extensions,
    };
    consoles.open(console).await?;
    Ok(changes_over())
}

fn changes_over() -> Response<HttpAnswer> {
    let body = Full::new(Bytes::new()).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(PROTOCOL));
    response
}
