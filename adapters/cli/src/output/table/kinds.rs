//! The kinds that `get` lists.

use vsiflow_workflows::{
    fleet::{
        DiskObject, HostObject, ImageObject, NetworkObject, PoolObject, RunObject, TokenObject,
        VsiObject,
    },
    spec::server_type::ServerType,
};

use super::{
    Table,
    cells::{age, mib, or_none},
};

/// VSIs.
pub(crate) fn vsis(objects: &[VsiObject], wide: bool, namespaces: bool) -> Table {
    let mut head = vec![
        "NAME", "PHASE", "READY", "HOST", "IP", "STEP", "PROGRESS", "AGE",
    ];
    if namespaces {
        head.insert(0, "NAMESPACE");
    }
    if wide {
        head.extend(["UID", "IMAGE", "RUN", "LAST SEEN"]);
    }
    let mut table = Table::new(&head);
    for object in objects {
        let status = &object.status;
        let ready = status
            .conditions
            .iter()
            .find(|condition| condition.name == "Ready");
        let progress = status.progress.as_ref();
        let progress = progress.map(|p| format!("{}/{}", p.done, p.total));
        let mut row = vec![
            object.metadata.name.clone(),
            status.phase.to_string(),
            ready.map_or("Unknown", |ready| ready.status).to_owned(),
            status.host.clone(),
            or_none(status.ip_addresses.join(",")),
            or_none(status.current_step.clone().unwrap_or_default()),
            or_none(progress.unwrap_or_default()),
            age(&object.metadata.creation_timestamp),
        ];
        if namespaces {
            row.insert(0, object.metadata.namespace.clone());
        }
        if wide {
            let image = object
                .spec
                .get("imageURL")
                .and_then(|url| url.as_str())
                .unwrap_or("");
            row.extend([
                object.metadata.uid.clone(),
                image.to_owned(),
                or_none(status.run_id.clone().unwrap_or_default()),
                status
                    .host_last_seen
                    .as_deref()
                    .map_or("<never>".to_owned(), age),
            ]);
        }
        table.rows.push(row);
    }
    table
}

/// Pools.
pub(crate) fn pools(objects: &[PoolObject], wide: bool, namespaces: bool) -> Table {
    let mut head = vec!["NAME", "DESIRED", "READY", "UPDATED", "PHASE", "AGE"];
    if namespaces {
        head.insert(0, "NAMESPACE");
    }
    if wide {
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
            age(&meta.creation_timestamp),
        ];
        if namespaces {
            row.insert(0, meta.namespace.clone());
        }
        if wide {
            let message = or_none(status.message.clone());
            row.extend([meta.uid.clone(), status.revision.clone(), message]);
        }
        table.rows.push(row);
    }
    table
}

/// Base images.
pub(crate) fn images(images: &[ImageObject], wide: bool) -> Table {
    let mut head = vec![
        "NAME", "STATE", "HOST", "POOL", "SIZE", "SHA-256", "AGE", "USERS",
    ];
    if wide {
        head.extend(["VERIFIED", "URL"]);
    }
    let mut table = Table::new(&head);
    for image in images {
        let digits = |hash: &String| hash.chars().take(if wide { 64 } else { 12 }).collect();
        let upload = image.progress.as_ref().map(ToString::to_string);
        let mut row = vec![
            image.name.clone(),
            image.phase.clone(),
            image.host.clone(),
            image.pool.clone(),
            or_none(image.size.map(mib).or(upload).unwrap_or_default()),
            or_none(image.sha256.as_ref().map(digits).unwrap_or_default()),
            or_none(image.created.as_deref().map(age).unwrap_or_default()),
            image.users.to_string(),
        ];
        if wide {
            row.extend([
                or_none(image.verified.clone().unwrap_or_default()),
                image.url.clone(),
            ]);
        }
        table.rows.push(row);
    }
    table
}

/// Data disks.
pub(crate) fn disks(disks: &[DiskObject], wide: bool, namespaces: bool) -> Table {
    let mut head = vec![
        "NAME", "PHASE", "HOST", "POOL", "SIZE", "POLICY", "USED BY", "AGE",
    ];
    if namespaces {
        head.insert(0, "NAMESPACE");
    }
    if wide {
        head.extend(["VOLUME", "DETAIL"]);
    }
    let mut table = Table::new(&head);
    for disk in disks {
        let text = |key: &str| disk.spec.get(key).and_then(serde_json::Value::as_str);
        let (status, meta) = (&disk.status, &disk.metadata);
        let wanted = disk.spec.get("size").and_then(serde_json::Value::as_u64);
        let mut row = vec![
            meta.name.clone(),
            status.phase.clone(),
            status.host.clone(),
            text("storagePool").unwrap_or_default().to_owned(),
            or_none(status.capacity.or(wanted).map(mib).unwrap_or_default()),
            text("deletionPolicy").unwrap_or("Reference").to_owned(),
            or_none(status.used_by.join(",")),
            match meta.creation_timestamp.as_str() {
                "" => or_none(String::new()),
                created => age(created),
            },
        ];
        if namespaces {
            row.insert(0, meta.namespace.clone());
        }
        if wide {
            row.extend([status.volume.clone(), or_none(status.description.clone())]);
        }
        table.rows.push(row);
    }
    table
}

/// Networks.
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

/// Hosts.
pub(crate) fn hosts(hosts: &[HostObject]) -> Table {
    let mut table = Table::new(&["NAME", "STATUS", "VSIS", "TRANSPORT", "HOST KEY"]);
    for host in hosts {
        let key = match (host.transport, host.insecure) {
            ("ssh", true) => "any (insecure)",
            ("ssh", false) => "enforced",
            _ => "<none>",
        };
        let cells = vec![
            host.name.clone(),
            host.status.clone(),
            host.vsis.to_string(),
            host.transport.to_owned(),
        ];
        table
            .rows
            .push(cells.into_iter().chain([key.to_owned()]).collect());
    }
    table
}

/// Runs.
pub(crate) fn runs(runs: &[RunObject]) -> Table {
    let mut table = Table::new(&["NAME", "WORKFLOW", "ENTITY", "PHASE", "STARTED"]);
    for run in runs {
        let cells = [&run.name, &run.workflow, &run.entity].map(Clone::clone);
        let rest = [run.phase.to_owned(), run.started.clone()];
        table.rows.push(cells.into_iter().chain(rest).collect());
    }
    table
}

/// The sizes that machines are made in.
pub(crate) fn types(types: &[ServerType]) -> Table {
    let mut table = Table::new(&["NAME", "CPUS", "MEMORY", "BOOT DISK"]);
    table.rows.extend(types.iter().map(|size| {
        vec![
            size.name.to_owned(),
            size.cpus.to_string(),
            size.memory.to_owned(),
            size.boot_disk.to_owned(),
        ]
    }));
    table
}

/// Tokens.
pub(crate) fn tokens(objects: &[TokenObject]) -> Table {
    let mut table = Table::new(&["NAME", "ROLE", "STATUS", "AGE", "EXPIRES"]);
    for object in objects {
        table.rows.push(vec![
            object.name.clone(),
            object.role.to_string(),
            object.phase.to_owned(),
            age(&object.created),
            object.expires.clone(),
        ]);
    }
    table
}
