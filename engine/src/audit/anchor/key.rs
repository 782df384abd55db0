//! Ed25519 keys, read from key files.

use std::fmt;

use ed25519_dalek::{
    Signature, Signer as _,
    pkcs8::{DecodePrivateKey as _, DecodePublicKey as _},
};

/// Error: the text is not a usable Ed25519 key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidKey(&'static str);

/// A private key that signs audit anchors. Wiped when dropped, and never printed.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// Reads a private key: an OpenSSH file or PKCS#8 in PEM, without a passphrase.
    ///
    /// # Errors
    /// When the text is not a private key, has a passphrase, or is not an Ed25519 key.
    pub fn read(text: &str) -> Result<Self, InvalidKey> {
        if text.contains("BEGIN OPENSSH PRIVATE KEY") {
            return Self::of_openssh(text);
        }
        if text.contains("BEGIN ENCRYPTED PRIVATE KEY") {
            return Err(InvalidKey(LOCKED));
        }
        let key = ed25519_dalek::SigningKey::from_pkcs8_pem(text.trim());
        key.map(Self).map_err(|_| {
            InvalidKey("it is not an Ed25519 private key, neither as OpenSSH nor as PKCS#8 in PEM")
        })
    }

    fn of_openssh(text: &str) -> Result<Self, InvalidKey> {
        let key = ssh_key::PrivateKey::from_openssh(text.trim())
            .map_err(|_| InvalidKey("it is a damaged OpenSSH private key"))?;
        if key.is_encrypted() {
            return Err(InvalidKey(LOCKED));
        }
        let pair = key.key_data().ed25519().ok_or(InvalidKey(
            "it is not an Ed25519 key; make one with `ssh-keygen -t ed25519`",
        ))?;
        let seed: &[u8; 32] = pair.private.as_ref();
        Ok(Self(ed25519_dalek::SigningKey::from_bytes(seed)))
    }

    /// The key that checks what this one signs.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    pub(in crate::audit) fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.0.sign(text).to_bytes()
    }
}

const LOCKED: &str = "it has a passphrase; name a key without one";

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(…)")
    }
}

/// A public key that checks audit anchors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// Reads a public key: a line as OpenSSH writes it, or PEM.
    ///
    /// # Errors
    /// When the text is not a public key, or not an Ed25519 key.
    pub fn read(text: &str) -> Result<Self, InvalidKey> {
        if text.contains("PRIVATE KEY") {
            return Err(InvalidKey("it is a private key; name the public one"));
        }
        if text.contains("BEGIN PUBLIC KEY") {
            let key = ed25519_dalek::VerifyingKey::from_public_key_pem(text.trim());
            return key
                .map(Self)
                .map_err(|_| InvalidKey("it is not an Ed25519 public key in PEM"));
        }
        let problem = "it is not an Ed25519 public key, neither as OpenSSH nor as PEM";
        let key = ssh_key::PublicKey::from_openssh(text.trim()).map_err(|_| InvalidKey(problem))?;
        let bytes = key.key_data().ed25519().ok_or(InvalidKey(problem))?;
        let verifying = ed25519_dalek::VerifyingKey::from_bytes(&bytes.0);
        verifying.map(Self).map_err(|_| InvalidKey(problem))
    }

    pub(in crate::audit) fn bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    pub(in crate::audit) fn has_signed(&self, text: &[u8], signature: &[u8; 64]) -> bool {
        let signature = Signature::from_bytes(signature);
        self.0.verify_strict(text, &signature).is_ok()
    }
}
