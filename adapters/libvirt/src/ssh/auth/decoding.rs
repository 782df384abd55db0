//! Decodes private keys.

use russh::keys::PrivateKey;
use sha2::{Digest as _, Sha256};
use vsiflow_engine::secret::Secret;
use zeroize::Zeroizing;

use super::cost::{self, KeyCost};
use super::encryption;
use crate::connect_error::KeyProblem;

/// The length limit of a key in bytes. An RSA key of 16,384 bits has 13 KiB.
const LENGTH: usize = 64 << 10;

/// A private key as the user gives it.
pub(super) struct GivenKey {
    text: Secret,
    passphrase: Option<Secret>,
}

impl GivenKey {
    pub(super) fn new(text: Secret, passphrase: Option<Secret>) -> Self {
        Self { text, passphrase }
    }

    /// The hash by which an opened key is found again. The lengths keep text and passphrase apart.
    pub(super) fn digest(&self, owner: &str) -> [u8; 32] {
        let no_passphrase = Secret::default();
        let passphrase = self.passphrase.as_ref().unwrap_or(&no_passphrase);
        let parts = [owner.as_bytes(), self.text.expose(), passphrase.expose()];
        let mut hash = Sha256::new();
        for part in parts {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    /// Checks the key without decrypting it.
    pub(super) fn readable(self) -> Result<ReadableKey, KeyProblem> {
        let malformed = |reason: &str| KeyProblem::Malformed(reason.to_owned());
        if self.text.expose().len() > LENGTH {
            return Err(malformed("it is longer than 64 KiB"));
        }
        let text = self.text.expose_str();
        let text = tidy(text.ok_or_else(|| malformed("it is not text"))?);
        if let Some(kind) = other_than_private(&text) {
            return Err(malformed(kind));
        }
        if let Some(problem) = encryption::unsupported(&text) {
            return Err(problem);
        }
        let odd = |secret: &Secret| secret.expose_str().is_none();
        let passphrase = self.passphrase.filter(|_| !is_plain(&text));
        let cost = match &passphrase {
            Some(_) => cost::of(&text)?,
            None => KeyCost::None,
        };
        if passphrase.as_ref().is_some_and(odd) {
            return Err(malformed("its passphrase is not text"));
        }
        Ok(ReadableKey {
            text,
            passphrase,
            cost,
        })
    }
}

/// A private key whose cost is known and within the limits.
pub(super) struct ReadableKey {
    text: Zeroizing<String>,
    passphrase: Option<Secret>,
    pub(super) cost: KeyCost,
}

impl ReadableKey {
    /// Decodes the key. Takes as long as its cost says.
    pub(super) fn decode(&self) -> Result<PrivateKey, KeyProblem> {
        let passphrase = self.passphrase.as_ref().and_then(Secret::expose_str);
        russh::keys::decode_secret_key(&self.text, passphrase).map_err(|error| {
            match (
                looks_encrypted(&self.text) || is_encrypted(&error),
                passphrase,
            ) {
                (true, None) => KeyProblem::Encrypted,
                (true, Some(_)) => KeyProblem::WrongPassphrase,
                (false, _) => KeyProblem::Malformed(error.to_string()),
            }
        })
    }
}

/// What the text is, if it is the other half of a key.
fn other_than_private(text: &str) -> Option<&'static str> {
    let begins = |beginnings: &[&str]| beginnings.iter().any(|start| text.starts_with(start));
    let line = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
    let block = [
        "---- BEGIN SSH2 PUBLIC KEY",
        "-----BEGIN PUBLIC KEY",
        "-----BEGIN RSA PUBLIC KEY",
    ];
    if begins(&line) || begins(&block) {
        return Some("it is the public key");
    }
    begins(&["-----BEGIN CERTIFICATE"]).then_some("it is a certificate")
}

/// A key pasted into YAML may have indentation or other line ends, and one from Windows a byte order mark.
fn tidy(text: &str) -> Zeroizing<String> {
    let mut tidy = Zeroizing::new(String::with_capacity(text.len().saturating_add(1)));
    let without_mark = text.strip_prefix('\u{feff}').unwrap_or(text);
    for line in without_mark.lines() {
        tidy.push_str(line.trim());
        tidy.push('\n');
    }
    tidy
}

/// Whether it is a key of PKCS#8 or SEC1 that is not encrypted. The library would decrypt it with a passphrase.
fn is_plain(text: &str) -> bool {
    let mut begins = ["-----BEGIN PRIVATE KEY", "-----BEGIN EC PRIVATE KEY"].into_iter();
    begins.any(|begin| text.contains(begin)) && !looks_encrypted(text)
}

fn looks_encrypted(text: &str) -> bool {
    text.contains("ENCRYPTED")
}

fn is_encrypted(error: &russh::keys::Error) -> bool {
    use russh::keys::ssh_key::Error as KeyError;
    matches!(
        error,
        russh::keys::Error::KeyIsEncrypted
            | russh::keys::Error::SshKey(KeyError::Encrypted | KeyError::Crypto)
    )
}
