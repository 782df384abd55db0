//! Implements the journal's port on PostgreSQL.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use async_trait::async_trait;
use tokio_postgres::Row;
use vsiflow_engine::{
    group_commit::{GroupWriter, Requests},
    journal::{
        Append, BatchLink, ChainedJournal, Entry, Journal, JournalError, Missing, MissingCause,
        Offset, Record, States, Stored, StreamHead,
        stage::{StagedDraft, StagedHead, Tip},
    },
    model::{Hash, StreamId},
};

use crate::{
    Held, JournalAddress, JournalIdentity, PostgresError, bases,
    connection::Connection,
    primaries,
    reader::Reader,
    schema::{self, hash, signed, unsigned},
    writer::{Growth, WriteReply, WriteRequest, Writer},
};

/// The minimum size of the events after the newest base before another one is due, in bytes, as on disk.
const BASE_LEAST: u64 = 4 << 20;

/// A journal in a database. See the crate's documentation for its guarantees.
///
/// After the first write that fails, every call that writes returns the same error, and the lease is
/// given up: the process must end.
pub struct PostgresJournal {
    reader: Arc<Reader>,
    journal: i32,
    identity: JournalIdentity,
    writer: Option<GroupWriter<Writer>>,
    held: Option<Arc<Held>>,
    growth: Arc<Growth>,
}

impl PostgresJournal {
    /// Opens a journal for writing, as its holder.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn open(held: Arc<Held>) -> Result<Self, PostgresError> {
        let address = held.address.clone();
        let reader = Arc::new(Reader::new(
            address.clone(),
            Connection::to(&address).await?,
        ));
        let journal = held.journal;
        let tip = read_tip(&reader, journal).await?;
        let heads = read_heads(&reader, journal).await?;
        let heads = heads.into_iter().map(|head| {
            let (next_seq, hash) = (head.next_seq, head.hash);
            (head.stream, StagedHead { next_seq, hash })
        });
        let heads: HashMap<_, _> = heads.collect();
        let growth = Arc::new(Growth::default());
        bases::measure(&reader, journal, &growth).await?;
        let started = Writer::new(held.clone(), tip, heads, growth.clone())
            .and_then(|writer| GroupWriter::start("journal-writer", Requests::default(), writer));
        let writer = started.map_err(|e| PostgresError::Unreachable {
            server: address.to_string(),
            why: e.to_string(),
        })?;
        Ok(Self {
            reader,
            journal,
            identity: held.identity().clone(),
            writer: Some(writer),
            held: Some(held),
            growth,
        })
    }

    /// Opens a journal for reading: it needs no lease and writes nothing.
    ///
    /// # Errors
    /// [`PostgresError::Missing`] if it does not exist; otherwise see [`PostgresError`].
    pub async fn open_to_read(address: &JournalAddress) -> Result<Self, PostgresError> {
        let (connection, ()) =
            tokio::try_join!(Connection::to(address), primaries::at_most_one(address))?;
        let missing = |half| PostgresError::Missing {
            server: address.to_string(),
            name: address.name.clone(),
            half,
        };
        if !schema::check(&connection.client, address).await? {
            return Err(missing(false));
        }
        let row = schema::find(&connection.client, address).await?;
        let row = row.ok_or_else(|| missing(false))?;
        if !row.whole {
            return Err(missing(true));
        }
        Ok(Self {
            journal: row.journal,
            identity: JournalIdentity::of(&row),
            reader: Arc::new(Reader::new(address.clone(), connection)),
            writer: None,
            held: None,
            growth: Arc::default(),
        })
    }

    /// The identity of the journal.
    pub fn identity(&self) -> &JournalIdentity {
        &self.identity
    }

    /// The lease with which it is written; none if it was opened for reading.
    pub fn held(&self) -> Option<&Arc<Held>> {
        self.held.as_ref()
    }

    pub(crate) fn reader(&self) -> &Arc<Reader> {
        &self.reader
    }

    pub(crate) fn number(&self) -> i32 {
        self.journal
    }

    /// Completes pending writes. Later calls return [`JournalError::Closed`]. The lease is not released:
    /// see [`Held::release`].
    pub async fn close(&self) {
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
    }

    /// Waits until writing has failed for good; forever if that does not happen. Cancel safe.
    pub async fn failed(&self) -> JournalError {
        match &self.writer {
            Some(writer) => writer.failed().await,
            None => std::future::pending().await,
        }
    }

    async fn write(&self, request: WriteRequest) -> Result<WriteReply, JournalError> {
        let writer = self
            .writer
            .as_ref()
            .ok_or_else(|| JournalError::Storage("the journal was opened to be read".to_owned()))?;
        writer.write(request).await
    }

    /// The link at the end of the events before an offset, if a batch ends there.
    async fn link_before(&self, offset: Offset) -> Result<Option<Option<BatchLink>>, JournalError> {
        let Some(last) = offset.checked_sub(1) else {
            return Ok(Some(None));
        };
        let select = "SELECT first, last, prev, hash FROM vsiflow.links \
            WHERE journal = $1 AND last = $2 UNION ALL \
            SELECT first, last, prev, hash FROM vsiflow.gaps WHERE journal = $1 AND last = $2";
        let rows = self
            .reader
            .rows(select, &[&self.journal, &signed(last)])
            .await?;
        Ok(rows.first().map(|row| Some(link_of(row))))
    }

    async fn page(&self, from: Offset, limit: usize) -> Result<Vec<Stored>, JournalError> {
        let select = "SELECT \"offset\", bytes FROM vsiflow.events \
            WHERE journal = $1 AND \"offset\" >= $2 ORDER BY \"offset\" LIMIT $3";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self
            .reader
            .rows(select, &[&self.journal, &signed(from), &limit])
            .await?;
        rows.iter().map(stored).collect()
    }
}

