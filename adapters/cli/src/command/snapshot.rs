//! `snapshot`: takes snapshots of VSIs, restores VSIs to them, and deletes them.

use std::collections::BTreeSet;

use vsiflow_api::{
    ApplyRequest, DeleteRequest, DeletionTarget, PlanRestorationRequest, Restoration,
    RestoreSnapshotRequest, SentDocuments, SnapshotCopies,
};
use vsiflow_engine::executor::By;
use vsiflow_workflows::fleet::SnapshotRequest;

use super::{
    acting::{self, Action, ActionReport},
    apply,
    delete::carry_out,
};
use crate::{
    actor,
    args::{
        CloneArgs, Common, CreateArgs, SnapshotCommand, SnapshotCreateArgs, SnapshotDeleteArgs,
        SnapshotRestoreArgs, WaitArgs, without_kind,
    },
    compose::App,
    exit::{CommandOutcome, Exit, ExitProblem},
    output, service,
    shards::{local_documents, snapshots},
    work::{self, SNAPSHOT},
};

pub(super) async fn run(common: &Common, command: SnapshotCommand) -> CommandOutcome {
    match command {
        SnapshotCommand::Create(args) => create(common, args).await,
        SnapshotCommand::Restore(args) => restore(common, args).await,
        SnapshotCommand::Delete(args) => delete(common, args).await,
    }
}

async fn create(common: &Common, args: SnapshotCreateArgs) -> CommandOutcome {
    let app = App::open_to_work(common).await?;
    let request = SnapshotRequest {
        name: args.name,
        uid: None,
        memory: args.memory,
        quiesce: args.quiesce,
    };
    let vsi = without_kind(&args.vsi);
    let by = actor::by(&common.reason);
    let of = (args.namespace.as_str(), vsi);
    let taken = snapshots::take(&app, common, of, request, by).await?;
    let targets = work::targets_named(&app, &args.namespace, &[vsi.to_owned()]).await?;
    let name = format!("snapshot/{}", work::label(&args.namespace, &taken.name));
    work::report_recorded(&app, &args.wait, &targets, &format!("is copied to {name}"));
    let until = work::Until::Decided;
    let exit = work::until_decided(&app, common, &args.wait, &targets, until, "").await?;
    if exit == Exit::Done && app.fleet.snapshots().is_ready(&taken.snapshot) {
        output::line(&format!("{name} is taken"));
    }
    app.close().await;
    Ok(exit)
}

async fn restore(common: &Common, args: SnapshotRestoreArgs) -> CommandOutcome {
    let (namespace, name) = (&args.namespace, bare(&args.name));
    let how = Restoration {
        disks_only: args.disks_only,
        unverified: args.unverified,
        in_place: args.in_place,
    };
    let asked = PlanRestorationRequest {
        namespace: namespace.clone(),
        name: name.to_owned(),
        how,
        foresee: args.dry_run,
    };
    let planned = Box::pin(service::call(common, asked)).await?;
    let shown = format!(
        "vsi/{}",
        work::label(&planned.vsi.namespace, &planned.vsi.name)
    );
    for lost in planned.vsi.plan.iter().flat_map(|plan| &plan.destroys) {
        output::line(&format!("{shown}: loses the {}: {}", lost.object, lost.why));
    }
    for disk in &planned.not_restored {
        output::warning(&format!(
            "{disk} of snapshot/{name} is not restored, because {shown} does not have it any more; `vsiflow create \
             NAME --from {name}` makes another VSI with all disks"
        ));
    }
    if args.dry_run {
        for needed in &planned.needs {
            output::line(&format!("{shown}: {}", output::plan::room(needed)));
        }
        let what = format!("put back to snapshot/{name}");
        let refusal = planned.vsi.problem.map(ExitProblem::from);
        return Ok(output::foreseen_problem(&shown, &what, refusal));
    }
    let question = format!("put {shown} back to snapshot/{name}");
    if !args.yes {
        work::confirm(&question)?;
    }
    let action = Action {
        request: RestoreSnapshotRequest {
            namespace: namespace.clone(),
            name: name.to_owned(),
            uid: Some(planned.uid),
            how,
            reason: common.reason.clone(),
        },
        selection: None,
        follow_up: &ActionReport {
            wait: args.wait,
            recorded: format!("is put back to snapshot/{name}").into(),
            done: "",
        },
    };
    acting::carry_out(common, &action).await
}

