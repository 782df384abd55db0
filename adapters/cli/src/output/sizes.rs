//! Sizes for people: in the form that documents use, and not in bytes.

use serde_json::{Value, json};
use vsiflow_workflows::spec::{Quantity, quantity};

/// A value, with its sizes in the form of documents.
pub(super) fn shown(path: &str, value: Option<&Value>) -> String {
    let name = path.rsplit('.').next().unwrap_or(path);
    match (value, path) {
        (None | Some(Value::Null), _) => "none".to_owned(),
        (Some(Value::Number(mib)), "machine.memory") => {
            let bytes = mib.as_u64().and_then(|mib| mib.checked_mul(quantity::MIB));
            bytes.map_or_else(|| mib.to_string(), |bytes| Quantity(bytes).to_string())
        }
        (Some(value), _) => match sized(name, value) {
            Value::String(size) if value.is_number() => size,
            value => value.to_string(),
        },
    }
}

/// A specification, with its sizes in the form of documents.
pub(super) fn as_documents(spec: &Value) -> Value {
    sized("", spec)
}

/// The value of a key; all sizes in bytes are converted to the form of documents.
fn sized(key: &str, value: &Value) -> Value {
    match value {
        Value::Number(bytes) if key == "size" => match bytes.as_u64() {
            Some(bytes) => json!(Quantity(bytes)),
            None => value.clone(),
        },
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(field, content)| (field.clone(), sized(field, content)));
            Value::Object(fields.collect())
        }
        Value::Array(all) => all.iter().map(|item| sized(key, item)).collect(),
        value => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_as_documents_write_them() {
        let gib = 1_u64 << 30;
        let shown = |path: &str, value: Value| shown(path, Some(&value));
        assert_eq!(shown("disks[data].size", json!(3 * gib)), "3Gi");
        assert_eq!(shown("size", json!(gib + (1 << 20))), "1025Mi");
        assert_eq!(
            shown("bootDisk.size", json!(20_000_000_000_u64)),
            "19531250Ki"
        );
        assert_eq!(shown("bootDisk.size", Value::Null), "none");
        assert_eq!(shown("machine.memory", json!(4096)), "4Gi");
        assert_eq!(shown("machine.cpus", json!(4096)), "4096");
        let disk = json!({"name": "data", "source": {"size": gib, "type": "made"}});
        assert_eq!(
            shown("disks[data]", disk),
            r#"{"name":"data","source":{"size":"1Gi","type":"made"}}"#
        );
    }
}
