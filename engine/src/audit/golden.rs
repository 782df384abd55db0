//! Golden journals: journals written by earlier versions must remain readable.
//!
//! `tests/journals/README.md` explains them and how to add one.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{Audit, rebuild, sample};
use crate::{
    blob::MemoryBlobs,
    journal::{Journal as _, MemoryJournal},
    model::Timestamp,
    replay::replay,
    state_dir::StateDir,
};

/// Every existing kind of event. A new kind needs a new golden journal that contains it.
const KINDS: [&str; 33] = [
    "base_written",
    "cancel_requested",
    "clock_jumped",
    "compacted",
    "desired",
    "intent",
    "noted",
    "object_begun",
    "object_gone",
    "object_in_use",
    "object_made",
    "paused",
    "range_lost",
    "resumed",
    "retry_requested",
    "retry_scheduled",
    "run_closed",
    "run_finished",
    "run_opened",
    "run_started",
    "secret_erased",
    "signal",
    "state_changed",
    "step_blocked",
    "step_failed",
    "step_interrupted",
    "step_skipped",
    "step_started",
    "step_succeeded",
    "timer_due",
    "warrant_spent",
    "warrant_voided",
    "warranted",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/journals")
}

fn golden() -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder())
        .unwrap()
        .map(|version| version.unwrap().path())
        .filter(|path| path.is_dir())
        .flat_map(|version| std::fs::read_dir(version).unwrap())
        .map(|file| file.unwrap().path())
        .collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "jsonl"));
    files.sort();
    files
}

/// Rebuilds, verifies, replays and exports a golden journal; returns the kinds of events in it.
async fn check(file: &Path) -> BTreeSet<&'static str> {
    let text = std::fs::read(file).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let rebuilt = rebuild(&mut text.as_slice(), dir.path()).await.unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let (journal, blobs) = (state.journal().await.unwrap(), state.blobs().await.unwrap());
    let audit = Audit {
        journal: &journal,
        blobs: &blobs,
        journal_id: state.journal_id(),
    };
    let report = audit.verify(Some(&rebuilt.head), None).await.unwrap();
    // One journal was made by hand; it reports a loss of events that exist.
    let mut violations = report.violations;
    violations.retain(|violation| !violation.what.contains("were lost, but some exist"));
    assert!(violations.is_empty(), "{}: {violations:#?}", file.display());
    let replayed = replay(&journal, true).await.unwrap();
    assert_eq!(replayed.events, rebuilt.events);
    let mut copy = Vec::new();
    audit.export(&mut copy, rebuilt.head.time).await.unwrap();
    let lines = |file_bytes: &[u8]| {
        let file_bytes = String::from_utf8(file_bytes.to_vec()).unwrap();
        file_bytes
            .lines()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(lines(&copy), lines(&text), "{}", file.display());
    let records = journal.read_all(0, usize::MAX).await.unwrap();
    let kinds = records.iter().map(|record| record.event.kind.type_name());
    kinds.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_golden_journal_is_read_folded_replayed_and_rebuilt() {
    let files = golden();
    assert!(files.len() >= 2, "{files:?}");
    let mut kinds = BTreeSet::new();
    for file in &files {
        kinds.extend(check(file).await);
    }
    assert_eq!(kinds, KINDS.into(), "every kind of event is in one of them");
}

/// Writes the hand-made journal in the current format; never overwrites an existing one.
#[tokio::test]
#[ignore = "makes a golden journal; see tests/journals/README.md"]
async fn make_a_golden_journal() {
    let blobs = MemoryBlobs::new();
    let journal: MemoryJournal = sample::journal(&blobs).await;
    sample::write_own(&journal).await;
    sample::write_noted(&journal).await;
    sample::write_objects(&journal).await;
    let audit = Audit {
        journal: &journal,
        blobs: &blobs,
        journal_id: "01JXS6H8W0GOLDENJOURNAL001",
    };
    let mut text = Vec::new();
    audit
        .export(&mut text, Timestamp(1_750_000_999_000))
        .await
        .unwrap();
    let file = folder().join("v1/every-kind-33.jsonl");
    std::fs::create_dir_all(folder().join("v1")).unwrap();
    assert!(!file.exists(), "{} is there already", file.display());
    std::fs::write(file, text).unwrap();
}
