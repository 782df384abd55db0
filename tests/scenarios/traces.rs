//! Runs as OpenTelemetry traces, sent to a collector in this test.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use prost::Message as _;
use vsiflow_tests::{Running, Vsi, Vsiflow, until};

use super::shards::{ShardsSite, documents};

/// A status that makes the collector never answer.
const SILENT: u16 = 0;

/// A collector that answers with a configurable status, and stores the spans that it accepted.
struct TestCollector {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    spans: Arc<Mutex<Vec<Span>>>,
    /// The head of the newest request.
    head: Arc<Mutex<String>>,
}

impl TestCollector {
    fn answering(status: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let collector = Self {
            address: listener.local_addr().unwrap(),
            status: Arc::new(AtomicU16::new(status)),
            spans: Arc::default(),
            head: Arc::default(),
        };
        let (answered, spans) = (collector.status.clone(), collector.spans.clone());
        let heads = collector.head.clone();
        // The thread ends with the process.
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                match answered.load(Ordering::SeqCst) {
                    SILENT => silent.push(stream),
                    200 => {
                        let (head, request) = read_request(&mut stream);
                        *heads.lock().unwrap() = head;
                        let request =
                            ExportTraceServiceRequest::decode(request.as_slice()).unwrap();
                        let all = request.resource_spans.into_iter();
                        let all = all.flat_map(|one| one.scope_spans);
                        spans.lock().unwrap().extend(all.flat_map(|one| one.spans));
                        answer(&mut stream, "200 OK");
                    }
                    code => {
                        read_request(&mut stream);
                        answer(&mut stream, &format!("{code} No"));
                    }
                }
            }
        });
        collector
    }

    fn now(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    /// The workflows and objects of the runs that it received.
    fn runs(&self) -> BTreeSet<(String, String)> {
        let spans = self.spans();
        let roots = spans.iter().filter(|span| span.parent_span_id.is_empty());
        roots
            .map(|root| (root.name.clone(), attribute(root, "vsiflow.object")))
            .collect()
    }
}

/// The head in lower case, and the body.
fn read_request(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut requests = Vec::new();
    loop {
        let mut piece = [0; 65_536];
        let read = stream.read(&mut piece).unwrap();
        requests.extend_from_slice(&piece[..read]);
        let Some(head) = requests.windows(4).position(|part| part == b"\r\n\r\n") else {
            continue;
        };
        let text = String::from_utf8_lossy(&requests[..head]).to_lowercase();
        let length = text.split("content-length: ").nth(1).unwrap();
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        if requests.len() >= head + 4 + length {
            assert!(text.starts_with("post /v1/traces "), "{text}");
            return (text, requests.split_off(head + 4));
        }
    }
}

fn answer(stream: &mut TcpStream, status: &str) {
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).unwrap();
}

fn attribute(span: &Span, key: &str) -> String {
    let found = span
        .attributes
        .iter()
        .find(|attribute| attribute.key == key);
    match found.and_then(|found| found.value.clone()?.value) {
        Some(Value::StringValue(text)) => text,
        other => panic!("{key}: {other:?} in {span:?}"),
    }
}

