//! A connection to the server that loses messages on request.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tempfile::TempDir;

use super::server::Server;
use crate::JournalAddress;

/// PostgreSQL's name for the socket of its default port.
const SOCKET: &str = ".s.PGSQL.5432";

/// A proxy: clients connect to it, and it to the server.
pub(super) struct Line {
    dir: TempDir,
    loses: Arc<AtomicBool>,
}

impl Line {
    pub(super) fn to(server: &Server) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(SOCKET)).unwrap();
        let (to, loses) = (
            server.folder().join(SOCKET),
            Arc::new(AtomicBool::new(false)),
        );
        let lost = loses.clone();
        // It ends with the test's process: no more clients connect.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                connect(client, &to, &lost);
            }
        });
        Self { dir, loses }
    }

    /// The next message of the server is lost, and so is the connection.
    pub(super) fn lose_next_answer(&self) {
        self.loses.store(true, Ordering::SeqCst);
    }

    pub(super) fn journal(&self, name: &str) -> JournalAddress {
        let socket = self.dir.path().display().to_string().replace('/', "%2F");
        let url = format!("postgres://tester@{socket}/postgres?journal={name}");
        url.parse().unwrap()
    }
}

fn connect(client: UnixStream, to: &PathBuf, loses: &Arc<AtomicBool>) {
    let Ok(server) = UnixStream::connect(Path::new(to)) else {
        return;
    };
    let never = Arc::new(AtomicBool::new(false));
    let (to_server, to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
    thread::spawn(move || pass_on(client, to_server, &never));
    let loses = loses.clone();
    thread::spawn(move || pass_on(server, to_client, &loses));
}

fn pass_on(mut from: UnixStream, mut to: UnixStream, loses: &AtomicBool) {
    let mut bytes = [0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if loses.swap(false, Ordering::SeqCst) || to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}
