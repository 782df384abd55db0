//! Workflows that delete a VSI from its host, or only forget it.

use uuid::Uuid;
use vsiflow_engine::{
    model::{EntityState, Failure, Graph, Name},
    step::Step as _,
    workflow::Situation,
};
use vsiflow_steps::{
    names,
    network::{ReleaseAddresses, ReserveAddresses, release_addresses},
    ports::VolumeKey,
    vsi::{
        CloneBootDisk, CreateConsoleLog, DefineDomain, DeleteVolumes, KeepEvidence, ReleaseSecrets,
        StopDomain, UndefineDomain, WriteCidata, delete_volumes, keep_evidence, release,
        stop_domain, undefine_domain,
    },
};

use crate::{
    forgotten, network,
    nodes::Nodes,
    plan::Touched,
    record::{SnapshotAction, SnapshotRecord, VsiRecord},
    vsi_graph::{self, BootDisks},
};

/// The workflow's name.
pub const NAME: &str = "delete_vsi";

/// The workflow that forgets a VSI, and leaves its host as it is.
pub const FORGET: &str = "forget_vsi";

/// How many seconds a guest gets to shut down before it is ended.
const GRACE_S: u64 = 30;

/// The graph: `stop_domain` → `undefine_domain` → `delete_volumes` → `release`. A VSI for which this
/// journal never acted on a host is released immediately. Of an adopted VSI, volumes are deleted only
/// if they have vsiflow's names. If the last boot failed, its evidence is stored first.
///
/// # Errors
/// When the desired state cannot be made into parameters.
pub fn graph(record: &VsiRecord, state: &EntityState) -> Result<Graph, Failure> {
    let made = |step: &str| is_made(record, state, step);
    if asks_no_host(record, state) {
        return forget_graph(record).map(|graph| Graph {
            workflow: Name::of(NAME),
            ..graph
        });
    }
    let (host, uuid) = (record.vsi.host.clone(), record.uid);
    let mut nodes = Nodes::new(NAME, &host);
    let first = if vsi_graph::boot_failed(state) {
        vec![add_store_evidence(&mut nodes, record)?]
    } else {
        Vec::new()
    };
    let first = match begun(record) {
        Some((uid, snapshot)) => vsi_graph::drop_snapshot(&mut nodes, &first, uid, snapshot)?,
        None => first,
    };
    let (volumes, stay) = (volumes(record, state), data_disks(record));
    let stop = stop_domain::Params {
        host: host.clone(),
        uuid,
        grace_s: GRACE_S,
        ends_itself: false,
        boots_anew: false,
        spares_held: false,
        replaced: Vec::new(),
        named: Vec::new(),
        volumes: volumes.clone(),
        stay: stay.clone(),
    };
    nodes.step::<StopDomain>(&first, &stop)?;
    let undefine = undefine_domain::Params {
        host: host.clone(),
        uuid,
        discard: true,
        volumes: volumes.clone(),
        stay,
    };
    nodes.step::<UndefineDomain>(&[StopDomain::NAME], &undefine)?;
    let params = delete_volumes::Params {
        host,
        uuid,
        volumes,
    };
    nodes.step::<DeleteVolumes>(&[UndefineDomain::NAME], &params)?;
    let mut last = vec![DeleteVolumes::NAME];
    let cards = network::reservations(record);
    if !cards.is_empty() {
        let address_params = release_addresses::Params {
            host: record.vsi.host.clone(),
            cards,
            recorded: made(ReserveAddresses::NAME),
        };
        nodes.step::<ReleaseAddresses>(&[UndefineDomain::NAME], &address_params)?;
        last.push(ReleaseAddresses::NAME);
    }
    release(&mut nodes, record, &last)?;
    Ok(nodes.build())
}

/// Whether a VSI is deleted without a word to its host: as far as this journal knows, it never acted there.
pub(crate) fn asks_no_host(record: &VsiRecord, state: &EntityState) -> bool {
    let others = [DefineDomain::NAME, ReserveAddresses::NAME];
    let mut steps = MAKERS.iter().chain(&others);
    record.adopted.is_none() && !steps.any(|step| is_made(record, state, step))
}

