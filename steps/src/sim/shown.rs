//! Domains as the simulated host reports them.

use std::collections::BTreeSet;

use super::{Domain, SimHostState};
use crate::ports::{
    DiskShape, DiskSource, DiskSpec, DomainInfo, DomainShape, DomainSpec, DomainState, Graphics,
    IO_ERROR, ScreenShape,
};

impl SimHostState {
    /// A domain as the ports report it.
    pub(super) fn info(&self, domain: &Domain) -> DomainInfo {
        let spec = &domain.spec;
        let is_running = domain.state.is_active();
        let running = is_running.then(|| domain.running.as_ref().unwrap_or(spec));
        let live_disks = running.iter().flat_map(|live| &live.disks);
        let chains: Vec<Vec<String>> = live_disks.map(|disk| self.chain(&disk.path)).collect();
        let stored = spec.disks.iter().map(|disk| &disk.path);
        let paths = stored.chain(chains.iter().flatten());
        let paths: BTreeSet<&String> = paths.chain([&spec.console_log]).collect();
        let files = paths.into_iter().cloned().map(DiskSource::Path).collect();
        DomainInfo {
            uuid: spec.uuid,
            name: spec.name.clone(),
            title: (!spec.title.is_empty()).then(|| spec.title.clone()),
            arch: spec.machine.arch.clone(),
            state: domain.state,
            reason: (domain.io_error && domain.state == DomainState::Paused)
                .then(|| IO_ERROR.to_owned()),
            moved: domain.moved,
            saved: domain.saved.is_some(),
            persistent: true,
            autostart: spec.autostart,
            files,
            chains,
            mark: domain.mark.clone(),
            stored: shape(spec),
            live: running.map(shape),
            xml: xml(domain),
        }
    }
}

impl SimHostState {
    /// A disk's file, and the files below it. The host reads these when the guest starts, and a stored
    /// definition does not name them.
    fn chain(&self, path: &str) -> Vec<String> {
        let mut chain = vec![path.to_owned()];
        // The limit also ends a chain that contains itself.
        while chain.len() < 16 {
            let last = chain.last().and_then(|last| self.by_path(last));
            let Some(below) = last.and_then(|volume| volume.backing.clone()) else {
                break;
            };
            chain.push(below);
        }
        chain
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
