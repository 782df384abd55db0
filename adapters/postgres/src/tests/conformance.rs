//! The conformance suite of journals, and exports from one kind of journal to the other.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use vsiflow_engine::{
    audit::{Audit, rebuild_into},
    blob::{Blobs, MemoryBlobs},
    journal::{Append, ChainedJournal, Journal as _, JournalError, MemoryJournal, conformance},
    model::{
        Actor, EntityId, Event, EventKind, Name, Payload, Precedence, StreamId, Text, Timestamp,
    },
};

use super::server::Server;
use crate::{Held, JournalAddress, PostgresBlobs, PostgresJournal, hold};

/// Journals of one server, each with a different name.
struct OnPostgres {
    server: Server,
    made: AtomicUsize,
    newest: Mutex<Option<(JournalAddress, Arc<Held>)>>,
}

impl OnPostgres {
    async fn open(&self, address: JournalAddress) -> Result<Arc<dyn ChainedJournal>, String> {
        let held = Held::take(&address, hold::LEASE_DURATION * 100).await;
        let held = held.map_err(|e| e.to_string())?;
        *self.newest.lock().unwrap() = Some((address, held.clone()));
        let journal = PostgresJournal::open(held).await;
        Ok(Arc::new(journal.map_err(|e| e.to_string())?))
    }
}

#[async_trait]
impl conformance::Subject for OnPostgres {
    async fn make(&self) -> Result<Arc<dyn ChainedJournal>, String> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let address = self.server.journal(&format!("j{number}"));
        self.open(address).await
    }

    async fn reopen(
        &self,
        journal: Arc<dyn ChainedJournal>,
    ) -> Result<Arc<dyn ChainedJournal>, String> {
        drop(journal);
        let newest = self.newest.lock().unwrap().take();
        let (address, held) = newest.unwrap();
        held.release().await;
        self.open(address).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_on_postgres_passes() {
    let subject = OnPostgres {
        server: Server::start(),
        made: AtomicUsize::default(),
        newest: Mutex::default(),
    };
    assert_eq!(conformance::run(&subject).await, Vec::<String>::new());
}

pub(super) fn event(text: &[u8]) -> Event {
    Event {
        at: Timestamp(1),
        actor: Actor::Engine,
        reason: Text::new("a test"),
        kind: EventKind::Desired {
            generation: 1,
            workflow: Name::of("provision_vsi"),
            precedence: Precedence::Supersede,
            desired: Payload::Inline(text.to_vec()),
        },
    }
}

pub(super) fn entity(name: &str) -> StreamId {
    StreamId::Entity(EntityId::new(Name::of("vsi"), name).unwrap())
}

pub(super) fn append(stream: &StreamId, expected_seq: u64, text: &[u8]) -> Append {
    Append {
        stream: stream.clone(),
        expected_seq,
        events: vec![event(text)],
    }
}

async fn fill(journal: &dyn ChainedJournal, blobs: &dyn Blobs) {
    for seq in 0..5 {
        let batch = vec![
            append(&entity("a"), seq, b"one"),
            append(&entity("b"), seq, b"two"),
        ];
        journal.append(batch).await.unwrap();
    }
    let blob = blobs.put_blob(&[7; 10_000]).await.unwrap();
    let mut named = append(&entity("a"), 5, b"");
    for event in &mut named.events {
        if let EventKind::Desired { desired, .. } = &mut event.kind {
            *desired = blob.clone();
        }
    }
    journal.append(vec![named]).await.unwrap();
}

async fn exported(journal: &dyn ChainedJournal, blobs: &dyn Blobs) -> Vec<u8> {
    let audit = Audit {
        journal,
        blobs,
        journal_id: "01JXAMPLE0000000000000000A",
    };
    let mut lines = Vec::new();
    audit.export(&mut lines, Timestamp(9)).await.unwrap();
    lines
}

async fn on_postgres(
    server: &Server,
    id: &str,
) -> Result<(Arc<Held>, Arc<PostgresJournal>, Arc<PostgresBlobs>), crate::PostgresError> {
    let held = Held::take_new(&server.journal("rebuilt"), id).await?;
    let journal = Arc::new(PostgresJournal::open(held.clone()).await?);
    let blobs = Arc::new(PostgresBlobs::of(&journal));
    Ok((held, journal, blobs))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_is_rebuilt_in_the_other_kind_of_journal_and_back() {
    let server = Server::start();
    let (memory, blobs) = (MemoryJournal::new(), MemoryBlobs::new());
    fill(&memory, &blobs).await;
    let first = exported(&memory, &blobs).await;
    let mut made = None;
    let rebuilt = rebuild_into(&mut first.as_slice(), async |id| {
        let (held, journal, stored_blobs) = on_postgres(&server, &id).await?;
        made = Some((held, journal.clone()));
        Ok::<(Arc<dyn ChainedJournal>, Arc<dyn Blobs>), JournalError>((journal, stored_blobs))
    })
    .await
    .unwrap();
    assert_eq!((rebuilt.events, rebuilt.blobs), (11, 1));
    let (held, journal) = made.unwrap();
    let early = PostgresJournal::open_to_read(&server.journal("rebuilt")).await;
    assert!(early.is_err(), "half a journal is none");
    held.finish().await.unwrap();
    journal.close().await;
    held.release().await;
    assert_eq!(held.identity().journal_id, rebuilt.journal_id);

    let found = PostgresJournal::open_to_read(&server.journal("rebuilt"))
        .await
        .unwrap();
    let stored_blobs = PostgresBlobs::of(&found);
    let second = exported(&found, &stored_blobs).await;
    assert_eq!(String::from_utf8(second.clone()), String::from_utf8(first));
    let again = Arc::new(MemoryJournal::new());
    let target: Arc<dyn ChainedJournal> = again.clone();
    let mut lines = second.as_slice();
    let rebuilt_again = rebuild_into(&mut lines, async |_| {
        let target_blobs: Arc<dyn Blobs> = Arc::new(MemoryBlobs::new());
        Ok((target, target_blobs))
    });
    rebuilt_again.await.unwrap();
    assert_eq!(again.head().await, memory.head().await);
    assert!(
        found
            .append(vec![append(&entity("a"), 6, b"")])
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_fails_leaves_nothing_and_one_that_is_there_is_kept() {
    let server = Server::start();
    let (held, journal, _) = on_postgres(&server, "01JXAMPLE0000000000000000A")
        .await
        .unwrap();
    journal
        .append(vec![append(&entity("a"), 0, b"")])
        .await
        .unwrap();
    let other = on_postgres(&server, "01JXAMPLE0000000000000000B").await;
    assert!(other.is_err(), "there is one");
    journal.close().await;
    held.abandon().await.unwrap();
    let counted = "SELECT (SELECT count(*) FROM vsiflow.events) + (SELECT count(*) FROM vsiflow.links) \
        + (SELECT count(*) FROM vsiflow.journals)";
    assert_eq!(server.sql(counted), "0");
    on_postgres(&server, "01JXAMPLE0000000000000000B")
        .await
        .unwrap();
}
