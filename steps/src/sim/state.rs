//! The state of a simulated host. Tests change it directly.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Content, Fault, Live, due::DueDomains, guest::GuestEnded, source::qcow2_header};
use crate::host_text;
use crate::ports::{
    DhcpHost, DnsHost, DomainSpec, DomainState, FileIdentity, GuestStats, GuestSupport,
    HostCapacity, HostRoute, NetworkSpec, OwnerMark,
};

const GIB: u64 = 1 << 30;
/// At this length the host's log daemon renames a console log and starts a new one.
pub(super) const LOG_MAX: u64 = 2_097_152;

/// A simulated host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SimHostState {
    /// Grows with each restart; the boot ID is derived from it.
    pub boots: u64,
    /// Whether vsiflow may run commands on it.
    pub shell: bool,
    /// Whether it can hash a volume while that is being filled.
    #[serde(default)]
    pub reads_along: bool,
    /// Whether images are written into files by commands on the host.
    #[serde(default)]
    pub by_path: bool,
    /// The support for guests, by architecture.
    pub guests: Vec<GuestSupport>,
    /// Pools by name.
    pub pools: BTreeMap<String, Pool>,
    /// Networks by name.
    pub networks: BTreeMap<String, Network>,
    /// Domains by UUID.
    pub domains: BTreeMap<Uuid, Domain>,
    /// Grows with each change of a volume's content.
    pub changes: u64,
    /// The host's routes, in addition to its networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<HostRoute>,
    /// The host's bridges, in addition to those of its networks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bridges: Vec<String>,
    /// Links and second mounts, by their paths, with their targets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<String, String>,
    /// Files outside of pools, by their paths; `None` for a file that may not be read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outside: BTreeMap<String, Option<Vec<u8>>>,
    /// Disks outside of pools, by their paths, such as the layers of a backup tool.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub loose: BTreeMap<String, Volume>,
    /// Paths of files that exist, and whose content only the host itself can read.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub closed: BTreeSet<String>,
    /// The identity that the machine reports, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// libvirt's UUID of the host, if it reports one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<Uuid>,
    /// Its processors; `None` if it does not report them.
    #[serde(default = "some_cpus")]
    pub cpus: Option<u32>,
    /// Its memory in bytes; `None` if it does not report it.
    #[serde(default = "some_memory")]
    pub memory: Option<u64>,
    /// How often its daemon was started.
    #[serde(default)]
    pub daemon_starts: u64,
    /// Calls that fail with this fault every time, until the entry is removed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub broken: BTreeMap<String, Fault>,
    /// Files (`POOL/NAME`) that the host created in a pool's folder without libvirt: not volumes until
    /// the pool is refreshed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) unlisted: BTreeSet<String>,
    /// The times of the next events.
    #[serde(skip)]
    pub(super) due: DueDomains,
}

/// The header of a qcow2 file with a backing file.
fn layer_header(backing: &str) -> Vec<u8> {
    let backing = host_text::bytes(backing);
    let mut header = qcow2_header(1 << 30);
    let name_position = (header.len() as u64).to_be_bytes();
    let length = u32::try_from(backing.len()).unwrap_or(u32::MAX);
    for (from, bytes) in [(8, &name_position[..]), (16, &length.to_be_bytes()[..])] {
        for (place, byte) in header.iter_mut().skip(from).zip(bytes) {
            *place = *byte;
        }
    }
    header.extend_from_slice(&backing);
    header
}

/// A pool.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pool {
    /// Whether it is active.
    pub active: bool,
    /// Its folder on the host.
    pub path: String,
    /// Size in bytes.
    pub capacity: u64,
    /// Volumes by name.
    pub volumes: BTreeMap<String, Volume>,
}

impl Pool {
    /// Bytes still free.
    pub fn available(&self) -> u64 {
        let used: u64 = self
            .volumes
            .values()
            .map(|volume| volume.content.len())
            .sum();
        self.capacity.saturating_sub(used)
    }
}

