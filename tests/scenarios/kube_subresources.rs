//! The API of subresources, through the lab's aggregator and directly.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::Value;
use vsiflow_tests::{
    Aggregated, Pair, Plugin, TestCluster, TestConsole, Vsi, Vsiflow, aggregated, history::Event,
    until,
};

const WEB: &str = "vsi/web";
/// Sets up the cluster, vsiflow and the API, or ends the test.
macro_rules! served {
    ($cluster:ident, $vsiflow:ident, $api:ident) => {
        let Some($cluster) = TestCluster::enter() else {
            return;
        };
        let $vsiflow = Vsiflow::simulated();
        #[allow(unused_mut)]
        let mut $api = Aggregated::serve(&$cluster, &$vsiflow);
        $cluster.apply(Vsi::named("web"));
        $cluster.wait_ready(WEB);
    };
}

/// The client certificate of the lab API server's front proxy.
fn front_proxy(api: &Aggregated<'_>) -> Pair {
    api.pair("proxy-ca", "/CN=front-proxy")
}

fn status(body: &str) -> Value {
    let status: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{body}"));
    assert_eq!(status["kind"], "Status", "{body}");
    status
}

/// The code and the reason of a refusal.
fn refusal(body: &str) -> (String, String) {
    let status = status(body);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (
        text(&status["details"]["causes"][0]["reason"]),
        text(&status["reason"]),
    )
}

#[test]
fn kube_subresources_a_right_on_one_object_suffices_and_leads_to_no_other() {
    served!(cluster, vsiflow, api);
    cluster.apply(Vsi::named("db"));
    cluster.wait_ready("vsi/db");
    let jo = api.person("jo");
    let raw = |path: &str| api.kubectl_as(&jo, &["get", "--raw", path]);
    let web = api.path("web", "history");
    assert_ne!(raw(&web).code, Some(0), "nothing was granted yet");
    api.grant("jo", "get", "onprem-hpcrs/history", "web");
    let printed = raw(&web).exits(0).stdout;
    assert!(printed.contains("\"step\":\"define_domain\""), "{printed}");
    for line in printed.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["offset"].is_u64());
    }
    for path in [
        api.path("db", "history"),
        api.path("web", "logs"),
        aggregated::path("default", "web", "history"),
    ] {
        let ran = raw(&path);
        assert_ne!(ran.code, Some(0), "{path}");
        assert!(ran.stderr.contains("Forbidden"), "{ran:?}");
    }
    let retry = api.path("web", "retry");
    let create = ["create", "--raw", &retry, "-f", "/dev/null"];
    let ran = api.kubectl_as(&jo, &create);
    assert!(ran.stderr.contains("orbidden"), "{ran:?}");
    // The list of subresources is readable for all users.
    let listed = ["get", "--raw", "/apis/subresources.vsiflow.io/v1"];
    let listed = api.kubectl_as(&jo, &listed).exits(0).json();
    assert_eq!(listed["kind"], "APIResourceList");
}

#[test]
fn kube_subresources_the_process_asks_itself_whether_somebody_may() {
    served!(cluster, vsiflow, api);
    api.grant("jo", "get", "onprem-hpcrs/history", "web");
    let proxy = front_proxy(&api);
    // Even if the API server let every request through, the caller would get no further.
    let ask = |user: &str, path: &str, more: &[&str]| {
        let user = format!("X-Remote-User: {user}");
        let more = [&["-H", &user], more].concat();
        api.ask(Some(&proxy), path, &more)
    };
    let history = api.path("web", "history");
    assert_eq!(ask("jo", &history, &[]).0, 200);
    for (user, path, more) in [
        ("eve", history.clone(), &[][..]),
        ("jo", api.path("db", "history"), &[]),
        ("jo", api.path("web", "logs"), &[]),
        ("jo", aggregated::path("default", "web", "history"), &[]),
        ("jo", api.path("web", "retry"), &["-X", "POST"]),
        ("jo", api.path("web", "cancel"), &["-X", "PUT"]),
    ] {
        let (code, body) = ask(user, &path, more);
        let refused = refusal(&body);
        assert_eq!(
            (code, refused.0.as_str()),
            (403, "VSI1031"),
            "{path}: {body}"
        );
        assert_eq!(refused.1, "Forbidden");
    }
    // Groups count too, and a missing object is reported only to callers who may read it.
    let masters = ["-H", "X-Remote-Group: system:masters"];
    let (code, body) = ask("eve", &api.path("nobody", "history"), &masters);
    assert_eq!((code, refusal(&body).0.as_str()), (404, "VSI0703"));
    assert_eq!(ask("eve", &history, &masters).0, 200);
}

