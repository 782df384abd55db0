//! Tests of a set of journals: its size, living processes, owners of hosts, machines and names, and
//! requests.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use age::secrecy::ExposeSecret as _;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use vsiflow_engine::secret::Secret;

use super::server::Server;
use crate::{
    Held, PostgresError, hold,
    seal::Sealer,
    shards::{
        Named, ShardError, ShardSet,
        owners::{Claim, NameOwner},
        requests::{Lane, NewRequest, Progress},
    },
};

const JOURNALS: u16 = 4;

async fn set(server: &Server) -> Arc<ShardSet> {
    let made = ShardSet::make(&server.journal("fleet"), JOURNALS).await;
    Arc::new(made.unwrap())
}

fn sealer() -> Sealer {
    let key = age::x25519::Identity::generate().to_string();
    Sealer::read(key.expose_secret()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_made_once_and_its_size_never_changes() {
    let server = Server::start();
    let address = server.journal("fleet");
    assert_eq!(ShardSet::named(&address).await, Ok(Named::Journal));
    assert!(ShardSet::open(&address).await.unwrap().is_none());
    for many in [0, 257] {
        let refused = ShardSet::make(&address, many).await.map(drop);
        assert_eq!(refused, Err(ShardError::Many { requested: many }));
    }
    // Several processes that start at the same time.
    let making = (0..4).map(|_| ShardSet::make(&address, JOURNALS));
    for made in futures::future::join_all(making).await {
        assert_eq!(made.unwrap().journals(), JOURNALS);
    }
    let other = ShardSet::make(&address, 5).await.map(drop);
    assert_eq!(
        other,
        Err(ShardError::Size {
            requested: 5,
            found: 4
        })
    );
    assert_eq!(ShardSet::named(&address).await, Ok(Named::Set(4)));
    let named = |name| {
        let of_name = server.journal(name);
        async move { ShardSet::named(&of_name).await.unwrap() }
    };
    assert_eq!(named("fleet.3").await, Named::Member(3));
    assert_eq!(named("fleet.4").await, Named::Journal);
    assert_eq!(named("other.0").await, Named::Journal);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_and_a_journal_never_have_the_same_name() {
    let server = Server::start();
    set(&server).await;
    let taken = Held::take(&server.journal("fleet"), hold::LEASE_DURATION).await;
    assert!(
        matches!(taken, Err(PostgresError::Missing { .. })),
        "{:?}",
        taken.map(drop)
    );
    let held = Held::take(&server.journal("a"), hold::LEASE_DURATION)
        .await
        .unwrap();
    held.release().await;
    let over = ShardSet::make(&server.journal("a"), 2).await.map(drop);
    assert!(
        matches!(over, Err(ShardError::IsJournal { .. })),
        "{over:?}"
    );
    let member = ShardSet::make(&server.journal("fleet.0"), 2)
        .await
        .map(drop);
    assert!(matches!(member, Err(ShardError::Name { .. })), "{member:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_who_ask_at_the_same_time_are_told_the_same_journal_of_a_host() {
    let server = Server::start();
    let set = set(&server).await;
    let hosts: Vec<_> = (0..40)
        .map(|number| format!("root@host{number}:22"))
        .collect();
    let asking = (0..8).map(|_| {
        let (set, hosts) = (set.clone(), hosts.clone());
        tokio::spawn(async move {
            let mut seen = Vec::new();
            for host in &hosts {
                seen.push(set.assign(host).await.unwrap());
            }
            seen
        })
    });
    let mut all = Vec::new();
    for seen in asking {
        all.push(seen.await.unwrap());
    }
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
    for journal in 0..JOURNALS {
        let share = all[0].iter().filter(|seen| **seen == journal).count();
        assert_eq!(share, 10, "journal {journal}");
    }
    assert_eq!(set.journal_of("root@nobody:22").await, Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_stays_with_the_journal_that_met_it_first() {
    let server = Server::start();
    let set = set(&server).await;
    set.take_machine("m1", "root@a:22", 2).await.unwrap();
    set.take_machine("m1", "root@a.example:22", 2)
        .await
        .unwrap();
    let other = set.take_machine("m1", "root@10.0.0.1:22", 1).await;
    let Err(ShardError::Elsewhere { what, journal: 2 }) = other else {
        panic!("{other:?}");
    };
    assert!(
        what.contains("root@10.0.0.1:22") && what.contains("root@a:22"),
        "{what}"
    );
}

/// Journals that record objects under names, delete them, and take over names of deleted objects. What
/// each of them holds is compared with the actions of all others, at every moment.
#[tokio::test(flavor = "multi_thread")]
async fn no_two_journals_have_an_object_of_the_same_name() {
    let server = Server::start();
    let set = set(&server).await;
    let living = Arc::new(Mutex::new(BTreeMap::<String, u16>::new()));
    let working = (0..JOURNALS).map(|journal| {
        let (set, living) = (set.clone(), living.clone());
        tokio::spawn(async move {
            let mut random = StdRng::seed_from_u64(journal.into());
            let address = set.member(journal);
            let held = Held::take(&address, hold::LEASE_DURATION * 100)
                .await
                .unwrap();
            let (mut recorded, mut round) = (0, 0);
            while recorded < 30 {
                round += 1;
                let by = format!("{journal}-{round}");
                let name = format!("vsi/default/{}", random.random_range(0..6));
                let own = match set.claim_name(&held, &name, journal, &by).await.unwrap() {
                    Claim::Own => true,
                    Claim::Other { busy: true, .. } => false,
                    Claim::Other {
                        journal: from,
                        claims,
                        ..
                    } => {
                        // By the other journal's report, which may be outdated a moment later.
                        let is_there = living.lock().unwrap().get(&name) == Some(&from);
                        tokio::task::yield_now().await;
                        let (from, to) = ((from, claims), (journal, by.as_str()));
                        !is_there && set.take_name(&held, &name, from, to).await.unwrap()
                    }
                };
                if !own {
                    continue;
                }
                {
                    let mut living = living.lock().unwrap();
                    if let Some(other) = living.get(&name) {
                        assert_eq!(*other, journal, "{name} is in two journals");
                    }
                    // The recording succeeds or fails.
                    if random.random_bool(0.7) {
                        living.insert(name.clone(), journal);
                        recorded += 1;
                    }
                }
                set.settle_names(journal, &by).await.unwrap();
                if random.random_bool(0.5) {
                    let mut living = living.lock().unwrap();
                    if living.get(&name) == Some(&journal) {
                        living.remove(&name);
                    }
                }
            }
            // Deletes the remaining objects, so that the other journals can take their names.
            living.lock().unwrap().retain(|_, whose| *whose != journal);
        })
    });
    let working: Vec<_> = working.collect();
    let all = futures::future::join_all(working);
    let ended = tokio::time::timeout(Duration::from_secs(60), all).await;
    for one in ended.unwrap() {
        one.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_lease_is_past_neither_claims_nor_settles_what_its_successor_claimed() {
    let server = Server::start();
    let set = set(&server).await;
    let first = Held::take(&set.member(0), Duration::from_millis(300))
        .await
        .unwrap();
    assert_eq!(
        set.claim_name(&first, "vsi/a/b", 0, "1").await,
        Ok(Claim::Own)
    );
    let second = Held::win(&set.member(0), hold::LEASE_DURATION, |_| {})
        .await
        .unwrap();
    let busy = |journal, claims| {
        Ok(Claim::Other {
            journal,
            busy: true,
            claims,
        })
    };
    let other = Held::take(&set.member(1), hold::LEASE_DURATION)
        .await
        .unwrap();
    assert_eq!(set.claim_name(&other, "vsi/a/b", 1, "2").await, busy(0, 1));
    set.settle_all_names(0).await.unwrap();
    assert_eq!(
        set.claim_name(&second, "vsi/a/b", 0, "3").await,
        Ok(Claim::Own)
    );
    assert_eq!(set.claim_name(&first, "vsi/a/b", 0, "4").await, busy(0, 2));
    assert_eq!(set.claim_name(&first, "vsi/a/c", 0, "4").await, busy(0, 0));
    set.settle_names(0, "1").await.unwrap();
    set.settle_names(0, "4").await.unwrap();
    let names = ["vsi/a/b", "vsi/a/nobody"].map(str::to_owned).into();
    let owners = set.name_owners(&names).await.unwrap();
    let busy_there = NameOwner {
        journal: 0,
        is_busy: true,
    };
    assert_eq!(owners, [("vsi/a/b".to_owned(), busy_there)].into());
    assert_eq!(
        set.take_name(&other, "vsi/a/b", (0, 2), (1, "5")).await,
        Ok(false)
    );
    set.settle_names(0, "3").await.unwrap();
    assert_eq!(
        set.take_name(&first, "vsi/a/b", (0, 2), (0, "6")).await,
        Ok(false)
    );
    assert_eq!(
        set.take_name(&other, "vsi/a/b", (0, 2), (1, "7")).await,
        Ok(true)
    );
    assert_eq!(set.journal_of_name("vsi/a/b").await, Ok(Some(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_was_claimed_again_since_nothing_had_it_is_not_taken() {
    let server = Server::start();
    let set = set(&server).await;
    let (own, other) = (set.member(0), set.member(1));
    let own = Held::take(&own, hold::LEASE_DURATION).await.unwrap();
    let other = Held::take(&other, hold::LEASE_DURATION).await.unwrap();
    let claim = async |by: &str| {
        assert_eq!(set.claim_name(&own, "vsi/a/b", 0, by).await, Ok(Claim::Own));
        set.settle_names(0, by).await.unwrap();
    };
    claim("1").await;
    let found = set.claim_name(&other, "vsi/a/b", 1, "2").await.unwrap();
    let Claim::Other {
        journal: 0,
        busy: false,
        claims,
    } = found
    else {
        panic!("{found:?}");
    };
    // Here no object has the name, and one is recorded under it before it is taken.
    claim("3").await;
    let taken = set.take_name(&other, "vsi/a/b", (0, claims), (1, "2"));
    assert_eq!(taken.await, Ok(false));
    assert_eq!(set.journal_of_name("vsi/a/b").await, Ok(Some(0)));
}

fn new<'a>(id: &'a str, text: &'a Secret, repeatable: bool) -> NewRequest<'a> {
    NewRequest {
        id,
        journal: 1,
        lane: Lane::Command,
        text,
        repeatable,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_that_is_full_keeps_no_other_and_what_is_answered_is_not_open() {
    let server = Server::start();
    let (set, key, text) = (set(&server).await, sealer(), Secret::new("x"));
    for (id, lane) in [
        ("a", Lane::Command),
        ("b", Lane::Decision),
        ("c", Lane::Report),
    ] {
        let request = NewRequest {
            lane,
            ..new(id, &text, true)
        };
        set.ask(&key, request, None).await.unwrap();
    }
    let held = Held::take(&set.member(1), hold::LEASE_DURATION)
        .await
        .unwrap();
    let lanes = [Lane::Report, Lane::Decision];
    for expected in [("b", Lane::Decision), ("c", Lane::Report)] {
        let begun = set.begin(&key, &held, 1, &lanes).await.unwrap().unwrap();
        assert_eq!((begun.id.as_str(), begun.lane), expected);
    }
    assert!(set.begin(&key, &held, 1, &lanes).await.unwrap().is_none());
    set.answer(&key, &held, "c", &text).await.unwrap();
    let ids = ["a", "b", "c", "d"].map(str::to_owned);
    let open = set.open_among(&ids).await.unwrap();
    assert_eq!(open.into_iter().collect::<Vec<_>>(), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_lease_is_past_asks_nothing_of_others() {
    let server = Server::start();
    let (set, key, text) = (set(&server).await, sealer(), Secret::new("x"));
    let lasts = Duration::from_millis(300);
    let first = Held::take(&set.member(0), lasts).await.unwrap();
    let second = Held::win(&set.member(0), hold::LEASE_DURATION, |_| {})
        .await
        .unwrap();
    let late = set.ask(&key, new("a", &text, true), Some(&first)).await;
    assert!(matches!(late, Err(ShardError::Full { .. })), "{late:?}");
    assert!(matches!(set.progress(&key, "a").await, Ok(Progress::Gone)));
    set.ask(&key, new("a", &text, true), Some(&second))
        .await
        .unwrap();
    // Sending it again has no effect.
    set.ask(&key, new("a", &text, true), Some(&first))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_begun_by_the_holder_alone_and_again_by_its_successor() {
    let server = Server::start();
    let (set, key) = (set(&server).await, sealer());
    let text = Secret::new("apply hunter2");
    for (id, repeatable) in [("a", true), ("b", false), ("c", true)] {
        set.ask(&key, new(id, &text, repeatable), None)
            .await
            .unwrap();
        set.ask(&key, new(id, &text, repeatable), None)
            .await
            .unwrap();
    }
    let seen = "SELECT count(*) FROM vsiflow.shard_requests WHERE position('hunter2'::bytea IN sealed) > 0";
    assert_eq!(server.sql(seen), "0");
    assert!(set.withdraw("c").await.unwrap());
    assert!(matches!(set.progress(&key, "c").await, Ok(Progress::Gone)));

    let lasts = Duration::from_millis(600);
    let first = Held::take(&set.member(1), lasts).await.unwrap();
    let other = Held::take(&set.member(0), hold::LEASE_DURATION)
        .await
        .unwrap();
    assert!(
        set.begin(&key, &other, 0, &Lane::ALL)
            .await
            .unwrap()
            .is_none()
    );
    for id in ["a", "b"] {
        let begun = set
            .begin(&key, &first, 1, &Lane::ALL)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (begun.id.as_str(), begun.begun, begun.again),
            (id, false, false)
        );
        assert_eq!(begun.request.expose(), text.expose());
        assert!(!set.withdraw(id).await.unwrap());
        assert!(matches!(set.progress(&key, id).await, Ok(Progress::Begun)));
    }
    assert!(
        set.begin(&key, &first, 1, &Lane::ALL)
            .await
            .unwrap()
            .is_none()
    );

    // The holder dies; its successor gets what it started.
    let second = Held::win(&set.member(1), hold::LEASE_DURATION, |_| {})
        .await
        .unwrap();
    set.ask(&key, new("d", &text, true), None).await.unwrap();
    assert!(
        set.begin(&key, &first, 1, &Lane::ALL)
            .await
            .unwrap()
            .is_none()
    );
    let begun = set
        .begin(&key, &second, 1, &Lane::ALL)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (begun.id.as_str(), begun.begun, begun.again),
        ("a", false, true)
    );
    let second_asked = set
        .begin(&key, &second, 1, &Lane::ALL)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (
            second_asked.id.as_str(),
            second_asked.begun,
            second_asked.again
        ),
        ("b", true, true)
    );
    // The dead holder's answer is too late.
    set.answer(&key, &first, "a", &Secret::new("old"))
        .await
        .unwrap();
    assert!(matches!(set.progress(&key, "a").await, Ok(Progress::Begun)));
    set.answer(&key, &second, "a", &Secret::new("new"))
        .await
        .unwrap();
    let Ok(Progress::Answered(answer)) = set.progress(&key, "a").await else {
        panic!("no answer");
    };
    assert_eq!(answer.expose(), b"new");

    // A request that was sealed with another key blocks no others.
    set.ask(&sealer(), new("e", &text, true), None)
        .await
        .unwrap();
    assert_eq!(
        set.begin(&key, &second, 1, &Lane::ALL)
            .await
            .unwrap()
            .unwrap()
            .id,
        "d"
    );
    let sealed = set.begin(&key, &second, 1, &Lane::ALL).await.map(drop);
    assert!(matches!(sealed, Err(ShardError::Seal { .. })), "{sealed:?}");
    assert!(
        set.begin(&key, &second, 1, &Lane::ALL)
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_process_of_the_set_sent_or_what_is_sent_twice_is_refused() {
    let server = Server::start();
    let (set, key, text) = (set(&server).await, sealer(), Secret::new("delete x"));
    let held = Held::take(&set.member(1), hold::LEASE_DURATION)
        .await
        .unwrap();
    let begin = || set.begin(&key, &held, 1, &Lane::ALL);
    let table = "vsiflow.shard_requests";
    set.ask(&key, new("a", &text, true), None).await.unwrap();
    server.sql(&format!("CREATE TABLE kept AS SELECT * FROM {table}"));
    assert_eq!(begin().await.unwrap().unwrap().id, "a");
    set.answer(&key, &held, "a", &text).await.unwrap();
    assert!(set.withdraw("a").await.unwrap());
    // The same row again, as it was, as begun by another holder, and under another ID or for another journal.
    for change in [
        "begun_by = ''",
        "begun_by = 'another'",
        "id = 'b'",
        "repeatable = false",
    ] {
        server.sql(&format!(
            "DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept"
        ));
        server.sql(&format!("UPDATE {table} SET {change}"));
        let begun = begin().await.map(drop);
        assert!(
            matches!(
                begun,
                Err(ShardError::Refused { .. } | ShardError::Seal { .. })
            ),
            "{change}: {begun:?}"
        );
        assert!(begin().await.unwrap().is_none(), "{change}");
    }
    assert!(matches!(
        set.progress(&key, "a").await,
        Ok(Progress::Refused)
    ));
    // Sent again by a process of the set it is another request.
    server.sql(&format!("DELETE FROM {table}"));
    set.ask(&key, new("a", &text, true), None).await.unwrap();
    assert_eq!(begin().await.unwrap().unwrap().id, "a");
    // An answer of another request is none.
    set.answer(&key, &held, "a", &text).await.unwrap();
    set.ask(&key, new("c", &text, true), None).await.unwrap();
    server.sql(&format!(
        "UPDATE {table} SET answer = (SELECT answer FROM {table} WHERE id = 'a') WHERE id = 'c'"
    ));
    let answered = set.progress(&key, "c").await;
    assert!(
        matches!(answered, Err(ShardError::Seal { .. })),
        "{answered:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_lives_is_counted_in_the_order_of_coming() {
    let server = Server::start();
    let set = set(&server).await;
    for (rank, process) in ["z", "a", "m"].into_iter().enumerate() {
        let standing = set.live(process).await.unwrap();
        assert_eq!((standing.rank, standing.living), (rank, rank + 1));
    }
    set.leave("a").await.unwrap();
    let standing = set.live("m").await.unwrap();
    assert_eq!((standing.rank, standing.living), (1, 2));
    // A process that is silent for as long as a lease lasts counts as dead.
    server.sql(
        "UPDATE vsiflow.shard_processes SET silent_at = now() - interval '1 s' WHERE process = 'z'",
    );
    let alone = set.live("m").await.unwrap();
    assert_eq!((alone.rank, alone.living), (0, 1));
    assert_eq!(set.free().await.unwrap(), [0, 1, 2, 3]);
    let held = Held::take(&set.member(2), hold::LEASE_DURATION)
        .await
        .unwrap();
    assert_eq!(set.free().await.unwrap(), [0, 1, 3]);
    held.release().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_and_a_lease_from_before_the_clock_was_set_back_end_after_their_length() {
    let server = Server::start();
    let set = set(&server).await;
    set.live("dead").await.unwrap();
    let lasts = Duration::from_secs(1);
    drop(Held::take(&set.member(2), lasts).await.unwrap());
    server.sql(
        "UPDATE vsiflow.shard_processes SET silent_at = silent_at + interval '2 y'; \
         UPDATE vsiflow.journals SET lease_from = lease_from + interval '2 y', \
         lease_until = lease_until + interval '2 y' WHERE name = 'fleet.2'",
    );
    assert_eq!(set.live("a").await.unwrap().living, 2);
    assert!(!set.free().await.unwrap().contains(&2));
    let ends = tokio::time::Instant::now() + hold::LEASE_DURATION * 3;
    while set.live("a").await.unwrap().living > 1 {
        assert!(tokio::time::Instant::now() < ends, "it counts as alive");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(set.free().await.unwrap().contains(&2));
}

#[tokio::test(flavor = "multi_thread")]
async fn settling_a_claim_looks_at_no_name_that_is_not_busy() {
    let server = Server::start();
    let set = set(&server).await;
    server.sql(
        "INSERT INTO vsiflow.shard_names (set_name, object, journal, busy_by) \
         SELECT 'fleet', 'vsi/default/' || number, 1, '' FROM generate_series(1, 20000) AS number",
    );
    server.sql("ANALYZE vsiflow.shard_names");
    let held = Held::take(&set.member(1), hold::LEASE_DURATION)
        .await
        .unwrap();
    for object in ["vsi/default/1", "vsi/default/new"] {
        let claim = set.claim_name(&held, object, 1, "by").await;
        assert_eq!(claim, Ok(Claim::Own));
    }
    let plan = server.sql(
        "EXPLAIN UPDATE vsiflow.shard_names SET busy_by = '' \
         WHERE set_name = 'fleet' AND journal = 1 AND busy_by = 'by' AND busy_by <> ''",
    );
    assert!(plan.contains("shard_names_busy"), "{plan}");
    set.settle_names(1, "by").await.unwrap();
    let busy = server.sql("SELECT count(*) FROM vsiflow.shard_names WHERE busy_by <> ''");
    assert_eq!(busy.trim(), "0");
    held.release().await;
}
