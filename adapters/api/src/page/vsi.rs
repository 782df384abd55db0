//! A VSI: what it is, its step graph, its runs, and its newest events.

use std::collections::BTreeMap;

use axum::extract::Path;
use maud::{Markup, html};
use vsiflow_workflows::fleet::{HistoryLine, RunGraph, VsiObject};

use super::{Looked, Shown, fleet::state, graph, lists, text};
use crate::v1::Named;

/// Events that are shown.
const EVENTS: usize = 50;
/// Runs that are shown.
const RUNS: usize = 50;

pub(super) async fn page(Path(target): Path<Named>, looked: Looked) -> Shown {
    let Named { namespace, name } = &target;
    let vsi = looked.fleet.get(namespace, name).await?;
    let runs = looked.fleet.run_graphs(namespace, name).await?;
    let history = looked.fleet.history(namespace, name).await?;
    let main = html! {
        h1 { (vsi.metadata.name) " " (state(vsi.status.phase.as_str())) }
        (facts(&vsi))
        @if let Some(proposal) = &vsi.status.proposal {
            (lists::proposal(&vsi, proposal))
        }
        (newest(&runs, &history))
        (timeline(&runs, &history))
        (conditions(&vsi))
        (words(&vsi))
        h2 { "Definition" }
        pre { (text::visible(&serde_json::to_string_pretty(&vsi.spec).unwrap_or_default())) }
        h2 { "Newest events" }
        (lists::event_table(history.iter().rev().take(EVENTS)))
    };
    Ok(looked.page(&vsi.metadata.name, "", &main))
}

fn facts(vsi: &VsiObject) -> Markup {
    let (meta, status) = (&vsi.metadata, &vsi.status);
    html! {
        dl {
            dt { "Namespace" } dd { (meta.namespace) }
            dt { "UID" } dd { (meta.uid) }
            dt { "Generation" } dd { (meta.generation) ", " (status.observed_generation) " worked for" }
            dt { "Host" } dd { (status.host) }
            dt { "Addresses" } dd { (status.ip_addresses.join(", ")) }
            dt { "Created" } dd { time { (meta.creation_timestamp) } }
            @if !meta.labels.is_empty() {
                dt { "Labels" }
                dd { @for (key, value) in &meta.labels { code { (key) "=" (value) } " " } }
            }
            @if let Some(upload) = status.progress.as_ref().and_then(|p| p.upload.as_ref()) {
                dt { "Image" } dd { (lists::upload(upload)) }
            }
        }
    }
}

/// The graph of the newest run, drawn and as a table.
fn newest(runs: &[RunGraph], history: &[HistoryLine]) -> Markup {
    let Some(run) = runs.first() else {
        return html! {};
    };
    let took = run.durations(history);
    html! {
        section aria-labelledby="graph" {
            h2 #graph { "Steps of " (run.workflow) " " (state(run.phase)) }
            div.wide tabindex="0" role="region" aria-label="Step graph" { (graph::draw(run, &took)) }
            details {
                summary { "As a table" }
                table {
                    thead { tr {
                        th scope="col" { "Step" } th scope="col" { "State" }
                        th scope="col" { "Attempts" } th scope="col" { "Took" }
                        th scope="col" { "After" } th scope="col" { "At" }
                    } }
                    tbody { @for step in &run.steps { tr {
                        th scope="row" { (step.name) } td { (state(step.state)) }
                        td { (step.attempt) }
                        td { @if let Some(ms) = took.get(&step.name) { (text::took(*ms)) } }
                        td { (step.after.join(", ")) }
                        td { @if let Some(at) = &step.at { time { (at) } } }
                    } } }
                }
            }
            @for step in run.steps.iter().filter(|step| !step.message.is_empty()) {
                p.obstacle { strong { (step.name) } ": " (text::visible(&step.message)) }
            }
        }
    }
}

fn timeline(runs: &[RunGraph], history: &[HistoryLine]) -> Markup {
    let mut ends = BTreeMap::new();
    for line in history {
        if let Some(run) = &line.run {
            ends.insert(run.as_str(), line.time.as_str());
        }
    }
    html! {
        h2 { "Runs" }
        ol.timeline {
            @for run in runs.iter().take(RUNS) {
                li {
                    time { (run.started) } " – "
                    @match run.phase {
                        "Active" | "Paused" => "now",
                        _ => time { (ends.get(run.name.as_str()).unwrap_or(&"")) },
                    }
                    " " strong { (run.workflow) } " " (state(run.phase))
                    " generation " (run.generation) ", "
                    (run.steps.iter().filter(|step| step.state == "Succeeded").count())
                    " of " (run.steps.len()) " steps"
                }
            }
        }
    }
}

fn conditions(vsi: &VsiObject) -> Markup {
    html! {
        h2 { "Conditions" }
        div.wide tabindex="0" role="region" aria-label="Conditions" { table {
            thead { tr {
                th scope="col" { "Condition" } th scope="col" { "Status" } th scope="col" { "Reason" }
                th scope="col" { "Message" } th scope="col" { "Since" }
            } }
            tbody { @for one in &vsi.status.conditions { tr {
                th scope="row" { (one.name) } td { (one.status) } td { (one.reason) }
                td { (text::visible(&one.message)) } td { time { (one.last_transition_time) } }
            } } }
        } }
    }
}

/// What was said last: the end of the console, or the error.
fn words(vsi: &VsiObject) -> Markup {
    html! {
        @if !vsi.status.warnings.is_empty() {
            h2 { "Warnings" }
            ul { @for warning in &vsi.status.warnings { li { (text::visible(warning)) } } }
        }
        @if !vsi.status.description.is_empty() {
            h2 { "Description" }
            pre.console { (text::visible(&vsi.status.description)) }
        }
    }
}
