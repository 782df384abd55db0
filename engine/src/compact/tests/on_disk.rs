//! Compaction of a state directory.

use tempfile::TempDir;

use super::*;
use crate::{
    audit::{Flaw, Head, Report, rebuild},
    executor::folded,
    journal::{SledInspector, chain},
    replay::replay,
};

/// A state directory with three lives in it, the last of them young.
pub(super) struct Place {
    dir: TempDir,
    /// Heads taken on the way, the oldest first.
    heads: Vec<Head>,
    /// What an export said before anything was compacted.
    whole: String,
}

impl Place {
    pub(super) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let journal = state.journal().await.unwrap();
        let mut heads = Vec::new();
        let mut writer = herd::Writer::on(&journal).await;
        for batch in (0..3).flat_map(herd::batches) {
            writer.append(&batch).await;
            heads.push(head(&state, &journal).await);
        }
        let whole = export(&state, &journal).await;
        journal.close().await;
        Self { dir, heads, whole }
    }

    pub(super) fn open(&self) -> StateDir {
        StateDir::open(self.dir.path()).unwrap()
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    async fn compact(&self, before: u64) -> Compacted {
        let state = self.open();
        compact(&state, at(before)).await.unwrap().unwrap()
    }

    /// With the archives at hand, against a head.
    pub(super) async fn verify(&self, kept: Option<&Head>) -> Report {
        self.verify_with(kept, Some(&self.dir.path().join("archive")))
            .await
    }

    async fn verify_with(&self, kept: Option<&Head>, archives: Option<&Path>) -> Report {
        let state = self.open();
        let journal = state.inspect().await.unwrap();
        let blobs = state.blobs().await.unwrap();
        let audit = Audit {
            journal: &journal,
            blobs: &blobs,
            journal_id: state.journal_id(),
            archives,
        };
        let report = audit.verify(kept).await.unwrap();
        journal.close().await;
        report
    }

    async fn with<T>(&self, look: impl AsyncFnOnce(&StateDir, &SledInspector) -> T) -> T {
        let state = self.open();
        let journal = state.inspect().await.unwrap();
        let seen = look(&state, &journal).await;
        journal.close().await;
        seen
    }

    /// Changes the store behind the journal's back.
    fn sabotage(&self, act: impl FnOnce(&sled::Db)) {
        let dir = self.dir.path().join("journal");
        let store = loop {
            if let Ok(store) = crate::durable::config(&dir).open() {
                break store;
            }
        };
        act(&store);
        store.flush().unwrap();
    }

    fn archive(&self) -> PathBuf {
        let dir = std::fs::read_dir(self.dir.path().join("archive")).unwrap();
        let mut files: Vec<_> = dir.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.remove(0)
    }
}

async fn head(state: &StateDir, journal: &dyn ChainedJournal) -> Head {
    let blobs = MemoryBlobs::new();
    let audit = Audit {
        journal,
        blobs: &blobs,
        journal_id: state.journal_id(),
        archives: None,
    };
    audit.head(Timestamp(7)).await.unwrap()
}

async fn export(state: &StateDir, journal: &dyn ChainedJournal) -> String {
    let (blobs, archives) = (state.blobs().await.unwrap(), state.archives());
    let audit = Audit {
        journal,
        blobs: &blobs,
        journal_id: state.journal_id(),
        archives: Some(&archives),
    };
    let mut out = Vec::new();
    audit.export(&mut out, Timestamp(7)).await.unwrap();
    String::from_utf8(out).unwrap()
}

