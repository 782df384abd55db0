//! Events of refusals: of a generation that cannot be accepted, and of a resource that is not served.

use uuid::Uuid;

use crate::{
    crd::{
        GroupResourceStatus, PoolResourceStatus, QuotaResourceStatus, ReferenceStatus,
        ResourceCondition, VsiResourceStatus,
    },
    events::EventNote,
};

/// Conditions that say why a resource is not served.
const HOLDS: [&str; 3] = ["JournalLost", "NotMigrated", "Removed"];

/// The conditions of a status, and the generation that they are about.
#[derive(Clone, Copy)]
pub(crate) struct ReportedConditions<'a> {
    pub(crate) observed_generation: Option<i64>,
    pub(crate) conditions: &'a [ResourceCondition],
}

impl<'a> ReportedConditions<'a> {
    fn refusal(self) -> Option<&'a ResourceCondition> {
        let mut conditions = self.conditions.iter();
        conditions.find(|one| {
            let is_refused = one.name == "Accepted" && one.status == "False";
            is_refused || one.status == "True" && HOLDS.contains(&one.name.as_str())
        })
    }
}

macro_rules! reported_conditions {
    ($($status:ty),*) => {$(
        impl $status {
            /// The conditions, for the Events of their changes.
            pub(crate) fn reported(&self) -> ReportedConditions<'_> {
                ReportedConditions {
                    observed_generation: self.observed_generation,
                    conditions: &self.conditions,
                }
            }
        }
    )*};
}

reported_conditions!(
    VsiResourceStatus,
    PoolResourceStatus,
    GroupResourceStatus,
    QuotaResourceStatus,
    ReferenceStatus
);

/// The Event of a refusal; none if the same generation was refused for the same reason before.
pub(crate) fn refusal_event(
    uid: Uuid,
    before: ReportedConditions<'_>,
    after: ReportedConditions<'_>,
) -> Option<EventNote> {
    let refusal = after.refusal()?;
    let same = |old: &ResourceCondition| {
        (&old.name, &old.reason) == (&refusal.name, &refusal.reason)
            && without_numbers(&old.message) == without_numbers(&refusal.message)
    };
    let is_same_generation = before.observed_generation == after.observed_generation;
    if is_same_generation && before.refusal().is_some_and(same) {
        return None;
    }
    let reason = match refusal.name.as_str() {
        "Accepted" => format!("Refused{}", refusal.reason),
        hold => hold.to_owned(),
    };
    let generation = after.observed_generation.unwrap_or_default();
    let (message, since) = (&refusal.message, &refusal.last_transition_time);
    let mark = format!("{reason} {generation} {} {since}", without_numbers(message));
    Some(EventNote::became(uid, &mark, true, &reason, message))
}

/// A message without its numbers: what a quota has left changes all the time.
fn without_numbers(message: &str) -> String {
    message
        .chars()
        .filter(|one| !one.is_ascii_digit())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(reason: &str, message: &str) -> Vec<ResourceCondition> {
        vec![ResourceCondition {
            name: "Accepted".to_owned(),
            status: "False".to_owned(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            ..ResourceCondition::default()
        }]
    }

    fn event(
        (before_generation, before): (i64, &[ResourceCondition]),
        (generation, after): (i64, &[ResourceCondition]),
    ) -> Option<EventNote> {
        let reported = |observed, conditions| ReportedConditions {
            observed_generation: Some(observed),
            conditions,
        };
        let before = reported(before_generation, before);
        refusal_event(Uuid::nil(), before, reported(generation, after))
    }

    #[test]
    fn each_generation_that_is_refused_has_an_event_and_a_number_in_a_message_has_none() {
        let pool = refused("VSI0701", "storagePool cannot be changed");
        let other = refused("VSI0701", "targetSelector cannot be changed");
        let quota = |used: u32| refused("VSI0738", &format!("{used} of 3 are used"));
        assert!(event((1, &[]), (2, &pool)).is_some());
        assert!(event((2, &pool), (2, &pool)).is_none());
        assert!(event((2, &pool), (3, &pool)).is_some());
        assert!(event((2, &pool), (2, &other)).is_some());
        assert!(event((2, &quota(2)), (2, &quota(3))).is_none());
        assert!(event((2, &pool), (3, &[])).is_none());
    }
}
