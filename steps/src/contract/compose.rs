//! Makes a contract from a folder with a compose file. The same folder and variables give the same bytes,
//! except for what is encrypted.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use flate2::{Compression, GzBuilder};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{
    document,
    encrypt::{self, plain_sections},
    finding::{Finding, Severity},
    keys::{ContractSigningKey, Key},
};
use crate::error;

/// A file in the folder.
#[derive(Clone, Debug)]
pub struct PackedFile {
    /// Its path below the folder, with `/` between names.
    pub path: String,
    /// The file's content.
    pub data: Vec<u8>,
    /// Whether it is executable.
    pub executable: bool,
}

/// A contract and the warnings about it. It is a secret unless it is encrypted.
#[derive(Debug)]
pub struct Made {
    /// The contract.
    pub contract: Zeroizing<String>,
    /// Findings; only warnings.
    pub doubts: Vec<Finding>,
}

/// Makes a contract from the files of a folder. `env` describes the environment: lines `NAME=VALUE`, or
/// the section's own YAML. With a key the sections are encrypted; with a signer they are signed.
///
/// # Errors
/// Findings for which the guest would refuse the contract, such as a folder without a compose file; an
/// `env` that is in neither form; a key that cannot be used.
pub fn compose(
    files: &[PackedFile],
    env: Option<&str>,
    key: Option<&Key>,
    signer: Option<&ContractSigningKey>,
) -> Result<Made, Vec<Finding>> {
    let as_list = |finding| vec![finding];
    let workload = format!(
        "type: workload\ncompose:\n  archive: {}\n",
        archive(files).map_err(as_list)?
    );
    let env = env_section(env.unwrap_or_default()).map_err(as_list)?;
    let plain = Zeroizing::new(plain_sections(workload, env).map_err(as_list)?);
    let (errors, doubts): (Vec<_>, Vec<_>) =
        super::inspect(plain.as_bytes(), &super::CheckInputs::default())
            .findings
            .into_iter()
            // This function adds the signature below.
            .filter(|finding| signer.is_none() || finding.code != error::CONTRACT_SIGNATURE.code)
            .partition(|finding| finding.severity == Severity::Error);
    if !errors.is_empty() {
        return Err(errors);
    }
    let contract = match (key, signer) {
        (Some(key), signer) => Zeroizing::new(encrypt::encrypt(plain.as_bytes(), key, signer)?),
        (None, Some(signer)) => {
            Zeroizing::new(encrypt::sign_plain(plain.as_bytes(), signer).map_err(as_list)?)
        }
        (None, None) => plain,
    };
    Ok(Made { contract, doubts })
}

/// Packs the files as a gzipped tar file in base64, without timestamps and owners.
fn archive(files: &[PackedFile]) -> Result<String, Finding> {
    let fault = |_| Finding::error(error::CONTRACT_ARCHIVE, "the folder cannot be packed");
    let mut sorted: Vec<_> = files.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    let gzip = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    let mut tar = tar::Builder::new(gzip);
    for file in sorted {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(if file.executable { 0o755 } else { 0o644 });
        header.set_size(file.data.len() as u64);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, &file.path, file.data.as_slice())
            .map_err(fault)?;
    }
    let packed = tar
        .into_inner()
        .and_then(|packer| packer.finish())
        .map_err(fault)?;
    Ok(BASE64.encode(packed))
}

/// The text of the section `env`.
fn env_section(text: &str) -> Result<String, Finding> {
    let mut section = match variables(text) {
        Ok(variables) => {
            let fields =
                (!variables.is_empty()).then(|| ("env".to_owned(), Value::Object(variables)));
            Map::from_iter(fields)
        }
        Err(line) => {
            let map = document::parse(text)
                .ok()
                .filter(|map| !map.is_empty())
                .ok_or_else(|| not_env(line))?;
            if map.contains_key("type") {
                return Ok(text.to_owned());
            }
            map.into_iter().collect()
        }
    };
    section.insert("type".to_owned(), Value::String("env".to_owned()));
    encrypt::write(&section)
}

fn not_env(line: u64) -> Finding {
    let words = "this is neither `NAME=VALUE` nor the YAML of a section";
    let remedy = "Give a line `NAME=VALUE` for each variable, or the whole section `env` in YAML.";
    let finding = Finding::error(error::CONTRACT_SECTION, words).with_remedy(remedy);
    finding.of("env").at(Some(line))
}

/// Parses lines `NAME=VALUE`, comments and blank lines; the error is the number of the first other line.
/// Values are taken literally, as Docker reads such a file.
fn variables(text: &str) -> Result<Map<String, Value>, u64> {
    let mut variables = Map::new();
    for (line, number) in text.lines().zip(1_u64..) {
        let start = line.trim_end_matches('\r').trim_start();
        if start.is_empty() || start.starts_with('#') {
            continue;
        }
        let (name, value) = start
            .split_once('=')
            .filter(|(name, _)| is_name(name))
            .ok_or(number)?;
        variables.insert(name.to_owned(), Value::String(value.to_owned()));
    }
    Ok(variables)
}

fn is_name(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit()) && name.chars().all(letter)
}
