//! `migrate`: takes custom resources over from the operator that served them before.

use vsiflow_kube::{
    CallError, Namespaces,
    crd::GROUP,
    migrate::{Candidate, CandidateState, MigrateError, Migration},
};

use crate::{
    args::{MigrateArgs, OutputFormat},
    exit::{CommandOutcome, Exit, ExitProblem},
    output::{self, table},
    serving::cluster,
};

pub(super) async fn run(args: MigrateArgs) -> CommandOutcome {
    let (client, own) = cluster::connect(args.kubeconfig.clone(), false).await?;
    let namespaces = match (args.all_namespaces, args.namespaces.as_slice()) {
        (true, _) => Namespaces::All,
        (false, []) => Namespaces::These(vec![own]),
        (false, these) => Namespaces::These(these.to_vec()),
    };
    let migration = Migration::new(client, namespaces);
    let found = migration.candidates().await.map_err(problem)?;
    if !args.apply {
        print(&found, args.output)?;
        warn_of_decisions(&migration).await;
        return Ok(exit(&found));
    }
    for one in &found {
        migration.take_over(one).await.map_err(problem)?;
        if one.standing == CandidateState::ToTakeOver {
            output::note(&format!(
                "{} {}/{} migrated",
                one.kind, one.namespace, one.name
            ));
        }
    }
    let left = migration.candidates().await.map_err(problem)?;
    print(&left, args.output)?;
    Ok(exit(&left))
}

/// Warns of what vsiflow will refuse in the cluster until somebody decides.
async fn warn_of_decisions(migration: &Migration) {
    match migration.decisions().await {
        Ok(decisions) => {
            for decision in decisions {
                output::warning(&format!(
                    "{}: {} ({}); {}",
                    decision.object, decision.message, decision.code, decision.remedy
                ));
            }
        }
        Err(error) => output::warning(&format!("it is not known what needs a decision: {error}")),
    }
}

fn print(found: &[Candidate], format: Option<OutputFormat>) -> Result<(), ExitProblem> {
    match format {
        Some(format @ (OutputFormat::Json | OutputFormat::Yaml)) => {
            let objects: Vec<_> = found.iter().map(object).collect();
            output::print(&output::list(&objects), format)
        }
        _ => {
            output::table(&table::candidates(found), "resources");
            Ok(())
        }
    }
}

fn object(one: &Candidate) -> serde_json::Value {
    serde_json::json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": one.kind,
        "metadata": {
            "namespace": one.namespace,
            "name": one.name,
            "uid": one.uid,
            "finalizers": one.old_finalizers,
        },
        "standing": match one.standing {
            CandidateState::Ours => "TakenOver",
            CandidateState::ToTakeOver => "ToTakeOver",
            CandidateState::Going => "Deleting",
        },
    })
}

/// The exit, as for `plan`: nothing to do, something to do, or something that cannot be done now.
fn exit(found: &[Candidate]) -> Exit {
    let any = |standing| found.iter().any(|one| one.standing == standing);
    if any(CandidateState::Going) {
        output::warning("a resource is being deleted: let k8s-operator-hpcr finish first");
        return Exit::Blocked;
    }
    if any(CandidateState::ToTakeOver) {
        Exit::Failed
    } else {
        Exit::Done
    }
}

const NOT_ANSWERED: &str =
    "see that the cluster answers: `kubectl cluster-info`; --kubeconfig FILE names another one";

fn problem(error: MigrateError) -> ExitProblem {
    let (exit, code, remedy) = match &error {
        MigrateError::Active(names) => (
            Exit::Blocked,
            "VSI1010",
            format!(
                "end it first; its resources and their guests stay as they are: kubectl delete \
                 compositecontroller {}",
                names.join(" ")
            ),
        ),
        MigrateError::Unknown(why) => (
            Exit::Blocked,
            "VSI1010",
            if matches!(why, CallError::Denied(_)) {
                "let this user list compositecontrollers.metacontroller.k8s.io, then try again"
            } else {
                NOT_ANSWERED
            }
            .to_owned(),
        ),
        MigrateError::NoNamespace(_) => (
            Exit::NotFound,
            "VSI1011",
            "see its name: kubectl get namespaces".to_owned(),
        ),
        MigrateError::Unlisted { why, .. } => (
            Exit::Failed,
            "VSI1011",
            if why.is_decision() {
                "check that the definitions exist and that this user may list them"
            } else {
                NOT_ANSWERED
            }
            .to_owned(),
        ),
        MigrateError::TakeOverFailed { .. } => (
            Exit::Failed,
            "VSI1011",
            "run the command again: it continues with the rest".to_owned(),
        ),
    };
    ExitProblem::new(exit, code, error.to_string(), &remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_not_list_and_a_cluster_that_does_not_answer_have_other_remedies() {
        let unknown = |why| problem(MigrateError::Unknown(why)).remedy;
        let unlisted = |why| {
            let [what, place] = ["virtualservers", "default"].map(str::to_owned);
            problem(MigrateError::Unlisted { what, place, why }).remedy
        };
        let denied = || CallError::Denied("it is forbidden (403)".to_owned());
        assert!(unknown(denied()).contains("let this user list"));
        assert!(unlisted(denied()).contains("may list them"));
        assert!(unlisted(CallError::Gone).contains("the definitions exist"));
        for down in [CallError::Unanswered, CallError::Failing] {
            for remedy in [
                unknown(down("it is down".to_owned())),
                unlisted(down("it is down".to_owned())),
            ] {
                assert!(remedy.contains("see that the cluster answers"), "{remedy}");
            }
        }
    }
}
