//! The checks before a domain is defined, started or undefined.
//!
//! Each of them could cost a guest its data: a definition can lead it to an older disk, a start lets it write to a disk
//! that another guest has, and without its definition nobody knows which files were its disks.

use uuid::Uuid;
use vsiflow_engine::{model::Failure, step::StepContext};

use super::{
    DeletionCandidate, data_disks, foresee, incarnation, own_disks, permit::Permit, removable,
    replacement_is_ordered,
};
use crate::{
    error, host_text, names, ownership,
    ports::{
        DiskSource, DomainInfo, DomainSpec, DomainStart, HostPorts, Leftovers, PausedStart,
        Undefinition, VolumeKey,
    },
};

/// What a new definition of a domain takes the place of.
#[derive(Clone, Copy, Debug)]
pub struct ReplacedDefinition<'a> {
    /// The domain as the host has it; `None` if it has none.
    pub domain: Option<&'a DomainInfo>,
    /// Every volume that the journal names, or has named, as a disk that the guest writes to. Not checked if empty.
    pub named: &'a [VolumeKey],
    /// The disks that the guest no longer has afterwards, if it may have written to them.
    pub disks: &'a [&'a VolumeKey],
}

/// Checks that a definition costs the guest no disk that nobody ordered to replace: its disks are those that the
/// journal names, and each that is replaced is ordered to be destroyed and still the file that the order means.
///
/// # Errors
/// `VSI0210` with a file that the guest writes to and the journal does not name; `VSI0207` without a definition and with a
/// later boot disk than the journal knows; blocked, `VSI0041`, without an
/// order, and `VSI0236` for another file; the error of anything that cannot be read.
pub async fn permit_definition(
    cx: &StepContext,
    ports: &HostPorts,
    replaced: ReplacedDefinition<'_>,
    spec: DomainSpec,
) -> Result<Permit<DomainSpec>, Failure> {
    match replaced.domain {
        Some(domain) => own_disks::writes_only_to(cx, ports, domain, replaced.named).await?,
        // No definition says which disks the guest had.
        None => {
            for key in replaced.named {
                if names::boot_disk_number(&key.name, spec.uuid).is_some() {
                    data_disks::is_newest_known_boot_disk(cx, ports, spec.uuid, key).await?;
                }
            }
        }
    }
    for key in replaced.disks {
        replacement_is_ordered(cx, Some(key)).await?;
        if let Some(volume) = ports.storage.volume(key).await? {
            incarnation::is_the_recorded(cx, ports, &volume).await?;
        }
    }
    Ok(Permit::new(spec))
}

/// Checks that a domain which is off may be started: its disks are those that the journal names, and no other guest
/// that runs has one of them.
///
/// # Errors
/// `VSI0210` with the file or the other guest; the error of anything that cannot be read.
pub async fn permit_start(
    cx: &StepContext,
    ports: &HostPorts,
    domain: &DomainInfo,
    named: &[VolumeKey],
) -> Result<Permit<DomainStart>, Failure> {
    own_disks::writes_only_to(cx, ports, domain, named).await?;
    is_alone_on_its_disks(cx, ports, domain).await?;
    Ok(Permit::new(DomainStart { uuid: domain.uuid }))
}

/// Checks that the domain is this journal's, so that it may be started suspended: its guest executes nothing.
///
/// # Errors
/// As for [`ownership::own_domain`]; `VSI0202` if there is none.
pub async fn permit_paused_start(
    cx: &StepContext,
    ports: &HostPorts,
    uuid: Uuid,
) -> Result<Permit<PausedStart>, Failure> {
    match ownership::own_domain(cx, ports, uuid).await? {
        Some(domain) => Ok(Permit::new(PausedStart { uuid: domain.uuid })),
        None => Err(error::MISSING
            .failure("the domain to start is not defined")
            .on_host(ports.host.name())
            .of_object(format!("domain {uuid}"))),
    }
}

/// A domain whose definition is to be removed.
#[derive(Clone, Copy, Debug)]
pub struct DomainToUndefine<'a> {
    /// The VSI's UID.
    pub uuid: Uuid,
    /// What becomes of its saved memory and of the settings of its firmware.
    pub leftovers: Leftovers,
    /// The volumes that are deleted after it.
    pub volumes: &'a [DeletionCandidate<'a>],
    /// The data disks that stay.
    pub stay: &'a [VolumeKey],
}

