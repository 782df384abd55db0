//! Builds the placement requests of VSIs and of pool members.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::Arc,
};

use uuid::Uuid;

use crate::{
    fleet::{
        Fleet, FleetError,
        placement::promised::{needs, placed},
    },
    group::GroupRecord,
    placement::{Needs, PlacedVsi, PlacementRequest},
    pool::{LABEL, MemberOf, PoolRecord, TemplateRecord, member_disk_name, member_name},
    spec::{DesiredDataDisk, DesiredDisk, DesiredVsi, DiskOrigin, Resolved, ResolvedPool},
};

/// Members of a pool that need hosts. Their template is without the texts for guests and the rules of its
/// placement, because it is copied for each member.
struct MembersToPlace<'a> {
    pool: &'a str,
    template: DesiredVsi,
    disks: &'a [DesiredDataDisk],
    numbers: Range<u32>,
    /// What all of their requests share.
    shared: PlacementRequest,
    /// Whether hosts are chosen for them.
    are_placed: bool,
}

impl<'a> MembersToPlace<'a> {
    fn new(
        pool: &'a str,
        template: &DesiredVsi,
        disks: &'a [DesiredDataDisk],
        numbers: Range<u32>,
    ) -> Self {
        let mut bare = template.clone();
        let shared = request_with(&bare, &BTreeMap::new());
        (bare.placement, bare.guest, bare.network_config) = (None, None, None);
        Self {
            pool,
            template: bare,
            disks,
            numbers,
            shared,
            are_placed: template.placement.is_some() && template.host.is_empty(),
        }
    }

    fn of_template(pool: &'a str, template: &'a TemplateRecord, numbers: Range<u32>) -> Self {
        Self::new(pool, &template.vsi, &template.disks, numbers)
    }

    /// The request of one of them, with the rules and hosts of all.
    fn share_with(&self, request: PlacementRequest) -> PlacementRequest {
        let shared = &self.shared;
        let vsi = PlacedVsi {
            anti_affinity: shared.vsi.anti_affinity.clone(),
            ..request.vsi
        };
        PlacementRequest {
            vsi,
            placement: shared.placement.clone(),
            candidates: shared.candidates.clone(),
            excluded: shared.excluded.clone(),
            ..request
        }
    }
}

/// The numbers below a partition, and the others.
fn parted(numbers: Range<u32>, partition: u32) -> (Range<u32>, Range<u32>) {
    let edge = partition.min(numbers.end).max(numbers.start);
    (numbers.start..edge, edge..numbers.end)
}

/// The templates of all pools and groups.
pub(in crate::fleet) fn templates(resolved: &Resolved) -> impl Iterator<Item = &DesiredVsi> {
    pools(resolved).map(|pool| &pool.template.desired)
}

/// All pools, including those of groups.
fn pools(resolved: &Resolved) -> impl Iterator<Item = &ResolvedPool> {
    let groups = resolved.groups.iter();
    let items = groups
        .flat_map(|group| group.items())
        .map(|item| &item.pool);
    resolved.pools.iter().chain(items)
}

