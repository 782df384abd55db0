//! A VSI's serial console or screen, both ways, over a connection that changes from HTTP to its bytes.
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
//! The answer comes once the console is open: whoever may not have it, or finds it taken, gets a
//! problem. Either side ends it by closing the connection. Each console is a task of its own, which
//! records its end whatever it was; `Api::end_consoles` closes all of them.
//!
//! **Bounds.** Consoles at a time; a few pieces of bytes each way, so that a side that reads nothing
//! holds up the other. A console at which nothing happens stays open.

use std::{marker::PhantomData, time::Duration};

use aide::{
    axum::{ApiRouter, routing::post_with},
    generate::GenContext,
    openapi::{Operation, Response as Documented, StatusCode as Status},
    operation::{OperationInput, OperationOutput},
};
use axum::{
    Extension,
    body::Bytes,
    extract::{FromRequestParts, Path, Query, State},
    middleware,
    response::{IntoResponse, Response},
};
use http::{
    Extensions, StatusCode,
    header::{CONNECTION, UPGRADE},
    request::Parts,
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use vsiflow_engine::executor::By;
use vsiflow_workflows::fleet::{ConsoleAccess, ConsoleWay, Fleet, FleetError, OpenConsole};

use super::{ObjectPath, about};
use crate::{Caller, Problem, caller, described, router::Api, wire};

/// What the connection changes to.
pub(crate) fn protocol(way: ConsoleWay) -> &'static str {
    match way {
        ConsoleWay::Serial => Serial::NAME,
        ConsoleWay::Vnc => Vnc::NAME,
    }
}

/// A protocol that a connection changes to.
trait ChangedTo: Send {
    /// Its name in a request.
    const NAME: &'static str;
}

/// The bytes of a serial console.
struct Serial;

impl ChangedTo for Serial {
    const NAME: &'static str = "vsiflow-console";
}

/// The bytes of VNC.
struct Vnc;

impl ChangedTo for Vnc {
    const NAME: &'static str = "vsiflow-vnc";
}

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
    Changing(upgrade, _): Changing<Serial>,
) -> Result<ChangesOver<Serial>, Problem> {
    let how = (ConsoleWay::Serial, query.force, caller.by(""));
    asked(&api, &target, how, upgrade).await?;
    Ok(ChangesOver(PhantomData))
}

async fn open_screen(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(target): Path<ObjectPath>,
    Changing(upgrade, _): Changing<Vnc>,
) -> Result<ChangesOver<Vnc>, Problem> {
    let how = (ConsoleWay::Vnc, false, caller.by(""));
    asked(&api, &target, how, upgrade).await?;
    Ok(ChangesOver(PhantomData))
}

async fn asked(
    api: &Api,
    target: &ObjectPath,
    how: (ConsoleWay, bool, By),
    upgrade: OnUpgrade,
) -> Result<(), Problem> {
    let way = how.0;
    stays(api, way, target)?;
    let target = (target.namespace.as_str(), target.name.as_str());
    let opened = begin(api, target, how, ConsoleLine::Connection(upgrade));
    opened.await.map_err(|why| why.told(way))
}

/// Opens the serial console for whoever types and reads by requests of their own: what is sent is
/// typed, and what is received is shown. It is closed once either is dropped.
pub(crate) async fn open_queued(
    api: &Api,
    target: &ObjectPath,
    force: bool,
    by: By,
) -> Result<(mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>), Problem> {
    let way = ConsoleWay::Serial;
    stays(api, way, target)?;
    let (typed, keys) = wire::queue();
    let (shown, show) = wire::queue();
    let target = (target.namespace.as_str(), target.name.as_str());
    let line = ConsoleLine::Queues(keys, shown);
    let opened = begin(api, target, (way, force, by), line).await;
    opened.map_err(|why| why.told(way))?;
    Ok((typed, show))
}

/// A holder that does not stay would cut a console off.
fn stays(api: &Api, way: ConsoleWay, target: &ObjectPath) -> Result<(), Problem> {
    let words = ["vsiflow", way.as_str(), &target.name].map(str::to_owned);
    api.commands().about(&words).map(drop)
}

/// Where the bytes of a console go.
enum ConsoleLine {
    /// To a connection that changes over.
    Connection(OnUpgrade),
    /// To whoever is at the other ends.
    Queues(mpsc::Receiver<Bytes>, mpsc::Sender<Bytes>),
}

impl NoConsole {
    fn told(self, way: ConsoleWay) -> Problem {
        match self {
            Self::Busy => Problem::busy("too many consoles are open"),
            Self::Ends => Problem::busy("this process ends"),
            Self::Connection => changing(protocol(way)),
            Self::Failed(error) => error.into(),
        }
    }
}

/// Why there is no console.
#[derive(Debug)]
pub enum NoConsole {
    /// Too many are open.
    Busy,
    /// This process ends.
    Ends,
    /// The connection cannot change over.
    Connection,
    /// The host, or the journal, says so.
    Failed(FleetError),
}

