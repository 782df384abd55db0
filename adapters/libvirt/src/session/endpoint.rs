//! Connects to libvirt's socket, locally or over SSH, and finds the reason of a refusal.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use russh::ChannelStream;
use russh::client::Msg;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use crate::connect_error::ConnectError;
use crate::ssh::{SshConfig, SshSession};

/// libvirtd's socket; with modular daemons it belongs to virtproxyd.
pub const SOCKET: &str = "/var/run/libvirt/libvirt-sock";

/// Where libvirt's socket is.
#[derive(Debug, Clone)]
pub enum Endpoint {
    /// On this machine, at this path.
    Unix(PathBuf),
    /// On another machine, reached over SSH.
    Ssh {
        /// How to log in.
        config: SshConfig,
        /// The path of the socket there, usually [`SOCKET`].
        socket: String,
    },
}

impl Endpoint {
    /// The host's name for messages.
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

/// Connects to a port of a guest on this machine.
pub(super) async fn dial_tcp(
    address: IpAddr,
    port: u16,
    within: Duration,
) -> Result<TcpStream, ConnectError> {
    let path = format!("{address} port {port}");
    match timeout(within, TcpStream::connect((address, port))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(ConnectError::ChannelRefused {
            host: "localhost".to_owned(),
            path,
            message: error.to_string(),
        }),
        Err(_) => Err(ConnectError::TimedOut {
            address: path,
            waiting_for: "a guest to answer",
            after: within,
        }),
    }
}

/// Opens a channel to a socket on the host. If it is refused, finds out why.
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
        Some(SeenServer::Absent) => ConnectError::SocketAbsent { host, path },
        Some(SeenServer::Forbidden) => ConnectError::SocketForbidden { host, path },
        Some(SeenServer::Dead) => ConnectError::SocketDead { host, path },
        // The daemon may have started since the refusal: only a second refusal is sshd's own.
        Some(SeenServer::Listening) => match ssh.open_streamlocal(socket, within).await {
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

/// What exists at a socket's path.
#[derive(Debug, PartialEq, Eq)]
enum SeenServer {
    Absent,
    Forbidden,
    Dead,
    Listening,
}

/// Checks the socket with a shell, because OpenSSH refuses a channel with the same message for any reason. If
/// no command is permitted, the reason stays unknown.
async fn diagnose(ssh: &SshSession, socket: &str, within: Duration) -> Option<SeenServer> {
    let output = ssh.exec(&probe(socket), 1024, within).await.ok()?;
    match output.status {
        Some(11) => Some(SeenServer::Absent),
        Some(12) => Some(SeenServer::Forbidden),
        Some(13) => Some(SeenServer::Dead),
        Some(14) => Some(SeenServer::Listening),
        _ => None,
    }
}

/// A listening socket has flag 0x10000 (`__SO_ACCEPTCON`) in `/proc/net/unix`. Only the last component of its
/// path is compared, because `/var/run` and `/run` are usually the same.
///
/// The kernel continues in that file by counting the sockets before the next one, so a reader misses one if
/// an earlier one was closed in the meantime. A shell's `read` makes a call for each byte, `cat` one for each
/// page; a socket that is not found is looked up again.
fn probe(socket: &str) -> String {
    let name = socket.rsplit('/').next().unwrap_or(socket);
    format!(
        "s={}; n={}; t=/proc/net/unix; [ -S \"$s\" ] || exit 11; [ -w \"$s\" ] || exit 12; \
         [ -r $t ] || exit 15; for look in 1 2 3; do cat $t | {{ \
         while read -r a b c flags e f g path; do case \"$flags $path\" in \
         \"00010000 \"*/\"$n\") exit 14;; esac; done; exit 13; }}; \
         [ $? = 14 ] && exit 14; done; exit 13",
        quoted(socket),
        quoted(name)
    )
}

/// Quotes a word for a shell.
pub(crate) fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        os::unix::fs::MetadataExt as _,
        sync::atomic::{AtomicBool, Ordering},
    };

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

    /// The bucket of a bound socket in the kernel's table, out of 256.
    fn place(path: &Path) -> u64 {
        std::fs::metadata(path).unwrap().ino() % 256
    }

    /// Sockets in the same bucket that the kernel lists before older ones.
    struct Beside {
        dir: PathBuf,
        place: u64,
        names: u64,
    }

    impl Beside {
        fn bind(&mut self) -> (std::os::unix::net::UnixListener, PathBuf) {
            loop {
                self.names += 1;
                let path = self.dir.join(self.names.to_string());
                let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
                if place(&path) == self.place {
                    return (listener, path);
                }
                // The file stays, so that the next socket gets another inode number.
            }
        }

        fn come_and_go(&mut self, stop: &AtomicBool) {
            let mut open: VecDeque<_> = (0..8).map(|_| self.bind()).collect();
            while !stop.load(Ordering::Relaxed) {
                if let Some((listener, path)) = open.pop_front() {
                    drop(listener);
                    std::fs::remove_file(path).unwrap();
                }
                open.push_back(self.bind());
            }
        }
    }

    #[test]
    fn a_listening_socket_is_seen_while_others_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("libvirt-sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (stop, place) = (AtomicBool::new(false), place(&path));
        let missed = std::thread::scope(|scope| {
            for name in ["a", "b", "c"] {
                let dir = dir.path().join(name);
                std::fs::create_dir(&dir).unwrap();
                let names = 0;
                let mut beside = Beside { dir, place, names };
                let stop = &stop;
                scope.spawn(move || beside.come_and_go(stop));
            }
            let looks = (0..100).filter(|_| runtime.block_on(status(&path)) != Some(14));
            let missed = looks.count();
            stop.store(true, Ordering::Relaxed);
            missed
        });
        assert_eq!(missed, 0, "of 100 looks");
    }
}
