//! Read routes of single kinds: what VSIs did, and the networks of hosts.

use aide::axum::{ApiRouter, routing::get_with};
use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use schemars::JsonSchema;
use serde::Deserialize;
use vsiflow_workflows::{
    fleet::{Moment, NetworkObject, RunGraph},
    kinds::ObjectKind,
};

use super::resource::{Answer, AtQuery, List, ObjectPath, about};
use crate::{Caller, DiffRequest, Differences, api::Api};

pub(super) fn view_routes() -> ApiRouter<Api> {
    const VSIS: &str = "virtualservers";
    ApiRouter::new()
        .api_route(
            "/v1/namespaces/{namespace}/virtualservers/{name}/diff",
            get_with(
                vsi_diff,
                about(
                    "diffVirtualServer",
                    VSIS,
                    "Show what differs in a VSI between two moments",
                ),
            ),
        )
        .api_route(
            "/v1/namespaces/{namespace}/virtualservers/{name}/runs",
            get_with(
                vsi_runs,
                about(
                    "listVirtualServerRuns",
                    VSIS,
                    "List the runs of a VSI with their step graphs, the newest first",
                ),
            ),
        )
}

/// Routes that ask hosts.
pub(super) fn host_routes() -> ApiRouter<Api> {
    let summary = "List the networks that VSIs are on, as their hosts show them now";
    ApiRouter::new().api_route(
        "/v1/networks",
        get_with(networks, about("listNetworks", "hosts", summary)),
    )
}

async fn vsi_runs(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(target): Path<ObjectPath>,
    Query(query): Query<AtQuery>,
) -> Answer<List<RunGraph>> {
    let (fleets, ObjectPath { namespace, name }) =
        (api.fleets_at(&caller, query.at).await?, &target);
    let fleet = fleets.that_has(namespace, name).await?;
    Ok(List::of(fleet.history().run_graphs(namespace, name).await?))
}

/// Which moments are compared.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct DiffQuery {
    /// The earlier one: after the event of this offset, or at this time (RFC 3339) [default: the
    /// journal's first event].
    from: Option<Moment>,
    /// The later one [default: now].
    to: Option<Moment>,
}

async fn vsi_diff(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(ObjectPath { namespace, name }): Path<ObjectPath>,
    Query(DiffQuery { from, to }): Query<DiffQuery>,
) -> Answer<Differences> {
    let request = DiffRequest {
        kind: ObjectKind::Vsi,
        namespace,
        name,
        from,
        to,
    };
    Ok(Json(api.call(&caller, request).await?))
}

async fn networks(State(api): State<Api>) -> Answer<List<NetworkObject>> {
    Ok(List::of(api.fleets().await?.networks().await?))
}
