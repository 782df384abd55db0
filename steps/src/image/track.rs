//! Tracks an upload: what was sent, what the host has, and where the upload can resume.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use vsiflow_engine::{model::Failure, step::StepContext};

use super::checkpoint::{Checkpoint, UploadPosition};
use crate::{
    error,
    ports::{HostPorts, VolumeKey},
};

/// A new position is recorded after `interval / DUE` bytes. Each record costs a disk sync on this
/// machine; bytes beyond the last record are sent again after a crash.
const DUE: u64 = 2;
/// The first and the longest pause between two questions to the host.
const POLL_MIN: Duration = Duration::from_millis(10);
const POLL_MAX: Duration = Duration::from_millis(500);
/// If the file does not grow for this long although more was sent, the host is not writing to it.
const STUCK: Duration = Duration::from_secs(3_600);

/// The progress, shared by the task that sends and the task that asks the host.
pub(super) struct Track {
    interval: u64,
    /// Up to this position the volume holds bytes of an earlier attempt, so its length says nothing.
    dense_until: u64,
    state: Mutex<TrackState>,
    sent: Notify,
    confirmed: Notify,
    recorded: Notify,
}

struct TrackState {
    sent: u64,
    /// The recorded position.
    saved: u64,
    /// Positions that were sent since, oldest first.
    places: VecDeque<UploadPosition>,
    ended: bool,
    /// The volume's length; set once the host has confirmed the end.
    whole: Option<u64>,
}

impl Track {
    pub(super) fn new(from: u64, dense_until: u64, interval: u64) -> Self {
        let state = TrackState {
            sent: from,
            saved: from,
            places: VecDeque::new(),
            ended: false,
            whole: None,
        };
        Self {
            interval: interval.max(1),
            dense_until,
            state: Mutex::new(state),
            sent: Notify::new(),
            confirmed: Notify::new(),
            recorded: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, TrackState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `bytes` more may be sent: at most one interval may be sent without being recorded.
    pub(super) async fn room(&self, bytes: u64) {
        loop {
            let free = {
                let state = self.state();
                let from = state.saved.max(self.dense_until);
                let ahead = state.sent.saturating_add(bytes).saturating_sub(from);
                ahead <= self.interval || state.sent <= from
            };
            if free {
                return;
            }
            self.confirmed.notified().await;
        }
    }

    /// Notes that everything up to this position was sent.
    pub(super) fn note(&self, place: UploadPosition) {
        let mut state = self.state();
        state.sent = place.position;
        let newest = state.places.back().map_or(state.saved, |p| p.position);
        if place.position.saturating_sub(newest) >= self.interval / 16 {
            state.places.push_back(place);
        }
        drop(state);
        self.sent.notify_one();
    }

    /// The newest position that a volume of this length certainly includes.
    fn reached(&self, physical: u64) -> Option<UploadPosition> {
        if physical <= self.dense_until {
            return None;
        }
        let mut state = self.state();
        let mut reached = None;
        while state.places.front().is_some_and(|p| p.position <= physical) {
            reached = state.places.pop_front();
        }
        reached
    }

    fn set_saved(&self, position: u64) {
        self.state().saved = position;
        self.confirmed.notify_one();
        self.recorded.notify_one();
    }

    /// Notes that nothing more is sent.
    pub(super) fn end(&self) {
        self.state().ended = true;
        self.recorded.notify_one();
    }

    /// Notes that the host has confirmed the end of the upload, and the volume's length.
    pub(super) fn complete(&self, length: u64) {
        self.state().whole = Some(length);
        self.recorded.notify_one();
    }

    /// Waits until the host has confirmed the end of the upload; returns the volume's length.
    pub(super) async fn completed(&self) -> u64 {
        loop {
            if let Some(length) = self.state().whole {
                return length;
            }
            self.recorded.notified().await;
        }
    }

    /// Maximum number of bytes that may be sent twice.
    pub(super) fn interval(&self) -> u64 {
        self.interval
    }

    /// The recorded position up to which the host has the bytes.
    pub(super) fn saved(&self) -> u64 {
        self.state().saved
    }

    /// The position up to which bytes were sent.
    pub(super) fn sent(&self) -> u64 {
        self.state().sent
    }

    /// Waits until `more` bytes beyond `from` are recorded; returns the recorded position, `None` at the
    /// end.
    pub(super) async fn recorded_beyond(&self, from: u64, more: u64) -> Option<u64> {
        loop {
            let (ended, saved) = {
                let state = self.state();
                (state.ended, state.saved)
            };
            if ended {
                return None;
            }
            if saved.saturating_sub(from) >= more {
                return Some(saved);
            }
            self.recorded.notified().await;
        }
    }

    /// Whether enough was sent since the newest record to ask the host again.
    fn is_due(&self) -> bool {
        let state = self.state();
        !state.places.is_empty() && state.sent.saturating_sub(state.saved) >= self.interval / DUE
    }
}

/// Records the positions of an upload.
pub(super) struct TrackRecorder<'a> {
    pub(super) cx: &'a StepContext,
    pub(super) ports: &'a HostPorts,
    pub(super) key: &'a VolumeKey,
    pub(super) track: &'a Track,
    pub(super) checkpoint: Checkpoint,
    /// The greatest length of the volume so far.
    pub(super) longest: u64,
    /// The position up to which the host has written, if the host reports it.
    pub(super) written: Option<watch::Receiver<u64>>,
}

impl TrackRecorder<'_> {
    /// Records the position that the host reports, or that its volume's length shows. Returns only on a
    /// failure.
    pub(super) async fn run(&mut self) -> Failure {
        match self.written.clone() {
            Some(written) => self.watch_written(written).await,
            None => self.ask().await,
        }
    }

