//! Converts custom resources to documents, the same ones that files contain.

pub(crate) mod limits;
mod substitute;
pub(crate) mod template_marks;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use vsiflow_workflows::spec::{
    Document, DocumentRef, FieldPath, KeyValues, ObjectMeta, PathSegment, Problem, ProblemCode,
    VirtualServerSpec, VsiSpec,
};

use crate::{
    kind::ResourceKind,
    resource::{Resource, Settings},
};

/// Fields whose values are secret, and the error message that replaces them.
const SECRETS: [(&str, &str); 3] = [
    ("contract", "the contract is not text, or empty"),
    ("userData", "the user-data is not text, or empty"),
    ("vendorData", "the vendor data is not text"),
];

/// The selectors of a spec.
const SELECTORS: [&str; 3] = ["targetSelector", "diskSelector", "networkSelector"];

/// A document, and warnings about what its resource contains although it should not.
pub(crate) type Read<T> = (Document<T>, Vec<String>);

/// A spec with its values filled in, and warnings about it; or the field that is wrong, with a message and a
/// remedy.
pub(crate) type Reading = Result<(Value, Vec<String>), (FieldPath, String, String)>;

/// Reads the spec, once for each version of a resource: each pass asks for it.
fn reading(resource: &Resource) -> &Reading {
    resource.reading.get_or_init(|| {
        limits::check(&resource.spec).map_err(|(path, message)| {
            let remedy = "write less into it; docs/reference/kubernetes.md lists the limits";
            (path, message, remedy.to_owned())
        })?;
        let mut spec = without_nulls(resource.spec.clone());
        let mut warnings = strip(&mut spec);
        warnings.extend(template_marks::warnings(&spec));
        if !spec.is_object() {
            spec = Value::Object(Map::new());
        }
        substitute::fill(resource.key.kind, &mut spec)?;
        Ok((spec, warnings))
    })
}

/// Reads the document of a resource.
///
/// # Errors
/// What is wrong with the resource.
pub(crate) fn read<T: DeserializeOwned>(
    resource: &Resource,
    at: DocumentRef,
) -> Result<Read<T>, Box<Problem>> {
    let meta = meta(resource);
    let (spec, warnings) = match reading(resource) {
        Ok((spec, warnings)) => (spec, warnings.clone()),
        Err((path, message, remedy)) => {
            return Err(Box::new(Problem {
                code: ProblemCode::WrongValue,
                document: at,
                kind: resource.key.kind.name().to_owned(),
                object: meta.full_name(),
                path: path.clone(),
                message: message.clone(),
                remedy: remedy.clone(),
            }));
        }
    };
    match serde_path_to_error::deserialize::<_, T>(spec) {
        Ok(spec) => Ok((
            Document {
                at,
                kind: resource.key.kind.name(),
                meta,
                spec,
            },
            warnings,
        )),
        Err(error) => Err(Box::new(problem(resource, &meta, at, &error))),
    }
}

/// Reads the document of a VSI, of either kind.
///
/// # Errors
/// What is wrong with the resource.
pub(crate) fn vsi(resource: &Resource, place: DocumentRef) -> Result<Read<VsiSpec>, Box<Problem>> {
    if resource.key.kind != ResourceKind::VirtualServer {
        return read(resource, place);
    }
    let (document, warnings) = read::<VirtualServerSpec>(resource, place)?;
    let Document {
        at,
        kind,
        meta,
        spec,
    } = document;
    let spec = VsiSpec::from(spec);
    Ok((
        Document {
            at,
            kind,
            meta,
            spec,
        },
        warnings,
    ))
}

/// A replacement for a VSI whose spec cannot be read: the VSI may still use the disks that it selects.
pub(crate) fn stand_in(resource: &Resource, at: DocumentRef) -> Option<Document<VsiSpec>> {
    let disks = without_nulls(resource.spec.get("diskSelector")?.clone());
    let mut spec = json!({
        "contract": "-", "imageURL": "https://example.invalid/-", "diskSelector": disks,
    });
    strip(&mut spec);
    Some(Document {
        at,
        kind: resource.key.kind.name(),
        meta: meta(resource),
        spec: serde_json::from_value(spec).ok()?,
    })
}

