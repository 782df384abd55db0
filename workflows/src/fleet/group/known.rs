//! Groups of the journal, and their pools.

use std::{collections::BTreeMap, sync::Arc};

use uuid::Uuid;
use vsiflow_engine::model::{EntityId, EntityState};

use crate::fleet::{
    ErrorKind, Fleet, FleetError,
    index::qualified,
    pool::known::KnownPool,
    store::DesiredUpdates,
    unreadable::{LostState, WantedReading},
};
use crate::{
    group::{self, GroupRecord},
    phase,
    record::kind,
};

/// A group of the journal.
#[derive(Clone, Debug)]
pub(in crate::fleet) struct KnownGroup {
    pub(in crate::fleet) entity: EntityId,
    pub(in crate::fleet) state: Arc<EntityState>,
    pub(in crate::fleet) wanted: GroupRecord,
}

impl KnownGroup {
    pub(in crate::fleet) fn is_deleted(&self) -> bool {
        phase::is_gone(&self.entity, &self.state)
    }

    pub(in crate::fleet) fn is_deleting(&self) -> bool {
        [group::DELETE, group::FORGET].contains(&self.workflow())
    }

    pub(super) fn workflow(&self) -> &str {
        let desired = self.state.desired.as_ref();
        desired.map_or(group::NAME, |desired| desired.workflow.as_str())
    }

    pub(in crate::fleet) fn generation(&self) -> u64 {
        let desired = self.state.desired.as_ref();
        desired.map_or(0, |desired| desired.generation)
    }

    /// `NAME`, or `NAMESPACE/NAME` outside the default namespace.
    pub(in crate::fleet) fn label(&self) -> String {
        match self.wanted.namespace.as_str() {
            "default" => self.wanted.name.clone(),
            _ => self.wanted.full_name(),
        }
    }

    fn is_named(&self, namespace: &str, name: &str) -> bool {
        let group = &self.wanted;
        group.namespace == namespace && (group.name == name || self.entity.id() == name)
    }

    /// Whether a pool of that name is, or would be, one of its own.
    pub(in crate::fleet) fn has_pool_name(&self, namespace: &str, name: &str) -> bool {
        let mut items = self.wanted.items();
        self.wanted.namespace == namespace
            && items.any(|item| group::pool_name(&self.wanted.name, &item.name) == name)
    }
}

/// Records a group anew; what secrets nobody names any more are erased then.
pub(in crate::fleet) fn record_group(
    known: &KnownGroup,
    wanted: &GroupRecord,
    updates: &mut DesiredUpdates,
) -> Result<(), FleetError> {
    let needed = wanted.secrets();
    let before = known.wanted.secrets();
    updates.retire(&known.entity, before.difference(&needed));
    let (entity, newest) = (known.entity.clone(), Some(known.generation()));
    let record = vsiflow_engine::model::Precedence::Record;
    updates.add(entity, group::NAME, record, wanted, newest)
}

impl Fleet {
    /// All groups, deleted ones included, by namespace and name; and those that cannot be read.
    pub(in crate::fleet) async fn groups_and_lost(
        &self,
    ) -> Result<(Vec<KnownGroup>, Vec<LostState>), FleetError> {
        let all = self.read_all::<GroupRecord>(kind::GROUP).await?;
        let read = all.read.into_iter();
        let mut groups: Vec<_> = read
            .map(|(entity, state, wanted)| KnownGroup {
                entity,
                state,
                wanted,
            })
            .collect();
        groups.sort_by_key(|group| (group.wanted.namespace.clone(), group.wanted.name.clone()));
        let lost = all.lost.into_iter();
        let lost = lost.filter(|(entity, state, _)| !phase::is_gone(entity, state));
        Ok((groups, lost.collect()))
    }

    /// The groups that are not deleted.
    pub(in crate::fleet) async fn living_groups(&self) -> Result<Vec<KnownGroup>, FleetError> {
        if self.entities_of(kind::GROUP).is_empty() {
            return Ok(Vec::new());
        }
        let (mut groups, _) = self.groups_and_lost().await?;
        groups.retain(|group| !group.is_deleted());
        Ok(groups)
    }

