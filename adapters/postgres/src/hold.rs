//! The lease to write a journal: its holder, its end, and how it passes to another process.
//!
//! The journal's row names its holder, an epoch that increases whenever the lease passes to another
//! process or a connection of the writer is replaced, and the end of the lease by the database's clock.
//! Each append compares all of it under the row's lock. So the database alone decides: the clocks of
//! different machines are never compared.
//!
//! The same lease limits what the holder does on hosts, which no database can fence: on the holder's
//! machine it is measured from before each request for renewal ([`vsiflow_engine::lease`]), so that it
//! expires there first. The successor of a process that died may append immediately, but acts on hosts
//! only after [`Held::quiet`], when the calls of its predecessor have ended.

use std::{
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_postgres::types::ToSql;
use vsiflow_engine::lease::{BootInstant, Lease, LeaseLost};

use crate::{
    JournalAddress, PostgresError, clock_back,
    connection::Connection,
    primaries,
    renewing::on_its_thread,
    schema,
    shards::{accepted::AcceptedRequests, requests::since_epoch},
};

/// The duration of the lease without a renewal.
pub const LEASE_DURATION: Duration = Duration::from_secs(6);
/// The quiet time after the lease of a process that died: its longest control call, plus libvirtd's
/// keep-alive, after which libvirtd has closed the connection of a client that does not answer.
pub const QUIET: Duration = Duration::from_secs(60);
/// A process that makes no progress for this many leases counts as hung.
const HUNG: u32 = 10;
/// The delay before a failed connection is tried again.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Passes the lease to `$2` for `$3` seconds; `$4` is [`QUIET`].
///
/// A holder that ended in order left its name empty, and what remained of its quiet time. One that died
/// may still have its lease, however long ago the database's clock says that it expired: the clock may
/// have jumped ahead. So its whole lease counts from now on, and the quiet time follows. After a promotion
/// the row may be older than the last holder's view.
const TAKE: &str = "WITH server AS (SELECT clock_timestamp() AS now, \
        ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint AS timeline) \
    UPDATE vsiflow.journals j SET epoch = epoch + 1, holder = $2, \
    lease_from = server.now, quiet_from = server.now, \
    lease_until = server.now + make_interval(secs => $3), \
    quiet_until = CASE \
        WHEN j.timeline IN (0, server.timeline) AND holder = '' THEN CASE \
            WHEN isfinite(quiet_from) AND quiet_until > quiet_from \
            THEN server.now + (quiet_until - quiet_from) ELSE quiet_until END \
        ELSE greatest(quiet_until, server.now + make_interval(secs => $4) + CASE \
            WHEN isfinite(lease_from) AND lease_until > lease_from \
            THEN lease_until - lease_from ELSE make_interval(secs => $3) END) END, \
    timeline = server.timeline FROM server \
    WHERE journal = $1 RETURNING epoch, \
    extract(epoch FROM quiet_until)::float8 - extract(epoch FROM clock_timestamp())::float8";
/// Ends the lease of `$2`, of whose quiet time `$3` seconds remain.
const RELEASE: &str = "UPDATE vsiflow.journals SET holder = '', lease_until = '-infinity', \
    quiet_from = clock.now, quiet_until = clock.now + make_interval(secs => $3) \
    FROM (SELECT clock_timestamp() AS now) AS clock WHERE journal = $1 AND holder = $2";

/// The identity of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalIdentity {
    /// The ID, random, from the creation of the journal.
    pub journal_id: String,
    /// 1, plus one for each restore from a backup.
    pub incarnation: u32,
    /// Whether it was restored from a backup and no person has confirmed that yet.
    pub observe_only: bool,
}

impl JournalIdentity {
    pub(crate) fn of(row: &schema::JournalRow) -> Self {
        Self {
            journal_id: row.id.clone(),
            incarnation: u32::try_from(row.incarnation).unwrap_or(1),
            observe_only: row.observe_only,
        }
    }
}

