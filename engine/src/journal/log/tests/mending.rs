//! Tests of the repair of a damaged log.

use std::{collections::BTreeMap, ops::Range, sync::OnceLock};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::*;
use crate::journal::{
    ChainedJournal as _, MissingCause, Stored,
    log::{
        repair::{DamagedRange, FoundBatch, RepairSource as Regainable, mend, survey},
        sim::Device,
    },
};

type Files = BTreeMap<String, Vec<u8>>;

/// A closed log of several segments, on request with the oldest of them archived.
fn files(archived: bool) -> Files {
    static MADE: [OnceLock<Files>; 2] = [const { OnceLock::new() }; 2];
    MADE[usize::from(archived)]
        .get_or_init(|| make(archived))
        .clone()
}

fn make(archived: bool) -> Files {
    let disk = SimDisk::new();
    run(async {
        let journal = open(&disk, OpenMode::Make).unwrap();
        for round in 0..80 {
            let batches = (0..20).map(|number| {
                journal.append(vec![append(
                    number,
                    round,
                    &[if number == 3 { 3_000 } else { 700 }],
                )])
            });
            for appended in futures::future::join_all(batches).await {
                appended.unwrap();
            }
            if archived && round == 40 {
                journal.archive(Timestamp(100)).await.unwrap();
            }
        }
        journal.close().await;
    });
    disk.files()
}

fn whole(files: &Files) -> (Vec<Stored>, Vec<FoundBatch>) {
    run(async {
        let journal = open(&SimDisk::with(files.clone()), OpenMode::Read).unwrap();
        let stored = journal.read_stored(0, usize::MAX).await.unwrap();
        let links = journal.read_links(0, usize::MAX).await.unwrap();
        let batch = |link: crate::journal::BatchLink| {
            let records = stored.iter();
            let records = records.filter(|s| (link.first..=link.last).contains(&s.offset));
            FoundBatch::offered(link, records.map(|record| record.bytes.clone()).collect())
        };
        let batches = links.into_iter().map(batch).collect();
        (stored, batches)
    })
}

fn segments(files: &Files) -> Vec<String> {
    let all = files.keys().filter(|name| !name.ends_with("table"));
    let all = all.filter(|name| name.starts_with("log/") || name.starts_with("archive/"));
    let mut all: Vec<_> = all.cloned().collect();
    all.sort_by_key(|name| name.rsplit('/').next().map(str::to_owned));
    all
}

/// Repairs a damaged log and compares the result with what was written.
fn repaired(
    damaged: &Files,
    offered: &[FoundBatch],
    before: &[Stored],
) -> (Vec<DamagedRange>, Files) {
    let disk = SimDisk::with(damaged.clone());
    let found = survey(&disk, ID, offered, None).unwrap();
    assert_eq!(disk.files(), *damaged, "a look changes nothing");
    mend(&disk, ID, &found).unwrap();
    hold(&disk, &lost_ranges(&found.findings), before);
    let again = survey(&disk, ID, offered, None).unwrap();
    assert!(again.findings.is_empty() && again.is_whole());
    (found.findings, disk.files())
}

