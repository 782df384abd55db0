//! Evicts pool members from their hosts: chooses another host, deletes the member, and deletes the data
//! disks that go with it. [`Eviction`] describes how this resumes after a crash.

use std::collections::BTreeSet;

use uuid::Uuid;
use vsiflow_engine::model::Failure;
use vsiflow_steps::ports::Hosts as _;

use crate::{
    fleet::{
        Fleet, FleetError, Verdict,
        apply::is_deleting,
        disk::known::KnownDisk,
        index::Known,
        known::KnownPool,
        placement::HostSurvey,
        pool::{apply::record_pool, members::PoolMembers, reconcile::is_passing},
        store::DesiredUpdates,
    },
    placement::{Decision, PlacementRequest},
    plan::boot_disk,
    pool::{EvictedMember, Eviction, EvictionView, KeepReason, MemberState, PoolRecord},
    record::kind,
    spec::{DeletionPolicy, DesiredDataDisk, ResolvedVsi},
};

/// Attempts to record while others change the same pool.
const ATTEMPTS: usize = 5;

impl Fleet {
    /// Marks in the view which members leave, and which numbers wait until an evicted member's disks
    /// are deleted.
    pub(super) fn view_evictions(&self, pool: &KnownPool, found: &mut PoolMembers) {
        for (uid, eviction) in &pool.record.evicting {
            let number = eviction.number;
            match found.members.get(&number) {
                Some(known) if known.record.uid == *uid => {
                    let stays = keeps(pool, known, found);
                    if stays.is_none() && self.reach.cordoned(&eviction.from).is_some() {
                        found.view.evicting.insert(number);
                    }
                }
                Some(_) => {}
                None if found.any_goes(eviction) => {
                    found.view.emptying.insert(number);
                }
                None => {}
            }
        }
    }

    /// Drops the evictions that are over. Returns whether there were any; the pool is then reconciled
    /// again.
    pub(super) async fn end_evictions(
        &self,
        pool: &KnownPool,
        found: &PoolMembers,
    ) -> Result<bool, FleetError> {
        if pool.is_deleting() {
            return Ok(false);
        }
        let mut record = pool.record.clone();
        record.evicting.retain(|uid, eviction| {
            let member = found.members.get(&eviction.number);
            let replaced = member.is_some_and(|member| member.record.uid != *uid);
            let begun = member.is_none_or(|member| is_deleting(&member.state));
            let holds = begun || self.reach.cordoned(&eviction.from).is_some();
            // A number beyond the desired replicas is not made again.
            let empties = found.any_goes(eviction);
            let comes_back = eviction.number < pool.record.replicas;
            !replaced && holds && (comes_back || member.is_some() || empties)
        });
        if record.evicting == pool.record.evicting {
            return Ok(false);
        }
        let by = pool.controller("the end of an eviction");
        let mut updates = DesiredUpdates::default();
        record_pool(pool, &record, &mut updates)?;
        self.record(updates, by).await?;
        Ok(true)
    }

    /// Deletes members whose new host is chosen and still accepts them. For the others a host is chosen
    /// and recorded, and the next reconciliation deletes them.
    pub(super) async fn evict_members(
        &self,
        pool: &KnownPool,
        found: &PoolMembers,
        numbers: &[u32],
        survey: &HostSurvey,
    ) -> Vec<Failure> {
        let (mut trouble, mut open) = (Vec::new(), Vec::new());
        for number in numbers {
            let Some((member, eviction)) = eviction_of(pool, found, *number) else {
                continue;
            };
            if self.decided_eviction(pool, member, &found.disks).is_none() {
                open.push(*number);
                continue;
            }
            let what = format!("the drain of {}", eviction.from);
            let by = pool.controller(&what);
            let namespace = &pool.record.namespace;
            // By UID, because another VSI may have taken the name in between.
            let deleted =
                Box::pin(self.vsis().delete(namespace, member.entity.id(), false, by)).await;
            trouble.extend(deleted.err().map(|error| *error.failure));
        }
        if !open.is_empty() {
            let chosen = Box::pin(self.choose_again(pool, found, &open, survey)).await;
            trouble.extend(chosen.unwrap_or_else(|error| vec![*error.failure]));
        }
        trouble
    }

