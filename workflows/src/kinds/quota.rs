//! Limits of namespaces, with what is taken of them.

use vsiflow_engine::{executor::By, model::EntityId};

use super::{Cell, Column, Detail, Kind, KindWords, NameScope, ObjectIdentity, ResourceWords};
use crate::fleet::{DeletionMode, Fleet, FleetError, Fleets, HistoryLine, QuotaObject};

/// Quotas.
#[derive(Clone, Copy, Debug)]
pub(super) struct QuotaKind;

impl Kind for QuotaKind {
    type Object = QuotaObject;
    const WORDS: KindWords = KindWords {
        singular: "quota",
        noun: "quota",
        plural: "quotas",
        synonyms: &["quotas", "vsq", "virtualserverquota", "virtualserverquotas"],
    };
    const NAMES: NameScope = NameScope::Namespace;
    const RESOURCE: ResourceWords = ResourceWords {
        path: "virtualserverquotas",
        name: "VirtualServerQuota",
    };
    const DELETION: Option<&'static str> = Some("Delete a quota, and no object");
    const COLUMNS: &'static [Column<QuotaObject>] = &[
        Column::new("NAME", |quota| Cell::text(&quota.metadata.name)),
        Column::new("VSIS", |quota| match quota.status.phase {
            None => usage(quota, "vsis"),
            Some(unreadable) => Cell::text(unreadable),
        }),
        Column::new("CPUS", |quota| usage(quota, "cpus")),
        Column::new("MEMORY", |quota| usage(quota, "memory")),
        Column::new("DISK", |quota| usage(quota, "disk")),
        Column::since(|quota| Cell::created(&quota.metadata)),
        Column::wide("DETAIL", |quota| {
            Cell::optional(quota.status.message.clone())
        }),
    ];

    fn identity(quota: &QuotaObject) -> ObjectIdentity<'_> {
        ObjectIdentity::of(&quota.metadata)
    }

    fn is_readable(quota: &QuotaObject) -> bool {
        quota.status.phase.is_none()
    }

    async fn delete(
        fleet: &Fleet,
        namespace: &str,
        name: &str,
        _mode: DeletionMode,
        by: By,
    ) -> Result<Vec<EntityId>, FleetError> {
        let (namespace, name) = namespace_and_name(namespace, name);
        fleet.quotas().delete(namespace, name, by).await?;
        Ok(Vec::new())
    }

    fn details(quota: &QuotaObject) -> Vec<Detail> {
        let line = |name: &str, used: &str, hard: &str| {
            Detail::Line(format!("{name:<10} {used:<10} {hard}"))
        };
        let limits = quota.status.hard.iter().map(|(name, hard)| {
            let used = quota.status.used.get(name);
            line(name, used.map_or("", String::as_str), hard)
        });
        let mut details = vec![
            Detail::field("Name", &quota.metadata.name),
            Detail::field("Namespace", &quota.metadata.namespace),
            line("Resource", "Used", "Hard"),
        ];
        details.extend(limits);
        let unreadable = quota.status.message.clone();
        details.extend(unreadable.map(Detail::Explanation));
        details
    }

    /// Its limits say everything.
    async fn history(
        _fleets: &Fleets,
        _namespace: &str,
        _name: &str,
        _quota: &QuotaObject,
    ) -> Result<Vec<HistoryLine>, FleetError> {
        Ok(Vec::new())
    }

    async fn list(fleets: &Fleets, _deleted: bool) -> Result<Vec<QuotaObject>, FleetError> {
        fleets.quotas().await
    }

    /// Without counting what is taken.
    async fn check_exists(fleets: &Fleets, namespace: &str, name: &str) -> Result<(), FleetError> {
        let (namespace, name) = namespace_and_name(namespace, name);
        if fleets.decides().quotas().has(namespace, name).await? {
            Ok(())
        } else {
            Err(FleetError::not_found(Self::WORDS.singular, name))
        }
    }
}

/// Where a quota is, of which a name may carry its namespace, as events name it.
fn namespace_and_name<'a>(namespace: &'a str, name: &'a str) -> (&'a str, &'a str) {
    name.split_once('/').unwrap_or((namespace, name))
}

/// What is taken of a limit, and the limit; nothing if there is no such limit.
fn usage(quota: &QuotaObject, limit: &str) -> Cell {
    match (quota.status.used.get(limit), quota.status.hard.get(limit)) {
        (Some(used), Some(hard)) => Cell::text(format!("{used}/{hard}")),
        _ => Cell::Absent,
    }
}