#[test]
fn kube_subresources_nobody_but_the_front_proxy_says_who_asks() {
    served!(cluster, vsiflow, api);
    let history = api.path("web", "history");
    let forged = [
        "-H",
        "X-Remote-User: admin",
        "-H",
        "X-Remote-Group: system:masters",
    ];
    let ask = |pair: Option<&Pair>| api.ask(pair, &history, &forged);
    assert_eq!(ask(Some(&front_proxy(&api))).0, 200, "so it would be");

    assert_eq!(ask(None).0, 0, "no certificate");
    let admin = api.pair("ca", "/CN=front-proxy");
    assert_eq!(ask(Some(&admin)).0, 0, "of an authority for people");
    let old = api.expired_pair("proxy-ca", "/CN=front-proxy");
    assert_eq!(ask(Some(&old)).0, 0, "expired");
    for subject in ["/CN=other", "/O=x/CN=front-proxy.x", "/CN=front-proxy/CN=x"] {
        let other = api.pair("proxy-ca", subject);
        let (code, body) = ask(Some(&other));
        let refused = refusal(&body);
        assert_eq!((code, refused.0.as_str()), (401, "VSI1030"), "{subject}");
    }
    let (code, body) = api.ask(Some(&front_proxy(&api)), &history, &[]);
    assert_eq!(
        (code, refusal(&body).0.as_str()),
        (401, "VSI1030"),
        "nobody"
    );
}

#[test]
fn kube_subresources_what_is_slow_too_large_or_too_many_is_bounded() {
    served!(cluster, vsiflow, api);
    let proxy = front_proxy(&api);
    let masters = [
        "-H",
        "X-Remote-User: eve",
        "-H",
        "X-Remote-Group: system:masters",
    ];
    let ask = |path: &str, more: &[&str]| {
        let more = [&masters, more].concat();
        api.ask(Some(&proxy), path, &more)
    };
    let retry = api.path("web", "retry");
    let large = vsiflow.write(
        "large",
        &format!("{{\"reason\": \"{}\"}}", "x".repeat(40_000)),
    );
    let body = format!("@{}", large.display());
    for more in [
        ["--data-binary", &body, "-H", "Expect:"],
        ["--data-binary", &body, "-H", "Transfer-Encoding: chunked"],
    ] {
        let (code, answer) = ask(&retry, &more);
        assert_eq!(
            (code, refusal(&answer).0.as_str()),
            (413, "VSI1033"),
            "{answer}"
        );
    }
    let (code, list_answer) = ask(&retry, &["--data-binary", "[1]"]);
    assert_eq!(
        (code, refusal(&list_answer).0.as_str()),
        (400, "VSI1033"),
        "{list_answer}"
    );
    let slow = ["-X", "POST", "-H", "Content-Length: 10"];
    let (slow_code, slow_answer) = ask(&retry, &slow);
    assert_eq!(
        (slow_code, refusal(&slow_answer).0.as_str()),
        (408, "VSI1033"),
        "{slow_answer}"
    );
    let (delete_code, _) = ask(&api.path("web", "history"), &["-X", "DELETE"]);
    assert_eq!(delete_code, 405);
    let (misspelt_code, _) = ask(&api.path("web", "history?folow=1"), &[]);
    assert_eq!(misspelt_code, 400);

    // With 1,000 silent connections open, an authenticated request is still answered.
    let mut idle: Vec<_> = (0..1_000)
        .map(|_| TcpStream::connect(api.address()).unwrap())
        .collect();
    let path = api.path("web", "history");
    assert_eq!(ask(&path, &[]).0, 200);
    let ran = cluster.kubectl(&["get", "--raw", &path]);
    ran.exits(0);
    let files = std::fs::read_dir(format!("/proc/{}/fd", api.process().pid()));
    assert!(files.unwrap().count() < 500, "most were closed");
    // The last of them is closed too, after its timeout.
    let last = idle.last_mut().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    let _ = last.write_all(b"\x16");
    let mut rest = Vec::new();
    let closed = last.read_to_end(&mut rest);
    let timed_out = closed.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    assert!(!timed_out, "still open");
}

