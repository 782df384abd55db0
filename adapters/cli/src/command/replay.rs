//! `replay`: computes all projections again from the journal, and checks them against the engine's decisions.

use vsiflow_api::{ReplayRequest, ReplaySummary};

use super::audit;
use crate::{
    args::{Common, ReplayArgs},
    exit::{CommandOutcome, Exit, ExitProblem},
    output, service,
};

pub(super) async fn run(common: &Common, args: ReplayArgs) -> CommandOutcome {
    let verify = args.verify;
    let replayed = service::call(common, ReplayRequest { verify }).await?;
    let are_several = replayed.journals.len() > 1;
    let mut exit = Exit::Done;
    for journal in replayed.journals {
        audit::heading(are_several, journal.journal);
        if let Some(summary) = &journal.summary {
            print_summary(summary, verify);
        }
        if let Some(deviation) = journal.deviation {
            output::problem(&ExitProblem::from(deviation));
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}

fn print_summary(summary: &ReplaySummary, verified: bool) {
    let ReplaySummary {
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
