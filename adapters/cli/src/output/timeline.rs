//! A history for people: one line a run and one a step, and below it what waits or failed, with
//! what to do about it.
//!
//! It is folded from the same lines that `--events` and `-o json` print, and leaves out what only
//! tells how the engine works: intents, timers, and each attempt by itself.

mod fold;
mod render;

use jiff::Timestamp;
use vsiflow_workflows::fleet::{HistoryError, HistoryLine};

pub(crate) use self::render::TimelineView;

/// A history, folded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Timeline {
    groups: Vec<Group>,
}

/// A run with its steps; anything else stands alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Group {
    head: TimelineEntry,
    steps: Vec<TimelineEntry>,
    /// Whether it is a run.
    is_run: bool,
}

/// A run, a step, or something that happened outside of runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct TimelineEntry {
    /// The entity, as the journal names it.
    entity: String,
    what: String,
    /// When it began and when it was last heard of, RFC 3339.
    began: String,
    last: String,
    /// The newest of its events.
    offset: u64,
    /// Attempts; 0 for what is not attempted.
    tries: u32,
    /// How long, in milliseconds, where it is over.
    took_ms: Option<u64>,
    outcome: String,
    /// Who caused it, and why.
    actor: String,
    why: String,
    /// What stands in its way now.
    trouble: Option<HistoryError>,
    /// What is done about that, such as another try at some time.
    next: String,
    /// Whether anything failed on the way.
    failed: bool,
}

/// What is left out of a timeline.
#[derive(Clone, Debug, Default)]
pub(crate) struct TimelineFilter {
    /// Everything before it.
    pub(crate) since: Option<Timestamp>,
    /// Everything whose newest event has a lower offset.
    pub(crate) from_offset: u64,
    /// What others caused. What is done in a run counts as caused by whoever asked for the run.
    pub(crate) actor: Option<String>,
    /// What never failed.
    pub(crate) failed: bool,
}

impl Timeline {
    /// Of the events of a history, in their order.
    pub(crate) fn of(lines: &[HistoryLine]) -> Self {
        fold::fold(lines)
    }

    /// Whether there is nothing to show.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// With what the filter lets through. A run stays as the head of a step that stays.
    pub(crate) fn filtered(mut self, filter: &TimelineFilter) -> Self {
        self.groups.retain_mut(|group| {
            let caused = group.head.is_by(filter.actor.as_deref());
            let kept = |entry: &TimelineEntry| caused && entry.is_meant(filter);
            group.steps.retain(|step| kept(step));
            !group.steps.is_empty() || kept(&group.head)
        });
        self
    }

    /// The run of an entity that is under way, or else its last one, and the one before.
    pub(crate) fn last_runs(mut self, entity: &str) -> Self {
        let own = |group: &Group| group.is_run && group.head.entity == entity;
        self.groups.retain(own);
        let extra = self.groups.len().saturating_sub(2);
        self.groups.drain(..extra);
        self
    }

    /// The newest things that happened outside of runs.
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

    /// What has no time is missing, and never left out.
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
