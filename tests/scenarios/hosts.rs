//! Hosts: which of them vsiflow trusts, which of their data it stores, and that a slow, dead or broken host
//! does not disturb the others.

use std::{
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::json;
use vsiflow_tests::{Host, Vsi, Vsiflow, history, until};

/// A host key that no host has.
const HOST_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
const SECRET: &str = "VERY-SECRET-LINE-OF-A-PRIVATE-KEY";

/// A host that accepts connections and never sends anything.
struct Silent {
    listener: TcpListener,
}

impl Silent {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { listener }
    }

    fn documents(&self) -> Host {
        documents(self.listener.local_addr().unwrap())
    }
}

fn documents(address: SocketAddr) -> Host {
    let port = address.port();
    Host {
        label: "lab".to_owned(),
        hostname: address.ip().to_string(),
        port,
        known_hosts: format!("[{}]:{port} {HOST_KEY}", address.ip()),
        key: format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\n"),
    }
}

/// The documents of a host at whose address no process listens.
fn absent() -> Host {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    documents(listener.local_addr().unwrap())
}

#[test]
fn defect_14_a_host_that_is_silent_keeps_no_other_waiting_and_is_never_ready() {
    let (silent, vsiflow) = (Silent::new(), Vsiflow::of_documents());
    let serving = vsiflow.serve(&[]);
    let stuck = format!("{}{}", silent.documents(), Vsi::named("stuck"));
    vsiflow.apply(stuck, &[]).exits(0);
    let names = ["a", "b", "c", "d"];
    let quick = names.map(|name| Vsi::named(name).to_string()).join("---\n");
    let wait = ["--host", "sim:", "--wait", "--timeout", "30s"];
    vsiflow.apply(quick, &wait).exits(0);
    let stuck_status = vsiflow.vsi("stuck")["status"].clone();
    assert_eq!(
        (&stuck_status["status"], &stuck_status["ready"]),
        (&json!(0), &json!(null))
    );
    let ready = &stuck_status["conditions"][0];
    assert_eq!(
        (&ready["type"], &ready["status"]),
        (&json!("Ready"), &json!("False")),
        "{stuck_status:#}"
    );
    serving.terminate();
    serving.end(30).exits(0);
}

#[test]
fn defect_16_calls_that_time_out_are_made_again_and_nothing_panics() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("first"), &[]).exits(0);
    let calls = [
        ("facts", "resolve_host"),
        ("create", "write_cidata"),
        ("define", "define_domain"),
        ("start", "start_domain"),
    ];
    for (call, step) in calls {
        vsiflow.change_sim(|state| state["broken"] = json!({ call: "Timeout" }));
        // The step that failed before must be tried again first. Only then this call can fail.
        let (ran, failure) = until(&format!("{step} fails"), 90, || {
            let ran = vsiflow
                .apply(Vsi::named("web"), &["--timeout", "3s"])
                .exits(5);
            let failure = history::failure_of(step, &vsiflow.history("web"));
            failure.map(|failure| (ran, failure))
        });
        ran.says("VSI0102").keeps_quiet_about("panicked");
        assert_eq!(
            (
                failure.code.as_str(),
                failure.class.as_str(),
                failure.host.as_str()
            ),
            ("VSI0102", "transient", "sim")
        );
        assert_eq!(vsiflow.phase("first"), "Running");
    }
    vsiflow.change_sim(|state| state["broken"] = json!({}));
    vsiflow.run(&["resume", "web"]).exits(0);
    assert_eq!(vsiflow.phase("web"), "Running");
}

#[test]
fn defect_17_a_call_that_failed_is_made_again_within_seconds() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.apply(Vsi::named("first"), &[]).exits(0);
    vsiflow.change_sim(|state| state["broken"] = json!({"define": "Unreachable"}));
    let mut running = vsiflow.start_apply(Vsi::named("web"), &["--timeout", "60s", "-v"]);
    let begun = std::time::Instant::now();
    for attempt in ["attempt 2", "attempt 3"] {
        assert!(running.reaches(attempt, 20), "no {attempt}");
    }
    assert!(begun.elapsed().as_secs() < 15, "{:?}", begun.elapsed());
}

#[test]
fn defect_25_settings_of_a_host_come_from_one_map_and_name_it() {
    let vsiflow = Vsiflow::of_documents();
    let map = |name: &str, hostname: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, labels: {{config: lab}}}}\n\
             data: {{HOSTNAME: \"{hostname}\", KNOWN_HOSTS: \"{hostname} {HOST_KEY}\"}}\n---\n"
        )
    };
    let web = Vsi::named("web");
    vsiflow
        .apply(format!("{}{}{web}", map("one", "a"), map("two", "b")), &[])
        .exits(2)
        .says("VSI0607")
        .says("matches 2 ConfigMaps: one")
        .says("two");
    for empty in ["", "  "] {
        vsiflow
            .apply(format!("{}{web}", map("one", empty)), &[])
            .exits(2)
            .says("VSI0607")
            .says("the host's name is empty")
            .says("HOSTNAME");
    }
    assert!(!vsiflow.state().exists());
}

#[test]
fn defect_28_without_known_hosts_nobody_is_trusted_unless_a_setting_says_so() {
    let vsiflow = Vsiflow::of_documents();
    let silent = absent();
    let text = format!("{silent}{}", Vsi::named("web"));
    let known = format!("  KNOWN_HOSTS: |\n    {}\n", silent.known_hosts);
    assert!(text.contains(&known), "{text}");
    vsiflow
        .apply(text.replace(&known, ""), &[])
        .exits(2)
        .says("VSI0607")
        .says("KNOWN_HOSTS");
    assert!(!vsiflow.state().exists(), "nobody was asked");
    let insecure = text.replace(&known, "  INSECURE_SKIP_HOST_KEY: \"true\"\n");
    vsiflow
        .apply(insecure, &["--timeout", "1s"])
        .exits(5)
        .says("any host key is accepted");
}

