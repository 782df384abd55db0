//! Restores a state directory from a backup. Backups are untrusted input: everything is checked
//! before it is used.

use std::path::Path;

use super::lines::{BackupLine, EndLine, SCHEMA, SecretLine};
use crate::{
    audit::{
        AuditError, ExportLines, Flaw, LineInput, Rebuilt, off_runtime, parse, restore_journal,
    },
    executor::disowned_entities,
    journal::{Append, Journal},
    model::{Actor, EntityId, Event, EventKind, Name, StreamId, Text, Timestamp},
    secret::DirSecrets,
    state_dir::Rebuilding,
};

/// The result of a restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The journal, as it was when the backup was taken.
    pub journal: Rebuilt,
    /// How many secrets.
    pub secrets: u64,
    /// The new incarnation of the journal.
    pub incarnation: u32,
}

/// Restores a state directory from a backup, at `dir`, which must be empty or absent. It only
/// observes until it is confirmed. The first event that it records is the restore, with actor and
/// reason.
///
/// On failure nothing remains at `dir`.
///
/// # Errors
/// [`AuditError::Line`] for the first invalid line, [`AuditError::Newer`] for a backup of a newer
/// schema, [`AuditError::State`] when `dir` is not empty or cannot be written.
pub async fn restore(
    input: LineInput<'_>,
    dir: &Path,
    actor: Actor,
    reason: Text,
    now: Timestamp,
) -> Result<Restored, AuditError> {
    let mut lines = ExportLines::of(input);
    let former_incarnation = incarnation(&mut lines).await?;
    let incarnation = former_incarnation.saturating_add(1);
    let header = lines.header().await?;
    let (dir, id) = (dir.to_owned(), header.journal.clone());
    let place = off_runtime(move || {
        let mut place = Rebuilding::begin(dir, &id)?;
        place.observe_only(incarnation);
        Ok(place)
    })
    .await?;
    let detail = format!("incarnation {incarnation}");
    let event = state_event(RESTORED, &detail, actor, reason, now);
    match fill(&mut lines, &place, header.journal, event).await {
        Ok((journal, secrets)) => {
            off_runtime(move || place.finish()).await?;
            Ok(Restored {
                journal,
                secrets,
                incarnation,
            })
        }
        Err(error) => {
            // The first error is the one that matters; what remains at `dir` is not a usable
            // journal.
            let _ = off_runtime(move || place.abandon()).await;
            Err(error)
        }
    }
}

/// Records that the restored journal is confirmed and acts from now on; called before it acts.
///
/// # Errors
/// When the journal cannot be written.
pub async fn confirmed(
    journal: &dyn Journal,
    journal_id: &str,
    actor: Actor,
    reason: Text,
    now: Timestamp,
) -> Result<(), AuditError> {
    let event = state_event(CONFIRMED, "", actor, reason, now);
    record(journal, journal_id, event).await
}

/// The state of the entity `journal/ID` of a journal that was restored from a backup and was not confirmed yet.
pub const RESTORED: &str = "Restored";
/// The state of the entity `journal/ID` of a journal that was restored from a backup and acts.
pub const CONFIRMED: &str = "Confirmed";

fn state_event(state: &str, detail: &str, actor: Actor, reason: Text, now: Timestamp) -> Event {
    Event {
        at: now,
        actor,
        reason,
        kind: EventKind::StateChanged {
            state: Name::of(state),
            detail: Text::new(detail),
        },
    }
}

/// Reads the first line; returns the incarnation of the journal that was backed up.
async fn incarnation(lines: &mut ExportLines<'_>) -> Result<u32, AuditError> {
    let first: Option<BackupLine> = match lines.next().await {
        Ok(Some(line)) if line.kind == "backup" => parse(&line.text).ok(),
        Err(error @ AuditError::Io { .. }) => return Err(error),
        _ => None,
    };
    match first {
        Some(first) if first.schema > SCHEMA => Err(AuditError::Newer {
            found: first.schema,
            known: SCHEMA,
        }),
        Some(first) => Ok(first.incarnation),
        None => Err(lines.wrong(
            Flaw::Changed,
            "it is not the first line of a backup (an encrypted backup needs its identity)",
        )),
    }
}

async fn fill(
    lines: &mut ExportLines<'_>,
    place: &Rebuilding,
    journal_id: String,
    restored: Event,
) -> Result<(Rebuilt, u64), AuditError> {
    let (journal, blobs) = (place.journal().await?, place.blobs().await?);
    let filled = async {
        let rebuilt = restore_journal(lines, &journal, &blobs, journal_id).await?;
        let secret_ids = secrets(lines, &place.secrets().await?).await?;
        disown_objects(&journal, &restored).await?;
        record(&journal, &rebuilt.journal_id, restored).await?;
        Ok((rebuilt, secret_ids))
    }
    .await;
    journal.close().await;
    filled
}

/// Stores the secrets up to the last line, which has their number.
async fn secrets(lines: &mut ExportLines<'_>, store: &DirSecrets) -> Result<u64, AuditError> {
    let mut count = 0_u64;
    while let Some(line) = lines.next().await? {
        match line.kind.as_str() {
            "secret" => {
                store_secret(lines, &parse(&line.text)?, store).await?;
                count = count.saturating_add(1);
            }
            "end" => {
                let end: EndLine = parse(&line.text)?;
                return if end.secrets == count && lines.next().await?.is_none() {
                    Ok(count)
                } else {
                    Err(lines.wrong(Flaw::Missing, "secrets before it are missing"))
                };
            }
            _ => return Err(lines.wrong(Flaw::Changed, "no backup has such a line here")),
        }
    }
    Err(lines.wrong(Flaw::RolledBack, "the backup ends before its last line"))
}

async fn store_secret(
    lines: &mut ExportLines<'_>,
    line: &SecretLine,
    store: &DirSecrets,
) -> Result<(), AuditError> {
    let secret = line.secret().zip(Name::new(line.id.as_str()).ok());
    let (secret, id) = secret.ok_or_else(|| lines.wrong(Flaw::Changed, "it is not a secret"))?;
    store.keep(&id, secret).await.map_err(|e| AuditError::Io {
        doing: "rebuilt",
        why: e.to_string(),
    })
}

/// Voids every warrant, spent or not, and counts what was begun as written. The orders were given to the journal
/// that was backed up, which may have carried them out since. The events are like `restored`. [`restore`] does this.
///
/// # Errors
/// When the journal cannot be read or written.
pub async fn disown_objects(journal: &dyn Journal, restored: &Event) -> Result<(), AuditError> {
    let event = |kind| Event {
        kind,
        ..restored.clone()
    };
    let disowned = disowned_entities(journal).await?.into_iter();
    let appends: Vec<Append> = disowned.map(|entity| entity.append(&event)).collect();
    if !appends.is_empty() {
        journal.append(appends).await?;
    }
    Ok(())
}

/// Appends an event to the stream of the `journal` entity, which stands for the journal itself.
async fn record(journal: &dyn Journal, id: &str, event: Event) -> Result<(), AuditError> {
    let entity = EntityId::new(Name::of("journal"), id).map_err(|e| AuditError::Io {
        doing: "rebuilt",
        why: e.to_string(),
    })?;
    let stream = StreamId::Entity(entity);
    let heads = journal.streams().await?;
    let head = heads.into_iter().find(|head| head.stream == stream);
    let append = Append {
        expected_seq: head.map_or(0, |head| head.next_seq),
        stream,
        events: vec![event],
    };
    journal.append(vec![append]).await?;
    Ok(())
}
