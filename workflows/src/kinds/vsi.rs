//! Virtual server instances.

use std::sync::Arc;

use serde::ser::Error as _;
use serde_json::Value;
use vsiflow_engine::{executor::By, model::EntityId};

use super::{
    Cell, Column, Detail, Kind, KindWords, ListedObject, NameScope, ObjectIdentity, Phrase,
    ResourceWords, history_lines,
};
use crate::{
    fleet::{
        DeletionMode, Fleet, FleetError, Fleets, HistoryLine, SnapshotScheduleStatus, VsiObject,
        VsiProgress, VsiStatus, VsiSummary,
    },
    next_try,
    phase::Phase,
};

/// Virtual server instances.
#[derive(Clone, Copy, Debug)]
pub(super) struct VsiKind;

impl Kind for VsiKind {
    type Object = VsiObject;
    const WORDS: KindWords = KindWords {
        singular: "vsi",
        noun: "VSI",
        plural: "VSIs",
        synonyms: &[
            "vsis",
            "vs",
            "virtualserver",
            "virtualservers",
            "onprem-hpcr",
            "onprem-hpcrs",
            "hyperprotectcontainerruntimeonprem",
        ],
    };
    const NAMES: NameScope = NameScope::Namespace;
    const RESOURCE: ResourceWords = ResourceWords {
        path: "virtualservers",
        name: "VirtualServer",
    };
    const DELETION: Option<&'static str> = Some("Delete a VSI");
    const COLUMNS: &'static [Column<VsiObject>] = &[
        Column::new("NAME", |vsi| Cell::text(&vsi.metadata.name)),
        Column::new("PHASE", |vsi| Cell::text(vsi.status.phase)),
        Column::new("READY", |vsi| Cell::text(vsi.status.ready())),
        Column::new("HOST", |vsi| Cell::text(&vsi.status.host)),
        Column::new("IP", |vsi| Cell::list(&vsi.status.ip_addresses)),
        Column::new("STEP", |vsi| {
            Cell::optional(vsi.status.current_step.clone())
        }),
        Column::new("PROGRESS", |vsi| {
            let progress = vsi.status.progress.as_ref();
            progress_cell(progress.map(|progress| (progress.done, progress.total)))
        }),
        Column::since(|vsi| Cell::created(&vsi.metadata)),
        Column::wide("UID", |vsi| Cell::text(&vsi.metadata.uid)),
        Column::wide("IMAGE", |vsi| {
            let image = vsi.spec.get("imageURL").and_then(|url| url.as_str());
            Cell::text(image.unwrap_or_default())
        }),
        Column::wide("RUN", |vsi| Cell::optional(vsi.status.run_id.clone())),
        Column::wide("LAST SEEN", |vsi| match &vsi.status.host_last_seen {
            Some(at) => Cell::Time(at.clone()),
            None => Cell::Never,
        }),
    ];

    fn identity(vsi: &VsiObject) -> ObjectIdentity<'_> {
        ObjectIdentity::of(&vsi.metadata)
    }

    fn is_readable(vsi: &VsiObject) -> bool {
        vsi.status.phase != Phase::Unreadable
    }

    async fn delete(
        fleet: &Fleet,
        namespace: &str,
        name: &str,
        mode: DeletionMode,
        by: By,
    ) -> Result<Vec<EntityId>, FleetError> {
        let entity = fleet.vsis().delete(namespace, name, mode, by).await?;
        Ok(vec![entity])
    }

    fn details(vsi: &VsiObject) -> Vec<Detail> {
        let status = &vsi.status;
        let mut details = Detail::identity(&vsi.metadata);
        details.push(Detail::field("Host", &status.host));
        details.extend(placement(status));
        details.push(match status.host_last_seen.as_deref() {
            Some(at) => Detail::moment("Host seen", Some(at)),
            None => Detail::field("Host seen", "never"),
        });
        details.extend([
            Detail::field("Phase", status.phase),
            Detail::optional("Failed boots", failed_boots(status)),
            Detail::field("Addresses", status.ip_addresses.join(",")),
            Detail::optional("Step", status.current_step.as_ref()),
            Detail::optional("Progress", status.progress.as_ref().map(progress_text)),
            Detail::optional("Run", status.run_id.as_ref()),
        ]);
        details.extend(status.snapshots.as_ref().map(snapshots));
        details.extend([
            Detail::Spec(vsi.spec.clone()),
            Detail::Conditions(status.conditions.clone()),
            Detail::Explanation(status.description.clone()),
        ]);
        details.extend(Detail::lines("Warnings", status.warnings.clone()));
        let evidence = status.evidence.iter().map(ToString::to_string);
        details.extend(Detail::lines("Evidence", evidence.collect()));
        details
    }

    /// A VSI's history is named by its name alone.
    async fn history(
        fleets: &Fleets,
        namespace: &str,
        name: &str,
        _vsi: &VsiObject,
    ) -> Result<Vec<HistoryLine>, FleetError> {
        history_lines(fleets, namespace, name).await
    }

    async fn list(fleets: &Fleets, deleted: bool) -> Result<Vec<VsiObject>, FleetError> {
        fleets.vsis(deleted).await
    }

    async fn list_summaries(
        fleets: &Fleets,
        deleted: bool,
    ) -> Result<Vec<Box<dyn ListedObject>>, FleetError> {
        let summaries = fleets.vsi_summaries(deleted).await?.into_iter();
        let row = |vsi| Box::new(SummaryRow(vsi)) as Box<dyn ListedObject>;
        Ok(summaries.map(row).collect())
    }

    async fn get(fleets: &Fleets, namespace: &str, name: &str) -> Result<VsiObject, FleetError> {
        fleets.vsi(namespace, name).await
    }
}

