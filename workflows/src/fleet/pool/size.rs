//! What the members of pools keep of their templates in memory, and its limits.

use std::{collections::BTreeSet, io};

use serde::Serialize;
use vsiflow_engine::{
    model::{Failure, FailureClass},
    secret::SecretError,
};

use crate::fleet::{
    ErrorKind, Fleet, FleetError,
    known::KnownPool,
    pool::{member_texts, template::compared},
};
use crate::{
    group::{GroupRecord, pool_name},
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

/// How many members a pool may have at one time.
fn member_count(replicas: u32, strategy: Strategy) -> usize {
    let surge = strategy.max_surge.min(replicas);
    usize::try_from(replicas.saturating_add(surge)).unwrap_or(usize::MAX)
}

/// The bytes that a pool's members may have of its templates.
fn record_len(pool: &PoolRecord) -> Result<usize, FleetError> {
    let mut longest = 0_usize;
    for template in pool.templates_to_make().chain(&pool.proposed) {
        longest = longest.max(template_len(pool, template)?);
    }
    Ok(longest.saturating_mul(member_count(pool.replicas, pool.strategy)))
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
    Ok(longest.saturating_mul(member_count(replicas, desired.strategy)))
}

/// The bytes that the members of a group may have of its templates.
fn group_len(group: &GroupRecord) -> Result<usize, FleetError> {
    let mut sum = 0_usize;
    for item in group.items() {
        let (name, template) = (pool_name(&group.name, &item.name), &item.template);
        let len = member_len(&name, &template.vsi, &template.disks)?;
        let members = member_count(item.replicas.unwrap_or(1), item.strategy);
        sum = sum.saturating_add(len.saturating_mul(members));
    }
    Ok(sum)
}

/// The same after a group's document is applied.
fn resolved_group_len(
    group: &ResolvedGroup,
    known: Option<&GroupRecord>,
) -> Result<usize, FleetError> {
    let mut sum = 0_usize;
    for item in group.items() {
        let desired = &item.pool.desired;
        let len = member_len(&desired.name, &item.pool.template.desired, &desired.disks)?;
        let present = known.and_then(|known| known.item(&item.name)?.replicas);
        let replicas = desired.replicas.or(present).unwrap_or(1);
        let members = member_count(replicas, desired.strategy);
        sum = sum.saturating_add(len.saturating_mul(members));
    }
    Ok(sum)
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
                let (namespace, name) = (&pool.desired.namespace, &pool.desired.name);
                let records = known.iter().map(|known| &known.record);
                let mut same =
                    records.filter(|record| (&record.namespace, &record.name) == (namespace, name));
                let before = same.next();
                let object = format!("{}/{namespace}/{name}", kind::POOL);
                let len_before = before.map_or(0, |record| permitted(record_len(record)));
                refuse_large(object, len_before, resolved_len(pool, before)?)?;
            }
        }
        if !resolved.groups.is_empty() {
            let known = self.living::<GroupRecord>().await?;
            for group in &resolved.groups {
                let (namespace, name) = (&group.namespace, &group.name);
                let records = known.iter().map(|known| &known.record);
                let mut same =
                    records.filter(|record| (&record.namespace, &record.name) == (namespace, name));
                let before = same.next();
                let object = format!("{}/{namespace}/{name}", kind::GROUP);
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
