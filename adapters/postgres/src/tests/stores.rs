//! Blobs, checkpoints and secrets in a database.

use age::secrecy::ExposeSecret as _;
use ulid::Ulid;
use vsiflow_engine::{
    blob::Blobs as _,
    checkpoint::Checkpoints as _,
    journal::{JournalError, RECORD_MAX},
    model::{Hash, Name, Payload, RunId},
    secret::{Secret, SecretError, Secrets as _},
};

use super::server::Server;
use crate::{
    Held, PostgresBlobs, PostgresCheckpoints, PostgresJournal, PostgresSecrets, findings, hold,
    seal::Sealer,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_beside_the_events_is_kept_until_the_right_is_gone() {
    let server = Server::start();
    let held = Held::take(&server.journal("a"), hold::LEASE_DURATION * 100)
        .await
        .unwrap();
    let journal = PostgresJournal::open(held.clone()).await.unwrap();

    let blobs = PostgresBlobs::of(&journal);
    for bytes in [vec![2; 5_000], vec![3; 1 << 20], Vec::new()] {
        let payload = blobs.put_blob(&bytes).await.unwrap();
        assert_eq!(blobs.put_blob(&bytes).await.unwrap(), payload);
        assert_eq!(blobs.get(&payload).await, Ok(bytes));
    }
    let (hash, len) = (Hash::of(b"missing"), 7);
    let missing = blobs.get(&Payload::Blob { hash, len }).await;
    assert!(
        matches!(&missing, Err(error) if error.is_damage()),
        "{missing:?}"
    );

    let positions = PostgresCheckpoints::of(&journal);
    let (one, two) = (RunId(Ulid::from_parts(1, 1)), RunId(Ulid::from_parts(1, 2)));
    let (a, ab) = (Name::of("a"), Name::of("ab"));
    for (run, node, value) in [
        (one, &a, "1"),
        (one, &a, "2"),
        (one, &ab, "3"),
        (two, &a, "4"),
    ] {
        positions.put(run, node, value.into()).await.unwrap();
    }
    assert_eq!(positions.get(one, &a).await, Ok(Some("2".into())));
    assert_eq!(positions.get(two, &ab).await, Ok(None));
    positions.forget(one).await.unwrap();
    assert_eq!(positions.get(one, &ab).await, Ok(None));
    assert_eq!(positions.get(two, &a).await, Ok(Some("4".into())));
    let long = positions.put(one, &a, vec![0; RECORD_MAX + 1]).await;
    assert!(
        matches!(long, Err(JournalError::TooLong { .. })),
        "{long:?}"
    );

    let key = age::x25519::Identity::generate().to_string();
    let sealer = Sealer::read(key.expose_secret()).unwrap();
    let secrets = PostgresSecrets::of(&journal, Some(sealer));
    let id = secrets.put(Secret::new("hunter2")).await.unwrap();
    assert_eq!(secrets.get(&id).await.unwrap().expose(), b"hunter2");
    assert_eq!(secrets.ids().await, Ok(vec![id.clone()]));
    let seen = server
        .sql("SELECT count(*) FROM vsiflow.secrets WHERE position('hunter2'::bytea IN sealed) > 0");
    assert_eq!(seen, "0");
    let blind = PostgresSecrets::of(&journal, None);
    assert!(matches!(
        blind.put(Secret::new("x")).await,
        Err(SecretError::Key(_))
    ));
    secrets.erase(&id).await.unwrap();
    secrets.erase(&id).await.unwrap();
    assert_eq!(
        secrets.get(&id).await.unwrap_err(),
        SecretError::Missing(id.clone())
    );
    secrets.put_back(&id, Secret::new("again")).await.unwrap();
    assert_eq!(secrets.get(&id).await.unwrap().expose(), b"again");

    // Another process has taken the lease; this one does not know yet.
    server.sql("UPDATE vsiflow.journals SET holder = 'another'");
    assert_eq!(blobs.put_blob(b"late").await, Err(JournalError::LeaseLost));
    assert_eq!(
        positions.put(two, &a, vec![1]).await,
        Err(JournalError::LeaseLost)
    );
    assert!(secrets.put(Secret::new("late")).await.is_err());
    assert_eq!(server.sql("SELECT count(*) FROM vsiflow.secrets"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_examined() {
    let server = Server::with(&["synchronous_commit=off"]);
    let found = findings::of(&server.journal("a")).await.unwrap();
    let grave: Vec<_> = found.iter().filter(|found| found.grave).collect();
    assert_eq!(grave.len(), 2, "fsync is off in tests, too: {found:?}");
}