/// A volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Volume {
    /// The format detected in it.
    pub format: String,
    /// The size a guest sees.
    pub capacity: u64,
    /// Its bytes.
    pub content: Content,
    /// The path of its backing file.
    pub backing: Option<String>,
    /// When the content last changed.
    pub modified: u64,
    /// When the file was made; 0 if its file system does not keep it.
    #[serde(default)]
    pub born: u64,
    /// Whether the content outlives a restart of the host.
    pub synced: bool,
    /// Whether the disk failed to store some of the content, which the host still serves from memory.
    #[serde(default)]
    pub unwritten: bool,
    /// The host copies from or to it until this time, by the host's clock.
    pub busy_until: u64,
    /// What guests wrote into this file, apart from its bytes.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tokens: BTreeSet<u64>,
}

impl Volume {
    /// Drops cached bytes: what the disk failed to store is lost.
    pub(super) fn drop_cached(&mut self) {
        if std::mem::take(&mut self.unwritten) {
            self.content.lose_tail();
        }
    }

    /// The file's length: a raw volume is at least as long as its capacity.
    pub fn physical(&self) -> u64 {
        let sparse = if self.format == "raw" {
            self.capacity
        } else {
            0
        };
        self.content.len().max(sparse)
    }
}

/// A network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Network {
    /// Whether it is active.
    pub active: bool,
    /// The first three parts of its addresses.
    pub prefix: String,
    /// Whether the host assigns addresses by DHCP.
    #[serde(default = "yes")]
    pub dhcp: bool,
    /// The number of each card's address, by its MAC address.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lent: BTreeMap<String, u32>,
    /// Its definition through libvirt; `None` for a network that the host had before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<NetworkSpec>,
    /// The addresses that are reserved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<DhcpHost>,
    /// The names that its DNS resolves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<DnsHost>,
}

fn some_cpus() -> Option<u32> {
    Some(64)
}

fn some_memory() -> Option<u64> {
    Some(256 * GIB)
}

fn yes() -> bool {
    true
}

/// A domain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Domain {
    /// Its stored definition.
    pub spec: DomainSpec,
    /// Its owner's mark; `None` for a foreign domain.
    pub mark: Option<OwnerMark>,
    /// Its state.
    pub state: DomainState,
    /// The guest in it, while it runs.
    pub live: Option<Live>,
    /// Its definition when it was started.
    #[serde(default)]
    pub running: Option<DomainSpec>,
    /// The time at which an interrupted start ends it, by the host's clock in milliseconds.
    #[serde(default)]
    pub ends_at: Option<u64>,
    /// Whether it was moved to another host.
    #[serde(default)]
    pub moved: bool,
    /// The guest that was saved with its memory when it was stopped.
    #[serde(default)]
    pub saved: Option<Live>,
    /// Layers that are being merged, by disk: the time at which the merge is done, by the host's clock.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub merges: BTreeMap<String, u64>,
    /// Copies of disks that an administrator began, by disk: the path of the copy, to which the guest could
    /// be switched.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub block_copies: BTreeMap<String, String>,
    /// Whether an I/O error paused the guest. It does so again while a pool is full.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub io_error: bool,
}

/// How long a domain whose start was interrupted is reported as starting, in milliseconds.
const STARTING_MS: u64 = 1000;

/// The UUID in a call's object, if that is a domain.
pub(super) fn domain_of(object: &str) -> Option<Uuid> {
    let uuid = object.strip_prefix("domain ")?;
    Uuid::parse_str(uuid).ok()
}

impl Domain {
    /// Turns the domain off.
    pub fn end(&mut self, state: DomainState) {
        (self.live, self.running, self.state) = (None, None, state);
        self.io_error = false;
        self.ends_at = None;
        self.merges.clear();
        self.block_copies.clear();
    }

    /// Suspends the domain.
    pub fn pause(&mut self, now: u64) {
        if let Some(live) = self.live.as_mut() {
            live.pause(now);
            self.state = DomainState::Paused;
        }
    }

    /// Saves the domain with its memory, suspended, and turns it off: its next start resumes that memory.
    pub fn save(&mut self) {
        let saved = self.live.take();
        self.end(DomainState::ShutOff);
        self.saved = saved;
    }

    /// Resumes the domain.
    pub fn unpause(&mut self, now: u64) {
        if let Some(live) = self.live.as_mut() {
            live.unpause(now);
            self.state = DomainState::Running;
        }
    }
}

impl SimHostState {
    /// The resources that it reports.
    pub(super) fn capacity(&self) -> Option<HostCapacity> {
        let (cpus, memory) = (self.cpus?, self.memory?);
        Some(HostCapacity { cpus, memory })
    }

