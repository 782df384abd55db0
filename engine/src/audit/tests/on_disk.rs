//! Sabotage of a journal on disk, by hand in its store.

use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::journal::{JournalError, SledInspector, SledJournal};

/// Keys as the journal on disk has them.
fn key(kind: u8, offset: u64) -> Vec<u8> {
    [&[kind][..], &offset.to_be_bytes()].concat()
}

fn place_key(record: &Stored) -> Vec<u8> {
    let stream = record.stream.to_string();
    [b"s", stream.as_bytes(), &[0], &record.seq.to_be_bytes()].concat()
}

struct Subject {
    dir: TempDir,
    blobs: MemoryBlobs,
    records: Vec<Stored>,
    links: Vec<BatchLink>,
    head: Head,
}

impl Subject {
    async fn new() -> Self {
        let (dir, blobs) = (tempfile::tempdir().unwrap(), MemoryBlobs::new());
        let journal = SledJournal::open(dir.path()).await.unwrap();
        sample::write(&journal, sample::batches(&blobs).await).await;
        let (records, head) = (stored(&journal).await, head(&journal).await);
        let links = journal.read_links(0, usize::MAX).await.unwrap();
        journal.close().await;
        Self {
            dir,
            blobs,
            records,
            links,
            head,
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Changes the store behind the journal's back; what would mend the newest events is gone.
    fn sabotage(&self, act: impl FnOnce(&sled::Db)) {
        for number in 0..3 {
            let _ = std::fs::remove_file(self.path().join(format!("tail.{number}")));
        }
        let store = crate::durable::Durable::open(self.path(), std::fs::File::sync_data).unwrap();
        drop(store);
        let store = loop {
            if let Ok(store) = crate::durable::config(self.path()).open() {
                break store;
            }
        };
        act(&store);
        store.flush().unwrap();
    }

    async fn verify(&self, kept: Option<&Head>) -> Report {
        let journal = SledInspector::open(self.path()).await.unwrap();
        let report = audit(&journal, &self.blobs, kept).await;
        journal.close().await;
        report
    }

    fn index_of(&self, wanted: impl Fn(&Stored) -> bool) -> usize {
        self.records.iter().position(wanted).unwrap()
    }

    /// A place in the middle of a long stream and of a batch of several.
    fn middle(&self) -> &Stored {
        &self.records[self.index_of(|r| r.seq == 2)]
    }

    fn newest(&self) -> &Stored {
        self.records.last().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_one_passes_and_is_not_written_to() {
    let subject = Subject::new().await;
    let report = subject.verify(Some(&subject.head)).await;
    assert!(report.is_sound(), "{:#?}", report.violations);
    let journal = SledInspector::open(subject.path()).await.unwrap();
    let refused = journal.append(Vec::new()).await;
    assert!(matches!(refused, Err(JournalError::Storage(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_that_was_changed_with_its_checksum_is_named() {
    let subject = Subject::new().await;
    for record in &subject.records {
        let key = key(b'e', record.offset);
        subject.sabotage(|store| drop(store.insert(&key, altered(record))));
        assert_names(&subject.verify(None).await, Flaw::Changed, record);
        subject.sabotage(|store| drop(store.insert(&key, record.bytes.clone())));
    }
    assert!(subject.verify(None).await.is_sound());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_is_named() {
    let subject = Subject::new().await;
    let record = subject.middle();
    let mut bytes = record.bytes.clone();
    *bytes.last_mut().unwrap() ^= 1;
    subject.sabotage(|store| drop(store.insert(key(b'e', record.offset), bytes)));
    assert_names(&subject.verify(None).await, Flaw::Changed, record);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_that_was_removed_is_named() {
    let subject = Subject::new().await;
    for record in &subject.records {
        let key = key(b'e', record.offset);
        subject.sabotage(|store| drop(store.remove(&key)));
        assert_names(&subject.verify(None).await, Flaw::Missing, record);
        subject.sabotage(|store| drop(store.insert(&key, record.bytes.clone())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_removed_with_its_index_entry_is_named() {
    let subject = Subject::new().await;
    let record = subject.middle();
    subject.sabotage(|store| {
        store.remove(key(b'e', record.offset)).unwrap();
        store.remove(place_key(record)).unwrap();
    });
    assert_names(&subject.verify(None).await, Flaw::Missing, record);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_record_removed_is_named_though_the_journal_does_not_open() {
    let subject = Subject::new().await;
    let record = subject.newest();
    subject.sabotage(|store| drop(store.remove(key(b'e', record.offset))));
    assert!(SledJournal::open(subject.path()).await.is_err());
    assert_names(&subject.verify(None).await, Flaw::Missing, record);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_records_that_changed_places_are_named() {
    let subject = Subject::new().await;
    let (one, other) = (&subject.records[5], &subject.records[20]);
    subject.sabotage(|store| {
        store
            .insert(key(b'e', one.offset), other.bytes.clone())
            .unwrap();
        store
            .insert(key(b'e', other.offset), one.bytes.clone())
            .unwrap();
    });
    let found = subject.verify(None).await.violations;
    let told: Vec<_> = found.iter().map(|v| (v.flaw, v.offset, v.seq)).collect();
    let reordered = |r: &Stored| (Flaw::Reordered, Some(r.offset), Some(r.seq));
    assert_eq!(told, [reordered(one), reordered(other)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_put_at_the_end_is_named() {
    let subject = Subject::new().await;
    let blobs = MemoryBlobs::new();
    let longer = MemoryJournal::new();
    let mut batches = sample::batches(&blobs).await;
    let entity = batches[0][0].0.clone();
    batches.push(vec![(entity, EventKind::RetryRequested)]);
    sample::write(&longer, batches).await;
    let inserted = stored(&longer).await.pop().unwrap();
    let at = key(b'e', inserted.offset);
    subject.sabotage(|store| drop(store.insert(at, inserted.bytes.clone())));
    assert!(SledJournal::open(subject.path()).await.is_err());
    let found = subject.verify(None).await;
    assert_eq!(found.violations[0].flaw, Flaw::Reordered);
    assert_eq!(found.violations[0].offset, Some(53));
    assert_eq!(found.violations[0].seq, Some(inserted.seq));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_entry_that_is_gone_is_named() {
    let subject = Subject::new().await;
    for record in [subject.middle(), subject.newest()] {
        let mut entry = None;
        subject.sabotage(|store| entry = store.remove(place_key(record)).unwrap());
        let report = subject.verify(None).await;
        let found = only(&report);
        assert_eq!(found.flaw, Flaw::Missing);
        assert_eq!(found.stream.as_ref(), Some(&record.stream), "{found}");
        assert_eq!(found.seq, Some(record.seq), "{found}");
        subject.sabotage(|store| drop(store.insert(place_key(record), entry.unwrap())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_gone_or_changed_is_named() {
    let subject = Subject::new().await;
    let link = subject.links[7];
    let key = key(b'b', link.first);
    let mut value = None;
    subject.sabotage(|store| value = store.remove(&key).unwrap());
    let report = subject.verify(None).await;
    assert_eq!(
        (only(&report).flaw, only(&report).offset),
        (Flaw::Missing, Some(link.first))
    );
    let mut changed = value.unwrap().to_vec();
    let crc = changed.len() - 4;
    changed[crc - 1] ^= 1;
    let sum = crc32c::crc32c_append(crc32c::crc32c(&key), &changed[..crc]);
    subject.sabotage(|store| drop(store.insert(&key, changed.clone())));
    assert_eq!(
        subject.verify(None).await.violations.len(),
        1,
        "a damaged link"
    );
    changed[crc..].copy_from_slice(&sum.to_be_bytes());
    subject.sabotage(|store| drop(store.insert(&key, changed)));
    let report = subject.verify(None).await;
    assert_eq!(
        (only(&report).flaw, only(&report).offset),
        (Flaw::Changed, Some(link.first))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_newest_link_is_named() {
    let subject = Subject::new().await;
    let link = subject.links.last().unwrap();
    subject.sabotage(|store| drop(store.insert(key(b'b', link.first), vec![0; 84])));
    let report = subject.verify(None).await;
    let found = only(&report);
    assert_eq!(
        (found.flaw, found.offset),
        (Flaw::Changed, Some(link.first)),
        "{found}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_batch_cut_off_is_found_against_a_head_only() {
    let subject = Subject::new().await;
    let link = *subject.links.last().unwrap();
    subject.sabotage(|store| {
        store.remove(key(b'b', link.first)).unwrap();
        for record in subject.records.iter().skip(link.first as usize) {
            store.remove(key(b'e', record.offset)).unwrap();
            store.remove(place_key(record)).unwrap();
        }
    });
    assert!(subject.verify(None).await.is_sound());
    let report = subject.verify(Some(&subject.head)).await;
    assert_eq!(only(&report).flaw, Flaw::RolledBack);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_put_back_is_found_against_a_head() {
    let subject = Subject::new().await;
    let older = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(subject.path()).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_file() {
            std::fs::copy(entry.path(), older.path().join(entry.file_name())).unwrap();
        }
    }
    let journal = SledJournal::open(subject.path()).await.unwrap();
    let mut batches = sample::batches(&subject.blobs).await;
    let entity = batches.swap_remove(0).swap_remove(0).0;
    let seq = journal.streams().await.unwrap();
    let seq = seq
        .iter()
        .find(|head| head.stream == entity)
        .unwrap()
        .next_seq;
    let event = subject.records[0].record().unwrap().event;
    let append = crate::journal::Append {
        stream: entity,
        expected_seq: seq,
        events: vec![event],
    };
    journal.append(vec![append]).await.unwrap();
    let newest = head(&journal).await;
    journal.close().await;
    assert!(subject.verify(Some(&newest)).await.is_sound());
    let copy = SledInspector::open(older.path()).await.unwrap();
    assert!(audit(&copy, &subject.blobs, None).await.is_sound());
    let report = audit(&copy, &subject.blobs, Some(&newest)).await;
    assert_eq!(only(&report).flaw, Flaw::RolledBack);
}