/// Checks that every event exists or is covered by a gap, and that the log can be appended to.
fn hold(disk: &SimDisk, lost: &[Range<u64>], before: &[Stored]) {
    let after = |offset: u64| lost.iter().any(|lost| lost.contains(&offset));
    run(async {
        let journal = open(disk, OpenMode::Append).unwrap();
        let head = journal.head().await.unwrap();
        let next = head.map_or(0, |head| head.last + 1);
        let stored = journal.read_stored(0, usize::MAX).await.unwrap();
        let mut there = stored.iter().peekable();
        for expected in before.iter().filter(|record| record.offset < next) {
            let found = there.next_if(|candidate| candidate.offset == expected.offset);
            assert!(found == Some(expected) || (found.is_none() && after(expected.offset)));
        }
        let missing = journal.missing().await.unwrap();
        assert!(
            missing
                .iter()
                .all(|range| range.cause == MissingCause::Lost)
        );
        assert_eq!(missing.len(), lost.len(), "{missing:?} {lost:?}");
        let number = 1 << 40;
        let heads = journal.streams().await.unwrap();
        let stream_head = heads
            .iter()
            .find(|candidate| candidate.stream == stream(number));
        let seq = stream_head.map_or(0, |stream_head| stream_head.next_seq);
        let more = journal.append(vec![append(number, seq, &[9])]).await;
        assert_eq!(more.unwrap()[0].offset, next);
        // Streams that lack events can still be continued.
        for rewritten_head in heads.iter().take(3) {
            let rewritten = Append {
                stream: rewritten_head.stream.clone(),
                expected_seq: rewritten_head.next_seq,
                events: vec![event(9)],
            };
            journal.append(vec![rewritten]).await.unwrap();
        }
        journal.close().await;
        let inspected = open(disk, OpenMode::Inspect).unwrap();
        assert_eq!(inspected.damage().await.unwrap(), []);
        inspected.close().await;
    });
}

fn lost_ranges(findings: &[DamagedRange]) -> Vec<Range<u64>> {
    let lost = findings.iter().flat_map(|finding| &finding.lost);
    lost.map(|lost| lost.from..lost.to).collect()
}

fn lost(findings: &[DamagedRange]) -> u64 {
    let lost = findings.iter().flat_map(|finding| &finding.lost);
    lost.map(|lost| lost.to - lost.from).sum()
}

fn sources(findings: &[DamagedRange]) -> Vec<Regainable> {
    let all = findings.iter().flat_map(|finding| &finding.regained);
    all.map(|regained| regained.source).collect()
}

fn flip(files: &mut Files, name: &str, at: usize) {
    files.get_mut(name).unwrap()[at] ^= 4;
}

/// The place of the first record in the second half of a segment. A fixed place might be between
/// records, because the number of records in a frame depends on the timing of threads.
fn record_in_the_middle(files: &Files, name: &str, records: &[Stored]) -> usize {
    let file = &files[name];
    let used = file.iter().rposition(|byte| *byte != 0).unwrap();
    let first: u64 = name.split('/').next_back().unwrap().parse().unwrap();
    let mut end = 0;
    for record in records.iter().filter(|record| record.offset >= first) {
        let mut places = file[end..].windows(record.bytes.len());
        let place = end + places.position(|found| found == record.bytes).unwrap();
        if place >= used / 2 {
            return place;
        }
        end = place + record.bytes.len();
    }
    panic!("{name} has no record in its second half");
}

#[test]
fn a_record_that_nobody_has_is_closed_by_a_gap_and_all_others_stay() {
    let files = files(false);
    let (before, _) = whole(&files);
    for name in segments(&files) {
        let mut damaged = files.clone();
        let record = record_in_the_middle(&files, &name, &before);
        flip(&mut damaged, &name, record + 40);
        let (findings, after) = repaired(&damaged, &[], &before);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].file, name);
        assert!((1..100).contains(&lost(&findings)), "{findings:?}");
        let lacking = findings[0].streams.len() as u64;
        assert_eq!(lacking, lost(&findings), "{findings:?}");
        let saved = format!("damaged/{}", name.replace('/', "-"));
        assert_eq!(after[&saved], damaged[&name], "the damaged file stays");
    }
}

#[test]
fn what_a_backup_has_comes_back_byte_for_byte() {
    for archived in [false, true] {
        let files = files(archived);
        let (before, offered) = whole(&files);
        for name in segments(&files) {
            let mut damaged = files.clone();
            let used = files[&name].iter().rposition(|byte| *byte != 0).unwrap();
            for part in 1..8 {
                flip(&mut damaged, &name, used * part / 8);
            }
            let (findings, _) = repaired(&damaged, &offered, &before);
            assert_eq!(lost(&findings), 0, "{name}: {findings:?}");
            assert!(!findings.is_empty());
            let from = sources(&findings);
            assert!(from.contains(&Regainable::File), "{findings:?}");
        }
    }
}

