//! The web page of a daemon, as a browser gets it.

use std::path::{Path, PathBuf};

use vsiflow_tests::{Running, Vsi, Vsiflow, http, http::HttpAnswer, until};

/// A daemon with a VSI that was stopped with a reason, its socket, and an offset at which the VSI
/// ran.
fn serving(reason: &str) -> (Vsiflow, Running, PathBuf, u64) {
    let vsiflow = Vsiflow::simulated();
    let daemon = vsiflow.serve(&[]);
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let history = vsiflow.history("web");
    let ran = history
        .iter()
        .filter_map(|event| event.0["offset"].as_u64());
    let ran = ran.max().unwrap();
    let stop = ["stop", "web", "--wait", "--reason", reason];
    vsiflow.run(&stop).exits(0);
    let socket = vsiflow.state().join("vsiflow.sock");
    (vsiflow, daemon, socket, ran)
}

const PAGES: [&str; 11] = [
    "/",
    "/vsi/default/web",
    "/vsi/default/web/changes",
    "/pools",
    "/groups",
    "/images",
    "/hosts",
    "/host/sim",
    "/events",
    "/approvals",
    "/audit",
];

fn page(socket: &Path, path: &str) -> HttpAnswer {
    let page = http::get(socket, path).is(200);
    assert!(
        page.head.contains("content-type: text/html"),
        "{}",
        page.head
    );
    page
}

#[test]
fn each_page_says_what_is_and_needs_nothing_from_elsewhere() {
    let (_vsiflow, _daemon, socket, _) = serving("night");
    for path in PAGES {
        let page = page(&socket, path);
        let policy = "content-security-policy: default-src 'none'; script-src 'self'";
        assert!(page.head.contains(policy), "{}", page.head);
        let text = page.text();
        assert!(
            !text.contains("http://")
                || ["/images", "/host/sim", "/vsi/default/web"].contains(&path)
        );
        assert_eq!(text.matches("<script").count(), 1, "{path}");
        assert!(
            !text.contains(" style=") && !text.contains(" onclick="),
            "{path}"
        );
        assert_eq!(text.matches("<h1>").count(), 1, "{path}");
        assert!(
            text.contains("<html lang=\"en\">") && text.contains("<title>"),
            "{path}"
        );
    }
    for asset in ["/assets/page.css", "/assets/page.js"] {
        let asset = http::get(&socket, asset).is(200);
        assert!(asset.head.contains("nosniff"), "{}", asset.head);
    }
    let fleet = page(&socket, "/").text();
    assert!(
        fleet.contains("/vsi/default/web") && fleet.contains("Stopped"),
        "{fleet}"
    );
    let vsi = page(&socket, "/vsi/default/web").text();
    for part in [
        "<svg",
        "stop_domain",
        "update_vsi",
        "provision_vsi",
        "ImageReady",
        "powerState",
    ] {
        assert!(vsi.contains(part), "no {part} in {vsi}");
    }
    assert!(page(&socket, "/images").text().contains("Ready"));
    assert!(page(&socket, "/events").text().contains("run_closed"));
}

#[test]
fn what_is_hostile_is_shown_and_is_no_part_of_the_page() {
    let hostile = "</td><script src=\"//evil\"></script><img src=x onerror=alert(1)>\u{1b}[2J";
    let (vsiflow, _daemon, socket, _) = serving(hostile);
    let hosts = vsiflow.run(&["get", "host", "-o", "json"]).exits(0).json();
    let host = hosts["items"][0]["metadata"]["name"].as_str().unwrap();
    let cordon = ["host", "cordon", host, "--reason", hostile];
    vsiflow.run(&cordon).exits(0);
    for path in ["/vsi/default/web", "/hosts", "/events"] {
        let text = page(&socket, path).text();
        assert!(
            text.contains("&lt;script src=&quot;//evil&quot;&gt;"),
            "{path}: {text}"
        );
        assert!(!text.contains("<img") && !text.contains('\u{1b}'), "{path}");
        assert_eq!(text.matches("<script").count(), 1, "{path}");
    }
    let query = "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E";
    for path in [
        format!("/?q={query}"),
        format!("/?phase={query}&group={query}"),
    ] {
        let text = page(&socket, &path).text();
        assert_eq!(text.matches("<script").count(), 1, "{path}: {text}");
    }
    for path in [
        format!("/vsi/default/{query}"),
        format!("/vsi/{query}/a"),
        format!("/?at={query}"),
    ] {
        let refused = http::get(&socket, &path);
        assert!([400, 404].contains(&refused.status), "{path}");
        assert_eq!(
            refused.text().matches("<script").count(),
            1,
            "{}",
            refused.text()
        );
    }
}

