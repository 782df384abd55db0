//! Secrets that are delivered from elsewhere at each start: held in memory, never written.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{DirSecrets, Secret, SecretError, Secrets};
use crate::model::{Hash, Name};

/// Rounds of PBKDF2 in IDs of versions that had no key.
const ROUNDS: u32 = 10_000;
/// The first bytes of the stored key; no secret of a user begins with them.
const KEY_MAGIC: &[u8] = b"vsiflow key of ids 1\0";
/// Bytes of a key.
const KEY: usize = 32;
/// Hexadecimal digits at the start of an ID that identify the journal and key; the rest identify
/// the secret.
const MARK: usize = 8;
/// Bytes of the hash in the rest of an ID.
const REST: usize = 12;

/// Secrets of a process that receives them from elsewhere at each start, such as from a cluster.
/// None of them is on disk.
///
/// An ID is a hash of the secret with a key. The key is stored where secrets are stored, and in no
/// journal, export or backup without secrets, so nobody can test guesses with those alone. After a
/// restart the process can check whether a secret is still the one that the journal names, even if
/// that one is no longer available. A secret that is delivered again is found under the ID that the
/// journal knows. Two equal secrets have one ID. A secret that has not been delivered yet is
/// [`SecretError::Missing`].
///
/// The key may be stored elsewhere as well, such as in a cluster beside the secrets themselves.
/// Then the stored copy is erased, and a process without the storage of its predecessor still
/// recognises IDs.
///
/// An ID made with another key says nothing about its secret: it is neither recognised nor reported
/// as different, so it is never taken for a change. IDs of versions that had no key, made from the
/// journal's identity by a slow hash, are still recognised.
#[derive(Debug)]
pub struct HeldSecrets {
    key: VolatileKey,
    mark: String,
    /// A key that was stored before another one replaced it, and its mark.
    former: Option<(VolatileKey, String)>,
    /// The journal's identity and the mark made from it, for IDs of versions that had no key.
    salt: Arc<str>,
    old_mark: String,
    /// IDs under which an earlier process stored secrets, and their current IDs.
    earlier: BTreeMap<Name, Name>,
    inner: Mutex<VolatileInner>,
}

#[derive(Debug, Default)]
struct VolatileInner {
    /// Secrets that were put and not erased.
    held: BTreeMap<Name, Secret>,
    /// The secrets of the latest delivery.
    delivered: BTreeMap<Name, Secret>,
    /// The IDs that versions without a key gave secrets, by the plain hash of the secret.
    old_ids: BTreeMap<[u8; 32], Name>,
}

/// The key that IDs are made with.
#[derive(Clone)]
struct VolatileKey(Arc<Zeroizing<[u8; KEY]>>);

impl std::fmt::Debug for VolatileKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<key>")
    }
}

impl VolatileKey {
    fn random() -> Self {
        Self(Arc::new(Zeroizing::new(rand::random())))
    }

    fn stored(&self) -> Secret {
        Secret::new([KEY_MAGIC, &self.0[..]].concat())
    }

    /// The key, if the stored secret is one.
    fn read(secret: &Secret) -> Option<Self> {
        let key = secret.expose().strip_prefix(KEY_MAGIC)?.first_chunk()?;
        Some(Self(Arc::new(Zeroizing::new(*key))))
    }

    fn digest(&self, of: &[u8]) -> [u8; 32] {
        // HMAC accepts keys of any length, so this cannot fail.
        let mac = Hmac::<Sha256>::new_from_slice(&self.0[..]);
        mac.map(|mac| mac.chain_update(of).finalize().into_bytes().into())
            .unwrap_or_default()
    }

    /// The start of all IDs that this key makes for a journal.
    fn mark(&self, journal_id: &str) -> String {
        hex(&self.digest(journal_id.as_bytes()), MARK / 2)
    }

    fn id(&self, secret: &Secret, mark: &str) -> Name {
        let digest = self.digest(secret.expose());
        Name::of(&format!("{mark}{}", hex(&digest, REST)))
    }
}

fn hex(bytes: &[u8], most: usize) -> String {
    let shown_bytes = bytes.iter().take(most);
    shown_bytes.map(|byte| format!("{byte:02x}")).collect()
}

impl HeldSecrets {
    /// An empty store for users without a disk, such as tests. Its key follows from the journal's
    /// identity, so anyone who has the journal can test guesses.
    pub fn new(journal_id: &str) -> Self {
        let key: [u8; KEY] = Sha256::digest(journal_id.as_bytes()).into();
        Self::keyed(journal_id, VolatileKey(Arc::new(Zeroizing::new(key))))
    }

