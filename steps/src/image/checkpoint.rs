//! The checkpoint from which an upload can resume.

use serde::{Deserialize, Serialize};
use vsiflow_engine::{model::Failure, step::StepContext};

use super::hash::RunningHash;
use crate::ports::{SourceInfo, VolumeInfo, VolumeKey};

/// Number of positions that are stored: a host that restarts may lose the newest bytes.
const POSITIONS_MAX: usize = 6;

/// A position in an image, with the hash of exactly the bytes before it.
#[derive(Clone)]
pub(super) struct UploadPosition {
    pub(super) position: u64,
    pub(super) hash: RunningHash,
}

/// Positions up to which the host confirmed the bytes.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// The volume that is being filled.
    volume: VolumeKey,
    /// The identity of the image that is being sent.
    pub(super) identity: String,
    /// The source's information about it.
    pub(super) source: SourceInfo,
    places: Vec<StoredCheckpoint>,
    /// Where the source ended in the last attempt that had to read it from its start, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_at: Option<u64>,
}

#[derive(Clone, Serialize, Deserialize)]
struct StoredCheckpoint {
    position: u64,
    hash: String,
}

impl Checkpoint {
    /// The beginning of an upload.
    pub(super) fn new(volume: &VolumeKey, identity: &str, source: &SourceInfo) -> Self {
        Self {
            volume: volume.clone(),
            identity: identity.to_owned(),
            source: source.clone(),
            places: Vec::new(),
            ended_at: None,
        }
    }

    /// Notes where the source ended that had to be read from its start; returns where it ended before.
    pub(super) fn note_end(&mut self, at: u64) -> Option<u64> {
        self.ended_at.replace(at)
    }

    /// The checkpoint that this node saved for the volume.
    pub(super) async fn saved(
        cx: &StepContext,
        volume: &VolumeKey,
    ) -> Result<Option<Self>, Failure> {
        let saved: Option<Self> = cx.saved().await?;
        Ok(saved.filter(|saved| saved.volume == *volume))
    }

    /// Adds a position that the host has confirmed.
    pub(super) fn add(&mut self, place: &UploadPosition) {
        self.places.push(StoredCheckpoint {
            position: place.position,
            hash: place.hash.state(),
        });
        let surplus = self.places.len().saturating_sub(POSITIONS_MAX);
        self.places.drain(..surplus);
    }

    /// The newest position that is within the volume.
    pub(super) fn place(&self, volume: &VolumeInfo) -> Option<UploadPosition> {
        // A source is not opened at its very end.
        let end = self.source.length.unwrap_or(u64::MAX);
        let within = |stored: &&StoredCheckpoint| {
            (1..end).contains(&stored.position) && stored.position <= volume.physical
        };
        let stored = self.places.iter().rev().find(within)?;
        Some(UploadPosition {
            position: stored.position,
            hash: RunningHash::at(&stored.hash)?,
        })
    }

    /// Removes all positions after this one.
    pub(super) fn back_to(&mut self, position: u64) {
        self.places.retain(|stored| stored.position <= position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(physical: u64) -> VolumeInfo {
        VolumeInfo {
            key: VolumeKey {
                pool: "p".repeat(100),
                name: "n".repeat(255),
            },
            path: String::new(),
            format: String::new(),
            capacity: 0,
            allocation: 0,
            physical,
            backing: None,
            unreadable: None,
            modified: None,
        }
    }

    #[test]
    fn the_newest_place_within_the_volume_counts_and_all_of_it_fits_a_checkpoint() {
        let source = SourceInfo {
            length: Some(u64::MAX),
            validator: Some("v".repeat(300)),
        };
        let mut saved = Checkpoint::new(&volume(0).key, &"i".repeat(64), &source);
        for position in 1..=100_u64 {
            let hash = RunningHash::default();
            let position = position << 32;
            saved.add(&UploadPosition { position, hash });
        }
        let at = |physical| saved.place(&volume(physical)).map(|place| place.position);
        assert_eq!(at(u64::MAX), Some(100 << 32));
        assert_eq!(at((97 << 32) + 1), Some(97 << 32));
        assert_eq!(at(1 << 32), None);
        assert!(serde_json::to_vec(&saved).unwrap().len() < 4_096);
        saved.back_to(97 << 32);
        assert_eq!(saved.places.len(), 3);
    }
}
