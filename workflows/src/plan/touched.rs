//! What unfinished runs may have changed on the host.

use std::collections::BTreeSet;

use vsiflow_engine::{
    model::{Name, RunState},
    step::Step as _,
    workflow::Situation,
};
use vsiflow_steps::{
    guest::GuestType,
    vsi::{
        CloneBootDisk, DefineDomain, ResumeDomain, SetAutostart, StartDomain, StopDomain,
        SuspendDomain, WriteCidata,
    },
};

use super::{How, PlannedChange, fields::secret};
use crate::{spec::DesiredVsi, vsi_graph};

/// The steps that runs have started since the last run that succeeded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    begun: BTreeSet<Name>,
    /// A run's state is no longer known, so it may have started any step.
    any: bool,
}

impl Touched {
    /// Collects the started steps from an entity's runs.
    pub fn of(at: &Situation<'_>) -> Self {
        let mut touched = Self::default();
        let unfinished = at.entity.runs.iter().rev();
        let unfinished = unfinished.take_while(|run| Some(**run) != at.entity.reached_by);
        for run in unfinished {
            match (at.runs)(*run) {
                Some(run) => touched.note(&run),
                None => touched.any = true,
            }
        }
        touched
    }

    fn note(&mut self, run: &RunState) {
        let begun = run.nodes.iter().filter(|(_, state)| state.attempt() > 0);
        self.begun.extend(begun.map(|(name, _)| name.clone()));
    }

    fn began(&self, steps: &[&str]) -> bool {
        self.any
            || steps
                .iter()
                .any(|step| self.begun.contains(&Name::of(step)))
    }

    /// Whether the guest may have been started, stopped or suspended.
    pub fn power(&self) -> bool {
        self.began(&[
            StopDomain::NAME,
            StartDomain::NAME,
            SuspendDomain::NAME,
            ResumeDomain::NAME,
            SetAutostart::NAME,
        ])
    }

    /// Whether the guest's configuration may have been written.
    pub(super) fn configured(&self) -> bool {
        self.began(&[WriteCidata::NAME])
    }

    /// The extra change that repairs it, if the plan's own changes do not already cover it.
    pub(super) fn unfinished(&self, most: Option<How>, vsi: &DesiredVsi) -> Option<PlannedChange> {
        let why = "an earlier change of it was begun and not finished";
        // cloud-init takes a changed configuration on its existing disk.
        let seeded = match vsi.guest_type() {
            GuestType::CloudInit => None,
            _ => Some(WriteCidata::NAME),
        };
        // An ephemeral disk is made again at every start anyway.
        let cloned = (!vsi_graph::is_ephemeral(vsi)).then_some(CloneBootDisk::NAME);
        let makes: Vec<&str> = cloned.into_iter().chain(seeded).collect();
        let (path, how) = if self.began(&makes) {
            ("bootDisk", How::Rebuild)
        } else if self.began(&[DefineDomain::NAME]) {
            ("machine", How::Restart)
        } else if self.power() {
            ("powerState", How::InPlace)
        } else {
            return None;
        };
        (most < Some(how)).then(|| secret(path, how, why))
    }
}
