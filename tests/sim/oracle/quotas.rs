//! Games of a quota of disks: docs/how-to/quotas.md. A pool has data disks that are retained, under names that change.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IteratorRandom as _};
use vsiflow_engine::model::EntityId;
use vsiflow_steps::guest::GuestType;
use vsiflow_workflows::{
    fleet::{DeletionMode, Fleet, Verdict},
    spec::{DeletionPolicy, Quantity, Resolved},
};

use super::{controller_game::SETTLES, next_process, start};
use crate::{
    documents::{PoolDocument, VsiDocument, quota},
    gate::{CrashGate, CrashMoment},
    world::{CrashWorld, in_virtual_time, user},
};

const GIB: u64 = 1 << 30;
const BOOT_GIB: u64 = 100;
const DISK_GIB: u64 = 30;
/// The names of disk templates.
const NAMES: [&str; 3] = ["data", "store", "log"];
const POOLS: [&str; 2] = ["db", "web"];

/// What the document of a pool asks.
#[derive(Clone, Copy, Debug)]
struct DisksDemand {
    replicas: u32,
    disk: &'static str,
}

/// What exists and what is promised, by the documents that were accepted.
#[derive(Clone, Debug, Default)]
struct DiskModel {
    pools: BTreeMap<&'static str, DisksDemand>,
    /// How many members each pool has. One that is too many counts until it is gone.
    members: BTreeMap<&'static str, u32>,
    /// The data disks that were made and not deleted.
    disks: BTreeSet<String>,
}

impl DiskModel {
    /// The data disks that the pools promise.
    fn promised(&self) -> BTreeSet<String> {
        let pools = self.pools.iter();
        let disks = pools.flat_map(|(pool, demand)| {
            (0..demand.replicas).map(move |number| format!("{}-{pool}-{number}", demand.disk))
        });
        disks.collect()
    }

    /// The disks of the namespace, in GiB: each one counts once, whoever made it.
    fn used(&self) -> u64 {
        let promised = self.promised();
        let disks = self.disks.union(&promised).count() as u64;
        let members = self.pools.iter().map(|(pool, demand)| {
            let there = self.members.get(pool).copied().unwrap_or_default();
            u64::from(demand.replicas.max(there))
        });
        members.sum::<u64>() * BOOT_GIB + disks * DISK_GIB
    }

    /// Every pool is as asked.
    fn settled(&mut self) {
        self.disks.extend(self.promised());
        let pools = self.pools.iter();
        self.members = pools
            .map(|(pool, demand)| (*pool, demand.replicas))
            .collect();
    }
}

/// A game that is being played.
struct QuotaGame {
    world: CrashWorld,
    random: StdRng,
    gate: Arc<CrashGate>,
    fleet: Fleet,
    model: DiskModel,
    hard: u64,
}

/// Plays the game of this seed to its end.
pub fn play(seed: u64) -> Result<(), String> {
    in_virtual_time(async {
        let (world, gate) = (CrashWorld::new(None).await, CrashGate::safe());
        let fleet = start(&world, &gate).await?;
        let mut game = QuotaGame {
            world,
            random: StdRng::seed_from_u64(seed),
            gate,
            fleet,
            model: DiskModel::default(),
            hard: 0,
        };
        let played = game.play().await;
        game.gate.die();
        played
    })
}

fn document(pool: &'static str, demand: DisksDemand) -> Resolved {
    let document = PoolDocument {
        replicas: Some(demand.replicas),
        member: VsiDocument::new("web", 1, "sim:a").server(GuestType::CloudInit),
        disk: true,
        evictable: false,
    };
    let mut resolved = document.resolved();
    let asked = resolved.pools.first_mut().unwrap();
    (asked.desired.name, asked.desired.uid) = (pool.to_owned(), None);
    asked.template.desired.boot_disk.size = Some(BOOT_GIB * GIB);
    let disk = asked.desired.disks.first_mut().unwrap();
    disk.name = demand.disk.to_owned();
    (disk.size, disk.deletion_policy) = (DISK_GIB * GIB, DeletionPolicy::Retain);
    resolved
}

