//! Keeps the file for `Include` up to date, once somebody had it written.

use std::{convert::Infallible, time::Duration};

use tokio::{
    sync::broadcast::error::RecvError,
    time::{Instant, sleep, timeout},
};
use vsiflow_engine::{Notice, model::EventKind};

use super::config;
use crate::{compose::App, output};

/// What happens within so long is written at once.
const TOGETHER: Duration = Duration::from_millis(20);
/// Addresses that a look at a host found come without an event: at the latest after so long they are in the file.
const AT_LEAST: Duration = Duration::from_secs(15);
/// After a writing at least so many times its length passes: a fleet that changes all the time costs little.
const REST: u32 = 20;

/// Goes on until it is dropped. Cancel safe: the file is replaced whole.
pub(crate) async fn keep(app: &App) -> Infallible {
    let mut notices = app.fleet.notices();
    loop {
        let begun = Instant::now();
        refresh(app).await;
        sleep(begun.elapsed().saturating_mul(REST)).await;
        let changed = async {
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
        };
        let _ = timeout(AT_LEAST, changed).await;
        sleep(TOGETHER).await;
    }
}

/// Writes the file anew, where there is one. Whatever goes wrong is said, and keeps nothing else from being done.
pub(crate) async fn refresh(app: &App) {
    let state = app.state_path();
    let path = config::path(state);
    if tokio::fs::symlink_metadata(&path).await.is_err() {
        return;
    }
    let written = async {
        let objects = app.fleet.vsis(false).await.map_err(|e| e.to_string())?;
        let objects: Result<Vec<_>, _> = objects.iter().map(serde_json::to_value).collect();
        let text = config::render(&objects.map_err(|e| e.to_string())?, state);
        config::write(&path, &text).await.map_err(|e| e.to_string())
    };
    if let Err(why) = written.await {
        output::warning(&format!("{} is not up to date: {why}", path.display()));
    }
}
