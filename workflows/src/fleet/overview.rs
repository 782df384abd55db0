//! The fleet at one moment, for a screen that shows all of it: VSIs, steps that are not done, uploads and hosts.

mod rows;

use std::collections::BTreeMap;

use jiff::Timestamp;
use vsiflow_engine::{
    journal::Offset,
    model::{EntityId, EventKind},
};

pub use self::rows::{FleetOverview, HostOverview, StepOverview, UploadOverview, VsiOverview};
use crate::{
    fleet::{Fleet, FleetError, HostObject, ImageObject, UnfinishedStep, VsiSummary},
    record::kind,
};

/// The most steps that are listed.
const STEPS: usize = 1_000;
/// In how many of the newest events ended steps are counted.
const EVENTS: u64 = 10_000;
/// How many events are read at a time.
const PAGE: usize = 1_000;

impl Fleet {
    /// The fleet at this moment, with the number of steps that ended since an offset. Cancel safe.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn overview(&self, from: Option<Offset>) -> Result<FleetOverview, FleetError> {
        overview(self, from).await
    }
}

async fn overview(fleet: &Fleet, from: Option<Offset>) -> Result<FleetOverview, FleetError> {
    let now = Timestamp::now();
    let end = fleet.history().end();
    let vsis = fleet.vsis().summaries(false).await?;
    let images = fleet.images().list().await?;
    let (steps, more) = fleet.history().unfinished_steps(STEPS);
    let names = names(fleet, &steps, &images).await?;
    Ok(FleetOverview {
        end,
        counted_from: from,
        steps_ended: match from {
            Some(from) => steps_ended(fleet, from, end).await?,
            None => 0,
        },
        paused: fleet.global_pause().map(|why| why.message.to_string()),
        vsis: vsis.iter().map(|vsi| row(vsi, now)).collect(),
        steps: steps
            .into_iter()
            .map(|step| step_row(step, &names))
            .collect(),
        more_steps: u64::try_from(more).unwrap_or(u64::MAX),
        uploads: images.into_iter().filter_map(upload).collect(),
        hosts: fleet.hosts().list().await?.into_iter().map(host).collect(),
    })
}

/// How many attempts ended in a range of the journal.
async fn steps_ended(fleet: &Fleet, from: Offset, end: Offset) -> Result<u64, FleetError> {
    let (mut from, mut ended) = (from.max(end.saturating_sub(EVENTS)), 0_u64);
    while from < end {
        let page = fleet.history().recorded(from, PAGE).await?;
        let Some(last) = page.last().map(|record| record.offset) else {
            break;
        };
        let ends = page.iter().filter(|record| {
            record.offset < end
                && matches!(
                    record.event.kind,
                    EventKind::StepSucceeded { .. }
                        | EventKind::StepFailed { .. }
                        | EventKind::StepBlocked { .. }
                        | EventKind::StepInterrupted { .. }
                )
        });
        let count = u64::try_from(ends.count()).unwrap_or(u64::MAX);
        ended = ended.saturating_add(count);
        from = last.saturating_add(1);
    }
    Ok(ended)
}

fn row(vsi: &VsiSummary, now: Timestamp) -> VsiOverview {
    let made = vsi.metadata.creation_timestamp.parse::<Timestamp>();
    let age = made.map_or(0, |made| now.duration_since(made).as_secs());
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    VsiOverview {
        namespace: vsi.metadata.namespace.clone(),
        name: vsi.metadata.name.clone(),
        phase: vsi.phase.as_str().to_owned(),
        ready: vsi.ready.to_string(),
        step: vsi.current_step.clone(),
        progress: vsi
            .progress
            .map(|(done, total)| (count(done), count(total))),
        host: vsi.host.clone(),
        address: vsi.ip_addresses.first().cloned(),
        age: u64::try_from(age).unwrap_or(0),
    }
}

/// Namespaces and names of the entities that steps are executed for.
type Names = BTreeMap<EntityId, (String, String)>;

async fn names(
    fleet: &Fleet,
    steps: &[UnfinishedStep],
    images: &[ImageObject],
) -> Result<Names, FleetError> {
    let mut names = Names::new();
    let has = |what: &str| steps.iter().any(|step| step.entity.kind().as_str() == what);
    let disks = if has(kind::DISK) {
        fleet.disks().list(true).await?
    } else {
        Vec::new()
    };
    let snapshots = if has(kind::SNAPSHOT) {
        fleet.snapshots().list(true).await?
    } else {
        Vec::new()
    };
    for entity in steps.iter().map(|step| &step.entity) {
        if names.contains_key(entity) {
            continue;
        }
        let id = entity.id();
        let named = match entity.kind().as_str() {
            kind::VSI => fleet.title(entity).await.ok().flatten(),
            kind::POOL => fleet.pools().title(entity).await.ok(),
            kind::GROUP => fleet.groups().title(entity).await.ok(),
            kind::DISK => {
                let mut metadata = disks.iter().map(|disk| &disk.metadata);
                let disk = metadata.find(|metadata| metadata.uid == id);
                disk.map(|disk| (disk.namespace.clone(), disk.name.clone()))
            }
            kind::SNAPSHOT => {
                let mut metadata = snapshots.iter().map(|one| &one.metadata);
                let one = metadata.find(|metadata| metadata.uid == id);
                one.map(|one| (one.namespace.clone(), one.name.clone()))
            }
            kind::IMAGE => {
                let image = images.iter().find(|image| image.uid == id);
                image.map(|image| (String::new(), image.name.clone()))
            }
            _ => None,
        };
        let unnamed = || (String::new(), id.to_owned());
        names.insert(entity.clone(), named.unwrap_or_else(unnamed));
    }
    Ok(names)
}

fn step_row(step: UnfinishedStep, names: &Names) -> StepOverview {
    let (namespace, name) = names.get(&step.entity).cloned().unwrap_or_default();
    StepOverview {
        kind: step.entity.kind().to_string(),
        namespace,
        name,
        workflow: step.workflow,
        step: step.step,
        state: step.state.to_owned(),
        attempt: step.attempt,
        message: step.message,
    }
}

fn upload(image: ImageObject) -> Option<UploadOverview> {
    let progress = image.progress?;
    Some(UploadOverview {
        image: image.name,
        host: image.host,
        pool: image.pool,
        activity: progress.activity,
        bytes: progress.bytes,
        total: progress.total_bytes,
        rate: progress.bytes_per_second,
        left: progress.seconds_left,
    })
}

fn host(host: HostObject) -> HostOverview {
    let room = host.room;
    let sizes = room.pools.values().filter_map(|pool| pool.capacity);
    let promised = room.pools.values().map(|pool| pool.promised);
    HostOverview {
        name: host.name,
        status: host.status,
        vsis: u64::try_from(host.vsis).unwrap_or(u64::MAX),
        cpus: room.cpus.map(u64::from),
        cpus_promised: room.cpus_promised,
        memory: room.memory,
        memory_promised: room.memory_promised,
        disk: sizes.reduce(u64::saturating_add),
        disk_promised: promised.fold(0, u64::saturating_add),
        message: host.message,
    }
}
