//! Sizes of virtual servers: the built-in ones, and those from documents.

use serde_json::{Value, json};
use vsiflow_engine::{executor::By, model::EntityId};

use super::{Cell, Column, Kind, KindWords, NameScope, ObjectIdentity, ResourceWords};
use crate::fleet::{DeletionMode, Fleet, FleetError, Fleets, HistoryLine, ServerTypeObject};

/// Server types.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServerTypeKind;

impl Kind for ServerTypeKind {
    type Object = ServerTypeObject;
    const WORDS: KindWords = KindWords {
        singular: "type",
        noun: "server type",
        plural: "types",
        synonyms: &["types", "virtualservertype", "virtualservertypes"],
    };
    const NAMES: NameScope = NameScope::Journal;
    const RESOURCE: ResourceWords = ResourceWords {
        path: "virtualservertypes",
        name: "VirtualServerType",
    };
    const DELETION: Option<&'static str> =
        Some("Delete a server type; what was made from it stays");
    const COLUMNS: &'static [Column<ServerTypeObject>] = &[
        Column::new("NAME", |size| Cell::text(&size.name)),
        Column::new("CPUS", |size| match size.phase {
            None => Cell::text(size.cpus),
            Some(unreadable) => Cell::text(unreadable),
        }),
        Column::new("MEMORY", |size| Cell::optional(Some(&size.memory))),
        Column::new("BOOT DISK", |size| Cell::optional(size.boot_disk.clone())),
        Column::new("GUEST", |size| {
            let guest = size.guest.as_ref().map(serde_json::to_value);
            let guest = guest.and_then(Result::ok);
            let guest_type = guest.as_ref().and_then(|guest| guest.get("type")?.as_str());
            Cell::optional(guest_type)
        }),
        Column::wide("DETAIL", |size| Cell::optional(size.message.clone())),
    ];

    fn identity(size: &ServerTypeObject) -> ObjectIdentity<'_> {
        ObjectIdentity::named(&size.name)
    }

    fn is_readable(size: &ServerTypeObject) -> bool {
        size.phase.is_none()
    }

    fn spec(size: &ServerTypeObject) -> Option<Value> {
        let fields = [
            ("cpus", json!(size.cpus)),
            ("memory", json!(size.memory)),
            ("bootDisk", json!(size.boot_disk)),
            ("guest", json!(size.guest)),
        ];
        let given = fields.into_iter().filter(|(_, value)| !value.is_null());
        Self::is_readable(size).then(|| given.collect())
    }

    async fn delete(
        fleet: &Fleet,
        _namespace: &str,
        name: &str,
        _mode: DeletionMode,
        by: By,
    ) -> Result<Vec<EntityId>, FleetError> {
        fleet.server_types().delete(name, by).await?;
        Ok(Vec::new())
    }

    /// A type has no state of its own.
    async fn history(
        _fleets: &Fleets,
        _namespace: &str,
        _name: &str,
        _size: &ServerTypeObject,
    ) -> Result<Vec<HistoryLine>, FleetError> {
        Ok(Vec::new())
    }

    async fn list(fleets: &Fleets, _deleted: bool) -> Result<Vec<ServerTypeObject>, FleetError> {
        fleets.server_types().await
    }
}
