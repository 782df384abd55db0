//! The routes, and what is around each request: who asks, bounds, and the form of errors.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aide::axum::{
    ApiRouter,
    routing::{get_with, post_with},
};
use axum::{
    Router,
    body::Body,
    extract::Request,
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
};
use http::{
    HeaderMap, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use tokio::task::JoinSet;
use vsiflow_engine::model::{Actor, Who};
use vsiflow_workflows::fleet::{Fleet, Moment, TokenRole};

use crate::{
    Caller, Commands, Problem, Rights, UnixPeer, commands,
    commands::Turns,
    moments::Moments,
    openapi, page,
    token::Token,
    v1::{self, ConsoleRegistry, Watchers},
};

/// The longest body of a request that is no command, in bytes.
const LONGEST: u64 = 64 * 1024;
/// The longest text of somebody else's error that is told, in bytes.
const LONGEST_TEXT: u64 = 4 * 1024;
/// No answer that ends by itself takes longer to begin.
const ANSWER: Duration = Duration::from_secs(120);

/// What answers. Clones share it; commands under way end when the last one goes.
#[derive(Clone)]
pub struct Api {
    inner: Arc<Inner>,
}

struct Inner {
    fleet: Fleet,
    commands: Arc<dyn Commands>,
    turns: Turns,
    watchers: Watchers,
    consoles: ConsoleRegistry,
    page_consoles: page::PageConsoles,
    moments: Moments,
    tasks: Tasks,
}

/// What goes on although nobody reads it.
#[derive(Default)]
pub(crate) struct Tasks(Mutex<JoinSet<()>>);

impl Tasks {
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a command panicked");
            }
        }
        tasks.spawn(task);
    }
}

impl Api {
    /// Answers out of that fleet, and has commands done by that.
    pub fn new(fleet: Fleet, commands: Arc<dyn Commands>) -> Self {
        let inner = Inner {
            fleet,
            commands,
            turns: Turns::default(),
            watchers: Watchers::default(),
            consoles: ConsoleRegistry::default(),
            page_consoles: page::PageConsoles::default(),
            moments: Moments::default(),
            tasks: Tasks::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    pub(crate) fn fleet(&self) -> &Fleet {
        &self.inner.fleet
    }

    /// The fleet as it was at a moment; as it is, where none is asked for.
    pub(crate) async fn fleet_at(&self, moment: Option<Moment>) -> Result<Fleet, Problem> {
        match moment {
            Some(moment) => self.inner.moments.at(&self.inner.fleet, moment).await,
            None => Ok(self.inner.fleet.clone()),
        }
    }

    pub(crate) fn commands(&self) -> &Arc<dyn Commands> {
        &self.inner.commands
    }

    pub(crate) fn turns(&self) -> &Turns {
        &self.inner.turns
    }

    pub(crate) fn watchers(&self) -> &Watchers {
        &self.inner.watchers
    }

    pub(crate) fn page_consoles(&self) -> &page::PageConsoles {
        &self.inner.page_consoles
    }

    pub(crate) fn consoles(&self) -> &ConsoleRegistry {
        &self.inner.consoles
    }

    /// Closes the consoles that are open, and waits until that is recorded. Nobody opens one
    /// afterwards.
    pub async fn end_consoles(&self) {
        self.inner.consoles.end().await;
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.inner.tasks
    }

    /// The service for the bearers of tokens, each of whom has the rights of its role.
    pub fn token_service(&self) -> Router {
        let api = self.clone();
        let known = middleware::from_fn(move |mut request: Request, next: Next| {
            let api = api.clone();
            async move {
                match api.bearer(request.headers()).await {
                    Ok(caller) => {
                        request.extensions_mut().insert(caller);
                        next.run(request).await
                    }
                    Err(problem) => problem.into_response(),
                }
            }
        });
        self.routes().layer(known)
    }

    /// Whose token a request shows.
    async fn bearer(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let shown = headers.get(AUTHORIZATION);
        let shown = shown.ok_or_else(|| Problem::no_token("the request shows none"))?;
        let token = Token::of_header(shown).map_err(|why| Problem::no_token(&why.to_string()))?;
        let role = self
            .fleet()
            .tokens()
            .role(token.name(), token.secret())
            .await;
        let role = role.map_err(|error| Problem {
            status: StatusCode::UNAUTHORIZED.as_u16(),
            ..error.into()
        })?;
        Ok(Caller {
            actor: Actor::Token(Who::new(token.name())),
            rights: match role {
                TokenRole::Viewer => Rights::Look,
                TokenRole::Operator => Rights::Operate,
                TokenRole::Admin => Rights::Everything,
            },
        })
    }

    fn routes(&self) -> Router {
        let pages = page::routes().route_layer(middleware::from_fn(bounded));
        let routes = openapi::routes().merge(pages).with_state(self.clone());
        routes.layer(middleware::from_fn(told_as_problem))
    }

    /// The service for a unix socket whose callers have those rights.
    pub fn service(&self, rights: Rights) -> Router {
        let api = self.clone();
        let known = middleware::from_fn(move |mut request: Request, next: Next| {
            let caller = request.extensions().get::<UnixPeer>().map(|peer| Caller {
                actor: api.commands().actor(peer.uid),
                rights,
            });
            async move {
                let Some(caller) = caller else {
                    let detail = "who asks is not known";
                    return Problem::wrong(StatusCode::UNAUTHORIZED, detail).into_response();
                };
                request.extensions_mut().insert(caller);
                next.run(request).await
            }
        });
        self.routes().layer(known)
    }
}

/// Every route, with its description.
pub(crate) fn routes() -> ApiRouter<Api> {
    let bounded = v1::looks()
        .merge(v1::changes())
        .route_layer(middleware::from_fn(bounded));
    let command = post_with(commands::run, |operation| {
        operation
            .id("runCommand")
            .tag("commands")
            .summary("Run a command line and answer with its output as it comes")
    });
    bounded
        .merge(v1::streams())
        .api_route("/v1/commands", command)
        .api_route(
            "/v1/openapi.json",
            get_with(openapi::answer, |operation| {
                operation
                    .id("getOpenApi")
                    .tag("meta")
                    .summary("This description")
            }),
        )
}

/// A body that comes in time and is not too long, and an answer that begins in time.
async fn bounded(request: Request, next: Next) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let body = commands::bytes(body, LONGEST).await?;
    let whole = Request::from_parts(head, Body::from(body));
    let answered = tokio::time::timeout(ANSWER, next.run(whole)).await;
    answered.map_err(|_| Problem::late())
}

/// Whatever refuses a request, it is a problem that says so.
async fn told_as_problem(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_problem = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind == Problem::MEDIA_TYPE || kind == page::MEDIA_TYPE);
    if is_problem || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let text = commands::bytes(response.into_body(), LONGEST_TEXT).await;
    let text = text.map(|text| String::from_utf8_lossy(&text).into_owned());
    let detail = text.unwrap_or_default();
    let detail = match (status, detail.as_str()) {
        (StatusCode::NOT_FOUND, "") => "there is nothing of this path".to_owned(),
        (StatusCode::METHOD_NOT_ALLOWED, "") => "this method does nothing here".to_owned(),
        _ => detail,
    };
    Problem::wrong(status, detail).into_response()
}
