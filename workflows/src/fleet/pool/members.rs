//! The members of a pool: their state, and the documents that they are made from.

use std::{collections::BTreeMap, sync::Arc};

use uuid::Uuid;
use vsiflow_engine::{model::EntityId, secret::Secret};
use vsiflow_steps::guest::GuestType;

use crate::fleet::{
    Fleet, FleetError, Verdict,
    apply::is_deleting,
    disk::known::KnownDisk,
    index::Known,
    known::KnownPool,
    pool::{member_texts, policies::NewestPolicies},
};
use crate::{
    drift, orders,
    phase::Phase,
    pool::{
        LABEL, MemberOf, MemberState, MemberView, PoolRecord, PoolView, TemplateRecord,
        member_disk_name, member_name, member_uid, number_of,
    },
    record::{disk_entity, group_entity, vsi_entity},
    spec::{DesiredDataDisk, DesiredDisk, DesiredVsi, DiskOrigin, PowerState, ResolvedVsi},
};

/// The members of a pool, and the view that a decision is made from.
pub(in crate::fleet) struct PoolMembers {
    pub(in crate::fleet) view: PoolView,
    /// Existing members, by number.
    pub(in crate::fleet) members: BTreeMap<u32, Arc<Known>>,
    /// Their data disks, including those of deleted members.
    pub(in crate::fleet) disks: Vec<KnownDisk>,
    /// What the newest templates permit. They are read only if members leave for good or are evicted; else
    /// they permit nothing.
    pub(in crate::fleet) policies: NewestPolicies,
}

/// The state that members should have.
#[derive(Clone, Copy)]
pub(in crate::fleet) struct MemberTarget<'a> {
    /// The revision of their template.
    pub(in crate::fleet) revision: &'a str,
    pub(in crate::fleet) power_state: PowerState,
}

impl<'a> MemberTarget<'a> {
    pub(super) fn of(record: &'a PoolRecord) -> Self {
        Self {
            revision: &record.template.revision,
            power_state: record.template.vsi.power_state,
        }
    }
}

/// The secrets of a template.
pub(super) struct TemplateSecrets {
    contract: Secret,
    image_url: Option<Secret>,
}

impl PoolMembers {
    /// The members that have not reached their desired state.
    pub(super) fn unsettled(&self) -> Vec<EntityId> {
        let open = self.members.values();
        let open = open.filter(|known| !known.state.is_settled() && known.unreadable.is_none());
        open.map(|known| known.entity.clone()).collect()
    }
}

impl Fleet {
    /// Whether no order, of the pool or of its group, permits to replace and delete members.
    pub(super) fn is_held(&self, pool: &KnownPool) -> bool {
        let group = pool.record.of_group.as_ref();
        let group = group.and_then(|of| group_entity(of.uid).ok());
        let is_ordered_by_group = group.is_some_and(|entity| {
            let state = self.engine.entity(&entity);
            state.is_some_and(|state| orders::members_are_ordered(&entity, &state))
        });
        self.lacks_order(pool) && !is_ordered_by_group
    }

    pub(in crate::fleet) async fn members(
        &self,
        pool: &KnownPool,
    ) -> Result<PoolMembers, FleetError> {
        let record = &pool.record;
        let mut members = BTreeMap::new();
        for known in self.known_of_pool(record.uid).await? {
            let number = known.record.vsi.member_of.as_ref().map(|of| of.number);
            if let Some(number) = number {
                members.insert(number, known);
            }
        }
        let views = members.iter();
        let views = views
            .map(|(number, known)| (*number, self.member_view(MemberTarget::of(record), known)));
        let mut view = PoolView {
            replicas: record.replicas,
            strategy: record.present_strategy(),
            deleting: pool.is_deleting(),
            members: views.collect(),
            foreign: Default::default(),
            cordoned: record.cordoned.clone(),
            evicting: Default::default(),
            emptying: Default::default(),
            is_held: self.is_held(pool),
        };
        if !view.deleting {
            let end = record.replicas.saturating_add(record.strategy.max_surge);
            let missing = (0..end).filter(|number| !members.contains_key(number));
            let own = (record.uid, record.namespace.as_str(), record.name.as_str());
            let foreign = self.foreign(own, missing).await?;
            view.foreign.extend(foreign.keys());
        }
        let disks = self.disks_of_pool(record.uid).await?;
        let mut numbers = disks
            .iter()
            .filter_map(|known| known.record.disk.member_of.as_ref());
        let some_leave = numbers.any(|of| pool.is_too_many(of.number));
        let some_go = some_leave || disks.iter().any(KnownDisk::is_being_destroyed);
        let policies = if some_go || !record.evicting.is_empty() {
            self.newest_policies(record).await
        } else {
            NewestPolicies::default()
        };
        let mut found = PoolMembers {
            view,
            members,
            disks,
            policies,
        };
        self.view_evictions(pool, &mut found);
        Ok(found)
    }

