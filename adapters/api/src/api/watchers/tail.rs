//! The newest events, read and serialized once for all readers that follow them.
//!
//! One task reads the journal as events are recorded, as long as there are followers. All of them
//! receive the same bytes. Only a bounded number of pages is held: a reader that falls behind reads the
//! journal itself, so that nothing is lost and a slow reader does not delay the others. After a quiet
//! time a page is sent immediately; under load, events are gathered for a moment first, because each
//! page wakes every reader.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use axum::body::Bytes;
use tokio::{
    sync::broadcast::{self, Receiver, Sender},
    task::AbortHandle,
    time::{Duration, Instant, sleep_until, timeout},
};
use vsiflow_engine::{Notice, journal::Offset};
use vsiflow_workflows::fleet::{EventReader, Fleet, FleetError, HistoryLine};

/// Pages that are held for readers that have not received them yet.
const HELD: usize = 16;
/// Maximum number of events in a page.
const PAGE: usize = 256;
/// How long after a page events are gathered for the next one.
const GATHER: Duration = Duration::from_millis(20);
/// How often the journal is checked without a notice, because one may have been missed.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Consecutive events.
#[derive(Clone, Debug)]
pub(crate) struct TailPage {
    /// The offset of the first event, and the one after the last.
    pub(crate) from: Offset,
    pub(crate) next: Offset,
    /// The serialized events.
    bytes: Bytes,
    /// The position of each event in `bytes`.
    begins: Arc<[(Offset, usize)]>,
}

impl TailPage {
    fn of(from: Offset, next: Offset, lines: &[HistoryLine]) -> Self {
        let (mut bytes, mut begins) = (Vec::new(), Vec::new());
        for line in lines {
            begins.push((line.offset, bytes.len()));
            write(line, &mut bytes);
        }
        Self {
            from,
            next,
            bytes: bytes.into(),
            begins: begins.into(),
        }
    }

    /// The events from an offset on: a reader that read the journal itself may have some of these
    /// already.
    pub(crate) fn following(&self, next: Offset) -> Bytes {
        let at = self.begins.partition_point(|(offset, _)| *offset < next);
        let begin = self.begins.get(at).map(|(_, begin)| *begin);
        self.bytes.slice(begin.unwrap_or(self.bytes.len())..)
    }
}

/// The task that reads the journal; it runs until this is dropped.
pub(crate) struct Tail {
    /// Never received from; only resubscribed.
    pages: Receiver<TailPage>,
    task: AbortHandle,
}

impl Tail {
    fn of(fleet: &Fleet) -> Result<Arc<Self>, FleetError> {
        let (sender, pages) = broadcast::channel(HELD);
        // Subscribed before reading, so that everything that is recorded from now on wakes the task.
        let notices = fleet.notices();
        let events = fleet.history().events(fleet.history().end())?;
        let task = tokio::spawn(follow(events, notices, sender)).abort_handle();
        Ok(Arc::new(Self { pages, task }))
    }

    /// Every page from now on. It ends with the engine, or if the journal cannot be read.
    pub(crate) fn pages(&self) -> Receiver<TailPage> {
        self.pages.resubscribe()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The current tail, if it has followers.
#[derive(Default)]
pub(super) struct Tails(Mutex<Weak<Tail>>);

impl Tails {
    pub(super) fn join(&self, fleet: &Fleet) -> Result<Arc<Tail>, FleetError> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tail) = known.upgrade().filter(|tail| !tail.task.is_finished()) {
            return Ok(tail);
        }
        let tail = Tail::of(fleet)?;
        *known = Arc::downgrade(&tail);
        Ok(tail)
    }
}

async fn follow(mut events: EventReader, mut notices: Receiver<Notice>, pages: Sender<TailPage>) {
    let mut gathered = Instant::now();
    loop {
        let from = events.from();
        match events.page(PAGE).await {
            Ok(lines) if lines.is_empty() => {
                if woken(&mut notices, from).await.is_none() {
                    return;
                }
                sleep_until(gathered).await;
            }
            Ok(lines) => {
                let page = TailPage::of(from, events.from(), &lines);
                // `pages` of the tail is itself a receiver, so this never fails.
                let _ = pages.send(page);
                gathered = Instant::now() + GATHER;
            }
            Err(error) => return tracing::warn!(%error, "events end"),
        }
    }
}

/// Waits until an event from that offset on may have been recorded. None if the engine ended.
async fn woken(notices: &mut Receiver<Notice>, from: Offset) -> Option<()> {
    let recorded = async {
        loop {
            match notices.recv().await {
                Ok(Notice::Recorded(record)) if record.offset < from => {}
                Ok(Notice::Recorded(_)) | Err(broadcast::error::RecvError::Lagged(_)) => {
                    return Some(());
                }
                Ok(Notice::Ended) | Err(broadcast::error::RecvError::Closed) => return None,
                Ok(_) => {}
            }
        }
    };
    timeout(POLL_INTERVAL, recorded).await.unwrap_or(Some(()))
}

/// Serializes events for readers.
pub(crate) fn written(lines: &[HistoryLine]) -> Bytes {
    let mut bytes = Vec::new();
    lines.iter().for_each(|line| write(line, &mut bytes));
    bytes.into()
}

fn write(line: &HistoryLine, bytes: &mut Vec<u8>) {
    let head = format!("id: {}\nevent: {}\ndata: ", line.offset, line.kind);
    bytes.extend(head.into_bytes());
    bytes.extend(serde_json::to_vec(line).unwrap_or_default());
    bytes.extend(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_gets_of_a_page_what_it_has_not() {
        let line = |offset: Offset| HistoryLine {
            offset,
            kind: "desired".to_owned(),
            ..HistoryLine::default()
        };
        // An offset without an event is reported at the first event after it.
        let lines: Vec<_> = [7, 8, 10].map(line).into();
        let page = TailPage::of(7, 11, &lines);
        for (next, expected) in [
            (3, &lines[..]),
            (7, &lines),
            (8, &lines[1..]),
            (9, &lines[2..]),
        ] {
            assert_eq!(page.following(next), written(expected), "{next}");
        }
        assert!(page.following(11).is_empty());
    }
}
