//! Renewals of honest servers and of others.

use std::time::Duration;

use russh::keys::PrivateKey;
use russh::server::{Auth, Config, Handler, Session};
use russh::{Channel, ChannelId, Limits};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::time::{advance, timeout};
use vsiflow_engine::lease::Lease;
use vsiflow_engine::secret::Secret;

use super::*;
use crate::ssh::{HostKeys, Identity, SshConfig, SshSession};

#[tokio::test(start_paused = true)]
async fn renewals_count_if_little_was_sent_since_the_last_one() {
    let traffic = Arc::<AtomicU64>::default();
    let mut renewals = KeyRenewals::new(Arc::clone(&traffic));
    for _ in 0..=MOST {
        assert_eq!(renewals.note(), Ok(()));
    }
    assert_eq!(renewals.note(), Err(TooManyRenewals));
    advance(WITHIN).await;
    assert_eq!(renewals.note(), Ok(()), "those are past");
    for _ in 0..1_000 {
        traffic.fetch_add(PAID_BY, Ordering::Relaxed);
        assert_eq!(renewals.note(), Ok(()), "by volume");
    }
    for _ in 0..1_000 {
        advance(APART).await;
        assert_eq!(renewals.note(), Ok(()), "by time");
    }
}

/// Accepts everybody, and reads what comes.
struct AcceptAll;

impl Handler for AcceptAll {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _user: &str,
        _key: russh::server::VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<russh::server::Msg>,
        _path: &str,
        reply: russh::server::ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn data(
        &mut self,
        _channel: ChannelId,
        _data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// A new key as text.
fn new_key() -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("key");
    let mut keygen = std::process::Command::new("ssh-keygen");
    let keygen = keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
    assert!(keygen.arg(&file).status().unwrap().success());
    std::fs::read_to_string(file).unwrap()
}

/// A session with a server that renews keys at these limits.
async fn session_with(limits: Limits) -> SshSession {
    let served = Arc::new(Config {
        keys: vec![PrivateKey::from_openssh(new_key()).unwrap()],
        limits,
        ..Config::default()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let session = russh::server::run_stream(served, stream, AcceptAll).await;
        let _ = session.unwrap().await;
    });
    let config = SshConfig {
        host: "127.0.0.1".to_owned(),
        port,
        user: "u".to_owned(),
        identity: Identity::Key {
            text: Secret::new(new_key()),
            passphrase: None,
        },
        host_keys: HostKeys::InsecureAcceptAny,
        owner: "host/h".into(),
        connect_timeout: Duration::from_secs(10),
        jumps: Vec::new(),
    };
    SshSession::connect(&config, Lease::endless())
        .await
        .unwrap()
}

#[tokio::test]
async fn a_server_that_renews_the_keys_all_the_time_loses_its_session() {
    let session = session_with(Limits::new(1 << 30, 1 << 30, Duration::from_millis(20))).await;
    let ended = async {
        while !session.is_closed() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(timeout(Duration::from_secs(5), ended).await.is_ok());
}

#[tokio::test]
async fn a_server_that_renews_the_keys_by_volume_keeps_its_session_during_a_fast_upload() {
    let volume = usize::try_from(PAID_BY).unwrap() + (1 << 20);
    let session = session_with(Limits::new(1 << 30, volume, Duration::from_secs(3600))).await;
    let within = Duration::from_secs(5);
    let mut channel = session.open_streamlocal("/s", within).await.unwrap();
    let piece = vec![7; 1 << 20];
    for _ in 0..volume * 8 / piece.len() {
        channel.write_all(&piece).await.unwrap();
    }
    channel.flush().await.unwrap();
    assert!(!session.is_closed());
}