    fn keyed(journal_id: &str, key: VolatileKey) -> Self {
        let old_mark = Hash::of(journal_id.as_bytes()).to_string();
        Self {
            mark: key.mark(journal_id),
            key,
            former: None,
            salt: journal_id.into(),
            old_mark: old_mark.chars().take(MARK).collect(),
            earlier: BTreeMap::new(),
            inner: Mutex::default(),
        }
    }

    /// An empty store for a state directory, which holds the key. Secrets stored there before are
    /// erased; only their IDs remain, each with its current ID. A crash in between leaves the
    /// secret stored; the next start continues.
    ///
    /// # Errors
    /// [`SecretError::Storage`].
    pub async fn instead_of(stored: &DirSecrets, journal_id: &str) -> Result<Self, SecretError> {
        let (key, before) = Self::split_key(stored).await?;
        let key = match key {
            Some((_, key)) => key,
            None => {
                let fresh = VolatileKey::random();
                stored.put(fresh.stored()).await?;
                fresh
            }
        };
        Self::keyed(journal_id, key).replacing(stored, before).await
    }

    /// The same with a key that is stored elsewhere and first came from [`HeldSecrets::key_of`].
    /// The stored copy of the key is erased. IDs of another key that is still stored are
    /// recognised.
    ///
    /// # Errors
    /// [`SecretError::Storage`], also if `key` is not a key.
    pub async fn with_key(
        stored: &DirSecrets,
        journal_id: &str,
        key: &Secret,
    ) -> Result<Self, SecretError> {
        let no_key = || SecretError::Storage("the stored key is not a key".to_owned());
        let key = VolatileKey::read(key).ok_or_else(no_key)?;
        let (found, before) = Self::split_key(stored).await?;
        let mut held = Self::keyed(journal_id, key);
        match found {
            Some((id, same)) if same.0 == held.key.0 => stored.erase(&id).await?,
            Some((_, former)) => {
                let mark = former.mark(journal_id);
                held.former = Some((former, mark));
            }
            None => {}
        }
        held.replacing(stored, before).await
    }

    /// The key for a caller that stores it elsewhere from now on: the stored key, or else a new
    /// one.
    ///
    /// # Errors
    /// [`SecretError::Storage`].
    pub async fn key_of(stored: &DirSecrets) -> Result<Secret, SecretError> {
        let (stored_key, _) = Self::split_key(stored).await?;
        let key = stored_key.map_or_else(VolatileKey::random, |(_, key)| key);
        Ok(key.stored())
    }

    /// The stored key and its ID, and the other stored secrets.
    async fn split_key(
        stored: &DirSecrets,
    ) -> Result<(Option<(Name, VolatileKey)>, Vec<(Name, Secret)>), SecretError> {
        let (mut others, mut key) = (Vec::new(), None);
        for id in stored.ids().await? {
            let secret = stored.get(&id).await?;
            match VolatileKey::read(&secret) {
                Some(stored_key) => key = key.or(Some((id, stored_key))),
                None => others.push((id, secret)),
            }
        }
        Ok((key, others))
    }

    /// Replaces these stored secrets by their IDs.
    async fn replacing(
        self,
        stored: &DirSecrets,
        before: Vec<(Name, Secret)>,
    ) -> Result<Self, SecretError> {
        for (id, secret) in before {
            stored.replace(&id, &self.id_of(&secret)).await?;
        }
        let earlier = stored.replaced().await?;
        Ok(Self { earlier, ..self })
    }

    fn lock(&self) -> MutexGuard<'_, VolatileInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ID of a secret.
    fn id_of(&self, secret: &Secret) -> Name {
        self.key.id(secret, &self.mark)
    }

    /// The ID that versions without a key gave a secret.
    async fn old_id_of(&self, secret: &Secret) -> Result<Name, SecretError> {
        let plain: [u8; 32] = Sha256::digest(secret.expose()).into();
        if let Some(id) = self.lock().old_ids.get(&plain) {
            return Ok(id.clone());
        }
        let (secret, salt, mark) = (secret.clone(), self.salt.clone(), self.old_mark.clone());
        let derived = tokio::task::spawn_blocking(move || derive(&secret, &salt, &mark)).await;
        let id = derived.map_err(|error| SecretError::Storage(error.to_string()))?;
        self.lock().old_ids.insert(plain, id.clone());
        Ok(id)
    }

    /// The current ID for an ID of this journal; `None` if its secret is unknown or not available
    /// here.
    async fn current_id(&self, id: &Name) -> Result<Option<Name>, SecretError> {
        let id = self.earlier.get(id).unwrap_or(id);
        if id.as_str().starts_with(&self.mark) {
            return Ok(Some(id.clone()));
        }
        if !self.is_old(id) {
            return Ok(None);
        }
        let available: Vec<Secret> = {
            let inner = self.lock();
            let secrets = inner.held.values().chain(inner.delivered.values());
            secrets.cloned().collect()
        };
        for secret in available {
            if self.earlier_id_of(&secret, id).await? == *id {
                return Ok(Some(self.id_of(&secret)));
            }
        }
        Ok(None)
    }