/// The steps that make the volumes of a VSI.
const MAKERS: [&str; 3] = [
    CloneBootDisk::NAME,
    WriteCidata::NAME,
    CreateConsoleLog::NAME,
];

/// Whether what the step makes is this journal's.
fn is_made(record: &VsiRecord, state: &EntityState, step: &str) -> bool {
    let taken = record.adopted.as_ref();
    taken.is_some_and(|adopted| adopted.own_volumes) || state.intents.contains(&Name::of(step))
}

/// The volumes that a deletion of the VSI deletes.
pub(crate) fn volumes(
    record: &VsiRecord,
    state: &EntityState,
) -> Vec<delete_volumes::VolumeToDelete> {
    let (uuid, pool) = (record.uid, &record.vsi.pool);
    let boot_disks = BootDisks::of(record, &state.objects).all().into_iter();
    let boot_disks = boot_disks.map(|volume| (volume, CloneBootDisk::NAME));
    let seed = names::seed(pool, uuid, record.vsi.seed());
    let seed = seed.map(|volume| (volume, WriteCidata::NAME));
    let console = (names::console_log(pool, uuid), CreateConsoleLog::NAME);
    let volumes = boot_disks.chain(seed).chain([console]);
    let volumes = volumes.map(|(volume, maker)| delete_volumes::VolumeToDelete {
        volume,
        recorded: is_made(record, state, maker),
    });
    volumes.collect()
}

/// The volumes of its data disks, unless it was adopted with volumes that vsiflow did not name.
fn data_disks(record: &VsiRecord) -> Vec<VolumeKey> {
    let adopted = record.adopted.as_ref();
    if adopted.is_some_and(|adopted| !adopted.own_volumes) {
        return Vec::new();
    }
    let disks = record.vsi.disks.iter();
    disks.map(|disk| vsi_graph::volume(record, disk)).collect()
}

/// The snapshot that may be in progress: a deletion abandons it, and data disks remain intact.
fn begun(record: &VsiRecord) -> Option<(Uuid, &SnapshotRecord)> {
    match &record.snapshot.as_ref()?.action {
        SnapshotAction::Take {
            snapshot,
            record: taken,
        }
        | SnapshotAction::Drop {
            snapshot,
            record: taken,
        } => Some((*snapshot, taken)),
        SnapshotAction::Restore { .. } => None,
    }
}

fn add_store_evidence(nodes: &mut Nodes, record: &VsiRecord) -> Result<&'static str, Failure> {
    let params = keep_evidence::Params {
        host: record.vsi.host.clone(),
        uuid: record.uid,
        console: names::console_log(&record.vsi.pool, record.uid),
    };
    nodes.step::<KeepEvidence>(&[], &params)?;
    Ok(KeepEvidence::NAME)
}

/// Whether the host confirmed that nothing of the VSI is left, and nothing was defined since: it may be made
/// again. What was only forgotten is still there.
pub fn is_gone(at: &Situation<'_>) -> bool {
    let reached = at.entity.reached_by.and_then(|run| (at.runs)(run));
    let graph = reached.as_ref().and_then(|run| run.graph.as_ref());
    let was_deleted = graph.is_some_and(|graph| graph.workflow.as_str() == NAME);
    was_deleted && at.entity.objects.in_use.is_none() && !Touched::of(at).definition()
}

/// The graph that forgets the VSI: erases its secrets, without contacting its host. Only if a user releases
/// its addresses are their reservations deleted there first.
///
/// # Errors
/// When the desired state cannot be made into parameters.
pub fn forget_graph(record: &VsiRecord) -> Result<Graph, Failure> {
    let mut nodes = Nodes::new(FORGET, &record.vsi.host);
    let released = forgotten::release_addresses(&mut nodes, record)?;
    release(&mut nodes, record, &released)?;
    Ok(nodes.build())
}

fn release(nodes: &mut Nodes, record: &VsiRecord, after: &[&str]) -> Result<(), Failure> {
    let secrets = record.secrets();
    nodes
        .step::<ReleaseSecrets>(after, &release::Params { secrets })
        .map(drop)
}
