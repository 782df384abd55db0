//! Domains as the simulated host reports them.

use super::{Domain, SimHostState};
use crate::ports::{
    DiskShape, DiskSource, DiskSpec, DomainInfo, DomainShape, DomainSpec, Graphics, ScreenShape,
};

impl SimHostState {
    /// A domain as the ports report it.
    pub(super) fn info(&self, domain: &Domain) -> DomainInfo {
        let spec = &domain.spec;
        let mut files = vec![DiskSource::Path(spec.console_log.clone())];
        for disk in &spec.disks {
            let mut next = Some(disk.path.clone());
            // The limit also ends a chain that contains itself.
            for _ in 0..16 {
                let Some(path) = next else { break };
                next = self
                    .by_path(&path)
                    .and_then(|volume| volume.backing.clone());
                files.push(DiskSource::Path(path));
            }
        }
        DomainInfo {
            uuid: spec.uuid,
            name: spec.name.clone(),
            title: (!spec.title.is_empty()).then(|| spec.title.clone()),
            arch: spec.machine.arch.clone(),
            state: domain.state,
            reason: None,
            moved: domain.moved,
            saved: domain.saved.is_some(),
            persistent: true,
            autostart: spec.autostart,
            files,
            mark: domain.mark.clone(),
            stored: shape(spec),
            live: domain
                .state
                .is_active()
                .then(|| shape(domain.running.as_ref().unwrap_or(spec))),
            xml: xml(domain),
        }
    }
}

/// The machine that a definition describes.
pub(super) fn shape(spec: &DomainSpec) -> DomainShape {
    let disk = |disk: &DiskSpec| DiskShape {
        target: disk.target.clone(),
        source: disk.path.clone(),
        format: disk.format.as_str().to_owned(),
        readonly: disk.readonly,
        serial: disk.serial.clone(),
    };
    DomainShape {
        cpus: spec.machine.cpus,
        memory_mib: spec.machine.memory_mib,
        disks: spec.disks.iter().map(disk).collect(),
        nics: spec.nics.clone(),
        screens: Some(match graphics(spec) {
            Graphics::None => Vec::new(),
            Graphics::Vnc => vec![ScreenShape::ours()],
        }),
    }
}

/// The screen of a machine.
pub(super) fn graphics(spec: &DomainSpec) -> Graphics {
    let platform = spec.machine.platform.as_ref();
    platform
        .map(|platform| platform.graphics)
        .unwrap_or_default()
}

fn xml(domain: &Domain) -> String {
    let spec = &domain.spec;
    let disks: String = spec
        .disks
        .iter()
        .map(|disk| {
            format!(
                "  <disk target='{}' file='{}' format='{}' serial='{}'/>\n",
                disk.target,
                disk.path,
                disk.format.as_str(),
                disk.serial,
            )
        })
        .collect();
    let nics: String = spec
        .nics
        .iter()
        .map(|nic| {
            format!(
                "  <interface network='{}' mac='{}'/>\n",
                nic.network, nic.mac,
            )
        })
        .collect();
    format!(
        "<domain type='{}' simulated='yes'>\n  <name>{}</name>\n  <title>{}</title>\n  \
         <memory unit='MiB'>{}</memory>\n  <vcpu>{}</vcpu>\n{disks}{nics}</domain>\n",
        spec.machine.domain_type, spec.name, spec.title, spec.machine.memory_mib, spec.machine.cpus,
    )
}
