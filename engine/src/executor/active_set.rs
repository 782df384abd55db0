//! The driven entities: those that the engine works for because a caller asked, and those they wait
//! for.

use super::{config::Drive, control::Control};
use crate::model::{CancelMode, EntityId};

impl Control {
    pub(super) fn is_driven(&self, entity: &EntityId) -> bool {
        let driven = self.driven.all || self.driven.these.contains(entity);
        driven && !self.recorder.projection.unreadable.contains_key(entity)
    }

    pub(super) fn drive_entity(&mut self, entity: &EntityId) {
        if self.driven.these.insert(entity.clone()) {
            self.dirty_entities.insert(entity.clone());
            self.dirty_runs
                .extend(self.recorder.projection.active_run(entity));
        }
    }

    pub(super) fn drive(&mut self, which: Drive) {
        match which {
            Drive::All => {
                self.driven.all = true;
                let entities: Vec<_> = self.recorder.projection.entities.keys().cloned().collect();
                entities.iter().for_each(|entity| self.drive_entity(entity));
            }
            Drive::These(entities) => entities.iter().for_each(|entity| self.drive_entity(entity)),
        }
        if !std::mem::replace(&mut self.driven.unwanted, true) {
            self.drive_unwanted();
        }
    }

    /// Drives the runs that no other run waits for any more: after a crash no caller would ask for
    /// their end. Runs that become unwanted in this process are driven already.
    fn drive_unwanted(&mut self) {
        let projection = &self.recorder.projection;
        let unwanted = projection.entities.iter().filter(|(_, entry)| {
            let active = entry.state.active.as_ref();
            let run = active.and_then(|active| projection.run(active.run));
            run.is_some_and(|run| run.cancel == Some(CancelMode::Unwanted))
        });
        let unwanted: Vec<_> = unwanted.map(|(id, _)| id.clone()).collect();
        unwanted.iter().for_each(|entity| self.drive_entity(entity));
    }
}
