//! The stores besides the events: blobs, checkpoints, secrets. Each write requires a valid lease.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_postgres::types::ToSql;
use vsiflow_engine::{
    blob::Blobs,
    checkpoint::Checkpoints,
    journal::{JournalError, RECORD_MAX},
    model::{Hash, Name, Payload, RunId, StreamId},
    secret::{Secret, SecretError, Secrets},
};

use crate::{Held, PostgresError, PostgresJournal, reader::Reader, seal::Sealer};

/// The journal of a store, and the lease to write to it.
#[derive(Clone)]
struct StorePlace {
    reader: Arc<Reader>,
    journal: i32,
    held: Option<Arc<Held>>,
}

impl StorePlace {
    fn of(journal: &PostgresJournal) -> Self {
        Self {
            reader: journal.reader().clone(),
            journal: journal.number(),
            held: journal.held().cloned(),
        }
    }

    /// Runs a statement that begins with [`fenced`], which returns a row if the lease is valid.
    async fn write(
        &self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<(), JournalError> {
        let held = self
            .held
            .as_ref()
            .ok_or_else(|| JournalError::Storage("the journal was opened to be read".to_owned()))?;
        held.lease().check().map_err(|_| JournalError::LeaseLost)?;
        let mut all: Vec<&(dyn ToSql + Sync)> = vec![&self.journal, &held.holder];
        all.extend(params);
        if !self.reader.rows(sql, &all).await?.is_empty() {
            Ok(())
        } else {
            Err(JournalError::LeaseLost)
        }
    }
}

/// A statement that writes only with a valid lease.
macro_rules! fenced {
    ($write:literal) => {
        concat!(
            "WITH fence AS (SELECT journal FROM vsiflow.journals WHERE journal = $1 AND holder = $2 ",
            "AND lease_until > clock_timestamp()), done AS (",
            $write,
            ") SELECT journal FROM fence"
        )
    };
}

/// Payloads that are too long for an event.
pub struct PostgresBlobs(StorePlace);

impl PostgresBlobs {
    /// The blobs of a journal.
    pub fn of(journal: &PostgresJournal) -> Self {
        Self(StorePlace::of(journal))
    }
}

#[async_trait]
impl Blobs for PostgresBlobs {
    async fn put_blob(&self, bytes: &[u8]) -> Result<Payload, JournalError> {
        let hash = Hash::of(bytes);
        let put = fenced!(
            "INSERT INTO vsiflow.blobs AS b (journal, hash, bytes) SELECT journal, $3, $4 FROM fence \
             ON CONFLICT (journal, hash) DO UPDATE SET bytes = excluded.bytes \
             WHERE b.bytes <> excluded.bytes"
        );
        self.0.write(put, &[&&hash.0[..], &bytes]).await?;
        Ok(Payload::Blob {
            hash,
            len: bytes.len() as u64,
        })
    }

    async fn get_blob(&self, hash: Hash, len: u64) -> Result<Vec<u8>, JournalError> {
        let select = "SELECT bytes FROM vsiflow.blobs WHERE journal = $1 AND hash = $2";
        let rows = self
            .0
            .reader
            .rows(select, &[&self.0.journal, &&hash.0[..]])
            .await?;
        let damaged = |why: &str| JournalError::Damaged {
            place: format!("blob {hash}"),
            why: why.to_owned(),
        };
        let row = rows.first().ok_or(JournalError::MissingBlob(hash))?;
        let bytes: Vec<u8> = row.get(0);
        if bytes.len() as u64 == len && Hash::of(&bytes) == hash {
            Ok(bytes)
        } else {
            Err(damaged("its content does not match its name"))
        }
    }
}

/// Positions within steps.
pub struct PostgresCheckpoints(StorePlace);

impl PostgresCheckpoints {
    /// The checkpoints of a journal.
    pub fn of(journal: &PostgresJournal) -> Self {
        Self(StorePlace::of(journal))
    }
}

#[async_trait]
impl Checkpoints for PostgresCheckpoints {
    async fn put(&self, run: RunId, node: &Name, value: Vec<u8>) -> Result<(), JournalError> {
        if value.len() > RECORD_MAX {
            return Err(JournalError::TooLong {
                stream: StreamId::Run(run),
                event: "checkpoint",
                len: value.len(),
            });
        }
        let put = fenced!(
            "INSERT INTO vsiflow.checkpoints (journal, run, node, value) \
             SELECT journal, $3, $4, $5 FROM fence \
             ON CONFLICT (journal, run, node) DO UPDATE SET value = excluded.value"
        );
        let run = run.to_string();
        self.0.write(put, &[&run, &node.as_str(), &value]).await
    }

