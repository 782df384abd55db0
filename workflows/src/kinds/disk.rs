//! Data disks, made or referred to.

use serde_json::Value;
use vsiflow_engine::{executor::By, model::EntityId};

use super::{
    Cell, Column, Detail, Kind, KindWords, NameScope, ObjectIdentity, ResourceWords, history_lines,
};
use crate::{
    fleet::{DeletionMode, DiskObject, Fleet, FleetError, Fleets, HistoryLine},
    phase::Phase,
    spec::Quantity,
};

/// Data disks.
#[derive(Clone, Copy, Debug)]
pub(super) struct DiskKind;

impl Kind for DiskKind {
    type Object = DiskObject;
    const WORDS: KindWords = KindWords {
        singular: "disk",
        noun: "data disk",
        plural: "data disks",
        synonyms: &[
            "disks",
            "onprem-datadisk",
            "onprem-datadisks",
            "hyperprotectcontainerruntimeonpremdatadisk",
        ],
    };
    const NAMES: NameScope = NameScope::Namespace;
    const RESOURCE: ResourceWords = ResourceWords {
        path: "datadisks",
        name: "DataDisk",
    };
    const DELETION: Option<&'static str> = Some("Delete a data disk by its deletionPolicy");
    const COLUMNS: &'static [Column<DiskObject>] = &[
        Column::new("NAME", |disk| Cell::text(&disk.metadata.name)),
        Column::new("PHASE", |disk| Cell::text(&disk.status.phase)),
        Column::new("HOST", |disk| Cell::text(&disk.status.host)),
        Column::new("POOL", |disk| {
            Cell::text(spec_text(disk, "storagePool").unwrap_or_default())
        }),
        Column::new("SIZE", |disk| {
            let requested = disk.spec.get("size").and_then(Value::as_u64);
            Cell::size(disk.status.capacity.or(requested))
        }),
        Column::new("POLICY", |disk| {
            Cell::text(spec_text(disk, "deletionPolicy").unwrap_or("Reference"))
        }),
        Column::new("USED BY", |disk| Cell::list(&disk.status.used_by)),
        // A reference has no time of its own.
        Column::since(|disk| match disk.metadata.creation_timestamp.as_str() {
            "" => Cell::Absent,
            _ => Cell::created(&disk.metadata),
        }),
        Column::wide("VOLUME", |disk| Cell::text(&disk.status.volume)),
        Column::wide("DETAIL", |disk| {
            Cell::Optional(disk.status.description.clone())
        }),
    ];

    fn identity(disk: &DiskObject) -> ObjectIdentity<'_> {
        ObjectIdentity::of(&disk.metadata)
    }

    fn is_readable(disk: &DiskObject) -> bool {
        disk.status.phase != Phase::Unreadable.as_str()
    }

    async fn delete(
        fleet: &Fleet,
        namespace: &str,
        name: &str,
        mode: DeletionMode,
        by: By,
    ) -> Result<Vec<EntityId>, FleetError> {
        let entity = fleet.disks().delete(namespace, name, mode, by).await?;
        Ok(vec![entity])
    }

    fn details(disk: &DiskObject) -> Vec<Detail> {
        let status = &disk.status;
        let mut details = Detail::identity(&disk.metadata);
        details.extend([
            Detail::field("Kind", disk.kind),
            Detail::field("Host", &status.host),
            Detail::field("Volume", &status.volume),
            Detail::field("Phase", &status.phase),
            Detail::optional("Capacity", status.capacity.map(Quantity)),
            Detail::field("Used by", status.used_by.join(",")),
            Detail::optional("Run", status.run_id.as_ref()),
            Detail::Spec(disk.spec.clone()),
            Detail::Conditions(status.conditions.clone()),
            Detail::Explanation(status.description.clone()),
        ]);
        details
    }

    /// A disk that VSIs only refer to has its history in theirs.
    async fn history(
        fleets: &Fleets,
        namespace: &str,
        name: &str,
        disk: &DiskObject,
    ) -> Result<Vec<HistoryLine>, FleetError> {
        match disk.metadata.uid.as_str() {
            "" => Ok(Vec::new()),
            _ => history_lines(fleets, namespace, &format!("disk/{name}")).await,
        }
    }

    async fn list(fleets: &Fleets, deleted: bool) -> Result<Vec<DiskObject>, FleetError> {
        fleets.disks(deleted).await
    }

    async fn get(fleets: &Fleets, namespace: &str, name: &str) -> Result<DiskObject, FleetError> {
        fleets.disk(namespace, name).await
    }

    async fn check_exists(fleets: &Fleets, namespace: &str, name: &str) -> Result<(), FleetError> {
        let fleet = fleets.that_has(namespace, &format!("disk/{name}")).await?;
        fleet.disks().find(namespace, name).await.map(drop)
    }
}

fn spec_text<'d>(disk: &'d DiskObject, key: &str) -> Option<&'d str> {
    disk.spec.get(key).and_then(Value::as_str)
}
