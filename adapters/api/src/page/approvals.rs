//! The page of changes that wait for approval, each with its plan and a button that approves it.
//!
//! Only the plan that was shown is approved: the button names it, and if another change waits by then,
//! nothing is approved (VSI0840).

use axum::{
    Extension,
    extract::{Path, Query, State},
    response::Response,
};
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::Value;
use vsiflow_workflows::{
    fleet::{PoolObject, Proposal, VsiObject},
    plan::Plan,
    spec::Quantity,
};

use super::{
    address,
    context::{Page, PageContext, PageResult, on_to, operator},
    layout::link,
    text,
};
use crate::{Act, ActRequest, Caller, api::Api, v1::ObjectPath};

/// The maximum number of changes on one page.
const MAX: usize = 100;

pub(super) async fn list(context: PageContext) -> PageResult {
    let summaries = context.fleets.vsi_summaries(false).await?;
    let waiting = summaries.iter().filter(|vsi| vsi.awaits_approval);
    let number = waiting.clone().count();
    let mut vsis = Vec::new();
    for vsi in waiting.take(MAX) {
        vsis.push(
            context
                .fleets
                .vsi(&vsi.metadata.namespace, &vsi.metadata.name)
                .await?,
        );
    }
    let pools = context.fleets.pools(false).await?;
    let pools: Vec<_> = pools
        .iter()
        .filter(|pool| pool.status.proposed_revision.is_some())
        .collect();
    let main = html! {
        h1 { "Approvals" }
        @if number == 0 && pools.is_empty() { p { "No change waits for approval." } }
        @if number > MAX { p { "The first " (MAX) " of " (number) " VSIs" } }
        @for pool in pools {
            h2 { a href=(address::pool(&pool.metadata.namespace, &pool.metadata.name, &context)) {
                "pool/" (text::visible(&pool.metadata.namespace)) "/" (text::visible(&pool.metadata.name))
            } }
            (of_pool_shown(pool, &context))
        }
        @for vsi in &vsis {
            @if let Some(change) = &vsi.status.proposal {
                h2 { a href=(address::vsi(&vsi.metadata.namespace, &vsi.metadata.name, &context)) {
                    (vsi.metadata.namespace) "/" (vsi.metadata.name)
                } }
                (of_vsi_shown(vsi, change, &context))
            }
        }
    };
    Ok(context.page("Approvals", "/approvals", &main))
}

/// A waiting change of a VSI.
pub(super) fn of_vsi_shown(vsi: &VsiObject, proposal: &Proposal, context: &PageContext) -> Markup {
    let ObjectPath { namespace, name } = named(&vsi.metadata.namespace, &vsi.metadata.name);
    let action = format!("/vsi/{namespace}/{name}/approve?proposal={}", proposal.id);
    shown(&proposal.plan, &action, &vsi.metadata.name, context)
}

/// A waiting change of a pool's template.
pub(super) fn of_pool_shown(pool: &PoolObject, context: &PageContext) -> Markup {
    let (Some(plan), Some(id)) = (&pool.status.proposal, pool.proposal_id()) else {
        return html! {};
    };
    let ObjectPath { namespace, name } = named(&pool.metadata.namespace, &pool.metadata.name);
    let action = format!(
        "/pool/{namespace}/{name}/approve?proposal={}",
        text::segment(&id)
    );
    shown(
        plan,
        &action,
        &format!("pool {}", pool.metadata.name),
        context,
    )
}

fn named(namespace: &str, name: &str) -> ObjectPath {
    ObjectPath {
        namespace: text::segment(namespace),
        name: text::segment(name),
    }
}

fn shown(plan: &Plan, action: &str, whose: &str, context: &PageContext) -> Markup {
    html! {
        section.proposal aria-label={ "Change of " (whose) " that waits for approval" } {
            p { strong { "This change waits for approval." }
                @if let Some(how) = plan.how() { " It is done " (by(&how.to_string())) "." } }
            (plan_shown(plan, whose))
            @if context.may_operate() {
                form method="post" action=(action) {
                    button.main type="submit" { "Approve the change of " (whose) }
                }
            } @else if context.at.requested.is_some() {
                p { "The past cannot be approved. "
                    a href=(link("/approvals", None)) { "Show what waits now" } }
            } @else {
                p { "To approve it needs the role operator." }
            }
        }
    }
}

fn by(how: &str) -> String {
    match how {
        "rebuild" => "by a rebuild".to_owned(),
        how => how.to_owned(),
    }
}

/// The changes of a plan, field by field, and what is lost.
fn plan_shown(plan: &Plan, whose: &str) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label={ "Plan of " (whose) } { table {
            thead { tr {
                th scope="col" { "Field" } th scope="col" { "Now" } th scope="col" { "Then" }
                th scope="col" { "How" } th scope="col" { "Why" }
            } }
            tbody { @for change in &plan.changes { tr {
                th scope="row" { (text::visible(&change.path)) }
                td { (value(&change.path, change.before.as_ref())) }
                td { (value(&change.path, change.after.as_ref())) }
                td { (change.how) }
                td { (text::visible(&change.why)) }
            } } }
        } }
        @for lost in &plan.destroys {
            p.lost { strong { "Lost: " } (text::visible(&lost.object)) ": " (text::visible(&lost.why)) }
        }
        @for kept in &plan.keeps { p { "Remains: " (text::visible(kept)) } }
    }
}

/// A value as documents write it: memory is recorded in MiB, a size in bytes.
fn value(path: &str, value: Option<&Value>) -> String {
    let Some(value) = value else {
        return String::new();
    };
    let number = value.as_u64();
    let bytes = match path.rsplit('.').next() {
        Some("memory") => number.and_then(|mebibytes| mebibytes.checked_mul(1 << 20)),
        Some("size") => number,
        _ => None,
    };
    match (bytes, value) {
        (Some(bytes), _) => Quantity(bytes).to_string(),
        (None, Value::String(value)) => text::visible(value),
        (None, value) => text::visible(&value.to_string()),
    }
}

/// The change to approve.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Approved {
    proposal: String,
}

pub(super) async fn of_vsi(
    State(api): State<Api>,
    caller: Option<Extension<Caller>>,
    Path(target): Path<ObjectPath>,
    Query(approved): Query<Approved>,
) -> Result<Response, Page> {
    approve(&api, caller.as_deref(), "vsi", &target, &approved).await
}

pub(super) async fn of_pool(
    State(api): State<Api>,
    caller: Option<Extension<Caller>>,
    Path(target): Path<ObjectPath>,
    Query(approved): Query<Approved>,
) -> Result<Response, Page> {
    approve(&api, caller.as_deref(), "pool", &target, &approved).await
}

/// The reason in the history.
const REASON: &str = "approved on the page";

/// Approves a change, in whichever journal it is.
async fn approve(
    api: &Api,
    caller: Option<&Caller>,
    kind: &str,
    ObjectPath { namespace, name }: &ObjectPath,
    approved: &Approved,
) -> Result<Response, Page> {
    let request = ActRequest {
        names: vec![format!("{kind}/{name}")],
        proposal: Some(approved.proposal.clone()),
        ..ActRequest::new(Act::Approve, namespace, REASON)
    };
    let answer = api.call(operator(caller)?, request).await?;
    let mut problems = answer
        .objects
        .into_iter()
        .filter_map(|object| object.problem);
    if let Some(problem) = problems.next() {
        return Err(problem.into());
    }
    let ObjectPath { namespace, name } = named(namespace, name);
    Ok(on_to(&format!("/{kind}/{namespace}/{name}")))
}
