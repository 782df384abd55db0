//! The tables of the kinds that `get` lists.

use std::borrow::Borrow;

use vsiflow_workflows::fleet::{
    DiskObject, GroupObject, HostObject, HostRoom, ImageObject, NetworkObject, PoolObject,
    QuotaObject, RunObject, ServerTypeObject, SnapshotObject, TokenObject, VsiObject, VsiSummary,
};

use super::{
    Table,
    cells::{mib, or_none},
};
use crate::output::{sizes::rough, times::Times};

/// Which columns a table has, and how its times are written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TableForm {
    /// Whether it has additional columns.
    pub(crate) wide: bool,
    /// Whether it has a column of namespaces.
    pub(crate) namespaces: bool,
    /// How times are written.
    pub(crate) times: Times,
}

impl TableForm {
    /// A form with or without the additional columns.
    pub(crate) fn wide(wide: bool) -> Self {
        Self {
            wide,
            ..Self::default()
        }
    }

    /// The head of the column for the creation time.
    fn since(self) -> &'static str {
        match self.times {
            Times::Relative => "AGE",
            Times::Absolute => "CREATED",
        }
    }

    fn age(self, since: &str) -> String {
        self.times.shown(since)
    }
}

/// The table of VSIs.
pub(crate) fn vsis(objects: &[VsiObject], form: TableForm) -> Table {
    let summaries: Vec<VsiSummary> = objects.iter().map(VsiSummary::from).collect();
    let mut table = vsi_summaries(&summaries, form);
    if !form.wide {
        return table;
    }
    table.head.extend(["UID", "IMAGE", "RUN", "LAST SEEN"]);
    for (row, object) in table.rows.iter_mut().zip(objects) {
        let image = object.spec.get("imageURL").and_then(|url| url.as_str());
        let (run, seen) = (&object.status.run_id, &object.status.host_last_seen);
        row.extend([
            object.metadata.uid.clone(),
            image.unwrap_or_default().to_owned(),
            or_none(run.clone().unwrap_or_default()),
            seen.as_deref()
                .map_or("<never>".to_owned(), |at| form.age(at)),
        ]);
    }
    table
}

/// The table of VSIs, without the additional columns of a wide table.
pub(crate) fn vsi_summaries<T: Borrow<VsiSummary>>(all: &[T], form: TableForm) -> Table {
    let mut head = vec![
        "NAME",
        "PHASE",
        "READY",
        "HOST",
        "IP",
        "STEP",
        "PROGRESS",
        form.since(),
    ];
    if form.namespaces {
        head.insert(0, "NAMESPACE");
    }
    let mut table = Table::new(&head);
    for one in all.iter().map(Borrow::borrow) {
        let progress = one.progress.map(|(done, total)| format!("{done}/{total}"));
        let mut row = vec![
            one.metadata.name.clone(),
            one.phase.to_string(),
            one.ready.to_owned(),
            one.host.clone(),
            or_none(one.ip_addresses.join(",")),
            or_none(one.current_step.clone().unwrap_or_default()),
            or_none(progress.unwrap_or_default()),
            form.age(&one.metadata.creation_timestamp),
        ];
        if form.namespaces {
            row.insert(0, one.metadata.namespace.clone());
        }
        table.rows.push(row);
    }
    table
}

/// The table of pools.
pub(crate) fn pools(objects: &[PoolObject], form: TableForm) -> Table {
    let mut head = vec!["NAME", "DESIRED", "READY", "UPDATED", "PHASE", form.since()];
    if form.namespaces {
        head.insert(0, "NAMESPACE");
    }
    if form.wide {
        head.extend(["UID", "REVISION", "MESSAGE"]);
    }
    let mut table = Table::new(&head);
    for object in objects {
        let (meta, status) = (&object.metadata, &object.status);
        let desired = object.spec.get("replicas").map(ToString::to_string);
        let mut row = vec![
            meta.name.clone(),
            desired.unwrap_or_default(),
            status.ready_replicas.to_string(),
            status.updated_replicas.to_string(),
            status.phase.to_owned(),
            form.age(&meta.creation_timestamp),
        ];
        if form.namespaces {
            row.insert(0, meta.namespace.clone());
        }
        if form.wide {
            let message = or_none(status.message.clone());
            row.extend([meta.uid.clone(), status.revision.clone(), message]);
        }
        table.rows.push(row);
    }
    table
}

/// The table of groups.
pub(crate) fn groups(objects: &[GroupObject], form: TableForm) -> Table {
    let mut head = vec![
        "NAME",
        "PHASE",
        "WAVE",
        "READY",
        "RELEASE",
        "MESSAGE",
        form.since(),
    ];
    if form.namespaces {
        head.insert(0, "NAMESPACE");
    }
    if form.wide {
        head.push("UID");
    }
    let mut table = Table::new(&head);
    for object in objects {
        let (meta, status) = (&object.metadata, &object.status);
        let mut row = vec![
            meta.name.clone(),
            status.phase.to_owned(),
            or_none(status.wave.clone()),
            format!("{}/{}", status.ready_replicas, status.replicas),
            or_none(release(&object.spec)),
            or_none(status.message.clone()),
            form.age(&meta.creation_timestamp),
        ];
        if form.namespaces {
            row.insert(0, meta.namespace.clone());
        }
        if form.wide {
            row.push(meta.uid.clone());
        }
        table.rows.push(row);
    }
    table
}

