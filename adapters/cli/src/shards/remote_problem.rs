//! The problems of requests to the holder of a journal, and their form between processes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::exit::{Exit, ExitProblem};

/// An [`ExitProblem`], as it is sent from one process to another.
#[derive(Serialize, Deserialize)]
pub(super) struct RemoteProblem {
    exit: u8,
    code: String,
    message: String,
    remedy: String,
}

impl RemoteProblem {
    pub(super) fn of(problem: &ExitProblem) -> Self {
        Self {
            exit: problem.exit as u8,
            code: problem.code.to_string(),
            message: problem.message.clone(),
            remedy: problem.remedy.clone(),
        }
    }

    pub(super) fn problem(self) -> ExitProblem {
        ExitProblem::new(Exit::of(self.exit), &self.code, self.message, &self.remedy)
    }
}

/// No process that holds the journal answers.
pub(super) fn unanswered(journal: u16, why: &str) -> ExitProblem {
    let message =
        format!("journal {journal} of the set does not answer: {why}; nothing was done there");
    let remedy = "see that `vsiflow serve --shards auto` runs, then ask again";
    ExitProblem::new(Exit::Failed, "VSI0766", message, remedy)
}

/// The holder does not believe that the request comes from a process of the set.
pub(super) fn refused(journal: u16) -> ExitProblem {
    let message = format!(
        "the process that serves journal {journal} of the set refused the request; if another process had begun it, it is not known what was done"
    );
    let remedy =
        "see that all processes of the set have the same version, key and time, then ask again";
    ExitProblem::new(Exit::Failed, "VSI0766", message, remedy)
}

/// The request was begun and its process ended. The next holder repeats it, or answers that its outcome is
/// unknown.
pub(super) fn unfinished(journal: u16) -> ExitProblem {
    let message = format!(
        "journal {journal} of the set does not answer: the process that had begun what was asked is gone, and no other one \
         holds that journal; the next one does what may be done again, so it is not known what was done there"
    );
    let remedy =
        "see that `vsiflow serve --shards auto` runs, then look what is there before asking again";
    ExitProblem::new(Exit::Failed, "VSI0766", message, remedy)
}

/// The journal was asked and did not answer in time.
pub(super) fn silent(journal: u16, after: Duration) -> ExitProblem {
    let message = format!(
        "journal {journal} did not answer within {} s",
        after.as_secs()
    );
    let remedy = "see that `vsiflow serve --shards auto` runs, then ask again";
    ExitProblem::new(Exit::Failed, "VSI0766", message, remedy)
}

/// The request was sent by another release.
pub(super) fn unreadable() -> ExitProblem {
    let message = "what was asked cannot be read by the process that holds the journal";
    let remedy = "use one release of vsiflow everywhere";
    ExitProblem::new(Exit::Failed, "VSI0766", message, remedy)
}

/// The request was begun by a process that ended, and is not repeated.
pub(super) fn unknown() -> ExitProblem {
    let message = "the process that began it ended, and whether it was done is not known";
    let remedy = "see `vsiflow history NAME`, then ask again if it is still to be done";
    ExitProblem::new(Exit::Failed, "VSI0767", message, remedy)
}