    /// The resources that its guests have used: each second 0.1 s of processor time, 4 KiB of disk in one
    /// request, and 1 KiB of network, in each direction.
    pub(super) fn guest_stats(&self, now: u64) -> Vec<GuestStats> {
        let running = self.domains.iter();
        let running =
            running.filter_map(|(uuid, domain)| Some((*uuid, domain, domain.live.as_ref()?)));
        let stats = running.map(|(uuid, domain, live)| {
            let millis = now.saturating_sub(live.started);
            let each_second = |what: u64| Some(millis.saturating_mul(what) / 1_000);
            let spec = domain.running.as_ref().unwrap_or(&domain.spec);
            let memory = spec.machine.memory_mib.saturating_mul(1 << 20);
            GuestStats {
                uuid,
                cpu_ns: each_second(100_000_000),
                memory: Some(memory),
                memory_resident: Some(memory / 2),
                disk_read: each_second(4_096),
                disk_written: each_second(4_096),
                disk_reads: each_second(1),
                disk_writes: each_second(1),
                net_received: each_second(1_024),
                net_sent: each_second(1_024),
            }
        });
        stats.collect()
    }

    pub(super) fn new() -> Self {
        let guest = |arch: &str, machine: &str| GuestSupport {
            arch: arch.to_owned(),
            domain_type: "qemu".to_owned(),
            machine: machine.to_owned(),
            secure_execution: false,
        };
        let pool = Pool {
            active: true,
            path: "/var/lib/libvirt/images".to_owned(),
            capacity: 100 * GIB,
            volumes: BTreeMap::new(),
        };
        let network = Network {
            active: true,
            prefix: "192.168.122".to_owned(),
            lent: BTreeMap::new(),
            dhcp: true,
            made: None,
            hosts: Vec::new(),
            names: Vec::new(),
        };
        Self {
            boots: 1,
            cpus: some_cpus(),
            memory: some_memory(),
            shell: true,
            reads_along: true,
            by_path: false,
            guests: vec![
                guest("s390x", "s390-ccw-virtio-9.2"),
                guest("x86_64", "pc-q35-9.2"),
            ],
            pools: BTreeMap::from([("images".to_owned(), pool)]),
            networks: BTreeMap::from([("default".to_owned(), network)]),
            domains: BTreeMap::new(),
            changes: 0,
            routes: Vec::new(),
            bridges: Vec::new(),
            links: BTreeMap::new(),
            outside: BTreeMap::new(),
            loose: BTreeMap::new(),
            closed: BTreeSet::new(),
            machine: None,
            uuid: None,
            daemon_starts: 1,
            broken: BTreeMap::new(),
            unlisted: BTreeSet::new(),
            due: DueDomains::default(),
        }
    }

    /// The number of the next change of a volume's content.
    pub(super) fn change(&mut self) -> u64 {
        self.changes = self.changes.saturating_add(1);
        self.changes
    }

