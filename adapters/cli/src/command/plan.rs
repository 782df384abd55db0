//! `plan`: shows what documents would change, how, and what that would cost.

use vsiflow_api::{PlanRequest, PlannedDocuments};
use vsiflow_workflows::fleet::Change;

use crate::{
    args::{Common, PlanArgs},
    command::apply,
    exit::{CommandOutcome, Exit},
    output::{self, plan as shown},
    service, work,
};

/// Exits as `kubectl diff` does: 0 if nothing would change, 1 if something would. Exits with 4 if
/// something cannot be changed.
pub(super) async fn run(common: &Common, args: PlanArgs) -> CommandOutcome {
    let request = PlanRequest {
        documents: work::sent(common, &args.sources).await?,
        ..PlanRequest::default()
    };
    let planned = service::call(common, request).await?;
    output::diagnostics(&planned.notes.findings);
    let exit = match args.output {
        Some(format) => {
            output::print(&output::list(&planned.plans()), format)?;
            output::aside(async { foreseen(&planned) }).await
        }
        None => {
            shown::text(&planned);
            foreseen(&planned)
        }
    };
    Ok(exit.max(outcome(&planned)))
}

/// Reports images that could not be used, and journals that did not answer.
fn foreseen(planned: &PlannedDocuments) -> Exit {
    let changes = planned.changes();
    let exits = changes.map(|(object, documented)| apply::report_foreseen(object, documented));
    let problems = planned.problems.iter().cloned();
    let problems = output::worst(problems.map(|problem| Err(problem.into())));
    exits.max().unwrap_or(Exit::Done).max(problems)
}

fn outcome(planned: &PlannedDocuments) -> Exit {
    let (mut is_refused, mut changes) = (false, false);
    for (object, documented) in planned.changes() {
        let plan = object.plan.as_ref();
        is_refused |= plan.is_some_and(|plan| plan.refused().next().is_some());
        changes |= documented.change == Change::Created;
        changes |= plan.is_some_and(|plan| !plan.is_empty());
    }
    match (is_refused, changes) {
        (true, _) => Exit::Blocked,
        (false, true) => Exit::Failed,
        (false, false) => Exit::Done,
    }
}
