//! Makes a journal of an export again. An export comes from outside: nothing in it is believed
//! before it was checked.

use std::{collections::HashSet, path::Path};

use super::{
    AuditError, Flaw, Head, Violation,
    fields::payloads,
    line::{BLOB_MAX, BatchLine, BlobLine, EventLine, HeadLine},
    lines::{Input, Line, Lines, parse},
};
use crate::{
    blob::Blobs,
    journal::{BatchLink, ChainedJournal, Stored},
    model::{Hash, Payload},
    state_dir::{Rebuilding, StateDirError},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};

/// The most bytes of records that one batch may hold; more was never written in one.
const BATCH_MAX: usize = 256 << 20;

/// What was rebuilt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebuilt {
    /// The journal's identity, the one it always had.
    pub journal_id: String,
    /// How many events.
    pub events: u64,
    /// How many payloads beside them.
    pub blobs: u64,
    /// The head that the export ended with.
    pub head: Head,
}

/// Makes a state directory at `dir`, where nothing may be, of an export: link for link the
/// journal it was made from, under the same identity.
///
/// Secrets are in no export: what needs them asks for them anew. Where it fails, nothing is left.
///
/// # Errors
/// [`AuditError::Line`] for the first line that is not what it should be, [`AuditError::Newer`]
/// for an export of a newer schema, [`AuditError::State`] when `dir` is not empty or cannot be
/// written.
pub async fn rebuild(input: Input<'_>, dir: &Path) -> Result<Rebuilt, AuditError> {
    let mut lines = Lines::of(input);
    let header = lines.header().await?;
    let (dir, id) = (dir.to_owned(), header.journal.clone());
    let place = off_runtime(move || Rebuilding::begin(dir, &id)).await?;
    match fill(&mut lines, &place, header.journal).await {
        Ok(rebuilt) => {
            off_runtime(move || place.finish()).await?;
            Ok(rebuilt)
        }
        Err(error) => {
            // The first error is the one that matters; what stays is no journal for anybody.
            let _ = off_runtime(move || place.abandon()).await;
            Err(error)
        }
    }
}

async fn fill(
    lines: &mut Lines<'_>,
    place: &Rebuilding,
    journal_id: String,
) -> Result<Rebuilt, AuditError> {
    let (journal, blobs) = (place.journal().await?, place.blobs().await?);
    let filled = restore(lines, &journal, &blobs, journal_id).await;
    journal.close().await;
    filled
}

/// Writes what the lines after the header say into an empty journal, up to the last one.
pub(super) async fn restore(
    lines: &mut Lines<'_>,
    journal: &dyn ChainedJournal,
    blobs: &dyn Blobs,
    journal_id: String,
) -> Result<Rebuilt, AuditError> {
    let rebuilt = restore_journal(lines, journal, blobs, journal_id).await?;
    match lines.next().await? {
        None => Ok(rebuilt),
        Some(_) => Err(lines.wrong(Flaw::Reordered, "it stands after the head")),
    }
}

/// The same up to the head; what follows is the caller's.
pub(crate) async fn restore_journal(
    lines: &mut Lines<'_>,
    journal: &dyn ChainedJournal,
    blobs: &dyn Blobs,
    journal_id: String,
) -> Result<Rebuilt, AuditError> {
    let mut builder = Builder {
        journal,
        blobs,
        journal_id,
        kept: HashSet::new(),
        unclaimed: HashSet::new(),
        batch: Vec::new(),
        bytes: 0,
        events: 0,
        link: None,
    };
    while let Some(line) = lines.next().await? {
        let head = builder.take(&line).await.map_err(|e| lines.at(e))?;
        if let Some(head) = head {
            return Ok(builder.rebuilt(head));
        }
    }
    Err(lines.wrong(Flaw::RolledBack, "the export ends before its head"))
}

pub(crate) async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StateDirError> + Send + 'static,
) -> Result<T, AuditError> {
    let ended = |e: tokio::task::JoinError| AuditError::Io {
        doing: "rebuilt",
        why: e.to_string(),
    };
    Ok(tokio::task::spawn_blocking(work).await.map_err(ended)??)
}

fn changed(what: impl Into<String>) -> AuditError {
    Violation::of(Flaw::Changed, what).into()
}

struct Builder<'a> {
    journal: &'a dyn ChainedJournal,
    blobs: &'a dyn Blobs,
    journal_id: String,
    kept: HashSet<Hash>,
    /// Blobs that no event has named yet.
    unclaimed: HashSet<Hash>,
    batch: Vec<Stored>,
    bytes: usize,
    events: u64,
    link: Option<BatchLink>,
}

