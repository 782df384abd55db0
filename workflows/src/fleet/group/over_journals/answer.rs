//! What a journal says of the guests of its members, for the one that has the group. It records nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::{Failure, FailureClass},
    secret::Secret,
};

use super::{GuestQuestion, GuestQuestions};
use crate::{
    fleet::{
        Fleet, FleetError, GroupHandle, MemberQuestions, group::gate::guest, index::Known,
        pool::members::MemberTarget,
    },
    pool::MemberState,
    spec::group::Gate,
};

/// What guests show and say.
#[derive(Clone)]
pub enum GuestAnswer {
    /// What members show of a gate.
    Gate(GuestGate),
    /// What was read of a member, or why it cannot be.
    Read(Result<Secret, String>),
    /// The first address of a member, or why there is none.
    Address(Result<String, String>),
    /// The member is not here.
    NotHere,
}

/// It may hold a secret.
impl fmt::Debug for GuestAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gate(gate) => f.debug_tuple("Gate").field(gate).finish(),
            Self::Read(Ok(_)) => f.write_str("Read(<hidden>)"),
            Self::Read(Err(why)) => f.debug_tuple("Read").field(why).finish(),
            Self::Address(found) => f.debug_tuple("Address").field(found).finish(),
            Self::NotHere => f.write_str("NotHere"),
        }
    }
}

/// What the members that a journal has show of a gate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestGate {
    /// The numbers of those that are ready, by pool.
    pub ready: BTreeMap<Uuid, BTreeSet<u32>>,
    /// Whether any of them shows everything.
    pub any: bool,
    /// What the first one lacks that does not; where any one is enough, and one shows it, not all are asked.
    pub lacking: Option<String>,
}

/// What the journals said, and why the others said nothing.
#[derive(Clone, Debug, Default)]
pub struct GuestReports {
    /// What they said, by their numbers.
    pub answers: BTreeMap<u16, GuestAnswer>,
    /// Those that said nothing, and why.
    pub silent: BTreeMap<u16, Failure>,
}

impl GroupHandle<'_> {
    /// Asks the guests of those members that this journal has.
    ///
    /// # Errors
    /// When something of them cannot be read, or a host does not answer: unknown is not absent.
    pub async fn ask_guests(self, questions: &GuestQuestions) -> Result<GuestAnswer, FleetError> {
        let fleet = self.fleet;
        match &questions.question {
            GuestQuestion::Gate { pools, gate } => {
                let gate = fleet.check_gate_here(pools, gate, questions.left_alone);
                Box::pin(gate).await.map(GuestAnswer::Gate)
            }
            GuestQuestion::Output {
                pool,
                number,
                output,
            } => {
                let Some(member) = fleet.member_here(*pool, *number).await? else {
                    return Ok(GuestAnswer::NotHere);
                };
                refuse_quiet(questions)?;
                let read = fleet.read_text(&member, output).await?;
                Ok(GuestAnswer::Read(read))
            }
            GuestQuestion::Address { pool, number } => {
                let Some(member) = fleet.member_here(*pool, *number).await? else {
                    return Ok(GuestAnswer::NotHere);
                };
                refuse_quiet(questions)?;
                let address = fleet.address_of(&member).await?;
                Ok(GuestAnswer::Address(address))
            }
        }
    }
}

impl Fleet {
    async fn check_gate_here(
        &self,
        pools: &[MemberQuestions],
        gate: &Gate,
        left_alone: bool,
    ) -> Result<GuestGate, FleetError> {
        let mut found = GuestGate::default();
        let mut ready = Vec::new();
        for pool in pools {
            let target = MemberTarget {
                revision: &pool.revision,
                power_state: pool.power_state,
            };
            for known in self.known_of_pool(pool.pool).await? {
                let Some(of) = &known.record.vsi.member_of else {
                    continue;
                };
                if self.member_view(target, &known).state == MemberState::Ready {
                    found.ready.entry(pool.pool).or_default().insert(of.number);
                    ready.push(known);
                }
            }
        }
        if left_alone && !ready.is_empty() {
            found.lacking = Some(LEFT_ALONE.to_owned());
            return Ok(found);
        }
        let probed = self.probe(ready, gate).await;
        found.any = probed.any;
        found.lacking = probed.lacking;
        Ok(found)
    }

    /// A member that this journal has and that is not gone.
    async fn member_here(&self, pool: Uuid, number: u32) -> Result<Option<Arc<Known>>, FleetError> {
        let members = self.known_of_pool(pool).await?;
        let is_it = |known: &Arc<Known>| {
            let of = known.record.vsi.member_of.as_ref();
            of.is_some_and(|of| of.number == number)
        };
        Ok(members.into_iter().find(is_it))
    }

    /// The first address of a member now; or why there is none.
    pub(in crate::fleet::group) async fn address_of(
        &self,
        known: &Known,
    ) -> Result<Result<String, String>, FleetError> {
        let host = self.hosts.host(&known.record.vsi.host).await;
        let ports = host.map_err(Failure::from)?;
        let addresses = guest(known).addresses(&ports).await;
        let none = || format!("{} has no address yet", known.record.vsi.name);
        Ok(addresses.into_iter().next().ok_or_else(none))
    }
}

const LEFT_ALONE: &str = "its host is left alone for a minute after the death of a process";

fn refuse_quiet(questions: &GuestQuestions) -> Result<(), FleetError> {
    if !questions.left_alone {
        return Ok(());
    }
    let failure = Failure::new(FailureClass::Recheck, "VSI0766", LEFT_ALONE)
        .with_remedy("it is asked again then");
    Err(failure.into())
}
