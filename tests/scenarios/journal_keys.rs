//! `--journal-key-command`: a program prints the key of a journal in a database. Each process runs it once,
//! and never for another caller.

use std::{os::unix::fs::PermissionsExt as _, path::Path};

use vsiflow_tests::{Running, SIMULATED_IMAGE, Vsiflow};

use super::{database::Server, shards::ShardsSite};

/// A program that prints a key, and adds a line to `NAME.runs` each time.
fn program(vsiflow: &Vsiflow, name: &str, key: &str) -> String {
    let key = vsiflow.write(&format!("{name}.key"), key);
    let runs = vsiflow.folder().join(format!("{name}.runs"));
    let script = format!(
        "#!/bin/sh\necho run >> {}\ncat {}\n",
        runs.display(),
        key.display()
    );
    let path = vsiflow.write(name, &script);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path.display().to_string()
}

/// How often the program was run.
fn runs(vsiflow: &Vsiflow, name: &str) -> usize {
    let noted = std::fs::read_to_string(vsiflow.folder().join(format!("{name}.runs")));
    noted.map_or(0, |noted| noted.lines().count())
}

fn new_key() -> String {
    use age::secrecy::ExposeSecret as _;
    let key = age::x25519::Identity::generate().to_string();
    key.expose_secret().to_owned()
}

fn vsi() -> String {
    format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: web}}\nspec:\n  \
         imageURL: {SIMULATED_IMAGE}\n  guest: {{type: none}}\n  machine: {{cpus: 1, memory: 512Mi}}\n  \
         targetSelector: {{matchLabels: {{config: a}}}}\n---\n"
    )
}

fn serving(vsiflow: &Vsiflow, options: &[&str]) -> Running {
    let mut serve = vsiflow.start(&[&["serve"], options].concat());
    assert!(serve.reaches("serving", 120), "{}", serve.error_output());
    serve
}

#[test]
fn a_daemon_runs_the_program_of_its_key_once_and_none_that_a_caller_names() {
    let (server, vsiflow) = (Server::start(), Vsiflow::simulated());
    let url = server.url("a");
    let own = program(&vsiflow, "own", &new_key());
    let callers = program(&vsiflow, "callers", &new_key());
    let options = ["--journal", &url, "--journal-key-command", &own];
    let _serve = serving(&vsiflow, &options);
    assert_eq!(runs(&vsiflow, "own"), 1);
    // The caller's key program prints another key than the daemon's. The daemon must not use it.
    let socket = vsiflow.state().join("vsiflow.sock");
    let server_option = format!("unix://{}", socket.display());
    let lines = [
        "--server",
        &server_option,
        "--journal-key-command",
        &callers,
    ];
    let apply = [&["apply", "-f", "-", "--wait"], &lines[..]].concat();
    vsiflow.feed(&apply, &vsi()).exits(0);
    let get = [&["get", "web"], &lines[..]].concat();
    vsiflow.run(&get).exits(0).says("Running");
    assert_eq!((runs(&vsiflow, "own"), runs(&vsiflow, "callers")), (1, 0));
}

#[test]
fn a_journal_is_not_opened_without_the_key_that_a_program_should_have_printed() {
    let (server, vsiflow) = (Server::start(), Vsiflow::simulated());
    let url = server.url("a");
    let get = |command: &str| {
        let options = ["get", "--journal", &url, "--journal-key-command", command];
        vsiflow.run(&options)
    };
    for (command, exit, why) in [
        ("/nowhere/key", 1, "cannot be run"),
        ("/bin/false", 1, "ended with exit status: 1"),
        ("/bin/true", 1, "printed nothing"),
        ("echo hunter2", 1, "printed no key"),
        ("echo 'hunter2", 2, "a quote is not closed"),
    ] {
        let refused = get(command).exits(exit).says("VSI0843").says(why);
        let shown = format!("{}{}", refused.stdout, refused.stderr);
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let key = program(&vsiflow, "own", &new_key());
    get(&key).exits(0);
    let file = Path::new(&key).with_extension("key").display().to_string();
    let both = [
        "get",
        "--journal",
        &url,
        "--journal-key-command",
        &key,
        "--journal-key",
        &file,
    ];
    vsiflow.run(&both).exits(2).says("VSI0835");
    // A command that needs no journal needs no key.
    let explain = ["explain", "vsi", "--journal-key-command", "/nowhere/key"];
    vsiflow.run(&explain).exits(0);
}

#[test]
fn a_set_of_journals_has_its_key_from_programs_of_each_process_and_of_each_caller() {
    let site = ShardsSite::new();
    let (url, key) = (site.server.url("fleet"), site.key());
    let own = program(&site.vsiflow, "own", &key);
    let callers = program(&site.vsiflow, "callers", &key);
    let options = ["--shards", "auto", "--journals", "4", "--lease", "120s"];
    let named = ["--journal", &url, "--journal-key-command", &own];
    let mut process = serving(&site.vsiflow, &[&options[..], &named].concat());
    assert!(
        process.reaches("serving journal 3", 120),
        "{}",
        process.error_output()
    );
    assert_eq!(runs(&site.vsiflow, "own"), 1);
    let ask = |arguments: &[&str], input: &str| {
        let asking = ["--journal", &url, "--journal-key-command", &callers];
        let all = [arguments, &asking].concat();
        site.vsiflow.feed(&all, input).exits(0);
    };
    let host = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {config: a}}\ndata: {HOSTNAME: 'sim:a'}\n---\n";
    ask(&["apply", "-f", "-", "--wait"], &(host.to_owned() + &vsi()));
    ask(&["stop", "web", "--wait"], "");
    assert_eq!(
        (runs(&site.vsiflow, "own"), runs(&site.vsiflow, "callers")),
        (1, 2)
    );
}