/// The document of a ConfigMap or a Secret.
pub(crate) fn settings(
    settings: &Settings,
    kind: &'static str,
    at: DocumentRef,
) -> Document<KeyValues> {
    Document {
        at,
        kind,
        meta: ObjectMeta {
            labels: settings.labels.clone(),
            ..ObjectMeta::named(&settings.namespace, &settings.name)
        },
        spec: if settings.values.0.is_empty() {
            settings.others.clone()
        } else {
            settings.values.clone()
        },
    }
}

fn meta(resource: &Resource) -> ObjectMeta {
    ObjectMeta {
        uid: Some(resource.uid),
        labels: resource.labels.clone(),
        annotations: resource.annotations.clone(),
        ..ObjectMeta::named(&resource.key.namespace, &resource.key.name)
    }
}

/// Removes nulls: as in Kubernetes, a null means that the field is absent.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.into_iter().filter(|(_, field)| !field.is_null());
            Value::Object(
                fields
                    .map(|(key, field)| (key, without_nulls(field)))
                    .collect(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        plain => plain,
    }
}

/// Removes fields that the previous operator accepted and ignored. Returns warnings about them.
fn strip(spec: &mut Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let Value::Object(fields) = spec else {
        return warnings;
    };
    if fields.remove("selector").is_some() {
        warnings.push("spec.selector is ignored, as it always was; remove it".to_owned());
    }
    for name in SELECTORS {
        let expressions = fields
            .get_mut(name)
            .and_then(|selector| selector.get_mut("matchExpressions"))
            .and_then(Value::as_array_mut);
        for (index, expression) in expressions.into_iter().flatten().enumerate() {
            let found = expression.as_object_mut().and_then(|it| it.remove("value"));
            if found.is_some() {
                warnings.push(format!(
                    "spec.{name}.matchExpressions[{index}].value is ignored, as it always was; \
                     write it as values"
                ));
            }
        }
    }
    warnings
}

/// The problem of a resource whose reading panicked. It does not repeat the content.
pub(crate) fn panicked(resource: &Resource, at: DocumentRef) -> Problem {
    Problem {
        code: ProblemCode::WrongValue,
        document: at,
        kind: resource.key.kind.name().to_owned(),
        object: meta(resource).full_name(),
        path: FieldPath::of(["spec"]),
        message: "reading it ended in a panic, which is a defect of vsiflow".to_owned(),
        remedy: "please report it, with the spec but without its secrets".to_owned(),
    }
}

/// serde makes the errors of derived types by `de::Error::missing_field` and `unknown_field`, which
/// `serde_json` implements as texts only.
fn code_of(error: &serde_json::Error) -> ProblemCode {
    match error.to_string() {
        text if text.starts_with("missing field") => ProblemCode::MissingField,
        text if text.starts_with("unknown field") => ProblemCode::UnknownField,
        _ => ProblemCode::WrongValue,
    }
}

fn problem(
    resource: &Resource,
    meta: &ObjectMeta,
    at: DocumentRef,
    error: &serde_path_to_error::Error<serde_json::Error>,
) -> Problem {
    let mut path = FieldPath::of(["spec"]);
    for segment in error.path() {
        use serde_path_to_error::Segment;
        match segment {
            Segment::Map { key } => path = path.key(key),
            Segment::Seq { index } => path = path.index(*index),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    let code = code_of(error.inner());
    let mut message = error.inner().to_string();
    for (key, words) in SECRETS {
        let secret = PathSegment::Key(key.to_owned());
        if path.0.contains(&secret) {
            // The value may be the secret.
            words.clone_into(&mut message);
        }
    }
    let remedy = match code {
        ProblemCode::MissingField => "add it; `kubectl explain` describes it",
        ProblemCode::UnknownField => "remove it, or correct its name",
        _ => "correct it; `kubectl explain` lists the allowed values",
    };
    Problem {
        code,
        document: at,
        kind: resource.key.kind.name().to_owned(),
        object: meta.full_name(),
        path,
        message,
        remedy: remedy.to_owned(),
    }
}
