//! Snapshots in a set of journals that two processes share. Schedules of all VSIs are followed,
//! including those of pool members. Commands reach a snapshot by its name, in whichever journal it
//! is, and do not reuse names of other journals. The death of a process leaves no work unfinished
//! or unreported. New VSIs from snapshots are created beside them, under their own names.

use jiff::Timestamp;
use serde_json::{Value, json};
use vsiflow_tests::{TestConsole, until};

use super::{
    shards::ShardsSite,
    shards_deaths::{Asker, Point, dies_at},
    shards_placing::{anchors, hosts, placed, places, two},
    shards_pools::pool,
    snapshot_schedules::soon,
};

/// The snapshots that exist.
fn snapshots(site: &ShardsSite) -> Vec<Value> {
    let list = site.run(&["get", "snapshots", "-o", "json"]).exits(0);
    list.json()["items"].as_array().unwrap().clone()
}

fn name(snapshot: &Value) -> String {
    snapshot["metadata"]["name"].as_str().unwrap().to_owned()
}

fn names(site: &ShardsSite) -> Vec<String> {
    snapshots(site).iter().map(name).collect()
}

fn is_ready(snapshot: &&Value) -> bool {
    snapshot["status"]["phase"] == "Ready"
}

/// Asserts that the described snapshot is the one on that host.
#[track_caller]
fn is_on(site: &ShardsSite, host: &str, snapshot: &str) {
    let words = ["describe", "snapshot", snapshot, "-o", "json"];
    let described = site.run(&words).exits(0).json();
    assert_eq!(described["status"]["host"], host, "{described}");
}

fn on(host: &str, name: &str, more: &str) -> String {
    let server = placed(name, &format!("config: {host}"), "{}", "128Mi");
    server.replace("  placement: {}\n", more)
}

/// The VSIs with schedules: in two journals, and a pool member in a third one.
const SCHEDULED: [(&str, &str); 3] = [("early", "sim:a"), ("late", "sim:d"), ("web-0", "sim:c")];

fn documents() -> String {
    let policy = |indent: &str| {
        let schedule = soon();
        format!("{indent}snapshotPolicy: {{schedule: \"{schedule}\", keep: 2}}\n")
    };
    let of_pool = format!("{}      guest:", policy("      "));
    let pool = pool(1, "config: c", "128Mi", "").replace("      guest:", &of_pool);
    let servers = on("a", "early", &policy("  ")) + &on("d", "late", &policy("  "));
    hosts() + &servers + &pool
}

/// When a VSI's snapshot is due; `None` until its schedule has begun.
fn due(site: &ShardsSite, name: &str) -> Option<Timestamp> {
    let vsi = site.run(&["get", name, "-o", "json"]).exits(0).json();
    let mut conditions = vsi["status"]["conditions"].as_array().unwrap().iter();
    let begun =
        conditions.any(|one| one["type"] == "SnapshotsCurrent" && one["reason"] != "NotBegun");
    let next = vsi["status"]["snapshots"]["nextScheduleTime"].as_str();
    next.filter(|_| begun).map(|next| next.parse().unwrap())
}

/// Starts schedules that are all due at the same time soon; returns that time.
fn begin(site: &ShardsSite) -> Timestamp {
    loop {
        site.apply(&documents(), &["--wait"]).exits(0);
        let all = SCHEDULED.map(|(name, _)| until("the schedule begins", 60, || due(site, name)));
        let left = Timestamp::now().duration_until(all[0]).as_secs();
        // On a slow machine the schedules may be due only tomorrow, or too soon for the test.
        if all.iter().all(|due| *due == all[0]) && (15..180).contains(&left) {
            return all[0];
        }
    }
}

#[test]
fn what_is_due_is_taken_in_every_journal_and_found_by_its_name() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    let due = begin(&site);
    let at = due.strftime("%Y%m%d-%H%M").to_string();
    let [early, late, of_pool] = SCHEDULED.map(|(vsi, _)| format!("{vsi}-{at}"));
    // A user takes the name that the schedule of another journal is about to use.
    let create = |of: &str, name: &str| site.run(&["snapshot", "create", of, name, "--wait"]);
    create("on-d", &early).exits(0);
    let taken = until("the snapshots that are due", 240, || {
        let all = snapshots(&site);
        let count = all.iter().filter(is_ready).count();
        (count > SCHEDULED.len()).then_some(all)
    });
    for (vsi, host) in SCHEDULED {
        let its = taken.iter().find(|one| one["spec"]["virtualServer"] == vsi);
        let its = its.unwrap_or_else(|| panic!("{vsi}: {taken:?}"));
        assert_eq!(
            (name(its), its["status"]["host"].as_str()),
            (format!("{vsi}-{at}"), Some(host))
        );
        assert!(its["status"]["scheduledTime"].is_string(), "{its}");
        let described = site.run(&["describe", vsi]).exits(0);
        described.says("SnapshotsCurrent").says("0 missed");
    }

    // The schedule's snapshot is found although its name was not claimed. A snapshot with a claimed
    // name takes precedence.
    is_on(&site, "sim:d", &late);
    is_on(&site, "sim:d", &early);
    let of_schedule = taken
        .iter()
        .find(|one| one["spec"]["virtualServer"] == "early");
    let uid = of_schedule.unwrap()["metadata"]["uid"].as_str().unwrap();
    is_on(&site, "sim:a", uid);
    let of_late = format!("snapshot/{late}");
    site.run(&["history", &of_late]).exits(0).says("copy_disks");
    create("on-c", &late)
        .exits(4)
        .says("VSI0765")
        .says("journal 3");
    let of_early = format!("snapshot/{early}");
    site.run(&["delete", &of_early, "--wait"]).exits(0);
    is_on(&site, "sim:a", &early);
    let put_back = ["snapshot", "restore", &early, "--yes", "--wait"];
    site.run(&put_back).exits(0).says("vsi/early is Running");
    site.run(&["snapshot", "delete", &early, &late, "--wait"])
        .exits(0);
    assert_eq!(names(&site), [of_pool]);
    // The names are free for other VSIs.
    create("on-c", &late).exits(0).says("is taken");
    is_on(&site, "sim:c", &late);
}

