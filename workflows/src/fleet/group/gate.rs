//! Checks gates: whether the members of a wave show what the next wave waits for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{StreamExt as _, stream};
use uuid::Uuid;
use vsiflow_engine::model::Failure;
use vsiflow_steps::vsi::ReadyGuest;

use crate::fleet::{Fleet, FleetError, index::Known, known::KnownPool};
use crate::{
    group::WaveRecord,
    pool::MemberState,
    spec::group::{Gate, GateProbe, Quorum},
    vsi_graph,
};

/// How many guests are probed at the same time.
const PARALLEL: usize = 16;

/// The numbers of the members that a gate waits for, by pool.
pub(super) type AwaitedMembers = BTreeMap<Uuid, BTreeSet<u32>>;

/// What the probed members showed.
#[derive(Default)]
pub(super) struct ProbedGate {
    /// Whether any member passed all probes.
    pub(super) any: bool,
    /// What the first member that failed lacks.
    pub(super) lacking: Option<String>,
}

impl Fleet {
    /// Why the gate of a wave is closed; `None` if it is open.
    pub(super) async fn gate(
        &self,
        wave: &WaveRecord,
        removed: &BTreeSet<String>,
        pools: &BTreeMap<String, KnownPool>,
    ) -> Result<Option<String>, FleetError> {
        let Some(pools) = pools_that_stay(wave, removed, pools) else {
            return Ok(Some("a pool is not made yet".to_owned()));
        };
        let mut awaited = AwaitedMembers::new();
        for pool in &pools {
            awaited.insert(pool.record.uid, self.awaited_members(pool).await?);
        }
        if awaited.values().all(BTreeSet::is_empty) {
            // It waits for no member.
            return Ok(None);
        }
        if let Some(journals) = self.pools.journals() {
            return Box::pin(self.gate_over(journals, &wave.gate, &pools, awaited)).await;
        }
        let mut ready = Vec::new();
        for pool in pools {
            let mut found = self.members(pool).await?;
            for (number, view) in found.view.members.range(..pool.record.replicas) {
                let member = found.members.remove(number);
                let counts = view.current || pool.record.may_be_outdated(*number);
                ready.extend(member.filter(|_| counts && view.state == MemberState::Ready));
            }
        }
        if ready.is_empty() {
            return Ok(Some("no member is ready".to_owned()));
        }
        let probed = self.probe(ready, &wave.gate).await;
        Ok(match wave.gate.members {
            Quorum::Any if probed.any => None,
            Quorum::Any | Quorum::All => probed.lacking,
        })
    }

    /// The numbers of the members that a gate waits for. A cordoned member that is gone is not made again.
    async fn awaited_members(&self, pool: &KnownPool) -> Result<BTreeSet<u32>, FleetError> {
        let record = &pool.record;
        let mut numbers: BTreeSet<_> = (0..record.replicas).collect();
        let is_unknown =
            self.pools.journals().is_some() && self.pools.report(&pool.entity).is_none();
        if !is_unknown && !record.cordoned.is_empty() {
            let there = self.uids_of_members(pool).await?;
            numbers
                .retain(|number| there.contains_key(number) || !record.cordoned.contains(number));
        }
        Ok(numbers)
    }

    /// Probes ready members until their answers decide whether the gate opens.
    pub(super) async fn probe(&self, ready: Vec<Arc<Known>>, gate: &Gate) -> ProbedGate {
        let checks = stream::iter(ready);
        let probes = &gate.probes;
        let checks = checks.map(|known| async move { self.unmet(&known, probes).await });
        let mut answers = std::pin::pin!(checks.buffered(PARALLEL));
        let mut probed = ProbedGate::default();
        while let Some(answer) = answers.next().await {
            probed.any |= answer.is_none();
            probed.lacking = probed.lacking.or(answer);
            let is_decided = match gate.members {
                Quorum::Any => probed.any,
                Quorum::All => probed.lacking.is_some(),
            };
            if is_decided {
                break;
            }
        }
        probed
    }

    /// The first probe that a member fails, and why; `None` if it passes all.
    async fn unmet(&self, known: &Known, probes: &[GateProbe]) -> Option<String> {
        let name = &known.record.vsi.name;
        let ports = match self.hosts.host(&known.record.vsi.host).await {
            Ok(ports) => ports,
            Err(error) => return Some(format!("{name}: {}", Failure::from(error))),
        };
        let guest = guest(known);
        for probe in probes {
            let (shown, answer) = match probe {
                GateProbe::Guest(probe) => (probe.to_string(), guest.unmet(&ports, probe).await),
                GateProbe::Command(command) => (
                    command.path.clone(),
                    guest.run(&ports, &command.path, &command.args).await,
                ),
            };
            match answer {
                Ok(None) => {}
                Ok(Some(why)) => return Some(format!("{name}: {shown}: {why}")),
                Err(error) => return Some(format!("{name}: {}", Failure::from(error))),
            }
        }
        None
    }
}

/// The pools of a wave, without those of removed items; `None` while one is missing.
fn pools_that_stay<'a>(
    wave: &WaveRecord,
    removed: &BTreeSet<String>,
    pools: &'a BTreeMap<String, KnownPool>,
) -> Option<Vec<&'a KnownPool>> {
    let stays = wave.items.iter();
    let stays = stays.filter(|item| !removed.contains(&item.name));
    stays.map(|item| pools.get(&item.name)).collect()
}

/// The guest of a member, for probes and reads.
pub(super) fn guest(known: &Known) -> ReadyGuest {
    let record = &known.record;
    ReadyGuest {
        uuid: record.uid,
        namespace: record.vsi.namespace.clone(),
        host: record.vsi.host.clone(),
        console: vsi_graph::console(record),
        cards: vsi_graph::cards(record),
        guest: record.vsi.guest_type(),
        probes: Vec::new(),
    }
}
