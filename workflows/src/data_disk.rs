//! Workflows of data disks: make, grow, delete and forget. A data disk is an entity of its own,
//! whichever VSI uses it.

use vsiflow_engine::{
    model::{EntityId, EntityState, Failure, Graph, Name, Objects, Text},
    step::Step as _,
};
use vsiflow_steps::{
    awaited::Awaited,
    disk::{
        CheckSource, CreateVolume, DataDiskVolumes, DeleteVolume, FillFromImage, FillVolume,
        GrowVolume, check_source, create_volume, delete_volume, fill_from_image, fill_volume,
        grow_volume,
    },
    ports::{VolumeFormat, VolumeKey},
    vsi::{
        AwaitDataDisks, AwaitTurn, ReleaseSecrets, await_data_disks, await_turn,
        clone_boot_disk::BASE_IMAGE_NODE, release,
    },
};

use crate::{
    ensure_base_image,
    nodes::Nodes,
    record::{DiskRecord, ImageRecord, disk_entity},
    spec::{DataDiskSource, DesiredDataDisk, DesiredImage},
    vsi_graph::{image_on, unnameable},
};

/// The workflow that makes a disk, and later grows it.
pub const NAME: &str = "ensure_data_disk";

/// The workflow that deletes a disk.
pub const DELETE: &str = "delete_data_disk";

/// The workflow that forgets a disk, and leaves its volume on the host.
pub const FORGET: &str = "forget_data_disk";

/// The first volume of a disk, by which the journal names it; it is called like the disk's UID.
pub fn first_volume(disk: &DesiredDataDisk, id: &EntityId) -> VolumeKey {
    VolumeKey {
        pool: disk.pool.clone(),
        name: id.id().to_owned(),
    }
}

/// All volumes of a disk that may exist, the one that it is now first. Restorations make others than the first.
pub fn volumes(disk: &DesiredDataDisk, id: &EntityId, objects: &Objects) -> Vec<VolumeKey> {
    let first = first_volume(disk, id);
    let Some(volumes) = DataDiskVolumes::of(&first, objects) else {
        return vec![first];
    };
    volumes
        .all()
        .into_iter()
        .map(|(volume, _)| volume)
        .collect()
}

/// The volume that a disk is now, of its first one.
pub fn current_volume(first: &VolumeKey, objects: &Objects) -> VolumeKey {
    let volumes = DataDiskVolumes::of(first, objects);
    volumes.map_or_else(|| first.clone(), |volumes| volumes.current())
}

/// The image that the disk is filled with, on its pool; `None` if it is filled from another source.
pub fn image(disk: &DesiredDataDisk) -> Option<ImageRecord> {
    match (&disk.copy_of, &disk.source) {
        (None, Some(DataDiskSource::Image { image })) => {
            Some(image_on(&disk.host, &disk.pool, image))
        }
        _ => None,
    }
}

/// Whether this journal recorded the intent to make the volume.
pub fn is_recorded(record: &DiskRecord, state: &EntityState) -> bool {
    record.recorded || state.intents.contains(&Name::of(CreateVolume::NAME)) || was_filled(state)
}

/// Whether this journal recorded the intent to fill the volume.
fn was_filled(state: &EntityState) -> bool {
    let filling = [FillVolume::NAME, FillFromImage::NAME].map(Name::of);
    filling.iter().any(|step| state.intents.contains(step))
}

/// The graph: `create_volume`, or the step that fills it, → `grow_volume`. If a reference is
/// unresolved, only `require_references`.
///
/// # Errors
/// When the desired state cannot be made into parameters.
pub fn graph(record: &DiskRecord, id: &EntityId) -> Result<Graph, Failure> {
    let (host, size) = (record.disk.host.clone(), record.disk.size);
    let volume = first_volume(&record.disk, id);
    let mut nodes = Nodes::new(NAME, &host);
    if !record.unresolved_refs.is_empty() {
        nodes.require(&record.unresolved_refs)?;
        return Ok(nodes.build());
    }
    let made = match (&record.disk.copy_of, &record.disk.source) {
        _ if record.adopted => empty(&mut nodes, record, &volume)?,
        (Some(source), _) => copied(&mut nodes, record, &volume, source)?,
        (None, Some(DataDiskSource::Image { image })) => {
            from_image(&mut nodes, record, &volume, image)?
        }
        (None, _) => empty(&mut nodes, record, &volume)?,
    };
    let grow = grow_volume::Params { host, volume, size };
    nodes.step::<GrowVolume>(&[made], &grow)?;
    Ok(nodes.build())
}