#[test]
fn each_page_shows_any_moment_and_links_keep_it() {
    let (_vsiflow, _daemon, socket, ran) = serving("night");
    let then = page(&socket, &format!("/?at={ran}")).text();
    assert!(
        then.contains("Running") && !then.contains("Stopped"),
        "{then}"
    );
    assert!(then.contains(&format!("As of offset {ran}")), "{then}");
    assert!(
        then.contains(&format!("/vsi/default/web?at={ran}")),
        "{then}"
    );
    for path in PAGES {
        let text = page(&socket, &format!("{path}?at={ran}")).text();
        assert!(text.contains(&format!("/hosts?at={ran}")), "{path}");
        assert!(!text.contains("data-live"), "{path}");
    }
    assert!(page(&socket, "/?at=").text().contains("data-live"));
    for (moment, code) in [
        ("1000000", "VSI0024"),
        ("1999-01-01T00:00:00Z", "VSI0026"),
        ("soon", "VSI0022"),
    ] {
        let refused = http::get(&socket, &format!("/vsi/default/web?at={moment}"));
        assert!([400, 404].contains(&refused.status));
        assert!(refused.text().contains(code), "{}", refused.text());
    }
}

#[test]
fn the_fleet_is_filtered_grouped_and_paged() {
    let (vsiflow, _daemon, socket, _) = serving("night");
    vsiflow.apply(Vsi::named("other"), &["--wait"]).exits(0);
    let rows = |query: &str| {
        page(&socket, &format!("/?{query}"))
            .text()
            .matches("scope=\"row\"")
            .count()
    };
    assert_eq!(rows(""), 2);
    assert_eq!(rows("q=OTH"), 1);
    assert_eq!(rows("phase=Stopped"), 1);
    assert_eq!(rows("q=nobody"), 0);
    assert_eq!(rows("group=host"), 2);
    assert_eq!(rows("page=1"), 0);
    assert_eq!(rows("page=18446744073709551615"), 0);
    assert!(page(&socket, "/?group=host").text().contains("(2)</h2>"));
}

#[test]
fn who_may_look_sees_the_page() {
    let vsiflow = Vsiflow::simulated();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("look.sock");
    let _daemon = vsiflow.serve(&["--read-only", socket.to_str().unwrap()]);
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    for path in PAGES {
        _ = page(&socket, path);
    }
}

