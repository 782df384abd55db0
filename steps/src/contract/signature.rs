//! Checks and makes the signature over workload and env.

use std::time::SystemTime;

use rsa::{Pkcs1v15Sign, RsaPublicKey};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    document::ContractDocument,
    finding::{Finding, Report, SignatureState},
    keys::{ContractSigningKey, Key, KeyFault, Lifetime},
    token,
};
use crate::error;

/// The section that holds the signature.
pub(super) const SECTION: &str = "envWorkloadSignature";
/// The key of `env` that holds the signer's public key.
pub(super) const SIGNING_KEY: &str = "signingKey";

/// A certificate that ends within this many days gives a warning.
const SOON_DAYS: u64 = 30;

/// Checks the signature with the supplied key, or with the one in a plain `env`.
pub(super) fn check(
    document: &ContractDocument<'_>,
    supplied: Option<&Key>,
    now: Option<SystemTime>,
    report: &mut Report,
) {
    let key_in_env = own_key(document, &mut report.findings);
    let key = supplied.or(key_in_env.as_ref());
    for (signer, is_supplied) in [(key_in_env.as_ref(), false), (supplied, true)] {
        let Some(lifetime) = signer.and_then(|signer| signer.lifetime) else {
            continue;
        };
        report.certificate = Some(lifetime);
        let line = document.line(&["env", SIGNING_KEY]);
        report.certificate_line = line.filter(|_| !is_supplied);
        let finding = now.and_then(|time| expiry(lifetime, time));
        report.findings.extend(finding.map(|finding| {
            if is_supplied {
                finding
            } else {
                finding.of("env").at(line)
            }
        }));
    }
    if let (Some(supplied), Some(in_env)) = (supplied, &key_in_env)
        && supplied.public != in_env.public
    {
        let words = "the `signingKey` in `env` differs from the given key";
        let finding = Finding::error(error::CONTRACT_SIGNATURE, words);
        report
            .findings
            .push(finding.of("env").at(document.line(&["env", SIGNING_KEY])));
    }
    report.signature = state(
        document,
        key,
        supplied.is_some(),
        key_in_env.is_some(),
        &mut report.findings,
    );
}

fn state(
    document: &ContractDocument<'_>,
    key: Option<&Key>,
    supplied: bool,
    own: bool,
    findings: &mut Vec<Finding>,
) -> SignatureState {
    let line = document.line(&[SECTION]);
    let mut say = |finding: Finding| findings.push(finding.of(SECTION).at(line));
    let Some(text) = document.text(SECTION) else {
        if supplied || own {
            let words = "there is a key to check a signature with, and no `envWorkloadSignature`";
            let remedy = "Sign the contract, or remove `signingKey` from `env`.";
            say(Finding::warning(error::CONTRACT_SIGNATURE, words).with_remedy(remedy));
        }
        return SignatureState::None;
    };
    let signature = match token::decode(text) {
        Some(signature) if !signature.is_empty() => signature,
        _ => {
            say(Finding::error(
                error::CONTRACT_SIGNATURE,
                "the signature is not base64",
            ));
            return SignatureState::Invalid;
        }
    };
    let (Some(key), Some(workload), Some(env)) =
        (key, document.text("workload"), document.text("env"))
    else {
        let words = match key {
            None => "the signature was not checked: its key is not available",
            Some(_) => "the signature was not checked: `workload` or `env` is not text",
        };
        let remedy = "Name the signer's public key or certificate with `--key` or `--cert`.";
        say(Finding::warning(error::CONTRACT_SIGNATURE, words).with_remedy(remedy));
        return SignatureState::Unchecked;
    };
    if verifies(&key.public, &[workload, env], &signature) {
        return SignatureState::Valid;
    }
    if verifies(
        &key.public,
        &[workload.trim_end(), env.trim_end()],
        &signature,
    ) {
        let words = "the signature leaves out the line ends behind `workload` and `env`";
        let remedy = "Sign the sections as they stand in the contract, or write them with `|-`.";
        say(Finding::warning(error::CONTRACT_SIGNATURE, words).with_remedy(remedy));
        return SignatureState::Valid;
    }
    let words = "the signature does not belong to this workload, this env and this key";
    say(Finding::error(error::CONTRACT_SIGNATURE, words));
    SignatureState::Invalid
}

/// The signer's key in a plain `env`.
fn own_key(document: &ContractDocument<'_>, findings: &mut Vec<Finding>) -> Option<Key> {
    let value = document.env().mapping()?.get(SIGNING_KEY)?;
    let key = value
        .as_str()
        .ok_or(KeyFault::Unreadable)
        .and_then(|text| Key::read(text.as_bytes()));
    match key {
        Ok(key) => Some(key),
        Err(fault) => {
            let finding = Finding::error(error::CONTRACT_KEY, format!("`signingKey` {fault}"));
            findings.push(finding.of("env").at(document.line(&["env", SIGNING_KEY])));
            None
        }
    }
}

/// The finding about a certificate's validity period, if any.
pub(super) fn expiry(lifetime: Lifetime, now: SystemTime) -> Option<Finding> {
    let last = lifetime.last_day();
    match lifetime.days_left(now) {
        None => Some(Finding::error(
            error::CONTRACT_EXPIRED,
            format!("the certificate ended on {last}"),
        )),
        Some(_) if !lifetime.has_begun(now) => Some(Finding::error(
            error::CONTRACT_EXPIRED,
            "the certificate does not hold yet",
        )),
        Some(days) if days < SOON_DAYS => Some(Finding::warning(
            error::CONTRACT_EXPIRED,
            format!("the certificate ends on {last}: {days} days left"),
        )),
        Some(_) => None,
    }
}

/// Checks the key that encrypts the attestation record.
pub(super) fn attestation_key(document: &ContractDocument<'_>, findings: &mut Vec<Finding>) {
    const NAME: &str = "attestationPublicKey";
    let Some(Value::String(text)) = document.get(NAME) else {
        return;
    };
    if token::looks_encrypted(text) {
        return;
    }
    if let Err(fault) = Key::read(text.as_bytes()) {
        let words = format!("`{NAME}` {fault}");
        let finding = Finding::warning(error::CONTRACT_KEY, words).of(NAME);
        findings.push(finding.at(document.line(&[NAME])));
    }
}

fn verifies(key: &RsaPublicKey, parts: &[&str], signature: &[u8]) -> bool {
    let scheme = Pkcs1v15Sign::new::<Sha256>();
    key.verify(scheme, &digest(parts), signature).is_ok()
}

/// Signs these parts.
pub(super) fn sign(key: &ContractSigningKey, parts: &[&str]) -> Option<Vec<u8>> {
    let mut rng = super::encrypt::system_rng().ok()?;
    let scheme = Pkcs1v15Sign::new::<Sha256>();
    key.0.sign_with_rng(&mut rng, scheme, &digest(parts)).ok()
}

fn digest(parts: &[&str]) -> Vec<u8> {
    let mut hasher = Sha256::new();
    parts.iter().for_each(|part| hasher.update(part.as_bytes()));
    hasher.finalize().to_vec()
}
