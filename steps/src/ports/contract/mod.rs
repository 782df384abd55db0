//! What every host must do, as checks that run against the simulated host and the real one.
//!
//! The real host is the reference: where the two differ, the simulated one is wrong. Each check
//! makes objects of names of its own and removes them, so that it can run beside others.

use std::{fmt::Debug, future::Future};

use bytes::Bytes;
use uuid::Uuid;
use vsiflow_engine::model::Hash;

use super::{
    ConsolePosition, DiskSpec, DomainSpec, DomainState, HostPorts, MachineSpec, OwnerMark,
    PortErrorKind, PortResult, Removed, StoragePort, VolumeFormat, VolumeKey, VolumeSpec,
};
use crate::image::qcow2;

/// What a check found wrong.
pub type Verdict = Result<(), String>;

/// Where the checks work.
#[derive(Clone)]
pub struct Place {
    /// The host.
    pub ports: HostPorts,
    /// An active pool with room for a few MiB.
    pub pool: String,
    /// An active network.
    pub network: String,
    /// The architecture of guests.
    pub arch: String,
    /// Whether domains may be started. Without a bootable image they say nothing but run.
    pub start_domains: bool,
}

/// Runs every check; the first that fails ends it, with its name.
///
/// # Errors
/// What the host did otherwise than it must.
pub async fn all(place: &Place) -> Verdict {
    named("facts", facts(place)).await?;
    named("what is not there", absent(place)).await?;
    named("create", create(place)).await?;
    named("upload", upload(place)).await?;
    named("qcow2", qcow2_is_recognised(place)).await?;
    named("clone", clone(place)).await?;
    named("overlay", overlay(place)).await?;
    named("resize", resize(place)).await?;
    named("console", console(place)).await?;
    named("domain", domain(place)).await
}

async fn named(name: &str, check: impl Future<Output = Verdict>) -> Verdict {
    check.await.map_err(|wrong| format!("{name}: {wrong}"))
}

fn ok<T>(what: &str, result: PortResult<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {:?}: {error}", error.kind))
}

fn fails<T>(what: &str, kind: PortErrorKind, result: PortResult<T>) -> Verdict {
    match result {
        Err(error) if error.kind == kind => Ok(()),
        Err(error) => Err(format!(
            "{what}: {:?} instead of {kind:?}: {error}",
            error.kind
        )),
        Ok(_) => Err(format!("{what} succeeded instead of {kind:?}")),
    }
}

fn equal<T: PartialEq + Debug>(what: &str, found: T, wanted: T) -> Verdict {
    if found == wanted {
        Ok(())
    } else {
        Err(format!("{what}: {found:?} instead of {wanted:?}"))
    }
}

fn storage(place: &Place) -> &dyn StoragePort {
    place.ports.storage.as_ref()
}

fn fresh(place: &Place, what: &str) -> VolumeKey {
    let name = format!("contract-{what}-{}", Uuid::new_v4().simple());
    VolumeKey {
        pool: place.pool.clone(),
        name,
    }
}

fn raw(key: &VolumeKey) -> VolumeSpec {
    VolumeSpec {
        key: key.clone(),
        format: VolumeFormat::Raw,
        capacity: 0,
        backing: None,
    }
}

async fn clean(place: &Place, keys: &[&VolumeKey]) -> Verdict {
    for key in keys {
        equal(
            "delete",
            ok("delete", storage(place).delete(key).await)?,
            Removed::Removed,
        )?;
    }
    Ok(())
}

/// The host names itself the same way twice, and knows what it cannot run.
///
/// # Errors
/// What the host did otherwise.
pub async fn facts(place: &Place) -> Verdict {
    let host = place.ports.host.as_ref();
    let (first, second) = (
        ok("facts", host.facts().await)?,
        ok("facts", host.facts().await)?,
    );
    equal("facts", first, second)?;
    let guest = ok("guest_support", host.guest_support(&place.arch).await)?;
    equal(
        "arch",
        guest.map(|guest| guest.arch),
        Some(place.arch.clone()),
    )?;
    equal(
        "no such arch",
        ok("guest_support", host.guest_support("vax").await)?,
        None,
    )
}