impl QuotaGame {
    async fn play(&mut self) -> Result<(), String> {
        self.limit().await?;
        for _ in 0..self.random.random_range(6..14) {
            match self.random.random_range(0..10) {
                0..=5 => self.ask().await?,
                6 => self.delete_pool().await?,
                7 => self.delete_disk().await?,
                8 => self.limit().await?,
                _ => self.kill().await?,
            }
            self.check_used().await?;
        }
        Ok(())
    }

    /// Another limit, which may be below the use.
    async fn limit(&mut self) -> Result<(), String> {
        self.hard = self.random.random_range(100..800);
        let mut limits = quota(0);
        let hard = &mut limits.quotas.first_mut().unwrap().hard;
        (hard.vsis, hard.disk) = (None, Some(Quantity(self.hard * GIB)));
        let applied = self.fleet.apply(limits, user()).await;
        applied.map(drop).map_err(|error| error.to_string())
    }

    /// The document of a pool is refused if it asks for more than before and than the limit, and only then.
    async fn ask(&mut self) -> Result<(), String> {
        let pool = POOLS.into_iter().choose(&mut self.random).unwrap();
        let demand = DisksDemand {
            replicas: self.random.random_range(0..4),
            disk: NAMES.into_iter().choose(&mut self.random).unwrap(),
        };
        let mut after = self.model.clone();
        after.pools.insert(pool, demand);
        let (before, then) = (self.model.used(), after.used());
        let is_permitted = then <= before || then <= self.hard;
        match self.fleet.apply(document(pool, demand), user()).await {
            Ok(applied) if is_permitted => {
                self.model = after;
                let entity = applied.first().and_then(|one| one.entity.clone());
                self.settle(&entity.ok_or("the pool has no entity")?)
                    .await?;
                self.model.settled();
                Ok(())
            }
            Err(error) if !is_permitted && error.failure.code.as_str() == "VSI0738" => Ok(()),
            applied => Err(format!(
                "{pool} {demand:?} uses {then} Gi after {before} Gi of {} Gi: {:?}, {:?}",
                self.hard,
                applied.err().map(|error| error.to_string()),
                self.model
            )),
        }
    }

    /// The disks of a pool stay when it is deleted.
    async fn delete_pool(&mut self) -> Result<(), String> {
        let pools: Vec<_> = self.model.pools.keys().copied().collect();
        let Some(pool) = pools.into_iter().choose(&mut self.random) else {
            return Ok(());
        };
        let deleted = self.fleet.pools().delete("default", pool, false, user());
        let entity = deleted.await.map_err(|error| error.to_string())?;
        self.settle(&entity).await?;
        self.model.pools.remove(pool);
        self.model.settled();
        Ok(())
    }

    /// A disk that no member has is deleted.
    async fn delete_disk(&mut self) -> Result<(), String> {
        let promised = self.model.promised();
        let free = self.model.disks.difference(&promised);
        let Some(disk) = free.choose(&mut self.random).cloned() else {
            return Ok(());
        };
        let disks = self.fleet.disks();
        let mode = DeletionMode::ByPolicy;
        let deleted = disks.delete("default", &disk, mode, user()).await;
        let entity = deleted.map_err(|error| format!("{disk}: {error}"))?;
        self.settle(&entity).await?;
        self.model.disks.remove(&disk);
        Ok(())
    }

    async fn kill(&mut self) -> Result<(), String> {
        let calls = self.random.random_range(0..60);
        self.gate.die_in(calls, CrashMoment::After);
        (self.fleet, self.gate) = next_process(&self.world, &self.gate).await?;
        Ok(())
    }

    async fn settle(&self, entity: &EntityId) -> Result<(), String> {
        let decided = tokio::time::timeout(SETTLES, self.fleet.decided(entity)).await;
        match decided {
            Ok(Ok(Verdict::Reached)) => {}
            other => return Err(format!("{entity} is {other:?}: {:?}", self.model)),
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        Ok(())
    }

    async fn check_used(&self) -> Result<(), String> {
        let quotas = self.fleet.quotas().list().await;
        let quotas = quotas.map_err(|error| error.to_string())?;
        let shown = quotas
            .first()
            .and_then(|quota| quota.status.used.get("disk"));
        let used = Quantity(self.model.used() * GIB).to_string();
        if shown != Some(&used) {
            return Err(format!(
                "{shown:?} are used, and not {used}: {:?}",
                self.model
            ));
        }
        Ok(())
    }
}
