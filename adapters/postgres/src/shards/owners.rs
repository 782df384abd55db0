//! Which journal of a set a host, a machine and a name belong to.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    Held, JournalAddress, PostgresError,
    connection::Connection,
    shards::{ShardError, ShardSet},
};

/// The owner of a claimed name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The journal that asked. The name is busy until [`ShardSet::settle_names`].
    Own,
    /// Another journal.
    Other {
        /// The number of that journal.
        journal: u16,
        /// Whether something is being recorded under the name there.
        busy: bool,
        /// How often it had been claimed. A caller that finds out afterwards that nothing has the name
        /// can take it only while this is unchanged ([`ShardSet::take_name`]), because a later claim may
        /// record something.
        claims: i64,
    },
}

/// The journal that claimed a name last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameOwner {
    /// The number of the journal.
    pub journal: u16,
    /// Whether something may be being recorded under the name there.
    pub is_busy: bool,
}

impl ShardSet {
    /// The journal of a host, by its ID. A new host is assigned for good to the journal with the fewest
    /// hosts.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn assign(&self, host: &str) -> Result<u16, PostgresError> {
        if let Some(journal) = self.journal_of(host).await? {
            return Ok(journal);
        }
        let server = self.address().to_string();
        let failed = |error| PostgresError::of(&server, &error);
        let mut connection = Connection::to(self.address()).await?;
        let transaction = connection.client.transaction().await.map_err(failed)?;
        let lock = "SELECT journals FROM vsiflow.shard_sets WHERE name = $1 FOR UPDATE";
        transaction
            .query_one(lock, &[&self.name()])
            .await
            .map_err(failed)?;
        let insert = "INSERT INTO vsiflow.shard_hosts (set_name, host, journal) \
            SELECT $1, $2, number FROM generate_series(0, $3 - 1) AS number \
            ORDER BY (SELECT count(*) FROM vsiflow.shard_hosts \
                WHERE set_name = $1 AND journal = number), number LIMIT 1 \
            ON CONFLICT (set_name, host) DO NOTHING";
        transaction
            .execute(insert, &[&self.name(), &host, &i32::from(self.journals())])
            .await
            .map_err(failed)?;
        let select = "SELECT journal FROM vsiflow.shard_hosts WHERE set_name = $1 AND host = $2";
        let row = transaction
            .query_one(select, &[&self.name(), &host])
            .await
            .map_err(failed)?;
        let journal = number(row.get(0));
        transaction.commit().await.map_err(failed)?;
        connection.acknowledged(self.address())?;
        Ok(journal)
    }

    /// The journal of a host; none if it was never seen.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn journal_of(&self, host: &str) -> Result<Option<u16>, PostgresError> {
        let select = "SELECT journal FROM vsiflow.shard_hosts WHERE set_name = $1 AND host = $2";
        let rows = self.reader().query(select, &[&self.name(), &host]).await?;
        Ok(rows.first().map(|row| number(row.get(0))))
    }

    /// Assigns a machine to a journal, whatever its address. The first assignment is final.
    ///
    /// # Errors
    /// [`ShardError::Elsewhere`] if another journal has it; otherwise see [`PostgresError`].
    pub async fn take_machine(
        &self,
        machine: &str,
        host: &str,
        journal: u16,
    ) -> Result<(), ShardError> {
        let insert = "INSERT INTO vsiflow.shard_machines (set_name, machine, host, journal) \
            VALUES ($1, $2, $3, $4) ON CONFLICT (set_name, machine) DO NOTHING";
        let own = i32::from(journal);
        self.reader()
            .query(insert, &[&self.name(), &machine, &host, &own])
            .await?;
        let select = "SELECT journal, host FROM vsiflow.shard_machines \
            WHERE set_name = $1 AND machine = $2";
        let rows = self
            .reader()
            .query(select, &[&self.name(), &machine])
            .await?;
        match rows.first() {
            Some(row) if number(row.get(0)) != journal => Err(ShardError::Elsewhere {
                what: format!("the machine of {host}, known as {},", row.get::<_, &str>(1)),
                journal: number(row.get(0)),
            }),
            _ => Ok(()),
        }
    }

    /// Claims a name such as `vsi/default/web` for the journal of a holder, before something is recorded
    /// under it. `by` identifies this claim. A holder whose lease has expired claims nothing.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn claim_name(
        &self,
        held: &Held,
        object: &str,
        journal: u16,
        by: &str,
    ) -> Result<Claim, PostgresError> {
        let claim = "INSERT INTO vsiflow.shard_names (set_name, object, journal, busy_by) \
            SELECT $1, $2, $3, $4 FROM vsiflow.journals WHERE journal = $5 AND holder = $6 \
                AND lease_until > clock_timestamp() FOR SHARE \
            ON CONFLICT (set_name, object) DO UPDATE \
            SET busy_by = excluded.busy_by, claims = shard_names.claims + 1 \
            WHERE shard_names.journal = excluded.journal RETURNING journal";
        let own = i32::from(journal);
        let rows = self
            .reader()
            .query(
                claim,
                &[
                    &self.name(),
                    &object,
                    &own,
                    &by,
                    &held.journal,
                    &held.holder,
                ],
            )
            .await?;
        if !rows.is_empty() {
            return Ok(Claim::Own);
        }
        let select = "SELECT journal, busy_by <> '', claims FROM vsiflow.shard_names \
            WHERE set_name = $1 AND object = $2";
        let taken = self
            .reader()
            .query(select, &[&self.name(), &object])
            .await?;
        Ok(match taken.first() {
            Some(row) => Claim::Other {
                journal: number(row.get(0)),
                busy: row.get(1),
                claims: row.get(2),
            },
            // The lease has expired.
            None => Claim::Other {
                journal,
                busy: true,
                claims: 0,
            },
        })
    }

    /// Takes over a name whose journal reports that its object is deleted. `from` is that journal, and
    /// the claims counted before it was asked. Returns whether the name was taken.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn take_name(
        &self,
        held: &Held,
        object: &str,
        (from, claims): (u16, i64),
        (journal, by): (u16, &str),
    ) -> Result<bool, PostgresError> {
        let update = "WITH fence AS (SELECT FROM vsiflow.journals WHERE journal = $6 \
                AND holder = $7 AND lease_until > clock_timestamp() FOR SHARE) \
            UPDATE vsiflow.shard_names SET journal = $4, busy_by = $5, \
                claims = claims + 1 \
            WHERE set_name = $1 AND object = $2 AND journal = $3 AND busy_by = '' AND claims = $8 \
            AND EXISTS (SELECT FROM fence) RETURNING journal";
        let (from, own) = (i32::from(from), i32::from(journal));
        let rows = self
            .reader()
            .query(
                update,
                &[
                    &self.name(),
                    &object,
                    &from,
                    &own,
                    &by,
                    &held.journal,
                    &held.holder,
                    &claims,
                ],
            )
            .await?;
        Ok(!rows.is_empty())
    }

    /// Marks that nothing is being recorded any more under the names of one claim.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn settle_names(&self, journal: u16, by: &str) -> Result<(), PostgresError> {
        let update = "UPDATE vsiflow.shard_names SET busy_by = '' \
            WHERE set_name = $1 AND journal = $2 AND busy_by = $3 AND busy_by <> ''";
        let own = i32::from(journal);
        self.reader()
            .query(update, &[&self.name(), &own, &by])
            .await?;
        Ok(())
    }

    /// The same for every claim of a journal, by a holder that has just taken it: what its predecessor
    /// was about to record is recorded, or never will be.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn settle_all_names(&self, journal: u16) -> Result<(), PostgresError> {
        let update = "UPDATE vsiflow.shard_names SET busy_by = '' \
            WHERE set_name = $1 AND journal = $2 AND busy_by <> ''";
        let own = i32::from(journal);
        self.reader().query(update, &[&self.name(), &own]).await?;
        Ok(())
    }

    /// The journal that a name belongs to.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn journal_of_name(&self, object: &str) -> Result<Option<u16>, PostgresError> {
        let select = "SELECT journal FROM vsiflow.shard_names WHERE set_name = $1 AND object = $2";
        let rows = self
            .reader()
            .query(select, &[&self.name(), &object])
            .await?;
        Ok(rows.first().map(|row| number(row.get(0))))
    }

    /// The owners of these names; names that were never claimed are missing.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn name_owners(
        &self,
        objects: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, NameOwner>, PostgresError> {
        let select = "SELECT object, journal, busy_by <> '' FROM vsiflow.shard_names \
            WHERE set_name = $1 AND object = ANY($2)";
        let all: Vec<_> = objects.iter().collect();
        let rows = self.reader().query(select, &[&self.name(), &all]).await?;
        let named = rows.iter().map(|row| {
            let owner = NameOwner {
                journal: number(row.get(1)),
                is_busy: row.get(2),
            };
            (row.get(0), owner)
        });
        Ok(named.collect())
    }

    /// The address of the set.
    pub fn place(&self) -> &JournalAddress {
        self.address()
    }
}

/// A stored number of a journal; an invalid one gives a number that no journal has.
fn number(stored: i32) -> u16 {
    u16::try_from(stored).unwrap_or(u16::MAX)
}
