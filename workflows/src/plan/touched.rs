//! What unfinished runs may have changed on the host.

use std::collections::BTreeSet;

use vsiflow_engine::{
    model::{Name, NodeState, Objects, RunState},
    step::Step as _,
    workflow::Situation,
};
use vsiflow_steps::vsi::{
    DefineDomain, ResumeDomain, SetAutostart, StartDomain, StopDomain, SuspendDomain, WriteCidata,
};

use super::{How, PlannedChange, fields::secret};
use crate::{acts, boot_disks::BootDisks, record::VsiRecord, restoration};

/// The steps that runs have started since the last run that succeeded, and what is ordered to be destroyed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    begun: BTreeSet<Name>,
    /// A run's state is no longer known, so the guest may be off or on.
    any: bool,
    /// The entity's objects, and the orders for them.
    pub(super) objects: Objects,
}

/// Whether the run wrote the definition.
fn has_defined(run: &RunState) -> bool {
    let define = run.nodes.get(&Name::of(DefineDomain::NAME));
    matches!(define, Some(NodeState::Succeeded { .. }))
}

impl Touched {
    /// Collects the started steps from an entity's runs.
    pub fn of(at: &Situation<'_>) -> Self {
        let mut touched = Self {
            objects: at.entity.objects.clone(),
            ..Self::default()
        };
        let unfinished = at.entity.runs.iter().rev();
        let unfinished = unfinished.take_while(|run| Some(**run) != at.entity.reached_by);
        let mut is_defined = false;
        for run in unfinished {
            match (at.runs)(*run) {
                Some(run) => {
                    is_defined |= has_defined(&run);
                    touched.note(&run, is_defined);
                }
                None => touched.any = true,
            }
        }
        touched
    }

    /// Collects the started steps of one run.
    pub(crate) fn by(run: &RunState) -> Self {
        let mut touched = Self::default();
        touched.note(run, false);
        touched
    }

    /// Whether the guest, its configuration or its definition may be another one than before.
    pub(crate) fn guest(&self) -> bool {
        self.power() || self.configured() || self.definition()
    }

    /// Notes the steps that a run began. Once a definition was written, what it is made of is settled.
    fn note(&mut self, run: &RunState, is_defined: bool) {
        let settled = [DefineDomain::NAME, WriteCidata::NAME];
        let begun = run.nodes.iter().filter(|(name, state)| {
            state.attempt() > 0 && !(is_defined && settled.contains(&name.as_str()))
        });
        self.begun.extend(begun.map(|(name, _)| name.clone()));
    }

    fn began(&self, steps: &[&str]) -> bool {
        let mut steps = steps.iter();
        steps.any(|step| self.begun.contains(&Name::of(step)))
    }

    /// Whether the domain may have been defined.
    pub fn definition(&self) -> bool {
        self.began(&[DefineDomain::NAME])
    }

    /// Whether the guest may have been started, stopped or suspended.
    pub fn power(&self) -> bool {
        self.any
            || self.began(&[
                StopDomain::NAME,
                StartDomain::NAME,
                SuspendDomain::NAME,
                ResumeDomain::NAME,
                SetAutostart::NAME,
            ])
    }

    /// Whether the guest's configuration may have been written.
    pub(crate) fn configured(&self) -> bool {
        self.began(&[WriteCidata::NAME])
    }

    /// The extra change that repairs it, if the plan's own changes do not already cover it. The boot disk is
    /// part of it only if an order to make it again was begun to be carried out.
    pub(super) fn unfinished(
        &self,
        most: Option<How>,
        record: &VsiRecord,
    ) -> Option<PlannedChange> {
        let why = "an earlier change of it was begun and not finished";
        let boot_disk = BootDisks::of(record, &self.objects).current_object();
        let is_restored = restoration::is_due(record, &self.objects);
        let (path, how) = if self.objects.unfinished.contains_key(&boot_disk) && !is_restored {
            ("bootDisk", How::Rebuild)
        } else if self.began(&[DefineDomain::NAME, WriteCidata::NAME]) {
            ("machine", How::Restart)
        } else if self.power() {
            ("powerState", How::InPlace)
        } else {
            return None;
        };
        (most < Some(how)).then(|| secret(path, how, why))
    }

    /// Whether a new boot disk in the place of the present one is ordered, or was begun and not finished.
    pub(super) fn is_rebuild_due(&self, record: &VsiRecord) -> bool {
        let boot_disk = BootDisks::of(record, &self.objects).current_object();
        let mut acts = acts::REBUILDS.iter();
        let unfinished = self.objects.unfinished.get(&boot_disk);
        acts.any(|act| {
            self.objects.is_ordered_by(&boot_disk, act)
                || unfinished.is_some_and(|begun| begun.as_str() == *act)
        })
    }
}
