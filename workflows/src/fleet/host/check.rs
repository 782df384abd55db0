//! Host checks: whether a host can run VSIs, and what to repair there.

use std::collections::BTreeSet;

use serde::Serialize;
use vsiflow_engine::model::Failure;
use vsiflow_steps::{
    error::{self, Code},
    ports::{GuestSupport, HostCare, HostFacts, HostPorts, PoolInfo},
};

use crate::fleet::{Fleet, FleetError, HostHandle};
use crate::spec::HostSettings;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum CheckOutcome {
    /// Everything is right.
    Ok,
    /// It works, but a person should have a look.
    Warning,
    /// VSIs do not run there until it is repaired.
    Failed,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostCheck {
    /// What was checked, such as `connection` or `pool images`.
    #[serde(skip)]
    pub name: String,
    /// The result.
    pub result: CheckOutcome,
    /// What was found.
    pub message: String,
    /// What to do; empty if there is nothing to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// The optional parts of a check.
#[derive(Clone, Debug, Default)]
pub struct Checking {
    /// The architectures of the guests, such as `s390x`. If empty, those of the VSIs that the journal knows
    /// on the host.
    pub archs: Vec<String>,
    /// The networks that must exist.
    pub networks: Vec<String>,
}

/// The first libvirt version with `<launchSecurity type='s390-pv'/>` (its release notes, 7.6.0).
const SECURE_GUESTS: (u64, u64, u64) = (7, 6, 0);
/// The architecture of secure guests.
const SECURE_ARCH: &str = "s390x";
/// The minimum free space of a pool in bytes: enough for a base image and a boot disk of IBM's.
const MIN_FREE: u64 = 12 << 30;
/// The minimum size in bytes at which the console log is turned over. A smaller log may lose lines between
/// two reads.
const MIN_LOG_SIZE: u64 = 256 << 10;

/// The findings so far.
#[derive(Default)]
struct CheckFindings(Vec<HostCheck>);

impl CheckFindings {
    fn add(&mut self, name: &str, result: CheckOutcome, message: impl Into<String>, remedy: &str) {
        self.0.push(HostCheck {
            name: name.to_owned(),
            result,
            message: message.into(),
            remedy: remedy.to_owned(),
        });
    }

    fn ok(&mut self, name: &str, message: impl Into<String>) {
        self.add(name, CheckOutcome::Ok, message, "");
    }

    fn failure(&mut self, name: &str, failure: &Failure) {
        let (message, remedy) = (failure.message.as_str(), failure.remedy.as_str());
        self.add(name, CheckOutcome::Failed, message, remedy);
    }

    fn code(&mut self, name: &str, code: Code, message: String) {
        self.failure(name, &code.failure(message));
    }
}

impl HostHandle<'_> {
    /// Checks whether a host can run such guests. The host is always asked now, even if an earlier failure
    /// is known; nothing is changed there.
    ///
    /// # Errors
    /// When the journal cannot be read or written. A host that does not answer is a finding.
    pub async fn check(
        self,
        host: HostSettings,
        what: &Checking,
    ) -> Result<Vec<HostCheck>, FleetError> {
        let (id, insecure) = (host.id(), host.record.is_insecure());
        let read_only = host
            .record
            .socket()
            .is_some_and(|socket| socket.ends_with("-ro"));
        let jumps: Vec<_> = host
            .record
            .jumps()
            .iter()
            .map(ToString::to_string)
            .collect();
        self.fleet.directory.put(host);
        let archs = if what.archs.is_empty() {
            self.fleet.archs_on(&id).await?
        } else {
            what.archs.iter().cloned().collect()
        };
        let mut found = CheckFindings::default();
        if read_only {
            found.add(
                "rights",
                CheckOutcome::Failed,
                "SOCKET is libvirt's socket for looking alone",
                "set SOCKET to libvirt's full socket, or leave it out",
            );
        }
        if insecure {
            found.add(
                "host key",
                CheckOutcome::Warning,
                "any host key is accepted: a wrong host would receive the contracts",
                "put the host's key into KNOWN_HOSTS and remove INSECURE_SKIP_HOST_KEY",
            );
        }
        let check = async {
            let ports = self.fleet.reach.any_host(&id).await?;
            let facts = ports.host.facts().await?;
            Ok::<_, Failure>((ports, facts))
        };
        match check.await {
            Ok((ports, facts)) => {
                jump_hosts(&jumps, &mut found);
                check_host(&ports, &facts, &archs, what, &mut found).await;
                self.fleet.note_capacity(&id).await?;
            }
            Err(failure) => found.failure("connection", &failure),
        }
        if let Some(warning) = self.fleet.reach.warning(&id) {
            let remedy = "compare the UUID with that of the host's own `virsh capabilities`; \
                          `vsiflow host accept HOST` ends this warning";
            found.add("machine", CheckOutcome::Warning, warning, remedy);
        }
        Ok(found.0)
    }
}

impl Fleet {
    /// The architectures of the VSIs on a host. If there are none, the default of documents.
    async fn archs_on(&self, host: &str) -> Result<BTreeSet<String>, FleetError> {
        let known = self.known().await?;
        let there = known
            .iter()
            .filter(|known| !known.is_deleted() && known.record.vsi.host == host);
        let archs: BTreeSet<_> = there
            .map(|vsi| vsi.record.vsi.machine.arch.clone())
            .collect();
        Ok(if archs.is_empty() {
            BTreeSet::from([SECURE_ARCH.to_owned()])
        } else {
            archs
        })
    }
}

async fn check_host(
    ports: &HostPorts,
    facts: &HostFacts,
    archs: &BTreeSet<String>,
    what: &Checking,
    found: &mut CheckFindings,
) {
    let boot = facts.boot_id.as_deref().unwrap_or("unknown");
    found.ok(
        "connection",
        format!("{} answers, boot {boot}", facts.hostname),
    );
    shell(facts, found);
    version(&facts.libvirt_version, archs.contains(SECURE_ARCH), found);
    for arch in archs {
        // With several architectures, the name says which one is meant.
        let name = match archs.len() {
            1 => "guests".to_owned(),
            _ => format!("guests {arch}"),
        };
        match ports.host.guest_support(arch).await {
            Ok(support) => guests(&name, support.as_ref(), arch, found),
            Err(error) => found.failure(&name, &error.into()),
        }
    }
    match ports.storage.pools().await {
        Ok(pools) => storage(&pools, found),
        Err(error) => found.failure("pools", &error.into()),
    }
    for network in &what.networks {
        networks(ports, network, found).await;
    }
    match ports.domains.domains().await {
        Ok(domains) => found.ok("domains", format!("{} can be seen", domains.len())),
        Err(error) => found.failure("domains", &error.into()),
    }
    match ports.host.care().await {
        Ok(care) => console(care.as_ref(), found),
        Err(error) => found.failure("console log", &error.into()),
    }
}

/// A host that answers was reached through all its jump hosts. The message of a failure names the jump host
/// that caused it.
fn jump_hosts(jumps: &[String], found: &mut CheckFindings) {
    for (at, jump) in jumps.iter().enumerate() {
        let name = format!("jump host {}", at.saturating_add(1));
        found.ok(&name, format!("{jump} lets one through"));
    }
}

fn shell(facts: &HostFacts, found: &mut CheckFindings) {
    if facts.shell {
        return found.ok("shell", "commands may be run");
    }
    found.add(
        "shell",
        CheckOutcome::Warning,
        "no commands are permitted: images are verified by reading them back, which takes longer, \
         and a restart of the host is not noticed",
        "permit the account sync, sha256sum and cat, or live with it",
    );
}

fn version(text: &str, secure: bool, found: &mut CheckFindings) {
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    let mut parts = numbers.split('.').map(str::parse);
    let mut next = || parts.next().and_then(Result::ok);
    let (Some(major), Some(minor), Some(micro)) = (next(), next(), next()) else {
        let message = format!("its version {text:?} cannot be read");
        return found.add(
            "libvirt",
            CheckOutcome::Warning,
            message,
            "see `virsh version` there",
        );
    };
    if !(secure && (major, minor, micro) < SECURE_GUESTS) {
        found.ok("libvirt", format!("version {text}"))
    } else {
        found.add(
            "libvirt",
            CheckOutcome::Failed,
            format!("version {text} knows no secure guests of s390x"),
            "install libvirt 7.6.0 or newer",
        )
    }
}

fn guests(name: &str, support: Option<&GuestSupport>, arch: &str, found: &mut CheckFindings) {
    let Some(support) = support else {
        let message = format!("the host cannot run {arch} guests");
        return found.code(name, error::ARCHITECTURE, message);
    };
    let machine = format!("{arch} on {}, {}", support.domain_type, support.machine);
    match support.domain_type.as_str() {
        "kvm" => found.ok(name, machine),
        _ => found.add(
            name,
            CheckOutcome::Warning,
            format!("{machine}: emulated, for tests only"),
            "use a host of that architecture with a /dev/kvm that libvirt may open",
        ),
    }
    if arch != SECURE_ARCH {
        return;
    }
    if support.secure_execution {
        found.ok("secure execution", "offered")
    } else {
        found.add(
            "secure execution",
            CheckOutcome::Warning,
            "not offered: the host could read the memory of its guests",
            "enable it in the machine (IBM z15, LinuxONE III or newer) and add prot_virt=1 to the \
         kernel's parameters",
        )
    }
}

fn storage(pools: &[PoolInfo], found: &mut CheckFindings) {
    if !pools.iter().any(|pool| pool.active) {
        found.code(
            "pools",
            error::POOL_INACTIVE,
            "no pool is active".to_owned(),
        );
    }
    for pool in pools {
        let name = format!("pool {}", pool.name);
        if !pool.active {
            let remedy = error::POOL_INACTIVE.remedy;
            found.add(&name, CheckOutcome::Warning, "it is inactive", remedy);
            continue;
        }
        let free = format!("{} MiB free", pool.available >> 20);
        if pool.available >= MIN_FREE {
            found.ok(&name, free)
        } else {
            found.add(
                &name,
                CheckOutcome::Warning,
                free,
                "make room before it is full",
            )
        }
    }
}

async fn networks(ports: &HostPorts, network: &str, found: &mut CheckFindings) {
    let name = format!("network {network}");
    match ports.networks.network(network).await {
        Ok(Some(network)) if network.active => found.ok(&name, "active"),
        Ok(Some(_)) => found.code(&name, error::NETWORK_INACTIVE, "it is inactive".to_owned()),
        Ok(None) => found.code(&name, error::NETWORK_MISSING, "there is none".to_owned()),
        Err(error) => found.failure(&name, &error.into()),
    }
}

fn console(care: Option<&HostCare>, found: &mut CheckFindings) {
    let Some(care) = care else {
        return found.add(
            "console log",
            CheckOutcome::Warning,
            "how it is turned over cannot be read without a shell",
            "see that max_size in virtlogd.conf is not below 256 KiB",
        );
    };
    let size = care.log_bytes;
    if care.log_handler == "file" {
        return found.add(
            "console log",
            CheckOutcome::Warning,
            "logs are written by QEMU itself and never turned over: a guest can fill the disk",
            "set stdio_handler = \"logd\" in qemu.conf and restart libvirtd",
        );
    }
    if size >= MIN_LOG_SIZE {
        found.ok("console log", format!("turned over at {} KiB", size >> 10))
    } else {
        found.add(
            "console log",
            CheckOutcome::Warning,
            format!("turned over at {size} bytes: lines may be lost between two looks"),
            "set max_size in virtlogd.conf to its default, 2097152, and restart virtlogd",
        )
    }
}
