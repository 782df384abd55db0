//! Records the progress of image uploads, so that queries of the past can show it.
//!
//! Steps report their progress to listeners and record none of it. A daemon records some of the reports of
//! images: about ten events for a long upload, none for one that takes only moments. They are for people.
//! No step and no decision reads them.

use std::{collections::BTreeMap, convert::Infallible, time::Duration};

use tokio::{sync::broadcast::error::RecvError, time::Instant};
use vsiflow_engine::{
    Notice,
    executor::By,
    model::{Actor, EntityId, EntityState, EventKind, Name, RunId, StreamId, Text},
    step::Progress,
};

use super::progress::UploadProgress;
use crate::{
    fleet::{Fleet, FleetError, ImageHandle},
    record::kind,
};

/// The name of these events.
const NOTED: &str = "upload_progress";
/// The minimum time between two events of one image.
const MIN_INTERVAL: Duration = Duration::from_secs(2);
/// The minimum progress between two events is the total size divided by this.
const PARTS: u64 = 10;
/// The minimum progress between two events if the total size is unknown, in bytes.
const MIN_BYTES: u64 = 256 << 20;

/// The newest recorded report of an upload, or the first one seen.
struct RecordedUpload {
    run: RunId,
    activity: String,
    done: u64,
    at: Instant,
}

impl RecordedUpload {
    fn of(run: RunId, progress: &Progress, at: Instant) -> Self {
        Self {
            run,
            activity: progress.what.clone(),
            done: progress.done,
            at,
        }
    }

    fn is_same(&self, run: RunId, progress: &Progress) -> bool {
        self.run == run && self.activity == progress.what && self.done <= progress.done
    }

    fn is_due(&self, progress: &Progress, now: Instant) -> bool {
        let step = progress.total.map_or(MIN_BYTES, |total| total / PARTS);
        let more = progress.done.saturating_sub(self.done);
        more > 0 && more >= step && now.saturating_duration_since(self.at) >= MIN_INTERVAL
    }
}

impl ImageHandle<'_> {
    /// Records the progress of image uploads from time to time, for as long as it is polled.
    pub async fn record_upload_progress(self) -> Infallible {
        let mut notices = self.fleet.notices();
        let mut all = BTreeMap::<EntityId, RecordedUpload>::new();
        loop {
            match notices.recv().await {
                Ok(Notice::Progress {
                    entity,
                    run,
                    progress,
                    ..
                }) if entity.kind().as_str() == kind::IMAGE => {
                    let now = Instant::now();
                    let known = all.get(&entity);
                    match known.filter(|known| known.is_same(run, &progress)) {
                        Some(known) if !known.is_due(&progress, now) => continue,
                        Some(_) => self.fleet.note_progress(&entity, &progress).await,
                        None => {}
                    }
                    all.insert(entity, RecordedUpload::of(run, &progress, now));
                }
                Ok(Notice::Recorded(record)) => {
                    if let (StreamId::Entity(entity), EventKind::RunClosed { .. }) =
                        (&record.stream, &record.event.kind)
                    {
                        all.remove(entity);
                    }
                }
                Ok(Notice::Ended) | Err(RecvError::Closed) => std::future::pending().await,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
            }
        }
    }
}

impl Fleet {
    async fn note_progress(&self, image: &EntityId, progress: &Progress) {
        let by = By {
            actor: Actor::Engine,
            reason: Text::default(),
        };
        let detail = Text::new(progress_text(progress));
        let noted = self
            .engine
            .note(image.clone(), Name::of(NOTED), detail, by)
            .await;
        if let Err(error) = noted {
            tracing::warn!(%image, %error, "how far its upload is was not recorded");
        }
    }

    /// The progress of an upload in progress, from the newest event that recorded it.
    pub(super) async fn recorded_progress(
        &self,
        image: &EntityId,
        state: &EntityState,
    ) -> Result<Option<UploadProgress>, FleetError> {
        if state.active.is_none() {
            return Ok(None);
        }
        let records = self
            .readable_records(&StreamId::Entity(image.clone()))
            .await?;
        let mut newest = None;
        for record in &records {
            match &record.event.kind {
                EventKind::RunOpened { .. } => newest = None,
                EventKind::Noted { what, detail } if what.as_str() == NOTED => {
                    newest = read(detail.as_str());
                }
                _ => {}
            }
        }
        Ok(newest)
    }
}

fn progress_text(progress: &Progress) -> String {
    let Progress { what, done, total } = progress;
    match total {
        Some(total) => format!("{what}: {done} of {total} bytes"),
        None => format!("{what}: {done} bytes"),
    }
}

/// The progress in an event's text, without a rate; `None` if the text is something else.
fn read(text: &str) -> Option<UploadProgress> {
    let (activity, bytes) = text.rsplit_once(": ")?;
    let bytes = bytes.strip_suffix(" bytes")?;
    let (done, total) = match bytes.split_once(" of ") {
        Some((done, total)) => (done, Some(total.parse().ok()?)),
        None => (bytes, None),
    };
    Some(UploadProgress {
        activity: activity.to_owned(),
        bytes: done.parse().ok()?,
        total_bytes: total,
        bytes_per_second: None,
        seconds_left: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(done: u64, total: Option<u64>) -> Progress {
        Progress {
            what: "uploading".to_owned(),
            done,
            total,
        }
    }

    #[test]
    fn what_is_recorded_is_read_again() {
        for total in [Some(300), None] {
            let found = read(&progress_text(&progress(100, total))).unwrap();
            assert_eq!((found.bytes, found.total_bytes), (100, total));
            assert_eq!(found.activity, "uploading");
        }
        for strange in [
            "",
            "uploading",
            "uploading: x bytes",
            "uploading: 1 of x bytes",
        ] {
            assert_eq!(read(strange), None, "{strange}");
        }
    }

    #[test]
    fn little_is_recorded_and_never_often() {
        let begun = Instant::now();
        let run = RunId(ulid::Ulid::nil());
        let noted = RecordedUpload::of(run, &progress(0, Some(1_000)), begun);
        let later = begun + MIN_INTERVAL;
        assert!(!noted.is_due(&progress(500, Some(1_000)), begun));
        assert!(!noted.is_due(&progress(99, Some(1_000)), later));
        assert!(noted.is_due(&progress(100, Some(1_000)), later));
        assert!(!noted.is_due(&progress(0, Some(0)), later));
        assert!(noted.is_due(&progress(MIN_BYTES, None), later));
    }
}
