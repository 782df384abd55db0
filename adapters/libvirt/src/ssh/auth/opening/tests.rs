//! Turns in which keys are opened, and what is remembered of them.

use std::{
    sync::mpsc::{self, Receiver, Sender},
    time::{Duration, Instant},
};

use tokio::{task::JoinHandle, time::timeout};
use vsiflow_engine::secret::Secret;

use super::*;

const WRONG: Opening = Err(KeyProblem::WrongPassphrase);

/// Keys that are opened when a test says so.
struct SlowKeys {
    keys: Arc<OpenedKeys>,
    begins: Receiver<u8>,
    begun: Sender<u8>,
}

impl SlowKeys {
    fn new() -> Self {
        let (begun, begins) = mpsc::channel();
        Self {
            keys: Arc::default(),
            begins,
            begun,
        }
    }

    /// Begins to open a key of this owner; it is open when the sender is dropped.
    fn open(&self, owner: &str, number: u8) -> (JoinHandle<Opening>, Sender<()>) {
        let (release, released) = mpsc::channel();
        let (begun, keys, owner) = (self.begun.clone(), self.keys.clone(), owner.into());
        let open = move || {
            begun.send(number).unwrap();
            let _ = released.recv();
            WRONG
        };
        let digest = [number; 32];
        let opening = async move { keys.find_or_open(&owner, digest, open).await };
        (tokio::spawn(opening), release)
    }

    /// The number of the key that is opened next; `None` if none is within a moment.
    async fn next(&self) -> Option<u8> {
        for _ in 0..50 {
            if let Ok(number) = self.begins.try_recv() {
                return Some(number);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        None
    }
}

#[tokio::test]
async fn keys_of_one_owner_are_opened_one_after_the_other_and_another_owners_comes_in_between() {
    let slow = SlowKeys::new();
    let (first, release_first) = slow.open("namespace/busy", 1);
    assert_eq!(slow.next().await, Some(1));
    let (second, release_second) = slow.open("namespace/busy", 2);
    tokio::task::yield_now().await;
    let (other, release_other) = slow.open("namespace/other", 3);
    assert_eq!(slow.next().await, None, "one at a time");
    drop(release_first);
    assert_eq!(slow.next().await, Some(3));
    assert_eq!(slow.next().await, None, "one at a time");
    drop(release_other);
    assert_eq!(slow.next().await, Some(2));
    drop(release_second);
    for opening in [first, second, other] {
        assert!(matches!(opening.await, Ok(WRONG)));
    }
}

#[tokio::test]
async fn the_turn_of_an_abandoned_login_ends_with_its_work() {
    let slow = SlowKeys::new();
    let (abandoned, release) = slow.open("namespace/a", 1);
    assert_eq!(slow.next().await, Some(1));
    abandoned.abort();
    assert!(abandoned.await.is_err());
    let (next, release_next) = slow.open("namespace/a", 2);
    assert_eq!(slow.next().await, None, "the work still goes on");
    drop(release);
    assert_eq!(slow.next().await, Some(2));
    drop(release_next);
    assert!(next.await.is_ok());
    // What nobody waited for is remembered, too.
    let (again, _release) = slow.open("namespace/a", 1);
    let opening = timeout(Duration::from_secs(5), again).await;
    assert!(matches!(opening, Ok(Ok(WRONG))));
    assert_eq!(slow.next().await, None);
}

#[test]
fn an_owner_with_very_many_keys_takes_no_others_place() {
    let keys = OpenedKeys::default();
    keys.remember("namespace/small".into(), [255; 32], &WRONG);
    for number in 0..200 {
        keys.remember("namespace/large".into(), [number; 32], &WRONG);
    }
    assert_eq!(keys.keys.lock().unwrap().len(), REMEMBERED);
    assert!(keys.find([255; 32]).is_some() && keys.find([199; 32]).is_some());
    assert!(keys.find([100; 32]).is_none());
    let malformed = Err(KeyProblem::Malformed(String::new()));
    keys.remember("namespace/a".into(), [254; 32], &malformed);
    assert!(keys.find([254; 32]).is_none());
}

#[test]
fn text_passphrase_and_owner_are_kept_apart_in_the_hash() {
    let digest = |owner: &str, text: &str, passphrase: Option<&str>| {
        GivenKey::new(Secret::new(text), passphrase.map(Secret::new)).digest(owner)
    };
    let digests = [
        digest("o", "ab", Some("c")),
        digest("o", "a", Some("bc")),
        digest("oa", "b", Some("c")),
        digest("o", "abc", None),
    ];
    let mut different = digests.to_vec();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), digests.len());
}

#[tokio::test]
async fn an_encrypted_key_is_opened_once_and_a_plain_one_takes_no_turn() {
    let dir = tempfile::tempdir().unwrap();
    let read = |name: &str, passphrase: &str| {
        let file = dir.path().join(name);
        let mut keygen = std::process::Command::new("ssh-keygen");
        let keygen = keygen.args(["-q", "-t", "ed25519", "-a", "40", "-N", passphrase, "-f"]);
        assert!(keygen.arg(&file).status().unwrap().success());
        Secret::new(std::fs::read(file).unwrap())
    };
    let (encrypted, plain) = (read("encrypted", "correct horse"), read("plain", ""));
    let owner = "namespace/a".into();
    let open = async |text: &Secret, passphrase: &str| {
        let begun = Instant::now();
        let key = GivenKey::new(text.clone(), Some(Secret::new(passphrase)));
        let opening = opened(key, &owner).await;
        (opening.map(drop), begun.elapsed())
    };
    let wrong = Err(ConnectError::Key(KeyProblem::WrongPassphrase));
    for (passphrase, expected) in [("correct horse", Ok(())), ("wrong", wrong)] {
        let (first, took) = open(&encrypted, passphrase).await;
        let (again, took_again) = open(&encrypted, passphrase).await;
        assert_eq!((&first, &again), (&expected, &expected));
        assert!(took_again < took / 2, "{took:?} {took_again:?}");
    }
    let turn = WorkTurns::current().take(&owner).await;
    let (opening, _) = timeout(Duration::from_secs(5), open(&plain, "any"))
        .await
        .unwrap();
    assert_eq!(opening, Ok(()));
    let (known, _) = timeout(Duration::from_secs(5), open(&encrypted, "correct horse"))
        .await
        .unwrap();
    assert_eq!(known, Ok(()), "it needs no turn again");
    drop(turn);
}
