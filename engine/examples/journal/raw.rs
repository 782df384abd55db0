//! What the disk can do: appends to one file, each group followed by one `fdatasync`.

use std::{
    fs::File,
    io::{Read as _, Seek as _, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use crate::Answer;

const TIME: Duration = Duration::from_secs(1);
/// What is set aside, so that no sync has to write the file's new length.
const ROOM: u64 = 16 << 20;
/// Bytes of an append, as many as an event takes.
const EVENT: usize = 300;

/// Appends a second when `group` of them share a sync.
pub(crate) fn rate(dir: &Path, group: usize) -> Answer<f64> {
    let mut file = File::create(dir.join("raw"))?;
    std::io::copy(&mut std::io::repeat(1).take(ROOM), &mut file)?;
    file.sync_all()?;
    file.rewind()?;
    let bytes = vec![7; EVENT * group];
    let (start, mut count, mut at) = (Instant::now(), 0.0, 0);
    while start.elapsed() < TIME {
        if at + bytes.len() as u64 > ROOM {
            file.rewind()?;
            at = 0;
        }
        file.write_all(&bytes)?;
        file.sync_data()?;
        at += bytes.len() as u64;
        count += group as f64;
    }
    Ok(count / start.elapsed().as_secs_f64())
}
