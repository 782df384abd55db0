//! Scheduled snapshots of a VSI: schedule and retention.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::schedule::Schedule;

/// How many snapshots of one VSI can be retained at most: each is a whole copy of its disks.
const MAX_KEPT: u32 = 100;

/// The policy in a document. The stored form is [`DesiredSnapshotPolicy`], which can be read even if a
/// later version permits other values.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotPolicySpec {
    /// Five fields as of cron, in UTC, such as `30 2 * * *`; or @hourly, @daily, @weekly, @monthly or @yearly. Due
    /// times are at least 15 minutes apart.
    #[serde(deserialize_with = "schedule")]
    #[schemars(length(max = 100), extend("x-example" = "\"30 2 * * *\"", "x-expected" = "cron's five fields"))]
    pub schedule: String,
    /// How many stay, the newest.
    #[serde(deserialize_with = "deserialize_keep")]
    #[schemars(range(min = 1, max = MAX_KEPT), extend("x-example" = 7))]
    pub keep: u32,
    /// Whether the guest's agent holds its file systems still for that moment, where the guest runs.
    #[serde(default)]
    #[schemars(extend("x-example" = true))]
    pub quiesce: bool,
}

/// When snapshots of a VSI are due, and how many are retained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredSnapshotPolicy {
    /// When a snapshot is due, in UTC.
    pub schedule: String,
    /// How many of the newest are retained.
    pub keep: u32,
    /// Whether the guest agent freezes the file systems, if the guest runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub quiesce: bool,
}

impl From<SnapshotPolicySpec> for DesiredSnapshotPolicy {
    fn from(spec: SnapshotPolicySpec) -> Self {
        Self {
            schedule: spec.schedule,
            keep: spec.keep,
            quiesce: spec.quiesce,
        }
    }
}

fn schedule<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    Schedule::parse(&text).map_err(D::Error::custom)?;
    Ok(text.trim().to_owned())
}

fn deserialize_keep<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let keep = u32::deserialize(deserializer)?;
    if (1..=MAX_KEPT).contains(&keep) {
        return Ok(keep);
    }
    Err(D::Error::custom(format_args!(
        "the number of snapshots to keep is between 1 and {MAX_KEPT}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: serde_json::Value) -> Result<SnapshotPolicySpec, String> {
        serde_json::from_value(value).map_err(|error| error.to_string())
    }

    #[test]
    fn a_policy_has_a_schedule_and_a_bounded_number() {
        let policy = read(json!({"schedule": " @daily ", "keep": 7})).unwrap();
        assert_eq!((policy.schedule.as_str(), policy.keep), ("@daily", 7));
        for wrong in [
            json!({"keep": 7}),
            json!({"schedule": "@daily"}),
            json!({"schedule": "@daily", "keep": 0}),
            json!({"schedule": "@daily", "keep": 101}),
            json!({"schedule": "@daily", "keep": -1}),
            json!({"schedule": "* * * * *", "keep": 1}),
            json!({"schedule": "@daily", "keep": 1, "retain": 2}),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_was_recorded_is_read_although_no_document_may_say_it_any_more() {
        let stored = json!({"schedule": "of a later version", "keep": 4000});
        let read: DesiredSnapshotPolicy = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), stored);
    }
}