    async fn watch_written(&mut self, mut written: watch::Receiver<u64>) -> Failure {
        loop {
            let until = *written.borrow_and_update();
            if self.track.is_due()
                && let Err(failure) = self.record(until).await
            {
                return failure;
            }
            if written.changed().await.is_err() {
                // The upload itself reports why it ended.
                return std::future::pending().await;
            }
        }
    }

    /// Polls the volume's length.
    async fn ask(&mut self) -> Failure {
        let (mut pause, mut since) = (POLL_MIN, Instant::now());
        loop {
            while !self.track.is_due() {
                self.track.sent.notified().await;
                since = Instant::now();
            }
            let longest = self.longest;
            match self.inspect().await {
                Ok(true) => pause = POLL_MIN,
                Ok(false) if since.elapsed() > STUCK => {
                    return self.lost("the volume does not grow any more");
                }
                Ok(false) => {
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2).min(POLL_MAX);
                }
                Err(failure) => return failure,
            }
            if self.longest > longest {
                since = Instant::now();
            }
        }
    }

    /// Reads the volume's length and records the position; returns whether there was progress.
    pub(super) async fn inspect(&mut self) -> Result<bool, Failure> {
        let Some(volume) = self.ports.storage.volume(self.key).await? else {
            // An upload into a deleted volume would continue forever without an error from the host.
            return Err(self.lost("the volume vanished"));
        };
        if volume.physical < self.longest {
            return Err(self.lost("the volume became shorter"));
        }
        self.longest = volume.physical;
        self.record(volume.physical).await
    }

    /// Records the newest position up to `until`; returns whether there was one.
    async fn record(&mut self, until: u64) -> Result<bool, Failure> {
        let Some(place) = self.track.reached(until) else {
            return Ok(false);
        };
        self.checkpoint.add(&place);
        self.cx.save(&self.checkpoint).await?;
        self.cx.note_advance();
        self.track.set_saved(place.position);
        Ok(true)
    }

    fn lost(&self, what: &str) -> Failure {
        error::OUTCOME_UNKNOWN
            .failure(format!("{what} while it was being filled"))
            .on_host(self.ports.host.name())
            .of_object(format!("volume {}", self.key))
    }
}
