//! History: events, runs, console logs, evidence of failed boots, and the outputs of steps.

pub(super) mod events;
pub(super) mod evidence;
pub(super) mod listings;
pub(super) mod logs;
pub(super) mod object_graph;
pub(super) mod outputs;
pub(super) mod page;
pub(super) mod run_graphs;
pub(super) mod unfinished;
