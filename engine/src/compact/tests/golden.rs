//! What earlier versions left in the place of archived events stays readable.
//!
//! `tests/journals/README.md` says how a file is added.

use std::fmt::Write as _;

use super::*;
use crate::{
    audit::sample,
    journal::{SealsAndHorizon, seals_and_horizon},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/journals")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks(2);
    let digits = pairs.map(|pair| std::str::from_utf8(pair).unwrap());
    digits
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

#[test]
fn every_golden_seal_reads_and_is_written_as_it_was() {
    let file = folder().join("v2/seals.txt");
    let (mut kinds, mut streams) = (HashSet::new(), 0);
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let (key, value) = line.split_once(' ').unwrap();
        let (key, value) = (unhex(key), unhex(value));
        let SealsAndHorizon { again, seal } = seals_and_horizon(&key, &value).unwrap();
        assert_eq!(hex(&again), hex(&value), "{}", key.escape_ascii());
        streams += usize::from(seal.is_some());
        kinds.extend(seal.map(|seal| std::mem::discriminant(&seal.rest)));
    }
    assert!(streams >= 10 && kinds.len() == 4, "{streams} seals");
}

/// A compacted journal of every kind of seal.
async fn compacted_state(dir: &Path) -> StateDir {
    let state = StateDir::open(dir).unwrap();
    let journal = state.journal().await.unwrap();
    let blobs = state.blobs().await.unwrap();
    sample::write(&journal, sample::batches(&blobs).await).await;
    herd::write(&journal, 0..1).await;
    let open = herd::batches(1);
    herd::append(&journal, &open[..9]).await;
    journal.close().await;
    for (number, moment) in [(9, u64::MAX - 9), (10, u64::MAX - 8)] {
        let moment = Compaction {
            now: Timestamp(herd::time(5)),
            ..at(moment)
        };
        compact(&state, moment).await.unwrap().unwrap();
        let journal = state.journal().await.unwrap();
        herd::append(&journal, &open[number..=number]).await;
        journal.close().await;
    }
    state
}

/// Never over one that is there.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes golden files; see tests/journals/README.md"]
async fn make_golden_seals() {
    let dir = tempfile::tempdir().unwrap();
    let state = compacted_state(dir.path()).await;
    let (journal, blobs, archives) = (
        state.journal().await.unwrap(),
        state.blobs().await.unwrap(),
        state.archives(),
    );
    let audit = Audit {
        journal: &journal,
        blobs: &blobs,
        journal_id: state.journal_id(),
        archives: Some(&archives),
    };
    let mut export = Vec::new();
    audit
        .export(&mut export, Timestamp(herd::time(9)))
        .await
        .unwrap();
    journal.close().await;
    let store = loop {
        if let Ok(store) = crate::durable::config(&dir.path().join("journal")).open() {
            break store;
        }
    };
    let mut text = String::new();
    for entry in store.iter() {
        let (key, value) = entry.unwrap();
        if matches!(key[0], b'a' | b'h' | b'z') {
            writeln!(text, "{} {}", hex(&key), hex(&value)).unwrap();
        }
    }
    let version = folder().join("v2");
    std::fs::create_dir_all(&version).unwrap();
    for (name, content) in [
        ("compacted.jsonl", export),
        ("seals.txt", text.into_bytes()),
    ] {
        let file = version.join(name);
        assert!(!file.exists(), "{} is there already", file.display());
        std::fs::write(file, content).unwrap();
    }
}