    /// How many members a pool has or should have; a pool without members counts as one.
    pub(in crate::fleet) async fn count_members(
        &self,
        pool: &KnownPool,
    ) -> Result<usize, FleetError> {
        let members = self.known_of_pool(pool.record.uid).await?;
        let there = members.len();
        let desired = usize::try_from(pool.record.replicas).unwrap_or(usize::MAX);
        Ok(there.max(desired).max(1))
    }

    /// The VSIs that have a member's name and were not made by the pool.
    pub(super) async fn foreign(
        &self,
        (pool, namespace, pool_name): (Uuid, &str, &str),
        numbers: impl Iterator<Item = u32>,
    ) -> Result<BTreeMap<u32, Known>, FleetError> {
        let names = numbers.map(|number| member_name(pool_name, number));
        let found = self.known_of_names(namespace, names).await?;
        let own = |known: &Known| {
            let of = known.record.vsi.member_of.as_ref();
            of.is_some_and(|of| of.uid == pool)
        };
        let foreign = found
            .into_iter()
            .filter(|known| !known.is_deleted() && !own(known));
        let numbered = foreign.filter_map(|known| {
            let number = number_of(pool_name, &known.record.vsi.name)?;
            (known.record.vsi.namespace == namespace).then_some((number, known))
        });
        Ok(numbered.collect())
    }

    pub(in crate::fleet) fn member_view(
        &self,
        target: MemberTarget<'_>,
        known: &Known,
    ) -> MemberView {
        let of = known.record.vsi.member_of.as_ref();
        let phase = known.phase();
        let serves_not = [
            Phase::Provisioning,
            Phase::Booting,
            Phase::Failed,
            Phase::Stopped,
            Phase::Deleted,
        ];
        MemberView {
            state: self.member_state(target, known),
            may_serve: known.unreadable.is_some()
                || known.state.reached > 0 && !serves_not.contains(&phase),
            current: of.is_some_and(|of| of.revision == target.revision),
        }
    }

    fn member_state(&self, target: MemberTarget<'_>, known: &Known) -> MemberState {
        // Computed only if needed: pools are reconciled often and have many members.
        let failed = || {
            let verdict = self.verdict_unless_paused(&known.entity);
            !matches!(verdict, None | Some(Verdict::Reached))
        };
        if is_deleting(&known.state) {
            return MemberState::Deleting { stuck: failed() };
        }
        if known.unreadable.is_some() {
            return MemberState::Unknown;
        }
        if !known.state.is_settled() {
            // What a command asks for counts from its record on: who moves it meanwhile would start it again.
            let power = known.record.power;
            if power.is_some_and(|power| power.state != target.power_state) {
                return MemberState::Off;
            }
            return if failed() {
                MemberState::Stuck
            } else {
                MemberState::Busy
            };
        }
        let silent = matches!(self.reach.answers(&known.record.vsi.host), Some(Err(_)));
        let expected = match target.power_state {
            PowerState::Running => Phase::Running,
            PowerState::Stopped => Phase::Stopped,
            PowerState::Paused => Phase::Paused,
        };
        match known.phase() {
            Phase::Running | Phase::Degraded if silent => MemberState::Unknown,
            phase if phase == expected => MemberState::Ready,
            Phase::Degraded if is_well(known) => MemberState::Ready,
            Phase::Degraded | Phase::Failed | Phase::Blocked => MemberState::Stuck,
            Phase::Running | Phase::Stopped | Phase::Paused => MemberState::Off,
            Phase::Unreadable => MemberState::Unknown,
            _ => MemberState::Busy,
        }
    }

    /// The secrets of a template, read once for all members that are made from it together.
    pub(super) async fn template_secrets(
        &self,
        template: &TemplateRecord,
    ) -> Result<TemplateSecrets, FleetError> {
        let image_url = match &template.image_credentials {
            Some(name) => Some(self.secrets.get(name).await?),
            None => None,
        };
        Ok(TemplateSecrets {
            contract: self.secrets.get(&template.contract).await?,
            image_url,
        })
    }

    /// The documents of a member.
    pub(super) async fn member(
        &self,
        record: &PoolRecord,
        template: &TemplateRecord,
        secrets: &TemplateSecrets,
        number: u32,
    ) -> Result<(ResolvedVsi, Vec<DesiredDataDisk>), FleetError> {
        let mut disks = disks(record, template, number);
        for disk in &mut disks {
            disk.uid = self.new_disk_uid(record.uid, disk).await?;
        }
        let mut desired = desired(record, template, number, &disks);
        let contract = member_texts::fill(record, number, &mut desired, &secrets.contract)?;
        desired.uid = self.new_uid(record.uid, &desired).await?;
        let source = desired.full_name();
        let vsi = ResolvedVsi::of_record(desired, contract, secrets.image_url.clone(), source);
        Ok((vsi, disks))
    }

