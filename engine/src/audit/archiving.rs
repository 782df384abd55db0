//! Writes an archive, and reads those that there are.

use std::path::Path;

use super::{
    Audit, AuditError, Batches, Head,
    archive::{self, AsyncSeen, Packed},
    export::Writer,
    line::{HeadLine, HeaderLine},
    lines::Line,
    reading::Part,
};
use crate::{
    journal::{Archive, BatchLink, Horizon, Offset},
    model::{Hash, Timestamp},
};

impl Audit<'_> {
    /// Writes the batches from the horizon up to the one that ends before `end` to the file
    /// `path`, and tells what it then holds. The file is durable, its name is not.
    pub(crate) async fn archive(
        &self,
        path: &Path,
        end: &BatchLink,
        now: Timestamp,
    ) -> Result<Archive, AuditError> {
        let horizon = self.journal.horizon().await?;
        let mut packed = Packed::create(path);
        let written = self
            .write_archive(horizon.as_ref(), &mut packed, end, now)
            .await;
        let finished = packed.finish().await;
        finished.map_err(|e| unwritten(path, &e))?;
        written?;
        let named = path.to_owned();
        let digest = tokio::task::spawn_blocking(move || archive::digest(&named)).await;
        let digest = digest
            .map_err(std::io::Error::other)
            .and_then(|found| found);
        let (sha256, len) = digest.map_err(|e| unwritten(path, &e))?;
        Ok(Archive {
            first: horizon.map_or(0, |horizon| horizon.offset),
            end: end.last.saturating_add(1),
            link: end.hash,
            sha256,
            len,
        })
    }

    async fn write_archive(
        &self,
        horizon: Option<&Horizon>,
        packed: &mut Packed,
        end: &BatchLink,
        now: Timestamp,
    ) -> Result<(), AuditError> {
        let mut writer = Writer::new(self, &mut packed.pipe);
        let mut head = Head::of_nothing(self.journal_id, now);
        let header = match horizon {
            None => HeaderLine::new(self.journal_id),
            Some(horizon) => {
                head.reach(&horizon.link);
                HeaderLine::continued(&head)
            }
        };
        writer.line(&header).await?;
        let mut batches = Batches::of(self.journal).await?;
        while let Some((link, records)) = batches.next().await? {
            writer.batch(&link, &records).await?;
            head.reach(&link);
            if link.last >= end.last {
                break;
            }
        }
        writer.line(&HeadLine::new(&head)).await?;
        writer.finish(head).await.map(drop)
    }

    /// Reads an archive in the file `path` again and holds it against the chain: `horizon` is the one that
    /// it goes on from.
    pub(crate) async fn check_archive(
        &self,
        path: &Path,
        archive: &Archive,
        horizon: Option<&Horizon>,
    ) -> Result<(), AuditError> {
        let after = horizon.map(|horizon| horizon.link);
        archive::read(path, archive, self.journal_id, after, Nobody).await
    }

    /// Reads every archive of the horizon, the oldest first.
    pub(super) async fn each_archive<S>(
        &self,
        horizon: &Horizon,
        seen: &mut S,
    ) -> Result<(), AuditError>
    where
        for<'s> &'s mut S: AsyncSeen,
    {
        let dir = self.archives.unwrap_or(Path::new("."));
        let mut after: Option<(Offset, Hash)> = None;
        for archive in &horizon.archives {
            let path = dir.join(archive.file_name());
            let link = after.map(|(end, hash)| ending(end, hash));
            archive::read(&path, archive, self.journal_id, link, &mut *seen).await?;
            after = Some((archive.end, archive.link));
        }
        Ok(())
    }
}

/// As much of the link that ends before `end` as what follows goes by.
fn ending(end: Offset, hash: Hash) -> BatchLink {
    let last = end.saturating_sub(1);
    BatchLink {
        first: last,
        last,
        prev: Hash::default(),
        hash,
    }
}

/// Nobody listens: it is the checking that counts.
struct Nobody;

impl AsyncSeen for Nobody {
    async fn see(&mut self, _: Line, _: Part) -> Result<(), AuditError> {
        Ok(())
    }
}

fn unwritten(path: &Path, error: &std::io::Error) -> AuditError {
    AuditError::Io {
        doing: "written",
        why: format!("{}: {error}", path.display()),
    }
}
