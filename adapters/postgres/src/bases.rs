//! Bases: all states as of an offset, from which a start or a look into the past begins. There is no
//! other index: a base is due whenever the events since the last one exceed its size, so a start
//! processes few events.

use std::sync::atomic::Ordering;

use vsiflow_engine::{
    journal::{BatchLink, JournalError, Offset, States, base_hash, decode_state, encode_state},
    model::Hash,
};

use crate::{
    Held, PostgresError,
    connection::Connection,
    journal::link_of,
    reader::Reader,
    schema::{signed, unsigned},
    writer::Growth,
};

/// States in one statement.
const PART: usize = 500;

/// Reads the size of the newest base, and of the events after it.
pub(crate) async fn measure(
    reader: &Reader,
    journal: i32,
    growth: &Growth,
) -> Result<(), PostgresError> {
    let select = "SELECT coalesce(max(b.size), 0)::int8, coalesce((SELECT sum(length(e.bytes)) \
        FROM vsiflow.events e WHERE e.journal = $1 AND e.\"offset\" >= coalesce(max(b.as_of), 0)), \
        0)::int8 FROM (SELECT as_of, size FROM vsiflow.bases WHERE journal = $1 \
        ORDER BY as_of DESC LIMIT 1) b";
    let rows = reader.query(select, &[&journal]).await?;
    if let Some(row) = rows.first() {
        growth
            .base_size
            .store(unsigned(row.get(0)), Ordering::Release);
        growth
            .since_base
            .store(unsigned(row.get(1)), Ordering::Release);
    }
    Ok(())
}

/// Reads the newest base at or before `at`; empty states if there is none.
pub(crate) async fn read(
    reader: &Reader,
    journal: i32,
    at: Offset,
) -> Result<States, JournalError> {
    let select = "SELECT coalesce(link_first, 0), coalesce(link_last, 0), \
        coalesce(link_prev, ''::bytea), coalesce(link_hash, ''::bytea), as_of, \
        link_first IS NOT NULL FROM vsiflow.bases \
        WHERE journal = $1 AND as_of <= $2 ORDER BY as_of DESC LIMIT 1";
    let rows = reader.rows(select, &[&journal, &signed(at)]).await?;
    let Some(row) = rows.first() else {
        return Ok(States::default());
    };
    let as_of: i64 = row.get(4);
    let states = "SELECT state FROM vsiflow.base_states \
        WHERE journal = $1 AND as_of = $2 ORDER BY number";
    let streams = reader.rows(states, &[&journal, &as_of]).await?;
    let streams = streams
        .iter()
        .map(|state_row| decode_state(state_row.get(0)));
    Ok(States {
        as_of: unsigned(as_of),
        link: row.get::<_, bool>(5).then(|| link_of(row)),
        streams: streams.collect::<Result<_, _>>()?,
    })
}

/// Writes a base in its own transaction, while the journal continues to grow.
pub(crate) async fn write(
    held: &Held,
    states: States,
    growth: &Growth,
) -> Result<Hash, JournalError> {
    let covered = growth.since_base.load(Ordering::Acquire);
    let link = states.link;
    let as_of = signed(states.as_of);
    let encode = move || {
        let hash = base_hash(&states)?;
        let encoded = states.streams.iter().map(encode_state);
        Ok::<_, JournalError>((hash, encoded.collect::<Result<Vec<_>, _>>()?))
    };
    let encoded = tokio::task::spawn_blocking(encode).await;
    let (hash, encoded) = encoded.map_err(|e| JournalError::Storage(e.to_string()))??;
    let size = encoded.iter().map(Vec::len).sum::<usize>();
    held.lease.check().map_err(|_| JournalError::LeaseLost)?;
    let failed = |error| JournalError::from(PostgresError::of(&held.address.to_string(), &error));
    let mut connection = Connection::to(&held.address).await?;
    let transaction = connection.client.transaction().await.map_err(failed)?;
    let insert = "INSERT INTO vsiflow.base_states (journal, as_of, number, state) \
        SELECT $1, $2, s.number, s.state FROM unnest($3::int8[], $4::bytea[]) AS s(number, state) \
        ON CONFLICT (journal, as_of, number) DO UPDATE SET state = excluded.state";
    let insert = transaction.prepare(insert).await.map_err(failed)?;
    let mut begun: i64 = 0;
    for part in encoded.chunks(PART) {
        let end = begun.saturating_add(i64::try_from(part.len()).unwrap_or(i64::MAX));
        let numbers: Vec<_> = (begun..end).collect();
        transaction
            .execute(&insert, &[&held.journal, &as_of, &numbers, &part])
            .await
            .map_err(failed)?;
        begun = end;
    }
    // Inserted last, with a lock on the journal's row: the base of a process that lost the lease is not
    // stored.
    let size = signed(size as u64);
    let first = link.map(|link: BatchLink| signed(link.first));
    let last = link.map(|link| signed(link.last));
    let prev = link.map(|link| link.prev.0.to_vec());
    let newest = link.map(|link| link.hash.0.to_vec());
    let insert_base = "WITH fence AS (SELECT journal FROM vsiflow.journals WHERE journal = $1 \
        AND holder = $8 AND lease_until > clock_timestamp() FOR SHARE) \
        INSERT INTO vsiflow.bases (journal, as_of, size, link_first, link_last, link_prev, link_hash) \
        SELECT journal, $2, $3, $4, $5, $6, $7 FROM fence \
        ON CONFLICT (journal, as_of) DO UPDATE SET size = excluded.size";
    let rows = transaction
        .execute(
            insert_base,
            &[
                &held.journal,
                &as_of,
                &size,
                &first,
                &last,
                &prev,
                &newest,
                &held.holder,
            ],
        )
        .await
        .map_err(failed)?;
    if rows != 1 {
        return Err(JournalError::LeaseLost);
    }
    transaction.commit().await.map_err(failed)?;
    growth.base_size.store(unsigned(size), Ordering::Release);
    growth.since_base.fetch_sub(covered, Ordering::AcqRel);
    Ok(hash)
}
