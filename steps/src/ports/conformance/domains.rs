//! Checks of domains, for every implementation of the ports.

use std::time::Duration;

use uuid::Uuid;

use super::{CheckPlace, CheckResult, clean, equal, fails, fresh, ok, raw, storage, unguarded};
use crate::ports::{
    DiskShape, DiskSource, DiskSpec, DomainShape, DomainSpec, DomainState, GuestStats, LayerSpec,
    Leftovers, MachineSpec, OwnerMark, PortErrorKind, Removed, VolumeFormat, VolumeSpec,
};

/// The size of a domain's disk: at least the size of a small image.
const DISK: u64 = 256 << 20;
/// How often the progress of a merge is polled, and the pause between two polls.
const MERGE_POLLS: u32 = 200;
const MERGE_POLL: Duration = Duration::from_millis(100);

/// A domain goes through its states, and each call fails if it is in the wrong one.
///
/// # Errors
/// How the host's behaviour differs.
pub async fn domain(place: &CheckPlace) -> CheckResult {
    let (disk, log) = (fresh(place, "disk"), fresh(place, "log"));
    let bootable = place.bootable.clone();
    let disk_spec = VolumeSpec {
        format: VolumeFormat::Qcow2,
        capacity: DISK,
        backing: bootable.map(|path| (path, VolumeFormat::Qcow2)),
        ..raw(&disk)
    };
    let disk_path = ok("create", storage(place).create(&disk_spec).await)?.path;
    let log_path = ok("create", storage(place).create(&raw(&log)).await)?.path;
    let spec = domain_spec(place, disk_path, log_path).await?;
    let defined = define(place, &spec).await;
    let states = match defined {
        Ok(()) if place.start_domains => states(place, &spec).await,
        other => other,
    };
    if states.is_err() {
        // Report the first error, not that the domain cannot be undefined.
        let _ = place.ports.domains.destroy(spec.uuid).await;
    }
    let undefined = ok(
        "undefine",
        place
            .ports
            .domains
            .undefine(&unguarded::undefinition(spec.uuid, Leftovers::Delete))
            .await,
    );
    states?;
    let undefined = undefined?;
    equal("undefine", undefined, Removed::Removed)?;
    clean(place, &[&disk, &log]).await
}

async fn domain_spec(
    place: &CheckPlace,
    disk: String,
    console_log: String,
) -> Result<DomainSpec, String> {
    let guest = ok(
        "guest_support",
        place.ports.host.guest_support(&place.arch).await,
    )?;
    let guest = guest.ok_or("the host cannot run the architecture")?;
    let uuid = Uuid::new_v4();
    Ok(DomainSpec {
        uuid,
        name: uuid.to_string(),
        title: "contract/check".to_owned(),
        machine: MachineSpec {
            arch: guest.arch,
            domain_type: guest.domain_type,
            machine: guest.machine,
            cpus: 1,
            memory_mib: 256,
            secure_execution: false,
            platform: None,
        },
        disks: vec![DiskSpec {
            target: "vda".to_owned(),
            serial: "boot".to_owned(),
            path: disk,
            format: VolumeFormat::Qcow2,
            overlay: true,
            readonly: false,
            boot_order: Some(1),
        }],
        nics: Vec::new(),
        console_log,
        autostart: false,
        mark: OwnerMark {
            journal: "contract".to_owned(),
            uid: uuid.to_string(),
            generation: 3,
            sequence: 7,
            run: None,
            snapshot: None,
        },
    })
}

async fn define(place: &CheckPlace, spec: &DomainSpec) -> CheckResult {
    let domains = place.ports.domains.as_ref();
    ok("define", domains.define(&unguarded::definition(spec)).await)?;
    let mut again = spec.clone();
    again.mark.sequence = 8;
    ok(
        "define again",
        domains.define(&unguarded::definition(&again)).await,
    )?;
    let found = ok("domain", domains.domain(spec.uuid).await)?;
    let found = found.ok_or("the domain is not there")?;
    equal("state", found.state, DomainState::ShutOff)?;
    equal("mark", found.mark.clone(), Some(again.mark.clone()))?;
    let disk = spec
        .disks
        .first()
        .map(|disk| DiskSource::Path(disk.path.clone()));
    if !disk.is_some_and(|disk| found.files.contains(&disk)) {
        return Err(format!(
            "the domain's files lack its disk: {:?}",
            found.files
        ));
    }
    shaped(&found.stored, spec)?;
    equal("live", found.live, None)?;
    // A domain that is off has no addresses; a host may also answer that it cannot report them.
    if let Ok(addresses) = domains.addresses(spec.uuid).await {
        equal("addresses", addresses, Vec::new())?;
    }
    again.mark.sequence = 9;
    ok("set_mark", domains.set_mark(spec.uuid, &again.mark).await)?;
    let marked = ok("domain", domains.domain(spec.uuid).await)?;
    let marked = marked.ok_or("the domain is not there")?;
    equal("mark", marked.mark, Some(again.mark))?;
    equal("stored", marked.stored, found.stored.clone())?;
    equal("title", marked.title, Some(spec.title.clone()))?;
    equal("arch", marked.arch, spec.machine.arch.clone())?;
    for on in [true, false] {
        ok("set_autostart", domains.set_autostart(spec.uuid, on).await)?;
        let switched = ok("domain", domains.domain(spec.uuid).await)?;
        equal(
            "autostart",
            switched.map(|domain| domain.autostart),
            Some(on),
        )?;
    }
    fails(
        "destroy",
        PortErrorKind::WrongState,
        domains.destroy(spec.uuid).await,
    )?;
    fails(
        "open_screen",
        PortErrorKind::WrongState,
        domains.open_screen(spec.uuid).await,
    )?;
    fails(
        "shutdown",
        PortErrorKind::WrongState,
        domains.shutdown(spec.uuid).await,
    )
}

