//! Pools of virtual servers.

use serde_json::Value;
use vsiflow_engine::{executor::By, model::EntityId};

use super::{Cell, Column, Detail, Kind, KindWords, NameScope, ObjectIdentity, ResourceWords};
use crate::{
    fleet::{DeletionMode, Fleet, FleetError, Fleets, PoolMember, PoolObject},
    phase::Phase,
};

/// Pools.
#[derive(Clone, Copy, Debug)]
pub(super) struct PoolKind;

impl Kind for PoolKind {
    type Object = PoolObject;
    const WORDS: KindWords = KindWords {
        singular: "pool",
        noun: "pool",
        plural: "pools",
        synonyms: &["pools", "vsp", "virtualserverpool", "virtualserverpools"],
    };
    const NAMES: NameScope = NameScope::Namespace;
    const RESOURCE: ResourceWords = ResourceWords {
        path: "virtualserverpools",
        name: "VirtualServerPool",
    };
    const DELETION: Option<&'static str> =
        Some("Delete a pool with its members, the highest first");
    const COLUMNS: &'static [Column<PoolObject>] = &[
        Column::new("NAME", |pool| Cell::text(&pool.metadata.name)),
        Column::new("DESIRED", |pool| {
            let desired = pool.spec.get("replicas").map(ToString::to_string);
            Cell::text(desired.unwrap_or_default())
        }),
        Column::new("READY", |pool| Cell::text(pool.status.ready_replicas)),
        Column::new("UPDATED", |pool| Cell::text(pool.status.updated_replicas)),
        Column::new("PHASE", |pool| Cell::text(pool.status.phase)),
        Column::since(|pool| Cell::created(&pool.metadata)),
        Column::wide("UID", |pool| Cell::text(&pool.metadata.uid)),
        Column::wide("REVISION", |pool| Cell::text(&pool.status.revision)),
        Column::wide("MESSAGE", |pool| {
            Cell::Optional(pool.status.message.clone())
        }),
    ];

    fn identity(pool: &PoolObject) -> ObjectIdentity<'_> {
        ObjectIdentity::of(&pool.metadata)
    }

    fn is_readable(pool: &PoolObject) -> bool {
        pool.status.phase != Phase::Unreadable.as_str()
    }

    fn size(pool: &PoolObject) -> usize {
        let desired = pool.spec.get("replicas").and_then(Value::as_u64);
        let desired = usize::try_from(desired.unwrap_or_default()).unwrap_or(usize::MAX);
        pool.status.members.len().max(desired).max(1)
    }

    async fn delete(
        fleet: &Fleet,
        namespace: &str,
        name: &str,
        mode: DeletionMode,
        by: By,
    ) -> Result<Vec<EntityId>, FleetError> {
        let orphan = mode == DeletionMode::Orphan;
        let entity = fleet.pools().delete(namespace, name, orphan, by).await?;
        Ok(vec![entity])
    }

    fn details(pool: &PoolObject) -> Vec<Detail> {
        let status = &pool.status;
        let mut details = Detail::identity(&pool.metadata);
        details.extend([
            Detail::field("Phase", status.phase),
            Detail::optional("Desired", pool.spec.get("replicas")),
            Detail::field("Ready", status.ready_replicas),
            Detail::field("Updated", status.updated_replicas),
            Detail::field("Revision", &status.revision),
            Detail::optional("Previous", status.previous_revision.as_ref()),
            Detail::Spec(pool.spec.clone()),
            Detail::Section(
                "Members".into(),
                status.members.iter().map(member_line).collect(),
            ),
            Detail::Conditions(status.conditions.clone()),
            Detail::Explanation(status.message.clone()),
        ]);
        details
    }

    async fn list(fleets: &Fleets, deleted: bool) -> Result<Vec<PoolObject>, FleetError> {
        fleets.pools(deleted).await
    }

    async fn get(fleets: &Fleets, namespace: &str, name: &str) -> Result<PoolObject, FleetError> {
        fleets.pool(namespace, name).await
    }

    async fn check_exists(fleets: &Fleets, namespace: &str, name: &str) -> Result<(), FleetError> {
        let pools = fleets.decides().pools();
        pools.find(namespace, name).await.map(drop)
    }
}

fn member_line(member: &PoolMember) -> String {
    let ready = if member.ready { "ready" } else { "not ready" };
    let updated = if member.updated {
        "updated"
    } else {
        "outdated"
    };
    let cordoned = if member.cordoned { ", cordoned" } else { "" };
    let leaves = member.leaves.as_ref();
    let leaves = leaves
        .map(|host| format!(", leaves {host}"))
        .unwrap_or_default();
    format!(
        "{:<17} {:<12} {ready}, {updated}{cordoned}{leaves}",
        member.name, member.phase
    )
}
