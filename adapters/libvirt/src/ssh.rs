//! The SSH session with a host: host keys, login, channels to sockets, and commands.
//!
//! One session for each host carries several channels. GCM ciphers are offered first if this machine has AES
//! instructions, because they are the fastest if both ends have them (measured: aes128-gcm 438 MiB/s,
//! aes256-gcm 297, chacha20 242); otherwise chacha20 is offered first.

mod auth;
mod client;
mod exec;
mod host_key;
mod process;
mod renewals;
mod route;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use vsiflow_engine::secret::Secret;

pub use client::SshSession;
pub use exec::{ExecError, ExecOutput};
pub use process::{SshInput, SshProcess};

pub(crate) use exec::run_locally;

/// How to log in at a host.
#[derive(Debug, Clone)]
pub struct SshConfig {
    /// The host's name or address.
    pub host: String,
    /// Its port, usually 22.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// How to authenticate to the host.
    pub identity: Identity,
    /// How to verify the host's key.
    pub host_keys: HostKeys,
    /// Who pays for the work that the key, the known hosts and the host make
    /// ([`owner_of`](vsiflow_steps::turns::owner_of)): all hosts of one owner together have one share.
    pub owner: Arc<str>,
    /// How long connecting and logging in may take; each jump host has its own timeout.
    pub connect_timeout: Duration,
    /// The jump hosts in the order of the route; their own `jumps` are ignored.
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

/// How to authenticate. Keys are Ed25519, ECDSA or RSA (at least rsa-sha2-256), in OpenSSH's format or as
/// PEM: PKCS#1, PKCS#8, SEC1.
#[derive(Debug, Clone)]
pub enum Identity {
    /// A private key as text.
    Key {
        /// The key.
        text: Secret,
        /// Its passphrase, if it is encrypted.
        passphrase: Option<Secret>,
    },
    /// A private key in a file, read at each connect.
    KeyFile {
        /// The path of the file.
        path: PathBuf,
        /// Its passphrase, if it is encrypted.
        passphrase: Option<Secret>,
    },
    /// The keys of an agent at this socket (usually `SSH_AUTH_SOCK`).
    Agent {
        /// The path of the socket.
        socket: PathBuf,
    },
}

/// How to verify the host's key.
#[derive(Debug, Clone)]
pub enum HostKeys {
    /// A known-hosts text.
    Known(String),
    /// A known-hosts file, read at each connect.
    KnownFile(PathBuf),
    /// Accept any key: a machine in between can then read and change everything. Only if the user explicitly
    /// requests it.
    InsecureAcceptAny,
}
