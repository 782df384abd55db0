//! Exit codes, and errors as users see them.

use std::process::ExitCode;

use vsiflow_api::{AwaitedOutcome, MomentError, Problem};
use vsiflow_engine::{model::Failure, state_dir::StateDirError};
use vsiflow_postgres::PostgresError;
use vsiflow_workflows::{
    fleet::{ErrorKind, FleetError, Verdict},
    spec::{Diagnostic, Diagnostics},
};

/// The result of a command.
pub(crate) type CommandOutcome = Result<Exit, ExitProblem>;

/// The code if another process has the state directory.
pub(crate) const IN_USE: &str = "VSI0002";

/// The exit codes. They are a contract with scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// The command line or a document is wrong; nothing was done.
    Usage = 2,
    /// A named object does not exist.
    NotFound = 3,
    /// Blocked, or waiting for approval.
    Blocked = 4,
    /// Not decided in time; the work continues at the next start.
    TimedOut = 5,
    /// The lease has expired: another process may act in this one's place.
    LeaseLost = 6,
    /// Interrupted; the work continues at the next start.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// The exit for that code; an unknown code counts as failed.
    pub(crate) fn of(code: u8) -> Self {
        let all = [
            Self::Done,
            Self::Usage,
            Self::NotFound,
            Self::Blocked,
            Self::TimedOut,
            Self::LeaseLost,
            Self::Interrupted,
        ];
        all.into_iter()
            .find(|exit| *exit as u8 == code)
            .unwrap_or(Self::Failed)
    }
}

impl From<&Verdict> for Exit {
    fn from(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Reached => Self::Done,
            Verdict::Failed(_) => Self::Failed,
            Verdict::Blocked(_) | Verdict::Cancelled => Self::Blocked,
        }
    }
}

impl From<AwaitedOutcome> for Exit {
    fn from(outcome: AwaitedOutcome) -> Self {
        match outcome {
            AwaitedOutcome::Reached => Self::Done,
            AwaitedOutcome::Failed => Self::Failed,
            AwaitedOutcome::Blocked | AwaitedOutcome::Cancelled => Self::Blocked,
        }
    }
}

/// An error for the user.
#[derive(Clone, Debug)]
pub(crate) struct ExitProblem {
    pub(crate) exit: Exit,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) host: String,
    pub(crate) object: String,
    pub(crate) remedy: String,
    /// The mistakes in documents, which are shown instead of the message.
    pub(crate) findings: Vec<Diagnostic>,
}

impl ExitProblem {
    /// An error without host and object.
    pub(crate) fn new(exit: Exit, code: &str, message: impl Into<String>, remedy: &str) -> Self {
        Self {
            exit,
            code: code.to_owned(),
            message: message.into(),
            host: String::new(),
            object: String::new(),
            remedy: remedy.to_owned(),
            findings: Vec::new(),
        }
    }

    /// An error that must not happen: a defect of this program.
    pub(crate) fn defect(error: impl ToString) -> Self {
        let remedy = "please report this";
        Self::new(Exit::Failed, "VSI0001", error.to_string(), remedy)
    }

    /// The last error in another process's output, in the format of `output::problem`.
    pub(crate) fn printed(exit: Exit, text: &str) -> Self {
        let mut problem = Self::new(exit, "VSI0001", text.trim(), "");
        for line in text.lines() {
            if let Some((code, message)) = coded(line) {
                problem = Self::new(exit, code, message, "");
                continue;
            }
            let (what, value) = line.trim_start().split_once(' ').unwrap_or_default();
            let field = match what {
                "host" => &mut problem.host,
                "object" => &mut problem.object,
                "next" => &mut problem.remedy,
                _ => continue,
            };
            *field = value.trim_start().to_owned();
        }
        problem
    }

    /// A failure, with the exit code of its class.
    pub(crate) fn of(exit: Exit, failure: &Failure) -> Self {
        Self {
            exit,
            code: failure.code.to_string(),
            message: failure.message.to_string(),
            host: failure.host.to_string(),
            object: failure.object.to_string(),
            remedy: failure.remedy.to_string(),
            findings: Vec::new(),
        }
    }
}

fn coded(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("error[")?.split_once("]: ")
}

impl From<FleetError> for ExitProblem {
    fn from(error: FleetError) -> Self {
        let exit = match error.kind {
            ErrorKind::Failed => Exit::Failed,
            ErrorKind::NotFound => Exit::NotFound,
            ErrorKind::Blocked => Exit::Blocked,
        };
        Self::of(exit, &error.failure)
    }
}

impl From<StateDirError> for ExitProblem {
    fn from(error: StateDirError) -> Self {
        Self::new(
            Exit::Failed,
            error.code(),
            error.to_string(),
            error.remedy(),
        )
    }
}

impl From<MomentError> for ExitProblem {
    fn from(error: MomentError) -> Self {
        match error {
            MomentError::Fleet(failed) => failed.into(),
            MomentError::Busy => Problem::from(error).into(),
        }
    }
}

impl From<Problem> for ExitProblem {
    fn from(problem: Problem) -> Self {
        let exit = match problem.status {
            401 | 403 | 409 => Exit::Blocked,
            404 => Exit::NotFound,
            400 | 422 => Exit::Usage,
            _ => Exit::Failed,
        };
        Self {
            exit,
            code: problem.code,
            message: problem.detail,
            host: problem.host,
            object: problem.object,
            remedy: problem.remedy,
            findings: problem.findings,
        }
    }
}

impl From<Diagnostics> for ExitProblem {
    fn from(diagnostics: Diagnostics) -> Self {
        Problem::from(diagnostics).into()
    }
}

/// The problem of a journal in a database.
pub(crate) fn database_problem(error: PostgresError) -> ExitProblem {
    let exit = match &error {
        PostgresError::Address(_) | PostgresError::Key(_) => Exit::Usage,
        PostgresError::Missing { .. } => Exit::NotFound,
        _ => Exit::Failed,
    };
    ExitProblem::new(exit, error.code(), error.to_string(), error.remedy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_process_printed_of_an_error_is_that_error() {
        let text = "note: something\nerror[VSI0703]: there is no VSI web: none\n  host   root@h:22\n  \
                    object vsi default/web\n  next   `vsiflow get` lists them\n";
        let problem = ExitProblem::printed(Exit::NotFound, text);
        assert_eq!(problem.exit, Exit::NotFound);
        assert_eq!(problem.code, "VSI0703");
        assert_eq!(problem.message, "there is no VSI web: none");
        assert_eq!(problem.host, "root@h:22");
        assert_eq!(problem.object, "vsi default/web");
        assert_eq!(problem.remedy, "`vsiflow get` lists them");
    }

    #[test]
    fn what_is_no_error_of_ours_is_shown_as_it_is() {
        let problem = ExitProblem::printed(Exit::Failed, "host out of order\n");
        assert_eq!(problem.code, "VSI0001");
        assert_eq!(problem.message, "host out of order");
    }
}
