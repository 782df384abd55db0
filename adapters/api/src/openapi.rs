//! The OpenAPI 3.1 description of the API, generated from the routes and the types.

use std::sync::LazyLock;

use aide::{
    axum::routing::get_with,
    generate,
    openapi::{Info, OpenApi},
};
use axum::{Json, Router};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{api::Api, routes};

/// Generated once: the schemas of all types take a while.
static MADE: LazyLock<(Router<Api>, Value)> = LazyLock::new(|| {
    let (routes, document) = made();
    let mut document = serde_json::to_value(document).unwrap_or_default();
    list_words(&mut document);
    (routes, document)
});

/// The OpenAPI document.
pub fn document() -> &'static Value {
    &MADE.1
}

/// All routes.
pub(crate) fn routes() -> Router<Api> {
    MADE.0.clone()
}

/// An OpenAPI document.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
struct Description(#[schemars(with = "Map<String, Value>")] &'static Value);

/// Turns every choice of single words into a list of words, with their meanings in the description: generators of
/// clients make an enumeration of a list, and of a choice something that takes its first word alone.
fn list_words(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(words) = fields.get("oneOf").and_then(words_of_choice) {
                fields.remove("oneOf");
                let description = fields.get("description").and_then(Value::as_str);
                let mut lines: Vec<String> = description.map(str::to_owned).into_iter().collect();
                lines.extend(words.iter().filter_map(Word::explained));
                fields.insert("description".to_owned(), lines.join("\n").into());
                fields.insert("type".to_owned(), "string".into());
                let words: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
                fields.insert("enum".to_owned(), words.into());
            }
            fields.values_mut().for_each(list_words);
        }
        Value::Array(items) => items.iter_mut().for_each(list_words),
        _ => {}
    }
}

/// A word of a choice, with its meaning.
struct Word {
    text: String,
    meaning: Option<String>,
}

impl Word {
    /// The line about it in a description.
    fn explained(&self) -> Option<String> {
        let meaning = self.meaning.as_ref()?;
        Some(format!("- `{}`: {meaning}", self.text))
    }
}

/// The words of a choice that has nothing but words.
fn words_of_choice(choice: &Value) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    for alternative in choice.as_array()? {
        let meaning = alternative.get("description").and_then(Value::as_str);
        let word = |text: &Value| {
            let text = text.as_str()?.to_owned();
            let meaning = meaning.map(str::to_owned);
            Some(Word { text, meaning })
        };
        match (alternative.get("const"), alternative.get("enum")) {
            (Some(text), None) => words.push(word(text)?),
            (None, Some(Value::Array(texts))) => {
                let listed: Option<Vec<Word>> = texts.iter().map(word).collect();
                words.extend(listed?);
            }
            _ => return None,
        }
    }
    Some(words)
}

async fn answer() -> Json<Description> {
    Json(Description(document()))
}

fn made() -> (Router<Api>, OpenApi) {
    // Those of OpenAPI 3.1 are of this draft.
    made_by(SchemaSettings::draft2020_12())
}

