//! Forged bytes with correct checksums, as an attacker may write them to a copy of the state
//! directory that another user reads.

use std::collections::BTreeMap;

use super::*;
use crate::{
    journal::{
        BatchLink, ChainedJournal as _,
        log::{
            frame::{Body, HEADER, LINK, link_bytes},
            header,
            scan::{frames, position_of},
            table::SegmentTable,
        },
    },
    model::Hash,
};

const EVENTS: u64 = 40;
/// The most events that reading a forged log may return.
const LIMIT: usize = 100_000;

/// A log of one segment, with one event in each batch.
fn files() -> BTreeMap<String, Vec<u8>> {
    let disk = SimDisk::new();
    run(async {
        let journal = open(&disk, OpenMode::Make).unwrap();
        for round in 0..EVENTS {
            journal.append(vec![append(1, round, &[50])]).await.unwrap();
        }
        journal.close().await;
    });
    disk.files()
}

fn header(segment: &[u8]) -> header::SegmentHeader {
    header::SegmentHeader::decode(segment).unwrap()
}

/// The link of each batch and where its frame begins and ends.
fn batches(segment: &[u8]) -> Vec<(BatchLink, usize, usize)> {
    let found = frames(segment, &header(segment));
    let batches = found.iter().filter_map(|found| match found.frame.body {
        Body::Batch(link, _) => Some((link, found.at, found.at + found.frame.len)),
        _ => None,
    });
    batches.collect()
}

/// Sets the checksum of a frame as vsiflow would.
pub(super) fn seal(header: &header::SegmentHeader, at: usize, frame: &mut [u8]) {
    let salted = crc32c::crc32c(&header.salt);
    let position = position_of(header, at).to_be_bytes();
    let placed = crc32c::crc32c_append(salted, &position);
    let sum = crc32c::crc32c_append(placed, &frame[8..end_of(frame)]);
    frame[4..8].copy_from_slice(&sum.to_be_bytes());
}

/// The end of a frame according to its own length field.
pub(super) fn end_of(frame: &[u8]) -> usize {
    let length = frame[8..12].try_into().map(u32::from_be_bytes);
    12 + usize::try_from(length.unwrap()).unwrap()
}

/// The same log with another link in the frame of one batch.
fn with_link(number: usize, change: impl FnOnce(&mut BatchLink)) -> SimDisk {
    let mut files = files();
    let segment = files.get_mut("log/00000000000000000000").unwrap();
    let (mut link, at, end) = batches(segment)[number];
    change(&mut link);
    let header = header(segment);
    let frame = &mut segment[at..end];
    frame[HEADER..HEADER + LINK].copy_from_slice(&link_bytes(&link));
    seal(&header, at, frame);
    SimDisk::with(files)
}

/// Checks that reading terminates, and returns no more events than exist.
#[track_caller]
fn assert_read_to_an_end(disk: &SimDisk) {
    run(async {
        for mode in [OpenMode::Read, OpenMode::Inspect] {
            let Ok(journal) = open(disk, mode) else {
                continue;
            };
            let events = journal.read_stored(0, LIMIT).await.map(|all| all.len());
            assert!(events.as_ref().is_ok_and(|count| *count as u64 <= EVENTS) || events.is_err());
            let links = journal.read_links(0, LIMIT).await.map(|all| all.len());
            assert!(links.as_ref().is_ok_and(|count| *count as u64 <= EVENTS) || links.is_err());
            let _ = journal.read(&stream(1), 0, LIMIT).await;
        }
    });
}

#[test]
fn a_batch_that_ends_before_it_begins_is_damage_and_reading_comes_to_an_end() {
    let disk = with_link(20, |link| link.last = 0);
    assert_read_to_an_end(&disk);
    let message = open(&disk, OpenMode::Append).err().map(|e| e.to_string());
    assert!(message.is_some_and(|message| message.contains("offset 20")));
}

#[test]
fn a_batch_that_goes_back_is_damage_and_reading_comes_to_an_end() {
    let disk = with_link(20, |link| (link.first, link.last) = (3, 4));
    assert_read_to_an_end(&disk);
    assert!(open(&disk, OpenMode::Append).is_err());
}

