//! Checks the clock by the records: one from the future was made while the clock was ahead.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{DoctorCheck, Grade, NAMED, text};
use crate::work;

/// How far in the future a record may be before the clock is reported.
const TOLERANCE: SignedDuration = SignedDuration::from_secs(5);
/// The keys of times at which something was recorded.
const RECORDED: [&str; 4] = [
    "creationTimestamp",
    "lastTransitionTime",
    "created",
    "verified",
];

/// A recorded object, and the newest time of its records.
pub(super) struct RecordedTime {
    object: String,
    newest: Timestamp,
}

/// The newest times of listed objects of this kind.
pub(super) fn times(kind: &str, objects: &[Value]) -> Vec<RecordedTime> {
    let newest = objects.iter().filter_map(|object| {
        let name = [text(object, "/metadata/name"), text(object, "/name")];
        let name = name.into_iter().find(|name| !name.is_empty())?;
        let label = match text(object, "/metadata/namespace") {
            "" => name.to_owned(),
            namespace => work::label(namespace, name),
        };
        Some(RecordedTime {
            object: format!("{kind}/{label}"),
            newest: newest(object)?,
        })
    });
    newest.collect()
}

fn newest(object: &Value) -> Option<Timestamp> {
    match object {
        Value::Object(fields) => fields
            .iter()
            .filter_map(|(key, value)| match value {
                Value::String(time) if RECORDED.contains(&key.as_str()) => time.parse().ok(),
                Value::String(_) => None,
                inner => newest(inner),
            })
            .max(),
        Value::Array(items) => items.iter().filter_map(newest).max(),
        _ => None,
    }
}

/// Compares the clock with the times of all records.
pub(super) fn of_clock(mut records: Vec<RecordedTime>, now: Timestamp) -> DoctorCheck {
    const WHAT: &str = "clock";
    records.retain(|record| record.newest.duration_since(now) > TOLERANCE);
    records.sort_by_key(|record| std::cmp::Reverse(record.newest));
    let Some(newest) = records.first().map(|record| record.newest) else {
        return DoctorCheck::ok(WHAT, now.strftime("%FT%TZ").to_string());
    };
    let more = records.len().saturating_sub(NAMED);
    let mut names: Vec<_> = records.into_iter().map(|record| record.object).collect();
    names.truncate(NAMED);
    if more > 0 {
        names.push(format!("{more} more"));
    }
    DoctorCheck::not(
        WHAT,
        Grade::Bad,
        format!(
            "{now} is before {newest}; recorded in the future: {}",
            names.join(", ")
        ),
        "set the clock right, and keep it so by NTP; if it is right now, these times count as now, and tokens among \
         them are refused: make new ones with `vsiflow token create`",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn any_record_from_the_future_is_named_and_times_to_come_are_none() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let right = json!({"metadata": {"name": "web", "namespace": "default",
            "creationTimestamp": "2025-12-31T00:00:00Z"}});
        let token = json!({"name": "0123", "created": "2025-12-31T00:00:00Z", "expires": "2031-01-01T00:00:00Z"});
        let image = json!({"metadata": {"name": "a.qcow2"}, "status": {"verified": "2031-01-01T00:00:00Z"}});
        let of = |images: &[Value]| {
            let mut records = times("vsi", std::slice::from_ref(&right));
            records.extend(times("token", std::slice::from_ref(&token)));
            records.extend(times("image", images));
            of_clock(records, now)
        };
        assert_eq!(of(&[]).grade, Grade::Ok);
        let ahead = of(&[image]);
        assert_eq!(ahead.grade, Grade::Bad);
        assert!(
            ahead.found.ends_with("in the future: image/a.qcow2"),
            "{}",
            ahead.found
        );
    }
}
