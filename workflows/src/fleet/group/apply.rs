//! Applies the documents of groups.

use std::collections::BTreeMap;

use uuid::Uuid;
use vsiflow_engine::model::{Failure, FailureClass, Precedence};

use crate::fleet::{
    Applied, Change, ErrorKind, Fleet, FleetError,
    group::{known::record_group, plan::fields, values::address_references},
    known::{KnownGroup, KnownPool},
    pool::{apply::refuse_change, plan::ordered_again, reconcile::taken},
    store::DesiredUpdates,
};
use crate::{
    group::{self, GroupRecord, ItemRecord, WaveRecord},
    plan::Plan,
    pool::{PoolRecord, TemplateRecord, member_name},
    record::{group_entity, kind},
    spec::{
        Resolved,
        group::{LateProblem, ResolvedGroup, ResolvedItem},
    },
};

impl Fleet {
    /// Works out the change of each group document and adds updates to `updates`. A `dry` run stores
    /// nothing.
    pub(in crate::fleet) async fn draft_groups(
        &self,
        resolved: &Resolved,
        updates: &mut DesiredUpdates,
        dry: bool,
    ) -> Result<Vec<Applied>, FleetError> {
        let mut all = Vec::new();
        if resolved.groups.is_empty() {
            return Ok(all);
        }
        let known = self.living::<GroupRecord>().await?;
        for group in &resolved.groups {
            all.push(match matching(group, &known) {
                None => Box::pin(self.create_group(group, updates, dry)).await?,
                Some(known) => Box::pin(self.change_group(group, known, updates, dry)).await?,
            });
        }
        Ok(all)
    }

    async fn create_group(
        &self,
        group: &ResolvedGroup,
        updates: &mut DesiredUpdates,
        dry: bool,
    ) -> Result<Applied, FleetError> {
        let mut applied = applied(group, Change::Created);
        if dry {
            return Ok(applied);
        }
        let uid = group.uid.unwrap_or_else(Uuid::new_v4);
        let record = self.group_record(group, uid, None, false).await?;
        let entity = group_entity(uid).map_err(|error| FleetError::defect(error.to_string()))?;
        applied.entity = Some(entity.clone());
        updates.add(entity, group::NAME, Precedence::Record, &record, Some(0))?;
        self.order_members(updates);
        Ok(applied)
    }

    async fn change_group(
        &self,
        group: &ResolvedGroup,
        known: &KnownGroup,
        updates: &mut DesiredUpdates,
        dry: bool,
    ) -> Result<Applied, FleetError> {
        let before = &known.record;
        let record = self
            .group_record(group, before.uid, Some(before), dry)
            .await?;
        let mut applied = applied(group, Change::Configured);
        applied.entity = Some(known.entity.clone());
        applied.fields = fields(before, &record);
        if self.lacks_order(known) {
            applied.fields.push(ordered_again());
        }
        applied.plan = Plan {
            changes: applied.fields.clone(),
            destroys: self.losses_of_group(known, &record).await?,
            ..Plan::default()
        };
        if record == *before && !self.lacks_order(known) {
            applied.change = Change::Unchanged;
        } else if !dry {
            record_group(known, &record, updates)?;
            self.order_members(updates);
        }
        Ok(applied)
    }

    /// The record of a group; the progress that it has reached is copied from `before`.
    async fn group_record(
        &self,
        group: &ResolvedGroup,
        uid: Uuid,
        before: Option<&GroupRecord>,
        dry: bool,
    ) -> Result<GroupRecord, FleetError> {
        let mut waves = Vec::new();
        for wave in &group.waves {
            let mut items = Vec::new();
            for item in &wave.items {
                let known = before.and_then(|before| before.item(&item.name));
                let template = match known.filter(|_| group.lacks(&item.name)) {
                    // It was removed, and what it was made from is no longer there.
                    Some(known) => known.template.clone(),
                    None => self.item_template(item, known, dry).await?,
                };
                let replicas = item.pool.desired.replicas;
                items.push(ItemRecord {
                    name: item.name.clone(),
                    single: item.single,
                    replicas: replicas.or(known.and_then(|known| known.replicas)),
                    strategy: item.pool.desired.strategy,
                    remove_after: item.remove_after.clone(),
                    template,
                });
            }
            waves.push(WaveRecord {
                name: wave.name.clone(),
                gate: wave.gate.clone(),
                items,
            });
        }
        Ok(GroupRecord {
            uid,
            namespace: group.namespace.clone(),
            name: group.name.clone(),
            labels: group.labels.clone(),
            release: group.release.clone(),
            waves,
            outputs: group.outputs.clone(),
            opened: before.map(|one| one.opened.clone()).unwrap_or_default(),
            removed: before.map(|one| one.removed.clone()).unwrap_or_default(),
            resolved: before.map(|one| one.resolved.clone()).unwrap_or_default(),
            filled: match before {
                Some(before) => self.filled_that_stay(group, before, dry).await?,
                None => BTreeMap::new(),
            },
            found: match before {
                Some(before) => self.outputs_that_stay(group, before, dry).await?,
                None => BTreeMap::new(),
            },
            of_shared_cluster: group.of_shared_cluster,
        })
    }

