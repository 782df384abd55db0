//! Asks the journals that have a group's members about their guests, and evaluates the answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::{Failure, FailureClass},
    secret::Secret,
};

use super::{GuestAnswer, GuestReports};
use crate::{
    fleet::{
        Fleet, FleetError, MemberJournals, MemberQuestions, group::gate::AwaitedMembers,
        known::KnownPool,
    },
    pool::member_name,
    spec::group::{Gate, OutputSource, Quorum},
};

/// A question for guests, with how to treat their hosts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GuestQuestions {
    /// The question.
    pub question: GuestQuestion,
    /// Whether hosts must not be contacted for now.
    #[serde(default)]
    pub left_alone: bool,
}

/// A question about guests. It changes nothing that is recorded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum GuestQuestion {
    /// How far the ready members of these pools pass a gate.
    Gate {
        /// The pools.
        pools: Vec<MemberQuestions>,
        /// The gate.
        gate: Gate,
    },
    /// The output of a member.
    Output {
        /// Its pool.
        pool: Uuid,
        /// Its number.
        number: u32,
        /// The output to read.
        output: OutputSource,
    },
    /// The first address of a member.
    Address {
        /// Its pool.
        pool: Uuid,
        /// Its number.
        number: u32,
    },
}

/// The members of a pool that must be ready.
struct ExpectedMembers {
    /// The name of the pool.
    pool: String,
    numbers: BTreeSet<u32>,
}

/// Who must be ready, by pool.
type Expected = BTreeMap<Uuid, ExpectedMembers>;

impl Fleet {
    /// Why the gate of a wave is closed; `None` if it is open.
    pub(in crate::fleet::group) async fn gate_over(
        &self,
        journals: &Arc<dyn MemberJournals>,
        gate: &Gate,
        pools: &[&KnownPool],
        mut awaited: AwaitedMembers,
    ) -> Result<Option<String>, FleetError> {
        let question = GuestQuestion::Gate {
            pools: pools
                .iter()
                .map(|pool| MemberQuestions::of(&pool.record, false))
                .collect(),
            gate: gate.clone(),
        };
        let expected = pools.iter().map(|pool| {
            let record = &pool.record;
            let expected = ExpectedMembers {
                pool: record.name.clone(),
                numbers: awaited.remove(&record.uid).unwrap_or_default(),
            };
            (record.uid, expected)
        });
        let expected = expected.collect();
        let reports = journals.ask_guests(None, question).await?;
        Ok(closed(gate.members, &expected, &reports))
    }

    /// The output of a member; or why it cannot be read.
    pub(in crate::fleet::group) async fn read_over(
        &self,
        journals: &Arc<dyn MemberJournals>,
        pool: &KnownPool,
        output: &OutputSource,
    ) -> Result<Result<Secret, String>, FleetError> {
        let question = GuestQuestion::Output {
            pool: pool.record.uid,
            number: output.number,
            output: output.clone(),
        };
        match one(journals, pool, output.number, question).await? {
            GuestAnswer::Read(read) => Ok(read),
            GuestAnswer::NotHere => Ok(Err(format!(
                "output {}: its member is not there",
                output.name
            ))),
            GuestAnswer::Gate(_) | GuestAnswer::Address(_) => Err(unexpected()),
        }
    }

    /// The first address of a member; or why it has none.
    pub(in crate::fleet::group) async fn address_over(
        &self,
        journals: &Arc<dyn MemberJournals>,
        pool: &KnownPool,
        number: u32,
    ) -> Result<Result<String, String>, FleetError> {
        let question = GuestQuestion::Address {
            pool: pool.record.uid,
            number,
        };
        match one(journals, pool, number, question).await? {
            GuestAnswer::Address(address) => Ok(address),
            GuestAnswer::NotHere => {
                let name = member_name(&pool.record.name, number);
                Ok(Err(format!("member {name} is not there")))
            }
            GuestAnswer::Gate(_) | GuestAnswer::Read(_) => Err(unexpected()),
        }
    }
}

/// Asks the journal that has a member's name. An unanswered question is an error: it does not mean that
/// there is no member.
async fn one(
    journals: &Arc<dyn MemberJournals>,
    pool: &KnownPool,
    number: u32,
    question: GuestQuestion,
) -> Result<GuestAnswer, FleetError> {
    let record = &pool.record;
    let name = member_name(&record.name, number);
    let Some(journal) = journals.journal_of(&record.namespace, &name).await? else {
        return Ok(GuestAnswer::NotHere);
    };
    let mut reports = journals.ask_guests(Some(journal), question).await?;
    match (
        reports.answers.remove(&journal),
        reports.silent.remove(&journal),
    ) {
        (Some(answer), _) => Ok(answer),
        (None, Some(failure)) => Err(unheard(failure).into()),
        (None, None) => Err(unexpected()),
    }
}

/// Marks the failure of a journal that does not answer, or leaves its hosts alone, as `Recheck`. If it
/// lasts, the pool reports it.
fn unheard(mut failure: Failure) -> Failure {
    if failure.code.as_str() == "VSI0766" {
        failure.class = FailureClass::Recheck;
    }
    failure
}

