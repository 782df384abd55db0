//! Which namespaces of a set have quotas. The quotas themselves are in journal 0; this table only says
//! for which namespaces it must be asked. A namespace is noted before its first quota is recorded, and
//! removed only by a new holder of journal 0: an entry without a quota only costs an unnecessary
//! question.

use std::collections::BTreeSet;

use crate::{Held, PostgresError, shards::ShardSet};

impl ShardSet {
    /// Notes, as the holder of journal 0, that namespaces are about to have quotas. Returns whether they
    /// were noted; false if the lease has expired.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn note_limits(
        &self,
        held: &Held,
        namespaces: &BTreeSet<String>,
    ) -> Result<bool, PostgresError> {
        let insert = "WITH fence AS (SELECT FROM vsiflow.journals WHERE journal = $3 \
                AND holder = $4 AND lease_until > clock_timestamp() FOR SHARE), \
            noted AS (INSERT INTO vsiflow.shard_limits (set_name, namespace) \
                SELECT $1, unnest($2::text[]) WHERE EXISTS (SELECT FROM fence) \
                ON CONFLICT (set_name, namespace) DO NOTHING) \
            SELECT EXISTS (SELECT FROM fence)";
        let namespaces: Vec<_> = namespaces.iter().collect();
        let rows = self
            .reader()
            .query(
                insert,
                &[&self.name(), &namespaces, &held.journal, &held.holder],
            )
            .await?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    /// Removes all namespaces except these, as the new holder of journal 0, which decides nothing yet.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn retain_limits(
        &self,
        held: &Held,
        namespaces: &BTreeSet<String>,
    ) -> Result<(), PostgresError> {
        let delete = "WITH fence AS (SELECT FROM vsiflow.journals WHERE journal = $3 \
                AND holder = $4 AND lease_until > clock_timestamp() FOR SHARE) \
            DELETE FROM vsiflow.shard_limits WHERE set_name = $1 \
            AND NOT namespace = ANY($2::text[]) AND EXISTS (SELECT FROM fence)";
        let namespaces: Vec<_> = namespaces.iter().collect();
        self.reader()
            .query(
                delete,
                &[&self.name(), &namespaces, &held.journal, &held.holder],
            )
            .await?;
        Ok(())
    }

    /// Which of these namespaces have quotas, or may be about to.
    ///
    /// # Errors
    /// See [`PostgresError`].
    pub async fn limited_among(
        &self,
        namespaces: &BTreeSet<String>,
    ) -> Result<BTreeSet<String>, PostgresError> {
        let select = "SELECT namespace FROM vsiflow.shard_limits \
            WHERE set_name = $1 AND namespace = ANY($2::text[])";
        let namespaces: Vec<_> = namespaces.iter().collect();
        let rows = self
            .reader()
            .query(select, &[&self.name(), &namespaces])
            .await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}
