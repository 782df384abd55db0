//! The context of a page, and its answer: a request is resolved to the fleet at its moment, and the
//! answer has headers that restrict what the page may do.

use std::sync::Arc;

use axum::{
    extract::{FromRequestParts, Query, State},
    response::{IntoResponse, Response},
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
use vsiflow_engine::clock::{Clock as _, SystemClock};
use vsiflow_workflows::fleet::{FleetError, Fleets, Moment};

use super::{
    layout,
    moment::{At, end_of_second},
};
use crate::{Caller, Problem, Rights, api::Api};

/// The media type of a page.
pub(crate) const MEDIA_TYPE: &str = "text/html; charset=utf-8";

/// Nothing is loaded from elsewhere, no inline scripts, and no framing by other pages.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The result of a page's handler.
pub(super) type PageResult = Result<Page, Page>;

/// A page, with headers that restrict what it may do.
pub(super) struct Page(StatusCode, Markup);

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let head = [
            (CONTENT_TYPE, MEDIA_TYPE),
            (CONTENT_SECURITY_POLICY, POLICY),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (CACHE_CONTROL, "no-store"),
            // Without a policy that permits it, a browser does not send the origin of a form.
            (REFERRER_POLICY, "same-origin"),
        ];
        let head = head.map(|(name, value)| (name, HeaderValue::from_static(value)));
        (self.0, head, self.1.into_string()).into_response()
    }
}

const REFERRER_POLICY: HeaderName = http::header::REFERRER_POLICY;

/// The fleets, the moment and the rights that a page is rendered with.
pub(super) struct PageContext {
    pub(super) fleets: Arc<Fleets>,
    pub(super) at: At,
    pub(super) rights: Rights,
}

/// Query parameters that belong to one list or moment only.
const OWN: [&str; 4] = ["at", "time", "page", "before"];
/// How many other parameters are preserved.
const OTHERS: usize = 8;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PageQuery {
    at: Option<String>,
    /// The position of a time slider, in seconds since 1970.
    time: Option<String>,
}

impl PageQuery {
    /// The requested moment. A form also sends empty fields.
    fn moment(self) -> Result<Option<Moment>, String> {
        let text_of = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(second) = text_of(self.time) {
            let second = second
                .parse::<u64>()
                .map_err(|error| format!("time: {error}"))?;
            return Ok(Some(end_of_second(second, SystemClock.now())));
        }
        let at = text_of(self.at).map(|text| text.parse::<Moment>());
        at.transpose().map_err(|error| error.to_string())
    }
}

impl FromRequestParts<Api> for PageContext {
    type Rejection = Page;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Page> {
        let State(api) = State::<Api>::from_request_parts(parts, api)
            .await
            .unwrap_or_else(|never| match never {});
        let query = Query::<PageQuery>::try_from_uri(&parts.uri).unwrap_or_default();
        let requested = query.0.moment();
        let requested =
            requested.map_err(|why| refused(&Problem::wrong(StatusCode::BAD_REQUEST, why)))?;
        let others = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).unwrap_or_default();
        let others = others.0.into_iter();
        let others =
            others.filter(|(key, value)| !OWN.contains(&key.as_str()) && !value.is_empty());
        let caller = parts.extensions.get::<Caller>();
        let caller = caller.ok_or_else(|| refused(&Problem::view_only()))?;
        let mut context = Self::of(&api, requested, caller)
            .await
            .map_err(|problem| refused(&problem))?;
        context.at.others = others.take(OTHERS).collect();
        Ok(context)
    }
}

impl PageContext {
    async fn of(api: &Api, requested: Option<Moment>, caller: &Caller) -> Result<Self, Problem> {
        let fleets = api.fleets_at(caller, requested).await?;
        let at = At::of(api, &fleets, requested).await?;
        let rights = caller.rights;
        Ok(Self { fleets, at, rights })
    }

    /// Whether the caller may change something shown here: the past cannot be changed.
    pub(super) fn may_operate(&self) -> bool {
        self.at.requested.is_none() && self.rights >= Rights::Operate
    }

    /// Renders a whole page.
    pub(super) fn page(&self, title: &str, path: &str, main: &Markup) -> Page {
        Page(
            StatusCode::OK,
            layout::whole(title, path, Some(&self.at), main),
        )
    }
}

/// The page of a problem.
pub(super) fn refused(problem: &Problem) -> Page {
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

/// The caller, if the caller may operate.
pub(super) fn operator(caller: Option<&Caller>) -> Result<&Caller, Page> {
    match caller {
        Some(caller) if caller.rights >= Rights::Operate => Ok(caller),
        Some(caller) => Err(refused(&caller.refused())),
        None => Err(refused(&Problem::view_only())),
    }
}

/// Redirects to another page after an action.
pub(super) fn on_to(path: &str) -> Response {
    (StatusCode::SEE_OTHER, [(LOCATION, path)]).into_response()
}

impl From<Problem> for Page {
    fn from(problem: Problem) -> Self {
        refused(&problem)
    }
}

impl From<FleetError> for Page {
    fn from(error: FleetError) -> Self {
        refused(&error.into())
    }
}