    async fn item_template(
        &self,
        item: &ResolvedItem,
        known: Option<&ItemRecord>,
        dry: bool,
    ) -> Result<TemplateRecord, FleetError> {
        let earlier: Vec<_> = known.iter().map(|known| &known.template).collect();
        self.template_after(&item.pool, &earlier, dry).await
    }

    /// Refuses documents of groups with problems that their records do not excuse, before any host is asked.
    pub(in crate::fleet) async fn refuse_late_problems(
        &self,
        resolved: &Resolved,
    ) -> Result<(), FleetError> {
        if resolved.groups.iter().all(|group| group.late.is_empty()) {
            return Ok(());
        }
        let known = self.living::<GroupRecord>().await?;
        for group in &resolved.groups {
            let record = matching(group, &known).map(|known| &known.record);
            let is_excused =
                |late: &&LateProblem| record.is_some_and(|record| record.excuses(late));
            let mut late = group.late.iter();
            if let Some(LateProblem { problem, .. }) = late.find(|late| !is_excused(late)) {
                let message = format!(
                    "{}, {}: {}",
                    problem.document, problem.path, problem.message
                );
                let code = problem.code.as_str();
                return Err(refused(code, &problem.object, &message, &problem.remedy));
            }
        }
        Ok(())
    }

    /// Refuses, before anything is made, invalid changes of groups, and documents of pools or VSIs that
    /// a group makes.
    pub(in crate::fleet) async fn refuse_groups(
        &self,
        resolved: &Resolved,
    ) -> Result<(), FleetError> {
        if resolved.groups.is_empty() && self.entities_of(kind::GROUP).is_empty() {
            return Ok(());
        }
        let (mut groups, lost) = self.known_records::<GroupRecord>().await?;
        groups.retain(|group| !group.is_deleted());
        let concerns = !resolved.groups.is_empty() || !resolved.pools.is_empty();
        if let (true, Some((_, _, failure))) = (concerns, lost.into_iter().next()) {
            return Err(FleetError::new(ErrorKind::Blocked, failure));
        }
        let pools = if concerns {
            self.living::<PoolRecord>().await?
        } else {
            Vec::new()
        };
        refuse_pools(resolved, &groups, &pools)?;
        refuse_members(resolved, &groups)?;
        for group in &resolved.groups {
            let known = matching(group, &groups);
            Box::pin(self.refuse_group(group, known, &pools, resolved)).await?;
        }
        Ok(())
    }

    async fn refuse_group(
        &self,
        group: &ResolvedGroup,
        known: Option<&KnownGroup>,
        pools: &[KnownPool],
        resolved: &Resolved,
    ) -> Result<(), FleetError> {
        let full_name = format!("{}/{}", group.namespace, group.name);
        if let Some(known) = known {
            if known.is_deleting() {
                return Err(FleetError::going_of(kind::GROUP, &full_name));
            }
            if group.uid.is_some_and(|uid| uid != known.record.uid) {
                return Err(refused(
                    "VSI0733",
                    &full_name,
                    "a group of this name exists under another UID",
                    "remove metadata.uid from the document, or delete the group that exists",
                ));
            }
            self.refuse_group_change(group, known, &full_name).await?;
        }
        for item in group.items() {
            if known.is_some_and(|known| known.record.removed.contains(&item.name)) {
                continue;
            }
            self.refuse_item(group, item, known, pools, resolved)
                .await?;
        }
        Ok(())
    }

