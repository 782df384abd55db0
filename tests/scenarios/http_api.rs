//! The daemon's HTTP API on its socket, as a program uses it.

use std::{
    collections::BTreeSet,
    io::{BufReader, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use vsiflow_tests::{Running, Vsi, Vsiflow, http};

/// A daemon with a VSI, and its socket.
fn serving() -> (Vsiflow, Running, PathBuf) {
    let vsiflow = Vsiflow::simulated();
    let daemon = vsiflow.serve(&[]);
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let socket = vsiflow.state().join("vsiflow.sock");
    (vsiflow, daemon, socket)
}

const WEB: &str = "/v1/namespaces/default/virtualservers/web";

#[test]
fn a_program_lists_what_the_command_lists() {
    let (vsiflow, _daemon, socket) = serving();
    let printed = vsiflow.run(&["get", "-o", "json"]).exits(0);
    let printed: Value = serde_json::from_str(&printed.stdout).unwrap();
    let listed = http::get(&socket, "/v1/virtualservers").is(200).json();
    assert_eq!(listed["items"], printed["items"]);
    assert_eq!(listed["items"][0]["metadata"]["name"], "web");
    let none = http::get(&socket, "/v1/virtualservers?namespace=other").is(200);
    assert_eq!(none.json()["items"], json!([]));
    let one = http::get(&socket, WEB).is(200).json();
    assert_eq!(one, listed["items"][0]);
    for kind in [
        "hosts",
        "images",
        "runs",
        "datadisks",
        "networks",
        "virtualserverquotas",
    ] {
        let of_kind = http::get(&socket, &format!("/v1/{kind}")).is(200).json();
        assert!(of_kind["items"].is_array(), "{kind}: {of_kind}");
    }
}

#[test]
fn quotas_and_types_are_listed_and_a_quota_is_deleted() {
    let (vsiflow, _daemon, socket) = serving();
    let quota = "apiVersion: vsiflow.io/v1\nkind: VirtualServerQuota\nmetadata: {name: few}\nspec: {hard: {vsis: 3}}\n";
    vsiflow.apply(quota, &[]).exits(0);
    let types = http::get(&socket, "/v1/virtualservertypes").is(200).json();
    assert_eq!(types["items"][0]["name"], "small");
    let quotas = http::get(&socket, "/v1/virtualserverquotas").is(200).json();
    assert_eq!(quotas["items"][0]["status"]["used"]["vsis"], "1");
    let few = "/v1/namespaces/default/virtualserverquotas/few";
    assert_eq!(http::get(&socket, few).is(200).json(), quotas["items"][0]);
    let delete = || http::ask(&socket, &format!("DELETE {few} HTTP/1.1\r\n"), &[]);
    assert_eq!(delete().is(200).json()["done"], "Recorded");
    http::get(&socket, few).is(404).is_problem("VSI0703");
    delete().is(404).is_problem("VSI0703");
    assert_eq!(
        http::get(&socket, "/v1/virtualserverquotas").json()["items"],
        json!([])
    );
}

#[test]
fn curl_reads_the_socket() {
    let (_vsiflow, _daemon, socket) = serving();
    let mut curl = std::process::Command::new("curl");
    curl.args(["--silent", "--fail", "--unix-socket"])
        .arg(&socket);
    let Ok(read) = curl.arg("http://localhost/v1/virtualservers").output() else {
        println!("skipped: there is no curl");
        return;
    };
    assert!(read.status.success(), "{read:?}");
    let listed: Value = serde_json::from_slice(&read.stdout).unwrap();
    assert_eq!(listed["items"][0]["metadata"]["name"], "web");
}

#[test]
fn what_is_wrong_is_a_problem_with_a_code() {
    let (_vsiflow, _daemon, socket) = serving();
    let get = |path: &str| http::get(&socket, path);
    let nobody = "/v1/namespaces/default/virtualservers/nobody";
    get(nobody).is(404).is_problem("VSI0703");
    get("/v1/nothing").is(404).is_problem("VSI0022");
    get("/v1/virtualservers?deleted=perhaps")
        .is(400)
        .is_problem("VSI0022");
    get("/v1/virtualservers?unknown=1")
        .is(400)
        .is_problem("VSI0022");
    get("/v1/apply").is(405).is_problem("VSI0022");
    let stop = format!("{WEB}/stop");
    let post = |body: Value| http::post(&socket, &stop, &body);
    post(json!({"unknown": 1})).is(422).is_problem("VSI0022");
    let long = json!({"reason": "a".repeat(100_000)});
    post(long).is(413).is_problem("VSI0022");
    let apply = |document: &str| {
        let head = "POST /v1/apply?host=sim: HTTP/1.1\r\n";
        http::ask(&socket, head, document.as_bytes())
    };
    let wrong = Vsi::named("web")
        .to_string()
        .replace("imageURL", "imageUrl");
    let answer = apply(&wrong).is(422);
    assert!(
        answer.text().contains("documents.yaml:"),
        "{}",
        answer.text()
    );
    assert!(answer.json()["code"].as_str().unwrap().starts_with("VSI0"));
}

#[test]
fn what_is_asked_of_a_vsi_is_recorded_with_who_and_why() {
    let (vsiflow, _daemon, socket) = serving();
    let act = |action: &str, body: Value| {
        http::post(&socket, &format!("{WEB}/{action}"), &body)
            .is(200)
            .json()
    };
    let wait = json!({"reason": "for the night", "waitSeconds": 30});
    let stopped = act("stop", wait.clone());
    assert_eq!(stopped, json!({"done": "Recorded", "outcome": "Reached"}));
    vsiflow.run(&["get"]).exits(0).says("Stopped");
    assert_eq!(act("start", wait)["outcome"], "Reached");
    assert_eq!(act("retry", json!({})), json!({"done": "NothingToDo"}));
    assert_eq!(act("cancel", json!({}))["done"], "NothingToDo");
    let history = vsiflow.history("web");
    let why: Vec<_> = history.iter().map(|event| event.text("reason")).collect();
    assert!(why.contains(&"for the night"), "{why:?}");
    let answer = http::get(&socket, &format!("{WEB}/history")).is(200).text();
    assert_eq!(answer.lines().count(), vsiflow.history("web").len());
    let log = http::get(&socket, &format!("{WEB}/logs")).is(200).text();
    assert!(log.contains("HPL10001I"), "{log}");
    let gone = format!("DELETE {WEB}?waitSeconds=30 HTTP/1.1\r\n");
    let gone = http::ask(&socket, &gone, b"").is(200).json();
    assert_eq!(gone["outcome"], "Reached");
    let listed = http::get(&socket, "/v1/virtualservers").is(200).json();
    assert_eq!(listed["items"], json!([]));
}

#[test]
fn documents_are_planned_and_applied() {
    let (vsiflow, _daemon, socket) = serving();
    let document = Vsi::named("more").to_string();
    let send = |path: &str| {
        let head = format!("POST {path} HTTP/1.1\r\n");
        http::ask(&socket, &head, document.as_bytes())
            .is(200)
            .json()
    };
    assert!(send("/v1/plan?host=sim:").to_string().contains("more"));
    let dry = send("/v1/apply?dryRun=true&host=sim:").to_string();
    assert!(dry.contains("created"), "{dry}");
    vsiflow.run(&["get", "more"]).exits(3);
    assert_eq!(send("/v1/apply?host=sim:")["metadata"]["name"], "more");
    vsiflow.run(&["get", "more"]).exits(0);
}

#[test]
fn the_global_pause_and_a_cordon_are_set_and_ended() {
    let (_vsiflow, _daemon, socket) = serving();
    let post = |path: &str| http::post(&socket, path, &json!({"reason": "move"})).is(200);
    let is_on = || http::get(&socket, "/v1/pause").is(200).json()["on"].clone();
    post("/v1/pause");
    assert_eq!(is_on(), true);
    post("/v1/unpause");
    assert_eq!(is_on(), false);
    let hosts = || http::get(&socket, "/v1/hosts").is(200).json()["items"][0].clone();
    let name = hosts()["name"].as_str().unwrap().replace('/', "%2F");
    post(&format!("/v1/hosts/{name}/cordon"));
    assert_eq!(hosts()["cordoned"], "move");
    post(&format!("/v1/hosts/{name}/uncordon"));
    assert_eq!(hosts()["cordoned"], Value::Null);
}

/// A reader of events.
struct SocketEventReader(BufReader<std::os::unix::net::UnixStream>);

impl SocketEventReader {
    fn begin(socket: &Path, query: &str, more: &str) -> Self {
        let mut stream = http::connect(socket);
        let head = format!("GET /v1/events{query} HTTP/1.1\r\nhost: a\r\n{more}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream);
        let answer_head = http::head(&mut lines);
        assert!(answer_head.contains("200 ok"), "{answer_head}");
        assert!(answer_head.contains("text/event-stream"), "{answer_head}");
        Self(lines)
    }

    /// Reads events until one of this kind arrives, and returns them.
    fn until(&mut self, kind: &str) -> Vec<Value> {
        let mut text = String::new();
        loop {
            let chunk = http::chunk(&mut self.0).expect("the events end");
            text += &String::from_utf8(chunk).unwrap();
            let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
            let events: Vec<Value> = data
                .map(|data| serde_json::from_str(data).unwrap())
                .collect();
            if events.iter().any(|event| event["type"] == kind) {
                return events;
            }
        }
    }
}

#[test]
fn events_come_from_any_offset_in_order_and_as_they_are_recorded() {
    let (vsiflow, _daemon, socket) = serving();
    let mut live = SocketEventReader::begin(&socket, "", "");
    let all = SocketEventReader::begin(&socket, "?from=0", "").until("run_closed");
    let offsets: Vec<_> = all
        .iter()
        .map(|event| event["offset"].as_u64().unwrap())
        .collect();
    assert_eq!(offsets, (0..).take(offsets.len()).collect::<Vec<_>>());
    // The stream has the same events as the history.
    let history = vsiflow.history("web");
    let known: BTreeSet<_> = history
        .iter()
        .map(|event| event.text("hash").to_owned())
        .collect();
    let own = all
        .iter()
        .filter(|event| known.contains(event["hash"].as_str().unwrap()));
    assert!(own.count() > 10);
    // A reader that was disconnected continues after its last event.
    let again =
        SocketEventReader::begin(&socket, "?from=0", "last-event-id: 6\r\n").until("run_closed");
    assert_eq!(again[0]["offset"], 7);
    let hashes = |of: &[Value]| {
        of.iter()
            .map(|event| event["hash"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(hashes(&again), hashes(&all)[7..7 + again.len()]);
    // A reader that asked only for new events gets no old ones.
    vsiflow.run(&["stop", "web", "--wait"]).exits(0);
    let news = live.until("run_closed");
    assert!(news[0]["offset"].as_u64() > all.last().unwrap()["offset"].as_u64());
}

#[test]
fn an_offset_of_the_future_is_refused() {
    let (_vsiflow, _daemon, socket) = serving();
    for (query, more) in [("?from=1000000", ""), ("", "last-event-id: 1000000\r\n")] {
        let head = format!("GET /v1/events{query} HTTP/1.1\r\n{more}");
        http::ask(&socket, &head, b"").is(400).is_problem("VSI0024");
    }
    let head = "GET /v1/events HTTP/1.1\r\nlast-event-id: -1\r\n";
    http::ask(&socket, head, b"").is(400).is_problem("VSI0022");
}

/// Reads event IDs until one is at least `last`, and returns them.
fn ids_until(lines: &mut BufReader<std::os::unix::net::UnixStream>, last: usize) -> Vec<usize> {
    let mut text = String::new();
    loop {
        text += &String::from_utf8(http::chunk(lines).expect("it ends")).unwrap();
        assert!(!text.contains('{'), "{text}");
        let ids = text.lines().filter_map(|line| line.strip_prefix("id: "));
        let ids: Vec<usize> = ids.map(|id| id.parse().unwrap()).collect();
        if ids.last().is_some_and(|id| *id >= last) {
            return ids;
        }
    }
}

#[test]
fn a_page_is_told_how_far_the_journal_goes_and_not_of_each_event() {
    let (vsiflow, _daemon, socket) = serving();
    let mut stream = http::connect(&socket);
    stream
        .write_all(b"GET /live?from=0 HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    let mut lines = BufReader::new(stream);
    assert!(http::head(&mut lines).contains("text/event-stream"));
    let first = ids_until(&mut lines, 1);
    let (begun, before) = (Instant::now(), vsiflow.history("web").len());
    vsiflow.run(&["stop", "web", "--wait"]).exits(0);
    vsiflow.run(&["start", "web", "--wait"]).exits(0);
    let recorded = vsiflow.history("web").len() - before;
    let answer = ids_until(&mut lines, first[0] + recorded);
    assert!(answer.is_sorted(), "{answer:?}");
    let most = begun.elapsed().as_millis() / 50 + 2;
    assert!(
        answer.len() as u128 <= most,
        "{answer:?} of {recorded}, at most {most}"
    );
}

#[test]
fn a_reader_that_reads_nothing_holds_up_nobody() {
    let (vsiflow, _daemon, socket) = serving();
    let _silent: Vec<_> = (0..50)
        .map(|_| SocketEventReader::begin(&socket, "?from=0", ""))
        .collect();
    vsiflow.run(&["stop", "web", "--wait"]).exits(0);
    vsiflow.run(&["start", "web", "--wait"]).exits(0);
    vsiflow.run(&["get"]).exits(0).says("Running");
}

#[test]
fn a_body_that_is_too_long_is_refused_before_it_is_read() {
    let (_vsiflow, _daemon, socket) = serving();
    let head = "POST /v1/commands HTTP/1.1\r\ncontent-length: 1073741824\r\n";
    http::ask(&socket, head, b"{").is(413).is_problem("VSI0022");
    let chunked_head = "POST /v1/commands HTTP/1.1\r\ntransfer-encoding: chunked\r\n\
                x-content-length: none\r\n";
    http::ask(&socket, chunked_head, b"0\r\n\r\n")
        .is(411)
        .is_problem("VSI0022");
    let long_head = "POST /v1/apply HTTP/1.1\r\ncontent-length: 1073741824\r\n";
    http::ask(&socket, long_head, b"{")
        .is(413)
        .is_problem("VSI0022");
}

#[test]
fn ten_thousand_connections_that_ask_nothing_keep_nobody_out() {
    let (vsiflow, _daemon, socket) = serving();
    let mut held = Vec::new();
    for _ in 0..10_000 {
        match std::os::unix::net::UnixStream::connect(&socket) {
            Ok(stream) => held.push(stream),
            Err(error) => {
                println!("this machine permits {} of them: {error}", held.len());
                break;
            }
        }
    }
    assert!(held.len() > 1_000);
    let begun = Instant::now();
    vsiflow.run(&["get"]).exits(0).says("web");
    assert!(begun.elapsed() < Duration::from_secs(30));
    drop(held);
    vsiflow.run(&["stop", "web", "--wait"]).exits(0);
}

#[test]
fn who_may_look_reads_and_changes_nothing() {
    let vsiflow = Vsiflow::simulated();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("look.sock");
    let _daemon = vsiflow.serve(&["--read-only", socket.to_str().unwrap()]);
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    for words in [
        &["stop", "web"][..],
        &["snapshot", "create", "web"],
        &["start", "web"],
    ] {
        vsiflow.run(&[words, &["--wait"]].concat()).exits(0);
    }
    let recorded = vsiflow.history("web").len();
    let document = http::get(&socket, "/v1/openapi.json").is(200).json();
    let paths = document["paths"].as_object().unwrap();
    let mut refused = 0;
    for (path, methods) in paths {
        let path = path
            .replace("{namespace}", "default")
            .replace("{name}", "web");
        let path = path.replace("{host}", "sim:");
        for method in methods.as_object().unwrap().keys() {
            let is_command = path == "/v1/commands";
            let looks = method == "get" && path != "/v1/networks" && path != "/v1/events";
            if is_command || path == "/v1/events" || READING_REQUESTS.contains(&path.as_str()) {
                continue;
            }
            let head = format!("{} {path} HTTP/1.1\r\n", method.to_uppercase());
            let answer = http::ask(&socket, &head, b"");
            match looks {
                true if ["datadisks/", "pools/", "groups/", "snapshots/", "quotas/"]
                    .iter()
                    .any(|kind| path.contains(kind)) =>
                {
                    answer.is(404).is_problem("VSI0703");
                }
                true => drop(answer.is(200)),
                false => {
                    answer.is(403).is_problem("VSI0020");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 15);
    let of_web = json!({"namespace": "default", "name": "web"});
    let described = json!({"kind": "vsi", "namespace": "default", "name": "web"});
    let requests = [json!({"kind": "vsi"}), described.clone(), of_web.clone()];
    let requests = requests
        .into_iter()
        .chain(vec![of_web; 3])
        .chain([json!({}), described])
        .chain(vec![json!({}); 3])
        .chain([json!({"objects": []}), json!({"name": "web-1"})]);
    for (path, request) in READING_REQUESTS.into_iter().zip(requests) {
        drop(http::post(&socket, path, &request).is(200));
    }
    assert_eq!(vsiflow.history("web").len(), recorded);
}

/// The requests of commands that read. Viewers may send them.
const READING_REQUESTS: [&str; 13] = [
    "/v1/table",
    "/v1/describe",
    "/v1/history",
    "/v1/graph",
    "/v1/console-log",
    "/v1/boot-evidence",
    "/v1/overview",
    "/v1/diff",
    "/v1/audit/verify",
    "/v1/audit/head",
    "/v1/replay",
    "/v1/outcomes",
    "/v1/plan-restoration",
];

#[test]
fn a_server_that_is_named_does_the_commands() {
    let (vsiflow, _daemon, socket) = serving();
    let server = format!("unix://{}", socket.display());
    let other = Vsiflow::of_documents();
    let run = |words: &[&str]| other.run(&[words, &["--server", &server]].concat());
    run(&["get"]).exits(0).says("web");
    let document = other.write("more.yaml", &Vsi::named("more").to_string());
    let document = document.to_str().unwrap();
    let created = run(&["apply", "-f", document, "--wait", "--host", "sim:"]);
    created.exits(0).says("vsi/more created");
    run(&["stop", "nobody"]).exits(3).says("VSI0703");
    run(&["compact"]).exits(2);
    vsiflow.run(&["get", "more"]).exits(0);
    let nowhere = ["get", "--server", "unix:///nowhere/vsiflow.sock"];
    other.run(&nowhere).exits(1).says("VSI0025");
    other.run(&["get", "--server", "tcp://a"]).exits(2);
}

#[test]
fn the_description_is_printed_as_it_is_answered() {
    let (vsiflow, _daemon, socket) = serving();
    let printed = vsiflow.run(&["openapi"]).exits(0);
    let printed: Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!(
        http::get(&socket, "/v1/openapi.json").is(200).json(),
        printed
    );
    assert!(printed["openapi"].as_str().unwrap().starts_with("3.1"));
}
