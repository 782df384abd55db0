//! The rows of an overview. It is sent as JSON between processes of different versions: fields that one of them does
//! not know are absent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The fleet at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct FleetOverview {
    /// The offset that the next event will have.
    pub end: u64,
    /// The offset from which ended steps were counted; none if no count was requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counted_from: Option<u64>,
    /// Attempts of steps that ended since then.
    pub steps_ended: u64,
    /// Why no step is started on any host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// The VSIs that are not deleted.
    pub vsis: Vec<VsiOverview>,
    /// The steps that run, wait for their next attempt, or are blocked.
    pub steps: Vec<StepOverview>,
    /// The number of steps beyond those.
    pub more_steps: u64,
    /// The images that are being uploaded.
    pub uploads: Vec<UploadOverview>,
    /// The hosts.
    pub hosts: Vec<HostOverview>,
}

/// A VSI.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct VsiOverview {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The state's name.
    pub phase: String,
    /// `True`, `False` or `Unknown`.
    pub ready: String,
    /// The step that is running or has failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// How many of the open run's steps are done, and how many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<(u64, u64)>,
    /// The host's ID.
    pub host: String,
    /// The guest's first address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Seconds since it was first requested.
    pub age: u64,
}

/// A step that is not done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct StepOverview {
    /// The kind of the step's object, such as `vsi`.
    pub kind: String,
    /// The namespace of the object; empty if it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The name of the object.
    pub name: String,
    /// The run's workflow.
    pub workflow: String,
    /// The step.
    pub step: String,
    /// `Running`, `Delayed` or `Blocked`.
    pub state: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The error message of a failed attempt.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// An image that is being uploaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct UploadOverview {
    /// Its name.
    pub image: String,
    /// The host's ID.
    pub host: String,
    /// The pool on the host.
    pub pool: String,
    /// The current activity.
    pub activity: String,
    /// Bytes that are uploaded or on their way.
    pub bytes: u64,
    /// Total bytes, if the source reports them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Bytes per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
    /// Seconds until the end at that rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
}

/// A host with its capacity and what is promised there. What it never reported is absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HostOverview {
    /// Its ID.
    pub name: String,
    /// `Ready`, `NotReady` or `Unknown`, with `,SchedulingDisabled` if it is cordoned.
    pub status: String,
    /// VSIs on it.
    pub vsis: u64,
    /// Its processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u64>,
    /// Processors of the VSIs on it.
    pub cpus_promised: u64,
    /// Its memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Memory of the VSIs on it, in bytes.
    pub memory_promised: u64,
    /// The size of its pools, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    /// Sizes of the disks there, in bytes.
    pub disk_promised: u64,
    /// Why it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
