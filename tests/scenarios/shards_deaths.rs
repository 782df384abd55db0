//! Kills processes of a set at every point of a request's life. Placement, quota and pool tests
//! share it.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use serde_json::Value;
use vsiflow_tests::Running;

use super::{
    shards::ShardsSite,
    shards_placing::{anchors, hosts, places, start_apply, two},
};

/// What made the request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asker {
    /// A command.
    Command,
    /// A pool.
    Pool,
}

/// The point of a request's life at which a process dies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Point {
    /// Journal 0 asks the other journal.
    Asking,
    /// The other journal answers.
    Reporting,
    /// A pool asks journal 0.
    Deciding,
    /// Journal 0 appends the promise.
    Promising,
    /// Journal 0 hands the request over.
    HandingOver,
    /// The other journal begins to process the request.
    Beginning,
    /// The other journal appends the VSI.
    Appending,
    /// The other journal answers the request.
    Answering,
    /// Journal 0 answers the command.
    Closing,
    /// Journal 0 records the progress of a group, once its first member was created.
    GroupRecorded,
}

impl Point {
    /// Whether the holder of journal 0 does it.
    fn is_of_journal_0(self) -> bool {
        matches!(
            self,
            Self::Asking
                | Self::Deciding
                | Self::Promising
                | Self::HandingOver
                | Self::Closing
                | Self::GroupRecorded
        )
    }

    /// The statement that is stopped there: table, event and condition.
    fn statement(self, asker: Asker) -> (String, &'static str, String) {
        let requests = || "shard_requests".to_owned();
        // Pools ask journals for reports again and again.
        let of_pool = matches!(asker, Asker::Pool);
        let own = if of_pool {
            " AND NEW.id LIKE 'pool-%'"
        } else {
            ""
        };
        let other = if of_pool { " AND NEW.journal = 3" } else { "" };
        let appends_for = |lane: u8| match asker {
            Asker::Command => "true".to_owned(),
            Asker::Pool => format!(
                "EXISTS (SELECT FROM vsiflow.shard_requests WHERE id LIKE 'pool-%' AND lane = {lane} \
                 AND begun_by <> '' AND answer IS NULL)"
            ),
        };
        match self {
            Self::Asking => (requests(), "INSERT", "NEW.lane = 2".to_owned()),
            Self::Reporting => (
                requests(),
                "UPDATE",
                format!("NEW.lane = 2 AND NEW.answer IS NOT NULL{other}"),
            ),
            Self::Deciding => (requests(), "INSERT", format!("NEW.lane = 1{own}")),
            Self::Promising => ("fleet.0".to_owned(), "INSERT", appends_for(1)),
            Self::HandingOver => (requests(), "INSERT", format!("NEW.lane = 0{own}")),
            Self::Beginning => (
                requests(),
                "UPDATE",
                format!("NEW.lane = 0 AND NEW.answer IS NULL{own}"),
            ),
            Self::GroupRecorded => (
                "fleet.0".to_owned(),
                "INSERT",
                "NEW.stream LIKE '%group/%' AND EXISTS (SELECT FROM vsiflow.shard_names \
                 WHERE object LIKE '%-boot-0')"
                    .to_owned(),
            ),
            // Reports of hosts are appended too, and are not the request that was handed over.
            Self::Appending if !of_pool => (
                "fleet.3".to_owned(),
                "INSERT",
                "EXISTS (SELECT FROM vsiflow.shard_requests WHERE journal = 3 AND lane = 0 \
                 AND begun_by <> '' AND answer IS NULL)"
                    .to_owned(),
            ),
            Self::Appending => ("fleet.3".to_owned(), "INSERT", appends_for(0)),
            Self::Answering => (
                requests(),
                "UPDATE",
                format!("NEW.lane = 0 AND NEW.answer IS NOT NULL{own}"),
            ),
            Self::Closing => (
                requests(),
                "UPDATE",
                format!("NEW.lane = 1 AND NEW.answer IS NOT NULL{own}"),
            ),
        }
    }
}

/// Blocks every statement at a point until it is released.
pub(super) struct Stall<'a> {
    site: &'a ShardsSite,
    table: String,
}

