//! What a group asks of the guests and hosts of its members, outside of the controller's turn (see
//! [`inquiries`](crate::fleet::inquiries)).

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use tokio::time::timeout;
use uuid::Uuid;
use vsiflow_engine::{model::EntityId, secret::Secret};

use super::{
    outputs::not_there,
    values::{member_of_reference, no_member},
};
use crate::{
    fleet::{
        Fleet, FleetError,
        inquiries::Learned,
        known::{KnownGroup, KnownPool},
    },
    group::WaveRecord,
    spec::group::OutputSource,
};

/// How long outputs may take to be read together. Shorter than a question, so that what was read is known.
const LONGEST_READ: Duration = Duration::from_secs(20);
/// How many members are read at the same time.
const PARALLEL: usize = 16;

/// What was read of outputs, in their order.
pub(in crate::fleet) type ReadOutputs = Vec<Learned<Secret>>;

/// The member that a question is about.
struct MemberInQuestion {
    pool: EntityId,
    /// The generation of the pool.
    generation: u64,
    number: u32,
    /// The member itself; `None` if it does not exist, or its journal has not reported.
    uid: Option<Uuid>,
}

impl fmt::Display for MemberInQuestion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pool,
            generation,
            number,
            uid,
        } = self;
        let uid = uid.unwrap_or_default();
        write!(f, "{}/{generation} {number} {uid}", pool.id())
    }
}

impl Fleet {
    /// Whether the gate of a wave is open, or why it is closed; `None` while its members are asked.
    pub(super) async fn ask_gate(
        &self,
        group: &KnownGroup,
        wave: &WaveRecord,
        pools: &BTreeMap<String, KnownPool>,
    ) -> Result<Option<Result<(), String>>, FleetError> {
        let removed = &group.record.removed;
        let mut question = format!("{} {}", wave.name, wave.revision(removed));
        for pool in pools.values() {
            let uids = self.uids_of_members(pool).await?;
            let _ = write!(
                question,
                " {}/{} {uids:?}",
                pool.entity.id(),
                pool.generation()
            );
        }
        let asked = &self.pools.gates_asked;
        if let Some(learned) = asked.answer(&group.entity, &question) {
            return learned.map(Some);
        }
        let (fleet, wave, removed) = (self.for_a_task(), wave.clone(), removed.clone());
        let pools = pools.clone();
        let ask = async move {
            let closed = Box::pin(fleet.gate(&wave, &removed, &pools)).await?;
            Ok(closed.map_or(Ok(()), Err))
        };
        let namespace = &group.record.namespace;
        self.ask(asked, &group.entity, namespace, question, ask);
        Ok(None)
    }

    /// The outputs of members in whichever journals, in this order, each with why it cannot be read; `None` while the
    /// members are asked. A member that is silent keeps nobody else from being read.
    pub(super) async fn ask_outputs(
        &self,
        group: &KnownGroup,
        pools: &BTreeMap<String, KnownPool>,
        outputs: Vec<OutputSource>,
    ) -> Result<Option<ReadOutputs>, FleetError> {
        let mut question = String::new();
        for output in &outputs {
            let _ = write!(question, "{} {:?} ", output.name, output.from);
            if let Some(pool) = pools.get(&output.item) {
                let member = self.member_in_question(pool, output.number).await?;
                let _ = write!(question, "{member} ");
            }
        }
        let asked = &self.pools.outputs_asked;
        // They may be secrets, so they are not kept here.
        if let Some(learned) = asked.take(&group.entity, &question) {
            let nothing = |why: String| outputs.iter().map(|_| Ok(Err(why.clone()))).collect();
            return learned.map(|read| Some(read.unwrap_or_else(nothing)));
        }
        let (fleet, pools) = (self.for_a_task(), pools.clone());
        let ask = async move { Ok(Ok(fleet.texts_of_members(&pools, &outputs).await)) };
        let namespace = &group.record.namespace;
        self.ask(asked, &group.entity, namespace, question, ask);
        Ok(None)
    }