#[test]
fn kube_subresources_the_certificate_stays_and_is_told_to_its_own_api_service_alone() {
    served!(cluster, vsiflow, api);
    let what = "apiservice/v1.subresources.vsiflow.io";
    let bundle = |cluster: &TestCluster| cluster.get(what)["spec"]["caBundle"].clone();
    let first = bundle(&cluster);
    api.stop();
    api.start();
    api.wait();
    assert_eq!(bundle(&cluster), first, "the same after a restart");
    let history = api.path("web", "history");
    let get = ["get", "--raw", &history];
    until("an answer after the restart", 60, || {
        (cluster.kubectl(&get).code == Some(0)).then_some(())
    });

    // If the certificate is lost, a new one is made and published.
    api.stop();
    std::fs::remove_dir_all(vsiflow.state().join("tls")).unwrap();
    api.start();
    cluster.until("the new certificate is published", 60, || {
        bundle(&cluster) != first
    });
    until("an answer with the new one", 60, || {
        (cluster.kubectl(&get).code == Some(0)).then_some(())
    });

    // An APIService that points elsewhere is left alone.
    api.stop();
    let elsewhere = r#"{"spec": {"service": {"name": "other"}, "caBundle": null}}"#;
    let patch = ["patch", what, "--type=merge", "-p", elsewhere];
    cluster.kubectl(&patch).exits(0);
    api.start();
    assert!(api.process().reaches("which is another", 60));
    assert_eq!(bundle(&cluster), Value::Null);
}

#[test]
fn kube_subresources_the_plugin_needs_no_right_to_run_anything_in_a_pod() {
    served!(cluster, vsiflow, api);
    let jo = api.person("jo");
    let plugin = Plugin::of(&cluster, &vsiflow).with_kubeconfig(&jo);
    plugin
        .run(&["history", "web"])
        .exits(1)
        .says("VSI1031")
        .says("subresources.vsiflow.io");
    api.grant("jo", "get", "onprem-hpcrs/history,onprem-hpcrs/logs", "web");
    api.grant(
        "jo",
        "create",
        "onprem-hpcrs/retry,onprem-hpcrs/cancel",
        "web",
    );
    plugin
        .run(&["history", "web"])
        .exits(0)
        .says("define_domain");
    let ran = plugin.run(&["history", "web", "-o", "json"]).exits(0);
    let lines: Vec<Value> = ran
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let last = lines.last().unwrap()["offset"].as_u64().unwrap();
    let from = format!("--from-offset={last}");
    let later = plugin
        .run(&["history", "web", "-o", "json", &from])
        .exits(0);
    assert_eq!(later.stdout.lines().count(), 1);
    plugin.run(&["logs", "web"]).exits(0).says("HPL10001I");
    let tail = plugin.run(&["logs", "web", "--tail", "1"]).exits(0);
    assert_eq!(tail.stdout.lines().count(), 1);
    plugin
        .run(&["logs", "web", "--failed"])
        .exits(3)
        .says("VSI0806");
    plugin
        .run(&["retry", "web", "--reason", "why not"])
        .exits(0)
        .says("nothing to retry");
    plugin
        .run(&["retry", "web", "--wait"])
        .exits(0)
        .says("vsi/web is settled");
    plugin
        .run(&["cancel", "web"])
        .exits(0)
        .says("no run is open");
    // Only callers with the permission learn that the VSI does not exist.
    plugin.run(&["logs", "nobody"]).exits(1).says("VSI1031");

    // A followed log shows new lines, and the journal records who followed it.
    let mut following = plugin.start(&["logs", "web", "-f"]);
    assert!(following.prints("HPL10001I", 30));
    following.interrupt();
    following.end(20).exits(130);
    let mut history_followed = plugin.start(&["history", "web", "-f"]);
    assert!(history_followed.prints("define_domain", 30));
    let stop = r#"{"spec": {"powerState": "Stopped"}}"#;
    cluster
        .kubectl(&["patch", WEB, "--type=merge", "-p", stop])
        .exits(0);
    assert!(history_followed.prints("Stopped", 60));
    history_followed.kill();
    assert!(plugin.calls().is_empty(), "no pod was asked");

    // If the API does not answer, the error says so and names the alternative.
    api.stop();
    let without_access = plugin.run(&["history", "web"]).exits(1);
    without_access
        .says("VSI1024")
        .says("--operator NAMESPACE/LEASE");
}

#[test]
fn kube_subresources_what_was_blocked_is_tried_again_in_its_users_name() {
    served!(cluster, vsiflow, api);
    cluster.apply(Vsi::named("stuck").pool("nowhere"));
    cluster.until("it is blocked", 60, || {
        cluster.get("vsi/stuck")["status"]["phase"] == "Blocked"
    });
    let jo = api.person("jo");
    api.grant(
        "jo",
        "create",
        "onprem-hpcrs/retry,onprem-hpcrs/cancel",
        "stuck",
    );
    let plugin = Plugin::of(&cluster, &vsiflow).with_kubeconfig(&jo);
    plugin
        .run(&["retry", "stuck", "--wait", "--reason", "the pool is there"])
        .exits(4)
        .says("nowhere");
    plugin.run(&["cancel", "stuck"]).exits(0).says("cancelled");
    let history = api.path("stuck", "history");
    let printed = cluster.kubectl(&["get", "--raw", &history]).exits(0).stdout;
    assert!(printed.contains("kubernetes:jo"), "{printed}");
    assert!(printed.contains("the pool is there"), "{printed}");
    // A new VSI of the same name shows nothing about the old one.
    cluster
        .kubectl(&["delete", "vsi", "stuck", "--timeout=60s"])
        .exits(0);
    cluster.apply(Vsi::named("stuck"));
    cluster.wait_ready("vsi/stuck");
    let told_again = cluster.kubectl(&["get", "--raw", &history]).exits(0).stdout;
    assert!(!told_again.contains("kubernetes:jo"), "{told_again}");
}

