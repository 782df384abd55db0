//! Arguments that select objects by their properties.

use std::str::FromStr;

use clap::Args;
use serde_json::Value;
use vsiflow_workflows::spec::selector::LabelSelector;

/// Parses labels, and requires at least one: an empty variable in a script must select nothing, and not
/// everything.
pub(super) fn some_labels(text: &str) -> Result<LabelSelector, String> {
    let is_nothing = |c: char| c == ',' || c.is_whitespace();
    if text.chars().all(is_nothing) {
        Err(EMPTY.to_owned())
    } else if text.len() > LABELS_MAX {
        Err(format!("it is longer than {LABELS_MAX} bytes"))
    } else {
        text.parse()
    }
}

/// The longest selector by labels, in bytes: its conditions are compared with each object.
const LABELS_MAX: usize = 4096;

const EMPTY: &str = "it is empty, and would select everything; say what is meant, or --all";

/// By labels and by fields.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Selection {
    /// Select by labels, such as `app=web,tier!=test` or `zone in (a,b)`.
    #[arg(short = 'l', long = "selector", value_name = "LABELS", value_parser = some_labels)]
    pub(crate) labels: Option<LabelSelector>,
    /// Select by fields, such as `status.phase=Failed,status.host!=lpar1`.
    #[arg(long, value_name = "FIELDS")]
    pub(crate) field_selector: Option<FieldSelector>,
}

impl Selection {
    /// Whether nothing is selected.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_none() && self.field_selector.is_none()
    }

    /// Whether an object, as JSON, is selected.
    pub(crate) fn includes(&self, object: &Value) -> bool {
        let labels = object.pointer("/metadata/labels");
        let labels = labels.and_then(Value::as_object).into_iter().flatten();
        let labels = labels
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect();
        let has_labels = |selector: &LabelSelector| selector.matches(&labels);
        let has_fields = |fields: &FieldSelector| fields.matches(object);
        self.labels.as_ref().is_none_or(has_labels)
            && self.field_selector.as_ref().is_none_or(has_fields)
    }
}

/// What bounds a command that destroys what was selected.
#[derive(Clone, Debug, Args)]
pub(crate) struct DestroyArgs {
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Do nothing if a selection has more objects than this.
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) limit: usize,
}

/// Conditions on the fields of an object's JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FieldSelector {
    text: String,
    conditions: Vec<FieldCondition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldCondition {
    /// The field names from the root to the field.
    path: Vec<String>,
    value: String,
    equals: bool,
}

/// How many conditions a selector may have: each is compared with each object.
const CONDITIONS_MAX: usize = 64;
/// The first field name of a path must be one of these.
const ROOTS: [&str; 3] = ["metadata", "spec", "status"];

impl FromStr for FieldSelector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').filter(|part| !part.trim().is_empty());
        let conditions: Vec<_> = parts.map(condition).collect::<Result<_, _>>()?;
        if conditions.is_empty() {
            return Err(EMPTY.to_owned());
        }
        if conditions.len() > CONDITIONS_MAX {
            return Err(format!("it has more than {CONDITIONS_MAX} conditions"));
        }
        Ok(Self {
            text: text.to_owned(),
            conditions,
        })
    }
}

fn condition(text: &str) -> Result<FieldCondition, String> {
    let signs = [("!=", false), ("==", true), ("=", true)];
    let found = signs
        .iter()
        .find_map(|(sign, equals)| Some((text.split_once(sign)?, *equals)));
    let Some(((path, value), equals)) = found else {
        return Err(format!(
            "{text:?} is not a condition; write status.phase=Running"
        ));
    };
    let path: Vec<_> = path.trim().split('.').map(str::to_owned).collect();
    if !path
        .first()
        .is_some_and(|root| ROOTS.contains(&root.as_str()))
        || path.len() < 2
    {
        return Err(format!(
            "{text:?} names no field; fields begin with metadata., spec. or status."
        ));
    }
    Ok(FieldCondition {
        path,
        value: value.trim().to_owned(),
        equals,
    })
}

impl FieldSelector {
    /// Whether every condition holds. A missing field counts as empty.
    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.conditions.iter().all(|condition| {
            let mut steps = condition.path.iter();
            let found = steps.try_fold(object, |at, name| at.get(name));
            let text = match found {
                None | Some(Value::Null) => String::new(),
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
            };
            (text == condition.value) == condition.equals
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_selected_by_their_text() {
        let object =
            json!({"metadata": {"name": "web"}, "status": {"phase": "Running", "status": 1}});
        let holds = |text: &str| text.parse::<FieldSelector>().unwrap().matches(&object);
        assert!(holds("status.phase=Running,metadata.name!=db"));
        assert!(holds("status.status==1"));
        assert!(holds("status.host="));
        assert!(!holds("status.phase!=Running"));
        assert!(!holds("metadata.name=we"));
    }

    #[test]
    fn selectors_with_many_conditions_are_refused() {
        let fields = vec!["status.phase!=a"; CONDITIONS_MAX].join(",");
        assert!(fields.parse::<FieldSelector>().is_ok());
        let longer = format!("{fields},status.phase!=a");
        assert!(longer.parse::<FieldSelector>().is_err());
        assert!(some_labels(&vec!["a!=b"; 6000].join(",")).is_err());
    }

    #[test]
    fn what_selects_nothing_is_not_everything() {
        for empty in ["", " ", ",", " , "] {
            assert!(some_labels(empty).is_err(), "{empty:?}");
            assert!(empty.parse::<FieldSelector>().is_err(), "{empty:?}");
        }
        assert!(some_labels("a=b").is_ok());
        // As in kubectl: the other condition may have been an empty variable.
        assert!(some_labels("a=b,").is_err());
    }

    #[test]
    fn what_is_no_field_is_refused() {
        for wrong in ["phase=Running", "status=1", "status.phase", "=x"] {
            assert!(wrong.parse::<FieldSelector>().is_err(), "{wrong}");
        }
    }
}