/// A VSI with what the narrow table shows.
struct SummaryRow(Arc<VsiSummary>);

impl ListedObject for SummaryRow {
    fn identity(&self) -> ObjectIdentity<'_> {
        ObjectIdentity::of(&self.0.metadata)
    }

    fn is_readable(&self) -> bool {
        self.0.phase != Phase::Unreadable
    }

    fn size(&self) -> usize {
        1
    }

    fn to_json(&self) -> serde_json::Result<Value> {
        Err(serde_json::Error::custom("a summary is a row of a table"))
    }

    /// The same cells as the narrow columns of [`VsiKind`].
    fn cells(&self, _wide: bool) -> Vec<Cell> {
        let vsi = &self.0;
        vec![
            Cell::text(&vsi.metadata.name),
            Cell::text(vsi.phase),
            Cell::text(&vsi.ready),
            Cell::text(&vsi.host),
            Cell::list(&vsi.ip_addresses),
            Cell::optional(vsi.current_step.clone()),
            progress_cell(vsi.progress),
            Cell::created(&vsi.metadata),
        ]
    }
}

/// How many steps of a run are done.
fn progress_cell(progress: Option<(usize, usize)>) -> Cell {
    Cell::optional(progress.map(|(done, total)| format!("{done}/{total}")))
}

/// Why the VSI was placed on its host, and not on the others.
fn placement(status: &VsiStatus) -> Option<Detail> {
    let decision = status.placement.as_ref()?;
    let chosen = format!("chosen {}: {}", decision.host, decision.why);
    let rejected = decision.against.iter();
    let rejected = rejected.map(|rejected| format!("not {rejected}"));
    let lines = std::iter::once(chosen).chain(rejected);
    Detail::lines("Placement", lines.collect())
}

fn failed_boots(status: &VsiStatus) -> Option<String> {
    if status.failed_boots == 0 {
        return None;
    }
    let boots = format!("{} of at most {}", status.failed_boots, next_try::TRIES);
    Some(match &status.next_try {
        Some(at) => format!("{boots}; the next try is due at {at}"),
        None => boots,
    })
}

/// `3 of 12 steps; uploading 120 MiB of 1024 MiB (11 %), 40.0 MiB/s, 22 s left`.
fn progress_text(progress: &VsiProgress) -> String {
    let steps = format!("{} of {} steps", progress.done, progress.total);
    match &progress.upload {
        Some(upload) => format!("{steps}; {upload}"),
        None => steps,
    }
}

fn snapshots(schedule: &SnapshotScheduleStatus) -> Detail {
    let phrases = vec![
        Phrase::text("last due "),
        Phrase::moment_or_none(schedule.last_schedule_time.as_ref()),
        Phrase::text(", next "),
        Phrase::moment_or_none(schedule.next_schedule_time.as_ref()),
        Phrase::text(format!(", {} missed", schedule.missed)),
    ];
    Detail::Field("Snapshots".into(), phrases)
}
