//! Requests to the holder of a journal, wherever it runs.

use std::{
    collections::BTreeSet,
    sync::PoisonError,
    time::{Duration, SystemTime},
};

use vsiflow_engine::{
    model::Name,
    secret::{Secret, SecretError},
};

use crate::{
    Held, PostgresError,
    seal::{OpenedMessage, Sealer},
    shards::{ShardError, ShardSet},
};

/// The number of requests to one journal that may wait.
const MAX: i64 = 1000;
/// The maximum length of a request and of an answer, in bytes.
pub const MAX_LEN: usize = 32 << 20;
/// How long an answer that is not fetched is stored.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// The kind of a request. Requests of one lane wait only for one another: a holder has separate capacity
/// for each lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// A command for the objects of one journal. It may wait for a guest.
    Command,
    /// A decision of journal 0 across several journals. It waits for the journals that it hands over to
    /// and asks.
    Decision,
    /// A report of a journal about itself. It waits only for hosts.
    Report,
}

impl Lane {
    /// All lanes.
    pub const ALL: [Self; 3] = [Self::Command, Self::Decision, Self::Report];

    fn stored(self) -> i32 {
        match self {
            Self::Command => 0,
            Self::Decision => 1,
            Self::Report => 2,
        }
    }

    fn read(stored: i32) -> Self {
        let mut all = Self::ALL.into_iter();
        all.find(|lane| lane.stored() == stored)
            .unwrap_or(Self::Command)
    }
}

/// A new request.
#[derive(Clone, Copy, Debug)]
pub struct NewRequest<'a> {
    /// Its unique ID.
    pub id: &'a str,
    /// The journal that is asked.
    pub journal: u16,
    /// Its lane.
    pub lane: Lane,
    /// The content of the request.
    pub text: &'a Secret,
    /// Whether a holder may carry it out again after another one started it.
    pub repeatable: bool,
}

/// A request for the holder of a journal.
#[derive(Debug)]
pub struct JournalRequest {
    /// Its unique ID.
    pub id: String,
    /// Its lane.
    pub lane: Lane,
    /// The content of the request.
    pub request: Secret,
    /// Whether a holder that died had started it, and it is not repeatable.
    pub begun: bool,
    /// Whether a holder that died had started it.
    pub again: bool,
}

/// The progress of a request.
#[derive(Debug)]
pub enum Progress {
    /// No holder has taken it.
    Waiting,
    /// A holder has started it.
    Begun,
    /// The answer.
    Answered(Secret),
    /// A holder refused it: it was too old, taken before, or not sealed by a process with the same key and version.
    Refused,
    /// It does not exist: it was withdrawn, or its answer expired.
    Gone,
}

impl ShardSet {
    /// Sends a request to the holder of a journal. Sending it again with the same ID changes nothing. A
    /// request `by` the holder of a journal is sent only while its lease is valid.
    ///
    /// # Errors
    /// [`ShardError::Full`] if it is too long, too many wait, or the lease has expired; otherwise see
    /// [`PostgresError`].
    pub async fn ask(
        &self,
        sealer: &Sealer,
        request: NewRequest<'_>,
        by: Option<&Held>,
    ) -> Result<(), ShardError> {
        if request.text.expose().len() > MAX_LEN {
            let why = format!("it is longer than {} MiB", MAX_LEN >> 20);
            return Err(ShardError::Full { why });
        }
        let (id, number) = (request.id, i32::from(request.journal));
        let context = self.request_context(&request);
        let sealed = sealer.seal_message(&Name::of(id), &context, since_epoch(), request.text);
        let sealed = sealed.map_err(unsealed)?;
        let insert = "WITH fence AS (SELECT FROM vsiflow.journals WHERE journal = $8 \
                AND holder = $9 AND lease_until > clock_timestamp() FOR SHARE) \
            INSERT INTO vsiflow.shard_requests (set_name, id, journal, sealed, repeatable, lane) \
            SELECT $1, $2, $3, $4, $5, $7 WHERE (SELECT count(*) FROM vsiflow.shard_requests \
                WHERE set_name = $1 AND journal = $3 AND answer IS NULL) < $6 \
                AND ($8 < 0 OR EXISTS (SELECT FROM fence)) \
            ON CONFLICT (set_name, id) DO NOTHING";
        let (journal, holder) = by.map_or((-1, ""), |held| (held.journal, held.holder.as_str()));
        let lane = request.lane.stored();
        self.reader()
            .query(
                insert,
                &[
                    &self.name(),
                    &id,
                    &number,
                    &sealed,
                    &request.repeatable,
                    &MAX,
                    &lane,
                    &journal,
                    &holder,
                ],
            )
            .await?;
        let there = "SELECT 1 FROM vsiflow.shard_requests WHERE set_name = $1 AND id = $2";
        if self
            .reader()
            .query(there, &[&self.name(), &id])
            .await?
            .is_empty()
        {
            let why = match by.map(|held| held.lease.check()) {
                Some(Err(lost)) => lost.to_string(),
                _ => format!("{MAX} wait for the holder of journal {number}"),
            };
            return Err(ShardError::Full { why });
        }
        Ok(())
    }

