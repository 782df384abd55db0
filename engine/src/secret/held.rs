//! Secrets that somebody else keeps: held in memory, never written.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use hmac::Hmac;
use sha2::{Digest as _, Sha256};

use super::{DirSecrets, Secret, SecretError, Secrets};
use crate::model::{Hash, Name};

/// Rounds of PBKDF2: whoever has the journal and wants to try a guess pays so much for each.
const ROUNDS: u32 = 10_000;
/// Digits that tell whose id it is; the rest are the secret's.
const MARK: usize = 8;
/// Bytes of the rest.
const REST: usize = 12;

/// Secrets of a process that finds them elsewhere at each start, such as in a cluster: on disk is
/// none of them.
///
/// An id follows from the secret and the journal's identity, by a slow hash. So after a restart it
/// can be told whether a secret is still the one that the journal names, although nobody has
/// that one any more; and what is delivered anew is found under the id that the journal knows. Two
/// equal secrets have one id. What is not delivered yet is [`SecretError::Missing`].
///
/// An id that was not made for this journal says nothing of its secret: such a one is not
/// recognised and not told apart either, so that nothing is taken for a change.
#[derive(Debug)]
pub struct HeldSecrets {
    salt: Arc<str>,
    mark: String,
    /// Ids under which an earlier process stored secrets, and what these are now.
    earlier: BTreeMap<Name, Name>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// What was put and is not erased.
    held: BTreeMap<Name, Secret>,
    /// What is elsewhere now.
    delivered: BTreeMap<Name, Secret>,
    /// The ids of secrets, by their plain hashes.
    ids: BTreeMap<[u8; 32], Name>,
}

impl HeldSecrets {
    /// An empty one for the journal of that identity.
    pub fn new(journal_id: &str) -> Self {
        let mark = Hash::of(journal_id.as_bytes()).to_string();
        Self {
            salt: journal_id.into(),
            mark: mark.chars().take(MARK).collect(),
            earlier: BTreeMap::new(),
            inner: Mutex::default(),
        }
    }

    /// The same for a state directory in which secrets were stored before: of each only its id
    /// stays there, with the one that it has from now on. A crash in between leaves the secret
    /// where it is; the next start goes on.
    ///
    /// # Errors
    /// [`SecretError::Storage`].
    pub async fn instead_of(stored: &DirSecrets, journal_id: &str) -> Result<Self, SecretError> {
        let held = Self::new(journal_id);
        for id in stored.ids().await? {
            let secret = stored.get(&id).await?;
            let now = held.id_of(&secret).await?;
            stored.replace(&id, &now).await?;
        }
        let earlier = stored.replaced().await?;
        Ok(Self { earlier, ..held })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id that a secret has.
    async fn id_of(&self, secret: &Secret) -> Result<Name, SecretError> {
        let plain: [u8; 32] = Sha256::digest(secret.expose()).into();
        if let Some(id) = self.lock().ids.get(&plain) {
            return Ok(id.clone());
        }
        let (secret, salt, mark) = (secret.clone(), self.salt.clone(), self.mark.clone());
        let made = tokio::task::spawn_blocking(move || derive(&secret, &salt, &mark)).await;
        let id = made.map_err(|error| SecretError::Storage(error.to_string()))?;
        self.lock().ids.insert(plain, id.clone());
        Ok(id)
    }

    /// The id that is one of this journal's; none where nobody knows what it stood for.
    fn own<'a>(&'a self, id: &'a Name) -> Option<&'a Name> {
        let id = self.earlier.get(id).unwrap_or(id);
        id.as_str().starts_with(&self.mark).then_some(id)
    }
}

fn derive(secret: &Secret, salt: &str, mark: &str) -> Name {
    let mut bytes = [0; REST];
    // It fails for a key of a length that HMAC does not take; it takes any.
    let _ = pbkdf2::pbkdf2::<Hmac<Sha256>>(secret.expose(), salt.as_bytes(), ROUNDS, &mut bytes);
    let rest: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Name::of(&format!("{mark}{rest}"))
}

#[async_trait]
impl Secrets for HeldSecrets {
    async fn put(&self, secret: Secret) -> Result<Name, SecretError> {
        let id = self.id_of(&secret).await?;
        self.lock().held.insert(id.clone(), secret);
        Ok(id)
    }

