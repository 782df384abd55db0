//! The nodes that the graphs of VSIs are put together from.

use std::collections::BTreeSet;

use uuid::Uuid;
use vsiflow_engine::{
    model::{EntityState, Failure, FailureClass, InvalidId, Name, NodeState, RunResult, Text},
    step::Step,
    workflow::Situation,
};
use vsiflow_steps::{
    names,
    ports::{ConsolePosition, VolumeKey},
    vsi::{
        AttachDataDisks, AwaitDataDisks, AwaitTurn, Card, CheckContract, CloneBootDisk,
        CreateConsoleLog, DefineDomain, FindParts, KeepEvidence, MonitorConsole, Release,
        ResolveHost, ResolveNetworks, ResumeDomain, SetAutostart, StartDomain, StopDomain,
        SuspendDomain, WriteCidata, attach_data_disks, await_data_disks, await_turn,
        check_contract, clone_boot_disk, create_console_log, define_domain, find_parts,
        keep_evidence, monitor_console, release, resolve_host, resolve_networks, resume_domain,
        set_autostart, start_domain, stop_domain, suspend_domain, write_cidata,
    },
};

use crate::{
    ensure_base_image,
    nodes::Nodes,
    plan,
    spec::{BootDiskMode, DesiredDisk, desired::DiskOrigin},
    wanted::{Turn, WantedImage, WantedVsi, disk_entity},
};

/// Seconds until a boot that is not decided counts as failed. A real guest takes half a minute;
/// an emulated one on a busy host several.
pub const BOOT_DEADLINE_S: u64 = 600;

/// Seconds a guest whose boot failed gets to come down by itself.
pub(crate) const FAILED_GRACE_S: u64 = 5;

/// Seconds a guest gets to shut down before it is ended, where nobody says how many.
pub(crate) const GRACE_S: u64 = 60;

const DEADLINE_CODE: &str = "VSI0502";

/// A graph of one VSI, being put together.
pub(crate) struct Parts<'a> {
    pub(crate) nodes: Nodes,
    pub(crate) wanted: &'a WantedVsi,
    /// Where the console of the last boot on record begins.
    pub(crate) last_boot: ConsolePosition,
}

impl<'a> Parts<'a> {
    pub(crate) fn new(workflow: &'static str, wanted: &'a WantedVsi) -> Self {
        Self {
            nodes: Nodes::new(workflow, &wanted.vsi.host),
            wanted,
            last_boot: ConsolePosition::default(),
        }
    }

    fn host(&self) -> String {
        self.wanted.vsi.host.clone()
    }

    fn step<S: Step>(&mut self, after: &[&str], params: &S::Params) -> Result<(), Failure> {
        self.nodes.step::<S>(after, params).map(drop)
    }

    /// It asks no host, and must not keep others from their work.
    pub(crate) fn await_turn(&mut self, turn: &Turn) -> Result<(), Failure> {
        let params = await_turn::Params {
            after: turn.after.clone(),
            name: turn.name.clone(),
            whatever_it_comes_to: turn.whatever_it_comes_to,
        };
        let node = self.nodes.step::<AwaitTurn>(&[], &params)?;
        node.interruptible = true;
        node.lane = Text::default();
        Ok(())
    }

    /// A contract that no guest takes costs neither an upload nor a boot.
    pub(crate) fn check_contract(&mut self, after: &[&str]) -> Result<(), Failure> {
        let params = check_contract::Params {
            contract: self.wanted.contract.clone(),
        };
        // It asks no host.
        self.nodes.step::<CheckContract>(after, &params)?.lane = Text::default();
        Ok(())
    }

    pub(crate) fn resolve_host(&mut self, after: &[&str]) -> Result<(), Failure> {
        self.resolve(after, false)
    }

    /// The same for a VSI that has nothing there yet.
    pub(crate) fn resolve_new_host(&mut self, after: &[&str]) -> Result<(), Failure> {
        self.resolve(after, true)
    }

    fn resolve(&mut self, after: &[&str], new: bool) -> Result<(), Failure> {
        let params = resolve_host::Params {
            host: self.host(),
            arch: self.wanted.vsi.machine.arch.clone(),
            pool: self.wanted.vsi.pool.clone(),
            new,
        };
        self.step::<ResolveHost>(after, &params)
    }

