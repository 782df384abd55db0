//! The nodes that make boot disks, and remove the disks that others replaced.

use vsiflow_engine::{model::Failure, step::Step as _};
use vsiflow_steps::{
    guards,
    ports::VolumeKey,
    vsi::{
        CloneBootDisk, RemoveReplacedDisks, clone_boot_disk,
        remove_replaced_disks::{self, ReplacedDisk},
    },
};

use super::VsiGraphBuilder;
use crate::{
    boot_disks::{BootDisks, is_ephemeral},
    restoration,
    spec::BootDiskMode,
};

/// What a boot disk of a new name is to its VSI.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum NewBootDisk {
    /// This journal never began to define the VSI.
    First,
    /// The VSI was deleted and is made again.
    AfterDeletion,
    /// The present boot disk goes once the definition names this one.
    Replacement,
    /// The same, for the copy in a snapshot: it is copied whole, because the snapshot may be deleted.
    Restored,
}

impl VsiGraphBuilder<'_> {
    fn boot_disks(&self) -> BootDisks<'_> {
        BootDisks::of(self.record, self.objects)
    }

    /// Adds a boot disk under a name that none had before. The definition names it from then on.
    pub(crate) fn clone_new(&mut self, after: &[&str], which: NewBootDisk) -> Result<(), Failure> {
        let disks = self.boot_disks();
        let is_replacement = matches!(which, NewBootDisk::Replacement | NewBootDisk::Restored);
        let is_replaced = is_replacement && self.has_written;
        let replaces = is_replaced.then(|| disks.current());
        self.boot = match which {
            NewBootDisk::First => disks.first(),
            NewBootDisk::AfterDeletion => disks.next(false),
            NewBootDisk::Replacement | NewBootDisk::Restored => disks.next(true),
        };
        self.replaces.clone_from(&replaces);
        self.replaced.extend(replaces.clone());
        let mut params = clone_boot_disk::Params {
            new: true,
            replaces,
            ..self.clone_params()
        };
        if which == NewBootDisk::Restored {
            params.mode = clone_boot_disk::Mode::Copy;
        }
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

    /// Deletes the disks that the graph's definition does not name: boot disks that hold nothing of a guest, and disks
    /// whose end is ordered, or that the VSI's own document makes anew (`boots_afresh`). Returns the node, if there are
    /// any.
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
        let mut replaced: Vec<ReplacedDisk> =
            disks.all().into_iter().filter_map(removable).collect();
        let data_disks =
            restoration::replaced_data_disks(self.record, self.objects, &self.replaced_data_disks);
        replaced.extend(data_disks.into_iter().map(|volume| ReplacedDisk {
            volume,
            written: true,
        }));
        let params = remove_replaced_disks::Params {
            host: self.host(),
            uuid: self.record.uid,
            disks: replaced,
        };
        if params.disks.is_empty() {
            return Ok(None);
        }
        self.step::<RemoveReplacedDisks>(after, &params)?;
        Ok(Some(RemoveReplacedDisks::NAME))
    }
}
