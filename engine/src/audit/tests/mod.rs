//! Every kind of sabotage is found and reported.

mod exports;
mod growing;
mod missing;
mod property;
mod sabotage;

use super::{Audit, AuditAnchor, Flaw, VerifyReport, Violation, sample};
use crate::{
    blob::{Blobs as _, MemoryBlobs},
    journal::{BatchLink, ChainedJournal, Journal as _, MemoryJournal, Stored},
    model::{EventKind, Hash, Payload, StreamId, Timestamp},
};

const ID: &str = "01JXTEST";
const NOW: Timestamp = Timestamp(1_750_000_999_000);

async fn audit(
    journal: &dyn ChainedJournal,
    blobs: &MemoryBlobs,
    anchor: Option<&AuditAnchor>,
) -> VerifyReport {
    let audit = Audit {
        journal,
        blobs,
        journal_id: ID,
    };
    audit.verify(anchor, None).await.unwrap()
}

async fn head(journal: &dyn ChainedJournal) -> AuditAnchor {
    let blobs = MemoryBlobs::new();
    let audit = Audit {
        journal,
        blobs: &blobs,
        journal_id: ID,
    };
    audit.head(NOW).await.unwrap()
}

async fn stored(journal: &dyn ChainedJournal) -> Vec<Stored> {
    journal.read_stored(0, usize::MAX).await.unwrap()
}

/// The only violation in a report.
fn only(report: &VerifyReport) -> &Violation {
    assert_eq!(report.violations.len(), 1, "{:#?}", report.violations);
    &report.violations[0]
}

fn assert_names(report: &VerifyReport, flaw: Flaw, record: &Stored) {
    let found = only(report);
    let named = (found.flaw, found.stream.as_ref(), found.seq, found.offset);
    let expected = (
        flaw,
        Some(&record.stream),
        Some(record.seq),
        Some(record.offset),
    );
    assert_eq!(named, expected, "{found}");
}

/// Corrects the checksum.
fn reseal(bytes: &mut [u8]) {
    let crc = crc32c::crc32c(&bytes[4..]).to_be_bytes();
    bytes[..4].copy_from_slice(&crc);
}

/// The record with one byte of its event changed: a different time.
fn altered(record: &Stored) -> Vec<u8> {
    for at in (0..record.bytes.len()).rev() {
        let mut bytes = record.bytes.clone();
        bytes[at] ^= 1;
        reseal(&mut bytes);
        let read = Stored::parse(bytes.clone());
        let sound = read.is_ok_and(|read| {
            (read.offset, read.seq, read.prev) == (record.offset, record.seq, record.prev)
                && read.stream == record.stream
                && read.record().is_ok()
        });
        if sound {
            return bytes;
        }
    }
    panic!("no byte can be changed");
}

#[tokio::test]
async fn a_sound_journal_has_no_violation() {
    let blobs = MemoryBlobs::new();
    let journal = sample::journal(&blobs).await;
    let anchor = head(&journal).await;
    let report = audit(&journal, &blobs, Some(&anchor)).await;
    assert!(report.is_sound(), "{:#?}", report.violations);
    let counted = (report.records, report.batches, report.streams, report.blobs);
    assert_eq!(counted, (53, 18, 6, 2));
    assert_eq!(report.head, journal.head().await.unwrap());
}

#[tokio::test]
async fn an_empty_journal_is_sound_until_a_head_says_otherwise() {
    let (journal, blobs) = (MemoryJournal::new(), MemoryBlobs::new());
    let empty = head(&journal).await;
    assert!(audit(&journal, &blobs, Some(&empty)).await.is_sound());
    let anchor = head(&sample::journal(&blobs).await).await;
    let report = audit(&journal, &blobs, Some(&anchor)).await;
    assert_eq!(only(&report).flaw, Flaw::RolledBack);
}

#[tokio::test]
async fn a_journal_that_goes_on_still_holds_an_older_head() {
    let blobs = MemoryBlobs::new();
    let batches = sample::batches(&blobs).await;
    let older = MemoryJournal::new();
    sample::write(&older, batches[..5].to_vec()).await;
    let anchor = head(&older).await;
    let newer = sample::journal(&blobs).await;
    assert!(audit(&newer, &blobs, Some(&anchor)).await.is_sound());
    let newest = head(&newer).await;
    let report = audit(&older, &blobs, Some(&newest)).await;
    let found = only(&report);
    assert_eq!((found.flaw, found.offset), (Flaw::RolledBack, Some(52)));
    assert!(found.what.contains("ends before offset 14"), "{found}");
}

#[tokio::test]
async fn a_history_written_anew_is_found_against_a_head() {
    let blobs = MemoryBlobs::new();
    let anchor = head(&sample::journal(&blobs).await).await;
    let mut batches = sample::batches(&blobs).await;
    batches[0][0].1 = EventKind::RetryRequested;
    let forged = MemoryJournal::new();
    sample::write(&forged, batches).await;
    assert!(audit(&forged, &blobs, None).await.is_sound());
    let report = audit(&forged, &blobs, Some(&anchor)).await;
    assert_eq!(only(&report).flaw, Flaw::RolledBack);
}

#[tokio::test]
async fn other_borders_of_batches_are_found_against_a_head() {
    let blobs = MemoryBlobs::new();
    let journal = sample::journal(&blobs).await;
    let anchor = head(&journal).await;
    let copy = MemoryJournal::new();
    let bytes = stored(&journal).await.into_iter().map(|r| r.bytes);
    copy.restore(bytes.collect()).await.unwrap();
    assert!(audit(&copy, &blobs, None).await.is_sound());
    let report = audit(&copy, &blobs, Some(&anchor)).await;
    assert_eq!(only(&report).flaw, Flaw::RolledBack);
}

#[tokio::test]
async fn a_head_of_another_journal_is_not_believed() {
    let blobs = MemoryBlobs::new();
    let journal = sample::journal(&blobs).await;
    let mut anchor = head(&journal).await;
    anchor.journal = "01JXOTHER".to_owned();
    let report = audit(&journal, &blobs, Some(&anchor)).await;
    assert_eq!(only(&report).flaw, Flaw::RolledBack);
}

#[tokio::test]
async fn a_blob_that_is_gone_is_named_with_the_event_that_names_it() {
    let journal = sample::journal(&MemoryBlobs::new()).await;
    let blobs = MemoryBlobs::new();
    blobs.put(&[b'x'; 5_000]).await.unwrap();
    let report = audit(&journal, &blobs, None).await;
    let found = only(&report);
    assert_eq!(
        (found.flaw, found.offset),
        (Flaw::Missing, Some(16)),
        "{found}"
    );
    assert!(found.what.contains("blob"), "{found}");
}

#[test]
fn a_violation_says_where_it_is() {
    let stream: StreamId = "entity/vsi/a".parse().unwrap();
    let nowhere = Violation::of(Flaw::Changed, "x");
    assert_eq!(nowhere.to_string(), "x");
    assert_eq!(nowhere.clone().at(7).to_string(), "offset 7: x");
    let named = nowhere.in_stream(stream, 3);
    assert_eq!(named.to_string(), "entity/vsi/a #3: x");
    assert_eq!(named.at(7).to_string(), "entity/vsi/a #3 (offset 7): x");
}
