//! Tables of findings: the inventory of a host, its checks, drains, and resources of another operator.

use vsiflow_kube::migrate::Candidate;
use vsiflow_workflows::fleet::{DrainedVsi, HostCheck, InventoryItem};

use super::{
    Table,
    cells::{mib, or_none},
};

/// The table of what is on a host.
pub(crate) fn inventory(items: &[InventoryItem]) -> Table {
    let mut table = Table::new(&[
        "KIND",
        "NAME",
        "OWNER",
        "BELONGS TO",
        "STATE",
        "SIZE",
        "USED BY",
    ]);
    for item in items {
        table.rows.push(vec![
            item.kind.to_owned(),
            item.name.clone(),
            item.owner.to_string(),
            or_none(item.belongs_to.clone()),
            item.state.clone(),
            or_none(item.size.map(mib).unwrap_or_default()),
            or_none(item.used_by.join(",")),
        ]);
    }
    table
}

/// The table of the checks of a host.
pub(crate) fn checks(checks: &[HostCheck]) -> Table {
    let mut table = Table::new(&["RESULT", "CHECK", "FOUND"]);
    for check in checks {
        let cells = [format!("{:?}", check.result), check.name.clone()];
        let found = [check.message.clone()];
        table.rows.push(cells.into_iter().chain(found).collect());
    }
    table
}

/// The table of what a drain does with each VSI.
pub(crate) fn drained(vsis: &[DrainedVsi]) -> Table {
    let mut table = Table::new(&["VSI", "POOL", "DRAIN", "TO", "REASON"]);
    table.rows.extend(vsis.iter().map(|vsi| {
        let reason = match &vsi.code {
            Some(code) => format!("{code}: {}", vsi.reason),
            None => vsi.reason.clone(),
        };
        vec![
            crate::output::label(&vsi.namespace, &vsi.name),
            vsi.pool.clone().unwrap_or_default(),
            if vsi.moves { "moved" } else { "kept" }.to_owned(),
            vsi.to.clone().unwrap_or_default(),
            reason,
        ]
    }));
    table
}

/// The table of resources that are taken over from another operator.
pub(crate) fn candidates(found: &[Candidate]) -> Table {
    let mut table = Table::new(&["NAMESPACE", "KIND", "NAME", "STANDING", "FINALIZERS"]);
    table.rows.extend(found.iter().map(|one| {
        vec![
            one.namespace.clone(),
            one.kind.to_owned(),
            one.name.clone(),
            one.standing.to_string(),
            one.old_finalizers.join(","),
        ]
    }));
    table
}