/// Whether the failure only says that a journal did not answer.
pub(in crate::fleet::group) fn is_unheard(failure: &Failure) -> bool {
    failure.class == FailureClass::Recheck && failure.code.as_str() == "VSI0766"
}

fn unexpected() -> FleetError {
    let message = "a journal answers another question than it was asked";
    let failure = Failure::new(FailureClass::Blocked, "VSI0766", message)
        .with_remedy("use one release of vsiflow everywhere");
    failure.into()
}

/// Why a gate is closed, by the answers; `None` if it is open.
fn closed(quorum: Quorum, expected: &Expected, reports: &GuestReports) -> Option<String> {
    let gates = || {
        reports.answers.values().filter_map(|answer| match answer {
            GuestAnswer::Gate(gate) => Some(gate),
            _ => None,
        })
    };
    let lacking = gates().find_map(|gate| gate.lacking.clone());
    let silent = reports.silent.first_key_value();
    let silent = silent.map(|(_, failure)| failure.message.to_string());
    if quorum == Quorum::Any {
        let none = || "no member is ready".to_owned();
        let is_open = gates().any(|gate| gate.any);
        return (!is_open).then(|| lacking.or(silent).unwrap_or_else(none));
    }
    if reports.answers.len() != gates().count() {
        return Some("a journal answers another question than it was asked".to_owned());
    }
    let mut ready = BTreeMap::<Uuid, BTreeSet<u32>>::new();
    for (pool, numbers) in gates().flat_map(|gate| &gate.ready) {
        ready.entry(*pool).or_default().extend(numbers);
    }
    let missing = || {
        expected.iter().find_map(|(uid, members)| {
            let there = ready.get(uid);
            let is_ready = |number: &u32| there.is_some_and(|there| there.contains(number));
            let mut numbers = members.numbers.iter();
            let number = numbers.find(|number| !is_ready(number))?;
            Some(format!(
                "{} is not ready",
                member_name(&members.pool, *number)
            ))
        })
    };
    let is_empty = ready.values().all(BTreeSet::is_empty);
    let nobody = is_empty.then(|| "no member is ready".to_owned());
    silent.or(lacking).or_else(missing).or(nobody)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::GuestGate;

    const POOL: Uuid = Uuid::from_u128(1);

    fn gate(numbers: &[u32], any: bool, lacking: Option<&str>) -> GuestAnswer {
        GuestAnswer::Gate(GuestGate {
            ready: BTreeMap::from([(POOL, numbers.iter().copied().collect())]),
            any,
            lacking: lacking.map(ToOwned::to_owned),
        })
    }

    fn guests_of(answers: Vec<GuestAnswer>, silent: bool) -> GuestReports {
        let failure = Failure::new(FailureClass::Blocked, "VSI0766", "journal 9 is silent");
        GuestReports {
            answers: (0..).zip(answers).collect(),
            silent: silent.then_some((9, failure)).into_iter().collect(),
        }
    }

    fn why(quorum: Quorum, replicas: u32, reports: &GuestReports) -> Option<String> {
        let members = ExpectedMembers {
            pool: "web".to_owned(),
            numbers: (0..replicas).collect(),
        };
        let expected = Expected::from([(POOL, members)]);
        closed(quorum, &expected, reports)
    }

    #[test]
    fn a_gate_of_all_opens_only_by_every_member_and_every_journal() {
        let all = |replicas, reports| why(Quorum::All, replicas, &reports);
        let both = || vec![gate(&[0], true, None), gate(&[1], true, None)];
        assert_eq!(all(2, guests_of(both(), false)), None);
        let is = |found: Option<String>, text: &str| assert_eq!(found.as_deref(), Some(text));
        is(all(2, guests_of(both(), true)), "journal 9 is silent");
        is(all(3, guests_of(both(), false)), "web-2 is not ready");
        let lacks = vec![gate(&[0], true, None), gate(&[1], false, Some("web-1: no"))];
        is(all(2, guests_of(lacks, false)), "web-1: no");
        is(
            all(2, guests_of(vec![gate(&[1], true, None)], false)),
            "web-0 is not ready",
        );
        is(
            all(0, guests_of(vec![gate(&[], false, None)], false)),
            "no member is ready",
        );
        is(all(0, guests_of(Vec::new(), false)), "no member is ready");
        let other = vec![gate(&[0, 1], true, None), GuestAnswer::NotHere];
        assert!(all(2, guests_of(other, false)).is_some());
    }

    #[test]
    fn a_gate_of_any_opens_by_one_member_whoever_is_silent() {
        let any = |answers, silent| why(Quorum::Any, 2, &guests_of(answers, silent));
        let one = || vec![gate(&[0], false, Some("web-0: no")), gate(&[1], true, None)];
        assert_eq!(any(one(), false), None);
        assert_eq!(any(one(), true), None);
        let none = vec![gate(&[0], false, Some("web-0: no"))];
        assert_eq!(any(none, false).as_deref(), Some("web-0: no"));
        assert_eq!(
            any(Vec::new(), true).as_deref(),
            Some("journal 9 is silent")
        );
        assert_eq!(
            any(Vec::new(), false).as_deref(),
            Some("no member is ready")
        );
    }
}
