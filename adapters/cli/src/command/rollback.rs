//! `rollback`: returns a VSI to its previous desired state, or a pool to its previous template.

use async_trait::async_trait;
use vsiflow_api::{ApplyRequest, EarlierState, PlanRequest, RollbackPoolRequest, SentDocuments};

use super::{
    acting::{self, Acted, Action, ActionReport, FollowUp, Turn},
    apply,
};
use crate::{
    args::{Common, ObjectKind, RollbackArgs},
    exit::{CommandOutcome, Exit, ExitProblem},
    output,
    service::{self, ServiceSession},
};

pub(super) async fn run(common: &Common, args: RollbackArgs) -> CommandOutcome {
    let (kind, name) = args.kind_and_name();
    match kind {
        ObjectKind::Vsi => vsi(common, &args, &name).await,
        ObjectKind::Pool => pool(common, &args, &name).await,
        _ => Err(unusable("only VSIs and pools go back")),
    }
}

async fn vsi(common: &Common, args: &RollbackArgs, name: &str) -> CommandOutcome {
    let documents = |generation| SentDocuments {
        earlier: Some(EarlierState {
            namespace: args.namespace.clone(),
            name: name.to_owned(),
            generation,
        }),
        ..SentDocuments::default()
    };
    let plan = PlanRequest {
        documents: documents(args.to),
        ..PlanRequest::default()
    };
    let planned = service::call(common, plan).await?;
    output::plan::text(&planned);
    // What was shown, also if something else is asked of the VSI meanwhile.
    let shown = planned.notes.generation;
    let generation = shown.unwrap_or_default();
    if args.dry_run {
        let dry_run = PlanRequest {
            documents: documents(shown),
            dry_run: true,
            ..PlanRequest::default()
        };
        let exit = apply::foresee(&service::call(common, dry_run).await?)?;
        let would = if exit == Exit::Done {
            "would go back"
        } else {
            "would not go back yet"
        };
        output::line(&format!("vsi/{name} {would} to generation {generation}"));
        return Ok(exit);
    }
    output::note(&format!("vsi/{name} goes back to generation {generation}"));
    let request = ApplyRequest {
        documents: documents(shown),
        reason: common.reason.clone(),
        ..ApplyRequest::default()
    };
    apply::carry_out(common, request, args.wait.clone(), None).await
}

async fn pool(common: &Common, args: &RollbackArgs, name: &str) -> CommandOutcome {
    if args.to.is_some() {
        return Err(unusable(
            "--to is not offered for pools: a pool goes back to the template before",
        ));
    }
    if args.dry_run {
        return Err(unusable("--dry-run is not offered for pools"));
    }
    let action = Action {
        request: RollbackPoolRequest {
            namespace: args.namespace.clone(),
            name: format!("{}/{name}", ObjectKind::Pool.word()),
            reason: common.reason.clone(),
        },
        selection: None,
        follow_up: &PoolRollback(ActionReport {
            wait: args.wait.clone(),
            recorded: "goes back to the template before".into(),
            done: "",
        }),
    };
    acting::carry_out(common, &action).await
}

/// Says what changes, then waits.
struct PoolRollback(ActionReport);

#[async_trait]
impl FollowUp for PoolRollback {
    async fn follow(
        &self,
        common: &Common,
        session: &ServiceSession,
        acted: &Acted,
        turn: Turn,
    ) -> CommandOutcome {
        if turn == Turn::First {
            let plans = acted
                .targets
                .iter()
                .filter_map(|pool| pool.object.plan.as_ref());
            plans.for_each(output::plan::changes);
        }
        self.0.follow(common, session, acted, turn).await
    }
}

fn unusable(message: &str) -> ExitProblem {
    let remedy = "see `vsiflow rollback --help`";
    ExitProblem::new(Exit::Usage, "VSI0810", message, remedy)
}