/// The stored definition equals the one that was sent.
fn shaped(found: &DomainShape, spec: &DomainSpec) -> CheckResult {
    equal("cpus", found.cpus, spec.machine.cpus)?;
    equal("memory", found.memory_mib, spec.machine.memory_mib)?;
    let disk = |disk: &DiskSpec| DiskShape {
        target: disk.target.clone(),
        source: disk.path.clone(),
        format: disk.format.as_str().to_owned(),
        readonly: disk.readonly,
        serial: disk.serial.clone(),
    };
    let disks: Vec<_> = spec.disks.iter().map(disk).collect();
    equal("disks", &found.disks, &disks)?;
    equal("nics", &found.nics, &spec.nics)
}

async fn states(place: &CheckPlace, spec: &DomainSpec) -> CheckResult {
    let domains = place.ports.domains.as_ref();
    ok("start", domains.start(&unguarded::start(spec.uuid)).await)?;
    fails(
        "start again",
        PortErrorKind::WrongState,
        domains.start(&unguarded::start(spec.uuid)).await,
    )?;
    fails(
        "undefine",
        PortErrorKind::WrongState,
        domains
            .undefine(&unguarded::undefinition(spec.uuid, Leftovers::Keep))
            .await,
    )?;
    let found = ok("domain", domains.domain(spec.uuid).await)?;
    equal(
        "state",
        found.map(|domain| domain.state),
        Some(DomainState::Running),
    )?;
    fails(
        "open_screen without a screen",
        PortErrorKind::Missing,
        domains.open_screen(spec.uuid).await,
    )?;
    paused(place, spec.uuid).await?;
    used(place, spec).await?;
    saved(place, spec).await?;
    ok("destroy", domains.destroy(spec.uuid).await)?;
    is_in(place, spec.uuid, DomainState::ShutOff).await?;
    equal("stats", stats(place, spec.uuid).await?, None)?;
    fails(
        "suspend",
        PortErrorKind::WrongState,
        domains.suspend(spec.uuid).await,
    )?;
    fails(
        "resume",
        PortErrorKind::WrongState,
        domains.resume(spec.uuid).await,
    )
}