/// The lease to write a journal, held by this process.
pub struct Held {
    pub(crate) address: JournalAddress,
    pub(crate) journal: i32,
    /// Unique to this process: it names the process and has a random part.
    pub(crate) holder: String,
    pub(crate) epoch: AtomicI64,
    pub(crate) lease: Arc<Lease>,
    identity: JournalIdentity,
    lasts: Duration,
    quiet: Duration,
    /// When the quiet time began, by the clock of this machine.
    taken_at: Instant,
    /// The requests that were taken while this process holds the journal.
    pub(crate) requests: Mutex<AcceptedRequests>,
    /// The connection with which the lease was taken, and with which it is renewed: other clients may
    /// use up the server's connections.
    taken_by: Mutex<Option<Connection>>,
}

impl Held {
    /// Takes the lease if no other process holds it; creates the journal if it does not exist. Does not
    /// wait for a holder.
    ///
    /// # Errors
    /// [`PostgresError::InUse`] while another process holds it; otherwise see [`PostgresError`].
    pub async fn take(
        address: &JournalAddress,
        lasts: Duration,
    ) -> Result<Arc<Self>, PostgresError> {
        let (address, server) = (address.clone(), address.to_string());
        let taking = on_its_thread(async move {
            let (mut connection, ()) =
                tokio::try_join!(Connection::to(&address), primaries::at_most_one(&address))?;
            let id = ulid::Ulid::from_parts(unix_millis(), rand::random()).to_string();
            schema::make(&mut connection.client, &address, &id, true).await?;
            Self::take_row(&address, connection, lasts, true).await
        });
        taking.await.map_err(|error| not_taken(&server, &error))?
    }

    /// Creates a journal with that identity for a rebuild, and takes its lease. It is not visible as a
    /// journal before [`Held::finish`].
    ///
    /// # Errors
    /// [`PostgresError::Exists`] if it exists already; otherwise see [`PostgresError`].
    pub async fn take_new(address: &JournalAddress, id: &str) -> Result<Arc<Self>, PostgresError> {
        let (address, server, id) = (address.clone(), address.to_string(), id.to_owned());
        let taking = on_its_thread(async move {
            let mut connection = Connection::to(&address).await?;
            if !schema::make(&mut connection.client, &address, &id, false).await? {
                return Err(PostgresError::Exists {
                    server: address.to_string(),
                    name: address.name.clone(),
                });
            }
            Self::take_row(&address, connection, LEASE_DURATION, false).await
        });
        taking.await.map_err(|error| not_taken(&server, &error))?
    }

    async fn take_row(
        address: &JournalAddress,
        mut connection: Connection,
        lasts: Duration,
        whole: bool,
    ) -> Result<Arc<Self>, PostgresError> {
        let server = address.to_string();
        let failed = |error| PostgresError::of(&server, &error);
        let requested = BootInstant::now();
        let holder = name();
        let names = [address.name.as_str()];
        let update = clock_back::record_anew!("$1");
        let changed = connection.client.query(update, &[&names.as_slice()]).await;
        clock_back::report(&changed.map_err(failed)?);
        let transaction = connection.client.transaction().await.map_err(failed)?;
        let row = schema::find(transaction.client(), address).await?;
        let row = row.filter(|row| row.whole == whole);
        let missing = || PostgresError::Missing {
            server: server.clone(),
            name: address.name.clone(),
            half: whole,
        };
        let row = row.ok_or_else(missing)?;
        let lock = "SELECT holder, \
            extract(epoch FROM lease_until)::float8 - extract(epoch FROM clock_timestamp())::float8 \
            FROM vsiflow.journals WHERE journal = $1 FOR UPDATE";
        let held = transaction.query_one(lock, &[&row.journal]).await;
        let held = held.map_err(failed)?;
        let left = lasting(held.get(1));
        if !left.is_zero() {
            let other_holder = held.get(0);
            return Err(PostgresError::InUse {
                holder: other_holder,
                left,
            });
        }
        let (lease, quiet) = (lasts.as_secs_f64(), QUIET.as_secs_f64());
        let taken = transaction
            .query_one(TAKE, &[&row.journal, &holder, &lease, &quiet])
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        connection.acknowledged(address)?;
        Ok(Arc::new(Self {
            address: address.clone(),
            journal: row.journal,
            holder,
            epoch: AtomicI64::new(taken.get(0)),
            lease: Lease::new(requested, lasts),
            identity: JournalIdentity::of(&row),
            lasts,
            quiet: lasting(taken.get(1)),
            taken_at: Instant::now(),
            requests: Mutex::new(AcceptedRequests::since(since_epoch())),
            taken_by: Mutex::new(Some(connection)),
        }))
    }

