//! The rows of the lists: the cells of each object, and its name for commands.

use vsiflow_workflows::fleet::{
    FleetOverview, HostOverview, StepOverview, UploadOverview, VsiOverview,
};

use crate::{
    Kind, clean,
    units::{age, bar, bytes},
};

/// The width of an upload's bar, in cells.
const BAR: u64 = 16;

/// The health of a row, which determines its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RowHealth {
    #[default]
    Healthy,
    Busy,
    Failing,
}

/// A row of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) cells: Vec<String>,
    pub(crate) health: RowHealth,
    /// The arguments that name it on a command line.
    pub(crate) words: Vec<String>,
    /// Whether it is a VSI.
    pub(crate) is_vsi: bool,
}

pub(crate) fn head(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Vsis => &[
            "NAMESPACE",
            "NAME",
            "PHASE",
            "READY",
            "STEP",
            "DONE",
            "HOST",
            "ADDRESS",
            "AGE",
        ],
        Kind::Steps => &["OBJECT", "WORKFLOW", "STEP", "STATE", "ATTEMPT", "MESSAGE"],
        Kind::Uploads => &[
            "IMAGE", "HOST", "POOL", "PROGRESS", "SENT", "RATE", "LEFT", "DOES",
        ],
        Kind::Hosts => &[
            "NAME", "STATUS", "VSIS", "CPUS", "MEMORY", "DISK", "MESSAGE",
        ],
    }
}

/// The rows that contain `filter`, in the order of the snapshot.
pub(crate) fn rows(snapshot: &FleetOverview, kind: Kind, filter: &str) -> Vec<Row> {
    let filter = filter.to_lowercase();
    let meant = |row: &Row| {
        let found = |cell: &String| cell.to_lowercase().contains(&filter);
        filter.is_empty() || row.cells.iter().any(found)
    };
    match kind {
        Kind::Vsis => snapshot.vsis.iter().map(vsi).filter(meant).collect(),
        Kind::Steps => snapshot.steps.iter().map(step).filter(meant).collect(),
        Kind::Uploads => snapshot.uploads.iter().map(upload).filter(meant).collect(),
        Kind::Hosts => snapshot.hosts.iter().map(host).filter(meant).collect(),
    }
}

fn vsi(vsi: &VsiOverview) -> Row {
    let health = match vsi.phase.as_str() {
        "Blocked" | "Failed" | "Degraded" | "Unreadable" => RowHealth::Failing,
        _ if vsi.progress.is_some() => RowHealth::Busy,
        _ => RowHealth::Healthy,
    };
    let done = vsi.progress.map(|(done, total)| format!("{done}/{total}"));
    Row {
        cells: vec![
            clean(&vsi.namespace),
            clean(&vsi.name),
            clean(&vsi.phase),
            clean(&vsi.ready),
            clean(vsi.step.as_deref().unwrap_or_default()),
            done.unwrap_or_default(),
            clean(&vsi.host),
            clean(vsi.address.as_deref().unwrap_or_default()),
            age(vsi.age),
        ],
        health,
        words: words("vsi", &vsi.namespace, &vsi.name),
        is_vsi: true,
    }
}

/// The arguments that name an object on a command line: a VSI without its kind.
fn words(kind: &str, namespace: &str, name: &str) -> Vec<String> {
    let name = match kind {
        "vsi" => name.to_owned(),
        kind => format!("{kind}/{name}"),
    };
    match namespace {
        "" => vec![name],
        namespace => vec!["-n".to_owned(), namespace.to_owned(), name],
    }
}

fn step(step: &StepOverview) -> Row {
    let object = match step.namespace.as_str() {
        "" | "default" => format!("{}/{}", step.kind, step.name),
        namespace => format!("{}/{namespace}/{}", step.kind, step.name),
    };
    Row {
        cells: vec![
            clean(&object),
            clean(&step.workflow),
            clean(&step.step),
            clean(&step.state),
            step.attempt.to_string(),
            clean(&step.message),
        ],
        health: match step.state.as_str() {
            "Running" => RowHealth::Busy,
            _ => RowHealth::Failing,
        },
        words: words(&step.kind, &step.namespace, &step.name),
        is_vsi: step.kind == "vsi",
    }
}

fn upload(upload: &UploadOverview) -> Row {
    let progress = upload.total.map(|total| bar(upload.bytes, total, BAR));
    let rate = upload.rate.map(|rate| format!("{}/s", bytes(rate)));
    Row {
        cells: vec![
            clean(&upload.image),
            clean(&upload.host),
            clean(&upload.pool),
            progress.unwrap_or_default(),
            bytes(upload.bytes),
            rate.unwrap_or_default(),
            upload.left.map(age).unwrap_or_default(),
            clean(&upload.activity),
        ],
        health: RowHealth::Busy,
        words: words("image", "", &upload.image),
        is_vsi: false,
    }
}

fn host(host: &HostOverview) -> Row {
    let of = |promised: String, all: Option<String>| match all {
        Some(all) => format!("{promised} of {all}"),
        None => promised,
    };
    Row {
        cells: vec![
            clean(&host.name),
            clean(&host.status),
            host.vsis.to_string(),
            of(
                host.cpus_promised.to_string(),
                host.cpus.map(|cpus| cpus.to_string()),
            ),
            of(bytes(host.memory_promised), host.memory.map(bytes)),
            of(bytes(host.disk_promised), host.disk.map(bytes)),
            clean(host.message.as_deref().unwrap_or_default()),
        ],
        health: match host.message {
            Some(_) => RowHealth::Failing,
            None => RowHealth::Healthy,
        },
        words: words("host", "", &host.name),
        is_vsi: false,
    }
}