/// Absent is what the host says is absent; a missing pool is no absent volume.
///
/// # Errors
/// What the host did otherwise.
pub async fn absent(place: &Place) -> Verdict {
    let key = fresh(place, "absent");
    equal(
        "volume",
        ok("volume", storage(place).volume(&key).await)?,
        None,
    )?;
    equal(
        "delete",
        ok("delete", storage(place).delete(&key).await)?,
        Removed::Absent,
    )?;
    let nowhere = VolumeKey {
        pool: key.name.clone(),
        name: "x".to_owned(),
    };
    fails(
        "volume",
        PortErrorKind::PoolMissing,
        storage(place).volume(&nowhere).await,
    )?;
    fails(
        "create",
        PortErrorKind::PoolMissing,
        storage(place).create(&raw(&nowhere)).await,
    )?;
    equal(
        "pool",
        ok("pool", storage(place).pool(&key.name).await)?,
        None,
    )?;
    let networks = place.ports.networks.as_ref();
    equal(
        "network",
        ok("network", networks.network(&key.name).await)?,
        None,
    )?;
    fails(
        "leases",
        PortErrorKind::NetworkMissing,
        networks.leases(&key.name).await,
    )?;
    ok("leases", networks.leases(&place.network).await)?;
    let domains = place.ports.domains.as_ref();
    let uuid = Uuid::new_v4();
    equal(
        "domain",
        ok("domain", domains.domain(uuid).await)?.map(|d| d.uuid),
        None,
    )?;
    fails("start", PortErrorKind::Missing, domains.start(uuid).await)?;
    equal(
        "undefine",
        ok("undefine", domains.undefine(uuid).await)?,
        Removed::Absent,
    )
}

/// A volume is made once, and found and listed afterwards.
///
/// # Errors
/// What the host did otherwise.
pub async fn create(place: &Place) -> Verdict {
    let key = fresh(place, "create");
    let made = ok("create", storage(place).create(&raw(&key)).await)?;
    equal("length", made.physical, 0)?;
    fails(
        "create again",
        PortErrorKind::Exists,
        storage(place).create(&raw(&key)).await,
    )?;
    let found = ok("volume", storage(place).volume(&key).await)?;
    equal("path", found.map(|volume| volume.path), Some(made.path))?;
    let listed = ok("volumes", storage(place).volumes(&place.pool).await)?;
    equal(
        "listed",
        listed.iter().filter(|volume| volume.key == key).count(),
        1,
    )?;
    clean(place, &[&key]).await?;
    equal(
        "gone",
        ok("volume", storage(place).volume(&key).await)?,
        None,
    )
}

async fn fill(place: &Place, key: &VolumeKey, bytes: &[u8]) -> Verdict {
    ok("create", storage(place).create(&raw(key)).await)?;
    let opened = storage(place)
        .upload(key, 0, Some(bytes.len() as u64))
        .await;
    let mut sink = ok("upload", opened)?;
    for piece in bytes.chunks(100_000) {
        ok("send", sink.send(Bytes::copy_from_slice(piece)).await)?;
    }
    ok("finish", sink.finish().await)
}

