//! The newest events, read and written down once for all who follow them.
//!
//! One task reads the journal as events are recorded, as long as somebody follows. What it read goes to everybody as the same
//! bytes. Only a bounded number of pages is held: whoever falls behind them reads the journal again, so that nothing is lost
//! and one who is slow holds up nobody. A page follows at once on an event after a quiet time; where many come, they are gathered
//! for a moment, as each page wakes every reader.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use axum::body::Bytes;
use tokio::{
    sync::broadcast::{self, Receiver, Sender},
    task::AbortHandle,
    time::{Duration, Instant, sleep_until, timeout},
};
use vsiflow_engine::{Notice, journal::Offset};
use vsiflow_workflows::fleet::{EventReader, Fleet, FleetError, HistoryLine};

/// Pages that are held for those who have not taken them yet.
const HELD: usize = 16;
/// Events in one of them.
const PAGE: usize = 256;
/// How long after a page events are gathered for the next one.
const GATHER: Duration = Duration::from_millis(20);
/// A notice may have been missed.
const LOOK: Duration = Duration::from_secs(5);

/// Events that follow one another.
#[derive(Clone, Debug)]
pub(crate) struct TailPage {
    /// The offset of the first, and the one behind the last.
    pub(crate) from: Offset,
    pub(crate) next: Offset,
    /// As readers get them.
    bytes: Bytes,
    /// Where each of them begins there.
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

    /// What follows on an offset: a reader that read the journal itself had some of these perhaps, and not all.
    pub(crate) fn following(&self, next: Offset) -> Bytes {
        let at = self.begins.partition_point(|(offset, _)| *offset < next);
        let begin = self.begins.get(at).map(|(_, begin)| *begin);
        self.bytes.slice(begin.unwrap_or(self.bytes.len())..)
    }
}

/// The task, as long as somebody holds this.
pub(crate) struct Tail {
    /// Nobody receives by this one; it makes the others.
    pages: Receiver<TailPage>,
    task: AbortHandle,
}

impl Tail {
    fn of(fleet: &Fleet) -> Result<Arc<Self>, FleetError> {
        let (sender, pages) = broadcast::channel(HELD);
        // First of all: what is recorded from now on wakes it.
        let notices = fleet.notices();
        let events = fleet.history().events(fleet.history().end())?;
        let task = tokio::spawn(follow(events, notices, sender)).abort_handle();
        Ok(Arc::new(Self { pages, task }))
    }

    /// Every page from now on. It ends with the engine, or when the journal cannot be read.
    pub(crate) fn pages(&self) -> Receiver<TailPage> {
        self.pages.resubscribe()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The one that is followed now, if any is.
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
                // The tail itself receives, so that this never fails.
                let _ = pages.send(page);
                gathered = Instant::now() + GATHER;
            }
            Err(error) => return tracing::warn!(%error, "events end"),
        }
    }
}

/// Waits until an event from that offset on may have been recorded. None when the engine ended.
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
    timeout(LOOK, recorded).await.unwrap_or(Some(()))
}

/// Events as readers get them.
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
        // One that is missing is told of in the place of the first that is.
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
