//! Tables, as kubectl prints them.

use vsiflow_kube::migrate::Candidate;
use vsiflow_workflows::fleet::{
    DiskObject, HistoryLine, HostCheck, HostObject, ImageObject, InventoryItem, NetworkObject,
    RunObject, VsiObject,
};

/// Rows under a head.
pub(crate) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(head: &[&'static str]) -> Self {
        Self {
            head: head.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows alone, for what follows a table that was printed before.
    pub(crate) fn rows(&self) -> String {
        let text = self.render();
        text.split_once('\n')
            .map(|(_, rows)| rows.to_owned())
            .unwrap_or_default()
    }

    /// The text: columns as wide as their widest cell, three spaces apart.
    pub(crate) fn render(&self) -> String {
        let head: Vec<String> = self.head.iter().map(|cell| (*cell).to_owned()).collect();
        let rows: Vec<&Vec<String>> = std::iter::once(&head).chain(&self.rows).collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.head.len()).map(width).collect();
        let mut text = String::new();
        for row in rows {
            let cells = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"));
            text.push_str(cells.collect::<Vec<_>>().join("   ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// Resources that are taken over from another operator.
pub(crate) fn candidates(found: &[Candidate]) -> Table {
    let mut table = Table::new(&["NAMESPACE", "KIND", "NAME", "STANDING", "FINALIZERS"]);
    table.rows.extend(found.iter().map(|one| {
        vec![
            one.namespace.clone(),
            one.kind.to_owned(),
            one.name.clone(),
            one.standing.to_string(),
            one.old_finalizers.join(","),
        ]
    }));
    table
}

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

/// What is on a host.
pub(crate) fn inventory(items: &[InventoryItem]) -> Table {
    let mut table = Table::new(&[
        "KIND",
        "NAME",
        "OWNER",
        "BELONGS TO",
        "STATE",
        "SIZE",
        "USED BY",
    ]);
    for item in items {
        table.rows.push(vec![
            item.kind.to_owned(),
            item.name.clone(),
            item.owner.to_string(),
            or_none(item.belongs_to.clone()),
            item.state.clone(),
            or_none(item.size.map(mib).unwrap_or_default()),
            or_none(item.used_by.join(",")),
        ]);
    }
    table
}

/// What a check of a host found.
pub(crate) fn checks(checks: &[HostCheck]) -> Table {
    let mut table = Table::new(&["RESULT", "CHECK", "FOUND"]);
    for check in checks {
        let cells = [format!("{:?}", check.result), check.name.clone()];
        let found = [check.message.clone()];
        table.rows.push(cells.into_iter().chain(found).collect());
    }
    table
}

/// A size in MiB, rounded up: nothing that takes room is shown as none.
fn mib(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
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

/// Events.
pub(crate) fn history(lines: &[HistoryLine], wide: bool) -> Table {
    let mut head = vec![
        "TIME", "WORKFLOW", "STEP", "EVENT", "OUTCOME", "TOOK", "ACTOR", "DETAIL",
    ];
    if wide {
        head.insert(0, "OFFSET");
        head.extend(["RUN", "HASH"]);
    }
    let mut table = Table::new(&head);
    for line in lines {
        let attempt = line.attempt.filter(|attempt| *attempt > 1);
        let attempt = attempt
            .map(|attempt| format!(" #{attempt}"))
            .unwrap_or_default();
        let mut row = vec![
            line.time.clone(),
            or_none(line.workflow.clone().unwrap_or_default()),
            or_none(
                line.step
                    .clone()
                    .map(|step| step + &attempt)
                    .unwrap_or_default(),
            ),
            line.kind.clone(),
            line.outcome.clone().unwrap_or_default(),
            line.duration_ms.map(took).unwrap_or_default(),
            line.actor.clone(),
            detail(line),
        ];
        if wide {
            row.insert(0, line.offset.to_string());
            row.extend([
                or_none(line.run.clone().unwrap_or_default()),
                line.hash.chars().take(12).collect(),
            ]);
        }
        table.rows.push(row);
    }
    table
}

fn detail(line: &HistoryLine) -> String {
    let error = line
        .error
        .as_ref()
        .map(|error| format!("{}: {}", error.code, error.message));
    let reason = Some(line.reason.clone()).filter(|reason| !reason.is_empty());
    let parts = [line.detail.clone(), error, reason];
    parts
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join("; ")
        .replace('\n', " ")
}

/// A duration in milliseconds, for people.
pub(crate) fn took(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        _ => format!("{}m{:02}s", millis / 60_000, millis % 60_000 / 1_000),
    }
}

fn or_none(text: String) -> String {
    if text.is_empty() {
        "<none>".to_owned()
    } else {
        text
    }
}

/// How long ago, as kubectl says it.
fn age(since: &str) -> String {
    let Ok(since) = since.parse::<jiff::Timestamp>() else {
        return "<unknown>".to_owned();
    };
    let seconds = jiff::Timestamp::now()
        .as_second()
        .saturating_sub(since.as_second())
        .max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["A", "LONG"]);
        table.rows.push(vec!["wide cell".into(), "x".into()]);
        assert_eq!(table.render(), "A           LONG\nwide cell   x\n");
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(
            [took(7), took(1_250), took(61_000)],
            ["7 ms", "1.2 s", "1m01s"]
        );
    }
}
