//! Ends a process that acts for others, because its lease has expired or a part of it panicked.

use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;

use crate::{
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
};

/// Ends immediately, without closing or writing anything: the state may belong to the successor by
/// now. The next start handles it like a crash.
pub(crate) fn exit_at_once() -> Exit {
    output::problem(&ExitProblem::new(
        Exit::LeaseLost,
        "VSI0012",
        "the lease is past: this process was stopped or could not renew it in time",
        "no action is needed: the process that took over continues; start this one again as its standby",
    ));
    std::process::exit(i32::from(Exit::LeaseLost as u8))
}

/// Runs `work` and turns a panic into an orderly end: the Lease is released, so another process may take over
/// immediately. Nothing is sent or recorded any more by then, since the right to do so is given up before.
pub(crate) async fn not_panicking(work: impl Future<Output = CommandOutcome>) -> CommandOutcome {
    let ended = AssertUnwindSafe(work).catch_unwind().await;
    ended.unwrap_or_else(|_| Err(defect("a task panicked")))
}

/// The problem for a defect of this program.
pub(crate) fn defect(what: &str) -> ExitProblem {
    let message = format!("this process has to end: {what}");
    let remedy = "no action is needed if it is restarted automatically: the work in progress then \
                  continues; please report it with the process's log";
    ExitProblem::new(Exit::Failed, "VSI0001", message, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_end_in_order_so_that_the_lease_is_let_go() {
        let panicking = async { panic!("the test asked for it") };
        let ended = not_panicking(panicking).await;
        assert_eq!(
            ended.map_err(|problem| problem.code).err().as_deref(),
            Some("VSI0001")
        );
    }
}
