//! Compares the judgement on a host's key with that of OpenSSH's client.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use russh::keys::PrivateKey;
use tokio::net::TcpListener;

use super::*;

/// Of the combinations with other names and first lines, one in this many is tried, unless
/// `VSIFLOW_OPENSSH_STRIDE` says otherwise. It has no factor in common with their numbers.
const STRIDE: usize = 19;

const HOST: &str = "127.0.0.1";

struct DenyLogins;

impl russh::server::Handler for DenyLogins {
    type Error = russh::Error;
}

/// Serves SSH with this host key; no login succeeds.
async fn serve(listener: TcpListener, key: PrivateKey) {
    let config = Arc::new(russh::server::Config {
        keys: vec![key],
        auth_rejection_time: Duration::ZERO,
        ..Default::default()
    });
    while let Ok((stream, _)) = listener.accept().await {
        let session = russh::server::run_stream(Arc::clone(&config), stream, DenyLogins).await;
        if let Ok(session) = session {
            let _ = session.await;
        }
    }
}

/// Whether `ssh` takes the server for the host: it then fails at the login.
async fn ssh_trusts(dir: &Path, port: u16, lines: &str) -> bool {
    let file = dir.join("known_hosts");
    std::fs::write(&file, lines).unwrap();
    let output = tokio::process::Command::new("ssh")
        .args([
            "-F",
            "none",
            "-oBatchMode=yes",
            "-oStrictHostKeyChecking=yes",
        ])
        .args([
            "-oGlobalKnownHostsFile=/dev/null",
            "-oPreferredAuthentications=none",
        ])
        .arg(format!("-oUserKnownHostsFile={}", file.display()))
        .args(["-p", &port.to_string(), "user@127.0.0.1", "true"])
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let trusts = said.contains("Permission denied");
    assert!(
        trusts || said.contains("Host key verification failed"),
        "{lines}{said}"
    );
    trusts
}

fn keygen(dir: &Path, arguments: &str) {
    let status = Command::new("ssh-keygen")
        .current_dir(dir)
        .args(arguments.split(' '))
        .status()
        .unwrap();
    assert!(status.success(), "{arguments}");
}

/// The first two fields of a public key.
fn public(dir: &Path, name: &str) -> String {
    let text = std::fs::read_to_string(dir.join(name)).unwrap();
    let fields: Vec<_> = text.split(' ').take(2).collect();
    fields.join(" ")
}

/// A key of a security key, which no program can make without one.
fn security_key(kind: &str, rest: &[&[u8]]) -> String {
    let fields = std::iter::once(kind.as_bytes()).chain(rest.iter().copied());
    let blob = fields.flat_map(|field| {
        let length = u32::try_from(field.len()).unwrap().to_be_bytes();
        length.into_iter().chain(field.iter().copied())
    });
    format!("{kind} {}", BASE64.encode(blob.collect::<Vec<_>>()))
}

/// The number after which the next combination is tried.
fn stride() -> usize {
    let set = std::env::var("VSIFLOW_OPENSSH_STRIDE");
    set.map_or(STRIDE, |stride| stride.parse().unwrap())
}

/// The keys of security keys, in files that `ssh-keygen` can certify.
fn security_keys(dir: &Path) {
    let plain = public(dir, "ecdsa256.pub");
    let (_, data) = plain.split_once(' ').unwrap();
    let blob = BASE64.decode(data).unwrap();
    let (_, point) = blob.split_at(blob.len() - 65);
    let ed25519 = security_key("sk-ssh-ed25519@openssh.com", &[&[7; 32], b"ssh:"]);
    let ecdsa = security_key(
        "sk-ecdsa-sha2-nistp256@openssh.com",
        &[b"nistp256", point, b"ssh:"],
    );
    std::fs::write(dir.join("sk-ed25519.pub"), ed25519).unwrap();
    std::fs::write(dir.join("sk-ecdsa.pub"), ecdsa).unwrap();
}

