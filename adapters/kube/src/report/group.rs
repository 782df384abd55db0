//! The status and Events of groups.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;
use vsiflow_workflows::fleet::{GroupItem, GroupObject, GroupWave};

use super::{
    Settlement, condition,
    members::{self, MembersReport, ReportedStatus, event, number},
};
use crate::{
    crd::{GroupResourceStatus, ItemStatus, OutputStatus, WaveStatus},
    events::EventNote,
    status_queue::StatusFindings,
};

/// The status of a group; `object` is the fleet's report.
pub(crate) fn group(
    findings: &StatusFindings,
    object: Option<&GroupObject>,
    before: &GroupResourceStatus,
    now: Timestamp,
) -> GroupResourceStatus {
    let report = MembersReport {
        known: object.map(known),
        settlement: Settlement::of_group(findings, object),
    };
    members::status(findings, report, before, now)
}

fn known(object: &GroupObject) -> GroupResourceStatus {
    let is = &object.status;
    let outputs = is.outputs.iter().map(|output| OutputStatus {
        name: output.name.clone(),
        found: output.found,
        value: output.value.clone(),
    });
    GroupResourceStatus {
        observed_generation: None,
        phase: Some(is.phase.to_owned()),
        wave: Some(is.wave.clone()).filter(|wave| !wave.is_empty()),
        progress: Some(format!("{}/{}", is.ready_replicas, is.replicas)),
        release: release(&object.spec),
        message: is.message.clone(),
        waves: is.waves.iter().map(wave).collect(),
        outputs: outputs.collect(),
        served_by: None,
        warnings: Vec::new(),
        conditions: is.conditions.iter().map(condition).collect(),
    }
}

fn wave(wave: &GroupWave) -> WaveStatus {
    WaveStatus {
        name: wave.name.clone(),
        open: wave.open,
        items: wave.items.iter().map(item).collect(),
    }
}

fn item(item: &GroupItem) -> ItemStatus {
    ItemStatus {
        name: item.name.clone(),
        pool: item.pool.clone(),
        phase: item.phase.to_owned(),
        updated: item.updated,
        replicas: number(item.replicas),
        ready: number(item.ready_members()),
    }
}

/// The images of a release, by the last part of each URL.
fn release(spec: &Value) -> Option<String> {
    let images = spec.get("release")?.as_object()?.values();
    let names = images.filter_map(|release| {
        let image = release.get("image")?.as_str()?;
        image.rsplit('/').next().map(str::to_owned)
    });
    let names: Vec<_> = names.collect();
    (!names.is_empty()).then(|| names.join(","))
}

/// The Event of a changed status; none if the state is the same.
pub(crate) fn group_event(
    uid: Uuid,
    before: &GroupResourceStatus,
    after: &GroupResourceStatus,
) -> Option<EventNote> {
    let message = match (after.message.is_empty(), &after.progress) {
        (true, Some(progress)) => format!("{progress} members ready"),
        _ => after.message.clone(),
    };
    event(uid, &reported(before), &reported(after), &message)
}

fn reported(status: &GroupResourceStatus) -> ReportedStatus<'_> {
    ReportedStatus {
        phase: status.phase.as_deref(),
        reported: status.reported(),
    }
}
