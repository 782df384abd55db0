//! Tests that there is only one writer, with processes that are stopped, killed and resumed, and with a
//! failing server.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use vsiflow_engine::journal::{ChainedJournal as _, Journal as _, JournalError};

use super::{
    conformance::{append, entity},
    line::Line,
    server::Server,
    writer_process::WriterProcess,
};
use crate::{Held, PostgresError, PostgresJournal, hold};

const LONG: Duration = Duration::from_secs(600);

async fn opened(server: &Server) -> (Arc<Held>, PostgresJournal) {
    let held = Held::take(&server.journal("a"), LONG).await.unwrap();
    let journal = PostgresJournal::open(held.clone()).await.unwrap();
    (held, journal)
}

/// Checks that everything that was acknowledged exists, once, at its reported place.
pub(super) async fn holds_all(server: &Server, acknowledged: &[String]) {
    let journal = PostgresJournal::open_to_read(&server.journal("a"))
        .await
        .unwrap();
    let all = journal.read_all(0, usize::MAX).await.unwrap();
    for (offset, record) in all.iter().enumerate() {
        assert_eq!(record.offset, offset as u64, "no gap, nothing twice");
    }
    for line in acknowledged
        .iter()
        .filter_map(|line| line.strip_prefix("wrote "))
    {
        let words: Vec<_> = line.split(' ').collect();
        let record = &all[words[3].parse::<usize>().unwrap()];
        assert_eq!(record.stream, entity(words[0]), "{line}");
        assert_eq!(record.seq.to_string(), words[1], "{line}");
    }
    let links = journal.read_links(0, usize::MAX).await.unwrap();
    for pair in links.windows(2) {
        assert_eq!(pair[1].prev, pair[0].hash);
        assert_eq!(pair[1].first, pair[0].last + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_held_is_not_taken_and_passes_at_once_when_it_is_let_go() {
    let server = Server::start();
    let (held, journal) = opened(&server).await;
    let refused = Held::take(&server.journal("a"), LONG).await.map(drop);
    assert!(
        matches!(refused, Err(PostgresError::InUse { .. })),
        "{refused:?}"
    );
    journal.close().await;
    held.release().await;
    let next = Held::take(&server.journal("a"), LONG).await.unwrap();
    assert_eq!(next.quiet(), Duration::ZERO, "nothing of it is under way");
}

#[tokio::test]
async fn a_runtime_that_is_busy_for_longer_than_a_lease_does_not_lose_it() {
    let server = Server::start();
    let lasts = Duration::from_secs(2);
    let held = Held::take(&server.journal("a"), lasts).await.unwrap();
    let journal = PostgresJournal::open(held.clone()).await.unwrap();
    let renewed = held.clone();
    let keeper = tokio::spawn(async move { renewed.keep().await });
    tokio::task::yield_now().await;
    std::thread::sleep(lasts * 2);
    journal
        .append(vec![append(&entity("x"), 0, b"x")])
        .await
        .unwrap();
    assert!(!keeper.is_finished());
    keeper.abort();
    let ended = tokio::time::timeout(lasts * 2, held.lease().ended()).await;
    assert!(ended.is_ok(), "it is no longer renewed");
}

#[tokio::test]
async fn a_process_that_hangs_for_good_does_not_keep_its_lease() {
    let server = Server::start();
    let lasts = Duration::from_millis(500);
    let held = Held::take(&server.journal("a"), lasts).await.unwrap();
    let renewed = held.clone();
    let keeper = tokio::spawn(async move { renewed.keep().await });
    tokio::task::yield_now().await;
    std::thread::sleep(lasts * 14);
    let left = held.lease().left();
    assert_eq!(left, Some(Duration::ZERO), "it had no turn for ten leases");
    keeper.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_was_stopped_and_wakes_writes_nothing() {
    let server = Server::start();
    let lasts = hold::LEASE_DURATION;
    let mut first = WriterProcess::start(&server.url("a"), lasts, "first");
    let mut acknowledged = first.acknowledges(5);
    first.signal(Signal::STOP);
    let mut second = WriterProcess::start(&server.url("a"), lasts, "second");
    let holds = second.says().unwrap();
    let quiet: u64 = holds.rsplit(' ').next().unwrap().parse().unwrap();
    let longest = hold::QUIET + lasts;
    assert!(quiet > 0 && quiet <= longest.as_secs(), "{holds}");
    acknowledged.extend(second.acknowledges(5));
    first.signal(Signal::CONT);
    let last = first.end();
    assert!(
        last.last().is_some_and(|line| line.starts_with("ends: ")),
        "{last:?}"
    );
    acknowledged.extend(last);
    acknowledged.extend(second.acknowledges(5));
    second.signal(Signal::KILL);
    acknowledged.extend(second.end());
    holds_all(&server, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_of_one_that_was_killed_writes_within_ten_seconds() {
    let server = Server::start();
    let mut first = WriterProcess::start(&server.url("a"), hold::LEASE_DURATION, "first");
    let mut acknowledged = first.acknowledges(3);
    let mut second = WriterProcess::start(&server.url("a"), hold::LEASE_DURATION, "second");
    first.signal(Signal::KILL);
    let killed = Instant::now();
    acknowledged.extend(first.end());
    acknowledged.extend(second.acknowledges(1));
    let took = killed.elapsed();
    assert!(
        took <= Duration::from_secs(10),
        "takeover_s {}",
        took.as_secs_f64()
    );
    second.signal(Signal::KILL);
    acknowledged.extend(second.end());
    holds_all(&server, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_crashes_loses_nothing_and_gets_nothing_twice() {
    let mut server = Server::start();
    let mut writer = WriterProcess::start(&server.url("a"), Duration::from_secs(60), "one");
    let mut acknowledged = Vec::new();
    for _ in 0..3 {
        acknowledged.extend(writer.acknowledges(20));
        server.kill();
        server.go_on();
    }
    acknowledged.extend(writer.acknowledges(20));
    writer.signal(Signal::KILL);
    acknowledged.extend(writer.end());
    holds_all(&server, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_lose_nothing_and_write_nothing_twice() {
    let server = Server::start();
    let mut writer = WriterProcess::start(&server.url("a"), Duration::from_secs(60), "one");
    let mut acknowledged = Vec::new();
    for _ in 0..15 {
        acknowledged.extend(writer.acknowledges(3));
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'vsiflow'");
    }
    acknowledged.extend(writer.acknowledges(3));
    writer.signal(Signal::KILL);
    acknowledged.extend(writer.end());
    holds_all(&server, &acknowledged).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_acknowledgement_is_found_by_its_link() {
    let server = Server::start();
    let line = Line::to(&server);
    let held = Held::take(&line.journal("a"), LONG).await.unwrap();
    let journal = PostgresJournal::open(held.clone()).await.unwrap();
    for seq in 0..4 {
        if seq > 0 {
            line.lose_next_answer();
        }
        let epoch = held.epoch();
        let written = journal
            .append(vec![append(&entity("a"), seq, b"1")])
            .await
            .unwrap();
        assert_eq!((written.len(), written[0].offset), (1, seq));
        assert!(held.epoch() > epoch || seq == 0, "the answer was lost");
    }
    let all = journal.read_all(0, 9).await.unwrap();
    assert_eq!(all.len(), 4, "nothing twice");
    assert_eq!(journal.read_links(0, 9).await.unwrap().len(), 4);
}

/// A trigger that runs just before the end of the transaction cuts the connection.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_cut_off_before_its_commit_is_sent_again() {
    let server = Server::start();
    let (held, journal) = opened(&server).await;
    journal
        .append(vec![append(&entity("a"), 0, b"1")])
        .await
        .unwrap();
    let epoch = held.epoch();
    server.sql(
        "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
         PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$; \
         CREATE CONSTRAINT TRIGGER lose AFTER INSERT ON vsiflow.links DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION lose()",
    );
    let journal = Arc::new(journal);
    let writing = tokio::spawn({
        let journal = journal.clone();
        async move { journal.append(vec![append(&entity("a"), 1, b"2")]).await }
    });
    let until = Instant::now() + Duration::from_secs(60);
    while held.epoch() == epoch {
        assert!(Instant::now() < until, "the connection was not replaced");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.sql("DROP TRIGGER lose ON vsiflow.links");
    let written = writing.await.unwrap().unwrap();
    assert_eq!(written[0].offset, 1);
    assert!(
        held.epoch() > epoch,
        "no statement of the lost connection can follow"
    );
    assert_eq!(journal.read_all(0, 9).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_link_after_a_reconnect_ends_the_process() {
    let server = Server::start();
    let (held, journal) = opened(&server).await;
    for seq in 0..3 {
        journal
            .append(vec![append(&entity("a"), seq, b"1")])
            .await
            .unwrap();
    }
    // Like a standby that was promoted without the newest batch.
    server.sql(
        "DELETE FROM vsiflow.events WHERE \"offset\" = 2; DELETE FROM vsiflow.links WHERE first = 2; \
         UPDATE vsiflow.journals j SET next_offset = 2, tip_first = l.first, tip_last = l.last, \
         tip_prev = l.prev, tip_hash = l.hash FROM vsiflow.links l WHERE l.first = 1",
    );
    let refused = journal.append(vec![append(&entity("a"), 3, b"2")]).await;
    assert!(
        matches!(refused, Err(JournalError::Storage(_))),
        "{refused:?}"
    );
    assert!(held.lease().left() != Some(LONG));
    assert_eq!(server.sql("SELECT count(*) FROM vsiflow.events"), "2");
    let again = journal.append(vec![append(&entity("b"), 0, b"2")]).await;
    assert!(again.is_err(), "nothing is written any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_is_gone_writes_nothing() {
    let server = Server::start();
    let (held, journal) = opened(&server).await;
    journal
        .append(vec![append(&entity("a"), 0, b"1")])
        .await
        .unwrap();
    server.sql("UPDATE vsiflow.journals SET epoch = epoch + 1, holder = 'another'");
    let refused = journal.append(vec![append(&entity("a"), 1, b"2")]).await;
    assert_eq!(refused, Err(JournalError::LeaseLost));
    assert!(
        held.lease().check().is_err(),
        "nothing is done to hosts any more"
    );
    assert_eq!(server.sql("SELECT count(*) FROM vsiflow.events"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_written_together() {
    let server = Server::start();
    let (_held, journal) = opened(&server).await;
    let journal = Arc::new(journal);
    let writing = (0..200).map(|number| {
        let journal = journal.clone();
        tokio::spawn(async move {
            let stream = entity(&format!("e{number}"));
            for seq in 0..5 {
                journal
                    .append(vec![append(&stream, seq, b"x")])
                    .await
                    .unwrap();
            }
        })
    });
    for task in writing.collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let links = journal.read_links(0, usize::MAX).await.unwrap();
    assert_eq!(journal.read_all(0, usize::MAX).await.unwrap().len(), 1000);
    assert!(links.len() < 500, "{} batches", links.len());
}

/// Moves what the journals' rows say into the future, as if it was stored while the clock was ahead.
const CLOCK_WAS_AHEAD: &str = "UPDATE vsiflow.journals SET lease_from = lease_from + interval '2 y', \
    lease_until = lease_until + interval '2 y', quiet_from = quiet_from + interval '2 y', \
    quiet_until = quiet_until + interval '2 y'";

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_from_before_the_clock_was_set_back_ends_after_its_length() {
    let server = Server::start();
    let lasts = Duration::from_secs(2);
    drop(Held::take(&server.journal("a"), lasts).await.unwrap());
    server.sql(CLOCK_WAS_AHEAD);
    let refused = Held::take(&server.journal("a"), LONG).await.map(drop);
    let Err(PostgresError::InUse { left, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(left <= lasts, "{left:?}");
    let address = server.journal("a");
    let next = Held::win(&address, lasts, |_| {});
    let next = tokio::time::timeout(lasts * 4, next)
        .await
        .unwrap()
        .unwrap();
    let quiet = next.quiet();
    assert!(
        quiet > hold::QUIET - lasts && quiet <= hold::QUIET + lasts,
        "{quiet:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_time_from_before_the_clock_was_set_back_ends_after_its_length() {
    let server = Server::start();
    let lasts = Duration::from_millis(100);
    drop(Held::take(&server.journal("a"), lasts).await.unwrap());
    let second = Held::win(&server.journal("a"), LONG, |_| {}).await.unwrap();
    second.release().await;
    server.sql(CLOCK_WAS_AHEAD);
    let third = Held::take(&server.journal("a"), LONG).await.unwrap();
    let longest = hold::QUIET + lasts;
    assert!(third.quiet() <= longest, "{:?}", third.quiet());
    assert!(third.quiet() > hold::QUIET / 2, "{:?}", third.quiet());
    third.release().await;
    let rest = "SELECT quiet_until < clock_timestamp() + interval '1 h' FROM vsiflow.journals";
    assert_eq!(server.sql(rest), "t", "it is stored anew");
}

/// Moves what the journals' rows say into the past, as if the clock had jumped ahead since.
const CLOCK_JUMPED_AHEAD: &str = "UPDATE vsiflow.journals SET lease_from = lease_from - interval '2 y', \
    lease_until = lease_until - interval '2 y', quiet_from = quiet_from - interval '2 y', \
    quiet_until = quiet_until - interval '2 y'";

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_ahead_does_not_shorten_the_quiet_time_after_a_holder() {
    let server = Server::start();
    let address = server.journal("a");
    let first = Held::take(&address, hold::LEASE_DURATION).await.unwrap();
    server.sql(CLOCK_JUMPED_AHEAD);
    let second = Held::take(&address, LONG).await.unwrap();
    let left = first.lease().left().unwrap();
    assert!(!left.is_zero(), "it may act");
    assert!(second.quiet() > hold::QUIET + left, "{:?}", second.quiet());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_ahead_does_not_end_the_quiet_time_that_an_orderly_end_left() {
    let server = Server::start();
    let address = server.journal("a");
    drop(Held::take(&address, hold::LEASE_DURATION).await.unwrap());
    server.sql(CLOCK_JUMPED_AHEAD);
    let second = Held::take(&address, LONG).await.unwrap();
    second.release().await;
    server.sql(CLOCK_JUMPED_AHEAD);
    let third = Held::take(&address, LONG).await.unwrap();
    let (before, after) = (second.quiet(), third.quiet());
    assert!(after > hold::QUIET / 2 && after < before, "{after:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_time_that_was_kept_is_not_kept_again_after_an_orderly_end() {
    let server = Server::start();
    let address = server.journal("a");
    let lasts = Duration::from_millis(100);
    drop(Held::take(&address, lasts).await.unwrap());
    server.sql(
        "UPDATE vsiflow.journals SET holder = '', quiet_from = now() - interval '2 s', \
        quiet_until = now() - interval '1.5 s', lease_until = '-infinity'",
    );
    let second = Held::take(&address, LONG).await.unwrap();
    assert!(!second.quiet().is_zero());
    tokio::time::sleep(second.quiet()).await;
    second.release().await;
    let third = Held::take(&address, LONG).await.unwrap();
    assert_eq!(third.quiet(), Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_whose_tables_are_of_an_earlier_version_is_taken() {
    let server = Server::start();
    let first = Held::take(&server.journal("a"), LONG).await.unwrap();
    first.release().await;
    server.sql("ALTER TABLE vsiflow.journals DROP COLUMN lease_from, DROP COLUMN quiet_from");
    let next = Held::take(&server.journal("a"), LONG).await.unwrap();
    assert_eq!(next.quiet(), Duration::ZERO);
}
