//! What the schedules of a restored journal may delete.
//!
//! A journal that was restored from a backup has the policies of that time, and a newer one may keep more. So the
//! snapshots of before are left to the users, and each schedule deletes only what it takes since. An order of the schedule's
//! own entity says that this was recorded; the next restoration voids it.

use vsiflow_steps::ports::Hosts as _;

use super::{add, by, seen::SeenSchedules};
use crate::{
    fleet::{Fleet, FleetError, store::DesiredUpdates},
    orders,
    record::{ScheduleRecord, schedule_entity},
};

impl Fleet {
    /// Records for each schedule that what it took before the journal was restored is left. Returns whether it recorded
    /// anything: then `seen` is out of date.
    pub(super) async fn leave_snapshots_of_before(
        &self,
        seen: &SeenSchedules,
    ) -> Result<bool, FleetError> {
        if !self.reach.has_forgotten() {
            return Ok(false);
        }
        let (mut updates, mut leaves) = (DesiredUpdates::default(), false);
        for record in seen
            .scheduled()
            .iter()
            .filter_map(|vsi| seen.record(vsi.uid))
        {
            let entity = schedule_entity(record.vsi);
            let entity = entity.map_err(|error| FleetError::defect(error.to_string()))?;
            let state = self.engine.entity(&entity);
            if state.is_some_and(|state| orders::pruning_is_ordered(&entity, &state)) {
                continue;
            }
            let left = ScheduleRecord {
                left_until: record.left_until.max(Some(record.last_due())),
                ..record.clone()
            };
            add(&left, &mut updates)?;
            updates.order(vec![orders::for_pruning(&entity)]);
            leaves = true;
        }
        if leaves {
            let why = by("the journal was restored from a backup");
            self.record(updates, why).await?;
        }
        Ok(leaves)
    }
}
