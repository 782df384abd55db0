//! Splits a text into its documents, as they were written, and finds those with secrets.

use std::collections::BTreeMap;

use vsiflow_engine::secret::Secret;
use vsiflow_workflows::spec::documents::{CONFIG_MAP, SECRET};
use vsiflow_workflows::spec::{KeyValues, host};

use crate::document::object;
use crate::input::InputText;
use crate::node::{Value, YamlNode};
use crate::split::{split, without_marks};
use crate::yaml::parse;

/// A document, or a list of documents, as it was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentPart {
    /// Its text; it begins with `---`, so it can follow another document.
    pub text: String,
    /// The objects that hold host credentials: Secrets, and ConfigMaps with a password or key. Each is
    /// written as `KIND NAMESPACE/NAME`.
    pub secrets: Vec<String>,
    /// Whether it has no other objects.
    pub only_secrets: bool,
    /// The other objects with a contract or user-data that is not encrypted.
    pub readable: Vec<String>,
}

/// The prefixes of a contract that only its image can decrypt.
const ENCRYPTED: [&str; 2] = ["hyper-protect-basic.", "contract-basic."];
/// The fields that hold contracts or user-data.
const PRIVATE: [&str; 2] = ["contract", "userData"];

/// Splits a text into documents, in their order. One that cannot be parsed counts as a secret.
pub fn parts(text: &InputText) -> Vec<DocumentPart> {
    let content = String::from_utf8_lossy(&text.bytes);
    let content = without_marks(&content);
    let chunks = split(&content).into_iter();
    chunks.map(|chunk| part(chunk.text)).collect()
}

fn part(chunk: &str) -> DocumentPart {
    let begun = chunk.starts_with("---");
    let ended = chunk.ends_with('\n');
    let text = format!(
        "{}{chunk}{}",
        if begun { "" } else { "---\n" },
        if ended { "" } else { "\n" }
    );
    let mut part = DocumentPart {
        text,
        only_secrets: true,
        ..DocumentPart::default()
    };
    let Ok(node) = parse(chunk) else {
        part.secrets
            .push("a document that cannot be read".to_owned());
        return part;
    };
    match node.get("items").map(|items| &items.value) {
        Some(Value::List(items)) if kind(&node).ends_with("List") => {
            items.iter().for_each(|item| part.judge(item));
        }
        _ => part.judge(&node),
    }
    part
}

impl DocumentPart {
    fn judge(&mut self, node: &YamlNode) {
        let kind = kind(node);
        let name = || object(kind, node);
        if kind == SECRET || kind == CONFIG_MAP && holds_secrets(node) {
            return self.secrets.push(name());
        }
        self.only_secrets = false;
        if is_readable(node) {
            self.readable.push(name());
        }
    }
}

fn kind(node: &YamlNode) -> &str {
    node.get("kind")
        .and_then(YamlNode::text)
        .unwrap_or_default()
}

fn holds_secrets(config_map: &YamlNode) -> bool {
    let data = config_map.get("data").map(YamlNode::entries);
    let values = data.unwrap_or_default().iter().filter_map(|entry| {
        let text = entry.node.text()?.as_bytes().to_vec();
        Some((entry.key.clone(), Secret::new(text)))
    });
    let values: BTreeMap<_, _> = values.collect();
    !host::secrets_in(&KeyValues(values)).is_empty()
}

/// Whether a contract or user-data in it is not encrypted.
fn is_readable(node: &YamlNode) -> bool {
    match &node.value {
        Value::Map(entries) => entries.iter().any(|entry| {
            let private = PRIVATE.contains(&entry.key.as_str());
            match entry.node.text() {
                Some(text) if private => !is_encrypted(text),
                _ => is_readable(&entry.node),
            }
        }),
        Value::List(nodes) => nodes.iter().any(is_readable),
        _ => false,
    }
}

fn is_encrypted(text: &str) -> bool {
    let mut parts = text.lines().filter(|line| !line.trim().is_empty());
    // A contract is one encrypted text, or a map of them.
    let encrypted = |line: &str| {
        let signature = line.starts_with("envWorkloadSignature:");
        signature || ENCRYPTED.iter().any(|begin| line.contains(begin))
    };
    text.trim().is_empty() || parts.all(encrypted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts_of(text: &str) -> Vec<DocumentPart> {
        parts(&InputText {
            name: "a.yaml".to_owned(),
            bytes: text.as_bytes().to_vec(),
        })
    }

    #[test]
    fn secrets_are_told_from_what_only_names_them() {
        let text = "kind: Secret\nmetadata: {name: a}\nstringData: {KEY: x}\n---\n\
             kind: ConfigMap\nmetadata: {name: b, namespace: n}\ndata: {HOSTNAME: h, KEY_FILE: /k}\n---\n\
             kind: ConfigMap\nmetadata: {name: c}\ndata: {KEY: x, INSECURE_SECRETS_IN_CONFIGMAP: 'true'}\n";
        let parts = parts_of(text);
        let found: Vec<_> = parts
            .iter()
            .map(|part| (part.only_secrets, part.secrets.join(",")))
            .collect();
        assert_eq!(
            found,
            [
                (true, "Secret default/a".to_owned()),
                (false, String::new()),
                (true, "ConfigMap default/c".to_owned()),
            ]
        );
    }

    #[test]
    fn a_list_may_hold_both() {
        let list = "kind: List\nitems:\n- {kind: Secret, metadata: {name: a}}\n- {kind: X, metadata: {name: b}}\n";
        let [part] = &parts_of(list)[..] else {
            panic!("one part")
        };
        assert_eq!(
            (part.only_secrets, &part.secrets[..]),
            (false, &["Secret default/a".to_owned()][..])
        );
        let only = parts_of("kind: SecretList\nitems: [{kind: Secret, metadata: {name: a}}]\n");
        assert!(only[0].only_secrets);
        assert!(
            parts_of("a: [b\n")[0].only_secrets,
            "its content is unknown"
        );
    }

    #[test]
    fn what_an_image_alone_decrypts_is_not_readable() {
        let readable = |spec: &str| {
            let text = format!("kind: X\nmetadata: {{name: a}}\nspec:\n  {spec}\n");
            parts_of(&text)[0].readable.clone()
        };
        assert!(readable("contract: hyper-protect-basic.abc.def").is_empty());
        assert!(
            readable(
                "contract: |\n    env: hyper-protect-basic.a\n    workload: hyper-protect-basic.b"
            )
            .is_empty()
        );
        assert_eq!(readable("contract: |\n    env: plain"), ["X default/a"]);
        assert_eq!(
            readable("waves: [{template: {spec: {guest: {userData: x}}}}]"),
            ["X default/a"]
        );
        assert!(readable("guest: {userDataFrom: {secret: a}}").is_empty());
    }

    #[test]
    fn parts_can_be_put_together_again() {
        let all = parts_of("a: 1\n...\n%YAML 1.2\n---\nb: 2\n---\nc: 3");
        let text: String = all.into_iter().map(|part| part.text).collect();
        assert_eq!(text, "---\na: 1\n---\nb: 2\n---\nc: 3\n");
    }
}
