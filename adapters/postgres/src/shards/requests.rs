//! What is asked of the holder of a journal, wherever that runs.

use std::{collections::BTreeSet, time::Duration};

use vsiflow_engine::{
    model::Name,
    secret::{Secret, SecretError},
};

use crate::{
    Held, PostgresError,
    seal::Sealer,
    shards::{ShardError, ShardSet},
};

/// Requests of one journal that may wait.
const MOST: i64 = 1000;
/// The longest request and the longest answer, in bytes.
pub const LONGEST: usize = 32 << 20;
/// An answer that nobody fetched stays for so long.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// What kind of request it is. Those of one lane wait for one another, and for no others: a holder has room of its
/// own for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// A command for the objects of one journal. It may wait for a guest.
    Command,
    /// What journal 0 is to decide over several journals. It waits for what it hands over and asks.
    Decision,
    /// What a journal is to say of itself. It waits for nothing but hosts.
    Report,
}

impl Lane {
    /// All of them.
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
    /// Its id, unlike any other.
    pub id: &'a str,
    /// The journal that is asked.
    pub journal: u16,
    /// Its lane.
    pub lane: Lane,
    /// What is asked.
    pub text: &'a Secret,
    /// Whether a holder may carry it out again that another one had begun.
    pub repeatable: bool,
}

/// A request for the holder of a journal.
#[derive(Debug)]
pub struct JournalRequest {
    /// Its id, unlike any other.
    pub id: String,
    /// Its lane.
    pub lane: Lane,
    /// What is asked.
    pub request: Secret,
    /// Whether a holder that died had begun it, and to do it again would do more.
    pub begun: bool,
    /// Whether a holder that died had begun it.
    pub again: bool,
}

/// How far a request is.
#[derive(Debug)]
pub enum Progress {
    /// No holder has taken it.
    Waiting,
    /// A holder has begun it.
    Begun,
    /// The answer.
    Answered(Secret),
    /// It is not there: it was withdrawn, or its answer was forgotten.
    Gone,
}

impl ShardSet {
    /// Asks something of the holder of a journal. To ask again under the same id changes nothing. What is asked `by`
    /// the holder of a journal is asked only as long as its lease lasts.
    ///
    /// # Errors
    /// [`ShardError::Full`] where it is too long, too many wait, or the lease is past; otherwise see
    /// [`PostgresError`].
    pub async fn ask(
        &self,
        sealer: &Sealer,
        request: NewRequest<'_>,
        by: Option<&Held>,
    ) -> Result<(), ShardError> {
        if request.text.expose().len() > LONGEST {
            let why = format!("it is longer than {} MiB", LONGEST >> 20);
            return Err(ShardError::Full { why });
        }
        let (id, number) = (request.id, i32::from(request.journal));
        let sealed = sealer.seal(&Name::of(id), request.text);
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
                    &MOST,
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
                _ => format!("{MOST} wait for the holder of journal {number}"),
            };
            return Err(ShardError::Full { why });
        }
        Ok(())
    }

    /// Which of these requests are there and not answered. Of every other one nothing is done any more, unless it is
    /// asked anew.
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

    /// Whether a request whose id begins so is there and not answered.
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

    /// How far a request is.
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
            (Some(sealed), _) => {
                let answer = sealer.open(&answer_name(id), sealed).map_err(unsealed)?;
                Ok(Progress::Answered(answer))
            }
            (None, true) => Ok(Progress::Begun),
            (None, false) => Ok(Progress::Waiting),
        }
    }

    /// Takes back a request that no holder has begun, or whose answer was read. Whether it is gone.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn withdraw(&self, id: &str) -> Result<bool, PostgresError> {
        let delete = "DELETE FROM vsiflow.shard_requests WHERE set_name = $1 AND id = $2 \
            AND (begun_by = '' OR answer IS NOT NULL) RETURNING id";
        let rows = self.reader().query(delete, &[&self.name(), &id]).await?;
        Ok(!rows.is_empty())
    }

    /// The oldest request of these lanes that this holder has not begun, which it thereby begins. None where there
    /// is none, or the lease is past.
    ///
    /// # Errors
    /// [`ShardError::Seal`] where it was sealed with another key; it is answered with nothing then, so
    /// that it holds up no other. Otherwise see [`PostgresError`].
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
        let request = match sealer.open(&Name::of(&id), row.get(1)) {
            Ok(request) => request,
            Err(error) => {
                self.store(&id, held, &[]).await?;
                return Err(unsealed(error));
            }
        };
        Ok(Some(JournalRequest {
            id,
            lane: Lane::read(row.get(4)),
            request,
            begun: row.get::<_, bool>(2) && !row.get::<_, bool>(3),
            again: row.get(2),
        }))
    }

    /// Answers a request that this holder began.
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
        let sealed = sealer.seal(&answer_name(id), answer).map_err(unsealed)?;
        self.store(id, held, &sealed).await?;
        Ok(())
    }

    async fn store(&self, id: &str, held: &Held, sealed: &[u8]) -> Result<(), PostgresError> {
        // What was asked is not needed any more.
        let update = "UPDATE vsiflow.shard_requests SET answer = $4, sealed = ''::bytea, \
            answered = clock_timestamp() WHERE set_name = $1 AND id = $2 AND begun_by = $3";
        self.reader()
            .query(update, &[&self.name(), &id, &held.holder, &sealed])
            .await?;
        Ok(())
    }

    /// Forgets those of these requests that are answered.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn forget(&self, ids: &[String]) -> Result<(), PostgresError> {
        let delete = "DELETE FROM vsiflow.shard_requests WHERE set_name = $1 AND id = ANY($2) \
            AND answer IS NOT NULL";
        self.reader().query(delete, &[&self.name(), &ids]).await?;
        Ok(())
    }

    /// Forgets answers that nobody fetched.
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

/// An answer is sealed under a name of its own, so that a request cannot be put in its place.
fn answer_name(id: &str) -> Name {
    Name::of(&format!("{id}-answer"))
}

fn unsealed(error: SecretError) -> ShardError {
    ShardError::Seal {
        why: error.to_string(),
    }
}