    /// Refuses a change that the members could not follow.
    async fn refuse_group_change(
        &self,
        group: &ResolvedGroup,
        known: &KnownGroup,
        full_name: &str,
    ) -> Result<(), FleetError> {
        let before = &known.record;
        for item in before.items() {
            let stays = group.items().any(|other| other.name == item.name);
            if !stays && !before.removed.contains(&item.name) {
                let message = format!("{} is not in the document any more", item.name);
                let remedy = "put it back, with `replicas: 0` for a pool that is not needed, or delete the group";
                return Err(refused("VSI0732", full_name, &message, remedy));
            }
        }
        let mut given_up = group
            .items()
            .filter(|item| before.removed.contains(&item.name));
        if let Some(item) = given_up.find(|item| item.remove_after.is_none()) {
            let message = format!("{} was removed for good, and is not made again", item.name);
            let remedy = "leave its removeAfter, or remove it from the document; a member that is needed again takes another name";
            return Err(refused("VSI0732", full_name, &message, remedy));
        }
        for item in group.items() {
            let earlier = before.item(&item.name);
            let stays = |_: &&ItemRecord| !before.removed.contains(&item.name);
            let Some(earlier) = earlier.filter(stays) else {
                continue;
            };
            let template = self.item_template(item, Some(earlier), true).await?;
            refuse_change(&earlier.template, &template, full_name)?;
        }
        self.refuse_removed(group, known, full_name)
    }

    /// Refuses outputs of removed members, and references to their addresses: they can no longer be read.
    fn refuse_removed(
        &self,
        group: &ResolvedGroup,
        known: &KnownGroup,
        full_name: &str,
    ) -> Result<(), FleetError> {
        let before = &known.record;
        let mut outputs = group.outputs.iter();
        if let Some(output) = outputs.find(|output| before.comes_too_late(output)) {
            let (name, item) = (&output.name, &output.item);
            let message = format!("output {name} is of {item}, which was removed from this group");
            let remedy = "take it from a member that stays, or remove it";
            return Err(refused("VSI0604", full_name, &message, remedy));
        }
        for item in group.items() {
            let resolved = before.resolved.get(&item.name);
            for reference in address_references(&item.pool.template) {
                let name = reference.split('.').nth(2).unwrap_or_default();
                let of = name.rsplit_once('-').map_or(name, |(of, _)| of);
                let has = resolved.is_some_and(|resolved| resolved.contains_key(&reference));
                if before.removed.contains(of) && !has {
                    let message = format!(
                        "{} refers to $({reference}), and {of} was removed from this group",
                        item.name
                    );
                    let remedy = "remove the reference";
                    return Err(refused("VSI0734", full_name, &message, remedy));
                }
            }
        }
        Ok(())
    }

    /// Refuses an item whose pool, VSI or disk names are used by others.
    async fn refuse_item(
        &self,
        group: &ResolvedGroup,
        item: &ResolvedItem,
        known: Option<&KnownGroup>,
        pools: &[KnownPool],
        resolved: &Resolved,
    ) -> Result<(), FleetError> {
        let desired = &item.pool.desired;
        let named = pools.iter().find(|pool| {
            pool.record.namespace == desired.namespace && pool.record.name == desired.name
        });
        let own = known.map(|known| known.record.uid);
        if let Some(pool) = named {
            let of = pool.record.of_group.as_ref().map(|of| of.uid);
            if of.is_none() || of != own {
                return Err(others_pool(&group.name, &desired.name));
            }
        }
        let uid = named.map_or_else(Uuid::nil, |pool| pool.record.uid);
        let present = named.map(|pool| pool.record.replicas);
        let replicas = desired.replicas.or(present).unwrap_or(1);
        for number in 0..replicas {
            let name = member_name(&desired.name, number);
            let mut vsis = resolved.vsis.iter().map(|vsi| &vsi.desired);
            if vsis.any(|vsi| vsi.namespace == desired.namespace && vsi.name == name) {
                let failure = taken(&desired.name, &name);
                return Err(FleetError::new(ErrorKind::Blocked, failure));
            }
        }
        let (namespace, pool) = (&desired.namespace, &desired.name);
        self.refuse_foreign(uid, namespace, pool, 0..replicas)
            .await?;
        self.refuse_foreign_disks(uid, desired, replicas, pools)
            .await
    }
}

