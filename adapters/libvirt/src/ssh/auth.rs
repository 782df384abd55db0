//! Logs in to an SSH server.

mod cost;
mod encryption;

use std::sync::Arc;

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use vsiflow_engine::secret::Secret;

use super::client::HostKeyVerifier;
use super::{Identity, SshConfig};
use crate::connect_error::{ConnectError, KeyProblem};
use crate::known_hosts::describe;

/// How many keys of an agent are tried: a server closes the connection after six failures (`MaxAuthTries` in
/// `sshd_config`).
const AGENT_KEYS: usize = 5;

/// Logs in with the configured identity.
pub(super) async fn log_in(
    handle: &mut Handle<HostKeyVerifier>,
    config: &SshConfig,
) -> Result<(), ConnectError> {
    let tried = match &config.identity {
        Identity::Key { text, passphrase } => {
            let key = opened(text.clone(), passphrase.clone()).await?;
            with_key(handle, config, key).await?
        }
        Identity::KeyFile { path, passphrase } => {
            let text = tokio::fs::read(path).await.map_err(|error| {
                let path = path.display().to_string();
                ConnectError::Key(KeyProblem::Unreadable {
                    path,
                    message: error.to_string(),
                })
            })?;
            let key = opened(Secret::new(text), passphrase.clone()).await?;
            with_key(handle, config, key).await?
        }
        Identity::Agent { socket } => with_agent(handle, config, socket).await?,
    };
    match tried {
        Tried::Accepted => Ok(()),
        Tried::Refused(tried) => Err(ConnectError::AuthRefused {
            host: config.host.clone(),
            user: config.user.clone(),
            tried,
        }),
    }
}

enum Tried {
    Accepted,
    Refused(Vec<String>),
}

async fn with_key(
    handle: &mut Handle<HostKeyVerifier>,
    config: &SshConfig,
    key: PrivateKey,
) -> Result<Tried, ConnectError> {
    let described = describe(key.public_key());
    let hash = rsa_hash(handle, config, key.public_key()).await?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), hash);
    let result = handle.authenticate_publickey(&config.user, key).await;
    match result.map_err(|error| failed(config, &error))? {
        AuthResult::Success => Ok(Tried::Accepted),
        AuthResult::Failure { .. } => Ok(Tried::Refused(vec![described])),
    }
}

async fn with_agent(
    handle: &mut Handle<HostKeyVerifier>,
    config: &SshConfig,
    socket: &std::path::Path,
) -> Result<Tried, ConnectError> {
    let no_agent = |message: String| ConnectError::Key(KeyProblem::NoAgent(message));
    let mut agent = AgentClient::connect_uds(socket)
        .await
        .map_err(|e| no_agent(e.to_string()))?;
    let identities = agent
        .request_identities()
        .await
        .map_err(|e| no_agent(e.to_string()))?;
    let mut tried = Vec::new();
    for key in identities
        .into_iter()
        .filter_map(plain_key)
        .take(AGENT_KEYS)
    {
        tried.push(describe(&key));
        let hash = rsa_hash(handle, config, &key).await?;
        let result = handle
            .authenticate_publickey_with(&config.user, key, hash, &mut agent)
            .await;
        match result {
            Ok(AuthResult::Success) => return Ok(Tried::Accepted),
            Ok(AuthResult::Failure { .. }) => {}
            // An agent that refuses one key may still sign with the next.
            Err(error) => tracing::debug!(%error, "the agent does not sign"),
        }
    }
    if tried.is_empty() {
        return Err(no_agent(format!(
            "the agent at {} holds no key",
            socket.display()
        )));
    }
    Ok(Tried::Refused(tried))
}

fn plain_key(identity: AgentIdentity) -> Option<PublicKey> {
    match identity {
        AgentIdentity::PublicKey { key, .. } => Some(key),
        AgentIdentity::Certificate { .. } => None,
    }
}

