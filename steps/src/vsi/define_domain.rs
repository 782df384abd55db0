//! Defines the VSI's domain on the host.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::{Failure, Name, Outcome},
    step::{Done, ObjectFact, Observed, Step, StepContext},
};

use super::{
    UndefineDomain, attach_data_disks, clone_boot_disk, create_console_log,
    elsewhere::{self, VsiIdentity},
    find_parts, resolve_host, resolve_networks, undefine_domain, write_cidata,
};
use crate::{
    error,
    guards::{self, ReplacedDefinition},
    guest::{GuestType, Seed},
    names, ownership,
    ports::{
        DiskSpec, DomainInfo, DomainShape, DomainSpec, Firmware, Graphics, GuestSupport, HostPorts,
        Hosts, MachineSpec, NicSpec, Platform, VolumeFormat, VolumeKey,
    },
    snapshot::{RestoreBeside, restore_beside},
};

/// Defines the domain from the outputs of the nodes before it.
///
/// The journal records the boot disk before the definition names it: from then on a guest may write to it, and
/// only an order destroys it. Nor is the guest given another in its place without one. A boot disk that lasts for one
/// start is no such disk: one of the same name that lasted is recorded as gone, once the definition of its replacement is
/// written. A data disk that was restored beside the present one is recorded likewise, before and after.
///
/// Its mark holds journal, UID, generation and run, so the next attempt recognises a definition whose
/// success was not recorded. A crash during the step leaves no definition or the whole one, because
/// libvirt defines atomically. A running domain is redefined only if that is requested. A definition is not
/// replaced while its guest writes to a file that this journal does not name: its data is there alone.
pub struct DefineDomain {
    hosts: Arc<dyn Hosts>,
}

/// Whether the guest's memory is protected from the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Secure {
    /// If the host supports it.
    #[default]
    Auto,
    /// Always; a host without it is refused.
    Required,
    /// Never.
    Off,
}

impl Secure {
    /// Whether it is the default.
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

/// Parameters of [`DefineDomain`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID: the domain's UUID and name.
    pub uuid: Uuid,
    /// `namespace/name`, for people.
    pub title: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Whether the guest's memory is protected from the host.
    #[serde(default)]
    pub secure: Secure,
    /// MAC addresses in the order of the networks; derived from the UID if there is none.
    #[serde(default)]
    pub macs: Vec<String>,
    /// Whether libvirt starts the domain with the host.
    #[serde(default = "yes")]
    pub autostart: bool,
    /// Whether the stored definition is written even if the domain runs: it applies from the next start.
    #[serde(default)]
    pub while_running: bool,
    /// The boot disk's volume, if this journal named it: from the definition on, a guest may write to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<VolumeKey>,
    /// The boot disk that this one replaces, if a guest may have written to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<VolumeKey>,
    /// Whether the boot disk is made again for every start, so that nothing of it lasts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disposable: bool,
    /// The devices of a modern machine; `None` for guests of type Hyper Protect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<MachinePlatform>,
    /// Every volume that this journal names, or has named, as a disk that the VSI writes to: the definition
    /// that is replaced may have no other. Not checked if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<VolumeKey>,
}

/// The devices of a modern machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachinePlatform {
    /// The processor; `None` for the best fit for the host.
    #[serde(default)]
    pub cpu: Option<String>,
    /// The firmware.
    #[serde(default)]
    pub firmware: Firmware,
    /// The type of guest.
    #[serde(default)]
    pub guest: GuestType,
    /// Whether it has a screen.
    #[serde(default, skip_serializing_if = "Graphics::is_none")]
    pub graphics: Graphics,
}

fn yes() -> bool {
    true
}

/// What [`DefineDomain`] made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The domain's UUID.
    pub uuid: Uuid,
    /// The domain's name.
    pub name: String,
    /// The definition as the host reports it; `None` if an older version wrote this.
    #[serde(default)]
    pub written: Option<DomainShape>,
}