#[test]
fn kube_subresources_a_console_is_a_connection_for_whoever_has_a_right_on_it() {
    served!(cluster, vsiflow, api);
    let jo = api.person("jo");
    let plugin = Plugin::of(&cluster, &vsiflow).with_kubeconfig(&jo);
    let console = |more: &[&str]| {
        let words = [&["console", "web", "--stdin"][..], more].concat();
        plugin.run(&words)
    };
    api.grant("jo", "get", "onprem-hpcrs/console", "web");
    assert_ne!(console(&[]).code, Some(0), "reading is no right to type");
    api.grant("jo", "create", "onprem-hpcrs/console", "web");
    let mut typing = TestConsole::of_command(plugin.command(&["console", "web", "--stdin"]));
    typing.shows("HPL10001I");
    typing.types("\r");
    typing.shows("login: ");
    typing.types("lab\r");
    typing.shows("Welcome, lab");
    console(&[]).exits(4).says("VSI0711").says("jo");
    let mut second =
        TestConsole::of_command(plugin.command(&["console", "web", "--stdin", "--force"]));
    second.types("\r");
    second.shows("login: ");
    typing.end();
    // Longer than the API server's timeout for requests that are not upgraded.
    std::thread::sleep(Duration::from_secs(65));
    second.types("lab\r");
    second.shows("Welcome, lab");
    second.leave();
    assert_eq!(second.end(), 0);
    // Without an upgrade to a stream there is no console.
    let path = api.path("web", "console");
    let raw = api.kubectl_as(&jo, &["create", "--raw", &path, "-f", "/dev/null"]);
    assert_ne!(raw.code, Some(0));
    assert!(raw.stderr.contains("vsiflow-console"), "{raw:?}");
    until("all ends are recorded", 30, || {
        let words = ["history", "web", "-n", cluster.namespace(), "-o", "json"];
        let printed = vsiflow.run(&words).exits(0).stdout;
        let events = printed.lines().map(Event::parse);
        let notes = events.filter(|event| event.kind() == "noted");
        let notes: Vec<_> = notes
            .map(|event| {
                (
                    event.text("detail").to_owned(),
                    event.text("actor").to_owned(),
                )
            })
            .collect();
        assert!(
            notes.iter().all(|(_, actor)| actor.contains("jo")),
            "{notes:?}"
        );
        let closed = notes
            .iter()
            .filter(|(what, _)| what.starts_with("console_closed"));
        (closed.count() == 3).then_some(())
    });
}

/// What is noted about the console of the VSI `web`.
fn console_notes(vsiflow: &Vsiflow, cluster: &TestCluster) -> Vec<String> {
    let words = ["history", "web", "-n", cluster.namespace(), "-o", "json"];
    let printed = vsiflow.run(&words).exits(0).stdout;
    let events = printed.lines().map(Event::parse);
    let notes = events.filter(|event| event.kind() == "noted");
    notes.map(|event| event.text("detail").to_owned()).collect()
}

#[test]
fn kube_subresources_an_open_console_ends_when_its_users_right_is_withdrawn() {
    served!(cluster, vsiflow, api);
    let jo = api.person("jo");
    let plugin = Plugin::of(&cluster, &vsiflow).with_kubeconfig(&jo);
    api.grant("jo", "create", "onprem-hpcrs/console", "web");
    let mut console = TestConsole::of_command(plugin.command(&["console", "web", "--stdin"]));
    console.types("\r");
    console.shows("login: ");
    let unbind = ["delete", "rolebinding", "jo-create-web"];
    cluster.kubectl(&unbind).exits(0);
    // The right is reviewed every minute.
    console.end_within(120);
    until("the end is recorded with its reason", 30, || {
        let notes = console_notes(&vsiflow, &cluster);
        let closed = notes
            .iter()
            .any(|what| what.starts_with("console_closed") && what.contains("cannot create"));
        closed.then_some(())
    });
    plugin
        .run(&["console", "web", "--stdin"])
        .exits(1)
        .says("VSI1031");
}