/// Parses a record, and checks that it has the offset under which it is stored.
fn stored(row: &Row) -> Result<Stored, JournalError> {
    let (offset, bytes) = (unsigned(row.get(0)), row.get::<_, Vec<u8>>(1));
    Stored::parse_at(offset, bytes)
}

pub(crate) fn link_of(row: &Row) -> BatchLink {
    BatchLink {
        first: unsigned(row.get(0)),
        last: unsigned(row.get(1)),
        prev: hash(Some(row.get(2))),
        hash: hash(Some(row.get(3))),
    }
}

async fn read_tip(reader: &Reader, journal: i32) -> Result<Tip, PostgresError> {
    let select = "SELECT next_offset, tip_first, tip_last, tip_prev, tip_hash \
        FROM vsiflow.journals WHERE journal = $1";
    let rows = reader.query(select, &[&journal]).await?;
    Ok(rows
        .first()
        .map(|row| schema::tip(row, 0))
        .unwrap_or_default())
}

async fn read_heads(reader: &Reader, journal: i32) -> Result<Vec<StreamHead>, PostgresError> {
    let select = "SELECT stream, next_seq, hash FROM vsiflow.streams WHERE journal = $1";
    let rows = reader.query(select, &[&journal]).await?;
    let heads = rows.iter().map(|row| {
        let stream = row.get::<_, &str>(0);
        let stream = stream.parse().map_err(|_| PostgresError::Refused {
            server: reader.address().to_string(),
            why: format!("the table of streams names {stream:?}, which is not a stream"),
        })?;
        Ok(StreamHead {
            stream,
            next_seq: unsigned(row.get(1)),
            hash: hash(Some(row.get(2))),
        })
    });
    let mut heads = heads.collect::<Result<Vec<_>, PostgresError>>()?;
    heads.sort_by(|one, other| one.stream.cmp(&other.stream));
    Ok(heads)
}

