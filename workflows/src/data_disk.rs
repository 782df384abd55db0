//! Makes, grows and deletes a data disk: an entity of its own, whoever uses it.

use vsiflow_engine::{
    model::{EntityId, EntityState, Failure, Graph, Name, Text},
    step::Step as _,
};
use vsiflow_steps::{
    disk::{CreateVolume, DeleteVolume, GrowVolume, create_volume, delete_volume, grow_volume},
    ports::{VolumeFormat, VolumeKey},
    vsi::{AwaitTurn, Release, await_turn, release},
};

use crate::{nodes::Nodes, record::DiskRecord, spec::DesiredDataDisk};

/// The workflow that makes a disk, and grows it.
pub const NAME: &str = "ensure_data_disk";

/// The workflow that deletes a disk.
pub const DELETE: &str = "delete_data_disk";

/// The workflow that leaves the volume where it is.
pub const FORGET: &str = "forget_data_disk";

/// The volume of a disk: it bears the disk's UID.
pub fn volume(disk: &DesiredDataDisk, id: &EntityId) -> VolumeKey {
    VolumeKey {
        pool: disk.pool.clone(),
        name: id.id().to_owned(),
    }
}

/// Whether this journal recorded the intent to make the volume.
pub fn is_recorded(wanted: &DiskRecord, state: &EntityState) -> bool {
    wanted.recorded || state.intents.contains(&Name::of(CreateVolume::NAME))
}

/// create_volume → grow_volume; require_references alone where documents lack something.
///
/// # Errors
/// When what is wanted cannot be made into parameters.
pub fn graph(wanted: &DiskRecord, id: &EntityId) -> Result<Graph, Failure> {
    let (host, size) = (wanted.disk.host.clone(), wanted.disk.size);
    let volume = volume(&wanted.disk, id);
    let mut nodes = Nodes::new(NAME, &host);
    if !wanted.unresolved_refs.is_empty() {
        nodes.require(&wanted.unresolved_refs)?;
        return Ok(nodes.build());
    }
    let create = create_volume::Params {
        host: host.clone(),
        volume: volume.clone(),
        size,
        format: VolumeFormat::Qcow2,
        recorded: wanted.recorded,
        made: wanted.made,
    };
    nodes.step::<CreateVolume>(&[], &create)?;
    let grow = grow_volume::Params { host, volume, size };
    nodes.step::<GrowVolume>(&[CreateVolume::NAME], &grow)?;
    Ok(nodes.build())
}

/// delete_volume, after the VSI that goes with it is gone. One that this journal never began to
/// make is only forgotten.
///
/// # Errors
/// When what is wanted cannot be made into parameters.
pub fn delete_graph(
    wanted: &DiskRecord,
    id: &EntityId,
    state: &EntityState,
) -> Result<Graph, Failure> {
    let mut nodes = Nodes::new(DELETE, &wanted.disk.host);
    let mut first = Vec::new();
    if let Some(turn) = &wanted.turn {
        let params = await_turn::Params {
            after: turn.after.clone(),
            name: turn.name.clone(),
            continue_on_failure: turn.continue_on_failure,
        };
        let node = nodes.step::<AwaitTurn>(&[], &params)?;
        (node.interruptible, node.lane) = (true, Text::default());
        first.push(AwaitTurn::NAME);
    }
    let params = delete_volume::Params {
        host: wanted.disk.host.clone(),
        volume: volume(&wanted.disk, id),
        recorded: is_recorded(wanted, state),
    };
    let node = nodes.step::<DeleteVolume>(&first, &params)?;
    if !params.recorded {
        // It asks no host.
        node.lane = Text::default();
    }
    Ok(nodes.build())
}

/// Forgets the disk; its host is not asked, and the volume stays.
///
/// # Errors
/// When what is wanted cannot be made into parameters.
pub fn forget_graph(wanted: &DiskRecord) -> Result<Graph, Failure> {
    let mut nodes = Nodes::new(FORGET, &wanted.disk.host);
    let secrets = Vec::new();
    let node = nodes.step::<Release>(&[], &release::Params { secrets })?;
    node.lane = Text::default();
    Ok(nodes.build())
}
