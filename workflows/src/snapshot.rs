//! Workflows of snapshots: take, delete and forget. A snapshot is an entity of its own, which outlives
//! its VSI.
//!
//! It is taken while a run of the VSI waits for it, so that nothing else changes the VSI at the same
//! time.

use vsiflow_engine::{
    model::{EntityId, EntityState, Failure, Graph, Name, Text},
    step::Step as _,
};
use vsiflow_steps::{
    snapshot::{CopyDisks, MergeLayers, copy_disks, merge_layers},
    vsi::{DeleteVolumes, ReleaseSecrets, delete_volumes, release},
};

use crate::{nodes::Nodes, record::SnapshotRecord};

/// The workflow that takes a snapshot.
pub const NAME: &str = "take_snapshot";

/// The workflow that deletes a snapshot.
pub const DELETE: &str = "delete_snapshot";

/// The workflow that forgets a snapshot, and leaves the copies on the host.
pub const FORGET: &str = "forget_snapshot";

/// Whether this journal recorded the intent to make the copies.
pub fn is_recorded(state: &EntityState) -> bool {
    state.intents.contains(&Name::of(CopyDisks::NAME))
}

/// The graph: `copy_disks` → `merge_layers`. The copies of a snapshot that was complete once are final: a run of its VSI
/// that waits for it again copies nothing, and only looks for layers.
///
/// # Errors
/// When the desired state cannot be made into parameters.
pub fn graph(record: &SnapshotRecord, state: &EntityState) -> Result<Graph, Failure> {
    let mut nodes = Nodes::new(NAME, &record.host);
    if state.reached > 0 {
        nodes.step::<MergeLayers>(&[], &layers(record))?;
        return Ok(nodes.build());
    }
    let params = copy_disks::Params {
        host: record.host.clone(),
        uuid: record.vsi,
        disks: record.disks.clone(),
        quiesce: record.quiesce,
        off_because: record.off_because.clone(),
        memory: record.memory.clone(),
    };
    nodes.step::<CopyDisks>(&[], &params)?;
    nodes.step::<MergeLayers>(&[CopyDisks::NAME], &layers(record))?;
    Ok(nodes.build())
}

/// The parameters for merging the layers of a snapshot.
pub(crate) fn layers(record: &SnapshotRecord) -> merge_layers::Params {
    merge_layers::Params {
        host: record.host.clone(),
        uuid: record.vsi,
        disks: record.disks.clone(),
    }
}

/// The graph: `merge_layers` if the snapshot was never completed → `delete_volumes` for the copies and
/// the memory. If this journal never started to make them, the snapshot is only forgotten.
///
/// # Errors
/// When the desired state cannot be made into parameters.
pub fn delete_graph(
    record: &SnapshotRecord,
    id: &EntityId,
    state: &EntityState,
) -> Result<Graph, Failure> {
    if !is_recorded(state) {
        let graph = forget_graph(record)?;
        let workflow = Name::of(DELETE);
        return Ok(Graph { workflow, ..graph });
    }
    let mut nodes = Nodes::new(DELETE, &record.host);
    let copies = record.disks.iter().map(|disk| disk.copy.clone());
    let params = delete_volumes::Params {
        host: record.host.clone(),
        uuid: id.id().parse().unwrap_or_default(),
        volumes: copies
            .chain(record.memory.clone())
            .map(|volume| delete_volumes::VolumeToDelete {
                volume,
                recorded: true,
            })
            .collect(),
    };
    let mut first = Vec::new();
    if state.reached == 0 {
        nodes.step::<MergeLayers>(&[], &layers(record))?;
        first.push(MergeLayers::NAME);
    }
    nodes.step::<DeleteVolumes>(&first, &params)?;
    Ok(nodes.build())
}

/// The graph that forgets the snapshot: its host is not contacted, and the copies remain.
///
/// # Errors
/// When the desired state cannot be made into parameters.
pub fn forget_graph(record: &SnapshotRecord) -> Result<Graph, Failure> {
    let mut nodes = Nodes::new(FORGET, &record.host);
    let secrets = Vec::new();
    let node = nodes.step::<ReleaseSecrets>(&[], &release::Params { secrets })?;
    node.lane = Text::default();
    Ok(nodes.build())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn record() -> SnapshotRecord {
        let vsi = json!({
            "namespace": "default", "name": "web", "host": "sim", "pool": "images",
            "image": {"url": "http://a/b.qcow2", "fileName": "b.qcow2"},
            "bootDisk": {"mode": "copy"},
            "machine": {"arch": "s390x", "cpus": 2, "memoryMib": 4096},
            "networks": [], "disks": [], "deletionPolicy": "Delete",
        });
        let volume = |name: &str| json!({"pool": "images", "name": name});
        let record = json!({
            "namespace": "default", "name": "web-1", "vsi": Uuid::nil(), "vsi_name": "web",
            "host": "sim", "inputs": vsi,
            "disks": [{"disk": "boot", "volume": volume("boot"), "copy": volume("copy")}],
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn a_snapshot_that_was_complete_is_not_copied_again() {
        let steps = |state: &EntityState| -> Vec<_> {
            let graph = graph(&record(), state).unwrap();
            graph
                .nodes
                .iter()
                .map(|node| node.name.to_string())
                .collect()
        };
        let mut state = EntityState::default();
        assert_eq!(steps(&state), [CopyDisks::NAME, MergeLayers::NAME]);
        state.reached = 1;
        assert_eq!(steps(&state), [MergeLayers::NAME]);
    }
}
