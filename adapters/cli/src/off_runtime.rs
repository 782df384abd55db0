//! Runs work that takes a while on threads of its own.

use std::sync::LazyLock;

use tokio::task::spawn_blocking;
use vsiflow_api::{PlaceLimits, Places};
use vsiflow_engine::low_priority;

use crate::{actor, exit::ExitProblem};

/// How much work of callers is done at a time: one piece of a caller, and that of viewers takes no turns of others.
const TURN_LIMITS: PlaceLimits = PlaceLimits {
    all: usize::MAX >> 4,
    looking: 2,
    each: 1,
};
static TURNS: LazyLock<Places> = LazyLock::new(|| Places::new(TURN_LIMITS));

/// Runs blocking work on a thread for such work.
pub(crate) async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ExitProblem> {
    let done = spawn_blocking(work).await;
    done.map_err(ExitProblem::defect)
}

/// Runs work that a caller can make long on a thread of low priority, when it is the caller's turn.
pub(crate) async fn in_turn<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ExitProblem> {
    let turn = actor::turn_in(&TURNS).await?;
    off_runtime(move || {
        // Held by the work: a caller that waits no longer does not end it.
        let _turn = turn;
        low_priority::run(work)
    })
    .await
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
