use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use vsiflow_engine::{
    blob::MemoryBlobs,
    checkpoint::MemoryCheckpoints,
    clock::SystemClock,
    executor::Tuning,
    journal::{Append, Entry, Journal, JournalError, JournalLayer, MemoryJournal},
    lease::Lease,
    model::{Name, Text, Timestamp},
    room::Room,
    secret::HeldSecrets,
};
use vsiflow_steps::sim::{SimHosts, SimSource};
use vsiflow_workflows::{fleet::FleetConfig, hosts::HostDirectory, record::vsi_entity};

use super::*;

/// A journal that cannot be read for a while.
#[derive(Default)]
struct Unreadable {
    journal: MemoryJournal,
    is_failing: AtomicBool,
}

#[async_trait]
impl JournalLayer for Unreadable {
    fn inner(&self) -> &dyn Journal {
        &self.journal
    }

    async fn read_entries(&self, from: Offset, limit: usize) -> Result<Vec<Entry>, JournalError> {
        if self.is_failing.load(Ordering::Relaxed) {
            return Err(JournalError::Storage("the disk does not answer".to_owned()));
        }
        self.journal.read_entries(from, limit).await
    }
}

async fn fleet(journal: Arc<Unreadable>) -> Fleet {
    let opened = Fleet::open(FleetConfig {
        journal,
        blobs: Arc::<MemoryBlobs>::default(),
        checkpoints: Arc::<MemoryCheckpoints>::default(),
        secrets: Arc::new(HeldSecrets::new("journal")),
        clock: Arc::new(SystemClock),
        journal_id: "journal".into(),
        tuning: Tuning::default(),
        room: Room::boundless(),
        lease: Lease::endless(),
        hosts: Arc::new(SimHosts::in_memory()),
        images: Arc::new(SimSource::with_size(1 << 20)),
        directory: Arc::new(HostDirectory::default()),
    });
    opened.await.unwrap()
}

const UID: Uuid = Uuid::from_u128(7);

/// Records that the VSI has another phase, without a notice.
async fn record(journal: &Unreadable, seq: u64, phase: Phase) -> Record {
    let event = Event {
        at: Timestamp(1_800_000_000_000 + seq),
        actor: Actor::Engine,
        reason: Text::default(),
        kind: EventKind::StateChanged {
            state: Name::of(phase.as_str()),
            detail: Text::default(),
        },
    };
    let append = Append {
        stream: StreamId::Entity(vsi_entity(UID).unwrap()),
        expected_seq: seq,
        events: vec![event],
    };
    JournalLayer::append(journal, vec![append])
        .await
        .unwrap()
        .remove(0)
}

#[tokio::test]
async fn a_failed_read_after_missed_notices_drops_no_event() {
    let journal = Arc::<Unreadable>::default();
    let fleet = fleet(journal.clone()).await;
    let (sender, mut notes) = mpsc::channel(16);
    let mut follower = Follower {
        fleet,
        cache: Arc::new(ResourceCache::new(Vec::new())),
        status_queue: Arc::default(),
        event_notes: sender,
        next: None,
        is_behind: false,
    };
    let phases = [
        Phase::Provisioning,
        Phase::Booting,
        Phase::Running,
        Phase::Degraded,
        Phase::Running,
    ];
    let mut records = Vec::new();
    for (seq, phase) in (0..).zip(phases) {
        records.push(record(&journal, seq, phase).await);
    }
    let expected: Vec<_> = records
        .iter()
        .map(|record| event_note(UID, record).unwrap())
        .collect();
    let mut records = records.into_iter();
    follower.on_notice(Notice::Recorded(records.next().unwrap().into()));
    // The next three notices are missed, and the journal cannot be read at first.
    journal.is_failing.store(true, Ordering::Relaxed);
    follower.catch_up().await;
    follower.on_notice(Notice::Recorded(records.next_back().unwrap().into()));
    journal.is_failing.store(false, Ordering::Relaxed);
    follower.catch_up().await;
    let mut received = Vec::new();
    while let Ok(note) = notes.try_recv() {
        received.push(note);
    }
    assert_eq!(received, expected);
}
