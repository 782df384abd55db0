//! Which processes are alive. A process reports itself repeatedly; one that is silent for as long as a
//! lease lasts counts as dead. Nothing here grants a right: only a journal's lease does. So if two
//! processes count differently for a moment they may want the same journal, and only one of them gets
//! it.

use std::time::Duration;

use crate::{PostgresError, clock_back, shards::ShardSet};

/// A process that is silent for this long counts as dead.
pub const SILENT: Duration = crate::hold::LEASE_DURATION;

/// Reports that process `$2` of set `$1` is alive, so that it counts as dead after `$3` seconds. What was stored
/// in the future, also of the journals `$4`, counts from now on. One statement, as each process sends it
/// every second.
const LIVE: &str = concat!(
    "WITH silent AS (DELETE FROM vsiflow.shard_processes \
        WHERE set_name = $1 AND process <> $2 AND silent_at < clock_timestamp()), \
    ahead AS (UPDATE vsiflow.shard_processes \
        SET silent_at = clock_timestamp() + make_interval(secs => $3) \
        WHERE set_name = $1 AND process <> $2 \
        AND silent_at > clock_timestamp() + make_interval(secs => $3)), \
    alive AS (INSERT INTO vsiflow.shard_processes (set_name, process, silent_at) \
        VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3)) \
        ON CONFLICT (set_name, process) DO UPDATE SET silent_at = excluded.silent_at) ",
    clock_back::record_anew!("$4")
);

/// The position of a process among the living ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessRank {
    /// How many living processes registered before it.
    pub rank: usize,
    /// How many processes are alive, including itself.
    pub living: usize,
}

/// The end of a journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalExtent {
    /// The offset of its next event.
    pub end: u64,
    /// Whether a process holds it.
    pub is_held: bool,
}

impl ShardSet {
    /// Reports that a process is alive, and counts the living ones. What was stored while the database's
    /// clock was ahead counts from now on.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn live(&self, process: &str) -> Result<ProcessRank, PostgresError> {
        let (silent, names) = (SILENT.as_secs_f64(), self.names());
        let changed = self
            .reader()
            .query(LIVE, &[&self.name(), &process, &silent, &names])
            .await?;
        clock_back::report(&changed);
        let select = "SELECT process FROM vsiflow.shard_processes \
            WHERE set_name = $1 AND (process = $2 OR silent_at >= clock_timestamp()) \
            ORDER BY came, process";
        let rows = self
            .reader()
            .query(select, &[&self.name(), &process])
            .await?;
        let mut living = rows.iter();
        let rank = living.position(|row| row.get::<_, &str>(0) == process);
        Ok(ProcessRank {
            rank: rank.unwrap_or_default(),
            living: rows.len().max(1),
        })
    }

    /// The journals without a holder, or whose holder's lease has expired.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn free(&self) -> Result<Vec<u16>, PostgresError> {
        let names = self.names();
        let select = "SELECT name FROM vsiflow.journals \
            WHERE name = ANY($1) AND lease_until <= clock_timestamp()";
        let rows = self.reader().query(select, &[&names]).await?;
        let is_free = |name: &String| rows.iter().any(|row| row.get::<_, &str>(0) == name);
        let numbers = (0..self.journals()).zip(&names);
        Ok(numbers
            .filter(|(_, name)| is_free(name))
            .map(|(number, _)| number)
            .collect())
    }

    /// The end of each journal, by its number, and whether a process holds it. A journal that was never
    /// opened has no events.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn extents(&self) -> Result<Vec<JournalExtent>, PostgresError> {
        let names = self.names();
        let select = "SELECT name, next_offset, lease_until > clock_timestamp() \
            FROM vsiflow.journals WHERE name = ANY($1)";
        let rows = self.reader().query(select, &[&names]).await?;
        let extent = |name: &String| {
            let row = rows.iter().find(|row| row.get::<_, &str>(0) == name);
            row.map(|row| JournalExtent {
                end: u64::try_from(row.get::<_, i64>(1)).unwrap_or_default(),
                is_held: row.get(2),
            })
        };
        Ok(names
            .iter()
            .map(|name| extent(name).unwrap_or_default())
            .collect())
    }

    /// The names of its journals, by their numbers.
    fn names(&self) -> Vec<String> {
        let numbers = 0..self.journals();
        numbers.map(|number| self.member(number).name).collect()
    }

    /// Reports that a process ends, so that others need not wait until it counts as dead.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn leave(&self, process: &str) -> Result<(), PostgresError> {
        let delete = "DELETE FROM vsiflow.shard_processes WHERE set_name = $1 AND process = $2";
        self.reader()
            .query(delete, &[&self.name(), &process])
            .await?;
        Ok(())
    }
}