impl<'a> Stall<'a> {
    pub(super) fn at(site: &'a ShardsSite, (point, asker): (Point, Asker)) -> Self {
        let (table, event, condition) = point.statement(asker);
        let table = match table.strip_prefix("fleet.") {
            Some(_) => {
                let journal =
                    format!("SELECT journal FROM vsiflow.journals WHERE name = '{table}'");
                format!("vsiflow.events_{}", site.server.sql(&journal).trim())
            }
            None => format!("vsiflow.{table}"),
        };
        site.server.sql(&format!(
            "CREATE OR REPLACE FUNCTION vsiflow.stall() RETURNS trigger LANGUAGE plpgsql AS $$ \
             BEGIN IF {condition} THEN PERFORM pg_advisory_xact_lock_shared(4711); END IF; WHILE {condition} AND EXISTS (SELECT FROM vsiflow.stalled) LOOP PERFORM pg_sleep(0.02); END LOOP; \
             RETURN NEW; END $$; CREATE TABLE IF NOT EXISTS vsiflow.stalled (one int); \
             INSERT INTO vsiflow.stalled VALUES (1); \
             CREATE TRIGGER stall BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION vsiflow.stall()"
        ));
        Self { site, table }
    }

    #[track_caller]
    pub(super) fn is_reached(&self) {
        let until = Instant::now() + Duration::from_secs(120);
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711";
        while self.site.server.sql(waiting).trim() == "0" {
            assert!(Instant::now() < until, "nothing came to the point");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Releases the statement. With `never` its process is dead: the statement is aborted, as if
    /// the process had died before it.
    pub(super) fn ends(self, never: bool) {
        let table = &self.table;
        if never {
            // The server may not have noticed yet that the process is dead.
            self.site.server.sql(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711",
            );
        }
        self.site.server.sql("DELETE FROM vsiflow.stalled");
        self.site
            .server
            .sql(&format!("DROP TRIGGER stall ON {table}"));
    }
}

/// Kills the holder of a journal at that point of the request that `begin` made, and starts another
/// process. Returns the result of `begin` once all journals are held again.
pub(super) fn dies_at<T>(
    site: &ShardsSite,
    (point, asker): (Point, Asker),
    dies: u16,
    processes: &mut Vec<Running>,
    begin: impl FnOnce() -> T,
    at_the_point: impl FnOnce(),
) -> T {
    // The new process takes the free journals, which may be the other half.
    let holder = site.holder_of(dies);
    let of_holder = |process: &Running| process.pid() == holder;
    let who = processes.iter().position(of_holder).unwrap();
    let stall = Stall::at(site, (point, asker));
    let begun = begin();
    stall.is_reached();
    at_the_point();
    let dead = processes.remove(who);
    let pid = dead.pid();
    dead.kill();
    stall.ends(point.is_of_journal_0() == (dies == 0));
    site.release_leases(pid);
    let process = site.process();
    processes.insert(who, process);
    site.until_held(4, 2);
    begun
}

/// Applies a document for each of these points, and kills a process at that point. Each request is
/// carried out once.
pub(super) fn through_deaths(
    points: &[Point],
    dies: u16,
    prepare: impl FnOnce(&ShardsSite),
    document: impl Fn(&str) -> String,
) -> (ShardsSite, Vec<Running>) {
    let site = ShardsSite::new();
    let (first, second) = two(&site);
    let mut processes = vec![first, second];
    site.apply(&anchors(), &["--wait"]).exits(0);
    prepare(&site);
    for point in points {
        applied_through_a_death(&site, (*point, dies), &mut processes, &document);
    }
    (site, processes)
}

fn applied_through_a_death(
    site: &ShardsSite,
    (point, dies): (Point, u16),
    processes: &mut Vec<Running>,
    document: &impl Fn(&str) -> String,
) {
    let name = format!("{point:?}-{dies}").to_lowercase();
    let documents = hosts() + &document(&name);
    let is_promised = || {
        if matches!(point, Point::HandingOver) && documents.contains("placement:") {
            let promise = format!("promise/default/{name}");
            let events = site.run(&["events", "--tail", "0", "-o", "json"]).exits(0);
            assert!(events.stdout.contains(&promise), "{promise}: {events:?}");
        }
    };
    let begin = || start_apply(site, &documents, &[]);
    let at = (point, Asker::Command);
    let outcome = dies_at(site, at, dies, processes, begin, is_promised);
    outcome.end(240).exits(0);
    let there = places(site);
    assert_eq!(there[&name].0, "sim:d", "{point:?} {dies}: {there:?}");
    let made = site.run(&["history", &name, "-o", "json"]).exits(0).stdout;
    let lines = made
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let journals: BTreeSet<_> = lines
        .map(|line| line["journal"].as_u64().unwrap())
        .collect();
    assert_eq!(journals, BTreeSet::from([3]), "{point:?} {dies}");
    site.apply(&documents, &[]).exits(0).says("unchanged");
}
