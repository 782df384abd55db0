//! Shows progress while the index is rebuilt from the event log: a bar on a terminal, a line elsewhere.

use std::{
    io::IsTerminal as _,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use vsiflow_engine::{journal::ChainedJournal, state_dir::StateDir};

use crate::exit::{Exit, ExitProblem};

/// Rebuilds that take less time are not shown.
const SOON: Duration = Duration::from_millis(500);
/// From this number of events on, other processes are told to wait.
const MANY: u64 = 10_000;

/// The rebuild of an index, by replaying events.
pub(crate) struct Folding {
    events: u64,
    begun: Instant,
    quiet: bool,
    bar: OnceLock<ProgressBar>,
    over: AtomicBool,
}

impl Folding {
    /// `Some` if the index of a journal is rebuilt and that takes a while. Other processes that
    /// find the state directory in use are then told so.
    pub(crate) async fn of(
        state: &StateDir,
        journal: &dyn ChainedJournal,
        quiet: bool,
    ) -> Result<Option<Arc<Self>>, ExitProblem> {
        let head = journal.head().await.map_err(|error| {
            let remedy = "see that the disk can be read";
            ExitProblem::new(Exit::Failed, "VSI0006", error.to_string(), remedy)
        })?;
        let events = head.map_or(0, |head| head.last.saturating_add(1));
        if events < MANY || !journal.wants_all_states() {
            return Ok(None);
        }
        let doing = format!("makes the index again from {events} events of the log");
        state.describe_holder_work(Some(&doing));
        Ok(Some(Arc::new(Self {
            events,
            begun: Instant::now(),
            quiet,
            bar: OnceLock::new(),
            over: AtomicBool::new(false),
        })))
    }

    /// Reports that all events before that offset are replayed, or are about to be.
    pub(crate) fn reach(&self, offset: u64) {
        let waits = self.quiet || self.begun.elapsed() < SOON;
        if !waits && !self.over.load(Ordering::Relaxed) {
            self.bar
                .get_or_init(|| bar(self.events))
                .set_position(offset);
        }
    }

    /// Reports that all events are replayed.
    pub(crate) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

fn bar(events: u64) -> ProgressBar {
    let note = format!("the index is made again from {events} events of the log");
    if super::log::is_asked() || !std::io::stderr().is_terminal() || super::sink::is_for_caller() {
        super::note(&note);
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(events), ProgressDrawTarget::stderr_with_hz(10));
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {percent}%, {eta} left");
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message("making the index again");
    bar
}
