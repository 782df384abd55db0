//! A VSI's serial console, both ways, over a connection that changes from HTTP to its bytes.
//!
//! ```text
//! → POST /v1/namespaces/NS/virtualservers/NAME/console?force=true
//!   Connection: upgrade
//!   Upgrade: vsiflow-console
//! ← 101 Switching Protocols, or a problem
//!   what was said before; from here on bytes both ways
//! ```
//!
//! The answer comes once the console is open: whoever may not have it, or finds it taken, gets a
//! problem. Either side ends it by closing the connection. Each console is a task of its own, which
//! records its end whatever it was; `Api::end_consoles` closes all of them.
//!
//! **Bounds.** Consoles at a time; a few pieces of bytes each way, so that a side that reads nothing
//! holds up the other. A console at which nothing happens stays open.

use std::time::Duration;

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
use hyper_util::rt::TokioIo;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use vsiflow_engine::executor::By;
use vsiflow_workflows::fleet::{ConsoleAccess, Fleet, FleetError, OpenConsole};

use super::{Named, about};
use crate::{Caller, Problem, caller, described, router::Api, wire};

/// What the connection changes to.
pub(crate) const PROTOCOL: &str = "vsiflow-console";
/// How long the caller may take to change over.
const CHANGING: Duration = Duration::from_secs(10);

/// How it is opened.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ConsoleQuery {
    /// Close the console of whoever has it open.
    force: bool,
}

pub(super) fn changes() -> ApiRouter<Api> {
    let summary = "Open the serial console: the connection changes to its bytes, both ways";
    ApiRouter::new()
        .api_route(
            "/v1/namespaces/{namespace}/virtualservers/{name}/console",
            post_with(
                open,
                about("openVirtualServerConsole", "virtualservers", summary),
            ),
        )
        .route_layer(middleware::from_fn(caller::may_operate))
}

async fn open(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(target): Path<Named>,
    Query(query): Query<ConsoleQuery>,
    Changing(upgrade): Changing,
) -> Result<ChangesOver, Problem> {
    // A holder that does not stay would cut it off.
    let words = ["vsiflow", "console", &target.name].map(str::to_owned);
    api.commands().about(&words)?;
    let place = api.consoles().place()?;
    let access = api.fleet().console(&target.namespace, &target.name).await?;
    let session = Session {
        fleet: api.fleet().clone(),
        access,
        by: caller.by(""),
        end: api.consoles().end.clone(),
        _place: place,
    };
    let (opened, answer) = oneshot::channel();
    api.tasks().spawn(session.run(query.force, upgrade, opened));
    match answer.await {
        Ok(Ok(())) => Ok(ChangesOver),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Problem::busy("this process ends")),
    }
}

/// The consoles that are open.
pub(crate) struct Consoles {
    places: std::sync::Arc<tokio::sync::Semaphore>,
    end: CancellationToken,
}

/// Consoles at a time.
const AT_A_TIME: u32 = 64;

impl Default for Consoles {
    fn default() -> Self {
        let places = tokio::sync::Semaphore::new(AT_A_TIME as usize);
        Self {
            places: std::sync::Arc::new(places),
            end: CancellationToken::new(),
        }
    }
}

impl Consoles {
    fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let place = self.places.clone().try_acquire_owned();
        place.map_err(|_| Problem::busy("too many consoles are open"))
    }

    /// Closes all of them, and waits until each end is recorded.
    pub(crate) async fn end(&self) {
        self.end.cancel();
        let _ = self.places.acquire_many(AT_A_TIME).await;
        self.places.close();
    }
}

/// One console, from the record of its opening to that of its end.
struct Session {
    fleet: Fleet,
    access: ConsoleAccess,
    by: By,
    end: CancellationToken,
    _place: OwnedSemaphorePermit,
}

impl Session {
    async fn run(
        self,
        force: bool,
        upgrade: OnUpgrade,
        opened: oneshot::Sender<Result<(), FleetError>>,
    ) {
        let by = self.by.clone();
        let noted = self.fleet.note_console_opened(&self.access, force, by);
        if let Err(error) = noted.await {
            drop(opened.send(Err(error)));
            return;
        }
        let why = match self.access.open(force).await {
            Ok(console) => match opened.send(Ok(())) {
                Ok(()) => self.carry(console, upgrade).await,
                Err(_) => "its caller went away".to_owned(),
            },
            Err(error) => {
                let why = error.to_string();
                drop(opened.send(Err(error)));
                why
            }
        };
        let closed = self.fleet.note_console_closed(&self.access, &why, self.by);
        if let Err(error) = closed.await {
            tracing::warn!(%error, "the end of a console is not recorded");
        }
    }

    /// Carries bytes to the end; why it ended, where nobody left.
    async fn carry(&self, console: OpenConsole, upgrade: OnUpgrade) -> String {
        let stream = match timeout(CHANGING, upgrade).await {
            Ok(Ok(stream)) => TokioIo::new(stream),
            _ => return "its caller did not change over".to_owned(),
        };
        let (typed, keys) = wire::queue();
        let (shown, show) = wire::queue();
        let carried = async {
            let (carried, ()) = tokio::join!(
                console.carry(keys, shown),
                wire::both_ways(stream, typed, show)
            );
            carried
        };
        tokio::select! {
            carried = carried => carried.err().map(|error| error.to_string()).unwrap_or_default(),
            () = self.end.cancelled() => "the daemon ended".to_owned(),
        }
    }
}

/// The way to the bytes of a connection that is to change over.
struct Changing(OnUpgrade);

impl<S: Sync> FromRequestParts<S> for Changing {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let asked = parts.headers.get(UPGRADE);
        let is_asked =
            asked.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(PROTOCOL.as_bytes()));
        let upgrade = parts.extensions.remove::<OnUpgrade>().filter(|_| is_asked);
        upgrade.map(Self).ok_or_else(|| {
            let detail = format!("the request has to ask for `Upgrade: {PROTOCOL}`");
            Problem::wrong(StatusCode::UPGRADE_REQUIRED, detail)
        })
    }
}

impl OperationInput for Changing {}

/// `101 Switching Protocols`.
struct ChangesOver;

impl IntoResponse for ChangesOver {
    fn into_response(self) -> Response {
        let head = [(CONNECTION, "upgrade"), (UPGRADE, PROTOCOL)];
        (StatusCode::SWITCHING_PROTOCOLS, head).into_response()
    }
}

impl OperationOutput for ChangesOver {
    type Inner = Self;

    fn operation_response(_: &mut GenContext, _: &mut Operation) -> Option<Documented> {
        Some(Documented {
            description: format!("The connection is the console from here on ({PROTOCOL})"),
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