impl DefineDomain {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }

    /// Refuses to define a domain that its host has not, if another host may have the VSI; and to give it an address
    /// that it has not, if another guest may have that.
    async fn refuse_elsewhere(
        &self,
        cx: &StepContext,
        ports: &HostPorts,
        params: &Params,
        before: Option<&DomainInfo>,
    ) -> Result<(), Failure> {
        let (host, vsi) = (&params.host, identity(params));
        if before.is_some_and(|domain| vsi.has_all_addresses(domain)) {
            return Ok(());
        }
        if before.is_none() && cx.intended_before && !was_undefined(cx) {
            elsewhere::refuse_moved(cx, &self.hosts, host, vsi.uid).await?;
        }
        elsewhere::refuse_forgotten(cx, &self.hosts, host, ports, vsi).await
    }
}

fn identity(params: &Params) -> VsiIdentity<'_> {
    VsiIdentity {
        uid: params.uuid,
        title: &params.title,
        macs: &params.macs,
    }
}

#[async_trait]
impl Step for DefineDomain {
    const NAME: &'static str = "define_domain";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let domain = ownership::own_domain(cx, &ports, params.uuid).await?;
        let mark = Some(ownership::mark(cx, params.uuid));
        let defined = domain.filter(|domain| domain.mark == mark && domain.persistent);
        let Some(defined) = defined else {
            return Ok(Observed::Needed);
        };
        // The mark names this run, so the whole definition is from it.
        in_use(cx, params, boot_volume(cx, params)?).await?;
        data_disks_switched(cx, &ports).await?;
        Ok(Observed::Present(output(defined)))
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let current = ownership::own_domain(cx, &ports, params.uuid).await?;
        if current
            .as_ref()
            .is_some_and(|domain| domain.state.is_active() && !params.while_running)
        {
            return Err(error::WRONG_STATE
                .failure("the domain runs; a running domain is not redefined")
                .on_host(ports.host.name())
                .of_object(format!("domain {}", params.uuid)));
        }
        self.refuse_elsewhere(cx, &ports, params, current.as_ref())
            .await?;
        let data_disks = restored(cx)?.disks;
        let replaced = data_disks.iter().map(|disk| &disk.replaces);
        let replaced = ReplacedDefinition {
            domain: current.as_ref(),
            named: &params.named,
            disks: &params.replaces.iter().chain(replaced).collect::<Vec<_>>(),
        };
        let permit = guards::permit_definition(cx, &ports, replaced, spec(cx, params)?).await?;
        for disk in &data_disks {
            guards::record_handed_over(cx, &ports, &disk.volume).await?;
        }
        let boot = boot_volume(cx, params)?;
        if let Some(boot) = boot.as_ref().filter(|_| !params.disposable) {
            guards::record_made(cx, &ports, boot).await?;
        }
        let domain = ports.domains.define(&permit).await?;
        in_use(cx, params, boot).await?;
        data_disks_switched(cx, &ports).await?;
        let outcome = if current.is_some() {
            Outcome::Updated
        } else {
            Outcome::Created
        };
        Ok(Done {
            outcome,
            output: output(domain),
        })
    }
}

/// Whether an earlier step of the run removed the definition.
fn was_undefined(cx: &StepContext) -> bool {
    let output = cx.output::<undefine_domain::Output>(UndefineDomain::NAME);
    output.is_ok()
}

/// The boot disk that the definition names, if this journal named it: the one that an earlier run made may be
/// another than the recorded one.
fn boot_volume(cx: &StepContext, params: &Params) -> Result<Option<VolumeKey>, Failure> {
    let Some(recorded) = &params.boot else {
        return Ok(None);
    };
    let volume = found(cx)?.and_then(|parts| parts.boot?.volume);
    Ok(Some(volume.unwrap_or_else(|| recorded.clone())))
}

