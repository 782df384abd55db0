use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::{
    journal::{Append, Journal as _, Record},
    model::{Actor, EntityId, Event, EventKind, Name, RunId, StreamId, Text, Timestamp, WarrantId},
};

fn dir() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("a/state");
    (parent, path)
}

fn append() -> Append {
    let kind = EventKind::Paused;
    let event = Event {
        at: Timestamp(1),
        actor: Actor::Engine,
        reason: Text::default(),
        kind,
    };
    let stream = StreamId::Run(RunId(ulid::Ulid::from_parts(1, 1)));
    Append {
        stream,
        expected_seq: 0,
        events: vec![event],
    }
}

#[test]
fn a_file_in_its_place_is_told_and_left() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("state");
    fs::write(&file, "mine").unwrap();
    for path in [file.clone(), file.join("below")] {
        let refused = StateDir::open(&path).unwrap_err();
        assert_eq!(refused, StateDirError::NotADirectory { path });
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

fn files_of(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = entries.filter(|file| file.is_file() && !file.ends_with(LOCK));
    files
        .map(|file| (file.clone(), fs::read(file).unwrap()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_directory_has_all_its_parts_and_is_the_same_when_opened_again() {
    let (_parent, path) = dir();
    let state = StateDir::open(&path).unwrap();
    let journal = state.journal().await.unwrap();
    let written = journal.append(vec![append()]).await.unwrap();
    state.checkpoints().await.unwrap();
    state.blobs().await.unwrap();
    state.secrets().await.unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o700
    );
    let id = state.journal_id().to_owned();
    drop((journal, state));

    let before = files_of(&path);
    let reopened = StateDir::open(&path).unwrap();
    assert_eq!(
        (reopened.journal_id(), files_of(&path)),
        (id.as_str(), before)
    );
    assert_eq!(
        reopened.journal().await.unwrap().read_all(0, 9).await,
        Ok(written)
    );
}

#[test]
fn a_second_user_is_told_who_has_it() {
    let (_parent, path) = dir();
    let first = StateDir::open(&path).unwrap();
    let error = StateDir::open(&path).unwrap_err();
    let message = error.to_string();
    assert_eq!(error.code(), "VSI0002");
    assert!(
        message.contains(&format!("is in use by process {}", std::process::id())),
        "{message}"
    );
    drop(first);
    StateDir::open(&path).unwrap();
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let (_parent, path) = dir();
    drop(StateDir::open(&path).unwrap());
    let newer = r#"{"format": 4, "written_by": "9.9.9", "anything": []}"#;
    fs::write(path.join(FORMAT), newer).unwrap();
    let error = StateDir::open(&path).unwrap_err();
    assert_eq!(error.code(), "VSI0003");
    assert!(error.to_string().contains("written by 9.9.9"), "{error}");
    assert_eq!(fs::read_to_string(path.join(FORMAT)).unwrap(), newer);
}

#[test]
fn the_format_before_is_read_and_older_versions_refuse_it_once_it_was_opened_to_work() {
    let (_parent, path) = dir();
    drop(StateDir::open(&path).unwrap());
    let now = fs::read_to_string(path.join(FORMAT)).unwrap();
    let before = now.replace("\"format\": 3", "\"format\": 2");
    assert_ne!(now, before);
    fs::write(path.join(FORMAT), &before).unwrap();
    drop(StateDir::open_to_read(&path).unwrap());
    assert_eq!(fs::read_to_string(path.join(FORMAT)).unwrap(), before);
    drop(StateDir::open(&path).unwrap());
    assert_eq!(fs::read_to_string(path.join(FORMAT)).unwrap(), now);
}

/// Format 1 was never released; its data can be moved with an export.
#[test]
fn an_older_format_is_refused_with_the_way_out_and_left_alone() {
    let (_parent, path) = dir();
    drop(StateDir::open(&path).unwrap());
    let older = r#"{"format": 1, "journal": "x", "written_by": "0.1.0"}"#;
    fs::write(path.join(FORMAT), older).unwrap();
    let error = StateDir::open(&path).unwrap_err();
    assert_eq!(error.code(), "VSI0017");
    assert!(
        error.remedy().contains("audit export"),
        "{}",
        error.remedy()
    );
    assert_eq!(fs::read_to_string(path.join(FORMAT)).unwrap(), older);
}

#[test]
fn a_damaged_or_lost_format_is_never_overwritten() {
    let (_parent, path) = dir();
    drop(StateDir::open(&path).unwrap());
    for wrong in ["", "{", r#"{"format": 2}"#, r#"{"format": 0}"#] {
        fs::write(path.join(FORMAT), wrong).unwrap();
        assert_eq!(
            StateDir::open(&path).unwrap_err().code(),
            "VSI0004",
            "{wrong:?}"
        );
        assert_eq!(fs::read_to_string(path.join(FORMAT)).unwrap(), wrong);
    }
    fs::remove_file(path.join(FORMAT)).unwrap();
    assert_eq!(StateDir::open(&path).unwrap_err().code(), "VSI0004");
    assert!(!path.join(FORMAT).exists());
}

#[test]
fn a_folder_of_something_else_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    fs::write(parent.path().join("thesis.tex"), "x").unwrap();
    let error = StateDir::open(parent.path()).unwrap_err();
    assert_eq!(error.code(), "VSI0004");
    assert!(error.to_string().contains("thesis.tex"), "{error}");
}

#[test]
fn an_interrupted_making_is_ended() {
    let (_parent, path) = dir();
    fs::create_dir_all(path.join(BLOBS)).unwrap();
    fs::write(path.join("FORMAT.part"), "{").unwrap();
    drop(StateDir::open(&path).unwrap());
    assert!(!path.join("FORMAT.part").exists());
    StateDir::open(&path).unwrap();
}

/// Simulates a power cut before the file was synced: only its length remains.
fn lose_content(file: &Path) {
    let length = fs::metadata(file).unwrap().len();
    fs::write(file, vec![0; usize::try_from(length).unwrap()]).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_making_that_a_power_cut_ended_begins_anew() {
    let (_parent, path) = dir();
    drop(StateDir::open(&path).unwrap());
    fs::rename(path.join(FORMAT), path.join("FORMAT.part")).unwrap();
    lose_content(&path.join(LOG).join("00000000000000000000"));
    let journal = StateDir::open(&path).unwrap().journal().await.unwrap();
    journal.append(vec![append()]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_checkpoints_are_made_anew() {
    let (_parent, path) = dir();
    let state = StateDir::open(&path).unwrap();
    state.checkpoints().await.unwrap().close().await;
    fs::remove_dir_all(path.join(CHECKPOINTS)).unwrap();
    state.checkpoints().await.unwrap().close().await;
    assert!(path.join(CHECKPOINTS).is_dir());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_journal_is_not_made_anew() {
    let (_parent, path) = dir();
    drop(StateDir::open(&path).unwrap());
    fs::remove_dir_all(path.join(LOG)).unwrap();
    let state = StateDir::open(&path).unwrap();
    assert_eq!(state.journal().await.err().unwrap().code(), "VSI0004");
    assert!(!path.join(LOG).exists());
}

#[test]
fn a_directory_that_cannot_be_written_is_said_so() {
    let parent = tempfile::tempdir().unwrap();
    let file = parent.path().join("file");
    fs::write(&file, "x").unwrap();
    assert_eq!(
        StateDir::open(file.join("state")).unwrap_err().code(),
        "VSI0006"
    );
}

fn numbered(stream: StreamId, kind: EventKind) -> Append {
    let mut append = append();
    append.stream = stream;
    append.events[0].kind = kind;
    append
}

fn in_run(number: u128) -> StreamId {
    StreamId::Run(RunId(ulid::Ulid::from_parts(1, number)))
}

/// Changes a byte in the middle of the log, in a batch that nothing but the log has.
fn damage(path: &Path) {
    let log = fs::read_dir(path.join(LOG)).unwrap();
    let segment = log.map(|entry| entry.unwrap().path()).next().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    let half = bytes.get_mut(used / 2..used).unwrap();
    *half.iter_mut().find(|byte| **byte != 0).unwrap() ^= 4;
    fs::write(&segment, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repair_that_loses_events_ends_all_orders_to_destroy_something() {
    let (_parent, path) = dir();
    let state = StateDir::open(&path).unwrap();
    let journal = state.journal().await.unwrap();
    let disk = EntityId::new(Name::of("disk"), "data").unwrap();
    let ordered = EventKind::Warranted {
        warrant: WarrantId(ulid::Ulid::from_parts(1, 7)),
        object: Text::new("images/data"),
        act: Name::of("delete"),
        shown: Text::default(),
    };
    let stream = StreamId::Entity(disk);
    let order = numbered(stream.clone(), ordered);
    journal.append(vec![order]).await.unwrap();
    for run in 0..8 {
        let event = numbered(in_run(run), EventKind::Paused);
        journal.append(vec![event]).await.unwrap();
    }
    journal.close().await;
    fs::remove_dir_all(path.join("index")).unwrap();
    damage(&path);
    let survey = state.survey(None).await.unwrap();
    let repairer = Repairer {
        actor: Actor::Engine,
        reason: Text::default(),
        now: Timestamp(2),
    };
    let repaired = state.repair(survey, repairer, None).await.unwrap();
    assert!(!repaired.lost.is_empty());
    let repaired_journal = state.journal().await.unwrap();
    let events = repaired_journal.read(&stream, 0, usize::MAX).await.unwrap();
    let voided = |record: &Record| matches!(record.event.kind, EventKind::WarrantVoided { .. });
    assert!(events.iter().any(voided), "{events:?}");
    repaired_journal.close().await;
    assert!(state.survey(None).await.unwrap().is_whole());
}
