//! The page of a VSI: its status, step graph, runs and newest events.

use axum::extract::{Path, Query};
use maud::{Markup, html};
use serde::Deserialize;
use vsiflow_workflows::fleet::VsiObject;

use super::{
    address, approvals,
    context::{PageContext, PageResult},
    layout, runs,
    state::state,
    tables, text,
};
use crate::v1::ObjectPath;

/// The maximum number of events shown.
const EVENTS: usize = 50;

/// The run to draw.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DrawnRun {
    /// The ID of the run; the newest run if it is unknown.
    run: String,
}

pub(super) async fn page(
    Path(target): Path<ObjectPath>,
    context: PageContext,
    Query(drawn): Query<DrawnRun>,
) -> PageResult {
    let ObjectPath { namespace, name } = &target;
    let fleet = context.fleets.that_has(namespace, name).await?;
    let vsi = fleet.vsis().get(namespace, name).await?;
    let runs = fleet.history().run_graphs(namespace, name).await?;
    let mut history = fleet.history().lines(namespace, name).await?;
    context.fleets.number(&mut history, fleet);
    let run = runs.iter().find(|run| run.name == drawn.run);
    let run = run.or(runs.first());
    let main = html! {
        h1 { (text::visible(&vsi.metadata.name)) " " (state(vsi.status.phase.as_str())) }
        (facts(&vsi, &context))
        @if let Some(proposal) = &vsi.status.proposal {
            (approvals::of_vsi_shown(&vsi, proposal, &context))
        }
        (runs::drawn(run, &history))
        (runs::timeline(&runs, run, &history, &context))
        (tables::conditions(&vsi.status.conditions))
        (words(&vsi))
        h2 { "Definition" }
        p { a href=(own(&vsi, "changes", &context)) { "Generations and what differs between them" } }
        pre tabindex="0" role="region" aria-label="Definition" {
            (text::visible(&serde_json::to_string_pretty(&vsi.spec).unwrap_or_default()))
        }
        h2 { "Newest events" }
        (tables::events(history.iter().rev().take(EVENTS)))
    };
    Ok(context.page(&vsi.metadata.name, "", &main))
}

/// The address of another page about a VSI.
fn own(vsi: &VsiObject, page: &str, context: &PageContext) -> String {
    let (namespace, name) = (&vsi.metadata.namespace, &vsi.metadata.name);
    let path = format!(
        "/vsi/{}/{}/{page}",
        text::segment(namespace),
        text::segment(name)
    );
    layout::link(&path, Some(&context.at))
}

fn facts(vsi: &VsiObject, context: &PageContext) -> Markup {
    let (meta, status) = (&vsi.metadata, &vsi.status);
    html! {
        dl {
            dt { "Namespace" } dd { (meta.namespace) }
            dt { "UID" } dd { (meta.uid) }
            dt { "Generation" } dd { (meta.generation) ", " (status.observed_generation) " worked for" }
            dt { "Host" } dd { a href=(address::host(&status.host, context)) { (text::visible(&status.host)) } }
            dt { "Addresses" } dd { (text::visible(&status.ip_addresses.join(", "))) }
            dt { "Console" } dd { a href=(own(vsi, "console", context)) { "Show the console" } }
            dt { "Created" } dd { time { (meta.creation_timestamp) } }
            @if !meta.labels.is_empty() {
                dt { "Labels" }
                dd { @for (key, value) in &meta.labels { code { (key) "=" (value) } " " } }
            }
            @if let Some(upload) = status.progress.as_ref().and_then(|p| p.upload.as_ref()) {
                dt { "Image" } dd { (tables::upload(upload)) }
            }
        }
    }
}

/// Warnings, and the description: the end of the console, or the error.
fn words(vsi: &VsiObject) -> Markup {
    html! {
        @if !vsi.status.warnings.is_empty() {
            h2 { "Warnings" }
            ul { @for warning in &vsi.status.warnings { li { (text::visible(warning)) } } }
        }
        @if !vsi.status.description.is_empty() {
            h2 { "Description" }
            pre.console tabindex="0" role="region" aria-label="Description" { (text::visible(&vsi.status.description)) }
        }
    }
}
