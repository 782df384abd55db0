//! Reports transitions that an earlier process may not have reported before it ended.

use std::{sync::Arc, time::Duration};

use k8s_openapi::jiff::Timestamp;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;
use vsiflow_engine::model;
use vsiflow_workflows::{fleet::Fleet, record::vsi_entity};

use crate::{
    events::{EventNote, event_note},
    resource_cache::ResourceCache,
};

/// Earlier transitions are reported once everything was listed, or after this time.
const LISTING: Duration = Duration::from_secs(60);
/// Transitions from this long before a start may not have been reported.
const UNREPORTED: Duration = Duration::from_secs(600);
/// When transitions that could not be read are read again.
const RETRY: Duration = Duration::from_secs(5);

/// Reports the last transitions of all VSIs, once they are listed.
pub(super) async fn report(
    cache: Arc<ResourceCache>,
    fleet: Fleet,
    sender: mpsc::Sender<EventNote>,
) {
    let mut changes = cache.changes();
    // A namespace that cannot be listed must not delay the Events of the others.
    let listed = async {
        changes.wait_for(|_| cache.is_complete()).await?;
        cache.members_set().await;
        Ok::<_, watch::error::RecvError>(())
    };
    if let Ok(Err(_)) = timeout(LISTING, listed).await {
        return;
    }
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
    let unreported = u64::try_from(UNREPORTED.as_millis()).unwrap_or_default();
    let since = model::Timestamp(now.saturating_sub(unreported));
    let mut unread = cache.uids_of_vsis();
    let until = Instant::now() + UNREPORTED;
    while !unread.is_empty() && Instant::now() < until {
        let Some(failed) = report_since(since, unread, &fleet, &sender).await else {
            return;
        };
        unread = failed;
        if !unread.is_empty() {
            sleep(RETRY).await;
        }
    }
}

/// Reports the transitions of these VSIs since a moment. Returns those whose transitions could not be read; `None` once
/// nothing takes reports any more.
async fn report_since(
    since: model::Timestamp,
    vsis: Vec<Uuid>,
    fleet: &Fleet,
    sender: &mpsc::Sender<EventNote>,
) -> Option<Vec<Uuid>> {
    let mut failed = Vec::new();
    for uid in vsis {
        let Ok(entity) = vsi_entity(uid) else {
            continue;
        };
        let Ok(records) = fleet.history().recorded_of(&entity, since).await else {
            failed.push(uid);
            continue;
        };
        for note in records.iter().filter_map(|record| event_note(uid, record)) {
            sender.send(note).await.ok()?;
        }
    }
    Some(failed)
}
