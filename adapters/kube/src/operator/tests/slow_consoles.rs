//! Console logs of hosts that answer late.

use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::{task::JoinSet, time::Instant};

use super::rig::Rig;
use crate::{sample::uid, subresources::Subresources};

/// As many as there are turns of the API of subresources.
const ALL_TURNS: usize = 32;
/// Just below the limit of one read.
const LATE: Duration = Duration::from_secs(39);

/// A VSI on a host of its own namespace.
fn tenant(rig: &Rig, place: &str, number: u8) {
    let host = format!("lpar{number}");
    let map = json!({
        "metadata": {"labels": {"config": host}},
        "data": {"HOSTNAME": format!("{host}.example.com"), "KNOWN_HOSTS": format!("h ssh-ed25519 {number}")},
    });
    rig.server.apply(
        "configmaps",
        &format!("{place}{host}"),
        uid(100 + number),
        map,
    );
    let selector = json!({"targetSelector": {"matchLabels": {"config": host}}});
    rig.vsi_with(&format!("{place}web"), number, selector);
}

/// How long a VSI's whole log takes.
async fn log_of(subresources: &Subresources, namespace: &str) -> Duration {
    let begun = Instant::now();
    let answer = subresources.logs_of(namespace, "web").await;
    assert_eq!(answer.status(), StatusCode::OK, "{namespace}");
    let log = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(!log.is_empty());
    begun.elapsed()
}

#[tokio::test(start_paused = true)]
async fn logs_of_one_namespaces_slow_host_hold_no_turn_of_another() {
    let rig = Rig::of_tenants().await;
    tenant(&rig, "", 1);
    tenant(&rig, "b/", 2);
    rig.until_ready("web").await;
    rig.until_ready("b/web").await;
    let alone = log_of(&rig.subresources, "default").await;
    rig.slow_console("root@lpar2.example.com:22", LATE);
    let mut slow = JoinSet::new();
    for _ in 0..ALL_TURNS {
        let subresources = rig.subresources.clone();
        slow.spawn(async move { subresources.logs_of("b", "web").await.status() });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let beside = log_of(&rig.subresources, "default").await;
    assert!(
        beside <= alone * 2 + Duration::from_secs(2),
        "{beside:?} instead of {alone:?}"
    );
    assert_eq!(
        slow.try_join_next().map(Result::unwrap),
        None,
        "none is over"
    );
    let answers = slow.join_all().await;
    let are_read = answers.iter().filter(|status| **status == StatusCode::OK);
    assert!(are_read.count() > 0, "{answers:?}");
}
