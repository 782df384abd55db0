//! Properties that hold for any events and any damage.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{exports::sample_export, *};
use crate::{
    audit::export::{ExportLines, restore},
    journal::{Append, arbitrary},
    model::Event,
};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(work)
}

/// Rebuilds an export in memory.
async fn rebuilt(text: &[u8]) -> Result<MemoryJournal, crate::audit::AuditError> {
    let (journal, blobs) = (MemoryJournal::new(), MemoryBlobs::new());
    let mut input = text;
    let mut lines = ExportLines::of(&mut input);
    let header = lines.header().await?;
    restore(&mut lines, &journal, &blobs, header.journal).await?;
    Ok(journal)
}

async fn journal_of(batches: Vec<Vec<(StreamId, Event)>>) -> MemoryJournal {
    let journal = MemoryJournal::new();
    for batch in batches {
        for (stream, event) in batch {
            let heads = journal.streams().await.unwrap();
            let head = heads.iter().find(|head| head.stream == stream);
            let append = Append {
                expected_seq: head.map_or(0, |head| head.next_seq),
                stream,
                events: vec![event],
            };
            journal.append(vec![append]).await.unwrap();
        }
    }
    journal
}

/// Whether an event names no blob and reports no loss, because the test has neither.
fn claims_nothing(event: &Event) -> bool {
    let mut payloads = crate::audit::payloads(&event.kind).into_iter();
    let is_inline = payloads.all(|payload| matches!(payload, Payload::Inline(_)));
    is_inline && !matches!(event.kind, crate::model::EventKind::RangeLost { .. })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_journal_verifies_and_rebuilds(
        batches in vec(vec((arbitrary::stream(), arbitrary::event()), 1..4), 0..4),
    ) {
        block_on(async {
            let keep = |batch: Vec<(StreamId, Event)>| {
                batch.into_iter().filter(|(_, event)| claims_nothing(event)).collect()
            };
            let journal = journal_of(batches.into_iter().map(keep).collect()).await;
            let blobs = MemoryBlobs::new();
            let anchor = head(&journal).await;
            let report = audit(&journal, &blobs, Some(&anchor)).await;
            assert!(report.is_sound(), "{:#?}", report.violations);
            let text = super::exports::export(&journal, &blobs).await;
            let copy = rebuilt(&text).await.unwrap();
            assert_eq!(copy.head().await, journal.head().await);
        });
    }

    #[test]
    fn a_damaged_export_is_refused_or_says_the_same(
        at in any::<Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        block_on(async {
            let sound = sample_export().await;
            let mut text = sound.clone();
            let at = at.index(text.len());
            if cut { text.remove(at); } else { text[at] = byte; }
            if let Ok(journal) = rebuilt(&text).await {
                let sound = rebuilt(&sound).await.unwrap();
                assert_eq!(journal.head().await, sound.head().await);
                assert_eq!(stored(&journal).await, stored(&sound).await);
            }
        });
    }

    #[test]
    fn lines_of_anything_are_refused(lines in vec("\\PC{0,80}", 0..6)) {
        block_on(async {
            let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
            assert!(rebuilt(text.as_bytes()).await.is_err());
        });
    }

    #[test]
    fn texts_of_anything_are_no_heads(text in "\\PC{0,200}") {
        prop_assert!(text.parse::<AuditAnchor>().is_err());
        let marked = ["vsiflow-head v1", &text].join(" ");
        prop_assert!(marked.parse::<AuditAnchor>().is_err());
    }
}

#[test]
fn hashes_read_back_as_printed() {
    let hash = Hash::of(b"x");
    assert_eq!(crate::audit::anchor::hash(&hash.to_string()), Some(hash));
    assert_eq!(crate::audit::anchor::hash("xy"), None);
}