#[test]
fn a_batch_that_leaves_offsets_out_is_damage() {
    let disk = with_link(20, |link| (link.first, link.last) = (25, 25));
    assert_read_to_an_end(&disk);
    assert!(open(&disk, OpenMode::Append).is_err());
}

#[test]
fn a_batch_up_to_the_last_offset_of_all_is_damage_and_reading_comes_to_an_end() {
    let disk = with_link(20, |link| link.last = u64::MAX);
    assert_read_to_an_end(&disk);
    assert!(open(&disk, OpenMode::Append).is_err());
}

#[test]
fn sequences_that_jump_ahead_again_and_again_cost_bounded_memory() {
    let mut table = SegmentTable::default();
    let mut seq = 0;
    for at in 0..1_000 {
        table.add_record(&stream(1), seq, at, Hash::default());
        seq += 1 << 20;
    }
    let places = table.streams.values().map(|places| places.at.len());
    assert!(places.sum::<usize>() <= 3 << 20);
}

#[test]
fn a_table_that_claims_more_than_there_is_room_for_is_made_again() {
    let mut table = b"VsLogTab".to_vec();
    let mut covered = 1_u32.to_be_bytes().to_vec();
    // Its end, no link, and 2^56 batches.
    covered.extend_from_slice(&[0, 0, 253, 0, 0, 0, 0, 0, 0, 0, 1]);
    table.extend_from_slice(&crc32c::crc32c(&covered).to_be_bytes());
    table.extend_from_slice(&covered);
    assert_eq!(SegmentTable::decode(&table), None);
}

#[test]
fn a_table_whose_batches_overlap_is_made_again() {
    let mut table = SegmentTable::default();
    let link = |first, last| BatchLink {
        first,
        last,
        prev: Hash::default(),
        hash: Hash::default(),
    };
    table.add_batch(256, link(0, 30));
    assert!(SegmentTable::decode(&table.encode()).is_some());
    table.add_batch(512, link(1, 2));
    assert_eq!(SegmentTable::decode(&table.encode()), None);
}

/// The archive of a log of several segments with another index.
fn with_archive(change: impl FnOnce(&mut [u8], &mut u64)) -> SimDisk {
    let disk = SimDisk::new();
    run(async {
        let journal = open(&disk, OpenMode::Make).unwrap();
        for round in 0..400 {
            let batch = append(1, round, &[3_000]);
            journal.append(vec![batch]).await.unwrap();
        }
        journal.archive(Timestamp(100)).await.unwrap();
        journal.close().await;
    });
    let mut files = disk.files();
    let mut archived = files
        .iter_mut()
        .filter(|(name, _)| name.starts_with("archive/"));
    let (_, archive) = archived.find(|(name, _)| !name.ends_with("table")).unwrap();
    let footer = archive.len() - 24;
    let count = archive[footer..footer + 4].try_into().unwrap();
    let begin = footer - 12 * usize::try_from(u32::from_be_bytes(count)).unwrap();
    let mut len = u64::from_be_bytes(archive[footer + 4..footer + 12].try_into().unwrap());
    change(&mut archive[begin..footer], &mut len);
    let crc = crc32c::crc32c(&archive[begin..footer]);
    archive[footer + 4..footer + 12].copy_from_slice(&len.to_be_bytes());
    archive[footer + 12..footer + 16].copy_from_slice(&crc.to_be_bytes());
    SimDisk::with(files)
}

#[track_caller]
fn assert_archive_refused(disk: &SimDisk) {
    let message = open(disk, OpenMode::Append).err().map(|e| e.to_string());
    assert!(
        message
            .as_ref()
            .is_some_and(|message| message.contains("archive/")),
        "{message:?}"
    );
}

#[test]
fn an_archive_as_it_was_written_opens() {
    let disk = with_archive(|_, _| {});
    run(async { open(&disk, OpenMode::Append).unwrap().close().await });
}

#[test]
fn an_archive_whose_index_claims_a_block_beyond_its_end_is_damage() {
    let disk = with_archive(|index, _| index[..8].copy_from_slice(&(1_u64 << 60).to_be_bytes()));
    assert_archive_refused(&disk);
}

#[test]
fn an_archive_that_claims_to_unpack_to_more_than_its_blocks_is_damage() {
    assert_archive_refused(&with_archive(|_, len| *len = 1 << 60));
}
