//! The inputs that a VSI is made from, as its record has them for the history of its generations.

use std::borrow::Cow;

use vsiflow_engine::{
    model::{EntityState, Name},
    step::Step as _,
};
use vsiflow_steps::vsi::DefineDomain;

use crate::{
    macs,
    record::{PreviousInputs, VsiRecord},
};

impl VsiRecord {
    /// Its inputs, for the history of the next generation.
    pub fn inputs(&self, generation: u64, reached: bool) -> PreviousInputs {
        PreviousInputs {
            generation,
            reached,
            contract: self.contract.clone(),
            power: self.power_state(),
            vsi: self.vsi.clone(),
            unknown: self.unknown.clone(),
            rebuilt: self.rebuilt,
            snapshot: self.snapshot.as_ref().map(|order| order.id),
            macs: macs::recorded(self),
        }
    }
}

/// The inputs that the VSI is now made from; `None` if it was never made. A definition may be in use although
/// the run that wrote it did not succeed: the guest was started, and did not become ready.
pub fn base<'a>(record: &'a VsiRecord, state: &EntityState) -> Option<Cow<'a, PreviousInputs>> {
    let (made_from, newest) = (state.made_from(), newest_generation(state));
    let made = |inputs: &&PreviousInputs| inputs.reached || inputs.generation <= made_from;
    let is_in_history = record
        .before
        .iter()
        .any(|inputs| inputs.generation == made_from);
    // A retry of the generation whose definition is in use.
    if made_from > state.reached && made_from >= newest && !is_in_history {
        return Some(Cow::Owned(record.inputs(newest, false)));
    }
    let base = record.before.iter().rev().find(made).map(Cow::Borrowed);
    // An earlier version did not record what the definition was made from.
    let is_defined = || state.intents.contains(&Name::of(DefineDomain::NAME));
    base.or_else(|| is_defined().then(|| Cow::Owned(record.inputs(newest, false))))
}

fn newest_generation(state: &EntityState) -> u64 {
    let desired = state.desired.as_ref();
    desired.map_or(0, |desired| desired.generation)
}
