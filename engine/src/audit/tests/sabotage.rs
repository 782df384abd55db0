//! A journal whose bytes can be changed freely, and the violations that are then found.

use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;

use super::*;
use crate::journal::{
    Append, Journal, JournalError, Offset, Record, RecordDamage, RecordPlace, States, StreamHead,
};

/// The content of a disk: records and links by offset, offsets of records by stream and sequence.
#[derive(Clone, Default)]
struct CutDisk {
    records: BTreeMap<Offset, Vec<u8>>,
    links: BTreeMap<Offset, BatchLink>,
    places: BTreeMap<(StreamId, u64), Offset>,
}

pub(super) struct SabotagedAudit {
    disk: Mutex<CutDisk>,
    sound: CutDisk,
    pub(super) blobs: MemoryBlobs,
    pub(super) records: Vec<Stored>,
    links: Vec<BatchLink>,
    head: AuditAnchor,
}

impl CutDisk {
    fn record(&self, offset: Offset) -> Result<Stored, JournalError> {
        let bytes = self.records.get(&offset);
        let missing = || RecordDamage::missing(RecordPlace::Offset(offset));
        Stored::parse_at(offset, bytes.ok_or_else(missing)?.clone())
    }

    fn end(&self) -> Offset {
        let records = self.records.keys().next_back().map_or(0, |last| last + 1);
        let links = self
            .links
            .values()
            .next_back()
            .map_or(0, |link| link.last + 1);
        records.max(links)
    }
}

impl SabotagedAudit {
    pub(super) async fn new() -> Self {
        let blobs = MemoryBlobs::new();
        let journal = sample::journal(&blobs).await;
        let records = stored(&journal).await;
        let links = journal.read_links(0, usize::MAX).await.unwrap();
        let place = |r: &Stored| ((r.stream.clone(), r.seq), r.offset);
        let disk = CutDisk {
            records: records
                .iter()
                .map(|r| (r.offset, r.bytes.clone()))
                .collect(),
            links: links.iter().map(|link| (link.first, *link)).collect(),
            places: records.iter().map(place).collect(),
        };
        Self {
            disk: Mutex::new(disk.clone()),
            sound: disk,
            blobs,
            records,
            links,
            head: head(&journal).await,
        }
    }

    /// Changes the sound content of the disk.
    fn sabotage(&self, act: impl FnOnce(&mut CutDisk)) {
        let mut disk = self.sound.clone();
        act(&mut disk);
        *self.disk.lock().unwrap() = disk;
    }

    pub(super) fn change(&self, record: &Stored) {
        self.sabotage(|disk| drop(disk.records.insert(record.offset, altered(record))));
    }

    async fn verify(&self, anchor: Option<&AuditAnchor>) -> VerifyReport {
        audit(self, &self.blobs, anchor).await
    }

    /// A record in the middle of a long stream and of a batch of several records.
    fn middle(&self) -> &Stored {
        self.records.iter().find(|r| r.seq == 2).unwrap()
    }

    /// The newest hash of a stream.
    fn newest_of(&self, stream: &StreamId) -> Option<Hash> {
        let mut newest = self.records.iter().rev();
        newest
            .find(|record| record.stream == *stream)
            .map(|record| record.hash)
    }

    fn newest(&self) -> &Stored {
        self.records.last().unwrap()
    }
}

#[async_trait]
impl Journal for SabotagedAudit {
    async fn append(&self, _: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        Err(JournalError::Closed)
    }

    async fn read(
        &self,
        stream: &StreamId,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<Record>, JournalError> {
        let disk = self.disk.lock().unwrap();
        let places = disk.places.range((stream.clone(), from_seq)..);
        let own = places.take_while(|((of, _), _)| of == stream).take(limit);
        let mut page = Vec::new();
        for ((_, seq), offset) in own {
            let named = |error| match error {
                JournalError::DamagedRecord(mut damage) => {
                    let stream = stream.clone();
                    let (seq, offset) = (*seq, *offset);
                    damage.place = RecordPlace::Claimed {
                        stream,
                        seq,
                        offset,
                    };
                    JournalError::DamagedRecord(damage)
                }
                other => other,
            };
            let stored = disk.record(*offset).map_err(named)?;
            if (&stored.stream, stored.seq) != (stream, *seq) {
                let (stream, seq) = (stream.clone(), *seq);
                let place = RecordPlace::Sequence { stream, seq };
                return Err(RecordDamage::altered(place, "it leads to another record"));
            }
            page.push(stored.record()?);
        }
        Ok(page)
    }

    async fn read_all(&self, from: Offset, limit: usize) -> Result<Vec<Record>, JournalError> {
        let stored = self.read_stored(from, limit).await?;
        stored.iter().map(Stored::record).collect()
    }

    async fn streams(&self) -> Result<Vec<StreamHead>, JournalError> {
        let disk = self.disk.lock().unwrap();
        let mut heads = BTreeMap::new();
        for (stream, seq) in disk.places.keys() {
            heads.insert(stream.clone(), seq + 1);
        }
        let heads = heads.into_iter().map(|(stream, next_seq)| StreamHead {
            next_seq,
            hash: self.newest_of(&stream).unwrap_or_default(),
            stream,
        });
        Ok(heads.collect())
    }

    async fn states(&self, _: Option<Offset>) -> Result<States, JournalError> {
        Ok(States::default())
    }
}

#[async_trait]
impl ChainedJournal for SabotagedAudit {
    async fn read_stored(&self, from: Offset, limit: usize) -> Result<Vec<Stored>, JournalError> {
        let disk = self.disk.lock().unwrap();
        let offsets = from..disk.end();
        offsets
            .take(limit)
            .map(|offset| disk.record(offset))
            .collect()
    }

