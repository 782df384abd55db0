//! Groups whose members are in several journals (docs/adr/0016-groups-over-journals.md).
//!
//! A group writes only to its own journal: its record, and its pools, which are recorded there as
//! well. It learns the state of its members from its pools, each of which was reconciled over all
//! journals a moment before ([`Fleet::item_state_over`]). What guests show, it asks of the journals
//! that have them ([`question`], [`answer`]). All questions are safe to repeat, and a crash leaves
//! nothing to repair.
//!
//! Guarantees, as long as the [`MemberJournals`](crate::fleet::MemberJournals) implementation keeps
//! its own:
//! - An item is available only if its pool's last reconciliation found the newest record of that pool
//!   reached. Before a process's first reconciliation, no item is.
//! - A gate that needs all members opens only if one question was answered by every journal, and every
//!   number of every pool of the wave was ready and passed the probes. A gate that needs any member
//!   opens by one.
//! - A guest's output is secret in transit, and stored as with one journal.

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
    /// The state of an item, from the last reconciliation of its pool.
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