    /// Chooses and records new hosts for evicted members. Returns the failures of those without one.
    async fn choose_again(
        &self,
        pool: &KnownPool,
        found: &PoolMembers,
        numbers: &[u32],
        survey: &HostSurvey,
    ) -> Result<Vec<Failure>, FleetError> {
        // Two concurrent choices would not see each other's promises.
        let _chooses = self.capacities.choosing().await;
        let mut record = pool.record.clone();
        let members = numbers.iter().filter_map(|number| {
            let (member, _) = eviction_of(pool, found, *number)?;
            Some((member.record.uid, *number))
        });
        let requests = Box::pin(self.eviction_requests(pool, found, numbers)).await?;
        let mut trouble = Vec::new();
        let chosen = self.choose_each(&requests, survey).await?;
        for ((uid, number), decision) in members.zip(chosen) {
            match (decision, record.evicting.get_mut(&uid)) {
                (Ok(decision), Some(eviction)) => {
                    eviction.to = Some(decision);
                    eviction.disks = disks_of(number, &found.disks);
                }
                (Ok(_), None) => {}
                (Err(failure), _) => trouble.push(failure),
            }
        }
        if record != pool.record {
            let by = pool.controller("another host for a member");
            let mut updates = DesiredUpdates::default();
            record_pool(pool, &record, &mut updates)?;
            self.record(updates, by).await?;
        }
        Ok(trouble)
    }

    /// Whether the new host of an evicted member is chosen.
    pub(super) fn is_decided(&self, pool: &KnownPool, found: &PoolMembers, number: u32) -> bool {
        let eviction = eviction_of(pool, found, number);
        eviction
            .is_some_and(|(member, _)| self.decided_eviction(pool, member, &found.disks).is_some())
    }

    /// What these members need of another host, without those that are not being evicted.
    pub(super) async fn eviction_requests(
        &self,
        pool: &KnownPool,
        found: &PoolMembers,
        numbers: &[u32],
    ) -> Result<Vec<PlacementRequest>, FleetError> {
        let mut requests = Vec::new();
        for number in numbers {
            if let Some((_, eviction)) = eviction_of(pool, found, *number) {
                let from = eviction.from.as_str();
                requests.push(self.eviction_request(&pool.record, *number, from).await?);
            }
        }
        Ok(requests)
    }