/// The keys of which a certificate is tried.
const CERTIFIED: [&str; 7] = [
    "host",
    "ecdsa256",
    "ecdsa384",
    "ecdsa521",
    "rsa",
    "sk-ed25519",
    "sk-ecdsa",
];

/// Every text of a key that is tried: the host's own first, others, and broken ones.
fn keys(dir: &Path) -> Vec<String> {
    for name in ["host", "other", "authority"] {
        keygen(dir, &format!("-q -t ed25519 -N  -f {name}"));
    }
    for bits in ["256", "384", "521"] {
        keygen(dir, &format!("-q -t ecdsa -b {bits} -N  -f ecdsa{bits}"));
    }
    keygen(dir, "-q -t rsa -b 2048 -N  -f rsa");
    security_keys(dir);
    for certified in CERTIFIED {
        let what = format!("-q -s authority -h -I x -n 127.0.0.1 {certified}.pub");
        keygen(dir, &what);
    }
    let host = public(dir, "host.pub");
    let (_, data) = host.split_once(' ').unwrap();
    let certificates = CERTIFIED.map(|name| public(dir, &format!("{name}-cert.pub")));
    let plain = CERTIFIED.map(|name| public(dir, &format!("{name}.pub")));
    let others = [
        public(dir, "other.pub"),
        public(dir, "authority.pub"),
        security_key(
            "sk-ecdsa-sha2-nistp256@openssh.com",
            &[b"nistp256", &[4; 65], b"ssh:"],
        ),
        format!("ssh-dss {data}"),
        format!("ssh-unknown {data}"),
        format!("ssh-rsa {data}"),
        format!("ssh-ed25519 {}!", &data[..30]),
        "ssh-ed25519".to_owned(),
    ];
    plain
        .into_iter()
        .chain(certificates)
        .chain(others)
        .collect()
}

#[tokio::test]
async fn no_key_is_trusted_that_openssh_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let keys = keys(dir.path());
    let key = PublicKey::from_openssh(&keys[0]).unwrap();
    let private = std::fs::read_to_string(dir.path().join("host")).unwrap();
    let private = PrivateKey::from_openssh(private).unwrap();
    let listener = TcpListener::bind((HOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(serve(listener, private));
    let with_port = format!("[{HOST}]:{port}");
    let excluded = format!("*,!{with_port}");
    let names = ["*", HOST, &with_port, "other", "!127.0.0.1,*", &excluded];
    let markers = [
        "",
        "@revoked ",
        "@cert-authority ",
        "@Revoked ",
        "@revoked @revoked ",
    ];
    let trusted = [
        format!("{with_port} {}\n", keys[0]),
        format!("{HOST} {}\n", keys[0]),
        String::new(),
    ];
    let lines_after = |first: &str, name: &str| -> Vec<String> {
        let starts = markers.map(|marker| format!("{first}{marker}{name}"));
        let pairs = starts
            .iter()
            .flat_map(|start| keys.iter().map(move |listed| (start, listed)));
        pairs
            .map(|(start, listed)| format!("{start} {listed}\n"))
            .collect()
    };
    let [trusted_first, ..] = &trusted;
    let pairs = trusted
        .iter()
        .flat_map(|first| names.map(|name| (first, name)));
    let others = pairs.filter(|(first, name)| *first != trusted_first || *name != "*");
    let others = others.flat_map(|(first, name)| lines_after(first, name));
    let others = others.step_by(stride());
    let mut trusts = 0;
    for lines in lines_after(trusted_first, "*").into_iter().chain(others) {
        let openssh = ssh_trusts(dir.path(), port, &lines).await;
        match KnownHost::find(&lines, HOST, port).check(&key) {
            Ok(()) => {
                trusts += 1;
                assert!(openssh, "{lines}");
            }
            // OpenSSH passes over a line that it cannot read.
            Err(ConnectError::KnownHosts(why)) if why.contains("cannot be read") => {}
            Err(refused) => assert!(!openssh, "{refused}: {lines}"),
        }
    }
    assert!(trusts > 3, "{trusts}");
    server.abort();
}