fn empty(
    nodes: &mut Nodes,
    record: &DiskRecord,
    volume: &VolumeKey,
) -> Result<&'static str, Failure> {
    let params = create_volume::Params {
        host: record.disk.host.clone(),
        volume: volume.clone(),
        size: record.disk.size,
        format: VolumeFormat::Qcow2,
        recorded: record.recorded,
        made: record.made,
        adopted: record.adopted,
    };
    nodes.step::<CreateVolume>(&[], &params)?;
    Ok(CreateVolume::NAME)
}

/// `await_data_disks` if it is a copy of another disk → `fill_volume`.
fn copied(
    nodes: &mut Nodes,
    record: &DiskRecord,
    volume: &VolumeKey,
    source: &VolumeKey,
) -> Result<&'static str, Failure> {
    let mut after = Vec::new();
    let of_disk = match &record.disk.source {
        Some(DataDiskSource::Disk { name }) => Some(name),
        _ => None,
    };
    if let Some((name, uid)) = of_disk.zip(source.name.parse().ok())
        && !record.made
    {
        let awaited = Awaited {
            entity: disk_entity(uid).map_err(unnameable)?.to_string(),
            name: name.clone(),
        };
        let disks = vec![awaited];
        let node = nodes.step::<AwaitDataDisks>(&[], &await_data_disks::Params { disks })?;
        // It contacts no host, and must not block the other disk's work in the host's lane.
        (node.interruptible, node.lane) = (true, Text::default());
        after.push(AwaitDataDisks::NAME);
    }
    let params = fill_volume::Params {
        host: record.disk.host.clone(),
        volume: volume.clone(),
        source: source.clone(),
        made: record.made,
        size: record.disk.size,
        shared: of_disk.is_some(),
    };
    nodes.step::<FillVolume>(&after, &params)?;
    Ok(FillVolume::NAME)
}

/// `check_source` → `ensure_base_image` → `fill_from_image`. Once the disk was made, the image is no
/// longer needed.
fn from_image(
    nodes: &mut Nodes,
    record: &DiskRecord,
    volume: &VolumeKey,
    image: &DesiredImage,
) -> Result<&'static str, Failure> {
    let disk = &record.disk;
    let mut after = Vec::new();
    if !record.made {
        let image = image_on(&disk.host, &disk.pool, image);
        let check = check_source::Params {
            host: disk.host.clone(),
            url: image.url.clone(),
            checksum: image.checksum.clone(),
            size: disk.size,
        };
        nodes.step::<CheckSource>(&[], &check)?;
        let entity = image.entity().map_err(unnameable)?;
        let workflow = ensure_base_image::NAME;
        nodes.entity(
            BASE_IMAGE_NODE,
            &[CheckSource::NAME],
            entity,
            workflow,
            &image,
        )?;
        after.push(BASE_IMAGE_NODE);
    }
    let params = fill_from_image::Params {
        host: disk.host.clone(),
        volume: volume.clone(),
        size: disk.size,
        made: record.made,
    };
    nodes.step::<FillFromImage>(&after, &params)?;
    Ok(FillFromImage::NAME)
}

/// The graph: `delete_volume`, after the VSI that is deleted with it. A disk that this journal never
/// started to make is only forgotten.
///
/// # Errors
/// When the desired state cannot be made into parameters.
pub fn delete_graph(
    record: &DiskRecord,
    id: &EntityId,
    state: &EntityState,
) -> Result<Graph, Failure> {
    let mut nodes = Nodes::new(DELETE, &record.disk.host);
    let mut first = Vec::new();
    if let Some(turn) = &record.turn {
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
        host: record.disk.host.clone(),
        volume: first_volume(&record.disk, id),
        recorded: is_recorded(record, state),
        filled: was_filled(state),
    };
    let node = nodes.step::<DeleteVolume>(&first, &params)?;
    if !params.recorded {
        // It contacts no host.
        node.lane = Text::default();
    }
    Ok(nodes.build())
}

/// The graph that forgets the disk: its host is not contacted, and the volume remains.
///
/// # Errors
/// When the desired state cannot be made into parameters.
pub fn forget_graph(record: &DiskRecord) -> Result<Graph, Failure> {
    let mut nodes = Nodes::new(FORGET, &record.disk.host);
    let secrets = Vec::new();
    let node = nodes.step::<ReleaseSecrets>(&[], &release::Params { secrets })?;
    node.lane = Text::default();
    Ok(nodes.build())
}
