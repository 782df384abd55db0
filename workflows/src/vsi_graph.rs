//! Builds the graphs of VSIs, and the parameters of their nodes: cards, data disks, image and boots.

mod boot_disks;
mod boots;
mod disks;
mod image;
mod networks;
mod snapshots;

use vsiflow_engine::{
    model::{Failure, FailureClass, InvalidId, Name, Objects, Text},
    step::Step,
    workflow::Situation,
};
use vsiflow_steps::{
    guest::{GuestType, Probe, no_cloud::Instance},
    names,
    ports::{ConsolePosition, VolumeKey},
    snapshot::SavedMemory,
    vsi::{
        AwaitReady, AwaitTurn, CheckContract, CreateConsoleLog, DefineDomain, FindParts,
        KeepEvidence, ReleaseSecrets, ResolveHost, ResumeDomain, SetAutostart, StartDomain,
        StopDomain, SuspendDomain, UndefineDomain, WriteCidata, await_ready, await_turn,
        check_contract, clone_boot_disk, create_console_log, define_domain, find_parts,
        keep_evidence, release, resolve_host, resume_domain, set_autostart, start_domain,
        stop_domain, suspend_domain, undefine_domain, write_cidata,
    },
};

pub(crate) use self::{
    boot_disks::NewBootDisk,
    boots::{FAILED_GRACE_S, boot_failed, last_boot, was_too_slow},
    disks::named_volumes,
    image::{image, image_on},
    snapshots::drop_snapshot,
};
pub use self::{boots::BOOT_DEADLINE_S, image::SIMULATED};
use crate::{
    boot_disks::has_written_boot_disk,
    cards::macs,
    ensure_base_image, formats, network,
    nodes::Nodes,
    record::{DiskFormat, RolloutPredecessor, VsiRecord},
    spec::{BootDiskMode, DesiredVsi, PowerState},
};
pub(crate) use crate::{
    boot_disks::{BootDisks, is_ephemeral},
    cards::{cards, macs_of},
    record::{disk_uid, volume},
};

/// The default number of seconds that a guest gets to shut down before it is ended.
pub(crate) const GRACE_S: u64 = 60;

/// How a guest is stopped.
#[derive(Clone, Copy)]
pub(crate) struct StopOptions {
    /// How long it may take to shut down, in seconds.
    pub(crate) grace_s: u64,
    /// Whether it ends by itself, and is neither asked nor ended.
    pub(crate) ends_itself: bool,
    /// Whether the next change does not fit saved memory.
    pub(crate) boots_anew: bool,
    /// Whether a guest that an I/O error holds is not ended.
    pub(crate) spares_held: bool,
}

/// What becomes of the present boot disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum PresentBootDisk {
    Stays,
    IsReplaced,
}

/// How a domain is defined.
#[derive(Clone, Copy, Default)]
pub(crate) struct DefineOptions {
    /// Whether the guest may run; then only its stored definition is written.
    pub(crate) while_running: bool,
}

/// The graph of one VSI, being built.
pub(crate) struct VsiGraphBuilder<'a> {
    pub(crate) nodes: Nodes,
    pub(crate) record: &'a VsiRecord,
    /// Where the console output of the last recorded boot begins.
    pub(crate) last_boot: ConsolePosition,
    /// The memory that the guest is started with, instead of a boot.
    pub(crate) memory: Option<SavedMemory>,
    /// The boot disk that the definition names at the graph's end.
    boot: VolumeKey,
    /// The boot disk that it replaces, if a guest may have written to that.
    replaces: Option<VolumeKey>,
    /// The disks whose content the graph replaces.
    replaced: Vec<VolumeKey>,
    /// The data disks among them that others are made beside.
    replaced_data_disks: Vec<VolumeKey>,
    /// What the journal has of the VSI's objects.
    objects: &'a Objects,
    /// Whether a guest may have written to the present boot disk, and its content lasts.
    pub(crate) has_written: bool,
    /// The recorded formats of its data disks.
    formats: Vec<DiskFormat>,
}

