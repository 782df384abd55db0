//! Writes a backup of a whole state directory as one stream, and restores one.
//!
//! A backup is an audit export (see [`crate::audit`]) between a first line that identifies the
//! backup and the secrets, which no export has. The last line counts the secrets, so a truncated
//! backup is detected:
//!
//! ```text
//! {"kind":"backup","schema":1,"incarnation":1,"writtenBy":"0.1.0"}
//! … the lines of the export, header to head …
//! {"kind":"secret","id":"…","content":"…base64…"}
//! {"kind":"end","secrets":1}
//! ```
//!
//! What the journal lacks (missing events, a lost blob, an event that cannot be decoded) has its
//! own lines in the export, so a restore reports it as well.
//!
//! A backup is consistent although the engine continues: the journal is read up to a batch, blobs
//! never change, and secrets come last. So each secret that the journal names is included unless it
//! was erased since. Anyone who can read a backup can read the secrets: encrypt it.
//!
//! A restored state directory is an older copy; the original may have continued. So it becomes
//! another incarnation and only observes until an operator confirms it. After that, the marks on
//! the hosts keep it from destroying objects that it does not know.

mod lines;
mod restore;

pub use restore::{CONFIRMED, RESTORED, Restored, confirmed, disown_objects, restore};

use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use self::lines::{BackupLine, EndLine, SecretLine};
use crate::{
    audit::{Audit, AuditAnchor, AuditError, Omissions},
    model::Timestamp,
    secret::{SecretError, Secrets},
};

/// The parts of a backup.
#[derive(Clone, Copy)]
pub struct Backup<'a> {
    /// The journal with its blobs.
    pub audit: Audit<'a>,
    /// The secrets.
    pub secrets: &'a dyn Secrets,
    /// The incarnation of the journal.
    pub incarnation: u32,
}

/// The contents of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackedUp {
    /// How many events.
    pub events: u64,
    /// How many secrets.
    pub secrets: u64,
    /// What the backup lacks of what the journal once held. Such a backup is written nevertheless.
    pub lacks: Omissions,
    /// The audit anchor of the journal in it.
    pub head: AuditAnchor,
}

impl Backup<'_> {
    /// Writes the backup. No restore accepts an incomplete one.
    ///
    /// # Errors
    /// As for [`Audit::export`]; also when a secret cannot be read.
    pub async fn write(
        &self,
        out: &mut (dyn AsyncWrite + Unpin + Send),
        now: Timestamp,
    ) -> Result<BackedUp, AuditError> {
        line(out, &BackupLine::new(self.incarnation)).await?;
        let exported = self.audit.export(out, now).await?;
        let secrets = self.write_secrets(out).await?;
        line(out, &EndLine::new(secrets)).await?;
        out.flush().await.map_err(failed)?;
        Ok(BackedUp {
            events: exported.events,
            secrets,
            lacks: exported.lacks,
            head: exported.head,
        })
    }

    async fn write_secrets(
        &self,
        out: &mut (dyn AsyncWrite + Unpin + Send),
    ) -> Result<u64, AuditError> {
        let mut written = 0_u64;
        for id in self.secrets.ids().await.map_err(failed)? {
            match self.secrets.get(&id).await {
                Ok(secret) => line(out, &SecretLine::new(&id, &secret)).await?,
                // The secret was erased after it was listed.
                Err(SecretError::Missing(_)) => continue,
                Err(error) => return Err(failed(error)),
            }
            written = written.saturating_add(1);
        }
        Ok(written)
    }
}

async fn line(
    out: &mut (dyn AsyncWrite + Unpin + Send),
    line: &impl Serialize,
) -> Result<(), AuditError> {
    let mut text = Zeroizing::new(serde_json::to_vec(line).map_err(failed)?);
    text.push(b'\n');
    out.write_all(&text).await.map_err(failed)
}

fn failed(why: impl ToString) -> AuditError {
    AuditError::Io {
        doing: "written",
        why: why.to_string(),
    }
}

#[cfg(test)]
mod tests;
