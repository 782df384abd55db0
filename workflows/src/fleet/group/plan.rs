//! What the document of a group changes, and what it does to the members that exist.

use crate::fleet::{
    Fleet, FleetError,
    known::KnownGroup,
    pool::{
        plan::{NOBODY, recorded_changes, why_recorded},
        template,
    },
};
use crate::{
    group::{GroupRecord, ItemRecord, WaveRecord},
    plan::{Destroyed, How, PlannedChange},
    pool::PoolRecord,
};

impl Fleet {
    /// What is lost of the members: those that their pools have no more, the boot disks that are made anew, and what is
    /// ordered again after the journal was restored.
    pub(super) async fn losses_of_group(
        &self,
        known: &KnownGroup,
        after: &GroupRecord,
    ) -> Result<Vec<Destroyed>, FleetError> {
        let pools = self.pools_of_group(known.record.uid).await?;
        let is_again = self.lacks_order(known);
        // An edit of any wave may open the gate after which something is removed.
        let is_changed = known.record.waves != after.waves;
        let mut lost = Vec::new();
        for item in after.items() {
            let (Some(pool), Some(before)) = (pools.get(&item.name), known.record.item(&item.name))
            else {
                continue;
            };
            let is_removed = known.record.removed.contains(&item.name);
            let changed = PoolRecord {
                template: item.template.clone(),
                strategy: item.strategy,
                replicas: item.replicas.unwrap_or(pool.record.replicas),
                ..pool.record.clone()
            };
            if !is_removed {
                let of_template = template::plan(&before.template, &item.template);
                let of_members = self.plan_of_members(&pool.record, &changed, of_template);
                lost.extend(of_members.await?.destroys);
            }
            if let Some(wave) = item
                .remove_after
                .as_ref()
                .filter(|_| !is_removed && is_changed)
            {
                let members = self.surplus_members(&changed, &(0..u32::MAX)).await?;
                lost.extend(members.into_iter().map(|lost_member| Destroyed {
                    why: format!(
                        "{} is removed once wave {wave} has passed its gate",
                        item.name
                    ),
                    ..lost_member
                }));
            }
            if is_again {
                let kept = changed.replicas.max(pool.record.replicas);
                let surplus = if is_removed { 0 } else { kept }..u32::MAX;
                lost.extend(self.surplus_members(&changed, &surplus).await?);
            }
        }
        Ok(lost)
    }
}

/// The fields of a group that changed, and what that means for its members.
pub(super) fn fields(before: &GroupRecord, after: &GroupRecord) -> Vec<PlannedChange> {
    let value = |group: &GroupRecord| {
        serde_json::json!({
            "labels": group.labels, "release": group.release, "outputs": group.outputs,
        })
    };
    let keys = ["labels", "release", "outputs"];
    let mut changes = recorded_changes(
        &value(before),
        &value(after),
        &keys,
        |_| "it says how vsiflow treats the group; what members get of it is listed with them",
    );
    for wave in &after.waves {
        let earlier = before
            .waves
            .iter()
            .find(|earlier| earlier.name == wave.name);
        let gate = |of: Option<&WaveRecord>| serde_json::json!({"gate": of.map(|of| &of.gate)});
        let asked = recorded_changes(
            &gate(earlier),
            &gate(Some(wave)),
            &["gate"],
            |_| "the gate is asked again",
        );
        changes.extend(asked.into_iter().map(|change| PlannedChange {
            path: format!("waves.{}.{}", wave.name, change.path),
            ..change
        }));
        for item in &wave.items {
            if let Some(earlier_item) = before.item(&item.name) {
                let is_removed = before.removed.contains(&item.name);
                changes.extend(item_fields(earlier_item, item, is_removed));
                if is_removed && item.remove_after.is_none() {
                    let why =
                        "it was removed for good, and is not made again: leave its removeAfter";
                    changes.push(PlannedChange::refused(&item.name, why));
                }
            }
        }
    }
    let is_left_out = |item: &&ItemRecord| {
        !before.removed.contains(&item.name) && after.item(&item.name).is_none()
    };
    changes.extend(before.items().filter(is_left_out).map(left_out));
    changes
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
    let keys = ["replicas", "strategy", "removeAfter", "template.evictable"];
    let of_pool = recorded_changes(&value(before), &value(after), &keys, why_recorded);
    let mut plan = template::plan(&before.template, &after.template);
    if is_removed || after.replicas == Some(0) {
        plan = plan.only_recorded(NOBODY);
    }
    let within = plan.changes.into_iter().map(|change| PlannedChange {
        path: format!("template.spec.{}", change.path),
        ..change
    });
    let changes = of_pool.into_iter().chain(within);
    let changes = changes.map(|change| PlannedChange {
        path: format!("{}.{}", after.name, change.path),
        ..change
    });
    changes.collect()
}
