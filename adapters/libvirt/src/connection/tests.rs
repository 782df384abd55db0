//! Tests of a connection against a fake peer.

mod calls;
mod closing;
mod events;
mod keep_alive;
mod memory;
mod streams;

use std::sync::LazyLock;
use std::time::Duration;

use super::*;
use crate::protocol::{RemoteDomain, StorageVol, Uuid};

const SECOND: Duration = Duration::from_secs(1);

fn domain(name: &str) -> RemoteDomain {
    RemoteDomain {
        name: name.to_owned(),
        uuid: Uuid(uuid::Uuid::from_u128(7)),
        id: -1,
    }
}

fn volume() -> &'static StorageVol {
    static VOLUME: LazyLock<StorageVol> = LazyLock::new(|| StorageVol {
        pool: "images".to_owned(),
        name: "v".to_owned(),
        key: "/v".to_owned(),
    });
    &VOLUME
}

/// Waits until a condition holds; time is virtual in these tests.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}