#[test]
fn the_past_is_exported_and_again_with_the_same_ids() {
    let (vsiflow, collector) = (Vsiflow::simulated(), TestCollector::answering(200));
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let export = |more: &[&str]| {
        let url = collector.url();
        let own = ["traces", "export", "--endpoint", &url];
        vsiflow.run(&[&own[..], more].concat()).exits(0);
        std::mem::take(&mut *collector.spans.lock().unwrap())
    };
    let spans = export(&[]);
    let made = |span: &&Span| span.parent_span_id.is_empty() && span.name == "provision_vsi";
    let run = spans.iter().find(made).unwrap();
    assert_eq!(attribute(run, "vsiflow.object"), "vsi/web");
    let steps: Vec<_> = spans
        .iter()
        .filter(|span| span.parent_span_id == run.span_id)
        .collect();
    let named = |name: &str| steps.iter().find(|step| step.name == name).unwrap();
    let define = named("define_domain");
    assert_eq!(define.trace_id, run.trace_id);
    assert!(
        define.start_time_unix_nano >= run.start_time_unix_nano,
        "{define:?} {run:?}"
    );
    assert!(
        define.end_time_unix_nano <= run.end_time_unix_nano,
        "{define:?} {run:?}"
    );
    assert!(define.start_time_unix_nano <= named("start_domain").start_time_unix_nano);
    let ids: BTreeSet<_> = spans.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), spans.len(), "each span has its own ID");

    assert_eq!(export(&[]), spans);
    assert_eq!(export(&["--since", "1h"]), spans);
    // An export from the middle has the same spans for all runs that ended since.
    let middle = spans.len() / 2;
    let found = spans[middle]
        .attributes
        .iter()
        .find(|one| one.key == "vsiflow.offset");
    let Some(Value::IntValue(offset)) = found.and_then(|one| one.value.clone()?.value) else {
        panic!("{:?}", spans[middle])
    };
    assert_eq!(
        export(&["--from-offset", &offset.to_string()]),
        spans[middle..]
    );
}

#[test]
fn headers_come_from_a_file_or_the_environment_and_are_shown_to_nobody() {
    let (vsiflow, collector) = (Vsiflow::simulated(), TestCollector::answering(200));
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let url = collector.url();
    let export = |variables: &[(&str, &str)]| {
        let mut command = vsiflow.command(&["traces", "export", "--endpoint", &url]);
        command.envs(variables.iter().copied());
        Running::start(&mut command).end(60)
    };
    let sent = || std::mem::take(&mut *collector.head.lock().unwrap());
    export(&[]).exits(0);
    assert!(!sent().contains("api-key"));
    let own = ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hush%2Chush,x-more=1");
    export(&[own]).exits(0);
    let head = sent();
    assert!(head.contains("\r\napi-key: hush,hush\r\n"), "{head}");
    assert!(head.contains("\r\nx-more: 1\r\n"), "{head}");
    let of_traces = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key=traces");
    export(&[own, of_traces]).exits(0);
    assert!(sent().contains("\r\napi-key: traces\r\n"));
    let file = vsiflow.write("headers", "authorization=Bearer of-a-file\n");
    let file = ("VSIFLOW_OTLP_HEADERS_FILE", file.to_str().unwrap());
    export(&[own, file]).exits(0);
    let later_head = sent();
    assert!(
        later_head.contains("\r\nauthorization: bearer of-a-file\r\n"),
        "{later_head}"
    );
    let wrong = ("OTEL_EXPORTER_OTLP_HEADERS", "hush hush=1");
    let refused = export(&[wrong]).exits(2).says("VSI0782").says(wrong.0);
    let _ = refused.keeps_quiet_about("hush");
    for variable in [
        "VSIFLOW_OTLP_HEADERS_FILE",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
    ] {
        export(&[(variable, "/nowhere")])
            .exits(2)
            .says("VSI0782")
            .says(variable);
    }
}

#[test]
fn a_collector_behind_tls_is_believed_by_its_certificate_alone() {
    let (vsiflow, other) = (Vsiflow::simulated(), Vsiflow::simulated());
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    // The server is not a collector; it only shows its certificate.
    let mut openssl = std::process::Command::new("openssl");
    openssl.current_dir(other.folder()).args(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=collector \
         -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
         -keyout key.pem -out certificate.pem"
            .split_whitespace(),
    );
    let made = openssl.output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let [certificate, key] = ["certificate.pem", "key.pem"].map(|name| other.folder().join(name));
    let mut daemon = other.serve(&[
        "--listen",
        "127.0.0.1:0",
        "--tls-cert",
        certificate.to_str().unwrap(),
        "--tls-key",
        key.to_str().unwrap(),
    ]);
    assert!(daemon.reaches("answering for tokens at", 30));
    let log = daemon.error_output();
    let line = log
        .lines()
        .find(|line| line.contains("answering for tokens"));
    let url = format!("https://{}", line.unwrap().rsplit(' ').next().unwrap());
    let export = |certificate_file: Option<&std::path::Path>| {
        let mut command = vsiflow.command(&["traces", "export", "--endpoint", &url]);
        if let Some(file) = certificate_file {
            command.env("OTEL_EXPORTER_OTLP_CERTIFICATE", file);
        }
        Running::start(&mut command)
            .end(60)
            .exits(1)
            .says("VSI0781")
    };
    let _ = export(None)
        .says("certificate")
        .keeps_quiet_about("401 Unauthorized");
    let _ = export(Some(&certificate)).says("401 Unauthorized");
}

