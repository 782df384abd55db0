//! The boot disks of a VSI: the one that its definition names, the next one, and those that are left.
//!
//! A new boot disk never gets the name of another, so the old one remains until the definition is switched. Which
//! disks there are follows from the facts that the journal has of the VSI's objects, never from its desired state.

use uuid::Uuid;
use vsiflow_engine::{
    model::{Failure, Objects, Text},
    step::Step as _,
};
use vsiflow_steps::{
    guards, names,
    ports::VolumeKey,
    vsi::{
        CloneBootDisk, RemoveReplacedDisks, clone_boot_disk,
        remove_replaced_disks::{self, ReplacedDisk},
    },
};

use super::{VsiGraphBuilder, is_ephemeral};
use crate::{record::VsiRecord, spec::BootDiskMode};

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

impl VsiGraphBuilder<'_> {
    fn boot_disks(&self) -> BootDisks<'_> {
        BootDisks::of(self.record, self.objects)
    }

    /// Adds a boot disk under a name that none had before. The definition names it from then on.
    pub(crate) fn clone_new(&mut self, after: &[&str], was_made: bool) -> Result<(), Failure> {
        let disks = self.boot_disks();
        let replaces = (was_made && self.has_written).then(|| disks.current());
        self.boot = if self.was_ever_defined {
            disks.next(was_made)
        } else {
            disks.first()
        };
        self.replaces.clone_from(&replaces);
        self.replaced.extend(replaces.clone());
        let params = clone_boot_disk::Params {
            new: true,
            replaces,
            ..self.clone_params()
        };
        self.step::<CloneBootDisk>(after, &params)
    }

    /// Notes that the boot disk is made anew in its place: the guest is stopped for that only if it is ordered.
    pub(crate) fn note_in_place(&mut self) {
        if self.has_written {
            self.replaced.push(self.boot.clone());
        }
    }

    /// Makes the boot disk anew in its place.
    pub(crate) fn clone_in_place(&mut self, after: &[&str]) -> Result<(), Failure> {
        let params = clone_boot_disk::Params {
            written: self.has_written,
            ..self.clone_params()
        };
        self.step::<CloneBootDisk>(after, &params)
    }

    /// Adds a boot disk for the next start, if it is ephemeral and the graph makes none before. Returns
    /// the nodes that the next ones follow.
    pub(crate) fn fresh_boot_disk<'b>(
        &mut self,
        after: &[&'b str],
    ) -> Result<Vec<&'b str>, Failure> {
        let mut after = after.to_vec();
        if !is_ephemeral(&self.record.vsi) || self.nodes.has::<CloneBootDisk>() {
            return Ok(after);
        }
        let image = clone_boot_disk::BASE_IMAGE_NODE;
        if !self.nodes.contains(image) {
            self.base_image(&after)?;
        }
        after.push(image);
        let params = clone_boot_disk::Params {
            for_start: true,
            ..self.clone_params()
        };
        self.step::<CloneBootDisk>(&after, &params)?;
        Ok(vec![CloneBootDisk::NAME])
    }

    fn clone_params(&self) -> clone_boot_disk::Params {
        let boot_disk = &self.record.vsi.boot_disk;
        clone_boot_disk::Params {
            host: self.host(),
            uuid: self.record.uid,
            volume: self.boot.clone(),
            size: boot_disk.size,
            mode: match boot_disk.mode {
                BootDiskMode::Copy => clone_boot_disk::Mode::Copy,
                BootDiskMode::Overlay | BootDiskMode::Ephemeral => clone_boot_disk::Mode::Overlay,
            },
            written: false,
            for_start: false,
            new: false,
            replaces: None,
        }
    }

    /// Deletes the boot disks that the graph's definition does not name: those that hold nothing of a guest, and
    /// those whose end is ordered, or that the VSI's own document makes anew (`boots_afresh`). Returns the node, if
    /// there are any.
    pub(crate) fn remove_replaced(
        &mut self,
        after: &[&str],
        boots_afresh: bool,
    ) -> Result<Option<&'static str>, Failure> {
        let disks = self.boot_disks();
        let current = disks.current();
        let removable = |volume: VolumeKey| {
            let object = guards::object_name(&volume);
            let is_current = volume == current && self.has_written;
            let written = is_current || self.objects.made.contains_key(&object);
            let may_go = !written || boots_afresh || self.objects.is_permitted(&object);
            (volume != self.boot && may_go).then_some(ReplacedDisk { volume, written })
        };
        let params = remove_replaced_disks::Params {
            host: self.host(),
            uuid: self.record.uid,
            disks: disks.all().into_iter().filter_map(removable).collect(),
        };
        if params.disks.is_empty() {
            return Ok(None);
        }
        self.step::<RemoveReplacedDisks>(after, &params)?;
        Ok(Some(RemoveReplacedDisks::NAME))
    }
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
