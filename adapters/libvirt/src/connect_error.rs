//! Why a host could not be reached. The variants differ in who has to act.

use std::time::Duration;

/// Why there is no connection to a host.
///
/// Cheap to clone, so that all callers that waited for one connection get the same error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The host's name has no address.
    #[error("{host} has no address: {message}")]
    UnknownHost {
        /// The name that was looked up.
        host: String,
        /// The resolver's message.
        message: String,
    },
    /// No process listens at the address, or a firewall blocks it.
    #[error("{address} cannot be reached: {message}")]
    Unreachable {
        /// `host:port`.
        address: String,
        /// The system's message.
        message: String,
    },
    /// No response within the permitted time.
    #[error("no answer from {address} within {after:?} while {waiting_for}")]
    TimedOut {
        /// `host:port`, or the path of a socket.
        address: String,
        /// The event that did not occur.
        waiting_for: &'static str,
        /// The permitted time.
        after: Duration,
    },
    /// The SSH server's key has no entry in the known hosts.
    #[error("the host key of {host} is not known: it shows {algorithm} {fingerprint}")]
    HostKeyUnknown {
        /// The host's name as a known-hosts entry spells it.
        host: String,
        /// The key's algorithm.
        algorithm: String,
        /// `SHA256:…` of the key that the server presented.
        fingerprint: String,
    },
    /// The known-hosts entries for the host have other keys.
    #[error(
        "the host key of {host} has changed: it shows {algorithm} {fingerprint}, known are {known:?}"
    )]
    HostKeyChanged {
        /// The host's name as a known-hosts entry spells it.
        host: String,
        /// The algorithm of the key that the server presented.
        algorithm: String,
        /// `SHA256:…` of the key that the server presented.
        fingerprint: String,
        /// `ALGORITHM SHA256:…` of each known key.
        known: Vec<String>,
    },
    /// The host's key is marked `@revoked`.
    #[error("the host key of {host} is revoked: {algorithm} {fingerprint}")]
    HostKeyRevoked {
        /// The host's name as a known-hosts entry spells it.
        host: String,
        /// The key's algorithm.
        algorithm: String,
        /// `SHA256:…` of the key that the server presented.
        fingerprint: String,
    },
    /// The host's certificate is not valid, and its key is not known.
    #[error("the certificate of {host} is refused: {message}")]
    HostCertificate {
        /// The host's name as a known-hosts entry spells it.
        host: String,
        /// What is wrong with the certificate.
        message: String,
    },
    /// The given known hosts cannot be used.
    #[error("the known hosts are unusable: {0}")]
    KnownHosts(String),
    /// The given SSH key cannot be used. The error never shows the key.
    #[error("the SSH key is unusable: {0}")]
    Key(KeyProblem),
    /// The SSH server accepts none of the keys for this user.
    #[error("{host} accepts no key for user {user}; tried: {}", tried.join(", "))]
    AuthRefused {
        /// The server.
        host: String,
        /// The user.
        user: String,
        /// `ALGORITHM SHA256:…` of each offered key.
        tried: Vec<String>,
    },
    /// The SSH session failed for another reason, for example without a common algorithm.
    #[error("SSH to {host} failed: {message}")]
    Ssh {
        /// The server.
        host: String,
        /// What went wrong.
        message: String,
    },
    /// The SSH server opens no channel, or no further one.
    #[error("{host} opens no channel to {path}: {message}")]
    ChannelRefused {
        /// The server.
        host: String,
        /// The requested socket, or the command.
        path: String,
        /// The server's message.
        message: String,
    },
    /// Forwarding to sockets is switched off in the SSH server.
    #[error(
        "{host} forbids forwarding to {path}: set `AllowStreamLocalForwarding yes` in its sshd_config"
    )]
    ForwardingProhibited {
        /// The server.
        host: String,
        /// The requested socket.
        path: String,
    },
    /// The host has no such socket: libvirtd (with split daemons, virtproxyd) is not installed, or has not run
    /// since the last boot.
    #[error(
        "{path} does not exist on {host}: neither libvirtd nor virtproxyd is running, or none is installed"
    )]
    SocketAbsent {
        /// The host.
        host: String,
        /// The requested socket.
        path: String,
    },
    /// The socket exists, but no process listens: libvirtd has ended.
    #[error("no process listens on {path} on {host}: neither libvirtd nor virtproxyd is running")]
    SocketDead {
        /// The host.
        host: String,
        /// The requested socket.
        path: String,
    },
    /// The user may not use libvirt's socket.
    #[error("{path} on {host} is not accessible for this user: join the group libvirt")]
    SocketForbidden {
        /// The host.
        host: String,
        /// The requested socket.
        path: String,
    },
    /// libvirt requires authentication, which this client does not support.
    #[error(
        "libvirt on {host} wants {method} authentication: connect as root, or set \
         `auth_unix_rw = \"none\"` in its libvirtd.conf for the group that owns the socket"
    )]
    AuthWanted {
        /// The host.
        host: String,
        /// `polkit`, `SASL`, or the number of an unknown method.
        method: String,
    },
    /// libvirt refused or failed to open the connection.
    #[error("libvirt on {host} does not open: {message}")]
    LibvirtRefused {
        /// The host.
        host: String,
        /// libvirt's message.
        message: String,
    },
    /// Another machine than the recorded one answers under the host's name and key.
    #[error("{host} is not the recorded machine: {found}, not {pinned}")]
    OtherMachine {
        /// The host.
        host: String,
        /// The recorded machine.
        pinned: String,
        /// The machine that answers.
        found: String,
    },
    /// A jump host on the way to the host failed.
    #[error("jump host {position} of {count}, {jump}: {error}")]
    JumpHost {
        /// The jump host, `USER@HOST:PORT`.
        jump: String,
        /// Its position on the way, from 1.
        position: usize,
        /// How many jump hosts there are.
        count: usize,
        /// Why it failed.
        error: Box<ConnectError>,
    },
    /// A jump host forbids forwarding to the next host.
    #[error(
        "the jump host {jump} forbids forwarding to {address}: permit it by AllowTcpForwarding and PermitOpen in its \
         sshd_config"
    )]
    JumpProhibited {
        /// The jump host.
        jump: String,
        /// `host:port` of the next host.
        address: String,
    },
    /// This side closed the session.
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
        /// The path of the file.
        path: String,
        /// The system's message.
        message: String,
    },
    /// It is encrypted, and no passphrase was given.
    #[error("it is encrypted; give its passphrase as KEY_PASSPHRASE, or use an agent")]
    Encrypted,
    /// It is encrypted in a way that this program does not decrypt.
    #[error("its encryption ({encryption}) is not supported; {remedy}")]
    UnsupportedEncryption {
        /// How it is encrypted.
        encryption: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The passphrase is wrong.
    #[error("the passphrase (KEY_PASSPHRASE) does not open it")]
    WrongPassphrase,
    /// Decrypting it would need more time or memory than any reasonable key.
    #[error(
        "opening it needs too much work, of which the limit is {limit}; encrypt it again with {remedy}"
    )]
    TooCostly {
        /// What it may need at most.
        limit: String,
        /// The command that encrypts it again.
        remedy: &'static str,
    },
    /// It has an unsupported format.
    #[error("it is not an OpenSSH, PKCS#1, PKCS#8 or SEC1 private key ({0})")]
    Malformed(String),
    /// No key was given and no agent has one.
    #[error("no key was given, and there is no agent with one ({0})")]
    NoAgent(String),
}
