//! Writes a journal as JSON Lines.

use std::collections::HashSet;

use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::{
    Audit, AuditError, Batches, Head,
    fields::payloads,
    line::{BLOB_MAX, BatchLine, BlobLine, EventLine, HeadLine, HeaderLine},
};
use crate::{
    journal::Stored,
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
    /// written. The head at the end is taken `now`.
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
        let mut writer = Writer {
            audit: self,
            out,
            blobs: HashSet::new(),
            events: 0,
        };
        writer.line(&HeaderLine::new(self.journal_id)).await?;
        let mut batches = Batches::of(self.journal);
        let mut head = Head::of_nothing(self.journal_id, now);
        while let Some((link, records)) = batches.next().await? {
            for record in &records {
                writer.event(record).await?;
            }
            writer.line(&BatchLine::new(&link)).await?;
            head.reach(&link);
        }
        writer.line(&HeadLine::new(&head)).await?;
        writer.finish(head).await
    }
}

struct Writer<'a> {
    audit: &'a Audit<'a>,
    out: &'a mut (dyn AsyncWrite + Unpin + Send),
    blobs: HashSet<Hash>,
    events: u64,
}

impl Writer<'_> {
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

    async fn line(&mut self, line: &impl Serialize) -> Result<(), AuditError> {
        let mut text = serde_json::to_vec(line).map_err(failed)?;
        text.push(b'\n');
        self.out.write_all(&text).await.map_err(failed)
    }

    async fn finish(self, head: Head) -> Result<Exported, AuditError> {
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