/// The hash for signatures of an RSA key: the server's preferred one, but never SHA-1.
async fn rsa_hash(
    handle: &Handle<HostKeyVerifier>,
    config: &SshConfig,
    key: &PublicKey,
) -> Result<Option<HashAlg>, ConnectError> {
    if !matches!(key.algorithm(), Algorithm::Rsa { .. }) {
        return Ok(None);
    }
    let best = handle
        .best_supported_rsa_hash()
        .await
        .map_err(|error| failed(config, &error))?;
    Ok(best.flatten().or(Some(HashAlg::Sha256)))
}

fn failed(config: &SshConfig, error: &russh::Error) -> ConnectError {
    ConnectError::Ssh {
        host: config.host.clone(),
        message: error.to_string(),
    }
}

/// Decodes a private key in a separate thread, because decrypting takes a while.
async fn opened(text: Secret, passphrase: Option<Secret>) -> Result<PrivateKey, ConnectError> {
    let decoded = tokio::task::spawn_blocking(move || decode(&text, passphrase.as_ref())).await;
    decoded.unwrap_or_else(|_| {
        let reason = "reading it failed".to_owned();
        Err(ConnectError::Key(KeyProblem::Malformed(reason)))
    })
}

/// Decodes a private key.
fn decode(text: &Secret, passphrase: Option<&Secret>) -> Result<PrivateKey, ConnectError> {
    let malformed = |reason: &str| ConnectError::Key(KeyProblem::Malformed(reason.to_owned()));
    let text = text
        .expose_str()
        .ok_or_else(|| malformed("it is not text"))?;
    let text = tidy(text);
    if let Some(other) = other_than_private(&text) {
        return Err(malformed(other));
    }
    if let Some(encryption) = encryption::unsupported(&text) {
        let problem = KeyProblem::UnsupportedEncryption(encryption);
        return Err(ConnectError::Key(problem));
    }
    let passphrase = match passphrase.filter(|_| !is_plain(&text)) {
        Some(secret) => {
            cost::check(&text).map_err(ConnectError::Key)?;
            Some(
                secret
                    .expose_str()
                    .ok_or_else(|| malformed("its passphrase is not text"))?,
            )
        }
        None => None,
    };
    russh::keys::decode_secret_key(&text, passphrase).map_err(|error| {
        let problem = match (looks_encrypted(&text) || is_encrypted(&error), passphrase) {
            (true, None) => KeyProblem::Encrypted,
            (true, Some(_)) => KeyProblem::WrongPassphrase,
            (false, _) => KeyProblem::Malformed(error.to_string()),
        };
        ConnectError::Key(problem)
    })
}

/// What the text is, if it is the other half of a key.
fn other_than_private(text: &str) -> Option<&'static str> {
    let begins = |beginnings: &[&str]| beginnings.iter().any(|start| text.starts_with(start));
    let line = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
    let block = [
        "---- BEGIN SSH2 PUBLIC KEY",
        "-----BEGIN PUBLIC KEY",
        "-----BEGIN RSA PUBLIC KEY",
    ];
    if begins(&line) || begins(&block) {
        return Some("it is the public key");
    }
    begins(&["-----BEGIN CERTIFICATE"]).then_some("it is a certificate")
}

/// A key pasted into YAML may have indentation or other line ends, and one from Windows a byte order mark.
fn tidy(text: &str) -> zeroize::Zeroizing<String> {
    let mut tidy = zeroize::Zeroizing::new(String::with_capacity(text.len().saturating_add(1)));
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for line in text.lines() {
        tidy.push_str(line.trim());
        tidy.push('\n');
    }
    tidy
}

/// Whether it is a key of PKCS#8 or SEC1 that is not encrypted. The library would decrypt it with a passphrase.
fn is_plain(text: &str) -> bool {
    let mut begins = ["-----BEGIN PRIVATE KEY", "-----BEGIN EC PRIVATE KEY"].into_iter();
    begins.any(|begin| text.contains(begin)) && !looks_encrypted(text)
}

fn looks_encrypted(text: &str) -> bool {
    text.contains("ENCRYPTED")
}

fn is_encrypted(error: &russh::keys::Error) -> bool {
    use russh::keys::ssh_key::Error as KeyError;
    matches!(
        error,
        russh::keys::Error::KeyIsEncrypted
            | russh::keys::Error::SshKey(KeyError::Encrypted | KeyError::Crypto)
    )
}

#[cfg(test)]
mod tests;
