//! The rows of a list: filtering and sorting.

use std::{cell::OnceCell, cmp::Ordering};

use serde_json::Value;
use vsiflow_workflows::kinds::ListedObject;

use crate::{
    args::GetArgs,
    exit::{Exit, ExitProblem},
    output::jsonpath::{self, ValuePath},
};

/// An object of a list. It is serialised at most once, and only on demand.
pub(super) struct TableRow {
    pub(super) object: Box<dyn ListedObject>,
    json: OnceCell<Value>,
}

impl TableRow {
    /// The row of an object.
    pub(super) fn of(object: Box<dyn ListedObject>) -> Self {
        let json = OnceCell::new();
        Self { object, json }
    }

    /// The JSON as it is printed.
    fn json(&self) -> Result<&Value, ExitProblem> {
        if self.json.get().is_none() {
            let value = self.object.to_json().map_err(ExitProblem::defect)?;
            let _ = self.json.set(value);
        }
        let made = self.json.get();
        made.ok_or_else(|| ExitProblem::defect("an object without its JSON"))
    }
}

/// The JSON of all rows.
pub(super) fn values(rows: &[TableRow]) -> Result<Vec<Value>, ExitProblem> {
    rows.iter().map(|row| row.json().cloned()).collect()
}

/// Retains the rows that match the field selector, in the requested order.
pub(super) fn arrange(args: &GetArgs, rows: Vec<TableRow>) -> Result<Vec<TableRow>, ExitProblem> {
    let fields = &args.selection.field_selector;
    if fields.is_none() && args.sort_by.is_none() {
        return Ok(rows);
    }
    let mut matching = Vec::new();
    for row in rows {
        let value = row.json()?;
        if fields.as_ref().is_none_or(|fields| fields.matches(value)) {
            let key = args.sort_by.as_ref().and_then(|path| sort_key(path, value));
            matching.push((key, row));
        }
    }
    if let Some(path) = &args.sort_by
        && !matching.is_empty()
        && matching.iter().all(|(key, _)| key.is_none())
    {
        return Err(nothing_to_sort_by(path));
    }
    matching.sort_by(|(one, _), (other, _)| by_key(one.as_ref(), other.as_ref()));
    Ok(matching.into_iter().map(|(_, row)| row).collect())
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
