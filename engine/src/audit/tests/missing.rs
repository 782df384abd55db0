//! Journals with missing events, and the bases that cover these.

use super::*;
use crate::{
    audit::{
        AuditError, PublicKey, SigningKey,
        export::{ExportLines, restore},
        sign_base,
    },
    fold::Fold,
    journal::{Append, Missing, MissingCause, StreamState},
    model::{Actor, Event, Text},
    replay::{ReplayError, hold_states, replay},
};

const KEY: &str = include_str!("../anchor/audit_anchor/testkeys/openssh");
const PUBLIC: &str = include_str!("../anchor/audit_anchor/testkeys/openssh.pub");
const OTHER: &str = include_str!("../anchor/audit_anchor/testkeys/pkcs8.pub.pem");

async fn tell(journal: &MemoryJournal, stream: StreamId, kind: EventKind) {
    let heads = journal.streams().await.unwrap();
    let head = heads.iter().find(|head| head.stream == stream);
    let append = Append {
        expected_seq: head.map_or(0, |head| head.next_seq),
        stream,
        events: vec![event(kind)],
    };
    journal.append(vec![append]).await.unwrap();
}

fn event(kind: EventKind) -> Event {
    Event {
        at: NOW,
        actor: Actor::Engine,
        reason: Text::default(),
        kind,
    }
}

/// Writes a base of the journal's current states; the caller adds the event that commits to it.
async fn write_base(journal: &MemoryJournal) -> (u64, Hash) {
    let link = journal.head().await.unwrap().unwrap();
    let mut fold = Fold::default();
    for stored in stored(journal).await {
        fold.take(&stored).unwrap();
    }
    let states = fold.states(link.last + 1, Some(link));
    let hash = journal.write_base(states).await.unwrap().unwrap();
    (link.last + 1, hash)
}

async fn base(journal: &MemoryJournal, key: Option<&SigningKey>) -> u64 {
    let (as_of, hash) = write_base(journal).await;
    let signature = key.map(|key| sign_base(ID, as_of, hash, key));
    let signature = signature.unwrap_or_default();
    let written = EventKind::BaseWritten {
        as_of,
        hash,
        signature,
    };
    tell(journal, StreamId::Journal, written).await;
    as_of
}

/// The first part of the sample, a base, the rest of the sample, another base, and one more event.
struct MissingSubject {
    journal: MemoryJournal,
    blobs: MemoryBlobs,
    bases: [u64; 2],
    links: Vec<BatchLink>,
}

impl MissingSubject {
    async fn new(key: Option<&SigningKey>) -> Self {
        let (journal, blobs) = (MemoryJournal::new(), MemoryBlobs::new());
        let whole = sample::journal(&blobs).await;
        let (records, links) = (
            stored(&whole).await,
            whole.read_links(0, usize::MAX).await.unwrap(),
        );
        // The first base is in the middle of the history. The records after it keep their
        // sequences, but have other offsets.
        let mut first = 0;
        for (number, link) in links.iter().enumerate() {
            if number == 6 {
                first = base(&journal, key).await;
            }
            let batch = records
                .iter()
                .filter(|r| (link.first..=link.last).contains(&r.offset));
            let batch = batch.map(|record| Append {
                stream: record.stream.clone(),
                expected_seq: record.seq,
                events: vec![record.record().unwrap().event],
            });
            journal.append(batch.collect()).await.unwrap();
        }
        let second = base(&journal, key).await;
        let jumped = EventKind::ClockJumped { by_ms: 1 };
        tell(&journal, StreamId::Journal, jumped).await;
        let batch_links = journal.read_links(0, usize::MAX).await.unwrap();
        Self {
            journal,
            blobs,
            bases: [first, second],
            links: batch_links,
        }
    }

    /// Removes the events of the batches `from..to`.
    fn lose(&self, from: usize, to: usize, cause: MissingCause) -> Missing {
        let (from, to) = (self.links[from].first, self.links[to].first);
        let range = Missing { from, to, cause };
        self.journal.plant_missing(range.clone());
        range
    }

    async fn verify(&self, key: Option<&PublicKey>) -> VerifyReport {
        let audit = Audit {
            journal: &self.journal,
            blobs: &self.blobs,
            journal_id: ID,
        };
        audit.verify(None, key).await.unwrap()
    }

    async fn rebuilt(&self) -> Result<(MemoryJournal, super::super::Rebuilt), AuditError> {
        rebuilt(&super::exports::export(&self.journal, &self.blobs).await).await
    }
}

