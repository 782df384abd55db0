//! Translates the volumes of a machine and the disks that name them.

use std::collections::BTreeMap;

use super::{
    DataVolume, Fields, KubevirtMetadata, KubevirtServer, Refusals, Value, VolumeSource, Volumes,
    YamlNode, guest, registry, word,
};

/// What a volume of the machine holds.
pub(super) enum KubevirtVolume {
    Data(String),
    /// The URL of an image. The guest gets a fresh copy at every start.
    Container(YamlNode),
    Configuration,
}

/// Reads the volumes, by name.
pub(super) fn volumes(
    spec: &mut Fields<'_>,
    server: &mut KubevirtServer,
    refusals: &mut Refusals,
) -> BTreeMap<String, KubevirtVolume> {
    let mut found = BTreeMap::new();
    for mut volume in spec.list("volumes", refusals) {
        let path = volume.own_path();
        let name = volume.text("name", refusals).and_then(YamlNode::text);
        let remedy = "write dataVolume, and a DataVolume with an http or registry source";
        volume.refuse("ephemeral", remedy, refusals);
        let named = [
            ("dataVolume", "name"),
            ("persistentVolumeClaim", "claimName"),
        ];
        let mut holds = None;
        if volume.has("containerDisk") {
            let disk = volume.object("containerDisk", refusals);
            holds = registry::container(disk, refusals).map(KubevirtVolume::Container);
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
        if let (Some(name), Some(holds)) = (name, holds) {
            found.insert(name.to_owned(), holds);
        } else if refusals.0.is_empty() {
            refusals.wrong(
                path,
                "this volume has no name or no source",
                "write name and dataVolume",
            );
        }
    }
    found
}

pub(super) fn disks(
    devices: &mut Fields<'_>,
    metadata: &KubevirtMetadata<'_>,
    mut volumes: BTreeMap<String, KubevirtVolume>,
    server: &mut KubevirtServer,
    own: &mut BTreeMap<String, DataVolume>,
    known: &mut Volumes<'_>,
    refusals: &mut Refusals,
) {
    let (namespace, server_name) = metadata.key();
    let mut found = Vec::new();
    for mut disk in devices.list("disks", refusals) {
        let path = disk.own_path();
        let name = disk.text("name", refusals).and_then(YamlNode::text);
        let order = match disk.take("bootOrder").map(|node| &node.value) {
            Some(Value::Int(order)) => Some(*order),
            Some(_) => Some(i128::MAX),
            None => None,
        };
        let volume = name.and_then(|name| volumes.remove(name));
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
                let _ = how.take("bus");
            } else {
                word(&mut how, "bus", "virtio", refusals);
            }
            how.end(refusals);
        }
        disk.end(refusals);
        let claimed = match volume {
            Some(KubevirtVolume::Configuration) => continue,
            Some(KubevirtVolume::Data(claimed)) => claimed,
            Some(KubevirtVolume::Container(url)) => {
                let fresh = DataVolume {
                    source: VolumeSource::Http(url),
                    size: None,
                    pool: None,
                    ephemeral: true,
                };
                found.push((order, path, String::new(), fresh));
                continue;
            }
            None => {
                refusals.wrong(
                    path,
                    "no volume has the name of this disk",
                    "add it to volumes",
                );
                continue;
            }
        };
        let data = own.remove(&claimed).or_else(|| {
            let known = known.get_mut(&(namespace.clone(), claimed.clone()))?;
            let first = known.used_by.replace(server_name.clone());
            if first.is_some() {
                let message = format!("DataVolume {claimed} is used twice");
                refusals.wrong(path.clone(), &message, "give each machine its own");
            }
            Some(known.volume.clone())
        });
        match data {
            Some(data) => found.push((order, path, claimed, data)),
            None => {
                let message = format!("DataVolume {claimed} is not among these documents");
                refusals.wrong(path, &message, "apply it together with the machine");
            }
        }
    }
    for name in volumes.into_keys() {
        let message = format!("no disk has the name of volume {name}");
        let path = devices.path("disks");
        refusals.wrong(path, &message, "add it to disks, or remove the volume");
    }
    found.sort_by_key(|(order, ..)| order.unwrap_or(i128::MAX));
    for (_, path, name, data) in found {
        match data.source {
            VolumeSource::Http(_) if server.boot.is_none() && server.disks.is_empty() => {
                server.boot = Some(data);
            }
            VolumeSource::Http(_) => refusals.wrong(
                path,
                "an image is taken for the first disk only",
                "give it bootOrder: 1, or make it a blank DataVolume",
            ),
            VolumeSource::Blank => server.disks.push((name, data)),
        }
    }
    if server.boot.is_none() && refusals.0.is_empty() {
        refusals.wrong(
            devices.path("disks"),
            "no disk has an image to boot from",
            "name a containerDisk, or a DataVolume with an http or registry source, as the first disk",
        );
    }
}
