//! Evaluates the formats of callers off the runtime's threads, with a deadline.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use vsiflow_api::{PlaceLimits, Places};
use vsiflow_engine::low_priority;

use crate::actor;
use crate::exit::{Exit, ExitProblem};

/// How long one evaluation may take, and how much text may result from it.
const TIME_MAX: Duration = Duration::from_secs(10);
const TEXT_MAX: usize = 64 * 1024 * 1024;
/// How many are evaluated at a time: one of a caller, and those of viewers take no turns of others.
const TURN_LIMITS: PlaceLimits = PlaceLimits {
    all: usize::MAX >> 4,
    looking: 2,
    each: 1,
};
static TURNS: LazyLock<Places> = LazyLock::new(|| Places::new(TURN_LIMITS));

/// The text of an evaluation, as far as it has come.
pub(crate) struct Evaluation {
    text: String,
    /// The bytes of what will become part of the text.
    held: usize,
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
            held: 0,
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

    /// Counts a piece of this length that is held until all of them are known.
    ///
    /// # Errors
    /// If there is too much of them, or the time is over.
    pub(crate) fn hold(&mut self, len: usize) -> Result<(), TooMuch> {
        let piece = len.saturating_add(size_of::<String>());
        self.held = self.held.saturating_add(piece);
        self.check()
    }

    /// Checks the limits; to be called before each path that is evaluated.
    pub(crate) fn check(&self) -> Result<(), TooMuch> {
        let is_late = self.until.is_some_and(|until| Instant::now() > until);
        if is_late || self.text.len().saturating_add(self.held) > TEXT_MAX {
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

/// Evaluates a format on a thread of low priority, when it is the caller's turn.
///
/// # Errors
/// If it needs too much.
pub(crate) async fn evaluate<T: Send + 'static>(
    format: impl FnOnce(Evaluation) -> Result<T, TooMuch> + Send + 'static,
) -> Result<T, ExitProblem> {
    let turn = actor::turn_in(&TURNS).await?;
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

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use vsiflow_api::{Caller, Rights};
    use vsiflow_engine::model::{Actor, Who};

    use super::*;

    #[tokio::test]
    async fn who_operates_waits_behind_no_viewer() {
        let caller = |name: &str, rights| Caller {
            actor: Actor::Token(Who::new(name)),
            rights,
        };
        let mut held = Vec::new();
        for number in 0..16 {
            let viewer = caller(&format!("viewer-{number}"), Rights::Look);
            held.extend(actor::turn_of(&TURNS, Some(&viewer)).now_or_never());
            assert!(
                actor::turn_of(&TURNS, Some(&viewer))
                    .now_or_never()
                    .is_none()
            );
        }
        assert_eq!(held.len(), TURN_LIMITS.looking);
        let operator = caller("operator", Rights::Operate);
        let admin = caller("admin", Rights::Everything);
        for other in [operator, admin.clone(), admin] {
            held.push(actor::turn_of(&TURNS, Some(&other)).now_or_never().unwrap());
        }
        assert!(actor::turn_of(&TURNS, None).now_or_never().is_some());
    }
}