    pub(in crate::fleet) async fn known_group(
        &self,
        entity: &EntityId,
    ) -> Result<Option<KnownGroup>, FleetError> {
        let Some(state) = self.engine.entity(entity) else {
            return Ok(None);
        };
        match self.read_wanted(entity, &state).await? {
            WantedReading::Wanted(wanted) => Ok(Some(KnownGroup {
                entity: entity.clone(),
                state,
                wanted,
            })),
            WantedReading::Nothing => Ok(None),
            WantedReading::Lost(failure) => Err(FleetError::new(ErrorKind::Blocked, failure)),
        }
    }

    /// The group of that name, or `NAMESPACE/NAME`, that is not deleted; else, with `deleted`, the newest
    /// that was.
    pub(in crate::fleet) async fn find_group(
        &self,
        namespace: &str,
        name: &str,
        deleted: bool,
    ) -> Result<KnownGroup, FleetError> {
        let (namespace, name) = qualified(namespace, name);
        let (groups, lost) = self.groups_and_lost().await?;
        let mut named: Vec<_> = groups
            .into_iter()
            .filter(|group| group.is_named(namespace, name) && (deleted || !group.is_deleted()))
            .collect();
        let created =
            |group: &KnownGroup| self.engine.times(&group.entity).map(|(created, _)| created);
        named.sort_by_key(|group| (!group.is_deleted(), created(group)));
        match (named.pop(), lost.into_iter().next()) {
            (Some(group), _) => Ok(group),
            // Nobody can tell whether that is the one.
            (None, Some((_, _, failure))) => Err(FleetError::new(ErrorKind::Blocked, failure)),
            (None, None) => Err(FleetError::not_found(kind::GROUP, name)),
        }
    }

    /// The pools that a group made and that are not gone, by their names within the group.
    pub(super) async fn pools_of_group(
        &self,
        group: Uuid,
    ) -> Result<BTreeMap<String, KnownPool>, FleetError> {
        let pools = self.living_pools().await?.into_iter();
        let own = pools.filter_map(|pool| {
            let of = pool.wanted.of_group.as_ref()?;
            let item = of.item.clone();
            (of.uid == group).then_some((item, pool))
        });
        Ok(own.collect())
    }

    /// Namespace and name of a group.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub async fn title_of_group(&self, entity: &EntityId) -> Result<(String, String), FleetError> {
        match self.known_group(entity).await? {
            Some(group) => Ok((group.wanted.namespace, group.wanted.name)),
            None => Err(FleetError::not_found(kind::GROUP, entity.id())),
        }
    }

    /// The entity of a group that is not deleted.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn group(&self, namespace: &str, name: &str) -> Result<EntityId, FleetError> {
        Ok(self.find_group(namespace, name, false).await?.entity)
    }

    /// How many members a group has and is to have; a group without any counts as one.
    pub(in crate::fleet) async fn count_group(
        &self,
        group: &KnownGroup,
    ) -> Result<usize, FleetError> {
        let mut pools = self.pools_of_group(group.wanted.uid).await?;
        let mut count = 0_usize;
        for item in group.wanted.items() {
            let members = match pools.remove(&item.name) {
                Some(pool) => self.count_members(&pool).await?,
                None if group.wanted.removed.contains(&item.name) => 0,
                None => usize::try_from(item.replicas.unwrap_or(1)).unwrap_or(usize::MAX),
            };
            count = count.saturating_add(members);
        }
        Ok(count.max(1))
    }

    /// How many members these groups have and are to have, together.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn members_of_groups(&self, groups: &[EntityId]) -> Result<usize, FleetError> {
        let mut count = 0_usize;
        for entity in groups {
            if let Some(group) = self.known_group(entity).await? {
                count = count.saturating_add(self.count_group(&group).await?);
            }
        }
        Ok(count)
    }
}
