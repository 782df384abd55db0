//! Pools and their members.

use axum::extract::Path;
use maud::{Markup, html};
use vsiflow_workflows::fleet::{PoolMember, PoolObject};

use super::{Looked, Shown, approvals, fleet, fleet::state, layout::link, lists, text, vsi};
use crate::v1::ObjectPath;

/// Members that are shown of one pool.
const MEMBERS: usize = 250;
/// Events that are shown.
const EVENTS: usize = 50;

pub(super) async fn list(looked: Looked) -> Shown {
    let pools = looked.fleet.pools().list(false).await?;
    let main = html! {
        h1 { "Pools" }
        @if pools.is_empty() { p { "There is no pool of VSIs." } }
        @else { (table(&pools, &looked)) }
    };
    Ok(looked.page("Pools", "/pools", &main))
}

fn table(pools: &[PoolObject], looked: &Looked) -> Markup {
    html! {
        div.wide tabindex="0" role="region" aria-label="Pools" { table {
            thead { tr {
                th scope="col" { "Pool" } th scope="col" { "Phase" } th scope="col" { "Ready" }
                th scope="col" { "Updated" } th scope="col" { "Revision" } th scope="col" { "Message" }
            } }
            tbody { @for pool in pools { tr {
                th scope="row" { a href=(address(pool, looked)) {
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

/// The address of a pool's page.
pub(super) fn address(pool: &PoolObject, looked: &Looked) -> String {
    address_of(&pool.metadata.namespace, &pool.metadata.name, looked)
}

/// The same by its name.
pub(super) fn address_of(namespace: &str, name: &str, looked: &Looked) -> String {
    let path = format!("/pool/{}/{}", text::segment(namespace), text::segment(name));
    link(&path, Some(&looked.at))
}

pub(super) async fn page(Path(target): Path<ObjectPath>, looked: Looked) -> Shown {
    let ObjectPath { namespace, name } = &target;
    let pool = Box::pin(looked.fleet.pools().get(namespace, name)).await?;
    let own = format!("pool/{name}");
    let history = Box::pin(looked.fleet.history().lines(namespace, &own)).await?;
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
        (approvals::of_pool_shown(&pool, &looked))
        h2 { "Members" }
        (members(&pool.metadata.namespace, &status.members, &looked))
        (vsi::condition_table(&status.conditions))
        h2 { "Definition" }
        pre tabindex="0" role="region" aria-label="Definition" {
            (text::visible(&serde_json::to_string_pretty(&pool.spec).unwrap_or_default()))
        }
        h2 { "Newest events" }
        (lists::event_table(history.iter().rev().take(EVENTS)))
    };
    Ok(looked.page(&pool.metadata.name, "", &main))
}

/// Members as a branch of a tree.
pub(super) fn members(namespace: &str, members: &[PoolMember], looked: &Looked) -> Markup {
    html! {
        ul.tree {
            @for member in members.iter().take(MEMBERS) {
                li {
                    a href=(fleet::address(namespace, &member.name, looked)) { (text::visible(&member.name)) }
                    " " (state(member.phase.as_str()))
                    @if !member.ready { " not ready" }
                    @if !member.updated { " of another revision" }
                    @if member.cordoned { " cordoned" }
                    @if let Some(host) = &member.leaves { " leaves " (text::visible(host)) }
                }
            }
            @if members.len() > MEMBERS {
                li { (members.len().saturating_sub(MEMBERS)) " more: "
                    a href={ "/?group=pool&q=" (text::segment(namespace)) (looked.at.more()) } { "the fleet by pool" } }
            }
        }
    }
}