/// A flipped bit of a frame outside its records: all events can be recovered from the file itself.
#[test]
fn damage_beside_the_events_loses_none() {
    let files = files(false);
    let (before, _) = whole(&files);
    let name = &segments(&files)[0];
    // The magic of the first frame, its checksum, length and kind, and the position it states as synced.
    for at in [0, 5, 9, 12, 20] {
        let mut damaged = files.clone();
        flip(&mut damaged, name, 256 + at);
        let (findings, _) = repaired(&damaged, &[], &before);
        assert_eq!(
            (lost(&findings), sources(&findings).len()),
            (0, 1),
            "{findings:?}"
        );
        assert_eq!(sources(&findings), [Regainable::Segment]);
    }
}

#[test]
fn a_segment_without_a_header_is_read_by_its_links() {
    let files = files(false);
    let (before, _) = whole(&files);
    let names = segments(&files);
    for name in &names {
        for at in [0, 20, 40, 100] {
            let mut damaged = files.clone();
            flip(&mut damaged, name, at);
            let (findings, _) = repaired(&damaged, &[], &before);
            assert_eq!(lost(&findings), 0, "{name} {at}: {findings:?}");
            assert_eq!(findings.len(), 1);
        }
    }
}

#[test]
fn a_missing_segment_is_closed_wherever_it_stood_or_comes_from_a_backup() {
    for archived in [false, true] {
        let files = files(archived);
        let (before, offered) = whole(&files);
        for name in segments(&files) {
            for table in [false, true] {
                let mut damaged = files.clone();
                damaged.remove(&name);
                if table {
                    damaged.remove(&format!("{name}.table"));
                }
                let opened = open(&SimDisk::with(damaged.clone()), OpenMode::Append);
                assert!(matches!(&opened, Err(error) if error.is_damage()), "{name}");
                let (findings, _) = repaired(&damaged, &[], &before);
                assert_eq!(findings.len(), 1, "{findings:?}");
                assert!(lost(&findings) >= 1);
                let (offered_findings, _) = repaired(&damaged, &offered, &before);
                let last = segments(&files).last() == Some(&name);
                // The end of the newest segment is unknown.
                assert_eq!(
                    lost(&offered_findings),
                    u64::from(last),
                    "{name}: {offered_findings:?}"
                );
            }
        }
    }
}

#[test]
fn an_archive_that_is_damaged_is_replaced_by_a_segment_of_the_log() {
    let files = files(true);
    let (before, offered) = whole(&files);
    let archives: Vec<_> = segments(&files);
    let name = archives
        .iter()
        .find(|name| name.starts_with("archive/"))
        .unwrap();
    let len = files[name].len();
    for at in [10, len / 2, len - 5] {
        let mut damaged = files.clone();
        flip(&mut damaged, name, at);
        let (findings, after) = repaired(&damaged, &offered, &before);
        assert_eq!(lost(&findings), 0, "{at}: {findings:?}");
        assert!(!after.contains_key(name));
        let (left_findings, _) = repaired(&damaged, &[], &before);
        assert!(lost(&left_findings) > 0);
    }
}

/// While a segment is being archived, both files exist.
#[test]
fn the_archive_has_what_the_log_lost() {
    let files = files(true);
    let (before, _) = whole(&files);
    let name = segments(&files)[0].clone();
    let first = name.rsplit('/').next().unwrap().to_owned();
    assert!(name.starts_with("archive/"));
    // The segment as it was before it was archived, with a bad byte.
    let plain = run(async {
        let disk = SimDisk::with(files.clone());
        let packed = crate::journal::archive::PackedSegment::open(&disk, &name).unwrap();
        let mut bytes = vec![0; usize::try_from(packed.len()).unwrap()];
        crate::journal::log::SegmentSource::read_at(&packed, &mut bytes, 0).unwrap();
        bytes
    });
    let mut damaged = files;
    damaged.insert(format!("log/{first}"), plain);
    flip(&mut damaged, &format!("log/{first}"), 9_000);
    let (findings, _) = repaired(&damaged, &[], &before);
    assert_eq!(lost(&findings), 0, "{findings:?}");
    assert_eq!(sources(&findings), [Regainable::Archive]);
}