/// Records that the definition names the boot disk, and that one of this name whose content lasted is gone.
async fn in_use(cx: &StepContext, params: &Params, boot: Option<VolumeKey>) -> Result<(), Failure> {
    let Some(boot) = boot else {
        return Ok(());
    };
    guards::record_in_use(cx, &boot).await?;
    let object = guards::object_name(&boot);
    if params.disposable && cx.ledger.objects().made.contains_key(&object) {
        cx.ledger.record(ObjectFact::Gone { object }).await?;
    }
    Ok(())
}

/// Records which volumes the data disks are from now on: those that the run restored, and those that an earlier run
/// defined without recording it.
async fn data_disks_switched(cx: &StepContext, ports: &HostPorts) -> Result<(), Failure> {
    let restored = restored(cx)?.disks;
    let attached: attach_data_disks::Output = cx.output("attach_data_disks")?;
    for disk in &attached.disks {
        let is_replaced = restored
            .iter()
            .any(|restored_disk| disk.present() == Some(&restored_disk.replaces));
        if let Some(volume) = disk.present.as_ref().filter(|_| !is_replaced) {
            guards::record_switched(cx, ports, volume).await?;
        }
    }
    for disk in &restored {
        guards::record_switched(cx, ports, &disk.volume).await?;
    }
    Ok(())
}

/// The data disks that this run made beside the present ones.
fn restored(cx: &StepContext) -> Result<restore_beside::Output, Failure> {
    if cx.outputs.contains_key(&Name::of(RestoreBeside::NAME)) {
        cx.output(RestoreBeside::NAME)
    } else {
        Ok(restore_beside::Output::default())
    }
}

fn output(domain: DomainInfo) -> Output {
    Output {
        uuid: domain.uuid,
        name: domain.name,
        written: Some(domain.stored),
    }
}

fn spec(cx: &StepContext, params: &Params) -> Result<DomainSpec, Failure> {
    let console = match found(cx)? {
        Some(parts) => parts.console.path,
        None => {
            cx.output::<create_console_log::Output>("create_console_log")?
                .path
        }
    };
    Ok(DomainSpec {
        uuid: params.uuid,
        name: params.uuid.to_string(),
        title: params.title.clone(),
        machine: machine(cx, params)?,
        disks: disks(cx, params)?,
        nics: nics(cx, params)?,
        console_log: console,
        autostart: params.autostart,
        mark: ownership::mark(cx, params.uuid),
    })
}

/// The parts that an earlier run made, if this run makes none of them.
fn found(cx: &StepContext) -> Result<Option<find_parts::Output>, Failure> {
    if cx.outputs.contains_key(&Name::of("find_parts")) {
        cx.output("find_parts").map(Some)
    } else {
        Ok(None)
    }
}

fn machine(cx: &StepContext, params: &Params) -> Result<MachineSpec, Failure> {
    let host: resolve_host::Output = cx.output("resolve_host")?;
    let guest = host.guest;
    offers(&params.host, &guest, params.secure)?;
    let secure_execution = params.secure != Secure::Off && guest.secure_execution;
    Ok(MachineSpec {
        platform: platform(cx, params, &guest.arch)?,
        arch: guest.arch,
        domain_type: guest.domain_type,
        machine: guest.machine,
        cpus: params.cpus,
        memory_mib: params.memory_mib,
        secure_execution,
    })
}

/// Refuses a host that lacks the protection that the guest requires.
pub(super) fn offers(host: &str, guest: &GuestSupport, secure: Secure) -> Result<(), Failure> {
    if secure != Secure::Required || guest.secure_execution {
        Ok(())
    } else {
        Err(error::ARCHITECTURE
            .failure("the host offers no secure execution, and the VSI requires it")
            .on_host(host))
    }
}

