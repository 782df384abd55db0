//! Translates the volumes of a machine and the disks that name them.

use std::collections::BTreeMap;

use vsiflow_workflows::spec::FieldPath;

use super::{
    DataVolume, Fields, KubevirtMetadata, KubevirtServer, Refusals, UniqueNames, Value,
    VolumeSource, Volumes, YamlNode, any_of, guest, only_flag, registry, word,
};

/// What a volume of the machine holds.
pub(super) enum KubevirtVolume {
    Data(String),
    /// The URL of an image. The guest gets a fresh copy at every start.
    Container(YamlNode),
    Configuration,
    /// It was refused where it was read.
    Refused,
}

/// What a volume may hold. The oldest version of the API has `registryDisk`.
const SOURCES: [&str; 6] = [
    "containerDisk",
    "registryDisk",
    "dataVolume",
    "persistentVolumeClaim",
    "cloudInitNoCloud",
    "cloudInitConfigDrive",
];

/// A volume that the machine lists.
pub(super) struct ListedVolume {
    holds: KubevirtVolume,
    path: FieldPath,
    /// How many volumes are listed before it.
    position: usize,
}

/// The volumes of a machine, by name.
pub(super) type MachineVolumes = BTreeMap<String, ListedVolume>;

/// A volume that the machine has as a disk.
struct AttachedVolume {
    order: Option<i128>,
    path: FieldPath,
    /// The name of the data disk.
    name: String,
    data: DataVolume,
}

/// The `DataVolume`s that a machine can have.
struct MachineData<'a, 'm, 'n> {
    metadata: &'a KubevirtMetadata<'m>,
    own: &'a mut BTreeMap<String, DataVolume>,
    known: &'a mut Volumes<'n>,
}

impl MachineData<'_, '_, '_> {
    /// The disk of a volume; `None` for a configuration, and if it is refused.
    fn of_volume(
        &mut self,
        volume: KubevirtVolume,
        path: FieldPath,
        order: Option<i128>,
        refusals: &mut Refusals,
    ) -> Option<AttachedVolume> {
        let (name, data) = match volume {
            KubevirtVolume::Configuration | KubevirtVolume::Refused => return None,
            KubevirtVolume::Container(url) => {
                let fresh = DataVolume {
                    source: VolumeSource::Http(url),
                    size: None,
                    pool: None,
                    ephemeral: true,
                    is_refused: false,
                    name_at: None,
                };
                (String::new(), fresh)
            }
            KubevirtVolume::Data(claimed) => {
                let data = self.claim(&claimed, &path, refusals)?;
                (claimed, data)
            }
        };
        Some(AttachedVolume {
            order,
            path,
            name,
            data,
        })
    }

    fn claim(
        &mut self,
        claimed: &str,
        path: &FieldPath,
        refusals: &mut Refusals,
    ) -> Option<DataVolume> {
        if let Some(data) = self.own.remove(claimed) {
            return Some(data);
        }
        let (namespace, server_name) = self.metadata.key();
        let Some(known) = self.known.get_mut(&(namespace, claimed.to_owned())) else {
            let message = format!("DataVolume {claimed} is not among these documents");
            refusals.wrong(path.clone(), &message, "apply it together with the machine");
            return None;
        };
        if known.used_by.replace(server_name).is_some() {
            let message = format!("DataVolume {claimed} is used twice");
            refusals.wrong(path.clone(), &message, "give each machine its own");
        }
        Some(known.volume.clone().elsewhere())
    }
}

/// Reads the volumes, by name.
pub(super) fn volumes(
    spec: &mut Fields<'_>,
    server: &mut KubevirtServer,
    refusals: &mut Refusals,
) -> MachineVolumes {
    let (mut listed, mut names) = (MachineVolumes::new(), UniqueNames::of("volumes"));
    for mut volume in spec.list("volumes", refusals) {
        let path = volume.own_path();
        let refused_before = refusals.0.len();
        let name = volume.text("name", refusals).and_then(YamlNode::text);
        let remedy = "write dataVolume, and a DataVolume with an http or registry source";
        volume.refuse("ephemeral", remedy, refusals);
        let named = [
            ("dataVolume", "name"),
            ("persistentVolumeClaim", "claimName"),
        ];
        let has_one_source = check_sources(&volume, refusals);
        let mut holds = None;
        // The oldest version of the API has the second name.
        for key in ["containerDisk", "registryDisk"] {
            if volume.has(key) {
                let disk = volume.object(key, refusals);
                holds = registry::container(disk, refusals).map(KubevirtVolume::Container);
            }
        }
        for (key, field) in named {
            if volume.has(key) {
                let mut claim = volume.object(key, refusals);
                let claimed = claim.text(field, refusals).and_then(YamlNode::text);
                holds = claimed.map(|claim_name| KubevirtVolume::Data(claim_name.to_owned()));
                claim.end(refusals);
            }
        }
        let configuration = if volume.has("cloudInitNoCloud") {
            Some(guest::no_cloud(
                volume.object("cloudInitNoCloud", refusals),
                refusals,
            ))
        } else if volume.has("cloudInitConfigDrive") {
            let drive = volume.object("cloudInitConfigDrive", refusals);
            Some(guest::config_drive(drive, refusals))
        } else {
            None
        };
        if let Some(configuration) = configuration {
            if server.configuration.replace(configuration).is_some() {
                refusals.wrong(
                    path.clone(),
                    "a guest has one configuration",
                    "keep one of them",
                );
            }
            holds = Some(KubevirtVolume::Configuration);
        }
        volume.end(refusals);
        let is_new = name.is_none_or(|name| names.is_new(name, &path, refusals));
        if refusals.0.len() == refused_before && (name.is_none() || holds.is_none()) {
            refusals.wrong(
                path.clone(),
                "this volume has no name or no source",
                "write name and dataVolume",
            );
        }
        if let (Some(name), true) = (name, is_new) {
            let holds = holds.filter(|_| has_one_source);
            let holds = holds.unwrap_or(KubevirtVolume::Refused);
            let position = listed.len();
            let listed_volume = ListedVolume {
                holds,
                path,
                position,
            };
            listed.insert(name.to_owned(), listed_volume);
        }
    }
    listed
}