    pub(crate) fn keep_evidence(&mut self, after: &[&str]) -> Result<(), Failure> {
        let params = keep_evidence::Params {
            host: self.host(),
            uuid: self.wanted.uid,
            console: console(self.wanted),
        };
        self.step::<KeepEvidence>(after, &params)
    }

    pub(crate) fn stop(&mut self, after: &[&str], grace_s: u64) -> Result<(), Failure> {
        let params = stop_domain::Params {
            host: self.host(),
            uuid: self.wanted.uid,
            grace_s,
        };
        self.step::<StopDomain>(after, &params)
    }

    pub(crate) fn autostart(&mut self, after: &[&str], on: bool) -> Result<(), Failure> {
        let params = set_autostart::Params {
            host: self.host(),
            uuid: self.wanted.uid,
            on,
        };
        self.step::<SetAutostart>(after, &params)
    }

    pub(crate) fn suspend(&mut self, after: &[&str]) -> Result<(), Failure> {
        let params = suspend_domain::Params {
            host: self.host(),
            uuid: self.wanted.uid,
        };
        self.step::<SuspendDomain>(after, &params)
    }

    pub(crate) fn resume(&mut self, after: &[&str]) -> Result<(), Failure> {
        let params = resume_domain::Params {
            host: self.host(),
            uuid: self.wanted.uid,
        };
        self.step::<ResumeDomain>(after, &params)
    }

    /// The run of the base image that the VSI boots from.
    pub(crate) fn base_image(&mut self, after: &[&str]) -> Result<(), Failure> {
        let image = image(self.wanted);
        let entity = image.entity().map_err(unnameable)?;
        let (node, workflow) = (clone_boot_disk::BASE_IMAGE_NODE, ensure_base_image::NAME);
        let made = self.nodes.entity(node, after, entity, workflow, &image);
        made.map(drop)
    }

    pub(crate) fn clone(&mut self, after: &[&str]) -> Result<(), Failure> {
        let (vsi, uuid) = (&self.wanted.vsi, self.wanted.uid);
        let params = clone_boot_disk::Params {
            host: self.host(),
            uuid,
            volume: names::boot_disk(&vsi.pool, uuid),
            size: vsi.boot_disk.size,
            mode: match vsi.boot_disk.mode {
                BootDiskMode::Copy => clone_boot_disk::Mode::Copy,
                BootDiskMode::Overlay => clone_boot_disk::Mode::Overlay,
            },
        };
        self.step::<CloneBootDisk>(after, &params)
    }

    pub(crate) fn cidata(&mut self, after: &[&str]) -> Result<(), Failure> {
        let (vsi, uuid) = (&self.wanted.vsi, self.wanted.uid);
        let params = write_cidata::Params {
            host: self.host(),
            uuid,
            volume: names::cidata(&vsi.pool, uuid),
            hostname: uuid.to_string(),
            contract: self.wanted.contract.clone(),
            network_config: vsi.network_config.clone(),
        };
        self.step::<WriteCidata>(after, &params)
    }

    pub(crate) fn console_log(&mut self, after: &[&str]) -> Result<(), Failure> {
        let params = create_console_log::Params {
            host: self.host(),
            volume: console(self.wanted),
        };
        self.step::<CreateConsoleLog>(after, &params)
    }

    /// await_data_disks → attach_data_disks.
    pub(crate) fn data_disks(&mut self, after: &[&str]) -> Result<(), Failure> {
        let made = self.await_disks(after)?;
        let after = match made {
            true => &[AwaitDataDisks::NAME],
            false => after,
        };
        let disks = self.wanted.vsi.disks.iter();
        let params = attach_data_disks::Params {
            host: self.host(),
            uuid: self.wanted.uid,
            disks: disks.map(|disk| attached(self.wanted, disk)).collect(),
        };
        self.step::<AttachDataDisks>(after, &params)
    }

    /// Disks are made and grown by runs of their own. Whether there is any to wait for.
    pub(crate) fn await_disks(&mut self, after: &[&str]) -> Result<bool, Failure> {
        let wanted = self.wanted;
        let made = wanted.vsi.disks.iter().filter_map(|disk| {
            let uid = disk_uid(wanted, disk)?;
            Some(await_data_disks::Awaited {
                entity: disk_entity(uid).ok()?.to_string(),
                name: disk.name.clone(),
            })
        });
        let params = await_data_disks::Params {
            disks: made.collect(),
        };
        if params.disks.is_empty() {
            return Ok(false);
        }
        // It asks no host, and must not keep the disks from theirs.
        let node = self.nodes.step::<AwaitDataDisks>(after, &params)?;
        (node.interruptible, node.lane) = (true, Text::default());
        Ok(true)
    }

