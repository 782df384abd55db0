//! Where libvirt is, and what a refusal there means.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use russh::ChannelStream;
use russh::client::Msg;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::connect_error::ConnectError;
use crate::ssh::{SshConfig, SshSession};

/// libvirtd's socket; where the daemons are modular it is virtproxyd's.
pub const SOCKET: &str = "/var/run/libvirt/libvirt-sock";

/// Where libvirt is.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// On this machine, behind a socket.
    Unix(PathBuf),
    /// On another, reached by SSH.
    Ssh {
        /// How to log in there.
        config: SshConfig,
        /// The socket there, usually [`SOCKET`].
        socket: String,
    },
}

impl Endpoint {
    /// The host as people call it.
    pub(super) fn host(&self) -> String {
        match self {
            Self::Unix(_) => "localhost".to_owned(),
            Self::Ssh { config, .. } => config.host.clone(),
        }
    }
}

/// Connects to a socket on this machine.
pub(super) async fn dial(path: &Path, within: Duration) -> Result<UnixStream, ConnectError> {
    let (host, shown) = ("localhost".to_owned(), path.display().to_string());
    match timeout(within, UnixStream::connect(path)).await {
        Ok(Ok(socket)) => Ok(socket),
        Ok(Err(error)) => Err(match error.kind() {
            ErrorKind::NotFound => ConnectError::SocketAbsent { host, path: shown },
            ErrorKind::ConnectionRefused => ConnectError::SocketDead { host, path: shown },
            ErrorKind::PermissionDenied => ConnectError::SocketForbidden { host, path: shown },
            _ => ConnectError::Unreachable {
                address: shown,
                message: error.to_string(),
            },
        }),
        Err(_) => {
            let waiting_for = "libvirt's socket to answer";
            Err(ConnectError::TimedOut {
                address: shown,
                waiting_for,
                after: within,
            })
        }
    }
}

/// Opens a channel to a socket on the host, and finds out why where it is refused.
pub(super) async fn open_channel(
    ssh: &SshSession,
    socket: &str,
    within: Duration,
) -> Result<ChannelStream<Msg>, ConnectError> {
    let (host, path, message) = match ssh.open_streamlocal(socket, within).await {
        Err(ConnectError::ChannelRefused {
            host,
            path,
            message,
        }) => (host, path, message),
        outcome => return outcome,
    };
    Err(match diagnose(ssh, socket, within).await {
        Some(Seen::Absent) => ConnectError::SocketAbsent { host, path },
        Some(Seen::Forbidden) => ConnectError::SocketForbidden { host, path },
        Some(Seen::Dead) => ConnectError::SocketDead { host, path },
        // A daemon may have come up since the refusal: only a second one is sshd's own.
        Some(Seen::Listening) => match ssh.open_streamlocal(socket, within).await {
            Err(ConnectError::ChannelRefused { .. }) => {
                ConnectError::ForwardingProhibited { host, path }
            }
            outcome => return outcome,
        },
        None => ConnectError::ChannelRefused {
            host,
            path,
            message,
        },
    })
}

/// What there is at a socket's path.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Absent,
    Forbidden,
    Dead,
    Listening,
}

/// Looks for the socket with a shell: OpenSSH refuses a channel with the same words whatever the
/// reason is. Where no command is permitted the reason stays unknown.
async fn diagnose(ssh: &SshSession, socket: &str, within: Duration) -> Option<Seen> {
    let output = ssh.exec(&probe(socket), 1024, within).await.ok()?;
    match output.status {
        Some(11) => Some(Seen::Absent),
        Some(12) => Some(Seen::Forbidden),
        Some(13) => Some(Seen::Dead),
        Some(14) => Some(Seen::Listening),
        _ => None,
    }
}

/// A listening socket has flag 0x10000 (`__SO_ACCEPTCON`) in `/proc/net/unix`. Only the last part
/// of its path is compared, because `/var/run` and `/run` are usually one.
fn probe(socket: &str) -> String {
    let name = socket.rsplit('/').next().unwrap_or(socket);
    format!(
        "s={}; n={}; [ -S \"$s\" ] || exit 11; [ -w \"$s\" ] || exit 12; \
         while read -r a b c flags e f g path; do case \"$flags $path\" in \
         \"00010000 \"*/\"$n\") exit 14;; esac; done </proc/net/unix; exit 13",
        quoted(socket),
        quoted(name)
    )
}

/// A word that a shell takes as it is.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;
    use crate::ssh::run_locally;

    const SECOND: Duration = Duration::from_secs(5);

    async fn status(socket: &Path) -> Option<u32> {
        run_locally(&probe(&socket.display().to_string()), 100, SECOND)
            .await
            .unwrap()
            .status
    }

    #[tokio::test]
    async fn absent_dead_and_listening_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it's a socket");
        assert!(matches!(
            dial(&path, SECOND).await,
            Err(ConnectError::SocketAbsent { .. })
        ));
        assert_eq!(status(&path).await, Some(11));
        let listener = UnixListener::bind(&path).unwrap();
        assert!(dial(&path, SECOND).await.is_ok());
        assert_eq!(status(&path).await, Some(14));
        drop(listener);
        assert!(matches!(
            dial(&path, SECOND).await,
            Err(ConnectError::SocketDead { .. })
        ));
        assert_eq!(status(&path).await, Some(13));
    }
}
