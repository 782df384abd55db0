//! `vsiflow ui`: which browsers get access to the page, and which requests they may send.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use vsiflow_tests::{Running, Vsi, Vsiflow};

/// A daemon with a VSI, and `vsiflow ui` in front of it.
struct UiDaemon {
    vsiflow: Vsiflow,
    _daemon: Running,
    _ui: Running,
    host: String,
    link: String,
}

impl UiDaemon {
    fn open() -> Self {
        let vsiflow = Vsiflow::simulated();
        let daemon = vsiflow.serve(&[]);
        vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
        let mut ui = vsiflow.start(&["ui"]);
        assert!(ui.prints("/open?link=", 30));
        let printed = ui.printed();
        let url = printed.lines().next().unwrap();
        let (host, link) = url
            .strip_prefix("http://")
            .unwrap()
            .split_once('/')
            .unwrap();
        Self {
            vsiflow,
            _daemon: daemon,
            host: host.to_owned(),
            link: format!("/{link}"),
            _ui: ui,
        }
    }

    /// The whole answer to a request with these header lines.
    fn ask(&self, request: &str, head: &[&str], body: &str) -> String {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        let head: String = head.iter().map(|line| format!("{line}\r\n")).collect();
        let length = body.len();
        let text = format!(
            "{request} HTTP/1.1\r\n{head}connection: close\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn own(&self) -> String {
        format!("host: {}", self.host)
    }

    /// Opens the link, and returns the cookie of the session.
    fn enter(&self) -> String {
        let answer = self.ask(&format!("GET {}", self.link), &[&self.own()], "");
        assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
        let cookie = answer
            .lines()
            .find_map(|line| line.strip_prefix("set-cookie: "));
        let cookie = cookie.unwrap();
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
            "{cookie}"
        );
        format!("cookie: {}", cookie.split(';').next().unwrap())
    }
}

#[track_caller]
fn is(answer: &str, status: u16, words: &str) {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status}")),
        "{answer}"
    );
    assert!(answer.contains(words), "no {words} in {answer}");
}

#[test]
fn the_link_works_once_and_the_page_needs_its_session() {
    let door = UiDaemon::open();
    is(&door.ask("GET /", &[&door.own()], ""), 401, "VSI0027");
    is(
        &door.ask("GET /open?link=guessed", &[&door.own()], ""),
        403,
        "VSI0027",
    );
    let cookie = door.enter();
    is(
        &door.ask(&format!("GET {}", door.link), &[&door.own()], ""),
        403,
        "VSI0027",
    );
    let page = door.ask("GET /", &[&door.own(), &cookie], "");
    is(&page, 200, "/vsi/default/web");
    assert!(
        page.contains("content-security-policy: default-src 'none'"),
        "{page}"
    );
    let wrong = format!("{cookie}0");
    is(
        &door.ask("GET /", &[&door.own(), &wrong], ""),
        401,
        "VSI0027",
    );
    is(
        &door.ask("GET /v1/virtualservers", &[&door.own()], ""),
        401,
        "VSI0027",
    );
}

#[test]
fn a_request_for_another_name_is_refused_whatever_it_knows() {
    let door = UiDaemon::open();
    let cookie = door.enter();
    for host in ["host: evil.test", "host: 127.0.0.1", "host: "] {
        is(&door.ask("GET /", &[host, &cookie], ""), 403, "VSI0027");
    }
    let two = [&door.own(), "host: evil.test", &cookie];
    assert!(!door.ask("GET /", &two, "").starts_with("HTTP/1.1 200"));
    let port = door.host.split_once(':').unwrap().1;
    is(
        &door.ask("GET /", &[&format!("host: localhost:{port}"), &cookie], ""),
        200,
        "web",
    );
}

#[test]
fn what_changes_something_has_to_come_from_the_page_itself() {
    let door = UiDaemon::open();
    let cookie = door.enter();
    let recorded = door.vsiflow.history("web").len();
    let stop = "POST /v1/namespaces/default/virtualservers/web/stop";
    let console = "POST /v1/namespaces/default/virtualservers/web/console";
    let body = "{\"reason\": \"night\", \"waitSeconds\": 30}";
    for origin in [
        "x-none: 1",
        "origin: null",
        "origin: http://evil.test",
        "origin: https://127.0.0.1",
    ] {
        for request in [
            stop,
            console,
            "POST /v1/commands",
            "DELETE /v1/namespaces/default/virtualservers/web",
        ] {
            is(
                &door.ask(request, &[&door.own(), &cookie, origin], body),
                403,
                "VSI0027",
            );
        }
    }
    assert_eq!(door.vsiflow.history("web").len(), recorded);
    let origin = format!("origin: http://{}", door.host);
    is(
        &door.ask(stop, &[&door.own(), &cookie, &origin], body),
        200,
        "Reached",
    );
    is(
        &door.ask(stop, &[&door.own(), &origin], body),
        401,
        "VSI0027",
    );
    // A console upgrades its connection, which `vsiflow ui` does not forward.
    let over = ["connection: upgrade", "upgrade: vsiflow-console"];
    is(
        &door.ask(console, &[&door.own(), &cookie, &origin, over[1]], ""),
        426,
        "VSI0022",
    );
}

#[test]
fn without_a_daemon_there_is_no_page_and_it_says_what_to_start() {
    let vsiflow = Vsiflow::simulated();
    vsiflow
        .run(&["ui"])
        .exits(1)
        .says("VSI0025")
        .says("vsiflow serve");
}
