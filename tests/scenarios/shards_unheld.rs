//! A journal of a set that a process died with, and that no other process takes: nobody waits for it without end, and what
//! was begun is finished by whoever comes.

use vsiflow_tests::{Running, until_lasting};

use super::{
    shards::Site,
    shards_deaths::{Asker, Point, Stall},
    shards_placing::{anchors, hosts, placed, places, start_apply, two},
    shards_pools::{BLUE, members, pool},
};

/// As if a process lived that takes nothing, so that no other one has more than half of the journals.
const IDLER: &str = "INSERT INTO vsiflow.shard_processes (set_name, process, silent_at) VALUES ('fleet', 'idler', 'infinity')";

fn start(site: &Site, arguments: &[&str]) -> Running {
    site.start(&|of_process| site.vsiflow.start(of_process), arguments)
}

#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    until_lasting(what, 240, holds);
}

const UNHELD: &str = "no other one holds that journal";

/// The process dies that has journal 3, with what is stalled there, and no other one takes it.
fn dies_for_good(site: &Site, process: Running, stall: Stall<'_>) {
    site.server.sql(IDLER);
    let pid = process.pid();
    assert_eq!(site.holder_of(3), pid);
    process.kill();
    stall.ends(true);
    site.bury(pid);
}

/// The other process may take it now.
fn is_taken_again(site: &Site) {
    site.server
        .sql("DELETE FROM vsiflow.shard_processes WHERE process = 'idler'");
    site.comes_to(4, 1);
}

#[test]
fn what_was_begun_in_a_journal_that_nobody_holds_is_told_and_finished_later() {
    let site = Site::new();
    let (_first, second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);

    let stall = Stall::at(&site, (Point::Appending, Asker::Command));
    let choice = hosts() + &placed("late", "config: d", "{}", "128Mi");
    let apply = start_apply(&site, &choice, &[]);
    stall.is_reached();
    dies_for_good(&site, second, stall);
    // One that nobody begins is taken back.
    let nobody = start(&site, &["stop", "on-d"]);
    apply.end(120).exits(1).says("VSI0766").says(UNHELD);
    let nobody = nobody.end(120).exits(1);
    nobody.says("VSI0766").says("nothing was done there");
    assert!(!places(&site).contains_key("late"));

    is_taken_again(&site);
    until("what was begun is not finished", || {
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
    let site = Site::new();
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
    is_taken_again(&site);
    until("what was begun is not finished", || {
        members(&site).len() == 2
    });
    assert_eq!(places(&site).len(), 6);
}
