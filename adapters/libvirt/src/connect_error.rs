//! Why a host could not be reached, told apart by who has to do something about it.

use std::time::Duration;

/// Why there is no connection to a host.
///
/// Cheap to clone, so that everybody who waited for one connection learns the same.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The host's name has no address.
    #[error("{host} has no address: {message}")]
    UnknownHost {
        /// The name looked up.
        host: String,
        /// What the resolver says.
        message: String,
    },
    /// Nothing listens there, or the way to it is blocked.
    #[error("{address} cannot be reached: {message}")]
    Unreachable {
        /// `host:port`.
        address: String,
        /// What the system says.
        message: String,
    },
    /// No answer within the time allowed.
    #[error("no answer from {address} within {after:?} while {waiting_for}")]
    TimedOut {
        /// `host:port` or a socket's path.
        address: String,
        /// What was waited for.
        waiting_for: &'static str,
        /// How long.
        after: Duration,
    },
    /// The SSH server's key is in no known-hosts entry.
    #[error("the host key of {host} is not known: it shows {algorithm} {fingerprint}")]
    HostKeyUnknown {
        /// As a known-hosts entry would name it.
        host: String,
        /// The key's algorithm.
        algorithm: String,
        /// `SHA256:…` of the key shown.
        fingerprint: String,
    },
    /// The known-hosts entries of the host name other keys.
    #[error(
        "the host key of {host} has changed: it shows {algorithm} {fingerprint}, known are {known:?}"
    )]
    HostKeyChanged {
        /// As a known-hosts entry would name it.
        host: String,
        /// The algorithm of the key shown.
        algorithm: String,
        /// `SHA256:…` of the key shown.
        fingerprint: String,
        /// `ALGORITHM SHA256:…` of each key that is known.
        known: Vec<String>,
    },
    /// The host's key is marked `@revoked`.
    #[error("the host key of {host} is revoked: {algorithm} {fingerprint}")]
    HostKeyRevoked {
        /// As a known-hosts entry would name it.
        host: String,
        /// The key's algorithm.
        algorithm: String,
        /// `SHA256:…` of the key shown.
        fingerprint: String,
    },
    /// The host's certificate is not valid, and its key is not known.
    #[error("the certificate of {host} is refused: {message}")]
    HostCertificate {
        /// As a known-hosts entry would name it.
        host: String,
        /// What is wrong with it.
        message: String,
    },
    /// The known hosts, as given, cannot be used.
    #[error("the known hosts are unusable: {0}")]
    KnownHosts(String),
    /// The SSH key, as given, cannot be used; never shows the key.
    #[error("the SSH key is unusable: {0}")]
    Key(KeyProblem),
    /// The SSH server accepts none of the keys for this user.
    #[error("{host} accepts no key for user {user}; tried: {}", tried.join(", "))]
    AuthRefused {
        /// The server.
        host: String,
        /// The user.
        user: String,
        /// `ALGORITHM SHA256:…` of each key offered.
        tried: Vec<String>,
    },
    /// The SSH session failed otherwise, e.g. no common algorithm.
    #[error("SSH to {host} failed: {message}")]
    Ssh {
        /// The server.
        host: String,
        /// What went wrong.
        message: String,
    },
    /// The SSH server opened no (further) channel.
    #[error("{host} opens no channel to {path}: {message}")]
    ChannelRefused {
        /// The server.
        host: String,
        /// The socket asked for, or the command.
        path: String,
        /// What the server says.
        message: String,
    },
    /// Forwarding to sockets is switched off in the SSH server.
    #[error(
        "{host} forbids forwarding to {path}: set `AllowStreamLocalForwarding yes` in its sshd_config"
    )]
    ForwardingProhibited {
        /// The server.
        host: String,
        /// The socket asked for.
        path: String,
    },
    /// The host has no such socket: libvirtd is not installed, or never ran since the last boot.
    #[error("{path} does not exist on {host}: libvirtd is not running or not installed")]
    SocketAbsent {
        /// The host.
        host: String,
        /// The socket asked for.
        path: String,
    },
    /// The socket is there, but nobody listens: libvirtd has ended.
    #[error("no process listens on {path} on {host}: libvirtd is not running")]
    SocketDead {
        /// The host.
        host: String,
        /// The socket asked for.
        path: String,
    },
    /// The user may not use libvirt's socket.
    #[error("{path} on {host} is not accessible for this user: join the group libvirt")]
    SocketForbidden {
        /// The host.
        host: String,
        /// The socket asked for.
        path: String,
    },
    /// libvirt wants its client to authenticate, which this client does not do.
    #[error(
        "libvirt on {host} wants {method} authentication: connect as root, or set \
         `auth_unix_rw = \"none\"` in its libvirtd.conf for the group that owns the socket"
    )]
    AuthWanted {
        /// The host.
        host: String,
        /// `polkit`, `SASL` or a number this client does not know.
        method: String,
    },
    /// libvirt refused to open, or failed to.
    #[error("libvirt on {host} does not open: {message}")]
    LibvirtRefused {
        /// The host.
        host: String,
        /// What it says.
        message: String,
    },
    /// Another machine answers under the host's name and key than the one that is meant.
    #[error("{host} is not the recorded machine: {found}, not {pinned}")]
    OtherMachine {
        /// The host.
        host: String,
        /// The machine that is meant.
        pinned: String,
        /// The one that answers.
        found: String,
    },
    /// A jump host on the way to the host fails.
    #[error("jump host {position} of {count}, {jump}: {error}")]
    JumpHost {
        /// The jump host, `USER@HOST:PORT`.
        jump: String,
        /// Which on the way, from 1.
        position: usize,
        /// How many there are.
        count: usize,
        /// What is wrong with it.
        error: Box<ConnectError>,
    },
    /// A jump host does not let one through.
    #[error(
        "the jump host {jump} forbids forwarding to {address}: permit it by AllowTcpForwarding and PermitOpen in its \
         sshd_config"
    )]
    JumpProhibited {
        /// The jump host.
        jump: String,
        /// `host:port` behind it.
        address: String,
    },
    /// The session was closed by this side.
    #[error("the session with {host} is closed")]
    Closed {
        /// The host.
        host: String,
    },
}

/// What is wrong with an SSH key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyProblem {
    /// The file could not be read.
    #[error("{path} cannot be read: {message}")]
    Unreadable {
        /// Where it was looked for.
        path: String,
        /// What the system says.
        message: String,
    },
    /// It is encrypted, and there is no passphrase.
    #[error("it is encrypted; give its passphrase as KEY_PASSPHRASE, or use an agent")]
    Encrypted,
    /// The passphrase does not open it.
    #[error("the passphrase (KEY_PASSPHRASE) does not open it")]
    WrongPassphrase,
    /// Opening it would take more time or memory than any key should.
    #[error("it takes too much work to open; encrypt it anew with `ssh-keygen -p -a 16`")]
    TooCostly,
    /// It is none of the formats understood.
    #[error("it is not an OpenSSH, PKCS#1, PKCS#8 or SEC1 private key ({0})")]
    Malformed(String),
    /// No key was given and no agent has one.
    #[error("no key was given, and there is no agent with one ({0})")]
    NoAgent(String),
}
