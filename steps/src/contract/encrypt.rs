//! Encrypts plain sections in the format that guests and OpenSSL decrypt.

use aes::{
    Aes256,
    cipher::{BlockModeEncrypt as _, KeyIvInit as _, block_padding::Pkcs7},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use hmac::Hmac;
use rsa::{Pkcs1v15Encrypt, RsaPublicKey, rand_core::UnwrapErr};
use serde_json::{Map, Value};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{
    document::{ContractDocument, Plain},
    finding::Finding,
    keys::{ContractSigningKey, Key},
    signature::{self, SIGNING_KEY},
    token::{MAGIC, SALT, TOKEN_PREFIXES},
};
use crate::error;

/// The password's length in bytes, the same as in IBM's own scripts.
const PASSWORD: usize = 32;
/// The default of `openssl enc -pbkdf2`.
const ITERATIONS: u32 = 10_000;
const KEY: usize = 32;
const IV: usize = 16;

/// The system's random numbers. The first read is a test: a system without any is an error here.
pub(super) fn system_rng() -> Result<UnwrapErr<getrandom::SysRng>, Finding> {
    getrandom::fill(&mut [0; 1]).map_err(|_| no_random())?;
    Ok(UnwrapErr(getrandom::SysRng))
}

fn no_random() -> Finding {
    Finding::error(error::CONTRACT_KEY, "the system provides no random numbers")
}

/// Encrypts a section's text for the holder of the key.
///
/// # Errors
/// When the system provides no random numbers, or the key is too short.
fn token(text: &str, key: &RsaPublicKey) -> Result<String, Finding> {
    let mut password = Zeroizing::new([0_u8; PASSWORD]);
    // `openssl enc -pass stdin` reads a line: a line end or a zero byte would cut the password.
    while password.iter().any(|byte| [0, b'\n', b'\r'].contains(byte)) {
        getrandom::fill(password.as_mut_slice()).map_err(|_| no_random())?;
    }
    let sealed = key
        .encrypt(&mut system_rng()?, Pkcs1v15Encrypt, password.as_slice())
        .map_err(|_| Finding::error(error::CONTRACT_KEY, "the key cannot encrypt a password"))?;
    let data = salted(text.as_bytes(), password.as_slice())?;
    let [prefix, _] = TOKEN_PREFIXES;
    Ok(format!(
        "{prefix}{}.{}",
        BASE64.encode(sealed),
        BASE64.encode(data)
    ))
}

/// Encrypts in the format of `openssl enc -aes-256-cbc -pbkdf2`.
fn salted(text: &[u8], password: &[u8]) -> Result<Vec<u8>, Finding> {
    let mut salt = [0_u8; SALT];
    getrandom::fill(&mut salt).map_err(|_| no_random())?;
    let mut derived = Zeroizing::new([0_u8; KEY + IV]);
    let defect = |_| Finding::error(error::CONTRACT_KEY, "the password cannot be used");
    pbkdf2::pbkdf2::<Hmac<Sha256>>(password, &salt, ITERATIONS, derived.as_mut_slice())
        .map_err(defect)?;
    let (key, iv) = derived.split_at(KEY);
    let cipher = cbc::Encryptor::<Aes256>::new_from_slices(key, iv)
        .map_err(|_| Finding::error(error::CONTRACT_KEY, "the password cannot be used"))?;
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&salt);
    out.extend(cipher.encrypt_padded_vec::<Pkcs7>(text));
    Ok(out)
}

/// Encrypts `workload` and `env` if they are plain, and signs them if there is a key to sign with.
/// Everything else stays as it is.
///
/// # Errors
/// The contract's own errors, a signature that would no longer match, or a `signingKey` that belongs to
/// another key.
pub fn encrypt(
    contract: &[u8],
    key: &Key,
    signer: Option<&ContractSigningKey>,
) -> Result<String, Vec<Finding>> {
    let errors: Vec<Finding> = super::inspect(contract, &super::CheckInputs::default())
        .errors()
        .filter(|finding| signer.is_none() || finding.code != error::CONTRACT_SIGNATURE.code)
        .cloned()
        .collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    let document = ContractDocument::read(contract).map_err(|finding| vec![finding])?;
    sections(&document, Some(key), signer).map_err(|finding| vec![finding])
}

/// Signs the contract and leaves its sections as they are.
///
/// # Errors
/// A `signingKey` that belongs to another key, or a key that cannot sign.
pub(super) fn sign_plain(contract: &[u8], signer: &ContractSigningKey) -> Result<String, Finding> {
    sections(&ContractDocument::read(contract)?, None, Some(signer))
}

