//! The names of entities in the journal: their kinds, and their IDs.

use uuid::Uuid;
use vsiflow_engine::model::{EntityId, Hash, InvalidId, Name};

use crate::{record::DueTime, spec::Directory};

/// The kinds of entities.
pub mod kind {
    /// A virtual server instance; its id is its UID.
    pub const VSI: &str = "vsi";
    /// A base image on a pool of a host.
    pub const IMAGE: &str = "image";
    /// A host.
    pub const HOST: &str = "host";
    /// A data disk; its id is its UID.
    pub const DISK: &str = "disk";
    /// Which machine a host is; its id is the host's.
    pub const MACHINE: &str = "machine";
    /// The capacity of a host; its id is the host's.
    pub const CAPACITY: &str = "capacity";
    /// The quota admission of an object of a set of journals; its id is the object's name.
    pub const ADMISSION: &str = "admission";
    /// A promise of a host to a VSI of a set of journals; its id is namespace and name of the VSI.
    pub const PROMISE: &str = "promise";
    /// A pool of virtual servers; its id is its UID.
    pub const POOL: &str = "pool";
    /// A group of members and pools in waves; its id is its UID.
    pub const GROUP: &str = "group";
    /// A directory of documents; its id is derived from its path.
    pub const DIRECTORY: &str = "directory";
    /// A token for clients of a daemon on other machines; its id is the token's name.
    pub const TOKEN: &str = "token";
    /// A snapshot of a VSI's disks; its id is its UID.
    pub const SNAPSHOT: &str = "snapshot";
    /// The snapshot schedule of a VSI; its id is the VSI's UID.
    pub const SCHEDULE: &str = "schedule";
    /// A size of virtual servers; its id is its name.
    pub const TYPE: &str = "type";
    /// Limits of a namespace.
    pub const QUOTA: &str = "quota";
    /// A network that vsiflow makes on a host; its id is derived from both.
    pub const NETWORK: &str = "network";
    /// An unreadable VSI or data disk that was orphaned; its id is the id of that object.
    pub const ORPHAN: &str = "orphan";

    /// The kinds with objects whose ids are UIDs.
    pub const WITH_OBJECTS: [&str; 6] = [VSI, DISK, POOL, GROUP, SNAPSHOT, NETWORK];

    /// The kinds of which something is recorded that an earlier version may not be able to read. What cannot be read
    /// may name anything on a host.
    pub const WITH_RECORDS: [&str; 12] = [
        VSI, DISK, POOL, GROUP, SNAPSHOT, NETWORK, IMAGE, HOST, MACHINE, TOKEN, TYPE, QUOTA,
    ];
}

/// The entity of a VSI.
pub fn vsi_entity(uid: Uuid) -> Result<EntityId, InvalidId> {
    EntityId::new(Name::of(kind::VSI), uid.to_string())
}

/// The entity of a data disk.
pub fn disk_entity(uid: Uuid) -> Result<EntityId, InvalidId> {
    EntityId::new(Name::of(kind::DISK), uid.to_string())
}

/// The entity of a snapshot.
pub fn snapshot_entity(uid: Uuid) -> Result<EntityId, InvalidId> {
    EntityId::new(Name::of(kind::SNAPSHOT), uid.to_string())
}

/// The entity of a VSI's schedule of snapshots.
pub fn schedule_entity(vsi: Uuid) -> Result<EntityId, InvalidId> {
    EntityId::new(Name::of(kind::SCHEDULE), vsi.to_string())
}

/// The UID of a VSI's snapshot for a due time. It is derived from both, so there is at most one,
/// however often it is requested.
pub fn scheduled_snapshot(vsi: Uuid, due: DueTime) -> Uuid {
    let DueTime { ms, set_backs } = due;
    let text = match set_backs {
        0 => format!("{vsi}/schedule/{ms}"),
        _ => format!("{vsi}/schedule/{ms}/{set_backs}"),
    };
    let hash = Hash::of(text.as_bytes());
    let mut bytes = [0; 16];
    let places = bytes.iter_mut().zip(hash.0);
    places.for_each(|(to, from)| *to = from);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// The entity of a pool.
pub fn pool_entity(uid: Uuid) -> Result<EntityId, InvalidId> {
    EntityId::new(Name::of(kind::POOL), uid.to_string())
}

/// The entity of a group.
pub fn group_entity(uid: Uuid) -> Result<EntityId, InvalidId> {
    EntityId::new(Name::of(kind::GROUP), uid.to_string())
}

/// The entity of a network on a host, by its name there.
pub fn network_entity(host: &str, name: &str) -> Result<EntityId, InvalidId> {
    EntityId::new(Name::of(kind::NETWORK), digits(&[host, name], 24))
}

/// The entity of a directory.
pub fn directory_entity(directory: &Directory) -> Result<EntityId, InvalidId> {
    let depth = if directory.recursive { "all" } else { "own" };
    let id = digits(&[&directory.path, &directory.mount, depth], 32);
    EntityId::new(Name::of(kind::DIRECTORY), id)
}

/// The entity of a host. An id that is not a valid entity ID is replaced by its hash.
pub fn host_entity(host: &str) -> Result<EntityId, InvalidId> {
    let kind = Name::of(kind::HOST);
    EntityId::new(kind.clone(), host).or_else(|_| EntityId::new(kind, digits(&[host], 32)))
}

/// The entity of a host's capacity.
pub fn capacity_entity(host: &str) -> Result<EntityId, InvalidId> {
    let kind = Name::of(kind::CAPACITY);
    EntityId::new(kind.clone(), host).or_else(|_| EntityId::new(kind, digits(&[host], 32)))
}

/// The entity of a promise to a VSI of a set of journals.
pub fn promise_entity(namespace: &str, name: &str) -> Result<EntityId, InvalidId> {
    EntityId::new(Name::of(kind::PROMISE), format!("{namespace}/{name}"))
}

/// The entity of a host's machine identity.
pub fn machine_entity(host: &str) -> Result<EntityId, InvalidId> {
    let kind = Name::of(kind::MACHINE);
    EntityId::new(kind.clone(), host).or_else(|_| EntityId::new(kind, digits(&[host], 32)))
}

pub(super) fn digits(parts: &[&str], digits: usize) -> String {
    Hash::of(parts.join("\0").as_bytes())
        .to_string()
        .chars()
        .take(digits)
        .collect()
}
