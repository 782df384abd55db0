//! Keeps the file for `Include` up to date, once somebody had it written.

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

/// What happens within so long is written at once.
const TOGETHER: Duration = Duration::from_millis(20);
/// At the latest after so long every entry is made anew: the way to a host may be another by then.
const AT_LEAST: Duration = Duration::from_secs(15);
/// After a writing at least so many times its length passes: a fleet that changes all the time costs little.
const REST: u32 = 4;

/// Continues until it is dropped. Cancel safe: the file is replaced whole.
pub(crate) async fn keep(app: &App) -> Infallible {
    let mut notices = app.fleet.notices();
    let mut addresses = app.fleet.networks().seen_addresses();
    let mut entries = Entries::default();
    loop {
        let begun = Instant::now();
        written(app, &mut entries).await;
        sleep(begun.elapsed().saturating_mul(REST)).await;
        let changed = async {
            tokio::select! {
                () = recorded(&mut notices) => {}
                Ok(()) = addresses.changed() => {}
            }
        };
        let _ = timeout(AT_LEAST, changed).await;
        sleep(TOGETHER).await;
    }
}

/// Returns when something is recorded that may change an entry.
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

/// Writes the file anew, where there is one. Whatever goes wrong is said, and keeps nothing else from being done.
pub(crate) async fn refresh(app: &App) {
    written(app, &mut Entries::default()).await;
}

/// The entries that were made before. An object that has not changed is the very same one.
#[derive(Default)]
struct Entries {
    known: HashMap<String, (Arc<VsiSummary>, String)>,
    since: Option<Instant>,
}

impl Entries {
    fn render(&mut self, app: &App, all: &[Arc<VsiSummary>]) -> String {
        if self.since.is_none_or(|since| since.elapsed() >= AT_LEAST) {
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

/// What an entry is made of, as `get -o json` has it.
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