    /// Which of these requests exist and are not answered. Nothing more is done for the others, unless
    /// they are sent again.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn open_among(&self, ids: &[String]) -> Result<BTreeSet<String>, PostgresError> {
        if ids.is_empty() {
            return Ok(BTreeSet::new());
        }
        let select = "SELECT id FROM vsiflow.shard_requests \
            WHERE set_name = $1 AND id = ANY($2) AND answer IS NULL";
        let rows = self.reader().query(select, &[&self.name(), &ids]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Whether a request whose ID begins with `beginning` exists and is not answered.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn has_open(&self, beginning: &str) -> Result<bool, PostgresError> {
        let select = "SELECT 1 FROM vsiflow.shard_requests \
            WHERE set_name = $1 AND starts_with(id, $2) AND answer IS NULL LIMIT 1";
        let rows = self
            .reader()
            .query(select, &[&self.name(), &beginning])
            .await?;
        Ok(!rows.is_empty())
    }

    /// The progress of a request.
    ///
    /// # Errors
    /// See [`ShardError`].
    pub async fn progress(&self, sealer: &Sealer, id: &str) -> Result<Progress, ShardError> {
        let select = "SELECT answer, begun_by <> '' FROM vsiflow.shard_requests \
            WHERE set_name = $1 AND id = $2";
        let rows = self.reader().query(select, &[&self.name(), &id]).await?;
        let Some(row) = rows.first() else {
            return Ok(Progress::Gone);
        };
        match (row.get::<_, Option<&[u8]>>(0), row.get::<_, bool>(1)) {
            (Some([]), _) => Ok(Progress::Refused),
            (Some(sealed), _) => {
                let context = self.answer_context(id);
                let answer = sealer.open_message(&answer_name(id), &context, sealed);
                Ok(Progress::Answered(answer.map_err(unsealed)?.content))
            }
            (None, true) => Ok(Progress::Begun),
            (None, false) => Ok(Progress::Waiting),
        }
    }

    /// Withdraws a request that no holder has started, or whose answer was read. Returns whether it was
    /// removed.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn withdraw(&self, id: &str) -> Result<bool, PostgresError> {
        let delete = "DELETE FROM vsiflow.shard_requests WHERE set_name = $1 AND id = $2 \
            AND (begun_by = '' OR answer IS NOT NULL) RETURNING id";
        let rows = self.reader().query(delete, &[&self.name(), &id]).await?;
        Ok(!rows.is_empty())
    }

    /// Starts the oldest request of these lanes that this holder has not started. None if there is none,
    /// or the lease has expired.
    ///
    /// # Errors
    /// [`ShardError::Seal`] if no process with this key sealed it, and [`ShardError::Refused`] if it is too old or was
    /// taken before. It gets an empty answer then, so that it does not block others. Otherwise see
    /// [`PostgresError`].
    pub async fn begin(
        &self,
        sealer: &Sealer,
        held: &Held,
        journal: u16,
        lanes: &[Lane],
    ) -> Result<Option<JournalRequest>, ShardError> {
        let number = i32::from(journal);
        let lanes: Vec<_> = lanes.iter().map(|lane| lane.stored()).collect();
        let take = "WITH fence AS (SELECT journal FROM vsiflow.journals WHERE journal = $4 \
                AND holder = $3 AND lease_until > clock_timestamp() FOR SHARE), \
            oldest AS (SELECT id, begun_by FROM vsiflow.shard_requests \
                WHERE set_name = $1 AND journal = $2 AND answer IS NULL AND begun_by <> $3 \
                AND lane = ANY($5) AND EXISTS (SELECT FROM fence) ORDER BY asked, id LIMIT 1 FOR UPDATE) \
            UPDATE vsiflow.shard_requests r SET begun_by = $3 FROM oldest \
            WHERE r.set_name = $1 AND r.id = oldest.id \
            RETURNING r.id, r.sealed, oldest.begun_by <> '', r.repeatable, r.lane";
        let rows = self
            .reader()
            .query(
                take,
                &[&self.name(), &number, &held.holder, &held.journal, &lanes],
            )
            .await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let id: String = row.get(0);
        let lane = Lane::read(row.get(4));
        let context = self.context_of(&id, journal, lane, row.get(3));
        let opened = sealer.open_message(&Name::of(&id), &context, row.get(1));
        let taken = opened
            .map_err(unsealed)
            .and_then(|opened| take_once(held, opened, row.get(2)));
        let request = match taken {
            Ok(request) => request,
            Err(error) => {
                self.refuse(held, &id).await?;
                return Err(error);
            }
        };
        Ok(Some(JournalRequest {
            id,
            lane,
            request,
            begun: row.get::<_, bool>(2) && !row.get::<_, bool>(3),
            again: row.get(2),
        }))
    }