    pub(crate) fn networks(&mut self, after: &[&str]) -> Result<(), Failure> {
        let params = resolve_networks::Params {
            host: self.host(),
            networks: self.wanted.vsi.networks.clone(),
        };
        self.step::<ResolveNetworks>(after, &params)
    }

    pub(crate) fn find(&mut self, after: &[&str]) -> Result<(), Failure> {
        let params = find_parts::Params {
            host: self.host(),
            uuid: self.wanted.uid,
            pool: self.wanted.vsi.pool.clone(),
        };
        self.step::<FindParts>(after, &params)
    }

    pub(crate) fn define(&mut self, after: &[&str]) -> Result<(), Failure> {
        self.define_so(after, false)
    }

    /// With `while_running`, only the stored definition of a guest that runs is written.
    pub(crate) fn define_so(&mut self, after: &[&str], while_running: bool) -> Result<(), Failure> {
        let params = define_domain::Params {
            host: self.host(),
            uuid: self.wanted.uid,
            title: self.wanted.vsi.full_name(),
            cpus: self.wanted.vsi.machine.cpus,
            memory_mib: self.wanted.vsi.machine.memory_mib,
            secure: define_domain::Secure::default(),
            macs: macs(self.wanted),
            autostart: plan::is_up(self.wanted.power_state()),
            while_running,
        };
        self.step::<DefineDomain>(after, &params)
    }

    /// start_domain → monitor_console.
    pub(crate) fn start(&mut self, after: &[&str]) -> Result<(), Failure> {
        let (host, uuid, console) = (self.host(), self.wanted.uid, console(self.wanted));
        let start = start_domain::Params {
            host: host.clone(),
            uuid,
            console: console.clone(),
            last_boot: self.last_boot,
        };
        self.step::<StartDomain>(after, &start)?;
        let watch = monitor_console::Params {
            host,
            uuid,
            console,
            deadline_s: BOOT_DEADLINE_S,
            cards: cards(self.wanted),
        };
        let nodes = &mut self.nodes;
        let node = nodes.step::<MonitorConsole>(&[StartDomain::NAME], &watch)?;
        // It only watches, for as long as a boot takes: it must not keep others from their work.
        node.interruptible = true;
        node.lane = Text::default();
        Ok(())
    }

    /// Erases secrets that nobody needs once everything before is done.
    pub(crate) fn release(&mut self, after: &[&str], secrets: &[Name]) -> Result<(), Failure> {
        let params = release::Params {
            secrets: secrets.to_vec(),
        };
        // It asks no host.
        self.nodes.step::<Release>(after, &params)?.lane = Text::default();
        Ok(())
    }
}

/// Where the console of the last boot begins that a run is known of.
pub(crate) fn last_boot(at: &Situation<'_>) -> ConsolePosition {
    let runs = at.entity.runs.iter().rev();
    let started = runs.filter_map(|run| {
        let run = (at.runs)(*run)?;
        let NodeState::Succeeded { output, .. } = run.nodes.get(&Name::of(StartDomain::NAME))?
        else {
            return None;
        };
        let output: start_domain::Output = serde_json::from_slice(output.inline()?).ok()?;
        Some(output.console)
    });
    started.take(1).next().unwrap_or_default()
}

/// Whether the newest run, for this very wish, ended at the boot's deadline.
pub(crate) fn was_too_slow(state: &EntityState, workflow: &str) -> bool {
    let newest = state.desired.as_ref().map(|desired| desired.generation);
    state.last.as_ref().is_some_and(|last| {
        let slow = matches!(&last.result, RunResult::Failed(f) if f.code.as_str() == DEADLINE_CODE);
        slow && last.workflow.as_str() == workflow && Some(last.generation) == newest
    })
}

/// Whether the newest run ended with a boot that failed.
pub(crate) fn boot_failed(state: &EntityState) -> bool {
    state.last.as_ref().is_some_and(|last| {
        matches!(&last.result, RunResult::Failed(failure) if failure.class == FailureClass::Failed)
    })
}

/// The MAC addresses of the guest's cards; none where they follow from its UID and their places.
fn macs(wanted: &WantedVsi) -> Vec<String> {
    let came_with = wanted.adopted.as_ref().map(|adopted| &adopted.macs);
    match came_with.filter(|_| wanted.macs.is_empty()) {
        Some(macs) => macs.clone(),
        None => wanted.macs.clone(),
    }
}

