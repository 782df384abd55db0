//! What the members of pools keep of their templates in memory, and its limits.

use std::{collections::BTreeSet, io};

use serde::Serialize;
use vsiflow_engine::{
    model::{Failure, FailureClass},
    secret::SecretError,
};

use crate::fleet::{
    ErrorKind, Fleet, FleetError,
    group::apply::matching as matching_group,
    known::KnownPool,
    pool::{apply, member_texts, template::compared},
};
use crate::{
    group::{GroupRecord, ItemRecord, pool_name},
    pool::{PoolRecord, TemplateRecord},
    record::kind,
    spec::{
        DesiredDataDisk, DesiredVsi, Resolved, ResolvedPool,
        group::ResolvedGroup,
        pool::{MAX_REPLICAS, Strategy},
    },
};

/// The most bytes that the members of a pool, or of all pools of a group, have of their templates.
const MEMBERS_MAX: usize = 64 << 20;
/// The most bytes of members that are made together.
const BATCH_MAX: usize = 16 << 20;

/// Counts the bytes that are written.
struct ByteCount(usize);

impl io::Write for ByteCount {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn recorded_len(value: &impl Serialize) -> Result<usize, FleetError> {
    let mut count = ByteCount(0);
    let written = serde_json::to_writer(&mut count, value);
    written.map_err(|error| FleetError::defect(error.to_string()))?;
    Ok(count.0)
}

/// The bytes of a member's record. Hosts to choose from do not count: their number is not the author's.
fn member_len(
    pool: &str,
    template: &DesiredVsi,
    disks: &[DesiredDataDisk],
) -> Result<usize, FleetError> {
    let mut member = compared(template);
    // No member has a longer number, also with surge members.
    let number = MAX_REPLICAS.saturating_mul(2);
    member_texts::fill_shown(pool, number, &mut member)?;
    let len = recorded_len(&member)?;
    Ok(len.saturating_add(recorded_len(&disks)?))
}

fn template_len(pool: &PoolRecord, template: &TemplateRecord) -> Result<usize, FleetError> {
    member_len(&pool.name, &template.vsi, &template.disks)
}

/// The bytes that members of this length may have together.
fn times_members(len: usize, strategy: Strategy, replicas: u32) -> usize {
    let count = usize::try_from(strategy.most_members(replicas));
    len.saturating_mul(count.unwrap_or(usize::MAX))
}

/// The bytes that a pool's members may have of its templates.
fn record_len(pool: &PoolRecord) -> Result<usize, FleetError> {
    let mut longest = 0_usize;
    for template in pool.templates_to_make().chain(&pool.proposed) {
        longest = longest.max(template_len(pool, template)?);
    }
    Ok(times_members(longest, pool.strategy, pool.replicas))
}

/// The same after a pool's document is applied.
fn resolved_len(pool: &ResolvedPool, known: Option<&PoolRecord>) -> Result<usize, FleetError> {
    let desired = &pool.desired;
    let mut longest = member_len(&desired.name, &pool.template.desired, &desired.disks)?;
    if let Some(known) = known.filter(|_| desired.strategy.partition > 0) {
        longest = longest.max(template_len(known, known.rolled_out())?);
    }
    let present = known.map_or(1, |known| known.replicas);
    let replicas = desired.replicas.unwrap_or(present);
    Ok(times_members(longest, desired.strategy, replicas))
}

/// The bytes that the members of a group's item may have of its template.
fn item_len(group: &GroupRecord, item: &ItemRecord) -> Result<usize, FleetError> {
    let (name, template) = (pool_name(&group.name, &item.name), &item.template);
    let len = member_len(&name, &template.vsi, &template.disks)?;
    Ok(times_members(
        len,
        item.strategy,
        item.replicas.unwrap_or(1),
    ))
}

/// The bytes that the members of a group may have of its templates. What was removed has none.
fn group_len(group: &GroupRecord) -> Result<usize, FleetError> {
    let stay = group
        .items()
        .filter(|item| !group.removed.contains(&item.name));
    let mut items = stay.map(|item| item_len(group, item));
    items.try_fold(0, |sum: usize, len| Ok(sum.saturating_add(len?)))
}

/// The same after a group's document is applied.
fn resolved_group_len(
    group: &ResolvedGroup,
    known: Option<&GroupRecord>,
) -> Result<usize, FleetError> {
    let is_removed = |name: &str| known.is_some_and(|known| known.removed.contains(name));
    let stay = group.items().filter(|item| !is_removed(&item.name));
    let mut items = stay.map(|item| {
        let desired = &item.pool.desired;
        let len = member_len(&desired.name, &item.pool.template.desired, &desired.disks)?;
        let present = known.and_then(|known| known.item(&item.name)?.replicas);
        let replicas = desired.replicas.or(present).unwrap_or(1);
        Ok(times_members(len, desired.strategy, replicas))
    });
    items.try_fold(0, |sum: usize, len: Result<usize, FleetError>| {
        Ok(sum.saturating_add(len?))
    })
}

/// Refuses members that would have too much of their templates. What an earlier version permitted may stay.
fn refuse_large(object: String, before: usize, after: usize) -> Result<(), FleetError> {
    if after <= MEMBERS_MAX.max(before) {
        return Ok(());
    }
    let message = format!(
        "its members would have {} MiB of their templates together, and {} MiB is the most",
        after.div_ceil(1 << 20),
        MEMBERS_MAX >> 20
    );
    let failure = Failure::new(FailureClass::Blocked, "VSI0729", message)
        .of_object(object)
        .with_remedy(
            "have fewer members, or write less into the template: a guest can fetch long texts itself",
        );
    Err(FleetError::new(ErrorKind::Blocked, failure))
}

/// What was recorded is permitted, also a text that is too long by now.
fn permitted(len: Result<usize, FleetError>) -> usize {
    len.unwrap_or(usize::MAX)
}

/// Refuses the new record of a pool if its members would have too much of their templates.
///
/// # Errors
/// `VSI0729`.
pub(super) fn refuse_large_record(
    before: &PoolRecord,
    after: &PoolRecord,
) -> Result<(), FleetError> {
    let object = format!("{}/{}", kind::POOL, after.full_name());
    refuse_large(object, permitted(record_len(before)), record_len(after)?)
}

/// Refuses the new record of a group if its members would have too much of their templates.
///
/// # Errors
/// `VSI0729`.
pub(super) fn refuse_large_group(
    before: &GroupRecord,
    after: &GroupRecord,
) -> Result<(), FleetError> {
    let object = format!("{}/{}", kind::GROUP, after.full_name());
    refuse_large(object, permitted(group_len(before)), group_len(after)?)
}

/// Refuses the document of a pool if its members would have too much of their templates, and more than they have or
/// than `admitted` bytes.
fn refuse_large_pool(
    pool: &ResolvedPool,
    known: Option<&PoolRecord>,
    admitted: usize,
) -> Result<(), FleetError> {
    let (namespace, name) = (&pool.desired.namespace, &pool.desired.name);
    let object = format!("{}/{namespace}/{name}", kind::POOL);
    let present = known.map_or(0, |record| permitted(record_len(record)));
    refuse_large(object, present.max(admitted), resolved_len(pool, known)?)
}

/// Refuses the pool of a group's item if values of guests made it larger than the group's document, and too large.
///
/// # Errors
/// `VSI0729`.
pub(in crate::fleet) fn refuse_large_item(
    group: &GroupRecord,
    item: &ItemRecord,
    filled: &ResolvedPool,
    known: Option<&KnownPool>,
) -> Result<(), FleetError> {
    let admitted = permitted(item_len(group, item));
    refuse_large_pool(filled, known.map(|known| &known.record), admitted)
}

impl Fleet {
    /// Refuses documents of pools and groups whose members would have too much of their templates, before
    /// anything is made for each member.
    ///
    /// # Errors
    /// `VSI0729`.
    pub(in crate::fleet) async fn refuse_large_pools(
        &self,
        resolved: &Resolved,
    ) -> Result<(), FleetError> {
        if !resolved.pools.is_empty() {
            let known = self.living::<PoolRecord>().await?;
            for pool in &resolved.pools {
                let same = apply::matching(pool, &known);
                refuse_large_pool(pool, same.map(|same| &same.record), 0)?;
            }
        }
        if !resolved.groups.is_empty() {
            let known = self.living::<GroupRecord>().await?;
            for group in &resolved.groups {
                let before = matching_group(group, &known).map(|same| &same.record);
                let object = format!("{}/{}/{}", kind::GROUP, group.namespace, group.name);
                let len_before = before.map_or(0, |record| permitted(group_len(record)));
                refuse_large(object, len_before, resolved_group_len(group, before)?)?;
            }
        }
        Ok(())
    }

