//! What a group asks of the guests and hosts of its members, outside of the controller's turn (see
//! [`inquiries`](crate::fleet::inquiries)).

use std::{collections::BTreeMap, fmt::Write as _};

use vsiflow_engine::secret::Secret;

use super::outputs::not_there;
use crate::{
    fleet::{
        Fleet, FleetError,
        inquiries::Learned,
        known::{KnownGroup, KnownPool},
    },
    group::WaveRecord,
    spec::group::OutputSource,
};

impl Fleet {
    /// Whether the gate of a wave is open, or why it is closed; `None` while its members are asked.
    pub(super) fn ask_gate(
        &self,
        group: &KnownGroup,
        wave: &WaveRecord,
        pools: &BTreeMap<String, KnownPool>,
    ) -> Result<Option<Result<(), String>>, FleetError> {
        let removed = &group.record.removed;
        let mut question = format!("{} {}", wave.name, wave.revision(removed));
        for pool in pools.values() {
            let _ = write!(question, " {}/{}", pool.entity.id(), pool.generation());
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

    /// The output of a pool's member in whichever journal, or why it cannot be read; `None` while the member
    /// is asked.
    pub(super) fn ask_output(
        &self,
        group: &KnownGroup,
        pool: &KnownPool,
        output: &OutputSource,
    ) -> Result<Option<Result<Secret, String>>, FleetError> {
        let question = format!(
            "{} {}/{} {:?}",
            output.name,
            pool.entity.id(),
            pool.generation(),
            output.from
        );
        let asked = &self.pools.outputs_asked;
        // It may be a secret, so it is not kept here.
        if let Some(learned) = asked.take(&group.entity, &question) {
            return learned.map(Some);
        }
        let (fleet, pool, output) = (self.for_a_task(), pool.clone(), output.clone());
        let ask = async move { Box::pin(fleet.text_of_member(&pool, &output)).await };
        let namespace = &group.record.namespace;
        self.ask(asked, &group.entity, namespace, question, ask);
        Ok(None)
    }

    /// The first address of a member, or why it has none; `None` while its host is asked.
    pub(super) fn ask_address(
        &self,
        group: &KnownGroup,
        pools: &BTreeMap<String, KnownPool>,
        reference: &str,
    ) -> Result<Option<Result<String, String>>, FleetError> {
        let asked = &self.pools.addresses_asked;
        if let Some(learned) = asked.answer(&group.entity, reference) {
            return learned.map(Some);
        }
        let (fleet, pools) = (self.for_a_task(), pools.clone());
        let question = reference.to_owned();
        let of_member = question.clone();
        let ask = async move { Box::pin(fleet.address(&pools, &of_member)).await };
        let namespace = &group.record.namespace;
        self.ask(asked, &group.entity, namespace, question, ask);
        Ok(None)
    }

    async fn text_of_member(&self, pool: &KnownPool, output: &OutputSource) -> Learned<Secret> {
        if let Some(journals) = self.pools.journals() {
            return Box::pin(self.read_over(journals, pool, output)).await;
        }
        match self.members(pool).await?.members.remove(&output.number) {
            Some(member) => self.read_text(&member, output).await,
            None => Ok(Err(not_there(output))),
        }
    }
}