#[test]
fn a_deletion_outlives_its_process_and_what_is_not_asked_again_is_told() {
    let site = ShardsSite::new();
    let (first, second) = two(&site);
    let mut processes = vec![first, second];
    site.apply(&anchors(), &["--wait"]).exits(0);
    site.run(&["snapshot", "create", "on-d", "before", "--wait"])
        .exits(0);
    let start = |words: &[&str]| site.start(&|all| site.vsiflow.start(all), words);
    let answering = (Point::Answering, Asker::Command);
    let is_gone = || until("its deletion", 60, || names(&site).is_empty().then_some(()));
    let delete = || start(&["snapshot", "delete", "before"]);
    let deletes = dies_at(&site, answering, 3, &mut processes, delete, is_gone);
    deletes.end(240).exits(0);

    let is_there = || {
        until("the snapshot", 60, || {
            snapshots(&site)
                .iter()
                .any(|one| is_ready(&one))
                .then_some(())
        });
    };
    let create = || start(&["snapshot", "create", "on-d"]);
    let creates = dies_at(&site, answering, 3, &mut processes, create, is_there);
    creates.end(240).exits(1).says("VSI0767");
    assert_eq!(names(&site), ["on-d-1"]);
}

#[test]
fn a_snapshot_is_taken_shown_and_deleted_by_its_name_which_no_other_journal_has() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    let create = |words: &[&str]| site.run(&[&["snapshot", "create"], words, &["--wait"]].concat());
    create(&["on-b", "before"])
        .exits(0)
        .says("snapshot/before is taken");
    create(&["on-c", "before"]).exits(4).says("VSI0765");
    create(&["on-b", "before"]).exits(4).says("VSI0740");
    create(&["on-c"]).exits(0).says("snapshot/on-c-1 is taken");
    // A generated name avoids the names of other journals.
    create(&["on-d", "on-c-2"]).exits(0);
    create(&["on-c"]).exits(0).says("snapshot/on-c-3 is taken");
    assert_eq!(names(&site), ["before", "on-c-1", "on-c-2", "on-c-3"]);
    let listed = site
        .run(&["get", "snapshots", "-o", "name"])
        .exits(0)
        .stdout;
    assert_eq!(listed.lines().next(), Some("snapshot/before"));

    let described = site.run(&["describe", "snapshot/before", "snapshot/on-c-2"]);
    described.exits(0).says("sim:b").says("sim:d");
    site.run(&["history", "snapshot", "before"])
        .exits(0)
        .says("copy_disks");
    site.run(&["wait", "snapshot/before", "--for", "condition=Ready"])
        .exits(0);

    // If a name is unknown in all journals, the command does not touch the others.
    for unknown in [
        &["snapshot", "delete", "before", "nothing"][..],
        &["snapshot", "restore", "nothing", "--yes"],
        &["snapshot", "create", "nobody"],
        &["describe", "snapshot/nothing"],
        &["history", "snapshot/nothing"],
        &["create", "new", "--from", "snapshot/nothing"],
    ] {
        site.run(unknown).exits(3).says("VSI0703");
    }
    assert_eq!(snapshots(&site).len(), 4);
    site.run(&["snapshot", "delete", "before", "snapshot/on-c-1", "--wait"])
        .exits(0)
        .says("snapshot/before deleted");
    assert_eq!(names(&site), ["on-c-2", "on-c-3"]);
    site.run(&["snapshot", "restore", "before", "--yes"])
        .exits(3)
        .says("VSI0703");
    // The deleted snapshot is still described, until another one has its name.
    let gone = site.run(&["describe", "snapshot/before"]).exits(0);
    gone.says("sim:b").says("Deleted");
    create(&["on-d", "before"]).exits(0);
    let there = site.run(&["describe", "snapshot/before"]).exits(0);
    there.says("sim:d").keeps_quiet_about("Deleted");
    site.run(&["snapshot", "delete", "before", "--orphan", "--wait"])
        .exits(0)
        .says("is forgotten");
}

