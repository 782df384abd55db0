//! `replay`: computes all projections again from the journal, and checks them against the engine's decisions.

use vsiflow_engine::replay::{Deviation, ReplayError, StateMismatch, Summary, replay};

use super::{audit::Inspection, journal_file::of_error};
use crate::{
    args::{Common, ReplayArgs},
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
};

pub(super) async fn run(common: &Common, args: ReplayArgs) -> CommandOutcome {
    let inspection = Inspection::at(common).await?;
    let replayed = replay(inspection.audit().journal, args.verify).await;
    inspection.close().await;
    match replayed {
        Ok(summary) => {
            print_summary(&summary, args.verify);
            Ok(Exit::Done)
        }
        Err(ReplayError::Audit(error)) => Err(of_error(&error)),
        Err(ReplayError::Deviation(deviation)) => Err(of(&deviation)),
        Err(ReplayError::StateMismatch(mismatch)) => Err(of_states(&mismatch)),
    }
}

fn print_summary(summary: &Summary, verified: bool) {
    let Summary {
        events,
        began,
        batches,
        entities,
        unsettled,
        succeeded,
        failed,
        cancelled,
        superseded,
        open,
    } = summary;
    let what = if verified {
        "are what the engine decides"
    } else {
        "follow one another"
    };
    output::line(&format!("{events} events in {batches} batches {what}"));
    if *began > 0 {
        output::line(&format!(
            "events before offset {began} are missing; a base replaces them"
        ));
    }
    output::line(&format!(
        "entities: {entities}, {unsettled} of them not settled"
    ));
    output::line(&format!(
        "runs: {succeeded} succeeded, {failed} failed, {cancelled} cancelled, {superseded} \
         superseded, {open} open"
    ));
}

fn of(deviation: &Deviation) -> ExitProblem {
    let Deviation {
        stream,
        seq,
        offset,
        expected,
        found,
    } = deviation;
    let message = format!("expected {expected}; found {found}");
    let remedy = "run `vsiflow audit verify`; where that finds nothing, report this with an export";
    let mut problem = ExitProblem::new(Exit::Failed, "VSI0906", message, remedy);
    problem.object = format!("{stream} #{seq} (offset {offset})");
    problem
}

fn of_states(mismatch: &StateMismatch) -> ExitProblem {
    let remedy = "remove the folder `index` of the state directory, which is computed again from the \
                  log; keep a copy of it, and report it";
    ExitProblem::new(Exit::Failed, "VSI0906", mismatch.to_string(), remedy)
}
