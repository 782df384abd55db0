//! What journals of earlier versions lack.

use std::sync::Arc;

use serde_json::Value;
use vsiflow_engine::{
    journal::{Append, Journal as _, MemoryJournal, Record},
    model::{EventKind, Payload},
};
use vsiflow_steps::guest::GuestType;
use vsiflow_workflows::fleet::{Fleet, RestoreOptions, SnapshotRequest};

use super::{
    audit::CrashAudit,
    documents::{self, VsiDocument, uuid},
    gate::CrashGate,
    journals::WorldJournals,
    world::{CrashWorld, in_virtual_time, reached, user},
};

const WEB: u128 = 1;

/// A VSI with a snapshot.
async fn snapshotted(world: &CrashWorld) -> Fleet {
    let fleet = world.start(&CrashGate::safe()).await.unwrap();
    let web = VsiDocument::new("web", WEB, "sim:a").server(GuestType::CloudInit);
    fleet
        .apply(documents::resolved(&[web]), user())
        .await
        .unwrap();
    reached(&fleet, uuid(WEB)).await;
    let request = SnapshotRequest {
        name: Some("first".to_owned()),
        ..SnapshotRequest::default()
    };
    let taken = fleet.snapshots().take("default", "web", request, user());
    taken.await.unwrap();
    reached(&fleet, uuid(WEB)).await;
    fleet
}

/// The event as a version wrote it that recorded no length and hash of a copy. Returns whether it was changed.
fn without_sums(kind: &mut EventKind) -> bool {
    let EventKind::StepSucceeded { node, output, .. } = kind else {
        return false;
    };
    if node.as_str() != "copy_disks" {
        return false;
    }
    let mut made: Value = serde_json::from_slice(output.inline().unwrap()).unwrap();
    for copy in made["copies"].as_array_mut().unwrap() {
        copy.as_object_mut().unwrap().remove("sum").unwrap();
    }
    *output = Payload::Inline(serde_json::to_vec(&made).unwrap());
    true
}

/// The journal as that version wrote it.
async fn of_earlier_version(records: &[Record]) -> MemoryJournal {
    let journal = MemoryJournal::default();
    let mut changed = 0;
    for record in records {
        let mut event = record.event.clone();
        changed += usize::from(without_sums(&mut event.kind));
        let append = Append {
            stream: record.stream.clone(),
            expected_seq: record.seq,
            events: vec![event],
        };
        journal.append(vec![append]).await.unwrap();
    }
    assert_eq!(changed, 1, "one snapshot was taken");
    journal
}

#[test]
fn copies_without_recorded_hashes_are_restored_only_by_an_order_that_says_so() {
    in_virtual_time(async {
        let mut world = CrashWorld::new(None).await;
        snapshotted(&world).await.close().await;
        let current = world.journals.current();
        let records = current.read_all(0, usize::MAX).await.unwrap();
        let earlier = of_earlier_version(&records).await;
        let audit = CrashAudit::new(world.hosts.clone());
        audit.durable(&earlier.read_all(0, usize::MAX).await.unwrap());
        (world.journals, world.audit) = (WorldJournals::Memory(Arc::new(earlier)), audit);
        let fleet = world.start(&CrashGate::safe()).await.unwrap();
        let snapshots = fleet.snapshots();
        let restore = |options| snapshots.restore("default", "first", options, user());

        let refused = restore(RestoreOptions::default()).await.unwrap_err();
        assert_eq!(refused.failure.code.as_str(), "VSI0234");
        assert!(refused.failure.remedy.as_str().contains("--unverified"));
        let unverified = RestoreOptions {
            unverified: true,
            ..RestoreOptions::default()
        };
        restore(unverified).await.unwrap();
        reached(&fleet, uuid(WEB)).await;
        fleet.close().await;
    });
}
