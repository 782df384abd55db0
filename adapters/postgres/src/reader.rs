//! The connection for reading, which the stores besides the events also write with.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{sync::Mutex, time::timeout};
use tokio_postgres::{Row, Statement, types::ToSql};
use vsiflow_engine::journal::JournalError;

use crate::{JournalAddress, PostgresError, connection::Connection, error::error_text};

/// Timeout for an answer.
const ANSWER: Duration = Duration::from_secs(120);

/// One connection, replaced when it breaks. Statements are prepared once.
pub(crate) struct Reader {
    address: JournalAddress,
    open: Mutex<Option<Arc<Prepared>>>,
}

struct Prepared {
    connection: Connection,
    statements: Mutex<HashMap<&'static str, Statement>>,
}

impl Prepared {
    async fn query(
        &self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        let known = self.statements.lock().await.get(sql).cloned();
        let statement = match known {
            Some(statement) => statement,
            None => {
                let made = self.connection.client.prepare(sql).await?;
                self.statements.lock().await.insert(sql, made.clone());
                made
            }
        };
        self.connection.client.query(&statement, params).await
    }
}

impl Reader {
    pub(crate) fn new(address: JournalAddress, connection: Connection) -> Self {
        Self {
            address,
            open: Mutex::new(Some(Arc::new(Prepared {
                connection,
                statements: Mutex::default(),
            }))),
        }
    }

    pub(crate) fn address(&self) -> &JournalAddress {
        &self.address
    }

    /// The rows of a statement that may be sent twice: if the connection broke, it is sent again on a
    /// new one.
    pub(crate) async fn query(
        &self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, PostgresError> {
        let mut again = true;
        loop {
            let open = self.prepared().await?;
            let answer = timeout(ANSWER, open.query(sql, params)).await;
            match answer {
                Ok(Ok(rows)) => return Ok(rows),
                Ok(Err(error)) if again && error.as_db_error().is_none() => {
                    tracing::debug!(
                        why = error_text(&error),
                        "reading again on a new connection"
                    );
                    again = false;
                    self.forget(&open).await;
                }
                Ok(Err(error)) => return Err(PostgresError::of(&self.address.to_string(), &error)),
                Err(_) => {
                    self.forget(&open).await;
                    return Err(PostgresError::late(&self.address.to_string()));
                }
            }
        }
    }

    /// As [`Reader::query`], with the journal's error type.
    pub(crate) async fn rows(
        &self,
        sql: &'static str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, JournalError> {
        self.query(sql, params).await.map_err(JournalError::from)
    }

    async fn prepared(&self) -> Result<Arc<Prepared>, PostgresError> {
        let mut open = self.open.lock().await;
        if let Some(open) = open
            .as_ref()
            .filter(|open| !open.connection.client.is_closed())
        {
            return Ok(Arc::clone(open));
        }
        let made = Arc::new(Prepared {
            connection: Connection::to(&self.address).await?,
            statements: Mutex::default(),
        });
        *open = Some(Arc::clone(&made));
        Ok(made)
    }

    async fn forget(&self, broken: &Arc<Prepared>) {
        let mut open = self.open.lock().await;
        if open.as_ref().is_some_and(|open| Arc::ptr_eq(open, broken)) {
            *open = None;
        }
    }
}
