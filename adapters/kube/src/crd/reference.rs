//! Generates `docs/reference/fields.md`, the page of all kinds and their fields, from the definitions; a
//! test writes it.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

use super::all;

const PAGE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../docs/reference/fields.md"
);
const HEAD: &str = "# Fields of all kinds

Drawn from the definitions in `deploy/crd.yaml` by a test. Documents in files have the same fields. `[]` after a name means each
item of a list, `.*` each value of a map. [Documents](documents.md) explains what the fields do; `vsiflow explain KIND.spec.FIELD`
and `kubectl explain` print them, too.
";

fn page() -> String {
    let mut page = HEAD.to_owned();
    for definition in all() {
        kind(&mut page, &definition);
    }
    page
}

fn kind(page: &mut String, definition: &CustomResourceDefinition) {
    let names = &definition.spec.names;
    for version in &definition.spec.versions {
        let short = names.short_names.clone().unwrap_or_default();
        let _ = write!(
            page,
            "\n## {}\n\n`apiVersion: {}/{}`; in kubectl `{}`{}.",
            names.kind,
            definition.spec.group,
            version.name,
            names.plural,
            short
                .iter()
                .map(|short| format!(", `{short}`"))
                .collect::<String>(),
        );
        let schema = version
            .schema
            .as_ref()
            .and_then(|schema| schema.open_api_v3_schema.as_ref());
        let Some(schema) = schema else { continue };
        let _ = writeln!(page, " {}", text(schema));
        for part in ["spec", "status"] {
            let part_of = schema.properties.as_ref().and_then(|all| all.get(part));
            let Some(of) = part_of else { continue };
            let _ = write!(
                page,
                "\n### {} of {}\n\n| field | type | meaning |\n|---|---|---|\n",
                part, names.kind
            );
            fields(page, "", of);
        }
    }
}

/// A line for each field below this schema.
fn fields(page: &mut String, path: &str, of: &JSONSchemaProps) {
    let required = of.required.clone().unwrap_or_default();
    for (name, field) in of.properties.iter().flatten() {
        let path = format!("{path}{name}");
        let must = if required.contains(name) {
            ", required"
        } else {
            ""
        };
        let _ = writeln!(
            page,
            "| `{path}` | {}{must} | {} |",
            type_of(field),
            text(field)
        );
        below(page, &path, field);
    }
}

fn below(page: &mut String, path: &str, field: &JSONSchemaProps) {
    fields(page, &format!("{path}."), field);
    if let Some(item) = item_of(field) {
        below(page, &format!("{path}[]"), item);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &field.additional_properties {
        below(page, &format!("{path}.*"), value);
    }
}

fn item_of(field: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match field.items.as_ref()? {
        JSONSchemaPropsOrArray::Schema(item) => Some(item.as_ref()),
        JSONSchemaPropsOrArray::Schemas(items) => items.first(),
    }
}

fn type_of(field: &JSONSchemaProps) -> String {
    if let Some(item) = item_of(field) {
        return format!("list of {}", type_of(item));
    }
    if let Some(JSONSchemaPropsOrBool::Schema(value)) = &field.additional_properties {
        return format!("map of {}", type_of(value));
    }
    if field.x_kubernetes_int_or_string == Some(true) {
        return "integer or string".to_owned();
    }
    let kind = field.type_.as_deref().unwrap_or("anything").to_owned();
    match &field.format {
        Some(format) => format!("{kind} ({format})"),
        None => kind,
    }
}

fn text(field: &JSONSchemaProps) -> String {
    let text = field.description.as_deref().unwrap_or_default();
    let mut text = in_cell(text);
    let values: Vec<_> = field
        .enum_
        .iter()
        .flatten()
        .filter(|value| !value.0.is_null())
        .map(|value| format!("`{}`", value.0.to_string().trim_matches('"')))
        .collect();
    if !values.is_empty() {
        let _ = write!(text, " One of {}.", values.join(", "));
    }
    if let Some(default) = &field.default {
        let _ = write!(text, " Default: `{}`.", default.0);
    }
    text.trim().to_owned()
}

/// Puts a text on one line and escapes what would be read as markup of the table or page.
fn in_cell(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut safe = String::new();
    let mut in_code = false;
    for letter in text.chars() {
        match letter {
            '`' => in_code = !in_code,
            '|' => safe.push('\\'),
            '<' | '*' | '_' | '[' if !in_code => safe.push('\\'),
            _ => {}
        }
        safe.push(letter);
    }
    safe
}

#[test]
fn the_page_of_fields_is_what_the_definitions_have() {
    let page = page();
    if std::env::var_os("VSIFLOW_DRAW").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let committed = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        committed == page,
        "run: VSIFLOW_DRAW=1 cargo nextest run -p vsiflow-kube -E 'test(page_of_fields)'"
    );
}