#[test]
fn a_log_of_zero_bytes_is_closed_and_goes_on() {
    let files = files(false);
    let (before, offered) = whole(&files);
    for name in segments(&files) {
        let mut damaged = files.clone();
        damaged.insert(name.clone(), Vec::new());
        let (findings, _) = repaired(&damaged, &[], &before);
        assert!(lost(&findings) > 0);
        repaired(&damaged, &offered, &before);
    }
}

#[test]
fn a_newest_segment_of_a_header_and_little_more_goes_on() {
    let files = files(false);
    let (before, _) = whole(&files);
    let name = segments(&files).pop().unwrap();
    for len in [256, 270, 400] {
        let mut damaged = files.clone();
        damaged.get_mut(&name).unwrap().truncate(len);
        repaired(&damaged, &[], &before);
    }
}

#[test]
fn segments_of_another_journal_are_refused_and_nothing_is_changed() {
    let files = files(false);
    let disk = SimDisk::with(files.clone());
    let opened = survey(&disk, "another", &[], None).err().unwrap();
    assert!(
        opened
            .to_string()
            .contains("it is a segment of the journal 01J")
    );
    assert_eq!(disk.files(), files);
}

/// A batch of another history that continues from the same link is not used.
#[test]
fn a_backup_of_another_history_gives_nothing() {
    let files = files(false);
    let (before, _) = whole(&files);
    let name = &segments(&files)[0];
    let mut damaged = files.clone();
    flip(&mut damaged, name, 4_000);
    let lost_from = repaired(&damaged, &[], &before).0[0].lost[0].from;
    // The same journal up to the damage, and other events after it.
    let other = run(async {
        let disk = SimDisk::new();
        let journal = open(&disk, OpenMode::Make).unwrap();
        let links = open(&SimDisk::with(files.clone()), OpenMode::Read).unwrap();
        for link in links.read_links(0, usize::MAX).await.unwrap() {
            if link.last >= lost_from {
                break;
            }
            let records = before.iter();
            let records = records.filter(|s| (link.first..=link.last).contains(&s.offset));
            let bytes = records.map(|stored| stored.bytes.clone()).collect();
            journal.restore(bytes).await.unwrap();
        }
        journal
            .append(vec![append(1 << 30, 0, &[5])])
            .await
            .unwrap();
        journal.close().await;
        disk.files()
    });
    let (_, offered) = whole(&other);
    let (findings, _) = repaired(&damaged, &offered, &before);
    assert!(
        !sources(&findings).contains(&Regainable::File),
        "{findings:?}"
    );
}

/// Any bytes may change and any file may be missing, several at the same time.
#[test]
fn any_damage_is_mended_and_nothing_whole_is_lost() {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let all = [false, true].map(|archived| (files(archived), whole(&files(archived))));
    for round in 0..30 {
        let (files, (before, offered)) = &all[round % 2];
        let mut damaged = files.clone();
        for _ in 0..rng.random_range(1..5) {
            spoil(&mut damaged, &mut rng);
        }
        let disk = SimDisk::with(damaged.clone());
        if survey(&disk, ID, &[], None).is_err() {
            assert!(segments(&damaged).is_empty(), "round {round} of {seed}");
            continue;
        }
        let (with_nothing, _) = repaired(&damaged, &[], before);
        let (with_backup, _) = repaired(&damaged, offered, before);
        let known = |findings: &[DamagedRange]| {
            let closed = findings.iter().filter(|finding| !finding.open_ended);
            lost(&closed.cloned().collect::<Vec<_>>())
        };
        assert!(
            known(&with_backup) == 0,
            "round {round} of {seed}: {with_backup:?}"
        );
        assert!(lost(&with_nothing) >= lost(&with_backup));
    }
}

