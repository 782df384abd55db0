//! What the document of a group changes, and what it does to the members that exist.

use crate::fleet::{
    Fleet, FleetError,
    pool::{
        plan::{NOBODY, why_recorded},
        template,
    },
};
use crate::{
    group::{self, GroupRecord, ItemRecord},
    plan::{Destroyed, How, PlannedChange},
    pool::PoolRecord,
};

impl Fleet {
    /// The members that are deleted because their pools have fewer of them then.
    pub(super) async fn surplus_of_group(
        &self,
        before: &GroupRecord,
        after: &GroupRecord,
    ) -> Result<Vec<Destroyed>, FleetError> {
        let pools = self.living::<PoolRecord>().await?;
        let mut surplus = Vec::new();
        for item in after.items() {
            let name = group::pool_name(&after.name, &item.name);
            let pool = pools
                .iter()
                .find(|pool| pool.record.namespace == after.namespace && pool.record.name == name);
            let wanted = item
                .replicas
                .filter(|_| !before.removed.contains(&item.name));
            if let (Some(pool), Some(first)) = (pool, wanted) {
                let numbers = first..pool.record.replicas;
                surplus.extend(self.surplus_members(pool.record.uid, numbers).await?);
            }
        }
        Ok(surplus)
    }
}

/// The fields of a group that changed, and what that means for its members.
pub(super) fn fields(before: &GroupRecord, after: &GroupRecord) -> Vec<PlannedChange> {
    let value = |group: &GroupRecord| {
        serde_json::json!({
            "labels": group.labels, "release": group.release, "outputs": group.outputs,
        })
    };
    let (old, new) = (value(before), value(after));
    let why = "it says how vsiflow treats the group; what members get of it is listed with them";
    let own = ["labels", "release", "outputs"].into_iter();
    let own = own.filter_map(|key| Some((key, old.get(key)?, new.get(key)?)));
    let own = own.filter(|(_, own_old, own_new)| own_old != own_new);
    let mut all: Vec<_> = own
        .map(|(key, own_old, own_new)| change(key.to_owned(), (own_old, own_new), why))
        .collect();
    for wave in &after.waves {
        let earlier = before
            .waves
            .iter()
            .find(|earlier| earlier.name == wave.name);
        let gates = (
            serde_json::to_value(earlier.map(|earlier_wave| &earlier_wave.gate))
                .unwrap_or_default(),
            serde_json::to_value(Some(&wave.gate)).unwrap_or_default(),
        );
        if gates.0 != gates.1 {
            let path = format!("waves.{}.gate", wave.name);
            all.push(change(
                path,
                (&gates.0, &gates.1),
                "the gate is asked again",
            ));
        }
        for item in &wave.items {
            if let Some(earlier_item) = before.item(&item.name) {
                let is_removed = before.removed.contains(&item.name);
                all.extend(item_fields(earlier_item, item, is_removed));
            }
        }
    }
    let is_left_out = |item: &&ItemRecord| {
        !before.removed.contains(&item.name) && after.item(&item.name).is_none()
    };
    all.extend(before.items().filter(is_left_out).map(left_out));
    all
}

/// The refusal of a document that lacks a member or a pool.
fn left_out(item: &ItemRecord) -> PlannedChange {
    PlannedChange {
        path: item.name.clone(),
        before: Some(serde_json::json!({"replicas": item.replicas})),
        after: None,
        how: How::Refused,
        why: "a group keeps its members and pools: put it back, with `replicas: 0` for a pool that is not needed"
            .to_owned(),
    }
}

fn item_fields(before: &ItemRecord, after: &ItemRecord, is_removed: bool) -> Vec<PlannedChange> {
    let value = |item: &ItemRecord| {
        serde_json::json!({
            "replicas": item.replicas, "strategy": item.strategy, "removeAfter": item.remove_after,
            "template.evictable": item.template.evictable,
        })
    };
    let (old, new) = (value(before), value(after));
    let own = ["replicas", "strategy", "removeAfter", "template.evictable"].into_iter();
    let own = own.filter_map(|key| Some((key, old.get(key)?, new.get(key)?)));
    let own = own.filter(|(_, own_old, own_new)| own_old != own_new);
    let path = |key: &str| format!("{}.{key}", after.name);
    let mut all: Vec<_> = own
        .map(|(key, own_old, own_new)| change(path(key), (own_old, own_new), why_recorded(key)))
        .collect();
    let mut plan = template::plan(&before.template, &after.template);
    if is_removed || after.replicas == Some(0) {
        plan = plan.only_recorded(NOBODY);
    }
    let within = plan.changes.into_iter();
    all.extend(within.map(|change| PlannedChange {
        path: path(&format!("template.spec.{}", change.path)),
        ..change
    }));
    all
}

fn change(
    path: String,
    (before, after): (&serde_json::Value, &serde_json::Value),
    why: &str,
) -> PlannedChange {
    PlannedChange {
        path,
        before: Some(before.clone()),
        after: Some(after.clone()),
        how: How::Recorded,
        why: why.to_owned(),
    }
}
