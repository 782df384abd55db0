//! The pages of groups: their waves with the gates between them, and the members of each wave.

use axum::extract::Path;
use maud::{Markup, html};
use vsiflow_workflows::fleet::{GroupItem, GroupObject, GroupWave};

use super::{
    address,
    context::{PageContext, PageResult},
    layout::link,
    state::state,
    tables, text,
};
use crate::v1::ObjectPath;

/// The maximum number of events shown.
const EVENTS: usize = 50;

pub(super) async fn list(context: PageContext) -> PageResult {
    let groups = Box::pin(context.fleets.groups(false)).await?;
    let main = html! {
        h1 { "Groups" }
        @if groups.is_empty() { p { "There is no group." } }
        @else {
            div.wide tabindex="0" role="region" aria-label="Groups" { table {
                thead { tr {
                    th scope="col" { "Group" } th scope="col" { "Phase" } th scope="col" { "Wave" }
                    th scope="col" { "Ready" } th scope="col" { "Message" }
                } }
                tbody { @for group in &groups { tr {
                    th scope="row" { a href=(address(group, &context)) {
                        (text::visible(&group.metadata.namespace)) "/" (text::visible(&group.metadata.name))
                    } }
                    td { (state(group.status.phase)) }
                    td { (text::visible(&group.status.wave)) }
                    td { (group.status.ready_replicas) " of " (group.status.replicas) }
                    td { (text::visible(&group.status.message)) }
                } } }
            } }
        }
    };
    Ok(context.page("Groups", "/groups", &main))
}

fn address(group: &GroupObject, context: &PageContext) -> String {
    let (namespace, name) = (&group.metadata.namespace, &group.metadata.name);
    let path = format!(
        "/group/{}/{}",
        text::segment(namespace),
        text::segment(name)
    );
    link(&path, Some(&context.at))
}

pub(super) async fn page(Path(target): Path<ObjectPath>, context: PageContext) -> PageResult {
    let ObjectPath { namespace, name } = &target;
    let group = Box::pin(context.fleets.group(namespace, name)).await?;
    let own = format!("group/{name}");
    let history = Box::pin(context.fleets.history(namespace, &own)).await?;
    let status = &group.status;
    let own_namespace = &group.metadata.namespace;
    let main = html! {
        h1 { "Group " (text::visible(&group.metadata.name)) " " (state(status.phase)) }
        @if !status.message.is_empty() { p { (text::visible(&status.message)) } }
        dl {
            dt { "Namespace" } dd { (text::visible(own_namespace)) }
            dt { "UID" } dd { (group.metadata.uid) }
            dt { "Wave" } dd { (text::visible(&status.wave)) }
            dt { "Members" } dd { (status.ready_replicas) " of " (status.replicas) " ready" }
        }
        h2 { "Waves" }
        ol.tree { @for wave in &status.waves { (wave_shown(own_namespace, wave, &context)) } }
        (outputs(&group))
        (tables::conditions(&status.conditions))
        h2 { "Definition" }
        pre tabindex="0" role="region" aria-label="Definition" {
            (text::visible(&serde_json::to_string_pretty(&group.spec).unwrap_or_default()))
        }
        h2 { "Newest events" }
        (tables::events(history.iter().rev().take(EVENTS)))
    };
    Ok(context.page(&group.metadata.name, "", &main))
}

fn wave_shown(namespace: &str, wave: &GroupWave, context: &PageContext) -> Markup {
    html! {
        li {
            strong { "Wave " (text::visible(&wave.name)) } " "
            @if wave.open { (state("Open")) " its gate is open" } @else { (state("Closed")) " its gate is closed" }
            ul.tree { @for item in &wave.items { (item_shown(namespace, item, context)) } }
        }
    }
}

fn item_shown(namespace: &str, item: &GroupItem, context: &PageContext) -> Markup {
    html! {
        li {
            @if item.members.is_empty() { (text::visible(&item.name)) }
            @else {
                a href=(address::pool(namespace, &item.pool, context)) { (text::visible(&item.name)) }
            }
            " " (state(item.phase)) " " (item.ready_members()) " of " (item.replicas) " ready"
            @if !item.updated { ", not updated yet" }
            (tables::members(namespace, &item.members, context))
        }
    }
}

fn outputs(group: &GroupObject) -> Markup {
    let outputs = &group.status.outputs;
    html! {
        @if !outputs.is_empty() {
            h2 { "Outputs" }
            div.wide tabindex="0" role="region" aria-label="Outputs" { table {
                thead { tr { th scope="col" { "Output" } th scope="col" { "Member" } th scope="col" { "Value" } } }
                tbody { @for output in outputs { tr {
                    th scope="row" { (text::visible(&output.name)) }
                    td { (text::visible(&output.member)) }
                    td { @match (&output.value, output.found, output.secret) {
                        (Some(value), ..) => (text::visible(value)),
                        (None, true, true) => "a secret",
                        _ => "not read yet",
                    } }
                } } }
            } }
        }
    }
}
