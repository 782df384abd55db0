//! The memory of simulated guests, saved into files.
//!
//! A file has one line with all data, and bytes that are never read: as on a real host, a truncated file
//! can still be restored.

use serde::{Deserialize, Serialize};

use super::{Content, Live, SimHostState, Volume};
use crate::ports::{DiskSpec, DomainSpec};

/// Number of bytes after the line that is read.
const REST: usize = 4096;

/// A guest saved in a file.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedGuest {
    /// The machine, before any layer was added.
    pub(super) spec: DomainSpec,
    /// The guest, suspended.
    pub(super) live: Live,
}

/// Writes the guest into the file at that path, replacing any content.
pub(super) fn write(
    state: &mut SimHostState,
    path: &str,
    guest: &SavedGuest,
) -> Result<(), &'static str> {
    let mut bytes = serde_json::to_vec(guest).map_err(|_| "the guest cannot be saved")?;
    bytes.push(b'\n');
    bytes.resize(bytes.len().saturating_add(REST), b'.');
    let (modified, (folder, name)) = (state.change(), path.rsplit_once('/').unwrap_or(("", path)));
    let mut pools = state.pools.iter_mut();
    let (place, pool) = pools
        .find(|(_, pool)| pool.path == folder)
        .ok_or("no such folder")?;
    let file = Volume {
        format: "raw".to_owned(),
        capacity: bytes.len() as u64,
        content: Content::Inline(bytes),
        backing: None,
        modified,
        born: modified,
        synced: false,
        unwritten: false,
        busy_until: 0,
        tokens: Default::default(),
    };
    pool.volumes.insert(name.to_owned(), file);
    state.unlisted.insert(format!("{place}/{name}"));
    Ok(())
}

/// Reads the guest from the file at that path.
pub(super) fn read(state: &SimHostState, path: &str) -> Result<SavedGuest, &'static str> {
    let file = state.by_path(path).ok_or("no such file")?;
    let Content::Inline(bytes) = &file.content else {
        return Err("image magic is incorrect");
    };
    let line = bytes.split(|byte| *byte == b'\n').next();
    serde_json::from_slice(line.unwrap_or_default()).map_err(|_| "image magic is incorrect")
}

/// Gives each disk that the guest writes to the file that the stored definition has for it.
pub(super) fn take_files_of(spec: &mut DomainSpec, stored: &[DiskSpec]) {
    for disk in spec.disks.iter_mut().filter(|disk| !disk.readonly) {
        let stored_disk = stored
            .iter()
            .find(|stored_disk| stored_disk.target == disk.target);
        if let Some(stored_disk) = stored_disk {
            disk.path.clone_from(&stored_disk.path);
        }
    }
}

/// Marks a started guest's disks as changed: QEMU writes to each disk that is not read-only.
pub(super) fn touch_disks(state: &mut SimHostState, spec: &DomainSpec) {
    for disk in spec.disks.iter().filter(|disk| !disk.readonly) {
        let change = state.change();
        if let Some(volume) = state.by_path_mut(&disk.path) {
            volume.modified = change;
        }
    }
}
