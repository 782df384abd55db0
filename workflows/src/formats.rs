//! The formats of data disks at their first attachment. A guest can write any header into its disk, so
//! later attachments use the recorded format and never detect it again.

use vsiflow_engine::{
    model::{Name, NodeState, Payload, RunState},
    step::Step as _,
    workflow::Situation,
};
use vsiflow_steps::{
    ports::{VolumeFormat, VolumeKey},
    vsi::{AttachDataDisks, attach_data_disks},
};

use crate::record::{DiskFormat, VsiRecord};

/// The recorded format of a volume; the first that was recorded counts.
pub(crate) fn of(formats: &[DiskFormat], volume: &VolumeKey) -> Option<VolumeFormat> {
    let found = formats.iter().find(|known| known.volume == *volume);
    found.map(|known| known.format)
}

/// Adds the formats of volumes that are not known yet.
pub(crate) fn add(formats: &mut Vec<DiskFormat>, more: impl IntoIterator<Item = DiskFormat>) {
    for one in more {
        if of(formats, &one.volume).is_none() {
            formats.push(one);
        }
    }
}

/// The formats in the desired state, and those that the entity's runs found since.
pub(crate) fn known(record: &VsiRecord, at: &Situation<'_>) -> Vec<DiskFormat> {
    let mut formats = record.formats.clone();
    for run in at.entity.runs.iter().filter_map(|run| (at.runs)(*run)) {
        let found = output(&run).and_then(|output| read(record, output.inline()?));
        add(&mut formats, found.unwrap_or_default());
    }
    formats
}

/// The output of a run about the disks that it attached.
pub(crate) fn output(run: &RunState) -> Option<&Payload> {
    match run.nodes.get(&Name::of(AttachDataDisks::NAME))? {
        NodeState::Succeeded { output, .. } => Some(output),
        _ => None,
    }
}

/// The formats in such an output. Older versions recorded paths alone: a volume's name is the last
/// part of its path.
pub(crate) fn read(record: &VsiRecord, output: &[u8]) -> Option<Vec<DiskFormat>> {
    let output: attach_data_disks::Output = serde_json::from_slice(output).ok()?;
    let volumes = record.volumes();
    let by_path = |path: &str| {
        let name = path.rsplit('/').next();
        volumes.iter().find(|key| Some(key.name.as_str()) == name)
    };
    let formats = output.disks.iter().filter_map(|disk| {
        let volume = disk.volume.as_ref().or_else(|| by_path(&disk.path))?;
        Some(DiskFormat {
            volume: volume.clone(),
            format: disk.format,
        })
    });
    Some(formats.collect())
}
