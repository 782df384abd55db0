//! Answers what a group in another journal asks about the guests of members in this journal.
//! Records nothing.

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

/// What was learned from guests.
#[derive(Clone)]
pub enum GuestAnswer {
    /// What members show of a gate.
    Gate(GuestGate),
    /// The output that was read from a member, or why it cannot be read.
    Read(Result<Secret, String>),
    /// The first address of a member, or why there is none.
    Address(Result<String, String>),
    /// This journal does not have the member.
    NotHere,
}

/// Written by hand, because an answer may hold a secret.
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

/// How far the members of one journal pass a gate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestGate {
    /// The numbers of the ready members, by pool.
    pub ready: BTreeMap<Uuid, BTreeSet<u32>>,
    /// Whether any member passed all probes.
    pub any: bool,
    /// What the first member that failed lacks. If one member is enough and one passes, the others may
    /// not be probed.
    pub lacking: Option<String>,
}

/// The answers of the journals, and the failures of those that did not answer.
#[derive(Clone, Debug, Default)]
pub struct GuestReports {
    /// The answers, by journal number.
    pub answers: BTreeMap<u16, GuestAnswer>,
    /// The journals that did not answer, and why.
    pub silent: BTreeMap<u16, Failure>,
}

impl GroupHandle<'_> {
    /// Answers a question about those members that this journal has.
    ///
    /// # Errors
    /// When a member cannot be read, or a host does not answer: unknown is not absent.
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
                let view = self.member_view(target, &known);
                let counts = view.current || pool.may_be_outdated(of.number);
                if counts && view.state == MemberState::Ready {
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

    /// A member of this journal that is not deleted.
    async fn member_here(&self, pool: Uuid, number: u32) -> Result<Option<Arc<Known>>, FleetError> {
        let members = self.known_of_pool(pool).await?;
        let is_it = |known: &Arc<Known>| {
            let of = known.record.vsi.member_of.as_ref();
            of.is_some_and(|of| of.number == number)
        };
        Ok(members.into_iter().find(is_it))
    }

    /// The first address of a member now; or why it has none.
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