impl Fleet {
    /// All pools, including those of groups, without the items that their group removed for good.
    pub(in crate::fleet) async fn pools_that_stay<'a>(
        &self,
        resolved: &'a Resolved,
    ) -> Result<Vec<&'a ResolvedPool>, FleetError> {
        let mut stay: Vec<_> = resolved.pools.iter().collect();
        if resolved.groups.is_empty() {
            return Ok(stay);
        }
        let groups = self.living::<GroupRecord>().await?;
        for group in &resolved.groups {
            let recorded = groups.iter().map(|known| &known.record);
            let mut same = recorded.filter(|record| {
                (&record.namespace, &record.name) == (&group.namespace, &group.name)
            });
            let removed = same.next().map(|record| &record.removed);
            let is_removed = |name: &str| removed.is_some_and(|removed| removed.contains(name));
            let items = group.items().filter(|item| !is_removed(&item.name));
            stay.extend(items.map(|item| &item.pool));
        }
        Ok(stay)
    }

    /// The placement request of a VSI. A disk that exists already pins it to the disk's host.
    pub(super) async fn request(
        &self,
        vsi: &DesiredVsi,
        documents: &[DesiredDataDisk],
    ) -> Result<PlacementRequest, FleetError> {
        let mut hosts = BTreeMap::new();
        for disk in &vsi.disks {
            if let Some(host) = self.host_of_disk(vsi, disk, documents).await? {
                hosts.insert(disk.name.clone(), host);
            }
        }
        Ok(request_with(vsi, &hosts))
    }

    /// The host of a data disk that exists; `None` if it is made with its VSI.
    async fn host_of_disk(
        &self,
        vsi: &DesiredVsi,
        disk: &DesiredDisk,
        documents: &[DesiredDataDisk],
    ) -> Result<Option<String>, FleetError> {
        let known = self.disks_named(&vsi.namespace, &disk.name).await?;
        let mut known = known.into_iter().filter(|known| {
            let its = &known.record.disk;
            !known.is_deleted() && its.namespace == vsi.namespace && its.name == disk.name
        });
        let of_journal = known.next().map(|known| known.record.disk.host);
        let found = of_journal.or_else(|| host_in_documents(vsi, disk, documents));
        Ok(found.filter(|host| !host.is_empty()))
    }

    /// The placement requests of members that the documents' pools will make.
    pub(super) async fn members_of_documents(
        &self,
        resolved: &Resolved,
    ) -> Result<Vec<PlacementRequest>, FleetError> {
        let mut all = Vec::new();
        // In a set of journals, hosts for members are chosen when the members are made.
        let none = templates(resolved).all(|template| template.placement.is_none());
        if none || self.pools.is_of_set() {
            return Ok(all);
        }
        let known = self.living::<PoolRecord>().await?;
        for pool in self.pools_that_stay(resolved).await? {
            let desired = &pool.desired;
            let same = known.iter().find(|known| {
                let its = &known.record;
                its.namespace == desired.namespace && its.name == desired.name
            });
            let record = same.map(|same_pool| &same_pool.record);
            let present = record.map_or(1, |record| record.replicas);
            let numbers = 0..desired.replicas.unwrap_or(present);
            let (kept, new) = parted(numbers, desired.strategy.partition);
            let template = &pool.template.desired;
            let cordoned = record.map(|record| record.cordoned.clone());
            let cordoned = cordoned.unwrap_or_default();
            // Members below the partition are made from what was rolled out last.
            let below = match record.map(PoolRecord::rolled_out) {
                Some(rolled_out) => {
                    let mut older = rolled_out.vsi.as_ref().clone();
                    older.take_candidates(template);
                    MembersToPlace::new(&desired.name, &older, &rolled_out.disks, kept)
                }
                None => MembersToPlace::new(&desired.name, template, &desired.disks, kept),
            };
            all.extend(self.missing(&below, &cordoned).await?);
            let others = MembersToPlace::new(&desired.name, template, &desired.disks, new);
            all.extend(self.missing(&others, &cordoned).await?);
        }
        Ok(all)
    }

    /// The placement requests of those members of a pool that do not exist yet.
    pub(super) async fn members_of_record(
        &self,
        pool: &PoolRecord,
        numbers: Range<u32>,
    ) -> Result<Vec<PlacementRequest>, FleetError> {
        let (kept, new) = parted(numbers, pool.strategy.partition);
        let mut all = Vec::new();
        for part in [kept, new] {
            let template = pool.template_of(part.start);
            let members = MembersToPlace::of_template(&pool.name, template, part);
            all.extend(self.missing(&members, &pool.cordoned).await?);
        }
        Ok(all)
    }

    /// The placement request of an evicted member. It takes its disks along or loses them, so no disk
    /// pins it; the host that it leaves is excluded.
    pub(in crate::fleet) async fn eviction_request(
        &self,
        pool: &PoolRecord,
        number: u32,
        from: &str,
    ) -> Result<PlacementRequest, FleetError> {
        let members = evicted_members(pool, number);
        let vsi = member(&members, number);
        let request = self.request(&bare(&vsi), &[]).await?;
        let mut request = members.share_with(request);
        request.needs = needs_with_disks(&vsi);
        Arc::make_mut(&mut request.candidates).retain(|host| host != from);
        let why = "it is being drained".to_owned();
        Arc::make_mut(&mut request.excluded).push((from.to_owned(), why));
        Ok(request)
    }

    /// The placement requests of members that are going to be made. A cordoned member is not.
    async fn missing(
        &self,
        members: &MembersToPlace<'_>,
        cordoned: &BTreeSet<u32>,
    ) -> Result<Vec<PlacementRequest>, FleetError> {
        let template = &members.template;
        if !members.are_placed || members.numbers.is_empty() {
            return Ok(Vec::new());
        }
        let names = members.numbers.clone();
        let names = names.map(|number| member_name(members.pool, number));
        let known = self.known_of_names(&template.namespace, names).await?;
        let there = known.into_iter().filter(|known| !known.is_deleted());
        let there: BTreeSet<_> = there.map(|member| member.record.vsi.name.clone()).collect();
        let mut all = Vec::new();
        let to_make = members.numbers.clone();
        for number in to_make.filter(|number| !cordoned.contains(number)) {
            let vsi = member(members, number);
            if !there.contains(&vsi.name) {
                let request = self.request(&vsi, &[]).await?;
                all.push(members.share_with(request));
            }
        }
        Ok(all)
    }
}

