//! Tokens: authentication of callers on other machines, and what each role may do.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};
use vsiflow_tests::{Ran, Running, TestConsole, Vsi, Vsiflow, binary, until};

/// A daemon with a VSI, which answers over TCP with TLS.
struct TlsDaemon {
    vsiflow: Vsiflow,
    _daemon: Running,
    address: String,
}

impl TlsDaemon {
    fn serving(more: &[&str]) -> Self {
        let vsiflow = Vsiflow::simulated();
        let mut daemon = vsiflow.serve(&[&["--listen", "127.0.0.1:0"], more].concat());
        assert!(daemon.reaches("answering for tokens at", 30));
        let log = daemon.error_output();
        let line = log
            .lines()
            .find(|line| line.contains("answering for tokens"));
        let address = line.unwrap().rsplit(' ').next().unwrap().to_owned();
        vsiflow.apply(Vsi::named("web"), &["--wait"]).exits(0);
        Self {
            vsiflow,
            _daemon: daemon,
            address,
        }
    }

    fn token(&self, role: &str) -> String {
        self.token_for(role, "1h")
    }

    fn token_for(&self, role: &str, lasts: &str) -> String {
        let create = ["token", "create", "--role", role, "--ttl", lasts];
        self.vsiflow.run(&create).exits(0).stdout.trim().to_owned()
    }

    /// Opens the guest's console with a token, and sees that what is typed reaches the guest.
    fn console(&self, token: &str) -> TestConsole {
        let mut console =
            TestConsole::of_command(self.command(token, &["console", "web", "--stdin"]));
        console.shows("HPL10001I");
        console.types("\r");
        console.shows("login: ");
        console
    }

    /// Waits until the journal says that a console was closed for this reason.
    #[track_caller]
    fn console_closed(&self, why: &str) {
        until(why, 60, || {
            let history = self.vsiflow.history("web");
            let closed = history.iter().find(|event| {
                let what = event.text("detail");
                what.starts_with("console_closed") && what.contains(why)
            });
            closed.map(drop)
        });
    }

    /// vsiflow on another machine.
    fn command(&self, token: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command.args(["--server", &format!("https://{}", self.address)]);
        command.args(arguments).current_dir(self.vsiflow.folder());
        command
            .env("VSIFLOW_TOKEN", token)
            .env_remove("VSIFLOW_STATE");
        command
    }

    fn ask(&self, token: &str, arguments: &[&str]) -> Ran {
        Running::start(&mut self.command(token, arguments)).end(60)
    }
}

#[test]
fn the_bearer_of_a_token_does_what_its_role_may_and_the_history_names_it() {
    let remote = TlsDaemon::serving(&[]);
    let [viewer, operator, admin] = ["viewer", "operator", "admin"].map(|role| remote.token(role));
    remote.ask(&viewer, &["get"]).exits(0).says("Running");
    remote
        .ask(&viewer, &["describe", "web", "--at", "12"])
        .exits(0);
    remote
        .ask(&viewer, &["stop", "web"])
        .exits(4)
        .says("VSI0029");
    remote
        .ask(&operator, &["stop", "web", "--wait", "--reason", "night"])
        .exits(0);
    remote
        .ask(&operator, &["delete", "web", "--yes"])
        .exits(4)
        .says("VSI0029");
    remote
        .ask(&operator, &["token", "list"])
        .exits(4)
        .says("VSI0029");
    remote
        .ask(&admin, &["delete", "web", "--yes", "--wait"])
        .exits(0);
    // A caller may not name files on the daemon's machine.
    remote
        .ask(&admin, &["backup", "here.tar"])
        .exits(2)
        .says("VSI0801");
    let history = remote.vsiflow.history("web");
    let stopped = history.iter().find(|event| event.text("reason") == "night");
    let name = operator.split('_').nth(1).unwrap();
    assert_eq!(stopped.unwrap().text("actor"), format!("token:{name}"));
    let listed = remote
        .vsiflow
        .run(&["token", "list", "-o", "json"])
        .exits(0);
    assert_eq!(listed.json()["items"].as_array().unwrap().len(), 3);
}

