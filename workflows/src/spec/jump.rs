//! Jump hosts: SSH servers that a host is reached through.

use std::fmt;

use serde::{Deserialize, Serialize};
use vsiflow_engine::secret::Secret;

use super::host::{DEFAULT_PORT, DEFAULT_USER, is_host, is_word};

/// The most jump hosts of one host.
pub const MAX_JUMPS: usize = 4;

/// How a jump host is reached, without secrets; may be stored and shown. Missing login settings are
/// those of the host behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JumpHost {
    /// Name or address, as the previous jump host resolves it.
    pub host: String,
    /// The SSH daemon's port.
    pub port: u16,
    /// The user.
    pub user: String,
    /// A file with the private key, on the machine vsiflow runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
    /// Lines of known hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_hosts: Option<String>,
    /// A file with known hosts, on the machine vsiflow runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_hosts_file: Option<String>,
}

/// The secrets of a jump host; without any, those of the host behind it are used.
#[derive(Clone, Debug, Default)]
pub struct JumpSecrets {
    /// The private SSH key, if it was given as text.
    pub key: Option<Secret>,
    /// The passphrase of its private key, if that is encrypted; also for a key in a file.
    pub key_passphrase: Option<Secret>,
}

impl JumpSecrets {
    /// The secrets that exist.
    pub fn iter(&self) -> impl Iterator<Item = &Secret> {
        [&self.key, &self.key_passphrase].into_iter().flatten()
    }

    /// Whether both have equal secrets.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        let bytes = |secret: &Option<Secret>| secret.as_ref().map(|s| s.expose().to_vec());
        bytes(&self.key) == bytes(&other.key)
            && bytes(&self.key_passphrase) == bytes(&other.key_passphrase)
    }
}

impl JumpHost {
    /// Parses `[USER@]HOST[:PORT]`.
    ///
    /// # Errors
    /// With what is wrong.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (user, at) = text.rsplit_once('@').unwrap_or((DEFAULT_USER, text));
        let (host, port) = host_and_port(at)?;
        if !is_host(host) {
            return Err("this is not a host name or address");
        }
        if !is_word(user) || user.contains(',') {
            return Err("this is not a user name");
        }
        Ok(Self {
            host: host.to_owned(),
            port,
            user: user.to_owned(),
            key_file: None,
            known_hosts: None,
            known_hosts_file: None,
        })
    }

    /// Parses jump hosts separated by commas, in order.
    ///
    /// # Errors
    /// With what is wrong.
    pub(super) fn list(text: &str) -> Result<Vec<Self>, String> {
        let read = |one: &str| {
            let one = one.trim();
            Self::parse(one).map_err(|why| format!("{one:?}: {why}"))
        };
        let all = text.split(',').map(read).collect::<Result<Vec<_>, _>>()?;
        Self::check_count(all.len())?;
        Ok(all)
    }

    /// Refuses too many jump hosts.
    pub(super) fn check_count(count: usize) -> Result<(), String> {
        if count > MAX_JUMPS {
            Err(format!("at most {MAX_JUMPS} jump hosts are possible"))
        } else {
            Ok(())
        }
    }
}

impl fmt::Display for JumpHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            host, port, user, ..
        } = self;
        if host.contains(':') {
            write!(f, "{user}@[{host}]:{port}")
        } else {
            write!(f, "{user}@{host}:{port}")
        }
    }
}

/// Splits host and port. An IPv6 address is in brackets, else its end would look like a port.
fn host_and_port(text: &str) -> Result<(&str, u16), &'static str> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("a bracket is not closed")?;
            match rest {
                "" => (host, None),
                rest => (
                    host,
                    Some(rest.strip_prefix(':').ok_or("this is not a port")?),
                ),
            }
        }
        None => match text.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address needs brackets");
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = match port.map(str::parse) {
        None => DEFAULT_PORT,
        Some(Ok(port)) if port > 0 => port,
        Some(_) => return Err("a port is between 1 and 65535"),
    };
    Ok((host, port))
}
