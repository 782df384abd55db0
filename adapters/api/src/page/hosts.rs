//! The pages of hosts: capacity, promised resources, and VSIs.

use axum::extract::Path;
use maud::{Markup, html};
use serde::Deserialize;
use vsiflow_workflows::fleet::{HostObject, VsiSummary};

use super::{
    address,
    context::{PageContext, PageResult},
    state::state,
    tables, text,
};
use crate::Problem;

/// The maximum number of VSIs shown for one host.
const VSIS: usize = 250;
/// The maximum number of events shown.
const EVENTS: usize = 50;

pub(super) async fn list(context: PageContext) -> PageResult {
    let hosts = context.fleets.hosts().await?;
    let main = html! {
        h1 { "Hosts" }
        div.wide tabindex="0" role="region" aria-label="Hosts" { table {
            thead { tr {
                th scope="col" { "Host" } th scope="col" { "Status" } th scope="col" { "VSIs" }
                th scope="col" { "Processors" } th scope="col" { "Memory" }
                th scope="col" { "By" } th scope="col" { "Remarks" }
            } }
            tbody { @for host in &hosts { tr {
                th scope="row" { a href=(address::host(&host.name, &context)) { (text::visible(&host.name)) } }
                td { (status(host)) }
                td { (host.vsis) }
                td { (processors(host)) }
                td { (memory(host)) }
                td { (host.transport) @if host.insecure { " (any host key is accepted)" } }
                td { (remarks(host)) }
            } } }
        } }
    };
    Ok(context.page("Hosts", "/hosts", &main))
}

fn status(host: &HostObject) -> Markup {
    html! {
        (state(host.status.split(',').next().unwrap_or_default()))
        @if host.cordoned.is_some() { " cordoned" }
    }
}

fn remarks(host: &HostObject) -> Markup {
    html! {
        @for words in host.message.iter().chain(&host.cordoned).chain(&host.warnings) {
            (text::visible(words)) " "
        }
    }
}

fn processors(host: &HostObject) -> Markup {
    let room = &host.room;
    let has = room.cpus.map(u64::from);
    share("processors promised", room.cpus_promised, has, |many| {
        many.to_string()
    })
}

fn memory(host: &HostObject) -> Markup {
    let room = &host.room;
    share(
        "memory promised",
        room.memory_promised,
        room.memory,
        text::bytes,
    )
}

/// How much of a resource is promised.
fn share(what: &str, promised: u64, has: Option<u64>, words: fn(u64) -> String) -> Markup {
    html! {
        @match has {
            Some(has) => {
                meter min="0" max=(has) value=(promised.min(has)) aria-label=(what) {}
                " " (words(promised)) " of " (words(has))
            }
            None => { (words(promised)) " promised" }
        }
    }
}

/// The path of a host's page.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct HostPath {
    host: String,
}

pub(super) async fn page(
    Path(HostPath { host: name }): Path<HostPath>,
    context: PageContext,
) -> PageResult {
    let hosts = context.fleets.hosts().await?;
    let host = hosts.iter().find(|host| host.name == name);
    let host = host.ok_or_else(|| {
        let detail = format!("there is no host {name}");
        let remedy = "`vsiflow get hosts` lists them";
        Problem::new(http::StatusCode::NOT_FOUND, NO_HOST, detail, remedy)
    })?;
    let vsis = context.fleets.vsi_summaries(false).await?;
    let vsis: Vec<_> = vsis.iter().filter(|vsi| vsi.host == name).collect();
    let shown: Vec<&VsiSummary> = vsis.iter().take(VSIS).map(|vsi| &***vsi).collect();
    let images = context.fleets.images().await?;
    let history = context.fleets.history("", &format!("host/{name}")).await?;
    let main = html! {
        h1 { "Host " (text::visible(&name)) " " (status(host)) }
        p { (remarks(host)) }
        dl {
            dt { "Reached by" } dd { (host.transport) }
            dt { "Processors" } dd { (processors(host)) ", overcommit " (host.room.overcommit_cpus) }
            dt { "Memory" } dd { (memory(host)) ", overcommit " (host.room.overcommit_memory) }
            @if !host.labels.is_empty() {
                dt { "Labels" }
                dd { @for (key, value) in &host.labels { code { (key) "=" (value) } " " } }
            }
            @if let Some(policy) = &host.image_policy { dt { "Images" } dd { (policy) } }
        }
        (storage(host))
        h2 { "VSIs (" (vsis.len()) ")" }
        (tables::vsis(&shown, &context))
        @if vsis.len() > VSIS {
            p { a href={ "/?q=" (text::segment(&name)) (context.at.more()) } { "All of them" } }
        }
        h2 { "Images" }
        (tables::images(images.iter().filter(|image| image.host == name), &context))
        h2 { "Newest events" }
        (tables::events(history.iter().rev().take(EVENTS)))
    };
    Ok(context.page(&name, "", &main))
}

/// Error code: no host has this ID.
const NO_HOST: &str = "VSI0841";

fn storage(host: &HostObject) -> Markup {
    html! {
        @if !host.room.pools.is_empty() {
            h2 { "Storage pools" }
            div.wide tabindex="0" role="region" aria-label="Storage pools" { table {
                thead { tr {
                    th scope="col" { "Pool" } th scope="col" { "Promised" } th scope="col" { "Available" }
                } }
                tbody { @for (name, pool) in &host.room.pools { tr {
                    th scope="row" { (text::visible(name)) }
                    td { (share(&format!("promised in {name}"), pool.promised, pool.capacity, text::bytes)) }
                    td { @if let Some(free) = pool.available { (text::bytes(free)) } }
                } } }
            } }
        }
    }
}
