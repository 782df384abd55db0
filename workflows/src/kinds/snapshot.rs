//! Snapshots of VSIs' disks.

use serde_json::Value;
use vsiflow_engine::{executor::By, model::EntityId};

use super::{Cell, Column, Detail, Kind, KindWords, NameScope, ObjectIdentity, ResourceWords};
use crate::{
    fleet::{
        DeletionMode, Fleet, FleetError, Fleets, SnapshotDisk, SnapshotMemory, SnapshotObject,
    },
    phase::Phase,
    spec::Quantity,
};

/// Snapshots.
#[derive(Clone, Copy, Debug)]
pub(super) struct SnapshotKind;

impl Kind for SnapshotKind {
    type Object = SnapshotObject;
    const WORDS: KindWords = KindWords {
        singular: "snapshot",
        noun: "snapshot",
        plural: "snapshots",
        synonyms: &[
            "snapshots",
            "vssnap",
            "virtualserversnapshot",
            "virtualserversnapshots",
        ],
    };
    const NAMES: NameScope = NameScope::Namespace;
    const RESOURCE: ResourceWords = ResourceWords {
        path: "virtualserversnapshots",
        name: "VirtualServerSnapshot",
    };
    const DELETION: Option<&'static str> = Some("Delete a snapshot with its copies");
    const COLUMNS: &'static [Column<SnapshotObject>] = &[
        Column::new("NAME", |snapshot| Cell::text(&snapshot.metadata.name)),
        Column::new("VSI", |snapshot| {
            let vsi = snapshot.spec.get("virtualServer").and_then(Value::as_str);
            Cell::text(vsi.unwrap_or_default())
        }),
        Column::new("PHASE", |snapshot| Cell::text(&snapshot.status.phase)),
        Column::new("DISKS", |snapshot| Cell::text(snapshot.status.disks.len())),
        Column::new("SIZE", |snapshot| Cell::size(snapshot.status.size)),
        Column::since(|snapshot| Cell::created(&snapshot.metadata)),
        Column::wide("UID", |snapshot| Cell::text(&snapshot.metadata.uid)),
        Column::wide("HOST", |snapshot| Cell::text(&snapshot.status.host)),
        Column::wide("DETAIL", |snapshot| {
            Cell::Optional(snapshot.status.description.clone())
        }),
    ];

    fn identity(snapshot: &SnapshotObject) -> ObjectIdentity<'_> {
        ObjectIdentity::of(&snapshot.metadata)
    }

    fn is_readable(snapshot: &SnapshotObject) -> bool {
        snapshot.status.phase != Phase::Unreadable.as_str()
    }

    async fn delete(
        fleet: &Fleet,
        namespace: &str,
        name: &str,
        mode: DeletionMode,
        by: By,
    ) -> Result<Vec<EntityId>, FleetError> {
        let orphan = mode == DeletionMode::Orphan;
        let entity = fleet
            .snapshots()
            .delete(namespace, name, orphan, by)
            .await?;
        Ok(vec![entity])
    }

    fn details(snapshot: &SnapshotObject) -> Vec<Detail> {
        let status = &snapshot.status;
        let mut details = Detail::identity(&snapshot.metadata);
        details.extend([
            Detail::field("Phase", &status.phase),
            Detail::field("Host", &status.host),
            Detail::optional("Size", status.size.map(Quantity)),
            Detail::moment("Scheduled", status.scheduled_time.as_deref()),
            Detail::optional("Run", status.run_id.as_ref()),
            Detail::Spec(snapshot.spec.clone()),
            Detail::Section("Disks".into(), status.disks.iter().map(disk_line).collect()),
            Detail::optional("Memory", status.memory.as_ref().map(memory_text)),
            Detail::Conditions(status.conditions.clone()),
            Detail::Explanation(status.description.clone()),
        ]);
        details
    }

    async fn list(fleets: &Fleets, deleted: bool) -> Result<Vec<SnapshotObject>, FleetError> {
        fleets.snapshots(deleted).await
    }

    async fn get(
        fleets: &Fleets,
        namespace: &str,
        name: &str,
    ) -> Result<SnapshotObject, FleetError> {
        fleets.snapshot(namespace, name).await
    }

    async fn check_exists(fleets: &Fleets, namespace: &str, name: &str) -> Result<(), FleetError> {
        let object = format!("snapshot/{name}");
        let fleet = fleets.that_has(namespace, &object).await?;
        fleet.snapshots().find(namespace, name).await.map(drop)
    }
}

fn disk_line(disk: &SnapshotDisk) -> String {
    let capacity = disk.capacity.map(|bytes| Quantity(bytes).to_string());
    let capacity = capacity.unwrap_or_else(|| "not copied".to_owned());
    format!("{}: {} ({capacity})", disk.name, disk.copy)
}

fn memory_text(memory: &SnapshotMemory) -> String {
    let size = memory.size.map(|bytes| Quantity(bytes).to_string());
    let size = size.unwrap_or_else(|| "not saved".to_owned());
    format!("{} ({size})", memory.volume)
}