fn assert_sound(report: &Report) {
    assert!(report.is_sound(), "{:#?}", report.violations);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_journal_is_proved_replayed_exported_and_rebuilt() {
    let place = Place::new().await;
    let before = place.with(async |_, journal| folded(journal).await).await;
    place.compact(herd::time(1)).await;
    let done = place.compact(herd::time(2)).await;
    assert_eq!(done.horizon, 2 * herd::EVENTS + 1);
    assert_sound(&place.verify(None).await);
    for head in &place.heads {
        assert_sound(&place.verify(Some(head)).await);
    }
    let text = place
        .with(async |state, journal| {
            let told = replay(journal, true).await.unwrap();
            assert_eq!(told.entities as usize, before.entities.len());
            export(state, journal).await
        })
        .await;
    let begin = place.whole.lines().count() - 1;
    let lines = |text: &str| {
        text.lines()
            .take(begin)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        lines(&text),
        lines(&place.whole),
        "byte for byte what it was"
    );
    let dir = tempfile::tempdir().unwrap();
    rebuild(&mut text.as_bytes(), dir.path()).await.unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let journal = state.journal().await.unwrap();
    assert_eq!(journal.horizon().await.unwrap(), None);
    assert_eq!(folded(&journal).await, before);
    verified(&journal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_journal_is_worked_with_as_before() {
    let place = Place::new().await;
    place.compact(herd::time(2)).await;
    let state = place.open();
    let journal = state.journal().await.unwrap();
    herd::write(&journal, 3..4).await;
    let (image, archived) = (herd::image(), herd::provisioning(0));
    let records = journal.read(&image, 0, usize::MAX).await.unwrap();
    let begin = journal.seal(&image).await.unwrap().unwrap().next_seq;
    assert_eq!(
        records[0].seq, begin,
        "the chain of an archived stream goes on"
    );
    let mut prev = journal.seal(&image).await.unwrap().unwrap().hash;
    for stored in journal.read_stored(0, usize::MAX).await.unwrap() {
        if stored.stream == image {
            assert_eq!(
                stored.hash,
                chain::link(prev, &image, stored.seq, &stored.bytes)
            );
            prev = stored.hash;
        }
    }
    assert!(journal.read(&archived, 0, 9).await.unwrap().is_empty());
    let streams = journal.streams().await.unwrap();
    assert!(streams.iter().any(|head| head.stream == archived));
    journal.close().await;
    drop(state);
    assert_sound(&place.verify(None).await);
    place.compact(herd::time(4)).await;
    assert_sound(&place.verify(None).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_archives_a_journal_is_proved_as_far_as_it_goes() {
    let place = Place::new().await;
    place.compact(herd::time(2)).await;
    let report = place.verify_with(None, None).await;
    assert_sound(&report);
    assert_eq!(
        (report.unread.len(), report.archived),
        (1, 2 * herd::EVENTS + 1)
    );
    let newest = place.heads.last();
    assert_sound(&place.verify_with(newest, None).await);
    let report = place.verify_with(place.heads.first(), None).await;
    assert_eq!(report.violations[0].flaw, Flaw::Missing, "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_history_is_found_against_a_head_older_than_the_horizon() {
    let (place, other) = (Place::new().await, Place::new().await);
    place.compact(herd::time(2)).await;
    // Of another journal with the same events.
    let mut forged = place.heads[3].clone();
    forged.link = Hash::of(b"another history");
    let report = place.verify(Some(&forged)).await;
    assert_eq!(report.violations[0].flaw, Flaw::RolledBack);
    let report = place.verify(Some(&other.heads[3])).await;
    assert_eq!(report.violations[0].flaw, Flaw::RolledBack);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_seal_is_found() {
    let place = Place::new().await;
    place.compact(herd::time(2)).await;
    let stream = herd::vsi(0);
    let key = [b"z", stream.to_string().as_bytes(), &[0]].concat();
    place.sabotage(|db| {
        let mut value = db.get(&key).unwrap().unwrap().to_vec();
        // The count of its events, with a checksum that is right.
        value.truncate(value.len() - 4);
        value[1] += 1;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&key), &value);
        value.extend(crc.to_be_bytes());
        db.insert(&key, value).unwrap();
    });
    let report = place.verify_with(None, None).await;
    assert_eq!(report.violations[0].flaw, Flaw::Changed, "{report:#?}");
    let named = place.verify(None).await;
    assert!(
        named
            .violations
            .iter()
            .any(|v| v.stream.as_ref() == Some(&stream))
    );
}

/// Sets back what the horizon commits to, with checksums that are right.
#[tokio::test(flavor = "multi_thread")]
async fn a_horizon_that_commits_to_something_else_is_found() {
    let place = Place::new().await;
    place.compact(herd::time(2)).await;
    place.sabotage(|db| {
        let mut value = db.get(b"h").unwrap().unwrap().to_vec();
        value.truncate(value.len() - 4);
        *value.last_mut().unwrap() ^= 1;
        let crc = crc32c::crc32c_append(crc32c::crc32c(b"h"), &value);
        value.extend(crc.to_be_bytes());
        db.insert(b"h", value).unwrap();
    });
    let report = place.verify_with(None, None).await;
    assert!(report.violations.len() >= 2, "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_or_missing_archive_is_found_and_no_export_is_made_of_it() {
    let place = Place::new().await;
    place.compact(herd::time(2)).await;
    let archive = place.archive();
    let bytes = std::fs::read(&archive).unwrap();
    for at in [0, bytes.len() / 3, bytes.len() - 3] {
        let mut changed = bytes.clone();
        changed[at] ^= 0x10;
        std::fs::write(&archive, changed).unwrap();
        let report = place.verify(None).await;
        assert!(!report.is_sound(), "byte {at}");
    }
    std::fs::remove_file(&archive).unwrap();
    let state = place.open();
    let journal = state.inspect().await.unwrap();
    let (blobs, archives) = (state.blobs().await.unwrap(), state.archives());
    let audit = Audit {
        journal: &journal,
        blobs: &blobs,
        journal_id: state.journal_id(),
        archives: Some(&archives),
    };
    let error = audit
        .export(&mut Vec::new(), Timestamp(7))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Flaw::Missing.code(), "{error}");
    journal.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_of_archived_events_leave_and_those_still_wanted_stay() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let journal = state.journal().await.unwrap();
    let blobs = state.blobs().await.unwrap();
    use crate::{audit::sample, blob::Blobs as _};
    sample::write(&journal, sample::batches(&blobs).await).await;
    blobs.put_blob(b"nobody came to name it").await.unwrap();
    journal.close().await;
    let count = || std::fs::read_dir(dir.path().join("blobs")).unwrap().count();
    let before = count();
    compact(&state, at(u64::MAX - 1)).await.unwrap().unwrap();
    assert!(count() < before, "{before} blobs, and {} after", count());
    let journal = state.inspect().await.unwrap();
    let archives = state.archives();
    let audit = Audit {
        journal: &journal,
        blobs: &blobs,
        journal_id: state.journal_id(),
        archives: Some(&archives),
    };
    let report = audit.verify(None).await.unwrap();
    assert_sound(&report);
    audit.export(&mut Vec::new(), Timestamp(7)).await.unwrap();
    journal.close().await;
}
