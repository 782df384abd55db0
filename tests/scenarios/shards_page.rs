//! The web page and the API of a process of a set: they show all journals, whichever process serves
//! them.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::Command,
};

use vsiflow_tests::{Ran, Running, Vsiflow, binary, http, until};

use super::shards::{HOSTS, ShardsSite, documents};

/// Two processes with half of the journals each, a VSI in each journal, and the socket of one of
/// the processes.
fn halves() -> (ShardsSite, Running, Running, PathBuf) {
    let site = ShardsSite::new();
    let first = site.serves_all();
    site.apply(&documents(&HOSTS), &["--wait"]).exits(0);
    let second = site.process();
    site.until_held(4, 2);
    let socket = site.vsiflow.state().join("vsiflow.sock");
    (site, first, second, socket)
}

/// Waits until a page or resource contains all of these words.
#[track_caller]
fn shows(socket: &Path, path: &str, words: &[&str]) -> String {
    until(&format!("{path} shows {words:?}"), 30, || {
        let text = http::get(socket, path).is(200).text();
        words.iter().all(|word| text.contains(word)).then_some(text)
    })
}

/// The first lines of a stream of events.
fn follows(socket: &Path, path: &str) -> String {
    let mut follow = http::connect(socket);
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    follow.write_all(request.as_bytes()).unwrap();
    let lines = BufReader::new(follow).lines().map(Result::unwrap);
    let mut text = String::new();
    for line in lines.take_while(|line| !line.contains("run_closed")) {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

#[test]
fn the_page_of_one_process_shows_the_journals_of_all() {
    let (site, _first, _second, socket) = halves();
    let names = HOSTS.map(|host| format!("/vsi/default/vm-{host}"));
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let fleet = shows(&socket, "/", &names);
    assert!(fleet.contains("name=\"time\""), "{fleet}");
    for host in HOSTS {
        let vsi = shows(
            &socket,
            &format!("/vsi/default/vm-{host}"),
            &["<svg", "provision_vsi"],
        );
        assert!(vsi.contains("Running"), "{vsi}");
        let shown = shows(&socket, &format!("/host/sim:{host}"), &["Newest events"]);
        assert!(
            shown.contains(&format!("/vsi/default/vm-{host}")),
            "{shown}"
        );
    }
    for path in [
        "/pools",
        "/groups",
        "/images",
        "/hosts",
        "/approvals",
        "/audit",
    ] {
        shows(&socket, path, &["<h1>"]);
    }
    // An event's position names its journal; the oldest events come last.
    let events = shows(&socket, "/events", &[">3:", "rel=\"next\""]);
    let older = events.split("href=\"/events?before=").nth(1).unwrap();
    let older = older.split('"').next().unwrap();
    assert_eq!(older.split('.').count(), 4, "{older}");
    assert_ne!(
        shows(&socket, &format!("/events?before={older}"), &["<h1>Events"]),
        events
    );

    let time = site.server.sql(
        "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')",
    );
    for host in HOSTS {
        site.run(&["stop", &format!("vm-{host}"), "--wait"])
            .exits(0);
    }
    let stopped = "4</a>";
    until("all are shown as stopped", 30, || {
        let text = http::get(&socket, "/?phase=Stopped").is(200).text();
        text.contains(stopped).then_some(())
    });
    let past = shows(&socket, &format!("/?at={}", time.trim()), &["As of"]);
    assert!(!past.contains("Stopped"), "{past}");
    let _ = http::get(&socket, "/?at=4").is(409);
    // An event links to the moment after it.
    let event = events.split("href=\"?at=3:").nth(1).unwrap();
    let event = event.split('"').next().unwrap();
    let then = shows(&socket, &format!("/?at=3:{event}"), &["As of"]);
    assert!(!then.contains("Stopped"), "{then}");
}

#[test]
fn the_resources_of_one_process_are_those_of_all_and_commands_reach_each() {
    let (site, _first, _second, socket) = halves();
    let listed = |path: &str| http::get(&socket, path).is(200).json();
    let all = listed("/v1/virtualservers");
    assert_eq!(all["items"].as_array().unwrap().len(), 4, "{all}");
    assert_eq!(listed("/v1/hosts")["items"].as_array().unwrap().len(), 4);
    for host in HOSTS {
        let path = format!("/v1/namespaces/default/virtualservers/vm-{host}");
        assert_eq!(listed(&path)["status"]["phase"], "Running");
        let runs = listed(&format!("{path}/runs"));
        assert!(!runs["items"].as_array().unwrap().is_empty(), "{runs}");
        let history = http::get(&socket, &format!("{path}/history"))
            .is(200)
            .text();
        assert!(history.lines().count() > 5, "{history}");
    }
    let nobody = "/v1/namespaces/default/virtualservers/nobody";
    http::get(&socket, nobody).is(404).is_problem("VSI0703");
    // Requests that would affect all journals are refused; the problem says what to use instead.
    for (path, is_on) in [("/v1/pause", true), ("/v1/unpause", false)] {
        let ask = format!("POST {path} HTTP/1.1\r\n");
        drop(http::ask(&socket, &ask, b"").is(200));
        let pauses = site.run(&["get", "vsi"]).stderr;
        assert_eq!(pauses.contains("paused"), is_on, "{pauses}");
    }
    http::get(&socket, "/v1/events")
        .is(409)
        .is_problem("VSI0764");
    let future = "/v1/events?journal=3&from=1000000";
    http::get(&socket, future).is(400).is_problem("VSI0024");
    let none = "/v1/events?journal=9";
    http::get(&socket, none).is(409).is_problem("VSI0764");
    for journal in 0..4 {
        let text = follows(&socket, &format!("/v1/events?journal={journal}&from=0"));
        assert!(text.contains("run_started"), "{text}");
        let first = format!("\"journal\":{journal}");
        assert!(text.contains(&first), "{text}");
    }
    let began = site.run(&["get", "--at", "1:0", "-o", "name"]).exits(0);
    assert!(began.stdout.lines().count() < 4, "{}", began.stdout);
    // A single journal accepts the moments of a set only if they are its own.
    let member = site.server.url("fleet.1");
    let own = site.named(&member, &["get", "--at", "1:0"]);
    site.vsiflow.run(&own).exits(0);
    let others = site.named(&member, &["get", "--at", "2:0"]);
    site.vsiflow.run(&others).exits(4).says("VSI0764");
    site.run(&["get", "--at", "9:0"]).exits(4).says("VSI0764");
    site.run(&["get", "--at", "1:1000000"])
        .exits(3)
        .says("VSI0024");
    http::get(&socket, "/v1/virtualservers?at=4")
        .is(409)
        .is_problem("VSI0764");

    let server = format!("unix://{}", socket.display());
    let ask = |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.args(["--server", &server]).args(arguments);
        // Whatever journal the caller names, the command is for this set.
        let elsewhere = "postgres://nobody@127.0.0.1:1/none";
        command
            .args(["--journal", elsewhere])
            .env_remove("VSIFLOW_STATE");
        Running::start(&mut command).end(120)
    };
    ask(&[
        "stop", "vm-a", "vm-b", "vm-c", "vm-d", "--wait", "--reason", "night",
    ])
    .exits(0);
    ask(&["get"]).exits(0).says("vm-d");
    ask(&["describe", "vm-c"]).exits(0).says("night");
    let history = site.run(&["history", "vm-d", "-o", "json"]).exits(0);
    assert!(history.stdout.contains("unix:"), "{}", history.stdout);
    ask(&["backup", "b.tar"]).exits(2);
}

#[test]
fn a_change_by_the_api_is_made_by_the_process_that_has_the_journal() {
    let (site, _first, _second, socket) = halves();
    let post = |path: &str, body: &str| {
        let head = format!("POST {path} HTTP/1.1\r\ncontent-type: application/json\r\n");
        http::ask(&socket, &head, body.as_bytes())
    };
    let of = |name: &str| format!("/v1/namespaces/default/virtualservers/{name}");
    // A VSI of this process, and one of another process.
    for name in ["vm-a", "vm-d"] {
        let stop = post(
            &format!("{}/stop", of(name)),
            r#"{"reason": "maintenance", "waitSeconds": 30}"#,
        );
        assert_eq!(stop.is(200).json()["outcome"], "Reached");
        let stopped = http::get(&socket, &of(name)).is(200).json();
        assert_eq!(stopped["spec"]["powerState"], "Stopped", "{stopped}");
        let history = site.run(&["history", name]).exits(0);
        history.says("maintenance").says("unix:");
    }
    assert_eq!(
        site.vsis()
            .iter()
            .filter(|(_, phase, _)| phase == "Stopped")
            .count(),
        2
    );
    // Documents on hosts of both processes have one answer.
    for path in ["/v1/plan", "/v1/apply?dryRun=true", "/v1/apply"] {
        let answer = post(path, &documents(&HOSTS)).is(200).json();
        assert_eq!(answer["items"].as_array().unwrap().len(), 4, "{answer}");
    }
    // Errors are the ones of the process that has the VSI.
    let approve = post(&format!("{}/approve", of("vm-d")), "{}");
    approve.is(409).is_problem("VSI0704");
    post(&format!("{}/stop", of("nobody")), "{}")
        .is(404)
        .is_problem("VSI0703");
    post(&format!("{}/stop", of("vm-d")), r#"{"nothing": 1}"#)
        .is(422)
        .is_problem("VSI0022");

    let cordon = post("/v1/hosts/sim:d/cordon", r#"{"reason": "firmware"}"#);
    assert_eq!(cordon.is(200).json()["done"], "Recorded");
    site.run(&["describe", "host/sim:d"])
        .exits(0)
        .says("firmware");
    post("/v1/hosts/sim:d/drain", r#"{"move": true}"#)
        .is(409)
        .is_problem("VSI0764");
    post("/v1/hosts/sim:nothing/cordon", "{}")
        .is(404)
        .is_problem("VSI0703");
    let delete = format!("DELETE {}?waitSeconds=30 HTTP/1.1\r\n", of("vm-d"));
    let deleted = http::ask(&socket, &delete, b"").is(200).json();
    assert_eq!(deleted["outcome"], "Reached", "{deleted}");
    // A snapshot's name must be claimed first, which only the command line does.
    let take = post(&format!("{}/snapshots", of("vm-a")), "{}");
    take.is(409).is_problem("VSI0764");
}

#[test]
fn a_change_is_approved_on_the_page_in_whichever_journal_it_waits() {
    let (site, _first, _second, socket) = halves();
    let manual = documents(&HOSTS)
        .replace("spec:\n", "spec:\n  updatePolicy: Manual\n")
        .replace("memory: 512Mi", "memory: 768Mi");
    site.apply(&manual, &[]).exits(4);
    shows(
        &socket,
        "/approvals",
        &["Approve the change of vm-a", "Approve the change of vm-d"],
    );
    for host in HOSTS {
        let page = shows(
            &socket,
            &format!("/vsi/default/vm-{host}"),
            &["/approve?proposal="],
        );
        let id = page.split("/approve?proposal=").nth(1).unwrap();
        let id = id.split('"').next().unwrap();
        let approve = |proposal: &str| {
            let request =
                format!("POST /vsi/default/vm-{host}/approve?proposal={proposal} HTTP/1.1\r\n");
            http::ask(&socket, &request, b"")
        };
        let stale = approve("another").is(409);
        assert!(stale.text().contains("VSI0840"), "{}", stale.text());
        let _ = approve(id).is(303);
    }
    until("nothing waits any more", 60, || {
        let text = http::get(&socket, "/approvals").is(200).text();
        text.contains("No change waits").then_some(())
    });
    let history = site.run(&["history", "vm-b", "-o", "json"]).exits(0);
    assert!(
        history.stdout.contains("approved on the page"),
        "{}",
        history.stdout
    );
}

#[test]
fn a_page_is_told_of_what_happens_in_journals_of_other_processes() {
    let (site, _first, _second, socket) = halves();
    let mut follow = http::connect(&socket);
    follow
        .write_all(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut lines = BufReader::new(follow).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains(": live")));
    for host in HOSTS {
        site.run(&["stop", &format!("vm-{host}")]).exits(0);
        assert!(lines.any(|line| line.starts_with("id: ")), "{host}");
    }
}

#[test]
fn one_token_opens_every_process_of_a_set_until_it_is_revoked() {
    let site = ShardsSite::new();
    let own = Vsiflow::simulated();
    let mut daemon = own.serve(&["--listen", "127.0.0.1:0"]);
    assert!(daemon.reaches("answering for tokens at", 30));
    let pem = own.state().join("tls/daemon.pem");
    let pem = pem.to_str().unwrap();
    let listen = ["--listen", "127.0.0.1:0"];
    site.run(
        &[
            &["serve", "--shards", "auto", "--journals", "4"],
            &listen[..],
        ]
        .concat(),
    )
    .exits(2)
    .says("VSI0762")
    .says("--tls-cert");
    let listen = [
        &listen[..],
        &["--tls-cert", pem, "--tls-key", pem, "--lease", "120s"],
    ]
    .concat();
    let (mut first, mut second) = (site.process_that(&listen), site.process_that(&listen));
    let addresses = [&mut first, &mut second].map(|process| {
        assert!(
            process.reaches("answering for tokens at", 60),
            "{}",
            process.error_output()
        );
        let text = process.error_output();
        let line = text
            .lines()
            .find(|line| line.contains("answering for tokens"));
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    });
    site.until_held(4, 2);
    let create = ["token", "create", "--role", "operator", "--ttl", "1h"];
    site.run(&create).exits(2).says("VSI0764");
    let token = site
        .run(&[&create[..], &["--tls-cert", pem]].concat())
        .exits(0)
        .stdout;
    let token = token.trim();
    let ask = |address: &str, arguments: &[&str]| -> Ran {
        let mut command = Command::new(binary());
        command
            .args(["--server", &format!("https://{address}")])
            .args(arguments);
        command
            .env("VSIFLOW_TOKEN", token)
            .env_remove("VSIFLOW_STATE");
        Running::start(&mut command).end(120)
    };
    site.apply(&documents(&HOSTS), &["--wait"]).exits(0);
    for address in &addresses {
        until("the token is known there", 30, || {
            (ask(address, &["get"]).code == Some(0)).then_some(())
        });
        ask(address, &["restart", "vm-a", "vm-b", "--wait"]).exits(0);
        ask(address, &["delete", "vm-a", "--yes"])
            .exits(4)
            .says("VSI0029");
    }
    let name = token.split('_').nth(1).unwrap();
    site.run(&["token", "list"]).exits(0).says(name);
    site.run(&["token", "revoke", name]).exits(0);
    for address in &addresses {
        until("the token is refused there", 30, || {
            ask(address, &["get"])
                .stderr
                .contains("VSI0028")
                .then_some(())
        });
    }
}