    async fn get(&self, run: RunId, node: &Name) -> Result<Option<Vec<u8>>, JournalError> {
        let select = "SELECT value FROM vsiflow.checkpoints \
            WHERE journal = $1 AND run = $2 AND node = $3";
        let run = run.to_string();
        let rows = self
            .0
            .reader
            .rows(select, &[&self.0.journal, &run, &node.as_str()])
            .await?;
        Ok(rows.first().map(|row| row.get(0)))
    }

    async fn forget(&self, run: RunId) -> Result<(), JournalError> {
        let forget = fenced!(
            "DELETE FROM vsiflow.checkpoints c USING fence f WHERE c.journal = f.journal AND c.run = $3"
        );
        self.0.write(forget, &[&run.to_string()]).await
    }
}

/// Sealed secrets.
pub struct PostgresSecrets {
    place: StorePlace,
    /// Without it, nothing can be stored or read.
    sealer: Option<Sealer>,
}

impl PostgresSecrets {
    /// The secrets of a journal. Without a key none can be stored or read.
    pub fn of(journal: &PostgresJournal, sealer: Option<Sealer>) -> Self {
        Self {
            place: StorePlace::of(journal),
            sealer,
        }
    }

    fn sealer(&self) -> Result<&Sealer, SecretError> {
        self.sealer.as_ref().ok_or_else(|| {
            let error = PostgresError::Key("none is given".to_owned());
            SecretError::Key(error.to_string())
        })
    }

    async fn insert(&self, id: &Name, secret: &Secret) -> Result<(), SecretError> {
        let sealed = self.sealer()?.seal(id, secret)?;
        let insert = fenced!(
            "INSERT INTO vsiflow.secrets (journal, id, sealed) SELECT journal, $3, $4 FROM fence"
        );
        // If the statement was sent twice, the second one is refused.
        match self.place.write(insert, &[&id.as_str(), &sealed]).await {
            Err(_)
                if self
                    .get(id)
                    .await
                    .is_ok_and(|stored| stored.expose() == secret.expose()) =>
            {
                Ok(())
            }
            other => other.map_err(unusable),
        }
    }
}

fn unusable(error: JournalError) -> SecretError {
    SecretError::Storage(error.to_string())
}

#[async_trait]
impl Secrets for PostgresSecrets {
    async fn put(&self, secret: Secret) -> Result<Name, SecretError> {
        let id = Name::of(&format!("{:032x}", rand::random::<u128>()));
        self.insert(&id, &secret).await?;
        Ok(id)
    }

    async fn get(&self, id: &Name) -> Result<Secret, SecretError> {
        let select = "SELECT sealed FROM vsiflow.secrets WHERE journal = $1 AND id = $2";
        let params: [&(dyn ToSql + Sync); 2] = [&self.place.journal, &id.as_str()];
        let rows = self
            .place
            .reader
            .rows(select, &params)
            .await
            .map_err(unusable)?;
        match rows.first() {
            Some(row) => self.sealer()?.open(id, row.get(0)),
            None => Err(SecretError::Missing(id.clone())),
        }
    }

    async fn erase(&self, id: &Name) -> Result<(), SecretError> {
        let erase = fenced!(
            "DELETE FROM vsiflow.secrets s USING fence f WHERE s.journal = f.journal AND s.id = $3"
        );
        self.place
            .write(erase, &[&id.as_str()])
            .await
            .map_err(unusable)
    }

    async fn ids(&self) -> Result<Vec<Name>, SecretError> {
        let select = "SELECT id FROM vsiflow.secrets WHERE journal = $1 ORDER BY id";
        let rows = self.place.reader.rows(select, &[&self.place.journal]).await;
        let rows = rows.map_err(unusable)?;
        Ok(rows.iter().map(|row| Name::of(row.get(0))).collect())
    }

    async fn put_back(&self, id: &Name, secret: Secret) -> Result<(), SecretError> {
        self.insert(id, &secret).await
    }
}
