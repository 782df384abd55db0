//! Read routes of VSIs, data disks, images, hosts' networks and runs.

use std::sync::Arc;

use aide::axum::{ApiRouter, routing::get_with};
use axum::{
    Json,
    extract::{Path, Query, State},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use vsiflow_workflows::fleet::{
    Difference, DiskObject, Fleets, ImageObject, Metadata, Moment, NetworkObject, RunGraph,
    RunObject, VsiObject, differences_of,
};

use super::resource::{Answer, AtQuery, List, ObjectPath, about};
use crate::{Problem, api::Api};

/// Which objects are listed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Those of this namespace alone.
    namespace: Option<String>,
    /// Deleted ones, too.
    pub(super) deleted: bool,
    /// After the event of this offset, or at this time (RFC 3339) [default: now].
    pub(super) at: Option<Moment>,
}

impl ListQuery {
    /// Whether an object is in the namespace. An object whose namespace cannot be read is in all of
    /// them.
    pub(super) fn has(&self, meta: &Metadata) -> bool {
        let is_it = |namespace: &String| *namespace == meta.namespace;
        meta.namespace.is_empty() || self.namespace.as_ref().is_none_or(is_it)
    }
}

pub(super) fn view_routes() -> ApiRouter<Api> {
    const VSIS: &str = "virtualservers";
    const DISKS: &str = "datadisks";
    ApiRouter::new()
        .api_route(
            "/v1/virtualservers",
            get_with(vsis, about("listVirtualServers", VSIS, "List VSIs")),
        )
        .api_route(
            "/v1/namespaces/{namespace}/virtualservers/{name}",
            get_with(vsi, about("getVirtualServer", VSIS, "Show a VSI")),
        )
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
        .api_route(
            "/v1/datadisks",
            get_with(disks, about("listDataDisks", DISKS, "List data disks")),
        )
        .api_route(
            "/v1/namespaces/{namespace}/datadisks/{name}",
            get_with(disk, about("getDataDisk", DISKS, "Show a data disk")),
        )
        .api_route(
            "/v1/images",
            get_with(images, about("listImages", "images", "List base images")),
        )
        .api_route(
            "/v1/runs",
            get_with(runs, about("listRuns", "runs", "List runs")),
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

async fn vsis(State(api): State<Api>, Query(query): Query<ListQuery>) -> Answer<List<VsiObject>> {
    let mut all = api.fleets_at(query.at).await?.vsis(query.deleted).await?;
    all.retain(|one| query.has(&one.metadata));
    Ok(List::of(all))
}

async fn vsi(
    State(api): State<Api>,
    Path(target): Path<ObjectPath>,
    Query(query): Query<AtQuery>,
) -> Answer<VsiObject> {
    let fleets = api.fleets_at(query.at).await?;
    Ok(Json(fleets.vsi(&target.namespace, &target.name).await?))
}

async fn vsi_runs(
    State(api): State<Api>,
    Path(target): Path<ObjectPath>,
    Query(query): Query<AtQuery>,
) -> Answer<List<RunGraph>> {
    let (fleets, ObjectPath { namespace, name }) = (api.fleets_at(query.at).await?, &target);
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

/// What differs in an object between two moments.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Differences {
    /// Each field that differs.
    differences: Vec<Difference>,
}

async fn vsi_diff(
    State(api): State<Api>,
    Path(target): Path<ObjectPath>,
    Query(query): Query<DiffQuery>,
) -> Answer<Differences> {
    let from = match query.from {
        Some(from) => from,
        None => first(&api).await?,
    };
    let before = api.fleets_at(Some(from)).await?;
    let after = api.fleets_at(query.to).await?;
    let object = async |fleets: Arc<Fleets>| {
        let object = fleets.vsi(&target.namespace, &target.name).await;
        object.map(|object| json!(object))
    };
    let differences = differences_of(object(before).await, object(after).await)?;
    Ok(Json(Differences { differences }))
}

/// The first moment of the journals.
async fn first(api: &Api) -> Result<Moment, Problem> {
    let fleets = api.fleets().await?;
    match fleets.first_event().await? {
        Some(time) if fleets.are_several() => Ok(Moment::Time(time)),
        _ => Ok(Moment::Offset(0)),
    }
}

async fn disks(State(api): State<Api>, Query(query): Query<ListQuery>) -> Answer<List<DiskObject>> {
    let mut all = api.fleets_at(query.at).await?.disks(query.deleted).await?;
    all.retain(|one| query.has(&one.metadata));
    Ok(List::of(all))
}

async fn disk(
    State(api): State<Api>,
    Path(target): Path<ObjectPath>,
    Query(query): Query<AtQuery>,
) -> Answer<DiskObject> {
    let fleets = api.fleets_at(query.at).await?;
    Ok(Json(fleets.disk(&target.namespace, &target.name).await?))
}

async fn images(State(api): State<Api>, Query(query): Query<AtQuery>) -> Answer<List<ImageObject>> {
    Ok(List::of(api.fleets_at(query.at).await?.images().await?))
}

async fn runs(State(api): State<Api>, Query(query): Query<AtQuery>) -> Answer<List<RunObject>> {
    Ok(List::of(api.fleets_at(query.at).await?.runs()))
}

async fn networks(State(api): State<Api>) -> Answer<List<NetworkObject>> {
    Ok(List::of(api.fleets().await?.networks().await?))
}
