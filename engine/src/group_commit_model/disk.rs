//! A model disk that records what was written, in which order, and fails at a chosen group.

use std::sync::Arc;

use shuttle::sync::Mutex;

use super::{
    group_commit::{Commit, CommitRequest, GROUP_BYTES, GroupStage},
    sync::{Sabotage, is_broken, step},
};
use crate::journal::JournalError;

/// Requests from this number on are written alone.
pub(super) const ALONE: u32 = 100;

/// Requests from this number on are light.
pub(super) const LIGHT: u32 = 50;

/// Two requests fill a group, or eight light ones.
impl CommitRequest for u32 {
    fn weight(&self) -> usize {
        GROUP_BYTES / if *self < LIGHT { 2 } else { 8 }
    }

    fn is_alone(&self) -> bool {
        *self >= ALONE && !is_broken(Sabotage::NotAlone)
    }
}

/// A request, and how many requests were written alone when it was admitted.
struct Admitted {
    request: u32,
    alone: usize,
}

/// The open group.
pub(super) struct ModelStage {
    disk: ModelDisk,
    group: Vec<Admitted>,
}

impl ModelStage {
    pub(super) fn on(disk: &ModelDisk) -> Self {
        Self {
            disk: disk.clone(),
            group: Vec::new(),
        }
    }
}

/// The requests of one write.
pub(super) struct ModelGroup(Vec<Admitted>);

impl GroupStage for ModelStage {
    type Request = u32;
    type Group = ModelGroup;

    fn admit(&mut self, request: u32) {
        let alone = self.disk.alone();
        let position = match self.group.len() {
            len if is_broken(Sabotage::Overtake) => len.saturating_sub(1),
            len => len,
        };
        self.group.insert(position, Admitted { request, alone });
    }

    fn seal(&mut self) -> ModelGroup {
        ModelGroup(std::mem::take(&mut self.group))
    }
}

/// A shared record of what was written and how many writes were begun.
#[derive(Clone, Default)]
pub(super) struct ModelDisk(Arc<Mutex<ModelLog>>);

#[derive(Default)]
struct ModelLog {
    written: Vec<u32>,
    /// How many groups were begun.
    begun: usize,
    /// How many groups were begun after one had failed.
    begun_after_failure: usize,
    failed: bool,
}

impl ModelDisk {
    pub(super) fn written(&self) -> Vec<u32> {
        self.0.lock().unwrap().written.clone()
    }

    pub(super) fn has(&self, request: u32) -> bool {
        self.0.lock().unwrap().written.contains(&request)
    }

    pub(super) fn begun_after_failure(&self) -> usize {
        self.0.lock().unwrap().begun_after_failure
    }

    fn alone(&self) -> usize {
        let log = self.0.lock().unwrap();
        log.written
            .iter()
            .filter(|request| **request >= ALONE)
            .count()
    }

    fn begin(&self) -> usize {
        let mut log = self.0.lock().unwrap();
        log.begun_after_failure += usize::from(log.failed);
        log.begun += 1;
        log.begun
    }

    fn write(&self, group: &[u32]) {
        self.0.lock().unwrap().written.extend(group);
    }

    fn fail(&self) {
        self.0.lock().unwrap().failed = true;
    }
}

/// Writes groups to the disk.
pub(super) struct Writing {
    disk: ModelDisk,
    /// Which group fails, from 1.
    fails_at: Option<usize>,
    /// Requests that were answered before they were written ([`Sabotage::AnswerEarly`]).
    late: Vec<u32>,
}

impl Writing {
    pub(super) fn to(disk: &ModelDisk, fails_at: Option<usize>) -> Self {
        Self {
            disk: disk.clone(),
            fails_at,
            late: Vec::new(),
        }
    }
}

/// The error of a disk that failed.
pub(super) fn failure() -> JournalError {
    JournalError::Storage("the disk failed".to_owned())
}

impl Commit for Writing {
    type Stage = ModelStage;
    type Reply = u32;

    fn commit(
        &mut self,
        ModelGroup(group): ModelGroup,
    ) -> Result<Vec<Result<u32, JournalError>>, JournalError> {
        let number = self.disk.begin();
        step();
        if self.fails_at == Some(number) {
            self.disk.fail();
            return Err(failure());
        }
        let alone = self.disk.alone();
        let fits = group.iter().all(|admitted| admitted.alone == alone);
        assert!(fits, "taken in before another was written alone");
        let group: Vec<_> = group.iter().map(|admitted| admitted.request).collect();
        self.disk.write(&std::mem::take(&mut self.late));
        if is_broken(Sabotage::AnswerEarly) {
            self.late.clone_from(&group);
        } else {
            self.disk.write(&group);
        }
        Ok(group.into_iter().map(Ok).collect())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.disk.write(&self.late);
    }
}