#[test]
fn what_is_approved_on_the_page_is_what_it_showed_and_only_by_who_may_operate() {
    let vsiflow = Vsiflow::simulated();
    let folder = tempfile::tempdir().unwrap();
    let look = folder.path().join("look.sock");
    let _daemon = vsiflow.serve(&["--read-only", look.to_str().unwrap()]);
    let manual = || Vsi::named("web").with("updatePolicy: Manual");
    vsiflow.apply(manual(), &["--wait"]).exits(0);
    vsiflow.apply(manual().memory("768Mi"), &[]).exits(4);
    let socket = vsiflow.state().join("vsiflow.sock");
    let proposal = || {
        let id = &vsiflow.vsi("web")["status"]["proposal"]["id"];
        id.as_str().unwrap().to_owned()
    };
    let approve = |at: &Path, id: &str| {
        let request = format!("POST /vsi/default/web/approve?proposal={id} HTTP/1.1\r\n");
        http::ask(at, &request, b"")
    };
    let first = proposal();
    assert!(page(&socket, "/approvals").text().contains(&first));
    assert!(
        !page(&look, "/approvals")
            .text()
            .contains("Approve the change")
    );
    let refused = approve(&look, &first).is(403);
    assert!(refused.text().contains("VSI0020"), "{}", refused.text());
    vsiflow.apply(manual().memory("1Gi"), &[]).exits(4);
    let second = proposal();
    assert_ne!(first, second);
    let stale = approve(&socket, &first).is(409);
    assert!(stale.text().contains("VSI0840"), "{}", stale.text());
    assert_eq!(approve(&socket, "").status, 409);
    let approved = approve(&socket, &second).is(303);
    assert!(
        approved.head.contains("location: /vsi/default/web"),
        "{}",
        approved.head
    );
    // A second approval is refused.
    assert_eq!(approve(&socket, &second).status, 409);
    let reason =
        |event: &vsiflow_tests::history::Event| event.text("reason") == "approved on the page";
    let history = vsiflow.history("web");
    let by = history.iter().find(|event| reason(event)).unwrap();
    assert!(
        by.text("actor").starts_with("unix:"),
        "{}",
        by.text("actor")
    );
}

#[test]
fn who_may_look_neither_opens_a_console_nor_types() {
    let vsiflow = Vsiflow::simulated();
    let folder = tempfile::tempdir().unwrap();
    let look = folder.path().join("look.sock");
    let _daemon = vsiflow.serve(&["--read-only", look.to_str().unwrap()]);
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let socket = vsiflow.state().join("vsiflow.sock");
    let before = vsiflow.history("web").len();
    for path in ["/vsi/default/web/console", "/consoles/00"] {
        let request = format!("POST {path} HTTP/1.1\r\n");
        http::ask(&look, &request, b"x")
            .is(403)
            .is_problem("VSI0020");
    }
    let request = "POST /consoles/00 HTTP/1.1\r\n";
    http::ask(&socket, request, b"x")
        .is(409)
        .is_problem("VSI0842");
    let long = vec![b'x'; 128 * 1024];
    http::ask(&socket, request, &long)
        .is(413)
        .is_problem("VSI0022");
    assert_eq!(vsiflow.history("web").len(), before);
}

#[test]
fn a_console_whose_reader_went_away_is_closed() {
    let (vsiflow, _daemon, socket) = running();
    let open =
        "POST /vsi/default/web/console HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n";
    let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    std::io::Write::write_all(&mut stream, open.as_bytes()).unwrap();
    let mut lines = std::io::BufReader::new(stream);
    let head = http::head(&mut lines);
    assert!(
        head.contains("200 ok") && head.contains("vsiflow-console: "),
        "{head}"
    );
    let name = head
        .lines()
        .find_map(|line| line.strip_prefix("vsiflow-console: "));
    let typing = format!("POST /consoles/{} HTTP/1.1\r\n", name.unwrap());
    let _ = http::ask(&socket, &typing, b"\r").is(204);
    let mut shown = String::new();
    while !shown.contains("login: ") {
        shown.push_str(&String::from_utf8_lossy(&http::chunk(&mut lines).unwrap()));
    }
    drop(lines);
    until("the end is recorded", 30, || {
        let notes = vsiflow.history("web").into_iter();
        let closed = notes.filter(|event| event.kind() == "noted");
        (closed.count() == 2).then_some(())
    });
    http::ask(&socket, &typing, b"\r")
        .is(409)
        .is_problem("VSI0842");
}

/// A daemon with a running VSI.
fn running() -> (Vsiflow, Running, PathBuf) {
    let vsiflow = Vsiflow::simulated();
    let daemon = vsiflow.serve(&[]);
    vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
    let socket = vsiflow.state().join("vsiflow.sock");
    (vsiflow, daemon, socket)
}
