//! The thread that appends: one statement for everything that waits.
//!
//! The statement locks the journal's row, compares epoch, lease and newest link, and writes records,
//! link and heads only if they match: a transaction in one round trip. Its answer is read until the
//! server reports the end of the transaction.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Runtime,
    time::{sleep, timeout},
};
use tokio_postgres::Statement;
use vsiflow_engine::{
    group_commit::{Commit, CommitRequest, Requests},
    journal::{
        BatchLink, JournalError, Missing, MissingCause, Record, Stored, StreamHead,
        stage::{AppendStage, StagedBatch, StagedDraft, StagedHead, Tip},
    },
    model::{Hash, StreamId},
};

use crate::{
    Held,
    connection::Connection,
    error::error_text,
    schema::{self, signed},
};

/// How long a group may take before its connection is abandoned.
const ANSWER: Duration = Duration::from_secs(10);
/// The delay before a connection is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(200);

const FENCE: &str = "WITH fence AS (UPDATE vsiflow.journals SET next_offset = $5, \
    tip_first = $6, tip_last = $7, tip_prev = $8, tip_hash = $9 \
    WHERE journal = $1 AND epoch = $2 AND next_offset = $3 AND tip_hash IS NOT DISTINCT FROM $4 \
    AND lease_until > clock_timestamp() RETURNING journal), ";
const HEADS: &str = "heads AS (INSERT INTO vsiflow.streams (journal, stream, next_seq, hash) \
    SELECT f.journal, h.stream, h.next_seq, h.hash FROM fence f, \
    unnest($10::text[], $11::int8[], $12::bytea[]) AS h(stream, next_seq, hash) \
    ON CONFLICT (journal, stream) DO UPDATE SET next_seq = excluded.next_seq, \
    hash = excluded.hash), ";
const EVENTS: &str = "events AS (INSERT INTO vsiflow.events (journal, \"offset\", stream, seq, bytes) \
    SELECT f.journal, e.place, e.stream, e.seq, e.bytes FROM fence f, \
    unnest($13::int8[], $14::text[], $15::int8[], $16::bytea[]) AS e(place, stream, seq, bytes)), \
    links AS (INSERT INTO vsiflow.links (journal, first, last, prev, hash) \
    SELECT f.journal, $6, $7, $8, $9 FROM fence f) ";
const GAP: &str = "gaps AS (INSERT INTO vsiflow.gaps (journal, first, last, prev, hash, cause) \
    SELECT f.journal, $6, $7, $8, $9, $13 FROM fence f) ";
const COUNT: &str = "SELECT count(*) FROM fence";

/// Takes the journal back after a connection broke: no statement of the old connection can follow,
/// because its epoch has changed.
const REGAIN: &str = "UPDATE vsiflow.journals SET epoch = epoch + 1 \
    WHERE journal = $1 AND holder = $2 AND lease_until > clock_timestamp() \
    RETURNING epoch, next_offset, tip_first, tip_last, tip_prev, tip_hash";

/// A request to write.
pub(crate) enum WriteRequest {
    Append(Vec<StagedDraft>),
    Restore(Vec<Stored>),
    Gap {
        missing: Missing,
        link: Hash,
        heads: Vec<StreamHead>,
    },
}

/// The answer to a request.
pub(crate) enum WriteReply {
    Appended(Vec<Record>),
    Restored(Option<BatchLink>),
    Done,
}

/// Sizes that the writer and the journal share.
#[derive(Default)]
pub(crate) struct Growth {
    pub(crate) since_base: AtomicU64,
    pub(crate) base_size: AtomicU64,
}

/// The state of the thread, and the runtime that drives its connection.
pub(crate) struct Writer {
    runtime: Runtime,
    end: End,
}

impl Writer {
    pub(crate) fn new(
        held: Arc<Held>,
        tip: Tip,
        heads: HashMap<StreamId, StagedHead>,
        growth: Arc<Growth>,
    ) -> Result<Self, JournalError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime =
            runtime.map_err(|e| JournalError::Storage(format!("no runtime to write with: {e}")))?;
        Ok(Self {
            runtime,
            end: End {
                held,
                open: None,
                tip,
                heads,
                growth,
            },
        })
    }
}

