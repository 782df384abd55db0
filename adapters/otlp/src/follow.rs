//! Exports the spans of a journal to a collector, page by page.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use vsiflow_engine::{Notice, journal::Offset};
use vsiflow_workflows::fleet::{EventReader, Fleet, FleetError, HistoryLine};

use crate::{
    collector::{Collector, OtlpError},
    spans::{self, Span},
};

/// The number of events read, and so the maximum number of spans sent, at a time.
const PAGE: usize = 512;
/// The first and the longest delay between attempts at an unavailable collector.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const MAX_DELAY: Duration = Duration::from_secs(60);
/// How often the journal is checked without a notice, because one may have been missed.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// How long to wait for more spans after one ended, to send them together.
const GATHER: Duration = Duration::from_millis(500);
/// The number of cached names of entities; when it is exceeded, the cache is cleared.
const REMEMBERED: usize = 10_000;

/// The result of an export.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportedSpans {
    /// Spans that were sent.
    pub spans: u64,
    /// Sent spans that the collector rejected.
    pub rejected: u64,
    /// The offset after the last event that was read.
    pub end: Offset,
}

/// Error: an export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The journal cannot be read.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The collector does not accept spans.
    #[error(transparent)]
    Collector(#[from] OtlpError),
}

/// Reads the spans of events, in the journal's order.
struct Spans {
    fleet: Fleet,
    events: EventReader,
    names: BTreeMap<String, String>,
}

impl Spans {
    fn from(fleet: &Fleet, from: Offset) -> Result<Self, FleetError> {
        Ok(Self {
            fleet: fleet.clone(),
            events: fleet.history().events(from)?,
            names: BTreeMap::new(),
        })
    }

    /// The spans of the next page; none at the end.
    async fn page(&mut self) -> Result<Option<Vec<Span>>, FleetError> {
        let lines = self.events.page(PAGE).await?;
        if lines.is_empty() {
            return Ok(None);
        }
        let mut all = Vec::new();
        for line in &lines {
            let object = self.name(line).await;
            all.extend(span(line, &object));
        }
        Ok(Some(all))
    }

    /// The name of a VSI; other entities keep their IDs.
    async fn name(&mut self, line: &HistoryLine) -> String {
        if line.run.is_none() {
            return String::new();
        }
        if let Some(name) = self.names.get(&line.entity) {
            return name.clone();
        }
        let title = match line.entity.parse() {
            Ok(entity) => self.fleet.title(&entity).await.ok().flatten(),
            Err(_) => None,
        };
        let name = match title {
            Some((namespace, name)) if namespace == "default" => format!("vsi/{name}"),
            Some((namespace, name)) => format!("vsi/{namespace}/{name}"),
            None => line.entity.clone(),
        };
        if self.names.len() >= REMEMBERED {
            self.names.clear();
        }
        self.names.insert(line.entity.clone(), name.clone());
        name
    }
}

fn span(line: &HistoryLine, object: &str) -> Option<Span> {
    let time = line.time.parse::<jiff::Timestamp>().ok()?;
    let time = u64::try_from(time.as_millisecond()).ok()?;
    spans::span(line, object, time)
}

/// Sends the spans of all recorded events, from an offset.
///
/// # Errors
/// If the journal cannot be read, or the collector does not accept spans; the preceding spans are sent
/// then.
pub async fn past(
    fleet: &Fleet,
    collector: &Collector,
    from: Offset,
) -> Result<ExportedSpans, ExportError> {
    let end = fleet.history().end();
    let mut spans = Spans::from(fleet, from)?;
    let mut exported = ExportedSpans {
        end: from,
        ..ExportedSpans::default()
    };
    while exported.end < end {
        let Some(page) = spans.page().await? else {
            break;
        };
        if !page.is_empty() {
            let rejected = collector.send(&page).await?;
            exported.rejected = exported.rejected.saturating_add(rejected);
            let sent = u64::try_from(page.len()).unwrap_or(u64::MAX);
            exported.spans = exported.spans.saturating_add(sent);
        }
        exported.end = spans.events.from();
    }
    Ok(exported)
}

/// Notices of a running export for the user. Each condition is reported once, however long it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportNotice {
    /// The collector is unavailable; new spans are sent later.
    Away(String),
    /// The collector accepts spans again.
    Back,
    /// The collector rejected spans, with its answer.
    Refused(String),
    /// The journal or the position file cannot be read or written.
    Trouble(String),
}

