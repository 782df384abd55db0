//! A journal in PostgreSQL: the same commands and audit, a standby, and the migration from and to a
//! state directory.

use std::path::Path;

use vsiflow_tests::{Ran, SIMULATED_IMAGE, Vsiflow};

use super::database::Server;

fn vsi(name: &str) -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: {name}}}\nspec:\n  \
         imageURL: {SIMULATED_IMAGE}\n  guest: {{type: none}}\n  machine: {{cpus: 1, memory: 512Mi}}\n---\n"
    )
}

/// A database server, and a folder for vsiflow.
struct PostgresSite {
    server: Server,
    vsiflow: Vsiflow,
    key: String,
}

impl PostgresSite {
    fn new() -> Self {
        Self::on(Server::start())
    }

    fn on(server: Server) -> Self {
        use age::secrecy::ExposeSecret as _;
        let vsiflow = Vsiflow::simulated();
        let key = age::x25519::Identity::generate().to_string();
        let key = vsiflow.write("journal.key", key.expose_secret());
        Self {
            server,
            vsiflow,
            key: key.display().to_string(),
        }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let url = self.server.url("a");
        self.vsiflow
            .run(&[&["--journal", &url, "--journal-key", &self.key], arguments].concat())
    }

    fn apply(&self, name: &str) -> Ran {
        let url = self.server.url("a");
        self.vsiflow.apply(
            vsi(name),
            &["--journal", &url, "--journal-key", &self.key, "--wait"],
        )
    }
}

fn head(vsiflow: &Vsiflow, options: &[&str]) -> String {
    let printed = vsiflow
        .run(&[&["audit", "head"], options].concat())
        .exits(0);
    let words = printed.stdout.split_whitespace().take(4);
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn everything_works_on_a_database_as_it_does_on_a_state_directory() {
    let site = PostgresSite::new();
    site.apply("web").exits(0);
    site.run(&["get", "vsi", "web"]).exits(0).says("Running");
    site.run(&["history", "web"]).exits(0).says("define_domain");
    site.run(&["audit", "verify"])
        .exits(0)
        .says("nothing was changed");
    site.run(&["replay", "--verify"]).exits(0);
    site.run(&["compact"]).exits(2).says("VSI0837");
    let doctor = site.run(&["doctor"]).exits(1);
    doctor.says("fsync=off").says("no standby is connected");
    site.run(&["delete", "web", "--wait"]).exits(0);
    let without = site.vsiflow.run(&["get"]);
    assert_ne!(without.code, Some(0), "{without:?}");
    without.says("VSI0836").says("--journal");
}

#[test]
fn an_export_of_one_kind_is_rebuilt_in_the_other_and_back() {
    let site = PostgresSite::new();
    site.apply("web").exits(0);
    let (url, other) = (site.server.url("a"), site.server.url("b"));
    let first = site.vsiflow.folder().join("first.jsonl");
    let second = site.vsiflow.folder().join("second.jsonl");
    let text = |path: &Path| path.display().to_string();
    site.run(&["audit", "export", &text(&first)]).exits(0);
    let files = Vsiflow::simulated();
    files.run(&["audit", "rebuild", &text(&first)]).exits(0);
    files.run(&["audit", "export", &text(&second)]).exits(0);
    let rebuild = ["audit", "rebuild", &text(&second), "--journal", &other];
    site.vsiflow.run(&rebuild).exits(0);
    site.vsiflow.run(&rebuild).says("VSI0834");
    let heads = [
        head(&site.vsiflow, &["--journal", &url]),
        head(&files, &[]),
        head(&site.vsiflow, &["--journal", &other]),
    ];
    assert_eq!(heads[0], heads[1]);
    assert_eq!(heads[0], heads[2]);
    site.vsiflow
        .run(&["audit", "verify", "--journal", &other])
        .exits(0);
}

#[test]
fn a_standby_waits_and_continues_at_once_after_an_orderly_end() {
    let site = PostgresSite::new();
    let url = site.server.url("a");
    let serve = ["serve", "--journal", &url, "--journal-key", &site.key];
    let mut first = site.vsiflow.start(&serve);
    assert!(first.reaches("serving", 120), "{}", first.error_output());
    // While a daemon serves, commands are passed to it.
    site.apply("web").exits(0).says("Running");
    let standby = Vsiflow::simulated();
    let mut second = standby.start(&serve);
    assert!(
        second.reaches("waiting, since the journal is held by", 120),
        "{}",
        second.error_output()
    );
    first.terminate();
    assert!(second.reaches("serving", 60), "{}", second.error_output());
    let there = [
        "get",
        "vsi",
        "web",
        "--journal",
        &url,
        "--journal-key",
        &site.key,
    ];
    // The standby has its own simulated host, so the guest does not exist there.
    standby.run(&there).exits(0).says("web");
    assert!(
        !second.error_output().contains("left alone"),
        "{}",
        second.error_output()
    );
}

#[test]
fn a_standby_of_one_that_was_killed_takes_over_and_leaves_hosts_alone_for_a_while() {
    let site = PostgresSite::new();
    let url = site.server.url("a");
    let serve = ["serve", "--journal", &url, "--journal-key", &site.key];
    let mut first = site.vsiflow.start(&serve);
    assert!(first.reaches("serving", 120), "{}", first.error_output());
    let standby = Vsiflow::simulated();
    let mut second = standby.start(&serve);
    assert!(
        second.reaches("waiting, since the journal is held by", 120),
        "{}",
        second.error_output()
    );
    first.kill();
    assert!(
        second.reaches("hosts are left alone", 60),
        "{}",
        second.error_output()
    );
    assert!(second.reaches("serving", 60), "{}", second.error_output());
}

#[test]
fn a_database_that_was_set_back_touches_nothing_and_says_so() {
    let mut site = PostgresSite::on(Server::that_archives());
    site.apply("one").exits(0);
    site.server.back_up("before two");
    site.apply("two").exits(0);
    let before = site.vsiflow.sim();
    site.server.set_back("before two");

    site.run(&["get"]).exits(0).says("one");
    // Hosts are first left alone for a while, because an earlier holder may still have calls in
    // progress.
    site.run(&["delete", "one", "--wait"])
        .exits(4)
        .says("VSI0211");
    let after = site.vsiflow.sim();
    assert_eq!(after.volumes(), before.volumes());
    assert_eq!(after.domains(), before.domains());
    let one = site.run(&["get", "vsi", "one", "-o", "json"]).exits(0);
    assert!(one.stdout.contains("JournalBehind"), "{one:?}");
    site.run(&["adopt", "default/two"]).exits(0);
    site.run(&["retry", "one"]).exits(0);
    assert_eq!(site.vsiflow.sim().domains(), ["default/two"]);
}
