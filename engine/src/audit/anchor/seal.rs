//! Seals for files that are carried to another machine: the file's hash, perhaps signed.

use std::fmt;

use super::{
    super::{Flaw, Violation},
    PublicKey, SigningKey, audit_anchor,
    signature::Signed,
};
use crate::model::Hash;

/// The hash of a file that leaves this machine, and perhaps a signature.
///
/// As text: `MARK sha256=HASH`, followed by ` key=ed25519:K signature=S` if it is signed. The mark
/// names what is hashed and the version of the format. The signature covers the mark, so a
/// signature made for another purpose is not valid here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    mark: &'static str,
    /// The hash.
    pub hash: Hash,
    signed: Option<Signed>,
}

impl Seal {
    /// A seal without a signature.
    pub fn new(mark: &'static str, hash: Hash) -> Self {
        Self {
            mark,
            hash,
            signed: None,
        }
    }

    /// Reads a seal with that mark; `None` if the text is not exactly one.
    pub fn read(mark: &'static str, text: &str) -> Option<Self> {
        let rest = text.strip_prefix(mark)?.strip_prefix(" sha256=")?;
        let (hash, signed) = match rest.split_once(" key=ed25519:") {
            None => (rest, None),
            Some((hash, signed)) => {
                let (key, signature) = signed.split_once(" signature=")?;
                (hash, Some(Signed::read(key, signature)?))
            }
        };
        let hash = audit_anchor::hash(hash)?;
        let seal = Self { mark, hash, signed };
        // Each seal has exactly one text, so no change of it goes unnoticed.
        (seal.to_string() == text).then_some(seal)
    }

    /// Signs the seal; replaces an earlier signature.
    pub fn sign(&mut self, key: &SigningKey) {
        self.signed = Some(Signed::by(key, &self.text()));
    }

    /// The key that the seal names as its signer, as `ed25519:` and base64. The signature is not
    /// checked.
    pub fn signer(&self) -> Option<String> {
        self.signed.as_ref().map(Signed::key)
    }

    /// Checks that the seal was signed with that key and not changed since. `whose` names the
    /// sealed thing in errors.
    ///
    /// # Errors
    /// A [`Violation`] that says what is wrong with the signature, also if it is missing.
    pub fn check(&self, whose: &str, key: &PublicKey) -> Result<(), Violation> {
        match &self.signed {
            Some(signed) => signed.check(whose, &self.text(), key),
            None => Err(Violation::of(
                Flaw::Signature,
                format!("{whose} is not signed"),
            )),
        }
    }

    fn text(&self) -> String {
        format!("{} sha256={}", self.mark, self.hash)
    }
}

impl fmt::Display for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())?;
        match &self.signed {
            Some(signed) => write!(f, " {signed}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made for this test with `openssl genpkey -algorithm ed25519`.
    const PEM: &str = include_str!("audit_anchor/testkeys/pkcs8.pem");

    fn key() -> SigningKey {
        SigningKey::read(PEM).unwrap()
    }

    const MARK: &str = "vsiflow-sample v1";

    #[test]
    fn a_seal_reads_as_it_is_written_and_no_other_way() {
        let mut seal = Seal::new(MARK, Hash::of(b"a"));
        assert_eq!(Seal::read(MARK, &seal.to_string()), Some(seal.clone()));
        seal.sign(&key());
        let text = seal.to_string();
        assert_eq!(Seal::read(MARK, &text), Some(seal.clone()));
        assert!(Seal::read("vsiflow-sample v2", &text).is_none());
        for wrong in [
            text.to_uppercase(),
            format!("{text} "),
            format!("{text}\n"),
            text.replace(" signature=", " "),
            String::new(),
            MARK.to_owned(),
        ] {
            assert!(Seal::read(MARK, &wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn only_the_key_that_signed_checks_and_only_what_it_signed() {
        let key = key();
        let mut seal = Seal::new(MARK, Hash::of(b"a"));
        assert!(seal.check("it", &key.public()).is_err());
        assert!(seal.signer().is_none());
        seal.sign(&key);
        assert!(seal.check("it", &key.public()).is_ok());
        seal.hash = Hash::of(b"b");
        assert!(seal.check("it", &key.public()).is_err(), "another hash");
        let mut other = Seal::new("vsiflow-other v1", Hash::of(b"b"));
        other.sign(&key);
        let moved = other.to_string().replace("vsiflow-other v1", MARK);
        let moved = Seal::read(MARK, &moved).unwrap();
        assert!(moved.check("it", &key.public()).is_err(), "another purpose");
    }
}
