//! Tests with a PostgreSQL server that each test starts and ends.

mod conformance;
mod fencing;
mod full_disk;
mod histories;
mod line;
mod model;
#[allow(dead_code, reason = "the scenarios use the rest")]
mod server;
mod shards;
mod standby;
mod stores;
mod tls;
mod writer_process;

use std::path::Path;

use self::server::Server;
use crate::JournalAddress;

impl Server {
    /// A journal with this name.
    fn journal(&self, name: &str) -> JournalAddress {
        self.url(name).parse().unwrap()
    }
}

#[test]
fn a_server_leaves_nothing_behind() {
    let server = Server::start();
    let (folder, pid) = (server.folder().to_owned(), server.pid());
    drop(server);
    assert!(!folder.exists());
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}
