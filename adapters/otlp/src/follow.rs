//! From the journal to a collector, page by page.

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

/// Events that are read, and so spans that are sent, at a time.
const PAGE: usize = 512;
/// Waits between attempts at a collector that is away.
const SOON: Duration = Duration::from_secs(1);
const LATE: Duration = Duration::from_secs(60);
/// A notice may have been missed.
const LOOK: Duration = Duration::from_secs(5);
/// Spans that end about the same time go together.
const GATHER: Duration = Duration::from_millis(500);
/// Names of entities that are remembered; of more, all are forgotten.
const REMEMBERED: usize = 10_000;

/// What an export came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportedSpans {
    /// Spans that were sent.
    pub spans: u64,
    /// Of these, the ones that the collector did not want.
    pub rejected: u64,
    /// The offset behind the last event that was read.
    pub end: Offset,
}

/// Why an export ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The journal cannot be read.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The collector does not take them.
    #[error(transparent)]
    Collector(#[from] OtlpError),
}

/// The spans of events, in the journal's order.
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

    /// Those of the next page; none at the end.
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

    /// The name of a VSI; everything else goes by its own ID.
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

/// Sends the spans of everything that is recorded from an offset on.
///
/// # Errors
/// When the journal cannot be read or the collector does not take them; those before are sent then.
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

/// What is worth telling a person of an export that goes on. Each is told once, however long it lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExportNotice {
    /// The collector takes nothing for now; what is recorded meanwhile is sent later.
    Away(String),
    /// It takes spans again.
    Back,
    /// It refused some for good, with its words.
    Refused(String),
    /// The journal, or the note of what was sent, cannot be read or written.
    Trouble(String),
}

/// Sends the spans of what is recorded, for good. It begins where the export before ended, by the note in `position`; where there is
/// none, at the offset `first`. Cancel safe: a batch that was on its way is sent again.
pub async fn follow(
    fleet: &Fleet,
    collector: &Collector,
    (position, first): (&Path, Offset),
    mut tell: impl FnMut(ExportNotice),
) {
    let mut notices = fleet.notices();
    let end = fleet.history().end();
    let mut note = Position::read(position, collector, (first, end)).await;
    let mut told_trouble = false;
    loop {
        match batch(fleet, collector, &mut note, &mut notices, &mut tell).await {
            Ok(()) => return,
            Err(error) => {
                if !std::mem::replace(&mut told_trouble, true) {
                    tell(ExportNotice::Trouble(error));
                }
                tokio::time::sleep(LATE).await;
            }
        }
    }
}

/// Page after page, until the engine ends.
async fn batch(
    fleet: &Fleet,
    collector: &Collector,
    note: &mut Position,
    notices: &mut Receiver<Notice>,
    tell: &mut impl FnMut(ExportNotice),
) -> Result<(), String> {
    let text = |error: FleetError| error.to_string();
    let mut spans = Spans::from(fleet, note.next).map_err(text)?;
    // Where it begins counts also if nothing is ever sent before the next start.
    note.put_down().await?;
    loop {
        let Some(page) = spans.page().await.map_err(text)? else {
            match woken(notices).await {
                Some(()) => continue,
                None => return Ok(()),
            }
        };
        if !page.is_empty() {
            sent(collector, &page, tell).await;
        }
        note.next = spans.events.from();
        note.put_down().await?;
    }
}

/// Waits until something may have been recorded, and a moment for what comes with it. None when the engine ended.
async fn woken(notices: &mut Receiver<Notice>) -> Option<()> {
    loop {
        match tokio::time::timeout(LOOK, notices.recv()).await {
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

/// Sends until it is sent, or refused for good.
async fn sent(collector: &Collector, page: &[Span], tell: &mut impl FnMut(ExportNotice)) {
    let (mut wait, mut away) = (SOON, false);
    loop {
        match collector.send(page).await {
            Ok(rejected) => {
                if away {
                    tell(ExportNotice::Back);
                }
                if rejected > 0 {
                    let of = page.len();
                    tell(ExportNotice::Refused(format!("{rejected} of {of} spans")));
                }
                return;
            }
            Err(why @ OtlpError::Refused { .. }) => {
                return tell(ExportNotice::Refused(why.to_string()));
            }
            Err(OtlpError::Later { after, why, .. }) => {
                if !std::mem::replace(&mut away, true) {
                    tell(ExportNotice::Away(why));
                }
                tokio::time::sleep(after.unwrap_or(wait).max(SOON)).await;
                wait = wait.saturating_mul(2).min(LATE);
            }
        }
    }
}

/// Until where spans were sent to whom.
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
    /// Another collector, another journal, or a note that cannot be read: from the first one on.
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

    async fn put_down(&self) -> Result<(), String> {
        let written = self.write().await;
        let file = self.file.display();
        written.map_err(|error| format!("{file} cannot be written: {error}"))
    }

    /// Written anew and put in its place: a crash leaves the old one or the new one. It is not synced: an old one means that some
    /// spans are sent again.
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
