//! Tests of TLS connections to a real server, whose certificate is from a private authority.

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU16, Ordering},
};

use super::server::{Server, user};
use crate::{Held, JournalAddress, PostgresError, hold, shards::ShardSet};

fn openssl(dir: &Path, words: &[&str]) {
    let made = Command::new("openssl")
        .args(words)
        .current_dir(dir)
        .output();
    let made = made.unwrap();
    assert!(made.status.success(), "openssl {words:?}: {made:?}");
}

/// An authority, `NAME.pem` with its key.
fn authority(dir: &Path, name: &str) -> PathBuf {
    let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
    let subject = format!("/CN={name}");
    openssl(
        dir,
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            &key,
            "-out",
            &certificate,
            "-subj",
            &subject,
            "-days",
            "2",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
        ],
    );
    dir.join(certificate)
}

/// Creates a server's certificate, `server.pem`, signed by the authority `ca`.
fn certificate(dir: &Path, name: &str) {
    fs::write(
        dir.join("extensions"),
        format!("subjectAltName=DNS:{name}\nbasicConstraints=CA:FALSE\n"),
    )
    .unwrap();
    openssl(
        dir,
        &[
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "server.key",
            "-out",
            "server.csr",
            "-subj",
            "/CN=server",
        ],
    );
    openssl(
        dir,
        &[
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-out",
            "server.pem",
            "-days",
            "2",
            "-extfile",
            "extensions",
        ],
    );
}

/// A free port, from a range that is not assigned automatically.
fn port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() * 2 % 12_000).unwrap();
    let ports = std::iter::repeat_with(|| NEXT.fetch_add(1, Ordering::Relaxed));
    let mut ports = ports.map(|next| 20_000 + (first + next) % 12_000);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(is_free).unwrap()
}

/// A server with this certificate, on its own port.
struct Site {
    server: Server,
    port: u16,
    dir: tempfile::TempDir,
}

impl Site {
    /// `None` is a server without TLS.
    fn start(name: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        for authority_name in ["ca", "other"] {
            authority(dir.path(), authority_name);
        }
        let port = port();
        let mut settings = vec![
            "listen_addresses=localhost".to_owned(),
            format!("port={port}"),
        ];
        if let Some(name) = name {
            certificate(dir.path(), name);
            let key = dir.path().join("server.key");
            fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
            if let Some((user, group)) = user() {
                chown(&key, Some(user), Some(group)).unwrap();
            }
            let file = |file_name: &str| dir.path().join(file_name).display().to_string();
            settings.push("ssl=on".to_owned());
            settings.push(format!("ssl_cert_file={}", file("server.pem")));
            settings.push(format!("ssl_key_file={}", key.display()));
        }
        let settings: Vec<&'static str> = settings
            .into_iter()
            .map(|setting| &*setting.leak())
            .collect();
        let server = Server::with(&settings);
        Self { server, port, dir }
    }

    fn address(&self, host: &str, rest: &str) -> JournalAddress {
        let port = self.port;
        let url = format!("postgres://tester@{host}:{port}/postgres?{rest}");
        url.parse().unwrap()
    }

    fn trusting(&self, host: &str, authority: &str) -> JournalAddress {
        let file = self.dir.path().join(authority).display().to_string();
        let file = file.replace('/', "%2F");
        // A server on the same machine needs no TLS unless it is requested.
        self.address(host, &format!("sslmode=verify-full&sslrootcert={file}"))
    }

    async fn refused(&self, address: &JournalAddress) -> String {
        // A call that waits for temporary errors would wait forever.
        let taken = Box::pin(Held::win(address, hold::LEASE_DURATION, |_| {}));
        let taken = tokio::time::timeout(std::time::Duration::from_secs(60), taken).await;
        let error = taken.unwrap().map(drop).unwrap_err();
        assert_eq!(error.code(), "VSI0839", "{error}");
        error.to_string()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_a_trusted_authority_for_the_servers_name_is_taken_and_no_other() {
    let site = Site::start(Some("localhost"));
    // Encrypted, according to the server.
    let set = ShardSet::make(&site.trusting("localhost", "ca.pem"), 1)
        .await
        .unwrap();
    let encrypted = site
        .server
        .sql("SELECT count(*) FROM pg_stat_ssl WHERE ssl");
    assert_ne!(encrypted, "0");
    drop(set);
    let other = site.refused(&site.trusting("localhost", "other.pem")).await;
    assert!(other.contains("authority that is not trusted"), "{other}");
    let system = site
        .refused(&site.address("localhost", "sslmode=verify-full"))
        .await;
    assert!(system.contains("authority that is not trusted"), "{system}");
    let name = site.refused(&site.trusting("127.0.0.1", "ca.pem")).await;
    assert!(name.contains("another server's"), "{name}");
    assert!(name.contains("localhost"), "{name}");
    // Every mode verifies fully.
    for mode in ["require", "verify-ca", "prefer", "allow"] {
        let address = site.address("localhost", &format!("sslmode={mode}"));
        site.refused(&address).await;
    }
    assert!(!site.dir.path().join("gone.pem").exists());
    let gone = Held::take(
        &site.trusting("localhost", "gone.pem"),
        hold::LEASE_DURATION,
    )
    .await;
    let gone = gone.map(drop).unwrap_err();
    assert!(matches!(gone, PostgresError::Address(_)), "{gone}");
    assert!(gone.to_string().contains("gone.pem"), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_used_only_where_that_is_said() {
    let site = Site::start(None);
    let plain = site.refused(&site.trusting("localhost", "ca.pem")).await;
    assert!(plain.contains("speaks no TLS"), "{plain}");
    let address = site.address("localhost", "sslmode=disable");
    let held = Held::take(&address, hold::LEASE_DURATION).await.unwrap();
    held.release().await;
}
