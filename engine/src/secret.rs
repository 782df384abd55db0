//! The secret store: keys, contracts and tokens, separate from all other data.
//!
//! Events name a secret by its ID and never contain it. A secret is erased with its last user.

mod dir;
mod memory;
mod volatile;

pub use dir::DirSecrets;
pub use memory::MemorySecrets;
pub use volatile::HeldSecrets;

use std::fmt;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::model::Name;

/// Secret bytes: wiped from memory when dropped, never printed, never serialised.
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes. The caller wipes its own copies.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The bytes, for the one place that needs them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The bytes as text, if they are UTF-8.
    pub fn expose_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// Why a secret could not be stored, found or erased.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is no secret with that ID, or no longer.
    #[error("the secret {0} does not exist")]
    Missing(Name),
    /// The store cannot be read or written.
    #[error("the secret store cannot be read or written: {0}")]
    Storage(String),
    /// The key that secrets are sealed with is missing, or it is a wrong one.
    #[error("{0}")]
    Key(String),
}

/// A store of secrets.
#[async_trait]
pub trait Secrets: Send + Sync + 'static {
    /// Stores a secret; durable when it returns, if the store is durable. The ID is 128 bits in
    /// hexadecimal, random if secrets are stored, and reveals nothing about the secret.
    ///
    /// Cancel safety: dropping the future may leave a secret whose ID is unknown.
    ///
    /// # Errors
    /// [`SecretError::Storage`].
    async fn put(&self, secret: Secret) -> Result<Name, SecretError>;

    /// The secret with that ID.
    ///
    /// # Errors
    /// [`SecretError::Missing`] or [`SecretError::Storage`].
    async fn get(&self, id: &Name) -> Result<Secret, SecretError>;

    /// Erases a secret permanently; erasing it again is harmless.
    ///
    /// # Errors
    /// [`SecretError::Storage`]: the secret may still exist; erase it again.
    async fn erase(&self, id: &Name) -> Result<(), SecretError>;

    /// The IDs of all stored secrets.
    ///
    /// # Errors
    /// [`SecretError::Storage`].
    async fn ids(&self) -> Result<Vec<Name>, SecretError>;

    /// Whether a secret with that ID is stored; cheaper than listing all.
    ///
    /// # Errors
    /// [`SecretError::Storage`].
    async fn has(&self, id: &Name) -> Result<bool, SecretError> {
        Ok(self.ids().await?.contains(id))
    }

    /// Whether `secret` is the one with that ID. A store that no longer had it holds it again
    /// afterwards.
    ///
    /// # Errors
    /// As for [`Secrets::get`], if that cannot be determined.
    async fn recognise(&self, id: &Name, secret: &Secret) -> Result<bool, SecretError> {
        Ok(self.get(id).await?.expose() == secret.expose())
    }

    /// Stores a secret under its former ID after it was lost, as in a journal rebuilt from an
    /// export; durable when it returns, if the store is durable.
    ///
    /// # Errors
    /// [`SecretError::Storage`], also when a secret with that ID exists; [`SecretError::Missing`]
    /// if the store derives IDs from secrets.
    async fn put_back(&self, id: &Name, secret: Secret) -> Result<(), SecretError> {
        drop(secret);
        Err(SecretError::Missing(id.clone()))
    }

    /// Replaces all secrets that come from elsewhere: for a store that stores nothing itself.
    ///
    /// # Errors
    /// [`SecretError::Storage`].
    async fn deliver(&self, all: Vec<Secret>) -> Result<(), SecretError> {
        drop(all);
        Ok(())
    }
}

fn random_id() -> Name {
    Name::of(&format!("{:032x}", rand::random::<u128>()))
}

/// Whether a name has the form of [`random_id`]; other names, such as `..`, must not be used in a
/// path.
fn is_id(name: &Name) -> bool {
    let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    name.as_str().len() == 32 && name.as_str().bytes().all(hex)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    async fn keeps_secrets(secrets: &dyn Secrets) {
        let id = secrets.put(Secret::new("key")).await.unwrap();
        assert!(is_id(&id));
        assert_eq!(secrets.ids().await, Ok(vec![id.clone()]));
        assert_ne!(secrets.put(Secret::new("key")).await.unwrap(), id);
        assert_eq!(secrets.ids().await.unwrap().len(), 2);
        assert_eq!(secrets.get(&id).await.unwrap().expose(), b"key");
        for _ in 0..2 {
            secrets.erase(&id).await.unwrap();
            assert_eq!(
                secrets.get(&id).await.unwrap_err(),
                SecretError::Missing(id.clone())
            );
        }
        secrets.put_back(&id, Secret::new("again")).await.unwrap();
        assert_eq!(secrets.get(&id).await.unwrap().expose(), b"again");
        secrets.erase(&id).await.unwrap();
        let odd = Name::of("..");
        assert_eq!(
            secrets.get(&odd).await.unwrap_err(),
            SecretError::Missing(odd.clone())
        );
        assert_eq!(secrets.erase(&odd).await, Ok(()));
    }

    #[tokio::test]
    async fn memory_keeps_secrets() {
        keeps_secrets(&MemorySecrets::new()).await;
    }

    #[tokio::test]
    async fn a_folder_keeps_secrets_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secrets");
        let secrets = DirSecrets::open(&path).await.unwrap();
        keeps_secrets(&secrets).await;
        let mode = |of| std::fs::metadata(of).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(path.clone()), 0o700);
        let files: Vec<_> = std::fs::read_dir(path)
            .unwrap()
            .map(|f| f.unwrap().path())
            .collect();
        assert_eq!(files.into_iter().map(mode).collect::<Vec<_>>(), [0o600]);
    }

    #[test]
    fn a_secret_shows_nothing() {
        let secret = Secret::new("hunter2");
        assert_eq!(
            format!("{secret} {secret:?} {:?}", Some(&secret)),
            "<secret> <secret> Some(<secret>)"
        );
    }
}