fn sections(
    document: &ContractDocument<'_>,
    key: Option<&Key>,
    signer: Option<&ContractSigningKey>,
) -> Result<String, Finding> {
    let plain = ["workload", "env"]
        .into_iter()
        .any(|name| !document.is_encrypted(name));
    if signer.is_none() && plain && document.get(signature::SECTION).is_some() {
        let words = "the contract is signed, and encrypting its sections would break that";
        let remedy =
            "Name the signer's key with `--private-key`, or remove `envWorkloadSignature`.";
        let line = document.line(&[signature::SECTION]);
        let finding = Finding::error(error::CONTRACT_SIGNATURE, words).with_remedy(remedy);
        return Err(finding.of(signature::SECTION).at(line));
    }
    let workload = section(document, "workload", key, None)?;
    let env = section(document, "env", key, signer)?;
    let signed = match signer {
        Some(signer) => Some(sign(signer, &workload, &env)?),
        None => None,
    };
    let mut out = match key {
        // Tokens and base64 are plain scalars of YAML: each is one line, as IBM's own tools write it.
        Some(_) => format!("workload: {workload}\nenv: {env}\n"),
        None => plain_sections(workload, env)?,
    };
    for name in document.names() {
        let written =
            ["workload", "env"].contains(&name) || (signed.is_some() && name == signature::SECTION);
        if let (false, Some(value)) = (written, document.get(name)) {
            out.push_str(&write(&Map::from_iter([(name.to_owned(), value.clone())]))?);
        }
    }
    if let Some(signed) = signed {
        out.push_str(&format!("{}: {signed}\n", signature::SECTION));
    }
    Ok(out)
}

/// Both sections as blocks of text.
pub(super) fn plain_sections(workload: String, env: String) -> Result<String, Finding> {
    let section =
        |name: &str, text| write(&Map::from_iter([(name.to_owned(), Value::String(text))]));
    Ok(format!(
        "{}{}",
        section("workload", workload)?,
        section("env", env)?
    ))
}

fn sign(signer: &ContractSigningKey, workload: &str, env: &str) -> Result<String, Finding> {
    let signed = signature::sign(signer, &[workload, env])
        .ok_or_else(|| Finding::error(error::CONTRACT_KEY, "the private key cannot sign"))?;
    Ok(BASE64.encode(signed))
}

/// A section's new value: a token, or its old text if there is no key.
fn section(
    document: &ContractDocument<'_>,
    name: &str,
    key: Option<&Key>,
    signer: Option<&ContractSigningKey>,
) -> Result<String, Finding> {
    if document.is_encrypted(name) {
        // Whitespace around and within a token is not part of it.
        let text = document.text(name).unwrap_or_default();
        return Ok(text.split_ascii_whitespace().collect());
    }
    let mut text = Zeroizing::new(match document.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(map)) => write(map)?,
        _ => String::new(),
    });
    if let Some(signer) = signer {
        with_signing_key(document, signer, &mut text)?;
    }
    match key {
        Some(key) => token(&text, &key.public),
        None => Ok(text.to_string()),
    }
}

/// Adds the signer's public key to a plain `env` that has none.
fn with_signing_key(
    document: &ContractDocument<'_>,
    signer: &ContractSigningKey,
    text: &mut Zeroizing<String>,
) -> Result<(), Finding> {
    let Plain::Mapping(env) = document.env() else {
        return Ok(());
    };
    if let Some(Value::String(given)) = env.get(SIGNING_KEY) {
        let key = Key::read(given.as_bytes()).ok();
        if key.is_some_and(|key| key.public != signer.public()) {
            let words = "the `signingKey` in `env` does not belong to the given private key";
            let line = document.line(&["env", SIGNING_KEY]);
            return Err(Finding::error(error::CONTRACT_SIGNATURE, words)
                .of("env")
                .at(line));
        }
        return Ok(());
    }
    let pem = signer
        .public_pem()
        .ok_or_else(|| Finding::error(error::CONTRACT_KEY, "the private key cannot be read"))?;
    let mut signed = env.clone();
    signed.insert(SIGNING_KEY.to_owned(), Value::String(pem));
    *text = Zeroizing::new(write(&signed)?);
    Ok(())
}

pub(super) fn write(map: &Map<String, Value>) -> Result<String, Finding> {
    serde_saphyr::to_string(map)
        .map_err(|_| Finding::error(error::CONTRACT_YAML, "the contract cannot be rewritten"))
}
