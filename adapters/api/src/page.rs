//! HTML pages: the current and past state of the fleet, for people with a browser.
//!
//! Server-rendered HTML, with one style sheet and small scripts, all embedded in the binary. Nothing is
//! loaded from elsewhere, no page contains inline scripts, and pages work without scripts. The templates
//! escape everything that comes from a tenant, a guest or a host. Each page accepts `?at=`, a moment of
//! the journal, and shows that moment.
//!
//! Pages mostly show. A page can change only two things: it approves waiting changes, and it types at a
//! console. Both are POST requests with the caller's rights and name. A browser does not authenticate
//! itself to a daemon in any other way. Where a cookie does, the listener that set it (`browser`)
//! ensures that the request comes from one of its own pages.

mod address;
mod approvals;
mod audit;
mod changes;
mod console;
pub(crate) mod context;
mod events;
mod fleet;
mod graph;
mod groups;
mod hosts;
mod images;
mod layout;
mod live;
mod moment;
mod pools;
mod runs;
mod state;
mod tables;
mod text;
mod vsi;

use axum::{
    Router, middleware,
    response::IntoResponse,
    routing::{get, post},
};
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};

use crate::{api::Api, placed::placed};

const STYLE: &str = include_str!("page/assets/page.css");
const SCRIPT: &str = include_str!("page/assets/page.js");
const CONSOLE: &str = include_str!("page/assets/console.js");

/// All pages, with their assets.
pub(crate) fn routes() -> Router<Api> {
    views()
        .route_layer(middleware::from_fn(placed))
        .merge(rest())
}

/// Pages that show the fleet, whose answers grow with it.
fn views() -> Router<Api> {
    Router::new()
        .route("/", get(fleet::page))
        .route("/vsi/{namespace}/{name}", get(vsi::page))
        .route("/vsi/{namespace}/{name}/changes", get(changes::page))
        .route("/vsi/{namespace}/{name}/console", get(console::page))
        .route("/pools", get(pools::list))
        .route("/pool/{namespace}/{name}", get(pools::page))
        .route("/groups", get(groups::list))
        .route("/group/{namespace}/{name}", get(groups::page))
        .route("/images", get(images::page))
        .route("/hosts", get(hosts::list))
        .route("/host/{host}", get(hosts::page))
        .route("/events", get(events::page))
        .route("/approvals", get(approvals::list))
}

/// What is short, changes something, or has places of its own.
fn rest() -> Router<Api> {
    Router::new()
        .route("/vsi/{namespace}/{name}/approve", post(approvals::of_vsi))
        .route("/vsi/{namespace}/{name}/console", post(console::open))
        .route("/consoles/{console}", post(console::typed))
        .route("/pool/{namespace}/{name}/approve", post(approvals::of_pool))
        .route("/live", get(live::follow))
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
