//! Disks that fail or are full.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::future::poll_immediate;
use rand::{SeedableRng as _, rngs::StdRng};

use super::*;
use crate::{
    journal::{ChainedJournal as _, States, StreamState, log::sim::Device},
    model::Hash,
};

#[test]
fn a_sync_that_fails_ends_all_writing_and_says_what_to_do() {
    let disk = SimDisk::new();
    run(async {
        let journal = open(&disk, OpenMode::Make).unwrap();
        let acknowledged = journal.append(vec![append(1, 0, &[3])]).await.unwrap();
        assert!(poll_immediate(journal.failed()).await.is_none());
        disk.on_sync(|_| Err(io::Error::other("no more disk")));
        let error = journal.append(vec![append(1, 1, &[3])]).await.unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("no more disk") && message.contains("see to the disk"),
            "{message}"
        );
        assert_eq!(journal.failed().await, error);
        assert_eq!(
            journal.append(vec![append(2, 0, &[3])]).await.unwrap_err(),
            error
        );
        assert_eq!(journal.read_all(0, 9).await.unwrap_err(), error);
        drop(journal);
        disk.on_sync(|_| Ok(()));
        let reopened = open(&disk, OpenMode::Append).unwrap();
        assert_eq!(reopened.read_all(0, 1).await.unwrap(), acknowledged);
    });
}

/// After a failed sync the kernel treats the pages as clean, so the next opening must not rely on
/// what it reads from them.
#[test]
fn what_a_failed_sync_left_is_written_again_before_it_is_believed() {
    let disk = SimDisk::new();
    let seen = run(async {
        let journal = open(&disk, OpenMode::Make).unwrap();
        journal.append(vec![append(1, 0, &[3])]).await.unwrap();
        disk.on_sync(|_| Err(io::Error::other("no more disk")));
        journal
            .append(vec![append(1, 1, &[700])])
            .await
            .unwrap_err();
        drop(journal);
        disk.on_sync(|_| Ok(()));
        let reopened = open(&disk, OpenMode::Append).unwrap();
        let seen = all(&reopened).await;
        reopened.close().await;
        seen
    });
    // Everything that was read still exists after a power cut.
    let mut device = Device::default();
    disk.ops().iter().for_each(|op| device.play(op));
    for seed in 0..20 {
        let image = device.cut(&mut StdRng::seed_from_u64(seed));
        let after =
            run(async { all(&open(&SimDisk::with(image), OpenMode::Append).unwrap()).await });
        assert_eq!(after, seen);
    }
}

#[test]
fn a_full_disk_holds_up_only_what_needs_the_next_segment() {
    let disk = SimDisk::new();
    run(async {
        let journal = open(&disk, OpenMode::Make).unwrap();
        disk.full.store(true, Ordering::Relaxed);
        let written = AtomicUsize::new(0);
        let fill = async {
            for seq in 0.. {
                journal
                    .append(vec![append(1, seq, &[3_000])])
                    .await
                    .unwrap();
                written.store(usize::try_from(seq).unwrap() + 1, Ordering::Relaxed);
                if seq == 600 {
                    break;
                }
            }
        };
        let mut fill = Box::pin(fill);
        let held = tokio::time::timeout(Duration::from_secs(2), &mut fill).await;
        assert!(
            held.is_err(),
            "the first segment has room for a MiB and no more"
        );
        assert!(written.load(Ordering::Relaxed) > 300, "{written:?}");
        disk.full.store(false, Ordering::Relaxed);
        tokio::time::timeout(Duration::from_secs(20), &mut fill)
            .await
            .unwrap();
        assert_eq!(all(&journal).await.len(), 601);
    });
}

/// A segment without events cannot have a successor, because it would have the same name.
#[test]
fn what_has_no_room_in_a_segment_without_events_makes_it_longer() {
    let disk = SimDisk::new();
    run(async {
        let journal = open(&disk, OpenMode::Make).unwrap();
        journal
            .append(vec![append(1, 0, &[3_000; 400])])
            .await
            .unwrap();
        // Starts an empty segment of the least size.
        journal.archive(Timestamp(100)).await.unwrap();
        let link = journal.head().await.unwrap();
        let (next_seq, hash) = (0, Hash::default());
        let states = States {
            as_of: 400,
            link,
            streams: vec![StreamState::Journal { next_seq, hash }],
        };
        assert!(journal.write_base(states.clone()).await.unwrap().is_some());
        for seq in [400, 800] {
            let batch = append(1, seq, &[3_000; 400]);
            journal.append(vec![batch]).await.unwrap();
        }
        let written = all(&journal).await;
        journal.close().await;
        for mode in [OpenMode::Inspect, OpenMode::Append, OpenMode::Append] {
            let reopened = open(&disk, mode).unwrap();
            assert_eq!(reopened.damage().await.unwrap(), []);
            assert_eq!(all(&reopened).await, written);
            assert_eq!(reopened.states(None).await.unwrap(), states);
            reopened.close().await;
        }
    });
}

#[test]
fn a_full_disk_holds_up_what_makes_a_segment_longer() {
    let disk = SimDisk::new();
    run(async {
        let journal = open(&disk, OpenMode::Make).unwrap();
        disk.full.store(true, Ordering::Relaxed);
        let mut long = journal.append(vec![append(1, 0, &[3_000; 400])]);
        let held = tokio::time::timeout(Duration::from_secs(1), &mut long).await;
        assert!(held.is_err(), "{held:?}");
        disk.full.store(false, Ordering::Relaxed);
        let long = tokio::time::timeout(Duration::from_secs(20), long);
        assert_eq!(long.await.unwrap().unwrap().len(), 400);
    });
}