impl Api {
    /// Opens a VSI's console for a front end of its own, which knows who asks and answers that the
    /// connection changes over; `connection` are the extensions of the request.
    ///
    /// # Errors
    /// When there is none; that it was asked for is recorded then, where it could be.
    pub async fn open_console(
        &self,
        target: (&str, &str),
        how: (bool, By),
        mut connection: Extensions,
    ) -> Result<(), NoConsole> {
        let upgrade = connection.remove::<OnUpgrade>();
        let upgrade = upgrade.ok_or(NoConsole::Connection)?;
        let how = (ConsoleWay::Serial, how.0, how.1);
        begin(self, target, how, ConsoleLine::Connection(upgrade)).await
    }
}

/// Returns once the console is open; its bytes are carried by a task of its own.
async fn begin(
    api: &Api,
    (namespace, name): (&str, &str),
    (way, force, by): (ConsoleWay, bool, By),
    line: ConsoleLine,
) -> Result<(), NoConsole> {
    let place = api.consoles().place()?;
    let access = api.fleet().vsis().console(namespace, name, way).await;
    let session = Session {
        fleet: api.fleet().clone(),
        access: access.map_err(NoConsole::Failed)?,
        by,
        end: api.consoles().end.clone(),
        _place: place,
    };
    let (opened, answer) = oneshot::channel();
    api.tasks().spawn(session.run(force, line, opened));
    match answer.await {
        Ok(asked) => asked.map_err(NoConsole::Failed),
        Err(_) => Err(NoConsole::Ends),
    }
}

/// The consoles that are open.
pub(crate) struct ConsoleRegistry {
    places: std::sync::Arc<tokio::sync::Semaphore>,
    end: CancellationToken,
}

/// Consoles at a time.
const AT_A_TIME: u32 = 64;

impl Default for ConsoleRegistry {
    fn default() -> Self {
        let places = tokio::sync::Semaphore::new(AT_A_TIME as usize);
        Self {
            places: std::sync::Arc::new(places),
            end: CancellationToken::new(),
        }
    }
}

impl ConsoleRegistry {
    fn place(&self) -> Result<OwnedSemaphorePermit, NoConsole> {
        let place = self.places.clone().try_acquire_owned();
        place.map_err(|_| NoConsole::Busy)
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
        line: ConsoleLine,
        opened: oneshot::Sender<Result<(), FleetError>>,
    ) {
        let by = self.by.clone();
        let noted = self
            .fleet
            .vsis()
            .note_console_opened(&self.access, force, by);
        if let Err(error) = noted.await {
            drop(opened.send(Err(error)));
            return;
        }
        let why = match self.access.open(force).await {
            Ok(console) => match opened.send(Ok(())) {
                Ok(()) => self.carry(console, line).await,
                Err(_) => "its caller went away".to_owned(),
            },
            Err(error) => {
                let why = error.to_string();
                drop(opened.send(Err(error)));
                why
            }
        };
        let closed = self
            .fleet
            .vsis()
            .note_console_closed(&self.access, &why, self.by);
        if let Err(error) = closed.await {
            tracing::warn!(%error, "the end of a console is not recorded");
        }
    }

    /// Carries bytes to the end; why it ended, where nobody left.
    async fn carry(&self, console: OpenConsole, line: ConsoleLine) -> String {
        let carried = async {
            match line {
                ConsoleLine::Connection(upgrade) => changed_over(console, upgrade).await,
                ConsoleLine::Queues(keys, shown) => queued(console, keys, shown).await,
            }
        };
        tokio::select! {
            why = carried => why,
            () = self.end.cancelled() => "the daemon ended".to_owned(),
        }
    }
}

async fn changed_over(console: OpenConsole, upgrade: OnUpgrade) -> String {
    let stream = match timeout(CHANGING, upgrade).await {
        Ok(Ok(stream)) => TokioIo::new(stream),
        _ => return "its caller did not change over".to_owned(),
    };
    let (typed, keys) = wire::queue();
    let (shown, show) = wire::queue();
    let (carried, ()) = tokio::join!(
        console.carry(keys, shown),
        wire::both_ways(stream, typed, show)
    );
    why(carried)
}

async fn queued(
    console: OpenConsole,
    keys: mpsc::Receiver<Bytes>,
    shown: mpsc::Sender<Bytes>,
) -> String {
    // Whoever does not read any more has left, also where the guest says nothing.
    let left = shown.clone();
    tokio::select! {
        carried = console.carry(keys, shown) => why(carried),
        () = left.closed() => String::new(),
    }
}

fn why(carried: Result<(), FleetError>) -> String {
    carried
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default()
}

/// The way to the bytes of a connection that is to change over.
struct Changing<P>(OnUpgrade, PhantomData<P>);

impl<S: Sync, P: ChangedTo> FromRequestParts<S> for Changing<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let asked = parts.headers.get(UPGRADE);
        let is_asked =
            asked.is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(P::NAME.as_bytes()));
        let upgrade = parts.extensions.remove::<OnUpgrade>().filter(|_| is_asked);
        let upgrade = upgrade.ok_or_else(|| changing(P::NAME))?;
        Ok(Self(upgrade, PhantomData))
    }
}

fn changing(protocol: &str) -> Problem {
    let detail = format!("the request has to ask for `Upgrade: {protocol}`");
    Problem::wrong(StatusCode::UPGRADE_REQUIRED, detail)
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
