//! A VSI's serial console or screen, over a connection that is upgraded from HTTP to its bytes.
//!
//! ```text
//! → POST /v1/namespaces/NS/virtualservers/NAME/console?force=true
//!   Connection: upgrade
//!   Upgrade: vsiflow-console
//! ← 101 Switching Protocols, or a problem
//!   what was said before; from here on bytes both ways
//! ```
//!
//! A screen is opened by `…/vnc` with `Upgrade: vsiflow-vnc`, and its bytes are those of VNC.
//!
//! The answer is sent once the console is open: a caller without the right, or one who finds it taken,
//! gets a problem. Either side ends it by closing the connection. After the upgrade a separate session
//! runs ([`crate::console_session`]).

use std::marker::PhantomData;

use aide::{
    axum::{ApiRouter, routing::post_with},
    generate::GenContext,
    openapi::{Operation, Response as Documented, StatusCode as Status},
    operation::{OperationInput, OperationOutput},
};
use axum::{
    Extension,
    extract::{FromRequestParts, Path, Query, State},
    middleware,
    response::{IntoResponse, Response},
};
use http::{
    StatusCode,
    header::{CONNECTION, UPGRADE},
    request::Parts,
};
use hyper::upgrade::OnUpgrade;
use schemars::JsonSchema;
use serde::Deserialize;
use vsiflow_workflows::fleet::ConsoleWay;

use super::resource::{ObjectPath, about};
use crate::{
    Caller, Problem,
    api::{Api, consoles::not_changing},
    caller,
    console_session::{ConsoleLine, ConsoleOpening, begin, stays},
    described,
    session_right::SessionRight,
    wire::{ChangedTo, Serial, Vnc},
};

/// How it is opened.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ConsoleQuery {
    /// Close the console of whoever has it open.
    force: bool,
}

pub(super) fn changes() -> ApiRouter<Api> {
    let summary = "Open the serial console: the connection changes to its bytes, both ways";
    let of_screen = "Open the screen: the connection changes to the bytes of VNC, both ways";
    ApiRouter::new()
        .api_route(
            "/v1/namespaces/{namespace}/virtualservers/{name}/console",
            post_with(
                open,
                about("openVirtualServerConsole", "virtualservers", summary),
            ),
        )
        .api_route(
            "/v1/namespaces/{namespace}/virtualservers/{name}/vnc",
            post_with(
                open_screen,
                about("openVirtualServerVnc", "virtualservers", of_screen),
            ),
        )
        .route_layer(middleware::from_fn(caller::may_operate))
}

async fn open(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(target): Path<ObjectPath>,
    Query(query): Query<ConsoleQuery>,
    right: SessionRight,
    Changing(upgrade, _): Changing<Serial>,
) -> Result<ChangesOver<Serial>, Problem> {
    let opening = ConsoleOpening::of(ConsoleWay::Serial, query.force, &caller, right);
    answer_when_open(&api, &target, opening, upgrade).await?;
    Ok(ChangesOver(PhantomData))
}

async fn open_screen(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(target): Path<ObjectPath>,
    right: SessionRight,
    Changing(upgrade, _): Changing<Vnc>,
) -> Result<ChangesOver<Vnc>, Problem> {
    let opening = ConsoleOpening::of(ConsoleWay::Vnc, false, &caller, right);
    answer_when_open(&api, &target, opening, upgrade).await?;
    Ok(ChangesOver(PhantomData))
}

async fn answer_when_open(
    api: &Api,
    target: &ObjectPath,
    opening: ConsoleOpening,
    upgrade: OnUpgrade,
) -> Result<(), Problem> {
    let way = opening.way;
    let target = (target.namespace.as_str(), target.name.as_str());
    stays(api, way, target)?;
    let opened = begin(api, target, opening, ConsoleLine::Connection(upgrade));
    opened.await.map_err(|why| why.into_problem(way))
}

/// The upgrade of a request that has the right `Upgrade` header.
struct Changing<P>(OnUpgrade, PhantomData<P>);

impl<S: Sync, P: ChangedTo> FromRequestParts<S> for Changing<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let protocol = parts.headers.get(UPGRADE);
        let is_asked =
            protocol.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(P::NAME.as_bytes()));
        let upgrade = parts.extensions.remove::<OnUpgrade>().filter(|_| is_asked);
        let upgrade = upgrade.ok_or_else(|| not_changing(P::NAME))?;
        Ok(Self(upgrade, PhantomData))
    }
}

impl<P> OperationInput for Changing<P> {}

/// `101 Switching Protocols`.
struct ChangesOver<P>(PhantomData<P>);

impl<P: ChangedTo> IntoResponse for ChangesOver<P> {
    fn into_response(self) -> Response {
        let head = [(CONNECTION, "upgrade"), (UPGRADE, P::NAME)];
        (StatusCode::SWITCHING_PROTOCOLS, head).into_response()
    }
}

impl<P: ChangedTo> OperationOutput for ChangesOver<P> {
    type Inner = Self;

    fn operation_response(_: &mut GenContext, _: &mut Operation) -> Option<Documented> {
        Some(Documented {
            description: format!("The connection changes over from here on ({})", P::NAME),
            ..Documented::default()
        })
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<Status>, Documented)> {
        described::only::<Self>(ctx, operation, Some(101))
    }
}
