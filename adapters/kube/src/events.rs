//! Reports state transitions as Kubernetes Events of the resource.
//!
//! The name of an Event is derived from its event of the journal, so reporting it again after a crash
//! creates no second one. Equal failures in a row are one Event with a count.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;
use vsiflow_engine::{
    journal::Record,
    model::{EventKind, Failure},
};
use vsiflow_workflows::phase::Phase;

use crate::{
    FIELD_MANAGER,
    api::{CallError, within},
    resource::{Resource, ResourceKey},
};

/// How many Events may wait to be written.
pub(crate) const WAITING: usize = 4096;
/// The maximum length of a message, in characters; the API server refuses longer ones.
const MAX_LEN: usize = 1000;
/// The count of equal failures is written at most once in this time.
const COUNT_EVERY: Duration = Duration::from_secs(60);
/// How often one Event is tried; less often if it is refused, because a refusal rarely disappears.
const TRIES: u32 = 8;
const REFUSALS: u32 = 3;
/// The number of failures whose count is remembered.
const REMEMBERED: usize = 1024;

/// One Event of a VSI, a pool or a group, before it is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EventNote {
    pub(crate) uid: Uuid,
    /// Identifies the Event: the journal's offset, or a hash of what makes two Events the same.
    mark: String,
    warning: bool,
    reason: String,
    message: String,
    at: Timestamp,
    /// The same failure occurred before; only its count is updated.
    again: bool,
}

impl EventNote {
    /// The Event of a pool or a group. A different `mark` makes it a different Event.
    pub(crate) fn became(
        uid: Uuid,
        mark: &str,
        warning: bool,
        reason: &str,
        message: &str,
    ) -> Self {
        let hash = vsiflow_engine::model::Hash::of(mark.as_bytes()).to_string();
        Self {
            uid,
            mark: hash.chars().take(16).collect(),
            warning,
            reason: reason.to_owned(),
            message: message.to_owned(),
            at: Timestamp::now(),
            again: false,
        }
    }

    /// The Event of an attempt that failed like the previous one.
    pub(crate) fn repeated(uid: Uuid, step: &str, failure: &Failure) -> Self {
        Self {
            uid,
            mark: failed_mark(step, failure),
            warning: true,
            reason: "StepFailed".to_owned(),
            message: failed(step, failure),
            at: Timestamp::now(),
            again: true,
        }
    }
}

/// The Event for an event of the journal; none for most kinds.
pub(crate) fn event_note(uid: Uuid, record: &Record) -> Option<EventNote> {
    let millis = i64::try_from(record.event.at.0).ok()?;
    let at = Timestamp::from_millisecond(millis).ok()?;
    let make = |mark: String, warning: bool, reason: &str, message: String| EventNote {
        uid,
        mark,
        warning,
        reason: reason.to_owned(),
        message,
        at,
        again: false,
    };
    let offset = format!("{:x}", record.offset);
    match &record.event.kind {
        EventKind::StateChanged { state, detail } => {
            let phase = Phase::named(state.as_str())?;
            let warning = matches!(
                phase,
                Phase::Failed | Phase::Blocked | Phase::Degraded | Phase::Unreadable
            );
            let message = if detail.is_empty() {
                says(phase).to_owned()
            } else {
                detail.to_string()
            };
            Some(make(offset, warning, phase.as_str(), message))
        }
        EventKind::StepFailed { node, failure, .. } => Some(make(
            failed_mark(node.as_str(), failure),
            true,
            "StepFailed",
            failed(node.as_str(), failure),
        )),
        EventKind::StepBlocked { node, failure, .. } => Some(make(
            failed_mark(node.as_str(), failure),
            true,
            "StepBlocked",
            failed(node.as_str(), failure),
        )),
        _ => None,
    }
}

/// The same failure of the same step is the same Event.
fn failed_mark(step: &str, failure: &Failure) -> String {
    let text = format!("{step}\0{}\0{}", failure.code, failure.message);
    let hash = vsiflow_engine::model::Hash::of(text.as_bytes()).to_string();
    hash.chars().take(16).collect()
}

fn failed(step: &str, failure: &Failure) -> String {
    if failure.remedy.is_empty() {
        format!("step {step}: {failure}")
    } else {
        format!("step {step}: {failure}. {}", failure.remedy)
    }
}

/// The message of a phase.
fn says(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "it is recorded, and nothing was done yet",
        Phase::Provisioning => "its parts are being made",
        Phase::Booting => "its guest was started",
        Phase::Running => "its guest reports that it is ready",
        Phase::Updating => "a change is in progress",
        Phase::Stopped => "it is off, as desired",
        Phase::Paused => "it is suspended, as desired",
        Phase::Degraded => "it runs, but not as desired",
        Phase::Failed => "it failed",
        Phase::Blocked => "a cause has to be removed or a decision made first",
        Phase::Deleting => "it is being removed",
        Phase::Deleted => "its host confirmed that it is deleted",
        Phase::Unreadable => "something that was recorded of it cannot be read",
    }
}

