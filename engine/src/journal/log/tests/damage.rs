//! Damage: acknowledged bytes that change, and files that disappear.

use std::collections::BTreeMap;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::*;
use crate::journal::{ChainedJournal as _, MissingCause};

/// A closed log of several segments: 3,000 events of about a kilobyte, one in each batch.
fn files() -> BTreeMap<String, Vec<u8>> {
    let disk = SimDisk::new();
    run(async {
        let journal = open(&disk, OpenMode::Make).unwrap();
        for round in 0..150 {
            let batches =
                (0..20).map(|number| journal.append(vec![append(number, round, &[4_00])]));
            for appended in futures::future::join_all(batches).await {
                appended.unwrap();
            }
        }
        journal.close().await;
    });
    disk.files()
}

fn segments(files: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let names = files
        .keys()
        .filter(|name| name.starts_with("log/") && !name.ends_with("table"));
    names.cloned().collect()
}

fn place<T>(found: Result<T, JournalError>) -> String {
    match found {
        Err(error) => match error.damage() {
            Some(damage) => format!("{}: {}", damage.place, damage.why),
            None => panic!("not damaged: {error:?}"),
        },
        Ok(_) => panic!("not damaged"),
    }
}

#[test]
fn a_bit_flipped_in_a_full_segment_is_named_and_what_is_around_it_is_read() {
    let mut files = files();
    let names = segments(&files);
    assert!(names.len() > 1, "{names:?}");
    let content = files.get_mut(&names[0]).unwrap();
    // Not at the beginning of a batch, where its link is, because that affects no record.
    let middle = content.len() / 2;
    let links: Vec<_> = (middle - 160..middle)
        .filter(|at| content[*at..].starts_with(b"VsFr"))
        .collect();
    let middle = links.last().map_or(middle, |at| at + 130);
    content[middle] ^= 4;
    let disk = SimDisk::with(files);
    run(async {
        let journal = open(&disk, OpenMode::Read).unwrap();
        let found = place(journal.read_all(0, usize::MAX).await);
        let mut good = 0;
        let mut bad = Vec::new();
        for offset in 0..3_000 {
            match journal.read_all(offset, 1).await {
                Ok(page) => good += page.len(),
                Err(_) => bad.push(offset),
            }
        }
        assert_eq!((good, bad.len()), (2_999, 1), "{found}");
        assert!(found.contains(&format!("offset {}", bad[0])), "{found}");
    });
}

#[test]
fn damage_below_what_was_synced_is_never_cut_off() {
    let mut files = files();
    let names = segments(&files);
    let name = names.last().unwrap();
    let content = files.get_mut(name).unwrap();
    // In the middle of the newest segment's content.
    let used = content.iter().rposition(|byte| *byte != 0).unwrap();
    content[used / 2] ^= 4;
    let before = files.clone();
    let disk = SimDisk::with(files);
    let found = place(open(&disk, OpenMode::Append));
    assert!(found.contains(name), "{found}");
    assert_eq!(disk.files(), before, "nothing was changed");
    run(async {
        let journal = open(&disk, OpenMode::Read).unwrap();
        let missing = journal.missing().await.unwrap();
        assert_eq!(missing.len(), 1);
        assert_eq!(missing[0].cause, MissingCause::Damaged);
        assert_eq!(
            journal
                .read_stored(missing[0].to, usize::MAX)
                .await
                .unwrap()
                .len() as u64,
            3_000 - missing[0].to
        );
        assert!(journal.read_stored(missing[0].from, 1).await.is_err());
    });
}

#[test]
fn a_missing_segment_is_named_with_its_offsets() {
    let mut files = files();
    let names = segments(&files);
    files.remove(&names[0]);
    let first: u64 = names[1].rsplit('/').next().unwrap().parse().unwrap();
    let disk = SimDisk::with(files);
    run(async {
        let journal = open(&disk, OpenMode::Read).unwrap();
        let missing = journal.missing().await.unwrap();
        assert_eq!((missing[0].from, missing[0].to), (0, first));
        assert_eq!(
            journal.read_all(first, usize::MAX).await.unwrap().len() as u64,
            3_000 - first
        );
    });
}

#[test]
fn a_table_that_is_gone_or_garbled_is_made_again() {
    let made = files();
    let whole =
        run(async { all(&open(&SimDisk::with(made.clone()), OpenMode::Read).unwrap()).await });
    for garble in [false, true] {
        let mut files = made.clone();
        let tables: Vec<_> = files
            .keys()
            .filter(|name| name.ends_with("table"))
            .cloned()
            .collect();
        assert!(!tables.is_empty());
        for name in tables {
            if garble {
                files.get_mut(&name).unwrap()[40] ^= 1
            } else {
                drop(files.remove(&name))
            }
        }
        run(async {
            let journal = open(&SimDisk::with(files), OpenMode::Append).unwrap();
            let read = journal.read(&stream(7), 0, usize::MAX).await.unwrap();
            assert_eq!(read.len(), 150);
            assert_eq!(all(&journal).await.len(), whole.len());
            journal.close().await;
        });
    }
}

#[test]
fn segments_of_two_journals_and_empty_ones_are_refused() {
    let files = files();
    let names = segments(&files);
    let mut empty = files.clone();
    empty.insert(names[0].clone(), Vec::new());
    let found = place(open(&SimDisk::with(empty), OpenMode::Append));
    assert!(found.contains("it is empty"), "{found}");
    let other = DiskJournal::start(
        Arc::new(SimDisk::with(files.clone())),
        "another",
        OpenMode::Append,
        WritePermit::always(),
    );
    let other_said = place(other);
    assert!(
        other_said.contains("it is a segment of the journal 01J"),
        "{other_said}"
    );
    let mut newer = files;
    let content = newer.get_mut(&names[0]).unwrap();
    content[12..16].copy_from_slice(&9_u32.to_be_bytes());
    let crc = crc32c::crc32c(&content[12..256]).to_be_bytes();
    content[8..12].copy_from_slice(&crc);
    assert!(matches!(
        open(&SimDisk::with(newer), OpenMode::Append),
        Err(JournalError::Newer { found: 9, .. })
    ));
}

/// Any bytes may change: nothing panics, and reading returns what was written or an error.
#[test]
fn garbled_anywhere_it_gives_what_was_written_or_says_what_is_damaged() {
    let files = files();
    let whole =
        run(async { all(&open(&SimDisk::with(files.clone()), OpenMode::Read).unwrap()).await });
    let mut rng = StdRng::seed_from_u64(7);
    let names: Vec<_> = files.keys().cloned().collect();
    for _ in 0..60 {
        let mut spoiled = files.clone();
        let name = &names[rng.random_range(0..names.len())];
        let content = spoiled.get_mut(name).unwrap();
        let at = rng.random_range(0..content.len());
        match rng.random_range(0..3) {
            0 => content[at] ^= 1 << rng.random_range(0..8),
            1 => content.truncate(at),
            _ => {
                let end = (at + 4_096).min(content.len());
                rng.fill(&mut content[at..end]);
            }
        }
        run(async {
            let Ok(journal) = open(&SimDisk::with(spoiled), OpenMode::Read) else {
                return;
            };
            for from in (0..3_000).step_by(97) {
                if let Ok(page) = journal.read_all(from, 97).await {
                    for record in page {
                        assert_eq!(record, whole[usize::try_from(record.offset).unwrap()]);
                    }
                }
            }
        });
    }
}