    /// Answers a request that this holder started.
    ///
    /// # Errors
    /// See [`ShardError`].
    pub async fn answer(
        &self,
        sealer: &Sealer,
        held: &Held,
        id: &str,
        answer: &Secret,
    ) -> Result<(), ShardError> {
        let context = self.answer_context(id);
        let sealed = sealer.seal_message(&answer_name(id), &context, since_epoch(), answer);
        self.store(id, held, &sealed.map_err(unsealed)?).await?;
        Ok(())
    }

    /// What the MAC of a request is for, beside its content.
    fn request_context(&self, request: &NewRequest<'_>) -> String {
        let NewRequest {
            id,
            journal,
            lane,
            repeatable,
            text: _,
        } = request;
        self.context_of(id, *journal, *lane, *repeatable)
    }

    fn context_of(&self, id: &str, journal: u16, lane: Lane, repeatable: bool) -> String {
        let (set, lane) = (self.name(), lane.stored());
        format!("request {id} {journal} {lane} {repeatable} {set}")
    }

    fn answer_context(&self, id: &str) -> String {
        format!("answer {id} {}", self.name())
    }

    /// Refuses a request that this holder started, so that no holder starts it again.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn refuse(&self, held: &Held, id: &str) -> Result<(), PostgresError> {
        self.store(id, held, &[]).await
    }

    async fn store(&self, id: &str, held: &Held, sealed: &[u8]) -> Result<(), PostgresError> {
        // The content of the request is not needed any more.
        let update = "UPDATE vsiflow.shard_requests SET answer = $4, sealed = ''::bytea, \
            answered = clock_timestamp() WHERE set_name = $1 AND id = $2 AND begun_by = $3";
        self.reader()
            .query(update, &[&self.name(), &id, &held.holder, &sealed])
            .await?;
        Ok(())
    }

    /// Removes those of these requests that are answered.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn forget(&self, ids: &[String]) -> Result<(), PostgresError> {
        let delete = "DELETE FROM vsiflow.shard_requests WHERE set_name = $1 AND id = ANY($2) \
            AND answer IS NOT NULL";
        self.reader().query(delete, &[&self.name(), &ids]).await?;
        Ok(())
    }

    /// Removes answers that were not fetched in time.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn forget_answers(&self) -> Result<(), PostgresError> {
        let delete = "DELETE FROM vsiflow.shard_requests WHERE set_name = $1 \
            AND answered < clock_timestamp() - make_interval(secs => $2)";
        let age = FORGOTTEN.as_secs_f64();
        self.reader().query(delete, &[&self.name(), &age]).await?;
        Ok(())
    }
}

/// The time by this machine's clock, since the Unix epoch.
pub(crate) fn since_epoch() -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}

/// The content of a request that this holder has not taken before.
fn take_once(held: &Held, opened: OpenedMessage, resumes: bool) -> Result<Secret, ShardError> {
    let mut requests = held.requests.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = requests.take(since_epoch(), (opened.sent, opened.tag), resumes);
    taken.map_err(|why| ShardError::Refused { why })?;
    Ok(opened.content)
}

/// An answer is sealed under its own name, so that a request cannot replace it.
fn answer_name(id: &str) -> Name {
    Name::of(&format!("{id}-answer"))
}

fn unsealed(error: SecretError) -> ShardError {
    ShardError::Seal {
        why: error.to_string(),
    }
}
