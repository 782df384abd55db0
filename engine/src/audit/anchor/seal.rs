//! What vouches for a file that is carried to another machine: its hash, and who signed that.

use std::fmt;

use super::{
    super::{Flaw, Violation},
    PublicKey, SigningKey, audit_anchor,
    signature::Signed,
};
use crate::model::Hash;

/// The hash of something that leaves this machine, and perhaps a signature.
///
/// As text: `MARK sha256=HASH`, and when it is signed ` key=ed25519:K signature=S` after it. The mark
/// says what the hash is of and in which version; the signature covers it, so that one made for
/// another purpose is none here.
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

    /// Reads a seal of that mark; `None` where the text is not exactly one.
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
        // One text for one seal: nothing of it can be changed unseen.
        (seal.to_string() == text).then_some(seal)
    }

    /// Signs it; an earlier signature is replaced.
    pub fn sign(&mut self, key: &SigningKey) {
        self.signed = Some(Signed::by(key, &self.text()));
    }

    /// The key that it says it was signed with, as `ed25519:` and base64, be that right or wrong.
    pub fn signer(&self) -> Option<String> {
        self.signed.as_ref().map(Signed::key)
    }

    /// Checks that it was signed with that key and not changed since; `whose` is what errors call
    /// what is sealed.
    ///
    /// # Errors
    /// What is wrong with its signature; also where there is none.
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
