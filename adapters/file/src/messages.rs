//! Turns faults into messages and remedies for people.

use vsiflow_workflows::spec::{FieldPath, PathSegment, ProblemCode};

use crate::fault::{DocumentFault, FieldProblem};
use crate::hints::{Hint, closest, hint};

/// The message and remedy for a fault.
pub(crate) struct KnownWords {
    pub(crate) code: ProblemCode,
    pub(crate) path: FieldPath,
    /// Whether to point at the field's name, not at its value.
    pub(crate) at_key: bool,
    pub(crate) message: String,
    pub(crate) remedy: String,
}

/// Turns a fault of a document of that kind into a message and a remedy.
pub(crate) fn words(kind: &str, fault: &DocumentFault) -> KnownWords {
    let path = fault.path();
    let hint = hint(kind, &path);
    let hint = hint.as_ref();
    let (code, at_key, message, remedy) = match &fault.wrong {
        FieldProblem::UnknownField { known } => (
            ProblemCode::UnknownField,
            true,
            unknown(&path),
            meant(&path, known),
        ),
        FieldProblem::Missing => (
            ProblemCode::MissingField,
            true,
            format!("{path} is missing"),
            add(hint),
        ),
        FieldProblem::Type { found, expected } => {
            let (message, remedy) = wrong_type(&path, hint, found, expected);
            (ProblemCode::WrongValue, false, message, remedy)
        }
        FieldProblem::Word { found, allowed } => {
            let (message, remedy) = wrong_word(&path, hint, found, allowed);
            (ProblemCode::WrongValue, false, message, remedy)
        }
        FieldProblem::Value(message) => (
            ProblemCode::WrongValue,
            false,
            format!("{path}: {message}"),
            write_as(hint),
        ),
    };
    KnownWords {
        code,
        path,
        at_key,
        message,
        remedy,
    }
}

/// The name of the field, and the path of the object that has it.
fn split(path: &FieldPath) -> (&str, FieldPath) {
    match path.0.split_last() {
        Some((PathSegment::Key(key), above)) => (key, FieldPath(above.to_vec())),
        _ => ("", path.clone()),
    }
}

fn unknown(path: &FieldPath) -> String {
    let (key, above) = split(path);
    let key: String = key.chars().take(80).collect();
    if above.is_empty() {
        return format!("there is no field `{key}`");
    }
    format!("{above} has no field `{key}`")
}

/// The known field that was probably meant by an unknown one.
pub(crate) fn intended(path: &FieldPath, known: &[&'static str]) -> Option<&'static str> {
    let (key, above) = split(path);
    match above.0.as_slice() {
        // The schema of vsiflow's predecessor, an operator, had this misspelling.
        [.., PathSegment::Key(list), PathSegment::Index(_)]
            if list == "matchExpressions" && key == "value" =>
        {
            Some("values")
        }
        _ => closest(key, known),
    }
}

fn meant(path: &FieldPath, known: &[&'static str]) -> String {
    match intended(path, known) {
        Some("values") => {
            "write `values` with a list, as Kubernetes does: values: [hpcr]".to_owned()
        }
        Some(known) => format!("did you mean `{known}`?"),
        None => format!("remove it; the fields are {}", known.join(", ")),
    }
}

fn add(hint: Option<&Hint>) -> String {
    match hint {
        Some(hint) => format!("add it, for example: {}", hint.example),
        None => "add it".to_owned(),
    }
}

fn write_as(hint: Option<&Hint>) -> String {
    match hint {
        Some(hint) => format!("write, for example: {}", hint.example),
        None => "change it".to_owned(),
    }
}

fn wrong_type(
    path: &FieldPath,
    hint: Option<&Hint>,
    found: &str,
    expected: &str,
) -> (String, String) {
    // serde names Rust types here; the hint is for people.
    let expected = hint.map_or(expected, |hint| &hint.expected);
    let message = format!("{path} is {found}, and must be {expected}");
    let scalar = matches!(found, "a number" | "true or false");
    let remedy = match hint {
        Some(hint) if expected == "text" && scalar => {
            format!(
                "put it in quotes, for example: {}",
                quoted(path, &hint.example)
            )
        }
        Some(hint) => format!("write, for example: {}", hint.example),
        None if scalar => "put it in quotes".to_owned(),
        None => "change it".to_owned(),
    };
    (message, remedy)
}

/// Uses the example if it is about this field and has quotes, otherwise shows the field with quotes.
fn quoted(path: &FieldPath, example: &str) -> String {
    let (key, _) = split(path);
    let about_it = example
        .split_once(':')
        .is_some_and(|(field, _)| field == key);
    if about_it && example.contains('"') {
        example.to_owned()
    } else {
        format!("{key}: \"…\"")
    }
}

fn wrong_word(
    path: &FieldPath,
    hint: Option<&Hint>,
    found: &str,
    allowed: &[&str],
) -> (String, String) {
    let found: String = found.chars().take(40).collect();
    let message = format!(
        "{path} is {found:?}, and must be one of {}",
        allowed.join(", ")
    );
    let remedy = match closest(&found, allowed) {
        Some(word) => format!("did you mean `{word}`?"),
        None => write_as(hint),
    };
    (message, remedy)
}
