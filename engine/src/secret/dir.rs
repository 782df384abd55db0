//! Stores secrets as files that only their owner may read.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;

use super::{Secret, SecretError, Secrets, is_id, random_id};
use crate::{files, model::Name};

/// In the name of a mark file: separates the ID of a replaced secret from the ID of its
/// replacement.
const REPLACED: &str = "-is-";

/// Secrets in a folder of mode 0700, each a file of mode 0600 named by its random ID.
///
/// Erasing overwrites the file before it is removed. On copy-on-write file systems and flash the
/// old blocks may remain; use disk encryption there.
#[derive(Clone, Debug)]
pub struct DirSecrets {
    dir: Arc<Path>,
}

impl DirSecrets {
    /// Opens the store in `dir`, or creates it.
    ///
    /// # Errors
    /// [`SecretError::Storage`] when the folder cannot be created.
    pub async fn open(dir: impl AsRef<Path>) -> Result<Self, SecretError> {
        let store = Self {
            dir: dir.as_ref().into(),
        };
        store
            .blocking(|store| files::create_dir(&store.dir))
            .await?;
        Ok(store)
    }

    /// Stores a secret under the ID that it had elsewhere; durable when it returns.
    ///
    /// # Errors
    /// [`SecretError::Storage`], also when a secret with that ID exists or the ID is not valid.
    pub async fn keep(&self, id: &Name, secret: Secret) -> Result<(), SecretError> {
        if !is_id(id) {
            return Err(SecretError::Storage(format!(
                "{id} is not the ID of a secret"
            )));
        }
        let name = id.clone();
        self.blocking(move |store| files::write_new(&store.path(&name), secret.expose()))
            .await
    }

    /// Erases a secret that is now available elsewhere under another ID, and records that ID. A
    /// crash in between leaves both.
    ///
    /// # Errors
    /// [`SecretError::Storage`].
    pub async fn replace(&self, id: &Name, by: &Name) -> Result<(), SecretError> {
        let (name, mark) = (id.clone(), format!("{id}{REPLACED}{by}"));
        let mark_there = self.blocking(move |store| {
            File::create(store.dir.join(mark))?.sync_all()?;
            files::sync_dir(&store.dir)?;
            store.remove(&name)
        });
        mark_there.await
    }

    /// The IDs of replaced secrets, each with the ID of its replacement.
    ///
    /// # Errors
    /// [`SecretError::Storage`].
    pub async fn replaced(&self) -> Result<BTreeMap<Name, Name>, SecretError> {
        self.blocking(|store| {
            let mut replacements = BTreeMap::new();
            for file in std::fs::read_dir(&store.dir)? {
                let name = file?.file_name();
                let pair = name.to_str().and_then(|name| name.split_once(REPLACED));
                let ids =
                    pair.and_then(|(id, by)| Some((Name::new(id).ok()?, Name::new(by).ok()?)));
                replacements.extend(ids.filter(|(id, by)| is_id(id) && is_id(by)));
            }
            Ok(replacements)
        })
        .await
    }

    /// Runs `work` outside the runtime's threads; an error names the folder, never a content.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> Result<T, SecretError> {
        let store = self.clone();
        let named = |e: &dyn std::error::Error| {
            SecretError::Storage(format!("{}: {e}", self.dir.display()))
        };
        let result = tokio::task::spawn_blocking(move || work(&store)).await;
        result.map_err(|e| named(&e))?.map_err(|e| named(&e))
    }

    fn path(&self, id: &Name) -> PathBuf {
        self.dir.join(id.as_str())
    }

    fn read(&self, id: &Name) -> io::Result<Option<Secret>> {
        let mut file = match File::open(self.path(id)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        // Allocated with its final length: a growing buffer would leave copies in memory.
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let mut secret = Secret::new(vec![0; len]);
        file.read_exact(&mut secret.0)?;
        Ok(Some(secret))
    }

    fn list(&self) -> io::Result<Vec<Name>> {
        let mut ids = Vec::new();
        for file in std::fs::read_dir(&self.dir)? {
            // Files with other names are not secrets: incomplete files, or files of other programs.
            let name = file?.file_name();
            ids.extend(
                name.to_str()
                    .and_then(|name| Name::new(name).ok())
                    .filter(is_id),
            );
        }
        Ok(ids)
    }

    fn remove(&self, id: &Name) -> io::Result<()> {
        match OpenOptions::new().write(true).open(self.path(id)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            file => {
                overwrite(file?)?;
                match std::fs::remove_file(self.path(id)) {
                    // Whoever erases it at the same time was first.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    removed => removed?,
                }
            }
        }
        // Also if the file was already removed: the process that removed it may have died before
        // the sync.
        files::sync_dir(&self.dir)
    }
}

fn overwrite(mut file: File) -> io::Result<()> {
    let len = file.metadata()?.len();
    io::copy(&mut io::repeat(0).take(len), &mut file)?;
    file.flush()?;
    file.sync_all()
}

#[async_trait]
impl Secrets for DirSecrets {
    async fn put(&self, secret: Secret) -> Result<Name, SecretError> {
        let id = random_id();
        let name = id.clone();
        self.blocking(move |store| files::write_new(&store.path(&name), secret.expose()))
            .await?;
        Ok(id)
    }

    async fn get(&self, id: &Name) -> Result<Secret, SecretError> {
        let missing = || SecretError::Missing(id.clone());
        let name = Some(id.clone()).filter(is_id).ok_or_else(missing)?;
        self.blocking(move |store| store.read(&name))
            .await?
            .ok_or_else(missing)
    }

    async fn erase(&self, id: &Name) -> Result<(), SecretError> {
        match Some(id.clone()).filter(is_id) {
            Some(name) => self.blocking(move |store| store.remove(&name)).await,
            None => Ok(()),
        }
    }

    async fn put_back(&self, id: &Name, secret: Secret) -> Result<(), SecretError> {
        self.keep(id, secret).await
    }

    async fn ids(&self) -> Result<Vec<Name>, SecretError> {
        self.blocking(Self::list).await
    }

    async fn has(&self, id: &Name) -> Result<bool, SecretError> {
        if is_id(id) {
            let id = id.clone();
            self.blocking(move |store| store.path(&id).try_exists())
                .await
        } else {
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_secret_may_be_erased_by_several_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = DirSecrets::open(dir.path()).await.unwrap();
        for _ in 0..50 {
            let id = store.put(Secret::new("s")).await.unwrap();
            let erased = futures::future::join_all((0..4).map(|_| {
                let (store, id) = (store.clone(), id.clone());
                tokio::spawn(async move { store.erase(&id).await })
            }));
            for one in erased.await {
                assert_eq!(one.unwrap(), Ok(()));
            }
        }
    }
}