/// Sends the spans of events as they are recorded, without end. It begins where the previous export
/// ended, by the file `position`; without one, at the offset `first`. Cancel safe: an interrupted batch
/// is sent again.
pub async fn follow(
    fleet: &Fleet,
    collector: &Collector,
    (position, first): (&Path, Offset),
    mut notify: impl FnMut(ExportNotice),
) {
    let mut notices = fleet.notices();
    let end = fleet.history().end();
    let mut note = Position::read(position, collector, (first, end)).await;
    let mut trouble_reported = false;
    loop {
        match batch(fleet, collector, &mut note, &mut notices, &mut notify).await {
            Ok(()) => return,
            Err(error) => {
                if !std::mem::replace(&mut trouble_reported, true) {
                    notify(ExportNotice::Trouble(error));
                }
                tokio::time::sleep(MAX_DELAY).await;
            }
        }
    }
}

/// Exports page after page until the engine ends.
async fn batch(
    fleet: &Fleet,
    collector: &Collector,
    note: &mut Position,
    notices: &mut Receiver<Notice>,
    notify: &mut impl FnMut(ExportNotice),
) -> Result<(), String> {
    let text = |error: FleetError| error.to_string();
    let mut spans = Spans::from(fleet, note.next).map_err(text)?;
    // Stored first, so that the next start begins here even if nothing is sent before.
    note.store().await?;
    loop {
        let Some(page) = spans.page().await.map_err(text)? else {
            match woken(notices).await {
                Some(()) => continue,
                None => return Ok(()),
            }
        };
        if !page.is_empty() {
            sent(collector, &page, notify).await;
        }
        note.next = spans.events.from();
        note.store().await?;
    }
}

/// Waits until an event may have been recorded, and a moment for more. None if the engine ended.
async fn woken(notices: &mut Receiver<Notice>) -> Option<()> {
    loop {
        match tokio::time::timeout(POLL_INTERVAL, notices.recv()).await {
            Ok(Ok(Notice::Recorded(_)) | Err(RecvError::Lagged(_))) => {
                tokio::time::sleep(GATHER).await;
                return Some(());
            }
            Ok(Ok(Notice::Ended) | Err(RecvError::Closed)) => return None,
            Ok(Ok(_)) => {}
            Err(_) => return Some(()),
        }
    }
}

/// Retries until the page is sent, or rejected permanently.
async fn sent(collector: &Collector, page: &[Span], notify: &mut impl FnMut(ExportNotice)) {
    let (mut wait, mut away) = (FIRST_DELAY, false);
    loop {
        match collector.send(page).await {
            Ok(rejected) => {
                if away {
                    notify(ExportNotice::Back);
                }
                if rejected > 0 {
                    let of = page.len();
                    notify(ExportNotice::Refused(format!("{rejected} of {of} spans")));
                }
                return;
            }
            Err(why @ OtlpError::Refused { .. }) => {
                return notify(ExportNotice::Refused(why.to_string()));
            }
            Err(OtlpError::Later { after, why, .. }) => {
                if !std::mem::replace(&mut away, true) {
                    notify(ExportNotice::Away(why));
                }
                tokio::time::sleep(after.unwrap_or(wait).max(FIRST_DELAY)).await;
                wait = wait.saturating_mul(2).min(MAX_DELAY);
            }
        }
    }
}

/// The position of an export: collector and next offset.
struct Position {
    file: PathBuf,
    endpoint: String,
    next: Offset,
}

#[derive(Serialize, Deserialize)]
struct Noted {
    endpoint: String,
    next: Offset,
}

impl Position {
    /// Reads the position. For another collector, another journal, or an unreadable file it is the first
    /// offset.
    async fn read(file: &Path, collector: &Collector, (first, end): (Offset, Offset)) -> Self {
        let endpoint = collector.endpoint().to_string();
        let bytes = tokio::fs::read(file).await.unwrap_or_default();
        let noted = serde_json::from_slice::<Noted>(&bytes).ok();
        let noted = noted.filter(|noted| noted.endpoint == endpoint && noted.next <= end);
        Self {
            file: file.to_owned(),
            endpoint,
            next: noted.map_or(first.min(end), |noted| noted.next),
        }
    }

    async fn store(&self) -> Result<(), String> {
        let written = self.write().await;
        let file = self.file.display();
        written.map_err(|error| format!("{file} cannot be written: {error}"))
    }

    /// Writes a new file and renames it: a crash leaves the old one or the new one. It is not synced:
    /// with an old one, some spans are sent again.
    async fn write(&self) -> std::io::Result<()> {
        let noted = Noted {
            endpoint: self.endpoint.clone(),
            next: self.next,
        };
        let new = self.file.with_extension("new");
        tokio::fs::write(&new, serde_json::to_vec(&noted)?).await?;
        tokio::fs::rename(&new, &self.file).await
    }
}
