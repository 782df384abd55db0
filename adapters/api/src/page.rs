//! The page: what the fleet is, and was, for people with a browser.
//!
//! Server-rendered HTML, with one style sheet and one small script, all of them in the binary. Nothing
//! is had from elsewhere, no script is part of a page, and a page works without it. Whatever comes from
//! a tenant, a guest or a host is escaped by the templates. Each page takes `?at=`, a moment of the
//! journal, and says so.
//!
//! A page shows. What it may change is what waits for an approval, and what is typed at a console: by
//! POST, with the rights and in the name of whoever asks. Nothing else of a browser makes anybody known
//! to a daemon: where a cookie does, the door that gave it (`browser`) holds that the request comes from
//! its own page.

mod approvals;
mod audit;
mod changes;
mod console;
mod fleet;
mod graph;
mod groups;
mod hosts;
mod layout;
mod lists;
mod live;
mod pools;
mod runs;
mod text;
mod vsi;

use axum::{
    Router,
    extract::{FromRequestParts, Query, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, X_CONTENT_TYPE_OPTIONS,
    },
    request::Parts,
};
use maud::{Markup, html};
use serde::Deserialize;
use vsiflow_workflows::fleet::{Fleet, Moment};

pub(crate) use self::console::PageConsoles;
use crate::{Caller, Problem, Rights, router::Api};

/// The type of a page.
pub(crate) const MEDIA_TYPE: &str = "text/html; charset=utf-8";

/// Nothing from elsewhere, no script in a page, and nobody puts it into a frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const STYLE: &str = include_str!("page/assets/page.css");
const SCRIPT: &str = include_str!("page/assets/page.js");
const CONSOLE: &str = include_str!("page/assets/console.js");

/// Every page, with what it is made of.
pub(crate) fn routes() -> Router<Api> {
    Router::new()
        .route("/", get(fleet::page))
        .route("/vsi/{namespace}/{name}", get(vsi::page))
        .route("/vsi/{namespace}/{name}/changes", get(changes::page))
        .route("/vsi/{namespace}/{name}/approve", post(approvals::of_vsi))
        .route(
            "/vsi/{namespace}/{name}/console",
            get(console::page).post(console::open),
        )
        .route("/consoles/{console}", post(console::typed))
        .route("/pools", get(pools::list))
        .route("/pool/{namespace}/{name}", get(pools::page))
        .route("/pool/{namespace}/{name}/approve", post(approvals::of_pool))
        .route("/groups", get(groups::list))
        .route("/group/{namespace}/{name}", get(groups::page))
        .route("/images", get(lists::images))
        .route("/hosts", get(hosts::list))
        .route("/host/{host}", get(hosts::page))
        .route("/events", get(lists::events))
        .route("/live", get(live::follow))
        .route("/approvals", get(approvals::list))
        .route("/audit", get(audit::page).post(audit::verify))
        .route("/assets/page.css", get(|| asset("text/css", STYLE)))
        .route("/assets/page.js", get(|| asset("text/javascript", SCRIPT)))
        .route(
            "/assets/console.js",
            get(|| asset("text/javascript", CONSOLE)),
        )
}

async fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let head = [(CONTENT_TYPE, kind), (X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (head, text)
}

/// What a page answers with.
type Shown = Result<Page, Page>;

/// A page, with the head that keeps it from being more than a page.
struct Page(StatusCode, Markup);

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let head = [
            (CONTENT_TYPE, MEDIA_TYPE),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (CACHE_CONTROL, "no-store"),
            // Without any, a browser does not say where a form comes from.
            (REFERRER_POLICY, "same-origin"),
        ];
        let head = head.map(|(name, value)| (name, HeaderValue::from_static(value)));
        (self.0, head, self.1.into_string()).into_response()
    }
}

const REFERRER_POLICY: HeaderName = http::header::REFERRER_POLICY;

