//! Groups whose members are in several journals (docs/adr/0016-groups-over-journals.md).
//!
//! A group writes into its own journal alone: its record, and its pools, which are recorded there as well. What its members
//! are like it learns from its pools, each of which was looked at over all journals a moment before
//! ([`Fleet::item_state_over`]); what guests show and say it asks of the journals that have them ([`question`],
//! [`answer`]). So what this room sends is asked again without harm, and a death leaves nothing to be put right.
//!
//! Guarantees, as long as a [`MemberJournals`](crate::fleet::MemberJournals) keeps its own:
//! - An item is available only by what its pool's last look found for the newest record of that pool. Before the first look
//!   of a process nothing is.
//! - A gate that asks all members opens only when every number of every pool of the wave was said to be ready, and showed
//!   what is asked, in answers to one question, and no journal was silent. One that asks for any opens by one member.
//! - What a guest said is secret on its way, and kept as with one journal.

mod answer;
mod question;

pub use answer::{GuestAnswer, GuestGate, GuestReports};
pub(in crate::fleet::group) use question::is_unheard;
pub use question::{GuestQuestion, GuestQuestions};

use crate::{
    fleet::{Fleet, Verdict, known::KnownPool},
    group::ItemState,
};

impl Fleet {
    /// How an item is, by what its pool's last look found.
    pub(super) fn item_state_over(&self, pool: &KnownPool) -> ItemState {
        item_state(pool.is_deleting(), self.verdict(&pool.entity).as_ref())
    }
}

fn item_state(deleting: bool, verdict: Option<&Verdict>) -> ItemState {
    let stuck = matches!(
        verdict,
        Some(Verdict::Failed(_) | Verdict::Blocked(_) | Verdict::Cancelled)
    );
    match verdict {
        _ if deleting => ItemState::Deleting { stuck },
        Some(Verdict::Reached) => ItemState::Available,
        _ if stuck => ItemState::Stuck,
        _ => ItemState::Busy,
    }
}

#[cfg(test)]
mod tests {
    use vsiflow_engine::model::Failure;

    use super::*;

    #[test]
    fn an_item_is_what_its_pool_was_found_to_be_and_busy_where_nobody_looked() {
        let blocked = Verdict::Blocked(Failure::defect("a journal is silent"));
        for (verdict, state) in [
            (None, ItemState::Busy),
            (Some(Verdict::Reached), ItemState::Available),
            (Some(Verdict::Cancelled), ItemState::Stuck),
            (Some(blocked.clone()), ItemState::Stuck),
        ] {
            assert_eq!(item_state(false, verdict.as_ref()), state);
        }
        let leaving = |verdict: Option<&Verdict>| item_state(true, verdict);
        assert_eq!(leaving(None), ItemState::Deleting { stuck: false });
        assert_eq!(
            leaving(Some(&Verdict::Reached)),
            ItemState::Deleting { stuck: false }
        );
        assert_eq!(leaving(Some(&blocked)), ItemState::Deleting { stuck: true });
    }
}
