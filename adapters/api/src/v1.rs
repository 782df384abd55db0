//! The typed resources of `/v1`: what the fleet knows, and what is asked of it.
//!
//! ```text
//! GET    /v1/virtualservers, /v1/datadisks            [?namespace&deleted]
//! GET    …/NAME/diff                                  ?from[&to], what differs between two moments
//! GET    /v1/namespaces/NS/virtualservers/NAME        …/history [?from&follow], …/logs [?from&follow]
//! POST   …/start, stop, restart, pause, unpause, retry, cancel, approve, rebuild
//! DELETE …/NAME                                       [?orphan&reason&waitSeconds]
//! POST   …/console                                    [?force], changes over to the console's bytes
//! POST   …/vnc                                        changes over to the bytes of the guest's screen
//! GET    /v1/virtualserverpools                       [?namespace&deleted]
//! GET    /v1/namespaces/NS/virtualserverpools/NAME
//! POST   …/scale, rollback, approve, retry
//! DELETE …/NAME                                       [?orphan&reason&waitSeconds]
//! GET    /v1/virtualservergroups                      [?namespace&deleted]
//! GET    /v1/namespaces/NS/virtualservergroups/NAME
//! POST   …/scale, retry, output
//! DELETE …/NAME                                       [?orphan&reason&waitSeconds]
//! GET    /v1/virtualserversnapshots                   [?namespace&deleted]
//! GET    /v1/namespaces/NS/virtualserversnapshots/NAME, …/restore (its plan)
//! POST   …/virtualservers/NAME/snapshots, …/virtualserversnapshots/NAME/restore
//! DELETE …/virtualserversnapshots/NAME                [?orphan&reason&waitSeconds]
//! GET    /v1/hosts, /v1/images, /v1/runs, /v1/networks, /v1/pause
//! POST   /v1/hosts/HOST/cordon, uncordon, drain; /v1/pause, /v1/unpause
//! POST   /v1/apply, /v1/plan                          documents in YAML
//! GET    /v1/events                                   [?from], server-sent events
//! ```
//!
//! What is listed and shown takes `?at=OFFSET|TIME` and is then as the journal knew it at that moment.
//!
//! Objects are those that `-o json` prints. What is asked is recorded when the answer comes; with
//! `waitSeconds` its outcome is in it, where it was decided so soon.

mod actions;
mod console;
mod documents;
mod events;
mod groups;
mod hosts;
mod objects;
mod pools;
mod snapshots;
mod streams;

use std::marker::PhantomData;

use aide::{
    axum::ApiRouter,
    generate::GenContext,
    openapi::{Operation, Response as Documented, StatusCode as Status},
    operation::OperationOutput,
    transform::TransformOperation,
};
use axum::{
    Json,
    body::Body,
    middleware,
    response::{IntoResponse, Response},
};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_workflows::fleet::Moment;

pub use self::console::NoConsole;
pub(crate) use self::{
    console::{ConsoleRegistry, open_queued, protocol},
    events::Watchers,
};
use crate::{Problem, caller, described, router::Api};

/// What a handler answers with.
pub(crate) type Answer<T> = Result<Json<T>, Problem>;

/// What shows something, and is had at once.
pub(crate) fn looks() -> ApiRouter<Api> {
    objects::looks()
        .merge(pools::looks())
        .merge(groups::looks())
        .merge(snapshots::looks())
        .merge(hosts::looks())
}

/// What records or does something, and what has hosts asked.
pub(crate) fn changes() -> ApiRouter<Api> {
    let operates = actions::operates()
        .merge(pools::operates())
        .merge(groups::operates())
        .merge(hosts::changes())
        .merge(objects::asks_hosts())
        .route_layer(middleware::from_fn(caller::may_operate));
    // Fewer members are deleted members.
    let changes = actions::changes()
        .merge(pools::changes())
        .merge(groups::changes())
        .merge(snapshots::changes());
    let changes = changes.route_layer(middleware::from_fn(caller::may_change));
    operates.merge(changes)
}

/// What comes bit by bit, and what has a body of its own kind.
pub(crate) fn streams() -> ApiRouter<Api> {
    streams::looks()
        .merge(events::looks())
        .merge(documents::changes())
        .merge(console::changes())
}

/// Describes an operation.
pub(crate) fn about(
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
) -> impl FnOnce(TransformOperation<'_>) -> TransformOperation<'_> {
    move |operation| operation.id(id).tag(tag).summary(summary)
}

/// A list, as Kubernetes has it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "{T}List")]
pub(crate) struct List<T> {
    /// `v1`.
    api_version: &'static str,
    /// `List`.
    kind: &'static str,
    /// What there is.
    items: Vec<T>,
}

impl<T> List<T> {
    pub(crate) fn of(items: Vec<T>) -> Json<Self> {
        Json(Self {
            api_version: "v1",
            kind: "List",
            items,
        })
    }
}

/// An object by namespace and name.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct ObjectPath {
    /// The namespace.
    pub(crate) namespace: String,
    /// The name.
    pub(crate) name: String,
}

/// At which moment.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AtQuery {
    /// After the event of this offset, or at this time (RFC 3339) [default: now].
    pub(crate) at: Option<Moment>,
}

/// What an answer that comes bit by bit is made of.
pub(crate) trait Media {
    /// The type of its body.
    const TYPE: &'static str;
}

/// One JSON object a line.
pub(crate) enum Lines {}
/// Server-sent events.
pub(crate) enum Events {}
/// What a guest wrote: any bytes.
pub(crate) enum Console {}

impl Media for Lines {
    const TYPE: &'static str = "application/x-ndjson";
}

impl Media for Events {
    const TYPE: &'static str = "text/event-stream";
}

impl Media for Console {
    const TYPE: &'static str = "application/octet-stream";
}

/// An answer that comes bit by bit; each bit is a `T`.
pub(crate) struct Streamed<M, T> {
    body: Body,
    item: PhantomData<fn() -> (M, T)>,
}

impl<M, T> Streamed<M, T> {
    pub(crate) fn of(body: Body) -> Self {
        let item = PhantomData;
        Self { body, item }
    }
}

impl<M: Media, T> IntoResponse for Streamed<M, T> {
    fn into_response(self) -> Response {
        let head = [(CONTENT_TYPE, M::TYPE), (CACHE_CONTROL, "no-store")];
        (head, self.body).into_response()
    }
}

impl<M: Media, T: JsonSchema> OperationOutput for Streamed<M, T> {
    type Inner = T;

    fn operation_response(ctx: &mut GenContext, _: &mut Operation) -> Option<Documented> {
        let description = "What comes bit by bit: each line or event is of this schema";
        Some(described::answer::<T>(ctx, M::TYPE, description))
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<Status>, Documented)> {
        described::only::<Self>(ctx, operation, Some(200))
    }
}
