//! Writes a journal as JSON Lines.

use std::collections::HashSet;

use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::{
    Audit, AuditError, Batches, Head,
    archive::AsyncSeen,
    fields::payloads,
    line::{BLOB_MAX, BatchLine, BlobLine, EventLine, HeadLine, HeaderLine},
    lines::Line,
    reading::Part,
};
use crate::{
    journal::{BatchLink, Stored},
    model::{Hash, Payload, Timestamp},
};

/// What an export holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// How many events.
    pub events: u64,
    /// How many payloads beside them.
    pub blobs: u64,
    /// The head it ends with.
    pub head: Head,
}

impl Audit<'_> {
    /// Writes the whole journal, batch by batch, each held against the chain before it is
    /// written. The head at the end is taken `now`. What is archived is taken from the archives,
    /// so that the export is the one that the journal would have had without compaction.
    ///
    /// # Errors
    /// [`AuditError::Violation`] at the first thing that is wrong with the journal; otherwise when
    /// it cannot be read or the export cannot be written. What was written then has no head, and
    /// no rebuild takes it.
    pub async fn export(
        &self,
        out: &mut (dyn AsyncWrite + Unpin + Send),
        now: Timestamp,
    ) -> Result<Exported, AuditError> {
        let mut writer = Writer::new(self, out);
        writer.line(&HeaderLine::new(self.journal_id)).await?;
        let mut head = Head::of_nothing(self.journal_id, now);
        if let Some(horizon) = self.journal.horizon().await? {
            self.each_archive(&horizon, &mut writer).await?;
            head.reach(&horizon.link);
        }
        let mut batches = Batches::of(self.journal).await?;
        while let Some((link, records)) = batches.next().await? {
            writer.batch(&link, &records).await?;
            head.reach(&link);
        }
        writer.line(&HeadLine::new(&head)).await?;
        writer.finish(head).await
    }
}

/// Writes lines, each blob before the first event that names it.
pub(super) struct Writer<'a> {
    audit: &'a Audit<'a>,
    out: &'a mut (dyn AsyncWrite + Unpin + Send),
    blobs: HashSet<Hash>,
    events: u64,
}

/// Lines of an archive are taken over as they are.
impl AsyncSeen for &mut Writer<'_> {
    async fn see(&mut self, line: Line, part: Part) -> Result<(), AuditError> {
        match part {
            Part::Blob(content) if !self.blobs.insert(Hash::of(&content)) => return Ok(()),
            Part::Batch(_, records) => {
                self.events = self.events.saturating_add(records.len() as u64);
            }
            _ => {}
        }
        let mut text = line.text;
        text.push(b'\n');
        self.out.write_all(&text).await.map_err(failed)
    }
}

impl<'a> Writer<'a> {
    pub(super) fn new(audit: &'a Audit<'a>, out: &'a mut (dyn AsyncWrite + Unpin + Send)) -> Self {
        Self {
            audit,
            out,
            blobs: HashSet::new(),
            events: 0,
        }
    }

    pub(super) async fn batch(
        &mut self,
        link: &BatchLink,
        records: &[Stored],
    ) -> Result<(), AuditError> {
        for record in records {
            self.event(record).await?;
        }
        self.line(&BatchLine::new(link)).await
    }

    async fn event(&mut self, stored: &Stored) -> Result<(), AuditError> {
        for payload in payloads(&stored.record()?.event.kind) {
            if let Payload::Blob { hash, len } = payload
                && self.blobs.insert(*hash)
            {
                self.blob(*hash, *len).await?;
            }
        }
        self.events = self.events.saturating_add(1);
        self.line(&EventLine::new(stored)?).await
    }

    async fn blob(&mut self, hash: Hash, len: u64) -> Result<(), AuditError> {
        if len > BLOB_MAX {
            let why = format!("the blob {hash} has {len} bytes, more than fit a line");
            return Err(failed(why));
        }
        let bytes = self.audit.blobs.get_blob(hash, len).await?;
        self.line(&BlobLine::new(&bytes)).await
    }

    pub(super) async fn line(&mut self, line: &impl Serialize) -> Result<(), AuditError> {
        let mut text = serde_json::to_vec(line).map_err(failed)?;
        text.push(b'\n');
        self.out.write_all(&text).await.map_err(failed)
    }

    pub(super) async fn finish(self, head: Head) -> Result<Exported, AuditError> {
        self.out.flush().await.map_err(failed)?;
        Ok(Exported {
            events: self.events,
            blobs: self.blobs.len() as u64,
            head,
        })
    }
}

fn failed(why: impl ToString) -> AuditError {
    AuditError::Io {
        doing: "written",
        why: why.to_string(),
    }
}
