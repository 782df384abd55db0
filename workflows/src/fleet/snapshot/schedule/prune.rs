//! Deletes superfluous snapshots of schedules.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;
use vsiflow_steps::ports::VolumeKey;

use super::{
    ScheduleNote, by,
    seen::{ScheduledSnapshot, SeenSchedules},
};
use crate::fleet::{Fleet, FleetError, snapshot::known::READY};
use crate::{
    phase::Phase,
    record::{DiskRecord, DueTime, ScheduleRecord, kind},
};

/// How many deletions one check starts.
const PER_CHECK: usize = 8;

impl Fleet {
    /// Starts to delete superfluous snapshots.
    pub(super) async fn prune_scheduled(
        &self,
        seen: &SeenSchedules,
    ) -> Result<Vec<ScheduleNote>, FleetError> {
        let mut all = BTreeMap::<Uuid, Vec<ScheduledSnapshot>>::new();
        for one in seen.snapshots() {
            all.entry(one.record.vsi).or_default().push(one);
        }
        let mut doomed = Vec::new();
        let now_ms = self.clock.now().0;
        for vsi in seen.scheduled() {
            // What a schedule took and what it leaves is known from its record alone.
            let Some(record) = seen.record(vsi.uid) else {
                continue;
            };
            let keep = usize::try_from(vsi.policy.keep).unwrap_or(usize::MAX);
            let since_ms = record.since_ms;
            let mut own = all.remove(&vsi.uid).unwrap_or_default();
            own.retain(|taken| !is_left(taken, record));
            own.sort_by_key(|taken| {
                let within = order(taken.due_ms, since_ms, now_ms);
                std::cmp::Reverse((taken.record.set_backs, within))
            });
            let why = format!(
                "newer ones are kept by generation {} of its VSI",
                vsi.generation
            );
            let own = superfluous(own, keep).into_iter();
            doomed.extend(own.map(|snapshot| (snapshot, why.clone())));
        }
        if doomed.is_empty() {
            return Ok(Vec::new());
        }
        let (used, mut notes) = (self.copies_in_use().await?, Vec::new());
        let free = |(one, _): &(ScheduledSnapshot, String)| {
            let mut copies = one.record.disks.iter().map(|disk| &disk.copy);
            !copies.any(|copy| used.contains(copy))
        };
        for (one, why) in doomed.into_iter().filter(free).take(PER_CHECK) {
            let (namespace, uid) = (&one.record.namespace, one.entity.id());
            let deleted = self.snapshots().delete(namespace, uid, false, by(&why));
            let snapshot = one.record.name.clone();
            notes.push(match deleted.await {
                Ok(_) => ScheduleNote::Pruned { snapshot },
                Err(error) => ScheduleNote::Stays {
                    snapshot,
                    failure: error.failure,
                },
            });
        }
        Ok(notes)
    }

    /// The copies that new disks are being made from.
    async fn copies_in_use(&self) -> Result<BTreeSet<VolumeKey>, FleetError> {
        let mut used = BTreeSet::new();
        for vsi in self.known().await? {
            if vsi.state.reached == 0 && !vsi.is_deleted() {
                used.extend(vsi.record.vsi.boot_disk.copy_of.clone());
            }
        }
        for (_, state, disk) in self.all_desired::<DiskRecord>(kind::DISK).await? {
            let recorded = state.state.as_ref().map(|(name, _)| name.as_str());
            if state.reached == 0 && recorded != Some(Phase::Deleted.as_str()) {
                used.extend(disk.disk.copy_of);
            }
        }
        Ok(used)
    }
}

/// Whether a policy took the snapshot that was removed since: it remains until a user deletes it.
fn is_left(taken: &ScheduledSnapshot, record: &ScheduleRecord) -> bool {
    let due = DueTime {
        set_backs: taken.record.set_backs,
        ms: taken.due_ms,
    };
    record.left_until.is_some_and(|until| due <= until)
}

/// Orders snapshots by when they were taken, also those of earlier versions, which did not count how often the clock was
/// set back. Those with a due time in the future were taken before it was, when the schedule began again at `since_ms`.
fn order(due_ms: u64, since_ms: u64, now_ms: u64) -> (u8, u64) {
    let turn = match due_ms {
        due_ms if due_ms > now_ms => 1,
        due_ms if due_ms < since_ms => 0,
        _ => 2,
    };
    (turn, due_ms)
}

/// The superfluous snapshots of a VSI's schedule, of which the newest comes first: whole ones beyond the newest `keep`, and failed ones
/// if a newer one is whole. Without a newer whole one, none is superfluous.
fn superfluous(mut own: Vec<ScheduledSnapshot>, keep: usize) -> Vec<ScheduledSnapshot> {
    let mut whole = 0_usize;
    own.retain(|one| {
        if one.phase() == READY {
            whole = whole.saturating_add(1);
            return whole > keep.max(1);
        }
        one.phase() == Phase::Failed.as_str() && whole > 0
    });
    // The oldest first: if a deletion is blocked, the newer ones still exist.
    own.reverse();
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_from_before_the_clock_was_set_back_are_not_the_newest() {
        let (since, now) = (500, 600);
        // Before the jump, while the clock was ahead, and after it was set back.
        let mut taken = [900, 100, 550, 800, 520];
        taken.sort_by_key(|due_ms| order(*due_ms, since, now));
        assert_eq!(taken, [100, 800, 900, 520, 550]);
    }
}