/// The seed in `VSIFLOW_REPAIR_SEED`, or 1.
fn seed() -> u64 {
    let from_env = std::env::var("VSIFLOW_REPAIR_SEED").ok();
    let seed = from_env.and_then(|seed| seed.parse().ok());
    // The default is fixed, so that runs are reproducible.
    let seed = seed.unwrap_or(1);
    eprintln!("VSIFLOW_REPAIR_SEED={seed}");
    seed
}

fn spoil(files: &mut Files, rng: &mut StdRng) {
    let names = segments(files);
    let Some(name) = names.get(rng.random_range(0..names.len().max(1))) else {
        return;
    };
    let content = files.get_mut(name).unwrap();
    if content.is_empty() {
        return;
    }
    let used = content.iter().rposition(|byte| *byte != 0).unwrap_or(0) + 1;
    let at = rng.random_range(0..used);
    let end = (at + 4_096).min(content.len());
    match rng.random_range(0..6) {
        0 | 1 => content[at] ^= 1 << rng.random_range(0..8),
        2 => content.truncate(at),
        3 => content[at..end].fill(0),
        4 => rng.fill(&mut content[at..end]),
        _ => drop(files.remove(name)),
    }
}

/// Whether `missing` contains every range of `goal`. It may contain more: the end of a loss at the end
/// of a log is unknown, so a second repair may count one event more.
fn covers(missing: &[crate::journal::Missing], goal: &[crate::journal::Missing]) -> bool {
    let mut offsets = goal.iter().flat_map(|range| range.from..range.to);
    offsets.all(|offset| {
        let has = |range: &crate::journal::Missing| (range.from..range.to).contains(&offset);
        missing.iter().any(has)
    })
}

/// The power may fail at any moment of a repair: another repair has the same events, and reports at
/// least the same loss.
#[test]
fn a_repair_that_is_cut_off_at_any_instant_is_ended_by_the_next() {
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let files = files(true);
    let (before, _) = whole(&files);
    for _ in 0..6 {
        let mut damaged = files.clone();
        for _ in 0..3 {
            spoil(&mut damaged, &mut rng);
        }
        let disk = SimDisk::with(damaged.clone());
        let Ok(found) = survey(&disk, ID, &[], None) else {
            continue;
        };
        mend(&disk, ID, &found).unwrap();
        let goal = read(&disk);
        let ops = disk.ops();
        for instant in 0..=ops.len() {
            let mut device = Device::of(&SimDisk::with(damaged.clone()));
            ops[..instant].iter().for_each(|op| device.play(op));
            let left = SimDisk::with(device.cut(&mut rng));
            for name in segments(&damaged) {
                let saved = format!("damaged/{}", name.replace('/', "-"));
                let there = left.files();
                let stays = [&name, &saved].map(|at| there.get(at) == damaged.get(&name));
                assert!(
                    stays.contains(&true),
                    "{name} of instant {instant} of {seed}"
                );
            }
            let again = survey(&left, ID, &[], None).unwrap();
            mend(&left, ID, &again).unwrap();
            let (events, missing) = read(&left);
            assert_eq!(events, goal.0, "instant {instant} of {seed}");
            assert!(
                covers(&missing, &goal.1),
                "instant {instant} of {seed}: {missing:?}, {:?}",
                goal.1
            );
            if instant % 5 == 0 {
                let lost: Vec<_> = missing.iter().map(|range| range.from..range.to).collect();
                hold(&left, &lost, &before);
            }
        }
    }
}

type Read = (Vec<Stored>, Vec<crate::journal::Missing>);

fn read(disk: &SimDisk) -> Read {
    run(async {
        let journal = open(disk, OpenMode::Inspect).unwrap();
        let stored = journal.read_stored(0, usize::MAX).await.unwrap();
        (stored, journal.missing().await.unwrap())
    })
}