#[test]
fn a_collector_that_does_not_take_them_is_told_of() {
    let (vsiflow, collector) = (Vsiflow::simulated(), TestCollector::answering(400));
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let url = collector.url();
    let export = ["traces", "export", "--endpoint", &url];
    vsiflow.run(&export).exits(1).says("VSI0781").says("400");
    collector.now(503);
    vsiflow.run(&export).exits(1).says("VSI0781").says("503");
    vsiflow
        .run(&[
            "traces",
            "export",
            "--endpoint",
            "http://me:secret@localhost",
        ])
        .exits(2);
    assert_eq!(collector.spans(), []);
}

#[test]
fn each_process_of_a_set_sends_what_is_recorded_in_its_journals() {
    let (site, collector) = (ShardsSite::new(), TestCollector::answering(200));
    let url = collector.url();
    let serve = ["--lease", "120s", "--otlp-endpoint", url.as_str()];
    let mut first = site.process_that(&serve);
    assert!(
        first.reaches("serving journal 3", 120),
        "{}",
        first.error_output()
    );
    let _second = site.process_that(&serve);
    site.until_held(4, 2);
    site.apply(&documents(&["a", "b"]), &["--wait"]).exits(0);
    let has = |name: &str| {
        let run = ("provision_vsi".to_owned(), format!("vsi/{name}"));
        collector.runs().contains(&run)
    };
    until("the runs of two journals", 90, || {
        (has("vm-a") && has("vm-b")).then_some(())
    });
    // A process that takes journals over sends all spans that were not sent before.
    collector.now(SILENT);
    site.apply(&documents(&["c", "d"]), &["--wait"]).exits(0);
    first.terminate();
    site.until_held(4, 1);
    collector.now(200);
    until("the runs of all journals", 90, || {
        ["vm-a", "vm-b", "vm-c", "vm-d"]
            .into_iter()
            .all(has)
            .then_some(())
    });

    let other = TestCollector::answering(200);
    let export = ["traces", "export", "--endpoint", &other.url()];
    site.run(&export).exits(0).says("journal 3:");
    assert_eq!(other.runs(), collector.runs());
    site.run(&[&export[..], &["--from-offset", "3"]].concat())
        .exits(2)
        .says("VSI0764");
}

#[test]
fn a_daemon_loses_nothing_while_a_collector_is_away_or_silent_or_itself_is_killed() {
    let (vsiflow, collector) = (Vsiflow::simulated(), TestCollector::answering(503));
    let url = collector.url();
    let serve = ["--otlp-endpoint", url.as_str()];
    let daemon = vsiflow.serve(&serve);
    vsiflow.apply(Vsi::named("away"), &["--wait"]).exits(0);
    // A collector that does not answer delays nothing either.
    collector.now(SILENT);
    vsiflow.apply(Vsi::named("silent"), &["--wait"]).exits(0);
    daemon.kill();
    collector.now(200);
    let restarted = vsiflow.serve(&serve);
    vsiflow.apply(Vsi::named("there"), &["--wait"]).exits(0);
    until("all runs", 90, || {
        let runs = collector.runs();
        let has = |name: &str| runs.contains(&("provision_vsi".to_owned(), format!("vsi/{name}")));
        ["away", "silent", "there"]
            .into_iter()
            .all(has)
            .then_some(())
    });
    restarted.terminate();
    restarted.end(30).exits(0);
}
