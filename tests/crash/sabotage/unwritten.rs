//! Sabotage: journals that acknowledge events before they write them.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use vsiflow_engine::{
    journal::{Append, Journal, JournalError, JournalLayer, Offset, Record},
    model::{Event, EventKind, Hash, StreamId},
};

type Test = Box<dyn Fn(&EventKind) -> bool + Send + Sync>;

/// Acknowledges certain events without writing them, and writes them late or never. Events that are held
/// back are lost with the process.
pub struct HeldBack {
    inner: Arc<dyn Journal>,
    holds: Test,
    until: Test,
    held: Mutex<Vec<(StreamId, Event)>>,
}

impl HeldBack {
    pub fn new(
        inner: Arc<dyn Journal>,
        holds: impl Fn(&EventKind) -> bool + Send + Sync + 'static,
        until: impl Fn(&EventKind) -> bool + Send + Sync + 'static,
    ) -> Self {
        let (holds, until) = (Box::new(holds), Box::new(until));
        let held = Mutex::default();
        Self {
            inner,
            holds,
            until,
            held,
        }
    }

    /// The appends that are really written for this batch.
    fn split(&self, batch: Vec<Append>) -> Vec<Append> {
        let mut held = self.held.lock().unwrap();
        let mut events = batch.iter().flat_map(|append| &append.events);
        let flush = events.any(|event| (self.until)(&event.kind));
        let mut real: Vec<Append> = Vec::new();
        for append in &batch {
            let behind = held
                .iter()
                .filter(|(stream, _)| *stream == append.stream)
                .count() as u64;
            let (stream, expected_seq) = (append.stream.clone(), append.expected_seq - behind);
            real.push(Append {
                stream,
                expected_seq,
                events: Vec::new(),
            });
        }
        if flush {
            for (stream, event) in std::mem::take(&mut *held) {
                match real.iter_mut().find(|append| append.stream == stream) {
                    Some(append) => append.events.push(event),
                    // The batch has nothing else for this stream, so the event is held back again.
                    None => held.push((stream, event)),
                }
            }
        }
        for (append, written) in batch.into_iter().zip(&mut real) {
            for event in append.events {
                if (self.holds)(&event.kind) {
                    held.push((append.stream.clone(), event));
                } else {
                    written.events.push(event);
                }
            }
        }
        real.retain(|append| !append.events.is_empty());
        real
    }
}

/// The records of a batch as if it had been written at `offset`.
fn pretend(batch: &[Append], offset: Offset) -> Vec<Record> {
    let events = batch.iter().flat_map(|append| {
        let numbered = append.events.iter().zip(append.expected_seq..);
        numbered.map(|(event, seq)| (append.stream.clone(), seq, event.clone()))
    });
    let records = events
        .zip(offset..)
        .map(|((stream, seq, event), offset)| Record {
            offset,
            stream,
            seq,
            event,
            hash: Hash::default(),
        });
    records.collect()
}

#[async_trait]
impl JournalLayer for HeldBack {
    fn inner(&self) -> &dyn Journal {
        &*self.inner
    }

    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        let newest = self.inner.read_all(0, usize::MAX).await?.len() as u64;
        let records = pretend(&batch, newest);
        let real = self.split(batch);
        if !real.is_empty() {
            self.inner.append(real).await?;
        }
        Ok(records)
    }
}

/// Appends at the end of the stream, whatever the writer expects, so that no writer is ever refused.
pub struct Rebased(pub Arc<dyn Journal>);

#[async_trait]
impl JournalLayer for Rebased {
    fn inner(&self) -> &dyn Journal {
        &*self.0
    }

    async fn append(&self, mut batch: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        let heads = self.0.streams().await?;
        for append in &mut batch {
            let head = heads.iter().find(|head| head.stream == append.stream);
            append.expected_seq = head.map_or(0, |head| head.next_seq);
        }
        self.0.append(batch).await
    }
}