#[test]
fn a_token_that_is_cut_of_another_daemon_revoked_or_expired_is_refused() {
    let (remote, other) = (TlsDaemon::serving(&[]), TlsDaemon::serving(&[]));
    let token = remote.token("viewer");
    let cut = &token[..token.len() - 1];
    remote.ask(cut, &["get"]).exits(2).says("VSI0028");
    remote.ask("", &["get"]).exits(2).says("VSI0028");
    // This daemon has another certificate: the client sends it nothing.
    other.ask(&token, &["get"]).exits(1).says("VSI0025");
    let parts: Vec<_> = token.split('_').collect();
    let theirs = other.token("admin");
    let theirs: Vec<_> = theirs.split('_').collect();
    let forged = [parts[0], theirs[1], theirs[2], parts[3]].join("_");
    remote
        .ask(&forged, &["get"])
        .exits(4)
        .says("VSI0028")
        .says("none of this daemon's");
    let guessed = [parts[0], parts[1], theirs[2], parts[3]].join("_");
    remote
        .ask(&guessed, &["get"])
        .exits(4)
        .says("VSI0028")
        .says("none of this daemon's");
    remote.vsiflow.run(&["token", "revoke", parts[1]]).exits(0);
    remote
        .ask(&token, &["get"])
        .exits(4)
        .says("VSI0028")
        .says("revoked");
    remote
        .vsiflow
        .run(&["token", "revoke", "nobody"])
        .exits(3)
        .says("VSI0703");
    let short = ["token", "create", "--role", "admin", "--ttl", "2s"];
    let short = remote.vsiflow.run(&short).exits(0).stdout.trim().to_owned();
    until("the end of a token", 30, || {
        let answer = remote.ask(&short, &["get"]);
        (answer.code == Some(4) && answer.stderr.contains("expired")).then_some(())
    });
    let list = remote.vsiflow.run(&["token", "list"]).exits(0);
    let _ = list.says("Revoked").says("Expired");
}

/// Why a console ended whose token is not valid any more.
const TOKEN_ENDED: &str = "its token was revoked or has expired";

#[test]
fn an_open_console_ends_when_its_token_is_revoked_and_no_other_one_does() {
    let remote = TlsDaemon::serving(&[]);
    remote.vsiflow.apply(Vsi::named("db"), &["--wait"]).exits(0);
    let (revoked, kept) = (remote.token("operator"), remote.token("operator"));
    let mut other = TestConsole::of_command(remote.command(&kept, &["console", "db", "--stdin"]));
    other.types("\r");
    other.shows("login: ");
    let mut console = remote.console(&revoked);
    let name = revoked.split('_').nth(1).unwrap();
    remote.vsiflow.run(&["token", "revoke", name]).exits(0);
    console.end();
    remote.console_closed(TOKEN_ENDED);
    other.types("lab\r");
    other.shows("Welcome, lab");
}

#[test]
fn an_open_console_ends_with_its_token() {
    let remote = TlsDaemon::serving(&[]);
    // A machine with other work may need longer than the token lasts until the console is open.
    let mut console = ["2s", "8s", "30s"]
        .iter()
        .find_map(|lasts| {
            let token = remote.token_for("operator", lasts);
            let mut opened =
                TestConsole::of_command(remote.command(&token, &["console", "web", "--stdin"]));
            opened.shows_or_ends("HPL10001I").then_some(opened)
        })
        .expect("no console was opened");
    console.end();
    remote.console_closed(TOKEN_ENDED);
}

#[test]
fn nothing_keeps_the_text_of_a_token() {
    let remote = TlsDaemon::serving(&[]);
    let token = remote.token("admin");
    let secret = token.split('_').nth(2).unwrap();
    let mut grep = Command::new("grep");
    grep.args(["--recursive", "--text", "--quiet", secret]);
    let found = grep.arg(remote.vsiflow.state()).status().unwrap();
    assert_eq!(found.code(), Some(1));
    // The journal records who created it.
    let made = remote
        .vsiflow
        .history(&format!("token/{}", token.split('_').nth(1).unwrap()));
    assert!(!made.is_empty());
}

#[test]
fn a_certificate_that_is_given_is_the_one_that_tokens_name() {
    let own = TlsDaemon::serving(&[]);
    let pem = own.vsiflow.state().join("tls/daemon.pem");
    let pem = pem.to_str().unwrap();
    let remote = TlsDaemon::serving(&["--tls-cert", pem, "--tls-key", pem]);
    let plain = remote.token("viewer");
    remote.ask(&plain, &["get"]).exits(1).says("VSI0025");
    let create = [
        "token",
        "create",
        "--role",
        "viewer",
        "--ttl",
        "1h",
        "--tls-cert",
        pem,
    ];
    let token = remote.vsiflow.run(&create).exits(0).stdout;
    remote.ask(token.trim(), &["get"]).exits(0).says("web");
    let file = remote.vsiflow.write("token", &token);
    let by_file = ["--token-file", file.to_str().unwrap(), "get"];
    remote.ask("wrong", &by_file).exits(0).says("web");
}

/// Sends requests with a role's token through `vsiflow ui`, which forwards them to the daemon.
struct UiForRole {
    _ui: Running,
    host: String,
    cookie: String,
}