impl CommitRequest for WriteRequest {
    fn weight(&self) -> usize {
        match self {
            Self::Append(drafts) => drafts.iter().map(StagedDraft::weight).sum(),
            Self::Restore(stored) => stored.iter().map(|stored| stored.bytes.len()).sum(),
            Self::Gap { .. } => 1024,
        }
    }
}

impl Commit for Writer {
    type Stage = Requests<WriteRequest>;
    type Reply = WriteReply;

    fn commit(
        &mut self,
        group: Vec<WriteRequest>,
    ) -> Result<Vec<Result<WriteReply, JournalError>>, JournalError> {
        self.runtime.block_on(self.end.commit(group))
    }
}

/// A connection that may append.
struct OpenConnection {
    connection: Connection,
    append: Statement,
    gap: Statement,
}

/// The end of the journal, and the connection to it.
struct End {
    held: Arc<Held>,
    open: Option<OpenConnection>,
    tip: Tip,
    heads: HashMap<StreamId, StagedHead>,
    growth: Arc<Growth>,
}

/// The content of one statement.
struct Write {
    tip: Tip,
    link: BatchLink,
    heads: Arc<HashMap<StreamId, StagedHead>>,
    what: WriteContent,
}

enum WriteContent {
    Records(Vec<Stored>),
    Gap(MissingCause),
}

/// The result of a statement.
enum StatementEnd {
    Written,
    /// It is unknown whether it was or will be written.
    Unknown,
}

impl End {
    async fn commit(
        &mut self,
        group: Vec<WriteRequest>,
    ) -> Result<Vec<Result<WriteReply, JournalError>>, JournalError> {
        let mut answers = Vec::with_capacity(group.len());
        let mut stage = AppendStage::new(&self.tip);
        for request in group {
            if let WriteRequest::Append(drafts) = request {
                let admitted = stage.admit(drafts, |stream| Ok(self.head(stream)));
                answers.push(admitted.map(WriteReply::Appended));
                continue;
            }
            // Each of these becomes its own batch, so that the links are the same as before.
            self.write_batch(stage.seal()).await?;
            answers.push(self.alone(request).await?);
            stage = AppendStage::new(&self.tip);
        }
        self.write_batch(stage.seal()).await?;
        Ok(answers)
    }

    async fn alone(
        &mut self,
        request: WriteRequest,
    ) -> Result<Result<WriteReply, JournalError>, JournalError> {
        match request {
            WriteRequest::Append(_) => Ok(Ok(WriteReply::Done)),
            WriteRequest::Restore(stored) => {
                let mut stage = AppendStage::new(&self.tip);
                if let Err(e) = stage.admit_stored(stored, |stream| Ok(self.head(stream))) {
                    return Ok(Err(e));
                }
                let batch = stage.seal();
                let link = batch.as_ref().map(|batch| batch.link);
                self.write_batch(batch).await?;
                Ok(Ok(WriteReply::Restored(link)))
            }
            WriteRequest::Gap {
                missing,
                link,
                heads,
            } => self.skip(&missing, link, heads).await,
        }
    }

    fn head(&self, stream: &StreamId) -> StagedHead {
        self.heads.get(stream).copied().unwrap_or_default()
    }

    async fn write_batch(&mut self, batch: Option<StagedBatch>) -> Result<(), JournalError> {
        let Some(StagedBatch {
            link,
            tip,
            heads,
            records,
        }) = batch
        else {
            return Ok(());
        };
        let grown: usize = records.iter().map(|record| record.bytes.len()).sum();
        let what = WriteContent::Records(records);
        self.write(Write {
            tip,
            link,
            heads,
            what,
        })
        .await?;
        self.growth
            .since_base
            .fetch_add(grown as u64, Ordering::AcqRel);
        Ok(())
    }

