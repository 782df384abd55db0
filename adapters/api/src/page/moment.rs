//! The moment of the journal that a page shows.

use vsiflow_workflows::fleet::Moment;

/// What a page shows is of: now, or a moment.
#[derive(Clone, Debug, Default)]
pub(super) struct At {
    /// What the address says; none for now.
    pub(super) asked: Option<Moment>,
    /// The offset behind the newest event of the journal, and behind that of this moment.
    pub(super) end: u64,
    pub(super) shown: u64,
    /// When the newest event that is shown was recorded.
    pub(super) time: String,
    /// What else the address says, which the slider keeps.
    pub(super) others: Vec<(String, String)>,
}

impl At {
    /// The moment for the end of an address that has a query already.
    pub(super) fn more(&self) -> String {
        self.asked.map(|at| format!("&at={at}")).unwrap_or_default()
    }
}