async fn delete(common: &Common, args: SnapshotDeleteArgs) -> CommandOutcome {
    let names = args
        .names
        .iter()
        .map(|name| format!("{SNAPSHOT}{}", bare(name)));
    let request = DeleteRequest {
        namespace: args.namespace.clone(),
        objects: names.map(DeletionTarget::named).collect(),
        orphan: args.orphan,
        release: false,
        ignore_not_found: false,
        reason: common.reason.clone(),
    };
    carry_out(common, request, None, args.wait).await
}

/// `create --from`: makes new VSIs with the disks of a snapshot.
pub(super) async fn create_from(
    common: &Common,
    args: &CreateArgs,
    snapshot: &str,
) -> CommandOutcome {
    let copies = SnapshotCopies {
        namespace: args.namespace.clone(),
        snapshot: bare(snapshot).to_owned(),
        names: args.names.clone(),
    };
    let request = ApplyRequest {
        documents: SentDocuments {
            copies: Some(copies),
            ..SentDocuments::default()
        },
        reason: common.reason.clone(),
        ..ApplyRequest::default()
    };
    apply::carry_out(common, request, args.wait.clone(), args.output).await
}

/// `clone`: each part is durable on its own. After a crash the snapshot remains, and `create --from`
/// continues from it. Where the new VSI is refused, what was copied for it is deleted.
pub(super) async fn clone(common: &Common, args: CloneArgs) -> CommandOutcome {
    let app = App::open_to_work(common).await?;
    let (namespace, vsi) = (&args.namespace, without_kind(&args.vsi));
    let name = format!("{vsi}-to-{}", args.name);
    let own_namespace = vsi
        .split_once('/')
        .map_or(namespace.as_str(), |(own, _)| own);
    local_documents::refuse_limited(&app, &BTreeSet::from([own_namespace.to_owned()])).await?;
    let wait = WaitArgs {
        wait: true,
        timeout: args.timeout,
    };
    let by = || actor::by(&common.reason);
    let is_own = app.fleet.snapshots().find(namespace, &name).await.is_err();
    if is_own {
        let snapshots = app.fleet.snapshots();
        snapshots.is_free(own_namespace, &args.name).await?;
        let request = SnapshotRequest {
            name: Some(name.clone()),
            quiesce: args.quiesce,
            ..SnapshotRequest::default()
        };
        snapshots::take(&app, common, (namespace, vsi), request, by()).await?;
    }
    let until = work::Until::Decided;
    let source = work::targets_named(&app, namespace, &[vsi.to_owned()]).await?;
    let exit = work::until_decided(&app, common, &wait, &source, until, "").await?;
    if exit != Exit::Done {
        app.close().await;
        return Ok(exit);
    }
    let resolved = app
        .fleet
        .snapshots()
        .new_vsi(namespace, &name, &args.name)
        .await?;
    let applied = Box::pin(local_documents::apply(&app, common, resolved, by())).await;
    if let Err(refusal) = applied {
        // What refused the new VSI is the answer, also where its copy cannot be deleted.
        if is_own && let Err(problem) = delete_copy(&app, namespace, &name, by()).await {
            output::warning(&format!("snapshot/{name} stays: {}", problem.message));
        }
        app.close().await;
        return Err(refusal);
    }
    let made = work::targets_named(&app, namespace, std::slice::from_ref(&args.name)).await?;
    let taken_exit = work::until_decided(&app, common, &wait, &made, until, "").await?;
    if taken_exit == Exit::Done {
        delete_copy(&app, namespace, &name, by()).await?;
    }
    app.close().await;
    Ok(taken_exit)
}

/// Deletes the snapshot that a VSI was cloned through.
async fn delete_copy(app: &App, namespace: &str, name: &str, by: By) -> Result<(), ExitProblem> {
    let snapshots = app.fleet.snapshots();
    let entity = snapshots.delete(namespace, name, false, by).await?;
    app.fleet.decided(&entity).await?;
    Ok(())
}

fn bare(name: &str) -> &str {
    name.strip_prefix(SNAPSHOT).unwrap_or(name)
}