    async fn read_links(&self, from: Offset, limit: usize) -> Result<Vec<BatchLink>, JournalError> {
        let disk = self.disk.lock().unwrap();
        let page = disk.links.range(from..).take(limit);
        Ok(page.map(|(_, link)| *link).collect())
    }

    async fn head(&self) -> Result<Option<BatchLink>, JournalError> {
        Ok(self
            .disk
            .lock()
            .unwrap()
            .links
            .values()
            .next_back()
            .copied())
    }

    async fn restore(&self, _: Vec<Vec<u8>>) -> Result<Option<BatchLink>, JournalError> {
        Err(JournalError::Closed)
    }
}

#[tokio::test]
async fn every_record_that_was_changed_with_its_checksum_is_named() {
    let subject = SabotagedAudit::new().await;
    assert!(subject.verify(Some(&subject.head)).await.is_sound());
    for record in &subject.records {
        subject.change(record);
        assert_names(&subject.verify(None).await, Flaw::Changed, record);
    }
}

#[tokio::test]
async fn a_flipped_bit_is_named() {
    let subject = SabotagedAudit::new().await;
    let record = subject.middle();
    subject.sabotage(|disk| {
        *disk
            .records
            .get_mut(&record.offset)
            .unwrap()
            .last_mut()
            .unwrap() ^= 1
    });
    assert_names(&subject.verify(None).await, Flaw::Changed, record);
}

#[tokio::test]
async fn every_record_that_was_removed_is_named() {
    let subject = SabotagedAudit::new().await;
    for record in &subject.records {
        subject.sabotage(|disk| drop(disk.records.remove(&record.offset)));
        assert_names(&subject.verify(None).await, Flaw::Missing, record);
    }
}

#[tokio::test]
async fn a_record_removed_with_its_place_is_named() {
    let subject = SabotagedAudit::new().await;
    let record = subject.middle();
    subject.sabotage(|disk| {
        disk.records.remove(&record.offset);
        disk.places.remove(&(record.stream.clone(), record.seq));
    });
    assert_names(&subject.verify(None).await, Flaw::Missing, record);
}

#[tokio::test]
async fn two_records_that_changed_places_are_named() {
    let subject = SabotagedAudit::new().await;
    let (one, other) = (&subject.records[5], &subject.records[20]);
    subject.sabotage(|disk| {
        disk.records.insert(one.offset, other.bytes.clone());
        disk.records.insert(other.offset, one.bytes.clone());
    });
    let found = subject.verify(None).await.violations;
    let found: Vec<_> = found.iter().map(|v| (v.flaw, v.offset)).collect();
    let reordered = |r: &Stored| (Flaw::Reordered, Some(r.offset));
    assert_eq!(found, [reordered(one), reordered(other)]);
}

#[tokio::test]
async fn a_record_put_at_the_end_is_named() {
    let subject = SabotagedAudit::new().await;
    let longer = MemoryJournal::new();
    let mut batches = sample::batches(&subject.blobs).await;
    let entity = batches[0][0].0.clone();
    batches.push(vec![(entity, EventKind::RetryRequested)]);
    sample::write(&longer, batches).await;
    let inserted = stored(&longer).await.pop().unwrap();
    subject.sabotage(|disk| drop(disk.records.insert(inserted.offset, inserted.bytes.clone())));
    let found = subject.verify(None).await;
    assert_eq!(found.violations[0].flaw, Flaw::Reordered);
    assert_eq!(found.violations[0].offset, Some(inserted.offset));
}

#[tokio::test]
async fn a_place_that_is_gone_is_named() {
    let subject = SabotagedAudit::new().await;
    for record in [subject.middle(), subject.newest()] {
        let place = (record.stream.clone(), record.seq);
        subject.sabotage(|disk| {
            disk.places.remove(&place);
        });
        let report = subject.verify(None).await;
        let found = only(&report);
        assert_eq!(found.flaw, Flaw::Missing);
        assert_eq!(
            (found.stream.as_ref(), found.seq),
            (Some(&place.0), Some(place.1))
        );
    }
}

#[tokio::test]
async fn a_link_that_is_gone_or_changed_is_named() {
    let subject = SabotagedAudit::new().await;
    let link = subject.links[7];
    subject.sabotage(|disk| {
        disk.links.remove(&link.first);
    });
    let report = subject.verify(None).await;
    let found = only(&report);
    assert_eq!(
        (found.flaw, found.offset),
        (Flaw::Missing, Some(link.first))
    );
    subject.sabotage(|disk| disk.links.get_mut(&link.first).unwrap().hash.0[0] ^= 1);
    let replaced = subject.verify(None).await;
    let flaw = only(&replaced);
    assert_eq!((flaw.flaw, flaw.offset), (Flaw::Changed, Some(link.first)));
}

#[tokio::test]
async fn the_newest_batch_cut_off_is_found_against_a_head_only() {
    let subject = SabotagedAudit::new().await;
    let link = *subject.links.last().unwrap();
    subject.sabotage(|disk| {
        disk.links.remove(&link.first);
        disk.records.retain(|offset, _| *offset < link.first);
        disk.places.retain(|_, offset| *offset < link.first);
    });
    assert!(subject.verify(None).await.is_sound());
    let report = subject.verify(Some(&subject.head)).await;
    assert_eq!(only(&report).flaw, Flaw::RolledBack);
}
