//! Checks how durable the server's acknowledgements are, for `doctor`.

use tokio_postgres::Row;

use crate::{JournalAddress, PostgresError, connection::Connection};

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFinding {
    /// The finding.
    pub text: String,
    /// The remedy; none if all is well.
    pub remedy: Option<&'static str>,
    /// Whether a power failure of one machine can lose acknowledged events.
    pub grave: bool,
}

impl ServerFinding {
    fn good(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            remedy: None,
            grave: false,
        }
    }

    fn weak(text: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            text: text.into(),
            remedy: Some(remedy),
            grave: false,
        }
    }

    fn grave(text: impl Into<String>, remedy: &'static str) -> Self {
        Self {
            grave: true,
            ..Self::weak(text, remedy)
        }
    }
}

/// Checks the server.
///
/// # Errors
/// If it does not answer.
pub async fn of(address: &JournalAddress) -> Result<Vec<ServerFinding>, PostgresError> {
    let connection = Connection::to(address).await?;
    let select = "SELECT current_setting('server_version'), current_setting('fsync'), \
        current_setting('full_page_writes'), current_setting('synchronous_commit'), \
        current_setting('synchronous_standby_names'), \
        (SELECT count(*) FROM pg_stat_replication), \
        (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')), \
        current_setting('data_checksums')";
    let row = connection.client.query_one(select, &[]).await;
    let row = row.map_err(|error| PostgresError::of(&address.to_string(), &error))?;
    Ok(judge(&ServerFacts::of(&row)))
}

/// The settings and the replication state of the server.
struct ServerFacts {
    version: String,
    fsync: String,
    full_page_writes: String,
    synchronous_commit: String,
    standby_names: String,
    standbys: i64,
    synchronous: i64,
    checksums: String,
}

impl ServerFacts {
    fn of(row: &Row) -> Self {
        Self {
            version: row.get(0),
            fsync: row.get(1),
            full_page_writes: row.get(2),
            synchronous_commit: row.get(3),
            standby_names: row.get(4),
            standbys: row.get(5),
            synchronous: row.get(6),
            checksums: row.get(7),
        }
    }
}

fn judge(server: &ServerFacts) -> Vec<ServerFinding> {
    let mut found = vec![ServerFinding::good(format!(
        "PostgreSQL {}",
        server.version
    ))];
    if server.fsync != "on" || server.full_page_writes != "on" {
        let text = format!(
            "fsync={}, full_page_writes={}: a power cut may destroy the database",
            server.fsync, server.full_page_writes
        );
        found.push(ServerFinding::grave(text, "set both to on"));
    }
    found.push(match server.synchronous_commit.as_str() {
        "off" => ServerFinding::grave(
            "synchronous_commit=off: what was acknowledged is lost with the server",
            "ALTER ROLE … SET synchronous_commit = on",
        ),
        "local" if !server.standby_names.is_empty() => ServerFinding::weak(
            "synchronous_commit=local: what was acknowledged may not be on the standby",
            "ALTER ROLE … SET synchronous_commit = on",
        ),
        other => ServerFinding::good(format!("synchronous_commit={other}")),
    });
    found.push(match (server.standbys, server.synchronous) {
        (0, _) => ServerFinding::weak(
            "no standby is connected: the journal is lost with this server",
            "attach a standby and name it in synchronous_standby_names",
        ),
        (_, 0) => ServerFinding::weak(
            "no standby is synchronous: if one is promoted, acknowledged events may be missing, and \
             vsiflow then stops",
            "name the standby in synchronous_standby_names",
        ),
        (all, synchronous) => {
            ServerFinding::good(format!("{synchronous} of {all} standbys are synchronous"))
        }
    });
    if server.checksums != "on" {
        found.push(ServerFinding::weak(
            "data_checksums=off: damage of a page is not noticed by the server",
            "pg_checksums --enable, with the server stopped; `vsiflow audit verify` finds it, too",
        ));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> ServerFacts {
        let on = || "on".to_owned();
        ServerFacts {
            version: "15".to_owned(),
            fsync: on(),
            full_page_writes: on(),
            synchronous_commit: on(),
            standby_names: "b".to_owned(),
            standbys: 1,
            synchronous: 1,
            checksums: on(),
        }
    }

    #[test]
    fn each_weakness_is_named_with_what_to_do() {
        let fine = judge(&server());
        assert!(fine.iter().all(|found| found.remedy.is_none()), "{fine:?}");
        let off = || "off".to_owned();
        let weak = [
            (
                true,
                ServerFacts {
                    fsync: off(),
                    ..server()
                },
            ),
            (
                true,
                ServerFacts {
                    synchronous_commit: off(),
                    ..server()
                },
            ),
            (
                false,
                ServerFacts {
                    synchronous_commit: "local".to_owned(),
                    ..server()
                },
            ),
            (
                false,
                ServerFacts {
                    standbys: 0,
                    ..server()
                },
            ),
            (
                false,
                ServerFacts {
                    synchronous: 0,
                    ..server()
                },
            ),
            (
                false,
                ServerFacts {
                    checksums: off(),
                    ..server()
                },
            ),
        ];
        for (grave, server) in weak {
            let found = judge(&server);
            let found: Vec<_> = found
                .iter()
                .filter(|found| found.remedy.is_some())
                .collect();
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!(found[0].grave, grave, "{found:?}");
        }
    }
}
