use super::*;
use crate::{audit::sample, blob::MemoryBlobs};

/// Made for these tests with `ssh-keygen -t ed25519` and `openssl genpkey -algorithm ed25519`.
const OPENSSH: &str = include_str!("testkeys/openssh");
const OPENSSH_PUBLIC: &str = include_str!("testkeys/openssh.pub");
const OPENSSH_LOCKED: &str = include_str!("testkeys/openssh_locked");
const PEM: &str = include_str!("testkeys/pkcs8.pem");
const PEM_PUBLIC: &str = include_str!("testkeys/pkcs8.pub.pem");
const ECDSA: &str = include_str!("testkeys/ecdsa");
const ECDSA_PUBLIC: &str = include_str!("testkeys/ecdsa.pub");

async fn taken() -> AuditAnchor {
    let blobs = MemoryBlobs::new();
    let journal = sample::journal(&blobs).await;
    let audit = Audit {
        journal: &journal,
        blobs: &blobs,
        journal_id: "01JXTEST",
    };
    audit.head(Timestamp(1_750_000_123_456)).await.unwrap()
}

#[tokio::test]
async fn a_head_reads_back_as_it_was_printed() {
    let mut head = taken().await;
    let text = head.to_string();
    assert!(text.starts_with("vsiflow-head v1 journal=01JXTEST offset=52 link="));
    assert!(text.ends_with(" time=2025-06-15T15:08:43.456Z"), "{text}");
    assert_eq!(text.parse(), Ok(head.clone()));
    head.sign(&SigningKey::read(PEM).unwrap());
    assert_eq!(format!("{head}\n").parse(), Ok(head));
}

#[tokio::test]
async fn a_signed_head_is_checked_with_its_own_key_only() {
    let pairs = [(OPENSSH, OPENSSH_PUBLIC), (PEM, PEM_PUBLIC)];
    for (ours, theirs) in [(0, 1), (1, 0)] {
        let mut head = taken().await;
        let public = |at: usize| PublicKey::read(pairs[at].1).unwrap();
        let unsigned = head.check(&public(ours)).unwrap_err();
        assert_eq!(unsigned.flaw, Flaw::Signature);
        head.sign(&SigningKey::read(pairs[ours].0).unwrap());
        assert_eq!(head.check(&public(ours)), Ok(()));
        let other = head.check(&public(theirs)).unwrap_err();
        assert_eq!(other.what, "the head is signed with another key");
    }
}

#[tokio::test]
async fn a_head_that_was_changed_after_signing_is_found() {
    let mut head = taken().await;
    head.sign(&SigningKey::read(OPENSSH).unwrap());
    let key = PublicKey::read(OPENSSH_PUBLIC).unwrap();
    let changes: [fn(&mut AuditAnchor); 4] = [
        |anchor| anchor.offset = Some(50),
        |anchor| anchor.link.0[0] ^= 1,
        |anchor| anchor.time.0 += 1,
        |anchor| anchor.journal.push('X'),
    ];
    for change in changes {
        let mut changed = head.clone();
        change(&mut changed);
        let text = changed.to_string();
        let found = text
            .parse::<AuditAnchor>()
            .unwrap()
            .check(&key)
            .unwrap_err();
        assert_eq!(found.flaw, Flaw::Signature);
    }
}

#[tokio::test]
async fn what_is_said_another_way_is_no_head() {
    let mut head = taken().await;
    head.sign(&SigningKey::read(OPENSSH).unwrap());
    let text = head.to_string();
    let cut = text.split_once(" signature=").unwrap().0;
    let wrong = [
        String::new(),
        cut.to_owned(),
        format!("{text} and=more"),
        text.replace("offset=", "offset=0"),
        text.replace(" link", "  link"),
        text.replace("v1", "v2"),
        text.to_uppercase(),
        text.chars().rev().collect(),
    ];
    for malformed in wrong {
        assert!(malformed.parse::<AuditAnchor>().is_err(), "{malformed}");
    }
}

#[test]
fn only_open_ed25519_keys_are_keys() {
    for text in [
        "",
        "ssh-ed25519",
        OPENSSH_LOCKED,
        ECDSA,
        OPENSSH_PUBLIC,
        PEM_PUBLIC,
    ] {
        assert!(SigningKey::read(text).is_err(), "{text}");
    }
    for text in ["", "ssh-ed25519 AAAA", ECDSA_PUBLIC, OPENSSH, PEM] {
        assert!(PublicKey::read(text).is_err(), "{text}");
    }
    let locked = SigningKey::read(OPENSSH_LOCKED).unwrap_err();
    assert_eq!(
        locked.to_string(),
        "it has a passphrase; name a key without one"
    );
    let printed = format!("{:?}", SigningKey::read(PEM).unwrap());
    assert_eq!(printed, "SigningKey(…)");
}

#[test]
fn a_moment_beyond_the_calendar_is_a_number() {
    assert_eq!(time(Timestamp(LAST_MOMENT)), "9999-12-31T23:59:59.999Z");
    assert_eq!(time(Timestamp(u64::MAX)), format!("{} ms", u64::MAX));
}