/// What was uploaded is what the host hashes and gives back; a rest goes on where it was.
///
/// # Errors
/// What the host did otherwise.
pub async fn upload(place: &Place) -> Verdict {
    let bytes: Vec<u8> = (0..700_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    let (first, rest) = bytes.split_at(300_001);
    let key = fresh(place, "upload");
    fill(place, &key, first).await?;
    let mut sink = ok("upload", storage(place).upload(&key, 300_001, None).await)?;
    ok("send", sink.send(Bytes::copy_from_slice(rest)).await)?;
    ok("finish", sink.finish().await)?;
    ok("sync", storage(place).sync(&key).await)?;
    let found = ok("volume", storage(place).volume(&key).await)?;
    equal(
        "length",
        found.map(|volume| volume.physical),
        Some(bytes.len() as u64),
    )?;
    equal(
        "hash",
        ok("sha256", storage(place).sha256(&key).await)?,
        Hash::of(&bytes),
    )?;
    let read = ok("read", storage(place).read(&key, 299_990, 20).await)?;
    equal("content", Some(read.as_ref()), bytes.get(299_990..300_010))?;
    let past = ok(
        "read",
        storage(place).read(&key, bytes.len() as u64, 10).await,
    )?;
    equal("read past the end", past.len(), 0)?;
    clean(place, &[&key]).await
}

/// The host looks into what was uploaded, and the time of the change moves.
///
/// # Errors
/// What the host did otherwise.
pub async fn qcow2_is_recognised(place: &Place) -> Verdict {
    let key = fresh(place, "qcow2");
    let spec = VolumeSpec {
        format: VolumeFormat::Qcow2,
        capacity: 5 << 20,
        ..raw(&key)
    };
    let made = ok("create", storage(place).create(&spec).await)?;
    equal("format", made.format.as_str(), "qcow2")?;
    equal("capacity", made.capacity, 5 << 20)?;
    let head = ok(
        "read",
        storage(place).read(&key, 0, qcow2::HEADER_MAX).await,
    )?;
    equal("virtual size", qcow2::virtual_size(&head), Ok(5 << 20))?;
    let copy = fresh(place, "uploaded");
    let length = made.physical.max(head.len() as u64);
    let whole = ok("read", storage(place).read(&key, 0, length).await)?;
    fill(place, &copy, &whole).await?;
    let found = ok("volume", storage(place).volume(&copy).await)?;
    let found = found.ok_or("the uploaded volume is not there")?;
    equal("format", found.format.as_str(), "qcow2")?;
    equal("capacity", found.capacity, 5 << 20)?;
    if found.modified.is_none() {
        return Err("the time of the last change is missing".to_owned());
    }
    clean(place, &[&key, &copy]).await
}

/// A copy stands alone, and is made once.
///
/// # Errors
/// What the host did otherwise.
pub async fn clone(place: &Place) -> Verdict {
    let (source, copy) = (fresh(place, "source"), fresh(place, "copy"));
    let spec = VolumeSpec {
        format: VolumeFormat::Qcow2,
        capacity: 8 << 20,
        ..raw(&source)
    };
    ok("create", storage(place).create(&spec).await)?;
    let target = VolumeSpec {
        key: copy.clone(),
        ..spec
    };
    ok("clone", storage(place).clone_volume(&source, &target).await)?;
    let again = storage(place).clone_volume(&source, &target).await;
    fails("clone again", PortErrorKind::Exists, again)?;
    clean(place, &[&source]).await?;
    let found = ok("volume", storage(place).volume(&copy).await)?;
    let found = found.ok_or("the copy is not there")?;
    equal("capacity", found.capacity, 8 << 20)?;
    equal("backing", found.backing, None)?;
    clean(place, &[&copy]).await
}

/// An overlay names what it lies over.
///
/// # Errors
/// What the host did otherwise.
pub async fn overlay(place: &Place) -> Verdict {
    let (base, over) = (fresh(place, "base"), fresh(place, "over"));
    let spec = VolumeSpec {
        format: VolumeFormat::Qcow2,
        capacity: 8 << 20,
        ..raw(&base)
    };
    let made = ok("create", storage(place).create(&spec).await)?;
    let backing = Some((made.path.clone(), VolumeFormat::Qcow2));
    let layer = VolumeSpec {
        key: over.clone(),
        backing,
        ..spec
    };
    ok("create", storage(place).create(&layer).await)?;
    let found = ok("volume", storage(place).volume(&over).await)?;
    equal(
        "backing",
        found.and_then(|volume| volume.backing),
        Some(made.path),
    )?;
    clean(place, &[&over, &base]).await
}

/// A volume grows.
///
/// # Errors
/// What the host did otherwise.
pub async fn resize(place: &Place) -> Verdict {
    let key = fresh(place, "resize");
    let spec = VolumeSpec {
        format: VolumeFormat::Qcow2,
        capacity: 4 << 20,
        ..raw(&key)
    };
    ok("create", storage(place).create(&spec).await)?;
    ok("resize", storage(place).resize(&key, 6 << 20).await)?;
    let found = ok("volume", storage(place).volume(&key).await)?;
    equal(
        "capacity",
        found.map(|volume| volume.capacity),
        Some(6 << 20),
    )?;
    clean(place, &[&key]).await
}

/// A console's log is read from a position on, and is empty at its end.
///
/// # Errors
/// What the host did otherwise.
pub async fn console(place: &Place) -> Verdict {
    let (key, console) = (fresh(place, "console"), place.ports.console.as_ref());
    fails("end", PortErrorKind::Missing, console.end(&key).await)?;
    fill(place, &key, b"one\ntwo\n").await?;
    let start = ConsolePosition { offset: 4 };
    let chunk = ok("read", console.read(&key, start, 100).await)?;
    equal("bytes", chunk.bytes.as_ref(), b"two\n".as_slice())?;
    equal("next", chunk.next, ok("end", console.end(&key).await)?)?;
    let rest = ok("read", console.read(&key, chunk.next, 100).await)?;
    equal("rest", (rest.bytes.len(), rest.next), (0, chunk.next))?;
    clean(place, &[&key]).await
}

/// A domain goes through its states, and each call says when it is the wrong one.
///
/// # Errors
/// What the host did otherwise.
pub async fn domain(place: &Place) -> Verdict {
    let (disk, log) = (fresh(place, "disk"), fresh(place, "log"));
    let disk_spec = VolumeSpec {
        format: VolumeFormat::Qcow2,
        capacity: 4 << 20,
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
    let undefined = ok("undefine", place.ports.domains.undefine(spec.uuid).await)?;
    states?;
    equal("undefine", undefined, Removed::Removed)?;
    clean(place, &[&disk, &log]).await
}

async fn domain_spec(
    place: &Place,
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
        },
        disks: vec![DiskSpec {
            target: "vda".to_owned(),
            serial: "boot".to_owned(),
            path: disk,
            format: VolumeFormat::Qcow2,
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
        },
    })
}

