//! The fleet page: its VSIs, filtered, and grouped by host or pool.

use std::{collections::BTreeMap, sync::Arc};

use axum::extract::Query;
use maud::{Markup, html};
use serde::Deserialize;
use vsiflow_workflows::fleet::VsiSummary;

use super::{
    context::{PageContext, PageResult},
    layout,
    state::state,
    tables, text,
};

/// VSIs on one page.
const ROWS: usize = 250;

/// The filter, grouping and page of the list.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    /// A substring of a name, namespace, host, image or label.
    q: String,
    /// A phase.
    phase: String,
    /// Groups by `host` or `pool`.
    group: String,
    /// The number of the page, from 0.
    page: usize,
}

pub(super) async fn page(context: PageContext, filter: Query<Filter>) -> PageResult {
    let all = context.fleets.vsi_summaries(false).await?;
    let paused = context.fleets.global_pause();
    let phases = phases(&all);
    let total = all.len();
    let waiting = all.iter().filter(|vsi| vsi.awaits_approval).count();
    let mut found: Vec<&VsiSummary> = all.iter().map(|one| &**one).collect();
    found.retain(|one| filter.has(one));
    found.sort_by(|one, other| filter.of(one).cmp(filter.of(other)));
    let from = filter.page.saturating_mul(ROWS);
    let rows: Vec<_> = found.iter().skip(from).take(ROWS).copied().collect();
    let main = html! {
        h1 { "Fleet" }
        @if let Some(paused) = paused {
            p role="alert" { (text::visible(paused.message.as_str())) }
        }
        @if waiting > 0 {
            p { a href=(layout::link("/approvals", Some(&context.at))) { (waiting) " waiting for approval" } }
        }
        (chips(&phases, &context))
        (form(&filter, &phases, &context))
        p { (found.len()) " of " (total) " VSIs" }
        @if ["host", "pool"].contains(&filter.group.as_str()) {
            @for (name, members) in filter.grouped(&rows) {
                h2 { @if name.is_empty() { "In no " (filter.group) } @else { (text::visible(name)) }
                    " (" (members.len()) ")" }
                (tables::vsis(&members, &context))
            }
        } @else {
            (tables::vsis(&rows, &context))
        }
        (pages(&filter, found.len(), &context))
    };
    Ok(context.page("Fleet", "/", &main))
}

impl Filter {
    fn has(&self, vsi: &VsiSummary) -> bool {
        let phase = self.phase.is_empty() || vsi.phase.as_str() == self.phase;
        phase && (self.q.is_empty() || self.is_found_in(vsi))
    }

    fn is_found_in(&self, vsi: &VsiSummary) -> bool {
        let q = self.q.to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&q);
        let meta = &vsi.metadata;
        let labels = meta.labels.iter();
        has(&meta.name)
            || has(&meta.namespace)
            || has(&vsi.host)
            || has(&vsi.image)
            || vsi.pool.as_deref().is_some_and(has)
            || labels
                .map(|(key, value)| format!("{key}={value}"))
                .any(|label| has(&label))
    }

    /// The value that a VSI is grouped by.
    fn of<'a>(&self, vsi: &'a VsiSummary) -> &'a str {
        match self.group.as_str() {
            "host" => &vsi.host,
            "pool" => vsi.pool.as_deref().unwrap_or_default(),
            _ => "",
        }
    }

    fn grouped<'a>(&self, rows: &[&'a VsiSummary]) -> BTreeMap<&'a str, Vec<&'a VsiSummary>> {
        let mut groups = BTreeMap::<_, Vec<_>>::new();
        for vsi in rows {
            groups.entry(self.of(vsi)).or_default().push(*vsi);
        }
        groups
    }
}

fn phases(all: &[Arc<VsiSummary>]) -> BTreeMap<&'static str, usize> {
    let mut phases = BTreeMap::new();
    for vsi in all {
        let count: &mut usize = phases.entry(vsi.phase.as_str()).or_default();
        *count = count.saturating_add(1);
    }
    phases
}

fn chips(phases: &BTreeMap<&'static str, usize>, context: &PageContext) -> Markup {
    let at = context.at.more();
    html! {
        ul.chips aria-label="Phases" {
            @for (phase, count) in phases {
                li { a href={ "/?phase=" (phase) (at) } { (state(phase)) " " (count) } }
            }
        }
    }
}

fn form(filter: &Filter, phases: &BTreeMap<&'static str, usize>, context: &PageContext) -> Markup {
    html! {
        form.filter method="get" role="search" aria-label="Filter" {
            @if let Some(at) = context.at.requested { input type="hidden" name="at" value=(at); }
            label { "Filter " input type="search" name="q" value=(filter.q)
                placeholder="name, host, image or label"; }
            label { "Phase " select name="phase" {
                option value="" { "any" }
                @for phase in phases.keys() {
                    option value=(phase) selected[filter.phase == *phase] { (phase) }
                }
                @if !filter.phase.is_empty() && !phases.contains_key(filter.phase.as_str()) {
                    option value=(filter.phase) selected { (text::visible(&filter.phase)) }
                }
            } }
            label { "Group " select name="group" {
                @for (value, words) in [("", "none"), ("host", "by host"), ("pool", "by pool")] {
                    option value=(value) selected[filter.group == value] { (words) }
                }
            } }
            button { "Apply" }
        }
    }
}

fn pages(filter: &Filter, found: usize, context: &PageContext) -> Markup {
    let at = context.at.more();
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