/// The images of a release, by the last part of each URL.
fn release(spec: &serde_json::Value) -> String {
    let images = spec.get("release").and_then(serde_json::Value::as_object);
    let images = images.into_iter().flatten().filter_map(|(_, release)| {
        let image = release.get("image")?.as_str()?;
        image.rsplit('/').next().map(ToOwned::to_owned)
    });
    images.collect::<Vec<_>>().join(",")
}

/// The table of base images.
pub(crate) fn images(images: &[ImageObject], form: TableForm) -> Table {
    let mut head = vec![
        "NAME",
        "STATE",
        "HOST",
        "POOL",
        "SIZE",
        "SHA-256",
        form.since(),
        "USERS",
    ];
    if form.wide {
        head.extend(["VERIFIED", "POLICY", "URL"]);
    }
    let mut table = Table::new(&head);
    for image in images {
        let digits = |hash: &String| hash.chars().take(if form.wide { 64 } else { 12 }).collect();
        let upload = image.progress.as_ref().map(ToString::to_string);
        let mut row = vec![
            image.name.clone(),
            image.phase.clone(),
            image.host.clone(),
            image.pool.clone(),
            or_none(image.size.map(mib).or(upload).unwrap_or_default()),
            or_none(image.sha256.as_ref().map(digits).unwrap_or_default()),
            or_none(
                image
                    .created
                    .as_deref()
                    .map(|at| form.age(at))
                    .unwrap_or_default(),
            ),
            image.users.to_string(),
        ];
        if form.wide {
            row.extend([
                or_none(
                    image
                        .verified
                        .as_deref()
                        .map(|at| form.age(at))
                        .unwrap_or_default(),
                ),
                or_none(image.policy.clone().unwrap_or_default()),
                image.url.clone(),
            ]);
        }
        table.rows.push(row);
    }
    table
}

/// The table of data disks.
pub(crate) fn disks(disks: &[DiskObject], form: TableForm) -> Table {
    let mut head = vec![
        "NAME",
        "PHASE",
        "HOST",
        "POOL",
        "SIZE",
        "POLICY",
        "USED BY",
        form.since(),
    ];
    if form.namespaces {
        head.insert(0, "NAMESPACE");
    }
    if form.wide {
        head.extend(["VOLUME", "DETAIL"]);
    }
    let mut table = Table::new(&head);
    for disk in disks {
        let text = |key: &str| disk.spec.get(key).and_then(serde_json::Value::as_str);
        let (status, meta) = (&disk.status, &disk.metadata);
        let requested = disk.spec.get("size").and_then(serde_json::Value::as_u64);
        let mut row = vec![
            meta.name.clone(),
            status.phase.clone(),
            status.host.clone(),
            text("storagePool").unwrap_or_default().to_owned(),
            or_none(status.capacity.or(requested).map(mib).unwrap_or_default()),
            text("deletionPolicy").unwrap_or("Reference").to_owned(),
            or_none(status.used_by.join(",")),
            match meta.creation_timestamp.as_str() {
                "" => or_none(String::new()),
                created => form.age(created),
            },
        ];
        if form.namespaces {
            row.insert(0, meta.namespace.clone());
        }
        if form.wide {
            row.extend([status.volume.clone(), or_none(status.description.clone())]);
        }
        table.rows.push(row);
    }
    table
}

/// The table of snapshots.
pub(crate) fn snapshots(objects: &[SnapshotObject], form: TableForm) -> Table {
    let mut head = vec!["NAME", "VSI", "PHASE", "DISKS", "SIZE", form.since()];
    if form.namespaces {
        head.insert(0, "NAMESPACE");
    }
    if form.wide {
        head.extend(["UID", "HOST", "DETAIL"]);
    }
    let mut table = Table::new(&head);
    for object in objects {
        let (meta, status) = (&object.metadata, &object.status);
        let vsi = object.spec.get("virtualServer");
        let vsi = vsi.and_then(serde_json::Value::as_str).unwrap_or_default();
        let mut row = vec![
            meta.name.clone(),
            vsi.to_owned(),
            status.phase.clone(),
            status.disks.len().to_string(),
            or_none(status.size.map(mib).unwrap_or_default()),
            form.age(&meta.creation_timestamp),
        ];
        if form.namespaces {
            row.insert(0, meta.namespace.clone());
        }
        if form.wide {
            let detail = or_none(status.description.clone());
            row.extend([meta.uid.clone(), status.host.clone(), detail]);
        }
        table.rows.push(row);
    }
    table
}

/// The table of networks.
pub(crate) fn networks(networks: &[NetworkObject]) -> Table {
    let mut table = Table::new(&["NAME", "PHASE", "HOST", "USED BY"]);
    for network in networks {
        table.rows.push(vec![
            network.name.clone(),
            network.phase.to_owned(),
            network.host.clone(),
            network.used_by.join(","),
        ]);
    }
    table
}

