//! What is shown while the index is made again from the log: a bar on a terminal, a line elsewhere.

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

/// What takes less is not worth a word.
const SOON: Duration = Duration::from_millis(500);
/// The events of a journal from which on others are told to wait.
const MANY: u64 = 10_000;

/// Events that are folded because no index tells what they come to.
pub(crate) struct Folding {
    events: u64,
    begun: Instant,
    quiet: bool,
    bar: OnceLock<ProgressBar>,
    over: AtomicBool,
}

impl Folding {
    /// Where the index of a journal is made again and that takes a while: others who find the state
    /// directory in use are told so.
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

    /// Everything before that offset is folded, or about to be.
    pub(crate) fn reach(&self, offset: u64) {
        let waits = self.quiet || self.begun.elapsed() < SOON;
        if !waits && !self.over.load(Ordering::Relaxed) {
            self.bar
                .get_or_init(|| bar(self.events))
                .set_position(offset);
        }
    }

    /// All of it is.
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