async fn define(place: &Place, spec: &DomainSpec) -> Verdict {
    let domains = place.ports.domains.as_ref();
    ok("define", domains.define(spec).await)?;
    let mut again = spec.clone();
    again.mark.sequence = 8;
    ok("define again", domains.define(&again).await)?;
    let found = ok("domain", domains.domain(spec.uuid).await)?;
    let found = found.ok_or("the domain is not there")?;
    equal("state", found.state, DomainState::ShutOff)?;
    equal("mark", found.mark, Some(again.mark))?;
    let disk = spec
        .disks
        .first()
        .map(|disk| super::DiskSource::Path(disk.path.clone()));
    if !disk.is_some_and(|disk| found.files.contains(&disk)) {
        return Err(format!(
            "the domain's files lack its disk: {:?}",
            found.files
        ));
    }
    fails(
        "destroy",
        PortErrorKind::WrongState,
        domains.destroy(spec.uuid).await,
    )?;
    fails(
        "shutdown",
        PortErrorKind::WrongState,
        domains.shutdown(spec.uuid).await,
    )
}

async fn states(place: &Place, spec: &DomainSpec) -> Verdict {
    let domains = place.ports.domains.as_ref();
    ok("start", domains.start(spec.uuid).await)?;
    fails(
        "start again",
        PortErrorKind::WrongState,
        domains.start(spec.uuid).await,
    )?;
    fails(
        "undefine",
        PortErrorKind::WrongState,
        domains.undefine(spec.uuid).await,
    )?;
    let found = ok("domain", domains.domain(spec.uuid).await)?;
    equal(
        "state",
        found.map(|domain| domain.state),
        Some(DomainState::Running),
    )?;
    ok("destroy", domains.destroy(spec.uuid).await)?;
    let found = ok("domain", domains.domain(spec.uuid).await)?;
    equal(
        "state",
        found.map(|domain| domain.state),
        Some(DomainState::ShutOff),
    )
}
