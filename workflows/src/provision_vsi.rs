//! Makes a VSI: from nothing, or anew where an earlier boot failed.

use vsiflow_engine::{
    model::{EntityState, Failure, FailureClass, Graph, InvalidId, Name, RunResult},
    step::Step as _,
};
use vsiflow_steps::{
    names,
    ports::{VolumeFormat, VolumeKey},
    vsi::{
        AttachDataDisks, Card, CheckContract, CloneBootDisk, CreateConsoleLog, DefineDomain,
        DeleteVolumes, KeepEvidence, MonitorConsole, ResolveHost, ResolveNetworks, StartDomain,
        StopDomain, UndefineDomain, WriteCidata, attach_data_disks, check_contract,
        clone_boot_disk, create_console_log, define_domain, delete_volumes, keep_evidence,
        monitor_console, resolve_host, resolve_networks, start_domain, stop_domain,
        undefine_domain, write_cidata,
    },
};

use crate::{
    ensure_base_image,
    nodes::Nodes,
    spec::{BootDiskMode, DesiredDisk, desired::DiskOrigin},
    wanted::{WantedImage, WantedVsi},
};

/// The workflow's name.
pub const NAME: &str = "provision_vsi";

/// Seconds until a boot that is not decided counts as failed. A real guest takes half a minute;
/// an emulated one on a busy host several.
pub const BOOT_DEADLINE_S: u64 = 600;

/// Seconds a guest whose boot failed gets to come down by itself.
const FAILED_GRACE_S: u64 = 5;

const DEADLINE_CODE: &str = "VSI0502";

/// check_contract → resolve_host → {ensure_base_image → clone_boot_disk, write_cidata, create_console_log,
/// attach_data_disks, resolve_networks} → define_domain → start_domain → monitor_console.
///
/// Where this journal may have defined a domain before, what that left is taken down first, with
/// its evidence kept. A boot that merely took too long is watched further instead: its guest may
/// be at work by now.
///
/// # Errors
/// When the VSI was ready once, or what is wanted cannot be made into parameters.
pub fn graph(wanted: &WantedVsi, state: &EntityState) -> Result<Graph, Failure> {
    if state.reached > 0 {
        return Err(never_again(wanted));
    }
    let mut nodes = Nodes::new(NAME, &wanted.vsi.host);
    if was_too_slow(state) {
        resolve_host(&mut nodes, wanted, &[])?;
        start(&mut nodes, wanted, ResolveHost::NAME)?;
        return Ok(nodes.build());
    }
    check_contract(&mut nodes, wanted)?;
    resolve_host(&mut nodes, wanted, &[CheckContract::NAME])?;
    let base = if state.intents.contains(&Name::of(DefineDomain::NAME)) {
        take_down(&mut nodes, wanted, state)?;
        DeleteVolumes::NAME
    } else {
        ResolveHost::NAME
    };
    make_parts(&mut nodes, wanted, base)?;
    define(&mut nodes, wanted)?;
    start(&mut nodes, wanted, DefineDomain::NAME)?;
    Ok(nodes.build())
}

/// Whether the newest run, for this very wish, ended at the boot's deadline.
fn was_too_slow(state: &EntityState) -> bool {
    let newest = state.desired.as_ref().map(|desired| desired.generation);
    state.last.as_ref().is_some_and(|last| {
        let slow = matches!(&last.result, RunResult::Failed(f) if f.code.as_str() == DEADLINE_CODE);
        slow && last.workflow.as_str() == NAME && Some(last.generation) == newest
    })
}

/// A contract that no guest takes costs neither an upload nor a boot.
fn check_contract(nodes: &mut Nodes, wanted: &WantedVsi) -> Result<(), Failure> {
    let params = check_contract::Params {
        contract: wanted.contract.clone(),
    };
    let node = nodes.step::<CheckContract>(&[], &params)?;
    // It asks no host.
    node.lane = vsiflow_engine::model::Text::default();
    Ok(())
}

fn resolve_host(nodes: &mut Nodes, wanted: &WantedVsi, after: &[&str]) -> Result<(), Failure> {
    let params = resolve_host::Params {
        host: wanted.vsi.host.clone(),
        arch: wanted.vsi.machine.arch.clone(),
        pool: wanted.vsi.pool.clone(),
    };
    nodes.step::<ResolveHost>(after, &params).map(drop)
}

/// The console's log goes too: what an earlier guest said there must not decide a later boot.
fn take_down(nodes: &mut Nodes, wanted: &WantedVsi, state: &EntityState) -> Result<(), Failure> {
    let (host, uuid) = (wanted.vsi.host.clone(), wanted.uid);
    let console = console(wanted);
    let evidence = keep_evidence::Params {
        host: host.clone(),
        uuid,
        console,
    };
    nodes.step::<KeepEvidence>(&[ResolveHost::NAME], &evidence)?;
    let stop = stop_domain::Params {
        host: host.clone(),
        uuid,
        grace_s: FAILED_GRACE_S,
    };
    nodes.step::<StopDomain>(&[KeepEvidence::NAME], &stop)?;
    let undefine = undefine_domain::Params {
        host: host.clone(),
        uuid,
    };
    nodes.step::<UndefineDomain>(&[StopDomain::NAME], &undefine)?;
    let log = delete_volumes::Volume {
        volume: self::console(wanted),
        recorded: state.intents.contains(&Name::of(CreateConsoleLog::NAME)),
    };
    let delete = delete_volumes::Params {
        host,
        uuid,
        volumes: vec![log],
    };
    nodes
        .step::<DeleteVolumes>(&[UndefineDomain::NAME], &delete)
        .map(drop)
}

