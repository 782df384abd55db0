//! Hosts, with what each has and what is promised to VSIs.

use super::{
    Cell, Column, Description, Detail, Kind, KindWords, NameScope, ObjectIdentity, ResourceWords,
};
use crate::{
    fleet::{FleetError, Fleets, HostObject, ImageObject},
    spec::Quantity,
};

/// Hosts.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostKind;

impl Kind for HostKind {
    type Object = HostObject;
    const WORDS: KindWords = KindWords {
        singular: "host",
        noun: "host",
        plural: "hosts",
        synonyms: &["hosts"],
    };
    const NAMES: NameScope = NameScope::Journal;
    const RESOURCE: ResourceWords = ResourceWords {
        path: "hosts",
        name: "Host",
    };
    const DELETION: Option<&'static str> = None;
    const COLUMNS: &'static [Column<HostObject>] = &[
        Column::new("NAME", |host| Cell::text(&host.name)),
        Column::new("STATUS", |host| Cell::text(&host.status)),
        Column::new("VSIS", |host| Cell::text(host.vsis)),
        Column::new("TRANSPORT", |host| Cell::text(host.transport)),
        Column::new("HOST KEY", |host| match (host.transport, host.insecure) {
            ("ssh", true) => Cell::text("any (insecure)"),
            ("ssh", false) => Cell::text("enforced"),
            _ => Cell::Absent,
        }),
        Column::new("LABELS", |host| Cell::list(&labels(host))),
        Column::wide("CPUS", |host| {
            let cpus = host.room.cpus.map(|cpus| cpus.to_string());
            Cell::text(format!("{}/{}", host.room.cpus_promised, or_unknown(cpus)))
        }),
        Column::wide("MEMORY", |host| {
            let promised = Quantity::rounded(host.room.memory_promised);
            Cell::text(format!("{promised}/{}", size_or_unknown(host.room.memory)))
        }),
        Column::wide("POOL ROOM", |host| Cell::text(pool_room(host))),
        Column::wide("OVERCOMMIT", |host| {
            let room = &host.room;
            let (cpus, memory) = (&room.overcommit_cpus, &room.overcommit_memory);
            Cell::text(format!("{cpus}/{memory}/{}", room.overcommit_pool))
        }),
    ];

    fn identity(host: &HostObject) -> ObjectIdentity<'_> {
        ObjectIdentity::named(&host.name)
    }

    /// A host is described with its images.
    async fn describe(
        fleets: &Fleets,
        namespace: &str,
        name: &str,
    ) -> Result<Description, FleetError> {
        let host = Self::get(fleets, namespace, name).await?;
        let mut images = fleets.images().await?;
        images.retain(|image| image.host == host.name);
        let history = Self::history(fleets, "", name, &host).await?;
        Description::of(&host, details(&host, &images), history)
    }

    async fn list(fleets: &Fleets, _deleted: bool) -> Result<Vec<HostObject>, FleetError> {
        fleets.hosts().await
    }
}

/// What is free on each storage pool.
fn pool_room(host: &HostObject) -> String {
    let pools = host.room.pools.iter().map(|(name, pool)| {
        let (free, capacity) = (
            size_or_unknown(pool.available),
            size_or_unknown(pool.capacity),
        );
        format!("{name} {free} free of {capacity}")
    });
    let pools: Vec<_> = pools.collect();
    or_unknown(Some(pools.join(", ")).filter(|text| !text.is_empty()))
}

fn size_or_unknown(bytes: Option<u64>) -> String {
    or_unknown(bytes.map(|bytes| Quantity::rounded(bytes).to_string()))
}

fn or_unknown(text: Option<String>) -> String {
    text.unwrap_or_else(|| "unknown".to_owned())
}

fn image_line(image: &ImageObject) -> String {
    let users = format!("{} users", image.users);
    let policy = image.policy.as_ref().unwrap_or(&users);
    format!("{}/{} {}: {policy}", image.pool, image.name, image.phase)
}

fn details(host: &HostObject, images: &[ImageObject]) -> Vec<Detail> {
    let policy = host.image_policy.as_deref().unwrap_or("none");
    let mut details = vec![
        Detail::field("Name", &host.name),
        Detail::field("Transport", host.transport),
        Detail::field("Status", &host.status),
        Detail::field("VSIs", host.vsis),
        Detail::field("Labels", labels(host).join(",")),
        Detail::optional("Cordoned", host.cordoned.as_ref()),
        Detail::field("Image policy", policy),
    ];
    details.extend(Detail::lines(
        "Images",
        images.iter().map(image_line).collect(),
    ));
    details.push(Detail::Explanation(
        host.message.clone().unwrap_or_default(),
    ));
    details.extend(Detail::lines("Warnings", host.warnings.clone()));
    details
}

fn labels(host: &HostObject) -> Vec<String> {
    let labels = host.labels.iter();
    labels
        .map(|(label, value)| format!("{label}={value}"))
        .collect()
}
