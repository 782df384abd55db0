//! Consoles in a set of journals: the process that opens one asks the host, and the VSI's journal
//! records who opened it.

use vsiflow_tests::{TestConsole, history::Event, until};

use super::{
    shards::ShardsSite,
    shards_placing::{anchors, two},
};

/// What happened and who did it, for each console event of a VSI.
fn notes(site: &ShardsSite, name: &str) -> Vec<(String, String)> {
    let history = site.run(&["history", name, "-o", "json"]).exits(0);
    let events = history.stdout.lines().map(Event::parse);
    let notes = events.filter(|event| event.kind() == "noted");
    notes
        .map(|event| {
            let text = |key: &str| event.text(key).to_owned();
            (text("detail"), text("actor"))
        })
        .collect()
}

fn log_in(mut console: TestConsole) {
    console.types("\r");
    console.shows("login: ");
    console.types("lab\r");
    console.shows("Welcome, lab");
    console.leave();
    assert_eq!(console.end(), 0);
}

fn is_recorded(site: &ShardsSite, name: &str, times: usize) {
    until("the end is recorded", 30, || {
        (notes(site, name).len() == 2 * times).then_some(())
    });
    let all = notes(site, name);
    let whats: Vec<_> = all.iter().map(|(what, _)| what.as_str()).collect();
    assert_eq!(whats, ["console_opened", "console_closed"].repeat(times));
    assert!(
        all.iter().all(|(_, actor)| actor.starts_with("unix:")),
        "{all:?}"
    );
}

#[test]
fn a_console_is_opened_from_anywhere_and_recorded_in_the_journal_of_its_vsi() {
    let site = ShardsSite::new();
    let (first, second) = two(&site);
    site.apply(&anchors(), &["--wait"]).exits(0);
    let url = site.server.url("fleet");
    // A VSI of each process.
    for name in ["on-a", "on-d"] {
        let words = ["console", name, "--stdin"];
        log_in(TestConsole::piped(&site.vsiflow, &site.named(&url, &words)));
        is_recorded(&site, name, 1);
    }
    let socket = site.vsiflow.state().join("vsiflow.sock");
    let server = format!("unix://{}", socket.display());
    for name in ["on-a", "on-d"] {
        let words = ["console", name, "--stdin", "--server", &server];
        log_in(TestConsole::piped(&site.vsiflow, &words));
        is_recorded(&site, name, 2);
    }
    site.run(&["console", "nobody", "--stdin"])
        .exits(3)
        .says("VSI0703");
    site.run(&["stop", "on-b", "--wait"]).exits(0);
    site.run(&["console", "on-b", "--stdin"])
        .exits(1)
        .says("VSI0209");
    let whats: Vec<_> = notes(&site, "on-b")
        .into_iter()
        .map(|(what, _)| what)
        .collect();
    assert_eq!(whats.len(), 2, "{whats:?}");
    assert!(whats[1].starts_with("console_closed: "), "{whats:?}");

    // When a process ends, it closes the consoles that go through it, and has that recorded.
    let words = ["console", "on-d", "--stdin", "--server", &server];
    let mut open = TestConsole::piped(&site.vsiflow, &words);
    open.types("\r");
    open.shows("login: ");
    first.terminate();
    open.end();
    until("the end is recorded", 30, || {
        let last = notes(&site, "on-d").pop().unwrap().0;
        (last == "console_closed: the daemon ended").then_some(())
    });
    drop(second);
}