impl<'a> VsiGraphBuilder<'a> {
    pub(crate) fn new(workflow: &'static str, record: &'a VsiRecord, at: &Situation<'a>) -> Self {
        Self {
            nodes: Nodes::new(workflow, &record.vsi.host),
            record,
            last_boot: ConsolePosition::default(),
            memory: None,
            boot: BootDisks::of(record, &at.entity.objects).current(),
            replaces: None,
            replaced: Vec::new(),
            replaced_data_disks: Vec::new(),
            objects: &at.entity.objects,
            has_written: has_written_boot_disk(record, at.entity),
            formats: formats::known(record, at),
        }
    }

    fn host(&self) -> String {
        self.record.vsi.host.clone()
    }

    fn step<S: Step>(&mut self, after: &[&str], params: &S::Params) -> Result<(), Failure> {
        self.nodes.step::<S>(after, params).map(drop)
    }

    /// It contacts no host, and must not block others in the host's lane.
    pub(crate) fn await_turn(&mut self, turn: &RolloutPredecessor) -> Result<(), Failure> {
        let params = await_turn::Params {
            after: turn.after.clone(),
            name: turn.name.clone(),
            continue_on_failure: turn.continue_on_failure,
        };
        let node = self.nodes.step::<AwaitTurn>(&[], &params)?;
        node.interruptible = true;
        node.lane = Text::default();
        Ok(())
    }