    /// The first address of a member, or why it has none; `None` while its host is asked.
    pub(super) async fn ask_address(
        &self,
        group: &KnownGroup,
        pools: &BTreeMap<String, KnownPool>,
        reference: &str,
    ) -> Result<Option<Result<String, String>>, FleetError> {
        let Some((pool, number)) = member_of_reference(pools, reference) else {
            return Ok(Some(Err(no_member(reference))));
        };
        let member = self.member_in_question(pool, number).await?;
        let question = format!("{reference} {member}");
        let asked = &self.pools.addresses_asked;
        if let Some(learned) = asked.answer(&group.entity, &question) {
            return learned.map(Some);
        }
        let (fleet, pool, reference) = (self.for_a_task(), pool.clone(), reference.to_owned());
        let ask = async move { Box::pin(fleet.address(&pool, number, &reference)).await };
        let namespace = &group.record.namespace;
        self.ask(asked, &group.entity, namespace, question, ask);
        Ok(None)
    }

    /// What a question about a member depends on: a member that was made again is another one.
    async fn member_in_question(
        &self,
        pool: &KnownPool,
        number: u32,
    ) -> Result<MemberInQuestion, FleetError> {
        let uids = self.uids_of_members(pool).await?;
        Ok(MemberInQuestion {
            pool: pool.entity.clone(),
            generation: pool.generation(),
            number,
            uid: uids.get(&number).copied(),
        })
    }

    /// The UIDs of a pool's members by number, without those in journals that have not reported.
    pub(super) async fn uids_of_members(
        &self,
        pool: &KnownPool,
    ) -> Result<BTreeMap<u32, Uuid>, FleetError> {
        if self.pools.journals().is_some() {
            let report = self.pools.report(&pool.entity);
            let members = report.iter().flat_map(|report| report.shown());
            return Ok(members
                .map(|member| (member.of.number, member.uid))
                .collect());
        }
        let members = self.known_of_pool(pool.record.uid).await?;
        let numbered = members.iter().filter_map(|member| {
            let of = member.record.vsi.member_of.as_ref()?;
            Some((of.number, member.record.uid))
        });
        Ok(numbered.collect())
    }

    /// Reads outputs, those of one member one after the other.
    async fn texts_of_members(
        &self,
        pools: &BTreeMap<String, KnownPool>,
        outputs: &[OutputSource],
    ) -> ReadOutputs {
        let mut of_members = BTreeMap::<_, Vec<_>>::new();
        for (place, output) in outputs.iter().enumerate() {
            let member = (&output.item, output.number);
            of_members.entry(member).or_default().push(place);
        }
        let late = || format!("there was no answer within {} s", LONGEST_READ.as_secs());
        let texts: ReadOutputs = outputs.iter().map(|_| Ok(Err(late()))).collect();
        let texts = Mutex::new(texts);
        let lock = || texts.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = stream::iter(of_members.into_values());
        let asked = asked.for_each_concurrent(PARALLEL, |places| async move {
            for place in places {
                let Some(output) = outputs.get(place) else {
                    continue;
                };
                let read = Box::pin(self.text_of_member(pools, output)).await;
                if let Some(text) = lock().get_mut(place) {
                    *text = read;
                }
            }
        });
        // What was read until then counts.
        let _ = timeout(LONGEST_READ, asked).await;
        texts.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    async fn text_of_member(
        &self,
        pools: &BTreeMap<String, KnownPool>,
        output: &OutputSource,
    ) -> Learned<Secret> {
        let Some(pool) = pools.get(&output.item) else {
            return Ok(Err(not_there(output, false)));
        };
        if let Some(journals) = self.pools.journals() {
            return Box::pin(self.read_over(journals, pool, output)).await;
        }
        match self.members(pool).await?.members.remove(&output.number) {
            Some(member) => self.read_text(&member, output).await,
            None => {
                let is_cordoned = pool.record.cordoned.contains(&output.number);
                Ok(Err(not_there(output, is_cordoned)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_was_made_again_is_another_question() {
        let member = |generation, number, uid: u128| MemberInQuestion {
            pool: "pool/p".parse().unwrap(),
            generation,
            number,
            uid: Some(Uuid::from_u128(uid)),
        };
        let question = member(1, 0, 7).to_string();
        assert_eq!(question, member(1, 0, 7).to_string());
        for other in [member(1, 0, 8), member(2, 0, 7), member(1, 1, 7)] {
            assert_ne!(question, other.to_string());
        }
        let unmade = MemberInQuestion {
            uid: None,
            ..member(1, 0, 7)
        };
        assert_ne!(question, unmade.to_string());
    }
}
