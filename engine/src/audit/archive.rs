//! Archives: exports of a range of offsets, compressed, as compaction leaves them.

use std::{
    fs::File,
    io::{self, Read, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use flate2::{Compression, bufread::MultiGzDecoder, write::GzEncoder};
use sha2::{Digest as _, Sha256};
use tokio::{
    io::{AsyncWriteExt as _, BufReader, DuplexStream},
    task::JoinHandle,
};
use tokio_util::io::SyncIoBridge;

use super::{
    AuditError, Flaw, Head, Violation,
    lines::{Line, Lines},
    reading::{Part, Reading},
};
use crate::{
    journal::{Archive, BatchLink},
    model::Hash,
};

/// What waits between the file's thread and the one that reads or writes lines, in bytes.
const PIPE: usize = 256 << 10;
/// Hashes do not shrink; trying harder costs time and saves little.
const EFFORT: Compression = Compression::new(4);

/// Reads an archive to its end, which must be `archive`'s; `after` is the link before its first
/// batch. `seen` is told each line between header and head, and is to believe them only once this
/// returns.
pub(super) async fn read(
    path: &Path,
    archive: &Archive,
    journal_id: &str,
    after: Option<BatchLink>,
    mut seen: impl AsyncSeen,
) -> Result<(), AuditError> {
    let (pipe, own) = tokio::io::duplex(PIPE);
    let file = unpack(path.to_owned(), own);
    let mut input = BufReader::new(pipe);
    let read = lines(
        &mut Lines::of(&mut input),
        archive,
        journal_id,
        after,
        &mut seen,
    )
    .await;
    drop(input);
    let named = |error| match error {
        AuditError::Line { line, violation } => {
            let what = format!("{}: line {line}: {}", path.display(), violation.what);
            Violation { what, ..violation }.into()
        }
        other => other,
    };
    let (sha256, len) = match file.await {
        Ok(Ok(found)) => found,
        Ok(Err(e)) if read.is_ok() || e.kind() != io::ErrorKind::BrokenPipe => {
            return Err(unreadable(path, &e));
        }
        _ => return read.map_err(named),
    };
    read.map_err(named)?;
    if sha256 == archive.sha256 && len == archive.len {
        return Ok(());
    }
    let what = format!("the archive {} is not what was written", path.display());
    Err(Violation::of(Flaw::Changed, what).at(archive.first).into())
}

/// Who is told the lines of an archive.
pub(super) trait AsyncSeen: Send {
    /// A line, and what it brings.
    fn see(
        &mut self,
        line: Line,
        part: Part,
    ) -> impl Future<Output = Result<(), AuditError>> + Send;
}

async fn lines(
    lines: &mut Lines<'_>,
    archive: &Archive,
    journal_id: &str,
    after: Option<BatchLink>,
    seen: &mut impl AsyncSeen,
) -> Result<(), AuditError> {
    let header = lines.header().await?;
    let begins = match &header.after {
        None => archive.first == 0,
        Some(head) => head
            .parse::<Head>()
            .is_ok_and(|head| head.is_at(after.as_ref())),
    };
    if header.journal != journal_id || !begins {
        return Err(lines.wrong(
            Flaw::Reordered,
            "the archive is not the one that goes on here",
        ));
    }
    let mut reading = Reading::new(header.journal, after);
    while let Some(line) = lines.next().await? {
        let part = reading.take(&line).map_err(|e| lines.at(e))?;
        if let Part::Head(head) = part {
            lines.end().await?;
            return match (head.offset, head.link) {
                (Some(offset), link)
                    if offset.checked_add(1) == Some(archive.end) && link == archive.link =>
                {
                    Ok(())
                }
                _ => Err(lines.wrong(Flaw::RolledBack, "the archive ends elsewhere")),
            };
        }
        seen.see(line, part).await?;
    }
    Err(lines.wrong(Flaw::RolledBack, "the archive ends before its head"))
}

fn unreadable(path: &Path, error: &io::Error) -> AuditError {
    match error.kind() {
        io::ErrorKind::NotFound => {
            let what = format!("the archive {} is missing", path.display());
            Violation::of(Flaw::Missing, what).into()
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
            let what = format!("the archive {} is damaged: {error}", path.display());
            Violation::of(Flaw::Changed, what).into()
        }
        _ => AuditError::Io {
            doing: "read",
            why: format!("{}: {error}", path.display()),
        },
    }
}

/// A file that is hashed while it is read.
struct Hashed<R> {
    file: R,
    hash: Sha256,
    len: u64,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hash.update(buffer.get(..count).unwrap_or_default());
        self.len = self.len.saturating_add(count as u64);
        Ok(count)
    }
}

impl<R: Read> Hashed<R> {
    fn of(file: R) -> Self {
        Self {
            file,
            hash: Sha256::new(),
            len: 0,
        }
    }

    /// What is left is read, too.
    fn finish(mut self) -> io::Result<(Hash, u64)> {
        io::copy(&mut self, &mut io::sink())?;
        Ok((Hash(self.hash.finalize().into()), self.len))
    }
}

fn unpack(path: std::path::PathBuf, pipe: DuplexStream) -> JoinHandle<io::Result<(Hash, u64)>> {
    let pipe = SyncIoBridge::new(pipe);
    tokio::task::spawn_blocking(move || {
        let mut pipe = pipe;
        let hashed = Hashed::of(File::open(path)?);
        let mut plain = MultiGzDecoder::new(io::BufReader::new(hashed));
        io::copy(&mut plain, &mut pipe)?;
        pipe.shutdown()?;
        drop(pipe);
        plain.into_inner().into_inner().finish()
    })
}

/// The SHA-256 and length of a file. Blocks.
pub(super) fn digest(path: &Path) -> io::Result<(Hash, u64)> {
    Hashed::of(File::open(path)?).finish()
}

/// Where a new archive goes: a file that is written by a thread of its own.
pub(super) struct Packed {
    pub(super) pipe: DuplexStream,
    file: JoinHandle<io::Result<()>>,
}

impl Packed {
    /// Begins a file; one that a killed process left there is written over.
    pub(super) fn create(path: &Path) -> Self {
        let (pipe, own) = tokio::io::duplex(PIPE);
        let (path, own) = (path.to_owned(), SyncIoBridge::new(own));
        let file = tokio::task::spawn_blocking(move || {
            let mut options = File::options();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut packed = GzEncoder::new(io::BufWriter::new(options.open(path)?), EFFORT);
            let mut plain = own;
            io::copy(&mut plain, &mut packed)?;
            let mut file = packed.finish()?;
            file.flush()?;
            file.get_ref().sync_all()
        });
        Self { pipe, file }
    }

    /// Ends the file; durable but for its name when it returns.
    pub(super) async fn finish(mut self) -> io::Result<()> {
        let ended = self.pipe.shutdown().await;
        drop(self.pipe);
        self.file.await.map_err(io::Error::other)??;
        ended
    }
}
