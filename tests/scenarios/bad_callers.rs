//! Bad clients of a daemon, on the socket and over TLS: requests that are too slow, too large, incomplete, or
//! for objects that do not exist. They are limited and get an error, and other clients are not disturbed.

use std::{
    io::{BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use vsiflow_tests::{Running, Vsi, Vsiflow, http, until};

/// A daemon with a VSI, which serves its socket and TLS.
struct ServedDaemon {
    vsiflow: Vsiflow,
    daemon: Running,
    address: String,
    socket: PathBuf,
}

impl ServedDaemon {
    fn begin() -> Self {
        let vsiflow = Vsiflow::simulated();
        let mut daemon = vsiflow.serve(&["--listen", "127.0.0.1:0"]);
        assert!(daemon.reaches("answering for tokens at", 30));
        let answer = daemon.error_output();
        let line = answer
            .lines()
            .find(|line| line.contains("answering for tokens"));
        let address = line.unwrap().rsplit(' ').next().unwrap().to_owned();
        vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
        let socket = vsiflow.state().join("vsiflow.sock");
        Self {
            vsiflow,
            daemon,
            address,
            socket,
        }
    }

    fn token(&self) -> String {
        let create = ["token", "create", "--role", "admin", "--ttl", "1h"];
        self.vsiflow.run(&create).exits(0).stdout.trim().to_owned()
    }

    /// Sends a request over TLS, and returns the status and the body.
    fn curl(&self, token: &str, path: &str, more: &[&str]) -> (u16, String) {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--insecure", "--max-time", "60"]);
        curl.args(["--write-out", "\n%{http_code}"]);
        curl.args(["--header", &format!("authorization: Bearer {token}")]);
        curl.args(more)
            .arg(format!("https://{}{path}", self.address));
        let output = curl.stdin(Stdio::null()).output().unwrap();
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = output.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    /// Asserts that well-behaved clients are served, and that the engine works.
    fn still_works(&self) {
        let begun = Instant::now();
        self.vsiflow.run(&["stop", "web", "--wait"]).exits(0);
        self.vsiflow.run(&["start", "web", "--wait"]).exits(0);
        self.vsiflow.run(&["get"]).exits(0).says("Running");
        assert!(begun.elapsed() < Duration::from_secs(60));
    }

    /// The number of files that the daemon has open.
    fn files(&self) -> usize {
        let open = format!("/proc/{}/fd", self.daemon.pid());
        std::fs::read_dir(open).unwrap().count()
    }

    /// The peak memory of the daemon, in MiB.
    fn peak(&self) -> u64 {
        let status = format!("/proc/{}/status", self.daemon.pid());
        let status = std::fs::read_to_string(status).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() / 1024
    }
}

fn is_problem(body: &str, code: &str) {
    let answer: Value =
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
    assert_eq!(answer["code"], code, "{answer}");
    assert!(!answer["remedy"].as_str().unwrap().is_empty(), "{answer}");
}

/// The offsets of the events in an answer that follows the journal, up to `last`.
fn offsets(stream: UnixStream, last: u64) -> Vec<u64> {
    let mut lines = BufReader::new(stream);
    http::head(&mut lines);
    let (mut rest, mut found) = (String::new(), Vec::new());
    while found.last() != Some(&last) {
        let chunk = http::chunk(&mut lines).expect("the events end");
        rest.push_str(&String::from_utf8(chunk).unwrap());
        let end = rest.rfind('\n').map_or(0, |end| end + 1);
        let whole: String = rest.drain(..end).collect();
        let ids = whole.lines().filter_map(|line| line.strip_prefix("id: "));
        found.extend(ids.map(|id| id.parse::<u64>().unwrap()));
    }
    found
}

fn follow(socket: &Path) -> UnixStream {
    let mut stream = http::connect(socket);
    stream
        .write_all(b"GET /v1/events?from=0 HTTP/1.1\r\nhost: a\r\n\r\n")
        .unwrap();
    stream
}

#[test]
fn readers_that_fell_far_behind_get_every_event_once_and_in_order() {
    let served = ServedDaemon::begin();
    let slow: Vec<_> = (0..20).map(|_| follow(&served.socket)).collect();
    // More events than a connection's buffer and the shared pages can hold together.
    let reason = "r".repeat(400);
    for round in 0..300 {
        let path = ["/v1/pause", "/v1/unpause"][round % 2];
        let _ = http::post(&served.socket, path, &json!({"reason": reason})).is(200);
    }
    let last = http::get(&served.socket, "/").is(200).text();
    let last = last.split("data-end=\"").nth(1).unwrap();
    let last: u64 = last.split('"').next().unwrap().parse().unwrap();
    let last = last - 1;
    assert!(last > 300);
    for stream in slow {
        let found = offsets(stream, last);
        assert_eq!(found, (0..=last).collect::<Vec<_>>());
    }
    served.still_works();
}

#[test]
fn readers_over_tls_that_read_nothing_hold_up_nobody() {
    let served = ServedDaemon::begin();
    let token = served.token();
    // The test never reads the pipe.
    let mut silent: Vec<_> = (0..20)
        .map(|_| {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--insecure", "--no-buffer"]);
            curl.args(["--header", &format!("authorization: Bearer {token}")]);
            curl.arg(format!("https://{}/v1/events?from=0", served.address));
            curl.stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    served.still_works();
    let (status, body) = served.curl(&token, "/v1/virtualservers", &[]);
    assert_eq!(status, 200, "{body}");
    for one in &mut silent {
        one.kill().unwrap();
        one.wait().unwrap();
    }
    // The daemon closes their connections.
    let before = served.files();
    until("the end of their connections", 60, || {
        (served.files() <= before).then_some(())
    });
}

#[test]
fn ten_thousand_connections_over_tcp_that_never_say_who_they_are_keep_nobody_out() {
    let served = ServedDaemon::begin();
    let token = served.token();
    let before = served.files();
    let mut held = Vec::new();
    for number in 0..10_000 {
        match TcpStream::connect(&served.address) {
            Ok(mut stream) => {
                // Some clients begin a TLS handshake and stop in the middle.
                if number % 2 == 0 {
                    let _ = stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00]);
                }
                held.push(stream);
            }
            Err(error) => {
                println!("this machine permits {} of them: {error}", held.len());
                break;
            }
        }
    }
    assert!(held.len() > 1_000);
    let begun = Instant::now();
    until("an answer beside them", 60, || {
        let (status, _) = served.curl(&token, "/v1/virtualservers", &[]);
        (status == 200).then_some(())
    });
    assert!(begun.elapsed() < Duration::from_secs(60));
    let files = served.files();
    assert!(files < before + 200, "{before} files, then {files}");
    served.still_works();
    drop(held);
    until("the end of their connections", 60, || {
        (served.files() <= before + 10).then_some(())
    });
}

#[test]
fn connections_that_stop_in_the_middle_of_a_head_are_closed() {
    let served = ServedDaemon::begin();
    let mut half = http::connect(&served.socket);
    half.write_all(b"GET /v1/virtualservers HTTP/1.1\r\nhost:")
        .unwrap();
    let mut hello = TcpStream::connect(&served.address).unwrap();
    hello.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00]).unwrap();
    hello
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let ends = |reader: &mut dyn std::io::Read| {
        let mut all = Vec::new();
        // The daemon may also reset the connection.
        let _ = reader.read_to_end(&mut all);
        all
    };
    let begun = Instant::now();
    let output = ends(&mut half);
    assert!(!String::from_utf8_lossy(&output).contains("200 OK"));
    let hello_said = ends(&mut hello);
    assert!(hello_said.len() < 64, "{hello_said:?}");
    assert!(begun.elapsed() < Duration::from_secs(45));
    served.still_works();
}

#[test]
fn bodies_of_a_gigabyte_are_refused_early_and_take_no_memory() {
    let served = ServedDaemon::begin();
    let token = served.token();
    let before = served.peak();
    let large = served.vsiflow.folder().join("large");
    std::fs::File::create(&large)
        .unwrap()
        .set_len(1 << 30)
        .unwrap();
    let large = large.to_str().unwrap();
    let begun = Instant::now();
    for path in [
        "/v1/apply",
        "/v1/plan",
        "/v1/apply-documents",
        "/v1/commands",
        "/v1/pause",
    ] {
        let send = ["--request", "POST", "--upload-file", large];
        let (status, body) = served.curl(&token, path, &send);
        assert_eq!(status, 413, "{path}: {body}");
        is_problem(&body, "VSI0022");
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
    // A request without a length, on the socket: it is refused when it gets too long.
    let mut stream = http::connect(&served.socket);
    let head = "POST /v1/pause HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\
                content-type: application/json\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let piece = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
    let mut sent = 0_usize;
    while sent < 1 << 30 && stream.write_all(&piece).is_ok() {
        sent += 0x10000;
    }
    assert!(sent < 16 << 20, "{sent} bytes were taken");
    let mut output = Vec::new();
    let _ = stream.read_to_end(&mut output);
    let grown = served.peak().saturating_sub(before);
    assert!(grown < 128, "{grown} MiB more");
    served.still_works();
}

#[test]
fn a_token_that_is_cut_anywhere_is_refused_and_told() {
    let served = ServedDaemon::begin();
    let token = served.token();
    let whole = served.curl(&token, "/v1/virtualservers", &[]);
    assert_eq!(whole.0, 200, "{}", whole.1);
    for length in (0..token.len()).step_by(7).chain([token.len() - 1]) {
        let (status, body) = served.curl(&token[..length], "/v1/virtualservers", &[]);
        assert_eq!(status, 401, "{length}: {body}");
        is_problem(&body, "VSI0028");
        assert!(length < 30 || !body.contains(&token[20..length]), "{body}");
    }
    let other = ServedDaemon::begin();
    for strange in [other.token(), "x".repeat(8_000), format!("{token}{token}")] {
        let (status, body) = served.curl(&strange, "/v1/virtualservers", &[]);
        assert_eq!(status, 401, "{body}");
        is_problem(&body, "VSI0028");
    }
}

#[test]
fn moments_and_offsets_of_the_future_are_refused_everywhere() {
    let served = ServedDaemon::begin();
    let token = served.token();
    for offset in ["1000000", "18446744073709551615"] {
        let path = format!("/v1/events?from={offset}");
        http::get(&served.socket, &path)
            .is(400)
            .is_problem("VSI0024");
        let (status, body) = served.curl(&token, &path, &[]);
        assert_eq!(status, 400, "{body}");
        is_problem(&body, "VSI0024");
        for page in ["/", "/hosts", "/images", "/events", "/vsi/default/web"] {
            let (past_status, past_body) = served.curl(&token, &format!("{page}?at={offset}"), &[]);
            assert!((400..500).contains(&past_status), "{page}: {past_status}");
            assert!(past_body.contains("VSI0024"), "{page}: {past_body}");
        }
        served
            .vsiflow
            .run(&["get", "--at", offset])
            .exits(3)
            .says("VSI0024");
    }
    let head = "GET /v1/events HTTP/1.1\r\nlast-event-id: 18446744073709551615\r\n";
    http::ask(&served.socket, head, b"")
        .is(400)
        .is_problem("VSI0024");
    served.still_works();
}
