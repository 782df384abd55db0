//! Reads `meta-data` of any origin: YAML or JSON, with keys in any order, each of them optional.

use serde::Deserialize;
use serde_json::Value;

/// Maximum nesting depth.
const DEEPEST: usize = 32;
/// Maximum number of nodes.
const MAX_NODES: usize = 10_000;
/// Maximum length of a guest's hostname.
const MAX_LEN: usize = 253;

/// The fields of `meta-data` that vsiflow uses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MetaData {
    /// Empty if there is none.
    pub(super) hostname: String,
    pub(super) instance_id: Option<String>,
    pub(super) ssh_keys: Vec<String>,
}

/// Scalars are read as strings, even if they look like numbers.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Raw {
    local_hostname: Option<String>,
    hostname: Option<String>,
    instance_id: Option<String>,
    public_keys: Option<Value>,
}

impl MetaData {
    /// Text that cannot be parsed counts as empty, as in cloud-init.
    pub(super) fn read(text: &str) -> Self {
        let raw = raw(text);
        let hostname = raw.local_hostname.or(raw.hostname);
        let keys = raw.public_keys.as_ref().map(keys).unwrap_or_default();
        Self {
            hostname: hostname.filter(|name| is_name(name)).unwrap_or_default(),
            instance_id: raw.instance_id.filter(|id| is_line(id)),
            ssh_keys: keys.into_iter().filter(|key| is_line(key)).collect(),
        }
    }
}

fn raw(text: &str) -> Raw {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEEPEST,
            flow_nesting_limit: DEEPEST,
            max_nodes: MAX_NODES,
        },
        with_snippet: false,
    };
    let parsed: Result<Option<Raw>, _> = serde_saphyr::from_str_with_options(text, options);
    parsed.ok().flatten().unwrap_or_default()
}

/// Whether the name survives writing and reading unchanged.
fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let starts = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let is_null = name.eq_ignore_ascii_case("null");
    starts && name.len() <= MAX_LEN && name.chars().all(letter) && !is_null
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() || c == ' ')
}

/// Accepts a list, a text with one key per line, or a map from names to keys as some clouds write it.
fn keys(value: &Value) -> Vec<String> {
    let trimmed = |text: &str| text.lines().map(|line| line.trim().to_owned()).collect();
    match value {
        Value::String(text) => trimmed(text),
        Value::Array(all) => all
            .iter()
            .filter_map(Value::as_str)
            .flat_map(|text| -> Vec<_> { trimmed(text) })
            .collect(),
        Value::Object(named) => named
            .values()
            .filter(|named_value| !named_value.is_object())
            .flat_map(keys)
            .collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, Option<String>, Vec<String>) {
        let found = MetaData::read(text);
        (found.hostname, found.instance_id, found.ssh_keys)
    }

    #[test]
    fn keys_of_cidata_meta_data_stand_in_any_order_and_form() {
        let whole = (
            "web".to_owned(),
            Some("i-1".to_owned()),
            vec!["ssh-rsa A".to_owned()],
        );
        for text in [
            "instance-id: i-1\nlocal-hostname: web\npublic-keys:\n- ssh-rsa A\n",
            "# by hand\n\nlocal-hostname: \"web\"   # its name\ninstance-id: 'i-1'\npublic-keys: ssh-rsa A",
            "{\"local-hostname\": \"web\", \"public-keys\": [\"ssh-rsa A\"], \"instance-id\": \"i-1\"}",
            "hostname: web\ninstance-id: i-1\npublic-keys: {me: [ssh-rsa A]}\ndsmode: local\n",
            "---\r\ninstance-id: i-1\r\nlocal-hostname: web\r\npublic-keys: |\r\n  ssh-rsa A\r\n",
        ] {
            assert_eq!(read(text), whole, "{text}");
        }
        assert_eq!(read("local-hostname: 123\n").0, "123");
        assert_eq!(read("instance-id: 7\n").1, Some("7".to_owned()));
    }

    #[test]
    fn what_is_missing_in_cidata_meta_data_or_of_another_form_is_not_there() {
        for text in [
            "",
            "\n",
            "just a word",
            "- a\n- b\n",
            "local-hostname: [a]\n",
            "local-hostname: \"a\\nb\"\n",
            "a: b: c: {",
        ] {
            assert_eq!(read(text), (String::new(), None, Vec::new()), "{text}");
        }
    }
}
