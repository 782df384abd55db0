//! A daemon's metrics for Prometheus, and its health and readiness endpoints.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
};

use vsiflow_tests::{Vsi, Vsiflow, until};

/// A port on which nothing listens.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

/// The head and the body of the response; none without an answer.
fn ask(address: SocketAddr, path: &str, headers: &str) -> Option<(String, String)> {
    let mut stream = TcpStream::connect(address).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.to_lowercase(), body.to_owned()))
}

/// The status and the body of a page; none without an answer.
fn page(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let (head, body) = ask(address, path, "")?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    Some((code, body))
}

/// The value of a sample on the page; zero if there is none.
fn sample(text: &str, name: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(name));
    line.map_or(0.0, |line| {
        line.rsplit(' ').next().unwrap().parse().unwrap()
    })
}

#[test]
fn a_daemon_tells_what_it_did_and_that_it_is_ready() {
    let (vsiflow, address) = (Vsiflow::simulated(), free());
    let serving = vsiflow.start(&["serve", "--metrics-address", &address.to_string()]);
    until("it is ready", 60, || {
        page(address, "/readyz").filter(|(code, _)| *code == 200)
    });
    assert_eq!(page(address, "/healthz").unwrap(), (200, "ok\n".to_owned()));
    assert_eq!(page(address, "/nothing").unwrap().0, 404);
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let text = until("what it did", 60, || {
        let text = page(address, "/metrics").unwrap().1;
        let runs = r#"vsiflow_runs_total{workflow="provision_vsi",result="succeeded"}"#;
        let vsis = r#"vsiflow_vsis{phase="Running"}"#;
        let is_counted = sample(&text, runs) == 1.0 && sample(&text, vsis) == 1.0;
        // All of a round is seen at once: hosts are not missing while VSIs are there.
        assert!(
            sample(&text, vsis) == 0.0 || text.contains(r#"vsiflow_host_reachable{host="sim"} 1"#),
            "{text}"
        );
        is_counted.then_some(text)
    });
    let is = |name: &str, value: f64| {
        assert!(
            (sample(&text, name) - value).abs() < f64::EPSILON,
            "{name}\n{text}"
        );
    };
    is(
        r#"vsiflow_steps_total{step="define_domain",outcome="created"}"#,
        1.0,
    );
    is(r#"vsiflow_step_seconds_count{step="define_domain"}"#, 1.0);
    is(r#"vsiflow_host_reachable{host="sim"}"#, 1.0);
    assert!(
        sample(&text, "vsiflow_journal_append_seconds_count") > 10.0,
        "{text}"
    );
    assert!(sample(&text, "vsiflow_upload_bytes_total") >= 0.0, "{text}");
    let declared = "\n# TYPE vsiflow_runs_total counter\n";
    assert!(text.contains(declared) && !text.contains("# EOF"), "{text}");
    let (head, _) = ask(address, "/metrics", "Accept: text/plain\r\n").unwrap();
    let plain = "content-type: text/plain; version=0.0.4; charset=utf-8";
    assert!(head.contains(plain), "{head}");
    let accept = "Accept: application/openmetrics-text;version=1.0.0\r\n";
    let (open_head, body) = ask(address, "/metrics", accept).unwrap();
    let open = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(open_head.contains(open), "{open_head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    serving.terminate();
    serving.end(30).exits(0);
    assert!(page(address, "/healthz").is_none());
}

#[test]
fn an_address_that_is_taken_is_named() {
    let vsiflow = Vsiflow::simulated();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    vsiflow
        .run(&["serve", "--metrics-address", &address])
        .exits(1)
        .says("VSI0807")
        .says(&address);
}

#[test]
fn alerts_and_the_dashboard_name_metrics_that_are_documented() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap();
    let documented = read("docs/reference/kubernetes.md");
    for file in ["alerts.yaml", "alerts_test.yaml", "dashboard.json"] {
        let text = read(&format!("deploy/monitoring/{file}"));
        let words = text.split(|letter: char| !(letter.is_ascii_lowercase() || letter == '_'));
        let named: BTreeSet<_> = words
            .filter(|word| word.starts_with("vsiflow_"))
            .map(|word| word.trim_end_matches("_bucket"))
            .collect();
        assert!(named.len() > 3, "{file}: {named:?}");
        for name in named {
            let row = format!("| `{name}` |");
            assert!(documented.contains(&row), "{file} names {name}");
        }
    }
}

#[test]
fn a_daemon_tells_what_guests_use_and_waits_for_no_host() {
    let (vsiflow, address) = (Vsiflow::simulated(), free());
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let serving = vsiflow.start(&["serve", "--metrics-address", &address.to_string()]);
    let labels = r#"{namespace="default",name="web",host="sim"}"#;
    let text = until("what the guest uses", 60, || {
        let (_, text) = page(address, "/metrics")?;
        let cpu = format!("vsiflow_guest_cpu_seconds_total{labels}");
        (sample(&text, &cpu) > 0.0).then_some(text)
    });
    assert!(
        sample(&text, &format!("vsiflow_guest_memory_bytes{labels}")) > 0.0,
        "{text}"
    );
    let read = format!("vsiflow_guest_disk_read_bytes_total{labels}");
    assert!(text.contains(&read), "{text}");
    let sent = format!("vsiflow_guest_network_sent_bytes_total{labels}");
    assert!(text.contains(&sent), "{text}");
    serving.terminate();
    serving.end(30).exits(0);
}
