//! A history for people: one line for each run and step, and below it what waits or failed, with the remedy.
//!
//! It is folded from the same lines that `--events` and `-o json` print. It leaves out internals of
//! the engine: intents, timers, and single attempts.

mod fold;
mod render;

use jiff::Timestamp;
use vsiflow_workflows::fleet::{HistoryError, HistoryLine};

pub(crate) use self::render::TimelineView;

/// A folded history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timeline {
    groups: Vec<Group>,
}

/// A run with its steps, or a single event outside of runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Group {
    head: TimelineEntry,
    steps: Vec<TimelineEntry>,
    /// Whether it is a run.
    is_run: bool,
}

/// A run, a step, or an event outside of runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct TimelineEntry {
    /// The entity, as the journal names it.
    entity: String,
    what: String,
    /// When it began, and the time of its last event, in RFC 3339.
    began: String,
    last: String,
    /// The offset of its newest event.
    offset: u64,
    /// The number of attempts; 0 for entries without attempts.
    tries: u32,
    /// The duration in milliseconds, if it is over.
    took_ms: Option<u64>,
    outcome: String,
    /// The actor and the reason.
    actor: String,
    why: String,
    /// The current obstacle.
    trouble: Option<HistoryError>,
    /// What is done about the obstacle, such as a retry at some time.
    next: String,
    /// Whether any attempt failed.
    failed: bool,
}

/// What is left out of a timeline.
#[derive(Clone, Debug, Default)]
pub(crate) struct TimelineFilter {
    /// Entries before this time.
    pub(crate) since: Option<Timestamp>,
    /// Entries whose newest event has a lower offset.
    pub(crate) from_offset: u64,
    /// Entries of other actors. The steps of a run belong to the actor who requested the run.
    pub(crate) actor: Option<String>,
    /// Entries that never failed.
    pub(crate) failed: bool,
}

impl Timeline {
    /// Folds the events of a history, in their order.
    pub(crate) fn of(lines: &[HistoryLine]) -> Self {
        fold::fold(lines)
    }

    /// Whether there is nothing to show.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Retains the entries that match the filter. A run remains as the head of its matching steps.
    pub(crate) fn filtered(mut self, filter: &TimelineFilter) -> Self {
        self.groups.retain_mut(|group| {
            let caused = group.head.is_by(filter.actor.as_deref());
            let is_shown = |entry: &TimelineEntry| caused && entry.is_meant(filter);
            group.steps.retain(|step| is_shown(step));
            !group.steps.is_empty() || is_shown(&group.head)
        });
        self
    }

    /// The run in progress of an entity, or else its last one, and the one before.
    pub(crate) fn last_runs(mut self, entity: &str) -> Self {
        let own = |group: &Group| group.is_run && group.head.entity == entity;
        self.groups.retain(own);
        let extra = self.groups.len().saturating_sub(2);
        self.groups.drain(..extra);
        self
    }

    /// The newest events outside of runs.
    pub(crate) fn last_events(mut self, most: usize) -> Self {
        self.groups.retain(|group| !group.is_run);
        let extra = self.groups.len().saturating_sub(most);
        self.groups.drain(..extra);
        self
    }
}

impl TimelineEntry {
    fn is_by(&self, actor: Option<&str>) -> bool {
        actor.is_none_or(|actor| self.actor.contains(actor))
    }

    /// Whether the entry matches. An entry for missing events has no time, and always matches.
    fn is_meant(&self, filter: &TimelineFilter) -> bool {
        let Ok(last) = self.last.parse::<Timestamp>() else {
            return true;
        };
        let recent = filter.since.is_none_or(|since| last >= since);
        recent && self.offset >= filter.from_offset && (self.failed || !filter.failed)
    }
}

#[cfg(test)]
mod tests;
