//! The conformance suite: checks that run against the simulated host and the real one.
//!
//! The real host is the reference: if the two differ, the simulated one is wrong. Each check creates
//! objects with unique names and removes them, so that checks can run at the same time.

mod domains;
pub mod unguarded;
mod volumes;

pub use domains::domain;
pub use volumes::{
    clone, console, create, holes, image, overlay, qcow2_is_recognised, read_along, resize, upload,
    upload_of_nothing,
};

use std::{fmt::Debug, future::Future};

use uuid::Uuid;

use super::{
    HostPorts, Leftovers, PortErrorKind, PortResult, Removed, StoragePort, VolumeFormat, VolumeKey,
    VolumeSpec,
};

/// The result of a check; the error describes what is wrong.
pub type CheckResult = Result<(), String>;

/// The host and the objects on it that the checks use.
#[derive(Clone)]
pub struct CheckPlace {
    /// The host.
    pub ports: HostPorts,
    /// An active pool with room for a few MiB.
    pub pool: String,
    /// An active network.
    pub network: String,
    /// The architecture of guests.
    pub arch: String,
    /// Whether domains may be started.
    pub start_domains: bool,
    /// The path on the host of a qcow2 image that domains boot from. Without one a real guest ends as
    /// soon as its firmware finds nothing to boot.
    pub bootable: Option<String>,
}

/// Runs every check; stops at the first that fails, with its name in the error.
///
/// # Errors
/// How the host's behaviour differs from what is required.
pub async fn all(place: &CheckPlace) -> CheckResult {
    named("facts", facts(place)).await?;
    named("what is not there", absent(place)).await?;
    named("create", create(place)).await?;
    named("upload", upload(place)).await?;
    named("upload of nothing", upload_of_nothing(place)).await?;
    named("holes", holes(place)).await?;
    named("image", image(place)).await?;
    named("read_along", read_along(place)).await?;
    named("qcow2", qcow2_is_recognised(place)).await?;
    named("clone", clone(place)).await?;
    named("overlay", overlay(place)).await?;
    named("resize", resize(place)).await?;
    named("console", console(place)).await?;
    named("domain", domain(place)).await
}

async fn named(name: &str, check: impl Future<Output = CheckResult>) -> CheckResult {
    check.await.map_err(|wrong| format!("{name}: {wrong}"))
}

fn ok<T>(what: &str, result: PortResult<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {:?}: {error}", error.kind))
}

fn fails<T>(what: &str, kind: PortErrorKind, result: PortResult<T>) -> CheckResult {
    match result {
        Err(error) if error.kind == kind => Ok(()),
        Err(error) => Err(format!(
            "{what}: {:?} instead of {kind:?}: {error}",
            error.kind
        )),
        Ok(_) => Err(format!("{what} succeeded instead of {kind:?}")),
    }
}

fn equal<T: PartialEq + Debug>(what: &str, found: T, expected: T) -> CheckResult {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: {found:?} instead of {expected:?}"))
    }
}

fn storage(place: &CheckPlace) -> &dyn StoragePort {
    place.ports.storage.as_ref()
}

fn fresh(place: &CheckPlace, what: &str) -> VolumeKey {
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

async fn clean(place: &CheckPlace, keys: &[&VolumeKey]) -> CheckResult {
    for key in keys {
        equal(
            "delete",
            ok(
                "delete",
                storage(place).delete(&unguarded::deletion(key)).await,
            )?,
            Removed::Removed,
        )?;
    }
    Ok(())
}

/// The host reports the same facts twice, and that it cannot run an unknown architecture.
///
/// # Errors
/// How the host's behaviour differs.
pub async fn facts(place: &CheckPlace) -> CheckResult {
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

/// Objects that do not exist are absent; a missing pool is an error, not an absent volume.
///
/// # Errors
/// How the host's behaviour differs.
pub async fn absent(place: &CheckPlace) -> CheckResult {
    let key = fresh(place, "absent");
    equal(
        "volume",
        ok("volume", storage(place).volume(&key).await)?,
        None,
    )?;
    equal(
        "delete",
        ok(
            "delete",
            storage(place).delete(&unguarded::deletion(&key)).await,
        )?,
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
    fails(
        "start",
        PortErrorKind::Missing,
        domains.start(&unguarded::start(uuid)).await,
    )?;
    equal(
        "undefine",
        ok(
            "undefine",
            domains
                .undefine(&unguarded::undefinition(uuid, Leftovers::Delete))
                .await,
        )?,
        Removed::Absent,
    )
}
