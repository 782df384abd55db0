//! The lines of a history.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    journal::Offset,
    model::{Failure, FailureClass},
};

/// One event. The names of its keys are stable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryLine {
    /// The journal-wide order.
    pub offset: Offset,
    /// The journal of a set that the offset is one of, where there is a set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<u16>,
    /// When, RFC 3339 with milliseconds, UTC.
    pub time: String,
    /// The entity the event is of.
    pub entity: String,
    /// The name of that entity, as `vsi/NAME`, where events of several are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The run, for events of a run.
    pub run: Option<String>,
    /// The run's workflow.
    pub workflow: Option<String>,
    /// The node of the run.
    pub step: Option<String>,
    /// The attempt, from 1.
    pub attempt: Option<u32>,
    /// The kind of event, such as `step_succeeded`.
    #[serde(rename = "type")]
    pub kind: String,
    /// How it came out, where something came out.
    pub outcome: Option<String>,
    /// Milliseconds since the attempt, or the run, began.
    pub duration_ms: Option<u64>,
    /// Who caused it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What it says beside that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The failure it tells of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<HistoryError>,
    /// The link of the stream's chain.
    pub hash: String,
}

/// A failure in a history.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryError {
    /// The documented code.
    pub code: String,
    /// What the engine does about it.
    pub class: String,
    /// What happened.
    pub message: String,
    /// The host.
    pub host: String,
    /// The object.
    pub object: String,
    /// What the user can do.
    pub remedy: String,
}

impl From<&Failure> for HistoryError {
    fn from(failure: &Failure) -> Self {
        Self {
            code: failure.code.to_string(),
            class: class_name(failure.class).to_owned(),
            message: failure.message.to_string(),
            host: failure.host.to_string(),
            object: failure.object.to_string(),
            remedy: failure.remedy.to_string(),
        }
    }
}

/// The word for a failure class.
pub(super) fn class_name(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Transient => "transient",
        FailureClass::Recheck => "recheck",
        FailureClass::Blocked => "blocked",
        FailureClass::Failed => "failed",
    }
}
