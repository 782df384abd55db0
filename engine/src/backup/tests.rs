use super::*;
use crate::{
    audit::sample,
    blob::{Blobs as _, MemoryBlobs},
    journal::ChainedJournal as _,
    model::{Actor, Name, Text},
    secret::{MemorySecrets, Secret},
    state_dir::StateDir,
};

const ID: &str = "01JXAMPLE0000000000000000";
const NOW: Timestamp = Timestamp(1_760_000_000_000);

/// A backup of the sample, and the ID of its secret.
async fn backup() -> (Vec<u8>, Name) {
    let (blobs, secrets) = (MemoryBlobs::new(), MemorySecrets::new());
    let id = secrets.put(Secret::new("hunter2")).await.unwrap();
    let journal = sample::journal(&blobs).await;
    let backup = Backup {
        audit: Audit {
            journal: &journal,
            blobs: &blobs,
            journal_id: ID,
        },
        secrets: &secrets,
        incarnation: 3,
    };
    let mut written = Vec::new();
    let summary = backup.write(&mut written, NOW).await.unwrap();
    assert_eq!((summary.secrets, summary.lacks.is_empty()), (1, true));
    (written, id)
}

async fn restore_into(mut bytes: &[u8], dir: &std::path::Path) -> Result<Restored, AuditError> {
    restore(&mut bytes, dir, Actor::Engine, Text::new("test"), NOW).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_backed_up_is_restored_as_the_next_incarnation_and_observes_only() {
    let (written, id) = backup().await;
    let dir = tempfile::tempdir().unwrap();
    let restored = restore_into(&written, dir.path()).await.unwrap();
    assert_eq!((restored.incarnation, restored.secrets), (4, 1));

    let mut state = StateDir::open(dir.path()).unwrap();
    assert_eq!((state.journal_id(), state.incarnation()), (ID, 4));
    assert!(state.observes_only());
    let secret = state.secrets().await.unwrap().get(&id).await.unwrap();
    assert_eq!(secret.expose(), b"hunter2");
    let journal = state.journal().await.unwrap();
    // One more event: the restore.
    let events = restored.journal.events;
    assert_eq!(journal.head().await.unwrap().unwrap().last, events);
    let last = journal.read_stored(events, 1).await.unwrap();
    assert_eq!(last[0].stream.to_string(), format!("entity/journal/{ID}"));
    journal.close().await;

    state.confirm().unwrap();
    drop(state);
    assert!(!StateDir::open(dir.path()).unwrap().observes_only());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_cut_off_anywhere_or_with_a_line_less_is_refused_and_leaves_nothing() {
    let (written, _) = backup().await;
    let lines: Vec<_> = written.split_inclusive(|byte| *byte == b'\n').collect();
    let shorter = (0..lines.len()).map(|at| [&lines[..at], &lines[at + 1..]].concat().concat());
    let cut = (0..written.len())
        .step_by(991)
        .map(|end| written[..end].to_vec());
    for bytes in shorter.chain(cut) {
        let dir = tempfile::tempdir().unwrap();
        assert!(restore_into(&bytes, dir.path()).await.is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_backup_is_named_as_such() {
    let newer = b"{\"kind\":\"backup\",\"schema\":2}\n";
    let dir = tempfile::tempdir().unwrap();
    let error = restore_into(newer, dir.path()).await.unwrap_err();
    assert_eq!(error.code(), "VSI0003");
}

#[tokio::test]
async fn blobs_come_along() {
    let (written, _) = backup().await;
    let dir = tempfile::tempdir().unwrap();
    restore_into(&written, dir.path()).await.unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let (journal, blobs) = (state.journal().await.unwrap(), state.blobs().await.unwrap());
    let audit = Audit {
        journal: &journal,
        blobs: &blobs,
        journal_id: ID,
    };
    // The export reads each blob.
    assert!(audit.export(&mut Vec::new(), NOW).await.unwrap().blobs > 0);
    let _ = blobs.put(b"").await.unwrap();
}
