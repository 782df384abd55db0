//! A process dies, and no other takes its journal: commands stop waiting after a time, and the next
//! holder finishes the work that was begun.

use vsiflow_tests::{Running, until_lasting};

use super::{
    shards::ShardsSite,
    shards_deaths::{Asker, Point, Stall},
    shards_placing::{anchors, hosts, placed, places, start_apply, two},
    shards_pools::{BLUE, members, pool},
};

/// Registers a process that takes no journal, so that no other process gets more than half of them. It
/// does not end: nobody may store its time anew.
const IDLER: &str = "INSERT INTO vsiflow.shard_processes (set_name, process, silent_at) VALUES ('fleet', 'idler', 'infinity'); \
    CREATE FUNCTION stays() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; \
    CREATE TRIGGER stays BEFORE UPDATE ON vsiflow.shard_processes FOR EACH ROW \
    WHEN (OLD.process = 'idler') EXECUTE FUNCTION stays()";

fn start(site: &ShardsSite, arguments: &[&str]) -> Running {
    site.start(&|of_process| site.vsiflow.start(of_process), arguments)
}

#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    until_lasting(what, 240, holds);
}

const UNHELD: &str = "no other one holds that journal";

/// Kills the process that has journal 3, with the blocked statement; no other process takes the
/// journal.
fn dies_for_good(site: &ShardsSite, process: Running, stall: Stall<'_>) {
    site.server.sql(IDLER);
    let pid = process.pid();
    assert_eq!(site.holder_of(3), pid);
    process.kill();
    stall.ends(true);
    site.release_leases(pid);
}

/// Lets the other process take the journal.
fn is_released(site: &ShardsSite) {
    site.server
        .sql("DELETE FROM vsiflow.shard_processes WHERE process = 'idler'");
    site.until_held(4, 1);
}

#[test]
fn what_was_begun_in_a_journal_that_nobody_holds_is_told_and_finished_later() {
    let site = ShardsSite::new();
    let (_first, second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);

    let stall = Stall::at(&site, (Point::Appending, Asker::Command));
    let choice = hosts() + &placed("late", "config: d", "{}", "128Mi");
    let apply = start_apply(&site, &choice, &[]);
    stall.is_reached();
    dies_for_good(&site, second, stall);
    // A request that no process has begun is withdrawn.
    let stop = start(&site, &["stop", "on-d"]);
    apply.end(120).exits(1).says("VSI0766").says(UNHELD);
    let stop = stop.end(120).exits(1);
    stop.says("VSI0766").says("nothing was done there");
    assert!(!places(&site).contains_key("late"));

    is_released(&site);
    until("the begun work is not finished", || {
        let there = places(&site);
        let is = |name: &str, phase: &str| there.get(name).is_some_and(|(_, its)| its == phase);
        is("late", "Running") && is("on-d", "Running")
    });
    let again = hosts() + &placed("late", BLUE, "{}", "128Mi");
    site.apply(&again, &[]).exits(0);
    assert_eq!(places(&site)["late"].0, "sim:d");
    assert_eq!(places(&site).len(), 5);
}

#[test]
fn a_pool_says_which_journal_nobody_holds_that_had_begun_with_its_members() {
    let site = ShardsSite::new();
    let (_first, second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    let documents = hosts() + &pool(1, "config: d", "128Mi", "");
    site.apply(&documents, &["--wait"]).exits(0);
    let stall = Stall::at(&site, (Point::Appending, Asker::Pool));
    let scale = [
        "scale",
        "pool/web",
        "--replicas",
        "2",
        "--wait",
        "--wait-timeout",
        "150s",
    ];
    let scale = start(&site, &scale);
    stall.is_reached();
    dies_for_good(&site, second, stall);
    scale.end(180).exits(4).says("VSI0766").says(UNHELD);
    assert_eq!(members(&site).len(), 1);
    is_released(&site);
    until("the begun work is not finished", || {
        members(&site).len() == 2
    });
    assert_eq!(places(&site).len(), 6);
}
