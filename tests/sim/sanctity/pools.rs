//! The user's pool of VSIs in a sanctity game, whose members have a data disk each.
//!
//! The boot disks of members are made anew by the pool's controller after a command that may replace members, until
//! everything has settled. Their data disks are the user's: one may be gone only after a command that deletes
//! members, while the newest document says `Delete`. Until everything has settled, the orders of that command remain
//! open.

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};
use uuid::Uuid;
use vsiflow_engine::model::{EntityId, Name};
use vsiflow_steps::guest::GuestType;
use vsiflow_workflows::{
    fleet::{ErrorKind, Fleet, FleetError},
    pool::{member_disk_name, member_name, member_uid},
    spec::{DeletionPolicy, Resolved},
};

use super::oracle::{DiskId, Oracle};
use crate::{
    documents::{PoolDocument, VsiDocument, uuid},
    world::{HOSTS, user},
};

/// The pool's name.
const POOL: &str = "web";
/// The name of its template's disk.
const DISK: &str = "data";
/// The most members.
const MOST: u32 = 3;
/// The most objects of one name, one after another.
const GENERATIONS: usize = 12;

/// What the user asks of the pool.
#[derive(Clone, Debug)]
pub enum PoolCommand {
    Apply(PoolTemplate),
    Scale(u32),
    Delete,
    /// Excludes a member from rollouts, or includes it again.
    Cordon(u32, bool),
    /// Has the members leave a host.
    Drain(&'static str),
    Uncordon(&'static str),
}

/// The parts of the pool's document that change.
#[derive(Clone, Debug)]
pub struct PoolTemplate {
    replicas: u32,
    cpus: u32,
    partition: u32,
    retains_disks: bool,
    is_evictable: bool,
}

impl PoolTemplate {
    fn draw(random: &mut StdRng) -> Self {
        Self {
            replicas: random.random_range(1..=MOST),
            cpus: random.random_range(2..4),
            partition: random.random_range(0..2),
            retains_disks: random.random_bool(0.5),
            is_evictable: random.random_bool(0.3),
        }
    }

    /// The same with disks that are deleted with their members.
    pub fn deleting(self) -> Self {
        Self {
            retains_disks: false,
            ..self
        }
    }
}

/// What the user knows of the pool.
#[derive(Clone)]
pub struct UserPool {
    /// Whether vsiflow chooses the hosts of members.
    pub is_placed: bool,
    /// How many earlier pools had the name.
    age: u128,
    /// The newest document that was accepted, with the present number of members.
    newest: Option<PoolTemplate>,
    /// The most members that there may be since everything was settled.
    members: u32,
    /// The hosts that members leave.
    drained: Vec<&'static str>,
}

impl UserPool {
    pub fn draw(random: &mut StdRng) -> Option<Self> {
        random.random_bool(0.25).then(|| Self {
            is_placed: random.random_bool(0.5),
            age: 0,
            newest: None,
            members: 0,
            drained: Vec::new(),
        })
    }

    pub fn command(&self, random: &mut StdRng) -> PoolCommand {
        if self.newest.is_none() {
            return PoolCommand::Apply(PoolTemplate::draw(random));
        }
        let host = *HOSTS.choose(random).unwrap();
        match random.random_range(0..12) {
            0..=5 => PoolCommand::Apply(PoolTemplate::draw(random)),
            6 | 7 => PoolCommand::Scale(random.random_range(1..=MOST)),
            8 => PoolCommand::Cordon(random.random_range(0..MOST), random.random_bool(0.7)),
            9 => PoolCommand::Drain(host),
            10 => PoolCommand::Uncordon(self.drained.first().copied().unwrap_or(host)),
            _ => PoolCommand::Delete,
        }
    }

    fn uid(&self) -> Uuid {
        Self::uid_of(self.age)
    }

    fn uid_of(age: u128) -> Uuid {
        uuid(0x7000 + age)
    }

    /// The UIDs of all pools that had the name: a pool takes over the data disks that an earlier one retained.
    fn uids(&self) -> impl Iterator<Item = Uuid> {
        (0..=self.age).map(Self::uid_of)
    }

    /// The pool.
    pub fn entity(&self) -> EntityId {
        EntityId::new(Name::of("pool"), self.uid().to_string()).unwrap()
    }

    fn resolved(&self, template: &PoolTemplate) -> Resolved {
        let host = if self.is_placed { "" } else { "sim:a" };
        let mut member = VsiDocument::new(POOL, 1, host).server(GuestType::None);
        member.cpus = template.cpus;
        let document = PoolDocument {
            replicas: Some(template.replicas),
            member,
            disk: true,
            evictable: template.is_evictable,
        };
        let mut resolved = document.resolved();
        for pool in &mut resolved.pools {
            let desired = &mut pool.desired;
            desired.uid = Some(self.uid());
            desired.strategy.partition = template.partition;
            if template.retains_disks {
                let disks = desired.disks.iter_mut();
                disks.for_each(|disk| disk.deletion_policy = DeletionPolicy::Retain);
            }
        }
        resolved
    }

    /// The boot disks of all members that the pool may have.
    fn boot_disks(&self) -> impl Iterator<Item = DiskId> {
        let pool = self.uid();
        (0..MOST).flat_map(move |number| {
            let name = member_name(POOL, number);
            (0..GENERATIONS).map(move |before| DiskId::Boot(member_uid(pool, &name, before)))
        })
    }

    /// Whether the boot disks of members are made anew without an order of the user.
    pub fn makes_members_anew(&self, makes_anew: bool, oracle: &mut Oracle) {
        self.boot_disks()
            .for_each(|disk| oracle.is_made_anew(disk, makes_anew));
    }

    /// Whether members may be made anew because of the command: by a roll, on another host, or not at all.
    pub fn may_replace_members(&self, command: &PoolCommand) -> bool {
        match command {
            PoolCommand::Apply(_) | PoolCommand::Delete | PoolCommand::Drain(_) => true,
            PoolCommand::Scale(replicas) => *replicas < self.members,
            // A member that was left out of a roll is rolled then.
            PoolCommand::Cordon(_, is_cordoned) => !is_cordoned,
            PoolCommand::Uncordon(_) => false,
        }
    }

    /// The data disks that the command deletes: those of these members that are there now, or are being made.
    pub fn deleted_by(&self, command: &PoolCommand, oracle: &Oracle) -> Vec<DiskId> {
        let (template, from) = match (command, &self.newest) {
            (PoolCommand::Apply(template), Some(_))
                if template.is_evictable && !self.drained.is_empty() =>
            {
                (template, 0)
            }
            (PoolCommand::Apply(template), Some(_)) if template.replicas < self.members => {
                (template, template.replicas)
            }
            (PoolCommand::Scale(replicas), Some(newest)) if *replicas < self.members => {
                (newest, *replicas)
            }
            (PoolCommand::Delete, Some(newest)) => (newest, 0),
            (PoolCommand::Drain(_), Some(newest)) if newest.is_evictable => (newest, 0),
            _ => return Vec::new(),
        };
        if template.retains_disks {
            return Vec::new();
        }
        let disks = (from..MOST).flat_map(|number| self.data_disks(number, oracle));
        disks.collect()
    }

    /// The data disks of all members that the pool may have.
    pub fn every_data_disk(&self) -> impl Iterator<Item = DiskId> {
        self.uids().flat_map(|pool| {
            (0..MOST).flat_map(move |number| {
                let name = member_disk_name(DISK, POOL, number);
                (0..GENERATIONS).map(move |before| DiskId::Data(member_uid(pool, &name, before)))
            })
        })
    }

    /// The data disks of a member that ever were there, and the next one.
    fn data_disks(&self, number: u32, oracle: &Oracle) -> Vec<DiskId> {
        let name = member_disk_name(DISK, POOL, number);
        let mut disks = Vec::new();
        for pool in self.uids() {
            for before in 0..GENERATIONS {
                let disk = DiskId::Data(member_uid(pool, &name, before));
                disks.push(disk);
                if !oracle.has_seen(disk) {
                    break;
                }
            }
        }
        disks
    }

    /// All that was asked of it is done.
    pub fn has_settled(&mut self) {
        self.members = self.newest.as_ref().map_or(0, |newest| newest.replicas);
    }

    /// Takes in a command that was accepted.
    pub fn is_accepted(&mut self, command: &PoolCommand) {
        match command {
            PoolCommand::Apply(template) => self.newest = Some(template.clone()),
            PoolCommand::Scale(replicas) => {
                if let Some(newest) = &mut self.newest {
                    newest.replicas = *replicas;
                }
            }
            PoolCommand::Delete => {
                self.newest = None;
                self.age += 1;
            }
            PoolCommand::Drain(host) => self.drained.push(host),
            PoolCommand::Uncordon(host) => self.drained.retain(|drained| drained != host),
            PoolCommand::Cordon(..) => {}
        }
        let replicas = self.newest.as_ref().map_or(0, |newest| newest.replicas);
        self.members = self.members.max(replicas);
    }

    /// Gives a command, and waits for its answer.
    pub async fn give(&self, fleet: &Fleet, command: &PoolCommand) -> Result<(), FleetError> {
        match command {
            PoolCommand::Apply(template) => {
                let applied = fleet.apply(self.resolved(template), user());
                Box::pin(applied).await.map(drop)
            }
            PoolCommand::Scale(replicas) => {
                let scaled = fleet
                    .pools()
                    .scale("default", POOL, (*replicas).into(), user());
                scaled.await.map(drop)
            }
            PoolCommand::Delete => {
                let deleted = fleet.pools().delete("default", POOL, false, user());
                match deleted.await {
                    // It was deleted by the same command, whose answer was lost.
                    Err(error) if error.kind == ErrorKind::NotFound => Ok(()),
                    done => done.map(drop),
                }
            }
            PoolCommand::Cordon(number, on) => {
                let name = member_name(POOL, *number);
                let cordoned = fleet.pools().cordon_member("default", &name, *on, user());
                cordoned.await.map(drop)
            }
            PoolCommand::Drain(host) => {
                let drained = fleet.hosts().drain_moving(host, None, user());
                Box::pin(drained).await.map(drop)
            }
            PoolCommand::Uncordon(host) => {
                let uncordoned = fleet.hosts().uncordon(host, true, user());
                uncordoned.await.map(drop)
            }
        }
    }
}
