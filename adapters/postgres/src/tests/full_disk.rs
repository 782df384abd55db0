//! Tests with a server whose disk is full.

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rustix::process::{Signal, kill_process};
use tempfile::TempDir;

use super::{fencing::holds_all, server::Server, writer_process::WriterProcess};

/// A small file system.
struct DiskRoom(TempDir);

impl DiskRoom {
    fn of(size: &str) -> Self {
        let room = Self(tempfile::tempdir().unwrap());
        let options = format!("size={size}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]);
        assert!(mount.arg(room.path()).status().unwrap().success());
        room
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Uses up all remaining room, and returns the file.
    fn fill(&self) -> std::path::PathBuf {
        let path = self.path().join("ballast");
        let mut file = File::create(&path).unwrap();
        while file.write_all(&[1; 1 << 16]).is_ok() {}
        path
    }
}

impl Drop for DiskRoom {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lab_a_full_disk_of_the_server_loses_nothing_and_the_writer_goes_on_when_there_is_room() {
    let room = DiskRoom::of("256m");
    let folder = tempfile::tempdir_in(room.path()).unwrap();
    let server = Server::within(folder, &["wal_keep_size=0"]);
    let mut writer = WriterProcess::start(&server.url("a"), Duration::from_secs(600), "one");
    let mut acknowledged = writer.acknowledges(20);
    let pid = writer.pid();
    // It would wait for a reader of its output.
    let reader = std::thread::spawn(move || writer.end());
    let ballast = room.fill();
    let until = Instant::now() + Duration::from_secs(120);
    // What fits into existing pages is still acknowledged.
    while !server.log().contains("No space left on device") {
        assert!(Instant::now() < until, "the disk does not fill up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::remove_file(ballast).unwrap();
    let next = || -> u64 {
        let next = server.sql("SELECT next_offset FROM vsiflow.journals");
        next.parse().unwrap()
    };
    let full = next();
    while next() < full + 20 {
        assert!(Instant::now() < until, "it does not go on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    kill_process(pid, Signal::KILL).unwrap();
    acknowledged.extend(reader.join().unwrap());
    holds_all(&server, &acknowledged).await;
}