async fn rebuilt(text: &[u8]) -> Result<(MemoryJournal, super::super::Rebuilt), AuditError> {
    let (journal, blobs) = (MemoryJournal::new(), MemoryBlobs::new());
    let mut input = text;
    let mut lines = ExportLines::of(&mut input);
    let header = lines.header().await?;
    let restored = restore(&mut lines, &journal, &blobs, header.journal).await?;
    Ok((journal, restored))
}

#[tokio::test]
async fn bases_of_a_whole_journal_are_proved_against_its_events() {
    let subject = MissingSubject::new(None).await;
    let report = subject.verify(None).await;
    assert!(report.is_sound(), "{:#?}", report.violations);
    assert_eq!((report.bases, report.removed.len()), (2, 0));
    hold_states(&subject.journal).await.unwrap();
}

#[tokio::test]
async fn a_base_that_says_what_its_events_do_not_is_named() {
    let subject = MissingSubject::new(None).await;
    subject
        .journal
        .change_base(subject.bases[0], |streams| drop(streams.remove(0)));
    let report = subject.verify(None).await;
    let found: Vec<_> = report.violations.iter().map(|v| v.what.as_str()).collect();
    assert!(
        found
            .iter()
            .any(|what| what.contains("is not the one it names")),
        "{found:?}"
    );
    assert!(
        found
            .iter()
            .any(|what| what.contains("differs from the states of its events")),
        "{found:?}"
    );
    let held = hold_states(&subject.journal).await;
    assert!(
        matches!(held, Err(ReplayError::StateMismatch(_))),
        "{held:?}"
    );
}

#[tokio::test]
async fn a_base_that_lies_with_its_own_event_is_named_by_the_fold() {
    let (journal, blobs) = (MemoryJournal::new(), MemoryBlobs::new());
    sample::write(&journal, sample::batches(&blobs).await).await;
    let (as_of, _) = write_base(&journal).await;
    journal.change_base(as_of, |streams| {
        for state in streams {
            if let StreamState::Entity(_, folded) = state {
                folded.changed.0 += 1;
            }
        }
    });
    let states = journal.states(Some(as_of)).await.unwrap();
    let hash = crate::journal::base_hash(&states).unwrap();
    let signature = Text::default();
    let written = EventKind::BaseWritten {
        as_of,
        hash,
        signature,
    };
    tell(&journal, StreamId::Journal, written).await;
    let report = audit(&journal, &blobs, None).await;
    assert_eq!(report.violations.len(), 2, "{:#?}", report.violations);
    assert!(report.violations[0].what.contains("when it changed"));
}

#[tokio::test]
async fn removed_events_are_in_order_where_a_base_stands_for_them() {
    for to in [2, 5, 9] {
        let subject = MissingSubject::new(None).await;
        let range = subject.lose(0, to, MissingCause::Removed);
        let report = subject.verify(None).await;
        assert!(report.is_sound(), "{to}: {:#?}", report.violations);
        assert_eq!(report.removed.len(), 1);
        assert_eq!(report.removed[0].range, range);
        hold_states(&subject.journal).await.unwrap();
        let summary = replay(&subject.journal, true).await.unwrap();
        assert_eq!(summary.began, report.removed[0].base);
    }
}

#[tokio::test]
async fn removed_events_without_a_base_the_journal_names_are_a_violation() {
    let subject = MissingSubject::new(None).await;
    subject.lose(0, 5, MissingCause::Removed);
    subject.journal.remove_base(subject.bases[0]);
    assert!(
        subject.verify(None).await.is_sound(),
        "the later one covers them, too"
    );
    subject.journal.remove_base(subject.bases[1]);
    let report = subject.verify(None).await;
    assert_eq!(only(&report).flaw, Flaw::Uncovered);
    let replayed = replay(&subject.journal, false).await;
    assert!(
        matches!(replayed, Err(ReplayError::Audit(_))),
        "{replayed:?}"
    );
}

#[tokio::test]
async fn lost_and_damaged_ranges_are_reported_each_time() {
    for (cause, flaw) in [
        (MissingCause::Lost, Flaw::Lost),
        (MissingCause::Damaged, Flaw::Damaged),
    ] {
        let subject = MissingSubject::new(None).await;
        let range = subject.lose(3, 8, cause);
        let report = subject.verify(None).await;
        let found = only(&report);
        assert_eq!(
            (found.flaw, found.offset),
            (flaw, Some(range.from)),
            "{found}"
        );
        assert_eq!(
            found.what.contains("no event tells"),
            cause == MissingCause::Lost
        );
        let (from, to) = (range.from, range.to);
        tell(
            &subject.journal,
            StreamId::Journal,
            EventKind::RangeLost { from, to },
        )
        .await;
        let restarted = subject.verify(None).await;
        assert!(!only(&restarted).what.contains("no event tells"));
    }
}