    /// Takes the lease once its holder ended or the lease expired. Calls `waits` for each error that it
    /// waits for. Cancel safe.
    ///
    /// # Errors
    /// As for [`Held::take`], except for errors that may pass: a holder, a server that is down or
    /// overloaded, and two writable servers of which a person must stop one.
    pub async fn win(
        address: &JournalAddress,
        lasts: Duration,
        mut waits: impl FnMut(&PostgresError),
    ) -> Result<Arc<Self>, PostgresError> {
        loop {
            match Self::take(address, lasts).await {
                Err(error) if error.may_pass() => waits(&error),
                other => return other,
            }
            sleep(RETRY_DELAY).await;
        }
    }

    /// Renews the lease until it is lost, on a separate thread, and only while the caller's runtime is
    /// not hung. Cancel safe.
    pub async fn keep(self: &Arc<Self>) -> LeaseLost {
        let (held, (beat, beats)) = (self.clone(), watch::channel(Instant::now()));
        let mut renewing = pin!(on_its_thread(
            async move { held.renew_until_lost(&beats).await }
        ));
        loop {
            match timeout(self.lasts, &mut renewing).await {
                Ok(ended) => return ended.unwrap_or(LeaseLost),
                Err(_) => beat.send_replace(Instant::now()),
            };
        }
    }

    /// `beats` is when this process last made progress: a process that hangs for good must not prevent
    /// others from taking over.
    async fn renew_until_lost(&self, beats: &watch::Receiver<Instant>) -> LeaseLost {
        let every = self.lasts / 4;
        let taken_by = || self.taken_by.lock().unwrap_or_else(PoisonError::into_inner);
        let mut connection = taken_by().take();
        let mut wait = every;
        loop {
            sleep(wait).await;
            let Some(left) = self.lease.left().filter(|left| !left.is_zero()) else {
                return LeaseLost;
            };
            if beats.borrow().elapsed() > self.lasts * HUNG {
                tracing::error!("this process hangs: the lease of the journal is not renewed");
                return LeaseLost;
            }
            let requested = BootInstant::now();
            match timeout(left, self.renew(&mut connection)).await {
                Ok(Ok(true)) => {
                    if self.lease.renew(requested, self.lasts).is_err() {
                        return LeaseLost;
                    }
                    wait = every;
                }
                Ok(Ok(false)) => {
                    self.lease.give_up();
                    return LeaseLost;
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the lease of the journal is not renewed");
                    connection = None;
                    wait = RETRY_DELAY;
                }
                Err(_) => return LeaseLost,
            }
        }
    }

    async fn renew(&self, slot: &mut Option<Connection>) -> Result<bool, PostgresError> {
        let connection = match slot {
            Some(connection) => connection,
            None => slot.insert(Connection::to(&self.address).await?),
        };
        let renew = "UPDATE vsiflow.journals \
            SET lease_from = clock_timestamp(), \
            lease_until = clock_timestamp() + make_interval(secs => $3) \
            WHERE journal = $1 AND holder = $2 AND lease_until > clock_timestamp()";
        let lasts = self.lasts.as_secs_f64();
        let params: [&(dyn ToSql + Sync); 3] = [&self.journal, &self.holder, &lasts];
        let renewed = connection.client.execute(renew, &params).await;
        let renewed = renewed.map_err(|e| PostgresError::of(&self.address.to_string(), &e))?;
        connection.acknowledged(&self.address)?;
        Ok(renewed == 1)
    }

