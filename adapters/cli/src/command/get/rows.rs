//! The rows of a list: filtering and sorting.

use std::cmp::Ordering;

use serde_json::Value;
use vsiflow_workflows::kinds::ObjectRow;

use crate::{
    args::GetArgs,
    exit::{Exit, ExitProblem},
    output::jsonpath::{self, ValuePath},
};

/// Retains the rows that match the field selector, in the requested order.
///
/// # Errors
/// If no row has anything at the path to sort by.
pub(super) fn arranged(
    args: &GetArgs,
    rows: Vec<ObjectRow>,
) -> Result<Vec<ObjectRow>, ExitProblem> {
    let fields = args.selection.field_selector.as_ref();
    let matches = |row: &ObjectRow| {
        let object = row.object.as_ref();
        fields.is_none_or(|fields| object.is_some_and(|object| fields.matches(object)))
    };
    let matching = rows.into_iter().filter(matches);
    let Some(path) = &args.sort_by else {
        return Ok(matching.collect());
    };
    let key_of = |row: &ObjectRow| sort_key(path, row.object.as_ref()?);
    let mut keyed: Vec<(Option<Value>, ObjectRow)> =
        matching.map(|row| (key_of(&row), row)).collect();
    if !keyed.is_empty() && keyed.iter().all(|(key, _)| key.is_none()) {
        return Err(nothing_to_sort_by(path));
    }
    keyed.sort_by(|(one, _), (other, _)| by_key(one.as_ref(), other.as_ref()));
    Ok(keyed.into_iter().map(|(_, row)| row).collect())
}

/// The error for an unknown sort path, as in kubectl: a typing error would leave any order.
fn nothing_to_sort_by(path: &ValuePath) -> ExitProblem {
    let path = path.text().trim_start_matches('$');
    let message = format!("--sort-by: none of the objects has a field at {path}");
    let remedy = "`-o json` shows the fields that there are";
    ExitProblem::new(Exit::Usage, "VSI0810", message, remedy)
}

/// The value at a path, if there is one.
fn sort_key(path: &ValuePath, value: &Value) -> Option<Value> {
    path.select(value)
        .first()
        .map(|selected| (*selected).clone())
}

/// Numbers by value, everything else as text; missing values come first.
fn by_key(one: Option<&Value>, other: Option<&Value>) -> Ordering {
    match (one, other) {
        (Some(Value::Number(one)), Some(Value::Number(other))) => {
            let numbers = (one.as_f64(), other.as_f64());
            numbers.0.partial_cmp(&numbers.1).unwrap_or(Ordering::Equal)
        }
        (one, other) => {
            let text = |key: Option<&Value>| key.map(jsonpath::text_of);
            text(one).cmp(&text(other))
        }
    }
}
