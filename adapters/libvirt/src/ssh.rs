//! The SSH session with a host: whom to trust, who we are, channels to sockets and commands.
//!
//! One session a host carries several channels. GCM ciphers are offered first where this end has AES
//! instructions, because they are the fastest where both ends do (measured: aes128-gcm 438 MiB/s,
//! aes256-gcm 297, chacha20 242); elsewhere chacha20 is.

mod auth;
mod client;
mod exec;
mod process;
mod route;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use vsiflow_engine::secret::Secret;

pub use client::SshSession;
pub use exec::{ExecError, ExecOutput};
pub use process::{SshInput, SshProcess};

pub(crate) use exec::run_locally;

/// Where and how to log in.
#[derive(Debug, Clone)]
pub struct SshConfig {
    /// The host's name or address.
    pub host: String,
    /// Its port, usually 22.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// What proves that it is us.
    pub identity: Identity,
    /// What proves that it is the host.
    pub host_keys: HostKeys,
    /// How long connecting and logging in there may take; each jump host has a time of its own.
    pub connect_timeout: Duration,
    /// The jump hosts in the order of the way; what they themselves say of jump hosts does not count.
    pub jumps: Vec<SshConfig>,
}

impl fmt::Display for SshConfig {
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

/// What proves that it is us. Keys are Ed25519, ECDSA or RSA (at least rsa-sha2-256), in OpenSSH's
/// format or as PEM: PKCS#1, PKCS#8, SEC1.
#[derive(Debug, Clone)]
pub enum Identity {
    /// A private key's text.
    Key {
        /// The text.
        text: Secret,
        /// What opens it, where it is encrypted.
        passphrase: Option<Secret>,
    },
    /// A private key's file, read at each connect.
    KeyFile {
        /// Where it is.
        path: PathBuf,
        /// What opens it, where it is encrypted.
        passphrase: Option<Secret>,
    },
    /// The keys of an agent, behind this socket (usually `SSH_AUTH_SOCK`).
    Agent {
        /// Where it is.
        socket: PathBuf,
    },
}

/// What proves that it is the host.
#[derive(Debug, Clone)]
pub enum HostKeys {
    /// A known-hosts text.
    Known(String),
    /// A known-hosts file, read at each connect.
    KnownFile(PathBuf),
    /// Anything does: whoever is in between can read and change everything. Only where somebody has
    /// explicitly asked for it.
    InsecureAcceptAny,
}
