//! Which journal of a set a host, a machine and a name belong to.

use crate::{
    JournalAddress, PostgresError,
    connection::Connection,
    shards::{ShardError, ShardSet},
};

/// Whose a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The journal's that asked. It is busy until [`ShardSet::settle_names`].
    Own,
    /// Another's.
    Other {
        /// Which one.
        journal: u16,
        /// Whether something is being recorded under it there.
        busy: bool,
    },
}

impl ShardSet {
    /// The journal of a host, by its id. One that is new is assigned to the journal that has the
    /// fewest, for good.
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

    /// The journal of a host; none where it was never seen.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn journal_of(&self, host: &str) -> Result<Option<u16>, PostgresError> {
        let select = "SELECT journal FROM vsiflow.shard_hosts WHERE set_name = $1 AND host = $2";
        let rows = self.reader().query(select, &[&self.name(), &host]).await?;
        Ok(rows.first().map(|row| number(row.get(0))))
    }

    /// Takes a machine for a journal, whatever address it was reached by. The first one counts.
    ///
    /// # Errors
    /// [`ShardError::Elsewhere`] where another journal has it; otherwise see [`PostgresError`].
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

    /// Claims a name such as `vsi/default/web`, before something is recorded under it.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn claim_name(&self, object: &str, journal: u16) -> Result<Claim, PostgresError> {
        let claim = "INSERT INTO vsiflow.shard_names (set_name, object, journal, busy) \
            VALUES ($1, $2, $3, true) ON CONFLICT (set_name, object) DO UPDATE SET busy = true \
            WHERE shard_names.journal = excluded.journal RETURNING journal";
        let own = i32::from(journal);
        let rows = self
            .reader()
            .query(claim, &[&self.name(), &object, &own])
            .await?;
        if !rows.is_empty() {
            return Ok(Claim::Own);
        }
        let select = "SELECT journal, busy FROM vsiflow.shard_names \
            WHERE set_name = $1 AND object = $2";
        let rows = self
            .reader()
            .query(select, &[&self.name(), &object])
            .await?;
        Ok(match rows.first() {
            Some(row) => Claim::Other {
                journal: number(row.get(0)),
                busy: row.get(1),
            },
            // It was let go in between: who asks again has it.
            None => Claim::Other {
                journal,
                busy: true,
            },
        })
    }

    /// Takes over a name whose journal says that what had it is gone. Whether it did.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn take_name(
        &self,
        object: &str,
        from: u16,
        journal: u16,
    ) -> Result<bool, PostgresError> {
        let update = "UPDATE vsiflow.shard_names SET journal = $4, busy = true \
            WHERE set_name = $1 AND object = $2 AND journal = $3 AND NOT busy RETURNING journal";
        let (from, own) = (i32::from(from), i32::from(journal));
        let rows = self
            .reader()
            .query(update, &[&self.name(), &object, &from, &own])
            .await?;
        Ok(!rows.is_empty())
    }

    /// Says that nothing is being recorded any more under these names of a journal, and lets go those
    /// of which it knows nothing.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn settle_names(
        &self,
        journal: u16,
        known: &[String],
        unknown: &[String],
    ) -> Result<(), PostgresError> {
        let own = i32::from(journal);
        let update = "UPDATE vsiflow.shard_names SET busy = false \
            WHERE set_name = $1 AND journal = $2 AND object = ANY($3)";
        self.reader()
            .query(update, &[&self.name(), &own, &known])
            .await?;
        let delete = "DELETE FROM vsiflow.shard_names \
            WHERE set_name = $1 AND journal = $2 AND object = ANY($3)";
        self.reader()
            .query(delete, &[&self.name(), &own, &unknown])
            .await?;
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

    /// The address of the set itself.
    pub fn place(&self) -> &JournalAddress {
        self.address()
    }
}

/// A number of a journal as it is stored; what is none matches none.
fn number(stored: i32) -> u16 {
    u16::try_from(stored).unwrap_or(u16::MAX)
}
