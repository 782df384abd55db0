//! Seals secrets with age before they are sent to the database, with a key that the database never sees.

use std::str::FromStr as _;

use age::x25519;
use vsiflow_engine::{
    model::Name,
    secret::{Secret, SecretError},
};
use zeroize::Zeroizing;

use crate::PostgresError;

/// Seals and opens secrets with one key.
#[derive(Clone)]
pub struct Sealer(x25519::Identity);

impl Sealer {
    /// Reads the key from a file of `age-keygen`: the first line that is neither empty nor a comment.
    ///
    /// # Errors
    /// [`PostgresError::Key`] if there is no valid key.
    pub fn read(text: &str) -> Result<Self, PostgresError> {
        let mut lines = text.lines().map(str::trim);
        let key = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
        let key = key.ok_or_else(|| PostgresError::Key("there is none in it".to_owned()))?;
        let identity = x25519::Identity::from_str(key);
        identity
            .map(Self)
            .map_err(|_| PostgresError::Key("it is not a key of age-keygen".to_owned()))
    }

    /// Seals a secret together with its ID, so that one secret cannot replace another.
    pub(crate) fn seal(&self, id: &Name, secret: &Secret) -> Result<Vec<u8>, SecretError> {
        let mut plain =
            Zeroizing::new(Vec::with_capacity(secret.expose().len().saturating_add(64)));
        plain.extend_from_slice(id.as_str().as_bytes());
        plain.push(0);
        plain.extend_from_slice(secret.expose());
        age::encrypt(&self.0.to_public(), &plain)
            .map_err(|e| SecretError::Storage(format!("it cannot be sealed: {e}")))
    }

    pub(crate) fn open(&self, id: &Name, sealed: &[u8]) -> Result<Secret, SecretError> {
        let unusable =
            |why: &str| SecretError::Storage(format!("the secret {id} cannot be opened: {why}"));
        let plain = age::decrypt(&self.0, sealed).map(Zeroizing::new);
        let plain = plain.map_err(|_| {
            let why = "it was sealed with another key, or is damaged";
            SecretError::Key(format!("the secret {id} cannot be opened: {why}"))
        })?;
        let rest = plain.strip_prefix(id.as_str().as_bytes());
        let secret = rest.and_then(|rest| rest.strip_prefix(&[0]));
        secret
            .map(Secret::new)
            .ok_or_else(|| unusable("another one is in its place"))
    }
}

#[cfg(test)]
mod tests {
    use age::secrecy::ExposeSecret as _;

    use super::*;

    fn sealer() -> Sealer {
        let key = x25519::Identity::generate().to_string();
        Sealer::read(&format!("# made today\n\n{}\n", key.expose_secret())).unwrap()
    }

    #[test]
    fn only_the_key_opens_a_secret_and_only_under_its_id() {
        let (sealer, id) = (sealer(), Name::of("0a"));
        let sealed = sealer.seal(&id, &Secret::new("hunter2")).unwrap();
        assert!(!sealed.windows(7).any(|bytes| bytes == b"hunter2"));
        assert_eq!(sealer.open(&id, &sealed).unwrap().expose(), b"hunter2");
        assert!(sealer.open(&Name::of("0b"), &sealed).is_err());
        let other = self::sealer().open(&id, &sealed).map(drop);
        assert!(matches!(other, Err(SecretError::Key(_))), "{other:?}");
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        for text in ["", "# nothing", "hunter2"] {
            let error = Sealer::read(text).map(drop).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