    /// Adds the contract check, so that an invalid contract costs neither an upload nor a boot. Returns
    /// the nodes that the next ones follow. A guest without a contract is not checked.
    pub(crate) fn check_contract<'b>(
        &mut self,
        after: &[&'b str],
    ) -> Result<Vec<&'b str>, Failure> {
        if !self.record.vsi.guest_type().is_hyper_protect() {
            return Ok(after.to_vec());
        }
        let params = check_contract::Params {
            contract: self.record.contract.clone(),
            namespace: self.record.vsi.namespace.clone(),
        };
        // It contacts no host.
        self.nodes.step::<CheckContract>(after, &params)?.lane = Text::default();
        Ok(vec![CheckContract::NAME])
    }

    pub(crate) fn resolve_host(&mut self, after: &[&str]) -> Result<(), Failure> {
        self.resolve(after, false)
    }

    /// Like [`Self::resolve_host`], for a VSI that has nothing on the host yet.
    pub(crate) fn resolve_new_host(&mut self, after: &[&str]) -> Result<(), Failure> {
        self.resolve(after, true)
    }

    fn resolve(&mut self, after: &[&str], new: bool) -> Result<(), Failure> {
        let title = if new {
            self.record.vsi.full_name()
        } else {
            String::new()
        };
        let params = resolve_host::Params {
            host: self.host(),
            arch: self.record.vsi.machine.arch.clone(),
            pool: self.record.vsi.pool.clone(),
            new,
            uuid: new.then_some(self.record.uid),
            title,
            secure: self.record.vsi.machine.secure_execution,
        };
        self.step::<ResolveHost>(after, &params)
    }

    pub(crate) fn keep_evidence(&mut self, after: &[&str]) -> Result<(), Failure> {
        let params = keep_evidence::Params {
            host: self.host(),
            uuid: self.record.uid,
            console: console(self.record),
        };
        self.step::<KeepEvidence>(after, &params)
    }

    pub(crate) fn stop(&mut self, after: &[&str], how: StopOptions) -> Result<(), Failure> {
        let StopOptions {
            grace_s,
            ends_itself,
            boots_anew,
            spares_held,
        } = how;
        let params = stop_domain::Params {
            host: self.host(),
            uuid: self.record.uid,
            grace_s,
            ends_itself,
            boots_anew,
            spares_held,
            replaced: self.replaced.clone(),
            named: if self.replaced.is_empty() {
                Vec::new()
            } else {
                self.named()
            },
            volumes: Vec::new(),
            stay: Vec::new(),
        };
        self.step::<StopDomain>(after, &params)
    }

    /// Takes the definition away while a disk is made anew in its place: nobody can start the guest then. The
    /// settings of its firmware remain.
    pub(crate) fn undefine(&mut self, after: &[&str]) -> Result<(), Failure> {
        let params = undefine_domain::Params {
            host: self.host(),
            uuid: self.record.uid,
            discard: false,
            volumes: Vec::new(),
            stay: self.record.volumes(),
        };
        self.step::<UndefineDomain>(after, &params)
    }

    pub(crate) fn autostart(&mut self, after: &[&str], on: bool) -> Result<(), Failure> {
        let params = set_autostart::Params {
            host: self.host(),
            uuid: self.record.uid,
            on,
        };
        self.step::<SetAutostart>(after, &params)
    }

    /// Switches autostart back on after disks were replaced, if the VSI starts with its host. Returns the nodes
    /// that the next ones follow.
    pub(crate) fn autostart_again<'b>(
        &mut self,
        after: &[&'b str],
    ) -> Result<Vec<&'b str>, Failure> {
        if !autostarts(&self.record.vsi, self.record.power_state()) {
            return Ok(after.to_vec());
        }
        let params = set_autostart::Params {
            host: self.host(),
            uuid: self.record.uid,
            on: true,
        };
        let node = self.nodes.step::<SetAutostart>(after, &params)?;
        node.name = Name::of(AUTOSTART_AGAIN);
        Ok(vec![AUTOSTART_AGAIN])
    }

    pub(crate) fn suspend(&mut self, after: &[&str]) -> Result<(), Failure> {
        let params = suspend_domain::Params {
            host: self.host(),
            uuid: self.record.uid,
        };
        self.step::<SuspendDomain>(after, &params)
    }

    pub(crate) fn resume(&mut self, after: &[&str]) -> Result<(), Failure> {
        let params = resume_domain::Params {
            host: self.host(),
            uuid: self.record.uid,
        };
        self.step::<ResumeDomain>(after, &params)
    }

    /// Adds the run of the base image that the VSI boots from.
    pub(crate) fn base_image(&mut self, after: &[&str]) -> Result<(), Failure> {
        let image = image(self.record);
        let entity = image.entity().map_err(unnameable)?;
        let (node, workflow) = (clone_boot_disk::BASE_IMAGE_NODE, ensure_base_image::NAME);
        let made = self.nodes.entity(node, after, entity, workflow, &image);
        made.map(drop)
    }

    /// Adds the step that writes the guest's configuration. Returns whether there is any.
    pub(crate) fn cidata(&mut self, after: &[&str]) -> Result<bool, Failure> {
        let (vsi, uuid) = (&self.record.vsi, self.record.uid);
        let Some(volume) = names::seed(&vsi.pool, uuid, vsi.seed()) else {
            return Ok(false);
        };
        let params = write_cidata::Params {
            host: self.host(),
            uuid,
            volume,
            hostname: uuid.to_string(),
            contract: self.record.contract.clone(),
            network_config: network_config(self.record),
            instance: instance(vsi),
            seed: vsi.seed(),
        };
        self.step::<WriteCidata>(after, &params)?;
        Ok(true)
    }

    pub(crate) fn console_log(&mut self, after: &[&str]) -> Result<(), Failure> {
        let params = create_console_log::Params {
            host: self.host(),
            volume: console(self.record),
        };
        self.step::<CreateConsoleLog>(after, &params)
    }

    /// Adds the step that finds the parts of the definition that stay.
    pub(crate) fn find(&mut self, after: &[&str], boot: PresentBootDisk) -> Result<(), Failure> {
        let params = find_parts::Params {
            host: self.host(),
            uuid: self.record.uid,
            pool: self.record.vsi.pool.clone(),
            boot: BootDisks::of(self.record, self.objects).all(),
            overlay: self.record.vsi.boot_disk.mode != BootDiskMode::Copy,
            boot_is_replaced: boot == PresentBootDisk::IsReplaced,
            seed: self.record.vsi.seed(),
        };
        self.step::<FindParts>(after, &params)
    }

    pub(crate) fn define(&mut self, after: &[&str]) -> Result<(), Failure> {
        self.define_with(after, DefineOptions::default())
    }

    pub(crate) fn define_with(
        &mut self,
        after: &[&str],
        how: DefineOptions,
    ) -> Result<(), Failure> {
        let params = define_domain::Params {
            host: self.host(),
            uuid: self.record.uid,
            title: self.record.vsi.full_name(),
            cpus: self.record.vsi.machine.cpus,
            memory_mib: self.record.vsi.machine.memory_mib,
            secure: self.record.vsi.machine.secure_execution,
            macs: macs(self.record),
            autostart: autostarts(&self.record.vsi, self.record.power_state()),
            while_running: how.while_running,
            boot: names_its_boot_disk(self.record).then(|| self.boot.clone()),
            replaces: self.replaces.clone(),
            disposable: is_ephemeral(&self.record.vsi),
            platform: platform(&self.record.vsi),
            named: self.named(),
        };
        self.step::<DefineDomain>(after, &params)
    }

    /// start_domain → await_ready.
    pub(crate) fn start(&mut self, after: &[&str]) -> Result<(), Failure> {
        let (host, uuid, console) = (self.host(), self.record.uid, console(self.record));
        let start = start_domain::Params {
            host: host.clone(),
            uuid,
            console: console.clone(),
            last_boot: self.last_boot,
            memory: self.memory.take(),
            named: self.named(),
        };
        self.step::<StartDomain>(after, &start)?;
        let watch = await_ready::Params {
            host,
            uuid,
            namespace: self.record.vsi.namespace.clone(),
            console,
            deadline_s: deadline_s(&self.record.vsi),
            cards: cards(self.record),
            guest: self.record.vsi.guest_type(),
            probes: probes(&self.record.vsi),
        };
        let nodes = &mut self.nodes;
        let node = nodes.step::<AwaitReady>(&[StartDomain::NAME], &watch)?;
        // It only watches, for as long as a boot takes, and must not block others in the host's lane.
        node.interruptible = true;
        node.lane = Text::default();
        Ok(())
    }

    /// Erases secrets that are not needed once everything before is done.
    pub(crate) fn release(&mut self, after: &[&str], secrets: &[Name]) -> Result<(), Failure> {
        let params = release::Params {
            secrets: secrets.to_vec(),
        };
        // It contacts no host.
        self.nodes.step::<ReleaseSecrets>(after, &params)?.lane = Text::default();
        Ok(())
    }
}