    /// Continues after a missing range.
    async fn skip(
        &mut self,
        missing: &Missing,
        hash: Hash,
        heads: Vec<StreamHead>,
    ) -> Result<Result<WriteReply, JournalError>, JournalError> {
        let back = |head: &StreamHead| head.next_seq < self.head(&head.stream).next_seq;
        let fits = missing.from == self.tip.next && missing.from < missing.to;
        if !fits || heads.iter().any(back) {
            return Ok(Err(JournalError::Damaged {
                place: missing.to_string(),
                why: format!("they do not follow offset {}", self.tip.next),
            }));
        }
        let link = BatchLink {
            first: missing.from,
            last: missing.to.saturating_sub(1),
            prev: self.tip.link.map(|link| link.hash).unwrap_or_default(),
            hash,
        };
        let tip = Tip {
            next: missing.to,
            link: Some(link),
        };
        let heads = heads.into_iter().map(|head| {
            let (next_seq, next_hash) = (head.next_seq, head.hash);
            (
                head.stream,
                StagedHead {
                    next_seq,
                    hash: next_hash,
                },
            )
        });
        self.write(Write {
            tip,
            link,
            heads: Arc::new(heads.collect()),
            what: WriteContent::Gap(missing.cause),
        })
        .await?;
        Ok(Ok(WriteReply::Done))
    }

    /// Writes exactly once, even if connections break or acknowledgements are lost.
    async fn write(&mut self, write: Write) -> Result<(), JournalError> {
        if self.open.is_none() {
            let found = self.regain().await?;
            self.same_as_known(&found)?;
        }
        let mut wait = Duration::ZERO;
        loop {
            if let StatementEnd::Written = self.send(&write).await? {
                break;
            }
            // A lost connection is replaced immediately; a refused statement, for example because the
            // disk is full, is retried after a pause.
            sleep(wait).await;
            wait = RETRY_DELAY;
            let found = self.regain().await?;
            if is_same(&found, &write.tip) {
                break;
            }
            self.same_as_known(&found)?;
        }
        self.tip = write.tip;
        self.heads.extend(Arc::unwrap_or_clone(write.heads));
        Ok(())
    }

    /// Checks that the journal ends where this process left it.
    fn same_as_known(&self, found: &Tip) -> Result<(), JournalError> {
        if is_same(found, &self.tip) {
            return Ok(());
        }
        self.held.lease.give_up();
        Err(JournalError::Storage(format!(
            "{} ends at offset {} with another link than this process wrote: the database was set \
             back, or a server was promoted that lacks what was acknowledged",
            self.held.address, found.next
        )))
    }

    async fn send(&mut self, write: &Write) -> Result<StatementEnd, JournalError> {
        let Some(open) = &self.open else {
            return Ok(StatementEnd::Unknown);
        };
        let left = self.held.lease.left().unwrap_or(ANSWER);
        if left.is_zero() {
            return Err(JournalError::LeaseLost);
        }
        let sending = Box::pin(execute(open, &self.held, &self.tip, write));
        match timeout(left.min(ANSWER), sending).await {
            Ok(Ok(1)) if !open.connection.was_warned() => Ok(StatementEnd::Written),
            // Another epoch, another link, or no lease: `regain` finds out which.
            Ok(Ok(_)) => Ok(StatementEnd::Unknown),
            Ok(Err(error)) if is_final(&error) => Err(JournalError::Storage(error_text(&error))),
            Ok(Err(error)) => {
                tracing::warn!(
                    why = error_text(&error),
                    "appending again on a new connection"
                );
                Ok(StatementEnd::Unknown)
            }
            Err(_) => {
                tracing::warn!("the database did not answer in time; trying a new connection");
                Ok(StatementEnd::Unknown)
            }
        }
    }

    /// Reconnects and increases the epoch while the lease is valid. Returns the end of the journal.
    async fn regain(&mut self) -> Result<Tip, JournalError> {
        self.open = None;
        loop {
            let left = self.held.lease.left().unwrap_or(ANSWER);
            if left.is_zero() {
                return Err(JournalError::LeaseLost);
            }
            match timeout(left, Box::pin(self.try_to_regain())).await {
                Ok(Ok(Some((open, tip)))) => {
                    self.open = Some(open);
                    return Ok(tip);
                }
                Ok(Ok(None)) => {
                    self.held.lease.give_up();
                    return Err(JournalError::LeaseLost);
                }
                Ok(Err(why)) => tracing::warn!(why, "the journal is not reached"),
                Err(_) => return Err(JournalError::LeaseLost),
            }
            sleep(RETRY_DELAY).await;
        }
    }