/// The table of hosts; a wide table shows what each host has and what is promised to VSIs.
pub(crate) fn hosts(hosts: &[HostObject], form: TableForm) -> Table {
    let mut heads = vec!["NAME", "STATUS", "VSIS", "TRANSPORT", "HOST KEY", "LABELS"];
    if form.wide {
        heads.extend(["CPUS", "MEMORY", "POOL ROOM", "OVERCOMMIT"]);
    }
    let mut table = Table::new(&heads);
    for host in hosts {
        let key = match (host.transport, host.insecure) {
            ("ssh", true) => "any (insecure)",
            ("ssh", false) => "enforced",
            _ => "<none>",
        };
        let labels = host.labels.iter();
        let labels = labels.map(|(label, value)| format!("{label}={value}"));
        let labels = or_none(labels.collect::<Vec<_>>().join(","));
        let mut cells = vec![
            host.name.clone(),
            host.status.clone(),
            host.vsis.to_string(),
            host.transport.to_owned(),
            key.to_owned(),
            labels,
        ];
        if form.wide {
            cells.extend(room(&host.room));
        }
        table.rows.push(cells);
    }
    table
}

/// What is promised to VSIs, and what the host has.
fn room(room: &HostRoom) -> [String; 4] {
    let size = |bytes: u64| rough(bytes);
    let of = |there: Option<String>| there.unwrap_or_else(|| "unknown".to_owned());
    let pools = room.pools.iter().map(|(name, pool)| {
        let free = of(pool.available.map(size));
        format!("{name} {free} free of {}", of(pool.capacity.map(size)))
    });
    let (cpus, memory) = (
        room.cpus.map(|cpus| cpus.to_string()),
        room.memory.map(size),
    );
    let over = [
        &room.overcommit_cpus,
        &room.overcommit_memory,
        &room.overcommit_pool,
    ];
    [
        format!("{}/{}", room.cpus_promised, of(cpus)),
        format!("{}/{}", size(room.memory_promised), of(memory)),
        if room.pools.is_empty() {
            "unknown".to_owned()
        } else {
            pools.collect::<Vec<_>>().join(", ")
        },
        over.map(String::as_str).join("/"),
    ]
}

/// The table of runs.
pub(crate) fn runs(runs: &[RunObject], form: TableForm) -> Table {
    let mut table = Table::new(&["NAME", "WORKFLOW", "ENTITY", "PHASE", "STARTED"]);
    for run in runs {
        let cells = [&run.name, &run.workflow, &run.entity].map(Clone::clone);
        let rest = [run.phase.to_owned(), form.age(&run.started)];
        table.rows.push(cells.into_iter().chain(rest).collect());
    }
    table
}

/// The table of server types.
pub(crate) fn types(types: &[ServerTypeObject]) -> Table {
    let mut table = Table::new(&["NAME", "CPUS", "MEMORY", "BOOT DISK", "GUEST"]);
    table.rows.extend(types.iter().map(|size| {
        let guest = size.guest.as_ref().map(serde_json::to_value);
        let guest = guest.and_then(Result::ok);
        let of_type = guest.as_ref().and_then(|guest| guest.get("type")?.as_str());
        vec![
            size.name.clone(),
            size.cpus.to_string(),
            size.memory.clone(),
            or_none(size.boot_disk.clone().unwrap_or_default()),
            or_none(of_type.unwrap_or_default().to_owned()),
        ]
    }));
    table
}

/// The table of quotas: the usage and the limit of each resource.
pub(crate) fn quotas(objects: &[QuotaObject], form: TableForm) -> Table {
    const LIMITS: [&str; 4] = ["vsis", "cpus", "memory", "disk"];
    let mut head = vec!["NAME", "VSIS", "CPUS", "MEMORY", "DISK", form.since()];
    if form.namespaces {
        head.insert(0, "NAMESPACE");
    }
    let mut table = Table::new(&head);
    table.rows.extend(objects.iter().map(|object| {
        let (meta, status) = (&object.metadata, &object.status);
        let namespace = form.namespaces.then(|| meta.namespace.clone());
        let limits = LIMITS.map(
            |name| match (status.used.get(name), status.hard.get(name)) {
                (Some(used), Some(hard)) => format!("{used}/{hard}"),
                _ => or_none(String::new()),
            },
        );
        let age = form.age(&meta.creation_timestamp);
        let name = std::iter::once(meta.name.clone());
        let row = namespace.into_iter().chain(name).chain(limits);
        row.chain(std::iter::once(age)).collect()
    }));
    table
}

/// The table of tokens.
pub(crate) fn tokens(objects: &[TokenObject]) -> Table {
    let mut table = Table::new(&["NAME", "ROLE", "STATUS", "AGE", "EXPIRES"]);
    for object in objects {
        table.rows.push(vec![
            object.name.clone(),
            object.role.to_string(),
            object.phase.to_owned(),
            TableForm::default().age(&object.created),
            object.expires.clone(),
        ]);
    }
    table
}