/// Refuses a volume that has two of the sources that are taken. Returns whether it has not.
fn check_sources(volume: &Fields<'_>, refusals: &mut Refusals) -> bool {
    let mut present = SOURCES.into_iter().filter(|key| volume.has(key));
    let sources = (present.next(), present.next());
    if let (Some(first), Some(second)) = sources {
        let message = format!("a volume has one source, and this one has {first} and {second}");
        refusals.wrong(
            volume.path(second),
            &message,
            "write each as a volume of its own",
        );
    }
    sources.1.is_none()
}

pub(super) fn disks(
    devices: &mut Fields<'_>,
    metadata: &KubevirtMetadata<'_>,
    mut volumes: MachineVolumes,
    server: &mut KubevirtServer,
    own: &mut BTreeMap<String, DataVolume>,
    known: &mut Volumes<'_>,
    refusals: &mut Refusals,
) {
    let (mut found, mut names) = (Vec::new(), UniqueNames::of("disks"));
    let mut data = MachineData {
        metadata,
        own,
        known,
    };
    for mut disk in devices.list("disks", refusals) {
        let path = disk.own_path();
        let own_name = disk.text("name", refusals).and_then(YamlNode::text);
        // The oldest version of the API names the volume apart from the disk.
        let volume_name = disk.text("volumeName", refusals).and_then(YamlNode::text);
        let name = volume_name.or(own_name);
        let is_new = name.is_none_or(|name| names.is_new(name, &path, refusals));
        let order = boot_order(&mut disk, refusals);
        let volume = name.and_then(|name| volumes.remove(name));
        let volume = volume.map(|volume| volume.holds);
        let is_configuration = matches!(volume, Some(KubevirtVolume::Configuration));
        let kind = if is_configuration && disk.has("cdrom") {
            "cdrom"
        } else {
            "disk"
        };
        if disk.has(kind) {
            let mut how = disk.object(kind, refusals);
            // vsiflow always attaches guest configuration as a small virtio disk.
            if is_configuration {
                any_of(
                    &mut how,
                    "bus",
                    &["virtio", "sata", "scsi", "usb"],
                    refusals,
                );
            } else {
                word(&mut how, "bus", "virtio", refusals);
            }
            let remedy = "remove it: the guest may write to its disks, and reads its configuration";
            only_flag(&mut how, "readonly", kind == "cdrom", remedy, refusals);
            how.end(refusals);
        }
        let remedy = "remove it: a disk belongs to one server, and QEMU chooses its threads";
        for key in ["shareable", "dedicatedIOThread"] {
            only_flag(&mut disk, key, false, remedy, refusals);
        }
        disk.end(refusals);
        match volume {
            Some(volume) => found.extend(data.of_volume(volume, path, order, refusals)),
            None if !is_new => {}
            None => refusals.wrong(
                path,
                "no volume has the name of this disk",
                "add it to volumes",
            ),
        }
    }
    // KubeVirt attaches a volume without a disk, too, behind the others and as they are listed.
    let mut without_disk: Vec<_> = volumes.into_values().collect();
    without_disk.sort_by_key(|volume| volume.position);
    for ListedVolume { holds, path, .. } in without_disk {
        found.extend(data.of_volume(holds, path, None, refusals));
    }
    found.sort_by_key(|attached| attached.order.unwrap_or(i128::MAX));
    for AttachedVolume {
        path,
        name,
        data: attached,
        ..
    } in found
    {
        server.has_refused_volume |= attached.is_refused;
        match attached.source {
            VolumeSource::Http(_) if server.boot.is_none() && server.disks.is_empty() => {
                server.boot = Some(attached);
            }
            VolumeSource::Http(_) => refusals.wrong(
                path,
                "an image is taken for the first disk only",
                "give it bootOrder: 1, or make it a blank DataVolume",
            ),
            VolumeSource::Blank => server.disks.push((name, attached)),
            VolumeSource::Refused => {}
        }
    }
    if server.boot.is_none() && refusals.0.is_empty() && !server.has_refused_volume {
        refusals.wrong(
            devices.path("disks"),
            "no disk has an image to boot from",
            "name a containerDisk, or a DataVolume with an http or registry source, as the first disk",
        );
    }
}

/// The place of a disk among those that are booted from.
fn boot_order(disk: &mut Fields<'_>, refusals: &mut Refusals) -> Option<i128> {
    match disk.take("bootOrder")?.value {
        Value::Int(order) if order > 0 => return Some(order),
        _ => refusals.wrong(
            disk.path("bootOrder"),
            "bootOrder is not a positive number",
            "write, for example: bootOrder: 1",
        ),
    }
    None
}
