//! A connection to the database, and the task that drives it.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
    time::timeout,
};
use tokio_postgres::{AsyncMessage, Client, NoTls, error::Severity};

use crate::{JournalAddress, PostgresError, tls::Verified};

/// Timeout for connecting, over all hosts.
const CONNECT: Duration = Duration::from_secs(10);

/// Settings that the writer depends on: no wait is interrupted on the server, because a cancelled wait
/// for a standby is reported as success. `search_path` ensures that unqualified names cannot be
/// redirected.
const SESSION: &str = "SET statement_timeout = 0; SET lock_timeout = 0; \
    SET idle_in_transaction_session_timeout = 0; SET client_min_messages = warning; \
    SET search_path = pg_catalog";

/// A connection. Dropping it closes it.
pub(crate) struct Connection {
    pub(crate) client: Client,
    warned: Arc<AtomicBool>,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Connects and logs in.
    pub(crate) async fn to(address: &JournalAddress) -> Result<Self, PostgresError> {
        let server = address.to_string();
        let connecting = Box::pin(Self::make(address, &server));
        let connected = timeout(CONNECT, connecting).await;
        connected.unwrap_or_else(|_| Err(PostgresError::late(&server)))
    }

    async fn make(address: &JournalAddress, server: &str) -> Result<Self, PostgresError> {
        let failed = |error| PostgresError::of(server, &error);
        let warned = Arc::new(AtomicBool::new(false));
        let (client, driver) = match &address.tls {
            None => {
                let (client, connection) = address.config.connect(NoTls).await.map_err(failed)?;
                (client, tokio::spawn(drive(connection, warned.clone())))
            }
            Some(roots) => {
                let roots = roots.clone();
                let tls = tokio::task::spawn_blocking(move || Verified::new(&roots)).await;
                let tls = tls.map_err(|e| PostgresError::Address(e.to_string()))??;
                let (client, connection) = address.config.connect(tls).await.map_err(failed)?;
                (client, tokio::spawn(drive(connection, warned.clone())))
            }
        };
        client.batch_execute(SESSION).await.map_err(failed)?;
        Ok(Self {
            client,
            warned,
            driver,
        })
    }

    /// Checks that everything since the last check was acknowledged as the server is configured.
    ///
    /// # Errors
    /// [`PostgresError::Unreachable`] after a warning: a wait for the standby was interrupted.
    pub(crate) fn acknowledged(&self, address: &JournalAddress) -> Result<(), PostgresError> {
        if !self.was_warned() {
            return Ok(());
        }
        Err(PostgresError::Unreachable {
            server: address.to_string(),
            why: "its standby did not acknowledge".to_owned(),
        })
    }

    /// Whether the server warned since the last check: what it then reported as done may be missing on
    /// the standby that it waited for.
    pub(crate) fn was_warned(&self) -> bool {
        self.warned.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

async fn drive<S, T>(mut connection: tokio_postgres::Connection<S, T>, warned: Arc<AtomicBool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notice(notice))) => {
                if notice.parsed_severity() == Some(Severity::Warning) {
                    tracing::warn!("the database warns: {}", notice.message());
                    warned.store(true, Ordering::Release);
                }
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                tracing::debug!(%error, "a connection to the database broke");
                return;
            }
            None => return,
        }
    }
}
