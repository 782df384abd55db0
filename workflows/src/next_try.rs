//! When a failed boot is retried automatically.

use std::time::Duration;

use vsiflow_engine::model::{EntityState, FailureClass, RunResult};

use crate::{provision_vsi, update_vsi};

/// How often a boot is tried before a person must act: each try costs the host a whole build.
pub const TRIES: u32 = 5;
/// The delay before the second try; it doubles with each further one.
const FIRST: Duration = Duration::from_secs(10);
/// The longest delay.
const MAX_DURATION: Duration = Duration::from_secs(300);

/// The codes of guests that run: one that reports that its setup failed, which another start would not change, and one
/// that reports that its boot failed.
const RUNNING: [&str; 2] = ["VSI0506", "VSI0507"];

/// The delay after the boot that just failed; `None` after the last try, or if what failed was not a
/// boot. `retry` and every new desired state restart the count.
pub fn delay(state: &EntityState) -> Option<Duration> {
    let last = state.last.as_ref()?;
    let boots = [provision_vsi::NAME, update_vsi::NAME];
    let booted = boots.contains(&last.workflow.as_str());
    let failed = matches!(
        &last.result,
        RunResult::Failed(failure)
            if failure.class == FailureClass::Failed && !RUNNING.contains(&failure.code.as_str())
    );
    if !booted || !failed || state.failures >= TRIES {
        return None;
    }
    let doubled = 1_u32.checked_shl(state.failures.saturating_sub(1))?;
    Some(FIRST.saturating_mul(doubled).min(MAX_DURATION))
}

#[cfg(test)]
mod tests {
    use vsiflow_engine::model::{Failure, LastRun, Name, RunId};

    use super::*;

    fn after(failures: u32, workflow: &str, class: FailureClass) -> Option<Duration> {
        let last = LastRun {
            run: RunId(ulid::Ulid::nil()),
            workflow: Name::of(workflow),
            generation: 1,
            result: RunResult::Failed(Failure::new(class, "VSI0501", "boot")),
        };
        let state = EntityState {
            last: Some(last),
            failures,
            ..EntityState::default()
        };
        delay(&state)
    }

    #[test]
    fn waits_grow_and_end() {
        let waits = (1..=TRIES).map(|n| after(n, "provision_vsi", FailureClass::Failed));
        let seconds: Vec<_> = waits.map(|wait| wait.map(|wait| wait.as_secs())).collect();
        assert_eq!(seconds, [Some(10), Some(20), Some(40), Some(80), None]);
    }

    #[test]
    fn only_boots_are_tried_again() {
        assert!(after(1, "update_vsi", FailureClass::Failed).is_some());
        assert_eq!(after(1, "delete_vsi", FailureClass::Failed), None);
        assert_eq!(after(1, "provision_vsi", FailureClass::Blocked), None);
    }
}
