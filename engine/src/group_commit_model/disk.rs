//! A disk that remembers what was written, in which order, and fails when it is told to.

use std::sync::Arc;

use shuttle::sync::Mutex;

use super::{
    group_commit::Commit,
    sync::{Sabotage, is_broken, step},
};
use crate::journal::JournalError;

/// Two of this weight make a group.
const WEIGHT: usize = 64 * 1024;

/// What was written and what was tried, for all to see.
#[derive(Clone, Default)]
pub(super) struct ModelDisk(Arc<Mutex<ModelLog>>);

#[derive(Default)]
struct ModelLog {
    written: Vec<u32>,
    /// Groups that were begun.
    begun: usize,
    /// Groups that were begun after one had failed.
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
    /// What was answered and not written yet; only where that is broken on purpose.
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
    type Request = u32;
    type Reply = u32;

    fn weight(_: &u32) -> usize {
        WEIGHT
    }

    fn commit(&mut self, group: Vec<u32>) -> Result<Vec<Result<u32, JournalError>>, JournalError> {
        let number = self.disk.begin();
        step();
        if self.fails_at == Some(number) {
            self.disk.fail();
            return Err(failure());
        }
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
