//! Measures the raw disk: appends to one file, each group followed by one `fdatasync`.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, Write as _},
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::Answer;

const TIME: Duration = Duration::from_secs(1);
/// Bytes allocated beforehand, so that no sync has to write a new file length.
const ROOM: u64 = 16 << 20;
/// Bytes of an append, as many as one event has.
const EVENT: usize = 300;

/// A preallocated file.
struct RawFile {
    file: File,
    at: u64,
}

impl RawFile {
    fn make(dir: &Path) -> io::Result<Self> {
        let mut file = File::create(dir.join("raw"))?;
        io::copy(&mut io::repeat(1).take(ROOM), &mut file)?;
        file.sync_all()?;
        file.rewind()?;
        Ok(Self { file, at: 0 })
    }

    /// Appends the bytes and syncs them; starts again at the beginning when the file is full.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.at + bytes.len() as u64 > ROOM {
            self.file.rewind()?;
            self.at = 0;
        }
        self.file.write_all(bytes)?;
        self.file.sync_data()?;
        self.at += bytes.len() as u64;
        Ok(())
    }
}

/// Appends per second when `group` appends share one sync.
pub(crate) fn rate(dir: &Path, group: usize) -> Answer<f64> {
    let mut file = RawFile::make(dir)?;
    let bytes = vec![7; EVENT * group];
    let (start, mut count) = (Instant::now(), 0.0);
    while start.elapsed() < TIME {
        file.append(&bytes)?;
        count += group as f64;
    }
    Ok(count / start.elapsed().as_secs_f64())
}

/// Appends per second of one task that hands each append to a thread. A program that never blocks
/// its runtime cannot be faster.
pub(crate) async fn rate_by_thread(dir: &Path) -> Answer<f64> {
    let mut file = RawFile::make(dir)?;
    let (requests, waiting) = mpsc::sync_channel::<oneshot::Sender<io::Result<()>>>(1);
    let thread = std::thread::spawn(move || {
        for answer in waiting {
            // The task waits for every answer, so sending cannot fail.
            let _ = answer.send(file.append(&[7; EVENT]));
        }
    });
    // A spawned task on the runtime's threads, like every task that appends to a journal.
    let task = tokio::spawn(async move {
        let (start, mut count) = (Instant::now(), 0.0);
        while start.elapsed() < TIME {
            let (answer, answered) = oneshot::channel();
            requests.send(answer)?;
            answered.await??;
            count += 1.0;
        }
        Answer::Ok(count / start.elapsed().as_secs_f64())
    });
    let rate = task.await??;
    thread.join().map_err(|_| "the thread panicked")?;
    Ok(rate)
}
