//! The pages of pools and their members.

use axum::extract::Path;
use maud::{Markup, html};
use vsiflow_workflows::fleet::PoolObject;

use super::{
    address, approvals,
    context::{PageContext, PageResult},
    state::state,
    tables, text,
};
use crate::v1::ObjectPath;

/// The maximum number of events shown.
const EVENTS: usize = 50;

pub(super) async fn list(context: PageContext) -> PageResult {
    let pools = context.fleets.pools(false).await?;
    let main = html! {
        h1 { "Pools" }
        @if pools.is_empty() { p { "There is no pool of VSIs." } }
        @else { (table(&pools, &context)) }
    };
    Ok(context.page("Pools", "/pools", &main))
}

fn table(pools: &[PoolObject], context: &PageContext) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Pools" { table {
            thead { tr {
                th scope="col" { "Pool" } th scope="col" { "Phase" } th scope="col" { "Ready" }
                th scope="col" { "Updated" } th scope="col" { "Revision" } th scope="col" { "Message" }
            } }
            tbody { @for pool in pools { tr {
                th scope="row" { a href=(address::pool(&pool.metadata.namespace, &pool.metadata.name, context)) {
                    (text::visible(&pool.metadata.namespace)) "/" (text::visible(&pool.metadata.name))
                } }
                td { (state(pool.status.phase)) }
                td { (pool.status.ready_replicas) " of " (pool.status.replicas) }
                td { (pool.status.updated_replicas) }
                td { code { (pool.status.revision) }
                    @if pool.status.proposed_revision.is_some() { " a change waits for approval" } }
                td { (text::visible(&pool.status.message)) }
            } } }
        } }
    }
}

pub(super) async fn page(Path(target): Path<ObjectPath>, context: PageContext) -> PageResult {
    let ObjectPath { namespace, name } = &target;
    let pool = Box::pin(context.fleets.pool(namespace, name)).await?;
    let own = format!("pool/{name}");
    let history = Box::pin(context.fleets.history(namespace, &own)).await?;
    let status = &pool.status;
    let main = html! {
        h1 { "Pool " (text::visible(&pool.metadata.name)) " " (state(status.phase)) }
        @if !status.message.is_empty() { p { (text::visible(&status.message)) } }
        dl {
            dt { "Namespace" } dd { (text::visible(&pool.metadata.namespace)) }
            dt { "UID" } dd { (pool.metadata.uid) }
            dt { "Members" } dd { (status.ready_replicas) " of " (status.replicas) " ready, "
                (status.updated_replicas) " updated" }
            dt { "Revision" } dd { code { (status.revision) }
                @if let Some(previous) = &status.previous_revision { ", before it " code { (previous) } } }
        }
        (approvals::of_pool_shown(&pool, &context))
        h2 { "Members" }
        (tables::members(&pool.metadata.namespace, &status.members, &context))
        (tables::conditions(&status.conditions))
        h2 { "Definition" }
        pre tabindex="0" role="region" aria-label="Definition" {
            (text::visible(&serde_json::to_string_pretty(&pool.spec).unwrap_or_default()))
        }
        h2 { "Newest events" }
        (tables::events(history.iter().rev().take(EVENTS)))
    };
    Ok(context.page(&pool.metadata.name, "", &main))
}
