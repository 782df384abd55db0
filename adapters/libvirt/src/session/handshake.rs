//! Opens libvirt on a new connection.

use std::sync::Arc;
use std::time::Duration;

use super::SessionOptions;
use crate::connect_error::ConnectError;
use crate::connection::{Connection, KeepAlive};
use crate::error::{Cause, Error, code};
use crate::protocol::AuthType;
use crate::xml::{self, capabilities};

/// Checks the authentication method, opens the driver, and announces keep-alive.
pub(super) async fn open(
    connection: &Connection,
    host: &str,
    options: &SessionOptions,
    keep_alive: KeepAlive,
) -> Result<(), ConnectError> {
    let failed = |error| explain(host, options.open_timeout, error);
    let calls = connection.within(options.open_timeout);
    let method = match calls.auth_list().await.map_err(failed)? {
        AuthType::None => None,
        AuthType::Sasl => Some("SASL".to_owned()),
        AuthType::Polkit => Some("polkit".to_owned()),
        AuthType::Other(number) => Some(format!("an unknown ({number})")),
    };
    if let Some(method) = method {
        return Err(ConnectError::AuthWanted {
            host: host.to_owned(),
            method,
        });
    }
    calls.connect_open(&options.uri).await.map_err(failed)?;
    connection.opened();
    if calls.announce_keepalive().await.map_err(failed)? {
        connection.keep_alive(keep_alive);
    }
    Ok(())
}

/// The UUID that libvirt reports for its host.
///
/// # Errors
/// [`ConnectError::LibvirtRefused`] if the capabilities cannot be parsed.
pub(super) async fn host_uuid(
    connection: &Connection,
    host: &str,
    options: &SessionOptions,
    owner: &Arc<str>,
) -> Result<Option<uuid::Uuid>, ConnectError> {
    let calls = connection.within(options.open_timeout);
    let reply = calls.connect_get_capabilities().await;
    let described = reply.map_err(|error| explain(host, options.open_timeout, error))?;
    let length = described.len();
    let uuid = xml::in_turn(owner, length, move || capabilities::host_uuid(&described)).await;
    uuid.map_err(|error| ConnectError::LibvirtRefused {
        host: host.to_owned(),
        message: format!("its capabilities cannot be read: {error}"),
    })
}

fn explain(host: &str, after: Duration, error: Error) -> ConnectError {
    let host = host.to_owned();
    match error {
        Error::Libvirt(error)
            if matches!(error.code, code::AUTH_FAILED | code::AUTH_UNAVAILABLE) =>
        {
            ConnectError::AuthWanted {
                host,
                method: error.message,
            }
        }
        Error::NotSent {
            cause: Cause::TimedOut(_),
            ..
        }
        | Error::OutcomeUnknown {
            cause: Cause::TimedOut(_),
            ..
        } => ConnectError::TimedOut {
            address: host,
            waiting_for: "libvirt to open",
            after,
        },
        error => ConnectError::LibvirtRefused {
            host,
            message: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::fake_peer::{FakePeer, pair};
    use crate::packet::kind;

    async fn open_with(serve: impl AsyncFnOnce(&mut FakePeer)) -> Result<Connection, ConnectError> {
        let (connection, mut peer) = pair();
        let options = SessionOptions::default();
        let (opened, ()) = tokio::join!(
            open(&connection, "host", &options, KeepAlive::CONTROL),
            serve(&mut peer)
        );
        opened.map(|()| connection)
    }

    #[tokio::test]
    async fn a_daemon_without_authentication_is_opened() {
        let opened = open_with(async |peer| {
            assert_eq!(peer.answer_next(vec![0_i32]).await.header.procedure, 66);
            let open = peer.answer_next(()).await;
            assert_eq!(open.header.procedure, 1);
            assert!(open.payload.ends_with(b"qemu:///system\0\0\0\0\0\0"));
            assert_eq!(peer.answer_next(1_i32).await.header.procedure, 60);
        });
        assert!(opened.await.is_ok());
    }

    #[tokio::test]
    async fn polkit_and_sasl_are_refused_by_name() {
        for (number, name) in [(1_i32, "SASL"), (2, "polkit"), (9, "an unknown (9)")] {
            let opened = open_with(async |peer| drop(peer.answer_next(vec![number]).await)).await;
            let error = opened.unwrap_err();
            assert!(matches!(&error, ConnectError::AuthWanted { method, .. } if method == name));
        }
        let opened = open_with(async |peer| {
            peer.answer_next(vec![0_i32]).await;
            let open = peer.next().await;
            peer.fail(&open, kind::REPLY, code::AUTH_UNAVAILABLE).await;
        });
        assert!(matches!(opened.await, Err(ConnectError::AuthWanted { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_daemon_is_given_up() {
        let opened = open_with(async |peer| drop(peer.next().await)).await;
        assert!(matches!(opened, Err(ConnectError::TimedOut { .. })));
    }

    #[tokio::test]
    async fn a_daemon_that_has_no_such_driver_says_so() {
        let opened = open_with(async |peer| {
            peer.answer_next(vec![0_i32]).await;
            let open = peer.next().await;
            peer.fail(&open, kind::REPLY, code::NO_SUPPORT).await;
        });
        assert!(matches!(
            opened.await,
            Err(ConnectError::LibvirtRefused { .. })
        ));
    }
}