    /// Resolves links and second mounts in the path.
    pub(super) fn resolved(&self, path: &str) -> String {
        let path = crate::files::plain(path);
        let led = self.links.iter().find_map(|(link, to)| {
            let rest = path.strip_prefix(link.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then(|| format!("{to}{rest}"))
        });
        led.unwrap_or(path)
    }

    /// What identifies the file at a path.
    pub(super) fn identity(&self, path: String) -> FileIdentity {
        let born = self.by_path(&path).map_or(0, |volume| volume.born);
        FileIdentity {
            place: path,
            born: (born > 0).then(|| born.to_string()),
        }
    }

    /// A volume, or a disk outside of pools, by its path.
    pub fn by_path(&self, path: &str) -> Option<&Volume> {
        let (folder, name) = path.rsplit_once('/')?;
        let pool = self.pools.values().find(|pool| pool.path == folder);
        let volume = pool.and_then(|pool| pool.volumes.get(name));
        volume.or_else(|| self.loose.get(path))
    }

    /// The first bytes of a volume, when it is read by its path.
    pub(super) fn header_at(&self, path: &str) -> Option<Vec<u8>> {
        let backing = self.by_path(path)?.backing.as_deref();
        Some(backing.map_or_else(Vec::new, layer_header))
    }

    pub(super) fn by_path_mut(&mut self, path: &str) -> Option<&mut Volume> {
        let (folder, name) = path.rsplit_once('/')?;
        let pool = self.pools.values_mut().find(|pool| pool.path == folder);
        let volume = pool.and_then(|pool| pool.volumes.get_mut(name));
        volume.or_else(|| self.loose.get_mut(path))
    }

    /// Whether any volume still uses this stored content.
    pub(super) fn holds(&self, sought: u64) -> bool {
        let mut volumes = (self.pools.values())
            .flat_map(|pool| pool.volumes.values())
            .chain(self.loose.values());
        volumes.any(|v| matches!(v.content, Content::Stored { id, .. } if id == sought))
    }

    /// Simulates a power loss and restart: guests are off, content that was not synced loses its tail,
    /// and copies in progress remain incomplete.
    pub fn restart(&mut self) {
        self.boots = self.boots.saturating_add(1);
        for domain in self.domains.values_mut() {
            domain.end(DomainState::ShutOff);
        }
        for volume in self
            .pools
            .values_mut()
            .flat_map(|pool| pool.volumes.values_mut())
            .chain(self.loose.values_mut())
        {
            if !volume.synced {
                volume.content.lose_tail();
            }
            volume.drop_cached();
            volume.busy_until = 0;
            volume.synced = true;
        }
    }

    /// Simulates that the daemon died while it started that domain: its guest has not run.
    pub(super) fn interrupt_start(&mut self, object: &str, now: u64) {
        let uuid = domain_of(object);
        if let Some(domain) = uuid.and_then(|uuid| self.domains.get_mut(&uuid)) {
            (domain.live, domain.state) = (None, DomainState::Starting);
            domain.ends_at = Some(now.saturating_add(STARTING_MS));
        }
    }

    /// Advances every guest to `now`.
    pub(super) fn advance(&mut self, now: u64) {
        if self.due.begin() {
            let uuids: Vec<Uuid> = self.domains.keys().copied().collect();
            uuids.into_iter().for_each(|uuid| self.due.at(0, uuid));
        }
        while let Some(uuid) = self.due.next(now) {
            self.advance_domain(uuid, now);
        }
    }

    /// Notes that the domain was changed; `None` stands for all domains.
    pub(super) fn changed(&mut self, uuid: Option<Uuid>) {
        match uuid {
            Some(uuid) => self.due.at(0, uuid),
            None => self.due.forget(),
        }
    }

    fn advance_domain(&mut self, uuid: Uuid, now: u64) {
        let Some(domain) = self.domains.get_mut(&uuid) else {
            return;
        };
        if domain.ends_at.is_some_and(|end| end <= now) {
            domain.end(DomainState::ShutOff);
        }
        let Some(live) = domain.live.as_mut() else {
            if let Some(end) = domain.ends_at {
                self.due.at(end, uuid);
            }
            return;
        };
        let (bytes, ended) = live.advance(now);
        let log = domain.spec.console_log.clone();
        if let Some(ended) = ended {
            domain.end(match ended {
                GuestEnded::Off => DomainState::ShutOff,
                GuestEnded::Crashed => DomainState::Crashed,
            });
        }
        let next_of_guest = domain.live.as_ref().and_then(Live::next);
        if let Some(next) = next_of_guest.into_iter().chain(domain.ends_at).min() {
            // An event that is due but did not happen waits for a change of its domain.
            self.due.at(next.max(now.saturating_add(1)), uuid);
        }
        self.append_log(&log, &bytes);
    }

    fn append_log(&mut self, path: &str, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let change = self.change();
        let Some(volume) = self.by_path_mut(path) else {
            return;
        };
        let Content::Inline(log) = &mut volume.content else {
            return;
        };
        log.extend_from_slice(bytes);
        volume.modified = change;
        if volume.content.len() >= LOG_MAX {
            self.rotate(path);
        }
    }

    fn rotate(&mut self, path: &str) {
        let Some((folder, name)) = path.rsplit_once('/') else {
            return;
        };
        let Some(pool) = self.pools.values_mut().find(|pool| pool.path == folder) else {
            return;
        };
        let Some(volume) = pool.volumes.get_mut(name) else {
            return;
        };
        let mut old = volume.clone();
        if let (Content::Inline(log), Content::Inline(kept)) =
            (&mut volume.content, &mut old.content)
        {
            let boundary = usize::try_from(LOG_MAX).unwrap_or(log.len()).min(log.len());
            *log = kept.split_off(boundary);
        }
        pool.volumes.insert(format!("{name}.0"), old);
    }
}
