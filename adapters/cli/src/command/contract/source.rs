//! Reads the contracts in a file, which is a contract itself or has VSI manifests with contracts.

use std::{io::Read as _, path::Path};

use vsiflow_workflows::spec::documents;
use zeroize::Zeroizing;

use crate::exit::{Exit, ExitProblem};

/// The largest file that is read, in bytes: a contract or a key has a few kilobytes.
const FILE_MAX: u64 = 8 * 1024 * 1024;

/// A contract, and its name in messages.
pub(super) struct ContractSource {
    pub(super) name: String,
    pub(super) contract: Zeroizing<Vec<u8>>,
}

/// All contracts of a file.
///
/// # Errors
/// When the file cannot be read, or holds manifests but none of a VSI.
pub(super) fn contracts(path: &Path) -> Result<Vec<ContractSource>, ExitProblem> {
    let contract = read(path)?;
    let name = shown(path);
    if is_manifest(&contract) {
        of_manifests(&name, &contract)
    } else {
        Ok(vec![ContractSource { name, contract }])
    }
}

/// The one contract of a file.
///
/// # Errors
/// As for [`contracts`], and when it holds several.
pub(super) fn contract(path: &Path) -> Result<ContractSource, ExitProblem> {
    let mut all = contracts(path)?;
    match (all.pop(), all.len()) {
        (Some(only), 0) => Ok(only),
        (_, more) => {
            let name = shown(path);
            let count = more.saturating_add(1);
            let message = format!("{name} holds the contracts of {count} VSIs");
            let remedy = "use a file with one contract, or with the manifest of one VSI";
            Err(ExitProblem::new(Exit::Usage, "VSI0808", message, remedy))
        }
    }
}

/// Whether these are Kubernetes objects: contracts do not have these keys.
fn is_manifest(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    let keys = ["apiVersion", "kind"];
    let yaml = |key: &&str| {
        text.lines()
            .any(|line| line.starts_with(&format!("{key}:")))
    };
    let json = |key: &&str| text.contains(&format!("\"{key}\""));
    let braced = text.trim_start().starts_with('{');
    keys.iter().all(yaml) || braced && keys.iter().all(json)
}

fn of_manifests(name: &str, bytes: &[u8]) -> Result<Vec<ContractSource>, ExitProblem> {
    let loaded = vsiflow_file::load_text(name, bytes)?;
    let has_one = |vsi: &&documents::Document<vsiflow_workflows::spec::VsiSpec>| {
        let guest = vsi.spec.guest.as_ref();
        guest.is_none_or(|guest| guest.contract.is_some())
    };
    let vsis = loaded.documents.vsis.iter().filter(has_one);
    let source = |vsi: &documents::Document<vsiflow_workflows::spec::VsiSpec>| {
        Some(ContractSource {
            name: format!("{name}, contract of {}", vsi.meta.full_name()),
            contract: Zeroizing::new(vsi.spec.contract.secret()?.expose().to_vec()),
        })
    };
    let sources: Vec<_> = vsis.filter_map(source).collect();
    if sources.is_empty() {
        let message = format!("{name} holds Kubernetes objects, and none of them has a contract");
        let remedy = format!(
            "use the contract itself, or the manifest of a {}",
            documents::VSI
        );
        return Err(ExitProblem::new(Exit::Usage, "VSI0808", message, &remedy));
    }
    Ok(sources)
}

/// Reads a small file.
///
/// # Errors
/// `VSI0805` if it does not exist, may not be read or is too large.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, ExitProblem> {
    let mut bytes = Zeroizing::new(Vec::new());
    let limit = FILE_MAX.saturating_add(1);
    let read = match path.to_str() {
        Some("-") => std::io::stdin().lock().take(limit).read_to_end(&mut bytes),
        _ => std::fs::File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)),
    };
    match read {
        Ok(_) if bytes.len() as u64 > FILE_MAX => Err(unreadable(path, "it is larger than 8 MiB")),
        Ok(_) => Ok(bytes),
        Err(error) => Err(unreadable(path, &error.to_string())),
    }
}

/// Reads a small file of text.
///
/// # Errors
/// As for [`read`], and when it is not UTF-8.
pub(super) fn text(path: &Path) -> Result<Zeroizing<String>, ExitProblem> {
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| unreadable(path, "it is not UTF-8 text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

pub(super) fn unreadable(path: &Path, why: &str) -> ExitProblem {
    let words = format!("{} cannot be read: {why}", shown(path));
    ExitProblem::new(
        Exit::Usage,
        "VSI0805",
        words,
        "name an existing, readable file",
    )
}

/// The name of a file in messages.
pub(super) fn shown(path: &Path) -> String {
    match path.to_str() {
        Some("-") => "<stdin>".to_owned(),
        _ => path.display().to_string(),
    }
}
