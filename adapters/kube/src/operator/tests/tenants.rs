//! Namespaces that do not trust one another, and a process that must not look healthy when it is not.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use tokio::time::Instant;
use vsiflow_workflows::spec::Permits;

use super::{fault, rig::Rig};
use crate::{OperatorEnd, sample::uid};

const HOST: &str = "root@lpar1.example.com:22";

/// Settings of the one host, and a VSI there.
fn tenant(rig: &Rig, place: &str, number: u8, known: &str) {
    settings(rig, place, number, known);
    let name = format!("{place}web");
    rig.vsi_with(
        &name,
        number,
        json!({"targetSelector": {"matchLabels": {"config": "lpar1"}}}),
    );
}

fn settings(rig: &Rig, place: &str, number: u8, known: &str) {
    let map = json!({
        "metadata": {"labels": {"config": "lpar1"}},
        "data": {"HOSTNAME": "lpar1.example.com", "KNOWN_HOSTS": known},
    });
    let name = format!("{place}lpar1");
    rig.server
        .apply("configmaps", &name, uid(100 + number), map);
}

fn accepted(rig: &Rig, name: &str) -> Value {
    rig.condition(name, "Accepted")
}

fn known(rig: &Rig) -> String {
    let settings = rig.settings(HOST).unwrap();
    settings.record.known_hosts().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_namespace_does_not_take_anothers_host_over_restarts_either() {
    let mut rig = Rig::of_tenants().await;
    tenant(&rig, "", 1, "h ssh-ed25519 A");
    rig.until_ready("web").await;
    tenant(&rig, "b/", 2, "h ssh-ed25519 B");
    rig.until("it is refused", || {
        accepted(&rig, "b/web")["reason"] == "VSI0612"
    })
    .await;
    rig.until("the other one is warned", || {
        rig.status("web")["warnings"]
            .to_string()
            .contains("namespace b")
    })
    .await;
    assert_eq!(known(&rig), "h ssh-ed25519 A");
    // The namespace that owned the host is missing when the process restarts.
    rig.server.lose("configmaps", "lpar1");
    rig.restart().await;
    rig.settle().await;
    assert_eq!(accepted(&rig, "b/web")["reason"], "VSI0612");
    assert!(
        rig.settings(HOST)
            .is_none_or(|host| host.namespace.as_deref() == Some("default"))
    );
    assert_eq!(rig.runs(), 1);
    settings(&rig, "", 1, "h ssh-ed25519 A");
    rig.settle().await;
    assert_eq!(known(&rig), "h ssh-ed25519 A");
    // Once nothing of that namespace is left on the host, another one may own it.
    rig.server.delete("onprem-hpcrs", "web");
    rig.until("it is gone", || {
        rig.server.get("onprem-hpcrs", "web").is_none()
    })
    .await;
    rig.until_ready("b/web").await;
    assert_eq!(known(&rig), "h ssh-ed25519 B");
}

/// Panics on request.
struct Trap(AtomicBool);

impl Permits for Trap {
    fn file(&self, _: &Path) -> Result<(), String> {
        Ok(())
    }

    fn image(&self, _: &str) -> Result<(), String> {
        assert!(!self.0.load(Ordering::Relaxed), "planted");
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_part_that_panics_ends_all_of_it() {
    let mut rig = Rig::new().await;
    let trap = Arc::new(Trap(AtomicBool::new(false)));
    rig.permits = trap.clone();
    rig.restart().await;
    rig.vsi("web", 1);
    rig.until_ready("web").await;
    trap.0.store(true, Ordering::Relaxed);
    rig.vsi("db", 2);
    let ended = tokio::time::timeout(Duration::from_secs(60), rig.ended()).await;
    assert!(matches!(ended, Ok(OperatorEnd::Defect(_))), "{ended:?}");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_takes_no_events_holds_up_no_other() {
    let rig = Rig::of_tenants().await;
    let refused: &[&str] = &["POST", "/namespaces/b/events"];
    rig.server.fail(fault(refused, 403, usize::MAX));
    for number in 1..=10 {
        tenant_named(&rig, "b/", number);
    }
    rig.until("status writes are refused", || {
        rig.server.requests(refused) >= 10
    })
    .await;
    let begun = Instant::now();
    tenant(&rig, "", 50, "h ssh-ed25519 A");
    rig.until_ready("web").await;
    rig.until("it is reported", || {
        rig.reasons().iter().any(|one| one == "Running")
    })
    .await;
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
}

fn tenant_named(rig: &Rig, place: &str, number: u8) {
    settings(rig, place, 1, "h ssh-ed25519 A");
    let name = format!("{place}web-{number}");
    rig.vsi_with(
        &name,
        number,
        json!({"targetSelector": {"matchLabels": {"config": "lpar1"}}}),
    );
}
