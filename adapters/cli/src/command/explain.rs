//! `explain`: describes a field, from the definitions that `crd` prints and those of the kinds that exist
//! only in files.

use serde_json::Value;
use vsiflow_kube::crd;
use vsiflow_workflows::spec::definitions;

use crate::{
    args::ExplainArgs,
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
};

/// The line width, in characters.
const WIDTH: usize = 80;

pub(super) fn run(args: &ExplainArgs) -> CommandOutcome {
    let mut names = args.field.split('.');
    let kind = defined(names.next().unwrap_or_default());
    let definitions = all().map_err(ExitProblem::defect)?;
    let Some(definition) = definitions
        .iter()
        .find(|definition| is_called(definition, kind))
    else {
        let known: Vec<_> = definitions
            .iter()
            .map(|d| text(d, "/spec/names/singular"))
            .collect();
        return Err(unknown(kind, &known));
    };
    let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema");
    let mut schema = schema.ok_or_else(|| ExitProblem::defect("a definition without a schema"))?;
    let mut path = Vec::new();
    for name in names {
        schema = match below(schema).and_then(|fields| fields.get(name)) {
            Some(field) => field,
            None => return Err(unknown(name, &fields(schema))),
        };
        path.push(name);
    }
    output::line(&page(definition, &path, schema));
    Ok(Exit::Done)
}

/// The definitions of all kinds.
fn all() -> serde_json::Result<Vec<Value>> {
    let resources = crd::all();
    let resources = resources.iter().map(serde_json::to_value);
    let files = definitions::file_kinds().into_iter().map(Ok);
    resources.chain(files).collect()
}

/// The name of a kind's definition, from the words that other commands accept.
fn defined(word: &str) -> &str {
    match word.to_ascii_lowercase().as_str() {
        "pool" | "pools" => "virtualserverpool",
        "group" | "groups" => "virtualservergroup",
        "disk" | "disks" => "onprem-datadisk",
        "network" | "networks" => "onprem-networkref",
        "snapshot" | "snapshots" => "virtualserversnapshot",
        "type" | "types" => "virtualservertype",
        "quota" | "quotas" | "vsq" => "virtualserverquota",
        _ => word,
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
}

fn is_called(definition: &Value, word: &str) -> bool {
    let names = [
        "/spec/names/singular",
        "/spec/names/plural",
        "/spec/names/kind",
    ];
    let short = definition
        .pointer("/spec/names/shortNames")
        .and_then(Value::as_array);
    let short = short.into_iter().flatten().filter_map(Value::as_str);
    let mut all = names.iter().map(|name| text(definition, name)).chain(short);
    all.any(|name| name.eq_ignore_ascii_case(word))
}

/// The fields of an object, or of a list's items.
fn below(schema: &Value) -> Option<&serde_json::Map<String, Value>> {
    let object = schema.get("items").unwrap_or(schema);
    object.get("properties").and_then(Value::as_object)
}

fn fields(schema: &Value) -> Vec<&str> {
    below(schema)
        .into_iter()
        .flatten()
        .map(|(name, _)| name.as_str())
        .collect()
}

fn unknown(name: &str, known: &[&str]) -> ExitProblem {
    let message = format!("{name:?} is not known there");
    let remedy = if known.is_empty() {
        "it has no fields".to_owned()
    } else {
        format!("there is {}", known.join(", "))
    };
    ExitProblem::new(Exit::NotFound, "VSI0815", message, &remedy)
}

/// The page, in kubectl's layout.
fn page(definition: &Value, path: &[&str], schema: &Value) -> String {
    let mut page = format!(
        "KIND:     {}\nVERSION:  {}/v1\n\n",
        text(definition, "/spec/names/kind"),
        text(definition, "/spec/group")
    );
    if !path.is_empty() {
        page.push_str(&format!(
            "FIELD:    {} <{}>\n\n",
            path.join("."),
            type_of(schema)
        ));
    }
    page.push_str("DESCRIPTION:\n");
    page.push_str(&indented(text(schema, "/description"), 5));
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        let values: Vec<_> = values.iter().filter_map(Value::as_str).collect();
        page.push_str(&indented(&format!("One of: {}.", values.join(", ")), 5));
    }
    for (name, field) in below(schema).into_iter().flatten() {
        let head = if name == fields(schema).first().copied().unwrap_or("") {
            "\nFIELDS:\n"
        } else {
            ""
        };
        page.push_str(&format!(
            "{head}   {name}\t<{}>{}\n",
            type_of(field),
            needed(schema, name)
        ));
        page.push_str(&indented(text(field, "/description"), 5));
    }
    page.trim_end().to_owned()
}

fn type_of(schema: &Value) -> String {
    let flag = |name: &str| schema.get(name) == Some(&Value::Bool(true));
    match text(schema, "/type") {
        "array" => format!("[]{}", schema.get("items").map(type_of).unwrap_or_default()),
        "object" => match schema.get("additionalProperties").filter(|v| v.is_object()) {
            Some(values) => format!("map[string]{}", type_of(values)),
            None => "Object".to_owned(),
        },
        "" if flag("x-kubernetes-int-or-string") => "integer or string".to_owned(),
        "" => "Object".to_owned(),
        other => other.to_owned(),
    }
}

fn needed(schema: &Value, name: &str) -> &'static str {
    let required = schema.get("required").and_then(Value::as_array);
    let is_needed = required.into_iter().flatten().any(|one| one == name);
    if is_needed { " -required-" } else { "" }
}

/// Indents and wraps a text.
fn indented(text: &str, by: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let room = lines.last().map_or(0, String::len);
        if room > 0 && room.saturating_add(word.len()).saturating_add(by) >= WIDTH {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    let shown = lines.iter().filter(|line| !line.is_empty());
    shown.map(|line| format!("{:by$}{line}\n", "")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_every_definition_is_explained() {
        for definition in all().unwrap() {
            let schema =
                definition.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec");
            explained(&definition, schema.unwrap(), &mut vec!["spec".to_owned()]);
        }
    }

    fn explained(definition: &Value, schema: &Value, path: &mut Vec<String>) {
        for (name, field) in below(schema).into_iter().flatten() {
            path.push(name.clone());
            let kind = text(definition, "/spec/names/kind");
            assert!(
                !text(field, "/description").is_empty(),
                "{kind} {}",
                path.join(".")
            );
            explained(definition, field, path);
            path.pop();
        }
    }

    #[test]
    fn long_texts_are_broken_where_they_fit() {
        let text = indented(&"word ".repeat(40), 5);
        assert!(
            text.lines()
                .all(|line| line.len() <= WIDTH && line.starts_with("     word"))
        );
    }
}