/// The guest's memory is saved into a file with layers over its disks, and the guest is started from it.
async fn saved(place: &CheckPlace, spec: &DomainSpec) -> CheckResult {
    let (domains, uuid) = (place.ports.domains.as_ref(), spec.uuid);
    let (layer, memory) = (fresh(place, "layer"), fresh(place, "memory"));
    let disk = spec.disks.first().ok_or("a domain without disks")?;
    let folder = disk.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let file = format!("{folder}/{}", memory.name);
    let layers = [LayerSpec {
        target: disk.target.clone(),
        path: format!("{folder}/{}", layer.name),
    }];
    let before = ok("domain", domains.domain(uuid).await)?;
    let before = before.ok_or("the domain is not there")?;
    ok("suspend", domains.suspend(uuid).await)?;
    let stands_still = domains.save_with_layers(uuid, &layers, &file).await;
    fails(
        "save_with_layers while suspended",
        PortErrorKind::WrongState,
        stands_still,
    )?;
    ok("resume", domains.resume(uuid).await)?;
    let laid = domains.save_with_layers(uuid, &layers, &file).await;
    ok("save_with_layers", laid)?;
    is_in(place, uuid, DomainState::Running).await?;
    // A suspended guest does not end while its disks are merged.
    ok("suspend", domains.suspend(uuid).await)?;
    let seen = ok("volume", storage(place).volume(&memory).await)?;
    equal("memory", seen.is_some_and(|seen| seen.physical > 0), true)?;
    ok("sync", storage(place).sync(&memory).await)?;
    let running = ok("domain", domains.domain(uuid).await)?;
    let source = |of: &DomainShape| of.disks.first().map(|first| first.source.clone());
    let live = running.and_then(|domain| source(&domain.live?));
    equal(
        "what it writes into",
        live,
        layers.first().map(|l| l.path.clone()),
    )?;
    let machine = ok("saved_machine", domains.saved_machine(&file).await)?;
    equal("whose memory", machine.uuid, uuid)?;
    equal("the machine of the memory", machine.shape, before.stored)?;
    let other = domains.saved_machine(&disk.path).await;
    fails("saved_machine of a disk", PortErrorKind::Rejected, other)?;
    let twice = domains.start_saved(&unguarded::start(uuid), &file).await;
    fails("start_saved", PortErrorKind::WrongState, twice)?;
    merged(place, uuid, &disk.target, &disk.path).await?;
    ok("destroy", domains.destroy(uuid).await)?;
    for _ in 0..2 {
        // A start does not use up the file.
        ok(
            "start_saved",
            domains.start_saved(&unguarded::start(uuid), &file).await,
        )?;
        is_in(place, uuid, DomainState::Running).await?;
        let marked = ok("domain", domains.domain(uuid).await)?;
        equal(
            "mark",
            marked.and_then(|domain| domain.mark),
            before.mark.clone(),
        )?;
        ok("destroy", domains.destroy(uuid).await)?;
    }
    clean(place, &[&layer, &memory]).await?;
    ok("start", domains.start(&unguarded::start(uuid)).await)
}

/// Merges a disk's layer into `into`, the file below it.
async fn merged(place: &CheckPlace, uuid: Uuid, target: &str, into: &str) -> CheckResult {
    let domains = place.ports.domains.as_ref();
    ok("begin_merge", domains.begin_merge(uuid, target).await)?;
    for _ in 0..MERGE_POLLS {
        let job = ok("disk_job", domains.disk_job(uuid, target).await)?;
        let job = job.ok_or("a merge that nobody ended is gone")?;
        equal(
            "what it merges into",
            job.merges_into.as_deref(),
            Some(into),
        )?;
        let progress = job.progress;
        if progress.done >= progress.total {
            match domains.end_merge(uuid, target).await {
                Err(error) if error.kind == PortErrorKind::Busy => {}
                ended => return ok("end_merge", ended),
            }
        }
        tokio::time::sleep(MERGE_POLL).await;
    }
    Err("the merge does not end".to_owned())
}

/// The counters of a running domain never shrink. A host may count nothing, but then for no domain.
async fn used(place: &CheckPlace, spec: &DomainSpec) -> CheckResult {
    let counts = ok("guest_stats", place.ports.host.guest_stats().await)?.is_some();
    let first = stats(place, spec.uuid).await?;
    let second = stats(place, spec.uuid).await?;
    let (Some(first), Some(second)) = (first, second) else {
        return equal("whether it counts what runs", false, counts);
    };
    if first.cpu_ns.is_none() || first.cpu_ns > second.cpu_ns {
        return Err(format!(
            "processor time: {:?} and then {:?}",
            first.cpu_ns, second.cpu_ns
        ));
    }
    if first.disk_read > second.disk_read || first.disk_written > second.disk_written {
        return Err(format!("disks: {first:?} and then {second:?}"));
    }
    let memory = spec.machine.memory_mib.saturating_mul(1 << 20);
    if first.memory.is_none_or(|has| has == 0 || has > memory) {
        return Err(format!("memory: {:?} of {memory}", first.memory));
    }
    Ok(())
}

/// The host's counters of that domain; `None` if it does not run.
async fn stats(place: &CheckPlace, uuid: Uuid) -> Result<Option<GuestStats>, String> {
    let all = ok("guest_stats", place.ports.host.guest_stats().await)?;
    Ok(all.and_then(|all| all.into_iter().find(|one| one.uuid == uuid)))
}

/// Suspends and resumes, each of them twice.
async fn paused(place: &CheckPlace, uuid: Uuid) -> CheckResult {
    let domains = place.ports.domains.as_ref();
    for _ in 0..2 {
        ok("suspend", domains.suspend(uuid).await)?;
        is_in(place, uuid, DomainState::Paused).await?;
    }
    for _ in 0..2 {
        ok("resume", domains.resume(uuid).await)?;
        is_in(place, uuid, DomainState::Running).await?;
    }
    Ok(())
}

async fn is_in(place: &CheckPlace, uuid: Uuid, state: DomainState) -> CheckResult {
    let found = ok("domain", place.ports.domains.domain(uuid).await)?;
    equal("state", found.map(|domain| domain.state), Some(state))
}