#[tokio::test]
async fn an_event_that_tells_of_a_loss_that_was_none_is_a_violation() {
    let subject = MissingSubject::new(None).await;
    let lost = EventKind::RangeLost { from: 2, to: 4 };
    tell(&subject.journal, StreamId::Journal, lost).await;
    let report = subject.verify(None).await;
    assert_eq!(only(&report).flaw, Flaw::Changed);
}

#[tokio::test]
async fn with_a_key_a_base_for_removed_events_has_to_be_signed_with_it() {
    let key = SigningKey::read(KEY).unwrap();
    let (ours, other) = (
        PublicKey::read(PUBLIC).unwrap(),
        PublicKey::read(OTHER).unwrap(),
    );
    let signed = MissingSubject::new(Some(&key)).await;
    signed.lose(0, 5, MissingCause::Removed);
    assert!(signed.verify(Some(&ours)).await.is_sound());
    let found = signed.verify(Some(&other)).await.violations;
    let flaws: Vec<_> = found.iter().map(|found| found.flaw).collect();
    assert!(
        flaws.contains(&Flaw::Signature) && flaws.contains(&Flaw::Uncovered),
        "{found:?}"
    );
    let unsigned = MissingSubject::new(None).await;
    assert!(unsigned.verify(Some(&ours)).await.is_sound());
    unsigned.lose(0, 5, MissingCause::Removed);
    assert_eq!(
        only(&unsigned.verify(Some(&ours)).await).flaw,
        Flaw::Uncovered
    );
}

#[tokio::test]
async fn an_export_of_a_journal_with_missing_ranges_makes_an_equal_one() {
    for cause in [
        MissingCause::Removed,
        MissingCause::Lost,
        MissingCause::Damaged,
    ] {
        let subject = MissingSubject::new(None).await;
        let first = subject.lose(0, 3, cause);
        let second = subject.lose(8, 12, cause);
        let (journal, restored) = subject.rebuilt().await.unwrap();
        assert_eq!(restored.lacks.missing, [first.clone(), second.clone()]);
        assert_eq!(journal.missing().await.unwrap(), [first, second]);
        assert_eq!(stored(&journal).await, stored(&subject.journal).await);
        assert_eq!(journal.head().await, subject.journal.head().await);
        assert_eq!(journal.streams().await, subject.journal.streams().await);
        let again = super::exports::export(&journal, &subject.blobs).await;
        assert!(again == super::exports::export(&subject.journal, &subject.blobs).await);
    }
}

#[tokio::test]
async fn an_export_whose_base_was_changed_is_refused() {
    let subject = MissingSubject::new(None).await;
    subject.lose(0, 3, MissingCause::Removed);
    let text = super::exports::export(&subject.journal, &subject.blobs).await;
    let text = String::from_utf8(text).unwrap();
    for kind in ["missing", "stream", "base", "state"] {
        let start = format!("{{\"kind\":\"{kind}\"");
        assert!(text.contains(&start), "{kind}");
        let mut left = text.lines().collect::<Vec<_>>();
        let at = left
            .iter()
            .position(|line| line.starts_with(&start))
            .unwrap();
        left.remove(at);
        let shortened = left.join("\n") + "\n";
        assert!(rebuilt(shortened.as_bytes()).await.is_err(), "{kind}");
    }
}

#[tokio::test]
async fn an_export_says_which_blobs_and_events_it_lacks() {
    let blobs = MemoryBlobs::new();
    let journal = sample::journal(&blobs).await;
    let vsi = StreamId::Entity(sample::vsi());
    let at = journal.plant_undecodable(&vsi, event(EventKind::RetryRequested));
    tell(
        &journal,
        StreamId::Journal,
        EventKind::ClockJumped { by_ms: 1 },
    )
    .await;
    let text = super::exports::export(&journal, &MemoryBlobs::new()).await;
    let (copy, restored) = rebuilt(&text).await.unwrap();
    assert_eq!((restored.lacks.blobs.len(), restored.blobs), (2, 0));
    assert_eq!(restored.lacks.undecodable, [at]);
    assert_eq!(stored(&copy).await, stored(&journal).await);
}