    /// Releases the lease, so that a successor need not wait. Everything that writes must be closed
    /// before.
    pub async fn release(&self) {
        self.lease.give_up();
        let released = async {
            let connection = Connection::to(&self.address).await?;
            let quiet = self.quiet.saturating_sub(self.taken_at.elapsed());
            let quiet = quiet.as_secs_f64();
            let params: [&(dyn ToSql + Sync); 3] = [&self.journal, &self.holder, &quiet];
            let released = connection.client.execute(RELEASE, &params).await;
            released.map_err(|error| PostgresError::of(&self.address.to_string(), &error))
        };
        match timeout(self.lasts, Box::pin(released)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the lease of the journal ends by itself"),
            Err(_) => tracing::debug!("the lease of the journal ends by itself"),
        }
    }

    /// Marks a rebuilt journal as complete.
    ///
    /// # Errors
    /// If the lease is lost, or the database does not answer.
    pub async fn finish(&self) -> Result<(), PostgresError> {
        self.settle(
            "UPDATE vsiflow.journals SET whole = true \
            WHERE journal = $1 AND holder = $2 AND lease_until > clock_timestamp()",
        )
        .await
    }

    /// Permits a restored journal to act.
    ///
    /// # Errors
    /// As for [`Held::finish`].
    pub async fn confirm(&self) -> Result<(), PostgresError> {
        self.settle(
            "UPDATE vsiflow.journals SET observe_only = false \
            WHERE journal = $1 AND holder = $2 AND lease_until > clock_timestamp()",
        )
        .await
    }

    async fn settle(&self, update: &str) -> Result<(), PostgresError> {
        let server = self.address.to_string();
        let connection = Connection::to(&self.address).await?;
        let params: [&(dyn ToSql + Sync); 2] = [&self.journal, &self.holder];
        match connection
            .client
            .execute(update, &params)
            .await
            .map_err(|error| PostgresError::of(&server, &error))?
        {
            1 => Ok(()),
            _ => Err(PostgresError::Refused {
                server,
                why: LeaseLost.to_string(),
            }),
        }
    }

    /// Removes a journal whose rebuild did not complete.
    ///
    /// # Errors
    /// If the database does not answer; a later rebuild then finds the incomplete journal.
    pub async fn abandon(&self) -> Result<(), PostgresError> {
        let server = self.address.to_string();
        let failed = |error| PostgresError::of(&server, &error);
        let mut connection = Connection::to(&self.address).await?;
        let transaction = connection.client.transaction().await.map_err(failed)?;
        let delete =
            "DELETE FROM vsiflow.journals WHERE journal = $1 AND holder = $2 AND NOT whole";
        let params: [&(dyn ToSql + Sync); 2] = [&self.journal, &self.holder];
        if transaction.execute(delete, &params).await.map_err(failed)? == 1 {
            let journal = self.journal;
            let mut rest = format!("DROP TABLE IF EXISTS vsiflow.events_{journal};");
            for table in ["links", "streams", "gaps", "bases", "base_states", "blobs"] {
                rest.push_str(&format!(
                    "DELETE FROM vsiflow.{table} WHERE journal = {journal};"
                ));
            }
            transaction.batch_execute(&rest).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)
    }

    /// The lease, which must be checked before any action that is visible outside.
    pub fn lease(&self) -> Arc<Lease> {
        self.lease.clone()
    }

    /// The identity of the journal.
    pub fn identity(&self) -> &JournalIdentity {
        &self.identity
    }

    /// How long after taking the lease nothing may be done on a host, because calls of a holder that
    /// died may still be running.
    pub fn quiet(&self) -> Duration {
        self.quiet
    }

    pub(crate) fn epoch(&self) -> i64 {
        self.epoch.load(Ordering::Acquire)
    }
}

fn not_taken(server: &str, error: &tokio::task::JoinError) -> PostgresError {
    PostgresError::Unreachable {
        server: server.to_owned(),
        why: format!("the lease was not taken: {error}"),
    }
}

/// Converts an interval in seconds; a past time gives zero, infinity the maximum.
fn lasting(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

pub(crate) fn unix_millis() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or_default()
}

/// The name of this process, for people; unique.
fn name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let (host, pid) = (host.trim(), std::process::id());
    format!("process {pid} on {host} ({:016x})", rand::random::<u64>())
}
