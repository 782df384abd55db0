//! Signs a text and checks its signature; builds the text that is signed for a base.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{
    super::{Flaw, Violation},
    PublicKey, SigningKey,
};
use crate::{
    journal::Offset,
    model::{Hash, Text},
};

/// The start of a base's text; the number is the version of the format.
const BASE: &str = "vsiflow-base v1";

/// A signature of a text, with the key that made it: ` key=ed25519:K signature=S` after the text.
/// It covers the text and its own key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signed {
    public: [u8; 32],
    signature: [u8; 64],
}

impl Signed {
    pub(super) fn by(key: &SigningKey, text: &str) -> Self {
        let public = key.public().bytes();
        let signature = key.sign(covered(text, public).as_bytes());
        Self { public, signature }
    }

    /// Reads the key and the signature from base64.
    pub(super) fn read(public: &str, signature: &str) -> Option<Self> {
        let (public, signature) = (bytes(public)?, bytes(signature)?);
        Some(Self { public, signature })
    }

    /// The key that it names, as `ed25519:` and base64.
    pub(super) fn key(&self) -> String {
        format!("ed25519:{}", BASE64_STANDARD.encode(self.public))
    }

    /// Checks that this key signed this text; `whose` names the text in errors.
    pub(super) fn check(&self, whose: &str, text: &str, key: &PublicKey) -> Result<(), Violation> {
        let invalid_signature =
            |problem: &str| Violation::of(Flaw::Signature, format!("{whose}{problem}"));
        if self.public != key.bytes() {
            return Err(invalid_signature(" is signed with another key"));
        }
        if key.has_signed(covered(text, self.public).as_bytes(), &self.signature) {
            Ok(())
        } else {
            Err(invalid_signature("'s signature does not match its text"))
        }
    }
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (public, signature) = (
            BASE64_STANDARD.encode(self.public),
            BASE64_STANDARD.encode(self.signature),
        );
        write!(f, "key=ed25519:{public} signature={signature}")
    }
}

fn covered(text: &str, public: [u8; 32]) -> String {
    format!("{text} key=ed25519:{}", BASE64_STANDARD.encode(public))
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

/// Signs a base of a journal, for the event that commits to it: `key=ed25519:K signature=S`. The
/// signature covers `vsiflow-base v1 journal=ID as_of=N hash=HASH` and the key.
pub fn sign_base(journal_id: &str, as_of: Offset, hash: Hash, key: &SigningKey) -> Text {
    Text::new(Signed::by(key, &base(journal_id, as_of, hash)).to_string())
}

/// Checks that [`sign_base`] made the signature with that key, for that base.
///
/// # Errors
/// A [`Violation`] that says what is wrong with the signature, also if it is missing.
pub fn check_base(
    journal_id: &str,
    as_of: Offset,
    hash: Hash,
    signature: &Text,
    key: &PublicKey,
) -> Result<(), Violation> {
    let invalid_signature = |problem: &str| Violation::of(Flaw::Signature, problem);
    let text = signature.as_str();
    if text.is_empty() {
        return Err(invalid_signature("the base is not signed"));
    }
    let signed = text
        .strip_prefix("key=ed25519:")
        .and_then(|rest| rest.split_once(" signature="))
        .and_then(|(base_key, base_signature)| Signed::read(base_key, base_signature))
        .ok_or_else(|| invalid_signature("the base's signature cannot be read"))?;
    signed.check("the base", &base(journal_id, as_of, hash), key)
}

fn base(journal_id: &str, as_of: Offset, hash: Hash) -> String {
    format!("{BASE} journal={journal_id} as_of={as_of} hash={hash}")
}
