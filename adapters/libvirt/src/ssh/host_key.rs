//! Decides whether a server is the expected host, and how often it may renew the session's keys.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use russh::Names;
use russh::client::{Handler, Session};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PublicKeyOrCertificate};
use vsiflow_engine::low_priority;
use vsiflow_steps::turns::WorkTurns;

use super::renewals::KeyRenewals;
use super::{HostKeys, SshConfig};
use crate::connect_error::ConnectError;
use crate::known_hosts::KnownHost;

/// Known hosts are matched at once up to this product of their length and that of the host's name.
const AT_ONCE: usize = 1 << 20;

/// The accepted host key algorithms, best first; never a signature with SHA-1.
const HOST_KEYS: &[Algorithm] = &[
    Algorithm::Ed25519,
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP256,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP384,
    },
    Algorithm::Ecdsa {
        curve: EcdsaCurve::NistP521,
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha512),
    },
    Algorithm::Rsa {
        hash: Some(HashAlg::Sha256),
    },
];

/// Decides whether a server is the expected host.
pub(super) struct HostKeyVerifier {
    host: String,
    /// `None` if any key is accepted.
    known: Option<KnownHost>,
    renewals: KeyRenewals,
}

/// What the known hosts say about a host; `None` if any key is accepted. Matching a text takes time proportional to the
/// product of its length and the name's, so a long one is matched outside of the runtime's threads, in a turn of the
/// owner.
pub(super) async fn known_host(config: &SshConfig) -> Result<Option<KnownHost>, ConnectError> {
    let text = match &config.host_keys {
        HostKeys::Known(text) => text.clone(),
        HostKeys::KnownFile(path) => {
            let bytes = tokio::fs::read(path).await.map_err(|error| {
                ConnectError::KnownHosts(format!("{}: {error}", path.display()))
            })?;
            // A comment may be in any encoding; a name of a host is ASCII.
            String::from_utf8_lossy(&bytes).into_owned()
        }
        HostKeys::InsecureAcceptAny => return Ok(None),
    };
    let (host, port) = (config.host.clone(), config.port);
    if text.len().saturating_mul(host.len()) <= AT_ONCE {
        return Ok(Some(KnownHost::find(&text, &host, port)));
    }
    let turn = WorkTurns::current().take(&config.owner).await;
    let work = move || {
        let _turn = turn;
        KnownHost::find(&text, &host, port)
    };
    let known_host = low_priority::aside(work).await;
    known_host
        .map(Some)
        .map_err(|_| ConnectError::KnownHosts("reading them failed".to_owned()))
}

impl HostKeyVerifier {
    /// Judges by what the known hosts say; `traffic` counts the bytes of the session.
    pub(super) fn new(
        config: &SshConfig,
        known: Option<KnownHost>,
        traffic: Arc<AtomicU64>,
    ) -> Self {
        Self {
            host: config.host.clone(),
            known,
            renewals: KeyRenewals::new(traffic),
        }
    }

    /// Certificates are requested only if the host has an authority, because a server prefers to present
    /// them.
    pub(super) fn certificate_algorithms(&self) -> &'static [Algorithm] {
        match &self.known {
            Some(known) if known.has_authorities() => HOST_KEYS,
            _ => &[],
        }
    }

    /// The algorithms of known keys come first. Otherwise a server with several keys could present an unknown
    /// one, and be taken for an impostor.
    pub(super) fn key_algorithms(&self) -> Vec<Algorithm> {
        let known_algorithms = self
            .known
            .as_ref()
            .map(KnownHost::algorithms)
            .unwrap_or_default();
        let same_kind = |one: &Algorithm, other: &Algorithm| match (one, other) {
            (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
            _ => one == other,
        };
        let is_known = |offered: &&Algorithm| {
            known_algorithms
                .iter()
                .any(|algorithm| same_kind(algorithm, offered))
        };
        let (mut first, rest): (Vec<_>, Vec<_>) = HOST_KEYS.iter().partition(is_known);
        first.extend(rest);
        first.into_iter().cloned().collect()
    }
}

/// Why a handshake failed.
#[derive(Debug)]
pub(super) enum HandshakeError {
    Host(ConnectError),
    Ssh(russh::Error),
}

impl From<russh::Error> for HandshakeError {
    fn from(error: russh::Error) -> Self {
        Self::Ssh(error)
    }
}

impl HandshakeError {
    pub(super) fn into_connect_error(self, host: &str) -> ConnectError {
        match self {
            Self::Host(error) => error,
            Self::Ssh(error) => ConnectError::Ssh {
                host: host.to_owned(),
                message: error.to_string(),
            },
        }
    }
}

impl Handler for HostKeyVerifier {
    type Error = HandshakeError;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let Some(known_host) = &self.known else {
            return Ok(true);
        };
        match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                known_host.check(key).map_err(HandshakeError::Host)?;
                Ok(true)
            }
            PublicKeyOrCertificate::Certificate(certificate) => {
                let judged = known_host.check_certificate(certificate);
                judged.map_err(HandshakeError::Host)?;
                Ok(true)
            }
        }
    }

    async fn kex_done(
        &mut self,
        _secret: Option<&[u8]>,
        _names: &Names,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.renewals.note().map_err(|too_many| {
            let (host, message) = (self.host.clone(), too_many.to_string());
            tracing::warn!(host, message, "the SSH session ends");
            HandshakeError::Host(ConnectError::Ssh { host, message })
        })
    }
}