pub(in crate::fleet) fn matching<'a>(
    group: &ResolvedGroup,
    known: &'a [KnownGroup],
) -> Option<&'a KnownGroup> {
    known.iter().find(|known| {
        let same = &known.record;
        same.namespace == group.namespace && same.name == group.name
    })
}

fn applied(group: &ResolvedGroup, change: Change) -> Applied {
    Applied::unplanned(kind::GROUP, &group.namespace, &group.name, None, change)
}

/// Refuses the document of a pool that a group makes.
fn refuse_pools(
    resolved: &Resolved,
    groups: &[KnownGroup],
    pools: &[KnownPool],
) -> Result<(), FleetError> {
    for pool in resolved.pools.iter().map(|pool| &pool.desired) {
        if pool.of_group.is_some() {
            continue;
        }
        let of_document = resolved.groups.iter().find(|group| {
            let known = matching(group, groups);
            let stays =
                |name: &str| !known.is_some_and(|known| known.record.removed.contains(name));
            let mut items = group.items();
            group.namespace == pool.namespace
                && items.any(|item| stays(&item.name) && item.pool.desired.name == pool.name)
        });
        // Its group may have removed it, or be deleted, and it is still there.
        let mut named = pools.iter().map(|known| &known.record);
        let named =
            named.find(|known| (&known.namespace, &known.name) == (&pool.namespace, &pool.name));
        let of_pool = named.and_then(|known| Some(known.of_group.as_ref()?.group.clone()));
        let of_journal = groups
            .iter()
            .find(|group| !group.is_deleting() && group.has_pool_name(&pool.namespace, &pool.name));
        let group = of_document.map(|group| group.name.clone());
        let group = group.or(of_journal.map(KnownGroup::label)).or(of_pool);
        if let Some(group) = group {
            return Err(groups_pool(
                &group,
                &format!("{}/{}", pool.namespace, pool.name),
            ));
        }
    }
    Ok(())
}

/// Refuses the document of a VSI that is, or would be, a member of a group.
fn refuse_members(resolved: &Resolved, groups: &[KnownGroup]) -> Result<(), FleetError> {
    for vsi in resolved.vsis.iter().map(|vsi| &vsi.desired) {
        if vsi.member_of.is_some() {
            continue;
        }
        for group in groups.iter().filter(|group| !group.is_deleting()) {
            let record = &group.record;
            let makes = record.items().any(|item| {
                let pool = group::pool_name(&record.name, &item.name);
                let number = crate::pool::number_of(&pool, &vsi.name);
                let removed = record.removed.contains(&item.name);
                !removed && number.is_some_and(|number| number < item.replicas.unwrap_or(1))
            });
            if makes && record.namespace == vsi.namespace {
                let message = format!(
                    "it is a member of group/{}, and no document's own",
                    group.label()
                );
                let failure = Failure::new(FailureClass::Blocked, "VSI0720", message)
                    .of_object(format!("vsi/{}", vsi.full_name()))
                    .with_remedy("change the group's document, or give the VSI another name");
                return Err(FleetError::new(ErrorKind::Blocked, failure));
            }
        }
    }
    Ok(())
}

/// The error for changing a pool that a group makes: only the group's document may change it.
pub(in crate::fleet) fn groups_pool(group: &str, pool: &str) -> FleetError {
    let message = format!("group/{group} makes it, so a document cannot");
    let failure = Failure::new(FailureClass::Blocked, "VSI0730", message)
        .of_object(format!("pool/{pool}"))
        .with_remedy("change the group's document, or give the pool another name");
    FleetError::new(ErrorKind::Blocked, failure)
}

fn others_pool(group: &str, pool: &str) -> FleetError {
    let message = format!("{pool} is a pool that group/{group} did not make");
    let failure = Failure::new(FailureClass::Blocked, "VSI0731", message)
        .of_object(format!("pool/{pool}"))
        .with_remedy(
            "delete that pool, or give the group another name; the group never takes it over",
        );
    FleetError::new(ErrorKind::Blocked, failure)
}

fn refused(code: &str, full_name: &str, message: &str, remedy: &str) -> FleetError {
    let failure = Failure::new(FailureClass::Blocked, code, message)
        .of_object(format!("group/{full_name}"))
        .with_remedy(remedy);
    FleetError::new(ErrorKind::Blocked, failure)
}
