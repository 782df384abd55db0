//! Tests with a primary and a synchronous standby: killed, promoted, cut off, and returning.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use vsiflow_engine::journal::Journal as _;

use super::{
    conformance::{append, entity},
    fencing::holds_all,
    server::Server,
    writer_process::WriterProcess,
};
use crate::{Held, PostgresError, PostgresJournal, connection::Connection, hold};

/// Longer than any test.
const LONG: Duration = Duration::from_secs(600);

fn pair() -> (Server, Server) {
    let primary = Server::start();
    let standby = primary.synchronous_standby();
    (primary, standby)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_goes_on_at_a_promoted_standby_and_nothing_is_lost() {
    let (mut primary, standby) = pair();
    let mut writer = WriterProcess::start(&primary.url_with(&standby, "a"), LONG, "one");
    let mut acknowledged = writer.acknowledges(50);
    primary.kill();
    standby.promote();
    acknowledged.extend(writer.acknowledges(50));
    writer.signal(Signal::KILL);
    acknowledged.extend(writer.end());
    holds_all(&standby, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_at_a_promoted_standby_has_everything_and_leaves_hosts_alone_for_a_while() {
    let (mut primary, standby) = pair();
    let url = primary.url_with(&standby, "a");
    let mut first = WriterProcess::start(&url, hold::LEASE_DURATION, "first");
    let mut acknowledged = first.acknowledges(50);
    primary.kill();
    first.signal(Signal::KILL);
    let killed = Instant::now();
    acknowledged.extend(first.end());
    standby.promote();
    let mut second = WriterProcess::start(&url, hold::LEASE_DURATION, "second");
    let holds = second.says().unwrap();
    let quiet: u64 = holds.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(
        quiet >= hold::QUIET.as_secs(),
        "counted from the promotion: {holds}"
    );
    acknowledged.extend(second.acknowledges(20));
    let took = killed.elapsed();
    second.signal(Signal::KILL);
    acknowledged.extend(second.end());
    holds_all(&standby, &acknowledged).await;
    assert!(took < Duration::from_secs(60), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_synchronous_standby_nothing_is_acknowledged() {
    let (primary, mut standby) = pair();
    let held = Held::take(&primary.journal("a"), LONG).await.unwrap();
    let journal = PostgresJournal::open(held).await.unwrap();
    let batch = |seq| vec![append(&entity("a"), seq, b"1")];
    journal.append(batch(0)).await.unwrap();
    standby.kill();
    let waits = tokio::time::timeout(Duration::from_secs(3), journal.append(batch(1))).await;
    assert!(waits.is_err(), "acknowledged without it: {waits:?}");
    standby.go_on();
    let next = journal.append(batch(2)).await.unwrap();
    assert_eq!(next[0].offset, 2, "the waiting event was written once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_the_standby_that_is_cancelled_is_no_acknowledgement() {
    let (primary, mut standby) = pair();
    let held = Held::take(&primary.journal("a"), LONG).await.unwrap();
    let journal = PostgresJournal::open(held.clone()).await.unwrap();
    let batch = |seq| vec![append(&entity("a"), seq, b"1")];
    journal.append(batch(0)).await.unwrap();
    standby.kill();
    let writing = tokio::spawn(async move { journal.append(batch(1)).await });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    let until = Instant::now() + Duration::from_secs(60);
    for _ in 0..3 {
        while primary.sql(waiting) == "0" {
            assert!(Instant::now() < until, "it does not wait for the standby");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        primary.sql(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'",
        );
        assert!(!writing.is_finished());
    }
    standby.go_on();
    let written = writing.await.unwrap().unwrap();
    assert_eq!(written[0].offset, 1);
    drop(primary);
    standby.promote();
    let promoted = PostgresJournal::open_to_read(&standby.journal("a")).await;
    let all = promoted.unwrap().read_all(0, 9).await.unwrap();
    assert_eq!(all.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_primary_that_comes_back_is_not_written() {
    let (mut primary, standby) = pair();
    let url = primary.url_with(&standby, "a");
    let mut writer = WriterProcess::start(&url, LONG, "one");
    let mut acknowledged = writer.acknowledges(10);
    primary.kill();
    standby.promote();
    acknowledged.extend(writer.acknowledges(10));
    // As if an operator starts it carelessly, and finds that it waits for a standby.
    primary.go_on();
    primary.sql("ALTER SYSTEM RESET synchronous_standby_names");
    primary.sql("SELECT pg_reload_conf()");
    let refused = Held::take(&url.parse().unwrap(), LONG).await.map(drop);
    let Err(PostgresError::Parted { servers }) = &refused else {
        panic!("{refused:?}");
    };
    assert!(servers[0].ends_with("(timeline 1)"), "{servers:?}");
    assert!(servers[1].ends_with("(timeline 2)"), "{servers:?}");
    // The writer that knew the newer end connects to the old server, and ends.
    standby.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vsiflow'",
    );
    let last = writer.end();
    let end = last.last().unwrap();
    assert!(end.contains("with another link"), "{end}");
    acknowledged.extend(last);
    drop(primary);
    holds_all(&standby, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_right_is_kept_on_a_server_that_has_no_further_connection_to_give() {
    let server = Server::with(&["max_connections=12"]);
    let address = server.journal("a");
    let lasts = hold::LEASE_DURATION / 2;
    let held = Held::take(&address, lasts).await.unwrap();
    let mut others = Vec::new();
    while let Ok(other) = Connection::to(&address).await {
        others.push(other);
    }
    assert!(!others.is_empty());
    let renewed = tokio::time::timeout(lasts * 2, held.keep()).await;
    assert!(renewed.is_err(), "the right was lost");
    assert!(held.lease().check().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_connections_takes_nothing_from_the_writer() {
    let server = Server::with(&["max_connections=12"]);
    let mut writer = WriterProcess::start(&server.url("a"), hold::LEASE_DURATION, "one");
    let mut acknowledged = writer.acknowledges(5);
    let address = server.journal("a");
    let mut storm = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let address = address.clone();
        storm.spawn(async move {
            loop {
                // A process that connects stays for a while.
                if let Ok(journal) = PostgresJournal::open_to_read(&address).await {
                    let _ = journal.read_all(0, 1).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
    }
    let until = Instant::now() + hold::LEASE_DURATION * 2;
    while Instant::now() < until {
        acknowledged.extend(writer.acknowledges(1));
    }
    storm.shutdown().await;
    let log = server.log();
    assert!(log.contains("too many clients"), "no storm: {log}");
    writer.signal(Signal::KILL);
    acknowledged.extend(writer.end());
    holds_all(&server, &acknowledged).await;
}