    /// The documents of a member that may be in another journal, which assigns its UIDs.
    ///
    /// # Errors
    /// When one of its texts is too long with values filled in.
    pub(super) fn member_anywhere(
        record: &PoolRecord,
        template: &TemplateRecord,
        secrets: &TemplateSecrets,
        number: u32,
    ) -> Result<(ResolvedVsi, Vec<DesiredDataDisk>), FleetError> {
        let disks = disks(record, template, number);
        let mut desired = desired(record, template, number, &disks);
        let contract = member_texts::fill(record, number, &mut desired, &secrets.contract)?;
        let source = desired.full_name();
        let vsi = ResolvedVsi::of_record(desired, contract, secrets.image_url.clone(), source);
        Ok((vsi, disks))
    }
}

impl Fleet {
    /// The UID of a member that does not exist; `None` if one exists.
    async fn new_uid(&self, pool: Uuid, vsi: &DesiredVsi) -> Result<Option<Uuid>, FleetError> {
        let names = std::iter::once(vsi.name.clone());
        let known = self.known_of_names(&vsi.namespace, names).await?;
        if known.iter().any(|known| !known.is_deleted()) {
            return Ok(None);
        }
        let taken = |uid: &Uuid| {
            let entity = vsi_entity(*uid).ok();
            entity.is_some_and(|entity| self.engine.entity(&entity).is_some())
        };
        Ok(first_free(pool, &vsi.name, taken))
    }

    /// The UID of a data disk that does not exist. A retained disk is attached again.
    async fn new_disk_uid(
        &self,
        pool: Uuid,
        disk: &DesiredDataDisk,
    ) -> Result<Option<Uuid>, FleetError> {
        let known = self.disks_named(&disk.namespace, &disk.name).await?;
        let is_it = |candidate: &&KnownDisk| {
            let its = &candidate.record.disk;
            (&its.namespace, &its.name) == (&disk.namespace, &disk.name)
        };
        if known.iter().filter(is_it).any(|known| !known.is_deleted()) {
            return Ok(None);
        }
        let taken = |uid: &Uuid| {
            let entity = disk_entity(*uid).ok();
            entity.is_some_and(|entity| self.engine.entity(&entity).is_some())
        };
        Ok(first_free(pool, &disk.name, taken))
    }
}

/// The most members of one name that [`first_free`] expects to have existed.
const MAX_BEFORE: usize = 1_000_000;

/// The first UID of that name that no entity has; `None` if there is none within [`MAX_BEFORE`].
fn first_free(pool: Uuid, name: &str, taken: impl Fn(&Uuid) -> bool) -> Option<Uuid> {
    let all = (0..MAX_BEFORE).map(|before| member_uid(pool, name, before));
    let mut free = all.filter(|uid| !taken(uid));
    free.next()
}

/// Whether only objects on the host have drifted: the guest itself runs and is well.
fn is_well(known: &Known) -> bool {
    let recorded = known.state.state.as_ref();
    recorded.is_none_or(|(_, detail)| drift::of_guest_in(detail).is_empty())
}

fn desired(
    record: &PoolRecord,
    template: &TemplateRecord,
    number: u32,
    disks: &[DesiredDataDisk],
) -> DesiredVsi {
    let mut vsi = template.vsi.as_ref().clone();
    vsi.name = member_name(&record.name, number);
    vsi.uid = None;
    vsi.labels.insert(LABEL.to_owned(), record.name.clone());
    vsi.member_of = Some(MemberOf {
        uid: record.uid,
        pool: record.name.clone(),
        number,
        revision: template.revision.clone(),
    });
    vsi.disks = disks.iter().map(attached).collect();
    vsi.disks.sort_by(|a, b| a.name.cmp(&b.name));
    let name = vsi.name.clone();
    if let Some(guest) = &mut vsi.guest
        && guest.guest_type == GuestType::CloudInit
        && template.names_guests
    {
        guest.hostname = name;
    }
    vsi
}

/// A disk of a template, as a VSI refers to it.
pub(super) fn attached(disk: &DesiredDataDisk) -> DesiredDisk {
    DesiredDisk {
        name: disk.name.clone(),
        pool: disk.pool.clone(),
        source: DiskOrigin::Made {
            // It is found by its name.
            uid: None,
            size: disk.size,
            deletion_policy: disk.deletion_policy,
        },
    }
}

fn disks(record: &PoolRecord, template: &TemplateRecord, number: u32) -> Vec<DesiredDataDisk> {
    let own = |disk: &DesiredDataDisk| {
        let mut disk = disk.clone();
        disk.name = member_disk_name(&disk.name, &record.name, number);
        disk.labels.insert(LABEL.to_owned(), record.name.clone());
        disk.member_of = Some(MemberOf {
            uid: record.uid,
            pool: record.name.clone(),
            number,
            revision: String::new(),
        });
        disk
    };
    template.disks.iter().map(own).collect()
}