    async fn get(&self, id: &Name) -> Result<Secret, SecretError> {
        let own = self.own(id);
        let inner = self.lock();
        let found = own.and_then(|own| inner.held.get(own).or_else(|| inner.delivered.get(own)));
        found
            .cloned()
            .ok_or_else(|| SecretError::Missing(id.clone()))
    }

    async fn erase(&self, id: &Name) -> Result<(), SecretError> {
        if let Some(own) = self.own(id) {
            self.lock().held.remove(own);
        }
        Ok(())
    }

    async fn ids(&self) -> Result<Vec<Name>, SecretError> {
        let inner = self.lock();
        let there: BTreeSet<_> = inner.held.keys().chain(inner.delivered.keys()).collect();
        let earlier = self.earlier.iter().filter(|(_, now)| there.contains(now));
        let earlier = earlier.map(|(id, _)| id.clone());
        Ok(there
            .iter()
            .map(|id| (*id).clone())
            .chain(earlier)
            .collect())
    }

    async fn recognise(&self, id: &Name, secret: &Secret) -> Result<bool, SecretError> {
        let own = self.own(id).cloned();
        let own = own.ok_or_else(|| SecretError::Missing(id.clone()))?;
        let same = self.id_of(secret).await? == own;
        if same {
            self.lock().held.insert(own, secret.clone());
        }
        Ok(same)
    }

    async fn deliver(&self, all: Vec<Secret>) -> Result<(), SecretError> {
        let mut delivered = BTreeMap::new();
        for secret in all {
            delivered.insert(self.id_of(&secret).await?, secret);
        }
        let mut guard = self.lock();
        let inner = &mut *guard;
        inner.delivered = delivered;
        let there = (&inner.held, &inner.delivered);
        inner
            .ids
            .retain(|_, id| there.0.contains_key(id) || there.1.contains_key(id));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_delivered_after_a_restart_is_what_the_journal_names() {
        let before = HeldSecrets::new("journal");
        let id = before.put(Secret::new("key")).await.unwrap();
        assert!(super::super::is_id(&id));
        assert_eq!(before.get(&id).await.unwrap().expose(), b"key");

        let after = HeldSecrets::new("journal");
        assert_eq!(
            after.get(&id).await.unwrap_err(),
            SecretError::Missing(id.clone())
        );
        assert_eq!(after.recognise(&id, &Secret::new("other")).await, Ok(false));
        assert!(after.get(&id).await.is_err());
        after.deliver(vec![Secret::new("key")]).await.unwrap();
        assert_eq!(after.get(&id).await.unwrap().expose(), b"key");
        // Erased, it is there as long as it is elsewhere.
        after.erase(&id).await.unwrap();
        assert!(after.get(&id).await.is_ok());
        after.deliver(Vec::new()).await.unwrap();
        assert!(after.get(&id).await.is_err());
        assert_eq!(after.recognise(&id, &Secret::new("key")).await, Ok(true));
        assert_eq!(after.get(&id).await.unwrap().expose(), b"key");
        after.erase(&id).await.unwrap();
        assert_eq!(after.ids().await, Ok(Vec::new()));
    }

    #[tokio::test]
    async fn an_id_of_another_journal_is_neither_the_same_nor_another() {
        let (one, other) = (HeldSecrets::new("one"), HeldSecrets::new("other"));
        let id = one.put(Secret::new("key")).await.unwrap();
        let random = super::super::random_id();
        for id in [id, random] {
            assert_eq!(
                other.recognise(&id, &Secret::new("key")).await,
                Err(SecretError::Missing(id.clone()))
            );
        }
    }

    #[tokio::test]
    async fn what_was_stored_before_is_erased_and_still_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let stored = DirSecrets::open(dir.path()).await.unwrap();
        let id = stored.put(Secret::new("hunter2")).await.unwrap();
        for _ in 0..2 {
            let held = HeldSecrets::instead_of(&stored, "journal").await.unwrap();
            assert_eq!(stored.ids().await, Ok(Vec::new()));
            assert_eq!(held.recognise(&id, &Secret::new("no")).await, Ok(false));
            assert!(held.get(&id).await.is_err());
            assert_eq!(held.recognise(&id, &Secret::new("hunter2")).await, Ok(true));
            assert_eq!(held.get(&id).await.unwrap().expose(), b"hunter2");
            assert!(held.ids().await.unwrap().contains(&id));
        }
        for file in std::fs::read_dir(dir.path()).unwrap() {
            assert_eq!(std::fs::read(file.unwrap().path()).unwrap(), b"");
        }
    }
}