/// Counts repeated Events.
#[derive(Default)]
pub(crate) struct EventCounts {
    counts: BTreeMap<String, EventCount>,
    order: VecDeque<String>,
}

struct EventCount {
    times: i32,
    written: Option<Instant>,
}

impl EventCounts {
    /// Counts one occurrence and returns the total; none if the count was written recently.
    fn count(&mut self, name: &str, again: bool) -> Option<i32> {
        if !self.counts.contains_key(name) {
            self.order.push_back(name.to_owned());
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.counts.remove(&oldest);
            }
        }
        let count = self.counts.entry(name.to_owned()).or_insert(EventCount {
            times: 0,
            written: None,
        });
        count.times = count.times.saturating_add(1);
        let recent = count.written.is_some_and(|at| at.elapsed() < COUNT_EVERY);
        if again && recent {
            return None;
        }
        count.written = Some(Instant::now());
        Some(count.times)
    }
}

/// Writes the Events of one namespace.
pub(crate) struct EventWriter {
    pub(crate) client: Client,
    pub(crate) counts: EventCounts,
}

impl EventWriter {
    /// Writes one Event. Cancel safe; a cancelled Event may not be written.
    pub(crate) async fn write_note(&mut self, resource: &Resource, note: &EventNote) {
        let name = name(&resource.key, note);
        if let Some(count) = self.counts.count(&name, note.again) {
            self.write_with_retries(resource, note, &name, count).await;
        }
    }

    /// Retries for a while, then drops the Event.
    async fn write_with_retries(
        &self,
        resource: &Resource,
        note: &EventNote,
        name: &str,
        count: i32,
    ) {
        let mut delay = Duration::from_millis(500);
        let mut refusals = 0_u32;
        for _ in 0..TRIES {
            match self.write(resource, note, name, count).await {
                Ok(()) | Err(CallError::Gone) => return,
                // A namespace that is being deleted accepts no Events.
                Err(_) if resource.is_deleting() => return,
                Err(error) if error.is_refusal() && refusals >= REFUSALS => break,
                Err(error) if error.is_refusal() => refusals = refusals.saturating_add(1),
                Err(error) => tracing::debug!("an Event of {} is late: {error}", resource.key),
            }
            tokio::time::sleep(delay).await;
            delay = delay.saturating_mul(2);
        }
        tracing::warn!("an Event of {} is dropped: {}", resource.key, note.message);
    }

    async fn write(
        &self,
        resource: &Resource,
        note: &EventNote,
        name: &str,
        count: i32,
    ) -> Result<(), CallError> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &resource.key.namespace);
        let event = event(resource, note, name, count);
        match within(api.create(&PostParams::default(), &event)).await {
            Ok(_) => Ok(()),
            Err(CallError::Conflict) if count <= 1 && !note.again => Ok(()),
            Err(CallError::Conflict) => {
                let patch = json!({"count": count, "lastTimestamp": Time(note.at)});
                let patch = Patch::Merge(patch);
                within(api.patch(name, &PatchParams::default(), &patch))
                    .await
                    .map(drop)
            }
            Err(error) => Err(error),
        }
    }
}

/// As Kubernetes names its Events: the object, a dot, and what distinguishes the Event.
fn name(key: &ResourceKey, note: &EventNote) -> String {
    let short: String = key.name.chars().take(180).collect();
    let uid: String = note.uid.simple().to_string().chars().take(8).collect();
    format!("{}.{uid}{}", short.trim_end_matches(['.', '-']), note.mark)
}

fn event(resource: &Resource, note: &EventNote, name: &str, count: i32) -> Event {
    let message: String = note.message.chars().take(MAX_LEN).collect();
    Event {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(resource.key.namespace.clone()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some(resource.key.kind.api_resource().api_version),
            kind: Some(resource.key.kind.name().to_owned()),
            name: Some(resource.key.name.clone()),
            namespace: Some(resource.key.namespace.clone()),
            uid: Some(resource.uid.to_string()),
            ..ObjectReference::default()
        },
        reason: Some(note.reason.clone()),
        message: Some(message),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
        count: Some(count),
        first_timestamp: Some(Time(note.at)),
        last_timestamp: Some(Time(note.at)),
        source: Some(EventSource {
            component: Some(FIELD_MANAGER.to_owned()),
            host: None,
        }),
        reporting_component: Some(FIELD_MANAGER.to_owned()),
        ..Event::default()
    }
}
