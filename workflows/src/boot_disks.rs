//! The boot disks of a VSI: the one that its definition names, the next one, and those that are left.
//!
//! A new boot disk never gets the name of another, so the old one remains until the definition is switched. Which
//! disks there are follows from the facts that the journal has of the VSI's objects, never from its desired state.

use uuid::Uuid;
use vsiflow_engine::{
    model::{EntityState, Name, Objects, Text},
    step::Step as _,
};
use vsiflow_steps::{guards, names, ports::VolumeKey, vsi::DefineDomain};

use crate::{
    inputs::base,
    record::VsiRecord,
    spec::{BootDiskMode, DesiredVsi},
};

/// The boot disks of a VSI in its journal.
pub(crate) struct BootDisks<'a> {
    objects: &'a Objects,
    pool: &'a str,
    uid: Uuid,
}

impl<'a> BootDisks<'a> {
    /// Those of the VSI with this record and these objects.
    pub(crate) fn of(record: &'a VsiRecord, objects: &'a Objects) -> Self {
        Self {
            objects,
            pool: &record.vsi.pool,
            uid: record.uid,
        }
    }

    fn volume(&self, number: u64) -> VolumeKey {
        names::boot_disk(self.pool, self.uid, number)
    }

    fn number(&self, object: &Text) -> Option<u64> {
        let name = object.as_str().strip_prefix(self.pool)?.strip_prefix('/')?;
        names::boot_disk_number(name, self.uid)
    }

    fn current_number(&self) -> u64 {
        let used = self.objects.in_use.as_ref();
        used.and_then(|used| self.number(&used.object)).unwrap_or(0)
    }

    /// The one that the definition names. Where nothing is recorded, an earlier version made the first one.
    pub(crate) fn current(&self) -> VolumeKey {
        self.volume(self.current_number())
    }

    /// The name of [`Self::current`] in the journal's ledger of objects.
    pub(crate) fn current_object(&self) -> Text {
        guards::object_name(&self.current())
    }

    /// The one that is made while this journal never began to define the VSI. A restored journal may have forgotten
    /// that it did: then the newest name is taken again, so that the step meets the disk that is there, and no guest
    /// boots from another beside it.
    pub(crate) fn first(&self) -> VolumeKey {
        let newest = self.objects.newest.as_ref();
        let forgotten = newest.filter(|newest| self.objects.made.contains_key(*newest));
        match forgotten.and_then(|object| self.number(object)) {
            Some(number) => self.volume(number),
            None => self.next(false),
        }
    }

    /// The one that is made next: one that was begun and that no definition ever named, or the one after all
    /// others.
    pub(crate) fn next(&self, was_made: bool) -> VolumeKey {
        let newest = self.objects.newest.as_ref();
        if let Some(begun) = newest.filter(|newest| self.objects.begun.contains(newest))
            && let Some(number) = self.number(begun)
            && (number != self.current_number() || !was_made)
        {
            return self.volume(number);
        }
        let known = self.objects.made.keys().chain(newest);
        let highest = known.filter_map(|object| self.number(object)).max();
        let highest = highest.max(was_made.then(|| self.current_number()));
        self.volume(highest.map_or(0, |highest| highest.saturating_add(1)))
    }

    /// Those that a guest may have written to and that the definition does not name: an unfinished change left
    /// them.
    pub(crate) fn abandoned(&self) -> Vec<VolumeKey> {
        let current = self.current_number();
        let made = self.objects.made.keys();
        let numbers = made.filter_map(|object| self.number(object));
        let others = numbers.filter(|number| *number != current);
        others.map(|number| self.volume(number)).collect()
    }

    /// Whether the volume is a boot disk of the VSI that its definition names no more.
    pub(crate) fn is_given_up(&self, volume: &VolumeKey) -> bool {
        let number = self.number(&guards::object_name(volume));
        number.is_some_and(|number| number != self.current_number())
    }

    /// Those that hold nothing of a guest: no definition names them any more, or ever did.
    fn empty(&self) -> Vec<VolumeKey> {
        let begun = self.objects.begun.iter();
        let numbers = begun.filter_map(|object| self.number(object));
        numbers.map(|number| self.volume(number)).collect()
    }

    /// All that may exist, the current one first.
    pub(crate) fn all(&self) -> Vec<VolumeKey> {
        let current = self.current();
        let mut others = self.abandoned();
        others.extend(self.empty());
        others.retain(|volume| *volume != current);
        std::iter::once(current).chain(others).collect()
    }
}

/// Whether a guest may have written to the VSI's disks: its domain was defined, or may have been. Whoever can
/// reach the host can start a domain that is defined.
pub(crate) fn was_made(state: &EntityState) -> bool {
    state.made_from() > 0 || state.intents.contains(&Name::of(DefineDomain::NAME))
}

/// Whether its boot disk is made again for every start.
pub(crate) fn is_ephemeral(vsi: &DesiredVsi) -> bool {
    vsi.boot_disk.mode == BootDiskMode::Ephemeral
}

/// Whether a guest may have written to a boot disk whose content lasts. A disk that was born for one start
/// only is no such disk.
pub(crate) fn has_written_boot_disk(record: &VsiRecord, state: &EntityState) -> bool {
    if state.objects.made.contains_key(&boot_object(record, state)) {
        return true;
    }
    // An earlier version did not record its objects.
    let base = base(record, state);
    base.is_some_and(|base| !is_ephemeral(&base.vsi))
}

/// The name of the present boot disk in the journal's ledger of objects.
pub(crate) fn boot_object(record: &VsiRecord, state: &EntityState) -> Text {
    BootDisks::of(record, &state.objects).current_object()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: Uuid = Uuid::from_u128(7);

    fn disks(objects: &Objects) -> BootDisks<'_> {
        BootDisks {
            objects,
            pool: "images",
            uid: UID,
        }
    }

    fn object(number: u64) -> Text {
        guards::object_name(&names::boot_disk("images", UID, number))
    }

    #[test]
    fn a_first_disk_that_a_restored_journal_disowned_is_met_and_no_other_is_made_beside_it() {
        let disowned = Objects {
            made: [(object(0), Text::default())].into(),
            newest: Some(object(0)),
            ..Objects::none()
        };
        assert_eq!(disks(&disowned).first(), names::boot_disk("images", UID, 0));
    }

    #[test]
    fn a_first_disk_whose_volume_is_gone_gets_another_name() {
        let gone = Objects {
            newest: Some(object(0)),
            ..Objects::none()
        };
        assert_eq!(disks(&gone).first(), names::boot_disk("images", UID, 1));
        let nothing = Objects::none();
        assert_eq!(disks(&nothing).first(), names::boot_disk("images", UID, 0));
    }
}