/// The node that switches autostart on again.
const AUTOSTART_AGAIN: &str = "autostart_again";

/// Whether the VSI's boot disk has vsiflow's own name.
fn names_its_boot_disk(record: &VsiRecord) -> bool {
    record
        .adopted
        .as_ref()
        .is_none_or(|adopted| adopted.own_volumes)
}

/// Whether libvirt starts it with its host. A VSI with an ephemeral boot disk is started by vsiflow.
pub(crate) fn autostarts(vsi: &DesiredVsi, power: PowerState) -> bool {
    power.is_up() && !is_ephemeral(vsi)
}

/// What cloud-init reads besides its user-data; `None` for any other guest.
fn instance(vsi: &DesiredVsi) -> Option<Instance> {
    let guest = vsi.guest.as_ref()?;
    let own = guest.guest_type == GuestType::CloudInit;
    own.then(|| Instance {
        hostname: guest.hostname.clone(),
        ssh_keys: guest.ssh_keys.clone(),
        vendor_data: guest.vendor_data.clone(),
    })
}

/// The guest's network configuration: the document's own, else the generated one.
fn network_config(record: &VsiRecord) -> Option<String> {
    let own = record.vsi.network_config.clone();
    own.or_else(|| network::static_config(record))
}

/// The machine of a virtual server; `None` for the kind whose definitions never change.
fn platform(vsi: &DesiredVsi) -> Option<define_domain::MachinePlatform> {
    let guest = vsi.guest.as_ref()?;
    Some(define_domain::MachinePlatform {
        cpu: vsi.machine.cpu.clone(),
        firmware: vsi.machine.firmware,
        guest: guest.guest_type,
        graphics: vsi.machine.graphics,
    })
}

/// How many seconds a boot may take.
fn deadline_s(vsi: &DesiredVsi) -> u64 {
    let within = vsi.ready.as_ref().and_then(|ready| ready.within_s);
    within.unwrap_or(BOOT_DEADLINE_S)
}

/// The readiness probes, besides the messages that a Hyper Protect guest prints.
pub(crate) fn probes(vsi: &DesiredVsi) -> Vec<Probe> {
    let ready = vsi.ready.as_ref();
    ready.map(|ready| ready.probes.clone()).unwrap_or_default()
}

pub(crate) fn console(record: &VsiRecord) -> VolumeKey {
    names::console_log(&record.vsi.pool, record.uid)
}

pub(crate) fn unnameable(error: InvalidId) -> Failure {
    Failure::new(FailureClass::Blocked, "VSI0001", error.to_string())
        .with_remedy("this is a defect of vsiflow; please report it with `vsiflow history`")
}
