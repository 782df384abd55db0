//! The `console` subresource: a connection that is upgraded to the bytes of a guest's console.
//!
//! The API server passes such a connection through unchanged, without a time limit after the upgrade.
//! The bytes are carried by a port: its implementation is composed elsewhere, like the listener.

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

/// The protocol that the connection is upgraded to.
pub const PROTOCOL: &str = "vsiflow-console";

/// A request for a console.
pub struct ConsoleRequest {
    /// The namespace of the VSI.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Whether to close a console that another user has open.
    pub force: bool,
    /// The user, and the reason.
    pub by: By,
    /// Extensions of the HTTP request, which give access to the bytes of its connection.
    pub connection: Extensions,
}

/// Error: the console was not opened.
#[derive(Debug)]
pub enum ConsoleRefused {
    /// Too many consoles are open.
    Busy,
    /// The connection cannot be upgraded.
    Connection,
    /// The error of the host or the journal.
    Failed(FleetError),
}

/// Carries the bytes of consoles.
#[async_trait]
pub trait Consoles: Send + Sync {
    /// Opens a console, records that, and carries its bytes once the connection is upgraded.
    ///
    /// # Errors
    /// If it cannot be opened; the connection is not upgraded then.
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
    // Consoles are opened by name; the name must belong to this object.
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