/// The routes with a description whose schemas have these settings.
fn made_by(settings: SchemaSettings) -> (Router<Api>, OpenApi) {
    generate::extract_schemas(true);
    let settings = settings.with(|settings| {
        settings.definitions_path = "/components/schemas".into();
    });
    generate::in_context(|context| context.schema = settings.into_generator());
    let mut document = OpenApi {
        info: Info {
            title: "vsiflow".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: Some(
                "VSIs on libvirt/KVM hosts, and the journal of everything done to them.".to_owned(),
            ),
            ..Info::default()
        },
        ..OpenApi::default()
    };
    let own = get_with(answer, |operation| {
        operation
            .id("getOpenApi")
            .tag("meta")
            .summary("This description")
    });
    let routes = routes::described()
        .api_route("/v1/openapi.json", own)
        .finish_api(&mut document);
    generate::reset_context();
    (routes, document)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_answer_is_described_that_is_never_given() {
        for (method, path, operation) in operations() {
            let answers = operation["responses"].as_object().unwrap();
            for (status, answer) in answers.iter().filter(|(status, _)| status.as_str() > "399") {
                let problem = answer["content"][crate::Problem::MEDIA_TYPE].is_object();
                assert!(problem, "{method} {path} {status}: {answer}");
            }
        }
    }

    #[test]
    fn a_body_that_may_be_left_out_is_not_required() {
        let required: BTreeSet<_> = operations()
            .into_iter()
            .filter(|(_, _, operation)| operation["requestBody"]["required"] == true)
            .filter_map(|(_, _, operation)| operation["operationId"].as_str())
            .collect();
        let expected = [
            "act",
            "apply",
            "applyDocuments",
            "cordonMembers",
            "delete",
            "describeObject",
            "diffObject",
            "getAuditHead",
            "getBootEvidence",
            "getGraph",
            "getOutcomes",
            "getOverview",
            "listEvents",
            "listObjects",
            "maintainHost",
            "plan",
            "planDocuments",
            "planRestoration",
            "readConsoleLog",
            "readVirtualServerGroupOutput",
            "rebuild",
            "refreshHosts",
            "replayJournals",
            "restoreSnapshot",
            "rollbackPool",
            "runCommand",
            "scale",
            "scaleVirtualServerGroup",
            "scaleVirtualServerPool",
            "verifyJournals",
        ];
        assert_eq!(required, BTreeSet::from(expected));
    }

    #[test]
    fn a_choice_of_words_is_a_list_of_words() {
        let phase = &document()["components"]["schemas"]["Phase"];
        let words = phase["enum"].as_array().unwrap();
        assert!(
            words.contains(&"Running".into()) && phase["oneOf"].is_null(),
            "{phase}"
        );
        let meanings = phase["description"].as_str().unwrap();
        assert!(meanings.contains("- `Running`: Its guest said that it is ready."));
        let mut mixed = serde_json::json!({"oneOf": [{"const": "a"}, {"type": "object"}]});
        list_words(&mut mixed);
        assert!(mixed["oneOf"].is_array());
    }

    /// The fields that are left out of an answer now and then must not be required: what reads answers by the
    /// description would refuse them.
    #[test]
    fn what_an_answer_may_leave_out_is_not_required() {
        let (_, document_of_served) = made_by(SchemaSettings::draft2020_12().for_serialize());
        let document_of_served = serde_json::to_value(document_of_served).unwrap();
        let schemas = |document: &Value| document["components"]["schemas"].clone();
        let described = schemas(document());
        let mut wrong = Vec::new();
        for (name, served) in schemas(&document_of_served).as_object().unwrap() {
            compare_required(name, &described[name], served, &mut wrong);
        }
        assert_eq!(wrong, Vec::<String>::new());
    }

    /// Finds the properties that a described schema requires and that an answer has not always.
    fn compare_required(at: &str, described: &Value, served: &Value, wrong: &mut Vec<String>) {
        let required = |schema: &Value| -> BTreeSet<String> {
            let names = schema["required"].as_array().into_iter().flatten();
            names.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        for name in required(described).difference(&required(served)) {
            wrong.push(format!("{at}.{name}"));
        }
        match (described, served) {
            (Value::Object(fields), Value::Object(served_fields)) => {
                for (key, field) in fields {
                    if let Some(served_field) = served_fields.get(key) {
                        compare_required(&format!("{at}/{key}"), field, served_field, wrong);
                    }
                }
            }
            (Value::Array(items), Value::Array(served_items)) => {
                for (item, served_item) in items.iter().zip(served_items) {
                    compare_required(at, item, served_item, wrong);
                }
            }
            _ => {}
        }
    }

    /// All operations, with method and path.
    fn operations() -> Vec<(String, String, &'static Value)> {
        let paths = document()["paths"].as_object().unwrap();
        let each = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().iter();
            methods.map(|(method, operation)| (method.clone(), path.clone(), operation))
        });
        each.collect()
    }

    #[test]
    fn a_reader_of_openapi_3_1_reads_it() {
        let text = document().to_string();
        let read = oas3::from_json(&text).unwrap();
        assert!(read.openapi.starts_with("3.1"), "{}", read.openapi);
        assert_eq!(read.operations().count(), operations().len());
    }

    #[test]
    fn each_route_is_in_it() {
        let routes = format!("{:?}", routes());
        let texts = routes.split('"').filter(|text| text.starts_with("/v1/"));
        let written: BTreeSet<_> = texts.map(str::to_owned).collect();
        let described: BTreeSet<_> = operations().into_iter().map(|(_, path, _)| path).collect();
        assert!(written.len() > 20, "{written:?}");
        assert_eq!(written, described);
    }

    #[test]
    fn each_operation_says_what_it_does_what_it_takes_and_how_it_fails() {
        let mut ids = BTreeSet::new();
        for (method, path, operation) in operations() {
            let at = format!("{method} {path}: {operation}");
            assert!(operation["summary"].is_string(), "{at}");
            assert!(
                ids.insert(operation["operationId"].as_str().unwrap()),
                "{at}"
            );
            let good = ["200", "101"].map(|status| operation["responses"][status].is_object());
            assert!(good.contains(&true), "{at}");
            if path != "/v1/openapi.json" {
                let problem = &operation["responses"]["default"]["content"];
                assert!(problem[crate::Problem::MEDIA_TYPE].is_object(), "{at}");
            }
            let taken: BTreeSet<_> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|one| one["in"] == "path")
                .map(|one| one["name"].as_str().unwrap())
                .collect();
            let named: BTreeSet<_> = path
                .split('/')
                .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
                .collect();
            assert_eq!(taken, named, "{at}");
        }
    }

    #[test]
    fn whatever_it_refers_to_is_there() {
        fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
            match value {
                Value::Object(all) => {
                    found.extend(all.get("$ref").and_then(Value::as_str));
                    all.values().for_each(|one| references(one, found));
                }
                Value::Array(all) => all.iter().for_each(|one| references(one, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        references(document(), &mut found);
        assert!(found.len() > 20);
        for reference in found {
            let at = reference.strip_prefix('#').unwrap();
            assert!(document().pointer(at).is_some(), "{reference}");
        }
    }
}