    /// The ID of a secret, made in the way in which `like` was made.
    async fn earlier_id_of(&self, secret: &Secret, like: &Name) -> Result<Name, SecretError> {
        match &self.former {
            Some((key, mark)) if like.as_str().starts_with(mark) => Ok(key.id(secret, mark)),
            _ => self.old_id_of(secret).await,
        }
    }

    fn is_old(&self, id: &Name) -> bool {
        let former = self.former.as_ref();
        former.is_some_and(|(_, mark)| id.as_str().starts_with(mark)) || self.is_of_before_key(id)
    }

    fn is_of_before_key(&self, id: &Name) -> bool {
        id.as_str().starts_with(&self.old_mark)
    }
}

fn derive(secret: &Secret, salt: &str, mark: &str) -> Name {
    let mut bytes = [0; REST];
    // HMAC accepts keys of any length, so this cannot fail.
    let _ = pbkdf2::pbkdf2::<Hmac<Sha256>>(secret.expose(), salt.as_bytes(), ROUNDS, &mut bytes);
    Name::of(&format!("{mark}{}", hex(&bytes, REST)))
}

#[async_trait]
impl Secrets for HeldSecrets {
    async fn put(&self, secret: Secret) -> Result<Name, SecretError> {
        let id = self.id_of(&secret);
        self.lock().held.insert(id.clone(), secret);
        Ok(id)
    }

    async fn get(&self, id: &Name) -> Result<Secret, SecretError> {
        let current_id = self.current_id(id).await?;
        let inner = self.lock();
        let secret = current_id.as_ref().and_then(|current| {
            inner
                .held
                .get(current)
                .or_else(|| inner.delivered.get(current))
        });
        secret
            .cloned()
            .ok_or_else(|| SecretError::Missing(id.clone()))
    }

    async fn erase(&self, id: &Name) -> Result<(), SecretError> {
        if let Some(current_id) = self.current_id(id).await? {
            self.lock().held.remove(&current_id);
        }
        Ok(())
    }

    async fn ids(&self) -> Result<Vec<Name>, SecretError> {
        let inner = self.lock();
        let current: BTreeSet<_> = inner.held.keys().chain(inner.delivered.keys()).collect();
        let earlier = (self.earlier.iter())
            .filter(|(_, current_id)| current.contains(current_id))
            .map(|(id, _)| id.clone());
        let old = inner.old_ids.values().cloned();
        Ok(current
            .iter()
            .map(|id| (*id).clone())
            .chain(earlier)
            .chain(old)
            .collect())
    }

    async fn has(&self, id: &Name) -> Result<bool, SecretError> {
        let inner = self.lock();
        let current_id = self.earlier.get(id).unwrap_or(id);
        let available =
            inner.held.contains_key(current_id) || inner.delivered.contains_key(current_id);
        Ok(available || inner.old_ids.values().any(|old| old == id))
    }

    async fn recognise(&self, id: &Name, secret: &Secret) -> Result<bool, SecretError> {
        let current_id = self.earlier.get(id).unwrap_or(id);
        let id_of_secret = self.id_of(secret);
        let same = match current_id.as_str().starts_with(&self.mark) {
            true => id_of_secret == *current_id,
            false if self.is_old(current_id) => {
                self.earlier_id_of(secret, current_id).await? == *current_id
            }
            false => return Err(SecretError::Missing(id.clone())),
        };
        if same {
            self.lock().held.insert(id_of_secret, secret.clone());
        }
        Ok(same)
    }

