//! Takes and deletes a snapshot: an entity of its own, which outlives its VSI.
//!
//! It is taken while a run of the VSI waits for it, so that nothing else happens to the VSI meanwhile.

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

/// The workflow that deletes one.
pub const DELETE: &str = "delete_snapshot";

/// The workflow that leaves the copies where they are.
pub const FORGET: &str = "forget_snapshot";

/// Whether this journal recorded the intent to make the copies.
pub fn is_recorded(state: &EntityState) -> bool {
    state.intents.contains(&Name::of(CopyDisks::NAME))
}

/// copy_disks → merge_layers.
///
/// # Errors
/// When the desired state cannot be made into parameters.
pub fn graph(record: &SnapshotRecord) -> Result<Graph, Failure> {
    let mut nodes = Nodes::new(NAME, &record.host);
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

/// What is to be known to merge the layers of a snapshot.
pub(crate) fn layers(record: &SnapshotRecord) -> merge_layers::Params {
    merge_layers::Params {
        host: record.host.clone(),
        uuid: record.vsi,
        disks: record.disks.clone(),
    }
}

/// delete_volumes: the copies and the memory, if this journal ever began to make them; before that merge_layers,
/// where the snapshot was not taken to its end.
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

/// Forgets the snapshot; its host is not asked, and the copies stay.
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
