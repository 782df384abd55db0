//! What the administrator of a simulated host does to disks behind vsiflow's back.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{SimHostState, Volume, layers};

impl SimHostState {
    /// Puts a layer over a disk, as `virsh snapshot-create-as --disk-only` does: from then on the guest writes
    /// into the file at `path`. Nothing happens if there is no such disk.
    pub fn put_layer_over(&mut self, uuid: Uuid, target: &str, path: &str) {
        let Some((below, volume)) = self.disk_of(uuid, target) else {
            return;
        };
        let layer = Volume {
            backing: Some(below.clone()),
            format: "qcow2".to_owned(),
            tokens: BTreeSet::new(),
            synced: true,
            busy_until: 0,
            ..volume
        };
        self.loose.insert(path.to_owned(), layer);
        layers::rename(self, uuid, &below, path);
    }

    /// Moves a disk to a copy of it at `path`, as `virsh blockcopy --pivot` does. Nothing happens if there is no
    /// such disk.
    pub fn move_disk(&mut self, uuid: Uuid, target: &str, path: &str) {
        if let Some((from, volume)) = self.disk_of(uuid, target) {
            self.loose.insert(path.to_owned(), volume);
            layers::rename(self, uuid, &from, path);
        }
    }

    /// Merges the layer of a disk of a guest that runs into the file below it, as `virsh blockcommit --pivot` does.
    /// Nothing happens if there is no such layer.
    pub fn merge_layer(&mut self, uuid: Uuid, target: &str) {
        let _ = layers::pivot(self, uuid, target);
    }

    /// Begins to copy a disk to `path`, as `virsh blockcopy` does. The guest writes to both.
    pub fn begin_block_copy(&mut self, uuid: Uuid, target: &str, path: &str) {
        if let Some((_, volume)) = self.disk_of(uuid, target) {
            self.loose.insert(path.to_owned(), volume);
        }
        if let Some(domain) = self.domains.get_mut(&uuid) {
            domain
                .block_copies
                .insert(target.to_owned(), path.to_owned());
        }
    }

    /// The path and the content of a disk in its domain's definition.
    fn disk_of(&self, uuid: Uuid, target: &str) -> Option<(String, Volume)> {
        let domain = self.domains.get(&uuid)?;
        let spec = domain.running.as_ref().unwrap_or(&domain.spec);
        let disk = spec.disks.iter().find(|disk| disk.target == target)?;
        Some((disk.path.clone(), self.by_path(&disk.path)?.clone()))
    }
}