#[async_trait]
impl Journal for PostgresJournal {
    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        let drafts = StagedDraft::all(batch)?;
        match self.write(WriteRequest::Append(drafts)).await? {
            WriteReply::Appended(records) => Ok(records),
            _ => Err(unexpected()),
        }
    }

    async fn read(
        &self,
        stream: &StreamId,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<Record>, JournalError> {
        let select = "SELECT \"offset\", bytes FROM vsiflow.events \
            WHERE journal = $1 AND stream = $2 AND seq >= $3 ORDER BY seq LIMIT $4";
        let (name, from) = (stream.to_string(), signed(from_seq));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self
            .reader
            .rows(select, &[&self.journal, &name, &from, &limit])
            .await?;
        rows.iter().map(|row| stored(row)?.record()).collect()
    }

    async fn read_all(&self, from: Offset, limit: usize) -> Result<Vec<Record>, JournalError> {
        let page = self.page(from, limit).await?;
        page.iter().map(Stored::record).collect()
    }

    async fn streams(&self) -> Result<Vec<StreamHead>, JournalError> {
        read_heads(&self.reader, self.journal)
            .await
            .map_err(JournalError::from)
    }

    async fn read_entries(&self, from: Offset, limit: usize) -> Result<Vec<Entry>, JournalError> {
        let page = self.page(from, limit).await?;
        page.iter().map(Entry::of).collect()
    }

    async fn states(&self, at: Option<Offset>) -> Result<States, JournalError> {
        let states = bases::read(&self.reader, self.journal, at.unwrap_or(Offset::MAX)).await?;
        let gap = |missing: &Missing| at.is_none() && missing.to > states.as_of;
        match self.missing().await?.into_iter().find(gap) {
            None => Ok(states),
            Some(Missing { from, to, .. }) => Err(JournalError::Damaged {
                place: format!("offset {from}"),
                why: format!("the events before offset {to} are missing, and no base covers them"),
            }),
        }
    }

    fn base_is_due(&self) -> bool {
        let since = self.growth.since_base.load(Ordering::Acquire);
        let size = self.growth.base_size.load(Ordering::Acquire);
        self.writer.is_some() && since > size.max(BASE_LEAST)
    }

    async fn write_base(&self, mut states: States) -> Result<Option<Hash>, JournalError> {
        let Some(held) = &self.held else {
            return Ok(None);
        };
        // Other batches may have been written in the same group as the one that ends there.
        let Some(link) = self.link_before(states.as_of).await? else {
            return Ok(None);
        };
        states.link = link;
        Box::pin(bases::write(held, states, &self.growth))
            .await
            .map(Some)
    }

    async fn missing(&self) -> Result<Vec<Missing>, JournalError> {
        let select =
            "SELECT first, last, cause FROM vsiflow.gaps WHERE journal = $1 ORDER BY first";
        let rows = self.reader.rows(select, &[&self.journal]).await?;
        let missing = rows.iter().map(|row| Missing {
            from: unsigned(row.get(0)),
            to: unsigned(row.get(1)).saturating_add(1),
            cause: match row.get::<_, &str>(2) {
                "removed" => MissingCause::Removed,
                "lost" => MissingCause::Lost,
                _ => MissingCause::Damaged,
            },
        });
        Ok(missing.collect())
    }
}

#[async_trait]
impl ChainedJournal for PostgresJournal {
    async fn read_stored(&self, from: Offset, limit: usize) -> Result<Vec<Stored>, JournalError> {
        self.page(from, limit).await
    }

    async fn read_links(&self, from: Offset, limit: usize) -> Result<Vec<BatchLink>, JournalError> {
        let select = "SELECT first, last, prev, hash FROM vsiflow.links \
            WHERE journal = $1 AND first >= $2 ORDER BY first LIMIT $3";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self
            .reader
            .rows(select, &[&self.journal, &signed(from), &limit])
            .await?;
        Ok(rows.iter().map(link_of).collect())
    }

    async fn head(&self) -> Result<Option<BatchLink>, JournalError> {
        Ok(read_tip(&self.reader, self.journal).await?.link)
    }

    async fn restore(&self, batch: Vec<Vec<u8>>) -> Result<Option<BatchLink>, JournalError> {
        let request = batch
            .into_iter()
            .map(Stored::parse)
            .collect::<Result<_, _>>()?;
        match self.write(WriteRequest::Restore(request)).await? {
            WriteReply::Restored(link) => Ok(link),
            _ => Err(unexpected()),
        }
    }

    async fn restore_missing(
        &self,
        missing: Missing,
        link: Hash,
        heads: Vec<StreamHead>,
    ) -> Result<(), JournalError> {
        let request = WriteRequest::Gap {
            missing,
            link,
            heads,
        };
        self.write(request).await.map(drop)
    }
}

fn unexpected() -> JournalError {
    JournalError::Storage("the writer answered another request".to_owned())
}