impl Builder<'_> {
    /// Takes a line; the head is the last one.
    async fn take(&mut self, line: &Line) -> Result<Option<Head>, AuditError> {
        match line.kind.as_str() {
            "blob" => self.blob(parse(&line.text)?).await?,
            "event" => self.event(&parse(&line.text)?)?,
            "batch" => self.batch(&parse(&line.text)?).await?,
            "head" => return self.head(&parse(&line.text)?).map(Some),
            _ => return Err(changed("no export has such a line")),
        }
        Ok(None)
    }

    async fn blob(&mut self, line: BlobLine) -> Result<(), AuditError> {
        let content = BASE64_STANDARD.decode(&line.content);
        let content = content.map_err(|_| changed("its content is not base64"))?;
        let hash = Hash::of(&content);
        let len = content.len() as u64;
        if hash.to_string() != line.hash || len != line.len || len > BLOB_MAX {
            return Err(changed("its content is not what its hash says"));
        }
        self.blobs.put_blob(&content).await?;
        if self.kept.insert(hash) {
            self.unclaimed.insert(hash);
        }
        Ok(())
    }

    fn event(&mut self, line: &EventLine) -> Result<(), AuditError> {
        let bytes = BASE64_STANDARD.decode(&line.record);
        let bytes = bytes.map_err(|_| changed("its record is not base64"))?;
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > BATCH_MAX {
            return Err(changed("its batch is larger than any that was written"));
        }
        let stored = Stored::parse(bytes)?;
        if EventLine::new(&stored)? != *line {
            let what = "its fields say something else than its record";
            return Err(Violation::of_record(Flaw::Changed, &stored, what).into());
        }
        self.claim(&stored)?;
        if !self.unclaimed.is_empty() {
            let what = "it does not name the blob before it";
            return Err(Violation::of_record(Flaw::Reordered, &stored, what).into());
        }
        self.batch.push(stored);
        Ok(())
    }

    fn claim(&mut self, stored: &Stored) -> Result<(), AuditError> {
        for payload in payloads(&stored.record()?.event.kind) {
            let Payload::Blob { hash, .. } = payload else {
                continue;
            };
            if !self.kept.contains(hash) {
                let what = format!("the blob {hash} that it names is missing");
                return Err(Violation::of_record(Flaw::Missing, stored, what).into());
            }
            self.unclaimed.remove(hash);
        }
        Ok(())
    }

    async fn batch(&mut self, line: &BatchLine) -> Result<(), AuditError> {
        let link = line.link().ok_or_else(|| changed("a hash in it is none"))?;
        if !self.unclaimed.is_empty() {
            let what = "a blob before it is named by no event";
            return Err(Violation::of(Flaw::Reordered, what).into());
        }
        let prev = self.link.map(|link| link.hash).unwrap_or_default();
        let hashes = self.batch.iter().map(|record| &record.hash);
        let made = BatchLink::new(prev, link.first, link.last, hashes);
        let first = self.batch.first().map(|record| record.offset);
        let last = self.batch.last().map(|record| record.offset);
        if made != link || first != Some(link.first) || last != Some(link.last) {
            let what = "the events before it are not those that it links";
            return Err(Violation::of(Flaw::Changed, what).at(link.first).into());
        }
        let batch = std::mem::take(&mut self.batch);
        self.events = self.events.saturating_add(batch.len() as u64);
        self.bytes = 0;
        let bytes = batch.into_iter().map(|record| record.bytes).collect();
        self.link = self.journal.restore(bytes).await?;
        Ok(())
    }

    fn head(&self, line: &HeadLine) -> Result<Head, AuditError> {
        let head: Head = line
            .head
            .parse()
            .map_err(|e: super::InvalidHead| changed(e.to_string()))?;
        if !self.batch.is_empty() || !self.unclaimed.is_empty() {
            let what = "the batch before it has no link";
            return Err(Violation::of(Flaw::Missing, what).into());
        }
        if head.journal != self.journal_id || !head.is_at(self.link.as_ref()) {
            let what = "the journal before it does not end where it says";
            return Err(Violation::of(Flaw::RolledBack, what).into());
        }
        Ok(head)
    }

    fn rebuilt(self, head: Head) -> Rebuilt {
        Rebuilt {
            journal_id: self.journal_id,
            events: self.events,
            blobs: self.kept.len() as u64,
            head,
        }
    }
}
