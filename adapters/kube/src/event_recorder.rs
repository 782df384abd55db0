//! Queues Events for writing, in order and separately for each namespace: a namespace whose Events are
//! refused, or whose VSIs change all the time, delays no other.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kube::Client;
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    task::JoinSet,
    time::timeout,
};

use crate::{
    events::{EventCounts, EventNote, EventWriter},
    resource::Resource,
    resource_cache::ResourceCache,
};

/// How many Events of one namespace may wait to be written; further ones are dropped.
const WAITING_EACH: usize = 256;
/// The task of a namespace ends after this long without an Event.
const IDLE: Duration = Duration::from_secs(300);

/// A waiting Event, and its resource as it was when the Event occurred.
type WaitingNotes = (Arc<Resource>, EventNote);

/// Distributes Events to the queues of their namespaces.
pub(crate) struct EventRecorder {
    pub(crate) client: Client,
    pub(crate) cache: Arc<ResourceCache>,
    pub(crate) event_notes: mpsc::Receiver<EventNote>,
    queues: BTreeMap<String, mpsc::Sender<WaitingNotes>>,
    tasks: JoinSet<()>,
}

impl EventRecorder {
    pub(crate) fn new(
        client: Client,
        cache: Arc<ResourceCache>,
        event_notes: mpsc::Receiver<EventNote>,
    ) -> Self {
        Self {
            client,
            cache,
            event_notes,
            queues: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Ends when all senders are gone, or when one of its tasks panics.
    pub(crate) async fn run(mut self) {
        loop {
            tokio::select! {
                note = self.event_notes.recv() => match note {
                    Some(note) => self.pass_on(note),
                    None => return,
                },
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(()) => self.queues.retain(|_, queue| !queue.is_closed()),
                    Err(error) => {
                        tracing::error!("telling the Events of a namespace ended: {error}");
                        return;
                    }
                },
            }
        }
    }

    fn pass_on(&mut self, note: EventNote) {
        let Some(resource) = self.cache.vsi(note.uid) else {
            return;
        };
        let namespace = resource.key.namespace.clone();
        let sent = match self.queues.get(&namespace) {
            Some(queue) => queue.try_send((resource, note)),
            None => Err(TrySendError::Closed((resource, note))),
        };
        match sent {
            Ok(()) => {}
            Err(TrySendError::Closed(waiting)) => self.begin(namespace, waiting),
            Err(TrySendError::Full((dropped, _))) => tracing::warn!(
                "an Event of {} is dropped: too many of its namespace wait",
                dropped.key
            ),
        }
    }

    fn begin(&mut self, namespace: String, first: WaitingNotes) {
        let (queue, waiting) = mpsc::channel(WAITING_EACH);
        // The queue is empty.
        let _ = queue.try_send(first);
        let writer = EventWriter {
            client: self.client.clone(),
            counts: EventCounts::default(),
        };
        self.tasks.spawn(write_notes(writer, waiting));
        self.queues.insert(namespace, queue);
    }
}

async fn write_notes(mut writer: EventWriter, mut waiting: mpsc::Receiver<WaitingNotes>) {
    loop {
        match timeout(IDLE, waiting.recv()).await {
            Ok(Some((resource, note))) => writer.write_note(&resource, &note).await,
            Ok(None) => return,
            // What is already queued is still written; later Events get a new queue.
            Err(_) => waiting.close(),
        }
    }
}