/// The guest's cards, by the same MAC addresses that its definition gets.
pub(crate) fn cards(wanted: &WantedVsi) -> Vec<Card> {
    let macs = macs(wanted);
    let networks = wanted.vsi.networks.iter().enumerate();
    let card = |(place, network): (usize, &String)| Card {
        network: network.clone(),
        mac: macs
            .get(place)
            .cloned()
            .unwrap_or_else(|| names::mac(wanted.uid, number(place))),
    };
    networks.map(card).collect()
}

/// The MAC addresses of its cards once the VSI is on these networks: a card that stays keeps its
/// own, a new one gets the first that none has. None where they follow from UID and places.
pub(crate) fn macs_of(wanted: &WantedVsi, networks: &[String]) -> Vec<String> {
    let mut had = cards(wanted);
    let mut kept = |network: &String| {
        let at = had.iter().position(|card| card.network == *network)?;
        Some(had.remove(at).mac)
    };
    let kept: Vec<_> = networks.iter().map(&mut kept).collect();
    let mut used: BTreeSet<String> = kept.iter().flatten().cloned().collect();
    let mut free = || {
        let mut all = (0..=u8::MAX).map(|card| names::mac(wanted.uid, card));
        let mac = all.find(|mac| !used.contains(mac)).unwrap_or_default();
        used.insert(mac.clone());
        mac
    };
    let macs: Vec<_> = kept
        .into_iter()
        .map(|mac| mac.unwrap_or_else(&mut free))
        .collect();
    let follows = |(place, mac): (usize, &String)| *mac == names::mac(wanted.uid, number(place));
    match wanted.adopted.is_none() && macs.iter().enumerate().all(follows) {
        true => Vec::new(),
        false => macs,
    }
}

fn number(place: usize) -> u8 {
    u8::try_from(place).unwrap_or(u8::MAX)
}

pub(crate) fn console(wanted: &WantedVsi) -> VolumeKey {
    names::console_log(&wanted.vsi.pool, wanted.uid)
}

/// The base image that the VSI boots from.
pub(crate) fn image(wanted: &WantedVsi) -> WantedImage {
    let image = &wanted.vsi.image;
    WantedImage {
        host: wanted.vsi.host.clone(),
        pool: wanted.vsi.pool.clone(),
        url: source_url(wanted),
        file_name: image.file_name.clone(),
        checksum: image.checksum.as_ref().map(ToString::to_string),
    }
}

/// Where the image really comes from. On a simulated host the reserved names under `.test`, which
/// lead nowhere, stand for a simulated image, so that an example works without any network.
fn source_url(wanted: &WantedVsi) -> String {
    let url = &wanted.vsi.image.url;
    let host = url::Url::parse(url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned));
    let simulated = wanted.vsi.host.split(':').next() == Some("sim");
    if simulated && host.is_some_and(|host| host.ends_with(".test")) {
        format!("{SIMULATED}{url}")
    } else {
        url.clone()
    }
}

/// What stands before the URL of a simulated image.
pub const SIMULATED: &str = "sim+";

/// The volume of a data disk.
pub(crate) fn volume(wanted: &WantedVsi, disk: &DesiredDisk) -> VolumeKey {
    attached(wanted, disk).volume
}

fn attached(wanted: &WantedVsi, disk: &DesiredDisk) -> attach_data_disks::Disk {
    let name = match &disk.source {
        DiskOrigin::Existing { volume } => volume.clone(),
        DiskOrigin::Made { .. } => disk_uid(wanted, disk).unwrap_or_default().to_string(),
    };
    let pool = disk.pool.clone();
    attach_data_disks::Disk {
        name: disk.name.clone(),
        volume: VolumeKey { pool, name },
        create: None,
        serial: None,
    }
}

/// The UID of a disk that is made.
pub(crate) fn disk_uid(wanted: &WantedVsi, disk: &DesiredDisk) -> Option<Uuid> {
    match &disk.source {
        DiskOrigin::Existing { .. } => None,
        DiskOrigin::Made { uid, .. } => wanted.disks.get(&disk.name).copied().or(*uid),
    }
}

fn unnameable(error: InvalidId) -> Failure {
    Failure::new(FailureClass::Blocked, "VSI0001", error.to_string())
        .with_remedy("this is a defect of vsiflow; please report it with `vsiflow history`")
}
