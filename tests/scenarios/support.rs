//! The support bundle: what it contains, and that it contains no secrets.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use vsiflow_tests::{Host, Vsi, Vsiflow};

/// Planted in user-data, a contract, a key, a token, a query and a password.
const SECRETS: [&str; 6] = [
    "PLANTED-user-data-9f31",
    "PLANTED-contract-77ab",
    "PLANTEDkeyPLANTEDkeyPLANTEDkey",
    "PLANTED-image-token-04cd",
    "PLANTED-query-55e2",
    "PLANTED-password-3b1f",
];

fn documents() -> String {
    let [user_data, contract, key, token, query, password] = SECRETS;
    let image = format!("http://user:{password}@127.0.0.1:9/image.qcow2?signature={query}");
    let host = Host {
        label: "lab".to_owned(),
        hostname: "127.0.0.1".to_owned(),
        port: 9,
        known_hosts: "[127.0.0.1]:9 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ".to_owned(),
        key: format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{key}\n-----END OPENSSH PRIVATE KEY-----\n"),
    };
    let host = host.to_string().replacen(
        "stringData:\n",
        &format!(
            "stringData:\n  IMAGE_SERVER: \"127.0.0.1:9\"\n  IMAGE_ALLOW_INSECURE: \"true\"\n  IMAGE_TOKEN: {token}\n"
        ),
        1,
    );
    let sealed = Vsi::named("sealed")
        .image(image.as_str())
        .contract(&format!("env: x\nworkload: {contract}\n"));
    let plain = format!(
        "apiVersion: vsiflow.io/v1\nkind: VirtualServer\nmetadata: {{name: plain}}\nspec:\n  \
         imageURL: {image}\n  storagePool: images\n  targetSelector: {{matchLabels: {{config: lab}}}}\n  \
         guest:\n    type: cloudInit\n    userData: |\n      #cloud-config\n      password: {user_data}\n"
    );
    format!("{host}\n{sealed}---\n{plain}")
}

/// Makes and unpacks a support bundle; returns all its files as one text.
fn packed(vsiflow: &Vsiflow, name: &str, more: &[&str]) -> String {
    let file = vsiflow.folder().join(name);
    let words = [&["support-bundle", file.to_str().unwrap()], more].concat();
    vsiflow.run(&words).exits(0).says("read it before");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut tar = Command::new("tar");
    let out = tar.arg("-xOzf").arg(&file).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    let mut list = Command::new("tar");
    let listed = list.arg("-tzf").arg(&file).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for part in [
        "doctor.txt",
        "versions.txt",
        "config.json",
        "vsi.json",
        "journal.jsonl",
    ] {
        assert!(listed.contains(part), "{listed}");
    }
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Asserts that no secret is in the text: neither verbatim, in hexadecimal, nor in base64 at any
/// alignment.
fn assert_nothing_secret(text: &str) {
    for secret in SECRETS {
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut forms = vec![secret.to_owned(), hex];
        for before in ["", "a", "ab"] {
            let padded = format!("{before}{secret}");
            let whole = &padded[..padded.len() / 3 * 3];
            let mut base64 = Command::new("base64");
            let path =
                std::env::temp_dir().join(format!("vsiflow-{}-{before}", std::process::id()));
            fs::write(&path, whole).unwrap();
            let encoded = base64.args(["-w", "0"]).arg(&path).output().unwrap();
            fs::remove_file(&path).unwrap();
            let encoded = String::from_utf8(encoded.stdout).unwrap();
            let from = if before.is_empty() { 0 } else { 4 };
            forms.push(encoded[from..].to_owned());
        }
        for form in forms {
            assert!(
                form.len() > 8 && !text.contains(&form),
                "{secret} as {form}"
            );
        }
    }
}

#[test]
fn a_support_bundle_holds_what_helps_and_no_secret() {
    let vsiflow = Vsiflow::of_documents();
    let applied = vsiflow.apply(documents(), &["--timeout", "3s"]);
    assert_ne!(applied.code, Some(2), "{applied:?}");
    // Without the planted secrets in the state directory, the test would show nothing.
    let mut grep = Command::new("grep");
    let found = grep
        .args(["-rhoc", "PLANTED"])
        .arg(vsiflow.state().join("secrets"));
    let found = String::from_utf8(found.output().unwrap().stdout).unwrap();
    let held = found.lines().filter(|count| *count != "0").count();
    assert!(held >= 5, "{found}");
    let log = format!(
        "a line\nleaked by somebody: {} and {}\n",
        SECRETS[0], SECRETS[3]
    );
    let log = vsiflow.write("daemon.log", &log);
    let log = ["--log", log.to_str().unwrap()];
    let text = packed(&vsiflow, "one.tar.gz", &log);
    assert_nothing_secret(&text);
    assert!(text.contains("leaked by somebody: (secret) and (secret)"));
    assert!(text.contains("\"name\": \"sealed\"") && text.contains("run_started"));

    let daemon = vsiflow.serve(&[]);
    let second_text = packed(&vsiflow, "two.tar.gz", &log);
    assert_nothing_secret(&second_text);
    assert!(second_text.contains("run_started"));
    daemon.terminate();
    daemon.end(60).exits(0);
    // An existing file is not overwritten.
    vsiflow
        .run(&["support-bundle", "one.tar.gz"])
        .exits(1)
        .says("VSI0908");
}

#[test]
fn there_is_no_support_bundle_of_nothing() {
    let vsiflow = Vsiflow::simulated();
    vsiflow.run(&["support-bundle"]).exits(3).says("VSI0907");
    assert!(!vsiflow.state().exists());
}
