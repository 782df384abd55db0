//! Logs in to an SSH server.

mod cost;
mod decoding;
mod encryption;
mod opening;

use std::sync::Arc;

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey};
use vsiflow_engine::secret::Secret;

use self::decoding::GivenKey;
use self::opening::opened;
use super::host_key::HostKeyVerifier;
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
            let given_key = GivenKey::new(text.clone(), passphrase.clone());
            let key = opened(given_key, &config.owner).await?;
            with_key(handle, config, key).await?
        }
        Identity::KeyFile { path, passphrase } => {
            let text = tokio::fs::read(path).await.map_err(|error| {
                ConnectError::Key(KeyProblem::Unreadable {
                    path: path.display().to_string(),
                    message: error.to_string(),
                })
            })?;
            let given_key = GivenKey::new(Secret::new(text), passphrase.clone());
            let key = opened(given_key, &config.owner).await?;
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

#[cfg(test)]
mod tests;