    async fn try_to_regain(&self) -> Result<Option<(OpenConnection, Tip)>, String> {
        let connection = Connection::to(&self.held.address).await;
        let connection = connection.map_err(|e| e.to_string())?;
        let text = |error| error_text(&error);
        let client = &connection.client;
        let append = [FENCE, HEADS, EVENTS, COUNT].concat();
        let append = client.prepare(&append).await.map_err(text)?;
        let gap = [FENCE, HEADS, GAP, COUNT].concat();
        let gap = client.prepare(&gap).await.map_err(text)?;
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 2] =
            [&self.held.journal, &self.held.holder];
        let row = client.query_opt(REGAIN, &params).await.map_err(text)?;
        if connection.was_warned() {
            return Err("the standby did not acknowledge".to_owned());
        }
        let Some(row) = row else { return Ok(None) };
        self.held.epoch.store(row.get(0), Ordering::Release);
        let tip = schema::tip(&row, 1);
        let open = OpenConnection {
            connection,
            append,
            gap,
        };
        Ok(Some((open, tip)))
    }
}

async fn execute(
    open: &OpenConnection,
    held: &Held,
    before: &Tip,
    write: &Write,
) -> Result<i64, tokio_postgres::Error> {
    let epoch = held.epoch();
    let (before_next, next) = (signed(before.next), signed(write.tip.next));
    let before_hash = before.link.map(|link| link.hash.0.to_vec());
    let (first, last) = (signed(write.link.first), signed(write.link.last));
    let (prev, hash) = (&write.link.prev.0[..], &write.link.hash.0[..]);
    let streams: Vec<_> = write.heads.keys().map(StreamId::to_string).collect();
    let seqs: Vec<_> = write
        .heads
        .values()
        .map(|head| signed(head.next_seq))
        .collect();
    let hashes: Vec<_> = write.heads.values().map(|head| &head.hash.0[..]).collect();
    let mut params: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = vec![
        &held.journal,
        &epoch,
        &before_next,
        &before_hash,
        &next,
        &first,
        &last,
        &prev,
        &hash,
        &streams,
        &seqs,
        &hashes,
    ];
    let row = match &write.what {
        WriteContent::Records(records) => {
            let offsets: Vec<_> = records.iter().map(|r| signed(r.offset)).collect();
            let record_streams: Vec<_> = records.iter().map(|r| r.stream.to_string()).collect();
            let record_seqs: Vec<_> = records.iter().map(|r| signed(r.seq)).collect();
            let bytes: Vec<_> = records.iter().map(|r| r.bytes.as_slice()).collect();
            let more: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
                [&offsets, &record_streams, &record_seqs, &bytes];
            params.extend(more);
            open.connection
                .client
                .query_one(&open.append, &params)
                .await?
        }
        WriteContent::Gap(cause) => {
            let cause = cause_name(*cause);
            params.push(&cause);
            open.connection.client.query_one(&open.gap, &params).await?
        }
    };
    Ok(row.get(0))
}

pub(crate) fn cause_name(cause: MissingCause) -> &'static str {
    match cause {
        MissingCause::Removed => "removed",
        MissingCause::Lost => "lost",
        MissingCause::Damaged => "damaged",
    }
}

fn is_same(one: &Tip, other: &Tip) -> bool {
    let hash = |tip: &Tip| tip.link.map(|link| link.hash);
    one.next == other.next && hash(one) == hash(other)
}

/// Whether a retry cannot succeed: wrong data, a violated constraint, or missing permissions.
fn is_final(error: &tokio_postgres::Error) -> bool {
    let code = error.as_db_error().map(|error| error.code().code());
    code.is_some_and(|code| {
        ["22", "23", "42"]
            .iter()
            .any(|class| code.starts_with(class))
    })
}
