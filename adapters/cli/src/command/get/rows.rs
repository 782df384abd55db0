//! The rows of a list: filtering and sorting.

use std::{cell::OnceCell, cmp::Ordering};

use serde::Serialize;
use serde_json::Value;

use crate::{
    args::GetArgs,
    exit::{Exit, ExitProblem},
    output::jsonpath::{self, ValuePath},
};

/// An object of a list. It is serialised at most once, and only on demand.
pub(super) struct TableRow<T> {
    pub(super) object: T,
    shape: fn(Value) -> Value,
    json: OnceCell<Value>,
}

/// Makes rows; `shape` turns an object's JSON into what is printed.
pub(super) fn rows<T>(objects: Vec<T>, shape: fn(Value) -> Value) -> Vec<TableRow<T>> {
    let row = |object| TableRow {
        object,
        shape,
        json: OnceCell::new(),
    };
    objects.into_iter().map(row).collect()
}

impl<T: Serialize> TableRow<T> {
    /// The JSON as it is printed.
    pub(super) fn json(&self) -> Result<&Value, ExitProblem> {
        if self.json.get().is_none() {
            let value = serde_json::to_value(&self.object).map_err(ExitProblem::defect)?;
            let _ = self.json.set((self.shape)(value));
        }
        let made = self.json.get();
        made.ok_or_else(|| ExitProblem::defect("an object without its JSON"))
    }

    pub(super) fn name(&self) -> Result<&str, ExitProblem> {
        let name = self.json()?.pointer("/metadata/name");
        Ok(name.and_then(Value::as_str).unwrap_or(""))
    }
}

/// The rows with these names.
///
/// # Errors
/// `VSI0703` if no object has one of the names.
pub(super) fn of_names<T: Serialize>(
    rows: Vec<TableRow<T>>,
    names: &[String],
) -> Result<Vec<TableRow<T>>, ExitProblem> {
    let mut found = Vec::new();
    for row in rows {
        let name = row.name()?.to_owned();
        found.push((name, row));
    }
    let is_there = |name: &&String| found.iter().any(|(one, _)| one == *name);
    if let Some(missing) = names.iter().find(|name| !is_there(name)) {
        let message = format!("{missing} is not known here");
        let remedy = "`vsiflow get` lists the names";
        return Err(ExitProblem::new(Exit::NotFound, "VSI0703", message, remedy));
    }
    let meant = found.into_iter().filter(|(name, _)| names.contains(name));
    Ok(meant.map(|(_, row)| row).collect())
}

/// The JSON of all rows.
pub(super) fn values<T: Serialize>(rows: &[TableRow<T>]) -> Result<Vec<Value>, ExitProblem> {
    rows.iter().map(|row| row.json().cloned()).collect()
}

/// Retains the rows that match the field selector, in the requested order.
pub(super) fn arrange<T: Serialize>(
    args: &GetArgs,
    rows: Vec<TableRow<T>>,
) -> Result<Vec<TableRow<T>>, ExitProblem> {
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
