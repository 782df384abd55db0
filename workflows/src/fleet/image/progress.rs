//! Progress of image uploads, for the images themselves and for the VSIs that wait for them.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use schemars::JsonSchema;
use serde::Serialize;
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::Instant,
};
use vsiflow_engine::{Notice, model::EntityId, step::Progress};

use crate::fleet::{Fleet, image::meter::Meter, index::Known};
use crate::{record::kind, vsi_graph};

const MIB: u64 = 1024 * 1024;

/// How far an upload is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UploadProgress {
    /// What is being done: `uploading`, `verifying on the host`, …
    pub activity: String,
    /// Bytes that are on their way or there.
    pub bytes: u64,
    /// Bytes in all, where the source says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    /// Bytes a second, of the last seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// Seconds until the end at that rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<u64>,
}

impl UploadProgress {
    /// A step's progress report with the measured rate.
    pub fn of(progress: &Progress, meter: &Meter) -> Self {
        Self {
            activity: progress.what.clone(),
            bytes: progress.done,
            total_bytes: progress.total,
            bytes_per_second: meter.rate(),
            seconds_left: meter.seconds_left(),
        }
    }
}

/// `uploading 120 MiB of 1024 MiB (11 %), 40.0 MiB/s, 22 s left`; sizes below 1 MiB are not shown.
impl fmt::Display for UploadProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.activity)?;
        let mib = |bytes: u64| bytes / MIB;
        match self.total_bytes {
            Some(total) if total >= MIB => {
                let percent = self.bytes.saturating_mul(100).checked_div(total);
                let percent = percent.unwrap_or_default();
                write!(
                    f,
                    " {} MiB of {} MiB ({percent} %)",
                    mib(self.bytes),
                    mib(total)
                )?;
            }
            None if self.bytes >= MIB => write!(f, " {} MiB", mib(self.bytes))?,
            _ => return Ok(()),
        }
        if let Some(rate) = self.bytes_per_second {
            write!(f, ", {}.{} MiB/s", mib(rate), rate % MIB * 10 / MIB)?;
        }
        match self.seconds_left {
            Some(left) => write!(f, ", {left} s left"),
            None => Ok(()),
        }
    }
}

/// The newest progress reports of images. Never persisted.
#[derive(Debug, Default)]
pub(in crate::fleet) struct ImageProgress {
    newest: Mutex<BTreeMap<EntityId, NewestProgress>>,
}

#[derive(Debug)]
struct NewestProgress {
    at: Instant,
    progress: UploadProgress,
    meter: Meter,
}

/// How long a report is kept without another one: the upload has ended.
const KEPT: Duration = Duration::from_secs(3600);

impl ImageProgress {
    /// Collects the progress reports of steps until the engine ends.
    pub(in crate::fleet) async fn listen(self: Arc<Self>, mut notices: Receiver<Notice>) {
        loop {
            match notices.recv().await {
                Ok(Notice::Progress {
                    entity, progress, ..
                }) if entity.kind().as_str() == kind::IMAGE => self.note(entity, &progress),
                Ok(Notice::Ended) | Err(RecvError::Closed) => return,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
            }
        }
    }

    fn note(&self, image: EntityId, progress: &Progress) {
        let mut all = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Instant::now();
        all.retain(|_, newest| at.saturating_duration_since(newest.at) < KEPT);
        let before = all.remove(&image);
        let mut meter = before.map(|newest| newest.meter).unwrap_or_default();
        meter.note(at, progress);
        let newest = NewestProgress {
            at,
            progress: UploadProgress::of(progress, &meter),
            meter,
        };
        all.insert(image, newest);
    }

    fn of(&self, image: &EntityId) -> Option<UploadProgress> {
        let all = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(image).map(|newest| newest.progress.clone())
    }
}

impl Fleet {
    /// The progress of the upload that the VSI waits for, if this process does it.
    pub(in crate::fleet) fn upload_of(&self, known: &Known) -> Option<UploadProgress> {
        let image = vsi_graph::image(&known.record).entity().ok()?;
        self.progress_of(&image)
    }

    /// The progress of an image's upload, if this process does it.
    pub(in crate::fleet) fn progress_of(&self, image: &EntityId) -> Option<UploadProgress> {
        let state = self.engine.entity(image)?;
        state.active.as_ref().and_then(|_| self.uploads.of(image))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_rate_and_time_left() {
        let progress = UploadProgress {
            activity: "uploading".into(),
            bytes: 100 * MIB,
            total_bytes: Some(300 * MIB),
            bytes_per_second: Some(10 * MIB + MIB / 2),
            seconds_left: Some(20),
        };
        assert_eq!(
            progress.to_string(),
            "uploading 100 MiB of 300 MiB (33 %), 10.5 MiB/s, 20 s left"
        );
        let unknown = UploadProgress {
            total_bytes: None,
            seconds_left: None,
            ..progress
        };
        assert_eq!(unknown.to_string(), "uploading 100 MiB, 10.5 MiB/s");
    }
}
