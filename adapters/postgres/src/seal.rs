//! Seals secrets with age before they are sent to the database, with a key that the database never sees.

use std::{str::FromStr as _, time::Duration};

use age::{secrecy::ExposeSecret as _, x25519};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use vsiflow_engine::{
    model::Name,
    secret::{Secret, SecretError},
};
use zeroize::Zeroizing;

use crate::{PostgresError, shards::accepted::Tag};

/// What a message begins with. A message without a MAC, from an earlier version, begins otherwise.
const MESSAGE: &[u8] = b"vsiflow message 1\n";
/// What the key of MACs is derived with.
const MAC_KEY: &[u8] = b"vsiflow: MACs of messages between the processes of a set of journals";

/// A message that a process with the same key sent.
pub(crate) struct OpenedMessage {
    /// When it was sent, since the Unix epoch.
    pub(crate) sent: Duration,
    /// Its MAC. No other message has the same one, nor has this one if it is sent again.
    pub(crate) tag: Tag,
    /// Its content.
    pub(crate) content: Secret,
}

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

    /// Seals a message to another process with the same key: with the time at which it is sent, and with a MAC over
    /// all of it and over the context that it is for.
    pub(crate) fn seal_message(
        &self,
        id: &Name,
        context: &str,
        sent: Duration,
        content: &Secret,
    ) -> Result<Vec<u8>, SecretError> {
        let sealed = self.seal(id, content)?;
        let millis = u64::try_from(sent.as_millis()).unwrap_or(u64::MAX);
        let mac = self.mac(context, millis, &sealed)?;
        let tag = mac.finalize().into_bytes();
        Ok([MESSAGE, &millis.to_be_bytes(), &tag, &sealed].concat())
    }

    /// Opens a message for this context.
    ///
    /// # Errors
    /// [`SecretError::Key`] if no process with this key sealed it for this context.
    pub(crate) fn open_message(
        &self,
        id: &Name,
        context: &str,
        message: &[u8],
    ) -> Result<OpenedMessage, SecretError> {
        let forged = |why: &str| SecretError::Key(format!("{id} is not authentic: {why}"));
        let rest = message
            .strip_prefix(MESSAGE)
            .ok_or_else(|| forged("it has no MAC; its process may have an earlier version"))?;
        let (millis, rest) = rest
            .split_first_chunk()
            .ok_or_else(|| forged("it is cut off"))?;
        let (tag, sealed) = rest
            .split_first_chunk()
            .ok_or_else(|| forged("it is cut off"))?;
        let millis = u64::from_be_bytes(*millis);
        let mac = self.mac(context, millis, sealed)?;
        mac.verify_slice(tag)
            .map_err(|_| forged("it was made for something else, or with another key"))?;
        Ok(OpenedMessage {
            sent: Duration::from_millis(millis),
            tag: *tag,
            content: self.open(id, sealed)?,
        })
    }

    fn mac(&self, context: &str, millis: u64, sealed: &[u8]) -> Result<Hmac<Sha256>, SecretError> {
        let unusable = |_| SecretError::Key("it gives no key for MACs".to_owned());
        let identity = self.0.to_string();
        let identity = identity.expose_secret().as_bytes();
        let mut derived = Hmac::<Sha256>::new_from_slice(identity).map_err(unusable)?;
        derived.update(MAC_KEY);
        let key = Zeroizing::new(<[u8; 32]>::from(derived.finalize().into_bytes()));
        let mut mac = Hmac::<Sha256>::new_from_slice(key.as_slice()).map_err(unusable)?;
        let length = u64::try_from(context.len()).unwrap_or(u64::MAX);
        mac.update(&length.to_be_bytes());
        mac.update(context.as_bytes());
        mac.update(&millis.to_be_bytes());
        mac.update(sealed);
        Ok(mac)
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
    fn a_message_is_opened_as_it_was_sent_and_for_its_context_alone() {
        let (sealer, id, sent) = (
            sealer(),
            Name::of("0a"),
            Duration::from_millis(1_700_000_000_123),
        );
        let content = Secret::new("apply");
        let message = sealer
            .seal_message(&id, "journal 1", sent, &content)
            .unwrap();
        let opened = sealer.open_message(&id, "journal 1", &message).unwrap();
        assert_eq!(
            (opened.content.expose(), opened.sent),
            (&b"apply"[..], sent)
        );
        assert!(sealer.open_message(&id, "journal 2", &message).is_err());
        let other = self::sealer();
        assert!(other.open_message(&id, "journal 1", &message).is_err());
        // Whoever knows the public key can seal, but not make a MAC.
        let sealed = sealer.seal(&id, &content).unwrap();
        assert!(sealer.open_message(&id, "journal 1", &sealed).is_err());
        let mut changed = message.clone();
        for index in 0..MESSAGE.len() + 50 {
            changed[index] ^= 1;
            let outcome = sealer.open_message(&id, "journal 1", &changed);
            assert!(outcome.is_err(), "byte {index}");
            changed[index] ^= 1;
            let cut = sealer.open_message(&id, "journal 1", &message[..index]);
            assert!(cut.is_err(), "{index} bytes");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_and_not_repeated() {
        for text in ["", "# nothing", "hunter2"] {
            let error = Sealer::read(text).map(drop).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