impl UiForRole {
    fn of(remote: &TlsDaemon, role: &str) -> Self {
        let token = remote.token(role);
        let mut ui = Running::start(&mut remote.command(&token, &["ui"]));
        assert!(ui.prints("/open?link=", 30));
        let printed = ui.printed();
        let url = printed
            .lines()
            .next()
            .unwrap()
            .strip_prefix("http://")
            .unwrap();
        let (host, link) = url.split_once('/').unwrap();
        let mut role_ui = Self {
            _ui: ui,
            host: host.to_owned(),
            cookie: String::new(),
        };
        let answer = role_ui.ask("GET", &format!("/{link}"), "");
        let cookie = answer
            .lines()
            .find_map(|line| line.strip_prefix("set-cookie: "));
        role_ui.cookie = cookie.unwrap().split(';').next().unwrap().to_owned();
        role_ui
    }

    /// The head of the response.
    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let (host, cookie, length) = (&self.host, &self.cookie, body.len());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\norigin: http://{host}\r\ncookie: {cookie}\r\n\
             connection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        // A stream of events has no end.
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            match stream.read(&mut piece).unwrap() {
                0 => break,
                read => answer.extend(&piece[..read]),
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// The operations that each role has in addition to the role below it.
const OPERATES: [&str; 22] = [
    "retryVirtualServerGroup",
    "approveVirtualServerPool",
    "retryVirtualServerPool",
    "startVirtualServer",
    "stopVirtualServer",
    "restartVirtualServer",
    "pauseVirtualServer",
    "unpauseVirtualServer",
    "retryVirtualServer",
    "cancelVirtualServer",
    "approveVirtualServer",
    "openVirtualServerConsole",
    "openVirtualServerVnc",
    "cordonHost",
    "uncordonHost",
    "drainHost",
    "pause",
    "unpause",
    "listNetworks",
    "refreshHosts",
    "act",
    "maintainHost",
];
const ADMINISTERS: [&str; 25] = [
    "takeVirtualServerSnapshot",
    "restoreVirtualServerSnapshot",
    "deleteVirtualServerSnapshot",
    "deleteVirtualServerGroup",
    "scaleVirtualServerGroup",
    "readVirtualServerGroupOutput",
    "deleteVirtualServerPool",
    "scaleVirtualServerPool",
    "rollbackVirtualServerPool",
    "rebuildVirtualServer",
    "deleteVirtualServer",
    "deleteDataDisk",
    "deleteVirtualServerQuota",
    "apply",
    "plan",
    "applyDocuments",
    "planDocuments",
    "delete",
    "rebuild",
    "scale",
    "cordonMembers",
    "rollbackPool",
    "restoreSnapshot",
    "runCommand: snapshot create",
    "drainHost: move",
];

#[test]
fn each_route_is_open_to_the_roles_that_may_and_to_no_other() {
    let remote = TlsDaemon::serving(&[]);
    let document = remote.vsiflow.run(&["openapi"]).exits(0).json();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            let path = path.replace("{namespace}", "default");
            let path = path.replace("{name}", "nobody").replace("{host}", "nobody");
            operations.push((method.to_uppercase(), path, id, String::new()));
        }
    }
    operations.retain(|(.., id, _)| id != "runCommand");
    let words = json!({"args": ["vsiflow", "snapshot", "create", "nobody"]});
    operations.push((
        "POST".to_owned(),
        "/v1/commands".to_owned(),
        "runCommand: snapshot create".to_owned(),
        words.to_string(),
    ));
    operations.push((
        "POST".to_owned(),
        "/v1/hosts/nobody/drain".to_owned(),
        "drainHost: move".to_owned(),
        "{\"move\": true}".to_owned(),
    ));
    for page in ["/", "/images", "/hosts", "/events", "/approvals"] {
        operations.push((
            "GET".to_owned(),
            page.to_owned(),
            page.to_owned(),
            String::new(),
        ));
    }
    let known = |id: &&str| operations.iter().any(|(.., own, _)| own == id);
    assert!(OPERATES.iter().chain(&ADMINISTERS).all(known));
    for (rank, role) in ["viewer", "operator", "admin"].into_iter().enumerate() {
        let role_ui = UiForRole::of(&remote, role);
        for (method, path, id, body) in &operations {
            let needs = match id.as_str() {
                id if ADMINISTERS.contains(&id) => 2,
                id if OPERATES.contains(&id) => 1,
                _ => 0,
            };
            let answer = role_ui.ask(method, path, body);
            let status = answer.split(' ').nth(1).unwrap();
            assert_eq!(
                status == "403",
                rank < needs,
                "{role} {method} {path}: {answer}"
            );
            assert_ne!(status, "401", "{role} {method} {path}: {answer}");
        }
    }
    let ran: Value = remote.vsiflow.vsi("web");
    assert_eq!(ran["status"]["phase"], "Running");
}
