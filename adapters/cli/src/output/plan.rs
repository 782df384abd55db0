//! The plans of changes, as text.

use serde_json::Value;
use vsiflow_api::{DocumentedChange, PlannedDocuments};
use vsiflow_workflows::{
    fleet::{Change, NeededRoom, ReplacementPlace},
    plan::{self, How, Plan},
    spec::Quantity,
};

use super::{label, line, sizes::shown, warning};

/// Prints the plans as text.
pub(crate) fn text(planned: &PlannedDocuments) {
    for (object, documented) in planned.changes() {
        let label = label(&object.namespace, &object.name);
        let plan = object.plan.clone().unwrap_or_default();
        let headline = headline(&plan, documented);
        line(&format!("{}/{label} {headline}", object.kind.word()));
        changes(&plan);
        for needed in &documented.needs {
            line(&format!("  * {}", room(needed)));
            if needed.place == ReplacementPlace::InPlace {
                line(&format!("    {}", in_place(&label)));
            }
        }
        for missing in documented.missing_text() {
            warning(&format!("vsi/{label}: {missing}"));
        }
    }
    line(&summary(planned));
}

fn headline(plan: &Plan, documented: &DocumentedChange) -> String {
    let what = match (documented.change, plan.how()) {
        (Change::Created, _) => "will be created",
        (_, None) => "does not change",
        (_, Some(How::Recorded)) if is_reduced(plan) => "will have fewer members",
        (_, Some(How::Recorded)) => "stays as it is; something is recorded",
        (_, Some(How::InPlace)) => "will be changed in place",
        (_, Some(How::Restart)) => "will be restarted",
        (_, Some(How::Rebuild)) => "will be rebuilt",
        (_, Some(How::Refused)) => "cannot be changed so",
    };
    if documented.awaits_approval {
        format!("{what}, once it is approved")
    } else {
        what.to_owned()
    }
}

/// Whether members are deleted and nothing else changes.
fn is_reduced(plan: &Plan) -> bool {
    plan.how() == Some(How::Recorded) && !plan.destroys.is_empty()
}

/// Prints a line for each disk and object that is destroyed.
pub(crate) fn losses(plan: &Plan) {
    for lost in &plan.destroys {
        line(&format!("  - {} is destroyed: {}", lost.object, lost.why));
    }
}

/// Prints a line for each field, and for what is destroyed and retained.
pub(crate) fn changes(plan: &Plan) {
    for change in &plan.changes {
        line(&format!("  {}", field(change)));
    }
    losses(plan);
    if !plan.keeps.is_empty() {
        line(&format!("  = kept: {}", plan.keeps.join(", ")));
    }
}

fn field(change: &plan::PlannedChange) -> String {
    let sign = match (&change.before, &change.after) {
        (None, Some(_)) => '+',
        (Some(_), None) => '-',
        _ => '~',
    };
    let values = match (&change.before, &change.after) {
        (None, None) => String::new(),
        (before, after) => {
            let shown = |value: &Option<Value>| shown(&change.path, value.as_ref());
            format!(": {} -> {}", shown(before), shown(after))
        }
    };
    let plan::PlannedChange { path, how, why, .. } = change;
    format!("{sign} {path}{values}   [{how}: {why}]")
}

/// The room that disks need which replace others. What the host does not say is unknown.
pub(crate) fn room(needed: &NeededRoom) -> String {
    let text = |bytes: u64| Quantity::rounded(bytes).to_string();
    let size = |bytes: Option<u64>| bytes.map_or_else(|| "unknown".to_owned(), text);
    let (bytes, free) = (size(needed.bytes), size(needed.free));
    let place = match needed.place {
        ReplacementPlace::Beside => "beside the present disk",
        ReplacementPlace::InPlace => "in place",
    };
    format!(
        "room in pool {}: {bytes} needed, {free} free; {place}",
        needed.pool
    )
}

/// How a boot disk is replaced in a pool without room for two.
fn in_place(vsi: &str) -> String {
    format!("there is no room for both: apply, then order it by `vsiflow rebuild {vsi} --in-place`")
}

fn summary(planned: &PlannedDocuments) -> String {
    let created = planned
        .changes()
        .filter(|(_, documented)| documented.change == Change::Created);
    let plans: Vec<_> = planned
        .changes()
        .filter_map(|(object, _)| object.plan.as_ref())
        .collect();
    let with = |how: How| {
        let plans = plans.iter().filter(|plan| plan.how() == Some(how));
        plans.count()
    };
    let parts = [
        (created.count(), "to create"),
        (with(How::InPlace), "to change in place"),
        (with(How::Restart), "to restart"),
        (with(How::Rebuild), "to rebuild"),
        (with(How::Refused), "refused"),
        (
            plans.iter().filter(|plan| is_reduced(plan)).count(),
            "to reduce",
        ),
    ];
    let parts = parts.iter().filter(|(count, _)| *count > 0);
    let parts: Vec<_> = parts.map(|(n, what)| format!("{n} {what}")).collect();
    if parts.is_empty() {
        "No changes.".to_owned()
    } else {
        format!("Plan: {}.", parts.join(", "))
    }
}