fn make_parts(nodes: &mut Nodes, wanted: &WantedVsi, base: &str) -> Result<(), Failure> {
    let vsi = &wanted.vsi;
    let (host, uuid) = (vsi.host.clone(), wanted.uid);
    let image = image(wanted);
    let entity = image.entity().map_err(unnameable)?;
    let workflow = ensure_base_image::NAME;
    nodes.entity(
        clone_boot_disk::BASE_IMAGE_NODE,
        &[base],
        entity,
        workflow,
        &image,
    )?;
    let clone = clone_boot_disk::Params {
        host: host.clone(),
        uuid,
        volume: names::boot_disk(&vsi.pool, uuid),
        size: vsi.boot_disk.size,
        mode: match vsi.boot_disk.mode {
            BootDiskMode::Copy => clone_boot_disk::Mode::Copy,
            BootDiskMode::Overlay => clone_boot_disk::Mode::Overlay,
        },
    };
    nodes.step::<CloneBootDisk>(&[clone_boot_disk::BASE_IMAGE_NODE], &clone)?;
    let cidata = write_cidata::Params {
        host: host.clone(),
        uuid,
        volume: names::cidata(&vsi.pool, uuid),
        hostname: uuid.to_string(),
        contract: wanted.contract.clone(),
        network_config: vsi.network_config.clone(),
    };
    nodes.step::<WriteCidata>(&[base], &cidata)?;
    let log = create_console_log::Params {
        host: host.clone(),
        volume: console(wanted),
    };
    nodes.step::<CreateConsoleLog>(&[base], &log)?;
    let disks = vsi
        .disks
        .iter()
        .map(|disk| attached(wanted, disk))
        .collect();
    let attach = attach_data_disks::Params {
        host: host.clone(),
        uuid,
        disks,
    };
    nodes.step::<AttachDataDisks>(&[base], &attach)?;
    let networks = resolve_networks::Params {
        host,
        networks: vsi.networks.clone(),
    };
    nodes.step::<ResolveNetworks>(&[base], &networks).map(drop)
}

fn define(nodes: &mut Nodes, wanted: &WantedVsi) -> Result<(), Failure> {
    let params = define_domain::Params {
        host: wanted.vsi.host.clone(),
        uuid: wanted.uid,
        title: wanted.vsi.full_name(),
        cpus: wanted.vsi.machine.cpus,
        memory_mib: wanted.vsi.machine.memory_mib,
        secure: define_domain::Secure::default(),
        macs: Vec::new(),
        autostart: true,
    };
    let after = [
        CloneBootDisk::NAME,
        WriteCidata::NAME,
        CreateConsoleLog::NAME,
        AttachDataDisks::NAME,
        ResolveNetworks::NAME,
    ];
    nodes.step::<DefineDomain>(&after, &params).map(drop)
}

fn start(nodes: &mut Nodes, wanted: &WantedVsi, after: &str) -> Result<(), Failure> {
    let (host, uuid) = (wanted.vsi.host.clone(), wanted.uid);
    let start = start_domain::Params {
        host: host.clone(),
        uuid,
        console: console(wanted),
    };
    nodes.step::<StartDomain>(&[after], &start)?;
    let (console, deadline_s) = (console(wanted), BOOT_DEADLINE_S);
    let watch = monitor_console::Params {
        host,
        uuid,
        console,
        deadline_s,
        cards: cards(wanted),
    };
    let node = nodes.step::<MonitorConsole>(&[StartDomain::NAME], &watch)?;
    // It only watches, for as long as a boot takes: it must not keep others from their work.
    node.interruptible = true;
    node.lane = vsiflow_engine::model::Text::default();
    Ok(())
}

/// The guest's cards, by the same MAC addresses that its definition gets.
fn cards(wanted: &WantedVsi) -> Vec<Card> {
    let networks = wanted.vsi.networks.iter().zip(0_u8..);
    let card = |(network, card): (&String, u8)| Card {
        network: network.clone(),
        mac: names::mac(wanted.uid, card),
    };
    networks.map(card).collect()
}

fn console(wanted: &WantedVsi) -> VolumeKey {
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

fn attached(wanted: &WantedVsi, disk: &DesiredDisk) -> attach_data_disks::Disk {
    let pool = disk.pool.clone();
    let (name, create) = match &disk.source {
        DiskOrigin::Existing { volume } => (volume.clone(), None),
        DiskOrigin::Made { size, .. } => {
            let uid = wanted.disks.get(&disk.name).copied().unwrap_or_default();
            let format = VolumeFormat::Qcow2;
            let recorded = wanted.made_disks.contains(&disk.name);
            (
                uid.to_string(),
                Some(attach_data_disks::Create {
                    size: *size,
                    format,
                    recorded,
                }),
            )
        }
    };
    let volume = VolumeKey { pool, name };
    attach_data_disks::Disk {
        name: disk.name.clone(),
        volume,
        create,
        serial: None,
    }
}

/// A VSI that was ready once is never made anew without a plan that says so.
fn never_again(wanted: &WantedVsi) -> Failure {
    Failure::new(
        FailureClass::Blocked,
        "VSI0701",
        "the change would rebuild it; nothing was changed",
    )
    .of_object(format!("vsi/{}", wanted.vsi.full_name()))
    .with_remedy("undo the change, or delete the VSI and apply again; data disks are kept")
}

fn unnameable(error: InvalidId) -> Failure {
    Failure::new(FailureClass::Blocked, "VSI0001", error.to_string())
        .with_remedy("this is a defect of vsiflow; please report it with `vsiflow history`")
}
