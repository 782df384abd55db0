//! A copy of all that a state directory holds, in one stream, and a state directory out of one.
//!
//! A backup is an audit export (see [`crate::audit`]) between a first line that says what it is
//! and the secrets, which no export has; the last line counts them, so that a backup that was cut
//! off is known:
//!
//! ```text
//! {"kind":"backup","schema":1,"incarnation":1,"writtenBy":"0.1.0"}
//! … the lines of the export, header to head …
//! {"kind":"secret","id":"…","content":"…base64…"}
//! {"kind":"end","secrets":1}
//! ```
//!
//! What the journal lacks (events that are missing, a lost blob, an event that cannot be decoded) has
//! lines of its own in the export, so that a restore says it, too.
//!
//! It is consistent though the engine continues meanwhile: the journal is read up to a batch, blobs
//! never change, and secrets come last, so that each one that the journal names is there unless it
//! was erased since. Whoever can read a backup can read the secrets: encrypt it.
//!
//! What was restored is an older copy of what it was taken from, which may have continued. So it is
//! another incarnation and observes only, until somebody who knows says that it is the one. From
//! then on the marks on the hosts keep it from destroying what it does not know of.

mod lines;
mod restore;

pub use restore::{Restored, confirmed, restore};

use serde::Serialize;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use self::lines::{BackupLine, EndLine, SecretLine};
use crate::{
    audit::{Audit, AuditAnchor, AuditError, Omissions},
    model::Timestamp,
    secret::{SecretError, Secrets},
};

/// What a backup is made of.
#[derive(Clone, Copy)]
pub struct Backup<'a> {
    /// The journal with its blobs.
    pub audit: Audit<'a>,
    /// The secrets.
    pub secrets: &'a dyn Secrets,
    /// Which incarnation of the journal this is.
    pub incarnation: u32,
}

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackedUp {
    /// How many events.
    pub events: u64,
    /// How many secrets.
    pub secrets: u64,
    /// What it lacks of what the journal once held: such a backup is taken all the same.
    pub lacks: Omissions,
    /// The head of the journal in it.
    pub head: AuditAnchor,
}

impl Backup<'_> {
    /// Writes the backup. One that was not written to its end is taken by no restore.
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
                // Erased since it was listed.
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
