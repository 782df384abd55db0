//! What there is: VSIs, data disks, images, hosts' networks, runs.

use aide::axum::{ApiRouter, routing::get_with};
use axum::{
    Json,
    extract::{Path, Query, State},
};
use schemars::JsonSchema;
use serde::Deserialize;
use vsiflow_workflows::fleet::{
    DiskObject, ImageObject, Metadata, NetworkObject, RunObject, VsiObject,
};

use super::{Answer, List, Named, about};
use crate::router::Api;

/// Which objects are listed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Those of this namespace alone.
    namespace: Option<String>,
    /// Deleted ones, too.
    pub(super) deleted: bool,
}

impl ListQuery {
    /// One whose namespace nobody can read is in each.
    pub(super) fn has(&self, meta: &Metadata) -> bool {
        let is_it = |namespace: &String| *namespace == meta.namespace;
        meta.namespace.is_empty() || self.namespace.as_ref().is_none_or(is_it)
    }
}

pub(super) fn looks() -> ApiRouter<Api> {
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

/// These go to hosts.
pub(super) fn asks_hosts() -> ApiRouter<Api> {
    let summary = "List the networks that VSIs are on, as their hosts show them now";
    ApiRouter::new().api_route(
        "/v1/networks",
        get_with(networks, about("listNetworks", "hosts", summary)),
    )
}

async fn vsis(State(api): State<Api>, Query(query): Query<ListQuery>) -> Answer<List<VsiObject>> {
    let mut all = api.fleet().vsis(query.deleted).await?;
    all.retain(|one| query.has(&one.metadata));
    Ok(List::of(all))
}

async fn vsi(State(api): State<Api>, Path(target): Path<Named>) -> Answer<VsiObject> {
    Ok(Json(
        api.fleet().get(&target.namespace, &target.name).await?,
    ))
}

async fn disks(State(api): State<Api>, Query(query): Query<ListQuery>) -> Answer<List<DiskObject>> {
    let mut all = api.fleet().disks(query.deleted).await?;
    all.retain(|one| query.has(&one.metadata));
    Ok(List::of(all))
}

async fn disk(State(api): State<Api>, Path(target): Path<Named>) -> Answer<DiskObject> {
    let disk = api.fleet().get_disk(&target.namespace, &target.name);
    Ok(Json(disk.await?))
}

async fn images(State(api): State<Api>) -> Answer<List<ImageObject>> {
    Ok(List::of(api.fleet().images().await?))
}

async fn runs(State(api): State<Api>) -> Answer<List<RunObject>> {
    Ok(List::of(api.fleet().runs()))
}

async fn networks(State(api): State<Api>) -> Answer<List<NetworkObject>> {
    Ok(List::of(api.fleet().networks().await?))
}