    async fn deliver(&self, secrets: Vec<Secret>) -> Result<(), SecretError> {
        let mut delivered = BTreeMap::new();
        for secret in secrets {
            delivered.insert(self.id_of(&secret), secret);
        }
        let mut guard = self.lock();
        let inner = &mut *guard;
        inner.delivered = delivered;
        let available: BTreeSet<[u8; 32]> = (inner.held.values())
            .chain(inner.delivered.values())
            .map(|secret| Sha256::digest(secret.expose()).into())
            .collect();
        inner.old_ids.retain(|plain, _| available.contains(plain));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_delivered_after_a_restart_is_what_the_journal_names() {
        let dir = tempfile::tempdir().unwrap();
        let stored = DirSecrets::open(dir.path()).await.unwrap();
        let before = HeldSecrets::instead_of(&stored, "journal").await.unwrap();
        let id = before.put(Secret::new("key")).await.unwrap();
        assert!(super::super::is_id(&id));
        assert_eq!(before.get(&id).await.unwrap().expose(), b"key");

        let after = HeldSecrets::instead_of(&stored, "journal").await.unwrap();
        assert_eq!(
            after.get(&id).await.unwrap_err(),
            SecretError::Missing(id.clone())
        );
        assert_eq!(after.recognise(&id, &Secret::new("other")).await, Ok(false));
        assert!(after.get(&id).await.is_err());
        after.deliver(vec![Secret::new("key")]).await.unwrap();
        assert_eq!(after.get(&id).await.unwrap().expose(), b"key");
        // An erased secret remains available as long as it is delivered.
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
        for put in [id, random] {
            assert_eq!(
                other.recognise(&put, &Secret::new("key")).await,
                Err(SecretError::Missing(put.clone()))
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
            assert!(!stored.ids().await.unwrap().contains(&id));
            assert_eq!(held.recognise(&id, &Secret::new("no")).await, Ok(false));
            assert!(held.get(&id).await.is_err());
            assert_eq!(held.recognise(&id, &Secret::new("hunter2")).await, Ok(true));
            assert_eq!(held.get(&id).await.unwrap().expose(), b"hunter2");
            assert!(held.ids().await.unwrap().contains(&id));
        }
        for file in std::fs::read_dir(dir.path()).unwrap() {
            let content = std::fs::read(file.unwrap().path()).unwrap();
            assert!(content.is_empty() || content.starts_with(KEY_MAGIC));
        }
    }

    #[tokio::test]
    async fn nobody_without_the_key_can_try_a_guess() {
        let dir = tempfile::tempdir().unwrap();
        let stored = DirSecrets::open(dir.path()).await.unwrap();
        let held = HeldSecrets::instead_of(&stored, "journal").await.unwrap();
        let (id, secret) = (
            held.put(Secret::new("1234")).await.unwrap(),
            Secret::new("1234"),
        );
        // A journal, an export or a backup without secrets reveals only the journal's identity.
        let guesser = HeldSecrets::new("journal");
        assert_ne!(guesser.put(secret.clone()).await.unwrap(), id);
        assert_ne!(derive(&secret, "journal", &guesser.old_mark), id);
        assert_eq!(
            guesser.recognise(&id, &secret).await,
            Err(SecretError::Missing(id))
        );
    }

    #[tokio::test]
    async fn a_key_that_is_kept_elsewhere_outlives_what_is_stored() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let stored = DirSecrets::open(one.path()).await.unwrap();
        let before = HeldSecrets::instead_of(&stored, "journal").await.unwrap();
        let secret = Secret::new("key");
        let id = before.put(secret.clone()).await.unwrap();
        let kept = HeldSecrets::key_of(&stored).await.unwrap();
        for place in [&one, &other] {
            let reopened = DirSecrets::open(place.path()).await.unwrap();
            let held = HeldSecrets::with_key(&reopened, "journal", &kept)
                .await
                .unwrap();
            assert_eq!(held.put(secret.clone()).await.unwrap(), id);
            assert_eq!(held.recognise(&id, &Secret::new("no")).await, Ok(false));
            assert_eq!(reopened.ids().await, Ok(Vec::new()), "it is stored no more");
        }
        let under_other_key = DirSecrets::open(one.path()).await.unwrap();
        let wrong = HeldSecrets::with_key(&under_other_key, "journal", &secret).await;
        assert!(matches!(wrong, Err(SecretError::Storage(_))));
    }

    #[tokio::test]
    async fn ids_of_a_key_that_is_still_stored_are_recognised_beside_those_of_the_one_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let stored = DirSecrets::open(dir.path()).await.unwrap();
        let before = HeldSecrets::instead_of(&stored, "journal").await.unwrap();
        let secret = Secret::new("key");
        let id = before.put(secret.clone()).await.unwrap();
        let elsewhere = VolatileKey::random().stored();
        for _ in 0..2 {
            let held = HeldSecrets::with_key(&stored, "journal", &elsewhere)
                .await
                .unwrap();
            assert_ne!(held.put(secret.clone()).await.unwrap(), id);
            assert_eq!(held.recognise(&id, &Secret::new("no")).await, Ok(false));
            assert_eq!(held.recognise(&id, &secret).await, Ok(true));
            assert_eq!(held.get(&id).await.unwrap().expose(), b"key");
        }
    }

    #[tokio::test]
    async fn ids_of_versions_before_the_key_are_still_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let stored = DirSecrets::open(dir.path()).await.unwrap();
        let held = HeldSecrets::instead_of(&stored, "journal").await.unwrap();
        let secret = Secret::new("key");
        let old = derive(&secret, "journal", &held.old_mark);
        assert_eq!(held.recognise(&old, &Secret::new("no")).await, Ok(false));
        assert!(held.get(&old).await.is_err());
        held.deliver(vec![secret]).await.unwrap();
        assert_eq!(held.get(&old).await.unwrap().expose(), b"key");
        assert!(held.ids().await.unwrap().contains(&old));
    }
}