#[test]
fn defect_29_a_key_is_kept_only_where_secrets_are() {
    let vsiflow = Vsiflow::of_documents();
    let text = format!("{}{}", absent(), Vsi::named("web"));
    let ran = vsiflow.apply(&text, &["--timeout", "1s"]).exits(5);
    ran.keeps_quiet_about(SECRET);
    for shown in [
        &["get", "vsi", "web", "-o", "yaml"][..],
        &["describe", "web"],
        &["history", "web", "-o", "json"],
        &["get", "host", "-o", "json"],
    ] {
        vsiflow.run(shown).exits(0).keeps_quiet_about(SECRET);
    }
    let secrets = vsiflow.state().join("secrets");
    let holding = holding(&vsiflow.state());
    assert!(!holding.is_empty(), "it is kept nowhere");
    for file in holding {
        assert!(file.starts_with(&secrets), "{}", file.display());
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}

#[test]
fn a_passphrase_is_kept_only_where_secrets_are() {
    let vsiflow = Vsiflow::of_documents();
    let text = format!("{}{}", absent(), Vsi::named("web"));
    let secret = format!("stringData:\n  KEY_PASSPHRASE: {SECRET}-2\n");
    let text = text.replace(&format!("\n    {SECRET}"), "");
    let text = text.replace("stringData:\n", &secret);
    assert_eq!(text.matches(SECRET).count(), 1);
    let ran = vsiflow.apply(&text, &["--timeout", "1s"]).exits(5);
    ran.keeps_quiet_about(SECRET);
    for shown in [
        &["describe", "web"][..],
        &["history", "web", "-o", "json"],
        &["get", "host", "-o", "json"],
    ] {
        vsiflow.run(shown).exits(0).keeps_quiet_about(SECRET);
    }
    let holding = holding(&vsiflow.state());
    assert_eq!(holding.len(), 1, "{holding:?}");
    assert!(holding[0].starts_with(vsiflow.state().join("secrets")));
}

#[test]
fn the_keys_of_jump_hosts_are_kept_only_where_secrets_are_and_erased_when_replaced() {
    let vsiflow = Vsiflow::of_documents();
    let host = absent();
    let id = format!("root@127.0.0.1:{}", host.port);
    let text = format!("{host}{}", Vsi::named("web"));
    let text = text.replace(&format!("\n    {SECRET}"), "");
    let with = |one: &str, two: &str| {
        let keys = format!(
            "stringData:\n  PROXY_JUMP: 127.0.0.1:1,me@inner\n  PROXY_JUMP_1_KEY: {one}\n  \
             PROXY_JUMP_2_KEY: {two}\n  PROXY_JUMP_2_KEY_PASSPHRASE: {SECRET}-3\n"
        );
        text.replace("stringData:\n", &keys)
    };
    let (one, two) = (format!("{SECRET}-1"), format!("{SECRET}-2"));
    let ran = vsiflow.apply(with(&one, &two), &["--timeout", "1s"]);
    ran.exits(5).keeps_quiet_about(SECRET);
    for shown in [
        &["describe", "web"][..],
        &["history", "web", "-o", "json"],
        &["get", "host", "-o", "json"],
    ] {
        vsiflow.run(shown).exits(0).keeps_quiet_about(SECRET);
    }
    let secrets = vsiflow.state().join("secrets");
    let held = |secret: &str| {
        let holding = holding(&vsiflow.state());
        assert!(holding.iter().all(|file| file.starts_with(&secrets)));
        let texts = holding
            .iter()
            .map(|file| std::fs::read_to_string(file).unwrap());
        texts
            .filter(|file_text| file_text.trim_end() == secret)
            .count()
    };
    assert_eq!(holding(&vsiflow.state()).len(), 3);
    // The first key moves to another position, and the second is replaced.
    let renamed = vsiflow.apply(with("other", &one), &["--timeout", "1s"]);
    renamed.exits(5).keeps_quiet_about(SECRET);
    assert_eq!(held(&two), 0, "what nothing names is erased");
    assert_eq!(held(&one), 1);
    assert_eq!(held(&format!("{SECRET}-3")), 1);
    // Another process uses the recorded jump hosts.
    let message = vsiflow.run(&["host", "check", &id]).exits(1);
    message.says("jump host 1 of 2, root@127.0.0.1:1");
}

#[test]
fn defect_29_a_key_that_stands_in_a_config_map_is_warned_of_and_not_shown() {
    let vsiflow = Vsiflow::of_documents();
    let text = format!("{}{}", absent(), Vsi::named("web"));
    let (map, rest) = text.split_once("---\n").unwrap();
    let (secret, vsi) = rest.split_once("---").unwrap();
    let (_, key) = secret.split_once("stringData:\n").unwrap();
    let ran = vsiflow.apply(format!("{map}{key}---{vsi}"), &["--timeout", "1s"]);
    ran.exits(5)
        .says("warning[VSI0607]: KEY is a secret")
        .says("documents-0.yaml:")
        .says("move it to a Secret with the same labels")
        .keeps_quiet_about(SECRET);
    let safe = vsiflow.apply(text, &["--timeout", "1s"]).exits(5);
    safe.keeps_quiet_about("KEY is a secret");
}

/// The files below a folder that contain the secret.
fn holding(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(holding(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            let secret = SECRET.as_bytes();
            let holds = bytes.windows(secret.len()).any(|window| window == secret);
            found.extend(holds.then_some(path));
        }
    }
    found
}
