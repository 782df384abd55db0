//! The console logs of several VSIs in one command.

use vsiflow_tests::{Vsi, Vsiflow};

fn two() -> Vsiflow {
    let vsiflow = Vsiflow::simulated();
    for name in ["web", "db"] {
        vsiflow.apply(Vsi::named(name), &["--wait"]).exits(0);
    }
    vsiflow
}

#[test]
fn several_consoles_are_printed_with_the_name_of_each() {
    let vsiflow = two();
    let all = vsiflow.run(&["logs", "--all", "--prefix"]).exits(0);
    all.says("[vsi/web] ").says("[vsi/db] ");
    let named = vsiflow
        .run(&["logs", "web", "vsi/db", "--tail", "1"])
        .exits(0);
    assert_eq!(named.stdout.lines().count(), 2, "{named:#?}");
    let selected = vsiflow
        .run(&["logs", "--field-selector", "metadata.name=db", "--prefix"])
        .exits(0);
    let selected = selected.says("[vsi/db] ").keeps_quiet_about("[vsi/web]");
    let alone = vsiflow.run(&["logs", "db"]).exits(0);
    assert_eq!(
        selected.stdout.lines().count(),
        alone.stdout.lines().count(),
        "the whole log is printed"
    );
}

#[test]
fn lines_are_chosen_by_words() {
    let vsiflow = two();
    let found = vsiflow
        .run(&["logs", "web", "--grep", "HPL1000[0-9]I"])
        .exits(0);
    assert!(
        found.stdout.lines().all(|line| line.contains("HPL1000")),
        "{found:#?}"
    );
    found.says("HPL10001I");
    vsiflow.run(&["logs", "web", "--grep", "("]).exits(2);
}

#[test]
fn what_has_no_console_is_refused() {
    let vsiflow = two();
    vsiflow.run(&["logs", "disk/data"]).exits(2).says("console");
    vsiflow.run(&["logs", "web", "nobody"]).exits(3);
    vsiflow.run(&["logs", "web", "db", "--failed"]).exits(2);
    vsiflow.run(&["logs"]).exits(2);
}

#[test]
fn followed_consoles_come_from_all() {
    let vsiflow = two();
    let mut following = vsiflow.start(&["logs", "--all", "-f", "--prefix"]);
    assert!(following.prints("[vsi/web] ", 20));
    assert!(following.prints("[vsi/db] ", 20));
    following.interrupt();
    following.end(10).exits(130);
}
