//! Exports, and rebuilds of sound and of manipulated exports.

use super::{sabotage::SabotagedAudit, *};
use crate::{
    audit::{AuditError, rebuild},
    state_dir::StateDir,
};

pub(super) async fn export(journal: &dyn ChainedJournal, blobs: &MemoryBlobs) -> Vec<u8> {
    let audit = Audit {
        journal,
        blobs,
        journal_id: ID,
    };
    let mut out = Vec::new();
    audit.export(&mut out, NOW).await.unwrap();
    out
}

pub(super) async fn sample_export() -> Vec<u8> {
    let blobs = MemoryBlobs::new();
    export(&sample::journal(&blobs).await, &blobs).await
}

fn lines(export: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(export).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn joined(lines: &[String]) -> Vec<u8> {
    lines
        .iter()
        .flat_map(|line| [line, "\n"])
        .collect::<String>()
        .into_bytes()
}

async fn refused(lines: &[String]) -> AuditError {
    let dir = tempfile::tempdir().unwrap();
    let error = rebuild(&mut joined(lines).as_slice(), dir.path())
        .await
        .unwrap_err();
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 0, "nothing is left: {error}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_journal_is_the_one_that_was_exported() {
    let blobs = MemoryBlobs::new();
    let original = sample::journal(&blobs).await;
    let anchor = head(&original).await;
    let text = export(&original, &blobs).await;
    let dir = tempfile::tempdir().unwrap();
    let rebuilt = rebuild(&mut text.as_slice(), dir.path()).await.unwrap();
    assert_eq!((rebuilt.events, rebuilt.blobs), (53, 2));
    let state = StateDir::open(dir.path()).unwrap();
    assert_eq!(state.journal_id(), ID);
    let (journal, kept_blobs) = (state.journal().await.unwrap(), state.blobs().await.unwrap());
    assert_eq!(stored(&journal).await, stored(&original).await);
    let audit = Audit {
        journal: &journal,
        blobs: &kept_blobs,
        journal_id: state.journal_id(),
    };
    assert!(audit.verify(Some(&anchor), None).await.unwrap().is_sound());
    let mut again = Vec::new();
    audit.export(&mut again, NOW).await.unwrap();
    assert!(
        again == text,
        "an export of the rebuilt journal is the same"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_journal_is_rebuilt_as_well() {
    let text = export(&MemoryJournal::new(), &MemoryBlobs::new()).await;
    assert_eq!(lines(&text).len(), 2);
    let dir = tempfile::tempdir().unwrap();
    rebuild(&mut text.as_slice(), dir.path()).await.unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    assert_eq!(state.journal().await.unwrap().head().await, Ok(None));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_folder_with_something_in_it_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mine"), "x").unwrap();
    let text = sample_export().await;
    let error = rebuild(&mut text.as_slice(), dir.path()).await.unwrap_err();
    assert!(matches!(error, AuditError::State(_)), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_removed_repeated_or_moved_is_refused() {
    let lines = lines(&sample_export().await);
    for at in 0..lines.len() {
        let mut removed = lines.clone();
        removed.remove(at);
        refused(&removed).await;
        let mut repeated = lines.clone();
        repeated.insert(at, lines[at].clone());
        // A repeated payload in the same place adds nothing, so it is accepted.
        if !lines[at].starts_with("{\"kind\":\"blob\"") {
            refused(&repeated).await;
        }
    }
    for at in 1..lines.len() {
        let mut moved = lines.clone();
        moved.swap(at - 1, at);
        if !lines[at - 1].starts_with("{\"kind\":\"blob\"") {
            refused(&moved).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readable_fields_that_say_something_else_are_refused() {
    let lines = lines(&sample_export().await);
    let changes = [
        ("\"type\":\"intent\"", "\"type\":\"paused\""),
        ("\"actor\":\"unix:operator\"", "\"actor\":\"engine\""),
        ("first \\\"light\\\"", "another reason"),
        ("\"generation\":1", "\"generation\":2"),
        ("\"seq\":2", "\"seq\":3"),
        ("\"message\":\"unreachable\"", "\"message\":\"fine\""),
    ];
    for (from, to) in changes {
        let mut changed = lines.clone();
        let at = lines.iter().position(|line| line.contains(from)).unwrap();
        changed[at] = changed[at].replacen(from, to, 1);
        let error = refused(&changed).await;
        assert_eq!(error.code(), "VSI0901", "{error}");
        assert!(
            error.to_string().starts_with(&format!("line {} ", at + 1)),
            "{error}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_cut_off_anywhere_is_refused() {
    let text = sample_export().await;
    for end in (0..text.len()).step_by(997) {
        let dir = tempfile::tempdir().unwrap();
        assert!(
            rebuild(&mut &text[..end], dir.path()).await.is_err(),
            "{end}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_named_as_such() {
    let mut lines = lines(&sample_export().await);
    lines[0] = "{\"kind\":\"header\",\"schema\":4,\"new\":[]}".to_owned();
    assert_eq!(refused(&lines).await.code(), "VSI0003");
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_without_end_and_nests_without_bottom_are_refused() {
    let lines = lines(&sample_export().await);
    let endless = vec![b'x'; crate::audit::export::LINE_MAX + 2];
    let dir = tempfile::tempdir().unwrap();
    assert!(rebuild(&mut endless.as_slice(), dir.path()).await.is_err());
    let long = format!("{{\"kind\":\"event\",\"x\":\"{}\"}}", "x".repeat(1 << 20));
    let deep = format!("{{\"kind\":\"event\",\"event\":{}", "[".repeat(100_000));
    for line in [long, deep] {
        let mut with = lines.clone();
        with.insert(1, line);
        refused(&with).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_is_not_sound_is_not_exported() {
    let journal = SabotagedAudit::new().await;
    journal.change(&journal.records[9]);
    let audit = Audit {
        journal: &journal,
        blobs: &journal.blobs,
        journal_id: ID,
    };
    let error = audit.export(&mut Vec::new(), NOW).await.unwrap_err();
    assert_eq!(error.code(), "VSI0901", "{error}");
}