    /// The new host of an evicted member, if the decision still applies.
    pub(in crate::fleet) fn decided_eviction<'a>(
        &self,
        pool: &'a KnownPool,
        member: &Known,
        disks: &[KnownDisk],
    ) -> Option<&'a Decision> {
        let eviction = pool.record.evicting.get(&member.record.uid)?;
        let same_disks = eviction.disks == disks_of(eviction.number, disks);
        let same_host = eviction.from == member.record.vsi.host;
        self.chosen(eviction).filter(|_| same_disks && same_host)
    }

    /// The host that was chosen for a member, if it still accepts it.
    fn chosen<'a>(&self, eviction: &'a Eviction) -> Option<&'a Decision> {
        let takes = |host: &str| {
            let silent = matches!(self.reach.answers(host), Some(Err(_)));
            !silent && self.reach.cordoned(host).is_none()
        };
        eviction.to.as_ref().filter(|to| takes(&to.host))
    }

    /// Sets the host of a new member to the one that its eviction decided. If that host no longer
    /// accepts it, one is chosen as for any new member.
    pub(super) fn place_evicted(
        &self,
        pool: &PoolRecord,
        number: u32,
        (vsi, disks): (&mut ResolvedVsi, &mut [DesiredDataDisk]),
    ) {
        let mut all = pool.evicting.values();
        let eviction = all.find(|eviction| eviction.number == number);
        let Some(to) = eviction.and_then(|eviction| self.chosen(eviction)) else {
            return;
        };
        let candidates = vsi.desired.placement.as_ref();
        let is_candidate = candidates.is_some_and(|one| one.candidates.contains(&to.host));
        if !is_candidate || !vsi.desired.host.is_empty() {
            return;
        }
        vsi.desired.host.clone_from(&to.host);
        vsi.placed = Some(to.clone());
        let open = disks.iter_mut().filter(|disk| disk.host.is_empty());
        open.for_each(|disk| disk.host.clone_from(&to.host));
    }

    /// Deletes the data disks of evicted members; obstacles go into `trouble`. Returns whether some
    /// disks still exist.
    pub(super) async fn delete_evicted_disks(
        &self,
        pool: &KnownPool,
        found: &PoolMembers,
        trouble: &mut Vec<Failure>,
    ) -> bool {
        let mut open = false;
        for (uid, eviction) in &pool.record.evicting {
            let member = found.members.get(&eviction.number);
            // Only disks listed in the eviction match; the disks of a replacement member have other
            // UIDs.
            let leaves =
                member.is_none_or(|known| known.record.uid == *uid && is_deleting(&known.state));
            if !leaves {
                continue;
            }
            for disk in found.going_disks(eviction) {
                open = true;
                if disk.is_deleting() {
                    let verdict = self.own_verdict(&disk.entity);
                    if let Some(Verdict::Blocked(failure) | Verdict::Failed(failure)) = verdict {
                        trouble.push(failure);
                    }
                    continue;
                }
                if found.view.is_held {
                    trouble.push(pool.not_ordered());
                    continue;
                }
                let by = pool.controller("a member that left its host");
                let (namespace, id) = (&pool.record.namespace, disk.entity.id());
                let deleted = Box::pin(self.disks().delete(namespace, id, false, by)).await;
                trouble.extend(deleted.err().map(|error| *error.failure));
            }
        }
        open
    }

    /// Cancels the evictions from a host that have not started.
    pub(in crate::fleet) async fn stop_evictions(
        &self,
        host: &str,
        by: &vsiflow_engine::executor::By,
    ) -> Result<(), FleetError> {
        if self.entities_of(kind::POOL).is_empty() {
            return Ok(());
        }
        let mut left = ATTEMPTS;
        loop {
            left = left.saturating_sub(1);
            match Box::pin(self.try_stop_evictions(host, by)).await {
                Err(error) if left > 0 && is_passing(&error.failure) => {}
                done => return done,
            }
        }
    }

    async fn try_stop_evictions(
        &self,
        host: &str,
        by: &vsiflow_engine::executor::By,
    ) -> Result<(), FleetError> {
        // Otherwise a member that counts as not deleting here could be deleted at the same time.
        let _one_look = self.pools.looking.lock().await;
        let mut updates = DesiredUpdates::default();
        let mut pools = Vec::new();
        for pool in self.living::<PoolRecord>().await? {
            let mut evictions = pool.record.evicting.values();
            let concerned = evictions.any(|eviction| eviction.from == host);
            if !concerned || pool.is_deleting() {
                continue;
            }
            let leaving = self.members(&pool).await?;
            self.take_back_evictions(&pool, &leaving, host, by).await?;
            let members = self.members(&pool).await?;
            let mut record = pool.record.clone();
            record.evicting.retain(|uid, eviction| {
                let member = members.members.get(&eviction.number);
                let waits = member
                    .is_some_and(|known| known.record.uid == *uid && !is_deleting(&known.state));
                eviction.from != host || !waits
            });
            if record.evicting != pool.record.evicting {
                record_pool(&pool, &record, &mut updates)?;
                pools.push(pool.entity);
            }
        }
        self.record(updates, by.clone()).await?;
        self.work_on_pools(pools);
        Ok(())
    }

    /// Takes back the deletions of the members that leave the host, and of their disks, as far as nothing of them is
    /// destroyed yet: everything may be paused, or the host silent, since they were ordered.
    async fn take_back_evictions(
        &self,
        pool: &KnownPool,
        leaving: &PoolMembers,
        host: &str,
        by: &vsiflow_engine::executor::By,
    ) -> Result<(), FleetError> {
        for (uid, eviction) in &pool.record.evicting {
            let member = leaving.members.get(&eviction.number);
            let member = member.filter(|member| member.record.uid == *uid);
            let Some(member) = member.filter(|_| eviction.from == host) else {
                continue;
            };
            let leaves = is_deleting(&member.state);
            if leaves && self.takes_away(&member.entity) {
                continue;
            }
            // The disks first: what waits for the end of their member would begin once that is taken back. A member that
            // stays already was taken back before a crash.
            let disks = leaving.disks.iter();
            for disk in disks.filter(|disk| eviction.disks.contains(&disk.uid)) {
                if disk.is_being_destroyed() {
                    self.take_back_disk_deletion(disk, by).await?;
                }
            }
            if leaves {
                self.take_back_deletion(member, by).await?;
            }
        }
        Ok(())
    }
}

