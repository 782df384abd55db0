//! Layers over the disks of a simulated guest.
//!
//! A layer starts as a copy of its disk's content, and later writes go only into the layer. A merge
//! copies the layer's content into the disk. Tokens are only where they were written.

use uuid::Uuid;

use super::SimHostState;
use crate::ports::LayerSpec;

/// The duration of a merge in milliseconds.
pub(super) const MERGE_MS: u64 = 400;

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

/// Adds all layers, or none.
pub(super) fn add(
    state: &mut SimHostState,
    uuid: Uuid,
    layers: &[LayerSpec],
) -> Result<(), &'static str> {
    let mut new_layers = Vec::new();
    for layer in layers {
        if state.by_path(&layer.path).is_some() {
            return Err("the layer's file exists already");
        }
        let domain = state.domains.get(&uuid);
        let running = domain.and_then(|domain| domain.running.as_ref());
        let mut disks = running.iter().flat_map(|spec| &spec.disks);
        let disk = disks.find(|disk| disk.target == layer.target);
        let below = disk.ok_or("no such disk")?.path.clone();
        let mut volume = state.by_path(&below).ok_or("no such file")?.clone();
        (volume.backing, volume.synced) = (Some(below.clone()), true);
        "qcow2".clone_into(&mut volume.format);
        volume.tokens.clear();
        new_layers.push((below, layer, volume));
    }
    for (below, layer, mut volume) in new_layers {
        volume.modified = state.change();
        let (folder, name) = split(&layer.path);
        let mut pools = state.pools.values_mut();
        let pool = pools
            .find(|pool| pool.path == folder)
            .ok_or("no such folder")?;
        pool.volumes.insert(name.to_owned(), volume);
        rename(state, uuid, &below, &layer.path);
    }
    Ok(())
}

/// Moves the layer's content into the file below it, which the guest then writes into again.
pub(super) fn pivot(
    state: &mut SimHostState,
    uuid: Uuid,
    target: &str,
) -> Result<(), &'static str> {
    let change = state.change();
    let domain = state.domains.get_mut(&uuid).ok_or("no such domain")?;
    domain.merges.remove(target);
    let running = domain.running.as_ref();
    let mut disks = running.iter().flat_map(|spec| &spec.disks);
    let disk = disks.find(|disk| disk.target == target);
    let layer_path = disk.ok_or("no such disk")?.path.clone();
    let layer = state.by_path(&layer_path).ok_or("no such layer")?.clone();
    let below = layer.backing.ok_or("there is nothing below it")?;
    let volume = state.by_path_mut(&below).ok_or("what is below is gone")?;
    volume.tokens.extend(layer.tokens);
    if volume.content != layer.content {
        (volume.content, volume.modified) = (layer.content, change);
    }
    rename(state, uuid, &layer_path, &below);
    Ok(())
}

/// Switches the guest to a copy of a disk.
pub(super) fn switch_to_copy(
    state: &mut SimHostState,
    uuid: Uuid,
    target: &str,
) -> Result<(), &'static str> {
    let domain = state.domains.get_mut(&uuid).ok_or("no such domain")?;
    let copy = domain
        .block_copies
        .remove(target)
        .ok_or("no block job is active")?;
    let mut disks = domain.running.iter().flat_map(|spec| &spec.disks);
    let disk = disks.find(|disk| disk.target == target);
    let from = disk.ok_or("no such disk")?.path.clone();
    rename(state, uuid, &from, &copy);
    Ok(())
}

/// Changes a file's path in the live and the stored definition.
pub(super) fn rename(state: &mut SimHostState, uuid: Uuid, from: &str, to: &str) {
    let Some(domain) = state.domains.get_mut(&uuid) else {
        return;
    };
    let running = domain.running.iter_mut().flat_map(|spec| &mut spec.disks);
    let disks = running.chain(&mut domain.spec.disks);
    disks
        .filter(|disk| disk.path == from)
        .for_each(|disk| to.clone_into(&mut disk.path));
}
