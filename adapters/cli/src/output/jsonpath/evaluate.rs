//! Evaluates the formats of callers off the runtime's threads, with a deadline.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use vsiflow_engine::low_priority;

use crate::exit::{Exit, ExitProblem};

/// How long one evaluation may take, and how much text may result from it.
const TIME_MAX: Duration = Duration::from_secs(10);
const TEXT_MAX: usize = 64 * 1024 * 1024;
/// How many are evaluated at a time.
static TURNS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(2)));

/// The text of an evaluation, as far as it has come.
pub(crate) struct Evaluation {
    text: String,
    until: Option<Instant>,
}

/// The evaluation takes too long, or its text is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it takes more than {} s, or results in more than {} MiB", TIME_MAX.as_secs(), TEXT_MAX >> 20)]
pub(crate) struct TooMuch;

impl Evaluation {
    fn begin() -> Self {
        Self {
            text: String::new(),
            until: Instant::now().checked_add(TIME_MAX),
        }
    }

    /// Adds text.
    ///
    /// # Errors
    /// If there is too much of it, or the time is over.
    pub(crate) fn push(&mut self, text: &str) -> Result<(), TooMuch> {
        self.text.push_str(text);
        self.check()
    }

    /// Checks the limits; to be called before each path that is evaluated.
    pub(crate) fn check(&self) -> Result<(), TooMuch> {
        let is_late = self.until.is_some_and(|until| Instant::now() > until);
        if is_late || self.text.len() > TEXT_MAX {
            Err(TooMuch)
        } else {
            Ok(())
        }
    }

    /// The text.
    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// Evaluates a format on a thread of low priority.
///
/// # Errors
/// If it needs too much.
pub(crate) async fn evaluate(
    format: impl FnOnce(Evaluation) -> Result<String, TooMuch> + Send + 'static,
) -> Result<String, ExitProblem> {
    let turn = TURNS.clone().acquire_owned().await;
    let turn = turn.map_err(ExitProblem::defect)?;
    let evaluated = spawn_blocking(move || {
        // Held by the work: a caller that waits no longer does not end it.
        let _turn = turn;
        low_priority::run(|| format(Evaluation::begin()))
    });
    evaluated
        .await
        .map_err(ExitProblem::defect)?
        .map_err(|too_much| {
            let remedy = "use `-o json` and evaluate it in your own process";
            let message = format!("the output format cannot be evaluated: {too_much}");
            ExitProblem::new(Exit::Usage, "VSI0810", &message, remedy)
        })
}

#[cfg(test)]
pub(crate) fn evaluation() -> Evaluation {
    Evaluation::begin()
}
