//! Arguments of `wait`.

use std::{str::FromStr, time::Duration};

use clap::Args;
use serde_json::Value;

use super::{Selection, duration, view::Scope};
use crate::output::jsonpath::{self, ValuePath};

#[derive(Clone, Debug, Args)]
pub(crate) struct WaitForArgs {
    /// What to wait for: `vsi` (default), `pool`, `group`, `disk`, `network`, `image`, `host` or `run`; then names, or `KIND/NAME`.
    #[arg(
        value_name = "KIND|NAME",
        required_unless_present_any = ["labels", "field_selector", "all"]
    )]
    pub(crate) words: Vec<String>,
    #[command(flatten)]
    pub(crate) scope: Scope,
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// All objects of the kind.
    #[arg(long)]
    pub(crate) all: bool,
    /// `condition=Ready`, `condition=Ready=False`, `phase=Stopped`, `delete`, or
    /// `jsonpath={.status.host}=lpar1`; without a value, any value.
    #[arg(long = "for", value_name = "CONDITION", required = true)]
    pub(crate) goal: WaitGoal,
    /// The longest wait, such as `90s` or `10m` (exit code 5); `0` checks once.
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    pub(crate) timeout: Duration,
}

/// The state that an object has to reach.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum WaitGoal {
    /// A condition has a status; both are compared without case, as in kubectl.
    Condition { kind: String, status: String },
    /// It is in a phase.
    Phase(String),
    /// It is deleted.
    Delete,
    /// There is a value at a path: this one, or any.
    Path {
        path: ValuePath,
        value: Option<String>,
    },
}

impl FromStr for WaitGoal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.to_ascii_lowercase();
        match (lower.as_str(), text.split_once('=')) {
            ("delete", _) => Ok(Self::Delete),
            (_, Some(("condition", rest))) if !rest.is_empty() => {
                let (kind, status) = rest.split_once('=').unwrap_or((rest, "True"));
                Ok(Self::Condition {
                    kind: kind.to_owned(),
                    status: status.to_owned(),
                })
            }
            (_, Some(("phase", phase))) if !phase.is_empty() => Ok(Self::Phase(phase.to_owned())),
            (_, Some(("jsonpath", rest))) => path(rest),
            _ => Err(
                "write condition=Ready, phase=Stopped, delete or jsonpath={.path}=value".to_owned(),
            ),
        }
    }
}

/// A path ends with its brace, so an `=` inside belongs to the path.
fn path(text: &str) -> Result<WaitGoal, String> {
    let (path, value) = match text.rsplit_once('}') {
        Some((path, rest)) => (path.trim_start_matches('{'), rest.strip_prefix('=')),
        None => match text.split_once('=') {
            Some((path, value)) => (path, Some(value)),
            None => (text, None),
        },
    };
    Ok(WaitGoal::Path {
        path: jsonpath::path_of(path)?,
        value: value.map(str::to_owned),
    })
}

impl WaitGoal {
    /// Whether an existing object has reached the state.
    pub(crate) fn is_met(&self, object: &Value) -> bool {
        match self {
            Self::Delete => false,
            Self::Phase(phase) => {
                let found = object.pointer("/status/phase").and_then(Value::as_str);
                found.is_some_and(|found| found.eq_ignore_ascii_case(phase))
            }
            Self::Condition { kind, status } => {
                let conditions = object
                    .pointer("/status/conditions")
                    .and_then(Value::as_array);
                let is = |condition: &Value, key: &str, expected: &str| {
                    let found = condition.get(key).and_then(Value::as_str);
                    found.is_some_and(|found| found.eq_ignore_ascii_case(expected))
                };
                conditions
                    .into_iter()
                    .flatten()
                    .any(|condition| is(condition, "type", kind) && is(condition, "status", status))
            }
            Self::Path { path, value } => {
                let found = path.select(object);
                let is_wanted = |of: &&Value| {
                    value
                        .as_ref()
                        .is_none_or(|value| jsonpath::text_of(of) == *value)
                };
                !found.is_empty() && found.iter().all(is_wanted)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn is_met(goal: &str) -> bool {
        let object = json!({"status": {
            "phase": "Running",
            "host": "lpar1",
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "Degraded", "status": "False"}],
        }});
        goal.parse::<WaitGoal>().unwrap().is_met(&object)
    }

    #[test]
    fn goals_are_held_against_the_object() {
        for goal in [
            "condition=Ready",
            "condition=ready=true",
            "condition=Degraded=False",
            "phase=Running",
            "jsonpath={.status.host}=lpar1",
            "jsonpath={.status.host}",
            "jsonpath='.status.host'=lpar1".replace('\'', "").as_str(),
            "jsonpath={.status.conditions[?(@.type=='Ready')].status}=True",
        ] {
            assert!(is_met(goal), "{goal}");
        }
        for goal in [
            "condition=Degraded",
            "condition=Nothing=False",
            "phase=Stopped",
            "delete",
            "jsonpath={.status.nothing}",
            "jsonpath={.status.host}=other",
        ] {
            assert!(!is_met(goal), "{goal}");
        }
    }

    #[test]
    fn what_is_no_goal_is_refused() {
        for wrong in ["Ready", "condition=", "phase=", "jsonpath={.a[}", "deleted"] {
            assert!(wrong.parse::<WaitGoal>().is_err(), "{wrong}");
        }
    }
}
