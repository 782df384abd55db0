//! The rows of a list: filtering and sorting.

use std::{cell::OnceCell, cmp::Ordering};

use serde_json::Value;
use vsiflow_workflows::kinds::ListedObject;

use crate::{
    args::{FieldSelector, GetArgs},
    exit::{Exit, ExitProblem},
    output::jsonpath::{self, Evaluation, TooMuch, ValuePath},
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

    fn into_json(self) -> Result<Value, ExitProblem> {
        match self.json.into_inner() {
            Some(value) => Ok(value),
            None => self.object.to_json().map_err(ExitProblem::defect),
        }
    }
}

/// The JSON of all rows. It is made off the runtime's threads.
pub(super) async fn values(rows: Vec<TableRow>) -> Result<Vec<Value>, ExitProblem> {
    jsonpath::evaluate(move |evaluation| {
        let values = rows.into_iter().map(|row| {
            evaluation.check()?;
            Ok(row.into_json())
        });
        values.collect::<Result<Result<Vec<_>, ExitProblem>, TooMuch>>()
    })
    .await?
}

/// Retains the rows that match the field selector, in the requested order. Callers write both, so that the rows are
/// arranged off the runtime's threads.
pub(super) async fn arranged(
    args: &GetArgs,
    rows: Vec<TableRow>,
) -> Result<Vec<TableRow>, ExitProblem> {
    let arrangement = Arrangement {
        fields: args.selection.field_selector.clone(),
        sort_by: args.sort_by.clone(),
    };
    if arrangement.fields.is_none() && arrangement.sort_by.is_none() {
        return Ok(rows);
    }
    jsonpath::evaluate(move |evaluation| arrangement.of(rows, &evaluation)).await?
}

/// Which rows are shown, in which order.
struct Arrangement {
    fields: Option<FieldSelector>,
    sort_by: Option<ValuePath>,
}

impl Arrangement {
    fn of(
        &self,
        rows: Vec<TableRow>,
        evaluation: &Evaluation,
    ) -> Result<Result<Vec<TableRow>, ExitProblem>, TooMuch> {
        let mut matching = Vec::new();
        for row in rows {
            evaluation.check()?;
            match self.key_of(&row) {
                Ok(Some(key)) => matching.push((key, row)),
                Ok(None) => {}
                Err(problem) => return Ok(Err(problem)),
            }
        }
        if let Some(path) = &self.sort_by
            && !matching.is_empty()
            && matching.iter().all(|(key, _)| key.is_none())
        {
            return Ok(Err(nothing_to_sort_by(path)));
        }
        matching.sort_by(|(one, _), (other, _)| by_key(one.as_ref(), other.as_ref()));
        Ok(Ok(matching.into_iter().map(|(_, row)| row).collect()))
    }

    /// What the row is sorted by; `None` if it is not shown.
    fn key_of(&self, row: &TableRow) -> Result<Option<Option<Value>>, ExitProblem> {
        let value = row.json()?;
        let fields = self.fields.as_ref();
        let is_shown = fields.is_none_or(|fields| fields.matches(value));
        let key = || self.sort_by.as_ref().and_then(|path| sort_key(path, value));
        Ok(is_shown.then(key))
    }
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