    /// How many of these members of a pool may be made together, at most `most`. A template whose secret is missing does not
    /// count: its members are refused, and no others with them.
    pub(super) async fn members_at_once(
        &self,
        pool: &KnownPool,
        numbers: &[u32],
        most: usize,
    ) -> Result<usize, FleetError> {
        let (mut longest, mut measured) = (1_usize, BTreeSet::new());
        for number in numbers {
            let template = pool.record.template_of(*number);
            if !measured.insert(template.revision.as_str()) {
                continue;
            }
            let contract = match self.secrets.get(&template.contract).await {
                Ok(contract) => contract,
                Err(SecretError::Missing(_)) => continue,
                Err(error) => return Err(error.into()),
            };
            let shown = template_len(&pool.record, template)?;
            longest = longest.max(shown.saturating_add(contract.expose().len()));
        }
        let fitting = BATCH_MAX.checked_div(longest).unwrap_or(most);
        Ok(fitting.clamp(1, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_permitted_before_may_stay_and_not_grow() {
        let refused = |before, after| refuse_large("pool/a/b".to_owned(), before, after).is_err();
        assert!(!refused(0, MEMBERS_MAX));
        assert!(refused(0, MEMBERS_MAX + 1));
        assert!(!refused(MEMBERS_MAX * 3, MEMBERS_MAX * 3));
        assert!(!refused(MEMBERS_MAX * 3, MEMBERS_MAX * 2));
        assert!(refused(MEMBERS_MAX * 3, MEMBERS_MAX * 3 + 1));
    }
}