/// The host that documents give for a data disk; empty if its VSI determines it.
pub(super) fn host_in_documents(
    vsi: &DesiredVsi,
    disk: &DesiredDisk,
    documents: &[DesiredDataDisk],
) -> Option<String> {
    let mut documents = documents.iter();
    let its = documents.find(|one| one.namespace == vsi.namespace && one.name == disk.name);
    its.map(|one| one.host.clone())
}

/// The placement request of a VSI; `disks` are the hosts of its data disks that have one, by name.
pub(super) fn request_with(vsi: &DesiredVsi, disks: &BTreeMap<String, String>) -> PlacementRequest {
    let placement = vsi.placement.clone().unwrap_or_default();
    let mut request = PlacementRequest {
        vsi: placed(vsi),
        placement: Arc::new(placement.request),
        candidates: Arc::new(placement.candidates),
        excluded: Arc::new(placement.excluded),
        pinned: None,
        arch: vsi.machine.arch.clone(),
        pool: vsi.pool.clone(),
        needs: needs(vsi),
    };
    for disk in &vsi.disks {
        match disks.get(&disk.name) {
            Some(host) if request.pinned.is_none() => {
                let why = format!("its data disk {} is on {host}", disk.name);
                request.pinned = Some((host.clone(), why));
            }
            Some(_) => {}
            None => {
                let DiskOrigin::Made { size, .. } = &disk.source else {
                    continue;
                };
                let sum = request.needs.pools.entry(disk.pool.clone()).or_default();
                *sum = sum.saturating_add(*size);
            }
        }
    }
    request
}

/// An evicted member, as far as its next host depends on it.
pub(super) fn evicted(pool: &PoolRecord, number: u32) -> DesiredVsi {
    let mut vsi = member(&evicted_members(pool, number), number);
    vsi.placement
        .clone_from(&pool.template_of(number).vsi.placement);
    vsi
}

fn evicted_members(pool: &PoolRecord, number: u32) -> MembersToPlace<'_> {
    MembersToPlace::of_template(&pool.name, pool.template_of(number), 0..0)
}

fn bare(vsi: &DesiredVsi) -> DesiredVsi {
    DesiredVsi {
        disks: Vec::new(),
        ..vsi.clone()
    }
}

/// What a VSI needs, including data disks that are made with it.
pub(super) fn needs_with_disks(vsi: &DesiredVsi) -> Needs {
    let mut all = needs(vsi);
    for disk in &vsi.disks {
        if let DiskOrigin::Made { size, .. } = &disk.source {
            let sum = all.pools.entry(disk.pool.clone()).or_default();
            *sum = sum.saturating_add(*size);
        }
    }
    all
}

/// A member, as far as its host depends on it, without the rules of its placement.
fn member(members: &MembersToPlace<'_>, number: u32) -> DesiredVsi {
    let pool = members.pool;
    let mut vsi = members.template.clone();
    vsi.name = member_name(pool, number);
    vsi.labels.insert(LABEL.to_owned(), pool.to_owned());
    vsi.member_of = Some(MemberOf {
        uid: Uuid::nil(),
        pool: pool.to_owned(),
        number,
        revision: String::new(),
    });
    vsi.disks = members
        .disks
        .iter()
        .map(|disk| DesiredDisk {
            name: member_disk_name(&disk.name, pool, number),
            pool: disk.pool.clone(),
            source: DiskOrigin::Made {
                uid: None,
                size: disk.size,
                deletion_policy: disk.deletion_policy,
            },
        })
        .collect();
    vsi
}
