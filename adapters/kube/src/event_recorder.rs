//! Has what happened told as Events, in order, and each namespace by itself: one whose Events are
//! refused, or whose VSIs change all the time, holds up no other.

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

/// Happenings of one namespace that wait to be told; what comes on top is not told.
const WAITING_EACH: usize = 256;
/// A namespace where nothing happened for so long needs nobody who waits for it.
const IDLE: Duration = Duration::from_secs(300);

/// An Event that waits, and its resource as it was then.
type WaitingNotes = (Arc<Resource>, EventNote);

/// Hands out what happened to the namespaces.
pub(crate) struct EventRecorder {
    pub(crate) client: Client,
    pub(crate) cache: Arc<ResourceCache>,
    pub(crate) happenings: mpsc::Receiver<EventNote>,
    queues: BTreeMap<String, mpsc::Sender<WaitingNotes>>,
    tasks: JoinSet<()>,
}

impl EventRecorder {
    pub(crate) fn new(
        client: Client,
        cache: Arc<ResourceCache>,
        happenings: mpsc::Receiver<EventNote>,
    ) -> Self {
        Self {
            client,
            cache,
            happenings,
            queues: BTreeMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Ends when nobody tells it anything any more, or when one of its tasks panics.
    pub(crate) async fn run(mut self) {
        loop {
            tokio::select! {
                note = self.happenings.recv() => match note {
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
        // There is room for one.
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
            Ok(Some((resource, note))) => writer.happened(&resource, &note).await,
            Ok(None) => return,
            // What was sent until now is still told; what comes is another's.
            Err(_) => waiting.close(),
        }
    }
}
