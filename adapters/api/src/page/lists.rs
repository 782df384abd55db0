//! Images, hosts, events, and what waits for approval.

use axum::extract::Query;
use maud::{Markup, html};
use serde::Deserialize;
use vsiflow_workflows::fleet::{HistoryLine, Proposal, UploadProgress, VsiObject};

use super::{
    Looked, Shown,
    fleet::{address, state},
    text,
};

/// Events on one page.
const EVENTS: u64 = 200;

pub(super) async fn images(looked: Looked) -> Shown {
    let images = looked.fleet.images().await?;
    let main = html! {
        h1 { "Images" }
        div.wide tabindex="0" role="region" aria-label="Images" { table {
            thead { tr {
                th scope="col" { "Image" } th scope="col" { "Phase" } th scope="col" { "Upload" }
                th scope="col" { "Host" } th scope="col" { "Pool" } th scope="col" { "VSIs" }
                th scope="col" { "Bytes" } th scope="col" { "From" }
            } }
            tbody { @for image in &images { tr {
                th scope="row" { (text::visible(&image.name)) }
                td { (state(&image.phase)) " " (text::visible(&image.message)) }
                td { @if let Some(progress) = &image.progress { (upload(progress)) } }
                td { (image.host) } td { (image.pool) } td { (image.users) }
                td { @if let Some(size) = image.size { (size) } }
                td { (text::visible(&image.url)) }
            } } }
        } }
    };
    Ok(looked.page("Images", "/images", &main))
}

/// How far an upload is.
pub(super) fn upload(upload: &UploadProgress) -> Markup {
    html! {
        @if let Some(total) = upload.total_bytes {
            progress max=(total) value=(upload.bytes) aria-label="bytes uploaded" {}
            " "
        }
        (text::visible(&upload.to_string()))
    }
}

pub(super) async fn hosts(looked: Looked) -> Shown {
    let hosts = looked.fleet.host_objects().await?;
    let main = html! {
        h1 { "Hosts" }
        div.wide tabindex="0" role="region" aria-label="Hosts" { table {
            thead { tr {
                th scope="col" { "Host" } th scope="col" { "Status" } th scope="col" { "VSIs" }
                th scope="col" { "By" } th scope="col" { "Remarks" }
            } }
            tbody { @for host in &hosts { tr {
                th scope="row" { (text::visible(&host.name)) }
                td { (state(host.status.split(',').next().unwrap_or_default()))
                    @if host.cordoned.is_some() { " cordoned" } }
                td { a href={ "/?q=" (text::segment(&host.name)) (more(&looked)) } { (host.vsis) } }
                td { (host.transport) @if host.insecure { " (any host key is accepted)" } }
                td {
                    @for words in host.message.iter().chain(&host.cordoned).chain(&host.warnings) {
                        (text::visible(words)) " "
                    }
                }
            } } }
        } }
    };
    Ok(looked.page("Hosts", "/hosts", &main))
}

fn more(looked: &Looked) -> String {
    looked
        .at
        .asked
        .map(|at| format!("&at={at}"))
        .unwrap_or_default()
}

/// Which events.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EventsQuery {
    /// Those before this offset; the newest where it is none.
    before: Option<u64>,
}

pub(super) async fn events(looked: Looked, query: Query<EventsQuery>) -> Shown {
    let end = looked.fleet.end();
    let to = query.before.unwrap_or(end).min(end);
    let from = to.saturating_sub(EVENTS);
    let length = usize::try_from(to.saturating_sub(from)).unwrap_or_default();
    let lines = match length {
        0 => Vec::new(),
        length => looked.fleet.events(from)?.page(length).await?,
    };
    let shown = lines.iter().rev().filter(|line| line.offset < to);
    let main = html! {
        h1 { "Events" }
        (event_table(shown))
        nav.pages aria-label="Pages of the list" {
            @if from > 0 { a rel="next" href={ "/events?before=" (from) (more(&looked)) } { "Older" } }
        }
    };
    Ok(looked.page("Events", "/events", &main))
}

/// Events, each with what it says.
pub(super) fn event_table<'a>(lines: impl Iterator<Item = &'a HistoryLine>) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Events" { table {
            thead { tr {
                th scope="col" { "Offset" } th scope="col" { "Time" } th scope="col" { "Entity" }
                th scope="col" { "Event" } th scope="col" { "Step" } th scope="col" { "Took" }
                th scope="col" { "Actor" } th scope="col" { "Words" }
            } }
            tbody { @for line in lines { (event(line)) } }
        } }
    }
}

fn event(line: &HistoryLine) -> Markup {
    html! {
        tr {
            td { a href={ "?at=" (line.offset) } { (line.offset) } }
            td { time { (line.time) } }
            td { (text::visible(&line.entity)) }
            th scope="row" { (line.kind) }
            td { @if let Some(step) = &line.step { (step) }
                @if let Some(attempt) = line.attempt.filter(|attempt| *attempt > 1) { " ×" (attempt) } }
            td { @if let Some(ms) = line.duration_ms { (text::took(ms)) } }
            td { (text::visible(&line.actor)) }
            td {
                (text::visible(&line.reason)) " "
                @if let Some(detail) = &line.detail { (text::visible(detail)) " " }
                @if let Some(error) = &line.error {
                    strong { (error.code) } " " (text::visible(&error.message)) " "
                    (text::visible(&error.remedy))
                }
            }
        }
    }
}

pub(super) async fn approvals(looked: Looked) -> Shown {
    let all = looked.fleet.vsis(false).await?;
    let waiting = all
        .iter()
        .filter_map(|vsi| Some((vsi, vsi.status.proposal.as_ref()?)));
    let waiting: Vec<_> = waiting.collect();
    let main = html! {
        h1 { "Approvals" }
        @if waiting.is_empty() { p { "No change waits for approval." } }
        @for (vsi, change) in waiting {
            h2 { a href=(address(&vsi.metadata.namespace, &vsi.metadata.name, &looked)) {
                (vsi.metadata.namespace) "/" (vsi.metadata.name)
            } }
            (proposal(vsi, change))
        }
    };
    Ok(looked.page("Approvals", "/approvals", &main))
}

/// A change that waits, with what it costs.
pub(super) fn proposal(vsi: &VsiObject, proposal: &Proposal) -> Markup {
    let plan = &proposal.plan;
    html! {
        section.proposal aria-label="Change that waits for approval" {
            p { "A change waits for approval: "
                code { "vsiflow approve " (vsi.metadata.name) " -n " (vsi.metadata.namespace) } }
            table {
                thead { tr {
                    th scope="col" { "Field" } th scope="col" { "Now" } th scope="col" { "Then" }
                    th scope="col" { "How" } th scope="col" { "Why" }
                } }
                tbody { @for change in &plan.changes { tr {
                    th scope="row" { (change.path) }
                    td { @if let Some(before) = &change.before { (text::visible(&before.to_string())) } }
                    td { @if let Some(after) = &change.after { (text::visible(&after.to_string())) } }
                    td { (serde_json::json!(change.how).as_str().unwrap_or_default()) }
                    td { (text::visible(&change.why)) }
                } } }
            }
            @for lost in &plan.destroys {
                p role="alert" { "Lost: " (text::visible(&lost.object)) ": " (text::visible(&lost.why)) }
            }
        }
    }
}