/// What a page shows is of: now, or a moment.
#[derive(Clone, Debug, Default)]
struct At {
    /// What the address says; none for now.
    asked: Option<Moment>,
    /// The offset behind the newest event of the journal, and behind that of this moment.
    end: u64,
    shown: u64,
    /// When the newest event that is shown was recorded.
    time: String,
    /// What else the address says, which the slider keeps.
    others: Vec<(String, String)>,
}

impl At {
    /// The moment for the end of an address that has a query already.
    fn more(&self) -> String {
        self.asked.map(|at| format!("&at={at}")).unwrap_or_default()
    }
}

/// The fleet that a page is about.
struct Looked {
    fleet: Fleet,
    at: At,
    rights: Rights,
}

/// What an address says that belongs to one list or moment alone.
const OWN: [&str; 3] = ["at", "page", "before"];
/// What is kept of an address.
const OTHERS: usize = 8;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PageQuery {
    at: Option<String>,
}

impl FromRequestParts<Api> for Looked {
    type Rejection = Page;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Page> {
        let State(api) = State::<Api>::from_request_parts(parts, api)
            .await
            .unwrap_or_else(|never| match never {});
        let query = Query::<PageQuery>::try_from_uri(&parts.uri).unwrap_or_default();
        // A form sends what nobody filled in, too.
        let asked = query.0.at.filter(|text| !text.is_empty());
        let asked = asked.map(|text| text.parse::<Moment>()).transpose();
        let asked = asked.map_err(|error| {
            refused(&Problem::wrong(StatusCode::BAD_REQUEST, error.to_string()))
        })?;
        let others = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).unwrap_or_default();
        let others = others.0.into_iter();
        let others =
            others.filter(|(key, value)| !OWN.contains(&key.as_str()) && !value.is_empty());
        let rights = parts.extensions.get::<Caller>();
        let rights = rights.map_or(Rights::Look, |caller| caller.rights);
        let mut looked = Self::of(&api, asked, rights)
            .await
            .map_err(|problem| refused(&problem))?;
        looked.at.others = others.take(OTHERS).collect();
        Ok(looked)
    }
}

impl Looked {
    async fn of(api: &Api, asked: Option<Moment>, rights: Rights) -> Result<Self, Problem> {
        let fleet = api.fleet_at(asked).await?;
        let newest = fleet.history().newest_event().await?;
        let at = At {
            asked,
            end: api.fleet().history().end(),
            shown: newest.as_ref().map_or(0, |(offset, _)| *offset),
            time: newest.map(|(_, time)| time).unwrap_or_default(),
            others: Vec::new(),
        };
        Ok(Self { fleet, at, rights })
    }

    /// Whether who asks may change something of what is shown: the past is as it is.
    fn may_operate(&self) -> bool {
        self.at.asked.is_none() && self.rights >= Rights::Operate
    }

    /// A whole page of it.
    fn page(&self, title: &str, path: &str, main: &Markup) -> Page {
        Page(
            StatusCode::OK,
            layout::whole(title, path, Some(&self.at), main),
        )
    }
}

/// Why there is no page.
fn refused(problem: &Problem) -> Page {
    let status = StatusCode::from_u16(problem.status);
    let main = html! {
        h1 { (problem.title) }
        p role="alert" { strong { (problem.code) } " " (problem.detail) }
        p { (problem.remedy) }
        p { a href="/" { "Show the fleet as it is now" } }
    };
    let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    Page(status, layout::whole(&problem.title, "", None, &main))
}

/// Who asks, where they may operate.
fn operator(caller: Option<&Caller>) -> Result<&Caller, Page> {
    match caller {
        Some(caller) if caller.rights >= Rights::Operate => Ok(caller),
        Some(caller) => Err(refused(&caller.refused())),
        None => Err(refused(&Problem::looks_only())),
    }
}

/// On to another page, after something was done.
fn on_to(path: &str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, path)]).into_response()
}

impl From<Problem> for Page {
    fn from(problem: Problem) -> Self {
        refused(&problem)
    }
}

impl From<vsiflow_workflows::fleet::FleetError> for Page {
    fn from(error: vsiflow_workflows::fleet::FleetError) -> Self {
        refused(&error.into())
    }
}