/// Checks that a definition may be removed: the domain is off, its saved memory is not needed, and afterwards nothing
/// stays behind that only its definition names. The guards of the volumes that are deleted after it are asked.
///
/// # Errors
/// `VSI0216` for saved memory, `VSI0102` for a domain that runs; the first rule that forbids to delete a volume;
/// the error of anything that cannot be read.
pub async fn permit_undefinition(
    cx: &StepContext,
    ports: &HostPorts,
    undefined: DomainToUndefine<'_>,
) -> Result<Permit<Undefinition>, Failure> {
    let DomainToUndefine {
        uuid, leftovers, ..
    } = undefined;
    ownership::not_behind_host(cx, ports).await?;
    if let Some(domain) = ownership::own_domain(cx, ports, uuid).await? {
        is_off_without_memory(ports, &domain, leftovers)?;
        keeps_what_stays(cx, ports, &domain, undefined).await?;
    }
    let recorded = undefined.volumes.iter().filter(|doomed| doomed.recorded);
    for doomed in recorded {
        removable(cx, ports, *doomed).await?;
    }
    Ok(Permit::new(Undefinition { uuid, leftovers }))
}

/// Checks before a guest is stopped what [`permit_undefinition`] will check once it is off. Nothing is changed.
///
/// # Errors
/// As for [`permit_undefinition`].
pub async fn foresee_undefinition(
    cx: &StepContext,
    ports: &HostPorts,
    domain: &DomainInfo,
    undefined: DomainToUndefine<'_>,
) -> Result<(), Failure> {
    keeps_what_stays(cx, ports, domain, undefined).await?;
    let recorded = undefined.volumes.iter().filter(|doomed| doomed.recorded);
    let recorded: Vec<VolumeKey> = recorded.map(|doomed| doomed.key.clone()).collect();
    foresee(cx, ports, &recorded, undefined.uuid).await
}

async fn keeps_what_stays(
    cx: &StepContext,
    ports: &HostPorts,
    domain: &DomainInfo,
    undefined: DomainToUndefine<'_>,
) -> Result<(), Failure> {
    let volumes = undefined.volumes.iter();
    let volumes: Vec<VolumeKey> = volumes.map(|doomed| doomed.key.clone()).collect();
    own_disks::has_all_that_stay(cx, ports, domain, undefined.stay, &volumes).await
}

fn is_off_without_memory(
    ports: &HostPorts,
    domain: &DomainInfo,
    leftovers: Leftovers,
) -> Result<(), Failure> {
    let refused = if domain.saved && leftovers == Leftovers::Keep {
        error::SAVED_MEMORY.failure("the guest was saved with its memory, which would be deleted")
    } else if domain.state.is_active() {
        error::WRONG_STATE
            .failure("the domain runs; it must be stopped before its definition is removed")
    } else {
        return Ok(());
    };
    Err(refused
        .on_host(ports.host.name())
        .of_object(format!("domain {}", domain.uuid)))
}

/// Refuses to start a guest on a disk that another running guest has. QEMU's own lock covers the time
/// from this check until both run.
async fn is_alone_on_its_disks(
    cx: &StepContext,
    ports: &HostPorts,
    domain: &DomainInfo,
) -> Result<(), Failure> {
    let disks = &domain.stored.disks;
    // The boot disk and read-only disks belong to one VSI; only data disks can be shared.
    if disks.iter().skip(1).all(|disk| disk.readonly) {
        return Ok(());
    }
    let written = |path: &String| disks.iter().any(|d| !d.readonly && d.source == *path);
    let domains = ports.domains.domains().await?;
    let is_other = |user: &&DomainInfo| user.uuid != domain.uuid && user.state.is_active();
    for user in domains.iter().filter(is_other) {
        let shared = user.files.iter().find_map(|file| match file {
            DiskSource::Path(path) => Some(path).filter(|path| written(path)),
            _ => None,
        });
        if let Some(path) = shared {
            let path = host_text::shown(path);
            let message = format!("{} runs and has {path}", ownership::called(cx, user));
            return Err(error::IN_USE
                .failure(message)
                .on_host(ports.host.name())
                .of_object(format!("domain {}", domain.uuid)));
        }
    }
    Ok(())
}
