//! A VSI's console page: callers who may look can read it, callers who may operate can type.
//!
//! ```text
//! GET  /vsi/NS/NAME/console             the page, with the end of the log
//! GET  /v1/…/NAME/logs?follow=true      what its script reads from there on
//! POST /vsi/NS/NAME/console [?force]    opens the console; the answer is what it shows, as it comes
//!                                       ← vsiflow-console: ID
//! POST /consoles/ID                     the body is typed
//! ```
//!
//! An open console belongs to the user who opened it, and lives as long as its answer is read: when that
//! is dropped it is closed, which is recorded. A slow reader slows down the guest's console, and a
//! reader that reads nothing loses it; nothing is buffered here.

use std::time::Duration;

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Path, Query, State},
    response::{IntoResponse as _, Response},
};
use futures::stream;
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
};
use maud::{Markup, html};
use serde::Deserialize;
use tokio::time::timeout;
use vsiflow_steps::ports::ConsolePosition;
use vsiflow_workflows::fleet::{ConsoleWay, FleetError};

use super::{
    address,
    context::{PageContext, PageResult},
    text,
};
use crate::{
    Caller, Problem, Rights,
    api::{Api, page_consoles::PageConsole},
    console_session::{ConsoleOpening, open_queued},
    session_right::SessionRight,
    v1::ObjectPath,
};

/// How much of the log is shown at first, in bytes.
const SHOWN: u64 = 16 * 1024;
/// How long typed bytes may wait for the guest.
const TYPING: Duration = Duration::from_secs(10);
/// The header with the ID of an open console.
const NAME: HeaderName = HeaderName::from_static("vsiflow-console");
/// Error code: the console is not open, or another user opened it.
const NOT_OPEN: &str = "VSI0842";

pub(super) async fn page(Path(target): Path<ObjectPath>, context: PageContext) -> PageResult {
    let ObjectPath { namespace, name } = &target;
    let vsi = context.fleets.vsi(namespace, name).await?;
    let main = html! {
        h1 { "Console of "
            a href=(address::vsi(&vsi.metadata.namespace, &vsi.metadata.name, &context)) { (text::visible(&vsi.metadata.name)) } }
        @if context.at.requested.is_some() {
            p { "The journal does not hold what guests wrote. "
                a href={ "/vsi/" (text::segment(namespace)) "/" (text::segment(name)) "/console" } { "The console now" } }
        } @else {
            (live(&target, &context).await)
        }
    };
    Ok(context.page(&format!("Console of {name}"), "", &main))
}

async fn live(ObjectPath { namespace, name }: &ObjectPath, context: &PageContext) -> Markup {
    let (from, output, why) = match end(context, namespace, name).await {
        Ok((from, output)) => (from, output, String::new()),
        Err(error) => (0, Vec::new(), error.to_string()),
    };
    let (namespace, name) = (text::segment(namespace), text::segment(name));
    let logs = format!("/v1/namespaces/{namespace}/virtualservers/{name}/logs?follow=true&from=");
    html! {
        p #console-state role="status" { (text::visible(&why)) }
        pre.console #console tabindex="0" role="region" aria-label="Console" data-logs=(logs) data-from=(from)
            { (text::visible(&String::from_utf8_lossy(&output))) }
        @if context.may_operate() {
            div.filter #console-opens hidden data-opens={ "/vsi/" (namespace) "/" (name) "/console" } {
                button #console-open type="button" { "Type at the console" }
                button #console-force type="button" hidden { "Take the console over" }
            }
            form.filter #console-keys hidden aria-label="Keys" {
                label { "Line " input #console-line autocomplete="off" autocapitalize="off" spellcheck="false"; }
                button type="submit" { "Send" }
                label { input #console-hidden type="checkbox"; " hide what is typed" }
                button type="button" data-keys="3" { "Ctrl-C" }
                button type="button" data-keys="4" { "Ctrl-D" }
                button type="button" data-keys="27" { "Esc" }
                button #console-close type="button" { "Leave the console" }
            }
        } @else {
            p { "To type at it needs the role operator." }
        }
        script src="/assets/console.js" defer {}
    }
}

/// The end of the log, and its position.
async fn end(
    context: &PageContext,
    namespace: &str,
    name: &str,
) -> Result<(u64, Vec<u8>), FleetError> {
    let fleet = context.fleets.that_has(namespace, name).await?;
    let log = fleet.history().console_log(namespace, name).await?;
    let end = log.end().await?.offset;
    let from = end.saturating_sub(SHOWN);
    let output = log.read(ConsolePosition { offset: from }).await?;
    let most = usize::try_from(SHOWN).unwrap_or(usize::MAX);
    let output = output.bytes.into_iter().take(most).collect();
    Ok((from, output))
}

/// The query of a request to open a console.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConsolePageQuery {
    force: bool,
}

/// The caller, if the caller may operate; otherwise a problem, because a script reads the answer.
fn operator(caller: Option<&Caller>) -> Result<&Caller, Problem> {
    let caller = caller.ok_or_else(Problem::view_only)?;
    if caller.rights >= Rights::Operate {
        Ok(caller)
    } else {
        Err(caller.refused())
    }
}

pub(super) async fn open(
    State(api): State<Api>,
    caller: Option<Extension<Caller>>,
    right: SessionRight,
    Path(target): Path<ObjectPath>,
    Query(query): Query<ConsolePageQuery>,
) -> Result<Response, Problem> {
    let caller = operator(caller.as_deref())?;
    let (typed, shown) = {
        let target = (target.namespace.as_str(), target.name.as_str());
        let opening = ConsoleOpening::of(ConsoleWay::Serial, query.force, caller, right);
        open_queued(&api, target, opening).await?
    };
    let actor = caller.actor.clone();
    let entry = api.page_consoles().register(PageConsole { actor, typed })?;
    let name = HeaderValue::from_str(&entry.name);
    let name = name.map_err(|error| Problem::busy(&error.to_string()))?;
    let pieces = stream::unfold((shown, entry), |(mut shown, entry)| async move {
        let piece = shown.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), (shown, entry)))
    });
    let head = [
        (NAME, name),
        (
            CONTENT_TYPE,
            HeaderValue::from_static("application/octet-stream"),
        ),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    Ok((head, Body::from_stream(pieces)).into_response())
}

/// The ID of an open console.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ConsoleName {
    console: String,
}

pub(super) async fn typed(
    State(api): State<Api>,
    caller: Option<Extension<Caller>>,
    Path(ConsoleName { console }): Path<ConsoleName>,
    keys: Bytes,
) -> Result<StatusCode, Problem> {
    let caller = operator(caller.as_deref())?;
    let typed = api.page_consoles().of(&console, &caller.actor);
    let typed = typed.ok_or_else(not_open)?;
    match timeout(TYPING, typed.send(keys)).await {
        Ok(Ok(())) => Ok(StatusCode::NO_CONTENT),
        Ok(Err(_)) => Err(not_open()),
        Err(_) => Err(Problem::busy("the guest does not read what is typed")),
    }
}

fn not_open() -> Problem {
    let detail = "this console is not open, or another user opened it";
    Problem::new(
        StatusCode::CONFLICT,
        NOT_OPEN,
        detail,
        "open the console again",
    )
}
