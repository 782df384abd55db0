//! Updates the file for `Include` in `~/.ssh/config`, if the user had it written.

use std::{collections::HashMap, convert::Infallible, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Instant, sleep, timeout},
};
use vsiflow_engine::{Notice, model::EventKind};
use vsiflow_workflows::fleet::VsiSummary;

use super::config;
use crate::{compose::App, output};

/// Changes within this time are written together.
const BATCH_DELAY: Duration = Duration::from_millis(20);
/// How often all entries are made again at the latest: the way to a host may have changed.
const MAX_AGE: Duration = Duration::from_secs(15);
/// The pause after writing, as a multiple of its duration, so that a fleet with constant changes costs
/// little.
const REST_FACTOR: u32 = 4;

/// Updates the file until dropped. Cancel safe: the file is replaced atomically.
pub(crate) async fn keep(app: &App) -> Infallible {
    let mut notices = app.fleet.notices();
    let mut addresses = app.fleet.networks().seen_addresses();
    let mut entries = Entries::default();
    loop {
        let begun = Instant::now();
        written(app, &mut entries).await;
        sleep(begun.elapsed().saturating_mul(REST_FACTOR)).await;
        let changed = async {
            tokio::select! {
                () = recorded(&mut notices) => {}
                Ok(()) = addresses.changed() => {}
            }
        };
        let _ = timeout(MAX_AGE, changed).await;
        sleep(BATCH_DELAY).await;
    }
}

/// Returns when an event is recorded that may change an entry.
async fn recorded(notices: &mut Receiver<Notice>) {
    loop {
        match notices.recv().await {
            Ok(Notice::Recorded(record)) => match record.event.kind {
                EventKind::StateChanged { .. } | EventKind::RunClosed { .. } => return,
                _ => {}
            },
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Updates the file if it exists. Errors are reported, and stop nothing else.
pub(crate) async fn refresh(app: &App) {
    written(app, &mut Entries::default()).await;
}

/// The entries made before. An unchanged VSI has the same `Arc`.
#[derive(Default)]
struct Entries {
    known: HashMap<String, (Arc<VsiSummary>, String)>,
    since: Option<Instant>,
}

impl Entries {
    fn render(&mut self, app: &App, all: &[Arc<VsiSummary>]) -> String {
        if self.since.is_none_or(|since| since.elapsed() >= MAX_AGE) {
            (self.known, self.since) = (HashMap::new(), Some(Instant::now()));
        }
        let mut before = std::mem::take(&mut self.known);
        let mut text = config::HEAD.to_owned();
        for vsi in all {
            let entry = match before.remove(&vsi.metadata.uid) {
                Some((same, entry)) if Arc::ptr_eq(&same, vsi) => entry,
                _ => config::entry_of(&object(app, vsi), app.state_path()),
            };
            text.push_str(&entry);
            let known = (vsi.clone(), entry);
            self.known.insert(vsi.metadata.uid.clone(), known);
        }
        text
    }
}

async fn written(app: &App, entries: &mut Entries) {
    let state = app.state_path();
    let path = config::path(state);
    if tokio::fs::symlink_metadata(&path).await.is_err() {
        return;
    }
    let written = async {
        let all = app.fleet.vsis().summaries(false).await;
        let all = all.map_err(|error| error.to_string())?;
        let text = entries.render(app, &all);
        config::write(&path, &text).await.map_err(|e| e.to_string())
    };
    if let Err(why) = written.await {
        output::warning(&format!("{} is not up to date: {why}", path.display()));
    }
}

/// The fields that an entry is made from, in the form of `get -o json`.
fn object(app: &App, vsi: &VsiSummary) -> Value {
    let metadata = &vsi.metadata;
    json!({
        "metadata": {
            "name": metadata.name, "namespace": metadata.namespace, "uid": metadata.uid,
        },
        "status": {
            "host": vsi.host,
            "hostJumps": app.fleet.vsis().jumps_to(&vsi.host),
            "ipAddresses": vsi.ip_addresses,
        },
    })
}
