//! What is checked of a contract before a boot is spent on it.
//!
//! A contract is a secret: no message here repeats anything of it but the names of its sections.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::Deserialize;
use serde_json::Value;
use vsiflow_engine::model::Failure;

use crate::error::{self, Code};

/// The prefixes of an encrypted section: the product's first name, and its newer one.
pub const TOKEN_PREFIXES: [&str; 2] = ["hyper-protect-basic.", "contract-basic."];

/// The sections a guest knows; `workload` and `env` are required.
pub const SECTIONS: [&str; 4] = [
    "workload",
    "env",
    "attestationPublicKey",
    "envWorkloadSignature",
];

#[derive(Deserialize)]
struct Document(BTreeMap<String, Value>);

/// Checks a contract's form.
///
/// # Errors
/// The first thing that would keep the guest from taking it, blocked, with the line where that
/// is known.
pub fn check(contract: &[u8]) -> Result<(), Failure> {
    let text = std::str::from_utf8(contract)
        .map_err(|_| error::CONTRACT_YAML.failure("the contract is not UTF-8 text"))?;
    let Document(sections) = serde_saphyr::from_str(text).map_err(|e| not_a_mapping(&e))?;
    required(text, &sections, "workload", error::CONTRACT_WORKLOAD)?;
    required(text, &sections, "env", error::CONTRACT_ENV)?;
    for name in ["attestationPublicKey", "envWorkloadSignature"] {
        if let Some(section) = sections.get(name) {
            text_section(text, name, section)?;
        }
    }
    Ok(())
}

fn not_a_mapping(error: &serde_saphyr::Error) -> Failure {
    let place = error
        .location()
        .map(|at| format!(" (line {})", at.line()))
        .unwrap_or_default();
    error::CONTRACT_YAML.failure(format!(
        "the contract is no YAML mapping of sections{place}"
    ))
}

fn required(
    text: &str,
    sections: &BTreeMap<String, Value>,
    name: &str,
    missing: Code,
) -> Result<(), Failure> {
    match sections.get(name) {
        None | Some(Value::Null) => {
            Err(missing.failure(format!("the contract has no section `{name}`")))
        }
        Some(Value::Object(map)) if !map.is_empty() => Ok(()),
        Some(section) => text_section(text, name, section),
    }
}

fn text_section(text: &str, name: &str, section: &Value) -> Result<(), Failure> {
    match section {
        Value::String(value) if value.trim().is_empty() => Err(wrong(text, name, "is empty")),
        Value::String(value) if looks_encrypted(value) => {
            token(value.trim()).ok_or_else(|| wrong(text, name, "is a broken encrypted token"))
        }
        Value::String(_) => Ok(()),
        _ => Err(wrong(
            text,
            name,
            "is neither text nor a mapping with content",
        )),
    }
}

fn wrong(text: &str, name: &str, what: &str) -> Failure {
    let starts = |line: &str| {
        let line = line.trim_start_matches(['"', '\'']);
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with([':', '"', '\'', ' ']))
    };
    let line = text.lines().position(starts);
    let place = line
        .map(|n| format!(" (line {})", n.saturating_add(1)))
        .unwrap_or_default();
    error::CONTRACT_SECTION.failure(format!("the contract's section `{name}` {what}{place}"))
}

/// Whether the text means to be an encrypted section: it has a token's name before its first dot.
fn looks_encrypted(value: &str) -> bool {
    let value = value.trim_start();
    TOKEN_PREFIXES
        .iter()
        .any(|prefix| value.starts_with(prefix.trim_end_matches('.')))
}

fn token(value: &str) -> Option<()> {
    let rest = TOKEN_PREFIXES
        .iter()
        .find_map(|prefix| value.strip_prefix(prefix))?;
    let (password, data) = rest.split_once('.')?;
    for part in [password, data] {
        let part: String = part.split_ascii_whitespace().collect();
        if BASE64.decode(part).ok()?.is_empty() {
            return None;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(contract: &str) -> Option<String> {
        check(contract.as_bytes())
            .err()
            .map(|failure| failure.code.as_str().to_owned())
    }

    #[test]
    fn plain_and_encrypted_contracts_pass() {
        for contract in [
            "workload: text\nenv: text\n",
            "workload:\n  type: workload\nenv:\n  type: env\n",
            "env: hyper-protect-basic.YWJj.ZGVm\nworkload: contract-basic.YWJj.ZGVm\n",
            "workload: |\n  type: workload\nenv: |\n  type: env\nenvWorkloadSignature: YWJj\n",
        ] {
            assert_eq!(check(contract.as_bytes()), Ok(()), "{contract}");
        }
    }

    #[test]
    fn each_defect_has_its_code() {
        for (contract, expected) in [
            ("- a\n- b\n", "VSI0401"),
            ("a: [", "VSI0401"),
            ("", "VSI0402"),
            ("env: x\n", "VSI0402"),
            ("workload: x\n", "VSI0403"),
            ("workload: x\nenv:\n", "VSI0403"),
            ("workload: ''\nenv: x\n", "VSI0404"),
            ("workload: {}\nenv: x\n", "VSI0404"),
            ("workload: [a]\nenv: x\n", "VSI0404"),
            ("workload: hyper-protect-basic.YWJj\nenv: x\n", "VSI0404"),
            ("workload: contract-basic.YWJj.%%%\nenv: x\n", "VSI0404"),
            ("workload: x\nenv: hyper-protect-basic\n", "VSI0404"),
        ] {
            assert_eq!(code(contract).as_deref(), Some(expected), "{contract:?}");
        }
        assert!(check(&[0xff, 0xfe]).is_err());
    }

    #[test]
    fn errors_name_the_line_and_never_the_content() {
        let secret = "hunter2";
        let failure = check(format!("workload: {secret}\nenv:\n  - {secret}\n").as_bytes());
        let text = format!("{:?}", failure.unwrap_err());
        assert!(text.contains("line 2") && !text.contains(secret), "{text}");
        let text = format!(
            "{:?}",
            check(b"workload: x\nenv: hunter2: [\n").unwrap_err()
        );
        assert!(text.contains("line") && !text.contains(secret), "{text}");
    }
}