/// The document of a snapshot.
fn document(name: &str, of: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServerSnapshot\nmetadata: {{name: {name}}}\nspec: {{virtualServer: {of}}}\n---\n"
    )
}

#[test]
fn documents_of_snapshots_go_to_the_journals_of_their_vsis() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    let both = document("of-b", "on-b") + &document("of-d", "on-d");
    site.apply(&both, &["--dry-run"])
        .exits(0)
        .says("snapshot/of-b created (dry run)");
    assert_eq!(names(&site), Vec::<String>::new());
    site.apply(&both, &["--wait"]).exits(0);
    assert_eq!(names(&site), ["of-b", "of-d"]);
    is_on(&site, "sim:b", "of-b");
    is_on(&site, "sim:d", "of-d");
    site.apply(&both, &["--wait"])
        .exits(0)
        .says("snapshot/of-b unchanged");
    // A name belongs to one journal. If a VSI does not exist, no document is applied.
    site.apply(&document("of-b", "on-d"), &[])
        .exits(4)
        .says("VSI0765");
    let unknown = document("third", "on-c") + &document("fourth", "nobody");
    site.apply(&unknown, &[]).exits(3).says("VSI0703");
    assert_eq!(names(&site), ["of-b", "of-d"]);
    // Together with the documents of their VSIs, if those change nothing.
    site.apply(&(anchors() + &document("third", "on-c")), &["--wait"])
        .exits(0);
    is_on(&site, "sim:c", "third");
    let made = on("c", "new", "") + &document("early", "new");
    site.apply(&(hosts() + &made), &[]).exits(4).says("VSI0740");
    site.run(&["snapshot", "delete", "of-b", "of-d", "third", "--wait"])
        .exits(0);
    assert_eq!(names(&site), Vec::<String>::new());
}

#[test]
fn a_vsi_is_put_back_once_somebody_agreed() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    site.run(&["snapshot", "create", "on-d", "before", "--wait"])
        .exits(0);
    let boot = || site.vsiflow.sim_of("d").boot_disk("default/on-d");
    let content = || site.vsiflow.sim_of("d").volume(&boot())["content"].clone();
    let before = content();
    let later = json!({"Inline": "d3JpdHRlbiBsYXRlcg=="});
    let writes = || {
        let boot = boot();
        site.vsiflow.change_sim_of("d", |sim| {
            sim["pools"]["images"]["volumes"][&boot]["content"] = later.clone();
        });
    };
    writes();
    let restore = ["snapshot", "restore", "before", "--wait"];
    let with = |more: &[&'static str]| site.run(&[&restore, more].concat());
    let lost = "since snapshot before is lost";
    with(&["--dry-run"]).exits(0).says(lost);
    // Without a terminal the user cannot be asked.
    let unasked = with(&[]).exits(4);
    unasked.says("VSI0811").says("--yes").says(lost);
    assert_eq!(content(), later);
    with(&["--yes"]).exits(0).says("vsi/on-d is Running");
    assert_eq!(content(), before);

    writes();
    let url = site.server.url("fleet");
    let words = site.named(&url, &restore);
    let mut refuses = TestConsole::on_a_terminal(&site.vsiflow, &words);
    refuses.shows(lost);
    refuses.shows("put vsi/on-d back to snapshot/before? [y/N]");
    refuses.types("n\r");
    refuses.shows("VSI0811");
    assert_eq!(refuses.end(), 4);
    assert_eq!(content(), later);
    let mut agrees = TestConsole::on_a_terminal(&site.vsiflow, &words);
    agrees.shows("put vsi/on-d back to snapshot/before? [y/N]");
    agrees.types("y\r");
    agrees.shows("vsi/on-d is Running");
    assert_eq!(agrees.end(), 0);
    assert_eq!(content(), before);
}

#[test]
fn new_vsis_from_snapshots_are_in_their_journals_under_names_of_their_own() {
    let site = ShardsSite::new();
    let (_first, _second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    site.run(&["snapshot", "create", "on-b", "before", "--wait"])
        .exits(0);
    let create = |name: &str| site.run(&["create", name, "--from", "snapshot/before", "--wait"]);
    create("new").exits(0);
    create("on-c").exits(4).says("VSI0765");
    site.run(&["clone", "on-c", "copy"]).exits(0);
    let there = places(&site);
    assert_eq!(there.len(), 6, "{there:?}");
    assert_eq!(there["new"], ("sim:b".to_owned(), "Running".to_owned()));
    assert_eq!(there["copy"], ("sim:c".to_owned(), "Running".to_owned()));
    assert_eq!(names(&site), ["before"]);
    // The names of the new VSIs are claimed.
    let elsewhere = hosts() + &on("d", "new", "");
    site.apply(&elsewhere, &[]).exits(4).says("VSI0765");

    let quota = "apiVersion: vsiflow.io/v1\nkind: VirtualServerQuota\nmetadata: {name: team}\nspec: {hard: {vsis: 20}}\n";
    site.apply(quota, &[]).exits(0);
    create("more").exits(2).says("VSI0764");
    site.run(&["clone", "on-c", "more"])
        .exits(2)
        .says("VSI0764");
    assert_eq!((places(&site).len(), names(&site).len()), (6, 1));
}
