//! The page of a VSI's generations, and of the differences between two of them.

use axum::extract::{Path, Query};
use maud::{Markup, html};
use serde::Deserialize;
use vsiflow_workflows::fleet::{VsiGeneration, differences};

use super::{
    address,
    context::{PageContext, PageResult},
    moment::of_event,
    text,
};
use crate::v1::ObjectPath;

/// The maximum number of generations shown.
const MAX: usize = 200;

/// The generations to compare.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Compared {
    from: Option<u64>,
    to: Option<u64>,
}

pub(super) async fn page(
    Path(target): Path<ObjectPath>,
    context: PageContext,
    compared: Query<Compared>,
) -> PageResult {
    let ObjectPath { namespace, name } = &target;
    let fleet = context.fleets.that_has(namespace, name).await?;
    let all = fleet.vsis().generations(namespace, name, MAX).await?;
    let journal = context.fleets.number_of(fleet);
    let newest = all.first();
    let to = compared.to.or(newest.map(|one| one.generation));
    let before = |one: &&VsiGeneration| to.is_some_and(|to| one.generation < to);
    let from = compared
        .from
        .or_else(|| all.iter().find(before).map(|one| one.generation))
        .or(to);
    let of = |number: Option<u64>| all.iter().find(|one| Some(one.generation) == number);
    let main = html! {
        h1 { "Generations of " a href=(address::vsi(namespace, name, &context)) { (text::visible(name)) } }
        form.filter method="get" role="search" aria-label="Compare" {
            @if let Some(at) = context.at.requested { input type="hidden" name="at" value=(at); }
            label { "From " (choice("from", &all, from)) }
            label { "To " (choice("to", &all, to)) }
            button { "Compare" }
        }
        @match (of(from), of(to)) {
            (Some(from), Some(to)) => (difference(from, to)),
            _ => p { "There is no such generation; the newest " (MAX) " are shown." },
        }
        h2 { "Generations" }
        div.wide tabindex="0" role="region" aria-label="Generations" { table {
            thead { tr {
                th scope="col" { "Generation" } th scope="col" { "Time" } th scope="col" { "Offset" }
                th scope="col" { "Actor" } th scope="col" { "Reason" }
            } }
            tbody { @for one in &all { tr {
                th scope="row" { (one.generation) }
                td { time { (one.time) } }
                td { a href={ "/vsi/" (text::segment(namespace)) "/" (text::segment(name)) "?at=" (of_event(journal, one.offset)) } { (of_event(journal, one.offset)) } }
                td { (text::visible(&one.actor)) }
                td { (text::visible(&one.reason)) }
            } } }
        } }
    };
    Ok(context.page(&format!("Generations of {name}"), "", &main))
}

fn choice(name: &str, all: &[VsiGeneration], chosen: Option<u64>) -> Markup {
    html! {
        select name=(name) {
            @for one in all {
                option value=(one.generation) selected[Some(one.generation) == chosen] {
                    (one.generation) " (" (one.time) ")"
                }
            }
        }
    }
}

fn difference(from: &VsiGeneration, to: &VsiGeneration) -> Markup {
    let found = differences(&from.spec, &to.spec);
    html! {
        h2 { "From generation " (from.generation) " to " (to.generation) }
        @if found.is_empty() {
            p { "Nothing that is shown differs. Secrets, such as contracts, are not compared." }
        } @else {
            div.wide tabindex="0" role="region" aria-label="Differences" { table {
                thead { tr { th scope="col" { "Field" } th scope="col" { "Before" } th scope="col" { "After" } } }
                tbody { @for one in &found { tr {
                    th scope="row" { (text::visible(&one.path)) }
                    td.before { (value(&one.before)) }
                    td.after { (value(&one.after)) }
                } } }
            } }
        }
    }
}

fn value(value: &serde_json::Value) -> String {
    if value.is_null() {
        String::new()
    } else {
        text::visible(&value.to_string())
    }
}