fn platform(cx: &StepContext, params: &Params, arch: &str) -> Result<Option<Platform>, Failure> {
    let Some(machine) = &params.platform else {
        return Ok(None);
    };
    let by_firmware = machine.guest.seed(arch) == Seed::IgnitionFwCfg;
    Ok(Some(Platform {
        cpu: machine.cpu.clone(),
        firmware: machine.firmware,
        // A Hyper Protect guest has no agent that its host could ask.
        agent: !machine.guest.is_hyper_protect(),
        ignition: if by_firmware {
            parts(cx, params, Seed::IgnitionFwCfg)?.1
        } else {
            None
        },
        // A Hyper Protect guest has no screen that its host could see.
        graphics: if machine.guest.is_hyper_protect() {
            Graphics::None
        } else {
            machine.graphics
        },
    }))
}

/// The boot disk, and the path of the volume that holds the guest's configuration.
fn parts(
    cx: &StepContext,
    params: &Params,
    seed: Seed,
) -> Result<(find_parts::Part, Option<String>), Failure> {
    // A volume that this run wrote takes precedence.
    let written = cx.outputs.contains_key(&Name::of("write_cidata"));
    let adopted = found(cx)?;
    let path = match &adopted {
        _ if seed == Seed::None => None,
        Some(adopted) if !written => adopted.cidata.as_ref().map(|cidata| cidata.path.clone()),
        _ => Some(cx.output::<write_cidata::Output>("write_cidata")?.path),
    };
    let boot = match adopted.and_then(|adopted| adopted.boot) {
        Some(boot) => boot,
        None => {
            let boot: clone_boot_disk::Output = cx.output("clone_boot_disk")?;
            find_parts::Part {
                volume: params.boot.clone(),
                path: boot.path,
                format: boot.format,
                overlay: boot.overlay,
            }
        }
    };
    Ok((boot, path))
}

fn disks(cx: &StepContext, params: &Params) -> Result<Vec<DiskSpec>, Failure> {
    let host: resolve_host::Output = cx.output("resolve_host")?;
    let guest = params.platform.as_ref().map(|machine| machine.guest);
    let seed = guest.unwrap_or_default().seed(&host.guest.arch);
    let (boot, configuration) = parts(cx, params, seed)?;
    let data: attach_data_disks::Output = cx.output("attach_data_disks")?;
    let disk = |path, format, serial: &str, readonly, boot_order| DiskSpec {
        target: String::new(),
        serial: serial.to_owned(),
        path,
        format,
        overlay: false,
        readonly,
        boot_order,
    };
    let boot_disk = DiskSpec {
        overlay: boot.overlay,
        ..disk(boot.path, boot.format, "boot", false, Some(1))
    };
    let serial = match seed {
        Seed::Cidata => Some("cidata"),
        Seed::IgnitionDisk => Some("ignition"),
        Seed::IgnitionFwCfg | Seed::None => None,
    };
    let configuration_disk = configuration
        .zip(serial)
        .map(|(path, serial)| disk(path, VolumeFormat::Raw, serial, true, None));
    let mut disks = vec![boot_disk];
    disks.extend(configuration_disk);
    let restored = restored(cx)?.disks;
    disks.extend(data.disks.into_iter().map(|attached| {
        let beside = restored
            .iter()
            .find(|restored_disk| attached.present() == Some(&restored_disk.replaces));
        let (path, format) = match beside {
            Some(beside) => (beside.path.clone(), beside.format),
            None => (attached.path, attached.format),
        };
        disk(path, format, &attached.serial, false, None)
    }));
    for (index, spec) in disks.iter_mut().enumerate() {
        spec.target = names::disk_target(index);
    }
    Ok(disks)
}

fn nics(cx: &StepContext, params: &Params) -> Result<Vec<NicSpec>, Failure> {
    let resolved: resolve_networks::Output = cx.output("resolve_networks")?;
    let nic = |(index, network): (usize, String)| {
        let card = u8::try_from(index).unwrap_or(u8::MAX);
        let mac = params.macs.get(index).cloned();
        NicSpec {
            network,
            mac: mac.unwrap_or_else(|| names::mac(params.uuid, card)),
        }
    };
    Ok(resolved.networks.into_iter().enumerate().map(nic).collect())
}
