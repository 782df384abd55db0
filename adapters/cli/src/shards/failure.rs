//! Converts this crate's problems into the errors that fleets and operators report.

use vsiflow_engine::model::{Failure, FailureClass};
use vsiflow_postgres::PostgresError;
use vsiflow_workflows::fleet::FleetError;

use crate::{compose::database, exit::ExitProblem};

/// The error when the database does not answer.
pub(super) fn unanswered(error: PostgresError) -> FleetError {
    failed(&database::problem(error))
}

/// A problem as a fleet reports it.
pub(super) fn failed(problem: &ExitProblem) -> FleetError {
    FleetError::from(failure_of(problem))
}

/// A problem as a pool or a custom resource reports it.
pub(super) fn failure_of(problem: &ExitProblem) -> Failure {
    Failure::new(FailureClass::Blocked, &problem.code, &problem.message)
        .of_object(&problem.object)
        .on_host(&problem.host)
        .with_remedy(&problem.remedy)
}