/// Why a member stays on its host; `None` if it may leave, or is not a member any more.
pub(in crate::fleet) fn keeps(
    pool: &KnownPool,
    known: &Known,
    found: &PoolMembers,
) -> Option<KeepReason> {
    let record = &pool.record;
    let of = known.record.vsi.member_of.as_ref();
    let number = of.map(|of| of.number).unwrap_or_default();
    let state = found.view.members.get(&number)?.state;
    let template = record.template_of(number);
    let placement = template.vsi.placement.as_ref();
    let member = EvictedMember {
        state: match known.unreadable {
            Some(_) => MemberState::Unknown,
            None => state,
        },
        evictable: found.policies.evictable,
        placed: placement.is_some() && template.vsi.host.is_empty(),
        cordoned: record.cordoned.contains(&number),
        held: found.view.is_held,
        stays: number < record.replicas && !pool.is_deleting(),
    };
    let disks = living(number, &found.disks);
    let disks = disks.map(|disk| {
        let disk = &disk.record.disk;
        (disk.name.clone(), found.policies.of_disk(disk))
    });
    let view = EvictionView {
        member: Some(member),
        boot_disk: known.record.vsi.boot_disk.mode,
        disks: disks.collect(),
    };
    view.keeps()
}

/// The UIDs of a member's data disks.
pub(in crate::fleet) fn disks_of(number: u32, disks: &[KnownDisk]) -> BTreeSet<Uuid> {
    living(number, disks).map(|known| known.uid).collect()
}

/// The disks that are deleted with a member that leaves its host, as they are shown.
pub(in crate::fleet) fn losses_of(known: &Known, number: u32, disks: &[KnownDisk]) -> Vec<String> {
    let boot_disk = boot_disk(&known.record, &known.state.objects);
    let of_data = living(number, disks);
    let of_data = of_data.map(|disk| format!("data disk {}", disk.record.disk.name));
    std::iter::once(boot_disk).chain(of_data).collect()
}

fn living(number: u32, disks: &[KnownDisk]) -> impl Iterator<Item = &KnownDisk> {
    disks.iter().filter(move |known| {
        let of = known.record.disk.member_of.as_ref();
        !known.is_deleted() && of.is_some_and(|of| of.number == number)
    })
}

impl PoolMembers {
    /// The existing disks that are deleted with an evicted member. Their policies may have changed since
    /// the eviction was recorded.
    fn going_disks(&self, eviction: &Eviction) -> impl Iterator<Item = &KnownDisk> {
        self.disks.iter().filter(|disk| {
            let policy = self.policies.of_disk(&disk.record.disk);
            let permitted = disk.is_deleting() || policy == DeletionPolicy::Delete;
            !disk.is_deleted() && permitted && eviction.disks.contains(&disk.uid)
        })
    }

    fn any_goes(&self, eviction: &Eviction) -> bool {
        self.going_disks(eviction).next().is_some()
    }
}

/// The member of that number and its eviction, if it is being evicted.
fn eviction_of<'a>(
    pool: &'a KnownPool,
    found: &'a PoolMembers,
    number: u32,
) -> Option<(&'a Known, &'a Eviction)> {
    let member = found.members.get(&number)?;
    let eviction = pool.record.evicting.get(&member.record.uid)?;
    Some((member, eviction))
}
