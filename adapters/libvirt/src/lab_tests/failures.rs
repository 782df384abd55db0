//! How the client behaves when a real libvirtd dies or hangs.

use std::time::Instant;

use bytes::Bytes;

use super::*;
use crate::error::{Cause, CloseReason};
use crate::events::EventReceived;
use crate::{ConnectError, Error};

#[tokio::test(flavor = "multi_thread")]
async fn lab_a_killed_libvirtd_is_seen_at_once_and_found_again() {
    let Some(lab) = Lab::enter_alone() else {
        return;
    };
    for (way, session) in lab.both() {
        let connection = session.control().await.unwrap();
        let calls = connection.within(SHORT);
        let volume = volume(&calls, "t-killed.raw").await;
        let mut events = calls.domain_events().await.unwrap();
        let bulk = session.bulk(SHORT).await.unwrap().within(SHORT);
        let mut stream = bulk
            .storage_vol_upload(&volume, 0, 0, 0, SHORT)
            .await
            .unwrap();
        stream.send(Bytes::from_static(b"before")).await.unwrap();
        // Stalled while the daemon is frozen, then disconnected: the outcome is unknown.
        lab.daemon("libvirtd", "freeze");
        let pending = tokio::spawn({
            let calls = calls.clone();
            async move { calls.connect_get_hostname().await }
        });
        while connection.free_places() == crate::connection::PLACES {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        lab.daemon("libvirtd", "kill");

        let error = pending.await.unwrap().unwrap_err();
        assert!(
            matches!(
                error,
                Error::OutcomeUnknown {
                    cause: Cause::Closed(_),
                    ..
                }
            ),
            "{way}: {error}"
        );
        assert!(!error.is_absent());
        connection.closed().await;
        assert!(matches!(events.next().await, EventReceived::Ended(_)));
        let send_error = stream.send(Bytes::from_static(b"after")).await.unwrap_err();
        assert!(send_error.is_outcome_unknown(), "{send_error}");
        let call_error = calls.connect_get_hostname().await.unwrap_err();
        assert!(matches!(call_error, Error::NotSent { .. }), "{call_error}");
        let session_error = session.control().await.unwrap_err();
        assert!(
            matches!(session_error, ConnectError::SocketDead { .. }),
            "{way}: {session_error}"
        );

        lab.daemon("libvirtd", "start");
        let start = Instant::now();
        let regained = loop {
            match session.control().await {
                Ok(reconnected) => break reconnected.within(SHORT),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
            assert!(start.elapsed() < LONG);
        };
        regained.storage_vol_delete(&volume).await.unwrap();
        session.close().await;
    }
}

#[tokio::test]
async fn lab_a_frozen_libvirtd_is_given_up() {
    let Some(lab) = Lab::enter_alone() else {
        return;
    };
    let session = lab.local();
    let connection = session.control().await.unwrap();
    lab.daemon("libvirtd", "freeze");
    let error = connection
        .within(Duration::from_secs(1))
        .connect_get_hostname()
        .await
        .unwrap_err();
    let start = Instant::now();
    let reason = connection.closed().await;
    lab.daemon("libvirtd", "thaw");
    assert!(
        matches!(
            error,
            Error::OutcomeUnknown {
                cause: Cause::TimedOut(_),
                ..
            }
        ),
        "{error}"
    );
    assert!(matches!(reason, CloseReason::Silent(_)), "{reason}");
    println!(
        "measured: a frozen libvirtd is given up after {:?}",
        start.elapsed()
    );
    assert!(control(&session).await.connect_get_hostname().await.is_ok());
    session.close().await;
}

#[tokio::test]
async fn lab_a_killed_sshd_is_found_again() {
    let Some(lab) = Lab::enter_alone() else {
        return;
    };
    let session = lab.ssh();
    let connection = session.control().await.unwrap();
    lab.daemon("sshd", "kill");
    connection.closed().await;
    let error = session.control().await.unwrap_err();
    lab.daemon("sshd", "start");
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert!(control(&session).await.connect_get_hostname().await.is_ok());
    session.close().await;
}
