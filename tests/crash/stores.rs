//! Journal, checkpoints, blobs and secrets behind the crash gate.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use vsiflow_engine::{
    blob::{Blobs, MemoryBlobs},
    checkpoint::Checkpoints,
    journal::{Append, Journal, JournalError, JournalLayer, Record},
    model::{Hash, Name, Payload, RunId},
    secret::{Secret, SecretError, Secrets},
};

use super::{
    audit::CrashAudit,
    gate::{CallKind, CrashGate},
};

/// A store at whose writes the process can die.
pub struct Gated<S: ?Sized> {
    pub inner: Arc<S>,
    pub gate: Arc<CrashGate>,
}

impl<S: ?Sized> Gated<S> {
    pub fn new(inner: Arc<S>, gate: &Arc<CrashGate>) -> Arc<Self> {
        let gate = gate.clone();
        Arc::new(Self { inner, gate })
    }
}

fn append_name(batch: &[Append]) -> String {
    let events = batch.iter().flat_map(|append| &append.events);
    let kinds: Vec<_> = events.map(|event| event.kind.type_name()).collect();
    format!("append {}", kinds.join("+"))
}

#[async_trait]
impl JournalLayer for Gated<dyn Journal> {
    fn inner(&self) -> &dyn Journal {
        &*self.inner
    }

    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        let (inner, name) = (self.inner.clone(), append_name(&batch));
        let work = async move { inner.append(batch).await };
        self.gate.pass(|| name, CallKind::Plain, work).await
    }
}

#[async_trait]
impl Checkpoints for Gated<dyn Checkpoints> {
    async fn put(&self, run: RunId, node: &Name, value: Vec<u8>) -> Result<(), JournalError> {
        let (inner, node) = (self.inner.clone(), node.clone());
        let name = || format!("checkpoint {node}");
        let name = name();
        let work = async move { inner.put(run, &node, value).await };
        self.gate.pass(|| name, CallKind::Plain, work).await
    }

    async fn get(&self, run: RunId, node: &Name) -> Result<Option<Vec<u8>>, JournalError> {
        self.inner.get(run, node).await
    }

    async fn forget(&self, run: RunId) -> Result<(), JournalError> {
        let inner = self.inner.clone();
        let work = async move { inner.forget(run).await };
        self.gate
            .pass(|| "forget checkpoints".to_owned(), CallKind::Plain, work)
            .await
    }
}

#[async_trait]
impl Blobs for Gated<dyn Blobs> {
    async fn put_blob(&self, bytes: &[u8]) -> Result<Payload, JournalError> {
        let (inner, bytes) = (self.inner.clone(), bytes.to_vec());
        let work = async move { inner.put_blob(&bytes).await };
        self.gate
            .pass(|| "put blob".to_owned(), CallKind::Plain, work)
            .await
    }

    async fn get_blob(&self, hash: Hash, len: u64) -> Result<Vec<u8>, JournalError> {
        self.inner.get_blob(hash, len).await
    }
}

/// Blobs of which some may be lost.
#[derive(Default)]
pub struct LossyBlobs {
    inner: MemoryBlobs,
    kept: Mutex<BTreeSet<(Hash, u64)>>,
    lost: Mutex<BTreeSet<Hash>>,
}

impl LossyBlobs {
    /// Loses every blob that contains these words, and returns their number.
    pub async fn lose(&self, words: &str) -> usize {
        let all = self.kept.lock().unwrap().clone();
        let mut count = 0;
        for (hash, len) in all {
            let bytes = self.inner.get_blob(hash, len).await.unwrap();
            if String::from_utf8_lossy(&bytes).contains(words) {
                self.lost.lock().unwrap().insert(hash);
                count += 1;
            }
        }
        count
    }

    /// Restores the lost blobs.
    pub fn find(&self) {
        self.lost.lock().unwrap().clear();
    }
}

#[async_trait]
impl Blobs for LossyBlobs {
    async fn put_blob(&self, bytes: &[u8]) -> Result<Payload, JournalError> {
        let payload = self.inner.put_blob(bytes).await?;
        if let Payload::Blob { hash, len } = &payload {
            self.kept.lock().unwrap().insert((*hash, *len));
        }
        Ok(payload)
    }

    async fn get_blob(&self, hash: Hash, len: u64) -> Result<Vec<u8>, JournalError> {
        if self.lost.lock().unwrap().contains(&hash) {
            let (place, why) = (format!("blob {hash}"), "it is missing".to_owned());
            return Err(JournalError::Damaged { place, why });
        }
        self.inner.get_blob(hash, len).await
    }
}

#[async_trait]
impl Secrets for Gated<dyn Secrets> {
    async fn put(&self, secret: Secret) -> Result<Name, SecretError> {
        let inner = self.inner.clone();
        let work = async move { inner.put(secret).await };
        self.gate
            .pass(|| "put secret".to_owned(), CallKind::Plain, work)
            .await
    }

    async fn get(&self, id: &Name) -> Result<Secret, SecretError> {
        self.inner.get(id).await
    }

    async fn erase(&self, id: &Name) -> Result<(), SecretError> {
        let (inner, id) = (self.inner.clone(), id.clone());
        let work = async move { inner.erase(&id).await };
        self.gate
            .pass(|| "erase secret".to_owned(), CallKind::Plain, work)
            .await
    }

    async fn ids(&self) -> Result<Vec<Name>, SecretError> {
        self.inner.ids().await
    }

    async fn has(&self, id: &Name) -> Result<bool, SecretError> {
        self.inner.has(id).await
    }
}

/// A journal that reports each acknowledged batch to the audit.
pub struct Audited {
    pub inner: Arc<dyn Journal>,
    pub audit: Arc<CrashAudit>,
}

#[async_trait]
impl JournalLayer for Audited {
    fn inner(&self) -> &dyn Journal {
        &*self.inner
    }

    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        let records = self.inner.append(batch).await?;
        self.audit.durable(&records);
        Ok(records)
    }
}
