//! Opening libvirt on a fresh connection.

use std::time::Duration;

use super::SessionOptions;
use crate::connect_error::ConnectError;
use crate::connection::{Connection, KeepAlive};
use crate::error::{Cause, Error, code};
use crate::protocol::AuthType;

/// Asks how to authenticate, opens the driver, announces keep-alive.
pub(super) async fn open(
    connection: &Connection,
    host: &str,
    options: &SessionOptions,
    keep_alive: KeepAlive,
) -> Result<(), ConnectError> {
    let failed = |error| explain(host, options.open_timeout, error);
    let calls = connection.within(options.open_timeout);
    let wanted = match calls.auth_list().await.map_err(failed)? {
        AuthType::None => None,
        AuthType::Sasl => Some("SASL".to_owned()),
        AuthType::Polkit => Some("polkit".to_owned()),
        AuthType::Other(number) => Some(format!("an unknown ({number})")),
    };
    if let Some(method) = wanted {
        return Err(ConnectError::AuthWanted {
            host: host.to_owned(),
            method,
        });
    }
    calls.connect_open(&options.uri).await.map_err(failed)?;
    if calls.announce_keepalive().await.map_err(failed)? {
        connection.keep_alive(keep_alive);
    }
    Ok(())
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
