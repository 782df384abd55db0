//! Makes a span of an event: of the end of a run, or of an attempt of a step.

use sha2::{Digest as _, Sha256};
use vsiflow_workflows::fleet::HistoryLine;

/// The maximum length of a text in a span, in characters.
const MAX_LEN: usize = 512;
/// The number of characters of a ULID.
const ULID: usize = 26;

/// A span before it is encoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// The run's ID, which is a ULID of 16 bytes.
    pub trace: [u8; 16],
    /// Hash of the run's ID, the step's name and the attempt.
    pub id: [u8; 8],
    /// The run's span; none for the run itself.
    pub parent: Option<[u8; 8]>,
    /// The name of the workflow or the step.
    pub name: String,
    /// When it began, in milliseconds since 1970.
    pub began: u64,
    /// When it ended, in milliseconds since 1970.
    pub ended: u64,
    /// The outcome.
    pub status: Status,
    /// Further attributes, with stable names.
    pub attributes: Vec<(&'static str, AttributeValue)>,
}

/// The outcome of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It succeeded.
    Ok,
    /// It was abandoned without a failure.
    Unset,
    /// It failed, with this error.
    Error(String),
}

/// A value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

/// The span that ends with this event; none if no span does. `object` names the entity for people, and
/// `time` is the event's time in milliseconds since 1970.
pub fn span(line: &HistoryLine, object: &str, time: u64) -> Option<Span> {
    let run = line.run.as_deref()?;
    let trace = ulid(run)?;
    let root = id(run, "", 0);
    let is_run = line.kind == "run_finished";
    let is_step = matches!(
        line.kind.as_str(),
        "step_succeeded" | "step_failed" | "step_blocked" | "step_interrupted"
    );
    if !is_run && !is_step {
        return None;
    }
    let attempt = line.attempt.unwrap_or_default();
    let step = line.step.as_deref().unwrap_or_default();
    let (id, parent, name, began) = if is_run {
        // The first six bytes of a ULID are its creation time.
        (root, None, line.workflow.as_deref(), began(&trace))
    } else {
        let began = line.duration_ms.map(|took| time.saturating_sub(took));
        (
            id(run, step, attempt),
            Some(root),
            Some(step),
            began.unwrap_or(time),
        )
    };
    Some(Span {
        trace,
        id,
        parent,
        name: cut(name.unwrap_or("run")),
        began: began.min(time),
        ended: time,
        status: status(line),
        attributes: attributes(line, object),
    })
}

fn status(line: &HistoryLine) -> Status {
    let why = || match &line.error {
        Some(error) => cut(&format!("{}: {}", error.code, error.message)),
        None => cut(line.outcome.as_deref().unwrap_or_default()),
    };
    match (line.kind.as_str(), line.outcome.as_deref()) {
        ("step_succeeded", _) | ("run_finished", Some("Succeeded")) => Status::Ok,
        ("step_failed" | "step_blocked", _) | ("run_finished", Some("Failed")) => {
            Status::Error(why())
        }
        _ if line.error.is_some() => Status::Error(why()),
        _ => Status::Unset,
    }
}

fn attributes(line: &HistoryLine, object: &str) -> Vec<(&'static str, AttributeValue)> {
    let text = |text: &str| AttributeValue::Text(cut(text));
    let offset = i64::try_from(line.offset).unwrap_or(i64::MAX);
    let mut all = vec![
        ("vsiflow.entity", text(&line.entity)),
        ("vsiflow.object", text(object)),
        ("vsiflow.run", text(line.run.as_deref().unwrap_or_default())),
        ("vsiflow.offset", AttributeValue::Number(offset)),
    ];
    let mut known = |name, value: Option<&String>| {
        all.extend(value.map(|value| (name, text(value))));
    };
    known("vsiflow.workflow", line.workflow.as_ref());
    known("vsiflow.step", line.step.as_ref());
    known("vsiflow.outcome", line.outcome.as_ref());
    if let Some(error) = &line.error {
        known("error.type", Some(&error.code));
        known("vsiflow.failure.class", Some(&error.class));
        known(
            "vsiflow.host",
            Some(&error.host).filter(|host| !host.is_empty()),
        );
    }
    if let Some(attempt) = line.attempt {
        all.push((
            "vsiflow.attempt",
            AttributeValue::Number(i64::from(attempt)),
        ));
    }
    all
}

/// Truncates a text: failures quote hosts and guests.
fn cut(text: &str) -> String {
    text.chars().take(MAX_LEN).collect()
}

/// Eight bytes that identify this attempt. They are never all zero, which is not a valid ID.
fn id(run: &str, step: &str, attempt: u32) -> [u8; 8] {
    let mut hash = Sha256::new();
    // Each text is preceded by its length, so that different texts cannot give the same input.
    for text in ["vsiflow", run, step] {
        hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(text.as_bytes());
    }
    hash.update(attempt.to_be_bytes());
    let mut id = [0; 8];
    id.iter_mut()
        .zip(hash.finalize())
        .for_each(|(to, from)| *to = from);
    if id == [0; 8] { [1; 8] } else { id }
}

/// The bytes of a ULID; none for an invalid one, and for the one that is all zero.
fn ulid(text: &str) -> Option<[u8; 16]> {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    if text.len() != ULID {
        return None;
    }
    let mut value = 0_u128;
    for byte in text.bytes() {
        let digit = DIGITS.iter().position(|digit| *digit == byte)?;
        // The first of the 26 digits has only three bits.
        value = value.checked_mul(32)?;
        value = value.checked_add(u128::try_from(digit).ok()?)?;
    }
    (value != 0).then(|| value.to_be_bytes())
}

fn began(trace: &[u8; 16]) -> u64 {
    let time = trace.iter().take(6);
    time.fold(0, |time, byte| (time << 8) | u64::from(*byte))
}

#[cfg(test)]
#[path = "spans_tests.rs"]
mod tests;
