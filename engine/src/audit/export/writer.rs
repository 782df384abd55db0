//! Writes the lines of an export.

use std::collections::HashSet;

use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use super::{
    super::{Audit, AuditAnchor, AuditError, payloads, payloads_of},
    Exported, Omissions,
    gaps::After,
    line::{BLOB_MAX, BatchLine, BlobLine, EventLine},
    omissions::{BaseLine, LostBlobLine, MissingLine, StateLine, StreamLine, UndecodableLine},
};
use crate::{
    journal::{BatchLink, Missing, Offset, Stored, base_hash},
    model::{Hash, Payload},
};

/// Writes lines; each blob comes before the first line that names it.
pub(super) struct ExportWriter<'a> {
    audit: &'a Audit<'a>,
    out: &'a mut (dyn AsyncWrite + Unpin + Send),
    blobs: HashSet<Hash>,
    events: u64,
    lacks: Omissions,
}

impl<'a> ExportWriter<'a> {
    pub(super) fn new(audit: &'a Audit<'a>, out: &'a mut (dyn AsyncWrite + Unpin + Send)) -> Self {
        Self {
            audit,
            out,
            blobs: HashSet::new(),
            events: 0,
            lacks: Omissions::default(),
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
        self.events = self.events.saturating_add(1);
        let record = match stored.record() {
            Err(error) if error.is_damage() => {
                self.lacks.undecodable.push(stored.offset);
                return self.line(&UndecodableLine::new(stored)).await;
            }
            record => record?,
        };
        self.named(payloads(&record.event.kind)).await?;
        self.line(&EventLine::new(stored)?).await
    }

    pub(super) async fn missing(
        &mut self,
        missing: Missing,
        After { link, heads }: After,
    ) -> Result<(), AuditError> {
        let line = MissingLine::new(&missing, link, heads.len());
        self.lacks.missing.push(missing);
        self.line(&line).await?;
        for head in &heads {
            self.line(&StreamLine::new(head)).await?;
        }
        Ok(())
    }

    pub(super) async fn base(&mut self, as_of: Offset) -> Result<(), AuditError> {
        let states = self.audit.journal.states(Some(as_of)).await?;
        let Some(link) = states.link.filter(|_| states.as_of == as_of) else {
            return Ok(());
        };
        let line = BaseLine::new(&states, &link, base_hash(&states)?);
        self.line(&line).await?;
        for state in &states.streams {
            self.named(payloads_of(state)).await?;
            self.line(&StateLine::new(state)?).await?;
        }
        Ok(())
    }

    /// Writes the blobs of these payloads that were not written yet.
    async fn named(&mut self, payloads: Vec<&Payload>) -> Result<(), AuditError> {
        for payload in payloads {
            if let Payload::Blob { hash, len } = payload
                && self.blobs.insert(*hash)
            {
                self.blob(*hash, *len).await?;
            }
        }
        Ok(())
    }

    async fn blob(&mut self, hash: Hash, len: u64) -> Result<(), AuditError> {
        if len > BLOB_MAX {
            let why = format!("the blob {hash} has {len} bytes, more than fit a line");
            return Err(failed(why));
        }
        match self.audit.blobs.get_blob(hash, len).await {
            Err(error) if error.is_damage() => {
                self.lacks.blobs.push(hash);
                self.line(&LostBlobLine::new(hash, len)).await
            }
            bytes => self.line(&BlobLine::new(&bytes?)).await,
        }
    }

    pub(super) async fn line(&mut self, line: &impl Serialize) -> Result<(), AuditError> {
        let mut text = serde_json::to_vec(line).map_err(failed)?;
        text.push(b'\n');
        self.out.write_all(&text).await.map_err(failed)
    }

    pub(super) async fn finish(self, head: AuditAnchor) -> Result<Exported, AuditError> {
        self.out.flush().await.map_err(failed)?;
        let lost = self.lacks.blobs.len() as u64;
        Ok(Exported {
            events: self.events,
            blobs: (self.blobs.len() as u64).saturating_sub(lost),
            lacks: self.lacks,
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
