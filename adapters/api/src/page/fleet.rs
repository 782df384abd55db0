//! The fleet: its VSIs by host, filtered.

use std::collections::BTreeMap;

use axum::extract::Query;
use maud::{Markup, html};
use serde::Deserialize;
use vsiflow_workflows::fleet::VsiObject;

use super::{Looked, Shown, text};

/// VSIs on one page.
const ROWS: usize = 250;

/// Which VSIs, and how.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    /// A part of a name, namespace, host, image or label.
    q: String,
    /// A phase.
    phase: String,
    /// `host` to group by it.
    group: String,
    /// Which page, from 0.
    page: usize,
}

pub(super) async fn page(looked: Looked, filter: Query<Filter>) -> Shown {
    let all = looked.fleet.vsis(false).await?;
    let paused = looked.fleet.braked();
    let phases = phases(&all);
    let total = all.len();
    let mut found: Vec<_> = all.into_iter().filter(|one| filter.has(one)).collect();
    if filter.group == "host" {
        found.sort_by(|a, b| a.status.host.cmp(&b.status.host));
    }
    let from = filter.page.saturating_mul(ROWS);
    let rows: Vec<_> = found.iter().skip(from).take(ROWS).collect();
    let main = html! {
        h1 { "Fleet" }
        @if let Some(paused) = paused {
            p role="alert" { (text::visible(paused.message.as_str())) }
        }
        (chips(&phases, &looked))
        (form(&filter, &looked))
        p { (found.len()) " of " (total) " VSIs" }
        @if filter.group == "host" {
            @for (host, rows) in by_host(&rows) {
                h2 { (host) " (" (rows.len()) ")" }
                (table(&rows, &looked))
            }
        } @else {
            (table(&rows, &looked))
        }
        (pages(&filter, found.len(), &looked))
    };
    Ok(looked.page("Fleet", "/", &main))
}

impl Filter {
    fn has(&self, vsi: &VsiObject) -> bool {
        let phase = self.phase.is_empty() || vsi.status.phase.as_str() == self.phase;
        phase && (self.q.is_empty() || self.is_found_in(vsi))
    }

    fn is_found_in(&self, vsi: &VsiObject) -> bool {
        let q = self.q.to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&q);
        let meta = &vsi.metadata;
        let labels = meta.labels.iter();
        let image = vsi.spec.get("imageURL").and_then(|url| url.as_str());
        has(&meta.name)
            || has(&meta.namespace)
            || has(&vsi.status.host)
            || image.is_some_and(has)
            || labels
                .map(|(key, value)| format!("{key}={value}"))
                .any(|label| has(&label))
    }
}

fn phases(all: &[VsiObject]) -> BTreeMap<&'static str, usize> {
    let mut phases = BTreeMap::new();
    for vsi in all {
        let count: &mut usize = phases.entry(vsi.status.phase.as_str()).or_default();
        *count = count.saturating_add(1);
    }
    phases
}

fn chips(phases: &BTreeMap<&'static str, usize>, looked: &Looked) -> Markup {
    let at = looked
        .at
        .asked
        .map(|at| format!("&at={at}"))
        .unwrap_or_default();
    html! {
        ul.chips aria-label="Phases" {
            @for (phase, count) in phases {
                li { a href={ "/?phase=" (phase) (at) } { (state(phase)) " " (count) } }
            }
        }
    }
}

fn form(filter: &Filter, looked: &Looked) -> Markup {
    html! {
        form.filter method="get" role="search" aria-label="Filter" {
            @if let Some(at) = looked.at.asked { input type="hidden" name="at" value=(at); }
            label { "Filter " input type="search" name="q" value=(filter.q)
                placeholder="name, host, image or label"; }
            label { "Phase " input name="phase" value=(filter.phase) size="12"; }
            label { input type="checkbox" name="group" value="host"
                checked[filter.group == "host"]; " by host" }
            button { "Apply" }
        }
    }
}

fn by_host<'a>(rows: &[&'a VsiObject]) -> BTreeMap<&'a str, Vec<&'a VsiObject>> {
    let mut hosts = BTreeMap::<_, Vec<_>>::new();
    for vsi in rows {
        hosts
            .entry(vsi.status.host.as_str())
            .or_default()
            .push(*vsi);
    }
    hosts
}

fn table(rows: &[&VsiObject], looked: &Looked) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="VSIs" {
            table {
                thead { tr {
                    th scope="col" { "Name" } th scope="col" { "Phase" } th scope="col" { "Step" }
                    th scope="col" { "Addresses" } th scope="col" { "Host" } th scope="col" { "Since" }
                } }
                tbody {
                    @for vsi in rows { (row(vsi, looked)) }
                }
            }
        }
    }
}

fn row(vsi: &VsiObject, looked: &Looked) -> Markup {
    let (meta, status) = (&vsi.metadata, &vsi.status);
    let full = match meta.namespace.as_str() {
        "default" | "" => meta.name.clone(),
        namespace => format!("{namespace}/{}", meta.name),
    };
    html! {
        tr {
            th scope="row" {
                @match meta.namespace.as_str() {
                    "" => (full),
                    namespace => a href=(address(namespace, &meta.name, looked)) { (full) },
                }
            }
            td { (state(status.phase.as_str())) }
            td {
                @if let Some(step) = &status.current_step { (step) }
                @if let Some(progress) = &status.progress {
                    " " progress max=(progress.total) value=(progress.done)
                        aria-label="steps done" {}
                    " " (progress.done) "/" (progress.total)
                }
            }
            td { (status.ip_addresses.join(", ")) }
            td { (status.host) }
            td { time { (meta.creation_timestamp) } }
        }
    }
}

/// The address of a VSI's page.
pub(super) fn address(namespace: &str, name: &str, looked: &Looked) -> String {
    let path = format!("/vsi/{}/{}", text::segment(namespace), text::segment(name));
    super::layout::link(&path, Some(&looked.at))
}

/// A state in its colour, with a sign of its own for whoever sees none.
pub(super) fn state(state: &str) -> Markup {
    let (class, sign) = match state {
        "Running" | "Succeeded" | "Ready" => ("good", "✓"),
        "Failed" | "Unreadable" | "NotReady" => ("bad", "✗"),
        "Blocked" | "Degraded" | "Delayed" | "Partial" => ("stands", "!"),
        "Pending" | "Waiting" | "Unknown" => ("waits", "·"),
        "Stopped" | "Deleted" | "Skipped" | "Cancelled" | "Superseded" => ("still", "–"),
        _ => ("moves", "…"),
    };
    html! { span.state.(class) { span aria-hidden="true" { (sign) " " } (state) } }
}

fn pages(filter: &Filter, found: usize, looked: &Looked) -> Markup {
    let at = looked
        .at
        .asked
        .map(|at| format!("&at={at}"))
        .unwrap_or_default();
    let to = |page: usize| {
        let (q, phase) = (text::segment(&filter.q), text::segment(&filter.phase));
        let group = text::segment(&filter.group);
        format!("/?q={q}&phase={phase}&group={group}&page={page}{at}")
    };
    let next = filter.page.saturating_add(1);
    html! {
        nav.pages aria-label="Pages of the list" {
            @if filter.page > 0 { a rel="prev" href=(to(filter.page.saturating_sub(1))) { "Previous" } }
            @if next.saturating_mul(ROWS) < found { a rel="next" href=(to(next)) { "Next" } }
        }
    }
}
